//! Any AAC through the conversion to MP3: what comes out is whole MP3 frames whose times rise.
//!
//! Input, each: a byte that says config or frame, a byte of length, the data.

#![no_main]

use bytes::{Buf, BytesMut};
use libfuzzer_sys::fuzz_target;
use pingora_live::media::{Frame, FrameKind, Tracks};
use pingora_live::mux::{Mp3Mux, Muxer, Transcoder};

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let mut transcoder = Transcoder::new(128);
    let mut frames = Vec::new();
    let mut tracks = Tracks::new();
    let mut dts_ms = 0;
    while data.remaining() >= 2 {
        let (what, length) = (data.get_u8(), usize::from(data.get_u8()));
        let length = length.min(data.remaining());
        let body = [&[0xaf, what & 1][..], &data.copy_to_bytes(length)].concat();
        dts_ms += u64::from(what >> 1);
        let Ok(frame) = Frame::parse(FrameKind::Audio, dts_ms, body.into()) else {
            continue;
        };
        tracks.update(&frame);
        let _ = Mp3Mux::supports(&tracks).map_err(|why| why.to_string());
        transcoder.push(&frame, &mut frames);
    }
    transcoder.finish(&mut frames);
    let mut mux = Mp3Mux::new();
    let mut out = BytesMut::new();
    for frame in &frames {
        mux.write(frame, &mut out);
    }
    assert_eq!(mux.dropped(), 0);
    let bytes: usize = frames.iter().map(|frame| frame.payload.len() - 1).sum();
    assert_eq!(out.len(), bytes);
});
