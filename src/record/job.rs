//! A recording at work, as others see it and stop it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::{Condvar, Mutex};

use crate::hub::{StreamKey, Watch};

/// What one recording tells of itself. Rung by the log: the publisher rings, so that does no more than set a flag and wake.
pub(super) struct Job {
    pub(super) key: StreamKey,
    since: SystemTime,
    /// Guards whether it rang since the last look.
    rang: Mutex<bool>,
    wake: Condvar,
    stopped: AtomicBool,
    /// Guards what is told; held to note or copy it.
    told: Mutex<Told>,
    bytes: AtomicU64,
}

#[derive(Default)]
struct Told {
    path: Option<PathBuf>,
    files: u64,
    errors: u64,
    last_error: Option<String>,
}

/// A recording at work.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recording {
    /// Its stream.
    pub stream: StreamKey,
    /// Since when.
    pub since: SystemTime,
    /// The file that it writes; `None` while it waits for a keyframe, or after an error.
    pub path: Option<PathBuf>,
    /// Bytes of that file so far.
    pub bytes: u64,
    /// Files that it has finished.
    pub files: u64,
    /// Errors.
    pub errors: u64,
    /// The last error.
    pub last_error: Option<String>,
}

impl Watch for Job {
    fn wake(&self, _log: u64) {
        *self.rang.lock() = true;
        self.wake.notify_one();
    }
}

impl Job {
    pub(super) fn new(key: StreamKey) -> Self {
        Self {
            key,
            since: SystemTime::now(),
            rang: Mutex::new(false),
            wake: Condvar::new(),
            stopped: AtomicBool::new(false),
            told: Mutex::default(),
            bytes: AtomicU64::new(0),
        }
    }

    /// Returns when the log has news, or the recording is to be stopped.
    pub(super) fn wait(&self) {
        let mut rang = self.rang.lock();
        while !*rang {
            self.wake.wait(&mut rang);
        }
        *rang = false;
    }

    /// Ends the recording soon.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.wake(0);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(super) fn opened(&self, path: &Path) {
        self.bytes.store(0, Ordering::Relaxed);
        self.told.lock().path = Some(path.to_owned());
    }

    pub(super) fn wrote(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// The file is closed. `finished`: and good.
    pub(super) fn closed(&self, finished: bool) {
        let mut told = self.told.lock();
        told.path = None;
        told.files += u64::from(finished);
        self.bytes.store(0, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, why: String) {
        let mut told = self.told.lock();
        told.errors += 1;
        told.last_error = Some(why);
    }

    pub(super) fn show(&self) -> Recording {
        let told = self.told.lock();
        Recording {
            stream: self.key.clone(),
            since: self.since,
            path: told.path.clone(),
            bytes: self.bytes.load(Ordering::Relaxed),
            files: told.files,
            errors: told.errors,
            last_error: told.last_error.clone(),
        }
    }
}
