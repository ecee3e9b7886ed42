//! The origins of an edge: which is asked, and which are well.
//!
//! pingora's load balancer chooses, in turn or by ketama, and runs the active checks. What fails in use is marked here for a while
//! and asked last, and its name resolved again. Each address of a name is an origin of its own.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::lb::discovery::ServiceDiscovery;
use pingora::lb::health_check::HealthCheck;
use pingora::lb::selection::{Consistent, RoundRobin};
use pingora::lb::{Backend, Backends, LoadBalancer};
use pingora::{Error, ErrorType};
use tokio::sync::{Notify, OnceCell};
use tokio::time::timeout_at;
use tracing::{info, warn};

use crate::config::{Cluster, OriginBalance, Remote, Scheme};

use super::dial::{Dialer, Terms, resolve};
use super::source::{self, Ask};
use super::target::Target;

/// How long an origin that failed in use is asked last.
const PENALTY: Duration = Duration::from_secs(5);
/// How often the names of origins are resolved again while they are well.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// And while one is not: a question to a resolver in this time, whatever number of streams fail.
const DOUBT_EVERY: Duration = Duration::from_secs(1);
/// How long an origin may take to show that it is well.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Points of the ketama ring that are looked at for an origin: pingora has 160 for each.
const MAX_STEPS: usize = 4096;

/// An origin to ask.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) address: SocketAddr,
    pub(crate) remote: Remote,
    pub(crate) scheme: Scheme,
}

/// Which origins are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Among {
    /// Those that are well.
    Well,
    /// And then the others: what is known of them may be wrong.
    All,
}

/// See the module.
pub(crate) struct Origins {
    balancer: Balancer,
    /// As configured, each with how it is spoken to.
    remotes: Vec<(Remote, Scheme)>,
    /// Names are resolved with the first question.
    found: OnceCell<()>,
    /// Names are to be resolved again: what they stood for does not answer.
    doubted: Arc<Notify>,
    /// Those that failed in use, until when. Held for a look-up.
    failed: Mutex<HashMap<SocketAddr, Instant>>,
}

enum Balancer {
    RoundRobin(LoadBalancer<RoundRobin>),
    Hash(LoadBalancer<Consistent>),
}

impl Origins {
    /// `remotes`, spoken to by `scheme` unless they say it themselves.
    pub(crate) fn new(
        remotes: Vec<Remote>,
        scheme: Scheme,
        cluster: &Cluster,
        dialer: &Arc<Dialer>,
    ) -> Self {
        let remotes: Vec<(Remote, Scheme)> = remotes
            .into_iter()
            .map(|remote| {
                let scheme = remote.scheme.unwrap_or(scheme);
                (remote, scheme)
            })
            .collect();
        let backends = Backends::new(Box::new(Names {
            remotes: remotes.clone(),
            known: Mutex::default(),
        }));
        let check = Check {
            dialer: Arc::clone(dialer),
            terms: Terms::from(cluster),
        };
        let balancer = match cluster.balance {
            OriginBalance::RoundRobin => {
                let mut balancer = LoadBalancer::from_backends(backends);
                balancer.set_health_check(Box::new(check));
                Balancer::RoundRobin(balancer)
            }
            OriginBalance::Hash => {
                let mut balancer = LoadBalancer::from_backends(backends);
                balancer.set_health_check(Box::new(check));
                Balancer::Hash(balancer)
            }
        };
        Origins {
            balancer,
            remotes,
            found: OnceCell::new(),
            doubted: Arc::default(),
            failed: Mutex::default(),
        }
    }

    /// How many there are: each address of a name is one, once it is known.
    pub(crate) fn count(&self) -> usize {
        self.known().max(self.remotes.len())
    }

    /// Whether this server, and no other, is configured.
    pub(crate) fn are(&self, remote: &Remote) -> bool {
        let [(only, _)] = self.remotes.as_slice() else {
            return false;
        };
        only == remote
    }

    fn known(&self) -> usize {
        self.backends().get_backend().len()
    }

    /// Whether it is configured.
    pub(crate) fn has(&self, candidate: &Candidate) -> bool {
        let mut all = self.remotes.iter();
        all.any(|(remote, scheme)| *remote == candidate.remote && *scheme == candidate.scheme)
    }

    fn backends(&self) -> &Backends {
        match &self.balancer {
            Balancer::RoundRobin(balancer) => balancer.backends(),
            Balancer::Hash(balancer) => balancer.backends(),
        }
    }

