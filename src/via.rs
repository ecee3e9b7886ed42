//! `Via` (RFC 9110 §7.6.3): the nodes that a request has come through, and so the guard against circles. A relay over RTMP says the same in
//! the property `via` of its connect.

use std::sync::Arc;

use http::{Version, header};
use pingora::http::RequestHeader;

/// Stands behind the name of a node that asks for a stream to give it to players of its own. A proxy on the way may leave it out.
const RELAY: &str = "(relay)";

/// A node's name in `Via`. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pseudonym(Arc<str>);

impl Pseudonym {
    /// `chance`: what makes it this node's own.
    pub(crate) fn new(chance: u64) -> Self {
        Pseudonym(format!("pingora-live-{chance:016x}").into())
    }

    /// Whether the node is among those that something came through.
    pub(crate) fn is_in(&self, via: &str) -> bool {
        via.split(',')
            .filter_map(|hop| hop.split_whitespace().nth(1))
            .any(|node| *node == *self.0)
    }

    /// What a relay says that has come through `via`.
    pub(crate) fn relay(&self, via: &str) -> String {
        let hop = format!("1.1 {} {RELAY}", self.0);
        match via {
            "" => hop,
            before => format!("{before}, {hop}"),
        }
    }

    /// What is added to a request that was received in that version of HTTP and goes on.
    pub(crate) fn hop(&self, received: Version) -> String {
        let version = match received {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        };
        format!("{version} {}", self.0)
    }
}

/// Whether it is a relay that came through `via`.
pub(crate) fn is_relay(via: &str) -> bool {
    via.contains(RELAY)
}

/// Adds a hop to a request that goes on: in one line, which all servers read.
///
/// # Errors
/// A hop that is no header's value.
pub(crate) fn add(request: &mut RequestHeader, hop: &str) -> pingora::Result<()> {
    let before: Vec<_> = request.headers.get_all(header::VIA).iter().collect();
    let texts: Option<Vec<&str>> = before.iter().map(|value| value.to_str().ok()).collect();
    match texts {
        Some(mut hops) => {
            hops.push(hop);
            let all = hops.join(", ");
            request.insert_header(header::VIA, all)
        }
        // Not for us to read.
        None => request.append_header(header::VIA, hop).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_is_added_behind_the_others() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        add(&mut request, "1.1 a").unwrap();
        assert_eq!(request.headers[header::VIA], "1.1 a");
        request.append_header(header::VIA, "1.0 b").unwrap();
        add(&mut request, "2 c").unwrap();
        assert_eq!(request.headers.get_all(header::VIA).iter().count(), 1);
        assert_eq!(request.headers[header::VIA], "1.1 a, 1.0 b, 2 c");
        request
            .insert_header(
                header::VIA,
                http::HeaderValue::from_bytes(b"1.1 \xff").unwrap(),
            )
            .unwrap();
        add(&mut request, "2 c").unwrap();
        assert_eq!(request.headers.get_all(header::VIA).iter().count(), 2);
    }

    #[test]
    fn a_node_finds_itself() {
        let (node, other) = (Pseudonym::new(1), Pseudonym::new(2));
        let via = other.relay(&node.relay(""));
        assert_eq!(
            via,
            "1.1 pingora-live-0000000000000001 (relay), 1.1 pingora-live-0000000000000002 (relay)"
        );
        assert!(node.is_in(&via) && other.is_in(&via) && is_relay(&via));
        assert!(!Pseudonym::new(3).is_in(&via));
        assert_eq!(node.hop(Version::HTTP_2), "2 pingora-live-0000000000000001");
        let proxied = format!("1.0 fred, {} ,1.1 nginx", node.hop(Version::HTTP_11));
        assert!(node.is_in(&proxied) && !is_relay(&proxied));
        for via in ["", ",", "1.1", "pingora-live-0000000000000001", "1.1 fred"] {
            assert!(!node.is_in(via), "{via}");
        }
    }
}
