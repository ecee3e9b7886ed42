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
}

/// See the module.
pub(super) struct Crew {
    poll: Poll,
    tls: Arc<ClientConfig>,
    /// When each player comes, and where it goes; the last one first.
    to_come: Vec<(Instant, Target)>,
    /// They are read to the end.
    sampled: bool,
    players: Vec<Option<Player>>,
    /// Those that have not come to a keyframe yet.
    joining: usize,
    buffer: Vec<u8>,
    room: Vec<MaybeUninit<u8>>,
    tally: Tally,
}

struct Player {
    link: Link,
    wire: Wire,
    judge: Judge,
    begin: Instant,
    /// When the first byte of the stream came.
    first_byte: Option<Instant>,
    playing: bool,
    last_read: Option<Instant>,
}

impl Crew {
    /// The threads' shares: the sample, then the others.
    pub(super) fn all(plan: &Plan, start: Instant) -> Result<Vec<Self>, Failure> {
        let others = plan.threads.max(1);
        let mut crews = (0..=others)
            .map(|_| Self::new(Arc::clone(&plan.tls)))
            .collect::<Result<Vec<_>, _>>()?;
        let players = plan.players.max(1);
        let sample = plan.sample.min(players);
        let mut taken = 0;
        for player in 0..plan.players {
            // Evenly spread: the place of a player in the server's order decides when it is written to.
            let sampled = (player + 1) * sample / players > taken;
            taken += usize::from(sampled);
            let crew = if sampled { 0 } else { 1 + player % others };
            let offset = plan.ramp.mul_f64(player as f64 / players as f64);
            let target = plan.targets.get(player % plan.targets.len().max(1));
            if let (Some(crew), Some(target)) = (crews.get_mut(crew), target) {
                crew.to_come.push((start + offset, target.clone()));
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
            players: Vec::new(),
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
        for player in self.players.iter().flatten() {
            self.tally.handshakes.count(&player.link);
            if self.sampled && player.playing {
                self.tally.verified.count(&player.judge);
            }
        }
        Ok(self.tally)
    }

    /// Begins the connections that are due.
    fn let_come(&mut self, shared: &Shared) {
        let now = Instant::now();
        while let Some((_, target)) = self.to_come.pop_if(|(due, _)| *due <= now) {
            match self.connect(&target) {
                Ok(player) => {
                    self.joining += 1;
                    self.players.push(Some(player));
                }
                Err(error) => {
                    shared.failed.fetch_add(1, Ordering::Relaxed);
                    self.failed(&Trouble::from(error));
                }
            }
        }
    }

    fn connect(&mut self, target: &Target) -> io::Result<Player> {
        let begin = Instant::now();
        let mut link = Link::connect(target, &self.tls)?;
        let token = Token(self.players.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut link.socket, token, interest)?;
        let (wire, hello) = Wire::new(target, Role::Play);
        link.send(&hello)?;
        Ok(Player {
            link,
            wire,
            judge: Judge::default(),
            begin,
            first_byte: None,
            playing: false,
            last_read: None,
        })
    }

    fn failed(&mut self, trouble: &Trouble) {
        *self.tally.errors.entry(trouble.0.clone()).or_default() += 1;
    }

    /// Returns the bytes that came.
    fn turn(&mut self, ready: &Ready, shared: &Shared) -> usize {
        let Some(slot) = self.players.get_mut(ready.token().0) else {
            return 0;
        };
        let Some(player) = slot else {
            return 0;
        };
        let was_playing = player.playing;
        let closing = ready.is_read_closed() || ready.is_error();
        let mut bytes = 0;
        let mut result = if ready.is_writable() {
            player.link.flush().map_err(Trouble::from)
        } else {
            Ok(())
        };
        if result.is_ok() && (ready.is_readable() || closing) {
            let measuring = shared.is_measuring();
            (bytes, result) = if was_playing && !self.sampled {
                player.throw_away(closing, &mut self.room)
            } else {
                player.look(closing, &mut self.buffer, &mut self.tally, measuring)
            };
        }
        if player.playing && !was_playing {
            self.joining -= 1;
            shared.playing.fetch_add(1, Ordering::Relaxed);
        }
        let Err(trouble) = result else {
            return bytes;
        };
        if player.playing {
            shared.playing.fetch_sub(1, Ordering::Relaxed);
            shared.left.fetch_add(1, Ordering::Relaxed);
            if self.sampled {
                self.tally.verified.count(&player.judge);
            }
        } else {
            self.joining -= 1;
            shared.failed.fetch_add(1, Ordering::Relaxed);
        }
        self.tally.handshakes.count(&player.link);
        *slot = None;
        self.failed(&trouble);
        bytes
    }
}

impl Player {
    /// Reads what came, tag by tag.
    fn look(
        &mut self,
        closing: bool,
        buffer: &mut [u8],
        tally: &mut Tally,
        measuring: bool,
    ) -> (usize, Result<(), Trouble>) {
        let now = Instant::now();
        if let Some(last) = self.last_read.replace(now)
            && measuring
            && now - last >= PIECE
        {
            tally.gaps.record(now - last);
        }
        let Self {
            link,
            wire,
            judge,
            begin,
            first_byte,
            playing,
            ..
        } = self;
        let mut bytes = 0;
        let mut out = Vec::new();
        let side = link.read(closing, buffer, |came| {
            bytes += came.len();
            wire.feed(came, &mut out, &mut |event| {
                let (start, sent) = match event {
                    Event::Tag(kind, timestamp, body) => {
                        let seen = judge.see(kind, timestamp, &body);
                        (seen.start, seen.sent)
                    }
                    Event::Opaque => (true, None),
                    Event::MayPublish => return,
                };
                let now = Instant::now();
                if first_byte.is_none() {
                    *first_byte = Some(now);
                    tally.first_byte.record(now - *begin);
                }
                if start && !*playing {
                    *playing = true;
                    tally.first_keyframe.record(now - *begin);
                }
                if let Some(sent) = sent.filter(|_| measuring) {
                    let took = SystemTime::now().duration_since(sent);
                    tally.delay.record(took.unwrap_or_default());
                }
            })
        });
        let result = match side {
            Ok(Side::Open) if out.is_empty() => Ok(()),
            Ok(Side::Open) => link.send(&out).map_err(Trouble::from),
            Ok(Side::Closed) => Err(Trouble("the server closed the connection".to_owned())),
            Err(trouble) => Err(trouble),
        };
        (bytes, result)
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
            Ok((bytes, Side::Closed)) => (
                bytes,
                Err(Trouble("the server closed the connection".to_owned())),
            ),
            Err(error) => (0, Err(error.into())),
        }
    }
}

impl Handshakes {
    fn count(&mut self, link: &Link) {
        match link.resumed() {
            Some(true) => self.resumed += 1,
            Some(false) => self.full += 1,
            None => {}
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
