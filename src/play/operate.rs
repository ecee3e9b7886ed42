//! What an operator does to clients and streams while they run.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use thiserror::Error;
use tracing::info;

use crate::hub::{EndReason, StreamKey};
use crate::relay::{NotStarted, NotStopped, RelayStatus, Started};

use super::Live;

/// Streams that may be blocked at a time.
const MAX_BLOCKS: usize = 10_000;

/// The streams that nobody may publish or play, since when.
#[derive(Default)]
pub(super) struct Blocks {
    /// Held for a look-up, at each publish and play.
    keys: Mutex<BTreeMap<StreamKey, SystemTime>>,
}

/// Why a stream was not blocked.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{MAX_BLOCKS} streams are blocked, and no more can be")]
#[non_exhaustive]
pub struct TooManyBlocks;

impl Live {
    /// Ends a publisher or a player, by its number. It is told in the words of its protocol; the end of its play is
    /// [`EndOfPlay::Kicked`](super::EndOfPlay::Kicked). It may come back: [`Live::block`] keeps it away. False when there is none of that
    /// number. A publisher finds out within half a second.
    pub fn kick(&self, client: u64) -> bool {
        let Some(card) = self.clients().kick(client) else {
            return false;
        };
        for workers in self.workers() {
            workers.end_kicked();
        }
        info!(client, stream = %card.key, "an operator ends a client");
        true
    }

    /// Ends the publisher of a stream, as [`Live::kick`] does. Its players are held for `republish_wait`. False when there is none.
    pub fn kick_publisher(&self, key: &StreamKey) -> bool {
        let cards = self.clients().list();
        let publisher = cards.iter().find(|c| c.is_publisher() && c.key == *key);
        publisher.is_some_and(|card| self.kick(card.client.id))
    }

    /// Ends a stream and keeps all away from it, publishers and players, until [`Live::unblock`] or the end of the process. True when it
    /// was not blocked before.
    ///
    /// # Errors
    /// [`TooManyBlocks`].
    pub fn block(&self, key: &StreamKey) -> Result<bool, TooManyBlocks> {
        let mut keys = self.inner.blocks.keys.lock();
        if keys.contains_key(key) {
            return Ok(false);
        }
        if keys.len() >= MAX_BLOCKS {
            return Err(TooManyBlocks);
        }
        keys.insert(key.clone(), SystemTime::now());
        drop(keys);
        info!(stream = %key, "an operator blocks a stream");
        self.hub().end(key, EndReason::Operator);
        Ok(true)
    }

    /// Lets a stream be published and played again. False when it was not blocked.
    pub fn unblock(&self, key: &StreamKey) -> bool {
        let was = self.inner.blocks.keys.lock().remove(key).is_some();
        if was {
            info!(stream = %key, "an operator unblocks a stream");
        }
        was
    }

    /// The streams that are blocked, and since when.
    pub fn blocked(&self) -> Vec<(StreamKey, SystemTime)> {
        let keys = self.inner.blocks.keys.lock();
        keys.iter().map(|(key, at)| (key.clone(), *at)).collect()
    }

    /// Whether nobody may publish or play the stream.
    pub fn is_blocked(&self, key: &StreamKey) -> bool {
        self.inner.blocks.keys.lock().contains_key(key)
    }

    /// The streams that are pulled from other servers, in the order in which the pulls began: those for players of an edge, and those
    /// that [`Live::start_pull`] began.
    pub fn pull_list(&self) -> Vec<RelayStatus> {
        self.relay().pull_list()
    }

    /// The streams that are pushed to other servers, in the order in which the pushes began: those of `forward`, those of an edge's
    /// publishers, and those that [`Live::start_push`] began.
    pub fn push_list(&self) -> Vec<RelayStatus> {
        self.relay().push_list()
    }

    /// Pulls a stream from another server: `rtmp://host[:port]/app/stream`, `rtmps://…`, `http://host[:port]/path` (FLV) or `https://…`,
    /// with a query if need be; without a path, from the same name there. It goes on whoever plays, and tries again when that server is
    /// lost, until [`Live::stop_pull`], until an operator or another publisher ends it as a publisher, or to the end of the process. Asked for twice, it is begun
    /// once. To be called on a tokio runtime.
    ///
    /// # Errors
    /// [`NotStarted`]. That the other server does not answer is none: [`RelayStatus::last_error`] tells of it.
    pub fn start_pull(&self, key: &StreamKey, from: &str) -> Result<Started, NotStarted> {
        let started = self.relay().order_pull(self, key, from)?;
        if started.new {
            info!(stream = %key, pull = started.id, "an operator begins a pull");
        }
        Ok(started)
    }

    /// Ends a pull, by its number. Its stream is held for `republish_wait`. An edge begins another when somebody wants to play.
    ///
    /// # Errors
    /// [`NotStopped::None`].
    pub fn stop_pull(&self, id: u64) -> Result<(), NotStopped> {
        self.relay().stop_pull(id)?;
        info!(pull = id, "an operator ends a pull");
        Ok(())
    }

    /// Pushes a stream that is there to another server: `rtmp://host[:port]/app/stream` or `rtmps://…`, in which `[vhost]`, `[app]` and
    /// `[stream]` stand for the stream's own; without a path, to the same name there. It tries again when that server is lost, and ends with the
    /// stream or by [`Live::stop_push`]. Asked for twice, it is begun once. To be called on a tokio runtime.
    ///
    /// # Errors
    /// [`NotStarted`]. That the other server does not answer is none: [`RelayStatus::last_error`] tells of it.
    pub fn start_push(&self, key: &StreamKey, to: &str) -> Result<Started, NotStarted> {
        let started = self.relay().order_push(self, key, to)?;
        if started.new {
            info!(stream = %key, push = started.id, "an operator begins a push");
        }
        Ok(started)
    }

    /// Ends a push, by its number. One of `forward` begins again when the stream is over and published anew.
    ///
    /// # Errors
    /// [`NotStopped`].
    pub fn stop_push(&self, id: u64) -> Result<(), NotStopped> {
        self.relay().stop_push(id)?;
        info!(push = id, "an operator ends a push");
        Ok(())
    }

    /// How long this has been there.
    pub fn uptime(&self) -> Duration {
        self.inner.since.elapsed()
    }
}
