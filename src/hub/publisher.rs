//! The claim on a stream.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::media::FrameKind;

use super::{Counters, EndReason, Hub, PushError, Source, Stream};

/// The right to push frames into a stream. Dropping it releases the stream: players are held for `republish_wait`, and another may publish.
pub struct Publisher {
    hub: Hub,
    stream: Arc<Stream>,
    control: Arc<Control>,
    id: u64,
    released: bool,
}

/// What the hub tells a publisher.
#[derive(Default)]
pub(super) struct Control {
    ended: OnceLock<EndReason>,
}

impl Control {
    pub(super) fn end(&self, reason: EndReason) {
        // The first reason stands.
        let _ = self.ended.set(reason);
    }
}

impl Publisher {
    pub(super) fn new(hub: Hub, stream: Arc<Stream>, control: Arc<Control>, id: u64) -> Self {
        Self {
            hub,
            stream,
            control,
            id,
            released: false,
        }
    }

    /// The stream.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Unique in the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Appends one FLV tag body; `timestamp` is the 32-bit wire value in milliseconds. Never waits for a player.
    ///
    /// # Errors
    /// [`PushError::Ended`] when the claim is gone, [`PushError::Malformed`] when the body breaks its format.
    pub fn push(
        &self,
        kind: FrameKind,
        timestamp: u32,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), PushError> {
        if let Some(reason) = self.ended() {
            return Err(PushError::Ended(reason));
        }
        if self.stream.push(self.id, kind, timestamp, payload, now)? {
            self.hub.became_ready(self.stream.key());
        }
        Ok(())
    }

    /// Players may be held this long for a track that is announced, and not just for `guess_wait`: the stream may begin anywhere
    /// between two keyframes.
    pub(crate) fn wait_for_tracks(&self, at_least: Duration) {
        self.stream.wait_for_tracks(at_least);
    }

    /// Whether nobody reads the stream, nor waits for it, so that what comes may be given to it late. Then `source` is told when that is
    /// over, once.
    pub(crate) fn is_unread(&self, source: Arc<dyn Source>) -> bool {
        self.stream.is_unread(self.id, source)
    }

    /// What was given to [`Publisher::is_unread`] need not be told any more.
    pub(crate) fn forget_source(&self) {
        self.stream.forget_source(self.id);
    }

    /// What comes from now on is of another source of the same stream, as of a publisher that came back: time goes on, and players
    /// with it from the next keyframe.
    pub(crate) fn renew(&self, now: Instant) {
        self.stream.renew(self.id, now);
    }

    /// Set once the server ended the claim: the session should tell its peer and close.
    pub fn ended(&self) -> Option<EndReason> {
        self.control.ended.get().copied()
    }

    /// Gives the stream back and says what was sent.
    pub fn finish(mut self) -> Counters {
        self.release()
    }

    fn release(&mut self) -> Counters {
        if std::mem::replace(&mut self.released, true) {
            return Counters::default();
        }
        self.hub
            .release(&self.stream, &self.control, self.id, Instant::now())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.release();
    }
}
