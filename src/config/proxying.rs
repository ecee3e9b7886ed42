//! The keys for standing behind proxies, and for being one: upstreams and routes.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};

use super::error::Origin;
use super::kinds::{
    HostNames, Int, LIST, OptionalFile, Switch, Time, flow_list, one_of, parse_list, parse_scalar,
    quoted, split_list, words,
};
use super::node::{Data, Node};
use super::schema::{Context, Leaf, section};
use super::sections::{Item, nested};

/// pingora gives up after as many tries as its own `max_retries`, which is 16 unless it is set.
const MAX_RETRIES: u32 = 15;
/// The most checks in a row that may be asked for.
const MAX_CHECKS: u32 = 100;
/// RFC 1035 §2.3.4: the longest host name, in its written form.
const MAX_HOST_BYTES: usize = 253;

const ZERO: Duration = Duration::ZERO;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

words! {
    /// Which header tells who asks, of those that trusted proxies send.
    pub enum ForwardedHeader {
        /// `X-Forwarded-For`; where there is none, `Forwarded`. A proxy that writes only the latter has to remove the former
        Any = "any",
        /// `X-Forwarded-For` alone
        XForwardedFor = "x-forwarded-for",
        /// `Forwarded` (RFC 7239) alone
        Forwarded = "forwarded",
    }
}

section! {
    /// Servers behind this one, for requests that are not live.
    pub struct Upstream {
        /// Servers, each as host and port. A name stands for all its addresses, and is looked up again every half minute.
        servers: Vec<Server> = Vec::new() => Servers,
        /// Speak TLS to the servers; their certificates are checked unless `verify` is off.
        tls: bool = false => Switch,
        /// The name that the servers' certificates are for, and that they are asked for (SNI); empty is each server's own host.
        sni: String = String::new() => HostName,
        /// Check the servers' certificates. Without it, whoever stands between can read and change everything.
        verify: bool = true => Switch,
        /// File with the certificates, in PEM, of those who may sign the servers' certificates, for servers with a certificate of
        /// your own making; null trusts the system's.
        ca: Option<PathBuf> = None => OptionalFile,
        /// Speak HTTP/2 to the servers: with TLS where they offer it, without TLS always. WebSockets use HTTP/1 all the same.
        http2: bool = false => Switch,
        /// How a server is chosen for a request.
        balance: Balance = Balance::RoundRobin => one_of(),
        /// What `balance: hash` is about.
        hash_by: HashBy = HashBy::Path => one_of(),
        /// How many other servers are tried when one cannot be reached, or breaks a connection before it answers. What was
        /// not sent to a server yet is always tried again; what was, only with methods that may be repeated (GET, HEAD, PUT, …)
        /// and while the body is at most 64 KiB.
        retries: u32 = 1 => Int { range: 0..=MAX_RETRIES, zero: "none" },
        /// How long a server that could not be reached is passed over while there are others.
        fail_timeout: Duration = secs(10) => Time { range: ZERO..=secs(3_600), zero: "not at all" },
        /// For a connection to a server, TLS included.
        connect_timeout: Duration = secs(5) => Time { range: ms(10)..=secs(600), zero: "" },
        /// For each wait for something from a server: the start of its answer, and the next part of it. Responses without end, and
        /// WebSockets, are cut when they are silent for longer.
        read_timeout: Duration = secs(60) => Time { range: ms(100)..=secs(86_400), zero: "" },
        /// For each write, to a server or to a client.
        write_timeout: Duration = secs(60) => Time { range: ms(100)..=secs(86_400), zero: "" },
        /// How long a connection to a server is kept for another request.
        idle_timeout: Duration = secs(60) => Time { range: secs(1)..=secs(3_600), zero: "" },
        /// Looking after the servers, whether or not somebody asks for them.
        health_check: HealthCheck = HealthCheck::default() => nested(),
    }
}

words! {
    /// How a server is chosen.
    pub enum Balance {
        /// One after the other.
        RoundRobin = "round_robin",
        /// The same one for the same `hash_by`, and few others when servers come or go (ketama).
        Hash = "hash",
        /// The one with the fewest requests under way.
        LeastConn = "least_conn",
    }
}

words! {
    /// What a hash is made of.
    pub enum HashBy {
        /// Path and query: servers that keep what they gave keep different parts.
        Path = "path",
        /// The client's address: a client stays with its server.
        Client = "client",
    }
}

