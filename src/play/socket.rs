//! What the kernel may hold for a player, and how long it waits for one that vanished.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use pingora::protocols::Stream;
use socket2::{SockRef, TcpKeepalive};

use super::wire::Connection;

/// A player's machine that vanished without a word is given up after this much silence plus the probes: under 10 s together.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_PROBES: u32 = 2;
/// And one to whom data is on its way, after this.
const SILENCE: Duration = Duration::from_secs(8);

/// Bounds the send queue of a player's connection to about `send_buffer` bytes of kernel memory (the kernel doubles what it is asked for, to
/// account for its own structures, and caps it at `net.core.wmem_max`), and lets unanswered probes end a quiet one.
///
/// Half a minute of a quiet stream would otherwise hide in the queue of a player that does not read. The kernel's own limit for
/// unanswered data (`TCP_USER_TIMEOUT`) is not used: it is wrong about players with small windows. Seen on Linux 6.18, it runs on
/// while the window opens by less than what is queued as one piece (up to 64 KB). What it should say, [`acked`] and [`vanished`] do.
pub(super) fn tune(io: &Stream, send_buffer: u64) -> io::Result<()> {
    with_socket(io, |socket| {
        bound_queue(socket, send_buffer)?;
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(KEEPALIVE_IDLE)
                .with_interval(KEEPALIVE_INTERVAL)
                .with_retries(KEEPALIVE_PROBES),
        )
    })
}

/// Bytes that the peer has acknowledged: what tells a slow reader, for whose next piece there is no room yet, from one that
/// takes nothing.
pub(super) fn acked(io: &Connection) -> Option<u64> {
    Some(io.info()?.tcpi_bytes_acked)
}

/// Whether data is on its way to a peer that has answered nothing for [`SILENCE`]. One that reads slowly, or not at all, does answer.
pub(super) fn vanished(io: &Connection) -> bool {
    io.info().is_some_and(|info| {
        info.tcpi_unacked > 0 && Duration::from_millis(info.tcpi_last_ack_recv.into()) >= SILENCE
    })
}

/// Bounds the send queue alone, for who watches by himself what the client takes.
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
