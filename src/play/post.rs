//! Publishing over HTTP: POST or PUT of an endless FLV to the address at which it is played.
//!
//! The body is read as it comes, whatever its framing; the answer is sent at its end. The same claim, clocks and limits as for RTMP.

use std::time::{Duration, Instant};

use http::{StatusCode, header};
use pingora::Result;
use pingora::proxy::Session;
use thiserror::Error;
use tokio::time::MissedTickBehavior;
use tracing::{Instrument, field, info, info_span, warn};

use crate::client::Client;
use crate::hub::{EndReason, PublishError, PushError};
use crate::ingest::{Ended, Ingest, Refused, Wanted};
use crate::media::flv::{FlvError, FlvReader, TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO};
use crate::media::{FrameKind, TagError, metadata};
use crate::observe::{Asked, Count};

use super::account::Peer;
use super::route::Target;
use super::{Live, http as answer};

/// How often the clocks of a publish are looked at.
const CLOCK: Duration = Duration::from_millis(500);

/// For how long, and how many bytes of it, the body of a publish that was refused or ended is read and thrown away.
const DISCARD: Duration = Duration::from_secs(1);
const DISCARD_BYTES: usize = 4 * 1024 * 1024;

/// Why a publish over HTTP ends before its body does.
#[derive(Debug, Error)]
enum End {
    #[error("{0}")]
    Ended(#[from] Ended),
    #[error("the body is no FLV: {0}")]
    Container(#[from] FlvError),
    #[error("a tag broke its format: {0}")]
    Tag(#[from] TagError),
    #[error("the body broke off: {0}")]
    Body(Box<pingora::Error>),
}

impl End {
    fn status(&self) -> StatusCode {
        match self {
            Self::Ended(Ended::Claim(EndReason::Operator)) => StatusCode::FORBIDDEN,
            Self::Ended(Ended::Claim(EndReason::Shutdown) | Ended::TooFast(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Ended(Ended::Claim(_)) => StatusCode::CONFLICT,
            Self::Ended(Ended::Origin) => StatusCode::BAD_GATEWAY,
            Self::Ended(Ended::Expired) => StatusCode::FORBIDDEN,
            Self::Ended(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Container(_) | Self::Tag(_) | Self::Body(_) => StatusCode::BAD_REQUEST,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Ended(ended) => ended.reason(),
            Self::Container(_) | Self::Tag(_) => "protocol_error",
            Self::Body(_) => "client_left",
        }
    }
}

impl Live {
    /// Publishes the request's body as the stream that `target` names.
    pub(super) async fn publish(&self, session: &mut Session, target: &Target) -> Result<()> {
        let client = self.client(session, false);
        let span = info_span!(
            "http_publish",
            client = client.id,
            peer = %Peer(client.peer),
            vhost = field::Empty,
            app = field::Empty,
            stream = field::Empty,
        );
        self.publish_in_span(session, target, &client)
            .instrument(span)
            .await
    }

    async fn publish_in_span(
        &self,
        session: &mut Session,
        target: &Target,
        client: &Client,
    ) -> Result<()> {
        let config = self.config();
        let crossdomain = &config.http.crossdomain;
        // Whatever becomes of it: a body that was not read to its end is in the way of another request.
        session.set_keepalive(None);
        let _admission = match self.admit(client.peer) {
            Ok(admission) => admission,
            Err(refusal) => {
                info!("publish refused: {refusal}");
                self.counters().count(Count::PublishRefused);
                self.counters()
                    .turned_away(Asked::Publish, refusal.reason());
                let line = refusal.to_string();
                let status = StatusCode::SERVICE_UNAVAILABLE;
                answer::text(session, status, crossdomain, &line).await?;
                discard_http2(session).await;
                return Ok(());
            }
        };
        let encoder = session.req_header().headers.get(header::USER_AGENT);
        let encoder = encoder
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let wanted = Wanted {
            client,
            vhost: target.key.vhost(),
            app: target.key.app(),
            stream: target.key.stream(),
            encoder: encoder.as_deref(),
        };
        let mut ingest = match Ingest::begin(self, &wanted).await {
            Ok(ingest) => ingest,
            Err(refused) => {
                let status = match refused {
                    Refused::Name(_) => StatusCode::BAD_REQUEST,
                    Refused::Disabled(_) | Refused::Blocked => StatusCode::FORBIDDEN,
                    Refused::Denied(ref denied) => answer::status_of(denied),
                    Refused::Elsewhere(_) | Refused::Claim(PublishError::Busy { .. }) => {
                        StatusCode::CONFLICT
                    }
                    Refused::Claim(_) => StatusCode::SERVICE_UNAVAILABLE,
                    Refused::Loop => StatusCode::LOOP_DETECTED,
                    Refused::Origin(answer) => {
                        StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::BAD_GATEWAY)
                    }
                };
                answer::text(session, status, crossdomain, &refused.to_string()).await?;
                discard_http2(session).await;
                return Ok(());
            }
        };
        if session.req_header().headers.contains_key(header::EXPECT) {
            session.write_continue_response().await?;
        }
        match read_body(session, &mut ingest).await {
            Ok(()) => {
                ingest.finish("client_left");
                answer::text(session, StatusCode::OK, crossdomain, "published").await
            }
            Err(end) => {
                if end.reason() == "protocol_error" {
                    self.counters().count(Count::ProtocolError);
                    warn!("{end}");
                }
                ingest.finish(end.reason());
                answer::text(session, end.status(), crossdomain, &end.to_string()).await?;
                discard(session).await;
                Ok(())
            }
        }
    }
}

/// Reads on for a moment after a refusal: an HTTP/2 stream that is dropped with a body on its way is reset, and the client would
/// see that instead of the answer. Over HTTP/1, who was refused may wait with its body, and the connection is not used again.
pub(super) async fn discard_http2(session: &mut Session) {
    if session.is_http2() {
        discard(session).await;
    }
}

/// Reads on for a moment after the end of a publish: a connection that is closed with bytes unread is reset, and takes the answer with it
/// (RFC 9112 §9.6).
async fn discard(session: &mut Session) {
    let read = async {
        let mut left = DISCARD_BYTES;
        while let Ok(Some(piece)) = session.read_request_body().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD, read).await;
}

async fn read_body(session: &mut Session, ingest: &mut Ingest) -> std::result::Result<(), End> {
    let mut reader = FlvReader::new();
    let mut clock = tokio::time::interval(CLOCK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            body = session.read_request_body() => {
                let Some(bytes) = body.map_err(End::Body)? else {
                    return Ok(());
                };
                reader.feed(&bytes);
                while let Some(tag) = reader.poll()? {
                    let (kind, body) = match tag.kind {
                        TAG_AUDIO => (FrameKind::Audio, tag.body),
                        TAG_VIDEO => (FrameKind::Video, tag.body),
                        TAG_SCRIPT => metadata::classify(&tag.body),
                        // Reserved types (FLV 10.1 §E.4.1) are passed over.
                        _ => continue,
                    };
                    match ingest.push(kind, tag.timestamp_ms, body, Instant::now()) {
                        Ok(()) => {}
                        Err(PushError::Ended(reason)) => return Err(Ended::Claim(reason).into()),
                        Err(PushError::Malformed(error)) => return Err(error.into()),
                    }
                }
            }
            _ = clock.tick() => ingest.check(Instant::now())?,
        }
    }
}
