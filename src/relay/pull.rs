//! A pull: one stream from its origins into the hub, for as long as somebody wants it.
//!
//! A pull is a publisher like any other. When its origin is lost it keeps the claim and asks the others; players stay, and go on at
//! a keyframe with time continuous. When no origin gives the stream at once, the claim is let go, the hub holds the players for
//! `republish_wait`, and the pull goes on asking.
//!
//! A pull from a node of the registry asks the registry each time: the stream may have moved. Where it moved away from here, the pull begins
//! with the players that the stream had ([`Carried`]), and holds them until the other node gives it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{Instrument, info, info_span, warn};

use crate::config::{OnBusy, Remote, Vhost};
use crate::hub::{EndReason, PushError, Stream, StreamKey};
use crate::ingest::{Ingest, Refused};
use crate::media::FrameKind;
use crate::observe::Count;
use crate::play::Live;

use super::backoff::Backoff;
use super::card::{Card, Listed, RelayBy};
use super::errand::{Errand, Opened, Sources, Unopened};
use super::failure::{Answer, Failure};
use super::origins::Candidate;
use super::push::Stop;
use super::source::{Packet, Source};
use super::standby::Standby;
use super::target::Target;

/// How often a pull looks whether it is still wanted, and at its claim.
const TICK: Duration = Duration::from_millis(100);

/// How long players that were carried over are held for the node that took their stream, at least: its publisher has just come, and may
/// have sent nothing yet.
const CARRY: Duration = Duration::from_secs(10);
/// The longest pause between two questions meanwhile: what it adds to the gap that players see.
const CARRY_PAUSE: Duration = Duration::from_millis(300);

/// A pull at work, as those see it who wait for it.
pub(super) struct Pull {
    pub(super) errand: Errand,
    settings: Arc<Vhost>,
    card: Arc<Card>,
    /// Its place in the list, until the task has ended.
    listed: Mutex<Option<Listed>>,
    /// Players that wait for the stream.
    waiters: AtomicUsize,
    /// No origin answered when it was last tried.
    away: AtomicBool,
    cancelled: Stop,
    over: watch::Sender<Option<Over>>,
}

/// How a pull ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Over {
    /// What the origins said, if that was the end.
    pub(crate) answer: Option<Answer>,
}

/// A player that waits for a pull's stream. The pull goes on while there is one.
pub(crate) struct Waiter {
    pull: Arc<Pull>,
    over: watch::Receiver<Option<Over>>,
}

impl Waiter {
    pub(super) fn new(pull: &Arc<Pull>) -> Self {
        pull.waiters.fetch_add(1, Ordering::Relaxed);
        Waiter {
            over: pull.over.subscribe(),
            pull: Arc::clone(pull),
        }
    }

    /// Returns when the pull has ended.
    pub(crate) async fn over(&mut self) -> Over {
        match self.over.wait_for(Option::is_some).await {
            Ok(over) => over.unwrap_or(Over { answer: None }),
            // The sender lives in the pull, which is held here.
            Err(_) => Over { answer: None },
        }
    }

    /// Whether the origins judged this very query.
    pub(crate) fn asked_with(&self, query: &str) -> bool {
        self.pull.errand.query == query
    }

