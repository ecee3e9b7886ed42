//! One stream at the origins of a vhost: asked of each until one gives or takes it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info};

use crate::client::Client;
use crate::config::{Cluster, Remote, Scheme};
use crate::hub::StreamKey;

use super::dial::{Dialer, Terms};
use super::failure::{Answer, Failure};
use super::origins::{Among, Candidate, Origins};
use super::sink::Sink;
use super::source::{Ask, Source};
use super::target::Target;

/// When an origin took this long without an answer, the next is asked too, and the first that gives the stream is taken: one
/// that hangs costs players no more than this.
const HEDGE: Duration = Duration::from_millis(500);

/// Where streams are asked for. A reload gives it other origins; what runs looks at them when it next asks, and leaves an origin
/// that is no longer among them.
pub(crate) struct Upstream {
    now: watch::Sender<Arc<Sources>>,
}

/// The origins of an edge, as they are configured.
pub(super) struct Sources {
    pub(super) origins: Arc<Origins>,
    pub(super) cluster: Cluster,
    /// It is the node of the registry that has the stream, whichever that is.
    pub(super) is_node: bool,
    watched: OnceLock<()>,
}

impl Sources {
    /// `remotes`, spoken to by `scheme` unless they say it themselves.
    pub(super) fn new(
        remotes: Vec<Remote>,
        scheme: Scheme,
        cluster: &Cluster,
        dialer: &Arc<Dialer>,
    ) -> Self {
        Sources {
            origins: Arc::new(Origins::new(remotes, scheme, cluster, dialer)),
            cluster: cluster.clone(),
            is_node: false,
            watched: OnceLock::new(),
        }
    }

    /// The node that a registry names; none while it is not known which.
    pub(super) fn of_node(node: Option<&Remote>, cluster: &Cluster, dialer: &Arc<Dialer>) -> Self {
        let scheme = node.and_then(|node| node.scheme).unwrap_or(Scheme::Rtmp);
        Sources {
            is_node: true,
            ..Self::new(node.cloned().into_iter().collect(), scheme, cluster, dialer)
        }
    }

    /// Begins to look after the origins, on the current runtime, once.
    fn ensure_watched(&self) {
        self.watched.get_or_init(|| {
            let every = self.cluster.health_check;
            tokio::spawn(Arc::clone(&self.origins).watch(every));
        });
    }
}

impl Upstream {
    pub(super) fn new(sources: Arc<Sources>) -> Self {
        Upstream {
            now: watch::Sender::new(sources),
        }
    }

    /// The origins as they are configured now.
    pub(super) fn now(&self) -> Arc<Sources> {
        Arc::clone(&self.now.borrow())
    }

    /// Others from now on.
    pub(super) fn replace(&self, sources: Arc<Sources>) {
        self.now.send_replace(sources);
    }

    /// Returns when an origin is no longer configured.
    pub(super) async fn removed(&self, candidate: &Candidate) {
        let mut now = self.now.subscribe();
        let gone = now.wait_for(|sources| !sources.origins.has(candidate));
        // The sender lives in this, so that there is no error.
        drop(gone.await);
    }

    /// Whether the origin judges each player (`token_traverse`).
    pub(crate) fn judges_each(&self) -> bool {
        self.now.borrow().cluster.token_traverse
    }

    /// How long a player waits for an origin at least.
    pub(crate) fn patience(&self) -> Duration {
        self.now.borrow().cluster.stall
    }
}

/// Who asks for what.
#[derive(Clone)]
pub(crate) struct Errand {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) key: StreamKey,
    /// The client's, passed on.
    pub(crate) query: String,
    pub(crate) via: String,
    pub(crate) page: String,
    /// Where the stream is asked for, if not by its own name at an origin.
    pub(crate) target: Option<Target>,
}

/// An origin that gives the stream.
pub(crate) struct Opened<S> {
    pub(crate) candidate: Candidate,
    pub(crate) source: S,
}

/// No origin gives it.
#[derive(Debug)]
pub(crate) struct Unopened {
    /// What those that are well said, the gravest.
    pub(crate) answer: Option<Answer>,
    /// Some are not well.
    pub(crate) away: bool,
    /// Some took the request and closed the connection.
    turned_away: bool,
    /// Those that answered: a name one of whose addresses answers is well.
    answered: Vec<Remote>,
    silent: Vec<Remote>,
    /// In the words of the last.
    pub(crate) why: Option<String>,
}

impl Unopened {
    fn new() -> Self {
        Unopened {
            answer: None,
            away: false,
            turned_away: false,
            answered: Vec::new(),
            silent: Vec::new(),
            why: None,
        }
    }

    fn all_asked(mut self) -> Self {
        // With nobody to ask, no name has an address.
        let nobody = self.answered.is_empty() && self.silent.is_empty();
        let mut silent = self.silent.iter();
        self.away |= nobody || silent.any(|remote| !self.answered.contains(remote));
        self
    }

    /// What this means to one who wants to play: those that are well and say nothing refuse, as SRS does.
    pub(crate) fn to_newcomer(&self) -> Option<Answer> {
        let refused = self.turned_away && !self.away;
        self.answer.or(refused.then_some(Answer::Forbidden))
    }

