//! Streams to players: routing, HTTP, and the fan-out.
//!
//! [`Live`] is the door. A pingora proxy calls [`Live::handle`] in its `request_filter`; what is a stream's address, or names a file
//! below `live.http.root` if that is set, is answered there, and everything else goes on as before. [`LiveProxy`] is the proxy of the binary: it sends the rest to the upstreams of `live.routes`, or answers with the player page.
//!
//! A request becomes a player: a socket, a position in the stream's log, and nothing else. It is given to one of a few workers, which
//! write each unit to all their players.

mod account;
mod carry;
mod connection;
mod elsewhere;
mod file;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod join;
mod limits;
mod operate;
mod page;
mod player;
mod post;
mod proxy;
mod rate;
mod request;
mod route;
mod settings;
mod socket;
mod take;
mod talk;
#[cfg(test)]
mod tests;
mod to_node;
mod transport;
mod websocket;
pub(crate) mod wire;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pingora::Result;
use pingora::protocols::Stream;
use pingora::proxy::Session;
use tokio::runtime::Handle;
use tracing::{debug, info};

use crate::access::{Gate, Hooks};
use crate::client::Client;
use crate::clients::Clients;
use crate::cluster::{Cluster, Load, Redis, Registry};
use crate::config::{self, UrlScheme};
use crate::hub::{Hub, StreamKey};
use crate::observe::{Asked, Count, Counters, Distribution};
use crate::open_files;
use crate::record::{Recorded, Recorder, Recording};
use crate::relay::Relay;
use crate::via;

use connection::Deadlines;
use limits::Connections;
use operate::Blocks;
use rate::RatePerAddress;
use settings::{Shared, hub_limits};
use transport::{Framing, Transport};
use worker::Workers;

pub(crate) use account::{Peer, millis};
pub(crate) use join::{Joined, NoPlay, Wish};
pub(crate) use limits::{Admission, Idle, Refusal, TurnedAway};
pub(crate) use page::{MPEGTS_JS, MPEGTS_LICENSE, THEME_CSS};
pub(crate) use talk::{Said, Talk};

pub use account::PlayEnd as EndOfPlay;
pub use connection::{HttpConnections, NEXT_REQUEST_HEADER, REQUEST_HEADER};
pub use http::SERVER;
pub use operate::TooManyBlocks;
pub use proxy::LiveProxy;
pub use settings::ReloadError;

/// Live streaming for a pingora server: the hub, the players and the rules. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Live {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Shared,
    hub: Hub,
    gate: Gate,
    connections: Arc<Connections>,
    accepts: RatePerAddress,
    next_client: AtomicU64,
    deadlines: Deadlines,
    counters: Arc<Counters>,
    /// Made on the runtime of the first request, so that an embedding proxy has nothing to wire.
    http_workers: OnceLock<Workers>,
    /// RTMP's players stay on the threads of their service.
    rtmp_workers: OnceLock<Workers>,
    ticker: OnceLock<()>,
    recorder: Recorder,
    /// The other nodes, where they share a registry.
    cluster: Option<Cluster>,
    /// Whose turn it is among the servers of `limits.overflow`.
    next_overflow: AtomicUsize,
    clients: Clients,
    blocks: Blocks,
    since: Instant,
    relay: Relay,
    /// Another process takes the newcomers from now on.
    is_leaving: AtomicBool,
    /// Where the relays of operators run.
    relays_on: OnceLock<Handle>,
}

/// Descriptors that are no client's: listeners, connections to others, recordings.
const OTHER_FILES: u64 = 1024;
/// How long a shutdown waits for callbacks once the players and publishers are gone.
const LAST_CALLBACKS: Duration = Duration::from_secs(5);

/// What [`Live::handle`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Handled {
    /// The request was answered: `request_filter` returns `Ok(true)`.
    Yes,
    /// It is none of ours: the proxy goes on.
    No,
}

impl Live {
    /// Live streaming as configured.
    pub fn new(config: config::Live) -> Self {
        let redis = config.registry.as_ref().map(Redis::new);
        Self::build(config, redis.map(|redis| Arc::new(redis) as _))
    }

    /// Live streaming as configured, with a registry of one's own in place of the configured one: a
    /// [`Memory`](crate::cluster::Memory) that several servers in one program share.
    pub fn with_registry(config: config::Live, registry: Arc<dyn Registry>) -> Self {
        Self::build(config, Some(registry))
    }

