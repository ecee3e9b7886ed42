//! The frames since the newest keyframe: what a log is primed with when its first player comes.

use std::collections::VecDeque;

use crate::media::{Frame, FrameKind, Tracks};

/// Cost of a frame beside its payload, in bytes, so that many empty frames are bounded by bytes too.
const FRAME_OVERHEAD: usize = std::mem::size_of::<Frame>();

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
    pub(super) fn push(&mut self, frame: &Frame, tracks: &Tracks, starts_gop: bool, max_frames: usize, max_bytes: usize) {
        if starts_gop {
            self.clear();
            self.tracks = tracks.clone();
            self.recording = true;
        }
        if !self.recording {
            return;
        }
        self.bytes += frame.payload.len() + FRAME_OVERHEAD;
        // max_frames counts coded frames, as gop_cache_max_frames does in SRS; metadata among them costs bytes only.
        if self.frames.len() >= max_frames || self.bytes > max_bytes {
            self.clear();
            return;
        }
        if frame.kind != FrameKind::Data {
            self.frames.push_back(frame.clone());
        }
    }

    /// Forgets everything until the next keyframe.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
        self.recording = false;
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
