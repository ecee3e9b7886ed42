//! The keys under `live:`, each declared once.
//!
//! The doc comments are the manual: they stand in the crate's documentation, in the reference file `config/live.yaml`
//! and (their first sentence) in the table of `docs/configuration.md`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::access::{Refer, Security, Tokens};
use super::access_kinds::{Crossdomain, Origins};
use super::api::Api;
use super::cidr::{Network, Networks};
use super::cluster::{BaseUrl, NodeKeys, Overflow, Registry};
use super::http_hooks::HttpHooks;
use super::kinds::{
    FilePath, FolderPath, HostNames, Int, Listen, Mounts, Recordings, Size, Switch, Time, one_of,
    words,
};
use super::mount::{Extension, Mount};
use super::proxying::{ForwardedHeader, Route, Upstream, upstream_name};
use super::recording_path::RecordingPath;
use super::relay::{Cluster, Forward};
use super::schema::section;
use super::sections::{Item, Named, items, nested, optional, optional_items, or_word};
use super::{DEFAULT_VHOST, EXAMPLE_UPSTREAM};

/// Port 1935 is registered for RTMP; 1936 is what encoders take for RTMPS beside it.
const RTMP_PORT: u16 = 1935;
const RTMPS_PORT: u16 = 1936;
/// 8080 and 8443, since 80 and 443 need privileges and are often taken.
const HTTP_PORT: u16 = 8080;
const HTTPS_PORT: u16 = 8443;

/// RTMP 1.0 §5.4.1 asks for at least 128. Above 65536 nothing is gained (a chunk's header is one byte), and players
/// that take the value for 16 bits break.
const MIN_CHUNK: u32 = 128;
const MAX_CHUNK: u32 = 65_536;

/// The greatest number that a limit of a count may have: more than file descriptors on any machine.
const MAX_COUNT: u32 = 100_000_000;
/// The most frames that may be asked to be kept: at 60 fps an hour, far above what `stream_memory` lets stay.
const MAX_GOP_FRAMES: u32 = 1_000_000;

/// RFC 1035 §2.3.4: the longest host name, in its written form.
const MAX_HOST_BYTES: usize = 253;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const ZERO: Duration = Duration::ZERO;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const NO_LIMIT: &str = "no limit";

fn any_address(port: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)]
}

section! {
    /// Everything under `live:`.
    pub struct Live {
        /// RTMP: where broadcasters publish.
        rtmp: Rtmp = Rtmp::default() => nested(),
        /// HTTP: where players play. All that is not a live stream goes on to pingora's proxy.
        http: Http = Http::default() => nested(),
        /// The same over TLS. Absent until it is given certificates.
        https: Option<Https> = None => optional(),
        /// Proxies whose word counts for who asks (`X-Forwarded-For`, `Forwarded`, and the PROXY protocol where it is switched
        /// on): networks and addresses. Set it to the addresses of the CDN or load balancer in front, and to no more: whoever is
        /// in this list can claim any address. Limits, rules and logs then see the client instead of the proxy.
        trusted_proxies: Vec<Network> = Vec::new() => Networks,
        /// Which header of trusted proxies tells who asks. Name the one that the proxies write, since they may pass on the other
        /// as a client sent it.
        forwarded_header: ForwardedHeader = ForwardedHeader::Any => one_of(),
        /// The API, the metrics and the signs of life.
        api: Api = Api::default() => nested(),
        /// Servers for all that is not live, by a name of your own. With `routes`, the listeners for players are a reverse proxy as
        /// well: for a web site, an API, an HLS origin, another streaming server. From the environment, keys apply to all of them,
        /// and where there is none, they make one with the name `web`.
        upstreams: BTreeMap<String, Upstream> = BTreeMap::new() => Named {
            variable: "UPSTREAM",
            name: upstream_name,
            accepted: "a name of letters, digits, and . - _",
            example: EXAMPLE_UPSTREAM,
            section: std::marker::PhantomData,
        },
        /// Which requests go to which upstream. Streams come first where they are published, then these, then files and the
        /// player page; a route with `path: /` comes after files.
        routes: Vec<Route> = Vec::new() => optional_items(),
        /// What peers may take at most. What is over a limit is refused, logged and counted.
        limits: Limits = Limits::default() => nested(),
        /// Who has which stream, in a cluster of nodes. `memory` is a node alone; a mapping names the Redis that the nodes share.
        registry: Option<Registry> = None => or_word("memory"),
        /// This node, as the others and their players know it. Without a registry in Redis, nobody asks for it.
        node: NodeKeys = NodeKeys::default() => nested(),
        /// The log, on stderr.
        log: Log = Log::default() => nested(),
        /// Settings by host name. A host that is not named here has those of `__defaultVhost__`.
        ///
        /// Each vhost stands alone, as in SRS: what it does not set has the built-in default, not the value of
        /// `__defaultVhost__`. To share settings, use YAML's anchors: `__defaultVhost__: &base { … }`, then
        /// `live.example.com: { <<: *base, enabled: on }`.
        vhosts: BTreeMap<String, Vhost> = default_vhosts() => Named {
            variable: "VHOST",
            name: vhost_name,
            accepted: "a host name such as live.example.com, or __defaultVhost__",
            example: DEFAULT_VHOST,
            section: std::marker::PhantomData,
        },
    }
}

