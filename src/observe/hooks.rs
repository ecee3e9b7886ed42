//! Callbacks, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::histogram::{Distribution, Histogram};

/// Counts of callbacks, to all back ends together.
#[derive(Debug, Default)]
pub struct Hooks {
    asked: AtomicU64,
    failed: AtomicU64,
    told: AtomicU64,
    retried: AtomicU64,
    lost: AtomicU64,
    latency: Histogram,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HookCounts {
    /// Times that a back end was asked whether somebody may.
    pub asked: u64,
    /// Those to which it gave no answer that could be understood.
    pub failed: u64,
    /// Times that a back end was told what happened.
    pub told: u64,
    /// Times that telling it failed, and was tried again.
    pub retried: u64,
    /// What it was never told: too much waited, or for too long.
    pub lost: u64,
    /// Requests of either kind that came to an end, for the mean of `micros`.
    pub answered: u64,
    /// How long they took together, in microseconds.
    pub micros: u64,
}

impl Hooks {
    pub(crate) fn asked(&self, took: Duration) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.took(took);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn told(&self, took: Duration) {
        self.told.fetch_add(1, Ordering::Relaxed);
        self.took(took);
    }

    pub(crate) fn retried(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn took(&self, took: Duration) {
        self.latency.record(took);
    }

    /// How long those that came to an end took.
    pub(crate) fn latency(&self) -> Distribution {
        self.latency.read()
    }

    /// The counts now.
    pub fn snapshot(&self) -> HookCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let latency = self.latency.read();
        HookCounts {
            asked: get(&self.asked),
            failed: get(&self.failed),
            told: get(&self.told),
            retried: get(&self.retried),
            lost: get(&self.lost),
            answered: latency.counts.iter().sum(),
            micros: latency.sum_us,
        }
    }
}