    /// Whether no origin answers.
    pub(crate) fn is_away(&self) -> bool {
        self.pull.away.load(Ordering::Relaxed)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.pull.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pull {
    pub(super) fn new(errand: Errand, settings: Arc<Vhost>, listed: Listed) -> Arc<Self> {
        Arc::new(Pull {
            errand,
            settings,
            card: Arc::clone(listed.card()),
            listed: Mutex::new(Some(listed)),
            waiters: AtomicUsize::new(0),
            away: AtomicBool::new(false),
            cancelled: Stop::default(),
            over: watch::Sender::new(None),
        })
    }

    /// One more waits, unless it has ended.
    pub(super) fn wait(self: &Arc<Self>) -> Option<Waiter> {
        let waiter = Waiter::new(self);
        let ended = waiter.over.borrow().is_some();
        (!ended).then_some(waiter)
    }

    /// It is no longer wanted, whoever plays. Returns when it has let the stream go.
    pub(super) async fn cancel(self: Arc<Self>) {
        self.cancelled.tell();
        let mut over = self.over.subscribe();
        let _ = over.wait_for(Option::is_some).await;
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.borrow().is_some()
    }

    pub(super) fn key(&self) -> &StreamKey {
        &self.errand.key
    }

    pub(super) fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// Whether an operator wanted it from there.
    pub(super) fn is_order_for(&self, target: &Target) -> bool {
        self.errand.target.as_ref() == Some(target)
    }

    /// Whether an operator wants it, whoever plays.
    pub(super) fn is_order(&self) -> bool {
        self.card.by == RelayBy::Operator
    }

    /// Begins, on the runtime. `done` is called when it has ended.
    pub(super) fn spawn(
        self: &Arc<Self>,
        live: &Live,
        runtime: &Handle,
        carried: Option<Carried>,
        done: impl FnOnce(&Self) + Send + 'static,
    ) {
        let key = self.key();
        let span = info_span!(
            parent: None,
            "pull",
            vhost = key.vhost(),
            app = key.app(),
            stream = key.stream(),
        );
        let (ingest, stream, carried_until) = match carried {
            Some(carried) => (
                Some(carried.ingest),
                Some(carried.stream),
                Some(carried.until),
            ),
            None => (None, None, None),
        };
        let work = Work {
            pull: Arc::clone(self),
            live: live.clone(),
            sources: self.errand.upstream.now(),
            ingest,
            stream,
            standby: None,
            unwanted_since: None,
            carried_until,
        };
        live.counters().count(Count::Pull);
        let pull = Arc::clone(self);
        let task = async move {
            // Also when the task is dropped with its runtime.
            let mut end = End {
                pull,
                done: Some(done),
                over: Over { answer: None },
            };
            end.over = work.run().await;
        };
        runtime.spawn(task.instrument(span));
    }
}

/// A stream that was published here, its players with it, and the claim on it.
pub(super) struct Carried {
    ingest: Ingest,
    stream: Arc<Stream>,
    until: Instant,
}

impl Carried {
    /// Takes the claim, from the publisher too if `on_busy` says so.
    pub(super) fn take(
        live: &Live,
        pull: &Pull,
        stream: &Arc<Stream>,
        on_busy: OnBusy,
    ) -> Option<Self> {
        let settings = &pull.settings;
        let ingest = Ingest::relay(live, pull.key(), settings, "another node", on_busy).ok()?;
        if !ingest
            .stream()
            .is_some_and(|claimed| Arc::ptr_eq(&claimed, stream))
        {
            // It ended this very moment, and the claim is on a new one that nobody plays.
            ingest.finish_stream("publisher_left");
            return None;
        }
        Some(Carried {
            ingest,
            stream: Arc::clone(stream),
            until: Instant::now() + settings.publish.republish_wait.max(CARRY),
        })
    }
}

/// Tells those who wait, whatever ends the task.
struct End<F: FnOnce(&Pull)> {
    pull: Arc<Pull>,
    done: Option<F>,
    over: Over,
}

impl<F: FnOnce(&Pull)> Drop for End<F> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(&self.pull);
        }
        self.pull.listed.lock().take();
        self.pull.over.send_replace(Some(self.over));
    }
}

/// The task of a pull.
struct Work {
    pull: Arc<Pull>,
    live: Live,
    /// The origins as they were configured when it last looked.
    sources: Arc<Sources>,
    ingest: Option<Ingest>,
    /// Kept beyond the claim: its players may still be there.
    stream: Option<Arc<Stream>>,
    standby: Option<Standby>,
    unwanted_since: Option<Instant>,
    /// Until then no word of an origin ends it, and the claim is kept; unset by the first frame.
    carried_until: Option<Instant>,
}