section! {
    /// RTMP ingest.
    pub struct Rtmp {
        /// Addresses on which broadcasters publish. An empty list switches plain RTMP off. Change it to serve one
        /// interface only, or IPv6: `"[::]:1935"`.
        listen: Vec<SocketAddr> = any_address(RTMP_PORT) => Listen,
        /// Connections begin with a header of the PROXY protocol (version 1 or 2), as HAProxy, nginx's `stream` and the load
        /// balancers of clouds send it: it says who the client is. Only for listeners that nobody reaches but such a proxy: needs
        /// `trusted_proxies`, and connections from elsewhere, or without the header, are closed.
        proxy_protocol: bool = false => Switch,
        /// Size in bytes of the chunks that the server sends. Publishers choose their own. Larger chunks mean less
        /// work for large messages; smaller ones let audio pass between the parts of a large video frame, and cost a
        /// header each.
        chunk_size: u32 = 60_000 => Int { range: MIN_CHUNK..=MAX_CHUNK, zero: "" },
        /// RTMPS: RTMP over TLS. Absent until it is given a certificate.
        tls: Option<RtmpTls> = None => optional(),
    }
}

section! {
    /// RTMP over TLS.
    pub struct RtmpTls {
        /// Addresses on which broadcasters publish over TLS.
        listen: Vec<SocketAddr> = any_address(RTMPS_PORT) => Listen,
        /// Connections begin with a header of the PROXY protocol (version 1 or 2), before TLS, as HAProxy, nginx's `stream` and the load
        /// balancers of clouds send it: it says who the client is. Only for listeners that nobody reaches but such a proxy: needs
        /// `trusted_proxies`, and connections from elsewhere, or without the header, are closed.
        proxy_protocol: bool = false => Switch,
        /// File with the certificate chain in PEM, the server's own first. Required.
        cert: PathBuf = PathBuf::new() => FilePath { example: "config/server.crt" },
        /// File with the private key in PEM, without a passphrase. Required.
        key: PathBuf = PathBuf::new() => FilePath { example: "config/server.key" },
    }
}

section! {
    /// HTTP playback without TLS.
    pub struct Http {
        /// Addresses on which players are served. An empty list switches plain HTTP off.
        listen: Vec<SocketAddr> = any_address(HTTP_PORT) => Listen,
        /// Connections begin with a header of the PROXY protocol (version 1 or 2), as HAProxy, nginx's `stream` and the load
        /// balancers of clouds send it: it says who the client is. Only for listeners that nobody reaches but such a proxy: needs
        /// `trusted_proxies`, and connections from elsewhere, or without the header, are closed.
        proxy_protocol: bool = false => Switch,
        /// Let web pages of other origins play the streams (CORS headers, answers to OPTIONS). Switch it off when
        /// pages of other sites shall not embed them, or list the origins whose pages may (`["https://example.com"]`);
        /// native players never ask.
        crossdomain: Crossdomain = Crossdomain::Any => Origins,
        /// Accept HTTP/2 without TLS, by prior knowledge, beside HTTP/1. Switch it off where only browsers play: they
        /// never use it.
        h2c: bool = true => Switch,
        /// Folder of files that are served by HTTP and HTTPS where no stream is: recordings on demand, a page of one's
        /// own. Its `index.html` replaces the player page. Hidden files, and links that lead out of it, are not served.
        /// FLV files can be asked for from a keyframe on, by `?start=` in bytes or `?start_ms=`. null serves none.
        root: Option<PathBuf> = None => FolderPath,
    }
}

