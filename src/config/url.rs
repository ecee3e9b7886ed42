//! The address of a server that is asked something over HTTP.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::access_kinds::is_host;
use super::cluster::{or_null, text_or_null};
use super::error::Origin;
use super::kinds::{flow_list, parse_list, quoted};
use super::node::{Data, Node};
use super::schema::{Context, Leaf};
use super::secret::Secret;

const LIST: &str = "a list of them";

/// The address of a callback: `http://host[:port]/path?query`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpUrl {
    tls: bool,
    /// Without brackets.
    host: String,
    port: u16,
    path: String,
    text: String,
}

/// Why a text is no [`HttpUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpUrlError {
    /// Another scheme, or none.
    #[error("it begins with http:// or https://")]
    Scheme,
    /// `user:password@`.
    #[error("a name and password cannot stand in it")]
    UserInfo,
    /// `#…`.
    #[error("it ends before the #")]
    Fragment,
    /// Anything else.
    #[error("it is no URL")]
    Malformed,
}

impl HttpUrl {
    /// Whether it is `https`.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; the scheme's own where none stands.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query; never empty.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What the `Host` header says: the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == default_port(self.tls) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// As it may be shown: a query may hold what lets somebody in.
    pub fn shown(&self) -> String {
        match self.text.split_once('?') {
            Some((address, _)) => format!("{address}?***"),
            None => self.text.clone(),
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for HttpUrl {
    type Err = HttpUrlError;

    fn from_str(text: &str) -> Result<Self, HttpUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(HttpUrlError::Scheme)?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(HttpUrlError::Scheme),
        };
        if rest.contains('#') {
            return Err(HttpUrlError::Fragment);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(HttpUrlError::UserInfo);
        }
        let authority: http::uri::Authority =
            authority.parse().map_err(|_| HttpUrlError::Malformed)?;
        let host = authority.host();
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if !(is_host(bare) || bare.parse::<IpAddr>().is_ok()) {
            return Err(HttpUrlError::Malformed);
        }
        let after = authority.as_str().get(host.len()..).unwrap_or_default();
        let port = match after.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0),
            None => Some(default_port(tls)),
        };
        let path = match path {
            "" => "/".to_owned(),
            path if path.starts_with('?') => format!("/{path}"),
            path => path.to_owned(),
        };
        if path.parse::<http::uri::PathAndQuery>().is_err() || path.chars().any(char::is_control) {
            return Err(HttpUrlError::Malformed);
        }
        Ok(Self {
            tls,
            host: bare.to_ascii_lowercase(),
            port: port.ok_or(HttpUrlError::Malformed)?,
            path,
            text: text.to_owned(),
        })
    }
}

const URL: &str = "a URL such as \"http://127.0.0.1:8085/api/v1/streams\"";

/// Addresses of callbacks.
pub(super) struct Urls;

impl Leaf for Urls {
    type Value = Vec<HttpUrl>;

    fn accepted(&self) -> String {
        format!("{URL}, or {LIST}")
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Vec<HttpUrl>> {
        parse_list(node, path, (URL, LIST), cx, |text| {
            text.parse()
                .map_err(|error: HttpUrlError| Some(error.to_string()))
        })
    }

    fn text(&self, value: &Vec<HttpUrl>) -> String {
        flow_list(value.iter().map(|url| quoted(&url.shown())))
    }

    fn whole(&self, value: &Vec<HttpUrl>) -> Secret {
        let texts: Vec<&str> = value.iter().map(HttpUrl::as_str).collect();
        Secret::new(texts.join(" "))
    }

    fn environment_node(&self, text: &str, at: &Origin) -> Node {
        // A space is no part of a URL; SRS separates them so.
        let items = text.split([',', ' ', '\t']).filter(|item| !item.is_empty());
        Node {
            at: at.clone(),
            data: Data::List(items.map(|item| Node::scalar(at, item)).collect()),
        }
    }
}

/// The address of one callback, or none.
pub(super) struct Url;

impl Leaf for Url {
    type Value = Option<HttpUrl>;

    fn accepted(&self) -> String {
        format!("{URL}, or null")
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Option<HttpUrl>> {
        or_null(node, path, &self.accepted(), cx, |text| {
            text.parse()
                .map_err(|error: HttpUrlError| Some(error.to_string()))
        })
    }

    fn text(&self, value: &Option<HttpUrl>) -> String {
        text_or_null(value.as_ref().map(HttpUrl::shown).as_deref())
    }

    fn whole(&self, value: &Option<HttpUrl>) -> Secret {
        Secret::new(value.as_ref().map_or("", HttpUrl::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_callbacks() {
        let url: HttpUrl = "https://Hook.example/api?x=1".parse().unwrap();
        assert_eq!(
            (url.tls(), url.host(), url.port(), url.path()),
            (true, "hook.example", 443, "/api?x=1")
        );
        assert_eq!(url.authority(), "hook.example");
        let url: HttpUrl = "http://[::1]:8085".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.path()), ("::1", 8085, "/"));
        assert_eq!(url.authority(), "[::1]:8085");
        let url: HttpUrl = "http://a?x".parse().unwrap();
        assert_eq!(url.path(), "/?x");
        for bad in [
            "",
            "a.example",
            "ftp://a",
            "http://",
            "http://u:p@a/",
            "http://a/#x",
            "http://a:0/",
            "http://a:99999/",
            "http://a b/",
            "http://a/ b",
        ] {
            assert!(bad.parse::<HttpUrl>().is_err(), "{bad}");
        }
    }
}
