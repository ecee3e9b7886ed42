//! Which vhost a client means, for every protocol alike.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{BadPath, DEFAULT_VHOST, Live, Vhost, decode_name, host_key};

/// Query parameters that name the vhost, in SRS's order.
const VHOST_PARAMETERS: [&str; 2] = ["vhost", "domain"];

/// The configured vhosts.
#[derive(Debug)]
pub(crate) struct Vhosts {
    by_name: HashMap<String, Arc<Vhost>>,
    default: Arc<Vhost>,
}

impl Vhosts {
    pub(crate) fn new(live: &Live) -> Self {
        let mut by_name: HashMap<_, _> = live
            .vhosts
            .iter()
            .map(|(name, vhost)| (name.clone(), Arc::new(vhost.clone())))
            .collect();
        // Taken out, so that no client can name it.
        let default = by_name.remove(DEFAULT_VHOST).unwrap_or_default();
        Self { by_name, default }
    }

    /// The vhost for a name a client gave: itself when it is configured, else the default one. Found by its exact name only, so no guess
    /// at a Host reaches another vhost's streams. A disabled vhost is found as such and never replaced by the default.
    pub(crate) fn resolve(&self, asked: &str) -> (String, Arc<Vhost>) {
        let name = host_key(asked);
        match self.by_name.get(&name) {
            Some(vhost) => (name, Arc::clone(vhost)),
            None => (DEFAULT_VHOST.to_owned(), Arc::clone(&self.default)),
        }
    }
}

/// The vhost that a query names: `?vhost=` or `?domain=`. Whatever else a query holds is not looked at.
///
/// # Errors
/// When the name cannot be decoded, or is none.
pub(crate) fn from_query(query: &str) -> Result<Option<String>, BadPath> {
    let named = VHOST_PARAMETERS.iter().find_map(|name| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value)
    });
    named.map(decode_name).transpose()
}

/// A host without its port: `a.example:8080`, `[::1]:80`.
pub(crate) fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(host, |(address, _)| address);
    }
    match host.rsplit_once(':') {
        // More than one colon without brackets is a bare IPv6 address.
        Some((name, _)) if !name.contains(':') => name,
        _ => host,
    }
}

/// The host of a URL such as RTMP's `tcUrl`: `rtmp://user@host:1935/live` gives `host`.
pub(crate) fn host_of_url(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    without_port(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_ports() {
        for (host, name) in [
            ("a.example", "a.example"),
            ("a.example:8080", "a.example"),
            ("[::1]:80", "::1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("", ""),
        ] {
            assert_eq!(without_port(host), name);
        }
    }

    #[test]
    fn the_host_of_a_tc_url() {
        for (url, host) in [
            ("rtmp://localhost:1935/live", "localhost"),
            ("rtmps://a.example/live?vhost=b", "a.example"),
            ("rtmp://user:secret@a.example/live", "a.example"),
            ("rtmp://[::1]:1935/live", "::1"),
            ("a.example/live", "a.example"),
            ("", ""),
        ] {
            assert_eq!(host_of_url(url), host, "{url}");
        }
    }

    #[test]
    fn a_query_names_the_vhost() {
        let named = |query| from_query(query).unwrap();
        assert_eq!(named("a=1&vhost=b.example").as_deref(), Some("b.example"));
        assert_eq!(named("domain=c%2eexample").as_deref(), Some("c.example"));
        assert_eq!(named("domain=c&vhost=b").as_deref(), Some("b"));
        assert_eq!(named("vhost="), None);
        assert_eq!(named("token=%zz"), None);
        assert_eq!(named(""), None);
        assert!(from_query("vhost=%zz").is_err());
    }
}
