//! Cuts a stream's frames into the units of one log.

use std::sync::Arc;
use std::time::Instant;

use crate::media::{Frame, FrameKind, Tracks};
use crate::mux::Muxer;

use super::log::Log;
use super::unit::{FrameBuilder, Prelude, Unit};

/// Audio that came without a video frame is written out after this long, in milliseconds. It bounds the delay of audio under a
/// slow video (a slide show of 1 fps), and lies above the interval of 25 fps so that usual streams keep one write a video frame.
const MAX_AUDIO_HOLD_MS: u64 = 60;

/// A log without video lets players start anywhere; its prelude is made anew this often, in milliseconds, so that the
/// time on the headers is near the time of the first frame.
const AUDIO_PRELUDE_AGE_MS: u64 = 1000;

/// Room made for a unit before its first frame: most video frames of a 1 to 4 Mbit/s stream fit.
const UNIT_CAPACITY: usize = 8 * 1024;

/// The producer's side of a log.
pub(super) struct LogWriter {
    log: Arc<Log>,
    mux: Box<dyn Muxer>,
    /// Merge what comes in that time; 0: a unit for each video frame.
    merge_ms: u64,
    headers_version: u64,
    pending: Option<Pending>,
    audio_prelude: Option<(u64, u64, Arc<Prelude>)>,
}

struct Pending {
    builder: FrameBuilder,
    first_dts_ms: u64,
    has_video: bool,
    prelude: Option<Arc<Prelude>>,
    /// When its first frame came. Of the machine's own clock, since it is measured and decides nothing.
    arrived: Instant,
}

impl LogWriter {
    pub(super) fn new(log: Arc<Log>, mux: Box<dyn Muxer>, merge_ms: u64) -> Self {
        Self {
            log,
            mux,
            merge_ms,
            headers_version: 0,
            pending: None,
            audio_prelude: None,
        }
    }

    #[cfg(feature = "transcode")]
    pub(super) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Muxes one frame. `tracks` already holds it; `changed`: it is a sequence header or metadata that differs from the last.
    /// `budget`: bytes that the log may keep.
    pub(super) fn write(&mut self, frame: &Frame, tracks: &Tracks, changed: bool, budget: usize) {
        let coded_video = frame.kind == FrameKind::Video && frame.is_coded();
        let start = coded_video && frame.keyframe;
        // Players start at the first byte of a unit, so a keyframe must be the first video in its unit.
        let alone = self.log.key().format.starts_with_keyframe();
        if start && self.pending.as_ref().is_some_and(|p| p.has_video || alone) {
            self.flush(budget);
        }
        if changed {
            self.headers_version += 1;
            self.audio_prelude = None;
        }
        let mut pending = self.pending.take().unwrap_or_else(|| Pending {
            builder: FrameBuilder::with_capacity(UNIT_CAPACITY.max(frame.payload.len() + 32)),
            first_dts_ms: frame.dts_ms,
            has_video: false,
            prelude: None,
            arrived: Instant::now(),
        });
        let before = pending.builder.body_len();
        self.mux.write(frame, pending.builder.body());
        if pending.builder.body_len() == before {
            // The format has no place for it.
            if before > 0 {
                self.pending = Some(pending);
            }
            return;
        }
        if coded_video {
            pending.has_video = true;
        }
        let key = self.log.key();
        let without_video = !(key.format.has_video() && key.video && tracks.has_video());
        let audio_alone = without_video && frame.kind == FrameKind::Audio && frame.is_coded();
        let mut age = frame.dts_ms.saturating_sub(pending.first_dts_ms);
        if start {
            pending.prelude = Some(self.prelude(tracks, pending.first_dts_ms));
        } else if audio_alone && !alone {
            pending.prelude = Some(self.audio_prelude(tracks, pending.first_dts_ms));
        } else if audio_alone && self.mux.can_start(pending.builder.since(before)) {
            // It must be the first in its unit, as a keyframe. Merging waits for that.
            let mut first = before == 0;
            if !first && age >= self.merge_ms {
                let rest = pending.builder.split(before);
                self.pending = Some(pending);
                self.flush(budget);
                pending = Pending {
                    builder: rest,
                    first_dts_ms: frame.dts_ms,
                    has_video: false,
                    prelude: None,
                    arrived: Instant::now(),
                };
                age = 0;
                first = true;
            }
            if first {
                pending.prelude = Some(self.audio_prelude(tracks, pending.first_dts_ms));
            }
        }
        let whole = if self.merge_ms > 0 {
            age >= self.merge_ms && !(audio_alone && alone)
        } else {
            coded_video || age >= MAX_AUDIO_HOLD_MS || audio_alone
        };
        self.pending = Some(pending);
        // Units are bounded by the stream's memory even when time stands still.
        if whole || self.pending_bytes() >= budget / 2 {
            self.flush(budget);
        }
    }

    fn pending_bytes(&self) -> usize {
        self.pending.as_ref().map_or(0, |p| p.builder.body_len())
    }

    /// Appends what is pending to the log.
    pub(super) fn flush(&mut self, budget: usize) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let headers_version = self.headers_version;
        self.log.append(budget, |seq| Unit {
            seq,
            data: pending.builder.finish(),
            dts_ms: pending.first_dts_ms,
            clock_ms: 0,
            headers_version,
            prelude: pending.prelude,
            arrived: pending.arrived,
        });
    }

    fn prelude(&self, tracks: &Tracks, dts_ms: u64) -> Arc<Prelude> {
        let mut full = FrameBuilder::with_capacity(1024);
        self.mux.start(tracks, dts_ms, full.body());
        let mut headers = FrameBuilder::with_capacity(512);
        self.mux.headers(tracks, dts_ms, headers.body());
        Arc::new(Prelude {
            full: full.finish(),
            headers: headers.finish(),
        })
    }

    fn audio_prelude(&mut self, tracks: &Tracks, dts_ms: u64) -> Arc<Prelude> {
        if let Some((version, made_at, prelude)) = &self.audio_prelude
            && *version == self.headers_version
            && dts_ms.saturating_sub(*made_at) < AUDIO_PRELUDE_AGE_MS
        {
            return Arc::clone(prelude);
        }
        let prelude = self.prelude(tracks, dts_ms);
        self.audio_prelude = Some((self.headers_version, dts_ms, Arc::clone(&prelude)));
        prelude
    }
}