/// Why frames no longer come from an origin.
enum Stopped {
    /// Nobody wants them, or the claim is gone: for this reason.
    Done(&'static str),
    /// The origin.
    Lost(Failure),
}

impl Work {
    async fn run(mut self) -> Over {
        let mut backoff = Backoff::new(self.sources.cluster.retry);
        let mut carry_backoff = Backoff::new(CARRY_PAUSE);
        let mut last: Option<SocketAddr> = None;
        loop {
            if let Some(reason) = self.done() {
                return self.end(reason, None);
            }
            self.pull.card.connecting();
            let (opened, kept) = match self.warm().await {
                Some((opened, kept)) => (Ok(opened), kept),
                None => {
                    let pull = Arc::clone(&self.pull);
                    tokio::select! {
                        opened = self.open(last) => (opened, Vec::new()),
                        // A publisher waits for it.
                        () = pull.cancelled.told() => continue,
                        () = pull.card.stopped() => continue,
                    }
                }
            };
            match opened {
                Ok(opened) => {
                    self.pull.away.store(false, Ordering::Relaxed);
                    if last.is_some_and(|last| last != opened.candidate.address) {
                        self.live.counters().count(Count::Failover);
                    }
                    last = Some(opened.candidate.address);
                    let candidate = opened.candidate.clone();
                    match self.pump(opened, kept, &mut backoff).await {
                        Stopped::Done(reason) => return self.end(reason, None),
                        Stopped::Lost(Failure::Removed) => {
                            info!(origin = %candidate.remote, "the origin is no longer configured");
                            continue;
                        }
                        Stopped::Lost(failure) => self.lost(&candidate, &failure),
                    }
                    if self.sources.origins.count() <= 1 {
                        // Nobody else is there to be asked meanwhile.
                        self.pause(&mut backoff).await;
                    }
                }
                Err(_) if self.is_carried() => self.pause(&mut carry_backoff).await,
                Err(Unopened {
                    answer: Some(answer),
                    away,
                    ..
                }) if !self.pull.is_order() && (!away || self.stream.is_none()) => {
                    info!("no stream: {answer}");
                    return self.end("publisher_left", Some(answer));
                }
                // Who plays already waits: the stream may be on its way from one of SRS's origins to another.
                Err(unopened)
                    if !self.pull.is_order()
                        && self.stream.is_none()
                        && unopened.to_newcomer().is_some() =>
                {
                    return self.end("denied", unopened.to_newcomer());
                }
                Err(Unopened { away, why, .. }) => {
                    let why = why.unwrap_or_else(|| Answer::Away.to_string());
                    self.pull.card.failed(&why);
                    self.pull.away.store(away, Ordering::Relaxed);
                    self.live.counters().count(Count::PullFailed);
                    // From here on the hub's clock runs.
                    if let Some(ingest) = self.ingest.take() {
                        ingest.finish("origin_lost");
                    }
                    self.pause(&mut backoff).await;
                }
            }
        }
    }

    /// Asks the origins; where the registry says which, the node that has the stream now.
    async fn open(&mut self, last: Option<SocketAddr>) -> Result<Opened<Source>, Unopened> {
        if self.sources.is_node
            && let Some(cluster) = self.live.cluster()
            && let Some(lease) = cluster.find(self.pull.key()).await
            && let Some(node) = lease.addresses.to_node().and_then(Remote::at)
            && !self.sources.origins.are(&node)
        {
            info!(node = lease.node, "the stream is at another node now");
            let Pull {
                errand, settings, ..
            } = &*self.pull;
            let relay = self.live.relay();
            relay.follow(&errand.upstream, &node, settings);
            self.look_at_sources();
        }
        self.pull.errand.open(last).await
    }

    fn is_carried(&self) -> bool {
        self.carried_until
            .is_some_and(|until| Instant::now() < until)
    }

    async fn warm(&mut self) -> Option<(Opened<Source>, Vec<Packet>)> {
        self.standby.take()?.take().await
    }

    /// Looks at what is configured now. What is kept warm was chosen among others.
    fn look_at_sources(&mut self) {
        let now = self.pull.errand.upstream.now();
        if !Arc::ptr_eq(&now, &self.sources) {
            self.sources = now;
            self.standby = None;
        }
    }

    fn lost(&self, candidate: &Candidate, failure: &Failure) {
        let origin = &candidate.remote;
        self.pull.card.failed(failure);
        if matches!(failure, Failure::Ended | Failure::Unclaimed(_)) {
            info!(%origin, "{failure}");
        } else {
            warn!(%origin, "origin lost: {failure}");
            self.live.counters().count(Count::OriginLost);
            self.sources.origins.failed(candidate.address);
        }
    }

    /// Carries frames into the hub.
    async fn pump(
        &mut self,
        mut opened: Opened<Source>,
        kept: Vec<Packet>,
        backoff: &mut Backoff,
    ) -> Stopped {
        let mut fresh = true;
        let mut looked = Instant::now();
        let mut last = opened.source.quiet_since().unwrap_or(looked);
        let mut kept = kept.into_iter();
        loop {
            let packet = match kept.next() {
                Some(packet) => Ok(Some(packet)),
                None => opened.source.next(Instant::now() + TICK).await,
            };
            let now = Instant::now();
            match packet {
                Ok(Some(packet)) => {
                    if std::mem::take(&mut fresh)
                        && let Err(stopped) = self.claim(&opened.candidate).await
                    {
                        return stopped;
                    }
                    if matches!(packet.kind, FrameKind::Audio | FrameKind::Video) {
                        last = now;
                        backoff.reset();
                        self.keep_warm(&opened.candidate);
                    }
                    self.pull.card.carried(packet.payload.len());
                    match self.push(packet) {
                        Ok(()) => {}
                        Err(PushError::Ended(reason)) => return Stopped::Done(reason.name()),
                        Err(PushError::Malformed(error)) => {
                            self.live.counters().count(Count::ProtocolError);
                            return Stopped::Lost(error.into());
                        }
                    }
                }
                Ok(None) => {}
                Err(failure) => return Stopped::Lost(failure),
            }
            if now.saturating_duration_since(looked) >= TICK {
                looked = now;
                if let Some(reason) = self.done() {
                    opened.source.close().await;
                    return Stopped::Done(reason);
                }
                self.look_at_sources();
                if !self.sources.origins.has(&opened.candidate) {
                    opened.source.close().await;
                    return Stopped::Lost(Failure::Removed);
                }
            }
            let stall = self.sources.cluster.stall;
            if now.saturating_duration_since(last) >= stall {
                return Stopped::Lost(Failure::Stalled(stall));
            }
        }
    }

