//! Forwarding: each stream that is published here, pushed to other servers. Each push is a task of its own that tries again, and so is
//! the question to a back end where to push it. What an operator has pushed besides is a push like any other.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tracing::{Instrument, info, info_span, warn};

use crate::access::on_forward;
use crate::client::Client;
use crate::config::{self, Forward, HttpUrl, Remote};
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
use super::push::{Reader, State, Stop, bytes_of, pump};
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
pub(super) struct Forwards {
    /// Held while the pushes of a stream are begun, and while another configuration comes into effect, so that none is missed.
    config: Arc<RwLock<Config>>,
    /// By their addresses. Held for a look-up.
    streams: Arc<Mutex<Streams>>,
    places: Arc<Mutex<Places>>,
}

/// What is configured, by the names of vhosts.
type Config = HashMap<String, Forward>;

type Streams = HashMap<usize, Weak<Held>>;

/// Which streams, by their addresses, are pushed where, and by which push: the same place twice would refuse the second for good. Held
/// for a look-up.
type Places = HashMap<(usize, Target), u64>;

/// A stream that is forwarded. What is done for it shares this; the last frees its place.
struct Held {
    streams: Arc<Mutex<Streams>>,
    /// It lives as long, so that its address is no other's.
    stream: Arc<Stream>,
    /// Its publisher when this began.
    client: Client,
    /// Ends the question to the back end. Held to set it.
    asking: Mutex<Arc<Stop>>,
}

impl Held {
    fn is_in(&self, streams: &Streams) -> bool {
        let known = streams.get(&address(&self.stream));
        known.is_some_and(|known| std::ptr::eq(known.as_ptr(), self))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut streams = self.streams.lock();
        // Another may have been begun for the stream since.
        if self.is_in(&streams) {
            streams.remove(&address(&self.stream));
        }
    }
}

fn configured(config: &config::Live) -> Config {
    let vhosts = config.vhosts.iter();
    vhosts
        .map(|(name, vhost)| (name.clone(), vhost.forward.clone()))
        .collect()
}

/// Where the streams of a vhost are pushed, and who is asked for more.
fn wanted(forward: Option<&Forward>) -> (&[Remote], Option<&HttpUrl>) {
    match forward.filter(|forward| forward.enabled) {
        Some(forward) => (&forward.destination, forward.backend.as_ref()),
        None => (&[], None),
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
        let mut places = self.places.lock();
        // One that was stopped may have been begun anew before it was gone.
        if places.get(&self.at) == Some(&self.listed.card().id) {
            places.remove(&self.at);
        }
    }
}

impl Forwards {
    pub(super) fn new(config: &config::Live) -> Self {
        Forwards {
            config: Arc::new(RwLock::new(configured(config))),
            streams: Arc::default(),
            places: Arc::default(),
        }
    }

    fn held(&self, stream: &Arc<Stream>) -> Option<Arc<Held>> {
        self.streams.lock().get(&address(stream))?.upgrade()
    }

    /// None: it is forwarded already.
    fn hold(&self, stream: &Arc<Stream>, client: &Client) -> Option<Arc<Held>> {
        let mut streams = self.streams.lock();
        let known = streams.get(&address(stream));
        if known.is_some_and(|known| known.strong_count() > 0) {
            return None;
        }
        let held = Arc::new(Held {
            streams: Arc::clone(&self.streams),
            stream: Arc::clone(stream),
            client: client.clone(),
            asking: Mutex::default(),
        });
        streams.insert(address(stream), Arc::downgrade(&held));
        Some(held)
    }
}

impl Relay {
    /// Pushes the stream to where its vhost says, unless it is pushed already. To be called when a publisher has its claim.
    pub(crate) fn forward(&self, live: &Live, stream: &Arc<Stream>, client: &Client) {
        let config = self.forwards.config.read();
        let (destinations, backend) = wanted(config.get(stream.key().vhost()));
        if destinations.is_empty() && backend.is_none() {
            return;
        }
        let Some(held) = self.forwards.hold(stream, client) else {
            return;
        };
        let runtime = Handle::current();
        self.begin_forward(live, &held, destinations, backend, &runtime);
    }

    fn begin_forward(
        &self,
        live: &Live,
        held: &Arc<Held>,
        destinations: &[Remote],
        backend: Option<&HttpUrl>,
        runtime: &Handle,
    ) {
        let (stream, client) = (&held.stream, &held.client);
        let pushes = Pushes {
            held: Some(Arc::clone(held)),
            ..self.pushes_of(live, stream, client)
        };
        for destination in destinations {
            // An error: the stream is over.
            let _ = pushes.start(destination, RelayBy::Forward, runtime);
        }
        if let Some(url) = backend {
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
            let (outbound, url) = (Arc::clone(&self.outbound), url.clone());
            let stop = Arc::<Stop>::default();
            *held.asking.lock() = Arc::clone(&stop);
            let task = async move {
                tokio::select! {
                    () = pushes.ask(outbound, url, body) => {}
                    () = stop.told() => {}
                }
            };
            runtime.spawn(task.instrument(span));
        }
    }

