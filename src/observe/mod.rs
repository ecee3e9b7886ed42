//! What happened, counted. Who wants to show it reads [`Counters::snapshot`].

mod denials;
mod histogram;
mod hooks;
mod process;
mod text;
mod turned_away;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use histogram::{Distribution, Histogram};
pub(crate) use process::Process;
pub(crate) use text::{Kind, Text};
pub(crate) use turned_away::{Asked, Reason};

pub use denials::{Denial, Denials};
pub use hooks::{HookCounts, Hooks};

/// Counts since the server began. Each is touched when a session begins or ends, or on a rare event; never for a frame or a write.
#[derive(Debug, Default)]
pub struct Counters {
    publishes: AtomicU64,
    publishes_refused: AtomicU64,
    plays: AtomicU64,
    plays_refused: AtomicU64,
    plays_not_found: AtomicU64,
    connections_refused: AtomicU64,
    protocol_errors: AtomicU64,
    skips: AtomicU64,
    stalls: AtomicU64,
    kicks: AtomicU64,
    tls_http: AtomicU64,
    tls_rtmp: AtomicU64,
    tls_failed: AtomicU64,
    tls_late: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    recordings: AtomicU64,
    recording_bytes: AtomicU64,
    recording_errors: AtomicU64,
    files: AtomicU64,
    file_ranges: AtomicU64,
    file_bytes: AtomicU64,
    proxy_headers_refused: AtomicU64,
    pulls: AtomicU64,
    pulls_failed: AtomicU64,
    origins_lost: AtomicU64,
    failovers: AtomicU64,
    pushes: AtomicU64,
    pushes_failed: AtomicU64,
    forward_asks_failed: AtomicU64,
    relay_loops: AtomicU64,
    denials: Denials,
    plays_redirected: AtomicU64,
    plays_overflowed: AtomicU64,
    plays_proxied: AtomicU64,
    registry_lookups: AtomicU64,
    registry_errors: AtomicU64,
    registry_away: AtomicU64,
    leases_lost: AtomicU64,
    players_carried: AtomicU64,
    transcodes: AtomicU64,
    transcode_errors: AtomicU64,
    transcode_lost: AtomicU64,
    first_byte: Histogram,
    turned_away: turned_away::TurnedAway,
    proxied: AtomicU64,
    proxied_bytes: AtomicU64,
    proxy_retries: AtomicU64,
    proxy_failures: AtomicU64,
    hooks: Hooks,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Publishes that began.
    pub publishes: u64,
    /// Publishes that were refused: busy, a limit, a name, a disabled vhost.
    pub publishes_refused: u64,
    /// Plays that began.
    pub plays: u64,
    /// Plays that a limit refused.
    pub plays_refused: u64,
    /// Plays of a stream that was not there, or did not come in time.
    pub plays_not_found: u64,
    /// RTMP connections that a limit refused.
    pub connections_refused: u64,
    /// Publishers that broke the protocol or a media format.
    pub protocol_errors: u64,
    /// Times that a player fell behind and skipped to a keyframe; of plays that ended.
    pub skips: u64,
    /// Players that were ended because their socket took nothing.
    pub stalls: u64,
    /// Publishers and players that an operator ended.
    pub kicks: u64,
    /// TLS handshakes that were completed by the HTTP service.
    pub tls_http: u64,
    /// And by the RTMP service.
    pub tls_rtmp: u64,
    /// TLS handshakes that failed: what came was no TLS, the two sides had nothing in common, or the client left.
    pub tls_failed: u64,
    /// TLS handshakes that were not finished in [`TLS_HANDSHAKE`](crate::tls::TLS_HANDSHAKE).
    pub tls_late: u64,
    /// Bytes of media from publishers that ended.
    pub bytes_in: u64,
    /// Bytes to players that ended.
    pub bytes_out: u64,
    /// Files of recordings that were finished.
    pub recordings: u64,
    /// Their bytes.
    pub recording_bytes: u64,
    /// Times that a recording could not be begun, written or closed, or lost frames.
    pub recording_errors: u64,
    /// Requests for files below `http.root` that were answered, whatever with.
    pub files: u64,
    /// Those that asked for a part of a file and were given it.
    pub file_ranges: u64,
    /// Bytes of files that were sent.
    pub file_bytes: u64,
    /// Connections that were closed where the PROXY protocol is spoken: without a good header, or of a peer that is not trusted.
    pub proxy_headers_refused: u64,
    /// Players that were sent to the node that has their stream.
    pub plays_redirected: u64,
    /// Players that were sent to another server because a limit was reached here.
    pub plays_overflowed: u64,
    /// Players whose requests were proxied to the node that has their stream.
    pub plays_proxied: u64,
    /// Times that the registry was asked who has a stream.
    pub registry_lookups: u64,
    /// Times that the registry did not answer, or could not.
    pub registry_errors: u64,
    /// 1 while the registry is away, else 0.
    pub registry_away: u64,
    /// Streams that another node took while they were published here.
    pub leases_lost: u64,
    /// Players that stayed when another node took their stream, and went on with a pull from there.
    pub players_carried: u64,
    /// Conversions of AAC to MP3 that began: one for a stream, however many players it has.
    pub transcodes: u64,
    /// Frames that could not be converted, and became silence; and conversions that could not begin.
    pub transcode_errors: u64,
    /// Frames that were lost because a conversion did not keep up.
    pub transcode_lost: u64,
    /// Requests that a route sent to an upstream.
    pub proxied: u64,
    /// Bytes of their responses' bodies, of those that ended.
    pub proxied_bytes: u64,
    /// Times that another server of an upstream was tried.
    pub proxy_retries: u64,
    /// Requests to an upstream that no server answered.
    pub proxy_failures: u64,
    /// Pulls of streams from origins that began.
    pub pulls: u64,
    /// Times that no origin gave the stream of a pull, or none was well.
    pub pulls_failed: u64,
    /// Times that the origin of a pull was lost: its connection broke, or no frame came for `stall`.
    pub origins_lost: u64,
    /// Times that a pull went on from another origin.
    pub failovers: u64,
    /// Pushes of streams to other servers that were accepted, again after a failure included.
    pub pushes: u64,
    /// Times that a push broke or was refused.
    pub pushes_failed: u64,
    /// Times that the back end of `forward.backend` did not say where to push a stream.
    pub forward_asks_failed: u64,
    /// Plays, publishes and requests for an upstream that were refused since they had come through this node already.
    pub relay_loops: u64,
}

