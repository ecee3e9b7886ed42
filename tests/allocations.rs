//! What a published frame costs in memory on its way into the hub, counted at the allocator: one that lies in one chunk is never copied,
//! one that spans chunks is copied once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use pingora_live::config;
use pingora_live::hub::{Format, Hub, HubLimits, Read, StreamKey};
use pingora_live::media::FrameKind;
use pingora_live::rtmp::chunk::{Decoder, Encoder};

/// Smaller ones are bookkeeping: a frame's place in a queue, a name.
const LARGE: usize = 4096;
const FRAME: usize = 100_000;
const CHUNK: u32 = 60_000;

/// Counts large allocations, in times and in bytes, while it is told to.
struct Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
static TIMES: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

fn note(size: usize) {
    if size >= LARGE && COUNTING.load(Ordering::Relaxed) {
        TIMES.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(size, Ordering::Relaxed);
    }
}

// SAFETY: all is left to the system's allocator; counting touches nothing but atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // What it grows by; that a growing buffer may move is the allocator's affair.
        note(size.saturating_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Large allocations during `act`, in times and bytes.
fn counted(act: impl FnOnce()) -> (usize, usize) {
    TIMES.store(0, Ordering::Relaxed);
    BYTES.store(0, Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    act();
    COUNTING.store(false, Ordering::Relaxed);
    (TIMES.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed))
}

/// A video message in chunks of `chunk` bytes.
fn encoded(chunk: u32, size: usize) -> BytesMut {
    let mut body = vec![0x5a; size];
    body.splice(..5, [0x17, 1, 0, 0, 0]);
    let mut out = BytesMut::new();
    let mut encoder = Encoder::new();
    encoder.set_chunk_size(chunk);
    encoder.encode(6, 9, 1, 40, &body, &mut out);
    out
}

fn decoded(chunk: u32, input: &mut BytesMut) -> Bytes {
    let mut decoder = Decoder::new();
    decoder.set_chunk_size(chunk);
    let message = decoder.decode(input).expect("chunks");
    message.expect("a whole message").payload
}

/// One test: the counters are the process's.
#[test]
fn a_frame_is_copied_at_most_once_on_its_way_in() {
    // In one chunk: a slice of what was read.
    let mut input = encoded(FRAME as u32, FRAME);
    let mut payload = Bytes::new();
    let found = counted(|| payload = decoded(FRAME as u32, &mut input));
    assert_eq!(found, (0, 0), "one chunk");
    assert_eq!(payload.len(), FRAME);

    // In two: one buffer, with what such a buffer grows beyond its content.
    let mut input = encoded(CHUNK, FRAME);
    let (_, bytes) = counted(|| payload = decoded(CHUNK, &mut input));
    assert!((FRAME..=2 * FRAME).contains(&bytes), "two chunks: {bytes}");
    // In many: no more than that.
    let mut input = encoded(4096, FRAME);
    let (_, bytes) = counted(|| payload = decoded(4096, &mut input));
    assert!((FRAME..=2 * FRAME).contains(&bytes), "many chunks: {bytes}");

    // The hub keeps it as it is, for as long as nobody plays.
    let hub = Hub::new(HubLimits {
        streams: 0,
        stream_memory: 64 << 20,
        rtmp_chunk_size: CHUNK,
    });
    let settings = Arc::new(config::Vhost::default());
    let key = StreamKey::new(config::DEFAULT_VHOST, "live", "x").expect("a name");
    let publisher = hub
        .publish(key, &settings, Instant::now())
        .expect("a claim");
    let push = |body: Bytes, timestamp| {
        publisher
            .push(FrameKind::Video, timestamp, body, Instant::now())
            .expect("a frame");
    };
    let found = counted(|| push(payload.clone(), 0));
    assert_eq!(found, (0, 0), "nobody plays");

    // With players, whatever their number: one unit for each format, framed where it was muxed.
    let seats: Vec<_> = (0..100)
        .map(|_| publisher.stream().tap(Format::Flv).expect("a seat"))
        .collect();
    let (times, bytes) = counted(|| push(payload.clone(), 40));
    assert!(times <= 2, "a hundred players: {times} allocations");
    assert!(
        (FRAME..FRAME + 8192).contains(&bytes),
        "a hundred players: {bytes}"
    );
    let mut units = Vec::new();
    let found = counted(|| {
        for seat in &seats {
            units.clear();
            assert_eq!(seat.log().read(0, 16, usize::MAX, &mut units), Read::Units);
            assert!(units.iter().all(|unit| unit.data.chunk().len() > FRAME));
        }
    });
    assert_eq!(found, (0, 0), "they share it");
}
