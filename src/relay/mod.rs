//! Streams between servers.
//!
//! A pull is a publisher like any other (it holds a claim) whose frames come from another server; a push is a reader like any other
//! whose socket goes to one. So nothing else in the code knows about relays.
//!
//! - [`target`]: addresses of streams; [`dial`]: connections; [`rtmp`], [`flv`], [`post`]: the protocols; [`source`] and [`sink`]: a stream
//!   from and to a server by any of them;
//! - [`origins`]: which server is asked; [`errand`]: one stream asked of all of them; [`failure`]: what they say when they do not give it;
//! - [`pull`] and [`standby`]: streams into the hub; [`push`], [`edge`] and [`forward`]: streams out of it; [`backend`] is asked where to;
//! - [`card`]: what is known of each while it is at work; [`order`]: those that an operator wants.
//!
//! No relay goes in a circle: each says in `Via` (RFC 9110 §7.6.3; over RTMP in a property of connect) through which nodes it goes,
//! and a node that finds itself there refuses.
//!
//! [`Relay`] is the door.

mod backend;
mod backoff;
mod card;
mod dial;
mod edge;
mod errand;
mod failure;
mod flv;
mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod order;
mod origins;
mod post;
mod pull;
mod push;
mod rtmp;
mod sink;
mod source;
mod standby;
mod target;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard, RwLock};
use pingora::upstreams::peer::HttpPeer;
use tokio::runtime::Handle;

use crate::client::Client;
use crate::config::{self, Cluster, ClusterMode, OnBusy, RelayProtocol, Remote, Scheme, Vhost};
use crate::hub::{Stream, StreamKey};
use crate::outbound::Outbound;
use crate::play::Live;
use crate::via::Pseudonym;

pub use card::{RelayBy, RelayState, RelayStatus};
pub use order::{NotStarted, NotStopped, Started};

pub(crate) use dial::said;
pub(crate) use edge::{EdgePush, PushOver};
pub(crate) use errand::Upstream;
pub(crate) use failure::{Answer, Failure, LOOP};
pub(crate) use pull::Waiter;

use card::{Cards, Way};
use dial::{Dialer, Terms};
use edge::EdgePushes;
use errand::{Errand, Sources};
use forward::Forwards;
use pull::{Carried, Pull};

/// All relays of a server.
pub(crate) struct Relay {
    dialer: Arc<Dialer>,
    node: Pseudonym,
    /// Held for a look-up, or to swap them.
    edges: RwLock<HashMap<String, Edge>>,
    /// Those that players want. Held for a look-up.
    pulls: Arc<Mutex<Pulls>>,
    /// Those that operators want: one that waits for its server must not keep players from the node that has the stream meanwhile. Held for
    /// a look-up.
    orders: Arc<Mutex<Pulls>>,
    /// What is told of those at work.
    cards: Arc<Cards>,
    edge_pushes: EdgePushes,
    forwards: Forwards,
    /// Asks the back ends of `forward.backend`.
    outbound: Arc<Outbound>,
}

/// The pulls by their streams.
type Pulls = HashMap<StreamKey, Arc<Pull>>;

/// The origins of one vhost: for players and publishers of RTMP, and for the rest.
struct Edge {
    /// What they are made of.
    cluster: Cluster,
    rtmp: Arc<Upstream>,
    http: Arc<Upstream>,
}

impl Relay {
    /// For the vhosts of `config`.
    pub(crate) fn new(config: &config::Live) -> Self {
        let dialer = Arc::new(Dialer::new(config));
        Relay {
            edges: RwLock::new(edges(config, &dialer)),
            dialer,
            node: Pseudonym::new(backoff::random()),
            pulls: Arc::default(),
            orders: Arc::default(),
            cards: Arc::default(),
            edge_pushes: EdgePushes::default(),
            forwards: Forwards::new(config),
            outbound: Arc::default(),
        }
    }

    /// The vhosts of another configuration. Pulls and pushes of an edge whose origin is no longer among those of its vhost go on with one
    /// that is; those of a vhost that is no edge any more go on as they are, until they end. Streams that run are pushed to where their vhost
    /// says now.
    pub(crate) fn reconfigure(&self, live: &Live, config: &config::Live) {
        self.dialer.reconfigure(config);
        self.reforward(live, config);
        let mut edges = self.edges.write();
        let mut before = std::mem::take(&mut *edges);
        for (name, cluster) in clusters(config) {
            let edge = match before.remove(name) {
                Some(edge) => edge.reconfigured(cluster, &self.dialer),
                None => Edge::new(cluster, &self.dialer),
            };
            edges.insert(name.to_owned(), edge);
        }
    }

    /// Pulls at work.
    pub(crate) fn pulls(&self) -> usize {
        self.cards.count(Way::Pull)
    }

    /// Pushes at work, whether they are connected or try to be.
    pub(crate) fn pushes(&self) -> usize {
        self.cards.count(Way::Push)
    }

    /// What there is to tell of the pulls, in the order in which they began.
    pub(crate) fn pull_list(&self) -> Vec<RelayStatus> {
        self.cards.list(Way::Pull)
    }

