//! Pauses between attempts: they grow to a cap, and differ between all who lost the same server at the same moment.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The first pause, before chance is taken off it.
const FIRST: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    cap: Duration,
}

impl Backoff {
    pub(crate) fn new(cap: Duration) -> Self {
        Backoff {
            next: FIRST.min(cap),
            cap,
        }
    }

    /// It worked: the next pause is the first again.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST.min(self.cap);
    }

    /// How long to wait now: between half and all of what is due.
    pub(crate) fn pause(&mut self) -> Duration {
        let due = self.next;
        self.next = due.saturating_mul(2).min(self.cap);
        let part = random() % 1024;
        due / 2 + due.mul_f64(part as f64 / 2048.0)
    }
}

/// Not for secrets: the standard library's source of chance for its maps.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_begin_again() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        for due in [100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.pause().as_millis();
            assert!((due / 2..=due).contains(&pause), "{pause} of {due}");
        }
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
