//! Publishing at an edge: the stream is played here, and pushed to the origin that should have it.
//!
//! The publisher is accepted when an origin has accepted. When that one is lost later, the next is asked; only when none takes the
//! stream for a while is the publisher ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
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
use super::push::{Reader, State, pump};
use super::rtmp::Rtmp;

/// How long a publisher goes on while no origin takes its stream: as long as players are held by default.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a publisher that comes back waits for the push of its last connection to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Pushes of published streams to origins.
pub(super) type EdgePushes = Arc<Mutex<HashMap<StreamKey, Arc<Pushing>>>>;

/// A push that is under way.
pub(super) struct Pushing {
    cancel: Notify,
    done: watch::Sender<bool>,
    /// No origin takes the stream.
    failed: AtomicBool,
}

/// A stream that an origin has accepted and that is not published here yet.
pub(crate) struct EdgePublish {
    errand: Errand,
    opened: Opened<Rtmp>,
    pushes: EdgePushes,
    cards: Arc<Cards>,
}

/// A published stream's push. Dropping it ends the push.
pub(crate) struct EdgePush {
    pushing: Arc<Pushing>,
}

impl EdgePush {
    /// Whether no origin takes the stream any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.pushing.failed.load(Ordering::Relaxed)
    }
}

impl Drop for EdgePush {
    fn drop(&mut self) {
        self.pushing.cancel.notify_one();
    }
}

impl Relay {
    /// Asks the origins of an edge to take a stream; nothing when the vhost is no edge's.
    pub(crate) async fn publish(
        &self,
        key: &StreamKey,
        client: &Client,
    ) -> Result<Option<EdgePublish>, NotTaken> {
        let upstream = match self.edges.read().get(key.vhost()) {
            None => return Ok(None),
            Some(edge) => Arc::clone(edge.publish.as_ref().ok_or(NotTaken::NoRtmp)?),
        };
        // Of a publisher that has just left, or that gives way to this one.
        let before = self.edge_pushes.lock().get(key).cloned();
        if let Some(before) = before {
            before.cancel.notify_one();
            let mut done = before.done.subscribe();
            let _ = timeout(GOODBYE, done.wait_for(|done| *done)).await;
        }
        let errand = self.errand(upstream, key, client);
        match errand.publish().await {
            Ok(opened) => {
                // Its players stay, and go on with what is published here.
                self.yield_pull(key).await;
                Ok(Some(EdgePublish {
                    errand,
                    opened,
                    pushes: Arc::clone(&self.edge_pushes),
                    cards: Arc::clone(&self.cards),
                }))
            }
            Err(unopened) => Err(NotTaken::Answer(unopened.answer.unwrap_or(Answer::Away))),
        }
    }
}

/// Why a stream cannot be published at an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTaken {
    /// No origin takes it.
    #[error(transparent)]
    Answer(Answer),
    /// Streams are pushed by RTMP, and all origins are named with HTTP.
    #[error("no origin of this edge takes publishers: none is named with rtmp")]
    NoRtmp,
}

impl EdgePublish {
    /// Pushes the stream from now on. To be called before its first frame.
    pub(crate) fn start(self, live: &Live, stream: &Arc<Stream>) -> Option<EdgePush> {
        let seat = stream.tap(Format::Flv).ok()?;
        let pushing = Arc::new(Pushing {
            cancel: Notify::new(),
            done: watch::Sender::new(false),
            failed: AtomicBool::new(false),
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
    async fn run(self, mut opened: Opened<Rtmp>, mut reader: Reader) {
        loop {
            info!(origin = %opened.candidate.remote, "pushed to the origin");
            self.counters.count(Count::Push);
            let card = self.listed.card();
            card.running(Some(opened.candidate.remote.to_string()));
            let ended = tokio::select! {
                ended = pump(&mut opened.source, &mut reader, card) => ended,
                () = self.errand.upstream.removed(&opened.candidate) => Err(Failure::Removed),
                () = self.pushing.cancel.notified() => {
                    return finish(opened.source, &mut reader).await;
                }
            };
            match ended {
                Ok(()) => return opened.source.close().await,
                Err(Failure::Removed) => {
                    info!(origin = %opened.candidate.remote, "the origin is no longer configured");
                    opened.source.close().await;
                }
                Err(failure) => {
                    warn!(origin = %opened.candidate.remote, "the origin no longer takes the stream: {failure}");
                    self.counters.count(Count::PushFailed);
                    card.failed(&failure);
                    self.errand
                        .upstream
                        .now()
                        .origins
                        .failed(opened.candidate.address);
                }
            }
            opened = tokio::select! {
                again = self.again() => match again {
                    Some(again) => again,
                    None => {
                        warn!("no origin takes the stream");
                        return self.pushing.failed.store(true, Ordering::Relaxed);
                    }
                },
                () = self.pushing.cancel.notified() => return,
            };
            reader.rejoin();
        }
    }

    async fn again(&self) -> Option<Opened<Rtmp>> {
        let mut backoff = Backoff::new(self.errand.upstream.now().cluster.retry);
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            self.listed.card().connecting();
            if let Ok(opened) = self.errand.publish().await {
                return Some(opened);
            }
            tokio::time::sleep(backoff.pause()).await;
        }
        None
    }
}

/// Sends the last frames, and goodbye.
async fn finish(mut rtmp: Rtmp, reader: &mut Reader) {
    let rest = async {
        let mut packets = Vec::new();
        while reader.read(&mut packets) == State::Packets {
            rtmp.publish(&packets).await?;
            packets.clear();
        }
        Ok::<_, Failure>(())
    };
    let _ = timeout(GOODBYE, rest).await;
    rtmp.close().await;
}
