//! What a frame costs on its way from a tag body to FLV bytes: reading its head, its place on the timeline, and the
//! muxer; and what a player costs that has a time of its own.
//!
//! Sizes are those of a stream of 1 Mbit/s at 25 fps with AAC, and of 8 Mbit/s.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pingora_live::media::{Frame, FrameKind, TimeJitter, Timeline, Tracks};
use pingora_live::mux::{FlvMux, Muxer, flv};

const MUX: FlvMux = FlvMux {
    audio: true,
    video: true,
    drop: true,
};

/// AVCDecoderConfigurationRecord of a stream of 320x180.
const AVC_HEADER: &[u8] = b"\x17\0\0\0\0\x01\x64\0\x0c\xff\xe1\0\x1a\x67\x64\0\x0c\xac\xd9\x41\x51\x9e\x22\x6c\x04\x40\0\0\x03\0\
    \x40\0\0\x05\x03\xc5\x0a\x65\x80\x01\0\x06\x68\xeb\xe3\xcb\x22\xc0\xfd\xf8\xf8\0";
const AAC_HEADER: &[u8] = b"\xaf\0\x12\x10";
const META_DATA: &[u8] = b"\x02\0\x0aonMetaData\x08\0\0\0\x04\0\x08duration\0\0\0\0\0\0\0\0\0\
    \0\x05width\0\x40\x94\0\0\0\0\0\0\0\x06height\0\x40\x86\x80\0\0\0\0\0\0\x07encoder\x02\0\x0dLavf61.1.100\0\0\0\x09";

fn frame(kind: FrameKind, head: &[u8], size: usize) -> Frame {
    let mut body = head.to_vec();
    body.resize(size, 0x5a);
    Frame::parse(kind, 40_000, body.into()).expect("a well-formed body")
}

fn frames() -> [(&'static str, Frame); 4] {
    [
        ("audio 300 B", frame(FrameKind::Audio, &[0xaf, 1], 300)),
        (
            "video 5 KB",
            frame(FrameKind::Video, &[0x27, 1, 0, 0, 40], 5_000),
        ),
        (
            "video 40 KB",
            frame(FrameKind::Video, &[0x17, 1, 0, 0, 40], 40_000),
        ),
        (
            "e-rtmp 40 KB",
            frame(FrameKind::Video, b"\x91hvc1\0\0\x28", 40_000),
        ),
    ]
}

fn tracks() -> Tracks {
    let mut tracks = Tracks::new();
    for (kind, body) in [
        (FrameKind::Video, AVC_HEADER),
        (FrameKind::Audio, AAC_HEADER),
        (FrameKind::Metadata, META_DATA),
    ] {
        let body = Bytes::from_static(body);
        tracks.update(&Frame::parse(kind, 0, body).expect("a well-formed body"));
    }
    tracks
}

fn write(c: &mut Criterion) {
    let mut group = c.benchmark_group("flv write");
    for (name, frame) in frames() {
        group.throughput(Throughput::Bytes(frame.payload.len() as u64));
        let mut mux = MUX;
        let mut out = BytesMut::with_capacity(64 * 1024);
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                mux.write(black_box(&frame), &mut out);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame parse");
    for (name, frame) in frames() {
        group.bench_function(name, |b| {
            b.iter_batched(
                || frame.payload.clone(),
                |body| Frame::parse(frame.kind, 0, black_box(body)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn stamp(c: &mut Criterion) {
    let mut timeline = Timeline::new(TimeJitter::Full);
    let mut now = Instant::now();
    let mut timestamp = 0u32;
    c.bench_function("timeline stamp", |b| {
        b.iter(|| {
            timestamp = timestamp.wrapping_add(20);
            now += Duration::from_millis(20);
            let kind = if timestamp.is_multiple_of(40) {
                FrameKind::Video
            } else {
                FrameKind::Audio
            };
            timeline.stamp(kind, 0, black_box(timestamp), now)
        });
    });
}

/// What a joining player gets first, and what `start_time: zero` costs for each unit of each player.
fn join(c: &mut Criterion) {
    let tracks = tracks();
    let mut out = BytesMut::with_capacity(64 * 1024);
    c.bench_function("flv start", |b| {
        b.iter(|| {
            out.clear();
            MUX.start(black_box(&tracks), 40_000, &mut out);
            black_box(out.len())
        });
    });
    let mut unit = BytesMut::new();
    for (_, frame) in &frames()[..2] {
        let mut mux = MUX;
        mux.write(frame, &mut unit);
    }
    c.bench_function("flv rebase 5 KB", |b| {
        b.iter(|| {
            out.clear();
            flv::rebase(black_box(&unit), 40_000, &mut out);
            black_box(out.len())
        });
    });
}

criterion_group!(benches, write, parse, stamp, join);
criterion_main!(benches);
