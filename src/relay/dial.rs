//! Connections to other servers, by pingora's connectors.

use std::net::SocketAddr;
use std::time::Duration;

use pingora::connectors::TransportConnector;
use pingora::connectors::http::Connector as HttpConnector;
use pingora::protocols::Stream;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::{ALPN, HttpPeer};

use super::failure::Failure;
use super::target::Target;

/// TCP and TLS together: a server further away than this is no origin.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Makes connections.
pub(crate) struct Dialer {
    transport: TransportConnector,
    http: HttpConnector,
}

impl Dialer {
    pub(crate) fn new() -> Self {
        Dialer {
            transport: TransportConnector::new(None),
            http: HttpConnector::new(None),
        }
    }

    /// A connection for RTMP. `address`: where the server was found, if it was looked for already.
    pub(crate) async fn stream(
        &self,
        target: &Target,
        address: Option<SocketAddr>,
        verify: bool,
    ) -> Result<Stream, Failure> {
        let peer = peer(target, address, verify).await?;
        self.transport
            .new_stream(&peer)
            .await
            .map_err(|error| Failure::Connect(said(&error)))
    }

    /// A connection for an HTTP request: HTTP/2 when TLS offers it.
    pub(crate) async fn http(
        &self,
        target: &Target,
        address: Option<SocketAddr>,
        verify: bool,
    ) -> Result<HttpSession, Failure> {
        let mut peer = peer(target, address, verify).await?;
        if target.scheme.is_tls() {
            peer.options.alpn = ALPN::H2H1;
        }
        let (session, _reused) = self
            .http
            .get_http_session(&peer)
            .await
            .map_err(|error| Failure::Connect(said(&error)))?;
        Ok(session)
    }
}

/// What pingora says, without the peer, which the caller names.
fn said(error: &pingora::Error) -> String {
    match error.etype() {
        pingora::ErrorType::ConnectRefused => "the connection was refused".to_owned(),
        pingora::ErrorType::ConnectTimedout => "no connection in time".to_owned(),
        _ => error.to_string(),
    }
}

async fn peer(
    target: &Target,
    address: Option<SocketAddr>,
    verify: bool,
) -> Result<HttpPeer, Failure> {
    let address = match address {
        Some(address) => address,
        None => resolve(&target.host, target.port).await?,
    };
    // With an address there is nothing left for pingora to resolve.
    let mut peer = HttpPeer::new(address, target.scheme.is_tls(), target.sni());
    peer.options.connection_timeout = Some(CONNECT_TIMEOUT);
    peer.options.total_connection_timeout = Some(CONNECT_TIMEOUT);
    peer.options.verify_cert = verify;
    peer.options.verify_hostname = verify;
    Ok(peer)
}

/// The first address of a name.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let failed = |reason: String| Failure::Resolve {
        host: host.to_owned(),
        reason,
    };
    let mut found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| failed(error.to_string()))?;
    found
        .next()
        .ok_or_else(|| failed("it has no address".to_owned()))
}
