//! A tag body, from the first byte that says what it is: what is accepted can be walked, and lies in the body.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pingora_live::media::codec::CodecInfo;
use pingora_live::media::tracks::MAX_HEADERS;
use pingora_live::media::{Frame, FrameKind, Tracks, metadata, tag};

fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first() else {
        return;
    };
    let body = Bytes::copy_from_slice(body);
    let (kind, body) = match kind % 3 {
        0 => (FrameKind::Video, body),
        1 => (FrameKind::Audio, body),
        _ => metadata::classify(&body),
    };
    let Ok(frame) = Frame::parse(kind, 0, body.clone()) else {
        // An error ends the walk, and is the only one.
        let failed = tag::parts(kind, &body).filter(Result::is_err).count();
        assert!(failed <= 1);
        return;
    };
    assert!(!(frame.keyframe && frame.sequence_header));
    let mut end = body.as_ptr() as usize;
    for part in frame.parts() {
        let part = part.expect("walked before");
        if !part.data.is_empty() {
            let begin = part.data.as_ptr() as usize;
            assert!(begin >= end);
            end = begin + part.data.len();
            assert!(end <= body.as_ptr() as usize + body.len());
        }
        if let Ok(info) = CodecInfo::of_part(&part) {
            assert!(info.to_string().len() < 200);
        }
    }
    let mut tracks = Tracks::new();
    let changed = tracks.update(&frame);
    assert!(!changed || frame.sequence_header || frame.kind == FrameKind::Metadata);
    assert!(!tracks.update(&frame));
    assert!(tracks.headers().count() <= MAX_HEADERS);
});
