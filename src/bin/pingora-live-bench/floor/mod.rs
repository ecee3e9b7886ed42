//! The least that a server can do: the same bytes in the same rhythm, with one `send` for each player.
//!
//! The bytes are those of the crate's own hub and log; what is left out is everything that knows one player from another. What this costs
//! is what the kernel costs, and what a server costs beside it is the server's own. [`ingest`] is the same for publishers, and
//! [`sealing`] for what TLS encrypts.

mod ingest;
pub(crate) mod sealing;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use pingora_live::config;
use pingora_live::hub::{Format, Hub, HubLimits, Publisher, Seat, StreamKey, Unit};
use pingora_live::media::flv::{TAG_AUDIO, TAG_VIDEO};
use pingora_live::media::{FrameKind, metadata};

use crate::Failure;
use crate::feed::Feed;

const LISTENER: Token = Token(usize::MAX);
const WAIT: Duration = Duration::from_millis(20);
const EVENTS: usize = 1024;
/// The longest request header.
const MAX_REQUEST: usize = 8 * 1024;
const MEMORY: usize = 64 << 20;
const HEADER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nTransfer-Encoding: chunked\r\n\r\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n";

/// What it serves.
pub(crate) struct Plan {
    pub(crate) listen: SocketAddr,
    pub(crate) feed: Feed,
    /// As `mw_latency`.
    pub(crate) merge: Duration,
    /// Nothing: until it is killed.
    pub(crate) duration: Option<Duration>,
    /// Take publishers instead.
    pub(crate) ingest: bool,
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    publisher: Publisher,
    seat: Seat,
    feed: Feed,
    next_token: usize,
    asking: HashMap<Token, Asking>,
    players: Vec<Player>,
    units: Vec<Arc<Unit>>,
    next: u64,
}

/// A connection whose request is not whole yet.
struct Asking {
    socket: TcpStream,
    request: Vec<u8>,
}

struct Player {
    socket: TcpStream,
    /// What the socket did not take.
    rest: Vec<u8>,
    /// It was given a keyframe to start at.
    begun: bool,
}

/// Serves the feed at every path.
pub(crate) fn run(plan: Plan) -> Result<(), Failure> {
    if plan.ingest {
        return ingest::run(plan.listen, plan.duration);
    }
    let mut floor = Floor::new(&plan)?;
    let start = Instant::now();
    let mut events = Events::with_capacity(EVENTS);
    while plan
        .duration
        .is_none_or(|duration| start.elapsed() < duration)
    {
        let wait = floor.step(start)?;
        match floor.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(Failure::Poll)?,
        }
        for ready in &events {
            if ready.token() == LISTENER {
                floor.accept();
            } else {
                floor.ask(ready.token());
            }
        }
    }
    Ok(())
}

impl Floor {
    fn new(plan: &Plan) -> Result<Self, Failure> {
        let bind = |source| Failure::Bind {
            address: plan.listen,
            source,
        };
        let poll = Poll::new().map_err(Failure::Poll)?;
        let mut listener = TcpListener::bind(plan.listen).map_err(bind)?;
        println!("listening http {}", listener.local_addr().map_err(bind)?);
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .map_err(Failure::Poll)?;
        let hub = Hub::new(HubLimits {
            streams: 0,
            stream_memory: MEMORY,
            rtmp_chunk_size: 60_000,
        });
        let mut settings = config::Vhost::default();
        settings.play.mw_latency = plan.merge;
        let inside = |error: String| Failure::Hub(error);
        let key = StreamKey::new(config::DEFAULT_VHOST, "live", "floor")
            .map_err(|error| inside(error.to_string()))?;
        let publisher = hub
            .publish(key, &Arc::new(settings), Instant::now())
            .map_err(|error| inside(error.to_string()))?;
        let seat = publisher
            .stream()
            .tap(Format::Flv)
            .map_err(|error| inside(error.to_string()))?;
        Ok(Self {
            poll,
            listener,
            publisher,
            seat,
            feed: plan.feed.clone(),
            next_token: 0,
            asking: HashMap::new(),
            players: Vec::new(),
            units: Vec::new(),
            next: 0,
        })
    }