    /// And of the pushes.
    pub(crate) fn push_list(&self) -> Vec<RelayStatus> {
        self.cards.list(Way::Push)
    }

    /// Whether what a client wants has come through this node already.
    pub(crate) fn is_loop(&self, client: &Client) -> bool {
        self.node.is_in(&client.via)
    }

    /// The name of this node in `Via`.
    pub(crate) fn node(&self) -> &Pseudonym {
        &self.node
    }

    /// The nodes that a relay made for `client` goes through.
    fn via(&self, client: &Client) -> String {
        self.node.relay(&client.via)
    }

    /// Where a stream of this vhost is pulled from, or pushed to, for such a client, when the vhost is an edge's.
    pub(crate) fn upstream(&self, vhost: &str, client: &Client) -> Option<Arc<Upstream>> {
        let edges = self.edges.read();
        let edge = edges.get(vhost)?;
        let upstream = match client.protocol {
            "rtmp" => &edge.rtmp,
            _ => &edge.http,
        };
        Some(Arc::clone(upstream))
    }

    /// Another node as the place to pull from: `rtmp://host:port`, `http://host:port` or the same over TLS.
    pub(crate) fn node_upstream(&self, node: &Remote, settings: &Vhost) -> Arc<Upstream> {
        Arc::new(Upstream::new(self.node_sources(Some(node), settings)))
    }

    /// The node that has a stream, when it is not known yet which: the registry is asked.
    pub(crate) fn unknown_node(&self, settings: &Vhost) -> Arc<Upstream> {
        Arc::new(Upstream::new(self.node_sources(None, settings)))
    }

    /// The registry says that the stream, which is pulled from a node, is at this one now.
    fn follow(&self, upstream: &Upstream, node: &Remote, settings: &Vhost) {
        upstream.replace(self.node_sources(Some(node), settings));
    }

    fn node_sources(&self, node: Option<&Remote>, settings: &Vhost) -> Arc<Sources> {
        Arc::new(Sources::of_node(node, &settings.cluster, &self.dialer))
    }

