//! WebSocket (RFC 6455): the handshake's rules, and what a client may say while it is played to. No I/O.
//!
//! Players get binary messages, one a unit. What they send is control frames, and little of it: pings are answered, a close is
//! answered and ends the play, data is thrown away. Everything is bounded; a client that breaks the protocol is told so by a close code.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, HeaderMap, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{Method, Version};
use sha1::{Digest, Sha1};

use crate::hub::message_header;

use super::talk::{Said, Talk};

/// RFC 6455 §1.3: what is appended to the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a client's key after decoding (§4.1).
const KEY_BYTES: usize = 16;
/// The longest frame that a player may send, in bytes. Players have nothing to say but pings of at most 125 bytes; some libraries send a
/// text of greeting.
pub const MAX_CLIENT_FRAME: u64 = 4096;
/// Control frames that are answered in one look; more are a flood.
pub const MAX_ANSWERS: usize = 16;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

const OP_CLOSE: u8 = 0x8;
const OP_PING: u8 = 0x9;
const OP_PONG: u8 = 0xa;

/// Close codes (§7.4.1, and 1013 of the IANA registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum CloseCode {
    /// The stream ended.
    Normal = 1000,
    /// The client broke the protocol.
    Protocol = 1002,
    /// The client may not.
    Policy = 1008,
    /// A frame of the client is too big.
    TooBig = 1009,
    /// Over a limit: try again later.
    TryAgain = 1013,
}

/// How a request for a WebSocket is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    /// It asks for none.
    None,
    /// 101 with this `Sec-WebSocket-Accept`.
    Accept(String),
    /// 400: something is missing or wrong.
    Bad(&'static str),
    /// 426 with `Sec-WebSocket-Version: 13` (§4.4).
    Version,
}

/// Judges a request (§4.2.1).
pub(super) fn handshake(method: &Method, version: Version, headers: &HeaderMap) -> Handshake {
    if !has_token(headers, UPGRADE.as_str(), "websocket") {
        return Handshake::None;
    }
    if method != Method::GET || version != Version::HTTP_11 {
        return Handshake::Bad("a WebSocket is opened by GET over HTTP/1.1");
    }
    if !has_token(headers, CONNECTION.as_str(), "upgrade") {
        return Handshake::Bad("the Connection header lacks Upgrade");
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|v| v != "13") {
        return Handshake::Version;
    }
    let Some(key) = headers
        .get(SEC_WEBSOCKET_KEY)
        .map(|key| key.as_bytes().trim_ascii())
    else {
        return Handshake::Bad("Sec-WebSocket-Key is missing");
    };
    if BASE64.decode(key).map_or(0, |key| key.len()) != KEY_BYTES {
        return Handshake::Bad("Sec-WebSocket-Key is not 16 bytes in base64");
    }
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    Handshake::Accept(BASE64.encode(digest))
}

