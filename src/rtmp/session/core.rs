//! What the sessions of both ends have in common: the calls of their driver, around a dialogue that each has of its own.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::wire::Wire;
use crate::rtmp::error::{Phase, ProtocolError};
use crate::rtmp::limits::{MAX_HELD_INPUT_BYTES, MAX_OUTPUT_BYTES, MAX_PENDING_EVENTS};

/// A session beside its dialogue. `E`: its events; `F`: why it ends.
#[derive(Debug)]
pub(super) struct Core<E, F> {
    /// The time of the last call that brought one.
    pub(super) now: Instant,
    /// When the phase began that [`Dialogue::phase`] is about.
    pub(super) phase_since: Instant,
    pub(super) wire: Wire,
    pub(super) events: VecDeque<E>,
    /// Output since the last poll that is replies to what the peer sent.
    unanswered: usize,
    failure: Option<F>,
}

impl<E, F> Core<E, F> {
    pub(super) fn new(window_ack_size: u32, now: Instant) -> Self {
        Core {
            now,
            phase_since: now,
            wire: Wire::new(window_ack_size),
            events: VecDeque::new(),
            unanswered: 0,
            failure: None,
        }
    }

    /// Bytes to send. What is polled no longer counts against [`MAX_OUTPUT_BYTES`].
    pub(super) fn poll_output(&mut self) -> Option<Bytes> {
        self.unanswered = 0;
        self.wire.poll_output()
    }
}

/// A session's own part, and, as far as they are the same for all, the calls of its driver.
pub(super) trait Dialogue {
    type Event;
    type Failure: Clone + From<ProtocolError>;

    fn core(&self) -> &Core<Self::Event, Self::Failure>;
    fn core_mut(&mut self) -> &mut Core<Self::Event, Self::Failure>;

    /// What is waited for with a deadline, and for how long.
    fn phase(&self) -> Option<(Phase, Duration)>;

    /// Whether the driver has to answer before more is decoded.
    fn holds(&self) -> bool;

    /// Decodes one thing. False when there is not enough input for it.
    fn step(&mut self) -> Result<bool, Self::Failure>;

    /// Whether the peer is told what came.
    fn acknowledges(&self) -> bool;

    /// The session ends with `failure`: says so to a peer that can understand, and is in no phase from now on.
    fn close_with(&mut self, failure: &Self::Failure);

    fn handle_input(&mut self, now: Instant) -> Result<(), Self::Failure> {
        let core = self.core_mut();
        core.now = now;
        if core.failure.is_some() {
            core.wire.drop_input();
        }
        self.pump();
        self.verdict()
    }

    fn poll_event(&mut self) -> Option<Self::Event> {
        if self.core().events.is_empty() {
            self.pump();
        }
        self.core_mut().events.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        let core = self.core();
        if core.failure.is_some() {
            return Some(core.now);
        }
        self.phase().map(|(_, limit)| core.phase_since + limit)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Self::Failure> {
        self.core_mut().now = now;
        if self.core().failure.is_none()
            && let Some((phase, after)) = self.phase()
            && now >= self.core().phase_since + after
        {
            self.fail(ProtocolError::TimedOut { phase, after }.into());
        }
        self.verdict()
    }

    fn verdict(&self) -> Result<(), Self::Failure> {
        self.core().failure.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self, failure: Self::Failure) {
        self.close_with(&failure);
        let core = self.core_mut();
        core.wire.drop_input();
        core.failure = Some(failure);
    }

    /// Decodes until the input is used up, the events are enough, or an answer is waited for.
    fn pump(&mut self) {
        while self.core().failure.is_none() && self.core().events.len() < MAX_PENDING_EVENTS {
            if self.holds() {
                if self.core().wire.input.len() > MAX_HELD_INPUT_BYTES {
                    let position = self.core().wire.position();
                    self.fail(ProtocolError::HeldInputOverflow { position }.into());
                }
                break;
            }
            let before = self.core().wire.output.len();
            match self.step() {
                Ok(true) => {
                    let core = self.core_mut();
                    core.unanswered += core.wire.output.len().saturating_sub(before);
                    if core.unanswered > MAX_OUTPUT_BYTES {
                        let position = core.wire.position();
                        self.fail(ProtocolError::OutputOverflow { position }.into());
                    }
                }
                Ok(false) => break,
                Err(failure) => self.fail(failure),
            }
        }
        if self.acknowledges() {
            self.core_mut().wire.acknowledge();
        }
    }
}