section! {
    /// HTTP playback over TLS.
    pub struct Https {
        /// Addresses on which players are served over TLS.
        listen: Vec<SocketAddr> = any_address(HTTPS_PORT) => Listen,
        /// Connections begin with a header of the PROXY protocol (version 1 or 2), before TLS, as HAProxy, nginx's `stream` and the load
        /// balancers of clouds send it: it says who the client is. Only for listeners that nobody reaches but such a proxy: needs
        /// `trusted_proxies`, and connections from elsewhere, or without the header, are closed.
        proxy_protocol: bool = false => Switch,
        /// Certificates, chosen by the name that the client asks for (SNI); the first one serves all other names, and
        /// clients that name none. Required.
        certs: Vec<Cert> = Vec::new() => items(),
        /// Offer HTTP/2 (ALPN). Browsers open at most six HTTP/1 connections to a host, so pages with many players
        /// need it; HTTP/1 costs a little less for each player.
        http2: bool = true => Switch,
    }
}

section! {
    /// A certificate and its key.
    pub struct Cert {
        /// File with the certificate chain in PEM, the server's own first. Required.
        cert: PathBuf = PathBuf::new() => FilePath { example: "config/server.crt" },
        /// File with the private key in PEM, without a passphrase. Required.
        key: PathBuf = PathBuf::new() => FilePath { example: "config/server.key" },
        /// Host names for which it is used; "*.example.com" stands for one label. May be left out for the first.
        names: Vec<String> = Vec::new() => HostNames,
    }
}

impl Item for Cert {
    const IN_ENVIRONMENT: &'static str = "one pair as cert.pem:key.pem";

    fn from_environment(text: &str) -> Option<Self> {
        let (cert, key) = text.split_once(':')?;
        if cert.is_empty() || key.is_empty() || key.contains(':') || text.contains('\0') {
            return None;
        }
        Some(Cert {
            cert: cert.into(),
            key: key.into(),
            names: Vec::new(),
        })
    }
}

section! {
    /// Bounds on what peers take.
    pub struct Limits {
        /// Publishers, players, and files and proxied requests that are under way, together; 0 is no limit. Each request of an HTTP/2
        /// connection is one of them. Each connection needs a file descriptor, so the hard limit of open files (`ulimit -Hn`) should be above it.
        connections: u32 = 20_000 => Int { range: 0..=MAX_COUNT, zero: NO_LIMIT },
        /// Those of one address; 0 is no limit. As many of its connections may ask for nothing at the moment, be it in TLS's handshake, before
        /// their first request or between two; more are closed, but for those of `trusted_proxies`. Set it when the server faces the open network and no proxy
        /// stands before it; whole companies and mobile networks share one address. An IPv6 client is known by the first 64 bits of its
        /// address, in all limits for addresses: the rest is its own to choose.
        connections_per_ip: u32 = 0 => Int { range: 0..=MAX_COUNT, zero: NO_LIMIT },
        /// New connections in a second from one address; 0 is no limit. Those beyond are closed unheard, before TLS; peers of
        /// `trusted_proxies` are let off, since they come for many. It keeps one client from taking the server's time from the others.
        accept_rate_per_ip: u32 = 0 => Int { range: 0..=MAX_COUNT, zero: NO_LIMIT },
        /// Plays, publishes, files and proxied requests that one address may ask for in a second; 0 is no limit. Those beyond get 503 with
        /// `Retry-After`. A page that plays asks once for each stream; a site behind `routes`, for each part of a page.
        request_rate_per_ip: u32 = 0 => Int { range: 0..=MAX_COUNT, zero: NO_LIMIT },
        /// What a publisher may send, in kilobits a second, on average over 5 s; 0 is no limit. One that sends more is ended. Encoders
        /// that send a file as fast as they can are over any limit.
        publish_kbps: u32 = 0 => Int { range: 0..=MAX_COUNT, zero: NO_LIMIT },
        /// Players of one stream; 0 is no limit. Set it to what the uplink carries.
        players_per_stream: u32 = 0 => Int { range: 0..=MAX_COUNT, zero: NO_LIMIT },
        /// Streams that are published at a time; 0 is no limit. Each may hold `stream_memory`.
        streams: u32 = 0 => Int { range: 0..=MAX_COUNT, zero: NO_LIMIT },
        /// Callbacks that may be asked at a time of one back end; more wait for their turn, within `http_hooks.timeout`.
        hook_requests: u32 = 64 => Int { range: 1..=10_000, zero: "" },
        /// Callbacks that may wait for a back end that is to be told; the oldest are dropped beyond, and counted.
        hook_queue: u32 = 10_000 => Int { range: 1..=1_000_000, zero: "" },
        /// Memory that one stream may hold for each output format: what is kept since the last keyframe for players
        /// that join, and for players that are behind. A high bitrate with keyframes far apart needs more; when it is
        /// too small, players join without the newest keyframe's past or skip sooner.
        stream_memory: u64 = 32 * MIB => Size { range: MIB..=64 * GIB },
        /// Bytes that the kernel may hold for one player. Larger suits fast connections with long round trips;
        /// it costs memory for each slow player, and what lies there is late already.
        send_buffer: u64 = 512 * KIB => Size { range: 16 * KIB..=64 * MIB },
        /// How long a player's connection may take nothing before it is ended.
        player_stall: Duration = secs(10) => Time { range: secs(1)..=secs(600), zero: "" },
        /// Servers to which players are sent that are over `connections` or `players_per_stream`, in turn, by 302 and RTMP's redirect:
        /// `[http://cdn.example, rtmp://b.example]`. The stream's path and query are appended. Without any, they get 503.
        overflow: Vec<BaseUrl> = Vec::new() => Overflow,
    }
}

