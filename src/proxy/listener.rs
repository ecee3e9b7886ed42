//! The PROXY protocol on listeners: reads the header that a load balancer sends ahead, before TLS where there is TLS, and makes the
//! address in it the connection's peer. Everything behind it (limits, rules, logs, `X-Forwarded-For`) sees the client.
//!
//! Only [`TrustedProxies`] may speak on such a listener. Anybody else could claim any address, so a connection of another peer, or one
//! without a header, is closed; it is counted and leaves a line in the log.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream};
use pingora::server::ShutdownWatch;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tracing::{debug, info};

use crate::observe::{Count, Counters};

use super::TrustedProxies;
use super::protocol::{Announced, HeaderError, HeaderReader};

/// For the whole header. It comes in the first packet of a connection, so this only bounds those who send none.
pub const PROXY_HEADER: Duration = Duration::from_secs(10);
/// What is read of a header at a time, in bytes: the additions of version 2 go through here.
const PIECE: usize = 512;

/// Reads the headers of one listener. Cheap to clone.
#[derive(Clone)]
pub struct ProxyProtocol {
    /// Asked for each connection, since a reload may change it.
    trusted: Arc<dyn Fn() -> Arc<TrustedProxies> + Send + Sync>,
    counters: Arc<Counters>,
    /// Its name in logs.
    listener: &'static str,
}

/// Why a connection is closed.
#[derive(Debug, Error)]
enum Refused {
    #[error("its peer is none of live.trusted_proxies, and the listener speaks the PROXY protocol")]
    Untrusted,
    #[error("{0}")]
    Header(#[from] HeaderError),
    #[error("its PROXY header did not come in {} s", PROXY_HEADER.as_secs())]
    Late,
    #[error("it ended in its PROXY header")]
    Cut,
    /// As those do that look whether the port is open.
    #[error("it ended before its first byte")]
    Empty,
    #[error("{0}")]
    Read(#[from] std::io::Error),
}

impl ProxyProtocol {
    /// For the listener that logs know by that name. What it refuses is counted in `counters`.
    pub fn new(
        trusted: impl Fn() -> Arc<TrustedProxies> + Send + Sync + 'static,
        counters: Arc<Counters>,
        listener: &'static str,
    ) -> Self {
        Self {
            trusted: Arc::new(trusted),
            counters,
            listener,
        }
    }

    /// Reads the header and notes the address; false when the connection has to be closed.
    async fn accept(&self, stream: &mut L4Stream) -> bool {
        let digest = stream.get_socket_digest();
        let peer = digest.and_then(|digest| digest.peer_addr()?.as_inet().copied());
        let read = async {
            if !peer.is_some_and(|peer| (self.trusted)().trusts(peer.ip())) {
                return Err(Refused::Untrusted);
            }
            tokio::time::timeout(PROXY_HEADER, read_header(stream))
                .await
                .unwrap_or(Err(Refused::Late))
        };
        let peer_shown = || peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
        match read.await {
            Ok(Announced::Client(client)) => {
                note(stream, client);
                true
            }
            Ok(Announced::Peer) => true,
            Err(Refused::Empty) => {
                debug!(
                    peer = peer_shown(),
                    listener = self.listener,
                    "a connection without a byte"
                );
                false
            }
            Err(why) => {
                self.counters.count(Count::ProxyHeaderRefused);
                info!(
                    peer = peer_shown(),
                    listener = self.listener,
                    "connection refused: {why}"
                );
                false
            }
        }
    }
}

async fn read_header(stream: &mut L4Stream) -> Result<Announced, Refused> {
    let mut reader = HeaderReader::new();
    let mut piece = [0; PIECE];
    let mut first = true;
    loop {
        let wanted = reader.wanted().clamp(1, PIECE);
        let room = piece.get_mut(..wanted).unwrap_or_default();
        let read = stream.read(room).await?;
        if read == 0 {
            return Err(if first { Refused::Empty } else { Refused::Cut });
        }
        first = false;
        if let Some(announced) = reader.feed(room.get(..read).unwrap_or_default())? {
            return Ok(announced);
        }
    }
}

/// From here on, the connection's peer is the client.
fn note(stream: &mut L4Stream, client: SocketAddr) {
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    // A new digest has none yet.
    let _ = digest.peer_addr.set(Some(PingoraAddr::Inet(client)));
    stream.set_socket_digest(digest);
}

/// An application whose connections begin with a PROXY header, if that is switched on; what makes TLS handshakes is such an application.
pub struct ProxiedConnections<A> {
    app: Arc<A>,
    header: Option<ProxyProtocol>,
}

impl<A> ProxiedConnections<A> {
    /// `header`: what reads the headers; none when the connections have none.
    pub fn new(app: Arc<A>, header: Option<ProxyProtocol>) -> Self {
        Self { app, header }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for ProxiedConnections<A> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let mut stream = match &self.header {
            Some(header) => {
                let mut stream = stream.into_any().downcast::<L4Stream>().ok()?;
                if !header.accept(&mut stream).await {
                    return None;
                }
                stream as Stream
            }
            None => stream,
        };
        // A connection that an application gives back has had its header.
        loop {
            stream = self.app.process_new(stream, shutdown).await?;
        }
    }

    async fn cleanup(&self) {
        self.app.cleanup().await;
    }
}