    /// The next to ask for `key`: one that is well and not `tried`; else, [`Among::All`], one that is not `tried`.
    pub(crate) async fn next(
        &self,
        key: &[u8],
        tried: &[SocketAddr],
        among: Among,
    ) -> Option<Candidate> {
        self.found.get_or_init(|| self.resolve()).await;
        let now = Instant::now();
        let marked: Vec<SocketAddr> = {
            let mut failed = self.failed.lock();
            failed.retain(|_, until| *until > now);
            failed.keys().copied().collect()
        };
        let untried = |backend: &Backend| {
            backend
                .addr
                .as_inet()
                .is_some_and(|address| !tried.contains(address))
        };
        let well = |backend: &Backend, healthy: bool| {
            healthy
                && untried(backend)
                && backend
                    .addr
                    .as_inet()
                    .is_some_and(|address| !marked.contains(address))
        };
        let backend = self.select(key, &well).or_else(|| match among {
            Among::Well => None,
            Among::All => self.select(key, &|backend, _| untried(backend)),
        })?;
        let (remote, scheme) = backend.ext.get::<(Remote, Scheme)>()?.clone();
        Some(Candidate {
            address: *backend.addr.as_inet()?,
            remote,
            scheme,
        })
    }

    fn select(&self, key: &[u8], accept: &dyn Fn(&Backend, bool) -> bool) -> Option<Backend> {
        match &self.balancer {
            Balancer::RoundRobin(balancer) => balancer.select_with(key, MAX_STEPS, accept),
            Balancer::Hash(balancer) => balancer.select_with(key, MAX_STEPS, accept),
        }
    }

    /// It failed in use. Its name may stand for another server by now.
    pub(crate) fn failed(&self, address: SocketAddr) {
        self.failed.lock().insert(address, Instant::now() + PENALTY);
        self.doubted.notify_one();
    }

    /// It works.
    pub(crate) fn worked(&self, address: SocketAddr) {
        self.failed.lock().remove(&address);
    }

    async fn resolve(&self) {
        let updated = match &self.balancer {
            Balancer::RoundRobin(balancer) => balancer.update().await,
            Balancer::Hash(balancer) => balancer.update().await,
        };
        if let Err(error) = updated {
            warn!("no origin has an address: {}", error.root_cause());
        }
        if self.known() == 0 {
            self.doubted.notify_one();
        }
    }

    /// Resolves names again and checks health `every` so often, until it is dropped. One origin has nothing to be compared with.
    pub(crate) async fn watch(self: Arc<Self>, every: Duration) {
        self.found.get_or_init(|| self.resolve()).await;
        let doubted = Arc::clone(&self.doubted);
        let this = Arc::downgrade(&self);
        drop(self);
        let mut resolved = Instant::now();
        let mut checked = resolved;
        let mut doubt = false;
        loop {
            let resolve_at = resolved + if doubt { DOUBT_EVERY } else { RESOLVE_EVERY };
            let check_at = checked
                + if every.is_zero() {
                    RESOLVE_EVERY
                } else {
                    every
                };
            let next = resolve_at.min(check_at);
            doubt |= timeout_at(next.into(), doubted.notified()).await.is_ok();
            let Some(this) = this.upgrade() else { return };
            if Instant::now() >= resolve_at {
                doubt = false;
                this.resolve().await;
                resolved = Instant::now();
            }
            if Instant::now() >= check_at {
                if !every.is_zero() && this.known() > 1 {
                    this.backends().run_health_check(true).await;
                }
                checked = Instant::now();
            }
        }
    }
}

impl Drop for Origins {
    fn drop(&mut self) {
        // The task that watches them ends.
        self.doubted.notify_one();
    }
}

/// Origins by their names.
struct Names {
    remotes: Vec<(Remote, Scheme)>,
    /// What each name last stood for. Held for a look-up or a change.
    known: Mutex<HashMap<Remote, Vec<SocketAddr>>>,
}

#[async_trait]
impl ServiceDiscovery for Names {
    async fn discover(&self) -> pingora::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let mut backends = BTreeSet::new();
        let mut missing = String::new();
        for (remote, scheme) in &self.remotes {
            let port = remote.port.unwrap_or(scheme.port());
            let addresses = match resolve(&remote.host, port).await {
                Ok(addresses) => {
                    let mut known = self.known.lock();
                    let before = known.insert(remote.clone(), addresses.clone());
                    if before.is_some_and(|before| !same(&before, &addresses)) {
                        info!(origin = %remote, ?addresses, "an origin has other addresses");
                    }
                    addresses
                }
                // What was known before is kept.
                Err(error) => {
                    warn!(origin = %remote, "{error}");
                    missing = error.to_string();
                    self.known.lock().get(remote).cloned().unwrap_or_default()
                }
            };
            for address in addresses {
                let mut backend = Backend::new(&address.to_string())?;
                backend.ext.insert((remote.clone(), *scheme));
                backends.insert(backend);
            }
        }
        if backends.is_empty() && !self.remotes.is_empty() {
            return Error::e_explain(ErrorType::InternalError, missing);
        }
        Ok((backends, HashMap::new()))
    }
}

