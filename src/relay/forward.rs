//! Forwarding: each stream that is published here, pushed to other servers. Each push is a task of its own that tries again, and so is
//! the question to a back end where to push it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::{Instrument, info, info_span, warn};

use crate::access::on_forward;
use crate::client::Client;
use crate::config::{HttpUrl, Remote};
use crate::hub::{Format, Stream};
use crate::observe::{Count, Counters};
use crate::outbound::Outbound;
use crate::play::Live;
use crate::rtmp::Purpose;

use super::Relay;
use super::backend;
use super::backoff::Backoff;
use super::dial::{Dialer, Terms};
use super::failure::{Answer, Failure};
use super::push::{Reader, State, pump};
use super::source::{Ask, open_rtmp};
use super::target::Target;

/// The longest pause between attempts: a server that is away for hours costs a connection attempt each half minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A push that lasted this long was a good one: the next attempt comes soon.
const GOOD: Duration = Duration::from_secs(10);

/// The streams that are forwarded.
#[derive(Default)]
pub(super) struct Forwards {
    /// By their addresses. Held for a look-up.
    streams: Arc<Mutex<HashSet<usize>>>,
    pushes: Arc<AtomicUsize>,
}

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

fn address(stream: &Arc<Stream>) -> usize {
    Arc::as_ptr(stream).addr()
}

/// Counts a push while it is at work.
struct AtWork(Arc<AtomicUsize>);

impl AtWork {
    fn new(pushes: &Arc<AtomicUsize>) -> Self {
        pushes.fetch_add(1, Ordering::Relaxed);
        AtWork(Arc::clone(pushes))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Forwards {
    pub(super) fn count(&self) -> usize {
        self.pushes.load(Ordering::Relaxed)
    }

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
        let mut pushes = Pushes {
            held,
            at_work: Arc::clone(&self.forwards.pushes),
            dialer: Arc::clone(&self.dialer),
            counters: live.shared_counters(),
            via: self.via(client),
            taken: Vec::new(),
        };
        for destination in &forward.destination {
            pushes.start(destination);
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
}

/// The pushes of one stream.
struct Pushes {
    held: Arc<Held>,
    at_work: Arc<AtomicUsize>,
    dialer: Arc<Dialer>,
    counters: Arc<Counters>,
    /// The nodes on the way, this one last.
    via: String,
    /// Where it is pushed to: the same place twice would refuse the second for good.
    taken: Vec<Target>,
}

impl Pushes {
    fn start(&mut self, destination: &Remote) {
        let stream = &self.held.stream;
        let key = stream.key();
        let target = Target::of_destination(destination, key);
        if self.taken.contains(&target) {
            return;
        }
        let Ok(seat) = stream.tap(Format::Flv) else {
            return;
        };
        self.taken.push(target.clone());
        let span = info_span!(
            parent: None,
            "forward",
            vhost = key.vhost(),
            app = key.app(),
            stream = key.stream(),
            to = %target,
        );
        let push = Push {
            dialer: Arc::clone(&self.dialer),
            counters: Arc::clone(&self.counters),
            target,
            ask: Ask {
                address: None,
                via: self.via.clone(),
                page: String::new(),
                terms: Terms::from(&stream.settings().forward),
            },
        };
        let (held, at_work) = (Arc::clone(&self.held), AtWork::new(&self.at_work));
        let task = async move {
            push.run(Reader::new(seat)).await;
            drop((at_work, held));
        };
        tokio::spawn(task.instrument(span));
    }

    /// Asks the back end where else, until it has said so or the stream is over.
    async fn ask(mut self, outbound: Arc<Outbound>, url: HttpUrl, body: Bytes) {
        let mut backoff = Backoff::new(LONGEST_PAUSE);
        // With a seat, what is pushed later begins at a keyframe that is there already.
        while let Ok(_seat) = self.held.stream.tap(Format::Flv) {
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
                        self.start(destination);
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
                    State::Edge => reader.news().await,
                    State::Ended => return,
                }
            }
            let since = Instant::now();
            match self.push(&mut reader, &first).await {
                Ok(()) => return info!("forward ended"),
                Err(failure) if failure.answer() == Some(Answer::Loop) => {
                    self.counters.count(Count::PushFailed);
                    // It will be no less so when it is asked again.
                    return warn!("not forwarded: {failure}");
                }
                Err(failure) => {
                    self.counters.count(Count::PushFailed);
                    if since.elapsed() >= GOOD {
                        backoff.reset();
                    }
                    let pause = backoff.pause();
                    warn!(again_in = ?pause, "forward failed: {failure}");
                    tokio::time::sleep(pause).await;
                    // One that has had all that there is would be given the last frames again, as a stream of their own.
                    reader.wait_for_more().await;
                    reader.rejoin();
                }
            }
        }
    }

    async fn push(
        &self,
        reader: &mut Reader,
        first: &[super::source::Packet],
    ) -> Result<(), Failure> {
        let mut rtmp = open_rtmp(&self.dialer, &self.target, &self.ask, Purpose::Publish).await?;
        info!("forward started");
        self.counters.count(Count::Push);
        rtmp.publish(first).await?;
        pump(&mut rtmp, reader).await?;
        rtmp.close().await;
        Ok(())
    }
}
