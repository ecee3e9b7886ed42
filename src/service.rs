//! The wiring: configuration in, a pingora server with its listeners out. Nothing else puts the rooms together.

mod signals;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::listeners::{
    ConnectionFilter, L4BufferSettings, ListenerConfig, Listeners, TcpSocketOptions,
};
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::proxy::http_proxy;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{ListenFds, Server, ShutdownWatch};
use pingora::services::Service as PingoraService;
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service;
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::api::{Api, ApiProxy};
use crate::config::{self, Config, UrlScheme};
use crate::play::{Live, LiveProxy, ReloadError};
use crate::proxy::{ProxiedConnections, ProxyProtocol, Router, UpstreamError};
use crate::rtmp::listener::RtmpApp;
use crate::tls::{self, AcceptorError, CertError, CertSource, CertStore, Door, TlsConnections};

use signals::Signals;

/// Read buffer of a player's connection in bytes: a request header fits; pingora's default of 64 KiB would be most of what a
/// player costs.
const HTTP_READ_BUFFER: usize = 2 * 1024;
/// Read buffer of a publisher's connection in bytes. Larger reads go around it, into the session's own buffer.
const RTMP_READ_BUFFER: usize = 4 * 1024;
/// Write buffer in bytes: gathers small writes into a segment.
const WRITE_BUFFER: usize = 1460;
/// An HTTP/2 connection without streams is closed after this.
const H2_IDLE: Duration = Duration::from_secs(60);
/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How long a shutdown waits for players and publishers when `grace_period_seconds` is not set: pingora's own default.
const DEFAULT_GRACE: Duration = Duration::from_secs(300);

