//! HTTP/1.1: a GET whose body is played, and a POST whose body is published.

use bytes::{Buf, BytesMut};
use pingora_live::media::flv::{FLAG_AUDIO, FLAG_VIDEO, HEADER_SIZE, SIGNATURE, VERSION};

use crate::feed::Tag;
use crate::target::Target;

use super::{Body, Event, Role, Trouble};

/// The longest response header that is read, in bytes.
const MAX_HEADER: usize = 16 * 1024;
/// The longest line before a chunk.
const MAX_SIZE_LINE: usize = 256;
/// What ends a chunked body (RFC 9112 §7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

pub(crate) struct Http {
    role: Role,
    state: State,
    buffer: BytesMut,
    body: Body,
    begun: bool,
}

#[derive(Clone, Copy)]
enum State {
    Header,
    /// Until the connection closes.
    Rest,
    SizeLine,
    /// That much of a chunk is to come.
    Chunk(usize),
    /// The line's end behind a chunk.
    ChunkEnd,
    Ended,
}

impl Http {
    pub(super) fn new(target: &Target, role: Role) -> (Self, Vec<u8>) {
        let method = match role {
            Role::Play => "GET",
            Role::Publish => "POST",
        };
        let mut hello = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {}\r\n",
            target.path,
            target.authority(),
            crate::AGENT
        );
        if role == Role::Publish {
            hello.push_str("Content-Type: video/x-flv\r\nTransfer-Encoding: chunked\r\n");
        }
        hello.push_str("\r\n");
        let http = Self {
            role,
            state: State::Header,
            buffer: BytesMut::new(),
            body: Body::default(),
            begun: false,
        };
        (http, hello.into_bytes())
    }

    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn FnMut(Event),
    ) -> Result<(), Trouble> {
        self.buffer.extend_from_slice(bytes);
        loop {
            match self.state {
                State::Header => {
                    let Some((status, chunked)) = header(&mut self.buffer)? else {
                        return Ok(());
                    };
                    match (self.role, status) {
                        // The answer to a publish comes at its end.
                        (Role::Play, 200) => {}
                        (_, 100) => continue,
                        _ => return Err(Trouble(format!("status {status}"))),
                    }
                    self.state = if chunked {
                        State::SizeLine
                    } else {
                        State::Rest
                    };
                }
                State::Rest => {
                    let bytes = self.buffer.split();
                    return self.body.feed(&bytes, sink);
                }
                State::SizeLine => {
                    let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") else {
                        if self.buffer.len() > MAX_SIZE_LINE {
                            return Err(Trouble("a chunk has no size".to_owned()));
                        }
                        return Ok(());
                    };
                    let line = self.buffer.split_to(end + 2);
                    let digits = line[..].split(|b| !b.is_ascii_hexdigit()).next();
                    let size = digits
                        .and_then(|d| std::str::from_utf8(d).ok())
                        .and_then(|d| usize::from_str_radix(d, 16).ok())
                        .ok_or_else(|| Trouble("a chunk has no size".to_owned()))?;
                    self.state = match size {
                        0 => State::Ended,
                        size => State::Chunk(size),
                    };
                }
                State::Chunk(left) => {
                    let part = left.min(self.buffer.len());
                    if part == 0 {
                        return Ok(());
                    }
                    let bytes = self.buffer.split_to(part);
                    self.body.feed(&bytes, sink)?;
                    self.state = match left - part {
                        0 => State::ChunkEnd,
                        left => State::Chunk(left),
                    };
                }
                State::ChunkEnd => {
                    if self.buffer.len() < 2 {
                        return Ok(());
                    }
                    if !self.buffer.starts_with(b"\r\n") {
                        return Err(Trouble("a chunk is longer than its size".to_owned()));
                    }
                    self.buffer.advance(2);
                    self.state = State::SizeLine;
                }
                State::Ended => return Err(Trouble("the stream ended".to_owned())),
            }
        }
    }

    pub(super) fn send(&mut self, tag: &Tag, out: &mut Vec<u8>) {
        let size = tag.body.len();
        let head = if self.begun { 0 } else { HEADER_SIZE + 4 };
        out.extend_from_slice(format!("{:x}\r\n", head + 11 + size + 4).as_bytes());
        if !self.begun {
            self.begun = true;
            out.extend_from_slice(&SIGNATURE);
            out.extend_from_slice(&[VERSION, FLAG_AUDIO | FLAG_VIDEO, 0, 0, 0, HEADER_SIZE as u8]);
            out.extend_from_slice(&[0; 4]);
        }
        // FLV 10.1 §E.4.1: the upper byte of the time comes last.
        let [_, s2, s1, s0] = (size as u32).to_be_bytes();
        let [t3, t2, t1, t0] = tag.timestamp().to_be_bytes();
        out.extend_from_slice(&[tag.kind, s2, s1, s0, t2, t1, t0, t3, 0, 0, 0]);
        out.extend_from_slice(&tag.body);
        out.extend_from_slice(&(size as u32 + 11).to_be_bytes());
        out.extend_from_slice(b"\r\n");
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(LAST_CHUNK);
    }
}

/// Takes a response header off the front: the status, and whether the body is chunked.
pub(super) fn header(buffer: &mut BytesMut) -> Result<Option<(u16, bool)>, Trouble> {
    let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") else {
        if buffer.len() > MAX_HEADER {
            return Err(Trouble("the response header has no end".to_owned()));
        }
        return Ok(None);
    };
    let header = buffer.split_to(end + 4);
    let text = String::from_utf8_lossy(&header);
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| Trouble("the answer is not HTTP/1".to_owned()))?;
    let chunked = lines.any(|line| {
        let line = line.to_ascii_lowercase();
        line.starts_with("transfer-encoding:") && line.contains("chunked")
    });
    Ok(Some((status, chunked)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::time::Duration;

    fn player() -> Http {
        let target = Target::parse("http://127.0.0.1/x.flv", 0).unwrap();
        Http::new(&target, Role::Play).0
    }

    #[test]
    fn a_chunked_body_is_read_at_any_split() {
        let target = Target::parse("http://127.0.0.1/x.flv", 0).unwrap();
        let mut publisher = Http::new(&target, Role::Publish).0;
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for time in [0, 40] {
            let tag = Tag {
                kind: 9,
                body: Bytes::from_static(b"\x17\x01\0\0\0abc"),
                due: Duration::from_millis(time),
            };
            publisher.send(&tag, &mut bytes);
        }
        for size in [1, 7, bytes.len()] {
            let (mut http, mut times) = (player(), Vec::new());
            for piece in bytes.chunks(size) {
                http.feed(piece, &mut |event| match event {
                    Event::Tag(9, time, body) => times.push((time, body.len())),
                    event => panic!("{event:?}"),
                })
                .unwrap();
            }
            assert_eq!(times, [(0, 8), (40, 8)]);
            publisher.finish(&mut Vec::new());
            let ended = http.feed(LAST_CHUNK, &mut |_| {});
            assert_eq!(ended, Err(Trouble("the stream ended".to_owned())));
        }
    }

    #[test]
    fn what_is_refused_or_wrong_is_told() {
        for (bytes, why) in [
            (&b"HTTP/1.1 404 Not Found\r\n\r\n"[..], "status 404"),
            (b"SSH-2.0\r\n\r\n", "the answer is not HTTP/1"),
            (
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
                "a chunk has no size",
            ),
        ] {
            let told = player().feed(bytes, &mut |_| {});
            assert_eq!(told, Err(Trouble(why.to_owned())));
        }
    }
}
