//! What is known of one play, and the line it leaves in the log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use crate::hub::{EndReason, StreamKey};
use crate::observe::{Count, Counters};

/// Why a play ended. The names are those of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlayEnd {
    /// The player closed, or its connection broke.
    ClientLeft,
    /// Its socket took nothing for `limits.player_stall`.
    Stalled,
    /// The URL that let it in expired (`tokens.play.on_expiry`).
    Expired,
    /// The stream ended.
    Stream(EndReason),
    /// The runtime was torn down under it.
    Shutdown,
}

impl PlayEnd {
    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientLeft => "client_left",
            Self::Stalled => "stalled",
            Self::Expired => "expired",
            Self::Stream(reason) => reason.name(),
            Self::Shutdown => "shutdown",
        }
    }
}

/// Counts for one player. Writes the play's line when it is dropped, so no way to end can miss it.
pub(super) struct Account {
    pub(super) counters: Arc<Counters>,
    pub(super) client: u64,
    pub(super) peer: Option<SocketAddr>,
    pub(super) key: StreamKey,
    pub(super) format: &'static str,
    pub(super) protocol: &'static str,
    pub(super) asked: Instant,
    pub(super) first_byte: Option<Duration>,
    pub(super) bytes: u64,
    pub(super) units: u64,
    pub(super) skips: u64,
    pub(super) end: PlayEnd,
}

impl Account {
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.first_byte.is_none() {
            self.first_byte = Some(self.asked.elapsed());
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.counters.play_ended(self.bytes, self.skips);
        if self.end == PlayEnd::Stalled {
            self.counters.count(Count::Stall);
        }
        info!(
            target: "pingora_live::access",
            client = self.client,
            peer = %Peer(self.peer),
            vhost = self.key.vhost(),
            app = self.key.app(),
            stream = self.key.stream(),
            format = self.format,
            protocol = self.protocol,
            duration_ms = millis(self.asked.elapsed()),
            first_byte_ms = self.first_byte.map(millis),
            bytes = self.bytes,
            units = self.units,
            skips = self.skips,
            reason = self.end.name(),
            "play ended"
        );
    }
}

/// An address, or `-` for what has none (a socket pair in a test). Proxies often tell no port of a client: it is left out then.
pub(crate) struct Peer(pub(crate) Option<SocketAddr>);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(addr) if addr.port() == 0 => addr.ip().fmt(f),
            Some(addr) => addr.fmt(f),
            None => f.write_str("-"),
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
