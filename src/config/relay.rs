//! The keys of relaying between servers: `cluster` (an edge and its origins) and `forward`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::cluster::OnElsewhere;
use super::error::Origin as ErrorOrigin;
use super::kinds::{
    OptionalFile, Switch, Time, flow_list, one_of, parse_list, parse_scalar, quoted, split_list,
    words,
};
use super::node::{Data, Node};
use super::schema::{Context, Leaf, section};
use super::secret::Secret;
use super::units::Guess;
use super::url::{HttpUrl, Url};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

section! {
    /// Where the streams of this vhost come from: an edge pulls them from origins, and passes what is published to it on to them.
    pub struct Cluster {
        /// Whether streams are published here, or are an origin's.
        mode: ClusterMode = ClusterMode::Local => one_of(),
        /// The origins of an edge: hosts, with port where it is not the protocol's own (1935, 443, 80, 443). Players of one stream
        /// share one pull. One that is dead or has no frame for `stall` is left for the next while players stay connected.
        /// An entry may say its protocol itself: `http://origin:8080`.
        origin: Vec<Remote> = Vec::new() => Remotes { path: false },
        /// How streams are pulled, and what is published here is passed on, where an origin does not say it itself. Whatever it is, players are
        /// given every format.
        protocol: RelayProtocol = RelayProtocol::Rtmp => one_of(),
        /// The vhost that is asked of the origin; `[vhost]` stands for the name of this one, and that of `__defaultVhost__` for the
        /// origin's own address.
        vhost: String = "[vhost]".to_owned() => VhostTemplate,
        /// Let the origin judge each player, by the query of its address. Off, it judges the one whose play began the pull, and the
        /// edge the others. It costs a connection to the origin for each play.
        token_traverse: bool = false => Switch,
        /// How long a pull goes on without players, in case one comes back.
        idle: Duration = secs(5) => Time { range: Duration::ZERO..=secs(3_600), zero: "the pull ends with its last player" },
        /// How long an origin may send no frame before it is taken for dead. Shorter shows players a shorter gap; streams
        /// with a frame in many seconds need longer.
        stall: Duration = secs(3) => Time { range: ms(200)..=secs(120), zero: "" },
        /// Keep a second pull from another origin warm, and go on with it without waiting for a connection. It costs each
        /// stream's bandwidth twice.
        standby: bool = false => Switch,
        /// How a stream's origin is chosen among those that are well.
        balance: OriginBalance = OriginBalance::RoundRobin => one_of(),
        /// The longest pause between attempts while no origin answers. They begin at 100ms and grow, with some chance in them.
        retry: Duration = secs(3) => Time { range: ms(100)..=secs(60), zero: "" },
        /// How often each origin is asked whether it is well, when there are several; 0 only notices what fails.
        health_check: Duration = secs(2) => Time { range: Duration::ZERO..=secs(600), zero: "off" },
        /// Check the certificates of origins (`rtmps`, `flvs`): who signed them, and that they are for the name in `origin`. Without it,
        /// whoever stands between can read and change everything.
        tls_verify: bool = true => Switch,
        /// File with the certificates, in PEM, of those who may sign the certificates of origins, for origins with a certificate of
        /// your own making (which may be the file itself); null trusts the system's, which `SSL_CERT_FILE` can name.
        tls_ca: Option<PathBuf> = None => OptionalFile,
        /// Speak HTTP/2 to origins of `flv` too, without TLS and without asking (h2c by prior knowledge): for origins that speak nothing
        /// else, such as some meshes of services. `flvs` has HTTP/2 where the origin offers it, whatever stands here.
        h2c: bool = false => Switch,
        /// What a player gets that asks for a stream which another node of the registry has. Without a registry, it has no effect.
        on_elsewhere: OnElsewhere = OnElsewhere::Redirect => one_of(),
    }
}

words! {
    /// Where the streams of a vhost are.
    pub enum ClusterMode {
        /// Published here.
        Local = "local",
        /// At an origin; this is an edge.
        Remote = "remote",
    }
}

words! {
    /// How an edge speaks to its origins.
    pub enum RelayProtocol {
        /// RTMP.
        Rtmp = "rtmp",
        /// RTMP over TLS.
        Rtmps = "rtmps",
        /// HTTP-FLV; published by POST.
        Flv = "flv",
        /// HTTP-FLV over TLS, pulled by HTTP/2 where the origin has it.
        Flvs = "flvs",
        /// RTMP for who plays or publishes by RTMP, HTTP-FLV for all others: for each, the entries of `origin` that say that protocol or none.
        FollowClient = "follow_client",
    }
}

