//! The handshake. Server side: the plain one of the specification, and the one with digests that Flash Player 9 brought.
//!
//! [`Handshake::advance`] takes C0, C1 and C2 off the front of the input as they become complete, and writes S0, S1
//! and S2 as soon as C1 is there. A client that put a valid HMAC-SHA256 digest into C1 (either of the two layouts)
//! gets digests in S1 and S2, made as Flash Media Server does; FFmpeg and Flash Player check them. All others, old clients with a
//! zero version field among them, get the plain form with C1 echoed as S2. C2 is not checked: what clients put there differs too much.
//!
//! Client side, [`ClientHandshake`] speaks the plain form, which every server takes (librtmp and with it OBS know no other).
//!
//! Nothing here is secret, so the filling of S1 and S2 is derived from C1, and that of C1 from nothing, rather than from a random source. The same
//! input gives the same output.
//!
//! Cited as "RTMP": *Adobe's Real Time Messaging Protocol*, version 1.0, December 2012. The digests are in no specification.

use super::error::{Guess, ProtocolError};
use bytes::{Buf, BufMut, BytesMut};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// RTMP §5.2.2: the version of plain RTMP, in C0 and S0.
const VERSION: u8 = 3;
/// RTMP §5.2.3: bytes of C1, S1, C2 and S2 each.
pub(crate) const PACKET_BYTES: usize = 1536;
const DIGEST_BYTES: usize = 32;
/// What S1 says of us when it holds a digest. FFmpeg takes the digest seriously from a first byte of 3 on.
const SERVER_VERSION: [u8; 4] = [4, 5, 0, 1];

/// The first half of both keys is text and keys the digests of C1 and S1; the whole keys the signatures of C2 and S2.
const CLIENT_KEY: &[u8] = b"Genuine Adobe Flash Player 001";
const SERVER_KEY: &[u8] = b"Genuine Adobe Flash Media Server 001";
const KEY_TAIL: [u8; 32] = [
    0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57,
    0x6e, 0xec, 0x5d, 0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae,
];

/// Where in C1 the four bytes are that say where the digest is: after time and version, or after the 764 bytes of a key.
const LAYOUTS: [usize; 2] = [772, 8];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    ExpectC0C1,
    ExpectC2,
    Done,
}

/// The state of one handshake.
#[derive(Debug)]
pub struct Handshake {
    state: State,
    consumed: u64,
}

impl Default for Handshake {
    fn default() -> Self {
        Self::new()
    }
}

impl Handshake {
    /// Waits for C0.
    pub fn new() -> Self {
        Handshake {
            state: State::ExpectC0C1,
            consumed: 0,
        }
    }

    /// Bytes taken off the input so far.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Takes what is complete off `input` and appends what is due to `out`. True once C2 is through; what is left in
    /// `input` then are chunks.
    ///
    /// # Errors
    /// [`ProtocolError::NotRtmp`] or [`ProtocolError::Encrypted`], judged by the first byte alone.
    pub fn advance(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<bool, ProtocolError> {
        if self.state == State::ExpectC0C1 {
            let Some(c1) = first_two(input)? else {
                return Ok(false);
            };
            self.consumed += 1 + PACKET_BYTES as u64;
            answer(&c1, out);
            self.state = State::ExpectC2;
        }
        if self.state == State::ExpectC2 {
            if input.len() < PACKET_BYTES {
                return Ok(false);
            }
            input.advance(PACKET_BYTES);
            self.consumed += PACKET_BYTES as u64;
            self.state = State::Done;
        }
        Ok(true)
    }
}

/// The client's side of one handshake, in the plain form.
#[derive(Debug, Default)]
pub struct ClientHandshake {
    /// C2 is sent.
    answered: bool,
    consumed: u64,
}

impl ClientHandshake {
    /// Appends C0 and C1 to `out`.
    pub fn start(out: &mut BytesMut) -> Self {
        out.put_u8(VERSION);
        // RTMP §5.2.3: time and zero.
        out.put_bytes(0, 8);
        let mut fill = [0; PACKET_BYTES - 8];
        Filler::new(b"pingora-live").fill(&mut fill);
        out.put_slice(&fill);
        Self::default()
    }

