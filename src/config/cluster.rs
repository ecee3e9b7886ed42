//! The keys of a node among others: the registry, the node's own addresses, and what a vhost does with streams that live elsewhere.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::kinds::{OptionalFile, Time, parse_list, parse_scalar, quoted, split_list, words};
use super::node::{Data, Node};
use super::schema::{Context, Leaf, section};
use super::secret::Secret;
use super::units::Guess;
use super::{Origin, host_key};

/// Longest name of a node and longest prefix, in bytes: they stand in each key and value of the registry.
const MAX_NAME_BYTES: usize = 64;
/// Longest address of a node or an overflow server, in bytes.
const MAX_URL_BYTES: usize = 512;
/// Shortest life of a lease: it is renewed five times in it, and a renewal is a round trip.
const MIN_TTL: Duration = Duration::from_secs(1);

section! {
    /// The registry: who has which stream, in a cluster of nodes. With `registry: memory`, the default, this node knows of no other.
    pub struct Registry {
        /// The Redis (6.0 or newer, or one that speaks its protocol) in which the nodes write what they have:
        /// `redis://[user][:password@]host[:port][/database]`, or `rediss://…` for TLS. Required. When it is away, what plays goes on,
        /// streams of other nodes are not found, and all is announced again when it is back.
        redis: RedisUrl = RedisUrl::default() => Redis,
        /// File with the certificates, in PEM, of those who may sign the certificate of a Redis at `rediss://`, for one of your own making;
        /// null trusts the system's, which `SSL_CERT_FILE` can name.
        tls_ca: Option<PathBuf> = None => OptionalFile,
        /// What the names of all keys in Redis begin with. Nodes of one cluster have the same; two clusters on one Redis need
        /// different ones.
        prefix: String = "pingora-live:".to_owned() => Prefix,
        /// How long a stream belongs to a node that was not heard of. Shorter frees the streams of a node that died sooner;
        /// longer rides out longer pauses of Redis. Each node renews all of its streams five times in it.
        ttl: Duration = Duration::from_secs(10) => Time { range: MIN_TTL..=Duration::from_secs(3_600), zero: "" },
        /// How long a player or a publisher is held for an answer of Redis, before it is served as if there was no other node.
        timeout: Duration = Duration::from_secs(1) => Time { range: Duration::from_millis(50)..=Duration::from_secs(10), zero: "" },
    }
}

section! {
    /// This node, as others know it. Needed with a registry in Redis.
    pub struct NodeKeys {
        /// The name, unlike that of each other node. null is the host's name.
        name: Option<String> = None => NodeName,
        /// Name or address under which players reach this node. The addresses below are made of it and of the ports that are
        /// listened on, where they are not set.
        host: Option<String> = None => HostKey,
        /// Address of HTTP to which players are sent, such as `http://a.example:8080`.
        http: Option<BaseUrl> = None => Address { schemes: &[UrlScheme::Http] },
        /// Address of HTTPS to which players are sent. One that came by HTTPS is never sent to HTTP: its page could not play it.
        https: Option<BaseUrl> = None => Address { schemes: &[UrlScheme::Https] },
        /// Address of RTMP to which players are sent, such as `rtmp://a.example:1935`.
        rtmp: Option<BaseUrl> = None => Address { schemes: &[UrlScheme::Rtmp] },
        /// Address of RTMPS to which players are sent.
        rtmps: Option<BaseUrl> = None => Address { schemes: &[UrlScheme::Rtmps] },
        /// Address of HTTP under which the other nodes reach this one, for what they fetch or proxy; null is that of `http`. Set it when
        /// nodes have a network of their own.
        inside: Option<BaseUrl> = None => Address { schemes: &[UrlScheme::Http, UrlScheme::Https] },
    }
}

words! {
    /// What a player gets that asks for a stream which another node of the registry has.
    pub enum OnElsewhere {
        /// It is sent there: 302 for HTTP, RTMP's redirect for RTMP. It costs nothing here; but browsers follow none for a WebSocket,
        /// which is proxied instead, and most RTMP players (ffmpeg, GStreamer, VLC) none at all.
        Redirect = "redirect",
        /// Its request is proxied to that node: a connection there, and all bytes twice, for each player; for networks in which players
        /// reach some nodes only. RTMP players are sent there.
        Proxy = "proxy",
        /// It is given the stream here, which this node pulls from that one: once for all its players, in any format, RTMP included. The
        /// node can then serve any stream, so that full nodes send it their new players; and its players stay when another node takes their
        /// stream.
        Pull = "pull",
    }
}

/// What an address begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UrlScheme {
    /// `http://`
    Http,
    /// `https://`
    Https,
    /// `rtmp://`
    Rtmp,
    /// `rtmps://`
    Rtmps,
}

impl UrlScheme {
    /// As it is written, without `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Rtmp => "rtmp",
            Self::Rtmps => "rtmps",
        }
    }

    /// The one that is written so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Rtmp, Self::Rtmps];
}

