//! A player's connection once nobody but the fan-out uses it.
//!
//! It is stripped ([`Connection::strip`]) of what pingora's stream keeps for it: what is left is the socket (`bare.rs`), and the records of
//! TLS where they are spoken.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use pingora::protocols::l4::ext::{TCP_INFO, get_tcp_info};
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{Stream, UniqueID};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::bare;
use crate::tls::TlsStream;

/// See the module.
pub(crate) enum Connection {
    /// A socket, and nothing around it.
    Tcp(TcpStream),
    /// TLS, with a socket below and nothing in between.
    Tls(Box<TlsStream>),
    /// TLS of a listener of pingora's own; a connection whose client has said something already; in tests, a pipe.
    Layered(Stream),
}

impl Connection {
    /// Flushes, and takes away what a player does not need. Must run on the runtime that will serve the connection.
    ///
    /// # Errors
    /// Those of flushing.
    pub(super) async fn strip(mut io: Stream) -> io::Result<Self> {
        io.flush().await?;
        if io.as_any().is::<TlsStream>() {
            return match io.into_any().downcast::<TlsStream>() {
                Ok(mut io) => {
                    io.strip()?;
                    Ok(Self::Tls(io))
                }
                // It was one just now.
                Err(_) => Err(io::ErrorKind::Unsupported.into()),
            };
        }
        if !io.as_any().is::<L4Stream>() {
            return Ok(Self::Layered(io));
        }
        let mut io = match io.into_any().downcast::<L4Stream>() {
            Ok(io) => io,
            Err(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(match bare::strip(&mut io)? {
            Some(socket) => Self::Tcp(socket),
            None => Self::Layered(io),
        })
    }

    /// What the kernel knows of the connection, where there is one.
    pub(super) fn info(&self) -> Option<TCP_INFO> {
        match self {
            Self::Tcp(socket) => get_tcp_info(socket.as_raw_fd()).ok(),
            Self::Tls(io) => get_tcp_info(io.id()).ok(),
            Self::Layered(io) => io.get_socket_digest()?.tcp_info(),
        }
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
            Self::Layered(io) => Pin::new(io).poll_read(cx, buf),
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Layered(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Tls(io) => Pin::new(io).poll_write_vectored(cx, slices),
            Self::Layered(io) => Pin::new(io).poll_write_vectored(cx, slices),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // The kernel has it.
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
            Self::Layered(io) => Pin::new(io).poll_flush(cx),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
            Self::Layered(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
