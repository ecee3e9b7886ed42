//! What a published frame costs in memory on its way into the hub, counted at the allocator: one that lies in one chunk is never copied,
//! one that spans chunks is copied once, into a buffer with room for it. A copy needs room, and room is counted; where a message in one chunk
//! ends up is looked at besides.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use pingora_live::config;
use pingora_live::hub::{Format, Hub, HubLimits, Read, StreamKey};
use pingora_live::media::FrameKind;
use pingora_live::rtmp::chunk::{Decoder, Encoder};
use pingora_live::rtmp::{
    ClientConfig, ClientSession, Event, Purpose, ServerSession, SessionConfig,
};

/// Smaller ones are bookkeeping: a frame's place in a queue, a name.
const LARGE: usize = 4096;
/// What a session makes room for at once, in bytes: a read buffer.
const READ: usize = 16 << 10;
/// Basic header, message header, extended timestamp (RTMP 1.0 §5.3.1).
const MAX_CHUNK_HEADER: usize = 3 + 11 + 4;
const FRAME: usize = 100_000;
const CHUNK: u32 = 60_000;

/// Counts large allocations, in times and in bytes, while it is told to.
struct Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
/// What is counted has at least so many bytes.
static AT_LEAST: AtomicUsize = AtomicUsize::new(LARGE);
static TIMES: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
/// Bytes in buffers when they grew.
static MOVED: AtomicUsize = AtomicUsize::new(0);