impl fmt::Display for UrlScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The address of a server, to which the path of a stream is appended: `http://a.example:8080`, `https://cdn.example/live`.
///
/// Holds nothing but a scheme, a host, perhaps a port and a path, in printable ASCII: it can stand in a header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    scheme: UrlScheme,
    /// Without a slash at the end.
    text: String,
}

impl BaseUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it, as a part of a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_URL_BYTES {
            return Err("it is too long");
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("it has to begin with a scheme such as http://")?;
        let scheme =
            UrlScheme::named(scheme).ok_or("its scheme is none of http, https, rtmp and rtmps")?;
        if rest.contains(['?', '#']) {
            return Err("a query or a fragment has no place in it");
        }
        if rest.contains('@') {
            return Err("a user has no place in it");
        }
        let plain =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\');
        if !rest.bytes().all(plain) {
            return Err("it holds what no address may hold");
        }
        let rest = rest.trim_end_matches('/');
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = split_port(authority)?;
        if !is_host(host) {
            return Err("it names no host");
        }
        if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
            return Err("its port is none");
        }
        Ok(Self {
            scheme,
            text: format!("{scheme}://{rest}"),
        })
    }

    /// What it begins with.
    pub fn scheme(&self) -> UrlScheme {
        self.scheme
    }

    /// The text, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host and port, as they stand there: `a.example:8080`, `[::1]`.
    pub fn authority(&self) -> &str {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }

    /// The path that stands before what is appended: empty, or beginning with a slash.
    pub fn path(&self) -> &str {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        rest.find('/')
            .and_then(|at| rest.get(at..))
            .unwrap_or_default()
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl serde::Serialize for BaseUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for BaseUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or("a bracket is missing")?;
        let (host, after) = authority.split_at(end + 1);
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err("it names no host"),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => Err("an IPv6 address stands in brackets"),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[') {
        return inside
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !host.is_empty() && host.len() <= 253 && host.bytes().all(letters)
}

/// The address of a Redis; it may hold a password, and is shown without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisUrl(Secret);

impl RedisUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is none of a Redis.
    pub fn parse(text: &str) -> Result<Self, Option<String>> {
        if !(text.starts_with("redis://") || text.starts_with("rediss://")) {
            return Err(None);
        }
        match redis::IntoConnectionInfo::into_connection_info(text) {
            Ok(_) => Ok(Self(Secret::new(text))),
            // What it says may repeat the password.
            Err(_) => Err(Some(
                "a password with special characters is written percent-encoded".to_owned(),
            )),
        }
    }

    /// Whether there is one.
    pub fn is_empty(&self) -> bool {
        self.0.expose().is_empty()
    }

    /// Whether it is spoken to over TLS.
    pub fn is_tls(&self) -> bool {
        self.0.expose().starts_with("rediss://")
    }

    /// The text, password included.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.expose();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(());
        };
        let (authority, path) = rest
            .find(['/', '?'])
            .map_or((rest, ""), |at| rest.split_at(at));
        match authority.rsplit_once('@') {
            Some((user, host)) => {
                let user = user.split_once(':').map_or(user, |(name, _)| name);
                write!(f, "{scheme}://{user}:***@{host}{path}")
            }
            None => f.write_str(text),
        }
    }
}

struct Redis;

impl Leaf for Redis {
    type Value = RedisUrl;

    fn accepted(&self) -> String {
        "the address of a Redis such as redis://127.0.0.1:6379/0".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<RedisUrl> {
        let accepted = self.accepted();
        if let Data::Scalar(text) = &node.data
            && let Err(hint) = RedisUrl::parse(text)
        {
            // An error shows what was found, and that may be a password.
            let hidden = Node::scalar(&node.at, "***");
            cx.refuse(&hidden, path, &accepted, hint);
            return None;
        }
        parse_scalar(node, path, &accepted, cx, RedisUrl::parse)
    }

    fn text(&self, value: &RedisUrl) -> String {
        quoted(&value.to_string())
    }

    fn whole(&self, value: &RedisUrl) -> Secret {
        value.0.clone()
    }

    fn example(&self) -> Option<&'static str> {
        Some("\"redis://127.0.0.1:6379/0\"")
    }
}

struct Prefix;

impl Leaf for Prefix {
    type Value = String;

    fn accepted(&self) -> String {
        format!("a text of at most {MAX_NAME_BYTES} letters, digits, and : . _ - {{ }}")
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<String> {
        let letters = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'_' | b'-' | b'{' | b'}')
        };
        parse_scalar(node, path, &self.accepted(), cx, |text| {
            let good = text.len() <= MAX_NAME_BYTES && text.bytes().all(letters);
            good.then(|| text.to_owned()).ok_or(None)
        })
    }

    fn text(&self, value: &String) -> String {
        quoted(value)
    }
}

/// Reads a value that may be null.
pub(super) fn or_null<T>(
    node: &Node,
    path: &str,
    accepted: &str,
    cx: &mut Context,
    parse: impl Fn(&str) -> Result<T, Guess>,
) -> Option<Option<T>> {
    let environment = matches!(node.at, Origin::Environment { .. });
    match &node.data {
        Data::Null => Some(None),
        // A variable has no other way to say it.
        Data::Scalar(text) if environment && matches!(text.as_str(), "" | "null") => Some(None),
        _ => parse_scalar(node, path, accepted, cx, parse).map(Some),
    }
}