/// Why the server cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// pingora's own keys.
    #[error("pingora does not take its part of the configuration: {0}")]
    Server(String),
    /// A certificate.
    #[error(transparent)]
    Cert(#[from] CertError),
    /// The settings of TLS.
    #[error(transparent)]
    Tls(#[from] AcceptorError),
    /// An upstream.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// An address.
    #[error("cannot listen on {address} ({protocol}): {source}")]
    Bind {
        /// What the address is for.
        protocol: &'static str,
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A listener that is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// `rtmp`, `rtmps`, `http`, `https` or `api`.
    pub protocol: &'static str,
    /// The address; with the real port where the configuration says 0.
    pub address: SocketAddr,
}

/// A server that is ready to run.
pub struct Assembled {
    /// pingora's server, with all services added.
    pub server: Server,
    /// The door to the streams.
    pub live: Live,
    /// Where it listens.
    pub listening: Vec<Listening>,
    grace: Duration,
}

/// Puts a server together and binds its addresses. `opt`: pingora's command line (`upgrade`, `daemon`).
///
/// # Errors
/// [`StartError`]; nothing is left bound then.
pub fn assemble(config: &Config, opt: Opt) -> Result<Assembled, StartError> {
    let live_config = &config.live;
    let mut conf = ServerConf::from_yaml(&config.server_yaml())
        .map_err(|e| StartError::Server(e.to_string()))?;
    conf.merge_with_opt(&opt);
    let grace = conf
        .grace_period_seconds
        .map_or(DEFAULT_GRACE, Duration::from_secs);
    let upgrade = opt.upgrade;
    let mut server = Server::new_with_opt_and_conf(opt, conf);
    let live = Live::new(live_config.clone());
    let mut binder = Binder {
        config: live_config,
        upgrade,
        listening: Vec::new(),
    };
    let mut stores = Stores::default();

    // Connections of this listener begin with a header of the PROXY protocol, if it is switched on.
    let announced = |on: bool, listener| {
        let who = live.clone();
        let trusted = move || who.trusted_proxies();
        on.then(|| ProxyProtocol::new(trusted, live.shared_counters(), listener))
    };
    let rtmp_config = &live_config.rtmp;
    let app = Arc::new(RtmpApp::new(live.clone()));
    let mut rtmp = Group::new("rtmp").filtered(live.accept_rate());
    let header = announced(rtmp_config.proxy_protocol, "rtmp");
    rtmp.add(
        "rtmp",
        &mut binder,
        &rtmp_config.listen,
        RTMP_READ_BUFFER,
        ProxiedConnections::new(Arc::clone(&app), header),
    )?;
    if let Some(tls) = &rtmp_config.tls {
        let store = CertStore::load(vec![CertSource::from(tls)])?;
        stores.rtmps = Some(Arc::clone(&store));
        let header = announced(tls.proxy_protocol, "rtmps");
        let counters = live.shared_counters();
        let app = TlsConnections::new(app, tls::acceptor(&store, false)?, counters, "rtmps")
            .behind(door(&live));
        rtmp.add(
            "rtmps",
            &mut binder,
            &tls.listen,
            RTMP_READ_BUFFER,
            ProxiedConnections::new(Arc::new(app), header),
        )?;
    }
    let relays = live.clone();
    let rtmp = rtmp.on_start(move || relays.run_relays_here());
    server.add_service(rtmp);

    let live_proxy = LiveProxy::new(live.clone())?;
    if !live_proxy.router().is_empty() {
        let upstreams = live_proxy.router().clone();
        server.add_service(background_service("upstreams", upstreams));
    }
    let mut proxy = http_proxy(&server.configuration, live_proxy);
    proxy.server_options = Some(http_options(&live_config.http));
    proxy.h2_options = Some(h2_options(&live_config.limits));
    let app = Arc::new(live.connections_for(proxy));
    let mut http = Group::new("http").filtered(live.accept_rate());
    let header = announced(live_config.http.proxy_protocol, "http");
    http.add(
        "http",
        &mut binder,
        &live_config.http.listen,
        HTTP_READ_BUFFER,
        ProxiedConnections::new(Arc::clone(&app), header),
    )?;
    if let Some(https) = &live_config.https {
        let store = CertStore::load(https.certs.iter().map(CertSource::from).collect())?;
        stores.https = Some(Arc::clone(&store));
        let header = announced(https.proxy_protocol, "https");
        let acceptor = tls::acceptor(&store, https.http2)?;
        let app =
            TlsConnections::new(app, acceptor, live.shared_counters(), "https").behind(door(&live));
        http.add(
            "https",
            &mut binder,
            &https.listen,
            HTTP_READ_BUFFER,
            ProxiedConnections::new(Arc::new(app), header),
        )?;
    }
    server.add_service(http);
    if live.announces(&ports(&binder.listening)) {
        server.add_service(background_service("cluster", Beats(live.clone())));
    }

    if !live_config.api.listen.is_empty() {
        let told = binder.listening.iter();
        let told = told.map(|l| (l.protocol, l.address)).collect();
        let api = ApiProxy::new(Api::new(live.clone()).listening(told));
        let mut proxy = http_proxy(&server.configuration, api);
        proxy.server_options = Some(http_options(&live_config.http));
        let mut service = Group::new("api");
        // A request is a look at a few tables.
        service.threads = Some(1);
        let app = live.connections_for(proxy).unbounded();
        let addresses = &live_config.api.listen;
        service.add("api", &mut binder, addresses, HTTP_READ_BUFFER, app)?;
        server.add_service(service);
    }

    let reloader = Reloader {
        config: config.clone(),
        live: live.clone(),
        stores,
    };
    live.set_reader(move || reloader.reload());
    Ok(Assembled {
        server,
        live,
        listening: binder.listening,
        grace,
    })
}

impl Assembled {
    /// Runs until a signal ends it: SIGTERM lets players and publishers end properly, SIGINT for a second at most, SIGQUIT hands the
    /// listening sockets to a process started with `--upgrade`, SIGHUP reads the configuration and the certificates again.
    ///
    /// `ready` is called once when all of these are watched for, so whoever is told that the server runs may send them at once.
    pub fn run(mut self, ready: impl FnOnce() + Send + 'static) {
        self.server.bootstrap();
        let signals = Signals::new(self.live, self.grace, Box::new(ready));
        self.server.run(pingora::server::RunArgs {
            shutdown_signal: Box::new(signals),
        });
    }
}

/// Who may wait for the end of a handshake.
fn door(live: &Live) -> Door {
    let live = live.clone();
    Arc::new(move |peer| Some(Box::new(live.wait_at_door(peer)?) as Box<_>))
}

fn http_options(http: &config::Http) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2c = http.h2c;
    options.h2_idle_timeout = Some(H2_IDLE);
    options
}

fn h2_options(limits: &config::Limits) -> H2Options {
    let mut options = default_h2_options();
    // What h2 may queue for one stream is part of what is held for one player.
    options.max_send_buffer_size(usize::try_from(limits.send_buffer).unwrap_or(usize::MAX));
    options
}

fn listener(
    key: String,
    address: SocketAddr,
    live: &config::Live,
    read_buffer: usize,
) -> ListenerConfig {
    let mut options = TcpSocketOptions::default();
    // Applied only if pingora binds the address itself, after an upgrade that did not hand it over.
    options.ipv6_only = live.ipv6_only(address).then_some(true);
    ListenerConfig::tcp(key)
        .tcp_socket_options(options)
        .l4_buffer(L4BufferSettings::new(read_buffer, WRITE_BUFFER))
}

/// Binds addresses before pingora does, so that a port that is taken is an exit code and not a panic after 30 tries, and port 0 is
/// known.
struct Binder<'a> {
    config: &'a config::Live,
    /// The sockets will come from the running process.
    upgrade: bool,
    listening: Vec<Listening>,
}

