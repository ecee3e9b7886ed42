//! One stream, many readers.
//!
//! A [`Hub`] holds the streams. A publisher claims one with [`Hub::publish`] and pushes tag bodies; its [`Publisher`] is a claim that
//! releases the stream when it is dropped, whatever path ended the session. A player finds a stream with [`Hub::find`] or waits for it
//! with [`Hub::wait_for`], takes a [`Seat`] with [`Stream::open`], and reads the seat's [`Log`]: it holds a position there and nothing else.
//!
//! The hub belongs to no runtime: everything is callable from any thread. Time is given to it: somebody calls [`Hub::tick`] every
//! [`TICK`].
//!
//! ```text
//! Publisher ─ push ─▶ Stream: timeline, headers, GOP ─▶ LogWriter (one a format in use) ─▶ Log ─ wake ─▶ whoever drives players
//! ```

#[cfg(feature = "transcode")]
mod conversion;
mod feed;
mod gop;
mod key;
mod log;
mod publisher;
mod stream;
#[cfg(test)]
mod tests;
mod unit;
mod waiters;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Vhost;
use crate::observe::Counters as ServerCounters;

pub use key::{MAX_NAME_BYTES, NameError, StreamKey};
pub use log::{Format, Log, LogKey, Place, Read, Watch, Window};
pub use publisher::Publisher;
pub(crate) use stream::Source;
pub use stream::{
    AvFlags, Counters, GopReport, LogReport, PushError, Report, Seat, SeatError, Sent, Stream,
    TrackReport,
};
pub(crate) use unit::message_header;
pub use unit::{FrameBuilder, Framed, MAX_STEP_MS, Prelude, Unit};

use publisher::Control;
use stream::Tick;
use waiters::Waiters;

/// How often [`Hub::tick`] wants to be called: the grain of `guess_wait`, `republish_wait` and `kickoff_for_idle`.
pub const TICK: Duration = Duration::from_millis(100);

/// Why a stream, a publisher or a play ended. The names are those of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// The publisher left and none came in `republish_wait`.
    PublisherLeft,
    /// Another publisher took the stream (`on_busy: kick`).
    Kicked,
    /// An operator ended it.
    Operator,
    /// A publisher without players (`kickoff_for_idle`).
    Idle,
    /// The server shuts down.
    Shutdown,
}

impl EndReason {
    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::PublisherLeft => "publisher_left",
            Self::Kicked | Self::Operator => "kicked",
            Self::Idle => "idle",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happens to the newcomer when a stream has a publisher.
pub use crate::config::OnBusy;

/// Why a claim was not given.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// It has a publisher, and `on_busy` is `reject`.
    #[error("the stream {key} is being published already")]
    Busy {
        /// The stream.
        key: StreamKey,
    },
    /// `limits.streams` is reached.
    #[error("the server has {max} streams, which is its limit")]
    TooManyStreams {
        /// The limit.
        max: usize,
    },
    /// The server shuts down.
    #[error("the server is shutting down")]
    Shutdown,
}

/// Bounds of the whole hub, and what its streams need to know.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// Streams with a publisher; 0: no bound.
    pub streams: usize,
    /// Bytes kept for each stream.
    pub stream_memory: usize,
    /// Chunk size of the bytes made for RTMP players.
    pub rtmp_chunk_size: u32,
}

/// See the module. Cheap to clone: clones share the streams.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    counters: Arc<ServerCounters>,
    /// Guards which streams there are and who holds each. Taken at publish, find and tick, not for frames.
    registry: Mutex<Registry>,
    waiters: Waiters,
    next_publisher: AtomicU64,
    on_publish: OnceLock<OnPublish>,
}

/// Told of each claim that is given, before its first frame.
type OnPublish = Box<dyn Fn(&Arc<Stream>) + Send + Sync>;

struct Registry {
    limits: HubLimits,
    streams: HashMap<StreamKey, Entry>,
    shutdown: bool,
    /// What was sent to streams that are gone.
    ended: Counters,
}

struct Entry {
    stream: Arc<Stream>,
    /// The present publisher's.
    control: Option<Arc<Control>>,
}

impl Hub {
    /// An empty hub.
    pub fn new(limits: HubLimits) -> Self {
        Self::counted(limits, Arc::default())
    }

    /// An empty hub whose rare events are counted in `counters`.
    pub(crate) fn counted(limits: HubLimits, counters: Arc<ServerCounters>) -> Self {
        Self {
            inner: Arc::new(Inner {
                counters,
                registry: Mutex::new(Registry {
                    limits,
                    streams: HashMap::new(),
                    shutdown: false,
                    ended: Counters::default(),
                }),
                waiters: Waiters::default(),
                next_publisher: AtomicU64::new(1),
                on_publish: OnceLock::new(),
            }),
        }
    }

