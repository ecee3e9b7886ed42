//! HTTP-FLV from other servers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use http::header;
use pingora::ErrorType;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::ALPN;
use tokio::time::{timeout, timeout_at};

use crate::media::flv::{FlvReader, TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO};
use crate::media::{FrameKind, metadata};
use crate::rtmp::limits::MAX_MESSAGE_BYTES;

use super::dial::Dialer;
use super::failure::Failure;
use super::source::{Ask, Packet};
use super::target::Target;

/// Time for the answer's header. An origin may hold the request for a stream that is not there yet; ours does for 5 s unless it
/// is told otherwise.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How many redirects are followed.
pub(super) const MAX_REDIRECTS: usize = 3;
/// What a relay calls itself.
pub(super) const USER_AGENT: &str = concat!("pingora-live/", env!("CARGO_PKG_VERSION"));

/// A response whose body is a stream.
pub(crate) struct Flv {
    session: HttpSession,
    reader: FlvReader,
    packets: VecDeque<Packet>,
}

impl Flv {
    /// Asks, and follows redirects; returns with the answer's header.
    pub(crate) async fn open(dialer: &Dialer, target: &Target, ask: &Ask) -> Result<Self, Failure> {
        let mut target = target.clone();
        let mut address = ask.address;
        for _ in 0..=MAX_REDIRECTS {
            let session = request(dialer, &target, ask, address, "GET").await?;
            let Some(answer) = session.response_header() else {
                return Err(Failure::Closed);
            };
            match answer.status.as_u16() {
                200 => {
                    return Ok(Flv {
                        session,
                        reader: FlvReader::with_max_body(MAX_MESSAGE_BYTES),
                        packets: VecDeque::new(),
                    });
                }
                301 | 302 | 303 | 307 | 308 => {
                    let to = answer.headers.get(header::LOCATION);
                    let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
                    let next = target
                        .redirected(to)
                        .ok_or_else(|| Failure::BadRedirect(bare(to)))?;
                    tracing::debug!(from = %target, to = %next, "redirected");
                    // Found by its own name from here on, unless it is the same server.
                    address = address.filter(|_| next.is_at(&target));
                    target = next;
                }
                status => return Err(Failure::Status(status)),
            }
        }
        Err(Failure::Redirects(MAX_REDIRECTS))
    }

    /// The next frame; none when `until` comes first.
    pub(crate) async fn next(&mut self, until: Instant) -> Result<Option<Packet>, Failure> {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return Ok(Some(packet));
            }
            while let Some(tag) = self.reader.poll()? {
                let (kind, payload) = match tag.kind {
                    TAG_AUDIO => (FrameKind::Audio, tag.body),
                    TAG_VIDEO => (FrameKind::Video, tag.body),
                    TAG_SCRIPT => metadata::classify(&tag.body),
                    // Reserved types (FLV 10.1 §E.4.1) are passed over.
                    _ => continue,
                };
                self.packets.push_back(Packet {
                    kind,
                    timestamp: tag.timestamp_ms,
                    payload,
                });
            }
            if !self.packets.is_empty() {
                continue;
            }
            match timeout_at(until.into(), self.session.read_response_body()).await {
                Err(_) => return Ok(None),
                Ok(Ok(Some(bytes))) => self.reader.feed(&bytes),
                Ok(Ok(None)) => return Err(Failure::Ended),
                Ok(Err(error)) => return Err(Failure::http(&error)),
            }
        }
    }
}

/// Sends a request without a body and reads the answer's header.
async fn request(
    dialer: &Dialer,
    target: &Target,
    ask: &Ask,
    address: Option<std::net::SocketAddr>,
    method: &str,
) -> Result<HttpSession, Failure> {
    let alpn = match (target.scheme.is_tls(), ask.terms.h2c) {
        (true, _) => ALPN::H2H1,
        (false, true) => ALPN::H2,
        (false, false) => ALPN::H1,
    };
    let mut session = dialer.http(target, address, &ask.terms, alpn).await?;
    let broke = |error: Box<pingora::Error>| Failure::http(&error);
    let path = target.path_and_query();
    let mut header = RequestHeader::build(method, path.as_bytes(), Some(6)).map_err(broke)?;
    if session.as_http2().is_some() {
        // RFC 9113 §8.3.1: scheme and authority are part of the address there.
        let uri = format!("{}://{}{path}", target.scheme.as_str(), target.authority());
        let uri = uri.parse().map_err(|_| Failure::BadRedirect(bare(&uri)))?;
        header.set_uri(uri);
    } else {
        header
            .insert_header(header::HOST, target.authority())
            .map_err(broke)?;
    }
    for (name, value) in [
        (header::USER_AGENT, USER_AGENT),
        (header::ACCEPT, "*/*"),
        (header::VIA, &ask.via),
        (header::REFERER, &ask.page),
    ] {
        if !value.is_empty() {
            header.insert_header(name, value).map_err(broke)?;
        }
    }
    let exchange = async {
        session.write_request_header(Box::new(header)).await?;
        session.finish_request_body().await?;
        session.read_response_header().await
    };
    match timeout(ANSWER_TIMEOUT, exchange).await {
        Ok(Ok(())) => Ok(session),
        // SRS has no status for one whom a callback refuses.
        Ok(Err(error)) if matches!(error.etype(), ErrorType::ConnectionClosed) => {
            Err(Failure::TurnedAway)
        }
        Ok(Err(error)) => Err(broke(error)),
        Err(_) => Err(Failure::Slow {
            what: "the answer",
            after: ANSWER_TIMEOUT,
        }),
    }
}

/// Whether a server speaks HTTP: it answers, whatever.
pub(super) async fn greets(dialer: &Dialer, target: &Target, ask: &Ask) -> Result<(), Failure> {
    request(dialer, target, ask, ask.address, "HEAD")
        .await
        .map(drop)
}

/// An address without its query, which may hold a token.
pub(super) fn bare(address: &str) -> String {
    address.split('?').next().unwrap_or_default().to_owned()
}
