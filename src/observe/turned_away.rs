//! Who was turned away, and why.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Denial;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Publish,
    Play,
    /// An RTMP connection, before it said what it wants.
    Connect,
    File,
    /// What a route sends to an upstream.
    Proxy,
}

impl Asked {
    const ALL: [Self; 5] = [
        Self::Publish,
        Self::Play,
        Self::Connect,
        Self::File,
        Self::Proxy,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Play => "play",
            Self::Connect => "connect",
            Self::File => "file",
            Self::Proxy => "proxy",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)*) => {
        /// Why it was denied. The names are those of the metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Reason {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Reason {
            const ALL: &[(Self, &'static str)] = &[$((Self::$name, $text),)*];
        }
    };
}

reasons! {
    /// `limits.connections` or `limits.connections_per_ip`.
    Connections = "connections",
    /// `limits.request_rate_per_ip`.
    Rate = "request_rate",
    /// `limits.players_per_stream`.
    Players = "players_per_stream",
    /// `limits.streams`.
    Streams = "streams",
    /// The stream has a publisher.
    Busy = "busy",
    /// The name is none, or the vhost is off.
    Name = "name",
    /// The stream is not there, and did not come in time.
    NotFound = "not_found",
    /// The stream has nothing for the format that was asked for.
    Format = "format",
    /// An operator blocked the stream, or ended a player that waited.
    Blocked = "blocked",
    /// Another node has the stream, or takes the player.
    Elsewhere = "elsewhere",
    /// An edge: no origin gives it, or takes it.
    Origin = "origin",
    /// It is a relay that has come through this node already.
    Loop = "loop",
    /// `security`: its address.
    Address = "address",
    /// `refer`: the page that it came from.
    Refer = "refer",
    /// `tokens`: its URL is not signed.
    TokenMissing = "token_missing",
    /// `tokens`: the signature is wrong.
    TokenWrong = "token_wrong",
    /// `tokens`: it has expired.
    TokenExpired = "token_expired",
    /// `tokens`: it was used too often.
    TokenUsed = "token_used",
    /// `http_hooks`: a back end said no.
    Hook = "hook",
    /// `http_hooks`: a back end did not answer.
    HookFailed = "hook_failed",
    /// The server shuts down.
    Shutdown = "shutdown",
}

impl From<Denial> for Reason {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Address => Self::Address,
            Denial::Refer => Self::Refer,
            Denial::TokenMissing => Self::TokenMissing,
            Denial::TokenWrong => Self::TokenWrong,
            Denial::TokenExpired => Self::TokenExpired,
            Denial::TokenUsed => Self::TokenUsed,
            Denial::Hook => Self::Hook,
            Denial::HookFailed => Self::HookFailed,
        }
    }
}

const REASONS: usize = Reason::ALL.len();

/// Counts of turned_away. Touched once for each.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    counts: [[AtomicU64; REASONS]; Asked::ALL.len()],
}

impl TurnedAway {
    pub(super) fn count(&self, asked: Asked, why: Reason) {
        let row = self.counts.get(asked as usize);
        if let Some(count) = row.and_then(|row| row.get(why as usize)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Action, reason and count of each.
    pub(super) fn read(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut read = Vec::new();
        for (asked, row) in Asked::ALL.iter().zip(&self.counts) {
            for ((_, reason), count) in Reason::ALL.iter().zip(row) {
                read.push((asked.name(), *reason, count.load(Ordering::Relaxed)));
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_under_its_names() {
        let turned_away = TurnedAway::default();
        for (why, _) in Reason::ALL {
            turned_away.count(Asked::Play, *why);
        }
        turned_away.count(Asked::Play, Reason::Shutdown);
        for (asked, reason, count) in turned_away.read() {
            let expected = match (asked, reason) {
                ("play", "shutdown") => 2,
                ("play", _) => 1,
                _ => 0,
            };
            assert_eq!(count, expected, "{asked} {reason}");
        }
    }
}
