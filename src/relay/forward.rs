//! Forwarding: each stream that is published here, pushed to other servers. Each push is a task of its own that tries again, and so is
//! the question to a back end where to push it. What an operator has pushed besides is a push like any other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tracing::{Instrument, info, info_span, warn};

use crate::access::on_forward;
use crate::client::Client;
use crate::config::{HttpUrl, Remote};
use crate::hub::{Format, SeatError, Stream, StreamKey};
use crate::observe::{Count, Counters};
use crate::outbound::Outbound;
use crate::play::Live;

use super::Relay;
use super::backend;
use super::backoff::Backoff;
use super::card::{Card, Cards, Listed, RelayBy, Way};
use super::dial::{Dialer, Terms};
use super::failure::{Answer, Failure};
use super::push::{Reader, State, bytes_of, pump};
use super::sink::Sink;
use super::source::{Ask, Packet};
use super::target::{Target, fill};

/// The longest pause between attempts: a server that is away for hours costs a connection attempt each half minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A push that lasted this long was a good one: the next attempt comes soon.
const GOOD: Duration = Duration::from_secs(10);
/// How often it is looked whether a stream is over that is not pushed at the moment.
const LOOK: Duration = Duration::from_secs(1);

/// The streams that are forwarded.
#[derive(Default)]
pub(super) struct Forwards {
    /// By their addresses. Held for a look-up.
    streams: Arc<Mutex<HashSet<usize>>>,
    places: Arc<Mutex<Places>>,
}

/// Which streams, by their addresses, are pushed where, and by which push: the same place twice would refuse the second for good. Held
/// for a look-up.
type Places = HashMap<(usize, Target), u64>;

/// A stream that is forwarded. What is done for it shares this; the last frees its place.
struct Held {
    streams: Arc<Mutex<HashSet<usize>>>,
    /// It lives as long, so that its address is no other's.
    stream: Arc<Stream>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.streams.lock().remove(&address(&self.stream));
    }
}

/// A destination as it may be shown: with the stream's names in it, and without keys.
fn shown(destination: &Remote, target: &Target, key: &StreamKey) -> String {
    if destination.path.is_empty() {
        return target.to_string();
    }
    fill(&destination.shown(), key)
}

fn address(stream: &Arc<Stream>) -> usize {
    Arc::as_ptr(stream).addr()
}

/// A place that a stream is pushed to. What is pushed holds it.
struct Place {
    places: Arc<Mutex<Places>>,
    at: (usize, Target),
    /// It lives as long, so that its address is no other's.
    _stream: Arc<Stream>,
    listed: Listed,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(&self.at);
    }
}

impl Forwards {
    /// None: it is forwarded already.
    fn hold(&self, stream: &Arc<Stream>) -> Option<Arc<Held>> {
        self.streams.lock().insert(address(stream)).then(|| {
            Arc::new(Held {
                streams: Arc::clone(&self.streams),
                stream: Arc::clone(stream),
            })
        })
    }
}

impl Relay {
    /// Pushes the stream to where its vhost says, unless it is pushed already. To be called when a publisher has its claim.
    pub(crate) fn forward(&self, live: &Live, stream: &Arc<Stream>, client: &Client) {
        let forward = &stream.settings().forward;
        if !forward.enabled || forward.destination.is_empty() && forward.backend.is_none() {
            return;
        }
        let Some(held) = self.forwards.hold(stream) else {
            return;
        };
        let pushes = Pushes {
            held: Some(held),
            ..self.pushes_of(live, stream, client)
        };
        for destination in &forward.destination {
            // An error: the stream is over.
            let _ = pushes.start(destination, RelayBy::Forward, &Handle::current());
        }
        if let Some(url) = &forward.backend {
            let key = stream.key();
            let span = info_span!(
                parent: None,
                "forward",
                vhost = key.vhost(),
                app = key.app(),
                stream = key.stream(),
                backend = url.authority(),
            );
            let body = on_forward(client, key);
            let outbound = Arc::clone(&self.outbound);
            let task = pushes.ask(outbound, url.clone(), body);
            tokio::spawn(task.instrument(span));
        }
    }

