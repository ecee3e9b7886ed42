//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::observe::Reason;

use super::rate::{RatePerAddress, known_by};

/// Counts publishers, players (also those that wait), files and proxied requests that are under way against `limits.connections` and
/// `limits.connections_per_ip`. Connections that ask for nothing at the moment are counted by themselves, for each address only: they need
/// no more than a socket, and whoever takes many of those must not be in the way of others.
#[derive(Debug)]
pub(crate) struct Connections {
    max: AtomicUsize,
    max_per_ip: AtomicUsize,
    requests: RatePerAddress,
    /// Guards the counts; held for an addition.
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_ip: HashMap<IpAddr, usize>,
    idle: HashMap<IpAddr, usize>,
    turned_away: usize,
    turned_away_by_ip: HashMap<IpAddr, usize>,
}

/// The place of a connection that asks for nothing at the moment: in TLS's handshake, before its request. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Idle {
    connections: Arc<Connections>,
    ip: Option<IpAddr>,
}

impl Drop for Idle {
    fn drop(&mut self) {
        let mut counts = self.connections.counts.lock();
        fewer(&mut counts.idle, self.ip);
    }
}

/// One less, and nothing is kept of an address that has none.
fn fewer(counts: &mut HashMap<IpAddr, usize>, ip: Option<IpAddr>) {
    if let Some(ip) = ip
        && let Some(here) = counts.get_mut(&ip)
    {
        *here = here.saturating_sub(1);
        if *here == 0 {
            counts.remove(&ip);
        }
    }
}

/// A connection's place. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: Arc<Connections>,
    ip: Option<IpAddr>,
}

/// RTMP connections over the limit that are heard at a time, to be told so, or where to go: a few of the several hundred that come in a second
/// when a crowd does, since each takes a few round trips.
const MAX_TURNED_AWAY: usize = 256;
/// Of one address: one that hammers must not be the only one that is told.
const MAX_TURNED_AWAY_PER_IP: usize = 64;

/// Places beside the limit for other nodes that pull. Anybody can say that it is one, so they are few: a node pulls a stream once, whatever
/// the number of its players.
const PLACES_FOR_RELAYS: usize = 64;

/// The place of a connection over the limit. Given back when dropped.
#[derive(Debug)]
pub(crate) struct TurnedAway {
    connections: Arc<Connections>,
    ip: Option<IpAddr>,
}

impl Drop for TurnedAway {
    fn drop(&mut self) {
        let mut counts = self.connections.counts.lock();
        counts.turned_away = counts.turned_away.saturating_sub(1);
        fewer(&mut counts.turned_away_by_ip, self.ip);
    }
}

/// Which limit refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the server has {0} connections, which is its limit")]
    All(usize),
    #[error("this address has {0} connections, which is its limit")]
    Address(usize),
    #[error("this address asks more than {0} times a second, which is its limit")]
    Rate(usize),
}

impl Refusal {
    /// What is counted.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::All(_) | Self::Address(_) => Reason::Connections,
            Self::Rate(_) => Reason::Rate,
        }
    }
}

impl Connections {
    /// 0 means no limit.
    pub(crate) fn new(max: usize, max_per_ip: usize, request_rate_per_ip: usize) -> Arc<Self> {
        Arc::new(Self {
            max: AtomicUsize::new(max),
            max_per_ip: AtomicUsize::new(max_per_ip),
            requests: RatePerAddress::new(request_rate_per_ip),
            counts: Mutex::default(),
        })
    }

    pub(crate) fn admit(self: &Arc<Self>, peer: Option<SocketAddr>) -> Result<Admission, Refusal> {
        self.admit_beside(peer, 0)
    }

    /// As [`Connections::admit`], for what says that it is another node.
    pub(crate) fn admit_relay(
        self: &Arc<Self>,
        peer: Option<SocketAddr>,
    ) -> Result<Admission, Refusal> {
        self.admit_beside(peer, PLACES_FOR_RELAYS)
    }

    fn admit_beside(
        self: &Arc<Self>,
        peer: Option<SocketAddr>,
        beside: usize,
    ) -> Result<Admission, Refusal> {
        let max = self.max.load(Ordering::Relaxed);
        let max_per_ip = self.max_per_ip.load(Ordering::Relaxed);
        // Counted without a limit too: one may be set later.
        let ip = peer.map(|p| known_by(p.ip()));
        if let Some(ip) = ip {
            self.requests.take(ip).map_err(Refusal::Rate)?;
        }
        let mut counts = self.counts.lock();
        if max > 0 && counts.all >= max.saturating_add(beside) {
            return Err(Refusal::All(max));
        }
        if let Some(ip) = ip {
            let here = counts.by_ip.entry(ip).or_default();
            if max_per_ip > 0 && *here >= max_per_ip {
                return Err(Refusal::Address(max_per_ip));
            }
            *here += 1;
        }
        counts.all += 1;
        Ok(Admission {
            connections: Arc::clone(self),
            ip,
        })
    }

