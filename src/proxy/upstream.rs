//! The servers of an upstream: which there are, which are well, and which is next. The choosing, and the rounds of checks, are
//! pingora's load balancing; what a check is, and which names have which addresses, stands here.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::connectors::TransportConnector;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::lb::discovery::ServiceDiscovery;
use pingora::lb::health_check::HealthCheck;
use pingora::lb::selection::{BackendIter, BackendSelection, Consistent, RoundRobin};
use pingora::lb::{Backend, Backends, Extensions, LoadBalancer};
use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora::protocols::tls::CaType;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use pingora::upstreams::peer::{H1UpgradePolicy, HttpPeer};
use pingora::{Error, ErrorType, Result};
use thiserror::Error as ThisError;
use tracing::{info, warn};

use crate::config::{self, Balance, HealthCheckKind};
use crate::tls;

/// How often names are looked up again.
const LOOKUP: Duration = Duration::from_secs(30);
/// Steps of a search for a server: a ketama ring has 160 points for each, so all of a dozen are seen even when the ring is uneven.
const STEPS: usize = 4_096;
/// Requests at a time on one HTTP/2 connection to a server; servers allow 100 or more (RFC 9113 §6.5.2).
const H2_STREAMS: usize = 100;

/// Why an upstream cannot be used.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The file of `ca`.
    #[error("live.upstreams.{upstream}.ca: {path} holds no usable certificate: {reason}")]
    Ca {
        /// Which upstream.
        upstream: String,
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A server, by its address.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// The host that it stands for in the configuration.
    host: String,
    /// Requests under way.
    busy: AtomicUsize,
    /// When it could last not be reached.
    failed: Mutex<Option<Instant>>,
}

impl Server {
    /// It could not be reached.
    pub(super) fn failed(&self) {
        *self.failed.lock() = Some(Instant::now());
    }

    /// It answered.
    pub(super) fn answered(&self) {
        *self.failed.lock() = None;
    }

    fn is_out(&self, fail_timeout: Duration) -> bool {
        (*self.failed.lock()).is_some_and(|at| at.elapsed() < fail_timeout)
    }
}

/// A request at a server; counted until it is dropped.
pub(super) struct Busy(pub(super) Arc<Server>);

