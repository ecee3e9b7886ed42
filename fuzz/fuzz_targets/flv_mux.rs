//! Frames through the FLV muxer and back: bodies, kinds and times are as they were. Then everything once more with another
//! base, and the raw input as if it were tags.

#![no_main]

use bytes::{Buf, Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use pingora_live::media::flv::{FlvReader, FlvTag};
use pingora_live::media::{Frame, FrameKind, Tracks};
use pingora_live::mux::{FlvMux, Muxer, flv};

/// Frames from the input, each: a byte of kind, four of time, two of length, the body.
fn frames(mut data: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while data.remaining() >= 7 {
        let kind = match data.get_u8() % 4 {
            0 => FrameKind::Video,
            1 => FrameKind::Audio,
            2 => FrameKind::Metadata,
            _ => FrameKind::Data,
        };
        let dts_ms = u64::from(data.get_u32()) << 4;
        let length = usize::from(data.get_u16() & 0x3ff).min(data.remaining());
        let body = data.copy_to_bytes(length);
        frames.extend(Frame::parse(kind, dts_ms, body));
    }
    frames
}

fn read(file: &[u8]) -> Vec<FlvTag> {
    let mut reader = FlvReader::new();
    reader.feed(file);
    let mut tags = Vec::new();
    while let Some(tag) = reader.poll().expect("what was muxed is well-formed") {
        tags.push(tag);
    }
    assert_eq!(reader.mismatches(), 0);
    assert_eq!(reader.offset(), file.len() as u64);
    tags
}

fuzz_target!(|data: &[u8]| {
    let Some((flags, input)) = data.split_first() else {
        return;
    };
    let mut mux = FlvMux {
        audio: flags & 1 != 0,
        video: flags & 2 != 0,
        drop: flags & 4 != 0,
    };
    let frames = frames(input);
    let mut tracks = Tracks::new();
    for frame in &frames {
        tracks.update(frame);
    }
    let mut out = BytesMut::new();
    mux.start(&tracks, 1 << 40, &mut out);
    let before = read(&out).len();
    for frame in &frames {
        mux.write(frame, &mut out);
    }
    let given = frames.iter().filter(|frame| match frame.kind {
        FrameKind::Video => mux.video || !mux.drop,
        FrameKind::Audio => mux.audio || !mux.drop,
        FrameKind::Metadata | FrameKind::Data => true,
    });
    let tags = read(&out);
    assert_eq!(tags.len() - before, given.clone().count());
    for (tag, frame) in tags[before..].iter().zip(given) {
        if frame.kind != FrameKind::Metadata {
            assert_eq!(
                (&tag.body, tag.timestamp_ms),
                (&frame.payload, frame.dts_ms as u32)
            );
        }
    }

    let base_ms = u32::from(*flags) << 20;
    let mut rebased = BytesMut::new();
    flv::rebase(&out, base_ms, &mut rebased);
    for (tag, moved) in tags.iter().zip(read(&rebased)) {
        assert_eq!((tag.kind, &tag.body), (moved.kind, &moved.body));
        let late = tag.timestamp_ms.wrapping_sub(base_ms);
        assert!(moved.timestamp_ms == late || moved.timestamp_ms == 0);
    }
    let mut raw = BytesMut::new();
    flv::rebase(input, base_ms, &mut raw);
    assert_eq!(raw.len(), input.len());
    let _ = Bytes::from(raw);
});
