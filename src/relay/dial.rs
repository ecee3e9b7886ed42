//! Connections to other servers, by pingora's connectors.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use pingora::ErrorType;
use pingora::connectors::TransportConnector;
use pingora::connectors::http::Connector as HttpConnector;
use pingora::protocols::Stream;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::{ALPN, HttpPeer};
use tokio::time::timeout;

use crate::config::{self, Cluster, Forward};
use crate::tls;

use super::failure::Failure;
use super::target::Target;

/// TCP and TLS together: a server further away than this is no origin.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A resolver that is away answers nothing; what is known is then better than to wait.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are used: a name of a round robin has a handful, and each costs time before the last is tried.
pub(super) const MAX_ADDRESSES: usize = 8;

/// How servers are connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Whether certificates are checked.
    pub(crate) verify: bool,
    /// The file of those who may sign them; the system's otherwise.
    pub(crate) ca: Option<PathBuf>,
    /// HTTP/2 without TLS.
    pub(crate) h2c: bool,
}

impl From<&Cluster> for Terms {
    fn from(cluster: &Cluster) -> Self {
        Terms {
            verify: cluster.tls_verify,
            ca: cluster.tls_ca.clone(),
            h2c: cluster.h2c,
        }
    }
}

impl From<&Forward> for Terms {
    fn from(forward: &Forward) -> Self {
        Terms {
            verify: forward.tls_verify,
            ca: forward.tls_ca.clone(),
            h2c: false,
        }
    }
}

/// Certificates of authorities by their files, or what is wrong with them.
type Authorities = HashMap<PathBuf, Result<Arc<CaType>, String>>;

/// Makes connections.
pub(crate) struct Dialer {
    transport: TransportConnector,
    http: HttpConnector,
    /// Held for a look-up, or to swap them.
    authorities: RwLock<Authorities>,
}

impl Dialer {
    pub(crate) fn new(config: &config::Live) -> Self {
        Dialer {
            transport: TransportConnector::new(None),
            http: HttpConnector::new(None),
            authorities: RwLock::new(authorities(config)),
        }
    }

    /// Reads the files of authorities again.
    pub(crate) fn reconfigure(&self, config: &config::Live) {
        *self.authorities.write() = authorities(config);
    }

    /// A connection for RTMP. `address`: where the server was found, if it was looked for already.
    pub(crate) async fn stream(
        &self,
        target: &Target,
        address: Option<SocketAddr>,
        terms: &Terms,
    ) -> Result<Stream, Failure> {
        let mut failure = Failure::Closed;
        for address in addresses(target, address).await? {
            let peer = self.peer(target, address, terms)?;
            match self.transport.new_stream(&peer).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Failure::Connect(said(&error, &target.host)),
            }
        }
        Err(failure)
    }

    /// A connection for an HTTP request, by what `alpn` says.
    pub(crate) async fn http(
        &self,
        target: &Target,
        address: Option<SocketAddr>,
        terms: &Terms,
        alpn: ALPN,
    ) -> Result<HttpSession, Failure> {
        let mut failure = Failure::Closed;
        for address in addresses(target, address).await? {
            let mut peer = self.peer(target, address, terms)?;
            peer.options.alpn = alpn.clone();
            match self.http.get_http_session(&peer).await {
                Ok((session, _reused)) => return Ok(session),
                Err(error) => failure = Failure::Connect(said(&error, &target.host)),
            }
        }
        Err(failure)
    }

    fn peer(
        &self,
        target: &Target,
        address: SocketAddr,
        terms: &Terms,
    ) -> Result<HttpPeer, Failure> {
        let is_tls = target.scheme.is_tls();
        // With an address there is nothing left for pingora to resolve.
        let mut peer = HttpPeer::new(address, is_tls, target.sni());
        peer.options.connection_timeout = Some(CONNECT_TIMEOUT);
        peer.options.total_connection_timeout = Some(CONNECT_TIMEOUT);
        if is_tls {
            self.trust(terms, &mut peer)?;
        }
        Ok(peer)
    }

    /// Says how a server's certificate is checked.
    pub(crate) fn trust(&self, terms: &Terms, peer: &mut HttpPeer) -> Result<(), Failure> {
        peer.options.verify_cert = terms.verify;
        peer.options.verify_hostname = terms.verify;
        if terms.verify {
            peer.options.ca = self.authorities_of(terms.ca.as_deref())?;
        }
        Ok(())
    }

    /// Nothing for those of the system.
    fn authorities_of(&self, file: Option<&Path>) -> Result<Option<Arc<CaType>>, Failure> {
        let Some(file) = file else { return Ok(None) };
        let unread = |reason: &str| {
            Failure::Connect(format!(
                "the certificates in {} cannot be used: {reason}",
                file.display()
            ))
        };
        match self.authorities.read().get(file) {
            Some(Ok(authorities)) => Ok(Some(Arc::clone(authorities))),
            Some(Err(reason)) => Err(unread(reason)),
            // Of a stream that runs with what it began with, while the configuration has another file now.
            None => tls::read_authorities(file)
                .map(Some)
                .map_err(|reason| unread(&reason)),
        }
    }
}

