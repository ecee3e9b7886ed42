//! Any audio frames through the ADTS muxer: headers can be walked from the first byte to the last, and each coded frame is either
//! there or was counted.

#![no_main]

use bytes::{Buf, BytesMut};
use libfuzzer_sys::fuzz_target;
use pingora_live::media::{Frame, FrameKind, PacketType, Tracks};
use pingora_live::mux::{AacMux, Muxer};

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let mut mux = AacMux::default();
    let mut tracks = Tracks::new();
    let mut out = BytesMut::new();
    let mut coded = 0u64;
    // Each frame: two bytes of length, the body.
    while data.remaining() >= 2 {
        let length = usize::from(data.get_u16() & 0x3fff).min(data.remaining());
        let body = data.copy_to_bytes(length);
        let Ok(frame) = Frame::parse(FrameKind::Audio, 0, body) else {
            continue;
        };
        tracks.update(&frame);
        let parts = frame.parts().flatten();
        coded += parts
            .filter(|part| part.packet == PacketType::CodedFrames)
            .count() as u64;
        mux.write(&frame, &mut out);
    }
    let mut walked = 0;
    let mut rest = &out[..];
    while let [0xff, 0xf1, _, a, b, c, 0xfc, _, ..] = rest {
        let length = usize::from(a & 3) << 11 | usize::from(*b) << 3 | usize::from(c >> 5);
        assert!(length > 7);
        rest = &rest[length..];
        walked += 1;
    }
    assert!(rest.is_empty());
    assert_eq!(walked + mux.dropped(), coded);
    let _ = AacMux::supports(&tracks).map_err(|unsupported| unsupported.to_string());
    let _ = AacMux::new(&tracks);
});
