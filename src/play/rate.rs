//! How often one address may do something in a second.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::listeners::ConnectionFilter;
use pingora_limits::rate::Rate;

use crate::observe::Count;

use super::Live;

/// What is counted in one go.
const SECOND: Duration = Duration::from_secs(1);
/// Of the sketch that counts: it has the same size for any number of addresses (256 KiB), and counts one too high only when all four of its
/// hashes meet those of others. With 8192 slots, 10,000 addresses a second that are within a limit of 10 do that to no one in practice.
const HASHES: usize = 4;
const SLOTS: usize = 8_192;

/// The address that a client is counted by. An IPv6 client has the last 64 bits of its address to itself.
pub(super) fn known_by(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (!0 << 64))),
        v4 => v4,
    }
}

/// A limit for each address, in memory that does not grow with their number.
pub(super) struct RatePerAddress {
    /// 0 is no limit.
    max: AtomicUsize,
    rate: Rate,
}

impl std::fmt::Debug for RatePerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RatePerAddress")
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

impl RatePerAddress {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: AtomicUsize::new(max),
            rate: Rate::new_with_estimator_config(SECOND, HASHES, SLOTS),
        }
    }

    pub(super) fn set(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Counts one more; the limit when that is too many.
    pub(super) fn take(&self, address: IpAddr) -> Result<(), usize> {
        let max = self.max.load(Ordering::Relaxed);
        if max == 0 {
            return Ok(());
        }
        let seen = self.rate.observe(&address, 1);
        match usize::try_from(seen) {
            Ok(seen) if seen > max => Err(max),
            _ => Ok(()),
        }
    }
}

/// Closes connections of an address that makes too many, before anything is read from them.
pub(super) struct AcceptRate {
    live: Live,
}

impl std::fmt::Debug for AcceptRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcceptRate").finish_non_exhaustive()
    }
}

#[async_trait]
impl ConnectionFilter for AcceptRate {
    async fn should_accept(&self, peer: Option<&std::net::SocketAddr>) -> bool {
        let Some(peer) = peer else { return true };
        let ip = peer.ip().to_canonical();
        let trusted = || {
            let config = self.live.config();
            config
                .trusted_proxies
                .iter()
                .any(|network| network.contains(ip))
        };
        let Err(_) = self.live.inner.accepts.take(known_by(ip)) else {
            return true;
        };
        if trusted() {
            return true;
        }
        self.live.counters().count(Count::ConnectionRefused);
        false
    }
}

impl Live {
    /// What bounds new connections of one address (`limits.accept_rate_per_ip`), for a pingora service: `service.set_connection_filter(…)`.
    pub fn accept_rate(&self) -> Arc<dyn ConnectionFilter> {
        Arc::new(AcceptRate { live: self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_known_by_what_they_cannot_choose() {
        let by = |text: &str| known_by(text.parse().unwrap()).to_string();
        assert_eq!(by("10.0.0.1"), "10.0.0.1");
        assert_eq!(by("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(by("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