fn has_token(headers: &HeaderMap, name: &str, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Reads a client's frames, piece by piece.
#[derive(Debug, Default)]
pub(super) struct ClientFrames {
    /// The beginning of a frame that is not whole. At most [`MAX_CLIENT_FRAME`] and a header.
    buffer: BytesMut,
}

impl Talk for ClientFrames {
    fn hear(&mut self, bytes: &[u8]) -> Said {
        self.buffer.extend_from_slice(bytes);
        let mut answers = BytesMut::new();
        let mut answered = 0;
        loop {
            match self.frame() {
                Ok(None) => break,
                Ok(Some((OP_PING, payload))) => {
                    answered += 1;
                    if answered > MAX_ANSWERS {
                        return Said::Close(close_frame(CloseCode::Policy));
                    }
                    let (header, len) = message_header(FIN | OP_PONG, payload.len());
                    answers.extend_from_slice(&header[..len]);
                    answers.extend_from_slice(&payload);
                }
                // §5.5.1: answered with the code that came, and that is the end.
                Ok(Some((OP_CLOSE, _))) => return Said::Close(close_frame(CloseCode::Normal)),
                Ok(Some(_)) => {}
                Err(code) => return Said::Close(close_frame(code)),
            }
        }
        if self.buffer.is_empty() {
            // A player's memory is counted in bytes: keep no empty buffer.
            self.buffer = BytesMut::new();
        }
        if answers.is_empty() {
            Said::Nothing
        } else {
            Said::Answer(answers.freeze())
        }
    }

    fn goodbye(&mut self) -> Bytes {
        close_frame(CloseCode::Normal)
    }

    fn dismissal(&mut self) -> Bytes {
        close_frame(CloseCode::Policy)
    }
}

impl ClientFrames {
    /// Bytes that wait for the rest of their frame.
    pub(super) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame: opcode and payload, unmasked.
    fn frame(&mut self) -> Result<Option<(u8, Bytes)>, CloseCode> {
        let mut head = &self.buffer[..];
        if head.remaining() < 2 {
            return Ok(None);
        }
        let (first, second) = (head.get_u8(), head.get_u8());
        let opcode = first & OPCODE;
        let control = opcode >= OP_CLOSE;
        // §5.2: no extension was agreed on, and a client masks. §5.5: control frames are whole and short.
        let known = matches!(opcode, 0x0..=0x2 | OP_CLOSE..=OP_PONG);
        let short = second & LENGTH <= 125;
        if first & RESERVED != 0
            || second & MASKED == 0
            || !known
            || (control && (first & FIN == 0 || !short))
        {
            return Err(CloseCode::Protocol);
        }
        let length = match second & LENGTH {
            126 if head.remaining() < 2 => return Ok(None),
            126 => u64::from(head.get_u16()),
            127 if head.remaining() < 8 => return Ok(None),
            127 => head.get_u64(),
            short => u64::from(short),
        };
        if length > MAX_CLIENT_FRAME {
            return Err(CloseCode::TooBig);
        }
        let length = length as usize;
        if head.remaining() < 4 + length {
            return Ok(None);
        }
        let mask = head.get_u32().to_be_bytes();
        let header = self.buffer.len() - head.len();
        self.buffer.advance(header);
        let mut payload = self.buffer.split_to(length);
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Ok(Some((opcode, payload.freeze())))
    }
}

/// A close frame with a code and no reason (§5.5.1).
pub(super) fn close_frame(code: CloseCode) -> Bytes {
    let (header, len) = message_header(FIN | OP_CLOSE, 2);
    let mut frame = BytesMut::with_capacity(len + 2);
    frame.extend_from_slice(&header[..len]);
    frame.extend_from_slice(&(code as u16).to_be_bytes());
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_example_of_the_rfc() {
        let answer = handshake(&Method::GET, Version::HTTP_11, &headers(&GOOD));
        assert_eq!(
            answer,
            Handshake::Accept("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned())
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        for (index, wrong) in [(1, "close"), (3, "dGhlIHNhbXBsZQ=="), (3, "!")] {
            let mut pairs = GOOD;
            pairs[index].1 = wrong;
            let answer = handshake(&Method::GET, Version::HTTP_11, &headers(&pairs));
            assert!(matches!(answer, Handshake::Bad(_)), "{pairs:?}: {answer:?}");
        }
        let mut pairs = GOOD;
        pairs[2].1 = "8";
        assert_eq!(
            handshake(&Method::GET, Version::HTTP_11, &headers(&pairs)),
            Handshake::Version
        );
        assert!(matches!(
            handshake(&Method::POST, Version::HTTP_11, &headers(&GOOD)),
            Handshake::Bad(_)
        ));
        assert!(matches!(
            handshake(&Method::GET, Version::HTTP_10, &headers(&GOOD)),
            Handshake::Bad(_)
        ));
        assert_eq!(
            handshake(&Method::GET, Version::HTTP_11, &headers(&GOOD[1..])),
            Handshake::None
        );
    }

    /// A client's frame, masked.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let (header, len) = message_header(first, payload.len());
        let mut frame = header[..len].to_vec();
        frame[1] |= MASKED;
        let mask = [1u8, 2, 3, 4];
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        frame
    }

    #[test]
    fn pings_are_answered_and_data_is_thrown_away() {
        let mut said = frame(0x81, b"hello");
        said.extend(frame(0x89, b"are you there"));
        let mut frames = ClientFrames::default();
        let Said::Answer(pong) = frames.hear(&said) else {
            panic!("no answer")
        };
        assert_eq!(&pong[..], b"\x8a\x0dare you there");
        assert_eq!(frames.buffer.capacity(), 0);
        // Byte by byte it is the same.
        let mut answers = Vec::new();
        for byte in said {
            if let Said::Answer(bytes) = frames.hear(&[byte]) {
                answers.extend_from_slice(&bytes);
            }
        }
        assert_eq!(answers, pong);
    }

    #[test]
    fn a_close_is_answered_and_ends() {
        let said = ClientFrames::default().hear(&frame(0x88, &1001u16.to_be_bytes()));
        assert_eq!(said, Said::Close(Bytes::from_static(b"\x88\x02\x03\xe8")));
    }

    #[test]
    fn a_client_that_breaks_the_rules_is_told_which() {
        let mut unmasked = frame(0x89, b"x");
        unmasked[1] &= !MASKED;
        let huge = [0x82, MASKED | 127, 0, 0, 0, 1, 0, 0, 0, 0];
        let mut flood = Vec::new();
        for _ in 0..100 {
            flood.extend(frame(0x89, b""));
        }
        for (bytes, code) in [
            (unmasked, CloseCode::Protocol),
            (frame(0xc1, b"x"), CloseCode::Protocol),
            (frame(0x83, b"x"), CloseCode::Protocol),
            (frame(0x09, b"x"), CloseCode::Protocol),
            (frame(0x89, &[0; 126]), CloseCode::Protocol),
            (huge.to_vec(), CloseCode::TooBig),
            (frame(0x82, &vec![0; 5000]), CloseCode::TooBig),
            (flood, CloseCode::Policy),
        ] {
            assert_eq!(
                ClientFrames::default().hear(&bytes),
                Said::Close(close_frame(code)),
                "{bytes:x?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic_or_grow(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..40)) {
            let mut frames = ClientFrames::default();
            for piece in pieces {
                if let Said::Close(_) = frames.hear(&piece) {
                    break;
                }
                prop_assert!(frames.buffer.len() as u64 <= MAX_CLIENT_FRAME + 14);
            }
        }
    }
}
