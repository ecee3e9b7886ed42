//! Publishing at an edge: the stream is played here, and pushed to the origin that should have it.
//!
//! The publisher is accepted when an origin has accepted. When that one is lost later, the next is asked; only when none takes the
//! stream for a while is the publisher ended.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{Instrument, info, info_span, warn};

use crate::client::Client;
use crate::hub::{Format, Stream, StreamKey};
use crate::observe::{Count, Counters};
use crate::play::Live;

use super::Relay;
use super::backoff::Backoff;
use super::card::{Cards, Listed, RelayBy, Way};
use super::errand::{Errand, Opened};
use super::failure::{Answer, Failure};
use super::push::{Reader, State, Stop, pump};
use super::sink::Sink;

/// How long a publisher goes on while no origin takes its stream: as long as players are held by default.
const PATIENCE: Duration = Duration::from_secs(10);
/// A push that lasted this long was a good one: servers that accept a stream before they judge it have judged it.
const GOOD: Duration = Duration::from_secs(3);
/// How long a publisher that comes back waits for the push of its last connection to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Pushes of published streams to origins.
pub(super) type EdgePushes = Arc<Mutex<HashMap<StreamKey, Arc<Pushing>>>>;

/// A push that is under way.
pub(super) struct Pushing {
    stop: Stop,
    done: watch::Sender<bool>,
    /// Why the publisher has to end.
    over: OnceLock<PushOver>,
}

/// Why a published stream is pushed no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushOver {
    /// No origin takes it.
    NotTaken,
    /// The origin gave it to another publisher. To ask for it again would take it from that one.
    GivenAway,
}

/// A stream that an origin has accepted and that is not published here yet.
pub(crate) struct EdgePublish {
    errand: Errand,
    opened: Opened<Sink>,
    pushes: EdgePushes,
    cards: Arc<Cards>,
}

/// A published stream's push. Dropping it ends the push.
pub(crate) struct EdgePush {
    pushing: Arc<Pushing>,
}

impl EdgePush {
    /// Why the stream is pushed no more, if so.
    pub(crate) fn over(&self) -> Option<PushOver> {
        self.pushing.over.get().copied()
    }
}

impl Drop for EdgePush {
    fn drop(&mut self) {
        self.pushing.stop.tell();
    }
}

impl Relay {
    /// Asks the origins of an edge to take a stream; nothing when the vhost is no edge's.
    pub(crate) async fn publish(
        &self,
        key: &StreamKey,
        client: &Client,
    ) -> Result<Option<EdgePublish>, Answer> {
        let Some(upstream) = self.upstream(key.vhost(), client) else {
            return Ok(None);
        };
        // Of a publisher that has just left, or that gives way to this one.
        let before = self.edge_pushes.lock().get(key).cloned();
        if let Some(before) = before {
            before.stop.tell();
            let mut done = before.done.subscribe();
            let _ = timeout(GOODBYE, done.wait_for(|done| *done)).await;
        }
        let errand = self.errand(upstream, key, client);
        match errand.publish().await {
            Ok(opened) => Ok(Some(EdgePublish {
                errand,
                opened,
                pushes: Arc::clone(&self.edge_pushes),
                cards: Arc::clone(&self.cards),
            })),
            Err(unopened) => Err(unopened.answer.unwrap_or(Answer::Away)),
        }
    }
}

impl EdgePublish {
    /// Pushes the stream from now on. To be called before its first frame.
    pub(crate) fn start(self, live: &Live, stream: &Arc<Stream>) -> Option<EdgePush> {
        let seat = stream.tap(Format::Flv).ok()?;
        let pushing = Arc::new(Pushing {
            stop: Stop::default(),
            done: watch::Sender::new(false),
            over: OnceLock::new(),
        });
        let key = stream.key();
        self.pushes.lock().insert(key.clone(), Arc::clone(&pushing));
        let span = info_span!(
            parent: None,
            "edge_publish",
            vhost = key.vhost(),
            app = key.app(),
            stream = key.stream(),
        );
        let work = Work {
            errand: self.errand,
            counters: live.shared_counters(),
            listed: self.cards.enter(Way::Push, key, RelayBy::Publisher, None),
            _end: End {
                pushes: self.pushes,
                key: key.clone(),
                pushing: Arc::clone(&pushing),
            },
            pushing: Arc::clone(&pushing),
        };
        let mut reader = Reader::new(seat);
        // The seat of a stream that was published before may hold what its last publisher sent.
        reader.skip_past();
        tokio::spawn(work.run(self.opened, reader).instrument(span));
        Some(EdgePush { pushing })
    }
}