section! {
    /// The log.
    pub struct Log {
        /// The least important messages that are logged. `debug` and `trace` are dear on a busy server.
        level: LogLevel = LogLevel::Info => one_of(),
        /// The form of the messages on stderr.
        format: LogFormat = LogFormat::Text => one_of(),
    }
}

words! {
    /// How important a message has to be to be logged.
    pub enum LogLevel {
        /// What needs an operator.
        Error = "error",
        /// What is odd.
        Warn = "warn",
        /// Publishers and players that come and go.
        Info = "info",
        /// The steps of each connection.
        Debug = "debug",
        /// Each message.
        Trace = "trace",
    }
}

words! {
    /// The form of the log.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// For collectors: an object a line.
        Json = "json",
    }
}

section! {
    /// The settings of one host.
    pub struct Vhost {
        /// Whether the vhost is served. One that is off refuses publishers and players; it does not fall back to
        /// `__defaultVhost__`.
        enabled: bool = true => Switch,
        /// Playing what was published by RTMP over HTTP.
        http_remux: HttpRemux = HttpRemux::default() => nested(),
        /// What players get.
        play: Play = Play::default() => nested(),
        /// What publishers have to keep to.
        publish: Publish = Publish::default() => nested(),
        /// Recording of streams into FLV files.
        dvr: Dvr = Dvr::default() => nested(),
        /// Who may, by address.
        security: Security = Security::default() => nested(),
        /// Who may, by the page that asks.
        refer: Refer = Refer::default() => nested(),
        /// Who may, by a signed URL.
        tokens: Tokens = Tokens::default() => nested(),
        /// Where the streams come from: published here, or pulled from origins.
        cluster: Cluster = Cluster::default() => nested(),
        /// Pushing streams on to other servers.
        forward: Forward = Forward::default() => nested(),
        /// A back end that is asked who may, and told what happened.
        http_hooks: HttpHooks = HttpHooks::default() => nested(),
    }
}