section! {
    /// Checks of servers.
    pub struct HealthCheck {
        /// What is looked at. A server that fails gets no requests until it passes again; when all fail, all are tried.
        kind: HealthCheckKind = HealthCheckKind::Off => one_of(),
        /// The path, with its query, that `kind: http` asks for.
        path: String = "/".to_owned() => PathText,
        /// The host that `kind: http` asks for; empty is the server's own.
        host: String = String::new() => HostName,
        /// Time between checks of a server.
        interval: Duration = secs(5) => Time { range: ms(100)..=secs(3_600), zero: "" },
        /// How long a check may take.
        timeout: Duration = secs(2) => Time { range: ms(10)..=secs(600), zero: "" },
        /// Checks in a row that have to fail for a server to be left out.
        fall: u32 = 2 => Int { range: 1..=MAX_CHECKS, zero: "" },
        /// Checks in a row that have to pass for it to be back.
        rise: u32 = 1 => Int { range: 1..=MAX_CHECKS, zero: "" },
    }
}

words! {
    /// What a check looks at.
    pub enum HealthCheckKind {
        /// Nothing.
        Off = "off",
        /// Whether a connection can be made, with TLS where there is TLS.
        Tcp = "tcp",
        /// Whether GET is answered with a status of 2xx or 3xx.
        Http = "http",
    }
}

section! {
    /// Which requests go to which upstream.
    pub struct Route {
        /// Hosts that it is for; "*.example.com" stands for one label or more. None is all of them. A route that names the
        /// host comes before one with `*`, and that before one without a host.
        host: Vec<String> = Vec::new() => HostNames,
        /// Paths that it is for: this one and all below it, by whole segments. Of several, the longest is meant.
        path: String = "/".to_owned() => PathText,
        /// The upstream, by its name. Required.
        upstream: String = String::new() => UpstreamName,
        /// What becomes of addresses that could be a stream's.
        streams: RouteStreams = RouteStreams::Auto => one_of(),
        /// Ask the upstream without `path` in front: `/api/users` of `path: /api` as `/users`.
        strip_prefix: bool = false => Switch,
        /// Let WebSockets through. Switched off, the upstream gets a plain request and says what it thinks of that.
        websocket: bool = true => Switch,
        /// Changes of the request's headers on its way to the upstream. The client's Host is passed on unless it is set here.
        request: HeaderChanges = HeaderChanges::default() => nested(),
        /// Changes of the response's headers on its way to the client.
        response: HeaderChanges = HeaderChanges::default() => nested(),
    }
}

impl Item for Route {
    const IN_ENVIRONMENT: &'static str = "one route as path=upstream";

    fn from_environment(text: &str) -> Option<Self> {
        let (path, upstream) = text.split_once('=')?;
        Some(Route {
            path: path_text(path).ok()?,
            upstream: upstream_name(upstream).ok()?,
            ..Route::default()
        })
    }
}

words! {
    /// What becomes of a stream's address that a route matches too.
    pub enum RouteStreams {
        /// As `published` for a route with a path of its own, as `mounts` for `path: /`.
        Auto = "auto",
        /// It is played while the stream is published here; all else goes to the upstream, at once.
        Published = "published",
        /// It is always the stream's: players wait for it, publishers may POST it.
        Mounts = "mounts",
        /// It goes to the upstream, whatever is published here.
        None = "none",
    }
}

section! {
    /// Changes of headers: what is removed, then what is set, then what is added.
    pub struct HeaderChanges {
        /// Headers that get this value instead of what they had, as name: value.
        set: Vec<(String, String)> = Vec::new() => Headers,
        /// Headers that are added to those that are there, as name: value.
        add: Vec<(String, String)> = Vec::new() => Headers,
        /// Names of headers that are taken away.
        remove: Vec<String> = Vec::new() => HeaderNames,
    }
}

/// A server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// A name, or an IP address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is no server: what was probably meant, if that can be guessed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host and a port{}", .0.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
pub struct ServerError(Option<String>);

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        let guess = |hint: &str| ServerError(Some(hint.to_owned()));
        if text.contains("://") {
            return Err(guess("without a scheme; tls: on speaks TLS"));
        }
        let (host, port) = text.rsplit_once(':').ok_or(guess("the port is missing"))?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port.parse() {
            Ok(port) if digits && port > 0 => port,
            _ => return Err(ServerError(None)),
        };
        let inside = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let host = match inside {
            Some(six) if six.parse::<Ipv6Addr>().is_ok() => six,
            None if is_host(host) => host,
            None if host.contains(':') => {
                return Err(guess("an IPv6 address stands in brackets"));
            }
            _ => return Err(ServerError(None)),
        };
        Ok(Server {
            host: host.to_owned(),
            port,
        })
    }
}