    fn build(config: config::Live, registry: Option<Arc<dyn Registry>>) -> Self {
        let limits = &config.limits;
        let counters = Arc::<Counters>::default();
        let hub = Hub::counted(hub_limits(&config), Arc::clone(&counters));
        let recorder = Recorder::new(&config, Arc::clone(&counters));
        let told = recorder.clone();
        hub.on_publish(move |stream| told.attach(stream));
        let connections = Connections::new(
            limits.connections as usize,
            limits.connections_per_ip as usize,
            limits.request_rate_per_ip as usize,
        );
        let cluster =
            registry.map(|registry| Cluster::new(registry, &config, Arc::clone(&counters)));
        let hooks = Arc::new(Hooks::new(limits, Arc::clone(&counters)));
        let recordings = recorder.clone();
        let live = Self {
            inner: Arc::new(Inner {
                hub,
                gate: Gate::new(hooks),
                connections,
                accepts: RatePerAddress::new(limits.accept_rate_per_ip as usize),
                cluster,
                next_overflow: AtomicUsize::new(0),
                next_client: AtomicU64::new(1),
                deadlines: Deadlines::default(),
                counters,
                http_workers: OnceLock::new(),
                rtmp_workers: OnceLock::new(),
                ticker: OnceLock::new(),
                recorder,
                clients: Clients::default(),
                blocks: Blocks::default(),
                since: Instant::now(),
                relay: Relay::new(&config),
                relays_on: OnceLock::new(),
                is_leaving: AtomicBool::new(false),
                settings: Shared::new(config),
            }),
        };
        if let Some(cluster) = live.cluster() {
            let counted = Arc::clone(&live.inner.connections);
            let inner = Arc::downgrade(&live.inner);
            cluster.wire(
                Box::new(move || {
                    let (connections, limit) = counted.load();
                    Load { connections, limit }
                }),
                Box::new(move |stream| {
                    if let Some(inner) = inner.upgrade() {
                        Live { inner }.lost_to_another_node(stream);
                    }
                }),
            );
            let inner = Arc::downgrade(&live.inner);
            cluster.on_change(Box::new(move |stream| {
                if let Some(inner) = inner.upgrade() {
                    Live { inner }.changed_at_another_node(stream);
                }
            }));
        }
        let inner = Arc::downgrade(&live.inner);
        recordings.on_closed(move |recorded| {
            if let (Some(inner), Some(key)) = (inner.upgrade(), &recorded.stream) {
                let live = Live { inner };
                let (_, vhost) = live.vhosts().resolve(key.vhost());
                live.gate().hooks().recorded(&vhost, key, &recorded.path);
            }
        });
        live.make_room();
        live
    }