impl Busy {
    pub(super) fn new(server: Arc<Server>) -> Self {
        server.busy.fetch_add(1, Ordering::Relaxed);
        Self(server)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What all parts of one upstream share.
struct Shared {
    name: String,
    options: config::Upstream,
    ca: Option<Arc<CaType>>,
    /// Keeps connections of upstreams apart that differ only in what the pool does not look at.
    group: u64,
    /// The servers by address. Guarded for a look-up; as many as the names have addresses now.
    servers: Mutex<HashMap<SocketAddr, Arc<Server>>>,
    /// Whether the last look-up of a name failed, so that it is told once.
    lookup_failed: AtomicBool,
}

enum Balancer {
    /// `least_conn`, too: that is chosen from the same list, by hand.
    RoundRobin(Arc<LoadBalancer<RoundRobin>>),
    Hash(Arc<LoadBalancer<Consistent>>),
}

/// Servers that are as good as each other.
pub struct Upstream {
    shared: Arc<Shared>,
    balancer: Balancer,
    /// Held for the first look-up, which all requests that come meanwhile wait for.
    first: tokio::sync::Mutex<()>,
    /// Where `least_conn` begins among servers with as many requests.
    turn: AtomicUsize,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// Reads the `ca`, but asks no server.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub(super) fn new(
        name: &str,
        options: &config::Upstream,
        group: u64,
    ) -> std::result::Result<Self, UpstreamError> {
        let ca = match &options.ca {
            Some(path) => {
                Some(
                    tls::read_authorities(path).map_err(|reason| UpstreamError::Ca {
                        upstream: name.to_owned(),
                        path: path.clone(),
                        reason,
                    })?,
                )
            }
            None => None,
        };
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            options: options.clone(),
            ca,
            group,
            servers: Mutex::default(),
            lookup_failed: AtomicBool::new(false),
        });
        Ok(Self {
            balancer: match options.balance {
                Balance::RoundRobin | Balance::LeastConn => Balancer::RoundRobin(balancer(&shared)),
                Balance::Hash => Balancer::Hash(balancer(&shared)),
            },
            shared,
            first: tokio::sync::Mutex::default(),
            turn: AtomicUsize::new(0),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.shared.name
    }

    pub(super) fn options(&self) -> &config::Upstream {
        &self.shared.options
    }

    /// Looks names up and servers after until the server shuts down.
    pub(super) async fn run(&self, shutdown: ShutdownWatch) {
        match &self.balancer {
            Balancer::RoundRobin(balancer) => balancer.start(shutdown).await,
            Balancer::Hash(balancer) => balancer.start(shutdown).await,
        }
    }

    /// The addresses of the servers, if nobody knows them yet.
    pub(super) async fn look_up(&self) {
        let known = || !self.backends().get_backend().is_empty();
        if known() {
            return;
        }
        let _turn = self.first.lock().await;
        if known() {
            return;
        }
        let found = match &self.balancer {
            Balancer::RoundRobin(balancer) => balancer.update().await,
            Balancer::Hash(balancer) => balancer.update().await,
        };
        // It was told where it failed.
        let _ = found;
    }

    fn backends(&self) -> &Backends {
        match &self.balancer {
            Balancer::RoundRobin(balancer) => balancer.backends(),
            Balancer::Hash(balancer) => balancer.backends(),
        }
    }

    /// The next server that is none of `tried`; none when there is none. `key` is what a hash is about.
    ///
    /// Servers that fail their checks are passed over, then those that could lately not be reached; but when there are no others, they
    /// are better than nothing.
    pub(super) fn next(&self, key: &[u8], tried: &[SocketAddr]) -> Option<Arc<Server>> {
        let fail_timeout = self.shared.options.fail_timeout;
        let is_new = |server: &Server| !tried.contains(&server.address);
        self.choose(key, |server, well| {
            well && is_new(server) && !server.is_out(fail_timeout)
        })
        .or_else(|| self.choose(key, |server, well| well && is_new(server)))
        .or_else(|| self.choose(key, |server, _| is_new(server)))
    }

    fn choose(&self, key: &[u8], accept: impl Fn(&Server, bool) -> bool) -> Option<Arc<Server>> {
        if self.shared.options.balance == Balance::LeastConn {
            let all = self.backends().get_backend();
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % all.len().max(1);
            return all
                .iter()
                .cycle()
                .skip(turn)
                .take(all.len())
                .filter_map(|backend| Some((server(backend)?, self.backends().ready(backend))))
                .filter(|(server, well)| accept(server, *well))
                .map(|(server, _)| server)
                .min_by_key(|server| server.busy.load(Ordering::Relaxed));
        }
        let accept = |backend: &Backend, well: bool| {
            server(backend).is_some_and(|server| accept(&server, well))
        };
        let chosen = match &self.balancer {
            Balancer::RoundRobin(balancer) => balancer.select_with(key, STEPS, accept),
            Balancer::Hash(balancer) => balancer.select_with(key, STEPS, accept),
        };
        server(&chosen?)
    }

    /// How to connect to a server. `upgrade`: for a request that asks for another protocol; `websocket`: whether it may.
    pub(super) fn peer(&self, server: &Server, upgrade: bool, websocket: bool) -> HttpPeer {
        let mut peer = self.shared.peer(server);
        if upgrade {
            // HTTP/2 has no such thing that pingora would carry.
            peer.options.set_http_version(1, 1);
        }
        if !websocket {
            peer.options.http_upstream_request_policy.h1_upgrade = H1UpgradePolicy::Deny;
        }
        peer
    }
}

impl Shared {
    fn peer(&self, server: &Server) -> HttpPeer {
        let options = &self.options;
        let sni = match options.sni.as_str() {
            // Without a name, nothing would be verified.
            "" => server.host.clone(),
            sni => sni.to_owned(),
        };
        let mut peer = HttpPeer::new(server.address, options.tls, sni);
        peer.group_key = self.group;
        peer.options.connection_timeout = Some(options.connect_timeout);
        peer.options.total_connection_timeout = Some(options.connect_timeout);
        peer.options.read_timeout = Some(options.read_timeout);
        peer.options.write_timeout = Some(options.write_timeout);
        peer.options.idle_timeout = Some(options.idle_timeout);
        peer.options.verify_cert = options.verify;
        peer.options.verify_hostname = options.verify;
        peer.options.ca.clone_from(&self.ca);
        peer.options.max_h2_streams = H2_STREAMS;
        match (options.http2, options.tls) {
            (true, true) => peer.options.set_http_version(2, 1),
            (true, false) => peer.options.set_http_version(2, 2),
            (false, _) => peer.options.set_http_version(1, 1),
        }
        peer
    }

