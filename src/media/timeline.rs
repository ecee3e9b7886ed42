//! From a publisher's 32-bit timestamps to the stream's 64-bit timeline.
//!
//! [`Timeline::stamp_frame`] is called for each frame in the order in which it came, with the timestamp of its message and
//! the time of its arrival. What comes out is milliseconds since the stream began, never wrapped: a stream of 50 days goes
//! on past 2^32. [`Timeline::restart`] is called when a publisher came back or another took its place.
//!
//! # Full
//! The policy for everyone who has no reason for another. Output starts at 0 and never goes back within a track. The
//! publisher's clock and ours differ by a *shift*, one for all tracks, so what the publisher sent in sync stays in sync. A
//! timestamp that cannot be where its shift puts it opens a new shift, such that the track goes on one usual frame
//! interval after its last frame.
//!
//! A timestamp is believed when it is
//! - not behind the newest one of its track: up to [`MAX_STEP_MS`] behind is no jump but jitter, and takes the time of the
//!   newest, so that jitter moves nothing for good;
//! - and not more than [`MAX_STEP_MS`] ahead of its track, or of the stream (a track may lag another and catch up; one may
//!   start seconds late), or as far ahead as the clock on the wall says with a quarter more (1 fps; a pause), or as far
//!   ahead as the step before (1 fps that comes in a burst). The last two are more than SRS does, which takes each step
//!   of 1 fps for a jump and plays slides in fast motion.
//!
//! The first frame of a track is believed within [`MAX_LAG_MS`] of the others.
//!
//! After a jump the tracks do not change over at the same moment: audio may go on with the old clock for some frames, and a
//! glitch may be one frame long. So each track has its shift, and for each frame these are tried in turn: the stream's newest
//! shift, the track's own, those of the other tracks, the track's former one. Only when none is believable is there a new
//! jump. A track that changes over to a shift that puts it behind its newest frame (at most [`MAX_LAG_MS`]) stands still
//! until it has caught up: lost sync would last, this passes. A track whose clock has nothing to do with the other's has a
//! shift of its own for good.
//!
//! # Zero and Off
//! Zero subtracts the first timestamp and changes nothing else. Off changes nothing at all. Both go past 2^32, and both
//! go back when the publisher does; but not over a restart: what a new publisher sends does not lie before the end of
//! the old one's. Zero continues there one frame interval later; Off only if it would go back otherwise.

use std::time::{Duration, Instant};

use super::codec::Codec;
use super::frame::{Frame, FrameKind};

/// How far a timestamp may step forward, or stand behind its predecessor, without being taken for a jump. The figure of
/// SRS's time_jitter, in milliseconds.
pub const MAX_STEP_MS: u32 = 250;

/// How far from the others a track may begin, and how far behind it may be put when it changes over to their shift, in
/// milliseconds. Encoders interleave within a second; anything further apart than this is another clock.
pub const MAX_LAG_MS: u32 = 3_000;

/// The longest step that may pass for a steady cadence, in milliseconds: one slide in ten seconds.
const MAX_CADENCE_MS: u32 = 10_000;

/// The longest pause that is put where a jump was, in milliseconds.
const MAX_INTERVAL_MS: u32 = 1_000;

/// Intervals to go on with before the track's own is known, in milliseconds: 25 fps, and 1024 samples at 44.1 kHz.
const VIDEO_INTERVAL_MS: u32 = 40;
const AUDIO_INTERVAL_MS: u32 = 23;

/// What to do with timestamps that jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimeJitter {
    /// Start at 0, never go back within a track, close jumps.
    #[default]
    Full,
    /// Start at 0, else as it came.
    Zero,
    /// As it came.
    Off,
}

/// The clock of one stream. See the [module](self) for what it does.
#[derive(Debug, Clone)]
pub struct Timeline {
    policy: TimeJitter,
    /// One for each (kind, track) that was seen; at most 512, because a track id is one byte.
    clocks: Vec<Clock>,
    /// What to add to a timestamp; None before the first frame and after a restart. Under Full it holds modulo 2^32.
    shift: Option<i64>,
    /// Nothing is stamped before it: the time of the last restart.
    floor_ms: u64,
    last_ms: u64,
    /// When the newest frame came.
    arrival: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Clock {
    kind: FrameKind,
    track: u8,
    /// No frame came since the last restart: only `last_ms` and `interval_ms` hold.
    fresh: bool,
    /// The time that was given to its newest frame.
    last_ms: u64,
    /// Full: where its newest frame stands by its shift, whatever it was given. Zero, Off: its unwrapped timestamp.
    position: i64,
    shift: i64,
    former_shift: Option<i64>,
    timestamp: u32,
    /// From the timestamp before to the newest, when that was forward.
    step: Option<u32>,
    /// The usual step: a moving average.
    interval_ms: Option<u32>,
    arrival: Instant,
}

impl Timeline {
    /// A timeline at 0.
    pub fn new(policy: TimeJitter) -> Self {
        Self {
            policy,
            clocks: Vec::new(),
            shift: None,
            floor_ms: 0,
            last_ms: 0,
            arrival: None,
        }
    }

