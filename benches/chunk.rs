//! The chunk layer: what a message costs on its way in and out. Sizes are those of a stream of 1 Mbit/s at 25 fps with AAC.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pingora_live::rtmp::chunk::{Decoder, Encoder};

/// Payload and chunk size: sound; a picture in one chunk; a keyframe in one, and in many as FFmpeg sends it without a larger size.
const CASES: [(&str, usize, u32); 4] = [
    ("audio 300 B", 300, 60_000),
    ("video 5 KB in one chunk", 5_000, 60_000),
    ("video 40 KB in one chunk", 40_000, 60_000),
    ("video 40 KB in chunks of 128", 40_000, 128),
];

fn encoded(size: usize, chunk: u32) -> BytesMut {
    let mut out = BytesMut::new();
    let mut encoder = Encoder::new();
    encoder.set_chunk_size(chunk);
    encoder.encode(6, 9, 1, 40, &vec![0x5a; size], &mut out);
    out
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("chunk decode");
    for (name, size, chunk) in CASES {
        let bytes = encoded(size, chunk);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    let mut decoder = Decoder::new();
                    decoder.set_chunk_size(chunk);
                    (decoder, bytes.clone())
                },
                |(mut decoder, mut input)| black_box(decoder.decode(&mut input)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("chunk encode");
    for (name, size, chunk) in CASES {
        let payload = vec![0x5a; size];
        let mut encoder = Encoder::new();
        encoder.set_chunk_size(chunk);
        let mut out = BytesMut::with_capacity(size * 2);
        let mut timestamp = 0u32;
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                timestamp = timestamp.wrapping_add(40);
                encoder.encode(6, 9, 1, timestamp, black_box(&payload), &mut out);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
