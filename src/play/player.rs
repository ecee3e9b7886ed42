//! A player: a transport, a position in a log, and what is left of the piece being written. No queue, no copy.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;

use crate::access::Grant;
use crate::clients::Card;
use crate::hub::{EndReason, FrameBuilder, Framed, Log, Place, Read, Seat, Unit};
use crate::mux::flv;

use super::Admission;
use super::account::{Account, PlayEnd};
use super::talk::Said;
use super::transport::{Look, Transport};

/// Catching up is done in turns of about this many bytes, so that the ring's lock is not taken for each unit.
const TURN_BYTES: usize = 256 * 1024;
/// And of at most this many units.
const TURN_UNITS: usize = 32;

/// Units that a player lacks are written together, about this many bytes at a time: a few calls for a GOP, and full records of TLS. More
/// would be old by the time that a slow player has it, for what was begun is not skipped.
const WRITE_BYTES: usize = 64 * 1024;
/// Pieces that a player which keeps up has in hand at once; the room for more is given back.
const USUAL_PIECES: usize = 4;

/// Answers to a player that may wait behind a piece that its socket does not take.
const MAX_ANSWERS_QUEUED: usize = 64;

/// See the module.
pub(super) struct Player {
    transport: Transport,
    seat: Seat,
    /// The next unit to be written.
    next: u64,
    phase: Phase,
    /// It asked for a halt: units pass it by.
    paused: bool,
    /// [`Unit::headers_version`] of the last unit written.
    headers_version: u64,
    rebase: Rebase,
    /// What was begun and not written yet. Whatever happens, this goes first: a chunk or a tag is never cut.
    out: VecDeque<Bytes>,
    account: Account,
    /// Its leave to play.
    grant: Grant,
    /// Its place among the connections.
    _admission: Admission,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was sent: the full prelude comes first.
    Join,
    /// Its units were dropped before it read them: it goes on at the next start.
    Resume,
    Playing,
}

/// `start_time`.
#[derive(Clone, Copy)]
pub(super) enum Rebase {
    /// The stream's own timestamps, shared bytes.
    Stream,
    /// Zero at the first unit, which is yet to come.
    ZeroAtStart,
    /// Zero was at this time, in milliseconds.
    From(u64),
}

/// How far a poll came.
#[derive(Debug)]
pub(super) enum Turn {
    /// All that there is was written.
    Edge,
    /// The socket takes no more now.
    Blocked,
    /// All was written, and no more will come.
    Ended(EndReason),
    /// The player is gone.
    Gone(io::Error),
}

impl Player {
    pub(super) fn new(
        transport: Transport,
        seat: Seat,
        rebase: Rebase,
        account: Account,
        grant: Grant,
        admission: Admission,
    ) -> Self {
        Self {
            transport,
            seat,
            next: 0,
            phase: Phase::Join,
            paused: false,
            headers_version: 0,
            rebase,
            out: VecDeque::new(),
            account,
            grant,
            _admission: admission,
        }
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        self.seat.log()
    }

    /// The position: the next unit to be written.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether its machine went away without a word.
    pub(super) fn vanished(&self) -> bool {
        self.transport.vanished()
    }

    /// Whether its leave to play is over.
    pub(super) fn expired(&self, now: Instant) -> bool {
        self.grant.until().is_some_and(|until| now >= until)
    }

    /// When its leave to play is over, if it ends at all.
    pub(super) fn until(&self) -> Option<Instant> {
        self.grant.until()
    }

    /// Bytes that its machine has acknowledged, where that is known.
    pub(super) fn acked(&self) -> Option<u64> {
        self.transport.acked()
    }

    /// Bytes written so far: what tells progress from a stall.
    pub(super) fn written(&self) -> u64 {
        self.account.bytes
    }

    /// Who it is.
    pub(super) fn card(&self) -> &Arc<Card> {
        self.account.card()
    }

    /// Lets those who ask see what it has been given so far.
    pub(super) fn note(&self) {
        self.account.note();
    }

    /// Writes units that follow its position, as a fan-out worker has them at hand. A player that waits for a start takes the first
    /// unit that is one.
    pub(super) fn poll_units(&mut self, cx: &mut Context<'_>, units: &[Arc<Unit>]) -> Turn {
        if self.transport.talks() {
            match self.poll_look(cx) {
                Turn::Edge => {}
                other => return other,
            }
        }
        let position = self.next;
        let mut lacks = units.iter().filter(|unit| unit.seq >= position).peekable();
        let mut taken = 0;
        while let Some(unit) = lacks.next() {
            self.take(unit);
            taken += unit.data.body_len();
            if lacks.peek().is_some() && taken < WRITE_BYTES {
                continue;
            }
            taken = 0;
            match self.poll_drain(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Turn::Gone(error),
                Poll::Pending => return Turn::Blocked,
            }
        }
        Turn::Edge
    }