words! {
    /// How an origin is chosen.
    pub enum OriginBalance {
        /// Each stream's pull from the next one in turn.
        RoundRobin = "round_robin",
        /// By the stream's name (ketama): each stream has its home, the same for all edges, and moves only when that one is away.
        Hash = "hash",
    }
}

section! {
    /// Pushing what is published here on to other servers. Each push stands alone, and tries again when it breaks.
    pub struct Forward {
        /// Whether the streams of this vhost are pushed.
        enabled: bool = false => Switch,
        /// Where to: `host[:port]` for the same app and stream there, or `rtmp://host[:port]/app/stream`, `rtmps://…`, in which `[vhost]`,
        /// `[app]` and `[stream]` stand for the stream's own.
        destination: Vec<Remote> = Vec::new() => Remotes { path: true },
        /// A back end that names more, stream by stream: it gets a POST with the JSON of SRS's `on_forward` when a publish begins, and
        /// answers `{"code": 0, "data": {"urls": ["rtmp://…"]}}`, at most 16, in the forms of `destination`. Nobody waits for it.
        backend: Option<HttpUrl> = None => Url,
        /// Check the certificates of `rtmps` destinations, as `cluster.tls_verify` does.
        tls_verify: bool = true => Switch,
        /// File with the certificates of those who may sign theirs, as `cluster.tls_ca`; null trusts the system's.
        tls_ca: Option<PathBuf> = None => OptionalFile,
    }
}

/// How another server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `rtmp://`
    Rtmp,
    /// `rtmps://`
    Rtmps,
    /// `http://`: FLV.
    Http,
    /// `https://`: FLV.
    Https,
}

impl Scheme {
    const ALL: [Scheme; 4] = [Self::Rtmp, Self::Rtmps, Self::Http, Self::Https];

    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rtmp => "rtmp",
            Self::Rtmps => "rtmps",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// By its name in a URL.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|scheme| scheme.as_str().eq_ignore_ascii_case(name))
    }

    /// The port that goes without saying.
    pub fn port(self) -> u16 {
        match self {
            Self::Rtmp => 1935,
            Self::Http => 80,
            Self::Rtmps | Self::Https => 443,
        }
    }

    /// Over TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Rtmps | Self::Https)
    }

    /// RTMP, over TLS or not.
    pub fn is_rtmp(self) -> bool {
        matches!(self, Self::Rtmp | Self::Rtmps)
    }
}

/// Another server, as the configuration or a callback names it: `[scheme://]host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Remote {
    /// How it is spoken to, if it is said.
    pub scheme: Option<Scheme>,
    /// Its name or address, an IPv6 address without brackets.
    pub host: String,
    /// Its port, if it is said.
    pub port: Option<u16>,
    /// What follows the first slash, query included; empty for nothing.
    pub path: String,
}

/// The longest address of a server that is taken, in bytes: host names end at 253, and paths hold tokens.
const MAX_REMOTE_BYTES: usize = 2_048;

impl Remote {
    /// It may be shown so: without a query, which holds keys, and with `***` for the last part of the path where that says neither
    /// `[stream]` nor is alone: services give out names that are keys.
    pub fn shown(&self) -> String {
        let (path, query) = match self.path.split_once('?') {
            Some((path, _)) => (path, "?***"),
            None => (self.path.as_str(), ""),
        };
        let path = match path.rsplit_once('/') {
            Some((app, stream)) if !stream.contains("[stream]") => format!("{app}/***"),
            _ => path.to_owned(),
        };
        let bare = Remote {
            path: path + query,
            ..self.clone()
        };
        bare.to_string()
    }

    /// The server at an address, as a place of streams. One behind a path of its own is none: the streams of an origin have their names
    /// for a path.
    pub fn at(base: &super::BaseUrl) -> Option<Self> {
        let remote: Self = base.as_str().parse().ok()?;
        remote.path.is_empty().then_some(remote)
    }
}

