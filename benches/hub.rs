//! A stream's log: what a frame costs that is appended, and what a look at the log costs a worker.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pingora_live::config;
use pingora_live::hub::{Format, Hub, HubLimits, Publisher, Seat, StreamKey};
use pingora_live::media::FrameKind;

const FRAME: usize = 5_000;
const GOP: u32 = 50;

struct Rig {
    publisher: Publisher,
    /// Keeps the log, if there is one.
    seats: Vec<Seat>,
    key: Bytes,
    inter: Bytes,
    time: u32,
}

impl Rig {
    fn new(formats: &[Format]) -> Self {
        let hub = Hub::new(HubLimits {
            streams: 0,
            stream_memory: 32 << 20,
            rtmp_chunk_size: 60_000,
        });
        let settings = Arc::new(config::Vhost::default());
        let key = StreamKey::new(config::DEFAULT_VHOST, "live", "x").expect("a name");
        let publisher = hub
            .publish(key, &settings, Instant::now())
            .expect("a claim");
        let body = |first: u8| {
            let mut body = vec![0x5a; FRAME];
            body.splice(..5, [first, 1, 0, 0, 0]);
            Bytes::from(body)
        };
        let mut rig = Self {
            publisher,
            seats: Vec::new(),
            key: body(0x17),
            inter: body(0x27),
            time: 0,
        };
        rig.push();
        for format in formats {
            let seat = rig.publisher.stream().tap(*format);
            rig.seats.push(seat.expect("a seat"));
        }
        rig
    }

    fn push(&mut self) {
        let body = if self.time.is_multiple_of(GOP * 40) {
            &self.key
        } else {
            &self.inter
        };
        self.publisher
            .push(FrameKind::Video, self.time, body.clone(), Instant::now())
            .expect("a frame");
        self.time = self.time.wrapping_add(40);
    }
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame into the hub");
    group.throughput(Throughput::Bytes(FRAME as u64));
    for (name, formats) in [
        ("nobody plays", &[][..]),
        ("flv", &[Format::Flv]),
        ("flv and rtmp", &[Format::Flv, Format::Rtmp]),
    ] {
        let mut rig = Rig::new(formats);
        group.bench_function(name, |b| b.iter(|| rig.push()));
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    let mut rig = Rig::new(&[Format::Flv]);
    for _ in 0..2 * GOP {
        rig.push();
    }
    let log = rig.seats.first().expect("a seat").log();
    let (edge, mut units) = (log.next_seq(), Vec::new());
    c.bench_function("log read, one unit at the edge", |b| {
        b.iter(|| {
            units.clear();
            black_box(log.read(edge - 1, 16, usize::MAX, &mut units))
        });
    });
    c.bench_function("log read, a GOP", |b| {
        b.iter(|| {
            units.clear();
            black_box(log.read(edge - u64::from(GOP), 64, usize::MAX, &mut units))
        });
    });
    c.bench_function("log join", |b| b.iter(|| black_box(log.join())));
}

criterion_group!(benches, append, read);
criterion_main!(benches);
