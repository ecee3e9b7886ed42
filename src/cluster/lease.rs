//! The leases that this node holds: one for each stream that somebody publishes here.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::hub::StreamKey;

use super::node::{self, Addresses, Lease};

/// Leases to give back that are remembered while the registry is away; what is beyond runs out by itself.
const MAX_RELEASES: usize = 10_000;

/// What this node holds.
#[derive(Default)]
pub(super) struct Leases {
    /// Guards what is held and what is to be given back. Held for a look-up or a change.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    held: HashMap<StreamKey, Held>,
    releases: Vec<(StreamKey, Lease)>,
}

struct Held {
    lease: Lease,
    /// Publishers here: more than one while one takes the stream from another.
    users: usize,
    /// Whether a publisher was accepted on its strength. Before, it may turn out to be another node's.
    ours: bool,
}

/// A publisher's part in a lease. The lease is given back when the last is dropped.
pub(crate) struct Use {
    owner: Weak<dyn Owner>,
    stream: StreamKey,
    token: String,
}

/// Who keeps the leases.
pub(super) trait Owner: Send + Sync {
    fn leases(&self) -> &Leases;
    /// There is something to give back.
    fn wake(&self);
}

impl Leases {
    /// Takes part in the lease of a stream, a new one unless there is one. Also whether it has to be claimed.
    pub(super) fn take_part(
        &self,
        owner: &Arc<dyn Owner>,
        stream: &StreamKey,
        node: &str,
        addresses: &Addresses,
    ) -> (Use, Lease, bool) {
        let mut kept = self.kept.lock();
        let held = kept.held.entry(stream.clone()).or_insert_with(|| Held {
            lease: Lease {
                node: node.to_owned(),
                token: node::token(),
                addresses: addresses.clone(),
            },
            users: 0,
            ours: false,
        });
        held.users += 1;
        let part = Use {
            owner: Arc::downgrade(owner),
            stream: stream.clone(),
            token: held.lease.token.clone(),
        };
        (part, held.lease.clone(), !held.ours)
    }

    /// From now on the lease is renewed.
    pub(super) fn accepted(&self, stream: &StreamKey, lease: &Lease) {
        if let Some(held) = self.kept.lock().held.get_mut(stream)
            && held.lease == *lease
        {
            held.ours = true;
        }
    }

    /// What is to be renewed.
    pub(super) fn all(&self) -> Vec<(StreamKey, Lease)> {
        let kept = self.kept.lock();
        let ours = kept.held.iter().filter(|(_, held)| held.ours);
        ours.map(|(stream, held)| (stream.clone(), held.lease.clone()))
            .collect()
    }

    /// The lease of one stream, if it is to be renewed.
    pub(super) fn of(&self, stream: &StreamKey) -> Option<Lease> {
        let kept = self.kept.lock();
        let held = kept.held.get(stream).filter(|held| held.ours)?;
        Some(held.lease.clone())
    }

    /// How many are held.
    pub(super) fn count(&self) -> usize {
        self.kept.lock().held.len()
    }

    /// Forgets a lease that another node has; whether it was still ours to lose.
    pub(super) fn lost(&self, stream: &StreamKey, lease: &Lease) -> bool {
        let mut kept = self.kept.lock();
        let lost = kept
            .held
            .get(stream)
            .is_some_and(|held| held.lease == *lease);
        if lost {
            kept.held.remove(stream);
        }
        lost
    }

    /// What is to be given back, once.
    pub(super) fn releases(&self) -> Vec<(StreamKey, Lease)> {
        std::mem::take(&mut self.kept.lock().releases)
    }

    /// Puts back what could not be given back now.
    pub(super) fn release_later(&self, releases: Vec<(StreamKey, Lease)>) {
        let mut kept = self.kept.lock();
        let room = MAX_RELEASES.saturating_sub(kept.releases.len());
        kept.releases.extend(releases.into_iter().take(room));
    }

    fn leave(&self, stream: &StreamKey, token: &str) -> bool {
        let mut kept = self.kept.lock();
        let Some(held) = kept.held.get_mut(stream) else {
            return false;
        };
        if held.lease.token != token {
            // It was lost, and another lease has been given since.
            return false;
        }
        held.users = held.users.saturating_sub(1);
        if held.users > 0 {
            return false;
        }
        if let Some(held) = kept.held.remove(stream)
            && kept.releases.len() < MAX_RELEASES
        {
            kept.releases.push((stream.clone(), held.lease));
        }
        true
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.upgrade()
            && owner.leases().leave(&self.stream, &self.token)
        {
            owner.wake();
        }
    }
}