/// Resolvers give the addresses of a name in any order.
fn same(one: &[SocketAddr], other: &[SocketAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

/// Whether an origin is well: it answers RTMP's handshake, or an HTTP request. A process that hangs still accepts connections.
struct Check {
    dialer: Arc<Dialer>,
    terms: Terms,
}

#[async_trait]
impl HealthCheck for Check {
    async fn check(&self, backend: &Backend) -> pingora::Result<()> {
        let (Some((remote, scheme)), Some(address)) = (
            backend.ext.get::<(Remote, Scheme)>(),
            backend.addr.as_inet(),
        ) else {
            return Ok(());
        };
        let target = Target {
            scheme: *scheme,
            host: remote.host.clone(),
            port: address.port(),
            vhost: None,
            path: String::new(),
            query: String::new(),
        };
        let ask = Ask {
            address: Some(*address),
            terms: self.terms.clone(),
            ..Ask::default()
        };
        let greets = source::greets(&self.dialer, &target, &ask);
        match tokio::time::timeout(CHECK_TIMEOUT, greets).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => Error::e_explain(ErrorType::ConnectError, failure.to_string()),
            Err(_) => Error::e_explain(ErrorType::ConnectTimedout, "no answer to a greeting"),
        }
    }

    async fn health_status_change(&self, backend: &Backend, healthy: bool) {
        let origin = backend
            .ext
            .get::<(Remote, Scheme)>()
            .map(|(remote, _)| remote.to_string());
        if healthy {
            info!(origin, address = %backend.addr, "an origin is well again");
        } else {
            warn!(origin, address = %backend.addr, "an origin is not well");
        }
    }

    fn health_threshold(&self, _success: bool) -> usize {
        1
    }

    fn backend_summary(&self, backend: &Backend) -> String {
        backend.addr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams that are asked for.
    const STREAMS: usize = 2_000;

    fn origins(servers: &[&str]) -> Origins {
        let remotes = servers.iter().map(|server| server.parse().expect("a host"));
        let cluster = Cluster {
            balance: OriginBalance::Hash,
            ..Cluster::default()
        };
        Origins::new(
            remotes.collect(),
            Scheme::Rtmp,
            &cluster,
            &Arc::new(Dialer::new(&crate::config::Live::default())),
        )
    }

    async fn homes(origins: &Origins, tried: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut homes = Vec::new();
        for n in 0..STREAMS {
            let key = format!("live/stream-{n}");
            let next = origins.next(key.as_bytes(), tried, Among::All).await;
            homes.push(next.expect("an origin").address);
        }
        homes
    }

    const SERVERS: [&str; 5] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"];

    fn address(server: &str) -> SocketAddr {
        SocketAddr::new(server.parse().expect("an address"), 1935)
    }

    #[tokio::test]
    async fn streams_keep_their_homes_when_an_origin_comes_or_goes() {
        let (four, five) = (origins(&SERVERS[..4]), origins(&SERVERS));
        let (before, after) = (homes(&four, &[]).await, homes(&five, &[]).await);
        let added = address(SERVERS[4]);
        let mut moved = 0;
        for (was, is) in before.iter().zip(&after) {
            // From four to five: to the new one, or not at all. From five to four: only that one's streams.
            assert!(is == was || *is == added);
            moved += usize::from(is != was);
        }
        // A fifth of them, more or less: ketama has 160 points for each server.
        assert!((STREAMS / 8..STREAMS / 3).contains(&moved), "{moved}");
        for server in &SERVERS {
            let streams = after.iter().filter(|home| **home == address(server));
            let streams = streams.count();
            assert!((STREAMS / 10..STREAMS / 3).contains(&streams), "{streams}");
        }
        // The order in which they are named says nothing, and each edge finds the same homes.
        let mut turned = SERVERS;
        turned.reverse();
        assert_eq!(homes(&origins(&turned), &[]).await, after);
    }

    #[tokio::test]
    async fn streams_of_an_origin_that_failed_move_and_come_back() {
        let five = origins(&SERVERS);
        let before = homes(&five, &[]).await;
        let lost = address(SERVERS[2]);
        five.failed(lost);
        let meanwhile = homes(&five, &[]).await;
        for (was, is) in before.iter().zip(&meanwhile) {
            assert!(*is != lost && (is == was || *was == lost));
        }
        // Those who have to move are spread over all others.
        let mut heirs: Vec<_> = before
            .iter()
            .zip(&meanwhile)
            .filter(|(was, is)| was != is)
            .map(|(_, is)| *is)
            .collect();
        heirs.sort();
        heirs.dedup();
        assert_eq!(heirs.len(), 4);
        five.worked(lost);
        assert_eq!(homes(&five, &[]).await, before);
        // When all have been tried but those that failed, these are asked: better than nobody.
        for server in SERVERS {
            five.failed(address(server));
        }
        assert_eq!(homes(&five, &[]).await, before);
        let tried: Vec<_> = SERVERS.map(address).to_vec();
        assert!(five.next(b"live/x", &tried, Among::All).await.is_none());
    }
}
