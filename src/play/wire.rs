//! A player's connection once nobody but the fan-out uses it.
//!
//! pingora's stream keeps two buffers, digests and clocks for its connection: 4 KB, and a few cache lines that each write has to
//! fetch for each of thousands of players. A plain TCP connection is stripped of them ([`Connection::strip`]): what is left is the socket.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pingora::protocols::l4::ext::{TCP_INFO, get_tcp_info};
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream, UniqueID};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// What a client may have said early and is kept, in bytes: a read's worth.
const EARLY_BYTES: usize = 1024;

/// See the module.
pub(crate) enum Connection {
    /// A socket, and nothing around it.
    Tcp(TcpStream),
    /// TLS; a connection whose client has said something already; in tests, a pipe.
    Layered(Stream),
}

impl Connection {
    /// Flushes, and takes away what a player does not need. Must run on the runtime that will serve the connection.
    ///
    /// # Errors
    /// Those of flushing.
    pub(super) async fn strip(mut io: Stream) -> io::Result<Self> {
        io.flush().await?;
        if !io.as_any().is::<L4Stream>() {
            return Ok(Self::Layered(io));
        }
        let mut io = match io.into_any().downcast::<L4Stream>() {
            Ok(io) => io,
            // It was one just now.
            Err(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let mut early = [0; EARLY_BYTES];
        let mut early = ReadBuf::new(&mut early);
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(read) = Pin::new(&mut io).poll_read(&mut nobody, &mut early) {
            read?;
            // Its buffers may hold more of it. (What ends here is noticed when the fan-out looks again.)
            if !early.filled().is_empty() {
                io.rewind(early.filled());
            }
            return Ok(Self::Layered(io));
        }
        Ok(match bare_socket_of(&io).and_then(TcpStream::from_std) {
            Ok(socket) => Self::Tcp(socket),
            Err(_) => Self::Layered(io),
        })
    }

    /// What the kernel knows of the connection, where there is one.
    pub(super) fn info(&self) -> Option<TCP_INFO> {
        match self {
            Self::Tcp(socket) => get_tcp_info(socket.as_raw_fd()).ok(),
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
            Self::Layered(io) => Pin::new(io).poll_write_vectored(cx, slices),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // The kernel has it.
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Layered(io) => Pin::new(io).poll_flush(cx),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Layered(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

/// A second descriptor of the socket of a plain TCP connection; the first one goes with pingora's stream, and with it what that holds.
///
/// # Errors
/// When it has layers above the socket, or is no TCP connection.
pub(crate) fn bare_socket(io: &Stream) -> io::Result<std::net::TcpStream> {
    match io.as_any().downcast_ref::<L4Stream>() {
        Some(io) => bare_socket_of(io),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The way back: a connection of the current runtime.
///
/// # Errors
/// Those of the runtime.
pub(crate) fn stream_of(socket: std::net::TcpStream) -> io::Result<Stream> {
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    let mut io = L4Stream::from(TcpStream::from_std(socket)?);
    io.set_socket_digest(digest);
    Ok(Box::new(io))
}

fn bare_socket_of(io: &L4Stream) -> io::Result<std::net::TcpStream> {
    // SAFETY: pingora's UniqueID of a stream is its open descriptor on Unix, and `io` outlives this borrow. A virtual socket has a
    // negative one.
    #[allow(unsafe_code)]
    let fd = match io.id() {
        fd @ 0.. => unsafe { BorrowedFd::borrow_raw(fd) },
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    if SockRef::from(&fd).local_addr()?.as_socket().is_none() {
        // A Unix socket.
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(fd.try_clone_to_owned()?.into())
}