    fn note(&mut self, candidate: &Candidate, failure: &Failure, origins: &Origins) {
        self.why = Some(failure.to_string());
        match failure.answer() {
            Some(answer) => {
                info!(origin = %candidate.remote, "{failure}");
                let known = self.answer.unwrap_or(answer);
                self.answer = Some(if answer.gravity() > known.gravity() {
                    answer
                } else {
                    known
                });
                self.answered.push(candidate.remote.clone());
            }
            None if matches!(failure, Failure::TurnedAway) => {
                info!(origin = %candidate.remote, "{failure}");
                self.turned_away = true;
                self.answered.push(candidate.remote.clone());
            }
            None => {
                tracing::warn!(origin = %candidate.remote, address = %candidate.address, "{failure}");
                origins.failed(candidate.address);
                self.silent.push(candidate.remote.clone());
            }
        }
    }
}

impl Errand {
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        dialer: Arc<Dialer>,
        key: StreamKey,
        client: &Client,
        via: String,
    ) -> Self {
        Errand {
            upstream,
            dialer,
            key,
            query: client.query.clone(),
            via,
            page: client.page.clone().unwrap_or_default(),
            target: None,
        }
    }

    /// The stream from an origin; from that at `last` only if no other gives it.
    pub(crate) async fn open(&self, last: Option<SocketAddr>) -> Result<Opened<Source>, Unopened> {
        self.ask_all(last.into_iter().collect(), last, Among::All)
            .await
    }

    /// The stream from an origin that is well and not at `avoid`.
    pub(crate) async fn open_beside(&self, avoid: SocketAddr) -> Result<Opened<Source>, Unopened> {
        self.ask_all(vec![avoid], None, Among::Well).await
    }

    /// `left`: the first of those that are `tried`, if it is asked when all others were.
    async fn ask_all(
        &self,
        mut tried: Vec<SocketAddr>,
        mut left: Option<SocketAddr>,
        among: Among,
    ) -> Result<Opened<Source>, Unopened> {
        let mut asked = JoinSet::new();
        let mut unopened = Unopened::new();
        let sources = self.upstream.now();
        loop {
            let mut next = self.candidate(&sources, &tried, among).await;
            if next.is_none() && left.take().is_some() {
                // All others were asked.
                let others: Vec<SocketAddr> = tried.iter().skip(1).copied().collect();
                next = self.candidate(&sources, &others, among).await;
            }
            let more = next.is_some();
            if let Some(candidate) = next {
                tried.push(candidate.address);
                let (target, ask) = self.question(&sources, &candidate);
                let dialer = Arc::clone(&self.dialer);
                asked.spawn(async move {
                    debug!(%target, "asked");
                    let opened = Source::open(&dialer, &target, &ask).await;
                    (candidate, opened)
                });
            } else if asked.is_empty() {
                return Err(unopened.all_asked());
            }
            let hedge = async {
                if more {
                    tokio::time::sleep(HEDGE).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                joined = asked.join_next() => match joined {
                    Some(Ok((candidate, Ok(source)))) => {
                        sources.origins.worked(candidate.address);
                        return Ok(Opened { candidate, source });
                    }
                    Some(Ok((candidate, Err(failure)))) => {
                        unopened.note(&candidate, &failure, &sources.origins);
                    }
                    // It panicked, which is logged, or the runtime ends.
                    Some(Err(_)) => unopened.away = true,
                    None => {}
                },
                () = hedge => {}
            }
        }
    }

    /// An origin that takes the stream: asked one after the other, since each that accepts has a publisher.
    pub(crate) async fn publish(&self) -> Result<Opened<Sink>, Unopened> {
        let mut tried = Vec::new();
        let mut unopened = Unopened::new();
        let sources = self.upstream.now();
        while let Some(candidate) = self.candidate(&sources, &tried, Among::All).await {
            tried.push(candidate.address);
            let (target, ask) = self.question(&sources, &candidate);
            match Sink::open(&self.dialer, &target, &ask).await {
                Ok(source) => {
                    sources.origins.worked(candidate.address);
                    return Ok(Opened { candidate, source });
                }
                Err(failure) => unopened.note(&candidate, &failure, &sources.origins),
            }
        }
        Err(unopened.all_asked())
    }

    async fn candidate(
        &self,
        sources: &Sources,
        tried: &[SocketAddr],
        among: Among,
    ) -> Option<Candidate> {
        sources.ensure_watched();
        let key = format!("{}/{}", self.key.app(), self.key.stream());
        sources.origins.next(key.as_bytes(), tried, among).await
    }

    fn question(&self, sources: &Sources, candidate: &Candidate) -> (Target, Ask) {
        let Candidate {
            address,
            remote,
            scheme,
        } = candidate;
        let cluster = &sources.cluster;
        let target = self
            .target
            .clone()
            .unwrap_or_else(|| Target::at_origin(remote, *scheme, cluster, &self.key, &self.query));
        let ask = Ask {
            address: Some(*address),
            via: self.via.clone(),
            page: self.page.clone(),
            terms: Terms::from(cluster),
        };
        (target, ask)
    }
}
