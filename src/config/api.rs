//! The keys of the API's listener.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::access_kinds::Hidden;
use super::kinds::{HostNames, Int, Listen, Switch, quoted};
use super::node::{Data, Node};
use super::schema::{Context, Leaf, section};
use super::secret::Secret;
use super::sections::{nested, optional};

/// SRS's port for its API.
const API_PORT: u16 = 1985;
/// More than anybody's database takes series from one server.
const MAX_STREAMS_SHOWN: u32 = 10_000;

section! {
    /// The API, the metrics and the signs of life, on a listener of their own.
    pub struct Api {
        /// Addresses of the API. Others than of the machine itself need `auth`. An empty list switches it off.
        listen: Vec<SocketAddr> = loopback(API_PORT) => Listen,
        /// Who may ask. Absent, everybody on this machine may: it is refused for an address that others can reach.
        auth: Option<ApiAuth> = None => optional(),
        /// Names by which it may be asked for, beside `localhost` and the addresses of the machine itself, while there is no `auth`.
        /// Without that rule, a web page could reach it through a name that resolves to 127.0.0.1.
        hosts: Vec<String> = Vec::new() => HostNames,
        /// What `/metrics` shows.
        metrics: ApiMetrics = ApiMetrics::default() => nested(),
    }
}

section! {
    /// Who may use the API. A user with a password (Basic), a token (Bearer), or either.
    pub struct ApiAuth {
        /// The user to whom the password belongs.
        username: String = "admin".to_owned() => UserName,
        /// The password of the user, for people and their browsers; empty for none.
        password: Secret = Secret::default() => Hidden,
        /// The token, for programs such as those that collect metrics; empty for none.
        token: Secret = Secret::default() => Hidden,
    }
}

section! {
    /// What `/metrics` shows.
    pub struct ApiMetrics {
        /// Figures of each stream beside those of the whole server. Each stream is a handful of series in a database; switch it on
        /// where streams are few and keep their names.
        per_stream: bool = false => Switch,
        /// Streams that are shown at most with `per_stream`, those with the most players; the others are counted.
        max_streams: u32 = 100 => Int { range: 1..=MAX_STREAMS_SHOWN, zero: "" },
    }
}

impl Api {
    /// Whether another machine can reach one of its addresses.
    pub(super) fn is_public(&self) -> bool {
        self.listen
            .iter()
            .any(|address| !address.ip().is_loopback())
    }
}

fn loopback(port: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)]
}

/// A name without a colon, as Basic authentication needs it (RFC 7617 §2).
struct UserName;

impl Leaf for UserName {
    type Value = String;

    fn accepted(&self) -> String {
        "a name without a colon".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<String> {
        match &node.data {
            Data::Scalar(text)
                if !text.is_empty() && !text.contains(|c: char| c == ':' || c.is_control()) =>
            {
                Some(text.clone())
            }
            _ => {
                cx.refuse(node, path, &self.accepted(), None);
                None
            }
        }
    }

    fn text(&self, value: &String) -> String {
        quoted(value)
    }
}