    /// Ends the pushes of a stream that another node has now, where it is pushed from.
    pub(super) fn stop_forward(&self, stream: &Arc<Stream>) {
        let Forwards { streams, places } = &self.forwards;
        // A publisher that comes back has it begun again.
        streams.lock().remove(&address(stream));
        let pushes: Vec<u64> = {
            let places = places.lock();
            let of_stream = places.iter().filter(|((at, _), _)| *at == address(stream));
            of_stream.map(|(_, push)| *push).collect()
        };
        for card in pushes
            .into_iter()
            .filter_map(|id| self.cards.get(Way::Push, id))
        {
            card.stop();
        }
    }

    /// What pushes of the stream have in common. `client`: its publisher.
    pub(super) fn pushes_of(&self, live: &Live, stream: &Arc<Stream>, client: &Client) -> Pushes {
        Pushes {
            stream: Arc::clone(stream),
            held: None,
            places: Arc::clone(&self.forwards.places),
            cards: Arc::clone(&self.cards),
            dialer: Arc::clone(&self.dialer),
            counters: live.shared_counters(),
            via: self.via(client),
        }
    }
}

/// The pushes of one stream.
pub(super) struct Pushes {
    stream: Arc<Stream>,
    /// Of those that the configuration wants.
    held: Option<Arc<Held>>,
    places: Arc<Mutex<Places>>,
    cards: Arc<Cards>,
    dialer: Arc<Dialer>,
    counters: Arc<Counters>,
    /// The nodes on the way, this one last.
    via: String,
}

impl Pushes {
    /// The push that there is already.
    pub(super) fn find(&self, destination: &Remote) -> Option<u64> {
        let target = Target::of_destination(destination, self.stream.key());
        let at = (address(&self.stream), target);
        self.places.lock().get(&at).copied()
    }

    /// Pushes the stream there, on the runtime, unless it is pushed there already. The number of the push, and whether it is new.
    pub(super) fn start(
        &self,
        destination: &Remote,
        by: RelayBy,
        runtime: &Handle,
    ) -> Result<(u64, bool), SeatError> {
        let stream = &self.stream;
        let key = stream.key();
        let target = Target::of_destination(destination, key);
        let at = (address(stream), target.clone());
        let mut places = self.places.lock();
        if let Some(known) = places.get(&at) {
            return Ok((*known, false));
        }
        let seat = stream.tap(Format::Flv)?;
        let shown = shown(destination, &target, key);
        let listed = self.cards.enter(Way::Push, key, by, Some(shown.clone()));
        let card = Arc::clone(listed.card());
        places.insert(at.clone(), card.id);
        drop(places);
        let place = Place {
            places: Arc::clone(&self.places),
            at,
            _stream: Arc::clone(stream),
            listed,
        };
        let span = info_span!(
            parent: None,
            "forward",
            vhost = key.vhost(),
            app = key.app(),
            stream = key.stream(),
            to = shown,
        );
        let push = Push {
            dialer: Arc::clone(&self.dialer),
            counters: Arc::clone(&self.counters),
            card: Arc::clone(&card),
            stream: Arc::clone(stream),
            target,
            ask: Ask {
                address: None,
                via: self.via.clone(),
                page: String::new(),
                terms: Terms::from(&stream.settings().forward),
            },
        };
        let held = self.held.clone();
        let stream = Arc::clone(stream);
        let task = async move {
            push.run(Reader::new(seat)).await;
            let stopped = place.listed.card().is_stopped();
            drop(place);
            if stopped && held.is_some() {
                // Its publisher may come back, and would have it begun again as long as this were not held.
                while !stream.is_ended() {
                    tokio::time::sleep(LOOK).await;
                }
            }
            drop(held);
        };
        runtime.spawn(task.instrument(span));
        Ok((card.id, true))
    }

