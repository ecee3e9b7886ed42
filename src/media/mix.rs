//! Audio and video in one order by decoding time.
//!
//! For publishers that send audio and video each in order but not in order with each other, and players that mind. A frame
//! is held until one of the other kind shows that nothing earlier can come. So this costs delay: as much as the publisher
//! runs apart, at most [`MAX_HELD`] frames of a kind.
//!
//! What comes out is in order when every kind came in order and neither ran more than [`MAX_HELD`] frames ahead of the
//! other. Beyond that, and when one kind is silent, frames pass in the order of their kind. Nothing is dropped, no time is
//! changed, and frames of one kind never overtake each other. Metadata and data pass at once.

use std::collections::VecDeque;

use super::frame::{Frame, FrameKind};

/// How many frames of a kind are held while none of the other kind comes: SRS's figure for mix_correct. At 25 fps
/// it is 400 ms of video without audio.
pub const MAX_HELD: usize = 10;

/// Puts audio and video into one order. See the [module](self).
#[derive(Debug, Default)]
pub struct MixCorrect {
    video: VecDeque<Frame>,
    audio: VecDeque<Frame>,
}

impl MixCorrect {
    /// Holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a frame; appends to `out` what may pass now.
    pub fn push(&mut self, frame: Frame, out: &mut Vec<Frame>) {
        match frame.kind {
            FrameKind::Video => self.video.push_back(frame),
            FrameKind::Audio => self.audio.push_back(frame),
            FrameKind::Metadata | FrameKind::Data => return out.push(frame),
        }
        // With both kinds there, the earlier of the two first ones can pass: nothing before it will come.
        while !self.video.is_empty() && !self.audio.is_empty() {
            out.extend(self.pop());
        }
        while self.video.len() > MAX_HELD || self.audio.len() > MAX_HELD {
            out.extend(self.pop());
        }
    }

    /// Appends all that is held: the publisher left, or made a pause.
    pub fn flush(&mut self, out: &mut Vec<Frame>) {
        while let Some(frame) = self.pop() {
            out.push(frame);
        }
    }

    /// How many frames are held.
    pub fn held(&self) -> usize {
        self.video.len() + self.audio.len()
    }

    fn pop(&mut self) -> Option<Frame> {
        let audio_first = match (self.video.front(), self.audio.front()) {
            // At the same time video goes first: a keyframe opens a unit to which the audio belongs.
            (Some(video), Some(audio)) => audio.dts_ms < video.dts_ms,
            (None, _) => true,
            (Some(_), None) => false,
        };
        if audio_first {
            self.audio.pop_front()
        } else {
            self.video.pop_front()
        }
    }
}

#[cfg(test)]
mod tests;
