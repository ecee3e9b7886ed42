//! The smallest thing written to a player: muxed bytes, framed once for every kind of body.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

/// Room for the header of a WebSocket frame without a mask: two bytes and a 64-bit length.
const MESSAGE_HEADER: usize = 10;
/// Room for the size line of a chunk: eight hexadecimal digits and CRLF.
const SIZE_LINE: usize = 10;
/// Where the body begins.
const BODY_AT: usize = MESSAGE_HEADER + SIZE_LINE;
const CRLF: &[u8; 2] = b"\r\n";

/// Bytes framed for every kind of writer, in one allocation: `[message header] [size line] body CRLF`.
///
/// - [`chunk`](Self::chunk): size line, body and CRLF, for HTTP/1.1 (RFC 9112 §7.1);
/// - [`body`](Self::body): for HTTP/2 and a body that the close delimits;
/// - [`message_header`](Self::message_header), then the body: one binary WebSocket message (RFC 6455 §5.2).
///
/// All are slices that share the memory.
#[derive(Clone, Debug, Default)]
pub struct Framed {
    /// Everything; empty when the body is.
    all: Bytes,
    header_at: usize,
    chunk_at: usize,
}

impl Framed {
    /// Copies `body` into a frame of its own.
    pub fn copy_from(body: &[u8]) -> Self {
        let mut builder = FrameBuilder::with_capacity(body.len());
        builder.body().extend_from_slice(body);
        builder.finish()
    }

    /// Size line, body and CRLF. Empty when the body is: a chunk of size 0 would end the response.
    pub fn chunk(&self) -> Bytes {
        self.all.slice(self.chunk_at..)
    }

    /// The body alone.
    pub fn body(&self) -> Bytes {
        match self.body_len() {
            0 => Bytes::new(),
            len => self.all.slice(BODY_AT..BODY_AT + len),
        }
    }

    /// The header of a WebSocket message that has the body as its payload.
    pub fn message_header(&self) -> Bytes {
        match self.body_len() {
            0 => Bytes::new(),
            _ => self.all.slice(self.header_at..MESSAGE_HEADER),
        }
    }

    /// Length of the body in bytes.
    pub fn body_len(&self) -> usize {
        self.all.len().saturating_sub(BODY_AT + CRLF.len())
    }

    /// Memory it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.all.len()
    }
}

/// Collects the body of a [`Framed`] behind room for its size line.
#[derive(Debug)]
pub struct FrameBuilder {
    buffer: BytesMut,
}

impl FrameBuilder {
    /// A builder for about `body` bytes.
    pub fn with_capacity(body: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(BODY_AT + body + CRLF.len());
        buffer.extend_from_slice(&[0; BODY_AT]);
        Self { buffer }
    }