    /// Another configuration: streams that run are pushed to where it says, and no longer to where it does not. What is in both goes on as it
    /// is, and what an operator stopped stays so.
    pub(super) fn reforward(&self, live: &Live, config: &config::Live) {
        let mut now = self.forwards.config.write();
        let before = std::mem::replace(&mut *now, configured(config));
        if before == *now {
            return;
        }
        let clients = live.clients().list();
        for stream in live.hub().streams() {
            let key = stream.key();
            let (was, is) = (before.get(key.vhost()), now.get(key.vhost()));
            // What is pulled for players is not forwarded.
            if was == is || self.is_pulled(key) {
                continue;
            }
            let (was, is) = (wanted(was), wanted(is));
            let held = self.forwards.held(&stream);
            let backend = is.1.filter(|_| was.1 != is.1);
            if let Some(held) = &held {
                self.end_forward(held, is.0, was.1 != is.1);
            }
            let new: Vec<Remote> =
                is.0.iter()
                    .filter(|at| !was.0.contains(at))
                    .cloned()
                    .collect();
            if new.is_empty() && backend.is_none() {
                continue;
            }
            let held = held.or_else(|| {
                // One whose publisher is away is forwarded when that is back.
                let mut clients = clients.iter();
                let publisher = clients.find(|card| card.is_publisher() && card.key == *key)?;
                self.forwards.hold(&stream, &publisher.client)
            });
            // Without a runtime, it begins with the next publish.
            if let (Some(held), Some(runtime)) = (held, live.relays_may_run_on()) {
                self.begin_forward(live, &held, &new, backend, &runtime);
            }
        }
    }

    /// Ends the pushes that the configuration wanted but those to `kept`; what a back end named, if `named`.
    fn end_forward(&self, held: &Held, kept: &[Remote], named: bool) {
        let stream = &held.stream;
        let kept = kept.iter();
        let kept: HashSet<Target> = kept
            .map(|destination| Target::of_destination(destination, stream.key()))
            .collect();
        if named {
            held.asking.lock().tell();
        }
        let pushes: Vec<(u64, bool)> = {
            let places = self.forwards.places.lock();
            let of_stream = places.iter().filter(|((at, _), _)| *at == address(stream));
            of_stream
                .map(|((_, target), push)| (*push, kept.contains(target)))
                .collect()
        };
        for (id, kept) in pushes {
            let card = self.cards.get(Way::Push, id);
            if let Some(card) = card.filter(|card| match card.by {
                RelayBy::Forward => !kept,
                RelayBy::Backend => named,
                _ => false,
            }) {
                card.stop();
            }
        }
    }

    /// Ends the pushes of a stream that another node has now, where it is pushed from; but for those that an operator wants.
    pub(super) fn stop_forward(&self, stream: &Arc<Stream>) {
        let Some(held) = self.forwards.held(stream) else {
            return;
        };
        // A publisher that comes back has it begun again.
        self.forwards.streams.lock().remove(&address(stream));
        self.end_forward(&held, &[], true);
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
            config: Arc::clone(&self.forwards.config),
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
    config: Arc<RwLock<Config>>,
    /// The nodes on the way, this one last.
    via: String,
}

impl Pushes {
    /// The push that there is already.
    pub(super) fn find(&self, destination: &Remote) -> Option<u64> {
        let target = Target::of_destination(destination, self.stream.key());
        self.known(&self.places.lock(), &(address(&self.stream), target))
    }

    /// One that was stopped is none, though it may not be gone yet.
    fn known(&self, places: &Places, at: &(usize, Target)) -> Option<u64> {
        let card = self.cards.get(Way::Push, *places.get(at)?)?;
        (!card.is_stopped()).then_some(card.id)
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
        if let Some(known) = self.known(&places, &at) {
            return Ok((known, false));
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
            config: Arc::clone(&self.config),
            via: self.via.clone(),
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
    config: Arc<RwLock<Config>>,
    via: String,
}

impl Push {
    /// How the server is asked now: who may sign its certificate is the vhost's to say.
    fn ask(&self) -> Ask {
        let config = self.config.read();
        let forward = config.get(self.stream.key().vhost());
        Ask {
            address: None,
            via: self.via.clone(),
            page: String::new(),
            terms: forward.map_or_else(|| Terms::from(&Forward::default()), Terms::from),
        }
    }

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
                    let more = tokio::select! {
                        more = reader.wait_for_more() => more,
                        () = self.card.stopped() => false,
                    };
                    if !more {
                        return info!("forward ended");
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
        let ask = self.ask();
        let mut sink = tokio::select! {
            opened = Sink::open(&self.dialer, &self.target, &ask) => opened?,
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