    /// Sets what is told of each claim that is given, a second publisher's of the same stream too: before the first frame, on the
    /// publisher's thread. It must not block. Only the first call has an effect.
    pub(crate) fn on_publish(&self, told: impl Fn(&Arc<Stream>) + Send + Sync + 'static) {
        let _ = self.inner.on_publish.set(Box::new(told));
    }

    /// Changes the bounds. Streams that are there keep what they have.
    pub(crate) fn set_limits(&self, limits: HubLimits) {
        self.inner.registry.lock().limits = limits;
    }

    /// Claims a stream for a publisher.
    ///
    /// # Errors
    /// [`PublishError`]: busy, too many streams, or shutting down.
    pub fn publish(
        &self,
        key: StreamKey,
        settings: &Arc<Vhost>,
        now: Instant,
    ) -> Result<Publisher, PublishError> {
        self.claim(key, settings, settings.publish.on_busy, now)
    }

    /// As [`Hub::publish`]; `on_busy`, and not that of the settings, says what becomes of a publisher that is there.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn claim(
        &self,
        key: StreamKey,
        settings: &Arc<Vhost>,
        on_busy: OnBusy,
        now: Instant,
    ) -> Result<Publisher, PublishError> {
        let mut registry = self.inner.registry.lock();
        if registry.shutdown {
            return Err(PublishError::Shutdown);
        }
        let claimed = registry
            .streams
            .values()
            .filter(|e| e.control.is_some())
            .count();
        let limits = registry.limits;
        let limit = limits.streams;
        let id = self.inner.next_publisher.fetch_add(1, Ordering::Relaxed);
        let control = Arc::new(Control::default());
        let entry = match registry.streams.get_mut(&key) {
            Some(entry) => entry,
            None => registry.streams.entry(key.clone()).or_insert(Entry {
                stream: Arc::new(Stream::new(
                    key.clone(),
                    Arc::clone(settings),
                    &limits,
                    Arc::clone(&self.inner.counters),
                    now,
                )),
                control: None,
            }),
        };
        match &entry.control {
            Some(_) if on_busy == OnBusy::Reject => {
                return Err(PublishError::Busy { key });
            }
            Some(old) => old.end(EndReason::Kicked),
            None if limit > 0 && claimed >= limit => {
                // One that somebody reads ends by itself.
                if entry.stream.players() == 0 && entry.stream.logs() == 0 {
                    registry.streams.remove(&key);
                }
                return Err(PublishError::TooManyStreams { max: limit });
            }
            None => {}
        }
        entry.control = Some(Arc::clone(&control));
        entry.stream.begin(id, now);
        let stream = Arc::clone(&entry.stream);
        drop(registry);
        if let Some(told) = self.inner.on_publish.get() {
            told(&stream);
        }
        Ok(Publisher::new(self.clone(), stream, control, id))
    }

    /// A stream that has what players need.
    pub fn find(&self, key: &StreamKey) -> Option<Arc<Stream>> {
        let stream = {
            let registry = self.inner.registry.lock();
            Arc::clone(&registry.streams.get(key)?.stream)
        };
        stream.is_ready().then_some(stream)
    }

    /// Whether somebody publishes the stream, ready or not.
    pub fn is_published(&self, key: &StreamKey) -> bool {
        let registry = self.inner.registry.lock();
        registry
            .streams
            .get(key)
            .is_some_and(|entry| entry.control.is_some())
    }

    /// Waits until the stream is ready, without a bound of its own: the caller has the timer. `None` when the hub shuts down.
    pub async fn wait_for(&self, key: &StreamKey) -> Option<Arc<Stream>> {
        let waiting = self.inner.waiters.register(key);
        loop {
            // Armed before looking, so that a stream that becomes ready in between is not missed.
            let notified = waiting.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(stream) = self.find(key) {
                return Some(stream);
            }
            if self.is_shut_down() {
                return None;
            }
            notified.await;
        }
    }

    /// All streams, in no order.
    pub fn streams(&self) -> Vec<Arc<Stream>> {
        let registry = self.inner.registry.lock();
        registry
            .streams
            .values()
            .map(|e| Arc::clone(&e.stream))
            .collect()
    }

    /// Lets time pass: expires `republish_wait`, `guess_wait`, `kickoff_for_idle` and logs without players.
    pub fn tick(&self, now: Instant) {
        let mut registry = self.inner.registry.lock();
        let Registry { streams, ended, .. } = &mut *registry;
        streams.retain(|key, entry| match entry.stream.tick(now) {
            Tick::Nothing => true,
            Tick::BecameReady => {
                self.inner.waiters.notify(key);
                true
            }
            Tick::Idle => {
                if let Some(control) = &entry.control {
                    control.end(EndReason::Idle);
                }
                true
            }
            Tick::Expired => {
                entry.stream.end(EndReason::PublisherLeft);
                ended.add(entry.stream.all());
                false
            }
        });
    }

    /// Ends a stream that nobody publishes now, before its `republish_wait` is over.
    pub(crate) fn end_unpublished(&self, stream: &Arc<Stream>) {
        let mut registry = self.inner.registry.lock();
        let key = stream.key();
        if registry
            .streams
            .get(key)
            .is_some_and(|entry| entry.control.is_none() && Arc::ptr_eq(&entry.stream, stream))
        {
            stream.end(EndReason::PublisherLeft);
            registry.streams.remove(key);
        }
    }

    /// Ends a stream, and its publisher, unless somebody plays it: no player can begin between the look and the end. Whether it did.
    pub(crate) fn end_unplayed(&self, stream: &Arc<Stream>, reason: EndReason) -> bool {
        let mut registry = self.inner.registry.lock();
        let key = stream.key();
        let known = registry.streams.get(key);
        let known = known.is_some_and(|entry| Arc::ptr_eq(&entry.stream, stream));
        if known {
            if !stream.end_unplayed(reason) {
                return false;
            }
            if let Some(Entry {
                control: Some(control),
                ..
            }) = registry.streams.remove(key)
            {
                control.end(reason);
            }
            registry.ended.add(stream.all());
        }
        true
    }

    /// Ends every stream and refuses new ones. Players finish their responses; publishers find their claim ended.
    pub fn shutdown(&self) {
        let mut registry = self.inner.registry.lock();
        registry.shutdown = true;
        let Registry { streams, ended, .. } = &mut *registry;
        for (_, entry) in streams.drain() {
            ended.add(entry.stream.all());
            if let Some(control) = entry.control {
                control.end(EndReason::Shutdown);
            }
            entry.stream.end(EndReason::Shutdown);
        }
        self.inner.waiters.notify_all();
    }

    /// Ends one stream: its players finish their responses, its publisher finds its claim ended. False when there is none.
    pub(crate) fn end(&self, key: &StreamKey, reason: EndReason) -> bool {
        let mut registry = self.inner.registry.lock();
        let Some(entry) = registry.streams.remove(key) else {
            return false;
        };
        if let Some(control) = entry.control {
            control.end(reason);
        }
        entry.stream.end(reason);
        registry.ended.add(entry.stream.all());
        true
    }

    /// What publishers sent to all streams, those that are gone counted. Never less than it was.
    pub fn frames(&self) -> Counters {
        let registry = self.inner.registry.lock();
        let mut all = registry.ended;
        for entry in registry.streams.values() {
            all.add(entry.stream.all());
        }
        all
    }

    /// The stream, ready for players or not.
    pub(crate) fn stream(&self, key: &StreamKey) -> Option<Arc<Stream>> {
        let registry = self.inner.registry.lock();
        registry.streams.get(key).map(|e| Arc::clone(&e.stream))
    }

    /// Whether [`Hub::shutdown`] was called.
    pub fn is_shut_down(&self) -> bool {
        self.inner.registry.lock().shutdown
    }

    fn became_ready(&self, key: &StreamKey) {
        self.inner.waiters.notify(key);
    }

    /// Called by a claim's end.
    fn release(
        &self,
        stream: &Arc<Stream>,
        control: &Arc<Control>,
        publisher: u64,
        now: Instant,
    ) -> Counters {
        let key = stream.key();
        let mut registry = self.inner.registry.lock();
        let Some(entry) = registry.streams.get_mut(key) else {
            // It was ended: what is left is to say what came.
            return stream.sent_by(publisher);
        };
        if !Arc::ptr_eq(&entry.stream, stream) {
            return stream.sent_by(publisher);
        }
        let counters = entry.stream.leave(publisher, now);
        if entry
            .control
            .as_ref()
            .is_some_and(|c| Arc::ptr_eq(c, control))
        {
            entry.control = None;
            if stream.settings().publish.republish_wait.is_zero() {
                stream.end(EndReason::PublisherLeft);
                registry.streams.remove(key);
                registry.ended.add(stream.all());
            }
        }
        counters.unwrap_or_default()
    }
}
