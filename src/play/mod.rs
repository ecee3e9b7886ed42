//! Streams to players: routing, HTTP, and the fan-out.
//!
//! [`Live`] is the door. A pingora proxy calls [`Live::handle`] in its `request_filter`; what is a stream's address is answered
//! there, and everything else goes on as before. [`LiveProxy`] is a proxy that has nothing else but the player page.
//!
//! A request becomes a [`Player`](player): a socket, a position in the stream's log, and nothing else. It is given to one of a few
//! [workers](worker), which write each unit to all their players.

mod account;
mod connection;
mod http;
mod limits;
mod page;
mod player;
mod post;
mod proxy;
mod route;
mod socket;
mod take;
#[cfg(test)]
mod tests;
mod transport;
mod websocket;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ::http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tracing::{debug, info};

use crate::config::{self, OnMissing, StartTime};
use crate::hub::{self, Format, Hub, HubLimits, SeatError};
use crate::observe::{Count, Counters};
use crate::vhost::Vhosts;

use account::{Account, PlayEnd};
use connection::Deadlines;
use limits::Connections;
use player::{Player, Rebase};
use route::{Route, Target};
use transport::Transport;
use websocket::{CloseCode, Handshake};
use worker::Workers;

pub(crate) use account::{Peer, millis};
pub(crate) use limits::Admission;

pub use account::PlayEnd as EndOfPlay;
pub use connection::{HttpConnections, NEXT_REQUEST_HEADER, REQUEST_HEADER};
pub use http::SERVER;
pub use proxy::LiveProxy;

/// Live streaming for a pingora server: the hub, the players and the rules. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Live {
    inner: Arc<Inner>,
}

struct Inner {
    config: config::Live,
    vhosts: Vhosts,
    hub: Hub,
    connections: Arc<Connections>,
    next_client: AtomicU64,
    deadlines: Deadlines,
    counters: Arc<Counters>,
    /// Made on the runtime of the first request, so that an embedding proxy has nothing to wire.
    workers: OnceLock<Workers>,
    ticker: OnceLock<()>,
}

/// What [`Live::handle`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Handled {
    /// The request was answered: `request_filter` returns `Ok(true)`.
    Yes,
    /// It is none of ours: the proxy goes on.
    No,
}

impl Live {
    /// Live streaming as configured.
    pub fn new(config: config::Live) -> Self {
        let limits = &config.limits;
        let hub = Hub::new(HubLimits {
            streams: limits.streams as usize,
            stream_memory: usize::try_from(limits.stream_memory).unwrap_or(usize::MAX),
        });
        Self {
            inner: Arc::new(Inner {
                vhosts: Vhosts::new(&config),
                hub,
                connections: Connections::new(limits.connections as usize, limits.connections_per_ip as usize),
                next_client: AtomicU64::new(1),
                deadlines: Deadlines::default(),
                counters: Arc::default(),
                workers: OnceLock::new(),
                ticker: OnceLock::new(),
                config,
            }),
        }
    }

    /// The streams.
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &config::Live {
        &self.inner.config
    }

