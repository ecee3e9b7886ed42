//! The fan-out over in-memory sockets: who gets what when a socket is slow, stuck or gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::account::Account;
use super::limits::Connections;
use super::player::{Player, Rebase};
use super::transport::{Framing, Transport};
use super::wire::Connection;
use super::worker::Workers;
use crate::access::Grant;
use crate::client::Client;
use crate::clients::{Clients, Purpose};
use crate::config::Vhost;
use crate::hub::{Format, Hub, HubLimits, Publisher, StreamKey};
use crate::media::FrameKind;
use crate::media::flv::{FlvReader, FlvTag, TAG_VIDEO};
use crate::observe::Counters;

const STALL: Duration = Duration::from_secs(10);
/// Frames are 40 ms apart, keyframes a second.
const GOP: u32 = 25;

/// A published stream, a worker, and players at the other end of pipes.
struct Rig {
    hub: Hub,
    publisher: Publisher,
    workers: Workers,
    connections: Arc<Connections>,
    counters: Arc<Counters>,
    frames: u32,
}

impl Rig {
    fn new(queue: Duration) -> Self {
        let mut vhost = Vhost::default();
        vhost.play.queue_length = queue;
        vhost.publish.republish_wait = Duration::ZERO;
        let hub = Hub::new(HubLimits {
            streams: 0,
            stream_memory: 32 << 20,
            rtmp_chunk_size: 60_000,
        });
        let key = StreamKey::new("v", "live", "s").unwrap();
        let publisher = hub.publish(key, &Arc::new(vhost), Instant::now()).unwrap();
        let mut rig = Self {
            hub,
            publisher,
            workers: Workers::spawn(1, STALL),
            connections: Connections::new(0, 0, 0),
            counters: Arc::default(),
            frames: 0,
        };
        rig.push(FrameKind::Video, 0, &[0x17, 0, 0, 0, 0, 1, 100, 0, 31]);
        rig.push(FrameKind::Audio, 0, &[0xaf, 0, 0x12, 0x10]);
        rig.frames(1);
        rig
    }

    fn push(&self, kind: FrameKind, at: u32, body: &[u8]) {
        self.publisher
            .push(kind, at, Bytes::copy_from_slice(body), Instant::now())
            .unwrap();
    }

    /// Video frames of 1000 bytes that carry their number.
    fn frames(&mut self, count: u32) {
        for _ in 0..count {
            let n = self.frames;
            let mut body = vec![if n.is_multiple_of(GOP) { 0x17 } else { 0x27 }, 1, 0, 0, 0];
            body.extend_from_slice(&n.to_be_bytes());
            body.resize(1000, 0);
            self.push(FrameKind::Video, n * 40, &body);
            self.frames += 1;
        }
    }

    fn join(&self, pipe: usize, rebase: Rebase) -> DuplexStream {
        let (ours, theirs) = duplex(pipe);
        let seat = self.publisher.stream().open(Format::Flv, 0).unwrap();
        let key = self.publisher.stream().key().clone();
        let client = Client {
            id: 1,
            peer: None,
            protocol: "http1",
            query: String::new(),
            page: None,
            url: String::new(),
            url_query: String::new(),
            via: String::new(),
            secure: false,
        };
        let purpose = Purpose::Play(Format::Flv);
        let presence = Clients::default().enter(client, key, purpose, false);
        let counters = Arc::clone(&self.counters);
        let account = Account::new(counters, presence, Format::Flv, Instant::now());
        let transport = Transport::Socket {
            io: Connection::Layered(Box::new(ours)),
            framing: Framing::Bare,
            talk: None,
        };
        let admission = self.connections.admit(None).unwrap();
        self.workers.add(Player::new(
            transport,
            seat,
            rebase,
            account,
            Grant::default(),
            admission,
        ));
        theirs
    }

    /// Waits until so many players are left.
    async fn wait_for_players(&self, count: usize) {
        let wait = async {
            while self.publisher.stream().players() != count || self.connections.count() != count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), wait)
            .await
            .expect("the players did not leave");
    }
}

/// A player that reads tags.
struct Reader {
    pipe: DuplexStream,
    flv: FlvReader,
}

impl Reader {
    fn new(pipe: DuplexStream) -> Self {
        Self {
            pipe,
            flv: FlvReader::new(),
        }
    }

    /// The next tag; `None` at the end.
    async fn tag(&mut self) -> Option<FlvTag> {
        loop {
            if let Some(tag) = self.flv.poll().unwrap() {
                return Some(tag);
            }
            let mut bytes = vec![0; 64 * 1024];
            let read = timeout(Duration::from_secs(60), self.pipe.read(&mut bytes)).await;
            match read.expect("nothing came for a minute").unwrap() {
                0 => return None,
                read => self.flv.feed(&bytes[..read]),
            }
        }
    }

