//! The socket, or what stands for it: where a player's bytes go.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::SendStream;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::hub::Framed;

/// What a player sends after its request is thrown away; this much of it is read at a time.
const DISCARD_BYTES: usize = 1024;

/// The last chunk of a chunked body (RFC 9112 §7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// One player's way out. All polls are safe with a waker that does nothing; the slow lane polls again with a real one.
pub(super) enum Transport {
    /// HTTP/1: the socket was taken out of pingora's session.
    Http1 {
        /// Plain or TLS.
        io: Stream,
        /// HTTP/1.1; an HTTP/1.0 body is delimited by the close.
        chunked: bool,
    },
    /// HTTP/2: a stream of a connection that pingora drives.
    Http2 {
        /// The response's body.
        body: SendStream<Bytes>,
        /// Dropped when the player is, which lets the request phase return.
        _done: oneshot::Sender<()>,
    },
}

impl Transport {
    /// The bytes of `framed` as this transport wants them.
    pub(super) fn dress(&self, framed: &Framed) -> Bytes {
        match self {
            Self::Http1 { chunked: true, .. } => framed.chunk().clone(),
            _ => framed.body(),
        }
    }

    /// Writes from the front of `piece` and advances it. Ready means progress.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, piece: &mut Bytes) -> Poll<io::Result<usize>> {
        match self {
            Self::Http1 { io, .. } => {
                let written = ready!(Pin::new(io).poll_write(cx, piece))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                piece.advance(written);
                Poll::Ready(Ok(written))
            }
            Self::Http2 { body, .. } => {
                body.reserve_capacity(piece.len());
                let room = match body.capacity() {
                    0 => match ready!(body.poll_capacity(cx)) {
                        Some(Ok(room)) => room,
                        Some(Err(error)) => return Poll::Ready(Err(from_h2(error))),
                        None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                    },
                    room => room,
                };
                let part = piece.split_to(room.min(piece.len()));
                let written = part.len();
                body.send_data(part, false).map_err(from_h2)?;
                Poll::Ready(Ok(written))
            }
        }
    }

    /// Pushes out what a layer below holds (pingora's write buffer, TLS records).
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1 { io, .. } => Pin::new(io).poll_flush(cx),
            // The connection's task flushes.
            Self::Http2 { .. } => Poll::Ready(Ok(())),
        }
    }

    /// Whether the player left, as far as a look at the socket tells. What it sent is thrown away.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Http1 { io, .. } => {
                let mut room = [0u8; DISCARD_BYTES];
                let mut buf = ReadBuf::new(&mut room);
                match Pin::new(io).poll_read(cx, &mut buf) {
                    Poll::Ready(Ok(())) => buf.filled().is_empty(),
                    Poll::Ready(Err(_)) => true,
                    Poll::Pending => false,
                }
            }
            Self::Http2 { body, .. } => body.poll_reset(cx).is_ready(),
        }
    }

    /// What ends the body properly, to be written before [`Transport::poll_close`].
    pub(super) fn last_piece(&self) -> Bytes {
        match self {
            Self::Http1 { chunked: true, .. } => Bytes::from_static(LAST_CHUNK),
            _ => Bytes::new(),
        }
    }

    /// Ends the body and closes what is the player's own.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1 { io, .. } => Pin::new(io).poll_shutdown(cx),
            Self::Http2 { body, .. } => Poll::Ready(body.send_data(Bytes::new(), true).map_err(from_h2)),
        }
    }

    /// Breaks an HTTP/2 stream off, so that its player sees an error and not an end. A socket is simply dropped.
    pub(super) fn abort(&mut self) {
        if let Self::Http2 { body, .. } = self {
            body.send_reset(h2::Reason::CANCEL);
        }
    }
}

fn from_h2(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    } else {
        io::Error::new(io::ErrorKind::BrokenPipe, error)
    }
}
