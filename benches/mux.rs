//! What a frame costs on its way from a tag body to the bytes of each format: reading its head, its place on the timeline, and the
//! muxer; and what a player costs that has a time of its own. Before the times, what each muxer takes from the heap for a frame, in
//! bytes and allocations, into a buffer that has room.
//!
//! Sizes are those of a stream of 1 Mbit/s at 25 fps with AAC, and of 8 Mbit/s.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pingora_live::media::{Frame, FrameKind, TimeJitter, Timeline, Tracks};
use pingora_live::mux::{AacMux, FlvMux, Mp3Mux, Muxer, RtmpMux, TsMux, flv};

/// Counts what is taken.
struct Counting;

static BYTES: AtomicU64 = AtomicU64::new(0);
static TIMES: AtomicU64 = AtomicU64::new(0);

fn note(bytes: usize) {
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    TIMES.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: each call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller's.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as the caller's.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

const MUX: FlvMux = FlvMux {
    audio: true,
    video: true,
    drop: true,
};

/// AVCDecoderConfigurationRecord of a stream of 320x180.
const AVC_HEADER: &[u8] = b"\x17\0\0\0\0\x01\x64\0\x0c\xff\xe1\0\x1a\x67\x64\0\x0c\xac\xd9\x41\x51\x9e\x22\x6c\x04\x40\0\0\x03\0\
    \x40\0\0\x05\x03\xc5\x0a\x65\x80\x01\0\x06\x68\xeb\xe3\xcb\x22\xc0\xfd\xf8\xf8\0";
const AAC_HEADER: &[u8] = b"\xaf\0\x12\x10";
/// AV1CodecConfigurationRecord of libaom's, with its sequence header.
const AV1_HEADER: &[u8] = b"\x90av01\x81\0\x0c\0\x0a\x0b\0\0\0\x04\x3d\x06\xd4\xda\xf9\0\x40";
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
    tracks_with(AVC_HEADER)
}

/// With this video header.
fn tracks_with(video: &'static [u8]) -> Tracks {
    let mut tracks = Tracks::new();
    for (kind, body) in [
        (FrameKind::Video, video),
        (FrameKind::Audio, AAC_HEADER),
        (FrameKind::Metadata, META_DATA),
    ] {
        let body = Bytes::from_static(body);
        tracks.update(&Frame::parse(kind, 0, body).expect("a well-formed body"));
    }
    tracks
}

/// A body of AVCC or HVCC: pictures are one NAL unit, with its length before it.
fn picture(head: &[u8], size: usize) -> Frame {
    let nal = u32::try_from(size - head.len() - 4).expect("a small picture");
    let head = [head, &nal.to_be_bytes(), &[0x65]].concat();
    frame(FrameKind::Video, &head, size)
}

/// A temporal unit of AV1 whose body has `size` bytes: a delimiter, and frames of one size. Their bytes are as good as random, as those of an
/// encoder are: what MPEG-TS looks for in them is there as often.
fn temporal_unit(key: bool, frames: usize, size: usize) -> Frame {
    let head: &[u8] = if key { b"\x91av01" } else { b"\xa1av01" };
    let mut body = [head, b"\x12\0"].concat();
    // A header and a size of three bytes.
    let each = (size - body.len()) / frames - 4;
    let mut state = 1u32;
    for _ in 0..frames {
        let [low, middle, high] = [0, 7, 14].map(|shift| (each >> shift & 0x7f) as u8);
        body.extend_from_slice(&[0x32, low | 0x80, middle | 0x80, high]);
        body.extend((0..each).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }));
    }
    Frame::parse(FrameKind::Video, 40_000, body.into()).expect("a well-formed body")
}

type Case = (&'static str, Box<dyn Muxer>, Vec<(&'static str, Frame)>);

