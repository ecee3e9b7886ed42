//! Requests that the server itself sends: short ones, with a whole answer.
//!
//! pingora's connectors do the work: connections are kept and used again, TLS is verified against the certificates of the system
//! (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others). What is bounded here is the time, from the name's resolution to the last byte,
//! and the answer.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, Method, StatusCode, header};
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::listeners::ALPN;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use thiserror::Error;
use tokio::time::timeout;

use crate::config::HttpUrl;
use crate::play::SERVER;

/// How long a connection is kept without a request. Less than the 60 s after which many servers close, so that few requests meet that.
const IDLE: Duration = Duration::from_secs(50);
/// Connections that are kept, to all servers together.
const POOL: usize = 256;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// Connections of the pool that may turn out to be closed before a new one is made.
const MAX_STALE: usize = 3;

/// The client. Its connections belong to the runtimes on which they were made.
#[derive(Default)]
pub(crate) struct Outbound {
    /// Made with the first request: it reads the system's certificates.
    connector: OnceLock<Option<Connector>>,
}

/// What is sent.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a HttpUrl,
    /// Beside `Host`, `User-Agent` and `Content-Length`.
    pub(crate) headers: &'a [(HeaderName, &'a str)],
    pub(crate) body: Bytes,
    /// From here to the last byte of the answer.
    pub(crate) within: Duration,
    /// The longest answer, in bytes.
    pub(crate) max_answer: usize,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum OutboundError {
    #[error("the name cannot be resolved: {0}")]
    Resolve(#[source] std::io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("the certificates of the system cannot be read")]
    Certificates,
    #[error("{0}")]
    Exchange(#[from] Box<pingora::Error>),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("no answer in {0:?}")]
    Timeout(Duration),
}

/// What became of one try.
enum Tried {
    /// A kept connection was closed meanwhile, and nothing was answered.
    Stale,
    Answered(Answer),
}

impl Outbound {
    /// Sends a request and waits for the whole answer.
    pub(crate) async fn send(&self, request: &Request<'_>) -> Result<Answer, OutboundError> {
        match timeout(request.within, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(OutboundError::Timeout(request.within)),
        }
    }

    fn connector(&self) -> Result<&Connector, OutboundError> {
        let made = self.connector.get_or_init(|| {
            // pingora unwraps what reading the certificates gives.
            catch_unwind(AssertUnwindSafe(|| {
                Connector::new(Some(ConnectorOptions::new(POOL)))
            }))
            .ok()
        });
        made.as_ref().ok_or(OutboundError::Certificates)
    }

    async fn exchange(&self, request: &Request<'_>) -> Result<Answer, OutboundError> {
        let connector = self.connector()?;
        let url = request.url;
        let found = tokio::net::lookup_host((url.host(), url.port())).await;
        let addresses: Vec<SocketAddr> = found
            .map_err(OutboundError::Resolve)?
            .take(MAX_ADDRESSES)
            .collect();
        let mut last = OutboundError::NoAddress;
        for address in addresses {
            let mut peer = HttpPeer::new(address, url.tls(), url.host().to_owned());
            peer.options.alpn = ALPN::H1;
            peer.options.idle_timeout = Some(IDLE);
            match self.exchange_with(connector, &peer, request).await {
                Ok(answer) => return Ok(answer),
                // Another address of the name is tried only when nothing can have been heard by this one.
                Err((error, false)) => last = error,
                Err((error, true)) => return Err(error),
            }
        }
        Err(last)
    }

    /// An error comes with whether the request may have been heard.
    async fn exchange_with(
        &self,
        connector: &Connector,
        peer: &HttpPeer,
        request: &Request<'_>,
    ) -> Result<Answer, (OutboundError, bool)> {
        for _ in 0..=MAX_STALE {
            let (session, reused) = connector
                .get_http_session(peer)
                .await
                .map_err(|error| (error.into(), false))?;
            match ask(connector, peer, session, reused, request).await {
                Ok(Tried::Answered(answer)) => return Ok(answer),
                Ok(Tried::Stale) => {}
                Err(error) => return Err((error, true)),
            }
        }
        let closed = pingora::Error::explain(
            pingora::ErrorType::ConnectionClosed,
            "each connection was closed before it answered",
        );
        Err((closed.into(), true))
    }
}

async fn ask(
    connector: &Connector,
    peer: &HttpPeer,
    mut session: HttpSession,
    reused: bool,
    request: &Request<'_>,
) -> Result<Tried, OutboundError> {
    if let Err(error) = write(&mut session, request).await {
        return if reused { Ok(Tried::Stale) } else { Err(error) };
    }
    let status = loop {
        if let Err(error) = session.read_response_header().await {
            // RFC 9112 §9.3.1: a server may close an idle connection at any time. Back ends know requests by their ids.
            return if reused {
                Ok(Tried::Stale)
            } else {
                Err(error.into())
            };
        }
        match session.response_header().map(|header| header.status) {
            Some(status) if status.is_informational() => {}
            Some(status) => break status,
            None => {
                let error =
                    pingora::Error::explain(pingora::ErrorType::InvalidHTTPHeader, "no status");
                return Err(error.into());
            }
        }
    };
    let mut body = BytesMut::new();
    while let Some(piece) = session.read_response_body().await? {
        if body.len().saturating_add(piece.len()) > request.max_answer {
            session.shutdown().await;
            return Err(OutboundError::TooLong(request.max_answer));
        }
        body.extend_from_slice(&piece);
    }
    if let HttpSession::H1(http1) = &mut session {
        http1.respect_keepalive();
    }
    connector
        .release_http_session(session, peer, Some(IDLE))
        .await;
    Ok(Tried::Answered(Answer {
        status,
        body: body.freeze(),
    }))
}

async fn write(session: &mut HttpSession, request: &Request<'_>) -> Result<(), OutboundError> {
    let path = request.url.path().as_bytes();
    let mut header = RequestHeader::build(request.method.clone(), path, Some(6))?;
    header.insert_header(header::HOST, request.url.authority())?;
    header.insert_header(header::USER_AGENT, SERVER)?;
    header.insert_header(header::CONTENT_LENGTH, request.body.len())?;
    for (name, value) in request.headers {
        header.insert_header(name, *value)?;
    }
    session.write_request_header(Box::new(header)).await?;
    if !request.body.is_empty() {
        session
            .write_request_body(request.body.clone(), true)
            .await?;
    }
    session.finish_request_body().await?;
    Ok(())
}
