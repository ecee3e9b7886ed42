//! A node among others: who has which stream, and where players go.
//!
//! The nodes share a [`Registry`]. A publisher's stream is *leased* to the node where it is published (`lease.rs`), and the lease renewed as
//! long as it is. A player whose stream is not here is looked for there (`lookup.rs`) and sent to the node that has it (`redirect.rs`);
//! one that is too many here is sent to a node with room.
//!
//! A node does not need its registry to go on: without it, publishers are accepted, players of its own streams are served, and other
//! nodes are not known. When it is back, the node announces all it has. Where two nodes have accepted one stream meanwhile, the first
//! to announce it keeps it, and the other ends its publisher.

mod lease;
mod lookup;
mod memory;
mod node;
mod redirect;
mod redis;
mod registry;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::{self, ClusterMode, NodeKeys, OnElsewhere, UrlScheme};
use crate::hub::StreamKey;
use crate::observe::{Count, Counters};

use lease::{Leases, Owner};
use lookup::Lookups;

pub(crate) use lease::Use as LeaseUse;
pub use memory::Memory;
pub use node::{Addresses, Announcement, Lease, Load};
pub(crate) use redirect::{MAX_HOPS, address, hops, passed_on};
pub use redis::Redis;
pub use registry::{Claim, Claimed, OnChange, Registry, RegistryError};

/// Beats in the life of a lease: at each, the node says that it is alive and renews what it has. Four may be lost.
const BEATS: u32 = 5;
/// The longest time between two beats: how old the nodes' knowledge of each other's load is.
const LONGEST_BEAT: Duration = Duration::from_secs(2);
/// Time between two beats while the registry is away.
const RETRY: Duration = Duration::from_millis(500);
/// How often the log says that the registry is still away.
const REMIND: Duration = Duration::from_secs(30);
/// And how often at most when there is another reason.
const REASON: Duration = Duration::from_secs(3);
/// Streams that are looked at again at once after word of a change. What is beyond waits for the next beat.
const MAX_DOUBTS: usize = 1_000;

/// What a node says of itself.
struct Identity {
    name: String,
    instance: String,
    keys: NodeKeys,
    addresses: Mutex<Addresses>,
    /// Held for a copy or a swap.
    fetches: Mutex<Vec<String>>,
}

/// How a node stands among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Its name.
    pub node: String,
    /// The registry does not answer.
    pub away: bool,
    /// Streams that are leased to it.
    pub leases: usize,
    /// The other nodes that are alive, as they last said.
    pub others: Vec<Announcement>,
}

/// Tells of the node's load.
type LoadOf = Box<dyn Fn() -> Load + Send + Sync>;
/// Told of a stream.
type OnStream = Box<dyn Fn(&StreamKey) + Send + Sync>;

/// See the module. Cheap to clone; clones share everything.
#[derive(Clone)]
pub(crate) struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Arc<dyn Registry>,
    identity: Identity,
    ttl: Duration,
    leases: Leases,
    lookups: Lookups,
    /// Guards who else is alive. Held for a copy.
    others: Mutex<Vec<Announcement>>,
    health: Health,
    /// Guards the streams of which a change was heard. Held for a push or a swap.
    doubts: Mutex<Vec<StreamKey>>,
    wake: Notify,
    started: AtomicBool,
    /// Whether the node said that it is gone, and must not say anything else any more. Held while a beat is under way: one that was
    /// begun before the last word must not arrive after it.
    gone: AsyncMutex<bool>,
    load: OnceLock<LoadOf>,
    lost: OnceLock<OnStream>,
    changed: OnceLock<OnStream>,
    counters: Arc<Counters>,
}

/// Whether the registry answers.
#[derive(Default)]
struct Health {
    away: AtomicBool,
    /// Another process of this node's name was seen, and the log told.
    twin: AtomicBool,
    /// Guards what the log was told. Held for a comparison.
    told: Mutex<Option<Away>>,
}

