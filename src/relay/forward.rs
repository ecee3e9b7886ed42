//! Forwarding: each stream that is published here, pushed to other servers. Each push is a task of its own that tries again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{Instrument, info, info_span, warn};

use crate::client::Client;
use crate::hub::{Format, Stream};
use crate::observe::{Count, Counters};
use crate::play::Live;
use crate::rtmp::Purpose;

use super::Relay;
use super::backoff::Backoff;
use super::dial::Dialer;
use super::failure::Failure;
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
    /// By their addresses: a push's seat keeps its stream alive. Held for a look-up.
    streams: Arc<Mutex<HashSet<usize>>>,
    pushes: Arc<AtomicUsize>,
}

/// A push at work; the last of a stream frees its place.
struct Place {
    streams: Arc<Mutex<HashSet<usize>>>,
    pushes: Arc<AtomicUsize>,
    id: usize,
    /// Pushes of this stream that are left.
    left: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pushes.fetch_sub(1, Ordering::Relaxed);
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.streams.lock().remove(&self.id);
        }
    }
}

impl Forwards {
    pub(super) fn count(&self) -> usize {
        self.pushes.load(Ordering::Relaxed)
    }
}

impl Relay {
    /// Pushes the stream to where its vhost says, unless it is pushed already. To be called when a publisher has its claim.
    pub(crate) fn forward(&self, live: &Live, stream: &Arc<Stream>, client: &Client) {
        let forward = &stream.settings().forward;
        if !forward.enabled {
            return;
        }
        let destinations: Vec<Target> = forward
            .destination
            .iter()
            .map(|destination| Target::of_destination(destination, stream.key()))
            .collect();
        self.push_all(live, stream, client, destinations);
    }

    fn push_all(
        &self,
        live: &Live,
        stream: &Arc<Stream>,
        client: &Client,
        destinations: Vec<Target>,
    ) {
        let id = Arc::as_ptr(stream).addr();
        if destinations.is_empty() || !self.forwards.streams.lock().insert(id) {
            return;
        }
        let left = Arc::new(AtomicUsize::new(destinations.len()));
        for target in destinations {
            self.forwards.pushes.fetch_add(1, Ordering::Relaxed);
            let place = Place {
                streams: Arc::clone(&self.forwards.streams),
                pushes: Arc::clone(&self.forwards.pushes),
                id,
                left: Arc::clone(&left),
            };
            let Ok(seat) = stream.tap(Format::Flv) else {
                continue;
            };
            let key = stream.key();
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
                counters: live.shared_counters(),
                target,
                ask: Ask {
                    address: None,
                    via: self.via(client),
                    page: String::new(),
                    verify: stream.settings().forward.tls_verify,
                },
            };
            let task = async move {
                push.run(Reader::new(seat)).await;
                drop(place);
            };
            tokio::spawn(task.instrument(span));
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
                Err(failure) => {
                    self.counters.count(Count::PushFailed);
                    if since.elapsed() >= GOOD {
                        backoff.reset();
                    }
                    let pause = backoff.pause();
                    warn!(again_in = ?pause, "forward failed: {failure}");
                    tokio::time::sleep(pause).await;
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