    /// Makes what is due, and sends it to all. Returns how long nothing is due.
    fn step(&mut self, start: Instant) -> Result<Duration, Failure> {
        let now = Instant::now();
        while start + self.feed.due() <= now {
            let tag = self.feed.next();
            let timestamp = tag.timestamp();
            let (kind, body) = match tag.kind {
                TAG_AUDIO => (FrameKind::Audio, tag.body),
                TAG_VIDEO => (FrameKind::Video, tag.body),
                _ => metadata::classify(&tag.body),
            };
            self.publisher
                .push(kind, timestamp, body, now)
                .map_err(|error| Failure::Hub(error.to_string()))?;
        }
        self.units.clear();
        self.seat
            .log()
            .read(self.next, usize::MAX, usize::MAX, &mut self.units);
        for unit in &self.units {
            let chunk = unit.data.chunk();
            self.players.retain_mut(|player| player.take(unit, &chunk));
            self.next = unit.seq + 1;
        }
        let due = start + self.feed.due();
        Ok(due.saturating_duration_since(Instant::now()).min(WAIT))
    }

    fn accept(&mut self) {
        while let Ok((mut socket, _)) = self.listener.accept() {
            let token = Token(self.next_token);
            self.next_token += 1;
            let _ = socket.set_nodelay(true);
            let readable = Interest::READABLE;
            if self
                .poll
                .registry()
                .register(&mut socket, token, readable)
                .is_ok()
            {
                let request = Vec::new();
                self.asking.insert(token, Asking { socket, request });
            }
        }
    }

    fn ask(&mut self, token: Token) {
        let Some(mut asking) = self.asking.remove(&token) else {
            return;
        };
        let mut buffer = [0; 2048];
        loop {
            match asking.socket.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => asking
                    .request
                    .extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
        if !asking.request.ends_with(b"\r\n\r\n") {
            if asking.request.len() < MAX_REQUEST {
                self.asking.insert(token, asking);
            }
            return;
        }
        if !asking.request.starts_with(b"GET ") {
            let _ = asking.socket.write(NOT_FOUND);
            return;
        }
        // Nothing more is heard of it until a send fails.
        let _ = self.poll.registry().deregister(&mut asking.socket);
        let mut player = Player {
            socket: asking.socket,
            rest: Vec::new(),
            begun: false,
        };
        if self.begin(&mut player) {
            self.players.push(player);
        }
    }

    /// The header, and the stream from the newest keyframe on.
    fn begin(&mut self, player: &mut Player) -> bool {
        let mut first = HEADER.to_vec();
        if let Some(start) = self.seat.log().join() {
            player.begun = true;
            if let Some(prelude) = &start.prelude {
                first.extend_from_slice(&prelude.full.chunk());
            }
            self.units.clear();
            self.seat
                .log()
                .read(start.seq, usize::MAX, usize::MAX, &mut self.units);
            for unit in self.units.iter().filter(|unit| unit.seq < self.next) {
                first.extend_from_slice(&unit.data.chunk());
            }
        }
        player.send(&first)
    }
}

impl Player {
    /// The next unit, whose chunk this is.
    fn take(&mut self, unit: &Unit, chunk: &[u8]) -> bool {
        if !self.begun {
            let Some(prelude) = &unit.prelude else {
                return true;
            };
            self.begun = true;
            return self.send(&[&prelude.full.chunk(), chunk].concat());
        }
        self.send(chunk)
    }

    /// One `send`, unless the socket is full. False when the player is gone.
    fn send(&mut self, bytes: &[u8]) -> bool {
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(bytes);
            if self.rest.len() > MEMORY {
                return false;
            }
            let rest = std::mem::take(&mut self.rest);
            return self.send(&rest);
        }
        match self.socket.write(bytes) {
            Ok(count) => {
                self.rest
                    .extend_from_slice(bytes.get(count..).unwrap_or_default());
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.rest.extend_from_slice(bytes);
                true
            }
            Err(_) => false,
        }
    }
}