    /// Publishers and players now, those that wait included.
    pub fn connections(&self) -> usize {
        self.inner.connections.count()
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// Wraps the HTTP application that serves this in what pingora's connections lack: a deadline for whole request headers, and a look
    /// at the first bytes that does not wait for 24 of them.
    pub fn connections_for<A>(&self, app: A) -> HttpConnections<A>
    where
        A: pingora::apps::HttpServerApp + Send + Sync + 'static,
    {
        HttpConnections::new(app, self.inner.deadlines.clone())
    }

    /// To be called in `logging`, where there is one: the connection's clock runs again, for the next request's header. Without it,
    /// pingora's 60 s for each read bound that.
    pub fn request_done(&self, session: &Session) {
        self.inner.deadlines.request_done(session);
    }

    pub(crate) fn vhosts(&self) -> &Vhosts {
        &self.inner.vhosts
    }

    pub(crate) fn next_client(&self) -> u64 {
        self.inner.next_client.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn admit(&self, peer: Option<std::net::SocketAddr>) -> Result<Admission, limits::Refusal> {
        self.inner.connections.admit(peer)
    }

    /// Starts the hub's clock on the current runtime, once.
    pub(crate) fn ensure_ticker(&self) {
        self.inner.ticker.get_or_init(|| worker::spawn_ticker(self.hub().clone()));
    }

    fn workers(&self) -> &Workers {
        self.inner.workers.get_or_init(|| {
            let threads = tokio::runtime::Handle::current().metrics().num_workers();
            Workers::spawn(threads, self.inner.config.limits.player_stall)
        })
    }

    /// Answers the request if it is for a stream. To be called in `request_filter`:
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
        self.ensure_ticker();
        self.inner.deadlines.header_came(session);
        let crossdomain = self.inner.config.http.crossdomain;
        let upgrade = {
            let request = session.req_header();
            websocket::handshake(&request.method, request.version, &request.headers)
        };
        let target = {
            let request = session.req_header();
            match route::route(&self.inner.vhosts, route::host(session), request.uri.path(), request.uri.query()) {
                Route::NotLive => return Ok(Handled::No),
                Route::Refused(status, why) => {
                    http::text(session, status, crossdomain, &why).await?;
                    return Ok(Handled::Yes);
                }
                Route::Play(target) => target,
            }
        };
        match session.req_header().method {
            Method::GET => match upgrade {
                Handshake::None => self.play(session, target, None).await?,
                Handshake::Accept(accept) => self.play(session, target, Some(accept)).await?,
                Handshake::Bad(why) => http::text(session, StatusCode::BAD_REQUEST, crossdomain, why).await?,
                Handshake::Version => {
                    let line = "WebSocket version 13 is spoken here";
                    http::text(session, StatusCode::UPGRADE_REQUIRED, crossdomain, line).await?;
                }
            },
            Method::HEAD => {
                if self.hub().find(&target.key).is_some() {
                    let header = http::stream_header(session, target.format, crossdomain)?;
                    session.write_response_header(Box::new(header), true).await?;
                    session.write_response_body(None, true).await?;
                } else {
                    http::text(session, StatusCode::NOT_FOUND, crossdomain, NO_SUCH_STREAM).await?;
                }
            }
            Method::POST | Method::PUT => self.publish(session, &target).await?,
            Method::OPTIONS => http::preflight(session, crossdomain).await?,
            _ => {
                let line = "a stream is played with GET and published with POST or PUT";
                http::text(session, StatusCode::METHOD_NOT_ALLOWED, crossdomain, line).await?;
            }
        }
        Ok(Handled::Yes)
    }

    /// `accept`: the answer to a WebSocket's key.
    async fn play(&self, session: &mut Session, target: Target, accept: Option<String>) -> Result<()> {
        let asked = Instant::now();
        let crossdomain = self.inner.config.http.crossdomain;
        let peer = session.client_addr().and_then(|a| a.as_inet()).copied();
        let admission = match self.admit(peer) {
            Ok(admission) => admission,
            Err(refusal) => {
                info!(peer = %Peer(peer), stream = %target.key, "play refused: {refusal}");
                self.counters().count(Count::PlayRefused);
                return self.refuse(session, accept, StatusCode::SERVICE_UNAVAILABLE, &refusal.to_string()).await;
            }
        };
        let stream = match self.find_or_wait(session, &target).await {
            Found::Stream(stream) => stream,
            Found::Left => {
                session.set_keepalive(None);
                return Ok(());
            }
            Found::Missing if self.hub().is_shut_down() => {
                let line = "the server is shutting down";
                return http::text(session, StatusCode::SERVICE_UNAVAILABLE, crossdomain, line).await;
            }
            Found::Missing => {
                info!(peer = %Peer(peer), stream = %target.key, waited_ms = millis(asked.elapsed()), "no such stream");
                self.counters().count(Count::PlayNotFound);
                return http::text(session, StatusCode::NOT_FOUND, crossdomain, NO_SUCH_STREAM).await;
            }
        };
        let seat = match stream.open(target.format, self.inner.config.limits.players_per_stream as usize) {
            Ok(seat) => seat,
            Err(error) => {
                let status = match error {
                    SeatError::Ended => StatusCode::NOT_FOUND,
                    SeatError::Full { .. } => StatusCode::SERVICE_UNAVAILABLE,
                };
                info!(peer = %Peer(peer), stream = %target.key, "play refused: {error}");
                self.counters().count(Count::PlayRefused);
                return self.refuse(session, accept, status, &error.to_string()).await;
            }
        };
        let protocol = match (&accept, session.is_http2()) {
            (Some(_), _) => "websocket",
            (None, true) => "http2",
            (None, false) => "http1",
        };
        self.counters().count(Count::Play);
        let account = Account {
            counters: Arc::clone(&self.inner.counters),
            client: self.next_client(),
            peer,
            key: target.key.clone(),
            format: target.format.name(),
            protocol,
            asked,
            first_byte: None,
            bytes: 0,
            units: 0,
            skips: 0,
            // What it is when nobody says otherwise: the runtime went away under it.
            end: PlayEnd::Shutdown,
        };
        let rebase = match target.settings.play.start_time {
            StartTime::Stream => Rebase::Stream,
            StartTime::Zero => Rebase::ZeroAtStart,
        };
        let player = |transport| Player::new(transport, seat, rebase, account, admission);
        match accept {
            Some(accept) => self.hand_over_websocket(session, &accept, player).await,
            None => self.hand_over(session, target.format, player).await,
        }
    }

    /// The stream, now or within the time that its vhost holds players.
    async fn find_or_wait(&self, session: &mut Session, target: &Target) -> Found {
        if let Some(stream) = self.hub().find(&target.key) {
            return Found::Stream(stream);
        }
        let play = &target.settings.play;
        if play.on_missing == OnMissing::NotFound {
            return Found::Missing;
        }
        tokio::select! {
            stream = self.hub().wait_for(&target.key) => stream.map_or(Found::Missing, Found::Stream),
            () = tokio::time::sleep(play.wait) => Found::Missing,
            // A player that gives up must not hold its place until the wait is over.
            _ = session.read_body_or_idle(true) => Found::Left,
        }
    }

    /// Writes the response header and gives the connection to a worker.
    async fn hand_over(
        &self,
        session: &mut Session,
        format: Format,
        player: impl FnOnce(Transport) -> Player,
    ) -> Result<()> {
        let header = http::stream_header(session, format, self.inner.config.http.crossdomain)?;
        if session.is_http2() {
            session.write_response_header(Box::new(header), false).await?;
            let ServerSession::H2(http2) = session.as_downstream_mut() else {
                return Error::e_explain(ErrorType::InternalError, "an HTTP/2 session is one");
            };
            let Some(body) = http2.take_response_body_writer() else {
                return Error::e_explain(ErrorType::InternalError, "the response has no body writer");
            };
            let (done, ended) = oneshot::channel();
            let transport = Transport::Http2 { body, _done: done };
            self.workers().add(player(transport));
            // The session lives until the player ends, and pingora counts the connection as busy.
            let _ = ended.await;
            return Ok(());
        }
        let chunked = header.headers.contains_key(::http::header::TRANSFER_ENCODING);
        let io = self.take_socket(session, header).await?;
        self.workers().add(player(Transport::Http1 { io, chunked }));
        Ok(())
    }

    async fn hand_over_websocket(
        &self,
        session: &mut Session,
        accept: &str,
        player: impl FnOnce(Transport) -> Player,
    ) -> Result<()> {
        let header = http::switching_header(accept)?;
        let io = self.take_socket(session, header).await?;
        let said = websocket::ClientFrames::default();
        self.workers().add(player(Transport::WebSocket { io, said }));
        Ok(())
    }

    /// Says no. A page cannot see the status of a WebSocket that was refused, so one that is over a limit is opened, and closed with the code
    /// for that.
    async fn refuse(&self, session: &mut Session, accept: Option<String>, status: StatusCode, why: &str) -> Result<()> {
        let Some(accept) = accept.filter(|_| status == StatusCode::SERVICE_UNAVAILABLE) else {
            return http::text(session, status, self.inner.config.http.crossdomain, why).await;
        };
        let header = http::switching_header(&accept)?;
        let mut io = self.take_socket(session, header).await?;
        let goodbye = async {
            io.write_all(&websocket::close_frame(CloseCode::TryAgain)).await?;
            io.flush().await?;
            AsyncWriteExt::shutdown(&mut io).await
        };
        // Whether it hears it is its affair.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        Ok(())
    }

    /// Writes the response header and takes the connection out of an HTTP/1 session.
    async fn take_socket(&self, session: &mut Session, header: ResponseHeader) -> Result<Stream> {
        let limits = &self.inner.config.limits;
        // One connection, one stream: it closes at the end.
        session.set_keepalive(None);
        session.set_write_timeout(Some(limits.player_stall));
        session.write_response_header(Box::new(header.clone()), false).await?;
        let io = take::take_http1(session.as_downstream_mut(), header).await?;
        if let Err(error) = socket::tune(&io, limits.send_buffer, limits.player_stall) {
            debug!(%error, "socket options of a player");
        }
        Ok(io)
    }

    /// Ends all streams and waits until the players and publishers are gone, for at most `patience`.
    pub async fn shutdown(&self, patience: Duration) {
        self.hub().shutdown();
        let deadline = Instant::now() + patience;
        while self.connections() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What became of a search for a stream.
enum Found {
    Stream(Arc<hub::Stream>),
    /// It is not there, and did not come in time.
    Missing,
    /// The player gave up first.
    Left,
}

/// How long the last word to a player that is refused may take.
const GOODBYE: Duration = Duration::from_secs(1);

const NO_SUCH_STREAM: &str = "no such stream";
