//! Who asks: what is known of a client, whatever protocol it speaks.
//!
//! Made once, where a protocol has understood what its peer wants, and carried along to all that judge or describe the client: the join,
//! the claim, the log.

use std::net::SocketAddr;

/// A client that wants to publish or play.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// Its number in this process, from 1.
    pub(crate) id: u64,
    /// The address it is known by. None: a socket pair in a test.
    pub(crate) peer: Option<SocketAddr>,
    /// The name of the protocol in logs: `rtmp`, `http1`, `http2`, `websocket`.
    pub(crate) protocol: &'static str,
    /// Whether it came over TLS.
    pub(crate) secure: bool,
    /// What follows `?` in the stream's address, as it was written; empty when there is none. Over RTMP, what the client appended to the
    /// stream's name, the app and the tcUrl, in this order, joined by `&`.
    pub(crate) query: String,
    /// The page that it is on, by its own word: `Referer`, or RTMP's `pageUrl`.
    pub(crate) page: Option<String>,
    /// The address that it asked for, without the query: RTMP's `tcUrl`, or host and path of the request (`example.com/live/a.flv`).
    pub(crate) url: String,
    /// What followed `?` in it, where that is RTMP's `tcUrl`: it may hold a key, so it is kept from logs. It stands in `query`, too.
    pub(crate) url_query: String,
    /// The nodes that it has come through, in the form of HTTP's `Via`; for relays and proxied players.
    pub(crate) via: String,
}

impl Client {
    /// Nobody from outside: a relay of this server's own.
    pub(crate) fn of_ours(protocol: &'static str, id: u64) -> Self {
        Client {
            id,
            peer: None,
            protocol,
            secure: false,
            query: String::new(),
            page: None,
            url: String::new(),
            url_query: String::new(),
            via: String::new(),
        }
    }
}

/// Joins queries that a client wrote in several places; one that stands in two is taken once.
pub(crate) fn join_queries(parts: &[&str]) -> String {
    let mut joined = String::new();
    for (at, part) in parts.iter().enumerate() {
        let seen = parts.iter().take(at).any(|before| before == part);
        if part.is_empty() || seen {
            continue;
        }
        if !joined.is_empty() {
            joined.push('&');
        }
        joined.push_str(part);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_joined_in_order_and_once() {
        assert_eq!(join_queries(&["", "", ""]), "");
        assert_eq!(join_queries(&["a=1", "", "b=2"]), "a=1&b=2");
        assert_eq!(join_queries(&["a=1", "vhost=b", "vhost=b"]), "a=1&vhost=b");
    }
}