    /// The addresses of another node.
    pub(crate) async fn addresses(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, Failure> {
        dial::resolve(host, port).await
    }

    /// Says how the certificate of another node is checked: as that of an origin.
    pub(crate) fn trust(&self, cluster: &Cluster, peer: &mut HttpPeer) -> Result<(), Failure> {
        self.dialer.trust(&Terms::from(cluster), peer)
    }

    /// Pulls the stream for a client that wants to play it, or waits at the pull that there is. The caller waits for the stream at the
    /// hub, and for [`Waiter::over`].
    pub(crate) fn pull(
        &self,
        live: &Live,
        upstream: Arc<Upstream>,
        key: &StreamKey,
        settings: &Arc<Vhost>,
        client: &Client,
    ) -> Waiter {
        let pulls = self.pulls.lock();
        if let Some(waiter) = pulls.get(key).and_then(Pull::wait) {
            return waiter;
        }
        let errand = self.errand(upstream, key, client);
        let listed = self.cards.enter(Way::Pull, key, RelayBy::Players, None);
        let pull = Pull::new(errand, Arc::clone(settings), listed);
        let waiter = Waiter::new(&pull);
        begin(&self.pulls, pulls, live, pull, &Handle::current(), None);
        waiter
    }

    /// Goes on, with a pull, with a stream that was published here, and whose players stay. `client`: one of them. `on_busy`: what becomes of
    /// a publisher that is here. False when the stream cannot be had.
    pub(crate) fn carry_over(
        &self,
        live: &Live,
        upstream: Arc<Upstream>,
        stream: &Arc<Stream>,
        client: &Client,
        on_busy: OnBusy,
    ) -> bool {
        let key = stream.key();
        let errand = self.errand(upstream, key, client);
        let listed = self.cards.enter(Way::Pull, key, RelayBy::Players, None);
        let pull = Pull::new(errand, Arc::clone(stream.settings()), listed);
        let pulls = self.pulls.lock();
        let Some(carried) = Carried::take(live, &pull, stream, on_busy) else {
            return false;
        };
        let runtime = Handle::current();
        begin(&self.pulls, pulls, live, pull, &runtime, Some(carried));
        // What is pulled is not forwarded: the node that has the stream does that.
        self.stop_forward(stream);
        true
    }

    /// Whether the stream is pulled for its players, so that who publishes it takes it from nobody.
    pub(crate) fn is_pulled(&self, key: &StreamKey) -> bool {
        self.pulls
            .lock()
            .get(key)
            .is_some_and(|pull| !pull.is_over())
    }

    /// Asks the origins whether this client may play the stream, and no more.
    pub(crate) async fn ask(
        &self,
        upstream: Arc<Upstream>,
        key: &StreamKey,
        client: &Client,
    ) -> Result<(), Answer> {
        let patience = upstream.patience();
        let errand = self.errand(upstream, key, client);
        match errand.open(None).await {
            Ok(mut opened) => {
                let given = opened.source.is_given(Instant::now() + patience).await;
                opened.source.close().await;
                match given {
                    Ok(true) => Ok(()),
                    // The stream plays: an origin that is well has something of it at once.
                    Ok(false) => Err(Answer::Away),
                    Err(Failure::TurnedAway) => Err(Answer::Forbidden),
                    Err(failure) => Err(failure.answer().unwrap_or(Answer::Away)),
                }
            }
            Err(unopened) => Err(unopened.to_newcomer().unwrap_or(Answer::Away)),
        }
    }

    fn errand(&self, upstream: Arc<Upstream>, key: &StreamKey, client: &Client) -> Errand {
        Errand::new(
            upstream,
            Arc::clone(&self.dialer),
            key.clone(),
            client,
            self.via(client),
        )
    }

    /// Ends the pull of a stream that will be published here. Its players stay.
    pub(crate) async fn yield_pull(&self, key: &StreamKey) {
        // One that an operator wants gives way by the rules of publishers.
        let pull = self.pulls.lock().get(key).cloned();
        if let Some(pull) = pull {
            pull.cancel().await;
        }
    }
}

/// Begins a pull, on the runtime. It is in `all`, whose lock `held` is, until it has ended.
fn begin(
    all: &Arc<Mutex<Pulls>>,
    mut held: MutexGuard<'_, Pulls>,
    live: &Live,
    pull: Arc<Pull>,
    runtime: &Handle,
    carried: Option<Carried>,
) {
    held.insert(pull.key().clone(), Arc::clone(&pull));
    drop(held);
    let all = Arc::clone(all);
    pull.spawn(live, runtime, carried, move |ended| {
        let mut all = all.lock();
        let known = all.get(ended.key());
        if known.is_some_and(|known| std::ptr::eq(Arc::as_ptr(known), ended)) {
            all.remove(ended.key());
        }
    });
}

/// The vhosts that are edges.
fn clusters(config: &config::Live) -> impl Iterator<Item = (&str, &Cluster)> {
    config
        .vhosts
        .iter()
        .filter(|(_, vhost)| vhost.enabled && vhost.cluster.mode == ClusterMode::Remote)
        .map(|(name, vhost)| (name.as_str(), &vhost.cluster))
}

fn edges(config: &config::Live, dialer: &Arc<Dialer>) -> HashMap<String, Edge> {
    clusters(config)
        .map(|(name, cluster)| (name.to_owned(), Edge::new(cluster, dialer)))
        .collect()
}

/// Who is asked, by what for.
struct Asked {
    rtmp: Arc<Sources>,
    http: Arc<Sources>,
}

impl Asked {
    fn new(cluster: &Cluster, dialer: &Arc<Dialer>) -> Self {
        let made = |scheme: Scheme, wanted: &dyn Fn(Scheme) -> bool| {
            let remotes: Vec<Remote> = cluster
                .origin
                .iter()
                .filter(|origin| wanted(origin.scheme.unwrap_or(scheme)))
                .cloned()
                .collect();
            (!remotes.is_empty()).then(|| Arc::new(Sources::new(remotes, scheme, cluster, dialer)))
        };
        let all = |scheme| {
            made(scheme, &|_: Scheme| true)
                .unwrap_or_else(|| Arc::new(Sources::new(Vec::new(), scheme, cluster, dialer)))
        };
        let (rtmp, http) = match cluster.protocol {
            RelayProtocol::Rtmp => (all(Scheme::Rtmp), None),
            RelayProtocol::Rtmps => (all(Scheme::Rtmps), None),
            RelayProtocol::Flv => (all(Scheme::Http), None),
            RelayProtocol::Flvs => (all(Scheme::Https), None),
            RelayProtocol::FollowClient => {
                let rtmp = made(Scheme::Rtmp, &|scheme: Scheme| scheme.is_rtmp());
                let http = made(Scheme::Http, &|scheme: Scheme| !scheme.is_rtmp());
                // Entries that name one protocol only serve all players.
                let rtmp_or_all = rtmp.unwrap_or_else(|| all(Scheme::Http));
                (rtmp_or_all, Some(http.unwrap_or_else(|| all(Scheme::Rtmp))))
            }
        };
        Asked {
            http: http.unwrap_or_else(|| Arc::clone(&rtmp)),
            rtmp,
        }
    }
}

impl Edge {
    fn new(cluster: &Cluster, dialer: &Arc<Dialer>) -> Self {
        let asked = Asked::new(cluster, dialer);
        let upstream = |sources| Arc::new(Upstream::new(sources));
        Edge {
            cluster: cluster.clone(),
            rtmp: upstream(asked.rtmp),
            http: upstream(asked.http),
        }
    }

    /// With other keys: what asks there already, asks those from now on.
    fn reconfigured(self, cluster: &Cluster, dialer: &Arc<Dialer>) -> Self {
        if self.cluster == *cluster {
            // What is known of the health of origins stays known.
            return self;
        }
        let asked = Asked::new(cluster, dialer);
        self.rtmp.replace(asked.rtmp);
        self.http.replace(asked.http);
        Edge {
            cluster: cluster.clone(),
            ..self
        }
    }
}
