//! A player whose request is proxied to the node that has the stream: the steps of [`ProxyHttp`](pingora::proxy::ProxyHttp) for it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderName, Uri, header};
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::time::timeout;

use crate::client::Client;
use crate::cluster;
use crate::config::{BaseUrl, UrlScheme};
use crate::hub::StreamKey;

use super::limits::Admission;

/// How long the look-up of a node's name, and the connection to it, may take: a node in the next rack answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A player on its way to another node.
pub(super) struct ToNode {
    base: BaseUrl,
    stream: StreamKey,
    query: String,
    path: String,
    client: Option<IpAddr>,
    secure: bool,
    /// It is one of this node's connections all the while.
    _admission: Admission,
}

impl ToNode {
    pub(super) fn new(
        base: BaseUrl,
        stream: StreamKey,
        client: &Client,
        path: &str,
        admission: Admission,
    ) -> Self {
        Self {
            base,
            stream,
            query: client.query.clone(),
            path: path.to_owned(),
            client: client.peer.map(|peer| peer.ip().to_canonical()),
            secure: client.secure,
            _admission: admission,
        }
    }

    /// The node.
    ///
    /// # Errors
    /// When its name has no address.
    pub(super) async fn upstream_peer(&self) -> Result<Box<HttpPeer>> {
        let tls = self.base.scheme() == UrlScheme::Https;
        let (host, port) = host_and_port(self.base.authority(), if tls { 443 } else { 80 });
        let address = look_up(host, port).await?;
        let mut peer = HttpPeer::new(address, tls, host.to_owned());
        peer.options.connection_timeout = Some(PATIENCE);
        peer.options.total_connection_timeout = Some(PATIENCE);
        // A stream may be silent for as long as its publisher may; the node ends it.
        peer.options.read_timeout = None;
        Ok(Box::new(peer))
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
        request.insert_header(FORWARDED_PROTO, if self.secure { "https" } else { "http" })
    }
}

fn host_and_port(authority: &str, default: u16) -> (&str, u16) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(default)),
        _ => (authority, default),
    }
}

async fn look_up(host: &str, port: u16) -> Result<SocketAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = timeout(PATIENCE, tokio::net::lookup_host((bare, port)))
        .await
        .or_err(ErrorType::ConnectTimedout, "the node's name")?
        .or_err(ErrorType::ConnectError, "the node's name")?
        .next();
    match found {
        Some(address) => Ok(address),
        None => Error::e_explain(ErrorType::ConnectError, "the node's name has no address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_of_nodes() {
        for (authority, host, port) in [
            ("a.example", "a.example", 80),
            ("a.example:8080", "a.example", 8080),
            ("[::1]", "[::1]", 80),
            ("[::1]:8080", "[::1]", 8080),
        ] {
            assert_eq!(host_and_port(authority, 80), (host, port));
        }
    }
}
