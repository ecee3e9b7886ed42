//! A connection: a socket that does not block, with TLS or without.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use socket2::SockRef;

use crate::target::Target;

/// Bytes that may wait to be sent. A publisher whose server takes nothing for so long is given up.
const MAX_QUEUED: usize = 16 << 20;

/// See the module.
pub(crate) struct Link {
    pub(crate) socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Plain bytes, or records, that the socket did not take yet.
    queued: Vec<u8>,
    sent: usize,
}

/// Whether the other side has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Open,
    Closed,
}

impl Link {
    /// Begins to connect. `tls` is used if the target wants it.
    pub(crate) fn connect(target: &Target, tls: &Arc<ClientConfig>) -> io::Result<Self> {
        let socket = TcpStream::connect(target.address)?;
        let _ = socket.set_nodelay(true);
        let tls = if target.tls {
            let name = ServerName::try_from(target.host.clone()).map_err(io::Error::other)?;
            let session = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
            Some(Box::new(session))
        } else {
            None
        };
        Ok(Self {
            socket,
            tls,
            queued: Vec::new(),
            sent: 0,
        })
    }

    /// Queues bytes and sends what the socket takes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes)?,
            None => self.queued.extend_from_slice(bytes),
        }
        if self.queued.len() - self.sent > MAX_QUEUED {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the server takes nothing",
            ));
        }
        self.flush()
    }

    /// Sends what is queued, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.queued)?;
            }
        }
        while let Some(rest) = self.queued.get(self.sent..).filter(|r| !r.is_empty()) {
            match self.socket.write(rest) {
                Ok(written) => self.sent += written,
                Err(error) if blocks(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.queued.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads all that is there, by way of `buffer`, and gives it to `take` piece by piece. `closing`: the other side is known to have
    /// closed; otherwise a read that does not fill the buffer is the last one (the next data is a new edge, epoll(7)).
    pub(crate) fn read<E: From<io::Error>>(
        &mut self,
        closing: bool,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Side, E> {
        loop {
            let count = match self.socket.read(buffer) {
                Ok(0) => return Ok(Side::Closed),
                Ok(count) => count,
                Err(error) if blocks(&error) => return Ok(Side::Open),
                Err(error) => return Err(error.into()),
            };
            let last = count < buffer.len() && !closing;
            let mut came = buffer.get(..count).unwrap_or_default();
            let Some(tls) = &mut self.tls else {
                take(came)?;
                if last {
                    return Ok(Side::Open);
                }
                continue;
            };
            while !came.is_empty() {
                tls.read_tls(&mut came)?;
                tls.process_new_packets().map_err(io::Error::other)?;
                let mut plain = [0; 16 * 1024];
                loop {
                    match tls.reader().read(&mut plain) {
                        Ok(0) => return Ok(Side::Closed),
                        Ok(count) => take(plain.get(..count).unwrap_or_default())?,
                        Err(error) if blocks(&error) => break,
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            self.flush()?;
            if last {
                return Ok(Side::Open);
            }
        }
    }

    /// Throws away what is there without looking at it: the kernel does not even copy it (`MSG_TRUNC`, tcp(7)). `room` only lends its
    /// length. With TLS, records that are still encrypted.
    pub(crate) fn discard(
        &mut self,
        closing: bool,
        room: &mut [MaybeUninit<u8>],
    ) -> io::Result<(usize, Side)> {
        let mut all = 0;
        loop {
            match SockRef::from(&self.socket).recv_with_flags(room, libc::MSG_TRUNC) {
                Ok(0) => return Ok((all, Side::Closed)),
                Ok(count) if count < room.len() && !closing => {
                    return Ok((all + count, Side::Open));
                }
                Ok(count) => all += count,
                Err(error) if blocks(&error) => return Ok((all, Side::Open)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a handshake is done, and if so whether it took up an earlier session.
    pub(crate) fn resumed(&self) -> Option<bool> {
        let kind = self.tls.as_ref()?.handshake_kind()?;
        Some(kind == HandshakeKind::Resumed)
    }

    /// The cipher suite that was agreed on.
    pub(crate) fn suite(&self) -> Option<String> {
        let suite = self.tls.as_ref()?.negotiated_cipher_suite()?;
        suite.suite().as_str().map(str::to_owned)
    }
}

fn blocks(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::NotConnected
    )
}
