//! A registry within one process: for tests, and for a program that runs several servers at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::hub::StreamKey;

use super::node::{Announcement, Lease};
use super::registry::{Claim, Claimed, OnChange, Registry, RegistryError};

/// See the module. Clones share what is kept; each clone is for one node.
#[derive(Default)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Guards all that is kept. Held for a look-up or a change.
    kept: Mutex<Kept>,
    /// Guards who is told; held while they are, which takes no other lock of this file.
    told: Mutex<Vec<OnChange>>,
    away: AtomicBool,
}

#[derive(Default)]
struct Kept {
    leases: HashMap<StreamKey, (Lease, Instant)>,
    nodes: HashMap<String, (Announcement, Instant)>,
}

impl Clone for Memory {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Memory {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets it fail, or work again: what a cluster does without its registry can be tried.
    pub fn set_away(&self, away: bool) {
        self.shared.away.store(away, Ordering::Relaxed);
    }

    fn there(&self) -> Result<(), RegistryError> {
        if self.shared.away.load(Ordering::Relaxed) {
            return Err(RegistryError::Unreachable("it was sent away".to_owned()));
        }
        Ok(())
    }

    fn tell(&self, stream: &StreamKey) {
        for told in self.shared.told.lock().iter() {
            told(stream.clone());
        }
    }
}

impl Kept {
    fn holder(&self, stream: &StreamKey, now: Instant) -> Option<&Lease> {
        let (lease, until) = self.leases.get(stream)?;
        (*until > now).then_some(lease)
    }
}

#[async_trait]
impl Registry for Memory {
    async fn claim(
        &self,
        stream: &StreamKey,
        lease: &Lease,
        ttl: Duration,
        how: Claim,
    ) -> Result<Claimed, RegistryError> {
        self.there()?;
        let now = Instant::now();
        {
            let mut kept = self.shared.kept.lock();
            if let Some(holder) = kept.holder(stream, now)
                && how == Claim::IfFree
                && holder.node != lease.node
            {
                return Ok(Claimed::Held(Box::new(holder.clone())));
            }
            kept.leases
                .insert(stream.clone(), (lease.clone(), now + ttl));
        }
        self.tell(stream);
        Ok(Claimed::Yes)
    }

    async fn renew(
        &self,
        leases: &[(StreamKey, Lease)],
        ttl: Duration,
    ) -> Result<Vec<bool>, RegistryError> {
        self.there()?;
        let now = Instant::now();
        let mut kept = self.shared.kept.lock();
        let renewed = leases.iter().map(|(stream, lease)| {
            let ours = kept
                .holder(stream, now)
                .is_none_or(|holder| holder == lease);
            if ours {
                kept.leases
                    .insert(stream.clone(), (lease.clone(), now + ttl));
            }
            ours
        });
        Ok(renewed.collect())
    }

    async fn release(&self, leases: &[(StreamKey, Lease)]) -> Result<(), RegistryError> {
        self.there()?;
        for (stream, lease) in leases {
            let ours = {
                let mut kept = self.shared.kept.lock();
                let ours = kept
                    .leases
                    .get(stream)
                    .is_some_and(|(held, _)| held == lease);
                if ours {
                    kept.leases.remove(stream);
                }
                ours
            };
            if ours {
                self.tell(stream);
            }
        }
        Ok(())
    }

    async fn find(&self, stream: &StreamKey) -> Result<Option<Lease>, RegistryError> {
        self.there()?;
        let kept = self.shared.kept.lock();
        Ok(kept.holder(stream, Instant::now()).cloned())
    }

    async fn announce(
        &self,
        node: &Announcement,
        ttl: Duration,
    ) -> Result<Vec<Announcement>, RegistryError> {
        self.there()?;
        let now = Instant::now();
        let mut kept = self.shared.kept.lock();
        kept.nodes.retain(|_, (_, until)| *until > now);
        let alive = kept.nodes.values().map(|(node, _)| node.clone()).collect();
        kept.nodes
            .insert(node.name.clone(), (node.clone(), now + ttl));
        Ok(alive)
    }

    async fn leave(&self, node: &Announcement) -> Result<(), RegistryError> {
        self.there()?;
        self.shared.kept.lock().nodes.remove(&node.name);
        Ok(())
    }

    fn on_change(&self, told: OnChange) {
        self.shared.told.lock().push(told);
    }
}