/// Tells those who wait for its end, whatever ends the task.
struct End {
    pushes: EdgePushes,
    key: StreamKey,
    pushing: Arc<Pushing>,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut pushes = self.pushes.lock();
        if pushes
            .get(&self.key)
            .is_some_and(|known| Arc::ptr_eq(known, &self.pushing))
        {
            pushes.remove(&self.key);
        }
        drop(pushes);
        self.pushing.done.send_replace(true);
    }
}

struct Work {
    errand: Errand,
    counters: Arc<Counters>,
    listed: Listed,
    pushing: Arc<Pushing>,
    _end: End,
}

impl Work {
    async fn run(self, mut opened: Opened<Sink>, mut reader: Reader) {
        let mut trouble = Trouble::new(self.errand.upstream.now().cluster.retry);
        loop {
            info!(origin = %opened.candidate.remote, "pushed to the origin");
            self.counters.count(Count::Push);
            let card = self.listed.card();
            card.running(Some(opened.candidate.remote.to_string()));
            let began = Instant::now();
            let until = async {
                tokio::select! {
                    () = self.pushing.stop.told() => Until::Stop,
                    () = self.errand.upstream.removed(&opened.candidate) => Until::Removed,
                }
            };
            match pump(&mut opened.source, &mut reader, card, until).await {
                Ok(None | Some(Until::Stop)) => return finish(opened.source, &mut reader).await,
                Ok(Some(Until::Removed)) => {
                    info!(origin = %opened.candidate.remote, "the origin is no longer configured");
                    opened.source.close().await;
                }
                Err(failure) => {
                    warn!(origin = %opened.candidate.remote, "the origin no longer takes the stream: {failure}");
                    self.counters.count(Count::PushFailed);
                    card.failed(&failure);
                    if failure.answer() == Some(Answer::Taken) {
                        return self.over(PushOver::GivenAway);
                    }
                    self.errand
                        .upstream
                        .now()
                        .origins
                        .failed(opened.candidate.address);
                }
            }
            trouble.note(began.elapsed());
            opened = tokio::select! {
                again = self.again(&mut trouble) => match again {
                    Some(again) => again,
                    None => {
                        warn!("no origin takes the stream");
                        return self.over(PushOver::NotTaken);
                    }
                },
                () = self.pushing.stop.told() => return,
            };
            reader.rejoin();
        }
    }

    fn over(&self, why: PushOver) {
        let _ = self.pushing.over.set(why);
    }

    async fn again(&self, trouble: &mut Trouble) -> Option<Opened<Sink>> {
        while !trouble.is_over() {
            if std::mem::replace(&mut trouble.again, true) {
                tokio::time::sleep(trouble.backoff.pause()).await;
            }
            self.listed.card().connecting();
            if let Ok(opened) = self.errand.publish().await {
                return Some(opened);
            }
        }
        None
    }
}

/// What ends a push but its stream and its server.
enum Until {
    /// The publisher has left.
    Stop,
    /// The origin is no longer configured.
    Removed,
}

/// Since when no push lasted: an origin may accept a stream, and refuse or lose it a moment later, again and again.
struct Trouble {
    since: Option<Instant>,
    /// The next origin is asked without a pause only after a push that lasted.
    again: bool,
    backoff: Backoff,
}

impl Trouble {
    fn new(retry: Duration) -> Self {
        Trouble {
            since: None,
            again: false,
            backoff: Backoff::new(retry),
        }
    }

    /// A push ended that lasted so long.
    fn note(&mut self, lasted: Duration) {
        if lasted >= GOOD {
            self.since = None;
            self.again = false;
            self.backoff.reset();
        }
        self.since.get_or_insert_with(Instant::now);
    }

    fn is_over(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= PATIENCE)
    }
}

/// Sends the last frames, and goodbye.
async fn finish(mut sink: Sink, reader: &mut Reader) {
    let rest = async {
        let mut packets = Vec::new();
        while reader.read(&mut packets) == State::Packets {
            sink.publish(&packets).await?;
            packets.clear();
        }
        Ok::<_, Failure>(())
    };
    // One that was cut off in the middle of a write has had its time.
    if let Ok(Ok(())) = timeout(GOODBYE, rest).await {
        sink.close().await;
    }
}
