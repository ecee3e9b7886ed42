//! Whose word counts for who asks: `X-Forwarded-For` and `Forwarded` (RFC 7239), as far as they come from proxies that are trusted.
//!
//! Each proxy appends the address that it was asked from, so the list is read from its end: the peer of the connection vouches for
//! the last entry if it is trusted, that one for the entry before, and so on. The first address that is not trusted is the client, and
//! whatever stands before it was written by the client itself. An entry that cannot be read ends the walk where it is.
//!
//! No I/O: headers in, an address out. The time is linear in the header's length, which pingora bounds; nothing is allocated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName, header};

use crate::config::{self, ForwardedHeader, Network};

/// The de-facto header.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme of the first request: `http` or `https`.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host of the first request.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The proxies that are believed.
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    header: ForwardedHeader,
}

impl TrustedProxies {
    /// As `live.trusted_proxies` and `live.forwarded_header` say.
    pub fn new(live: &config::Live) -> Self {
        Self {
            networks: live.trusted_proxies.clone(),
            header: live.forwarded_header,
        }
    }

    /// Whether what comes from this address is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(address))
    }

    /// Who asks, for a request that came from `peer` with these headers: `peer` itself unless it is trusted and says otherwise.
    ///
    /// The port is 0 where a header told none.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        // Most requests of most servers.
        if !self.trusts(peer.ip()) {
            return peer;
        }
        let x_forwarded_for = match self.header {
            ForwardedHeader::Any => headers.contains_key(&X_FORWARDED_FOR),
            ForwardedHeader::XForwardedFor => true,
            ForwardedHeader::Forwarded => false,
        };
        let mut client = peer;
        let mut walk = |entry: Option<SocketAddr>| {
            let Some(address) = entry else {
                return false;
            };
            client = address;
            self.trusts(address.ip())
        };
        let name = if x_forwarded_for {
            X_FORWARDED_FOR
        } else {
            header::FORWARDED
        };
        // Several headers of the name are one list (RFC 9110 §5.3).
        for value in headers.get_all(name).iter().rev() {
            let Ok(list) = value.to_str() else { break };
            let goes_on = if x_forwarded_for {
                entries(list).all(|entry| walk(node(entry)))
            } else {
                Elements(Some(list)).all(|element| walk(forwarded_for(element)))
            };
            if !goes_on {
                break;
            }
        }
        client
    }
}

/// The entries of a list from the last to the first, without the empty ones, which mean nothing (RFC 9110 §5.6.1.2).
fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.rsplit(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// The elements of a `Forwarded` header from the last to the first.
///
/// Quotes are matched from the end too: one that a client left open must not swallow what proxies appended behind it.
struct Elements<'a>(Option<&'a str>);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let list = self.0?;
            let (before, element) = match last_comma(list) {
                Some(at) => (list.get(..at), list.get(at + 1..)?),
                None => (None, list),
            };
            self.0 = before;
            let element = element.trim();
            if !element.is_empty() {
                return Some(element);
            }
        }
    }
}

/// Where the last comma outside of quotes is.
fn last_comma(list: &str) -> Option<usize> {
    let bytes = list.as_bytes();
    let mut quoted = false;
    for (at, byte) in bytes.iter().enumerate().rev() {
        match byte {
            b',' if !quoted => return Some(at),
            b'"' => {
                let backslashes = bytes
                    .get(..at)
                    .unwrap_or_default()
                    .iter()
                    .rev()
                    .take_while(|byte| **byte == b'\\')
                    .count();
                // RFC 9110 §5.6.4: inside of quotes, a backslash takes the meaning from what follows.
                if !(quoted && backslashes % 2 == 1) {
                    quoted = !quoted;
                }
            }
            _ => {}
        }
    }
    None
}

