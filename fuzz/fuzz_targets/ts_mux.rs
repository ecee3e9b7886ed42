//! Any frames through the MPEG-TS muxer: what comes out is a transport stream to a strict reader, from the first byte and from
//! each keyframe; and each coded frame is either in it or was counted.

#![no_main]

use bytes::{Buf, BytesMut};
use libfuzzer_sys::fuzz_target;
use pingora_live::media::{Codec, Frame, FrameKind, PacketType, Tracks};
use pingora_live::mux::{Muxer, TsMux};

#[allow(dead_code)]
#[path = "../../src/mux/ts/tests/reader.rs"]
mod reader;

use reader::Reader;

/// Frames from the input, each: a byte of kind and time step, two of length, the body. Steps are small, or one of all times.
fn frames(mut data: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut dts_ms = 0u64;
    while data.remaining() >= 3 {
        let what = data.get_u8();
        let kind = if what & 1 == 0 {
            FrameKind::Video
        } else {
            FrameKind::Audio
        };
        dts_ms = match what >> 1 & 3 {
            0 | 1 => dts_ms.wrapping_add(u64::from(what >> 3)),
            2 => dts_ms.wrapping_add(u64::from(what >> 3) * 64),
            _ if data.remaining() >= 8 => data.get_u64() >> (what >> 3),
            _ => dts_ms,
        };
        if data.remaining() < 2 {
            break;
        }
        let length = usize::from(data.get_u16() & 0x7ff).min(data.remaining());
        let body = data.copy_to_bytes(length);
        frames.extend(Frame::parse(kind, dts_ms, body));
    }
    frames
}

fuzz_target!(|data: &[u8]| {
    let Some((known, data)) = data.split_first() else {
        return;
    };
    let frames = frames(data);
    let known = frames.len().min((known & 7).into());
    let mut tracks = Tracks::new();
    for frame in &frames[..known] {
        tracks.update(frame);
    }
    let _ = TsMux::supports(&tracks).map_err(|unsupported| unsupported.to_string());
    let mut mux = TsMux::new(&tracks);
    let mut reader = Reader::new();
    let mut late: Option<Reader> = None;
    for frame in &frames[known..] {
        let before = reader.pes.len() as u64 + mux.dropped();
        let mut out = BytesMut::new();
        mux.write(frame, &mut out);
        reader.feed(&out);
        // Each is in one PES packet or dropped; of AV1 each has up to sixteen.
        let made = reader.pes.len() as u64 + mux.dropped() - before;
        let (mut least, mut most) = (0, 0);
        for part in frame.parts().flatten() {
            if part.packet == PacketType::CodedFrames {
                least += 1;
                most += if part.codec == Codec::Av1 { 16 } else { 1 };
            }
        }
        assert!((least..=most).contains(&made));
        // A player that starts here: PAT first.
        if late.is_none() && out.starts_with(&[0x47, 0x40, 0x00]) {
            late = Some(Reader::new());
        }
        if let Some(late) = &mut late {
            late.feed(&out);
        }
    }
    if let Some(late) = late {
        assert_eq!(late.pes.last(), reader.pes.last());
    }
});