struct Away {
    since: Instant,
    told: Instant,
    why: RegistryError,
}

impl Cluster {
    /// A node that shares `registry` with others. It does nothing before [`Cluster::run`].
    pub(crate) fn new(
        registry: Arc<dyn Registry>,
        config: &config::Live,
        counters: Arc<Counters>,
    ) -> Self {
        let keys = config.node.clone();
        let inner = Arc::new(Inner {
            registry,
            ttl: config
                .registry
                .as_ref()
                .map_or_else(|| config::Registry::default().ttl, |registry| registry.ttl),
            identity: Identity {
                name: node::name(&keys),
                instance: node::token(),
                addresses: Mutex::new(Addresses::new(&keys, &[])),
                keys,
                fetches: Mutex::new(fetches(config)),
            },
            leases: Leases::default(),
            lookups: Lookups::default(),
            others: Mutex::default(),
            health: Health::default(),
            doubts: Mutex::default(),
            wake: Notify::new(),
            started: AtomicBool::new(false),
            gone: AsyncMutex::default(),
            load: OnceLock::new(),
            lost: OnceLock::new(),
            changed: OnceLock::new(),
            counters,
        });
        let weak = Arc::downgrade(&inner);
        inner.registry.on_change(Box::new(move |stream| {
            if let Some(inner) = weak.upgrade() {
                inner.heard(stream);
            }
        }));
        Self { inner }
    }

    /// Sets what tells the load, and who is told of streams that another node took. Only the first call has an effect.
    pub(crate) fn wire(&self, load: LoadOf, lost: OnStream) {
        let _ = self.inner.load.set(load);
        let _ = self.inner.lost.set(lost);
    }

    /// Sets who is told of each stream, not leased to this node, that a node has claimed or given back. Only the first call has an effect.
    pub(crate) fn on_change(&self, changed: OnStream) {
        let _ = self.inner.changed.set(changed);
    }

    /// Says where this node listens; its addresses are made of that where they are not configured.
    pub(crate) fn listening(&self, listening: &[(UrlScheme, u16)]) {
        let identity = &self.inner.identity;
        *identity.addresses.lock() = Addresses::new(&identity.keys, listening);
    }

    /// Another configuration: the other nodes are told with the next beat.
    pub(crate) fn reconfigure(&self, config: &config::Live) {
        *self.inner.identity.fetches.lock() = fetches(config);
    }

    /// How the node stands among the others.
    pub(crate) fn status(&self) -> Status {
        Status {
            node: self.inner.identity.name.clone(),
            away: self.is_away(),
            leases: self.leases(),
            others: self.others(),
        }
    }

    /// Whether the registry does not answer.
    pub(crate) fn is_away(&self) -> bool {
        self.inner.health.away.load(Ordering::Relaxed)
    }

    /// Streams that are leased to this node.
    pub(crate) fn leases(&self) -> usize {
        self.inner.leases.count()
    }

    /// The other nodes that are alive.
    pub(crate) fn others(&self) -> Vec<Announcement> {
        self.inner.others.lock().clone()
    }

    /// Says that the node is alive and renews its leases, for as long as the runtime lives. The second call returns at once.
    pub(crate) async fn run(&self) {
        if self.inner.started.swap(true, Ordering::AcqRel) {
            return;
        }
        loop {
            self.inner.beat().await;
            let mut next = Instant::now() + self.inner.pause();
            while tokio::time::timeout_at(next, self.inner.wake.notified())
                .await
                .is_ok()
            {
                self.inner.look_after().await;
                next = next.min(Instant::now() + self.inner.pause());
            }
        }
    }

