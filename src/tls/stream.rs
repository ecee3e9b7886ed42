//! A connection over TLS, after its handshake.
//!
//! Pingora's own stream for it would do, but for two things. It tells no protocol but its own two from a name of somebody's own, so that
//! a client that chose `http/1.0` by ALPN would not be served. And what is below it cannot be taken out: each write to a player would go
//! through the buffers, digests and clocks of pingora's stream ([`TlsStream::strip`]).

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream as Records;
use tracing::debug;

use crate::bare;

/// See the module.
#[derive(Debug)]
pub(crate) struct TlsStream {
    records: Records<Below>,
    about: Box<About>,
}

/// What is told of the connection.
#[derive(Debug)]
struct About {
    ssl: Arc<SslDigest>,
    timing: TimingDigest,
}

/// Where records come from and go to.
#[derive(Debug)]
enum Below {
    Layered(Box<L4Stream>),
    Bare(TcpStream),
}

impl TlsStream {
    /// Makes the handshake.
    ///
    /// # Errors
    /// What the client did wrong, or its connection.
    pub(super) async fn accept(acceptor: &TlsAcceptor, io: Box<L4Stream>) -> io::Result<Self> {
        let begin = Instant::now();
        let records = acceptor.accept(Below::Layered(io)).await?;
        let timing = TimingDigest {
            established_ts: SystemTime::now(),
            establishment_duration: Some(begin.elapsed()),
            ..TimingDigest::default()
        };
        let (_, session) = records.get_ref();
        let suite = session.negotiated_cipher_suite();
        let cipher = suite.and_then(|suite| suite.suite().as_str());
        let version = session.protocol_version().and_then(|v| v.as_str());
        // Clients are asked for no certificate.
        let ssl = SslDigest::new(
            cipher.unwrap_or_default(),
            version.unwrap_or_default(),
            None,
            None,
            Vec::new(),
        );
        let about = Box::new(About {
            ssl: Arc::new(ssl),
            timing,
        });
        Ok(Self { records, about })
    }

    /// Puts the bare socket below the records, if that is all there is. For a flushed connection that nobody asks of whom it is any
    /// more. Must run on the runtime that will serve it.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn strip(&mut self) -> io::Result<()> {
        let (below, _) = self.records.get_mut();
        if let Below::Layered(io) = below
            && let Some(socket) = bare::strip(io)?
        {
            *below = Below::Bare(socket);
        }
        Ok(())
    }

    fn layered(&self) -> Option<&L4Stream> {
        match self.records.get_ref().0 {
            Below::Layered(io) => Some(io),
            Below::Bare(_) => None,
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.records).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.records).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.records).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.records).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.records).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for TlsStream {
    async fn shutdown(&mut self) {
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            debug!(%error, "a TLS connection was not shut down properly");
        }
    }
}

impl Peek for TlsStream {}

impl Ssl for TlsStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        Some(Arc::clone(&self.about.ssl))
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.records.get_ref().1.alpn_protocol()? {
            b"h2" => Some(ALPN::H2),
            // HTTP/1.0 is served where HTTP/1.1 is, and no other name is offered.
            _ => Some(ALPN::H1),
        }
    }
}

impl UniqueID for TlsStream {
    fn id(&self) -> UniqueIDType {
        match self.records.get_ref().0 {
            Below::Layered(io) => io.id(),
            Below::Bare(socket) => socket.as_raw_fd(),
        }
    }
}

impl GetTimingDigest for TlsStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        let below = self.layered().map(GetTimingDigest::get_timing_digest);
        let mut layers = below.unwrap_or_default();
        layers.push(Some(self.about.timing.clone()));
        layers
    }

    fn get_read_pending_time(&self) -> Duration {
        let below = self.layered();
        below.map_or(Duration::ZERO, GetTimingDigest::get_read_pending_time)
    }

    fn get_write_pending_time(&self) -> Duration {
        let below = self.layered();
        below.map_or(Duration::ZERO, GetTimingDigest::get_write_pending_time)
    }
}

impl GetProxyDigest for TlsStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.layered()?.get_proxy_digest()
    }
}

impl GetSocketDigest for TlsStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.layered()?.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        if let (Below::Layered(io), _) = self.records.get_mut() {
            io.set_socket_digest(digest);
        }
    }
}

impl AsyncRead for Below {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Layered(io) => Pin::new(io).poll_read(cx, buf),
            Self::Bare(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Below {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Layered(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Bare(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Layered(io) => Pin::new(io).poll_write_vectored(cx, slices),
            Self::Bare(socket) => match slices {
                // A unit is one record, and send(2) is cheaper than writev(2).
                [record] => Pin::new(socket).poll_write(cx, record),
                _ => Pin::new(socket).poll_write_vectored(cx, slices),
            },
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Layered(io) => Pin::new(io).poll_flush(cx),
            // The kernel has it.
            Self::Bare(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Layered(io) => Pin::new(io).poll_shutdown(cx),
            Self::Bare(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
