//! Answers: the response header of a stream, and the short answers to everything else.

use bytes::Bytes;
use http::header;
use http::{HeaderName, Method, StatusCode, Version};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::access::{Answer, Denied};
use crate::config::Crossdomain;
use crate::hub::Format;

/// How long a browser may remember a preflight's answer, in seconds: what Chromium takes at most (2 hours).
const PREFLIGHT_MAX_AGE: &str = "7200";
/// Seconds after which a client that was refused for want of room may try again.
const RETRY_AFTER: &str = "5";
/// What a page may read of an answer.
const EXPOSED: &str = "Accept-Ranges, Content-Length, Content-Range, Date, ETag, Server";
/// What a page may ask with.
const METHODS: &str = "GET, HEAD, OPTIONS, POST, PUT";
/// What is left where nobody takes a publish.
const READS: &str = "GET, HEAD, OPTIONS";

const PRIVATE_NETWORK_ASKED: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const PRIVATE_NETWORK_ALLOWED: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// What the `Server` header says.
pub const SERVER: &str = concat!("pingora-live/", env!("CARGO_PKG_VERSION"));

/// The header of a response that carries a stream. Without Content-Length: chunked on HTTP/1.1, delimited by the close on HTTP/1.0, DATA
/// frames on HTTP/2.
pub(super) fn stream_header(
    session: &Session,
    format: Format,
    crossdomain: &Crossdomain,
) -> Result<ResponseHeader> {
    let mut resp = ResponseHeader::build(StatusCode::OK, Some(8))?;
    let version = session.req_header().version;
    resp.insert_header(header::CONTENT_TYPE, format.content_type())?;
    resp.insert_header(header::CACHE_CONTROL, "no-store")?;
    if version == Version::HTTP_11 {
        resp.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    dress(session, &mut resp, crossdomain)?;
    Ok(resp)
}

/// The answer to a WebSocket's handshake (RFC 6455 §4.2.2).
pub(super) fn switching_header(accept: &str) -> Result<ResponseHeader> {
    let mut resp = ResponseHeader::build(StatusCode::SWITCHING_PROTOCOLS, Some(4))?;
    resp.insert_header(header::UPGRADE, "websocket")?;
    resp.insert_header(header::CONNECTION, "Upgrade")?;
    resp.insert_header(header::SEC_WEBSOCKET_ACCEPT, accept)?;
    resp.insert_header(header::SERVER, SERVER)?;
    Ok(resp)
}

/// What all our answers have in common.
pub(super) fn dress(
    session: &Session,
    resp: &mut ResponseHeader,
    crossdomain: &Crossdomain,
) -> Result<()> {
    if session.req_header().version == Version::HTTP_10 {
        resp.set_version(Version::HTTP_10);
    }
    resp.insert_header(header::SERVER, SERVER)?;
    if let Some(origin) = session.req_header().headers.get(header::ORIGIN)
        && let Some(allowed) = origin.to_str().ok().and_then(|o| crossdomain.allows(o))
    {
        resp.insert_header(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed)?;
        resp.insert_header(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)?;
    }
    if let Crossdomain::Origins(_) = crossdomain {
        // Fetch standard, "CORS protocol and HTTP caches": the answer depends on who asks, also where nothing is allowed.
        resp.insert_header(header::VARY, "Origin")?;
    }
    Ok(())
}

/// How somebody is answered who may not.
pub(super) fn status_of(denied: &Denied) -> StatusCode {
    match denied.answer() {
        Answer::Unauthorized => StatusCode::UNAUTHORIZED,
        Answer::Forbidden => StatusCode::FORBIDDEN,
        Answer::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A short answer with a one-line text.
pub(super) async fn text(
    session: &mut Session,
    status: StatusCode,
    crossdomain: &Crossdomain,
    line: &str,
) -> Result<()> {
    let mut resp = ResponseHeader::build(status, Some(8))?;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let publishes = matches!(session.req_header().method, Method::POST | Method::PUT);
        resp.insert_header(header::ALLOW, if publishes { READS } else { METHODS })?;
    }
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110 §15.5.2 wants a challenge. The signature stands in the URL, so no browser shall ask for a password.
        resp.insert_header(header::WWW_AUTHENTICATE, "SignedURL")?;
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        resp.insert_header(header::SEC_WEBSOCKET_VERSION, "13")?;
        resp.insert_header(header::UPGRADE, "websocket")?;
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        resp.insert_header(header::RETRY_AFTER, RETRY_AFTER)?;
    }
    let body = Bytes::from(format!("{line}\n"));
    resp.insert_header(header::CACHE_CONTROL, "no-store")?;
    content(
        session,
        resp,
        crossdomain,
        "text/plain; charset=utf-8",
        body,
    )
    .await
}

/// 302: the stream is at another address.
pub(super) async fn redirect(
    session: &mut Session,
    crossdomain: &Crossdomain,
    location: &str,
) -> Result<()> {
    let mut resp = ResponseHeader::build(StatusCode::FOUND, Some(8))?;
    resp.insert_header(header::LOCATION, location)?;
    // It is true for this moment only.
    resp.insert_header(header::CACHE_CONTROL, "no-store")?;
    let body = Bytes::from_static(b"the stream is elsewhere\n");
    let content_type = "text/plain; charset=utf-8";
    content(session, resp, crossdomain, content_type, body).await
}

/// An answer with a body that is all there.
pub(super) async fn content(
    session: &mut Session,
    mut resp: ResponseHeader,
    crossdomain: &Crossdomain,
    content_type: &str,
    body: Bytes,
) -> Result<()> {
    resp.insert_header(header::CONTENT_TYPE, content_type)?;
    resp.insert_header(header::CONTENT_LENGTH, body.len())?;
    dress(session, &mut resp, crossdomain)?;
    let head = session.req_header().method == Method::HEAD;
    session
        .write_response_header(Box::new(resp), head || body.is_empty())
        .await?;
    if head {
        session.write_response_body(None, true).await
    } else {
        session.write_response_body(Some(body), true).await
    }
}

/// Answers OPTIONS: what a page of another origin, or of a public site that reaches into a private network, asks before it plays.
pub(super) async fn preflight(session: &mut Session, crossdomain: &Crossdomain) -> Result<()> {
    let mut resp = ResponseHeader::build(StatusCode::NO_CONTENT, Some(10))?;
    resp.insert_header(header::ALLOW, METHODS)?;
    let asked = &session.req_header().headers;
    let origin = asked.get(header::ORIGIN).map(|o| o.to_str());
    let allowed = match origin {
        // A preflight is answered whether or not it names its origin, where all are let in.
        None | Some(Err(_)) => (*crossdomain == Crossdomain::Any).then_some("*"),
        Some(Ok(origin)) => crossdomain.allows(origin),
    };
    if allowed.is_some() {
        resp.insert_header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)?;
        resp.insert_header(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE)?;
        match asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            Some(names) => {
                resp.insert_header(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone())?
            }
            None => resp.insert_header(header::ACCESS_CONTROL_ALLOW_HEADERS, "*")?,
        }
        if asked
            .get(PRIVATE_NETWORK_ASKED)
            .is_some_and(|v| v == "true")
        {
            resp.insert_header(PRIVATE_NETWORK_ALLOWED, "true")?;
        }
    }
    dress(session, &mut resp, crossdomain)?;
    if let Some(allowed) = allowed {
        resp.insert_header(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed)?;
    }
    session.write_response_header(Box::new(resp), true).await?;
    session.write_response_body(None, true).await
}