section! {
    /// Playing over HTTP.
    pub struct HttpRemux {
        /// Whether the streams of this vhost are played over HTTP at all.
        enabled: bool = true => Switch,
        /// Paths under which streams are played, one or more for each format, matched segment by segment. The ending
        /// says the format: `.flv`, `.ts`, `.aac`, `.mp3`. A whole segment `[app]` may stand for
        /// several; `[vhost]/` at the front may be left out of an address when it is the address's own host. Of several
        /// that match a path, the one with the most text of its own is meant.
        /// One template may be given as `mount`.
        mounts | mount: Vec<Mount> = Extension::ALL.map(Mount::of).to_vec() => Mounts,
        /// How much audio a player of `.aac` and `.mp3` is given at once when it joins. Some phones play only after
        /// they have many seconds; it costs that much memory, and that much latency. `.flv` and `.ts` begin at the
        /// newest keyframe and ignore it.
        fast_cache: Duration = ZERO => Time { range: ZERO..=secs(120), zero: "" },
        /// Bit rate, in kbit/s, of `.mp3` when the stream's sound is AAC and has to be converted: for two channels at 32 kHz or more.
        /// One channel gets half of it, a sampling rate below 32 kHz too. More is nearer to the original and costs bandwidth.
        /// MP3 that was published passes through as it is. A conversion takes a hundredth of a processor, once a stream,
        /// while somebody plays it. Builds without the cargo feature `transcode` convert nothing.
        mp3_bitrate: u32 = 128 => Int { range: 32..=320, zero: "" },
        /// Leave out the tags of a track that the FLV header does not announce. Players that rely on the header need
        /// it; off passes everything on.
        drop_if_not_match: bool = true => Switch,
        /// Announce audio, when `guess_has_av` is off.
        has_audio: bool = true => Switch,
        /// Announce video, when `guess_has_av` is off.
        has_video: bool = true => Switch,
        /// Announce the tracks that the stream really has. Switched off, `has_audio` and `has_video` are announced
        /// without a wait, right or wrong.
        guess_has_av: bool = true => Switch,
        /// How long a player is held for a track that the publisher's metadata announced and that has not been seen.
        /// It delays players who join within that time of the start of a stream only.
        guess_wait: Duration = ms(500) => Time { range: ZERO..=secs(10), zero: "" },
    }
}

section! {
    /// What players get.
    pub struct Play {
        /// Begin with the newest keyframe at once. Off, players wait for the next one: a later picture, by up to the
        /// distance of two keyframes, and less latency.
        gop_cache: bool = true => Switch,
        /// Frames that are kept since the newest keyframe for players that join; 0 is no limit but
        /// `limits.stream_memory`. It guards against publishers that send no more keyframes.
        gop_cache_max_frames: u32 = 2_500 => Int { range: 0..=MAX_GOP_FRAMES, zero: NO_LIMIT },
        /// How far a player may fall behind before it skips to the newest keyframe. Shorter keeps slow players near
        /// the live edge, with more skips; longer rides out worse networks and holds more memory.
        queue_length: Duration = secs(10) => Time { range: ms(100)..=secs(600), zero: "" },
        /// Collect what comes in that time into one write. 0 writes each video frame at once. With thousands of
        /// players on one machine, 100ms to 350ms saves a good part of the processor's time, and adds as much
        /// latency.
        mw_latency: Duration = ZERO => Time { range: ZERO..=secs(5), zero: "a write for each video frame" },
        /// What is done to the publisher's timestamps, for the whole stream.
        time_jitter: TimeJitter = TimeJitter::Full => one_of(),
        /// Where a player's time begins.
        start_time: StartTime = StartTime::Stream => one_of(),
        /// Reorder audio and video so that their timestamps rise together, for publishers that send them far apart.
        /// It holds frames back until the other track has caught up.
        mix_correct: bool = false => Switch,
        /// What a player of a stream that is not there gets.
        on_missing: OnMissing = OnMissing::Wait => one_of(),
        /// How long a player is held for a stream that is not there.
        wait: Duration = secs(5) => Time { range: ZERO..=secs(300), zero: "" },
    }
}

words! {
    /// What is done to timestamps.
    pub enum TimeJitter {
        /// Begins at zero, rises without jumps: a step of more than 250 ms or backwards is corrected.
        Full = "full",
        /// Begins at zero; steps stay as they came.
        Zero = "zero",
        /// As they came.
        Off = "off",
    }
}

words! {
    /// Where a player's time begins.
    pub enum StartTime {
        /// At the stream's own time: all players get the same bytes.
        Stream = "stream",
        /// At 0 for each, for players that show the first timestamp as the time played; costs a copy of the stream each.
        Zero = "zero",
    }
}

words! {
    /// What a player of a stream that is not there gets.
    pub enum OnMissing {
        /// 404 at once.
        NotFound = "404",
        /// It is held until the stream comes; 404 after the time of `wait`.
        Wait = "wait",
    }
}

