//! Who waits for a stream that is not there yet.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::StreamKey;

type Map = Mutex<HashMap<StreamKey, Arc<Notify>>>;

/// A bell for each stream that somebody waits for. Its size is bounded by the number of those who wait: each is a connection.
#[derive(Default)]
pub(super) struct Waiters {
    /// Guards the bells. Held for a look-up.
    map: Arc<Map>,
}

/// One who waits. The bell goes when the last of them leaves.
pub(super) struct Waiting {
    map: Arc<Map>,
    key: StreamKey,
    bell: Arc<Notify>,
}

impl Waiters {
    pub(super) fn register(&self, key: &StreamKey) -> Waiting {
        let bell = Arc::clone(self.map.lock().entry(key.clone()).or_default());
        Waiting {
            map: Arc::clone(&self.map),
            key: key.clone(),
            bell,
        }
    }

    pub(super) fn notify(&self, key: &StreamKey) {
        if let Some(bell) = self.map.lock().get(key) {
            bell.notify_waiters();
        }
    }

    pub(super) fn notify_all(&self) {
        for bell in self.map.lock().values() {
            bell.notify_waiters();
        }
    }
}

impl Waiting {
    pub(super) fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.bell.notified()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut map = self.map.lock();
        // The map's and this one.
        if Arc::strong_count(&self.bell) <= 2 {
            map.remove(&self.key);
        }
    }
}
