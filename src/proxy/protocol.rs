//! The PROXY protocol, versions 1 and 2: what a load balancer sends ahead of a connection's own bytes, to say whose they are
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).
//!
//! No I/O and no clock. Read at most [`HeaderReader::wanted`] bytes, give them to [`HeaderReader::feed`], and repeat until it returns
//! [`Announced`]: not a byte that belongs to the connection itself is taken. Whatever the header says of its own length, about a hundred bytes are
//! held: the additions of version 2 (TLVs) are skipped as they come.
//!
//! Incomplete is `Ok(None)`; [`HeaderError`] is final. How long a header may take, and from whom it is taken at all, is for the
//! caller to say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// Spec §2.2: what version 2 begins with. No other protocol does.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Spec §2.1.
const LINE_START: &[u8; 6] = b"PROXY ";
/// Spec §2.1: the longest line of version 1, in bytes, its CRLF included.
const MAX_LINE: usize = 107;
/// Spec §2.2: signature, version and command, family and protocol, and the length of the rest.
const FIXED: usize = 16;
/// Two addresses and two ports, in bytes.
const TCP4: usize = 12;
const TCP6: usize = 36;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// The connection is that of a client at this address.
    Client(SocketAddr),
    /// The connection is the proxy's own (`LOCAL`: a health check), or of a kind that has no address here (`UNKNOWN`, UNIX sockets,
    /// datagrams): its peer is what the kernel says.
    Peer,
}

/// Why a header is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Something else comes: a client that was not sent through a proxy.
    #[error("the connection begins with no PROXY header (byte {at})")]
    None {
        /// The first byte that is no header's, from 0.
        at: usize,
    },
    /// A line of version 1 without end.
    #[error("the line of the PROXY header is longer than {MAX_LINE} bytes")]
    Long,
    /// A line of version 1 that does not say what it should.
    #[error("the line of the PROXY header has no good {what}")]
    Line {
        /// Which part.
        what: &'static str,
    },
    /// A value of version 2 that the specification reserves.
    #[error("the PROXY header has the {what} {value:#04x}")]
    Reserved {
        /// Which.
        what: &'static str,
        /// Its byte.
        value: u8,
    },
    /// The addresses of version 2 do not fit into the length that it declares.
    #[error("the PROXY header has {has} bytes for addresses of {needs}")]
    Short {
        /// What is declared.
        has: usize,
        /// What the family takes.
        needs: usize,
    },
}

/// Reads one header.
#[derive(Clone, Debug)]
pub struct HeaderReader {
    seen: [u8; MAX_LINE],
    len: usize,
    /// What is known, while the rest of the header is skipped.
    skipping: Option<(Announced, usize)>,
}

impl Default for HeaderReader {
    fn default() -> Self {
        Self {
            seen: [0; MAX_LINE],
            len: 0,
            skipping: None,
        }
    }
}

impl HeaderReader {
    /// For the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes may be read now without taking what is not the header's; at least 1 while it is not complete.
    pub fn wanted(&self) -> usize {
        if let Some((_, left)) = self.skipping {
            return left;
        }
        let seen = self.seen();
        let most = if seen.len() < SIGNATURE.len() {
            // The shortest header, `PROXY UNKNOWN` and CRLF, is longer.
            SIGNATURE.len()
        } else if seen.starts_with(SIGNATURE) {
            match self.declared() {
                None => FIXED,
                Some(declared) => FIXED + declared.min(TCP6),
            }
        } else {
            // It ends where a line ends, and nobody knows where that is.
            seen.len() + 1
        };
        most.saturating_sub(seen.len())
    }

