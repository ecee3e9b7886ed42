//! An HTTP request for a stream, from its address to a player.

use std::time::{Duration, Instant};

use ::http::{Method, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tracing::debug;

use crate::client::Client;
use crate::hub::{Format, SeatError, StreamKey};

use super::elsewhere::{How, path_of};
use super::file::{Place, Sent};
use super::join::{Joined, NoPlay, Wish};
use super::route::{self, Route, Target};
use super::to_node::ToNode;
use super::transport::{Framing, Transport};
use super::websocket::{self, CloseCode, Handshake};
use super::wire::Connection;
use super::{Handled, Live, http, post, socket, take};

/// What became of a request.
pub(super) enum Streamed {
    /// It was answered.
    Yes,
    /// It is for no stream.
    No,
    /// It is to be proxied to another node.
    At(Box<ToNode>),
}

/// How long the last word to a player that is refused may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// The nodes that a request came through: a list that may stand in several lines (RFC 9110 §7.6.3).
pub(super) fn via(session: &Session) -> String {
    let lines = session.req_header().headers.get_all(header::VIA).iter();
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    lines.join(", ")
}

impl Live {
    /// Answers the request if it is for a stream, or for a file below `live.http.root` where that is set. To be called in `request_filter`:
    ///
    /// ```ignore
    /// async fn request_filter(&self, session: &mut Session, _ctx: &mut Self::CTX) -> Result<bool> {
    ///     Ok(self.live.handle(session).await? == Handled::Yes)
    /// }
    /// ```
    ///
    /// # Errors
    /// Those of writing to the client; the connection is then of no more use.
    pub async fn handle(&self, session: &mut Session) -> Result<Handled> {
        if self.handle_stream(session).await? == Handled::Yes {
            return Ok(Handled::Yes);
        }
        // A path that cannot be a file's here may be one to the upstream.
        Ok(match self.send_file(session, Place::Plain).await? {
            Sent::Yes => Handled::Yes,
            Sent::No | Sent::BadPath => Handled::No,
        })
    }

    /// As [`Live::handle`], for streams, and for files whose address could be a stream's.
    pub(super) async fn handle_stream(&self, session: &mut Session) -> Result<Handled> {
        Ok(match self.stream_or_node(session, false).await? {
            Streamed::Yes => Handled::Yes,
            Streamed::No | Streamed::At(_) => Handled::No,
        })
    }

    /// As [`Live::handle_stream`]. With `may_proxy`, the caller proxies what is another node's.
    pub(super) async fn stream_or_node(
        &self,
        session: &mut Session,
        may_proxy: bool,
    ) -> Result<Streamed> {
        self.ensure_ticker();
        self.header_came(session);
        let request = session.req_header();
        let routed = route::route(
            &self.vhosts(),
            route::host(session),
            request.uri.path(),
            request.uri.query(),
        );
        let target = match routed {
            Route::NotLive => return Ok(Streamed::No),
            Route::Refused(status, why) => {
                // A file may have a name that no stream has.
                if !self.send_file_at_mount(session).await? {
                    self.refuse_upload(session, status, &why).await?;
                }
                return Ok(Streamed::Yes);
            }
            Route::Play(target) => target,
        };
        if self.hub().find(&target.key).is_none() && self.send_file_at_mount(session).await? {
            return Ok(Streamed::Yes);
        }
        let request = session.req_header();
        let config = self.config();
        let crossdomain = &config.http.crossdomain;
        match request.method {
            Method::GET => {
                match websocket::handshake(&request.method, request.version, &request.headers) {
                    Handshake::None => return self.play(session, target, None, may_proxy).await,
                    Handshake::Accept(accept) => {
                        return self.play(session, target, Some(accept), may_proxy).await;
                    }
                    Handshake::Bad(why) => self.text(session, StatusCode::BAD_REQUEST, why).await?,
                    Handshake::Version => {
                        let line = "WebSocket version 13 is spoken here";
                        self.text(session, StatusCode::UPGRADE_REQUIRED, line)
                            .await?;
                    }
                }
            }
            Method::HEAD => {
                let wish = Wish {
                    client: self.client(session, false),
                    key: target.key,
                    settings: target.settings,
                    format: target.format,
                    may_proxy,
                    asked: Instant::now(),
                };
                match self.look(&wish).await {
                    Ok(()) => {
                        let header = http::stream_header(session, target.format, crossdomain)?;
                        session
                            .write_response_header(Box::new(header), true)
                            .await?;
                        session.write_response_body(None, true).await?;
                    }
                    Err(refused) => {
                        let Wish { key, client, .. } = wish;
                        return self
                            .refuse_or_proxy(session, None, refused, key, &client)
                            .await;
                    }
                }
            }
            Method::POST | Method::PUT => self.publish(session, &target).await?,
            Method::OPTIONS => http::preflight(session, crossdomain).await?,
            _ => {
                let line = "a stream is played with GET and published with POST or PUT";
                self.text(session, StatusCode::METHOD_NOT_ALLOWED, line)
                    .await?;
            }
        }
        Ok(Streamed::Yes)
    }

    /// Answers with a file beside the streams, at once: nobody waits for a stream whose name a file has. False when there is none, or the
    /// request is for something that a file cannot do.
    async fn send_file_at_mount(&self, session: &mut Session) -> Result<bool> {
        let request = session.req_header();
        let reads = match request.method {
            Method::GET => {
                let asked =
                    websocket::handshake(&request.method, request.version, &request.headers);
                matches!(asked, Handshake::None)
            }
            Method::HEAD => true,
            _ => false,
        };
        Ok(reads && self.send_file(session, Place::Mount).await? == Sent::Yes)
    }

    /// Whether the client speaks TLS: with us, or with a trusted proxy that says so.
    fn is_secure(&self, session: &Session) -> bool {
        let proxy = session.client_addr().and_then(|a| a.as_inet());
        let said = session.req_header().headers.get("x-forwarded-proto");
        session.digest().is_some_and(|d| d.ssl_digest.is_some())
            || proxy.is_some_and(|proxy| self.trusted_proxies().trusts(proxy.ip()))
                && said.is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
    }

    /// Who sent the request.
    pub(super) fn client(&self, session: &Session, websocket: bool) -> Client {
        let request = session.req_header();
        let text = |name| {
            request
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        // A browser that opens a WebSocket sends no Referer.
        let origin = || text(header::ORIGIN).filter(|origin| *origin != "null");
        let page = text(header::REFERER).or_else(origin);
        Client {
            id: self.next_client(),
            peer: self.peer_of(session),
            protocol: match (websocket, session.is_http2()) {
                (true, _) => "websocket",
                (false, true) => "http2",
                (false, false) => "http1",
            },
            secure: self.is_secure(session),
            query: request.uri.query().unwrap_or_default().to_owned(),
            page: page.map(str::to_owned),
            url: format!("{}{}", route::host(session), request.uri.path()),
            url_query: String::new(),
            via: via(session),
        }
    }

    async fn text(&self, session: &mut Session, status: StatusCode, line: &str) -> Result<()> {
        http::text(session, status, &self.config().http.crossdomain, line).await
    }

    /// As [`Live::text`], to a request that may have a body, which nobody wants.
    pub(super) async fn refuse_upload(
        &self,
        session: &mut Session,
        status: StatusCode,
        line: &str,
    ) -> Result<()> {
        if session.is_body_empty() {
            return self.text(session, status, line).await;
        }
        session.set_keepalive(None);
        self.text(session, status, line).await?;
        post::discard_http2(session).await;
        Ok(())
    }

    /// `accept`: the answer to a WebSocket's key.
    async fn play(
        &self,
        session: &mut Session,
        target: Target,
        accept: Option<String>,
        may_proxy: bool,
    ) -> Result<Streamed> {
        let format = target.format;
        let wish = Wish {
            key: target.key,
            settings: target.settings,
            format,
            client: self.client(session, accept.is_some()),
            may_proxy,
            asked: Instant::now(),
        };
        let (key, client) = (wish.key.clone(), wish.client.clone());
        let left = async {
            let _ = session.read_body_or_idle(true).await;
        };
        let joined = match self.join(wish, None, left).await {
            Ok(joined) => joined,
            Err(NoPlay::Left) => {
                session.set_keepalive(None);
                return Ok(Streamed::Yes);
            }
            Err(refused) => {
                return self
                    .refuse_or_proxy(session, accept, refused, key, &client)
                    .await;
            }
        };
        match accept {
            Some(accept) => self.hand_over_websocket(session, &accept, joined).await?,
            None if session.is_http2() => {
                self.hand_over_http2(session, format, joined).await?;
            }
            None => self.hand_over_http1(session, format, joined).await?,
        }
        Ok(Streamed::Yes)
    }

    async fn refuse_or_proxy(
        &self,
        session: &mut Session,
        accept: Option<String>,
        refused: NoPlay,
        key: StreamKey,
        client: &Client,
    ) -> Result<Streamed> {
        let refused = match refused {
            NoPlay::Away(away) => match away.how {
                How::Proxy(base) => match self.admit(client.peer) {
                    Ok(admission) => {
                        // Its connection is the request's, for as long as that lasts.
                        session.set_keepalive(None);
                        let path = path_of(client);
                        let hop = self.relay().node().hop(session.req_header().version);
                        let name = away.server;
                        let to_node = ToNode::new(name, base, key, client, path, hop, admission);
                        return Ok(Streamed::At(Box::new(to_node)));
                    }
                    Err(refusal) => NoPlay::Connections(refusal),
                },
                _ => NoPlay::Away(away),
            },
            refused => refused,
        };
        self.refuse(session, accept, &refused).await?;
        Ok(Streamed::Yes)
    }

    async fn hand_over_http1(
        &self,
        session: &mut Session,
        format: Format,
        joined: Joined,
    ) -> Result<()> {
        let header = http::stream_header(session, format, &self.config().http.crossdomain)?;
        let framing = if header.headers.contains_key(header::TRANSFER_ENCODING) {
            Framing::Chunked
        } else {
            Framing::Bare
        };
        let io = self.take_socket(session, header).await?;
        let io = self.strip(io).await?;
        self.http_workers().add(joined.player(Transport::Socket {
            io,
            framing,
            talk: None,
        }));
        Ok(())
    }

    async fn hand_over_http2(
        &self,
        session: &mut Session,
        format: Format,
        joined: Joined,
    ) -> Result<()> {
        let header = http::stream_header(session, format, &self.config().http.crossdomain)?;
        session
            .write_response_header(Box::new(header), false)
            .await?;
        let ServerSession::H2(http2) = session.as_downstream_mut() else {
            return Error::e_explain(ErrorType::InternalError, "an HTTP/2 session is one");
        };
        let Some(body) = http2.take_response_body_writer() else {
            return Error::e_explain(ErrorType::InternalError, "the response has no body writer");
        };
        let (done, ended) = oneshot::channel();
        self.http_workers()
            .add(joined.player(Transport::Http2 { body, _done: done }));
        // The session lives until the player ends, and pingora counts the connection as busy.
        let _ = ended.await;
        Ok(())
    }

    async fn hand_over_websocket(
        &self,
        session: &mut Session,
        accept: &str,
        joined: Joined,
    ) -> Result<()> {
        let header = http::switching_header(accept)?;
        let io = self.take_socket(session, header).await?;
        let io = self.strip(io).await?;
        self.http_workers().add(joined.player(Transport::Socket {
            io,
            framing: Framing::Messages,
            talk: Some(Box::new(websocket::ClientFrames::default())),
        }));
        Ok(())
    }

    /// Says no. A page cannot see the status of a WebSocket that was refused, so one that is over a limit is opened, and closed
    /// with the code for that.
    async fn refuse(
        &self,
        session: &mut Session,
        accept: Option<String>,
        why: &NoPlay,
    ) -> Result<()> {
        let status = match why {
            // Pages cannot follow it for a WebSocket, other clients can.
            NoPlay::Away(away) => {
                let config = self.config();
                let crossdomain = &config.http.crossdomain;
                return http::redirect(session, crossdomain, &away.address).await;
            }
            NoPlay::Missing | NoPlay::Left | NoPlay::Seat(SeatError::Ended) => {
                StatusCode::NOT_FOUND
            }
            NoPlay::Denied(denied) => http::status_of(denied),
            NoPlay::Blocked | NoPlay::Kicked => StatusCode::FORBIDDEN,
            NoPlay::Origin(answer) => {
                StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::BAD_GATEWAY)
            }
            NoPlay::Loop => StatusCode::LOOP_DETECTED,
            NoPlay::Seat(SeatError::Unsupported(_)) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            NoPlay::Connections(_) | NoPlay::Shutdown | NoPlay::Seat(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        let Some(accept) = accept.filter(|_| status == StatusCode::SERVICE_UNAVAILABLE) else {
            return self.text(session, status, &why.to_string()).await;
        };
        let header = http::switching_header(&accept)?;
        let mut io = self.take_socket(session, header).await?;
        let goodbye = async {
            io.write_all(&websocket::close_frame(CloseCode::TryAgain))
                .await?;
            io.flush().await?;
            AsyncWriteExt::shutdown(&mut io).await
        };
        // Whether it hears it is its affair.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        Ok(())
    }

    /// Writes the response header and takes the connection out of an HTTP/1 session.
    async fn take_socket(&self, session: &mut Session, header: ResponseHeader) -> Result<Stream> {
        // One connection, one stream: it closes at the end.
        session.set_keepalive(None);
        session.set_write_timeout(Some(self.config().limits.player_stall));
        session
            .write_response_header(Box::new(header.clone()), false)
            .await?;
        let io = take::take_http1(session.as_downstream_mut(), header).await?;
        self.tune(&io);
        Ok(io)
    }

    /// Takes away what a player's connection does not need.
    pub(super) async fn strip(&self, io: Stream) -> Result<Connection> {
        let stripped =
            tokio::time::timeout(self.config().limits.player_stall, Connection::strip(io));
        stripped
            .await
            .or_err(ErrorType::WriteTimedout, "flushing to a player")?
            .or_err(ErrorType::WriteError, "flushing to a player")
    }

    /// Bounds what the kernel holds for a player.
    pub(super) fn tune(&self, io: &Stream) {
        if let Err(error) = socket::tune(io, self.config().limits.send_buffer) {
            debug!(%error, "socket options of a player");
        }
    }
}