    /// The newest time that was given, of all tracks; 0 before the first frame.
    pub fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// The time for what has none of its own: the newest of its track, or else of the stream. Encoders and relays send
    /// metadata and sequence headers with a timestamp of 0 at any moment.
    pub fn current_ms(&self, kind: FrameKind, track: u8) -> u64 {
        self.clocks
            .iter()
            .find(|clock| clock.kind == kind && clock.track == track)
            .map_or(self.last_ms, |clock| clock.last_ms)
    }

    /// The next frame is of a publisher that came back, or of another: whatever its timestamp, time goes on from
    /// [`Timeline::last_ms`].
    pub fn restart(&mut self) {
        self.shift = None;
        self.arrival = None;
        self.floor_ms = self.last_ms;
        for clock in &mut self.clocks {
            clock.fresh = true;
            clock.last_ms = self.last_ms;
            clock.former_shift = None;
            clock.step = None;
        }
    }

    /// Sets [`Frame::dts_ms`]: by [`Timeline::stamp`] for what is coded, by [`Timeline::current_ms`] for metadata,
    /// data, sequence headers, command frames and empty messages, which disturb nothing.
    ///
    /// `timestamp` is the one of the RTMP message or FLV tag; `now` is when it came.
    pub fn stamp_frame(&mut self, frame: &mut Frame, timestamp: u32, now: Instant) {
        let timeless = frame.sequence_header || frame.codec == Codec::None;
        frame.dts_ms = if timeless {
            self.current_ms(frame.kind, frame.track)
        } else {
            self.stamp(frame.kind, frame.track, timestamp, now)
        };
    }

    /// The time of a coded frame, in milliseconds on the stream's timeline. Metadata and Data get
    /// [`Timeline::last_ms`]. `now` may stand still or go back; it only serves to tell pauses from jumps.
    pub fn stamp(&mut self, kind: FrameKind, track: u8, timestamp: u32, now: Instant) -> u64 {
        if matches!(kind, FrameKind::Metadata | FrameKind::Data) {
            return self.last_ms;
        }
        let index = self.clock(kind, track, now);
        let Some(clock) = self.clocks.get(index).cloned() else {
            return self.last_ms;
        };
        let found = match self.policy {
            TimeJitter::Full => self.full(&clock, timestamp, now),
            TimeJitter::Zero | TimeJitter::Off => self.as_it_came(&clock, timestamp),
        };
        let clock = clock.next(found, timestamp, now);
        let stamped_ms = clock.last_ms;
        if let Some(slot) = self.clocks.get_mut(index) {
            *slot = clock;
        }
        self.last_ms = self
            .clocks
            .iter()
            .map(|clock| clock.last_ms)
            .max()
            .unwrap_or(stamped_ms);
        self.arrival = Some(now);
        stamped_ms
    }

    fn clock(&mut self, kind: FrameKind, track: u8, now: Instant) -> usize {
        let known = self
            .clocks
            .iter()
            .position(|clock| clock.kind == kind && clock.track == track);
        known.unwrap_or_else(|| {
            self.clocks.push(Clock {
                kind,
                track,
                fresh: true,
                last_ms: self.floor_ms,
                position: 0,
                shift: 0,
                former_shift: None,
                timestamp: 0,
                step: None,
                interval_ms: None,
                arrival: now,
            });
            self.clocks.len() - 1
        })
    }

    fn full(&mut self, clock: &Clock, timestamp: u32, now: Instant) -> Found {
        let stream = self.last_ms as i64;
        let track = if clock.fresh {
            stream
        } else {
            clock.last_ms as i64
        };
        let allowed_of_stream = allowance_ms(self.arrival, now);
        let ahead = if clock.fresh {
            // A first frame cannot have jumped: only a clock that is far off is another one.
            stream + allowed_of_stream.max(i64::from(MAX_LAG_MS))
        } else {
            (clock.position.max(track) + allowance_ms(Some(clock.arrival), now))
                .max(stream + allowed_of_stream)
        };
        let try_shift = |shift: i64, reference: i64, behind: i64| {
            let position = nearest(reference, timestamp, shift);
            (behind..=ahead).contains(&position).then_some(Found {
                position,
                shift,
                out: position,
            })
        };
        let step = i64::from(MAX_STEP_MS);
        let lag = i64::from(MAX_LAG_MS);

        let found = self
            .shift
            .filter(|shift| clock.fresh || *shift != clock.shift)
            .and_then(|shift| try_shift(shift, track, track - lag))
            .or_else(|| {
                if clock.fresh {
                    return None;
                }
                let reference = clock.position;
                let found = try_shift(clock.shift, reference, reference - step).or_else(|| {
                    let position = nearest(reference, timestamp, clock.shift);
                    let steady = clock.is_steady(timestamp);
                    steady.then_some(Found {
                        position,
                        shift: clock.shift,
                        out: position,
                    })
                })?;
                // Jitter must not lower the position, or a slow run backwards would never be noticed.
                Some(Found {
                    position: found.position.max(reference),
                    ..found
                })
            })
            .or_else(|| {
                self.clocks
                    .iter()
                    .filter(|other| !other.fresh)
                    .map(|other| other.shift)
                    .chain(clock.former_shift)
                    .find_map(|shift| try_shift(shift, track, track - step))
            });
        let found = found.unwrap_or_else(|| {
            let position = self.next_position(clock, now);
            // Modulo 2^32, so that equal shifts compare equal.
            let shift = i64::from((position as u32).wrapping_sub(timestamp));
            Found {
                position,
                shift,
                out: position,
            }
        });
        if clock.fresh || found.shift != clock.shift {
            self.shift = Some(found.shift);
        }
        Found {
            out: found
                .out
                .max(clock.last_ms as i64)
                .max(self.floor_ms as i64),
            ..found
        }
    }

