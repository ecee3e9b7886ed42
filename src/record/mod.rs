//! Recording: streams into FLV files.
//!
//! A recording is a reader of the hub. It has a seat that no limit counts, a position in the stream's FLV log, and a thread of its
//! own that does nothing but write: a disk that hangs holds up its own recording, which then loses what the log's window no
//! longer has and goes on at a keyframe; neither the publisher nor a player nor another recording waits.
//!
//! - [`recording`] reads the log, decides where files begin and end, and tries again after errors;
//! - [`writer`] makes the bytes of a file and its index, [`scan`] reads a file that was left;
//! - [`file`](mod@file) is about names, locks and renames;
//! - [`mend`] finishes what a crash left.
//!
//! [`Recorder`] is the door.

mod file;
mod job;
mod mend;
mod moment;
mod recording;
mod scan;
mod seek;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{error, info};

pub use job::Recording;

use job::Job;

use crate::config::{self, RecordingPath};
use crate::hub::{EndReason, Format, Stream, StreamKey};
use crate::observe::{Count, Counters};

/// Errors of all recordings together get a line in the log at most this often. All are counted.
const ERROR_LINES: Duration = Duration::from_secs(1);

/// All recordings of a server. Cheap to clone; clones share everything.
#[derive(Clone)]
pub(crate) struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    counters: Arc<Counters>,
    /// Where files that a crash left may lie.
    /// Guards the list; held to clone it.
    roots: Mutex<Vec<PathBuf>>,
    mending: AtomicBool,
    /// Files that this process writes. Held for a look-up.
    open: Mutex<HashSet<PathBuf>>,
    /// The streams that are recorded, by their address: the seat of a recording keeps its stream alive. Held for a look-up.
    streams: Mutex<HashMap<usize, Arc<Job>>>,
    /// When an error was last told. Held for a comparison.
    told: Mutex<Option<Instant>>,
    /// Guards who is told of files; held to clone the list.
    on_closed: Mutex<Vec<OnClosed>>,
}

type OnClosed = Arc<dyn Fn(&Recorded) + Send + Sync>;

/// A file that is finished.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// The stream; `None` for a file that an earlier process left.
    pub stream: Option<StreamKey>,
    /// Where the file is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// How long it plays.
    pub duration: Duration,
    /// Why it ended.
    pub reason: EndOfRecording,
}

/// Why a file ended. The names are those of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndOfRecording {
    /// The stream ended.
    Stream(EndReason),
    /// An operator stopped the recording.
    Stopped,
    /// `duration` is over, and the next file begins.
    Segment,
    /// The configuration of a track changed: the next file begins.
    CodecChanged,
    /// The file could not be written further.
    Error,
    /// A process that was killed left it; the next one finished it.
    Mended,
}

impl EndOfRecording {
    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stream(reason) => reason.name(),
            Self::Stopped => "stopped",
            Self::Segment => "segment",
            Self::CodecChanged => "codec_changed",
            Self::Error => "error",
            Self::Mended => "mended",
        }
    }
}

impl Recorder {
    /// For the vhosts of `config`.
    pub(crate) fn new(config: &config::Live, counters: Arc<Counters>) -> Self {
        Self {
            inner: Arc::new(Inner {
                counters,
                roots: Mutex::new(roots(config)),
                mending: AtomicBool::new(false),
                open: Mutex::default(),
                streams: Mutex::default(),
                told: Mutex::new(None),
                on_closed: Mutex::default(),
            }),
        }
    }

    /// Whether any vhost is recorded.
    pub(crate) fn is_enabled(&self) -> bool {
        !self.inner.roots.lock().is_empty()
    }

    /// Another configuration is in effect: its folders are looked through too.
    pub(crate) fn reconfigure(&self, config: &config::Live) {
        let next = roots(config);
        let before = std::mem::replace(&mut *self.inner.roots.lock(), next.clone());
        // A server that has not begun to look will look through these.
        let looks = self.inner.mending.load(Ordering::Relaxed);
        if next.iter().any(|root| !before.contains(root)) && looks {
            self.spawn_mend();
        }
    }

    /// Records the stream if its vhost says so, unless it is recorded already. To be called when a publisher has its claim.
    pub(crate) fn attach(&self, stream: &Arc<Stream>) {
        if stream.settings().dvr.enabled {
            self.start(stream);
        }
    }

