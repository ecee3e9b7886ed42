//! A thread's share of the players.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mio::event::Event as Ready;
use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;

use crate::Failure;
use crate::judge::Judge;
use crate::link::{Link, Side};
use crate::stats::Histogram;
use crate::target::Target;
use crate::wire::{Event, Role, Trouble, Wire};

use super::{Handshakes, Plan, Shared, Verified};

/// How often those who only throw away look at their sockets. The server's `send` need not wake anyone meanwhile, as it need not for
/// players on other machines.
const LAZY: Duration = Duration::from_millis(10);
/// The longest wait for an event.
const WAIT: Duration = Duration::from_millis(20);
/// Shorter pauses lie between the pieces of one write.
const PIECE: Duration = Duration::from_millis(2);
const EVENTS: usize = 1024;
const BUFFER: usize = 64 * 1024;
/// What is thrown away at once; nothing is written there.
const ROOM: usize = 1 << 20;

/// What a thread found.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) first_byte: Histogram,
    pub(super) first_keyframe: Histogram,
    pub(super) gaps: Histogram,
    pub(super) delay: Histogram,
    pub(super) handshakes: Handshakes,
    pub(super) verified: Verified,
    pub(super) errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn merge(&mut self, other: Self) {
        self.first_byte.merge(&other.first_byte);
        self.first_keyframe.merge(&other.first_keyframe);
        self.gaps.merge(&other.gaps);
        self.delay.merge(&other.delay);
        self.handshakes.full += other.handshakes.full;
        self.handshakes.resumed += other.handshakes.resumed;
        self.handshakes.suite = self.handshakes.suite.take().or(other.handshakes.suite);
        self.verified.connections += other.verified.connections;
        self.verified.tags += other.verified.tags;
        self.verified.skips += other.verified.skips;
        for (what, count) in other.verified.problems {
            *self.verified.problems.entry(what).or_default() += count;
        }
        for (why, count) in other.errors {
            *self.errors.entry(why).or_default() += count;
        }
    }

    fn failed(&mut self, trouble: &Trouble, count: u64) {
        *self.errors.entry(trouble.0.clone()).or_default() += count;
    }
}

/// See the module.
pub(super) struct Crew {
    poll: Poll,
    tls: Arc<ClientConfig>,
    /// When each connection comes, and where its players go; the last one first.
    to_come: Vec<(Instant, Vec<Target>)>,
    /// They are read to the end.
    sampled: bool,
    connections: Vec<Option<Connection>>,
    /// Players that have not come to a keyframe yet.
    joining: usize,
    buffer: Vec<u8>,
    room: Vec<MaybeUninit<u8>>,
    tally: Tally,
}

/// One connection, with one player; over HTTP/2, with several.
struct Connection {
    link: Link,
    wire: Wire,
    begin: Instant,
    players: Vec<Player>,
}

struct Player {
    judge: Judge,
    state: State,
    /// When the first byte of the stream came.
    first_byte: Option<Instant>,
    last_read: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No keyframe came yet.
    Joining,
    Playing,
    Gone,
}

impl Crew {
    /// The threads' shares: the sample, then the others.
    pub(super) fn all(plan: &Plan, start: Instant) -> Result<Vec<Self>, Failure> {
        let others = plan.threads.max(1);
        let mut crews = (0..=others)
            .map(|_| Self::new(Arc::clone(&plan.tls)))
            .collect::<Result<Vec<_>, _>>()?;
        let each = plan.streams_per_connection.max(1);
        let connections = plan.players.div_ceil(each);
        // All players of a connection are looked at, or none.
        let sample = plan.sample.div_ceil(each).min(connections);
        let mut taken = 0;
        for connection in 0..connections {
            // Evenly spread: the place of a player in the server's order decides when it is written to.
            let sampled = (connection + 1) * sample / connections > taken;
            taken += usize::from(sampled);
            let crew = if sampled { 0 } else { 1 + connection % others };
            let offset = plan.ramp.mul_f64(connection as f64 / connections as f64);
            let first = connection * each;
            let players = first..plan.players.min(first + each);
            let targets: Vec<Target> = players
                .filter_map(|player| plan.targets.get(player % plan.targets.len().max(1)))
                .cloned()
                .collect();
            if let Some(crew) = crews.get_mut(crew) {
                crew.to_come.push((start + offset, targets));
            }
        }
        for (index, crew) in crews.iter_mut().enumerate() {
            crew.sampled = index == 0;
            crew.to_come.reverse();
        }
        crews.retain(|crew| !crew.to_come.is_empty());
        Ok(crews)
    }