    /// Writes all that the log has for it, skipping when it has fallen behind too far.
    pub(super) fn poll_catch_up(
        &mut self,
        cx: &mut Context<'_>,
        units: &mut Vec<Arc<Unit>>,
    ) -> Turn {
        loop {
            match self.poll_drain(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Turn::Gone(error),
                Poll::Pending => return Turn::Blocked,
            }
            self.locate();
            units.clear();
            match self
                .seat
                .log()
                .read(self.next, TURN_UNITS, TURN_BYTES, units)
            {
                // Dropped between locating and reading: locate again.
                Read::Lost => {}
                Read::Edge => {
                    if self.out.capacity() > USUAL_PIECES {
                        self.out = VecDeque::new();
                    }
                    return Turn::Edge;
                }
                Read::Ended(reason) => return Turn::Ended(reason),
                Read::Units => match self.poll_units(cx, units) {
                    Turn::Edge => {}
                    other => return other,
                },
            }
        }
    }

    /// Decides where to read: at the join, and after falling behind.
    fn locate(&mut self) {
        let log = self.seat.log();
        if self.phase != Phase::Playing {
            // In this order: what is appended in between may be where it starts.
            let edge = log.next_seq();
            self.next = match log.join() {
                // A player that resumes never goes back to what it has seen.
                Some(start) if start.seq >= self.next && !self.paused => start.seq,
                _ => self.next.max(edge),
            };
            return;
        }
        match log.place(self.next) {
            Place::Here => {}
            Place::Skip(start) => {
                self.account.skips += 1;
                self.next = start.seq;
                self.phase = Phase::Resume;
            }
            Place::NextStart => {
                self.account.skips += 1;
                self.next = log.next_seq();
                self.phase = Phase::Resume;
            }
        }
    }

    /// Queues the bytes of one unit, with what must stand before it.
    fn take(&mut self, unit: &Unit) {
        if self.phase != Phase::Playing {
            let Some(prelude) = unit.prelude.as_ref().filter(|_| !self.paused) else {
                // Not a place to start: let it pass.
                self.next = unit.seq + 1;
                return;
            };
            if let Rebase::ZeroAtStart = self.rebase {
                self.rebase = Rebase::From(unit.dts_ms);
            }
            if self.phase == Phase::Join {
                self.queue(&prelude.full);
            } else if self.headers_version != unit.headers_version {
                self.queue(&prelude.headers);
            }
            self.phase = Phase::Playing;
        }
        self.queue(&unit.data);
        self.next = unit.seq + 1;
        self.headers_version = unit.headers_version;
        self.account.units += 1;
    }

    fn queue(&mut self, framed: &Framed) {
        match self.rebase {
            Rebase::From(base_ms) => {
                let mut builder = FrameBuilder::with_capacity(framed.body_len());
                // FLV timestamps are the low 32 bits.
                flv::rebase(&framed.body(), base_ms as u32, builder.body());
                self.transport.dress(&builder.finish(), &mut self.out);
            }
            _ => self.transport.dress(framed, &mut self.out),
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(self.transport.poll_write(cx, &mut self.out))?;
            if let Some(after) = self.account.wrote(written) {
                self.seat.stream().note_first_byte(after);
            }
        }
        self.transport.poll_flush(cx)
    }

    /// Looks at what the player says, and answers it.
    pub(super) fn poll_look(&mut self, cx: &mut Context<'_>) -> Turn {
        match self.transport.poll_look(cx) {
            Look::Said(Said::Nothing) => Turn::Edge,
            Look::Left(error) => Turn::Gone(error),
            Look::Said(Said::Answer(bytes)) => self.answer(cx, bytes),
            Look::Said(Said::Pause(paused, bytes)) => {
                self.paused = paused;
                if self.phase == Phase::Playing {
                    // What comes meanwhile is lost to it; it goes on at a keyframe.
                    self.phase = Phase::Resume;
                }
                self.answer(cx, bytes)
            }
            Look::Said(Said::Close(bytes)) => {
                self.out.push_back(bytes);
                // As good as it gets: a socket that is full does not hear it.
                let _ = self.poll_drain(cx);
                Turn::Gone(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }

    fn answer(&mut self, cx: &mut Context<'_>, bytes: Bytes) -> Turn {
        if self.out.len() > MAX_ANSWERS_QUEUED {
            // It asks and asks, and reads nothing.
            return Turn::Gone(io::ErrorKind::InvalidInput.into());
        }
        if !bytes.is_empty() {
            // Behind what was begun: no frame is cut.
            self.out.push_back(bytes);
        }
        match self.poll_drain(cx) {
            Poll::Ready(Ok(())) => Turn::Edge,
            Poll::Ready(Err(error)) => Turn::Gone(error),
            Poll::Pending => Turn::Blocked,
        }
    }

    /// Queues the end of the body; [`Player::poll_finish`] writes it.
    pub(super) fn begin_finish(&mut self, reason: EndReason) {
        self.begin_end(PlayEnd::Stream(reason), true);
    }

    /// Queues the end of a play whose stream goes on without it.
    pub(super) fn begin_dismissal(&mut self, end: PlayEnd) {
        self.begin_end(end, false);
    }

    fn begin_end(&mut self, end: PlayEnd, proper: bool) {
        self.account.end = end;
        let last = self.transport.last_piece(proper);
        if !last.is_empty() {
            self.out.push_back(last);
        }
    }

    /// Writes the end of the body and closes.
    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        self.transport.poll_close(cx)
    }

    /// Ends the play without a proper end of its body.
    pub(super) fn abort(&mut self, end: PlayEnd) {
        self.account.end = end;
        self.transport.abort();
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let account = &self.account;
        self.seat.stream().note_sent(account.bytes, account.skips);
    }
}
