//! How many times each signed URL was used.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{BadToken, Good};

/// URLs that are remembered at a time. Only genuine ones are, each until it expires; 64 bytes each, so 16 MiB. Beyond that, nobody is let
/// in by a new one: a limit that is forgotten is none.
pub(crate) const MAX_URLS: usize = 1 << 18;

/// What is gone is looked for when this many were added, at least.
const SWEEP_AT_LEAST: usize = 1024;

/// Names a URL: half of a SHA-256 over vhost, action and signature.
type Name = [u8; 16];

/// The URLs that were used and have not expired.
#[derive(Debug)]
pub(crate) struct Uses {
    most: usize,
    /// Guards the counts; held for a look-up, and now and then for a sweep over all.
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    by_name: HashMap<Name, Use>,
    sweep_at: usize,
}

#[derive(Debug)]
struct Use {
    count: u32,
    /// Seconds since 1970.
    expires: u64,
}

impl Default for Uses {
    fn default() -> Self {
        Self::with_capacity(MAX_URLS)
    }
}

impl Uses {
    fn with_capacity(most: usize) -> Self {
        Self {
            most,
            seen: Mutex::new(Seen {
                by_name: HashMap::new(),
                sweep_at: SWEEP_AT_LEAST.min(most),
            }),
        }
    }

    /// Counts one use. `max`: how many there may be; 0 is no limit, and nothing is remembered.
    pub(crate) fn take(
        &self,
        scope: (&str, &str),
        good: &Good,
        max: u32,
        now: u64,
    ) -> Result<(), BadToken> {
        if max == 0 {
            return Ok(());
        }
        let name = name(scope, &good.signature);
        let mut seen = self.seen.lock();
        if seen.by_name.len() >= seen.sweep_at {
            seen.by_name.retain(|_, used| used.expires > now);
            // Sweeping again only after as many have come: the cost of one stays that of a few look-ups.
            seen.sweep_at =
                (seen.by_name.len() * 2).clamp(SWEEP_AT_LEAST.min(self.most), self.most);
        }
        let full = seen.by_name.len() >= self.most;
        match seen.by_name.entry(name) {
            Entry::Occupied(mut used) => {
                let used = used.get_mut();
                if used.count >= max {
                    return Err(BadToken::UsedUp(max));
                }
                used.count += 1;
            }
            Entry::Vacant(_) if full => return Err(BadToken::TooMany),
            Entry::Vacant(place) => {
                place.insert(Use {
                    count: 1,
                    expires: good.expires,
                });
            }
        }
        Ok(())
    }
}

fn name((vhost, action): (&str, &str), signature: &[u8]) -> Name {
    let hash = Sha256::new()
        .chain_update(vhost)
        .chain_update([0])
        .chain_update(action)
        .chain_update([0])
        .chain_update(signature)
        .finalize();
    let mut name = Name::default();
    for (to, from) in name.iter_mut().zip(hash) {
        *to = from;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(name: u32, expires: u64) -> Good {
        Good {
            expires,
            signature: name.to_be_bytes().to_vec(),
        }
    }

    #[test]
    fn a_url_is_used_up() {
        let uses = Uses::default();
        let (one, other) = (good(1, 100), good(2, 100));
        assert_eq!(uses.take(("v", "play"), &one, 2, 0), Ok(()));
        assert_eq!(uses.take(("v", "play"), &one, 2, 1), Ok(()));
        assert_eq!(
            uses.take(("v", "play"), &one, 2, 2),
            Err(BadToken::UsedUp(2))
        );
        assert_eq!(uses.take(("v", "play"), &other, 2, 2), Ok(()));
        // Another vhost or action has counts of its own.
        assert_eq!(uses.take(("w", "play"), &one, 2, 2), Ok(()));
        assert_eq!(uses.take(("v", "publish"), &one, 2, 2), Ok(()));
        // Without a limit nothing is counted.
        assert_eq!(uses.take(("v", "play"), &one, 0, 2), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_what_expired_is_forgotten() {
        let uses = Uses::with_capacity(2_000);
        for url in 0..2_000 {
            assert_eq!(uses.take(("v", "play"), &good(url, 100), 1, 0), Ok(()));
        }
        let more = good(5_000, 300);
        assert_eq!(
            uses.take(("v", "play"), &more, 1, 99),
            Err(BadToken::TooMany)
        );
        // Those who are known are still judged.
        assert_eq!(
            uses.take(("v", "play"), &good(7, 100), 1, 99),
            Err(BadToken::UsedUp(1))
        );
        assert_eq!(uses.take(("v", "play"), &more, 1, 100), Ok(()));
        assert_eq!(uses.seen.lock().by_name.len(), 1);
    }
}