    /// Where muxers append. What is before the present end belongs to the frame and must not be touched.
    pub fn body(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Bytes of body so far.
    pub fn body_len(&self) -> usize {
        self.buffer.len().saturating_sub(BODY_AT)
    }

    /// What was appended behind the first `len` bytes of body.
    pub(super) fn since(&self, len: usize) -> &[u8] {
        self.buffer.get(BODY_AT + len..).unwrap_or_default()
    }

    /// Takes what was appended behind the first `len` bytes of body into a builder of its own.
    pub(super) fn split(&mut self, len: usize) -> FrameBuilder {
        let mut rest = FrameBuilder::with_capacity(self.body_len().saturating_sub(len));
        rest.buffer.extend_from_slice(self.since(len));
        self.buffer.truncate(BODY_AT + len);
        rest
    }

    /// Frames what was appended. What stands before it is right-aligned in its room, so no byte of the body moves.
    pub fn finish(mut self) -> Framed {
        let body = self.body_len();
        if body == 0 {
            return Framed::default();
        }
        self.buffer.extend_from_slice(CRLF);
        // A body over 0xFFFF_FFFF bytes would need a longer line; a unit is bounded by the stream's memory, far below.
        let line = format!("{body:x}\r\n");
        let chunk_at = align_right(&mut self.buffer, BODY_AT, line.as_bytes());
        let (header, len) = message_header(BINARY, body);
        let header_at = align_right(&mut self.buffer, MESSAGE_HEADER, &header[..len]);
        Framed {
            all: self.buffer.freeze(),
            header_at,
            chunk_at,
        }
    }
}

/// Writes `bytes` so that they end at `end`; returns where they begin.
fn align_right(buffer: &mut BytesMut, end: usize, bytes: &[u8]) -> usize {
    let start = end.saturating_sub(bytes.len());
    if let Some(room) = buffer.get_mut(start..end)
        && room.len() == bytes.len()
    {
        room.copy_from_slice(bytes);
    }
    start
}

/// First byte of a whole binary message: FIN and opcode 2.
const BINARY: u8 = 0x82;

/// The header of a whole WebSocket frame without a mask (RFC 6455 §5.2), and its length. `first`: FIN and opcode.
pub(crate) fn message_header(first: u8, payload: usize) -> ([u8; MESSAGE_HEADER], usize) {
    let mut header = [0; MESSAGE_HEADER];
    header[0] = first;
    let len = if let Ok(small @ 0..=125) = u8::try_from(payload) {
        header[1] = small;
        2
    } else if let Ok(medium) = u16::try_from(payload) {
        header[1] = 126;
        header[2..4].copy_from_slice(&medium.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
        10
    };
    (header, len)
}

/// What a player is given before a unit at which it starts or resumes.
#[derive(Debug)]
pub struct Prelude {
    /// For a player that joins: the format's header, metadata, sequence headers.
    pub full: Framed,
    /// For a player that skipped while the headers changed: metadata and sequence headers only.
    pub headers: Framed,
}

/// What a step of the stream's timeline adds to a log's clock at most, in milliseconds. Under `time_jitter: off` or `zero` timestamps may
/// jump by hours; nobody is late because of that.
pub const MAX_STEP_MS: u64 = 1000;

/// One unit of a log. Shared by all players; immutable.
#[derive(Debug)]
pub struct Unit {
    /// Position in its log, without gaps.
    pub seq: u64,
    /// The muxed bytes.
    pub data: Framed,
    /// Time of its first frame on the stream's timeline, in milliseconds.
    pub dts_ms: u64,
    /// The log's own clock at this unit, in milliseconds: how far players have fallen behind is measured by it. See [`MAX_STEP_MS`].
    pub clock_ms: u64,
    /// Counts the changes of sequence headers and metadata in the log up to the end of this unit. A player whose last unit
    /// has another number than the one it resumes at needs the headers again.
    pub headers_version: u64,
    /// Set where a player may start: a unit whose first video frame is a keyframe, or any unit of a log without video.
    pub prelude: Option<Arc<Prelude>>,
    /// When its first frame came: what the server adds to the way of a frame is counted from here.
    pub arrived: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_chunk_and_its_body_in_one_allocation() {
        for len in [1usize, 15, 16, 125, 126, 255, 256, 65_535, 65_536, 70_000] {
            let body = vec![7u8; len];
            let framed = Framed::copy_from(&body);
            let mut expected = format!("{len:x}\r\n").into_bytes();
            expected.extend_from_slice(&body);
            expected.extend_from_slice(b"\r\n");
            assert_eq!(&framed.chunk()[..], &expected[..]);
            assert_eq!(framed.body(), body);
            assert_eq!(framed.body_len(), len);
            let chunk = framed.chunk();
            assert!(chunk.as_ptr_range().contains(&framed.body().as_ptr()));
            let header = framed.message_header();
            let length = match header.len() {
                2 => u64::from(header[1]),
                4 => u64::from(u16::from_be_bytes([header[2], header[3]])),
                _ => u64::from_be_bytes(header[2..].try_into().unwrap()),
            };
            assert_eq!((header[0], length), (0x82, len as u64));
        }
    }

    #[test]
    fn an_empty_frame_never_ends_a_chunked_body() {
        let framed = Framed::copy_from(b"");
        assert!(framed.chunk().is_empty());
        assert!(framed.body().is_empty());
        assert!(framed.message_header().is_empty());
        assert_eq!(framed.body_len(), 0);
    }
}