/// Each format with frames that it has a place for.
fn formats() -> Vec<Case> {
    let tracks = tracks();
    let audio = || ("audio 300 B", frame(FrameKind::Audio, &[0xaf, 1], 300));
    let pictures = || {
        [
            ("video 5 KB", picture(&[0x27, 1, 0, 0, 40], 5_000)),
            ("keyframe 40 KB", picture(&[0x17, 1, 0, 0, 40], 40_000)),
        ]
    };
    let both = || std::iter::once(audio()).chain(pictures()).collect();
    let mp3 = frame(FrameKind::Audio, &[0x2f, 0xff, 0xfb, 0x90, 0x64], 418);
    let chunks = RtmpMux { chunk_size: 60_000 };
    let enhanced = frame(FrameKind::Video, b"\x91hvc1\0\0\x28", 40_000);
    let mut flv: Vec<_> = both();
    flv.push(("e-rtmp 40 KB", enhanced));
    flv.push(("e-rtmp av1 40 KB", temporal_unit(true, 1, 40_000)));
    let av1 = vec![
        ("av1 5 KB", temporal_unit(false, 1, 5_000)),
        // One to be shown, and one that only others refer to.
        ("av1 5 KB of two frames", temporal_unit(false, 2, 5_000)),
        ("av1 keyframe 40 KB", temporal_unit(true, 1, 40_000)),
    ];
    let of_av1 = tracks_with(AV1_HEADER);
    vec![
        ("flv", Box::new(MUX), flv),
        ("ts", Box::new(TsMux::new(&tracks)), both()),
        ("ts of av1", Box::new(TsMux::new(&of_av1)), av1),
        ("aac", Box::new(AacMux::new(&tracks)), vec![audio()]),
        ("mp3", Box::new(Mp3Mux::new()), vec![("audio 418 B", mp3)]),
        ("rtmp", Box::new(chunks), both()),
    ]
}

/// Frames over which what is taken from the heap is averaged.
const ROUNDS: u64 = 1000;

fn write(c: &mut Criterion) {
    for (format, mut mux, frames) in formats() {
        let mut group = c.benchmark_group(format!("{format} write"));
        for (name, mut frame) in frames {
            let mut out = BytesMut::with_capacity(64 * 1024);
            let mut next = |out: &mut BytesMut| {
                out.clear();
                frame.dts_ms += 20;
                mux.write(black_box(&frame), out);
                out.len()
            };
            assert!(next(&mut out) > 0, "{format} has no place for {name}");
            let before = (BYTES.load(Ordering::Relaxed), TIMES.load(Ordering::Relaxed));
            for _ in 0..ROUNDS {
                black_box(next(&mut out));
            }
            let bytes = (BYTES.load(Ordering::Relaxed) - before.0) as f64 / ROUNDS as f64;
            let times = (TIMES.load(Ordering::Relaxed) - before.1) as f64 / ROUNDS as f64;
            println!("{format} write/{name}: {bytes:.1} bytes in {times:.2} allocations a frame");
            group.throughput(Throughput::Bytes(next(&mut out) as u64));
            group.bench_function(name, |b| b.iter(|| black_box(next(&mut out))));
        }
        group.finish();
    }
    conversion(c);
}

/// A frame of AAC that becomes MP3: silence of the decoder's, which the encoder works on as on sound.
#[cfg(feature = "transcode")]
fn conversion(c: &mut Criterion) {
    use pingora_live::mux::Transcoder;
    let mut transcoder = Transcoder::new(128);
    let mut out = Vec::new();
    transcoder.push(
        &frame(FrameKind::Audio, &[0xaf, 0, 0x12, 0x10], 4),
        &mut out,
    );
    let mut silence = frame(FrameKind::Audio, b"\xaf\x01\x21\x10\x04\x60\x8c\x1c", 8);
    c.bench_function("aac to mp3/1024 samples", |b| {
        b.iter(|| {
            out.clear();
            silence.dts_ms += 21;
            transcoder.push(black_box(&silence), &mut out);
            black_box(out.len())
        });
    });
}

#[cfg(not(feature = "transcode"))]
fn conversion(_: &mut Criterion) {}

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
