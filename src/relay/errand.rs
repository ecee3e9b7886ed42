//! One stream at the origins of a vhost: asked of each until one gives or takes it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{debug, info};

use crate::client::Client;
use crate::config::{Cluster, Remote, Scheme};
use crate::hub::StreamKey;
use crate::rtmp::Purpose;

use super::dial::Dialer;
use super::failure::{Answer, Failure};
use super::origins::{Candidate, Origins};
use super::rtmp::Rtmp;
use super::source::{Ask, Source, open_rtmp};
use super::target::Target;

/// When an origin took this long without an answer, the next is asked too, and the first that gives the stream is taken: one
/// that hangs costs players no more than this.
const HEDGE: Duration = Duration::from_millis(500);

/// Where streams are asked for.
pub(crate) struct Upstream {
    pub(super) origins: Arc<Origins>,
    pub(super) cluster: Cluster,
    watched: OnceLock<()>,
}

impl Upstream {
    /// Whether the origin judges each player (`token_traverse`).
    pub(crate) fn judges_each(&self) -> bool {
        self.cluster.token_traverse
    }

    /// How long a player waits for an origin at least.
    pub(crate) fn patience(&self) -> Duration {
        self.cluster.stall
    }

    /// Begins to look after the origins, on the current runtime, once.
    pub(super) fn ensure_watched(&self) {
        self.watched.get_or_init(|| {
            let every = self.cluster.health_check;
            tokio::spawn(Arc::clone(&self.origins).watch(every));
        });
    }

    pub(super) fn new(
        remotes: Vec<Remote>,
        scheme: Scheme,
        cluster: &Cluster,
        dialer: &Arc<Dialer>,
    ) -> Self {
        Upstream {
            origins: Arc::new(Origins::new(remotes, scheme, cluster, dialer)),
            cluster: cluster.clone(),
            watched: OnceLock::new(),
        }
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
}

impl Unopened {
    fn note(&mut self, candidate: &Candidate, failure: &Failure, origins: &Origins) {
        match failure.answer() {
            Some(answer) => {
                info!(origin = %candidate.remote, "{failure}");
                let graver = |answer: Answer| match answer {
                    Answer::Away => 0,
                    Answer::Missing => 1,
                    Answer::Forbidden => 2,
                    Answer::Unauthorized => 3,
                    Answer::Loop => 4,
                };
                if self
                    .answer
                    .is_none_or(|known| graver(answer) > graver(known))
                {
                    self.answer = Some(answer);
                }
            }
            None => {
                tracing::warn!(origin = %candidate.remote, address = %candidate.address, "{failure}");
                origins.failed(candidate.address);
                self.away = true;
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
        }
    }

    /// The stream from an origin; from that at `last` only if no other gives it.
    pub(crate) async fn open(&self, last: Option<SocketAddr>) -> Result<Opened<Source>, Unopened> {
        let mut tried: Vec<SocketAddr> = last.into_iter().collect();
        let mut left = last;
        let mut asked = JoinSet::new();
        let mut unopened = Unopened {
            answer: None,
            away: false,
        };
        loop {
            let mut next = self.candidate(&tried).await;
            if next.is_none() && left.take().is_some() {
                // All others were asked.
                let others: Vec<SocketAddr> = tried.iter().skip(1).copied().collect();
                next = self.candidate(&others).await;
            }
            let more = next.is_some();
            if let Some(candidate) = next {
                tried.push(candidate.address);
                let this = self.clone();
                asked.spawn(async move {
                    let (target, ask) = this.question(&candidate);
                    debug!(%target, "asked");
                    let opened = Source::open(&this.dialer, &target, &ask).await;
                    (candidate, opened)
                });
            } else if asked.is_empty() {
                return Err(unopened);
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
                        self.upstream.origins.worked(candidate.address);
                        return Ok(Opened { candidate, source });
                    }
                    Some(Ok((candidate, Err(failure)))) => {
                        unopened.note(&candidate, &failure, &self.upstream.origins);
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
    pub(crate) async fn publish(&self) -> Result<Opened<Rtmp>, Unopened> {
        let mut tried = Vec::new();
        let mut unopened = Unopened {
            answer: None,
            away: false,
        };
        while let Some(candidate) = self.candidate(&tried).await {
            tried.push(candidate.address);
            let (target, ask) = self.question(&candidate);
            match open_rtmp(&self.dialer, &target, &ask, Purpose::Publish).await {
                Ok(source) => {
                    self.upstream.origins.worked(candidate.address);
                    return Ok(Opened { candidate, source });
                }
                Err(failure) => unopened.note(&candidate, &failure, &self.upstream.origins),
            }
        }
        Err(unopened)
    }

    async fn candidate(&self, tried: &[SocketAddr]) -> Option<Candidate> {
        let key = format!("{}/{}", self.key.app(), self.key.stream());
        self.upstream.origins.next(key.as_bytes(), tried).await
    }

    fn question(&self, candidate: &Candidate) -> (Target, Ask) {
        let Candidate {
            address,
            remote,
            scheme,
        } = candidate;
        let cluster = &self.upstream.cluster;
        let target = Target::at_origin(remote, *scheme, cluster, &self.key, &self.query);
        let ask = Ask {
            address: Some(*address),
            via: self.via.clone(),
            page: self.page.clone(),
            verify: cluster.tls_verify,
        };
        (target, ask)
    }
}