/// What can be counted, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Publish,
    PublishRefused,
    Play,
    PlayRefused,
    PlayNotFound,
    ConnectionRefused,
    ProtocolError,
    Stall,
    Kick,
    TlsHttp,
    TlsRtmp,
    TlsFailed,
    TlsLate,
    RecordingError,
    File,
    FileRange,
    Pull,
    PullFailed,
    OriginLost,
    Failover,
    Push,
    PushFailed,
    ForwardAskFailed,
    RelayLoop,
    ProxyHeaderRefused,
    PlayRedirected,
    PlayOverflowed,
    PlayProxied,
    RegistryLookup,
    RegistryError,
    LeaseLost,
    #[cfg(feature = "transcode")]
    Transcode,
    #[cfg(feature = "transcode")]
    TranscodeError,
    #[cfg(feature = "transcode")]
    TranscodeLost,
    Proxied,
    ProxyRetry,
    ProxyFailed,
}

impl Counters {
    pub(crate) fn count(&self, what: Count) {
        let counter = match what {
            Count::Publish => &self.publishes,
            Count::PublishRefused => &self.publishes_refused,
            Count::Play => &self.plays,
            Count::PlayRefused => &self.plays_refused,
            Count::PlayNotFound => &self.plays_not_found,
            Count::ConnectionRefused => &self.connections_refused,
            Count::ProtocolError => &self.protocol_errors,
            Count::Stall => &self.stalls,
            Count::Kick => &self.kicks,
            Count::TlsHttp => &self.tls_http,
            Count::TlsRtmp => &self.tls_rtmp,
            Count::TlsFailed => &self.tls_failed,
            Count::TlsLate => &self.tls_late,
            Count::RecordingError => &self.recording_errors,
            Count::File => &self.files,
            Count::FileRange => &self.file_ranges,
            Count::Pull => &self.pulls,
            Count::PullFailed => &self.pulls_failed,
            Count::OriginLost => &self.origins_lost,
            Count::Failover => &self.failovers,
            Count::Push => &self.pushes,
            Count::PushFailed => &self.pushes_failed,
            Count::ForwardAskFailed => &self.forward_asks_failed,
            Count::RelayLoop => &self.relay_loops,
            Count::ProxyHeaderRefused => &self.proxy_headers_refused,
            Count::PlayRedirected => &self.plays_redirected,
            Count::PlayOverflowed => &self.plays_overflowed,
            Count::PlayProxied => &self.plays_proxied,
            Count::RegistryLookup => &self.registry_lookups,
            Count::RegistryError => &self.registry_errors,
            Count::LeaseLost => &self.leases_lost,
            #[cfg(feature = "transcode")]
            Count::Transcode => &self.transcodes,
            #[cfg(feature = "transcode")]
            Count::TranscodeError => &self.transcode_errors,
            #[cfg(feature = "transcode")]
            Count::TranscodeLost => &self.transcode_lost,
            Count::Proxied => &self.proxied,
            Count::ProxyRetry => &self.proxy_retries,
            Count::ProxyFailed => &self.proxy_failures,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn denied(&self, why: Denial) {
        self.denials.count(why);
    }

    /// How many clients were refused, by reason.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Callbacks.
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    pub(crate) fn play_ended(&self, bytes: u64, skips: u64) {
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        self.skips.fetch_add(skips, Ordering::Relaxed);
    }

    /// Somebody was turned away.
    pub(crate) fn turned_away(&self, asked: Asked, why: Reason) {
        self.turned_away.count(asked, why);
    }

    /// Action, reason and count of those who were turned away.
    pub(crate) fn all_turned_away(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.turned_away.read()
    }

    /// A player got its first byte so long after it asked.
    pub(crate) fn first_byte(&self, after: Duration) {
        self.first_byte.record(after);
    }

    pub(crate) fn first_bytes(&self) -> Distribution {
        self.first_byte.read()
    }

    pub(crate) fn publish_ended(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn recording_ended(&self, bytes: u64) {
        self.recordings.fetch_add(1, Ordering::Relaxed);
        self.recording_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn file_ended(&self, bytes: u64) {
        self.file_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn registry_away(&self, away: bool) {
        self.registry_away.store(u64::from(away), Ordering::Relaxed);
    }

    pub(crate) fn players_carried(&self, players: u64) {
        self.players_carried.fetch_add(players, Ordering::Relaxed);
    }

    pub(crate) fn proxied(&self, bytes: u64) {
        self.proxied_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The counts now. Each is exact; together they may be a moment apart.
    pub fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            publishes: get(&self.publishes),
            publishes_refused: get(&self.publishes_refused),
            plays: get(&self.plays),
            plays_refused: get(&self.plays_refused),
            plays_not_found: get(&self.plays_not_found),
            connections_refused: get(&self.connections_refused),
            protocol_errors: get(&self.protocol_errors),
            skips: get(&self.skips),
            stalls: get(&self.stalls),
            kicks: get(&self.kicks),
            tls_http: get(&self.tls_http),
            tls_rtmp: get(&self.tls_rtmp),
            tls_failed: get(&self.tls_failed),
            tls_late: get(&self.tls_late),
            bytes_in: get(&self.bytes_in),
            bytes_out: get(&self.bytes_out),
            recordings: get(&self.recordings),
            recording_bytes: get(&self.recording_bytes),
            recording_errors: get(&self.recording_errors),
            files: get(&self.files),
            file_ranges: get(&self.file_ranges),
            file_bytes: get(&self.file_bytes),
            pulls: get(&self.pulls),
            pulls_failed: get(&self.pulls_failed),
            origins_lost: get(&self.origins_lost),
            failovers: get(&self.failovers),
            pushes: get(&self.pushes),
            pushes_failed: get(&self.pushes_failed),
            forward_asks_failed: get(&self.forward_asks_failed),
            relay_loops: get(&self.relay_loops),
            proxy_headers_refused: get(&self.proxy_headers_refused),
            plays_redirected: get(&self.plays_redirected),
            plays_overflowed: get(&self.plays_overflowed),
            plays_proxied: get(&self.plays_proxied),
            registry_lookups: get(&self.registry_lookups),
            registry_errors: get(&self.registry_errors),
            registry_away: get(&self.registry_away),
            leases_lost: get(&self.leases_lost),
            players_carried: get(&self.players_carried),
            transcodes: get(&self.transcodes),
            transcode_errors: get(&self.transcode_errors),
            transcode_lost: get(&self.transcode_lost),
            proxied: get(&self.proxied),
            proxied_bytes: get(&self.proxied_bytes),
            proxy_retries: get(&self.proxy_retries),
            proxy_failures: get(&self.proxy_failures),
        }
    }
}
