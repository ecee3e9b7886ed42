//! Who has a stream: asked once for all who want to know at the same time, and remembered shortly.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::Instant;

use crate::hub::StreamKey;

use super::node::Lease;

/// How long an answer is believed, if no change is heard of. A stream that ended is missed at its node, which looks further.
pub(super) const FRESH: Duration = Duration::from_secs(1);
/// Streams whose answers are remembered. What is beyond is asked for each time.
const MAX_SLOTS: usize = 10_000;

/// The answers, by stream.
#[derive(Default)]
pub(super) struct Lookups {
    /// Guards which streams are remembered. Held for a look-up; and for a walk over all of them at each beat of the node.
    slots: Mutex<HashMap<StreamKey, Arc<Slot>>>,
}

/// What is known of one stream.
#[derive(Default)]
pub(super) struct Slot {
    /// Held while the registry is asked, so that all others wait for that answer: the one lock here that is held over an await.
    answer: AsyncMutex<Option<Answer>>,
    /// A change was heard of since.
    stale: AtomicBool,
    /// Rings at each change.
    changed: Notify,
}

#[derive(Clone)]
struct Answer {
    lease: Option<Lease>,
    at: Instant,
}

impl Lookups {
    pub(super) fn slot(&self, stream: &StreamKey) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(stream) {
            return Arc::clone(slot);
        }
        let slot = Arc::<Slot>::default();
        if slots.len() < MAX_SLOTS {
            slots.insert(stream.clone(), Arc::clone(&slot));
        }
        slot
    }

    /// A change of the stream was heard of.
    pub(super) fn changed(&self, stream: &StreamKey) {
        if let Some(slot) = self.slots.lock().get(stream) {
            slot.stale.store(true, Ordering::Release);
            slot.changed.notify_waiters();
        }
    }

    /// Nothing that is remembered is believed any more.
    pub(super) fn forget(&self) {
        for slot in self.slots.lock().values() {
            slot.stale.store(true, Ordering::Release);
        }
    }

    /// Forgets what nobody asks for any more.
    pub(super) fn sweep(&self) {
        self.slots.lock().retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot
                    .answer
                    .try_lock()
                    .is_ok_and(|answer| answer.as_ref().is_some_and(|a| a.at.elapsed() < FRESH))
        });
    }
}

impl Slot {
    /// The answer that is remembered, or a new one from `ask`.
    pub(super) async fn find(&self, ask: impl Future<Output = Option<Lease>>) -> Option<Lease> {
        let mut answer = self.answer.lock().await;
        let stale = self.stale.swap(false, Ordering::AcqRel);
        if let Some(known) = answer
            .as_ref()
            .filter(|known| !stale && known.at.elapsed() < FRESH)
        {
            return known.lease.clone();
        }
        let lease = ask.await;
        *answer = Some(Answer {
            lease: lease.clone(),
            at: Instant::now(),
        });
        lease
    }

    /// Waits until a change is heard of, or the answer is not believed any more. Armed by the first poll.
    pub(super) async fn changes(&self) {
        // A word of a change can be lost with the connection.
        let _ = tokio::time::timeout(FRESH, self.changed.notified()).await;
    }
}