    /// Leases a stream to this node for a publisher. `take`: from another node, if need be.
    ///
    /// # Errors
    /// The node that has it.
    pub(crate) async fn claim(&self, stream: &StreamKey, take: bool) -> Result<LeaseUse, Lease> {
        let inner = &self.inner;
        let owner: Arc<dyn Owner> = Arc::clone(inner) as _;
        let addresses = inner.identity.addresses.lock().clone();
        let (part, lease, to_claim) =
            inner
                .leases
                .take_part(&owner, stream, &inner.identity.name, &addresses);
        if to_claim && !self.is_away() {
            let how = if take { Claim::Take } else { Claim::IfFree };
            match inner.registry.claim(stream, &lease, inner.ttl, how).await {
                Ok(Claimed::Yes) => {}
                Ok(Claimed::Held(holder)) => return Err(*holder),
                Err(error) => inner.failed(&error),
            }
        }
        inner.leases.accepted(stream, &lease);
        Ok(part)
    }

    /// The other node that has the stream, if one has. Within the registry's time-out; at once while the registry is away.
    pub(crate) async fn find(&self, stream: &StreamKey) -> Option<Lease> {
        if self.is_away() {
            return None;
        }
        let inner = &self.inner;
        let slot = inner.lookups.slot(stream);
        let ask = async {
            // Those who waited for another's look-up need not wait for the next to fail.
            if self.is_away() {
                return None;
            }
            inner.counters.count(Count::RegistryLookup);
            match inner.registry.find(stream).await {
                Ok(found) => found,
                Err(error) => {
                    inner.failed(&error);
                    None
                }
            }
        };
        // A node that was restarted may still have its own old lease there.
        let found = slot.find(ask).await;
        found.filter(|lease| lease.node != inner.identity.name)
    }

    /// Waits until another node has the stream.
    pub(crate) async fn appears(&self, stream: &StreamKey) -> Lease {
        let slot = self.inner.lookups.slot(stream);
        loop {
            let changes = slot.changes();
            tokio::pin!(changes);
            // Armed before looking, so that a change in between is not missed.
            tokio::select! {
                biased;
                () = &mut changes => continue,
                found = self.find(stream) => {
                    if let Some(lease) = found {
                        return lease;
                    }
                }
            }
            changes.await;
        }
    }

    /// Gives all leases back and says that the node is gone.
    pub(crate) async fn leave(&self) {
        *self.inner.gone.lock().await = true;
        self.inner.look_after().await;
        if !self.is_away() {
            let gone = self.inner.announcement();
            // It would be found dead after `ttl`.
            let _ = self.inner.registry.leave(&gone).await;
        }
    }
}

/// The vhosts of which this node can give any stream, wherever it is: it pulls what it does not have.
fn fetches(config: &config::Live) -> Vec<String> {
    let pulls = |vhost: &config::Vhost| {
        vhost.cluster.mode == ClusterMode::Remote || vhost.cluster.on_elsewhere == OnElsewhere::Pull
    };
    let vhosts = config.vhosts.iter();
    vhosts
        .filter(|(_, vhost)| vhost.enabled && pulls(vhost))
        .map(|(name, _)| name.clone())
        .collect()
}

impl Inner {
    fn announcement(&self) -> Announcement {
        Announcement {
            name: self.identity.name.clone(),
            instance: self.identity.instance.clone(),
            addresses: self.identity.addresses.lock().clone(),
            load: self.load.get().map(|load| load()).unwrap_or_default(),
            fetches: self.identity.fetches.lock().clone(),
        }
    }

    fn pause(&self) -> Duration {
        if self.health.away.load(Ordering::Relaxed) {
            return RETRY;
        }
        (self.ttl / BEATS).min(LONGEST_BEAT)
    }

    /// Says that the node is alive, and renews all that it has.
    async fn beat(&self) {
        let gone = self.gone.lock().await;
        if *gone {
            return;
        }
        match self.registry.announce(&self.announcement(), self.ttl).await {
            Ok(alive) => self.answered(alive),
            Err(error) => return self.failed(&error),
        }
        self.renew(self.leases.all()).await;
        self.look_after().await;
        self.lookups.sweep();
    }

