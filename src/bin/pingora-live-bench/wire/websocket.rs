//! A WebSocket (RFC 6455) that is played: binary messages make up the body.

use bytes::{Buf, BytesMut};

use crate::target::Target;

use super::http::header;
use super::{Body, Event, Trouble};

/// Not a secret: nobody checks who the server answers.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What a server answers to [`KEY`] is the example of RFC 6455 §1.3; only the status is looked at here.
const SWITCHING: u16 = 101;
const OP_CLOSE: u8 = 0x8;
const OP_PING: u8 = 0x9;

pub(crate) struct WebSocket {
    open: bool,
    buffer: BytesMut,
    body: Body,
}

impl WebSocket {
    pub(super) fn new(target: &Target) -> (Self, Vec<u8>) {
        let hello = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            target.path,
            target.authority(),
            crate::AGENT
        );
        let websocket = Self {
            open: false,
            buffer: BytesMut::new(),
            body: Body::default(),
        };
        (websocket, hello.into_bytes())
    }

    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(), Trouble> {
        self.buffer.extend_from_slice(bytes);
        if !self.open {
            match header(&mut self.buffer)? {
                None => return Ok(()),
                Some((SWITCHING, _)) => self.open = true,
                Some((status, _)) => return Err(Trouble(format!("status {status}"))),
            }
        }
        while let Some((opcode, length, head)) = frame(&self.buffer) {
            if self.buffer.len() < head + length {
                return Ok(());
            }
            self.buffer.advance(head);
            let payload = self.buffer.split_to(length);
            match opcode {
                OP_PING => {
                    // §5.3: a client masks; a mask of zeros is one. §5.5: a ping has at most 125 bytes.
                    out.extend_from_slice(&[0x8a, 0x80 | payload.len() as u8, 0, 0, 0, 0]);
                    out.extend_from_slice(&payload);
                }
                OP_CLOSE => return Err(Trouble("the stream ended".to_owned())),
                0..=2 => self.body.feed(&payload, sink)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Opcode, length of the payload and of the header, once the header is there (§5.2). A server does not mask.
fn frame(buffer: &[u8]) -> Option<(u8, usize, usize)> {
    let [first, second, rest @ ..] = buffer else {
        return None;
    };
    let (length, head) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    Some((first & 0x0f, usize::try_from(length).ok()?, head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_make_up_the_body_and_pings_are_answered() {
        let target = Target::parse("ws://127.0.0.1/x.flv", 0).unwrap();
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
        bytes.extend_from_slice(b"\x82\x0dFLV\x01\x05\0\0\0\x09\0\0\0\0");
        bytes.extend_from_slice(b"\x89\x02hi");
        bytes.extend_from_slice(b"\x82\x7e\0\x11\x08\0\0\x02\0\0\x07\0\0\0\0\xaf\x01\0\0\0\x0d");
        for size in [1, bytes.len()] {
            let (mut websocket, mut out, mut times) =
                (WebSocket::new(&target).0, Vec::new(), Vec::new());
            for piece in bytes.chunks(size) {
                websocket
                    .feed(piece, &mut out, &mut |event| match event {
                        Event::Tag(8, time, _) => times.push(time),
                        event => panic!("{event:?}"),
                    })
                    .unwrap();
            }
            assert_eq!(times, [7]);
            assert_eq!(out, b"\x8a\x82\0\0\0\0hi");
            let ended = websocket.feed(b"\x88\x02\x03\xe8", &mut out, &mut |_| {});
            assert_eq!(ended, Err(Trouble("the stream ended".to_owned())));
        }
    }
}