    /// Where a track goes on after a jump.
    fn next_position(&self, clock: &Clock, now: Instant) -> i64 {
        let interval = i64::from(clock.interval_ms());
        if clock.fresh {
            let goes_on = self.shift.is_none() && self.floor_ms > 0;
            return self.last_ms as i64 + if goes_on { interval } else { 0 };
        }
        // One interval on; but a track that was silent is put beside the others, not back where it stopped.
        let lag = self.last_ms as i64 - clock.last_ms as i64;
        let elapsed = elapsed_ms(Some(clock.arrival), now);
        clock.last_ms as i64 + elapsed.min(lag).max(interval)
    }

    fn as_it_came(&mut self, clock: &Clock, timestamp: u32) -> Found {
        let reference = if !clock.fresh {
            Some(clock.position)
        } else {
            self.clocks
                .iter()
                .filter(|other| !other.fresh)
                .map(|other| other.position)
                .max()
        };
        let position = match reference {
            // A first timestamp of 0 is often followed by large ones: what would be far before 0 is none of a wrap.
            Some(reference) => match nearest(reference, timestamp, 0) {
                position if position < -i64::from(MAX_LAG_MS) => i64::from(timestamp),
                position => position,
            },
            None => i64::from(timestamp),
        };
        let goes_on = self.last_ms as i64 + i64::from(clock.interval_ms());
        let restarted = self.floor_ms > 0;
        let policy = self.policy;
        let shift = *self.shift.get_or_insert(match policy {
            TimeJitter::Off if position >= self.floor_ms as i64 => 0,
            _ if restarted => goes_on - position,
            _ => -position,
        });
        let out = (position + shift).max(self.floor_ms as i64);
        Found {
            position,
            shift,
            out,
        }
    }
}

/// Where a frame was put.
#[derive(Debug, Clone, Copy)]
struct Found {
    position: i64,
    shift: i64,
    out: i64,
}

impl Clock {
    fn interval_ms(&self) -> u32 {
        self.interval_ms.unwrap_or(match self.kind {
            FrameKind::Audio => AUDIO_INTERVAL_MS,
            _ => VIDEO_INTERVAL_MS,
        })
    }

    /// From the newest timestamp to this one, when that is forward.
    fn step_to(&self, timestamp: u32) -> Option<u32> {
        u32::try_from(timestamp.wrapping_sub(self.timestamp) as i32)
            .ok()
            .filter(|step| *step > 0)
    }

    /// Whether the step to this timestamp is about the step before.
    fn is_steady(&self, timestamp: u32) -> bool {
        match (self.step, self.step_to(timestamp)) {
            (Some(before), Some(step)) => {
                step <= MAX_CADENCE_MS && step.abs_diff(before) <= before / 4
            }
            _ => false,
        }
    }

    fn next(mut self, found: Found, timestamp: u32, now: Instant) -> Self {
        let changed = !self.fresh && found.shift != self.shift;
        if !self.fresh {
            self.step = self.step_to(timestamp);
            if changed {
                self.former_shift = Some(self.shift);
            } else if let Some(step) = self.step {
                let step = step.min(MAX_INTERVAL_MS);
                self.interval_ms = Some(
                    self.interval_ms
                        .map_or(step, |usual| (usual * 3 + step).div_ceil(4)),
                );
            }
        }
        self.position = found.position;
        self.shift = found.shift;
        self.fresh = false;
        self.last_ms = found.out.max(0) as u64;
        self.timestamp = timestamp;
        self.arrival = now;
        self
    }
}

/// The value congruent to `timestamp + shift` modulo 2^32 that is nearest to `reference`: this is what unwraps.
fn nearest(reference: i64, timestamp: u32, shift: i64) -> i64 {
    let low = timestamp.wrapping_add(shift as u32);
    reference + i64::from(low.wrapping_sub(reference as u32) as i32)
}

fn elapsed_ms(since: Option<Instant>, now: Instant) -> i64 {
    let elapsed = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
    // Beyond a signed 32-bit difference nothing can be told apart anyway.
    elapsed.as_millis().min(i32::MAX as u128) as i64
}

/// How far ahead a timestamp may be, when the frame before came at `since`.
fn allowance_ms(since: Option<Instant>, now: Instant) -> i64 {
    let elapsed = elapsed_ms(since, now);
    (elapsed + elapsed / 4).max(i64::from(MAX_STEP_MS))
}

#[cfg(test)]
mod tests;
