//! How long things take, counted in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds: from what a write costs to what nobody waits for.
pub(crate) const BOUNDS_US: [u64; 16] = [
    250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 125_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Durations, counted. Touched once for each play, callback or turn of a worker; never for a write.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Those at most as long as the bound of the same place; the last is for all that are longer.
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distribution {
    pub(crate) counts: [u64; BOUNDS_US.len() + 1],
    pub(crate) sum_us: u64,
}

impl Histogram {
    pub(crate) fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Distribution {
        let mut read = Distribution {
            sum_us: self.sum_us.load(Ordering::Relaxed),
            ..Distribution::default()
        };
        for (to, from) in read.counts.iter_mut().zip(&self.counts) {
            *to = from.load(Ordering::Relaxed);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_bucket_that_bounds_it() {
        let histogram = Histogram::default();
        for us in [0, 250, 251, 10_000_000, 10_000_001] {
            histogram.record(Duration::from_micros(us));
        }
        let read = histogram.read();
        assert_eq!(read.counts[0], 2);
        assert_eq!(read.counts[1], 1);
        assert_eq!(read.counts[BOUNDS_US.len() - 1], 1);
        assert_eq!(read.counts[BOUNDS_US.len()], 1);
        assert_eq!(read.sum_us, 20_000_502);
    }
}
