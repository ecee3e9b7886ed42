//! The time of a transport stream: clock references, timestamps, and when tables and clock references are due.
//!
//! The program clock is the stream's timeline: at a frame with the decoding time `dts_ms` it shows `dts_ms * 90`, or, since
//! tracks are interleaved loosely, the latest such time so far. Timestamps lie [`DELAY_MS`] after it, so that a frame is never
//! due before it is there, although it may come up to that much later than a frame of another track.

/// How far timestamps lie after the clock, in milliseconds. A player that times its output by the clock (VLC, set-top
/// boxes) shows a frame that much later than it could; encoders are known to interleave audio and video by up to some
/// hundred milliseconds. FFmpeg has 700 ms.
pub const DELAY_MS: u64 = 500;

/// The longest interval of clock references in stream time, in milliseconds. ISO/IEC 13818-1 §2.7.2 demands 100 ms, ETSI
/// TS 101 154 recommends 40 ms. In frames that come farther apart, references for the time between are made up: what counts is
/// their values, because they say when each byte is due.
pub const PCR_INTERVAL_MS: u64 = 40;

/// The longest interval of PAT and PMT in stream time, in milliseconds: what ETSI TS 101 154 demands, and the longest
/// time that a player waits who starts to listen in the middle.
pub const PSI_INTERVAL_MS: u64 = 100;

/// When the clock advances by more than this at once, in milliseconds, the interval is not filled with clock references:
/// one tiny message could else make much output.
const MAX_FILLED_MS: u64 = 1_000;

/// When a frame comes that much before or after the clock, in milliseconds, another clock begins. Up to this it is a pause, or
/// a stream that is interleaved badly.
const MAX_JUMP_MS: u64 = 10_000;

/// A track whose time goes back by more than this, in milliseconds, has begun another timeline: timestamps are not held back
/// to be ascending then. Only streams whose timeline is not corrected (`time_jitter: off`) do that.
const MAX_BACK_MS: u64 = 250;

/// The largest amount by which decoding times are moved ahead when a publisher states presentation times before them, in
/// milliseconds. Half of [`DELAY_MS`], so that the other half is left for loose interleaving.
const MAX_NEGATIVE_COMPOSITION_MS: u64 = DELAY_MS / 2;

/// A point in time, in 1/90,000 s, not wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hz90k(u64);

impl Hz90k {
    fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(90))
    }

    /// As it stands on the wire: 33 bits, so it begins again at 0 every 26.5 hours.
    pub(super) fn wrapped(self) -> u64 {
        self.0 & ((1 << 33) - 1)
    }
}

/// A clock reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pcr {
    pub(super) at: Hz90k,
    /// Another clock begins here (§2.4.3.5, discontinuity_indicator).
    pub(super) discontinuity: bool,
}

/// The program clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    /// Stream time; None before the first frame.
    now_ms: Option<u64>,
    /// By how much it advanced last.
    step_ms: u64,
    /// The newest clock reference; None when none was written since the clock began.
    pcr_ms: Option<u64>,
    /// When tables were written last.
    psi_ms: Option<u64>,
    discontinuity: bool,
}

impl Clock {
    /// A frame comes; `last_ms` is the time of the one before on its track. True when another clock begins.
    pub(super) fn advance(&mut self, dts_ms: u64, last_ms: Option<u64>) -> bool {
        let Some(now) = self.now_ms else {
            self.now_ms = Some(dts_ms);
            return false;
        };
        let back = last_ms.is_some_and(|last| last.saturating_sub(dts_ms) > MAX_BACK_MS);
        let late = now.saturating_sub(dts_ms) > MAX_JUMP_MS;
        let ahead = dts_ms.saturating_sub(now);
        if back || late || ahead > MAX_JUMP_MS {
            *self = Self {
                now_ms: Some(dts_ms),
                discontinuity: true,
                ..Self::default()
            };
            return true;
        }
        if ahead > 0 {
            self.now_ms = Some(dts_ms);
            self.step_ms = ahead;
        }
        if ahead > MAX_FILLED_MS && self.pcr_ms.is_some() {
            self.pcr_ms = Some(dts_ms - PCR_INTERVAL_MS);
        }
        false
    }