    /// Asks the back end where else, until it has said so or the stream is over.
    async fn ask(self, outbound: Arc<Outbound>, url: HttpUrl, body: Bytes) {
        let mut backoff = Backoff::new(LONGEST_PAUSE);
        // With a seat, what is pushed later begins at a keyframe that is there already.
        while let Ok(_seat) = self.stream.tap(Format::Flv) {
            match backend::ask(&outbound, &url, &body).await {
                Ok(named) => {
                    let count = named.destinations.len();
                    info!(destinations = count, "the back end said where to forward");
                    if named.left_out > 0 {
                        warn!(
                            left_out = named.left_out,
                            "the back end named too many servers, or what is no address of RTMP"
                        );
                    }
                    for destination in &named.destinations {
                        let _ = self.start(destination, RelayBy::Backend, &Handle::current());
                    }
                    return;
                }
                Err(why) => {
                    self.counters.count(Count::ForwardAskFailed);
                    let pause = backoff.pause();
                    warn!(again_in = ?pause, "the back end did not say where to forward: {why}");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

struct Push {
    dialer: Arc<Dialer>,
    counters: Arc<Counters>,
    card: Arc<Card>,
    stream: Arc<Stream>,
    target: Target,
    ask: Ask,
}

impl Push {
    async fn run(self, mut reader: Reader) {
        let mut backoff = Backoff::new(LONGEST_PAUSE);
        let mut first = Vec::new();
        loop {
            // A server that is sent nothing ends a publish: it is asked when there is something to send.
            loop {
                first.clear();
                match reader.read(&mut first) {
                    State::Packets => break,
                    State::Edge => tokio::select! {
                        () = reader.news() => {}
                        () = self.card.stopped() => return,
                    },
                    State::Ended => return,
                }
            }
            self.card.connecting();
            let since = Instant::now();
            match self.push(&mut reader, &first).await {
                Ok(()) => return info!("forward ended"),
                Err(failure) if failure.answer() == Some(Answer::Loop) => {
                    self.counters.count(Count::PushFailed);
                    // It will be no less so when it is asked again.
                    warn!("not forwarded: {failure}");
                    if self.card.by == RelayBy::Operator {
                        // Who wanted it is told why for as long as it is wanted.
                        self.card.failed(&failure);
                        while self.pause(LONGEST_PAUSE).await {}
                    }
                    return;
                }
                Err(failure) => {
                    self.counters.count(Count::PushFailed);
                    if since.elapsed() >= GOOD {
                        backoff.reset();
                    }
                    let pause = backoff.pause();
                    warn!(again_in = ?pause, "forward failed: {failure}");
                    self.card.failed(&failure);
                    if !self.pause(pause).await {
                        return info!("forward ended");
                    }
                    // One that has had all that there is would be given the last frames again, as a stream of their own.
                    tokio::select! {
                        () = reader.wait_for_more() => {}
                        () = self.card.stopped() => return info!("forward ended"),
                    }
                    reader.rejoin();
                }
            }
        }
    }

    /// False when there is nothing to wait for any more.
    async fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            if self.stream.is_ended() || self.card.is_stopped() {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            tokio::select! {
                () = tokio::time::sleep(left.min(LOOK)) => {}
                () = self.card.stopped() => {}
            }
        }
    }

    async fn push(&self, reader: &mut Reader, first: &[Packet]) -> Result<(), Failure> {
        let mut sink = tokio::select! {
            opened = Sink::open(&self.dialer, &self.target, &self.ask) => opened?,
            () = self.card.stopped() => return Ok(()),
        };
        info!("forward started");
        self.counters.count(Count::Push);
        self.card.running(None);
        sink.publish(first).await?;
        self.card.carried(bytes_of(first));
        pump(&mut sink, reader, &self.card, self.card.stopped()).await?;
        sink.close().await;
        Ok(())
    }
}