    /// Records the stream, whatever its vhost says of `enabled`. False when it is recorded already, or cannot be.
    pub(crate) fn start(&self, stream: &Arc<Stream>) -> bool {
        let id = Arc::as_ptr(stream).addr();
        let job = Arc::new(Job::new(stream.key().clone()));
        match self.inner.streams.lock().entry(id) {
            Entry::Occupied(_) => return false,
            Entry::Vacant(free) => free.insert(Arc::clone(&job)),
        };
        let place = Place {
            recorder: self.clone(),
            id,
            job,
        };
        let Ok(seat) = stream.tap(Format::Flv) else {
            return false;
        };
        if let Err(error) = recording::spawn(place, seat) {
            self.failed("no thread for a recording", stream.key(), &error);
            return false;
        }
        true
    }

    /// Stops recording a stream; its file is finished. It is not recorded again before its next publisher. False when it is not recorded.
    pub(crate) fn stop(&self, key: &StreamKey) -> bool {
        let streams = self.inner.streams.lock();
        let mut stopped = false;
        for job in streams.values().filter(|job| job.key == *key) {
            job.stop();
            stopped = true;
        }
        stopped
    }

    /// The recordings at work.
    pub(crate) fn list(&self) -> Vec<Recording> {
        let streams = self.inner.streams.lock();
        let mut list: Vec<Recording> = streams.values().map(|job| job.show()).collect();
        list.sort_by(|one, other| one.stream.cmp(&other.stream));
        list
    }

    /// Streams that are recorded now, and files of ended ones that are not closed yet.
    pub(crate) fn active(&self) -> usize {
        self.inner.streams.lock().len()
    }

    /// Sets what is told of each file that is finished, on the thread that wrote it. Each that is set is told.
    pub(crate) fn on_closed(&self, told: impl Fn(&Recorded) + Send + Sync + 'static) {
        self.inner.on_closed.lock().push(Arc::new(told));
    }

    /// Finishes what earlier processes left, on a thread of its own; the first call does.
    pub(crate) fn mend(&self) {
        if !self.is_enabled() || self.inner.mending.swap(true, Ordering::Relaxed) {
            return;
        }
        self.spawn_mend();
    }

    fn spawn_mend(&self) {
        if let Err(error) = mend::spawn(self.clone()) {
            error!(%error, "no thread to mend recordings");
        }
    }

    fn opened(&self, path: &Path) {
        self.inner.open.lock().insert(path.to_owned());
    }

    fn left(&self, path: &Path) {
        self.inner.open.lock().remove(path);
    }

    fn writes(&self, path: &Path) -> bool {
        self.inner.open.lock().contains(path)
    }

    fn closed(&self, recorded: &Recorded) {
        let inner = &self.inner;
        inner.counters.recording_ended(recorded.bytes);
        let key = recorded.stream.as_ref();
        info!(
            target: "pingora_live::access",
            vhost = key.map(StreamKey::vhost),
            app = key.map(StreamKey::app),
            stream = key.map(StreamKey::stream),
            path = %recorded.path.display(),
            bytes = recorded.bytes,
            duration_ms = u64::try_from(recorded.duration.as_millis()).unwrap_or(u64::MAX),
            reason = recorded.reason.name(),
            "recording closed"
        );
        let all = inner.on_closed.lock().clone();
        for told in all {
            told(recorded);
        }
    }

    /// `what`: what could not be done. `about`: to what.
    fn failed(&self, what: &str, about: &dyn std::fmt::Display, reason: &dyn std::fmt::Display) {
        self.inner.counters.count(Count::RecordingError);
        let now = Instant::now();
        let mut told = self.inner.told.lock();
        if told.is_none_or(|last| now.saturating_duration_since(last) >= ERROR_LINES) {
            *told = Some(now);
            drop(told);
            error!(%about, "{what}: {reason}");
        }
    }
}

/// That a stream is recorded: until this is dropped.
struct Place {
    recorder: Recorder,
    id: usize,
    job: Arc<Job>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.recorder.inner.streams.lock().remove(&self.id);
    }
}

/// The folders of the vhosts that are recorded.
fn roots(config: &config::Live) -> Vec<PathBuf> {
    let recorded = config
        .vhosts
        .values()
        .filter(|vhost| vhost.enabled && vhost.dvr.enabled);
    let mut roots: Vec<PathBuf> = recorded.map(|vhost| vhost.dvr.path.root()).collect();
    roots.sort();
    roots.dedup();
    roots
}

/// The path of a stream's next file.
fn path_of(template: &RecordingPath, key: &StreamKey) -> PathBuf {
    let names = config::Names {
        vhost: key.vhost(),
        app: key.app(),
        stream: key.stream(),
    };
    template.render(names, &moment::now())
}