fn authorities(config: &config::Live) -> Authorities {
    config
        .vhosts
        .values()
        .flat_map(|vhost| [&vhost.cluster.tls_ca, &vhost.forward.tls_ca])
        .flatten()
        .map(|file| (file.clone(), tls::read_authorities(file)))
        .collect()
}

/// What pingora says, without the peer, which the caller names.
pub(crate) fn said(error: &pingora::Error, name: &str) -> String {
    match error.etype() {
        ErrorType::ConnectRefused => "the connection was refused".to_owned(),
        ErrorType::ConnectTimedout => "no connection in time".to_owned(),
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => {
            let text = error.to_string();
            let cause = tls_cause(&text);
            let hint = if cause.contains("UnknownIssuer") {
                ": nobody who is trusted signed it; tls_ca can name who did"
            } else if cause.contains("CaUsedAsEndEntity") {
                ": it is the certificate of an authority (CA:TRUE), which is taken for none of a server"
            } else {
                ""
            };
            format!("no TLS with {name}: {cause}{hint}")
        }
        _ => error.to_string().trim().to_owned(),
    }
}

/// The words of the TLS library: pingora tells them inside its own, between the place and our own address.
fn tls_cause(text: &str) -> &str {
    let text = text
        .rsplit_once(" cause: local address")
        .map_or(text, |(text, _)| text);
    let text = text
        .rsplit_once(" cause: ")
        .map_or(text, |(_, cause)| cause);
    text.rsplit_once(", SNI: ")
        .map_or(text, |(text, _)| text)
        .trim()
}

/// Where a server is found: at `known`, or by its name.
async fn addresses(target: &Target, known: Option<SocketAddr>) -> Result<Vec<SocketAddr>, Failure> {
    match known {
        Some(address) => Ok(vec![address]),
        None => resolve(&target.host, target.port).await,
    }
}

/// The addresses of a name, in the order of the system's resolver; at least one, at most [`MAX_ADDRESSES`].
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let failed = |reason: String| Failure::Resolve {
        host: host.to_owned(),
        reason,
    };
    let found = timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| failed(format!("no answer in {RESOLVE_TIMEOUT:?}")))?
        .map_err(|error| failed(error.to_string()))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(failed("it has no address".to_owned()));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tls_says_is_found() {
        for (text, cause) in [
            (
                " TLSHandshakeFailure context: TLS connect() failed:  TLSHandshakeFailure context: tls connect error cause: invalid peer certificate: UnknownIssuer, SNI: localhost cause: local address 127.0.0.1:51984",
                "invalid peer certificate: UnknownIssuer",
            ),
            (
                " InvalidCert context: no certificates",
                "InvalidCert context: no certificates",
            ),
            ("", ""),
        ] {
            assert_eq!(tls_cause(text), cause);
        }
    }
}
