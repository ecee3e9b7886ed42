//! The origins of an edge: which is asked, and which are well.
//!
//! pingora's load balancer chooses, in turn or by ketama, and runs the active checks. What fails in use is marked here for a while
//! and asked last.

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
use tokio::sync::OnceCell;
use tracing::warn;

use crate::config::{Cluster, OriginBalance, Remote, Scheme};

use super::dial::{Dialer, resolve};
use super::source::{self, Ask};
use super::target::Target;

/// How long an origin that failed in use is asked last.
const PENALTY: Duration = Duration::from_secs(5);
/// How often the names of origins are resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
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

/// See the module.
pub(crate) struct Origins {
    balancer: Balancer,
    /// Names are resolved with the first question.
    found: OnceCell<()>,
    count: usize,
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
        let count = remotes.len();
        let backends = Backends::new(Box::new(Names { remotes, scheme }));
        let check = Check {
            dialer: Arc::clone(dialer),
            verify: cluster.tls_verify,
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
            found: OnceCell::new(),
            count,
            failed: Mutex::default(),
        }
    }

    /// How many are configured.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The next to ask for `key`: one that is well and not `tried`; else one that is not `tried`.
    pub(crate) async fn next(&self, key: &[u8], tried: &[SocketAddr]) -> Option<Candidate> {
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
        let backend = self
            .select(key, &well)
            .or_else(|| self.select(key, &|backend, _| untried(backend)))?;
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

    /// It failed in use.
    pub(crate) fn failed(&self, address: SocketAddr) {
        self.failed.lock().insert(address, Instant::now() + PENALTY);
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
            warn!(%error, "the origins");
        }
    }

    /// Resolves names again and checks health `every` so often, until it is dropped. One origin has nothing to be compared with.
    pub(crate) async fn watch(self: Arc<Self>, every: Duration) {
        let checks = !every.is_zero() && self.count > 1;
        let pause = if checks { every } else { RESOLVE_EVERY };
        let mut resolved = Instant::now();
        self.found.get_or_init(|| self.resolve()).await;
        let this = Arc::downgrade(&self);
        drop(self);
        loop {
            tokio::time::sleep(pause).await;
            let Some(this) = this.upgrade() else { return };
            if resolved.elapsed() >= RESOLVE_EVERY {
                resolved = Instant::now();
                this.resolve().await;
            }
            if checks {
                match &this.balancer {
                    Balancer::RoundRobin(balancer) => {
                        balancer.backends().run_health_check(true).await;
                    }
                    Balancer::Hash(balancer) => balancer.backends().run_health_check(true).await,
                }
            }
        }
    }
}

/// Origins by their names.
struct Names {
    remotes: Vec<Remote>,
    scheme: Scheme,
}

#[async_trait]
impl ServiceDiscovery for Names {
    async fn discover(&self) -> pingora::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let mut backends = BTreeSet::new();
        let mut missing = String::new();
        for remote in &self.remotes {
            let scheme = remote.scheme.unwrap_or(self.scheme);
            let port = remote.port.unwrap_or(scheme.port());
            match resolve(&remote.host, port).await {
                Ok(address) => {
                    let mut backend = Backend::new(&address.to_string())?;
                    backend.ext.insert((remote.clone(), scheme));
                    backends.insert(backend);
                }
                Err(error) => {
                    warn!(origin = %remote, "{error}");
                    missing = error.to_string();
                }
            }
        }
        if backends.is_empty() {
            // What was known before is kept.
            return Error::e_explain(ErrorType::InternalError, missing);
        }
        Ok((backends, HashMap::new()))
    }
}

/// Whether an origin is well: it answers RTMP's handshake, or an HTTP request. A process that hangs still accepts connections.
struct Check {
    dialer: Arc<Dialer>,
    verify: bool,
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
            verify: self.verify,
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
            tracing::info!(origin, "an origin is well again");
        } else {
            warn!(origin, "an origin is not well");
        }
    }

    fn health_threshold(&self, _success: bool) -> usize {
        1
    }

    fn backend_summary(&self, backend: &Backend) -> String {
        backend.addr.to_string()
    }
}