section! {
    /// What publishers have to keep to.
    pub struct Publish {
        /// How long a publisher may take from the publish command to its first packet. Encoders that start a camera
        /// only then need long.
        firstpkt_timeout: Duration = secs(20) => Time { range: ms(100)..=secs(3_600), zero: "" },
        /// How long a publisher may be silent after that before it is taken for gone. Shorter frees the stream's name
        /// sooner; longer forgives mobile uplinks.
        normal_timeout: Duration = secs(5) => Time { range: ms(100)..=secs(3_600), zero: "" },
        /// What happens when a second publisher comes. With `kick`, a broadcaster whose network broke is back at once;
        /// so is anyone who knows the stream's name.
        on_busy: OnBusy = OnBusy::Reject => one_of(),
        /// How long players are held after the publisher left, in case it comes back; 0 ends them at once.
        republish_wait: Duration = secs(10) => Time { range: ZERO..=secs(600), zero: "players end at once" },
        /// End a publisher whose stream has had no player for that long; 0 never does. It saves an uplink that nobody
        /// watches.
        kickoff_for_idle: Duration = ZERO => Time { range: ZERO..=secs(86_400), zero: "never" },
        /// How long what a publisher sends may lie in its socket while nobody plays, records or forwards its stream. Reading
        /// seventy messages a second one by one is most of what a publisher costs, and nobody is waiting for them; who comes is
        /// waited for no longer than before, for it is read at once then. More often than that where the bitrate is high. For RTMP
        /// without TLS, on Linux; 0 reads everything at once.
        lazy_read: Duration = ms(200) => Time { range: ZERO..=secs(1), zero: "everything is read at once" },
    }
}

words! {
    /// What happens when a second publisher comes.
    pub enum OnBusy {
        /// The newcomer is refused.
        Reject = "reject",
        /// The old one is ended.
        Kick = "kick",
    }
}

section! {
    /// Recording. A recording reads the stream as a player does; whatever becomes of it, the stream goes on.
    pub struct Dvr {
        /// Whether the streams of this vhost are recorded.
        enabled: bool = false => Switch,
        /// Where the files go. Variables: `[vhost]`, `[app]`, `[stream]`; the moment at which the file begins, in local time:
        /// year `[2006]`, month `[01]`, day `[02]`, hour `[15]`, minute `[04]`, second `[05]`, millisecond `[999]`; and
        /// `[timestamp]`, the same in milliseconds since 1970. Folders are made. While it is written, a file has `.tmp`
        /// after its name. No file is overwritten: a name that is taken gets -1, -2 and so on.
        path: RecordingPath = RecordingPath::default() => Recordings,
        /// When a file ends and the next begins.
        plan: DvrPlan = DvrPlan::Session => one_of(),
        /// Length of a file with `plan: segment`: it ends at the first keyframe after that time.
        duration: Duration = secs(30) => Time { range: secs(1)..=secs(86_400), zero: "" },
        /// Let files of `plan: segment` begin at keyframes only. Off, they are cut at any frame: lengths are exact, and players
        /// have no picture until the file's first keyframe.
        wait_keyframe: bool = true => Switch,
        /// What is done to the timestamps in each file. The stream's own, `play.time_jitter`, comes before it.
        time_jitter: TimeJitter = TimeJitter::Full => one_of(),
    }
}

words! {
    /// When a file ends and the next begins.
    pub enum DvrPlan {
        /// One file from the begin of a stream to its end. A publisher that is back within `publish.republish_wait` goes on
        /// in the same file, unless the codec or its configuration is another.
        Session = "session",
        /// A new file whenever `duration` is over.
        Segment = "segment",
    }
}

fn default_vhosts() -> BTreeMap<String, Vhost> {
    BTreeMap::from([(DEFAULT_VHOST.to_owned(), Vhost::default())])
}

/// Brings the name of a vhost into the form in which it is looked up.
fn vhost_name(name: &str) -> Result<String, Option<String>> {
    if name == DEFAULT_VHOST {
        return Ok(name.to_owned());
    }
    if name.eq_ignore_ascii_case(DEFAULT_VHOST)
        || name.eq_ignore_ascii_case("default")
        || name == "*"
    {
        return Err(Some(format!("write {DEFAULT_VHOST}")));
    }
    let hostlike = |name: &str| {
        let bare = super::host_key(name);
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let name = !bare.is_empty() && bare.len() <= MAX_HOST_BYTES && bare.bytes().all(letters);
        name || bare.parse::<Ipv6Addr>().is_ok()
    };
    if hostlike(name) {
        return Ok(super::host_key(name));
    }
    match name.rsplit_once(':') {
        Some((host, port)) if hostlike(host) && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(Some("without the port".to_owned()))
        }
        _ => Err(None),
    }
}
