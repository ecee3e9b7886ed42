//! Any audio frames through the MP3 muxer: what comes out is those that begin with a header, of one track, and nothing else.

#![no_main]

use bytes::{Buf, BytesMut};
use libfuzzer_sys::fuzz_target;
use pingora_live::media::{Codec, Frame, FrameKind, PacketType, Tracks};
use pingora_live::mux::{Mp3Mux, Muxer};

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let mut mux = Mp3Mux::new();
    let mut tracks = Tracks::new();
    let mut lowest = u8::MAX;
    // Each frame: two bytes of length, the body.
    while data.remaining() >= 2 {
        let length = usize::from(data.get_u16() & 0x3fff).min(data.remaining());
        let body = data.copy_to_bytes(length);
        let Ok(frame) = Frame::parse(FrameKind::Audio, 0, body) else {
            continue;
        };
        tracks.update(&frame);
        let (mut expected, mut dropped) = (Vec::new(), 0);
        for part in frame.parts().flatten() {
            if part.packet != PacketType::CodedFrames {
                continue;
            }
            let head = part.data.first_chunk::<4>();
            let begins = part.codec == Codec::Mp3
                && head.is_some_and(|&[a, b, c, _]| {
                    let (version, rate) = (b >> 3 & 3, c >> 2 & 3);
                    a == 0xff && b & 0xe6 == 0xe2 && version != 1 && c < 0xf0 && rate != 3
                });
            if begins {
                lowest = lowest.min(part.track);
            }
            if begins && part.track == lowest {
                expected.extend_from_slice(&part.data);
            } else {
                dropped += 1;
            }
        }
        let before = mux.dropped();
        let mut out = BytesMut::new();
        mux.write(&frame, &mut out);
        assert_eq!(out, expected);
        assert_eq!(mux.dropped() - before, dropped);
    }
    let _ = Mp3Mux::supports(&tracks).map_err(|unsupported| unsupported.to_string());
});