    fn new(tls: Arc<ClientConfig>) -> Result<Self, Failure> {
        Ok(Self {
            poll: Poll::new().map_err(Failure::Poll)?,
            tls,
            to_come: Vec::new(),
            sampled: false,
            connections: Vec::new(),
            joining: 0,
            buffer: vec![0; BUFFER],
            room: Vec::new(),
            tally: Tally::default(),
        })
    }

    /// Plays until all is done.
    pub(super) fn run(mut self, shared: &Shared) -> Result<Tally, Failure> {
        self.room.resize(ROOM, MaybeUninit::uninit());
        let mut events = Events::with_capacity(EVENTS);
        while !shared.is_done() {
            self.let_come(shared);
            let busy = self.sampled || self.joining > 0 || !self.to_come.is_empty();
            let wait = if busy {
                let next = self.to_come.last().map_or(WAIT, |(due, _)| {
                    due.saturating_duration_since(Instant::now())
                });
                WAIT.min(next)
            } else {
                thread::sleep(LAZY);
                Duration::ZERO
            };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(Failure::Poll)?,
            }
            let mut bytes = 0;
            for ready in &events {
                bytes += self.turn(ready, shared);
            }
            shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        for connection in self.connections.iter().flatten() {
            self.tally.handshakes.count(&connection.link);
            for player in &connection.players {
                if self.sampled && player.state == State::Playing {
                    self.tally.verified.count(&player.judge);
                }
            }
        }
        Ok(self.tally)
    }

    /// Begins the connections that are due.
    fn let_come(&mut self, shared: &Shared) {
        let now = Instant::now();
        while let Some((_, targets)) = self.to_come.pop_if(|(due, _)| *due <= now) {
            match self.connect(&targets) {
                Ok(connection) => {
                    self.joining += targets.len();
                    self.connections.push(Some(connection));
                }
                Err(trouble) => {
                    let count = targets.len() as u64;
                    shared.failed.fetch_add(count, Ordering::Relaxed);
                    self.tally.failed(&trouble, count);
                }
            }
        }
    }

    fn connect(&mut self, targets: &[Target]) -> Result<Connection, Trouble> {
        let begin = Instant::now();
        let (wire, hello) = Wire::new(targets, Role::Play)?;
        let first = targets
            .first()
            .ok_or_else(|| Trouble("nothing to play".to_owned()))?;
        let mut link = Link::connect(first, &self.tls)?;
        let token = Token(self.connections.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut link.socket, token, interest)?;
        link.send(&hello)?;
        let player = |_: &Target| Player {
            judge: Judge::default(),
            state: State::Joining,
            first_byte: None,
            last_read: None,
        };
        Ok(Connection {
            link,
            wire,
            begin,
            players: targets.iter().map(player).collect(),
        })
    }

    /// Returns the bytes that came.
    fn turn(&mut self, ready: &Ready, shared: &Shared) -> usize {
        let Some(slot) = self.connections.get_mut(ready.token().0) else {
            return 0;
        };
        let Some(connection) = slot else {
            return 0;
        };
        let closing = ready.is_read_closed() || ready.is_error();
        let mut bytes = 0;
        let mut result = if ready.is_writable() {
            connection.link.flush().map_err(Trouble::from)
        } else {
            Ok(())
        };
        let mut look = Look {
            tally: &mut self.tally,
            joining: &mut self.joining,
            sampled: self.sampled,
            shared,
        };
        if result.is_ok() && (ready.is_readable() || closing) {
            (bytes, result) = if look.sampled || connection.is_joining() {
                connection.look(closing, &mut self.buffer, &mut look)
            } else if connection.wire.must_read() {
                connection.skim(closing, &mut self.buffer, &mut look)
            } else {
                connection.throw_away(closing, &mut self.room)
            };
        }
        match result {
            Ok(()) if connection.players.iter().any(|p| p.state != State::Gone) => return bytes,
            // Of each player it was told why.
            Ok(()) => {}
            Err(trouble) => {
                for player in &mut connection.players {
                    look.lose(player, &trouble);
                }
            }
        }
        self.tally.handshakes.count(&connection.link);
        *slot = None;
        bytes
    }
}

/// What a look at a connection changes besides it.
struct Look<'a> {
    tally: &'a mut Tally,
    joining: &'a mut usize,
    sampled: bool,
    shared: &'a Shared,
}