    /// Looks one server's host up, and keeps what it had when that fails.
    async fn addresses(&self, of: &config::Server) -> Vec<SocketAddr> {
        if let Ok(ip) = of.host.parse::<IpAddr>() {
            return vec![SocketAddr::new(ip, of.port)];
        }
        let found = tokio::time::timeout(
            self.options.connect_timeout,
            tokio::net::lookup_host((of.host.as_str(), of.port)),
        );
        let reason = match found.await {
            Ok(Ok(addresses)) => {
                let addresses: Vec<_> = addresses.collect();
                if !addresses.is_empty() {
                    if self.lookup_failed.swap(false, Ordering::Relaxed) {
                        info!(upstream = self.name, server = %of, "the server's name has an address again");
                    }
                    return addresses;
                }
                "it has no address".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the name server does not answer".to_owned(),
        };
        if !self.lookup_failed.swap(true, Ordering::Relaxed) {
            warn!(upstream = self.name, server = %of, "the server's name cannot be looked up: {reason}");
        }
        let servers = self.servers.lock();
        let known = servers
            .values()
            .filter(|server| server.host == of.host && server.address.port() == of.port);
        known.map(|server| server.address).collect()
    }
}

fn server(backend: &Backend) -> Option<Arc<Server>> {
    backend.ext.get::<Arc<Server>>().cloned()
}

fn balancer<S>(shared: &Arc<Shared>) -> Arc<LoadBalancer<S>>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let mut backends = Backends::new(Box::new(Names(Arc::clone(shared))));
    let check = &shared.options.health_check;
    if check.kind != HealthCheckKind::Off {
        backends.set_health_check(Box::new(Check::new(Arc::clone(shared))));
    }
    let mut balancer = LoadBalancer::from_backends(backends);
    balancer.health_check_frequency = Some(check.interval);
    balancer.parallel_health_check = true;
    let named = |server: &config::Server| server.host.parse::<IpAddr>().is_err();
    balancer.update_frequency = shared.options.servers.iter().any(named).then_some(LOOKUP);
    Arc::new(balancer)
}

/// The configured servers by their addresses.
struct Names(Arc<Shared>);

#[async_trait]
impl ServiceDiscovery for Names {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let mut found = HashMap::new();
        for server in &self.0.options.servers {
            for address in self.0.addresses(server).await {
                found.entry(address).or_insert_with(|| server.host.clone());
            }
        }
        if found.is_empty() {
            return Error::e_explain(ErrorType::InternalError, "no server has an address");
        }
        let mut servers = self.0.servers.lock();
        servers.retain(|address, _| found.contains_key(address));
        let backend = |(address, host)| {
            let server = servers.entry(address).or_insert_with(|| {
                Arc::new(Server {
                    address,
                    host,
                    busy: AtomicUsize::new(0),
                    failed: Mutex::new(None),
                })
            });
            let mut ext = Extensions::new();
            ext.insert(Arc::clone(server));
            Backend {
                addr: PingoraAddr::Inet(address),
                weight: 1,
                ext,
            }
        };
        Ok((found.into_iter().map(backend).collect(), HashMap::new()))
    }
}

/// A look after one server.
struct Check {
    shared: Arc<Shared>,
    tcp: TransportConnector,
    http: Connector,
}

impl Check {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            tcp: TransportConnector::new(None),
            http: Connector::new(None),
        }
    }

    async fn look(&self, target: &Backend) -> Result<()> {
        let Some(server) = server(target) else {
            return Error::e_explain(ErrorType::InternalError, "a server without its state");
        };
        let mut peer = self.shared.peer(&server);
        let options = &self.shared.options.health_check;
        peer.options.connection_timeout = Some(options.timeout);
        peer.options.total_connection_timeout = Some(options.timeout);
        if options.kind == HealthCheckKind::Tcp {
            return self.tcp.new_stream(&peer).await.map(drop);
        }
        let (mut session, _) = self.http.get_http_session(&peer).await?;
        let mut request = RequestHeader::build("GET", options.path.as_bytes(), None)?;
        let host = match options.host.as_str() {
            "" => config::Server {
                host: server.host.clone(),
                port: server.address.port(),
            }
            .to_string(),
            host => host.to_owned(),
        };
        request.insert_header(http::header::HOST, host)?;
        request.insert_header(http::header::USER_AGENT, "pingora-live health check")?;
        session.write_request_header(Box::new(request)).await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        let status = session.response_header().map(|header| header.status);
        // The body is nobody's concern: the connection goes.
        match status {
            Some(status) if status.is_success() || status.is_redirection() => Ok(()),
            _ => Error::e_explain(
                ErrorType::HTTPStatus(status.map_or(0, |status| status.as_u16())),
                "not the answer of a server that is well",
            ),
        }
    }
}

#[async_trait]
impl HealthCheck for Check {
    async fn check(&self, target: &Backend) -> Result<()> {
        let timeout = self.shared.options.health_check.timeout;
        match tokio::time::timeout(timeout, self.look(target)).await {
            Ok(looked) => looked,
            Err(_) => Error::e_explain(ErrorType::ReadTimedout, "no answer in time"),
        }
    }

    async fn health_status_change(&self, target: &Backend, healthy: bool) {
        let upstream = self.shared.name.as_str();
        if healthy {
            if let Some(server) = server(target) {
                server.answered();
            }
            info!(upstream, server = %target.addr, "the server is back");
        } else {
            warn!(upstream, server = %target.addr, "the server fails its checks and is left out");
        }
    }

    fn health_threshold(&self, success: bool) -> usize {
        let check = &self.shared.options.health_check;
        let times = if success { check.rise } else { check.fall };
        usize::try_from(times).unwrap_or(usize::MAX)
    }
}