fn note(size: usize) {
    if size >= AT_LEAST.load(Ordering::Relaxed) && COUNTING.load(Ordering::Relaxed) {
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
        if layout.size() >= AT_LEAST.load(Ordering::Relaxed) && COUNTING.load(Ordering::Relaxed) {
            MOVED.fetch_add(layout.size(), Ordering::Relaxed);
        }
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
    MOVED.store(0, Ordering::Relaxed);
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
    chunks_and_hub();
    reads();
}

fn chunks_and_hub() {
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

/// Both ends of a connection in memory, on which a stream is published.
struct Publishing {
    session: ServerSession,
    encoder: Encoder,
    stream_id: u32,
    now: Instant,
}

impl Publishing {
    /// `chunk`: how large the publisher's chunks are from then on.
    fn new(chunk: u32) -> Self {
        let now = Instant::now();
        let config = ClientConfig::new(Purpose::Publish, "live", "rtmp://a/live", "x");
        let mut client = ClientSession::new(config, now);
        let mut session = ServerSession::new(SessionConfig::default(), now);
        let mut stream_id = 0;
        while stream_id == 0 {
            while let Some(bytes) = client.poll_output() {
                session.input().extend_from_slice(&bytes);
            }
            session.handle_input(now).expect("a dialogue");
            while let Some(event) = session.poll_event() {
                match event {
                    Event::Connect(_) => session.accept_connect(),
                    Event::Publish(publish) => {
                        stream_id = publish.stream_id;
                        session.accept_publish(stream_id);
                    }
                    _ => {}
                }
            }
            while let Some(bytes) = session.poll_output() {
                client.input().extend_from_slice(&bytes);
            }
            client.handle_input(now).expect("a dialogue");
            while client.poll_event().is_some() {}
        }
        let mut publishing = Self {
            session,
            encoder: Encoder::new(),
            stream_id,
            now,
        };
        // RTMP 1.0 §5.4.1: Set Chunk Size.
        let mut out = BytesMut::new();
        let encoder = &mut publishing.encoder;
        encoder.encode(2, 1, 0, 0, &chunk.to_be_bytes(), &mut out);
        encoder.set_chunk_size(chunk);
        publishing.receive(&out, &[out.len()], &mut Came::new());
        publishing
    }

    /// So many messages of `size` bytes as they come over the wire, and where each ends.
    fn messages(&mut self, count: u32, size: usize) -> (Vec<u8>, Vec<usize>) {
        let mut body = vec![0x5a; size];
        body.splice(..5, [0x27, 1, 0, 0, 0]);
        let (mut out, mut ends) = (BytesMut::new(), Vec::new());
        for number in 0..count {
            self.encoder
                .encode(6, 9, self.stream_id, 40 * number, &body, &mut out);
            ends.push(out.len());
        }
        (out.to_vec(), ends)
    }

    /// Reads as a socket is read: into the room there is, and at most to the end of each of `sends`. Appends where each piece was put, and
    /// the payloads, which stay as a GOP keeps them.
    fn receive(&mut self, bytes: &[u8], sends: &[usize], came: &mut Came) {
        let mut begin = 0;
        for &end in sends {
            while begin < end {
                let input = self.session.input();
                let count = (input.capacity() - input.len()).min(end - begin);
                came.pieces
                    .push((input.as_ptr() as usize + input.len(), count));
                input.extend_from_slice(&bytes[begin..begin + count]);
                begin += count;
                self.session.handle_input(self.now).expect("chunks");
                while let Some(event) = self.session.poll_event() {
                    if let Event::Media { payload, .. } = event {
                        came.payloads.push(payload);
                    }
                }
                while self.session.poll_output().is_some() {}
            }
        }
    }
}

/// What came of some reads.
struct Came {
    /// Where the bytes of each read were put, and how many.
    pieces: Vec<(usize, usize)>,
    payloads: Vec<Bytes>,
}

impl Came {
    fn new() -> Self {
        Self {
            pieces: Vec::with_capacity(10_000),
            payloads: Vec::with_capacity(10_000),
        }
    }

    /// Bytes of the payloads that are not where a read put them. Each is the end of a message in one chunk; `ends` says where.
    fn copied(&self, ends: &[usize]) -> usize {
        let mut copied = 0;
        for (payload, end) in self.payloads.iter().zip(ends.iter().copied()) {
            let begin = end - payload.len();
            let mut offset = 0;
            for (place, length) in &self.pieces {
                let (from, to) = (begin.max(offset), end.min(offset + length));
                if from < to
                    && place + (from - offset) != payload.as_ptr() as usize + (from - begin)
                {
                    copied += to - from;
                }
                offset += length;
            }
        }
        copied
    }
}

/// From the socket's bytes to the session's events.
fn reads() {
    // A queue of events is no read buffer.
    AT_LEAST.store(READ, Ordering::Relaxed);
    const COUNT: u32 = 100;
    for (size, each) in [
        (300, true),
        (300, false),
        (5_000, true),
        (5_000, false),
        (12_000, false),
    ] {
        let what = format!("{size} bytes, each in a read of its own: {each}");
        let mut publishing = Publishing::new(CHUNK);
        let (bytes, ends) = publishing.messages(COUNT, size);
        let mut came = Came::new();
        let sends = if each { &ends[..] } else { &[bytes.len()] };
        let (times, room) = counted(|| publishing.receive(&bytes, sends, &mut came));
        assert_eq!(came.payloads.len(), COUNT as usize, "{what}");
        let copied = came.copied(&ends);
        if each {
            // What comes whole stays where it came.
            assert_eq!((copied, room), (0, times * READ), "{what}");
            continue;
        }
        // What was part-read when a buffer was full goes on in the next one: of one message for each buffer, that part.
        let carried = room - times * READ;
        assert!(copied > 0, "the case is met: {what}");
        assert!(copied <= times * size, "{what}: {copied}");
        // And once: room was made for what was carried, chunk headers included, and for nothing else.
        assert!(
            (copied..=copied + times * MAX_CHUNK_HEADER).contains(&carried),
            "{what}: {copied} copied, {carried} carried"
        );
        assert_eq!(MOVED.load(Ordering::Relaxed), 0, "{what}");
    }

    AT_LEAST.store(1024, Ordering::Relaxed);
    // One chunk of more than a read, and messages in several chunks: what came is copied once at most, and no buffer is moved while it grows.
    for (chunk, size) in [
        (60_000, 40_000),
        (1_000_000, 200_000),
        (128, 5_000),
        (4096, 5_000),
        (4096, FRAME),
        (60_000, 200_000),
    ] {
        for each in [true, false] {
            let what = format!("{size} bytes in chunks of {chunk}, one by one: {each}");
            let mut publishing = Publishing::new(chunk);
            let (bytes, ends) = publishing.messages(COUNT, size);
            let mut came = Came::new();
            let sends = if each { &ends[..] } else { &[bytes.len()] };
            let (_, room) = counted(|| publishing.receive(&bytes, sends, &mut came));
            assert_eq!(came.payloads.len(), COUNT as usize, "{what}");
            assert_eq!(MOVED.load(Ordering::Relaxed), 0, "{what}");
            // The reads' buffers, and one for each message.
            assert!(
                room <= 5 * bytes.len() / 2,
                "{what}: {room} of {}",
                bytes.len()
            );
        }
    }
}