    /// The next clock reference, if the newest one is not up to date.
    pub(super) fn next_pcr(&mut self) -> Option<Pcr> {
        let now = self.now_ms?;
        let at = match self.pcr_ms {
            None => now,
            Some(last) if last < now => now.min(last.saturating_add(PCR_INTERVAL_MS)),
            Some(_) => return None,
        };
        self.pcr_ms = Some(at);
        Some(Pcr {
            at: Hz90k::from_ms(at),
            discontinuity: std::mem::take(&mut self.discontinuity),
        })
    }

    /// Whether the newest clock reference is more than `intervals` intervals old.
    pub(super) fn pcr_due(&self, intervals: u64) -> bool {
        match (self.now_ms, self.pcr_ms) {
            (Some(now), Some(last)) => now.saturating_sub(last) > intervals * PCR_INTERVAL_MS,
            (now, _) => now.is_some(),
        }
    }

    /// How many times [`Clock::next_pcr`] will give one.
    pub(super) fn pcrs(&self) -> usize {
        match (self.now_ms, self.pcr_ms) {
            (Some(now), Some(last)) => now.saturating_sub(last).div_ceil(PCR_INTERVAL_MS) as usize,
            (now, _) => usize::from(now.is_some()),
        }
    }

    /// Whether tables are due: they were not written yet, or it would be too late with the next frame, if that takes as
    /// long to come as this one did.
    pub(super) fn psi_due(&self) -> bool {
        match (self.now_ms, self.psi_ms) {
            (Some(now), Some(last)) => {
                now.saturating_sub(last).saturating_add(self.step_ms) > PSI_INTERVAL_MS
            }
            _ => true,
        }
    }

    /// Tables were written.
    pub(super) fn psi_written(&mut self) {
        self.psi_ms = self.now_ms;
    }

    /// The tables changed, and must be written before anything else.
    pub(super) fn psi_changed(&mut self) {
        self.psi_ms = None;
    }
}

/// The timestamps of one track.
#[derive(Debug, Clone, Default)]
pub(super) struct Stamps {
    /// Time of the newest frame on the stream's timeline.
    last_ms: Option<u64>,
    last_dts: Option<Hz90k>,
    /// How far decoding times are moved ahead, because a presentation time was before its decoding time.
    ahead_ms: u64,
}

impl Stamps {
    pub(super) fn last_ms(&self) -> Option<u64> {
        self.last_ms
    }

    /// Another clock begins.
    pub(super) fn reset(&mut self) {
        self.last_ms = None;
        self.last_dts = None;
    }

    /// PTS and DTS of a frame. DTS ascend, and PTS never lie before them. A frame that is not shown is decoded `early`, in 1/90,000 s, before
    /// the one that is; how it is shown means nothing then.
    pub(super) fn stamp(
        &mut self,
        dts_ms: u64,
        composition_ms: i32,
        nano_offset: u32,
        early: u64,
    ) -> (Hz90k, Hz90k) {
        /// E-RTMP v2: a nanosecond offset is less than a millisecond.
        const MAX_NANO_OFFSET: u32 = 999_999;
        self.last_ms = Some(dts_ms);
        let before = u64::from(composition_ms.min(0).unsigned_abs());
        self.ahead_ms = self.ahead_ms.max(before.min(MAX_NEGATIVE_COMPOSITION_MS));
        let at_ms = dts_ms.saturating_add(DELAY_MS);
        let Hz90k(dts) = Hz90k::from_ms(at_ms - self.ahead_ms);
        let mut dts = Hz90k(dts.saturating_sub(early));
        if let Some(Hz90k(last)) = self.last_dts {
            dts = dts.max(Hz90k(last.saturating_add(1)));
        }
        self.last_dts = Some(dts);
        if early > 0 {
            return (dts, dts);
        }
        let Hz90k(pts) = Hz90k::from_ms(at_ms.saturating_add_signed(composition_ms.into()));
        let nanos = u64::from(nano_offset.min(MAX_NANO_OFFSET));
        let pts = Hz90k(pts.saturating_add(nanos * 9 / 100_000));
        (pts.max(dts), dts)
    }
}
