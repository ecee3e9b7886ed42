//! Quantiles of many durations in little memory.

use std::time::Duration;

use serde::Serialize;

/// Steps in each power of two: a value is known to about 3 %.
const STEPS: u64 = 32;
/// Values from 2^40 microseconds (12 days) on share the last step.
const POWERS: u64 = 36;

/// Counts durations by their size, in microseconds. Merged from several threads without loss.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

/// What a report tells of a histogram, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; usize::try_from(STEPS * POWERS).unwrap_or(0)],
            total: 0,
            max_us: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let step = usize::try_from(step_of(us)).unwrap_or(usize::MAX);
        let last = self.counts.len() - 1;
        if let Some(count) = self.counts.get_mut(step.min(last)) {
            *count += 1;
        }
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// The value that `share` of all values do not exceed, in microseconds.
    fn quantile_us(&self, share: f64) -> u64 {
        let rank = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return end_of(step as u64).min(self.max_us);
            }
        }
        self.max_us
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        if self.total == 0 {
            return Quantiles::default();
        }
        let ms = |us: u64| us as f64 / 1000.0;
        Quantiles {
            count: self.total,
            p50: ms(self.quantile_us(0.5)),
            p99: ms(self.quantile_us(0.99)),
            max: ms(self.max_us),
        }
    }
}

/// Below [`STEPS`] each value has its own step; above, each power of two has [`STEPS`].
fn step_of(us: u64) -> u64 {
    let power = u64::from(us.checked_ilog2().unwrap_or(0));
    let base = u64::from(STEPS.ilog2());
    if power < base {
        return us;
    }
    let shift = power - base;
    (shift + 1) * STEPS + ((us >> shift) - STEPS)
}

/// The largest value of a step.
fn end_of(step: u64) -> u64 {
    if step < STEPS {
        return step;
    }
    let shift = step / STEPS - 1;
    ((STEPS + step % STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_known_to_three_percent() {
        let mut histogram = Histogram::default();
        for ms in 1..=1000 {
            histogram.record(Duration::from_millis(ms));
        }
        let q = histogram.quantiles();
        assert_eq!(q.count, 1000);
        assert!((500.0..516.0).contains(&q.p50), "{q:?}");
        assert!((990.0..=1000.0).contains(&q.p99), "{q:?}");
        assert!((q.max - 1000.0).abs() < 0.001, "{q:?}");
    }

    #[test]
    fn every_value_is_in_its_step() {
        for us in (0..100_000).chain([1 << 20, (1 << 30) + 12345, 1 << 39]) {
            let step = step_of(us);
            assert!(
                end_of(step) >= us && (step == 0 || end_of(step - 1) < us),
                "{us}"
            );
        }
        let mut histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.quantiles().count, 1);
        assert_eq!(Histogram::default().quantiles(), Quantiles::default());
    }
}