fn is_host(text: &str) -> bool {
    text.len() <= MAX_HOST_BYTES
        && text.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

const SERVER: &str = "a server such as 127.0.0.1:3000 or api.internal:8443";

struct Servers;

impl Leaf for Servers {
    type Value = Vec<Server>;

    fn accepted(&self) -> String {
        format!("{SERVER}, or {LIST}")
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Vec<Server>> {
        parse_list(node, path, (SERVER, LIST), cx, |text| {
            text.parse::<Server>().map_err(|ServerError(hint)| hint)
        })
    }

    fn text(&self, value: &Vec<Server>) -> String {
        flow_list(value.iter().map(|server| quoted(&server.to_string())))
    }

    fn example(&self) -> Option<&'static str> {
        Some("[\"127.0.0.1:3000\"]")
    }

    fn environment_node(&self, text: &str, at: &Origin) -> Node {
        split_list(text, at)
    }
}

/// A host name or IP address, or nothing.
struct HostName;

impl Leaf for HostName {
    type Value = String;

    fn accepted(&self) -> String {
        "a host name such as api.example.com, or \"\"".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<String> {
        parse_scalar(node, path, &self.accepted(), cx, |text| {
            if text.is_empty() || is_host(text) || text.parse::<Ipv6Addr>().is_ok() {
                return Ok(text.to_owned());
            }
            Err(None)
        })
    }

    fn text(&self, value: &String) -> String {
        quoted(value)
    }
}

fn path_text(text: &str) -> Result<String, Option<String>> {
    if !text.starts_with('/') {
        return Err(Some("it begins with a slash".to_owned()));
    }
    let visible = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !visible {
        return Err(Some("other characters are written as %20".to_owned()));
    }
    Ok(text.to_owned())
}

/// A path as requests have it.
struct PathText;

impl Leaf for PathText {
    type Value = String;

    fn accepted(&self) -> String {
        "a path such as /api".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<String> {
        parse_scalar(node, path, &self.accepted(), cx, path_text)
    }

    fn text(&self, value: &String) -> String {
        quoted(value)
    }
}

/// The name of an upstream, as it is looked up.
pub(super) fn upstream_name(text: &str) -> Result<String, Option<String>> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if text.is_empty() || text.len() > MAX_HOST_BYTES || !text.bytes().all(letters) {
        return Err(None);
    }
    Ok(text.to_owned())
}

struct UpstreamName;

impl Leaf for UpstreamName {
    type Value = String;

    fn accepted(&self) -> String {
        "the name of an upstream".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<String> {
        parse_scalar(node, path, &self.accepted(), cx, upstream_name)
    }

    fn text(&self, value: &String) -> String {
        quoted(value)
    }

    fn example(&self) -> Option<&'static str> {
        Some("web")
    }
}

const HEADER: &str = "the name of a header";

fn header_name(text: &str) -> Result<String, Option<String>> {
    let name: HeaderName = text.parse().map_err(|_| None)?;
    // RFC 9110 §7.6.1: these are about one connection, and the proxy's own. Without the hops in Via, nothing would stop a circle.
    let own = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::VIA,
    ];
    if own.contains(&name) {
        return Err(Some("that one is the proxy's own affair".to_owned()));
    }
    Ok(text.to_owned())
}

fn header_value(text: &str) -> Result<String, Option<String>> {
    HeaderValue::from_str(text)
        .map(|_| text.to_owned())
        .map_err(|_| Some("a header holds one line of visible characters".to_owned()))
}

/// Headers with their values.
struct Headers;

impl Leaf for Headers {
    type Value = Vec<(String, String)>;

    fn accepted(&self) -> String {
        "a mapping of names of headers to values".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Self::Value> {
        let pairs = match &node.data {
            Data::Map(pairs) => pairs.as_slice(),
            Data::Null => &[],
            Data::List(items) if items.is_empty() => &[],
            _ => {
                cx.refuse(node, path, &self.accepted(), None);
                return None;
            }
        };
        let mut headers = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let key = Node::scalar(&pair.key_at, &pair.key);
            let name = parse_scalar(&key, path, HEADER, cx, header_name);
            let inside = format!("{path}.{}", pair.key);
            let value = parse_scalar(&pair.node, &inside, "a value", cx, header_value);
            headers.push(name.zip(value));
        }
        headers.into_iter().collect()
    }

    fn text(&self, value: &Self::Value) -> String {
        let pairs: Vec<_> = value
            .iter()
            .map(|(name, value)| format!("{}: {}", quoted(name), quoted(value)))
            .collect();
        match pairs.as_slice() {
            [] => "{}".to_owned(),
            pairs => format!("{{ {} }}", pairs.join(", ")),
        }
    }
}

/// Names of headers.
struct HeaderNames;

impl Leaf for HeaderNames {
    type Value = Vec<String>;

    fn accepted(&self) -> String {
        format!("{HEADER}, or {LIST}")
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Vec<String>> {
        parse_list(node, path, (HEADER, LIST), cx, header_name)
    }

    fn text(&self, value: &Vec<String>) -> String {
        flow_list(value.iter().map(|name| quoted(name)))
    }

    fn environment_node(&self, text: &str, at: &Origin) -> Node {
        split_list(text, at)
    }
}