    /// Takes the next bytes, at most [`wanted`](Self::wanted) of them; more are a mistake of the caller's and lost.
    ///
    /// # Errors
    /// [`HeaderError`]; the connection is then of no use.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Announced>, HeaderError> {
        if let Some((announced, left)) = &mut self.skipping {
            *left = left.saturating_sub(bytes.len());
            return Ok((*left == 0).then_some(*announced));
        }
        for byte in bytes {
            let room = self.seen.get_mut(self.len).ok_or(HeaderError::Long)?;
            *room = *byte;
            self.len += 1;
            if self.len <= SIGNATURE.len() {
                self.judge_start()?;
            }
            if *byte == b'\n' && self.seen().starts_with(LINE_START) {
                return version_1(self.seen()).map(Some);
            }
        }
        if self.seen().starts_with(SIGNATURE) {
            self.version_2()
        } else if self.len == MAX_LINE {
            Err(HeaderError::Long)
        } else {
            Ok(None)
        }
    }

    fn seen(&self) -> &[u8] {
        self.seen.get(..self.len).unwrap_or_default()
    }

    /// Whether it may still become a header.
    fn judge_start(&self) -> Result<(), HeaderError> {
        let seen = self.seen();
        let same = |start: &[u8]| seen.iter().zip(start).all(|(a, b)| a == b);
        if same(SIGNATURE) || same(LINE_START) {
            Ok(())
        } else {
            Err(HeaderError::None {
                at: seen.len().saturating_sub(1),
            })
        }
    }

    /// The bytes after the fixed part of version 2.
    fn declared(&self) -> Option<usize> {
        let length = self.seen().get(FIXED - 2..)?.first_chunk()?;
        Some(usize::from(u16::from_be_bytes(*length)))
    }

    fn version_2(&mut self) -> Result<Option<Announced>, HeaderError> {
        let Some(declared) = self.declared() else {
            return Ok(None);
        };
        let fixed = SIGNATURE.len();
        let (Some(&command), Some(&family)) = (self.seen.get(fixed), self.seen.get(fixed + 1))
        else {
            return Ok(None);
        };
        let reserved = |what, value| Err(HeaderError::Reserved { what, value });
        // Spec §2.2: the upper half is the version, 2; of the commands there are two.
        let is_local = match command {
            0x20 => true,
            0x21 => false,
            _ => return reserved("version and command", command),
        };
        let needs = match family {
            _ if is_local => 0,
            0x11 => TCP4,
            0x21 => TCP6,
            // Families 0 to 3 (none, IPv4, IPv6, UNIX) by protocols 0 to 2 (none, stream, datagram).
            _ if family >> 4 <= 3 && family & 0x0f <= 2 => 0,
            _ => return reserved("family and protocol", family),
        };
        if declared < needs {
            return Err(HeaderError::Short {
                has: declared,
                needs,
            });
        }
        if self.len < FIXED + declared.min(TCP6) {
            return Ok(None);
        }
        let announced = match needs {
            0 => Announced::Peer,
            _ => match self.source(needs) {
                Some(client) => Announced::Client(client),
                None => return Ok(None),
            },
        };
        let left = (FIXED + declared).saturating_sub(self.len);
        if left == 0 {
            return Ok(Some(announced));
        }
        self.skipping = Some((announced, left));
        Ok(None)
    }

    /// The source of two addresses and ports of `size` bytes together.
    fn source(&self, size: usize) -> Option<SocketAddr> {
        let block = self.seen().get(FIXED..FIXED + size)?;
        let ip = match size {
            TCP4 => IpAddr::from(*block.first_chunk::<4>()?),
            _ => IpAddr::from(*block.first_chunk::<16>()?),
        };
        let port = block.get(size - 4..)?.first_chunk()?;
        Some(SocketAddr::new(
            ip.to_canonical(),
            u16::from_be_bytes(*port),
        ))
    }
}

