//! What a node tells the others of itself, and how that is written into a registry.

use rustls::crypto::ring::default_provider;
use serde::{Deserialize, Serialize};

use crate::config::{BaseUrl, NodeKeys, UrlScheme, is_node_name};

/// Longest value that is read from a registry, in bytes: six addresses of 512 and names. What is longer was not written by a node.
pub const MAX_VALUE_BYTES: usize = 8 * 1024;
/// Bytes of a token: enough that nobody guesses one.
const TOKEN_BYTES: usize = 16;

/// Where a node is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// By players, over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<BaseUrl>,
    /// By players, over HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<BaseUrl>,
    /// By players, over RTMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmp: Option<BaseUrl>,
    /// By players, over RTMPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmps: Option<BaseUrl>,
    /// By other nodes, over HTTP or HTTPS, where that is another address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<BaseUrl>,
}

impl Addresses {
    /// What is configured; the rest is made of `node.host` and the ports that are listened on.
    pub fn new(keys: &NodeKeys, listening: &[(UrlScheme, u16)]) -> Self {
        let made = |scheme: UrlScheme, set: &Option<BaseUrl>| {
            set.clone().or_else(|| {
                let (_, port) = listening.iter().find(|(listened, _)| *listened == scheme)?;
                let host = keys.host.as_ref()?;
                let host = if host.contains(':') {
                    format!("[{host}]")
                } else {
                    host.clone()
                };
                BaseUrl::parse(&format!("{scheme}://{host}:{port}")).ok()
            })
        };
        Self {
            http: made(UrlScheme::Http, &keys.http),
            https: made(UrlScheme::Https, &keys.https),
            rtmp: made(UrlScheme::Rtmp, &keys.rtmp),
            rtmps: made(UrlScheme::Rtmps, &keys.rtmps),
            inside: keys.inside.clone(),
        }
    }

    /// Where a player is sent that came by `scheme`: never from TLS to none, which a page could not follow; from plain to TLS if there
    /// is nothing else.
    pub fn to_player(&self, scheme: UrlScheme) -> Option<&BaseUrl> {
        match scheme {
            UrlScheme::Http => self.http.as_ref().or(self.https.as_ref()),
            UrlScheme::Https => self.https.as_ref(),
            UrlScheme::Rtmp => self.rtmp.as_ref().or(self.rtmps.as_ref()),
            UrlScheme::Rtmps => self.rtmps.as_ref(),
        }
    }

    /// Where another node fetches from.
    pub fn to_node(&self) -> Option<&BaseUrl> {
        self.inside
            .as_ref()
            .or(self.http.as_ref())
            .or(self.https.as_ref())
    }
}

/// How much a node has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Its connections.
    pub connections: u64,
    /// How many it takes; 0 is no limit.
    pub limit: u64,
}

impl Load {
    /// The connections that it still takes. A node without a limit has as much room as one of a million.
    pub fn room(&self) -> u64 {
        const NO_LIMIT: u64 = 1_000_000;
        let limit = match self.limit {
            0 => NO_LIMIT,
            limit => limit,
        };
        limit.saturating_sub(self.connections)
    }
}

/// What a node says of itself, each time it says that it is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Its name.
    pub name: String,
    /// The process: random at each start.
    pub instance: String,
    /// Where it is reached.
    #[serde(flatten)]
    pub addresses: Addresses,
    /// How much it has to do.
    #[serde(default)]
    pub load: Load,
    /// Vhosts of which it fetches the streams that it does not have, so that it can serve any.
    #[serde(default)]
    pub fetches: Vec<String>,
}

impl Announcement {
    /// As it is kept in a registry.
    pub fn encode(&self) -> String {
        // Nothing in it can fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what was kept; `None` if no node wrote that.
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > MAX_VALUE_BYTES {
            return None;
        }
        serde_json::from_str(text)
            .ok()
            .filter(|node: &Self| is_node_name(&node.name))
    }
}

/// Says that a stream lives on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The node's name.
    pub node: String,
    /// Unlike that of any other lease.
    pub token: String,
    /// Where the node is reached.
    pub addresses: Addresses,
}

impl Lease {
    /// As it is kept in a registry: the name and the token, which scripts compare, and the addresses as JSON.
    pub fn encode(&self) -> String {
        let addresses = serde_json::to_string(&self.addresses).unwrap_or_default();
        format!("{} {} {addresses}", self.node, self.token)
    }

