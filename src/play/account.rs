//! What is known of one play, and the line it leaves in the log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::info;

use crate::access::Traffic;
use crate::clients::{Card, Presence};
use crate::hub::{EndReason, Format};
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
    /// An operator ended it.
    Kicked,
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
            Self::Kicked => "kicked",
            Self::Stream(reason) => reason.name(),
            Self::Shutdown => "shutdown",
        }
    }
}

/// Counts for one player. Writes the play's line when it is dropped, so no way to end can miss it.
pub(super) struct Account {
    counters: Arc<Counters>,
    presence: Presence,
    format: &'static str,
    asked: Instant,
    first_byte: Option<Duration>,
    pub(super) bytes: u64,
    pub(super) units: u64,
    pub(super) skips: u64,
    /// Of the connection, where others count on it too.
    pub(super) traffic: Option<Arc<Traffic>>,
    pub(super) end: PlayEnd,
}

impl Account {
    /// For a player in `format` that asked at `asked`.
    pub(super) fn new(
        counters: Arc<Counters>,
        presence: Presence,
        format: Format,
        asked: Instant,
    ) -> Self {
        Self {
            counters,
            presence,
            format: format.name(),
            asked,
            first_byte: None,
            bytes: 0,
            units: 0,
            skips: 0,
            traffic: None,
            // What it is when nobody says otherwise: the runtime went away under it.
            end: PlayEnd::Shutdown,
        }
    }

    pub(super) fn card(&self) -> &Arc<Card> {
        self.presence.card()
    }

    /// Adds what was written; the time since it asked if these were its first bytes.
    pub(super) fn wrote(&mut self, bytes: usize) -> Option<Duration> {
        self.bytes += bytes as u64;
        if self.first_byte.is_some() {
            return None;
        }
        let after = self.asked.elapsed();
        self.first_byte = Some(after);
        self.card().note_first_byte(after);
        self.counters.first_byte(after);
        Some(after)
    }

    /// Lets those who ask see what it has been given so far.
    pub(super) fn note(&self) {
        self.card().note_play(self.bytes, self.units, self.skips);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.note();
        if let Some(traffic) = &self.traffic {
            traffic.sent.fetch_add(self.bytes, Ordering::Relaxed);
        }
        self.counters.play_ended(self.bytes, self.skips);
        match self.end {
            PlayEnd::Stalled => self.counters.count(Count::Stall),
            PlayEnd::Kicked => self.counters.count(Count::Kick),
            _ => {}
        }
        let Card { client, key, .. } = &**self.card();
        info!(
            target: "pingora_live::access",
            client = client.id,
            peer = %Peer(client.peer),
            vhost = key.vhost(),
            app = key.app(),
            stream = key.stream(),
            format = self.format,
            protocol = client.protocol,
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