impl Binder<'_> {
    /// Returns the name under which pingora finds the socket.
    fn bind(
        &mut self,
        protocol: &'static str,
        address: SocketAddr,
        sockets: &mut Sockets,
    ) -> Result<String, StartError> {
        let bound = if self.upgrade {
            address
        } else {
            let socket = listen(address, self.config.ipv6_only(address)).map_err(|source| {
                StartError::Bind {
                    protocol,
                    address,
                    source,
                }
            })?;
            let bound = socket.local_addr().unwrap_or(address);
            sockets.0.push((bound.to_string(), socket));
            bound
        };
        self.listening.push(Listening {
            protocol,
            address: bound,
        });
        Ok(bound.to_string())
    }
}

fn listen(address: SocketAddr, ipv6_only: bool) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(SocketProtocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn ports(listening: &[Listening]) -> Vec<(UrlScheme, u16)> {
    let ports = listening.iter().filter_map(|listening| {
        let scheme = UrlScheme::named(listening.protocol)?;
        Some((scheme, listening.address.port()))
    });
    ports.collect()
}

/// Keeps the node's word among the others.
struct Beats(Live);

#[async_trait]
impl BackgroundService for Beats {
    async fn start(&self, _shutdown: ShutdownWatch) {
        // It goes on through a shutdown: streams are given back when their publishers have gone.
        self.0.announce().await;
    }
}

/// Bound sockets by the names under which pingora looks for them.
#[derive(Default)]
struct Sockets(Vec<(String, TcpListener)>);

/// Listeners of several kinds on one runtime, whose sockets are bound already.
struct Group {
    name: &'static str,
    threads: Option<usize>,
    /// Asked about each connection before anything is read from it.
    filter: Option<Arc<dyn ConnectionFilter>>,
    /// One for each kind of connection.
    services: Vec<Box<dyn PingoraService>>,
    /// Taken at the start. A service trait object must be `Sync`.
    sockets: Mutex<Sockets>,
    /// Called on the service's runtime.
    on_start: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Group {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            threads: None,
            filter: None,
            services: Vec::new(),
            sockets: Mutex::default(),
            on_start: None,
        }
    }

    fn on_start(mut self, call: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_start = Some(Box::new(call));
        self
    }

    fn filtered(mut self, filter: Arc<dyn ConnectionFilter>) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Serves connections to these addresses by `app`.
    fn add<A: ServerApp + Send + Sync + 'static>(
        &mut self,
        protocol: &'static str,
        binder: &mut Binder<'_>,
        addresses: &[SocketAddr],
        read_buffer: usize,
        app: A,
    ) -> Result<(), StartError> {
        let mut listeners = Listeners::new();
        for address in addresses {
            let key = binder.bind(protocol, *address, self.sockets.get_mut())?;
            listeners.add_listener(listener(key, *address, binder.config, read_buffer));
        }
        let mut service = Service::with_listeners(protocol.to_owned(), listeners, app);
        if let Some(filter) = &self.filter {
            service.set_connection_filter(Arc::clone(filter));
        }
        self.services.push(Box::new(service));
        Ok(())
    }
}

