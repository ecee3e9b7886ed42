//! What a cluster needs of its registry, whatever keeps it: leases on streams, the nodes that are alive, and word of changes.
//!
//! A *lease* says that a stream lives on a node. It is given to the first who claims the stream, holds for a time, and is renewed well
//! before that; a node that dies loses its leases by itself. Each lease has a token of its own, so that a node which lost one and
//! does not know it yet can neither renew nor release its successor's.

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::hub::StreamKey;

use super::node::{Announcement, Lease};

/// Told of each stream whose lease was given, taken or released, by any node. It must not block.
pub type OnChange = Box<dyn Fn(StreamKey) + Send + Sync>;

/// Why the registry has no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryError {
    /// There is no connection, or it broke.
    #[error("the registry cannot be reached: {0}")]
    Unreachable(String),
    /// There was no answer in time.
    #[error("the registry does not answer")]
    Timeout,
    /// It answered what nobody can understand, or that it cannot.
    #[error("the registry answered: {0}")]
    Refused(String),
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The stream is this node's.
    Yes,
    /// Another node has it.
    Held(Box<Lease>),
}

/// What becomes of a stream that another node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It stays there.
    IfFree,
    /// It is taken from there.
    Take,
}

/// Keeps what the nodes of a cluster tell each other. Each call is one round trip, bounded in time by the implementation.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Claims a stream for `ttl`. What the same node holds already is claimed anew: a node that was restarted finds its own leases.
    ///
    /// # Errors
    /// [`RegistryError`]; the claim may have been noted all the same.
    async fn claim(
        &self,
        stream: &StreamKey,
        lease: &Lease,
        ttl: Duration,
        how: Claim,
    ) -> Result<Claimed, RegistryError>;

    /// Renews leases, and claims those again that ran out and nobody took. For each, whether it is still this node's.
    ///
    /// # Errors
    /// [`RegistryError`]; nothing is known then.
    async fn renew(
        &self,
        leases: &[(StreamKey, Lease)],
        ttl: Duration,
    ) -> Result<Vec<bool>, RegistryError>;

    /// Gives leases back, those that are still the ones given.
    ///
    /// # Errors
    /// [`RegistryError`]; they run out by themselves.
    async fn release(&self, leases: &[(StreamKey, Lease)]) -> Result<(), RegistryError>;

    /// Who has the stream.
    ///
    /// # Errors
    /// [`RegistryError`].
    async fn find(&self, stream: &StreamKey) -> Result<Option<Lease>, RegistryError>;

    /// Says that this node is alive, for `ttl`, connecting first if need be; and who else is.
    ///
    /// # Errors
    /// [`RegistryError`].
    async fn announce(
        &self,
        node: &Announcement,
        ttl: Duration,
    ) -> Result<Vec<Announcement>, RegistryError>;

    /// Says that this node is gone.
    ///
    /// # Errors
    /// [`RegistryError`].
    async fn leave(&self, node: &Announcement) -> Result<(), RegistryError>;

    /// Sets who is told of changes. Called once, before anything else.
    fn on_change(&self, told: OnChange);
}
