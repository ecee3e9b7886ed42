//! The address to which a player is sent.
//!
//! It has the stream's path, and the query that the player came with, since tokens stand there. Two parameters are added: the vhost, where
//! the host alone would not say it any more; and how often the player was sent on, so that servers which each think that another has
//! the stream do not send it round for ever.

use crate::config::{BaseUrl, DEFAULT_VHOST};
use crate::hub::StreamKey;
use crate::vhost;

/// Counts how often a player was sent on.
const HOPS: &str = "pl_hops";
/// So often a player is sent on: to where the stream was, to where it is now, and away from there because that one is full.
pub(crate) const MAX_HOPS: u32 = 3;

/// How often the client with that query was sent on already.
pub(crate) fn hops(query: &str) -> u32 {
    let counted = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == HOPS);
    match counted {
        // One that makes up a count only bars itself.
        Some((_, count)) => count.parse().unwrap_or(MAX_HOPS),
        None => 0,
    }
}

/// The address at another server: `path` begins with a slash.
pub(crate) fn address(base: &BaseUrl, path: &str, query: &str, stream: &StreamKey) -> String {
    format!("{base}{path}?{}", passed_on(query, stream))
}

/// The query with what is added.
pub(crate) fn passed_on(query: &str, stream: &StreamKey) -> String {
    let kept = query
        .split('&')
        .filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(HOPS));
    let mut passed: Vec<String> = kept.map(str::to_owned).collect();
    let named = vhost::from_query(query).is_ok_and(|named| named.is_some());
    if stream.vhost() != DEFAULT_VHOST && !named {
        passed.push(format!("vhost={}", stream.vhost()));
    }
    passed.push(format!("{HOPS}={}", hops(query).saturating_add(1)));
    passed.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(base: &str, path: &str, query: &str, vhost: &str) -> String {
        let stream = StreamKey::new(vhost, "live", "x").unwrap();
        address(&BaseUrl::parse(base).unwrap(), path, query, &stream)
    }

    #[test]
    fn path_and_query_are_kept() {
        assert_eq!(
            sent("http://b.example:8080", "/live/x.flv", "", DEFAULT_VHOST),
            "http://b.example:8080/live/x.flv?pl_hops=1"
        );
        assert_eq!(
            sent(
                "http://b.example/cdn/",
                "/live/x.flv",
                "token=a%20b&pl_hops=1&&c",
                DEFAULT_VHOST
            ),
            "http://b.example/cdn/live/x.flv?token=a%20b&c&pl_hops=2"
        );
    }

    #[test]
    fn the_vhost_is_named_where_the_host_would_not_say_it() {
        assert_eq!(
            sent("rtmp://10.0.0.1", "/live/x", "t=1", "a.example"),
            "rtmp://10.0.0.1/live/x?t=1&vhost=a.example&pl_hops=1"
        );
        assert_eq!(
            sent("rtmp://10.0.0.1", "/live/x", "vhost=b.example", "a.example"),
            "rtmp://10.0.0.1/live/x?vhost=b.example&pl_hops=1"
        );
    }

    #[test]
    fn hops_are_counted() {
        assert_eq!(hops(""), 0);
        assert_eq!(hops("a=1&pl_hops=2"), 2);
        assert_eq!(hops("pl_hops=x"), MAX_HOPS);
        assert_eq!(hops("pl_hops=99999999999"), MAX_HOPS);
        assert_eq!(hops("xpl_hops=2"), 0);
    }
}
