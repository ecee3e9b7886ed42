//! Where players may start.

use crate::media::{Frame, FrameKind};

/// Tells keyframes of the primary video track from all other frames. With several tracks, the one with the lowest id is what players
/// show, as in the hub.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SeekPoints {
    primary: Option<u8>,
    /// A frame of the primary track came since the last keyframe of another.
    primary_seen: bool,
}

impl SeekPoints {
    /// Whether a player may start at this frame. To be asked of each frame once, in order.
    pub(super) fn is_start(&mut self, frame: &Frame) -> bool {
        if frame.kind != FrameKind::Video || frame.sequence_header || !frame.is_coded() {
            return false;
        }
        let primary = self.primary.map_or(frame.track, |p| p.min(frame.track));
        self.primary = Some(primary);
        if frame.track == primary {
            self.primary_seen = true;
        } else if frame.keyframe && !std::mem::take(&mut self.primary_seen) {
            // Another publisher took over, who has no such track.
            self.primary = Some(frame.track);
            return true;
        }
        frame.keyframe && frame.track == primary
    }
}