    /// Bytes taken off the input so far.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Takes what is complete off `input`, and appends C2 to `out` once S1 is there. True once S2 is through. What S2 holds is not
    /// checked: servers differ.
    ///
    /// # Errors
    /// [`ProtocolError::NotRtmp`] or [`ProtocolError::Encrypted`], judged by the first byte alone.
    pub fn advance(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<bool, ProtocolError> {
        if !self.answered {
            let Some(s1) = first_two(input)? else {
                return Ok(false);
            };
            // RTMP §5.2.4: C2 is S1.
            out.put_slice(&s1);
            self.consumed += 1 + PACKET_BYTES as u64;
            self.answered = true;
        }
        if input.len() < PACKET_BYTES {
            return Ok(false);
        }
        input.advance(PACKET_BYTES);
        self.consumed += PACKET_BYTES as u64;
        Ok(true)
    }
}

/// C0 and C1, or S0 and S1: takes both off once both are there, and gives the second.
fn first_two(input: &mut BytesMut) -> Result<Option<BytesMut>, ProtocolError> {
    match input.first() {
        None => return Ok(None),
        Some(&VERSION) => {}
        // RTMPE, and its variants with XTEA and Blowfish.
        Some(&version @ (6 | 8 | 9)) => return Err(ProtocolError::Encrypted { version }),
        Some(&first) => {
            return Err(ProtocolError::NotRtmp {
                first,
                guess: guess(first),
            });
        }
    }
    if input.len() < 1 + PACKET_BYTES {
        return Ok(None);
    }
    input.advance(1);
    Ok(Some(input.split_to(PACKET_BYTES)))
}

/// By one byte only, so that the answer does not depend on how the bytes were split.
fn guess(first: u8) -> Guess {
    match first {
        // CONNECT, DELETE, GET, HEAD, OPTIONS, POST, PUT, PATCH, PRI, TRACE
        b'C' | b'D' | b'G' | b'H' | b'O' | b'P' | b'T' => Guess::Http,
        0x16 => Guess::Tls,
        _ => Guess::Other,
    }
}

/// S0, S1 and S2 for a C1.
fn answer(c1: &[u8], out: &mut BytesMut) {
    out.reserve(1 + 2 * PACKET_BYTES);
    out.put_u8(VERSION);
    let mut fill = Filler::new(c1);
    let mut s1 = [0; PACKET_BYTES];
    fill.fill(&mut s1);
    if let Some(time) = s1.first_chunk_mut::<4>() {
        // RTMP §5.2.3: our epoch, "may be 0".
        *time = [0; 4];
    }
    let digest = (c1.get(4..8) != Some(&[0; 4]))
        .then(|| find_digest(c1, CLIENT_KEY))
        .flatten();
    let Some((layout, digest)) = digest else {
        // RTMP §5.2.3: the field after the time is zero. RTMP §5.2.4 has our receive time in S2; librtmp
        // warns unless S2 is C1 to the byte.
        if let Some(zero) = s1.get_mut(4..8) {
            zero.fill(0);
        }
        out.put_slice(&s1);
        out.put_slice(c1);
        return;
    };
    if let Some(version) = s1.get_mut(4..8) {
        version.copy_from_slice(&SERVER_VERSION);
    }
    if let Some(position) = digest_position(&s1, layout) {
        let ours = digest_around(&s1, position, SERVER_KEY);
        if let Some(place) = s1.get_mut(position..position + DIGEST_BYTES) {
            place.copy_from_slice(&ours);
        }
    }
    out.put_slice(&s1);

    // S2: filling, signed with a key that is made of the client's digest.
    let mut s2 = [0; PACKET_BYTES - DIGEST_BYTES];
    fill.fill(&mut s2);
    let key = hmac(&[SERVER_KEY, &KEY_TAIL].concat(), &[&digest]);
    out.put_slice(&s2);
    out.put_slice(&hmac(&key, &[&s2]));
}

/// The layout and the digest, if there is a valid one.
fn find_digest(packet: &[u8], key: &[u8]) -> Option<(usize, [u8; DIGEST_BYTES])> {
    LAYOUTS.into_iter().find_map(|layout| {
        let position = digest_position(packet, layout)?;
        let digest: [u8; DIGEST_BYTES] = packet
            .get(position..position + DIGEST_BYTES)?
            .try_into()
            .ok()?;
        (digest_around(packet, position, key) == digest).then_some((layout, digest))
    })
}

/// Where the digest is: the sum of four bytes, modulo the room that the layout leaves, after them.
fn digest_position(packet: &[u8], layout: usize) -> Option<usize> {
    let sum: usize = packet
        .get(layout..layout + 4)?
        .iter()
        .map(|&byte| usize::from(byte))
        .sum();
    Some(layout + 4 + sum % 728)
}

/// The digest of a packet without the bytes of the digest itself.
fn digest_around(packet: &[u8], position: usize, key: &[u8]) -> [u8; DIGEST_BYTES] {
    let (before, after) = packet.split_at(position.min(packet.len()));
    hmac(
        key,
        &[before, after.get(DIGEST_BYTES..).unwrap_or_default()],
    )
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    // HMAC takes keys of any length; the error type only exists for other MACs.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; DIGEST_BYTES];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Bytes without meaning (xorshift64*), seeded by the peer's.
struct Filler(u64);

impl Filler {
    fn new(seed: &[u8]) -> Self {
        let hash = seed.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Filler(hash | 1)
    }

    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let bytes = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(bytes) {
                *to = from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(bytes: &[u8]) -> (Result<bool, ProtocolError>, BytesMut, BytesMut) {
        let (mut input, mut out) = (BytesMut::from(bytes), BytesMut::new());
        let done = Handshake::new().advance(&mut input, &mut out);
        (done, input, out)
    }

    fn digest_c1(layout: usize) -> Vec<u8> {
        let mut c1: Vec<u8> = (0..PACKET_BYTES).map(|i| (i * 7 % 251) as u8).collect();
        c1[4..8].copy_from_slice(&[9, 0, 124, 2]);
        let position = digest_position(&c1, layout).unwrap();
        let digest = digest_around(&c1, position, CLIENT_KEY);
        c1[position..position + DIGEST_BYTES].copy_from_slice(&digest);
        c1
    }

    #[test]
    fn plain_clients_get_their_c1_back() {
        for version in [[0; 4], [9, 0, 124, 2]] {
            let mut bytes = vec![VERSION];
            bytes.extend([0, 0, 1, 0]);
            bytes.extend(version);
            bytes.extend((0..PACKET_BYTES - 8).map(|i| i as u8));
            let c1 = bytes[1..].to_vec();
            bytes.extend([0xaa; PACKET_BYTES]);
            bytes.extend(b"chunk");
            let (done, rest, out) = run(&bytes);
            assert_eq!(done, Ok(true));
            assert_eq!(&rest[..], b"chunk");
            assert_eq!(out.len(), 1 + 2 * PACKET_BYTES);
            assert_eq!(out[..9], [3, 0, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(out[1 + PACKET_BYTES..], c1);
        }
    }

    #[test]
    fn both_digest_layouts_are_answered_in_kind() {
        for layout in LAYOUTS {
            let c1 = digest_c1(layout);
            let (done, _, out) = run(&[&[VERSION], &c1[..]].concat());
            assert_eq!(done, Ok(false), "C2 is missing");
            let (s1, s2) = out[1..].split_at(PACKET_BYTES);
            // As FFmpeg judges it: S1 holds a digest at either place, S2 is signed with a key made of ours.
            assert_eq!(
                find_digest(s1, SERVER_KEY).map(|(found, _)| found),
                Some(layout)
            );
            let (_, digest) = find_digest(&c1, CLIENT_KEY).unwrap();
            let key = hmac(&[SERVER_KEY, &KEY_TAIL].concat(), &[&digest]);
            let (body, signature) = s2.split_at(PACKET_BYTES - DIGEST_BYTES);
            assert_eq!(hmac(&key, &[body]), signature);
        }
    }

    #[test]
    fn a_digest_that_is_off_by_a_bit_gets_the_plain_answer() {
        let mut c1 = digest_c1(8);
        c1[1535] ^= 1;
        let (_, _, out) = run(&[&[VERSION], &c1[..]].concat());
        assert_eq!(out[5..9], [0; 4]);
        assert_eq!(out[1 + PACKET_BYTES..], c1);
    }

    #[test]
    fn other_protocols_are_named_by_their_first_byte() {
        for (bytes, guess) in [
            (&b"GET / HTTP/1.1\r\n"[..], Guess::Http),
            (b"P", Guess::Http),
            (b"\x16\x03\x01", Guess::Tls),
            (b"\x00", Guess::Other),
            (b"\x04", Guess::Other),
        ] {
            let (result, ..) = run(bytes);
            assert_eq!(
                result,
                Err(ProtocolError::NotRtmp {
                    first: bytes[0],
                    guess
                })
            );
        }
        for version in [6, 8, 9] {
            assert_eq!(run(&[version]).0, Err(ProtocolError::Encrypted { version }));
        }
    }

    #[test]
    fn byte_by_byte_gives_the_same_answer() {
        let bytes = [&[VERSION], &digest_c1(772)[..], &[0; PACKET_BYTES], b"rest"].concat();
        let (_, _, whole) = run(&bytes);
        let (mut handshake, mut input, mut out) =
            (Handshake::new(), BytesMut::new(), BytesMut::new());
        let mut done_at = None;
        for (index, &byte) in bytes.iter().enumerate() {
            input.put_u8(byte);
            if handshake.advance(&mut input, &mut out).unwrap() && done_at.is_none() {
                done_at = Some(index);
            }
        }
        assert_eq!(done_at, Some(2 * PACKET_BYTES));
        assert_eq!(out, whole);
        assert_eq!(&input[..], b"rest");
    }
}
