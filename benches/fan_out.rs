//! The fan-out as it is: players that came by requests, and the worker that writes each unit to all of them, over sockets in memory. Beside
//! it, the same bytes through the same sockets with nothing between: what is more than that is the worker's own, the hub's part included.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pingora::proxy::Session;
use pingora_live::hub::{Publisher, StreamKey};
use pingora_live::media::FrameKind;
use pingora_live::{Handled, Live, config};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};

const FRAME: usize = 5_000;
const GOP: u32 = 50;
/// What a socket holds, in bytes: a few units.
const SOCKET: usize = 64 * 1024;
const REQUEST: &[u8] = b"GET /live/x.flv HTTP/1.1\r\nHost: a\r\n\r\n";
const PLAYERS: [usize; 3] = [1, 100, 1000];

/// A server with one stream, and the other ends of its players' sockets.
struct Rig {
    publisher: Publisher,
    key: Bytes,
    inter: Bytes,
    time: u32,
    players: Vec<DuplexStream>,
    /// A unit as a player gets it, in bytes.
    unit: usize,
    room: Vec<u8>,
    /// Keeps the server.
    _live: Live,
}

impl Rig {
    async fn new(players: usize) -> Self {
        let live = Live::new(config::Live::default());
        let key = StreamKey::new(config::DEFAULT_VHOST, "live", "x").expect("a name");
        let settings = Arc::new(config::Vhost::default());
        let publisher = live
            .hub()
            .publish(key, &settings, Instant::now())
            .expect("a claim");
        let body = |first: u8| {
            let mut body = vec![0x5a; FRAME];
            body.splice(..5, [first, 1, 0, 0, 0]);
            Bytes::from(body)
        };
        let mut rig = Self {
            publisher,
            key: body(0x17),
            inter: body(0x27),
            time: 0,
            players: Vec::new(),
            unit: 0,
            room: vec![0; SOCKET],
            _live: live.clone(),
        };
        rig.push();
        for _ in 0..players {
            let (theirs, mut ours) = duplex(SOCKET);
            ours.write_all(REQUEST).await.expect("room for a request");
            let mut session = Session::new_h1(Box::new(theirs));
            let asked = session.downstream_session.read_request().await;
            assert!(asked.expect("a request"));
            let handled = live.handle(&mut session).await.expect("a player");
            assert!(handled == Handled::Yes);
            rig.players.push(ours);
        }
        // What joiners are given, and from then on each unit alone.
        rig.push();
        for player in &mut rig.players {
            until_inter_frame(player, &mut rig.room, 2).await;
        }
        rig.push();
        for player in &mut rig.players {
            rig.unit = until_inter_frame(player, &mut rig.room, 1).await;
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

    /// A frame, from the publisher to all players.
    async fn round(&mut self) {
        self.push();
        let unit = self.room.get_mut(..self.unit).expect("a unit has room");
        for player in &mut self.players {
            player.read_exact(unit).await.expect("a unit");
        }
    }
}

/// Reads until so many frames came, and nothing is left. Returns the bytes.
async fn until_inter_frame(player: &mut DuplexStream, room: &mut [u8], frames: usize) -> usize {
    let mut seen = Vec::new();
    // A tag ends with its size, and its chunk with a line's end.
    let mut end = (FRAME as u32 + 11).to_be_bytes().to_vec();
    end.extend_from_slice(b"\r\n");
    while seen.windows(end.len()).filter(|w| *w == end).count() < frames {
        let count = player.read(room).await.expect("an open socket");
        assert!(count > 0, "the stream ended");
        seen.extend_from_slice(&room[..count]);
    }
    assert!(seen.ends_with(&end), "a unit ends with its frame");
    seen.len()
}

fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}

fn worker(c: &mut Criterion) {
    let mut group = c.benchmark_group("a unit to players in memory");
    for players in PLAYERS {
        group.throughput(Throughput::Elements(players as u64));
        let runtime = runtime();
        let mut rig = runtime.block_on(Rig::new(players));
        group.bench_function(BenchmarkId::new("the worker", players), |b| {
            b.iter(|| runtime.block_on(rig.round()));
        });
        let unit = rig.unit;
        drop(rig);
        let mut sockets: Vec<_> = (0..players).map(|_| duplex(SOCKET)).collect();
        let bytes = vec![0x5a; unit];
        let mut room = vec![0; unit];
        group.bench_function(BenchmarkId::new("only the sockets", players), |b| {
            b.iter(|| {
                runtime.block_on(tokio::task::unconstrained(async {
                    for (theirs, _) in &mut sockets {
                        theirs.write_all(&bytes).await.expect("room");
                    }
                    for (_, ours) in &mut sockets {
                        ours.read_exact(&mut room).await.expect("a unit");
                    }
                }));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, worker);
criterion_main!(benches);