    /// The number and the time of the next video frame.
    async fn frame(&mut self) -> Option<(u32, u32)> {
        loop {
            let tag = self.tag().await?;
            if tag.kind == TAG_VIDEO && tag.body.get(1) == Some(&1) {
                let number = tag.body.get(5..9).unwrap().try_into().unwrap();
                return Some((u32::from_be_bytes(number), tag.timestamp_ms));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_players_get_every_frame_from_a_keyframe_on() {
    let mut rig = Rig::new(Duration::from_secs(10));
    rig.frames(30);
    let mut players: Vec<Reader> = (0..50)
        .map(|_| Reader::new(rig.join(1 << 20, Rebase::Stream)))
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    rig.frames(30);
    for player in &mut players {
        for expected in GOP..61 {
            assert_eq!(player.frame().await, Some((expected, expected * 40)));
        }
    }
    drop(rig.publisher);
    for player in &mut players {
        assert_eq!(player.frame().await, None, "the body ends");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_player_skips_to_a_keyframe_and_holds_up_nobody() {
    let mut rig = Rig::new(Duration::from_secs(2));
    let mut slow = Reader::new(rig.join(2000, Rebase::Stream));
    let mut quick = Reader::new(rig.join(1 << 22, Rebase::Stream));
    tokio::time::sleep(Duration::from_millis(1)).await;
    // Eight seconds of frames, while the slow one reads nothing (for less than the stall limit).
    for _ in 0..8 {
        rig.frames(25);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for expected in 0..201 {
        assert_eq!(quick.frame().await.map(|f| f.0), Some(expected));
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&200) {
        seen.push(slow.frame().await.expect("it goes on").0);
    }
    let jumps: Vec<(u32, u32)> = seen
        .windows(2)
        .filter(|w| w[1] != w[0] + 1)
        .map(|w| (w[0], w[1]))
        .collect();
    assert!(
        !jumps.is_empty(),
        "it was too far behind not to skip: {seen:?}"
    );
    for (from, to) in jumps {
        assert!(
            to > from && to % GOP == 0,
            "from {from} to {to}, which is no keyframe ahead"
        );
    }
    // At the edge again, it is one of the worker's.
    rig.frames(3);
    assert_eq!(slow.frame().await.map(|f| f.0), Some(201));
    drop((slow, quick));
    rig.frames(200);
    rig.wait_for_players(0).await;
    assert!(rig.counters.snapshot().skips > 0);
}

#[tokio::test(start_paused = true)]
async fn a_player_that_takes_nothing_is_ended() {
    let mut rig = Rig::new(Duration::from_secs(10));
    let stuck = rig.join(500, Rebase::Stream);
    tokio::time::sleep(Duration::from_secs(5)).await;
    rig.frames(5);
    assert_eq!(rig.publisher.stream().players(), 1);
    let before = tokio::time::Instant::now();
    rig.wait_for_players(0).await;
    assert!(before.elapsed() <= STALL);
    assert_eq!(rig.counters.snapshot().stalls, 1);
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn a_trickle_is_no_stall() {
    let mut rig = Rig::new(Duration::from_secs(3600));
    let mut trickle = rig.join(500, Rebase::Stream);
    rig.frames(5);
    for _ in 0..10 {
        tokio::time::sleep(STALL / 2).await;
        let mut byte = [0; 100];
        trickle
            .read_exact(&mut byte)
            .await
            .expect("it is still served");
    }
    assert_eq!(rig.publisher.stream().players(), 1);
}

#[tokio::test(start_paused = true)]
async fn silent_players_that_left_are_noticed_within_ten_seconds() {
    let rig = Rig::new(Duration::from_secs(10));
    let players: Vec<_> = (0..20).map(|_| rig.join(1 << 20, Rebase::Stream)).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.publisher.stream().players(), 20);
    drop(players);
    let before = tokio::time::Instant::now();
    rig.wait_for_players(0).await;
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "the stream is quiet: {:?}",
        before.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn time_may_begin_at_zero_for_each_player() {
    let mut rig = Rig::new(Duration::from_secs(10));
    rig.frames(60);
    let mut player = Reader::new(rig.join(1 << 20, Rebase::ZeroAtStart));
    tokio::time::sleep(Duration::from_millis(1)).await;
    rig.frames(1);
    assert_eq!(player.frame().await, Some((50, 0)));
    assert_eq!(player.frame().await, Some((51, 40)));
}

#[tokio::test(start_paused = true)]
async fn joins_and_leaves_leave_nothing_behind() {
    let mut rig = Rig::new(Duration::from_secs(10));
    for _ in 0..50 {
        let players: Vec<_> = (0..20)
            .map(|i| rig.join(if i % 2 == 0 { 100 } else { 1 << 20 }, Rebase::Stream))
            .collect();
        rig.frames(3);
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(players);
    }
    rig.frames(3);
    rig.wait_for_players(0).await;
    assert_eq!(rig.workers.load(), 0);
    rig.hub.tick(Instant::now());
    rig.hub.tick(Instant::now() + Duration::from_secs(60));
    assert_eq!(rig.publisher.stream().logs(), 0);
}