    /// The streams.
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// Publishers and players now, those that wait included.
    pub fn connections(&self) -> usize {
        self.inner.connections.count()
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// Streams that are being recorded, and files of ended ones that are not closed yet.
    pub fn recordings(&self) -> usize {
        self.inner.recorder.active()
    }

    /// The recordings at work.
    pub fn recording_list(&self) -> Vec<Recording> {
        self.inner.recorder.list()
    }

    /// Records a stream until it ends or [`Live::stop_recording`], where and how the `dvr` of its vhost says, though it may not be
    /// `enabled`. False when there is no such stream, or it is recorded already.
    pub fn start_recording(&self, key: &StreamKey) -> bool {
        let stream = self.hub().stream(key);
        stream.is_some_and(|stream| self.inner.recorder.start(&stream))
    }

    /// Stops recording a stream. Its file is finished soon. False when it is not recorded.
    pub fn stop_recording(&self, key: &StreamKey) -> bool {
        self.inner.recorder.stop(key)
    }

    /// Sets what is told of each recording that is finished, on the thread that wrote it. Each that is set is told.
    pub fn on_recorded(&self, told: impl Fn(&Recorded) + Send + Sync + 'static) {
        self.inner.recorder.on_closed(told);
    }

    /// Makes room for the descriptors of as many connections as may be ([`open_files::make_room`]). Done when this is made; a server calls
    /// it again when it starts, for what goes into the background takes no more room along than is in use.
    pub(crate) fn make_room(&self) {
        // Each has two for a moment; without a limit of them, as many as is sensible.
        let most = match self.config().limits.connections {
            0 => u64::MAX,
            most => 2 * u64::from(most) + OTHER_FILES,
        };
        if let Err(error) = open_files::make_room(most) {
            debug!(%error, "there is no room for descriptors yet");
        }
    }

    /// Finishes the recordings that a killed process left, in the background. Done by itself with the first connection; a server
    /// calls it when it starts, after it went into the background.
    pub fn mend_recordings(&self) {
        self.inner.recorder.mend();
    }

    /// Wraps the HTTP application that serves this in what pingora's connections lack: a deadline for whole request headers, and a look
    /// at the first bytes that does not wait for 24 of them.
    pub fn connections_for<A>(&self, app: A) -> HttpConnections<A>
    where
        A: pingora::apps::HttpServerApp + Send + Sync + 'static,
    {
        HttpConnections::new(app, self)
    }

    /// To be called in `logging`, where there is one: the connection's clock runs again, for the next request's header. Without it,
    /// pingora's 60 s for each read bound that.
    pub fn request_done(&self, session: &Session) {
        self.inner.deadlines.request_done(session);
    }

    /// Who sent a request: the connection's peer, or whom it tells of if it is a trusted proxy.
    pub(crate) fn peer_of(&self, session: &Session) -> Option<std::net::SocketAddr> {
        let peer = session.client_addr()?.as_inet()?;
        let headers = &session.req_header().headers;
        Some(self.trusted_proxies().client(*peer, headers))
    }

    pub(crate) fn relay(&self) -> &Relay {
        &self.inner.relay
    }

    /// Streams that are pulled from other servers now, those too that are not there yet.
    pub fn pulls(&self) -> usize {
        self.relay().pulls()
    }

    /// Pushes of streams to other servers, those too that try to connect.
    pub fn pushes(&self) -> usize {
        self.relay().pushes()
    }

    /// Lets the relays that operators want run on the current runtime: the publishers', where there is one. Only the first call has an
    /// effect; without any, they run where they are begun.
    pub(crate) fn run_relays_here(&self) {
        let _ = self.inner.relays_on.set(Handle::current());
    }

    pub(crate) fn relays_run_on(&self) -> Handle {
        let set = self.inner.relays_on.get().cloned();
        set.unwrap_or_else(Handle::current)
    }

    /// As [`Live::relays_run_on`], where it is not known to be called on a runtime.
    pub(crate) fn relays_may_run_on(&self) -> Option<Handle> {
        let set = self.inner.relays_on.get().cloned();
        set.or_else(|| Handle::try_current().ok())
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.inner.gate
    }

    /// Who is here.
    pub(crate) fn clients(&self) -> &Clients {
        &self.inner.clients
    }

    /// Players that are behind, in the slow lanes.
    pub(crate) fn behind(&self) -> usize {
        self.workers().map(Workers::behind).sum()
    }

    /// From the arrival of frames to their last write to a player that keeps up.
    pub(crate) fn added_latency(&self) -> Vec<Distribution> {
        self.workers().flat_map(Workers::added).collect()
    }

    fn workers(&self) -> impl Iterator<Item = &Workers> {
        let inner = &self.inner;
        [&inner.http_workers, &inner.rtmp_workers]
            .into_iter()
            .filter_map(OnceLock::get)
    }

    pub(crate) fn next_client(&self) -> u64 {
        self.inner.next_client.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn admit(
        &self,
        peer: Option<std::net::SocketAddr>,
    ) -> Result<Admission, limits::Refusal> {
        self.inner.connections.admit(peer)
    }

    /// A player's place. A node of the cluster that pulls has one beside the limit: a node that is full is the one whose streams the others
    /// serve to those it has no room for.
    pub(crate) fn admit_player(&self, client: &Client) -> Result<Admission, limits::Refusal> {
        match self.cluster() {
            Some(_) if via::is_relay(&client.via) => {
                self.inner.connections.admit_relay(client.peer)
            }
            _ => self.admit(client.peer),
        }
    }

    /// A place for a connection that is too many, for as long as it takes to tell it; `None` when too many are told already.
    pub(crate) fn turn_away(&self, peer: Option<std::net::SocketAddr>) -> Option<TurnedAway> {
        self.inner.connections.turn_away(peer)
    }

    /// A place for a connection that asks for nothing yet, such as one in TLS's handshake; `None` when its address has as many as
    /// `limits.connections_per_ip` says, and it is to be closed. Proxies of `trusted_proxies` are let off, since they come for many.
    pub(crate) fn wait_at_door(&self, peer: Option<std::net::SocketAddr>) -> Option<Idle> {
        let trusted = peer.is_some_and(|peer| self.trusted_proxies().trusts(peer.ip()));
        let idle = self.inner.connections.idle(peer.filter(|_| !trusted));
        let refused = |refusal: &Refusal| {
            self.counters().count(Count::ConnectionRefused);
            self.counters()
                .turned_away(Asked::Connect, refusal.reason());
            info!(peer = %Peer(peer), "connection refused: {refusal}");
        };
        idle.inspect_err(refused).ok()
    }

    /// Starts the hub's clock on the current runtime, once.
    pub(crate) fn ensure_ticker(&self) {
        self.inner.ticker.get_or_init(|| {
            self.mend_recordings();
            let hooks = self.gate().hooks();
            hooks.start(pingora_runtime::current_handle());
            worker::spawn_ticker(self.hub().clone());
            worker::spawn_sampler(self.inner.clients.clone());
            // Where the server did not start it, an embedding proxy's first connection does.
            if let Some(cluster) = self.cluster().cloned() {
                tokio::spawn(async move { cluster.run().await });
            }
        });
    }

    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.inner.cluster.as_ref()
    }

    /// As in [`Live::handle`], for the API's listener.
    pub(crate) fn api_header_came(&self, session: &Session) {
        self.ensure_ticker();
        self.header_came(session);
    }

    fn header_came(&self, session: &Session) {
        self.inner.deadlines.header_came(session);
    }

    pub(crate) fn shared_counters(&self) -> Arc<Counters> {
        Arc::clone(&self.inner.counters)
    }

    fn http_workers(&self) -> &Workers {
        self.inner.http_workers.get_or_init(|| self.spawn_workers())
    }

    /// As many as the current runtime has threads.
    fn spawn_workers(&self) -> Workers {
        let threads = tokio::runtime::Handle::current().metrics().num_workers();
        Workers::spawn(threads, self.config().limits.player_stall)
    }

    /// Gives a connection whose player was told that it plays to the fan-out of the current runtime. `talk` has the rest of the
    /// conversation.
    pub(crate) async fn play_rtmp(&self, joined: Joined, io: Stream, talk: Box<dyn Talk>) {
        self.tune(&io);
        let Ok(io) = self.strip(io).await else {
            // It left, or does not read: its account says that it played nothing.
            return;
        };
        let workers = self.inner.rtmp_workers.get_or_init(|| self.spawn_workers());
        workers.add(joined.player(Transport::Socket {
            io,
            framing: Framing::Bare,
            talk: Some(talk),
        }));
    }

    /// How this node stands among others; `None` without a registry.
    pub fn cluster_status(&self) -> Option<crate::cluster::Status> {
        self.cluster().map(Cluster::status)
    }

    /// Says at which ports a server listens, for the node's addresses. Whether there is a registry that has to be told.
    pub(crate) fn announces(&self, listening: &[(UrlScheme, u16)]) -> bool {
        let Some(cluster) = self.cluster() else {
            return false;
        };
        cluster.listening(listening);
        true
    }

    /// Tells the registry of this node and what it has, for as long as the runtime lives. A server runs it from its start; otherwise the
    /// first connection begins it.
    pub async fn announce(&self) {
        if let Some(cluster) = self.cluster() {
            cluster.run().await;
        }
    }

    /// Says that another process takes the place of this one: [`Live::is_ready`] is false from now on, and all else goes on.
    pub fn leave(&self) {
        self.inner.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Whether publishers and players are to be sent here: neither while it shuts down, nor after [`Live::leave`].
    pub fn is_ready(&self) -> bool {
        !self.inner.is_leaving.load(Ordering::Relaxed) && !self.hub().is_shut_down()
    }

    /// Ends all streams and waits until the players and publishers are gone and the recordings closed, for at most `patience`.
    pub async fn shutdown(&self, patience: Duration) {
        self.hub().shutdown();
        let deadline = Instant::now() + patience;
        while (self.connections() > 0 || self.recordings() > 0) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if let Some(cluster) = self.cluster() {
            cluster.leave().await;
        }
        // Back ends are told of those ends; one that is down does not hold up the server.
        let deadline = deadline.min(Instant::now() + LAST_CALLBACKS);
        while self.gate().hooks().waiting() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
