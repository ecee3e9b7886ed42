//! The socket, or what stands for it: where a player's bytes go.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::SendStream;
use tokio::io::ReadBuf;
use tokio::sync::oneshot;

use crate::hub::Framed;

use super::socket;
use super::talk::{Said, Talk};
use super::wire::Connection;

/// What a player sends is read this much at a time.
const DISCARD_BYTES: usize = 1024;

/// The last chunk of a chunked body (RFC 9112 §7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Pieces given to the kernel in one call.
const MAX_SLICES: usize = 32;

/// One player's way out. All polls are safe with a waker that does nothing; the slow lane polls again with a real one.
pub(super) enum Transport {
    /// A connection of the player's own: taken out of an HTTP/1 session, or RTMP's.
    Socket {
        /// Plain or TLS.
        io: Connection,
        /// What stands around the bytes.
        framing: Framing,
        /// What the player says, where it may say something.
        talk: Option<Box<dyn Talk>>,
    },
    /// HTTP/2: a stream of a connection that pingora drives.
    Http2 {
        /// The response's body.
        body: SendStream<Bytes>,
        /// Dropped when the player is, which lets the request phase return.
        _done: oneshot::Sender<()>,
    },
}

/// What stands around the bytes on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Nothing: HTTP/1.0, whose body the close delimits, and RTMP, whose bytes are chunks already.
    Bare,
    /// HTTP/1.1 chunks.
    Chunked,
    /// WebSocket messages.
    Messages,
}

/// What a look at a player's side of the connection found.
#[derive(Debug)]
pub(super) enum Look {
    /// It is there.
    Said(Said),
    /// It is gone.
    Left(io::Error),
}

impl Transport {
    /// Queues the bytes of `framed` as this transport wants them.
    pub(super) fn dress(&self, framed: &Framed, out: &mut VecDeque<Bytes>) {
        if framed.body_len() == 0 {
            return;
        }
        match self.framing() {
            Framing::Chunked => out.push_back(framed.chunk()),
            Framing::Bare => out.push_back(framed.body()),
            Framing::Messages => {
                out.push_back(framed.message_header());
                out.push_back(framed.body());
            }
        }
    }

    /// Writes from the front of `out`, which is not empty, and advances it. Ready means progress.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Socket { io, .. } => {
                let written = match out.front() {
                    // The usual case: one unit, one plain write.
                    Some(piece) if out.len() == 1 => ready!(io.poll_write(cx, piece))?,
                    _ => {
                        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                        let count = out.len().min(MAX_SLICES);
                        for (slice, piece) in slices.iter_mut().zip(out.iter()) {
                            *slice = IoSlice::new(piece);
                        }
                        ready!(io.poll_write_vectored(cx, slices.get(..count).unwrap_or_default()))?
                    }
                };
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                advance(out, written);
                Poll::Ready(Ok(written))
            }
            Self::Http2 { body, .. } => {
                let Some(piece) = out.front_mut() else {
                    return Poll::Ready(Ok(0));
                };
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
                advance(out, 0);
                Poll::Ready(Ok(written))
            }
        }
    }

    /// Pushes out what a layer below holds (pingora's write buffer, TLS records).
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Socket { io, .. } => io.poll_flush(cx),
            // The connection's task flushes.
            Self::Http2 { .. } => Poll::Ready(Ok(())),
        }
    }

    /// Looks at the player's side: whether it left, as far as the socket tells, and what it says.
    pub(super) fn poll_look(&mut self, cx: &mut Context<'_>) -> Look {
        match self {
            Self::Socket { io, talk, .. } => poll_socket(io, cx, |bytes| match talk {
                Some(talk) => talk.hear(bytes),
                None => Said::Nothing,
            }),
            Self::Http2 { body, .. } => match body.poll_reset(cx) {
                Poll::Ready(_) => Look::Left(io::ErrorKind::ConnectionReset.into()),
                Poll::Pending => Look::Said(Said::Nothing),
            },
        }
    }

    /// Whether the player's machine went away without a word, with data on its way to it.
    pub(super) fn vanished(&self) -> bool {
        match self {
            Self::Socket { io, .. } => socket::vanished(io),
            Self::Http2 { .. } => false,
        }
    }

    /// Bytes that the player's machine has acknowledged, where that is known.
    pub(super) fn acked(&self) -> Option<u64> {
        match self {
            Self::Socket { io, .. } => socket::acked(io),
            Self::Http2 { .. } => None,
        }
    }

    /// Whether the player may say something that wants an answer soon.
    pub(super) fn talks(&self) -> bool {
        matches!(self, Self::Socket { talk: Some(_), .. })
    }

    fn framing(&self) -> Framing {
        match self {
            Self::Socket { framing, .. } => *framing,
            Self::Http2 { .. } => Framing::Bare,
        }
    }

    /// What ends the body, to be written before [`Transport::poll_close`]. Not `proper`: the stream goes on, and the player has to go.
    pub(super) fn last_piece(&mut self, proper: bool) -> Bytes {
        match self {
            Self::Socket {
                talk: Some(talk), ..
            } if proper => talk.goodbye(),
            Self::Socket {
                talk: Some(talk), ..
            } => talk.dismissal(),
            Self::Socket {
                framing: Framing::Chunked,
                ..
            } => Bytes::from_static(LAST_CHUNK),
            _ => Bytes::new(),
        }
    }

    /// Ends the body and closes what is the player's own.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Socket { io, .. } => io.poll_shutdown(cx),
            Self::Http2 { body, .. } => {
                Poll::Ready(body.send_data(Bytes::new(), true).map_err(from_h2))
            }
        }
    }

    /// Breaks an HTTP/2 stream off, so that its player sees an error and not an end. A socket is simply dropped.
    pub(super) fn abort(&mut self) {
        if let Self::Http2 { body, .. } = self {
            body.send_reset(h2::Reason::CANCEL);
        }
    }
}

/// Reads what there is, once, and gives it to `take`.
fn poll_socket(
    io: &mut Connection,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> Said,
) -> Look {
    let mut room = [0u8; DISCARD_BYTES];
    let mut buf = ReadBuf::new(&mut room);
    match io.poll_read(cx, &mut buf) {
        Poll::Ready(Ok(())) if buf.filled().is_empty() => {
            Look::Left(io::ErrorKind::UnexpectedEof.into())
        }
        Poll::Ready(Ok(())) => Look::Said(take(buf.filled())),
        Poll::Ready(Err(error)) => Look::Left(error),
        Poll::Pending => Look::Said(Said::Nothing),
    }
}

/// Takes `written` bytes off the front, and pieces that are done.
fn advance(out: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(piece) = out.front_mut() {
        let part = written.min(piece.len());
        piece.advance(part);
        written -= part;
        if !piece.is_empty() {
            return;
        }
        out.pop_front();
    }
}

fn from_h2(error: h2::Error) -> io::Error {
    if error.is_io() {
        error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    } else {
        io::Error::new(io::ErrorKind::BrokenPipe, error)
    }
}
