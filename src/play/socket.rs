//! What the kernel may hold for a player, and how long it waits for one that vanished.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use pingora::protocols::Stream;
use socket2::{SockRef, TcpKeepalive};

/// A player's machine that vanished without a word is given up after this much silence plus the probes: under 10 s together.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_PROBES: u32 = 2;

/// Bounds the send queue of a player's connection to about `send_buffer` bytes of kernel memory (the kernel doubles what it is asked for, to
/// account for its own structures, and caps it at `net.core.wmem_max`), and lets unanswered data or probes end it after `stall`.
///
/// Half a minute of a quiet stream would otherwise hide in the queue of a player that does not read.
pub(super) fn tune(io: &Stream, send_buffer: u64, stall: Duration) -> io::Result<()> {
    with_socket(io, |socket| {
        bound_queue(socket, send_buffer)?;
        socket.set_tcp_user_timeout(Some(stall))?;
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(KEEPALIVE_IDLE)
                .with_interval(KEEPALIVE_INTERVAL)
                .with_retries(KEEPALIVE_PROBES),
        )
    })
}

/// Bounds the send queue alone, for who watches by himself what the client takes. The kernel's own clock is wrong about clients with small
/// windows: seen on Linux 6.18, it runs on while the window opens by less than what is queued as one piece (up to 64 KB).
pub(super) fn bound(io: &Stream, send_buffer: u64) -> io::Result<()> {
    with_socket(io, |socket| bound_queue(socket, send_buffer))
}

fn bound_queue(socket: &SockRef<'_>, send_buffer: u64) -> io::Result<()> {
    socket.set_send_buffer_size(usize::try_from(send_buffer / 2).unwrap_or(usize::MAX))?;
    socket.set_tcp_nodelay(true)
}

fn with_socket(io: &Stream, set: impl FnOnce(&SockRef<'_>) -> io::Result<()>) -> io::Result<()> {
    let fd = io.id();
    if fd < 0 {
        // Not a socket (a test's pipe).
        return Ok(());
    }
    // SAFETY: pingora's UniqueID of a stream is its open descriptor on Unix, and `io` outlives this borrow.
    #[allow(unsafe_code)]
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    set(&SockRef::from(&fd))
}
