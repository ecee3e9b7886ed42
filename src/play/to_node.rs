//! A player whose request is proxied to the node that has the stream: the steps of [`ProxyHttp`](pingora::proxy::ProxyHttp) for it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderName, Uri, header};
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, OrErr, Result};
use tracing::warn;

use crate::client::Client;
use crate::cluster;
use crate::config::{self, BaseUrl, UrlScheme};
use crate::hub::StreamKey;
use crate::relay::{Failure, said};
use crate::via;

use super::Live;
use super::limits::Admission;

/// How long the connection to a node may take: a node in the next rack answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A player on its way to another node.
pub(super) struct ToNode {
    /// The node's name, for the log.
    name: String,
    base: BaseUrl,
    /// Without brackets.
    host: String,
    port: u16,
    /// Those that were not tried yet, the next one last.
    addresses: Vec<SocketAddr>,
    /// The one that is tried.
    address: Option<SocketAddr>,
    stream: StreamKey,
    query: String,
    path: String,
    client: Option<IpAddr>,
    secure: bool,
    /// This node, for `Via`.
    hop: String,
    /// It is one of this node's connections all the while.
    _admission: Admission,
}

impl ToNode {
    pub(super) fn new(
        name: String,
        base: BaseUrl,
        stream: StreamKey,
        client: &Client,
        path: &str,
        hop: String,
        admission: Admission,
    ) -> Self {
        let default = match base.scheme() {
            UrlScheme::Https => 443,
            _ => 80,
        };
        let (host, port) = host_and_port(base.authority(), default);
        Self {
            host: host.to_owned(),
            port,
            addresses: Vec::new(),
            address: None,
            name,
            base,
            stream,
            query: client.query.clone(),
            path: path.to_owned(),
            client: client.peer.map(|peer| peer.ip().to_canonical()),
            secure: client.secure,
            hop,
            _admission: admission,
        }
    }

    /// The node, at the next of its addresses: the certificate is checked as that of an origin is.
    ///
    /// # Errors
    /// When its name has no address, or who signed its certificate cannot be known.
    pub(super) async fn upstream_peer(&mut self, live: &Live) -> Result<Box<HttpPeer>> {
        let config = live.config();
        let cluster = config
            .vhosts
            .get(self.stream.vhost())
            .map_or_else(config::Cluster::default, |vhost| vhost.cluster.clone());
        let (node, stream) = (self.name.clone(), self.stream.clone());
        let at = self.base.as_str().to_owned();
        let failed = |error: Failure| {
            warn!(node, at, %stream, "a node cannot be reached: {error}");
            Error::because(ErrorType::ConnectError, "the node", error)
        };
        if self.addresses.is_empty() {
            let (host, port) = (&self.host, self.port);
            let mut found = live.relay().addresses(host, port).await.map_err(failed)?;
            // From the first one on.
            found.reverse();
            self.addresses = found;
        }
        let Some(address) = self.addresses.pop() else {
            return Error::e_explain(ErrorType::ConnectError, "the node's name has no address");
        };
        self.address = Some(address);
        let tls = self.base.scheme() == UrlScheme::Https;
        let mut peer = HttpPeer::new(address, tls, self.host.clone());
        live.relay().trust(&cluster, &mut peer).map_err(failed)?;
        peer.options.connection_timeout = Some(PATIENCE);
        peer.options.total_connection_timeout = Some(PATIENCE);
        // A stream may be silent for as long as its publisher may; the node ends it.
        peer.options.read_timeout = None;
        Ok(Box::new(peer))
    }

    /// It could not be reached there: the next address is tried, if there is one.
    pub(super) fn fail_to_connect(&self, mut error: Box<Error>) -> Box<Error> {
        error.set_retry(!self.addresses.is_empty());
        let why = said(&error, &self.host);
        let address = self.address.map(tracing::field::display);
        let at = self.base.as_str();
        warn!(node = self.name, at, address, stream = %self.stream, "a node cannot be reached: {why}");
        error
    }

    /// Makes the player's request the one for the node.
    ///
    /// # Errors
    /// An address that is none, which the parts exclude.
    pub(super) fn change_request(&self, request: &mut RequestHeader) -> Result<()> {
        let query = cluster::passed_on(&self.query, &self.stream);
        let target = format!("{}{}?{query}", self.base.path(), self.path);
        let uri = target
            .parse::<Uri>()
            .or_err(ErrorType::InvalidHTTPHeader, "the address at the node")?;
        request.set_uri(uri);
        request.insert_header(header::HOST, self.base.authority())?;
        if let Some(client) = self.client {
            // Only ours: what a client wrote there is its own word.
            request.insert_header(FORWARDED_FOR, client.to_string())?;
        }
        request.remove_header(&header::FORWARDED);
        via::add(request, &self.hop)?;
        request.insert_header(FORWARDED_PROTO, if self.secure { "https" } else { "http" })
    }
}

fn host_and_port(authority: &str, default: u16) -> (&str, u16) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(default)),
        _ => (authority, default),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_of_nodes() {
        for (authority, host, port) in [
            ("a.example", "a.example", 80),
            ("a.example:8080", "a.example", 8080),
            ("[::1]", "::1", 80),
            ("[::1]:8080", "::1", 8080),
        ] {
            assert_eq!(host_and_port(authority, 80), (host, port));
        }
    }
}
