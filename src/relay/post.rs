//! A stream to another server by HTTP: POST of an FLV without end, as this server takes it, and as ffmpeg sends it.
//!
//! HTTP/1.1 in chunks, over TLS too. Whether the server takes the stream is known before the first byte of it where the server knows
//! `Expect: 100-continue` (RFC 9110 §10.1.1); of others, by an answer that comes while the stream is on its way.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use http::header;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::ALPN;
use tokio::time::timeout;

use crate::media::FrameKind;
use crate::media::flv::{TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO, write_header, write_tag};

use super::dial::Dialer;
use super::failure::Failure;
use super::flv::{MAX_REDIRECTS, USER_AGENT, bare};
use super::source::{Ask, Packet};
use super::target::Target;

/// How long the server's word is waited for before the stream is sent without it. Ours says it when its back ends have been asked; a
/// server that does not know the question delays each publisher by that much.
const WORD_TIMEOUT: Duration = Duration::from_secs(3);
/// nginx says `100 Continue` to whatever it answers itself, and the answer along with it: how long that is waited for.
const SECOND_THOUGHT: Duration = Duration::from_millis(50);
/// How long a server may take nothing of what it is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last words, and those of a server that broke off, may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// A request whose body is a stream.
pub(crate) struct Post {
    session: HttpSession,
    /// Whether the file header went out.
    begun: bool,
    /// Scratch.
    out: BytesMut,
}

impl Post {
    /// Asks the server, or those that it points to, to take a stream; returns once one said that it does, or said nothing.
    pub(crate) async fn open(dialer: &Dialer, target: &Target, ask: &Ask) -> Result<Self, Failure> {
        let mut target = target.clone();
        let mut address = ask.address;
        for _ in 0..=MAX_REDIRECTS {
            let mut session = request(dialer, &target, ask, address).await?;
            let word = match timeout(WORD_TIMEOUT, heard(&mut session)).await {
                Ok(Ok(None)) => match timeout(SECOND_THOUGHT, heard(&mut session)).await {
                    Ok(word) => word?,
                    Err(_) => None,
                },
                Ok(word) => word?,
                Err(_) => {
                    tracing::debug!(%target, "no word on whether the stream is taken");
                    None
                }
            };
            let Some(status) = word else {
                return Ok(Post {
                    session,
                    begun: false,
                    out: BytesMut::new(),
                });
            };
            // Whatever the kind of redirect: an endless body cannot become a GET.
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Err(refusal(status));
            }
            let to = session.response_header();
            let to = to.and_then(|answer| answer.headers.get(header::LOCATION));
            let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
            let next = target
                .redirected(to)
                .ok_or_else(|| Failure::BadRedirect(bare(to)))?;
            tracing::debug!(from = %target, to = %next, "redirected");
            // Found by its own name from here on, unless it is the same server.
            address = address.filter(|_| next.is_at(&target));
            target = next;
        }
        Err(Failure::Redirects(MAX_REDIRECTS))
    }

    /// Sends frames, all that are there at once.
    ///
    /// Not to be dropped before it is done: half a chunk may be out.
    pub(crate) async fn publish(&mut self, packets: &[Packet]) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.begun, true) {
            // What the stream has may come late: both kinds are announced.
            write_header(true, true, &mut self.out);
        }
        for packet in packets {
            let kind = match packet.kind {
                FrameKind::Audio => TAG_AUDIO,
                FrameKind::Video => TAG_VIDEO,
                FrameKind::Metadata | FrameKind::Data => TAG_SCRIPT,
            };
            write_tag(kind, packet.timestamp, &packet.payload, &mut self.out);
        }
        let bytes = self.out.split().freeze();
        match self.session.write_request_body(bytes, false).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // One that refuses answers, and reads no more.
                let word = timeout(GOODBYE, heard_last(&mut self.session)).await;
                Err(word.unwrap_or_else(|_| broke(&error)))
            }
        }
    }

    /// Hears what the server has to say while the stream is sent; never returns but with the end. Dropping the future loses nothing.
    pub(crate) async fn listen(&mut self) -> Failure {
        heard_last(&mut self.session).await
    }

    /// Ends the body, and gives the server a moment to say that it has it.
    pub(crate) async fn close(mut self) {
        let goodbye = async {
            if self.session.finish_request_body().await.is_ok() {
                heard_last(&mut self.session).await;
            }
        };
        // Whether it does is its affair.
        let _ = timeout(GOODBYE, goodbye).await;
        self.session.shutdown().await;
    }
}

/// Sends the header of the request.
async fn request(
    dialer: &Dialer,
    target: &Target,
    ask: &Ask,
    address: Option<SocketAddr>,
) -> Result<HttpSession, Failure> {
    let mut session = dialer.http(target, address, &ask.terms, ALPN::H1).await?;
    session.set_write_timeout(Some(WRITE_TIMEOUT));
    let path = target.path_and_query();
    let mut request =
        RequestHeader::build("POST", path.as_bytes(), Some(8)).map_err(|error| broke(&error))?;
    for (name, value) in [
        (header::HOST, target.authority().as_str()),
        (header::USER_AGENT, USER_AGENT),
        (header::CONTENT_TYPE, "video/x-flv"),
        (header::TRANSFER_ENCODING, "chunked"),
        (header::EXPECT, "100-continue"),
        (header::VIA, &ask.via),
        (header::REFERER, &ask.page),
    ] {
        if !value.is_empty() {
            request
                .insert_header(name, value)
                .map_err(|error| broke(&error))?;
        }
    }
    session
        .write_request_header(Box::new(request))
        .await
        .map_err(|error| broke(&error))?;
    Ok(session)
}

/// The server's next word: nothing for one that it takes the stream, else the status of its answer.
async fn heard(session: &mut HttpSession) -> Result<Option<u16>, Failure> {
    loop {
        session
            .read_response_header()
            .await
            .map_err(|error| broke(&error))?;
        match session.response_header().map(|answer| answer.status) {
            Some(status) if status == http::StatusCode::CONTINUE => return Ok(None),
            Some(status) if status.is_informational() => {}
            Some(status) => return Ok(Some(status.as_u16())),
            None => return Err(Failure::Closed),
        }
    }
}

/// The server's answer, as why no more is sent.
async fn heard_last(session: &mut HttpSession) -> Failure {
    loop {
        match heard(session).await {
            Ok(None) => {}
            Ok(Some(status)) => return refusal(status),
            Err(failure) => return failure,
        }
    }
}

/// What an answer to a publish means.
fn refusal(status: u16) -> Failure {
    match status {
        405 | 501 => Failure::TakesNone(status),
        409 => Failure::Taken,
        status => Failure::Status(status),
    }
}

fn broke(error: &pingora::Error) -> Failure {
    Failure::http(error)
}