/// Spec §2.1: `PROXY`, the protocol, source and destination address, source and destination port, with one space between them.
fn version_1(line: &[u8]) -> Result<Announced, HeaderError> {
    let bad = |what| HeaderError::Line { what };
    let line = line.strip_suffix(b"\r\n").ok_or(bad("end"))?;
    let line = std::str::from_utf8(line).map_err(|_| bad("text"))?;
    let mut parts = line.split(' ').skip(1);
    let is_v6 = match parts.next() {
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => return Ok(Announced::Peer),
        Some("TCP4") => false,
        Some("TCP6") => true,
        _ => return Err(bad("protocol")),
    };
    let mut address = |what| {
        let text = parts.next().ok_or(bad(what))?;
        let parsed = if is_v6 {
            text.parse::<Ipv6Addr>().map(IpAddr::from)
        } else {
            text.parse::<Ipv4Addr>().map(IpAddr::from)
        };
        parsed.map_err(|_| bad(what))
    };
    let source = address("source address")?;
    address("destination address")?;
    let mut port = |what| {
        let text = parts.next().unwrap_or_default();
        let digits = (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits).ok_or(bad(what))
    };
    let source_port = port("source port")?;
    port("destination port")?;
    if parts.next().is_some() {
        return Err(bad("end"));
    }
    Ok(Announced::Client(SocketAddr::new(
        source.to_canonical(),
        source_port,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a header that is followed by other bytes, in pieces of at most `piece`; says what was read of them.
    fn read(bytes: &[u8], piece: usize) -> Result<(Option<Announced>, usize), HeaderError> {
        let mut reader = HeaderReader::new();
        let mut at = 0;
        while at < bytes.len() {
            let wanted = reader.wanted();
            assert!(wanted > 0, "nothing is wanted after {at} bytes");
            let end = bytes.len().min(at + wanted.min(piece));
            let announced = reader.feed(&bytes[at..end])?;
            at = end;
            if announced.is_some() {
                return Ok((announced, at));
            }
        }
        Ok((None, at))
    }

    #[track_caller]
    fn check(header: &[u8], expected: Announced) {
        let mut followed = header.to_vec();
        followed.extend_from_slice(b"\r\nPROXY \r\n");
        for piece in [1, 2, 3, 5, 16, 1000] {
            let read = read(&followed, piece);
            assert_eq!(read, Ok((Some(expected), header.len())), "piece {piece}");
        }
        for end in 0..header.len() {
            assert_eq!(read(&header[..end], 7), Ok((None, end)), "cut at {end}");
        }
    }

    #[track_caller]
    fn refused(bytes: &[u8]) -> HeaderError {
        let errors: Vec<_> = [1, 4, 1000]
            .map(|piece| read(bytes, piece).expect_err("was accepted"))
            .into();
        assert!(errors.windows(2).all(|two| two[0] == two[1]), "{errors:?}");
        errors[0].clone()
    }

    fn client(address: &str) -> Announced {
        Announced::Client(address.parse().unwrap())
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 0x07, 0x8f];

    fn v6(address: &str) -> Vec<u8> {
        let mut block = address.parse::<Ipv6Addr>().unwrap().octets().to_vec();
        block.extend(Ipv6Addr::LOCALHOST.octets());
        block.extend([0x12, 0x67, 0x07, 0x8f]);
        block
    }

    #[test]
    fn lines_of_version_1() {
        check(
            b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 1935\r\n",
            client("192.0.2.1:4711"),
        );
        check(
            b"PROXY TCP6 2001:db8::1 ::1 65535 0\r\n",
            client("[2001:db8::1]:65535"),
        );
        check(
            b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
            client("192.0.2.1:1"),
        );
        check(b"PROXY UNKNOWN\r\n", Announced::Peer);
        check(b"PROXY UNKNOWN what ever 1\r\n", Announced::Peer);
        // The longest that there is, by the specification.
        let longest = format!(
            "PROXY UNKNOWN {f} {f} 65535 65535\r\n",
            f = ["ffff"; 8].join(":")
        );
        assert_eq!(longest.len(), MAX_LINE);
        check(longest.as_bytes(), Announced::Peer);
    }

    #[test]
    fn lines_that_are_none() {
        for (line, what) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 4711 1935\n", "end"),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 4711 1935 \r\n", "end"),
            ("PROXY TC\n4 192.0.2.1 198.51.100.2 4711 1935\r\n", "end"),
            (
                "PROXY TCP5 192.0.2.1 198.51.100.2 4711 1935\r\n",
                "protocol",
            ),
            (
                "PROXY  TCP4 192.0.2.1 198.51.100.2 4711 1935\r\n",
                "protocol",
            ),
            (
                "PROXY TCP4 ::1 198.51.100.2 4711 1935\r\n",
                "source address",
            ),
            ("PROXY TCP6 192.0.2.1 ::1 4711 1935\r\n", "source address"),
            ("PROXY TCP4 192.0.2.1\r\n", "destination address"),
            ("PROXY TCP4 192.0.2.1 198.51.100.2\r\n", "source port"),
            (
                "PROXY TCP4 192.0.2.1 198.51.100.2 65536 1\r\n",
                "source port",
            ),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 +1 1\r\n", "source port"),
            (
                "PROXY TCP4 192.0.2.1 198.51.100.2 1 \r\n",
                "destination port",
            ),
            (
                "PROXY TCP4 192.0.2.1 198.51.100.2 1 000001\r\n",
                "destination port",
            ),
        ] {
            assert_eq!(
                refused(line.as_bytes()),
                HeaderError::Line { what },
                "{line:?}"
            );
        }
        let endless = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE));
        assert_eq!(refused(endless.as_bytes()), HeaderError::Long);
        let utf8 = b"PROXY TCP4 192.0.2.1 \xff\r\n";
        assert_eq!(refused(utf8), HeaderError::Line { what: "text" });
    }

    #[test]
    fn headers_of_version_2() {
        check(&v2(0x21, 0x11, &V4), client("192.0.2.1:4711"));
        check(
            &v2(0x21, 0x21, &v6("2001:db8::1")),
            client("[2001:db8::1]:4711"),
        );
        check(
            &v2(0x21, 0x21, &v6("::ffff:192.0.2.1")),
            client("192.0.2.1:4711"),
        );
        // LOCAL, with and without addresses; no family; UNIX sockets; datagrams.
        for header in [
            v2(0x20, 0x00, &[]),
            v2(0x20, 0x11, &V4),
            v2(0x20, 0xff, &[0; 40]),
            v2(0x21, 0x00, &[]),
            v2(0x21, 0x00, &[7; 100]),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x12, &V4),
        ] {
            check(&header, Announced::Peer);
        }
    }

    #[test]
    fn additions_of_version_2_are_skipped() {
        for more in [1, 23, 24, 25, 1000, usize::from(u16::MAX) - V4.len()] {
            let mut rest = V4.to_vec();
            rest.resize(V4.len() + more, b'\n');
            let header = v2(0x21, 0x11, &rest);
            let read = read(&header, 600);
            assert_eq!(
                read,
                Ok((Some(client("192.0.2.1:4711")), header.len())),
                "{more}"
            );
        }
    }

    #[test]
    fn headers_of_version_2_that_are_none() {
        for (header, what, value) in [
            (v2(0x11, 0x11, &V4), "version and command", 0x11),
            (v2(0x22, 0x11, &V4), "version and command", 0x22),
            (v2(0x21, 0x41, &V4), "family and protocol", 0x41),
            (v2(0x21, 0x13, &V4), "family and protocol", 0x13),
        ] {
            assert_eq!(refused(&header), HeaderError::Reserved { what, value });
        }
        for (family, needs) in [(0x11, TCP4), (0x21, TCP6)] {
            let header = v2(0x21, family, &V4[..11]);
            assert_eq!(refused(&header), HeaderError::Short { has: 11, needs });
        }
    }

    #[test]
    fn a_plain_client_is_noticed_at_once() {
        for (bytes, at) in [
            (&b"GET / HTTP/1.1\r\n"[..], 0),
            (b"POST / HTTP/1.1\r\n", 1),
            (b"PROXY_ TCP4", 5),
            (b"\x03\0\0\0\0\0", 0),
            (b"\x16\x03\x01", 0),
            (b"\r\n\r\n\0\r\nQUIT\r", 11),
        ] {
            assert_eq!(refused(bytes), HeaderError::None { at });
        }
    }

    proptest::proptest! {
        #[test]
        fn the_pieces_do_not_matter(
            start in 0usize..5,
            tail in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            piece in 1usize..50,
        ) {
            let starts: [&[u8]; 5] = [b"", b"PROXY ", b"PROXY TCP4 1.2.3.4 1.2.3.4 ", SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"];
            let mut bytes = starts[start].to_vec();
            bytes.extend(tail);
            proptest::prop_assert_eq!(read(&bytes, piece), read(&bytes, 1));
        }
    }
}