    /// The stream is ours, or ours still, but from another origin.
    async fn claim(&mut self, candidate: &Candidate) -> Result<(), Stopped> {
        self.carried_until = None;
        let origin = candidate.remote.to_string();
        let card = Arc::clone(&self.pull.card);
        if let Some(ingest) = &mut self.ingest {
            info!(origin, "pull goes on");
            ingest.renew();
            card.running((!self.pull.is_order()).then_some(origin));
            return Ok(());
        }
        let (key, settings) = (self.pull.key(), &self.pull.settings);
        let claimed = match self.pull.is_order() {
            true => Ingest::order(&self.live, key, settings, &origin).await,
            // Not from a publisher that came while the origins were away, whatever becomes of publishers among themselves.
            false => Ingest::relay(&self.live, key, settings, &origin, OnBusy::Reject)
                .map_err(Refused::from),
        };
        match claimed {
            Ok(ingest) => {
                self.stream = ingest.stream();
                self.ingest = Some(ingest);
                card.running((!self.pull.is_order()).then_some(origin));
                Ok(())
            }
            // Who has it may leave, and an operator wants the stream for good.
            Err(refused) if self.pull.is_order() => {
                Err(Stopped::Lost(Failure::Unclaimed(refused.to_string())))
            }
            // Published here meanwhile, or a limit.
            Err(refused) => {
                warn!("no claim for a pull: {refused}");
                Err(Stopped::Done("denied"))
            }
        }
    }

    fn push(&mut self, packet: Packet) -> Result<(), PushError> {
        match &mut self.ingest {
            Some(ingest) => ingest.push(
                packet.kind,
                packet.timestamp,
                packet.payload,
                Instant::now(),
            ),
            None => Ok(()),
        }
    }

    fn keep_warm(&mut self, candidate: &Candidate) {
        let sources = &self.sources;
        if self.standby.is_none() && sources.cluster.standby && sources.origins.count() > 1 {
            let errand = self.pull.errand.clone();
            self.standby = Some(Standby::start(errand, candidate.address));
        }
    }

    /// Why there is nothing left to do, if so.
    fn done(&mut self) -> Option<&'static str> {
        if self.live.hub().is_shut_down() {
            return Some(EndReason::Shutdown.name());
        }
        if let Some(reason) = self.ingest.as_ref().and_then(Ingest::ended) {
            return Some(reason.name());
        }
        if self.pull.card.is_stopped() {
            return Some(EndReason::Operator.name());
        }
        if self.pull.cancelled.is_told() {
            return Some("published_here");
        }
        if self.pull.is_order() {
            return None;
        }
        let players = self.stream.as_ref().map_or(0, |stream| stream.players());
        if players > 0 || self.pull.waiters.load(Ordering::Relaxed) > 0 {
            self.unwanted_since = None;
            return None;
        }
        let since = *self.unwanted_since.get_or_insert_with(Instant::now);
        if since.elapsed() < self.sources.cluster.idle {
            return None;
        }
        let ended = match &self.stream {
            Some(stream) => self.live.hub().end_unplayed(stream, EndReason::Idle),
            None => true,
        };
        // Else one came this very moment.
        ended.then_some(EndReason::Idle.name())
    }

    async fn pause(&mut self, backoff: &mut Backoff) {
        let until = Instant::now() + backoff.pause();
        while Instant::now() < until && self.done().is_none() {
            let left = until.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(TICK)).await;
        }
    }

    /// Lets the stream go. Players that are there end now when the origins have no more of it: these have waited for its publisher
    /// already.
    fn end(&mut self, reason: &'static str, answer: Option<Answer>) -> Over {
        let now = answer.is_some();
        if let Some(ingest) = self.ingest.take() {
            if now {
                ingest.finish_stream(reason);
            } else {
                ingest.finish(reason);
            }
        } else if now && let Some(stream) = &self.stream {
            self.live.hub().end_unpublished(stream);
        }
        Over { answer }
    }
}
