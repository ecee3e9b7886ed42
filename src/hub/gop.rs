//! The frames that are kept: since the newest keyframe, and the newest audio. A log is primed with them when its first player
//! comes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::media::{Frame, FrameKind, Tracks};

/// Room for frames grows by this many, and not to twice what it was: of a GOP of 137 frames, 119 places would be empty.
const MORE_FRAMES: usize = 32;

/// Cost of a frame beside its payload, in bytes, so that many empty frames are bounded by bytes too.
const FRAME_OVERHEAD: usize = std::mem::size_of::<Frame>();

/// The newest audio, for `fast_cache`: players of a format without video are given it when they join.
#[derive(Debug, Default)]
pub(super) struct AudioCache {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl AudioCache {
    /// Takes the next frame of the stream; keeps audio of the last `span`, in at most `max_bytes`.
    pub(super) fn push(&mut self, frame: &Frame, span: Duration, max_bytes: usize) {
        if span.is_zero() || frame.kind != FrameKind::Audio {
            return;
        }
        self.bytes += cost(frame);
        self.frames.push_back(frame.clone());
        let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        while let Some(first) = self.frames.front()
            && (self.bytes > max_bytes || frame.dts_ms.saturating_sub(first.dts_ms) > span_ms)
        {
            self.bytes = self.bytes.saturating_sub(cost(first));
            self.frames.pop_front();
        }
    }

    /// What is kept, oldest first.
    pub(super) fn frames(&self) -> Vec<Frame> {
        self.frames.iter().cloned().collect()
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn cost(frame: &Frame) -> usize {
    frame.payload.len() + FRAME_OVERHEAD
}

/// See the module. Bounded by frames and by bytes: a GOP that outgrows the bound is dropped whole, since half a GOP cannot be
/// decoded, and joiners wait for the next keyframe.
#[derive(Debug, Default)]
pub(super) struct GopCache {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// The headers that were valid before the first frame kept.
    tracks: Tracks,
    /// Set from a keyframe until the bound is reached.
    recording: bool,
}

impl GopCache {
    /// Takes the next frame of the stream. `starts_gop`: a keyframe of the primary video track.
    pub(super) fn push(
        &mut self,
        frame: &Frame,
        tracks: &Tracks,
        starts_gop: bool,
        max_frames: usize,
        max_bytes: usize,
    ) {
        if starts_gop {
            self.clear();
            self.tracks = tracks.clone();
            self.recording = true;
        }
        if !self.recording {
            return;
        }
        self.bytes += cost(frame);
        // max_frames counts coded frames, as gop_cache_max_frames does in SRS; metadata among them costs bytes only.
        if self.frames.len() >= max_frames || self.bytes > max_bytes {
            self.clear();
            return;
        }
        if frame.kind != FrameKind::Data {
            if self.frames.len() == self.frames.capacity() {
                self.frames.reserve_exact(MORE_FRAMES);
            }
            self.frames.push_back(frame.clone());
        }
    }

    /// Forgets everything until the next keyframe.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
        self.recording = false;
    }

    /// Whether there is a keyframe to start from.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The headers valid at the first frame, and the frames.
    pub(super) fn replay(&self) -> (Tracks, impl Iterator<Item = &Frame>) {
        (self.tracks.clone(), self.frames.iter())
    }
}