impl Look<'_> {
    /// Something of a player's stream came at `now` and `clock`.
    fn came(
        &mut self,
        player: &mut Player,
        begin: Instant,
        (now, clock): (Instant, SystemTime),
        event: &Event,
    ) {
        let (start, sent) = match event {
            Event::Tag(kind, timestamp, body) => {
                let seen = player.judge.see(*kind, *timestamp, body);
                (seen.start, seen.sent)
            }
            Event::Opaque => (true, None),
            Event::MayPublish | Event::Over(_) => return,
        };
        let measuring = self.shared.is_measuring();
        if let Some(last) = player.last_read.replace(now)
            && measuring
            && now - last >= PIECE
        {
            self.tally.gaps.record(now - last);
        }
        if player.first_byte.is_none() {
            player.first_byte = Some(now);
            self.tally.first_byte.record(now - begin);
        }
        if start && player.state == State::Joining {
            player.state = State::Playing;
            self.tally.first_keyframe.record(now - begin);
            *self.joining -= 1;
            self.shared.playing.come(now);
        }
        if let Some(sent) = sent.filter(|_| measuring) {
            let took = clock.duration_since(sent);
            self.tally.delay.record(took.unwrap_or_default());
        }
    }

    fn lose(&mut self, player: &mut Player, trouble: &Trouble) {
        match player.state {
            State::Gone => return,
            State::Joining => {
                *self.joining -= 1;
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
            }
            State::Playing => {
                self.shared.playing.leave(Instant::now());
                self.shared.left.fetch_add(1, Ordering::Relaxed);
                if self.sampled {
                    self.tally.verified.count(&player.judge);
                }
            }
        }
        player.state = State::Gone;
        self.tally.failed(trouble, 1);
    }
}

impl Connection {
    fn is_joining(&self) -> bool {
        self.players.iter().any(|p| p.state == State::Joining)
    }

    /// Reads what came, tag by tag.
    fn look(
        &mut self,
        closing: bool,
        buffer: &mut [u8],
        look: &mut Look<'_>,
    ) -> (usize, Result<(), Trouble>) {
        let Self {
            link,
            wire,
            begin,
            players,
        } = self;
        let mut bytes = 0;
        let mut out = Vec::new();
        let side = link.read(closing, buffer, |came| {
            bytes += came.len();
            // Before it is looked at: that takes time, too.
            let now = (Instant::now(), SystemTime::now());
            wire.feed(came, &mut out, &mut |index, event| {
                let Some(player) = players.get_mut(index) else {
                    return;
                };
                match &event {
                    Event::Over(trouble) => look.lose(player, trouble),
                    event => look.came(player, *begin, now, event),
                }
            })
        });
        (bytes, answered(link, side, &out))
    }

    /// Reads what came, and throws away what it can.
    fn skim(
        &mut self,
        closing: bool,
        buffer: &mut [u8],
        look: &mut Look<'_>,
    ) -> (usize, Result<(), Trouble>) {
        let Self {
            link,
            wire,
            players,
            ..
        } = self;
        let mut bytes = 0;
        let mut out = Vec::new();
        let side = link.read(closing, buffer, |came| {
            bytes += came.len();
            wire.skim(came, &mut out, &mut |index, event| {
                if let (Some(player), Event::Over(trouble)) = (players.get_mut(index), event) {
                    look.lose(player, &trouble);
                }
            })
        });
        (bytes, answered(link, side, &out))
    }

    fn throw_away(
        &mut self,
        closing: bool,
        room: &mut [MaybeUninit<u8>],
    ) -> (usize, Result<(), Trouble>) {
        match self.link.discard(closing, room) {
            Ok((bytes, Side::Open)) => {
                let mut out = Vec::new();
                self.wire.discarded(bytes, &mut out);
                if out.is_empty() {
                    return (bytes, Ok(()));
                }
                (bytes, self.link.send(&out).map_err(Trouble::from))
            }
            Ok((bytes, Side::Closed)) => (bytes, Err(Trouble::closed())),
            Err(error) => (0, Err(error.into())),
        }
    }
}

/// Sends what there is to say to what was read.
fn answered(link: &mut Link, side: Result<Side, Trouble>, out: &[u8]) -> Result<(), Trouble> {
    match side? {
        Side::Open if out.is_empty() => Ok(()),
        Side::Open => link.send(out).map_err(Trouble::from),
        Side::Closed => Err(Trouble::closed()),
    }
}

impl Handshakes {
    fn count(&mut self, link: &Link) {
        match link.resumed() {
            Some(true) => self.resumed += 1,
            Some(false) => self.full += 1,
            None => {}
        }
        if self.suite.is_none() {
            self.suite = link.suite();
        }
    }
}

impl Verified {
    fn count(&mut self, judge: &Judge) {
        self.connections += 1;
        self.tags += judge.tags;
        self.skips += judge.skips;
        for (what, count) in &judge.problems {
            *self.problems.entry((*what).to_owned()).or_default() += count;
        }
    }
}