    /// What the leases of a node begin with.
    pub fn start(&self) -> String {
        format!("{} ", self.node)
    }

    /// Reads what was kept; `None` if no node wrote that.
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > MAX_VALUE_BYTES {
            return None;
        }
        let (node, rest) = text.split_once(' ')?;
        let (token, addresses) = rest.split_once(' ')?;
        let addresses = serde_json::from_str(addresses).ok()?;
        is_node_name(node).then(|| Self {
            node: node.to_owned(),
            token: token.to_owned(),
            addresses,
        })
    }
}

/// A random text in hexadecimal digits.
pub fn token() -> String {
    use std::fmt::Write;

    let mut bytes = [0; TOKEN_BYTES];
    // The system's source does not fail once the machine runs; if it did, equal tokens of two leases would be told apart by the
    // names of their nodes.
    let _ = default_provider().secure_random.fill(&mut bytes);
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The configured name, else the host's, in the form that a name may have.
#[allow(unsafe_code)]
pub fn name(keys: &NodeKeys) -> String {
    if let Some(name) = &keys.name {
        return name.clone();
    }
    let mut buffer = [0_u8; 256];
    // SAFETY: the pointer and the length are those of a buffer that lives as long as the call; the last byte is kept 0.
    let got = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len() - 1) };
    let host = buffer
        .split(|byte| *byte == 0)
        .next()
        .filter(|_| got == 0)
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    let name: String = host
        .chars()
        .map(|c| {
            if is_node_name(c.encode_utf8(&mut [0; 4])) {
                c
            } else {
                '-'
            }
        })
        .take(64)
        .collect();
    if is_node_name(&name) {
        name
    } else {
        // A host without a name is told apart from others by chance.
        format!("node-{}", token())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Option<BaseUrl> {
        Some(BaseUrl::parse(text).unwrap())
    }

    #[test]
    fn addresses_are_made_of_the_host_and_the_ports() {
        let keys = NodeKeys {
            host: Some("::1".to_owned()),
            http: url("http://a.example"),
            ..NodeKeys::default()
        };
        let listening = [(UrlScheme::Http, 8080), (UrlScheme::Rtmp, 1935)];
        let addresses = Addresses::new(&keys, &listening);
        assert_eq!(addresses.http, url("http://a.example"));
        assert_eq!(addresses.rtmp, url("rtmp://[::1]:1935"));
        assert_eq!(addresses.https, None);
        assert_eq!(addresses.to_player(UrlScheme::Https), None);
        assert_eq!(addresses.to_node(), addresses.http.as_ref());
    }

    #[test]
    fn what_is_written_is_read() {
        let lease = Lease {
            node: "a".to_owned(),
            token: token(),
            addresses: Addresses {
                http: url("http://a.example"),
                ..Addresses::default()
            },
        };
        assert_eq!(Lease::decode(&lease.encode()), Some(lease.clone()));
        assert!(lease.encode().starts_with(&lease.start()));
        let node = Announcement {
            name: "a".to_owned(),
            instance: token(),
            addresses: lease.addresses.clone(),
            load: Load {
                connections: 3,
                limit: 10,
            },
            fetches: vec!["__defaultVhost__".to_owned()],
        };
        assert_eq!(Announcement::decode(&node.encode()), Some(node));
    }

    #[test]
    fn what_no_node_wrote_is_none() {
        for text in [
            "",
            "a",
            "a b",
            "a b c",
            "a b {\"http\":\"ftp://x\"}",
            "a b {\"http\":\"http://x/\\r\\nSet-Cookie: y\"}",
            "a/b c {}",
        ] {
            assert_eq!(Lease::decode(text), None, "{text}");
        }
        assert!(Lease::decode("a b {\"later\":1}").is_some());
        assert_eq!(
            Lease::decode(&format!("a b {}", " ".repeat(MAX_VALUE_BYTES))),
            None
        );
        assert_eq!(
            Announcement::decode("{\"name\":\"a b\",\"instance\":\"\"}"),
            None
        );
    }

    #[test]
    fn a_node_has_a_name() {
        assert!(is_node_name(&name(&NodeKeys::default())));
        assert_ne!(token(), token());
    }
}
