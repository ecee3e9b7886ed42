//! TLS before an application: the handshake of each connection, within a time of our own.
//!
//! pingora's listeners make handshakes by themselves, and give each 60 s: a client that sends a byte now and then keeps a socket and a
//! session of rustls for a minute, and nobody counts it. So the listeners here are plain ones, and [`TlsConnections`] stands before the
//! application; what that gets is a stream of pingora's, as its own listeners would have made.
//!
//! A handshake that fails or is late is logged with the peer and the reason, counted, and disturbs nobody else.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{Peek, Stream};
use pingora::server::ShutdownWatch;
use rustls::ServerConfig;
use thiserror::Error;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

use crate::observe::{Count, Counters};

use super::CertStore;
use super::stream::TlsStream;

/// For a whole TLS handshake, from the connection's first byte (after a PROXY header, where one is spoken).
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(10);

/// What HTTP's listeners offer by ALPN (RFC 7301), best first. HTTP/1.0 has a name there too, and a client that knows no other would be
/// turned away by a list without it.
const HTTP_ALPN: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

/// Why the settings cannot be served.
#[derive(Debug, Error)]
#[error("rustls does not take the settings: {0}")]
pub struct AcceptorError(#[from] rustls::Error);

/// What [`TlsConnections`] accepts with: see [`acceptor`].
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

/// What accepts TLS 1.2 and 1.3 with the certificates of `store`. With `http2`, clients choose among HTTP/2 and HTTP/1 by ALPN; without,
/// nothing is chosen and what they offer is not looked at, as it has to be for RTMP. Clients are given tickets, by which they come back
/// with half of a handshake.
///
/// # Errors
/// [`AcceptorError`].
pub fn acceptor(store: &Arc<CertStore>, http2: bool) -> Result<Acceptor, AcceptorError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(store) as Arc<_>);
    if http2 {
        config.alpn_protocols = HTTP_ALPN.iter().map(|name| name.to_vec()).collect();
    }
    // Without it sessions are taken up again from a table of 256, which is nothing when a thousand players come back at once. The keys
    // are this process's own, and change every six hours.
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(Acceptor(Arc::new(config).into()))
}

/// Why there is no connection.
#[derive(Debug, Error)]
enum Failed {
    #[error("it was not finished in {} s", TLS_HANDSHAKE.as_secs())]
    Late,
    /// As those do that look whether the port is open.
    #[error("it ended before its first byte")]
    Empty,
    #[error("{0}")]
    Handshake(std::io::Error),
    /// Not one that a listener makes.
    #[error("the connection is no socket")]
    NoSocket,
}

/// An application behind TLS. For a [`Service`](pingora::services::listening::Service) whose listeners are plain.
pub struct TlsConnections<A> {
    app: Arc<A>,
    acceptor: Acceptor,
    counters: Arc<Counters>,
    /// Its name in logs.
    listener: &'static str,
    door: Option<Door>,
}

/// Asked for a place for each handshake, by the peer's address; the place is dropped when the handshake is over. Without one, the
/// connection is closed.
pub type Door = Arc<dyn Fn(Option<SocketAddr>) -> Option<Box<dyn Any + Send>> + Send + Sync>;

impl<A> TlsConnections<A> {
    /// `listener`: its name in logs. Handshakes that fail are counted in `counters`.
    pub fn new(
        app: Arc<A>,
        acceptor: Acceptor,
        counters: Arc<Counters>,
        listener: &'static str,
    ) -> Self {
        Self {
            app,
            acceptor,
            counters,
            listener,
            door: None,
        }
    }

    /// Bounds the handshakes that are under way.
    #[must_use]
    pub fn behind(mut self, door: Door) -> Self {
        self.door = Some(door);
        self
    }

    async fn handshake(&self, stream: Stream) -> Result<Stream, Failed> {
        let stream = stream.into_any().downcast::<L4Stream>();
        let mut stream = stream.map_err(|_| Failed::NoSocket)?;
        let made = async {
            let first = stream.try_peek(&mut [0]).await;
            first.map_err(|_| Failed::Empty)?;
            let made = TlsStream::accept(&self.acceptor.0, stream).await;
            made.map_err(Failed::Handshake)
        };
        let made = timeout(TLS_HANDSHAKE, made).await;
        Ok(Box::new(made.unwrap_or(Err(Failed::Late))?))
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for TlsConnections<A> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let digest = stream.get_socket_digest();
        let place = match &self.door {
            Some(door) => {
                let peer = digest.as_ref().and_then(|digest| digest.peer_addr());
                Some(door(peer.and_then(|peer| peer.as_inet()).copied())?)
            }
            None => None,
        };
        let made = self.handshake(stream).await;
        drop(place);
        let mut stream = match made {
            Ok(stream) => stream,
            Err(failed) => {
                let peer = digest.as_ref().and_then(|digest| digest.peer_addr());
                let peer = peer.map_or_else(|| "-".to_owned(), ToString::to_string);
                match failed {
                    Failed::Empty => {}
                    Failed::Late => self.counters.count(Count::TlsLate),
                    _ => self.counters.count(Count::TlsFailed),
                }
                let listener = self.listener;
                match failed {
                    Failed::Empty => debug!(peer, listener, "TLS handshake failed: {failed}"),
                    _ => info!(peer, listener, "TLS handshake failed: {failed}"),
                }
                return None;
            }
        };
        // A connection that an application gives back has had its handshake.
        loop {
            stream = self.app.process_new(stream, shutdown).await?;
        }
    }

    async fn cleanup(&self) {
        self.app.cleanup().await;
    }
}
