//! Configuration records and first frames of all codecs: the first byte chooses the codec and the packet.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pingora_live::media::codec::CodecInfo;
use pingora_live::media::{Codec, PacketType, Part};

const CODECS: [Codec; 12] = [
    Codec::H264,
    Codec::Hevc,
    Codec::Vvc,
    Codec::Av1,
    Codec::Vp8,
    Codec::Vp9,
    Codec::Aac,
    Codec::Mp3,
    Codec::Opus,
    Codec::Flac,
    Codec::Ac3,
    Codec::Eac3,
];

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let Some(codec) = CODECS.get(usize::from(choice & 0x0f)) else {
        return;
    };
    let packet = match choice >> 4 {
        0..8 => PacketType::SequenceStart,
        8..15 => PacketType::CodedFrames,
        _ => PacketType::MultichannelConfig,
    };
    let part = Part {
        track: 0,
        codec: *codec,
        packet,
        keyframe: true,
        composition_ms: 0,
        nano_offset: 0,
        data: Bytes::copy_from_slice(data),
    };
    match CodecInfo::of_part(&part) {
        Ok(info) => {
            assert_eq!(info.codec, *codec);
            assert!(
                info.width.is_none_or(|width| (1..=65_536).contains(&width))
                    || *codec == Codec::Vp8
            );
            let line = info.to_string();
            assert!(line.len() < 200 && line.is_ascii(), "{line}");
        }
        Err(error) => assert!(error.to_string().len() < 200),
    }
});