pub(super) fn text_or_null(value: Option<&str>) -> String {
    value.map_or_else(|| "null".to_owned(), quoted)
}

/// The form that a node's name may have; also judged where one comes from the registry or the system.
pub(crate) fn is_node_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(letters)
}

struct NodeName;

impl Leaf for NodeName {
    type Value = Option<String>;

    fn accepted(&self) -> String {
        format!(
            "a name of at most {MAX_NAME_BYTES} letters, digits, dots, dashes and underscores, or null"
        )
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Option<String>> {
        or_null(node, path, &self.accepted(), cx, |text| {
            is_node_name(text).then(|| text.to_owned()).ok_or(None)
        })
    }

    fn text(&self, value: &Option<String>) -> String {
        text_or_null(value.as_deref())
    }
}

struct HostKey;

impl Leaf for HostKey {
    type Value = Option<String>;

    fn accepted(&self) -> String {
        "a host name or an IP address, or null".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Option<String>> {
        or_null(node, path, &self.accepted(), cx, |text| {
            if text.contains("://") {
                return Err(Some("without a scheme".to_owned()));
            }
            let host = host_key(text);
            if host.parse::<Ipv6Addr>().is_ok() || is_host(&host) {
                return Ok(host);
            }
            let port = text.rsplit_once(':').is_some_and(|(name, _)| is_host(name));
            Err(port.then(|| "without the port".to_owned()))
        })
    }

    fn text(&self, value: &Option<String>) -> String {
        text_or_null(value.as_deref())
    }
}

struct Address {
    schemes: &'static [UrlScheme],
}

impl Leaf for Address {
    type Value = Option<BaseUrl>;

    fn accepted(&self) -> String {
        let examples: Vec<_> = self
            .schemes
            .iter()
            .map(|scheme| format!("{scheme}://a.example"))
            .collect();
        format!("an address such as {}, or null", examples.join(" or "))
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Option<BaseUrl>> {
        or_null(node, path, &self.accepted(), cx, |text| {
            let url = BaseUrl::parse(text).map_err(|why| Some(why.to_owned()))?;
            if !self.schemes.contains(&url.scheme()) {
                return Err(Some(format!("its scheme is {}", url.scheme())));
            }
            Ok(url)
        })
    }

    fn text(&self, value: &Option<BaseUrl>) -> String {
        text_or_null(value.as_ref().map(BaseUrl::as_str))
    }
}

/// Servers that take the players that are too many here.
pub(super) struct Overflow;

const SERVER: &str = "an address such as http://b.example:8080 or rtmp://b.example";

impl Leaf for Overflow {
    type Value = Vec<BaseUrl>;

    fn accepted(&self) -> String {
        format!("{SERVER}, or a list of them")
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Vec<BaseUrl>> {
        parse_list(node, path, (SERVER, "a list of them"), cx, |text| {
            BaseUrl::parse(text).map_err(|why| Some(why.to_owned()))
        })
    }

    fn text(&self, value: &Vec<BaseUrl>) -> String {
        let items: Vec<_> = value.iter().map(|url| quoted(url.as_str())).collect();
        format!("[{}]", items.join(", "))
    }

    fn environment_node(&self, text: &str, at: &Origin) -> Node {
        split_list(text, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers() {
        for (text, kept, authority, path) in [
            ("http://a.example", "http://a.example", "a.example", ""),
            (
                "http://a.example:8080/",
                "http://a.example:8080",
                "a.example:8080",
                "",
            ),
            (
                "https://[::1]:8443/cdn/",
                "https://[::1]:8443/cdn",
                "[::1]:8443",
                "/cdn",
            ),
            (
                "rtmp://10.0.0.1:1935",
                "rtmp://10.0.0.1:1935",
                "10.0.0.1:1935",
                "",
            ),
        ] {
            let url = BaseUrl::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(url.as_str(), kept);
            assert_eq!((url.authority(), url.path()), (authority, path));
        }
        for bad in [
            "",
            "a.example",
            "ftp://a.example",
            "http://",
            "http:///live",
            "http://a.example:0",
            "http://a.example:http",
            "http://a b",
            "http://a.example/?x=1",
            "http://user@a.example",
            "http://::1",
            "http://a.example/\r\nX: y",
            "http://[::1",
        ] {
            assert!(BaseUrl::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_redis_is_shown_without_its_password() {
        for (text, shown) in [
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://:hunter2@r.example", "redis://:***@r.example"),
            (
                "rediss://me:hunter2@r.example:6380/1",
                "rediss://me:***@r.example:6380/1",
            ),
        ] {
            let url = RedisUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("hunter2"));
        }
        for bad in [
            "",
            "r.example",
            "http://r.example",
            "redis://",
            "redis://r.example/x",
        ] {
            assert!(RedisUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