    /// Changes the limits; who is there already stays. 0 means no limit.
    pub(crate) fn set_limits(&self, max: usize, max_per_ip: usize, request_rate_per_ip: usize) {
        self.requests.set(request_rate_per_ip);
        self.max.store(max, Ordering::Relaxed);
        self.max_per_ip.store(max_per_ip, Ordering::Relaxed);
    }

    /// A place beside the limit, for as long as it takes to tell a client that there is none, or where there is.
    pub(crate) fn turn_away(self: &Arc<Self>, peer: Option<SocketAddr>) -> Option<TurnedAway> {
        let ip = peer.map(|p| known_by(p.ip()));
        let mut counts = self.counts.lock();
        if counts.turned_away >= MAX_TURNED_AWAY {
            return None;
        }
        if let Some(ip) = ip {
            let here = counts.turned_away_by_ip.entry(ip).or_default();
            if *here >= MAX_TURNED_AWAY_PER_IP {
                return None;
            }
            *here += 1;
        }
        counts.turned_away += 1;
        Some(TurnedAway {
            connections: Arc::clone(self),
            ip,
        })
    }

    /// A place for a connection that asks for nothing at the moment.
    pub(crate) fn idle(self: &Arc<Self>, peer: Option<SocketAddr>) -> Result<Idle, Refusal> {
        let max_per_ip = self.max_per_ip.load(Ordering::Relaxed);
        let ip = peer.map(|p| known_by(p.ip()));
        if let Some(ip) = ip {
            let mut counts = self.counts.lock();
            let here = counts.idle.entry(ip).or_default();
            if max_per_ip > 0 && *here >= max_per_ip {
                return Err(Refusal::Address(max_per_ip));
            }
            *here += 1;
        }
        Ok(Idle {
            connections: Arc::clone(self),
            ip,
        })
    }

    /// Connections admitted now, and how many may be; 0 is no limit.
    pub(crate) fn load(&self) -> (u64, u64) {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        (count(self.count()), count(self.max.load(Ordering::Relaxed)))
    }

    /// Connections admitted now.
    pub(crate) fn count(&self) -> usize {
        self.counts.lock().all
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut counts = self.connections.counts.lock();
        counts.all = counts.all.saturating_sub(1);
        fewer(&mut counts.by_ip, self.ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let connections = Connections::new(3, 2, 0);
        let a: SocketAddr = "10.0.0.1:1".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:2".parse().unwrap();
        let b: SocketAddr = "10.0.0.2:1".parse().unwrap();
        let first = connections.admit(Some(a)).unwrap();
        let _second = connections.admit(Some(mapped)).unwrap();
        assert_eq!(connections.admit(Some(a)).unwrap_err(), Refusal::Address(2));
        let third = connections.admit(Some(b)).unwrap();
        assert_eq!(connections.admit(None).unwrap_err(), Refusal::All(3));
        drop(first);
        let _fourth = connections.admit(Some(a)).unwrap();
        drop(third);
        assert_eq!(connections.count(), 2);
    }

    #[test]
    fn those_who_ask_for_nothing_are_counted_by_address() {
        let connections = Connections::new(1, 2, 0);
        let a: SocketAddr = "10.0.0.1:1".parse().unwrap();
        let b: SocketAddr = "10.0.0.2:1".parse().unwrap();
        let playing = connections.admit(Some(a)).unwrap();
        let first = connections.idle(Some(a)).unwrap();
        let _second = connections.idle(Some(a)).unwrap();
        assert_eq!(connections.idle(Some(a)).unwrap_err(), Refusal::Address(2));
        // Not against all: they would keep others out.
        let _other = connections.idle(Some(b)).unwrap();
        assert_eq!(connections.count(), 1);
        drop((first, playing));
        let _again = connections.idle(Some(a)).unwrap();
    }

    #[test]
    fn one_address_is_not_the_only_one_that_is_told() {
        let connections = Connections::new(1, 0, 0);
        let at = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        let mut told: Vec<_> = (0..MAX_TURNED_AWAY)
            .map_while(|_| connections.turn_away(at("10.0.0.1:1")))
            .collect();
        assert_eq!(told.len(), MAX_TURNED_AWAY_PER_IP);
        assert!(connections.turn_away(at("10.0.0.2:1")).is_some());
        told.pop();
        assert!(connections.turn_away(at("10.0.0.1:1")).is_some());
        drop(told);
        assert_eq!(connections.counts.lock().turned_away, 0);
        assert!(connections.counts.lock().turned_away_by_ip.is_empty());
    }

    #[test]
    fn one_address_asks_so_often_and_others_are_not_kept_out() {
        let connections = Connections::new(0, 0, 3);
        let at = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        let ask = |text: &str| connections.admit(at(text)).map(drop);
        for port in 1..=3 {
            assert_eq!(ask(&format!("[2001:db8::{port}]:{port}")), Ok(()));
        }
        assert_eq!(ask("[2001:db8::ffff]:9"), Err(Refusal::Rate(3)));
        assert_eq!(ask("[2001:db8:0:1::1]:1"), Ok(()));
        assert_eq!(ask("10.0.0.1:1"), Ok(()));
        connections.set_limits(0, 0, 0);
        assert_eq!(ask("[2001:db8::1]:1"), Ok(()));
    }
}