    /// Gives back what is to be given back, and looks at the leases of which a change was heard.
    async fn look_after(&self) {
        if self.health.away.load(Ordering::Relaxed) {
            return;
        }
        let doubts = std::mem::take(&mut *self.doubts.lock());
        let doubted = doubts
            .into_iter()
            .filter_map(|stream| self.leases.of(&stream).map(|lease| (stream, lease)));
        self.renew(doubted.collect()).await;
        let releases = self.leases.releases();
        if !releases.is_empty()
            && let Err(error) = self.registry.release(&releases).await
        {
            self.failed(&error);
            self.leases.release_later(releases);
        }
    }

    async fn renew(&self, leases: Vec<(StreamKey, Lease)>) {
        if leases.is_empty() {
            return;
        }
        match self.registry.renew(&leases, self.ttl).await {
            Ok(renewed) => {
                for ((stream, lease), still) in leases.iter().zip(renewed) {
                    if !still && self.leases.lost(stream, lease) {
                        // Who has it now is asked anew.
                        self.lookups.changed(stream);
                        warn!(%stream, "another node has the stream now; the publisher here is ended");
                        self.counters.count(Count::LeaseLost);
                        if let Some(lost) = self.lost.get() {
                            lost(stream);
                        }
                    }
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Word of a change: it is not said by whom, so it may be our own.
    fn heard(&self, stream: StreamKey) {
        self.lookups.changed(&stream);
        if self.leases.of(&stream).is_some() {
            let mut doubts = self.doubts.lock();
            if doubts.len() < MAX_DOUBTS {
                doubts.push(stream);
            }
            drop(doubts);
            self.wake.notify_one();
        } else if let Some(changed) = self.changed.get() {
            changed(&stream);
        }
    }

    fn answered(&self, alive: Vec<Announcement>) {
        let away = self.health.told.lock().take();
        if let Some(away) = away {
            // What was heard before is old.
            self.lookups.forget();
            self.health.away.store(false, Ordering::Relaxed);
            self.counters.registry_away(false);
            info!(
                away_ms = u64::try_from(away.since.elapsed().as_millis()).unwrap_or(u64::MAX),
                leases = self.leases.count(),
                "the registry is back; all streams of this node are announced again"
            );
        }
        let name = &self.identity.name;
        let twin = alive
            .iter()
            .any(|node| node.name == *name && node.instance != self.identity.instance);
        let others: Vec<_> = alive
            .into_iter()
            .filter(|node| node.name != *name)
            .collect();
        *self.others.lock() = others;
        if twin && !self.health.twin.swap(true, Ordering::Relaxed) {
            warn!(
                name,
                "another process announces itself as this node: unless one replaces the other just now, give each a name of its own (live.node.name)"
            );
        }
    }

    fn failed(&self, error: &RegistryError) {
        self.counters.count(Count::RegistryError);
        let now = Instant::now();
        self.health.away.store(true, Ordering::Relaxed);
        self.counters.registry_away(true);
        self.others.lock().clear();
        let mut told = self.health.told.lock();
        match &mut *told {
            None => {
                *told = Some(Away {
                    since: now,
                    told: now,
                    why: error.clone(),
                });
                warn!("{error}; streams of this node go on, those of other nodes are not found");
            }
            Some(away)
                if now.duration_since(away.told)
                    >= if away.why == *error { REMIND } else { REASON } =>
            {
                away.told = now;
                away.why = error.clone();
                let away_s = now.duration_since(away.since).as_secs();
                warn!(away_s, "{error}; it is still away");
            }
            Some(_) => {}
        }
        drop(told);
        // The next beat is due sooner than the node thinks.
        self.wake.notify_one();
    }
}

impl Owner for Inner {
    fn leases(&self) -> &Leases {
        &self.leases
    }

    fn wake(&self) {
        self.wake.notify_one();
    }
}