#[async_trait]
impl PingoraService for Group {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        if let Some(call) = &self.on_start {
            call();
        }
        if let Some(fds) = &fds {
            let mut fds = fds.lock();
            for (key, socket) in self.sockets.lock().0.drain(..) {
                if fds.get(&key).is_none() {
                    fds.add(key, socket.into_raw_fd());
                }
            }
        }
        let mut running = JoinSet::new();
        for mut service in self.services.drain(..) {
            let (fds, shutdown) = (fds.clone(), shutdown.clone());
            running.spawn(async move {
                service.start_service(fds, shutdown, listeners_per_fd).await;
            });
        }
        running.join_all().await;
    }

    fn name(&self) -> &str {
        self.name
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        let addresses = self.services.iter().filter_map(|s| s.listen_addresses());
        Some(addresses.flatten().collect())
    }
}

/// The certificates that are served.
#[derive(Default)]
struct Stores {
    rtmps: Option<Arc<CertStore>>,
    https: Option<Arc<CertStore>>,
}

/// Reads the configuration again.
struct Reloader {
    /// As the server was started with.
    config: Config,
    live: Live,
    stores: Stores,
}

impl Reloader {
    fn reload(&self) -> Result<config::Changes, ReloadError> {
        let read = self.config.read_again(config::environment());
        let not_a_file = || {
            let why = "the configuration of this server was not read from a file";
            ReloadError::new(vec![why.to_owned()])
        };
        let next = read
            .ok_or_else(not_a_file)?
            .map_err(|errors| ReloadError::new(errors.iter().map(ToString::to_string).collect()))?;
        // Certificates are read before anything is changed, and checked once more when they are put into use.
        check(&next).map_err(|error| ReloadError::new(vec![error.to_string()]))?;
        let failed = |error: CertError| ReloadError::new(vec![error.to_string()]);
        let mut files = Vec::new();
        if let (Some(store), Some(https)) = (&self.stores.https, &next.live.https) {
            let sources: Vec<CertSource> = https.certs.iter().map(CertSource::from).collect();
            let other = store.replace(sources.clone()).map_err(failed)?;
            for (at, source) in sources.iter().enumerate() {
                let section = format!("live.https.certs[{at}]");
                files.extend(source.keys_of(&section, &other));
            }
        }
        if let (Some(store), Some(tls)) = (&self.stores.rtmps, &next.live.rtmp.tls) {
            let source = CertSource::from(tls);
            let other = store.replace(vec![source.clone()]).map_err(failed)?;
            files.extend(source.keys_of("live.rtmp.tls", &other));
        }
        let mut changes = self.live.apply(next.live.clone());
        // What is in a file is part of the value of the key that names it.
        files.retain(|key| !changes.changed.contains(key));
        changes.changed.extend(files);
        let server = self.config.server_differences(&next);
        changes.needs_restart.extend(server);
        Ok(changes)
    }
}

/// What `-t` checks beyond the file itself: that pingora takes its keys and the certificates can be served.
///
/// # Errors
/// [`StartError`].
pub fn check(config: &Config) -> Result<(), StartError> {
    ServerConf::from_yaml(&config.server_yaml()).map_err(|e| StartError::Server(e.to_string()))?;
    if let Some(tls) = &config.live.rtmp.tls {
        CertStore::load(vec![CertSource::from(tls)])?;
    }
    if let Some(https) = &config.live.https {
        CertStore::load(https.certs.iter().map(CertSource::from).collect())?;
    }
    Router::new(&config.live, Arc::default())?;
    Ok(())
}
