//! The smallest thing written to a player: muxed bytes, framed once for every kind of body.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// Room for the size line of a chunk: eight hexadecimal digits and CRLF.
const SIZE_LINE: usize = 10;
const CRLF: &[u8; 2] = b"\r\n";

/// Bytes that stand framed as one HTTP/1.1 chunk (size line, body, CRLF: RFC 9112 §7.1) in one allocation; the bare body is a
/// slice of the same allocation. So a chunked, a close-delimited and an HTTP/2 player are given the same memory.
#[derive(Clone, Debug)]
pub struct Framed {
    chunk: Bytes,
    /// Where the body begins in `chunk`.
    body_at: usize,
}

impl Framed {
    /// Copies `body` into a frame of its own.
    pub fn copy_from(body: &[u8]) -> Self {
        let mut builder = FrameBuilder::with_capacity(body.len());
        builder.body().extend_from_slice(body);
        builder.finish()
    }

    /// Size line, body and CRLF. Empty when the body is: a chunk of size 0 would end the response.
    pub fn chunk(&self) -> &Bytes {
        &self.chunk
    }

    /// The body alone.
    pub fn body(&self) -> Bytes {
        let end = self.chunk.len().saturating_sub(CRLF.len());
        if end <= self.body_at {
            return Bytes::new();
        }
        self.chunk.slice(self.body_at..end)
    }

    /// Length of the body in bytes.
    pub fn body_len(&self) -> usize {
        self.chunk
            .len()
            .saturating_sub(CRLF.len())
            .saturating_sub(self.body_at)
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
        let mut buffer = BytesMut::with_capacity(SIZE_LINE + body + CRLF.len());
        buffer.extend_from_slice(&[0; SIZE_LINE]);
        Self { buffer }
    }

    /// Where muxers append. What is before the present end belongs to the frame and must not be touched.
    pub fn body(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Bytes of body so far.
    pub fn body_len(&self) -> usize {
        self.buffer.len().saturating_sub(SIZE_LINE)
    }

    /// Frames what was appended. The size line is right-aligned in its room, so no byte of the body moves.
    pub fn finish(mut self) -> Framed {
        let body = self.body_len();
        if body == 0 {
            return Framed {
                chunk: Bytes::new(),
                body_at: 0,
            };
        }
        self.buffer.extend_from_slice(CRLF);
        let line = format!("{body:x}\r\n");
        // A body over 0xFFFF_FFFF bytes would need a longer line; a unit is bounded by the stream's memory, far below.
        let start = SIZE_LINE.saturating_sub(line.len());
        if let Some(room) = self.buffer.get_mut(start..SIZE_LINE) {
            room.copy_from_slice(&line.as_bytes()[..room.len()]);
        }
        let chunk = self.buffer.freeze().slice(start..);
        Framed {
            chunk,
            body_at: SIZE_LINE - start,
        }
    }
}

/// What a player is given before a unit at which it starts or resumes.
#[derive(Debug)]
pub struct Prelude {
    /// For a player that joins: the format's header, metadata, sequence headers.
    pub full: Framed,
    /// For a player that skipped while the headers changed: metadata and sequence headers only.
    pub headers: Framed,
}

/// One unit of a log. Shared by all players; immutable.
#[derive(Debug)]
pub struct Unit {
    /// Position in its log, without gaps.
    pub seq: u64,
    /// The muxed bytes.
    pub data: Framed,
    /// Time of its first frame on the stream's timeline, in milliseconds.
    pub dts_ms: u64,
    /// Counts the changes of sequence headers and metadata in the log up to the end of this unit. A player whose last unit
    /// has another number than the one it resumes at needs the headers again.
    pub headers_version: u64,
    /// Set where a player may start: a unit whose first video frame is a keyframe, or any unit of a log without video.
    pub prelude: Option<Arc<Prelude>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_chunk_and_its_body_in_one_allocation() {
        for len in [1usize, 15, 16, 255, 256, 70_000] {
            let body = vec![7u8; len];
            let framed = Framed::copy_from(&body);
            let mut expected = format!("{len:x}\r\n").into_bytes();
            expected.extend_from_slice(&body);
            expected.extend_from_slice(b"\r\n");
            assert_eq!(&framed.chunk()[..], &expected[..]);
            assert_eq!(framed.body(), body);
            assert_eq!(framed.body_len(), len);
            let inside = framed.chunk().as_ptr_range();
            assert!(inside.contains(&framed.body().as_ptr()));
        }
    }

    #[test]
    fn an_empty_frame_never_ends_a_chunked_body() {
        let framed = Framed::copy_from(b"");
        assert!(framed.chunk().is_empty());
        assert!(framed.body().is_empty());
        assert_eq!(framed.body_len(), 0);
    }
}