/// The address in the `for` parameter of an element (RFC 7239 §4); none when it has not exactly one, or it hides the address.
fn forwarded_for(element: &str) -> Option<SocketAddr> {
    let mut found = None;
    let mut rest = element;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let end = closing_quote(quoted)?;
                (quoted.get(..end)?, quoted.get(end + 1..)?)
            }
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after.get(..end)?, after.get(end..)?)
            }
        };
        if name.trim().eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
        match after.trim_start().strip_prefix(';') {
            Some(next) => rest = next,
            None if after.trim().is_empty() => break,
            None => return None,
        }
    }
    node(found?.trim())
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// An address as proxies write it: alone, or with a port; IPv6 in brackets or, without a port, bare. `unknown` and the names that
/// RFC 7239 §6.3 has for hidden ones are none.
fn node(text: &str) -> Option<SocketAddr> {
    let (address, port): (IpAddr, Option<&str>) = match text.strip_prefix('[') {
        Some(inside) => {
            let (address, port) = inside.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.into(), Some(port))
        }
        None => match text.parse::<IpAddr>() {
            Ok(address) => (address, None),
            Err(_) => {
                let at = text.find(':')?;
                let address: Ipv4Addr = text.get(..at)?.parse().ok()?;
                (address.into(), text.get(at..))
            }
        },
    };
    let port = match port {
        None | Some("") => 0,
        Some(port) => {
            let port = port.strip_prefix(':')?;
            // RFC 7239 §6.2: a port may be hidden, too.
            let hidden = port.len() > 1 && port.starts_with('_');
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            match port.parse() {
                _ if hidden => 0,
                Ok(port) if digits => port,
                _ => return None,
            }
        }
    };
    Some(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(networks: &str) -> TrustedProxies {
        TrustedProxies {
            networks: networks
                .split_whitespace()
                .map(|network| network.parse().unwrap())
                .collect(),
            header: ForwardedHeader::Any,
        }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                name.parse::<HeaderName>().unwrap(),
                http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        map
    }

    /// Who asks when a proxy at 10.0.0.1 sends these, and the proxies of 10.0.0.0/8 are trusted.
    #[track_caller]
    fn client(lines: &[(&str, &str)]) -> String {
        trusted("10.0.0.0/8 fd00::/8")
            .client("10.0.0.1:4000".parse().unwrap(), &headers(lines))
            .to_string()
    }

    fn x(list: &str) -> String {
        client(&[("X-Forwarded-For", list)])
    }

    fn forwarded(list: &str) -> String {
        client(&[("Forwarded", list)])
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        let headers = headers(&[
            ("X-Forwarded-For", "192.0.2.1"),
            ("Forwarded", "for=192.0.2.1"),
        ]);
        let peer = "203.0.113.9:4000".parse().unwrap();
        for networks in ["", "10.0.0.0/8"] {
            assert_eq!(trusted(networks).client(peer, &headers), peer);
        }
        assert_eq!(
            trusted("203.0.113.9").client(peer, &headers).to_string(),
            "192.0.2.1:0"
        );
    }

    #[test]
    fn the_walk_goes_from_the_right_to_the_first_that_is_not_trusted() {
        assert_eq!(x("192.0.2.1"), "192.0.2.1:0");
        assert_eq!(x("192.0.2.1, 10.0.0.2, 10.0.0.3"), "192.0.2.1:0");
        // What the client wrote itself.
        assert_eq!(x("127.0.0.1, 203.0.113.9, 10.0.0.2"), "203.0.113.9:0");
        assert_eq!(x("10.9.9.9, 203.0.113.9"), "203.0.113.9:0");
        // Everybody is trusted: the first of all is as far as one can see.
        assert_eq!(x("10.0.0.4,10.0.0.3"), "10.0.0.4:0");
        assert_eq!(x(" , 192.0.2.1 ,, "), "192.0.2.1:0");
        let lines = [
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-For", "192.0.2.1, 10.0.0.7"),
            ("X-Forwarded-For", "10.0.0.2"),
        ];
        assert_eq!(client(&lines), "192.0.2.1:0");
        assert_eq!(client(&[]), "10.0.0.1:4000");
    }

    #[test]
    fn the_forms_of_addresses() {
        for (text, address) in [
            ("192.0.2.1:4711", "192.0.2.1:4711"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]", "[2001:db8::1]:0"),
            ("[2001:db8::1]:4711", "[2001:db8::1]:4711"),
            ("::ffff:192.0.2.1", "192.0.2.1:0"),
        ] {
            assert_eq!(x(text), address);
            assert_eq!(forwarded(&format!("for=\"{text}\"")), address);
        }
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk() {
        let end = "10.0.0.1:4000";
        for text in [
            "",
            "unknown",
            "_hidden",
            "localhost",
            "192.0.2.1:",
            "192.0.2.1:65536",
            "192.0.2.1:+1",
            "192.0.2.1:_",
            "[192.0.2.1]",
            "[2001:db8::1",
            "[2001:db8::1]4711",
            "fe80::1%eth0",
            "192.0.2.1;",
            "192.0.2.1 192.0.2.2",
        ] {
            assert_eq!(x(text), end, "{text}");
            assert_eq!(forwarded(&format!("for={text}")), end, "{text}");
        }
        assert_eq!(x("192.0.2.1, nonsense, 10.0.0.2"), "10.0.0.2:0");
        assert_eq!(
            client(&[("X-Forwarded-For", "192.0.2.1, 10.0.0.\u{e9}")]),
            end
        );
    }

    #[test]
    fn forwarded_as_in_the_rfc() {
        for (list, address) in [
            ("for=192.0.2.43", "192.0.2.43:0"),
            (
                "For=\"[2001:db8:cafe::17]:4711\"",
                "[2001:db8:cafe::17]:4711",
            ),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60:0"),
            ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17:0"),
            (
                "for=192.0.2.43,for=\"10.0.0.2:_port\"; proto=https",
                "192.0.2.43:0",
            ),
            (
                "for=192.0.2.43, for=10.0.0.2;host=\"a, for=1.1.1.1\"",
                "192.0.2.43:0",
            ),
            (
                "for=192.0.2.43, host=\"a;for=1.1.1.1\";for=10.0.0.2",
                "192.0.2.43:0",
            ),
            (
                "for=192.0.2.43, for=10.0.0.2;host=\"a\\\", for=1.1.1.1\"",
                "192.0.2.43:0",
            ),
        ] {
            assert_eq!(forwarded(list), address, "{list}");
        }
        let end = "10.0.0.1:4000";
        for list in [
            "proto=https",
            "for=192.0.2.1;for=192.0.2.2",
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\"x",
            "for",
            ";",
        ] {
            assert_eq!(forwarded(list), end, "{list}");
        }
    }

    /// A client cannot hide what its proxy appends behind a quote that it opened.
    #[test]
    fn an_open_quote_swallows_nothing() {
        for start in [
            "for=\"",
            "for=\"x\\",
            "host=\"a, b",
            "\"\"\"",
            "for=1.2.3.4;\"",
        ] {
            assert_eq!(
                forwarded(&format!("{start}, for=203.0.113.9")),
                "203.0.113.9:0",
                "{start}"
            );
        }
    }

    #[test]
    fn which_header_counts() {
        let lines = [
            ("X-Forwarded-For", "192.0.2.1"),
            ("Forwarded", "for=192.0.2.2"),
        ];
        for (header, address) in [
            (ForwardedHeader::Any, "192.0.2.1:0"),
            (ForwardedHeader::XForwardedFor, "192.0.2.1:0"),
            (ForwardedHeader::Forwarded, "192.0.2.2:0"),
        ] {
            let mut trusted = trusted("10.0.0.1");
            trusted.header = header;
            let peer = "10.0.0.1:4000".parse().unwrap();
            assert_eq!(trusted.client(peer, &headers(&lines)).to_string(), address);
        }
    }
}