impl std::str::FromStr for Remote {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() > MAX_REMOTE_BYTES || text.chars().any(char::is_control) {
            return Err(());
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(Scheme::of(scheme).ok_or(())?), rest),
            None => (None, text),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or(())?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| ())?;
            (
                host,
                after
                    .strip_prefix(':')
                    .or(after.is_empty().then_some(""))
                    .ok_or(())?,
            )
        } else {
            authority.split_once(':').unwrap_or((authority, ""))
        };
        let letters = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') || byte == b':'
        };
        if host.is_empty() || host.len() > 253 || !host.bytes().all(letters) {
            return Err(());
        }
        let port = match port {
            "" if authority.ends_with(':') => return Err(()),
            "" => None,
            port => Some(
                port.parse::<u16>()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or(())?,
            ),
        };
        Ok(Remote {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.scheme {
            write!(f, "{}://", scheme.as_str())?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if !self.path.is_empty() {
            write!(f, "/{}", self.path)?;
        }
        Ok(())
    }
}

/// A list of [`Remote`].
pub(super) struct Remotes {
    /// Whether one may have a path; then it is pushed to, by RTMP.
    path: bool,
}

impl Remotes {
    fn one(&self) -> &'static str {
        if self.path {
            "a server such as \"cdn.example.com:1935\" or \"rtmp://cdn.example.com/[app]/[stream]\""
        } else {
            "a server such as \"origin.example.com:1935\" or \"http://origin.example.com:8080\""
        }
    }
}

impl Leaf for Remotes {
    type Value = Vec<Remote>;

    fn accepted(&self) -> String {
        format!("{}, or a list of them", self.one())
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Vec<Remote>> {
        parse_list(node, path, (self.one(), "a list of them"), cx, |text| {
            let remote: Remote = text.parse().map_err(|()| None)?;
            let hint = |text: &str| Err(Some(text.to_owned()));
            if !self.path && !remote.path.is_empty() {
                return hint("without a path: an origin has the same apps and streams");
            }
            if self.path && remote.scheme.is_some_and(|scheme| !scheme.is_rtmp()) {
                return hint("streams are pushed by rtmp or rtmps");
            }
            Ok(remote)
        })
    }

    fn text(&self, value: &Vec<Remote>) -> String {
        flow_list(value.iter().map(|remote| quoted(&remote.shown())))
    }

    fn whole(&self, value: &Vec<Remote>) -> Secret {
        let texts: Vec<String> = value.iter().map(Remote::to_string).collect();
        Secret::new(texts.join(" "))
    }

    fn environment_node(&self, text: &str, at: &ErrorOrigin) -> Node {
        split_list(text, at)
    }
}

/// The name of a vhost, in which `[vhost]` may stand.
struct VhostTemplate;

impl Leaf for VhostTemplate {
    type Value = String;

    fn accepted(&self) -> String {
        "a host name, in which [vhost] may stand for the vhost's own".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<String> {
        if let Data::List(items) = &node.data
            && let [
                Node {
                    data: Data::Scalar(word),
                    ..
                },
            ] = items.as_slice()
            && word == "vhost"
        {
            // In YAML, [vhost] without quotes is a list.
            return Some("[vhost]".to_owned());
        }
        parse_scalar(node, path, &self.accepted(), cx, |text| {
            let rest = text.replace("[vhost]", "");
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            let good = !text.is_empty() && text.len() <= 253 && rest.bytes().all(letters);
            good.then(|| text.to_owned()).ok_or(None as Guess)
        })
    }

    fn text(&self, value: &String) -> String {
        quoted(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_and_shown() {
        for (text, scheme, host, port, path) in [
            ("origin", None, "origin", None, ""),
            (
                "Origin.example:19350",
                None,
                "origin.example",
                Some(19350),
                "",
            ),
            (
                "http://10.0.0.1:8080",
                Some(Scheme::Http),
                "10.0.0.1",
                Some(8080),
                "",
            ),
            ("[::1]:1935", None, "::1", Some(1935), ""),
            ("rtmps://[::1]", Some(Scheme::Rtmps), "::1", None, ""),
            (
                "rtmp://cdn.example/app/s?key=a/b",
                Some(Scheme::Rtmp),
                "cdn.example",
                None,
                "app/s?key=a/b",
            ),
        ] {
            let remote: Remote = text.parse().unwrap_or_else(|()| panic!("{text}"));
            assert_eq!(
                (
                    remote.scheme,
                    remote.host.as_str(),
                    remote.port,
                    remote.path.as_str()
                ),
                (scheme, host, port, path),
                "{text}"
            );
            assert_eq!(remote.to_string().parse(), Ok(remote), "{text}");
        }
        for text in [
            "", "ftp://a", "a:", "a:0", "a:99999", "a b", "[::1", "[x]:1", "::1:y", "a\n",
        ] {
            assert_eq!(text.parse::<Remote>(), Err(()), "{text}");
        }
    }
}
