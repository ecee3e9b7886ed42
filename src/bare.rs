//! The socket of a connection, without what pingora's stream keeps around it: two buffers, digests and clocks, which are 4 KB and a few
//! cache lines for each write to each of thousands of clients.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream, UniqueID};
use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// What a client may have said early and is kept, in bytes: a read's worth.
const EARLY_BYTES: usize = 1024;

/// A second descriptor of the socket of a flushed plain TCP connection, which belongs to the current runtime; the first one goes with `io`.
/// None when the socket is not all that there is: the client has said something that `io` keeps, or it is no TCP connection.
///
/// # Errors
/// Those of reading.
pub(crate) fn strip(io: &mut L4Stream) -> io::Result<Option<TcpStream>> {
    let mut early = [0; EARLY_BYTES];
    let mut early = ReadBuf::new(&mut early);
    let mut nobody = Context::from_waker(Waker::noop());
    if let Poll::Ready(read) = Pin::new(&mut *io).poll_read(&mut nobody, &mut early) {
        read?;
        // Its buffers may hold more of it. (What ends here is noticed when the fan-out looks again.)
        if !early.filled().is_empty() {
            io.rewind(early.filled());
        }
        return Ok(None);
    }
    Ok(socket_of(io).and_then(TcpStream::from_std).ok())
}

/// A second descriptor of the socket of a plain TCP connection; the first one goes with pingora's stream, and with it what that holds.
///
/// # Errors
/// When it has layers above the socket, or is no TCP connection.
pub(crate) fn socket(io: &Stream) -> io::Result<std::net::TcpStream> {
    match io.as_any().downcast_ref::<L4Stream>() {
        Some(io) => socket_of(io),
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

fn socket_of(io: &L4Stream) -> io::Result<std::net::TcpStream> {
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
