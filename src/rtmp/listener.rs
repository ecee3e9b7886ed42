//! A pingora application that drives a [`ServerSession`] for each connection. While one publishes, `reader.rs` does.
//!
//! ```text
//! socket ─ read ─▶ session.input() ─ handle_input ─▶ events ─▶ hub::Publisher::push
//!        ◀─ write ─ poll_output ◀──────────────────── replies
//! ```

mod requests;

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing::{Instrument, debug, field, info, info_span, warn};

use crate::access::{Farewell, Traffic};
use crate::bare;
use crate::hub::{EndReason, PushError};
use crate::ingest::{self, Ended, Ingest};
use crate::media::{FrameKind, metadata};
use crate::observe::{Asked, Count};
use crate::play::{Admission, Joined, Live, Peer, Refusal, SERVER, TurnedAway};

use super::player_talk::PlayerTalk;
use super::reader::{Read, Readers, Reading, Why};
use super::{Connect, Event, MediaKind, Play, ProtocolError, Reject, ServerSession, SessionConfig};

/// How often a connection looks at its clocks: the grain of all timeouts of a session.
pub(super) const CLOCK: Duration = Duration::from_millis(500);
/// How long a peer may take to accept what it is told. Only replies are sent to publishers, so a full socket means that it does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last words to a peer may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// What a peer still sends while it is told goodbye is read this much at a time, in bytes, and thrown away.
const DISCARD_BYTES: usize = 16 * 1024;

/// RTMP publishers into a hub. Host it with [`pingora::services::listening::Service`].
pub struct RtmpApp {
    live: Live,
    /// Made with the first publisher; nothing, if the system has no threads for it.
    readers: OnceLock<Option<Readers>>,
}

impl RtmpApp {
    /// Publishers of this application feed `live`.
    pub fn new(live: Live) -> Self {
        Self {
            live,
            readers: OnceLock::new(),
        }
    }
}

impl RtmpApp {
    /// A place for a connection that is over a limit: it learns of that, or of a server with room. None when too many are told already.
    fn too_many(&self, peer: Option<SocketAddr>, refusal: Refusal) -> Option<Place> {
        let place = self.live.turn_away(peer);
        if matches!(refusal, Refusal::All(_)) && self.live.sends_away() && place.is_some() {
            return place.map(Place::Away);
        }
        let counters = self.live.counters();
        counters.count(Count::ConnectionRefused);
        counters.turned_away(Asked::Connect, refusal.reason());
        info!("connection refused: {refusal}");
        place.map(|place| Place::Nowhere(place, refusal))
    }
}

#[async_trait]
impl ServerApp for RtmpApp {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        self.live.ensure_ticker();
        if stream.get_ssl_digest().is_some() {
            self.live.counters().count(Count::TlsRtmp);
        }
        let peer = stream
            .get_socket_digest()
            .and_then(|d| d.peer_addr().and_then(|a| a.as_inet()).copied());
        let id = self.live.next_client();
        let span = info_span!(
            "rtmp",
            client = id,
            peer = %Peer(peer),
            vhost = field::Empty,
            app = field::Empty,
            stream = field::Empty,
        );
        async {
            let place = match self.live.admit(peer) {
                Ok(admission) => Some(Place::Here(admission)),
                Err(refusal) => self.too_many(peer, refusal),
            };
            if let Some(place) = place {
                let connection = Connection::new(self, id, stream, peer, place, shutdown.clone());
                Box::new(connection).run(Ok(())).await;
            }
        }
        .instrument(span)
        .await;
        None
    }
}

struct Connection {
    app: Arc<RtmpApp>,
    live: Live,
    /// The client's number.
    id: u64,
    /// None while a thread reads the socket.
    io: Option<Stream>,
    session: ServerSession,
    connect: Option<Connect>,
    publishing: Option<Publishing>,
    /// A play asked for, until it is answered.
    wanted: Option<Play>,
    peer: Option<SocketAddr>,
    /// Nothing can be told to the peer any more.
    write_failed: bool,
    traffic: Arc<Traffic>,
    /// Tells a back end that the connection is over; a player takes it along.
    farewell: Option<Farewell>,
    /// Its place among the connections; a player takes it along.
    admission: Option<Admission>,
    /// Its place beside them, for one that is too many and may learn where there is room.
    turned_away: Option<TurnedAway>,
    /// Why it is too many, for one that may not go on.
    refusal: Option<Refusal>,
    /// Whether it came over TLS.
    secure: bool,
    /// Whether its socket may be all that there is of the connection.
    bare: bool,
    /// What a socket did not take of the session's output.
    unsent: Bytes,
    shutdown: ShutdownWatch,
}

/// Where a connection stands.
enum Place {
    Here(Admission),
    Away(TurnedAway),
    /// It is told why, and no more.
    Nowhere(TurnedAway, Refusal),
}

/// A publish that is under way.
pub(super) struct Publishing {
    pub(super) ingest: Ingest,
    /// The RTMP message stream.
    stream_id: u32,
}

impl Publishing {
    /// Gives an event to the hub. What is not media is returned.
    pub(super) fn take(&mut self, event: Event, now: Instant) -> Result<Option<Event>, End> {
        let (id, kind, timestamp, payload) = match event {
            Event::Media {
                stream_id,
                kind,
                timestamp,
                payload,
            } => {
                let kind = match kind {
                    MediaKind::Audio => FrameKind::Audio,
                    MediaKind::Video => FrameKind::Video,
                };
                (stream_id, kind, timestamp, payload)
            }
            Event::Data {
                stream_id,
                timestamp,
                payload,
                ..
            } => {
                let (kind, payload) = metadata::classify(&payload);
                (stream_id, kind, timestamp, payload)
            }
            other => return Ok(Some(other)),
        };
        if id != self.stream_id {
            // Sent on after an unpublish, or before the publish was answered.
            return Ok(None);
        }
        match self.ingest.push(kind, timestamp, payload, now) {
            Ok(()) => Ok(None),
            Err(PushError::Ended(reason)) => Err(End::Ended(Ended::Claim(reason))),
            Err(error) => Err(End::Media(error.to_string())),
        }
    }
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the peer closed the connection")]
    Closed,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    #[error("the peer does not read")]
    WriteTimeout,
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error("the server is shutting down")]
    Shutdown,
    #[error("a media message broke its format: {0}")]
    Media(String),
    /// Not an end, but the beginning of a play on this message stream.
    #[error("it plays")]
    Plays(Box<Joined>, u32),
    /// Not an end either: a thread reads this socket from now on.
    #[error("it publishes")]
    Reads(std::net::TcpStream),
}

impl End {
    /// The name in logs.
    fn reason(&self) -> &'static str {
        match self {
            Self::Closed | Self::Io(_) => "client_left",
            Self::Protocol(_) | Self::Media(_) => "protocol_error",
            Self::WriteTimeout => "stalled",
            Self::Refused(_) => "denied",
            Self::Plays(..) => "plays",
            Self::Reads(_) => "publishes",
            Self::Ended(ended) => ended.reason(),
            Self::Shutdown => EndReason::Shutdown.name(),
        }
    }
}

impl Connection {
    fn new(
        app: &Arc<RtmpApp>,
        id: u64,
        io: Stream,
        peer: Option<SocketAddr>,
        place: Place,
        shutdown: ShutdownWatch,
    ) -> Self {
        let live = app.live.clone();
        let config = SessionConfig {
            chunk_size: live.config().rtmp.chunk_size,
            server: SERVER.to_owned(),
            ..SessionConfig::default()
        };
        let (admission, turned_away, refusal) = match place {
            Place::Here(admission) => (Some(admission), None, None),
            Place::Away(turned_away) => (None, Some(turned_away), None),
            Place::Nowhere(turned_away, refusal) => (None, Some(turned_away), Some(refusal)),
        };
        let secure = io.get_ssl_digest().is_some();
        Self {
            app: Arc::clone(app),
            live,
            id,
            io: Some(io),
            session: ServerSession::new(config, Instant::now()),
            connect: None,
            publishing: None,
            wanted: None,
            peer,
            write_failed: false,
            traffic: Arc::default(),
            farewell: None,
            admission,
            turned_away,
            refusal,
            secure,
            bare: !secure,
            unsent: Bytes::new(),
            shutdown,
        }
    }

    fn io(&mut self) -> std::io::Result<&mut Stream> {
        // It is there, but while a thread has the socket.
        let absent = || std::io::ErrorKind::NotConnected.into();
        self.io.as_mut().ok_or_else(absent)
    }

    /// Serves the peer, until the end or until somebody else does. `resumed`: what became of it elsewhere.
    async fn run(mut self: Box<Self>, mut resumed: Result<(), End>) {
        let end = loop {
            let driven = match std::mem::replace(&mut resumed, Ok(())) {
                Ok(()) => self.drive().await,
                Err(end) => Err(end),
            };
            match driven {
                Ok(never) => match never {},
                // From here on, the connection is a player of the fan-out.
                Err(End::Plays(joined, stream_id)) => {
                    let Self {
                        live,
                        io: Some(io),
                        session,
                        traffic,
                        ..
                    } = *self
                    else {
                        return;
                    };
                    let talk = PlayerTalk::new(session, traffic, stream_id);
                    return live.play_rtmp(*joined, io, Box::new(talk)).await;
                }
                Err(End::Reads(socket)) => match self.lend(socket) {
                    Some(connection) => self = connection,
                    None => return,
                },
                Err(end) => break end,
            }
        };
        if matches!(end, End::Protocol(_) | End::Media(_)) {
            self.live.counters().count(Count::ProtocolError);
        }
        match &end {
            End::Protocol(error) => {
                warn!(
                    position = self.session.position(),
                    "the peer broke the protocol: {error}"
                );
            }
            End::Media(error) => warn!(position = self.session.position(), "{error}"),
            end => debug!("connection ended: {end}"),
        }
        self.unpublish(end.reason());
        // The stream is free before the peer sees the close. The session may hold a last word to it: an _error, an onStatus.
        let _ = timeout(GOODBYE, self.say_goodbye()).await;
    }

    async fn drive(&mut self) -> Result<std::convert::Infallible, End> {
        let mut clock = tokio::time::interval(CLOCK);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Some(play) = self.wanted.take() {
                Box::pin(self.play(&play)).await?;
            }
            if self.session.has_output() || !self.unsent.is_empty() {
                self.flush_in_time().await?;
            }
            let may_lend = self.bare && self.publishing.is_some() && !self.write_failed;
            let input = self.session.input();
            let absent = || std::io::Error::from(std::io::ErrorKind::NotConnected);
            let io = self.io.as_mut().ok_or_else(absent)?;
            if may_lend {
                // Once there is nothing to read for a moment, nothing is held in between, and the socket is all there is.
                match read_now(io, input) {
                    Poll::Ready(read) => self.came(read?).await?,
                    Poll::Pending => match bare::socket(io) {
                        Ok(socket) => return Err(End::Reads(socket)),
                        Err(_) => self.bare = false,
                    },
                }
                continue;
            }
            // What is ready is not searched for, and the clock is looked at when there is nothing to read. One that always has
            // something is made to wait by tokio's cooperative budget.
            tokio::select! {
                biased;
                read = io.read_buf(input) => {
                    let read = read?;
                    self.came(read).await?;
                }
                _ = clock.tick() => {
                    self.check_clocks(Instant::now())?;
                    // Waiting for it in each turn would cost more than all else here.
                    if self.shutdown.has_changed().is_err() || *self.shutdown.borrow() {
                        self.tell_end(EndReason::Shutdown);
                        return Err(End::Shutdown);
                    }
                }
            }
        }
    }

    /// Acts on what was read into the session.
    async fn came(&mut self, read: usize) -> Result<(), End> {
        if read == 0 {
            return Err(End::Closed);
        }
        self.traffic
            .received
            .fetch_add(read as u64, Ordering::Relaxed);
        let handled = self.session.handle_input(Instant::now());
        // What came before a violation counts.
        self.events().await?;
        handled?;
        // The rest of the input was decoded between the events.
        self.session.handle_timeout(Instant::now())?;
        Ok(())
    }

    /// Lets a thread read the publisher, until there is something that it has no part in: a task waits for that, and it is little more
    /// than a pointer. Returns what has to go on without such a thread.
    fn lend(mut self: Box<Self>, socket: std::net::TcpStream) -> Option<Box<Self>> {
        let app = Arc::clone(&self.app);
        let readers = app.readers.get_or_init(|| {
            let threads = tokio::runtime::Handle::current().metrics().num_workers();
            Readers::start(threads)
                .inspect_err(|error| warn!(%error, "publishers have no threads of their own"))
                .ok()
        });
        let publishing = self.publishing.take_if(|_| readers.is_some());
        let (Some(readers), Some(publishing)) = (readers, publishing) else {
            self.bare = false;
            return Some(self);
        };
        self.io = None;
        self.session.release_input();
        // One that nobody talks to has its place meanwhile.
        let nobody = ServerSession::new(SessionConfig::default(), Instant::now());
        let read = readers.read(Reading {
            socket,
            session: std::mem::replace(&mut self.session, nobody),
            publishing,
            traffic: Arc::clone(&self.traffic),
            shutdown: self.shutdown.clone(),
        });
        let wait = async move {
            // Nothing, when the thread is gone, and the publisher with it.
            if let Some(read) = read.await {
                self.take_back(read).await;
            }
        };
        tokio::spawn(wait.in_current_span());
        None
    }

    /// Goes on with what a thread read. Boxed, for it may lend it again.
    fn take_back(mut self: Box<Self>, read: Box<Read>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            match bare::stream_of(read.socket) {
                Ok(io) => self.io = Some(io),
                Err(error) => {
                    warn!(%error, "a connection cannot go on");
                    return read.publishing.ingest.finish("client_left");
                }
            }
            self.session = read.session;
            self.publishing = Some(read.publishing);
            let resumed = self.resume(read.why).await;
            self.run(resumed).await;
        })
    }

    /// Goes on where the thread stopped.
    async fn resume(&mut self, why: Why) -> Result<(), End> {
        match why {
            Why::Said(event) => {
                self.event(*event).await?;
                self.events().await?;
                // What came behind it may have been a violation.
                Ok(self.session.handle_timeout(Instant::now())?)
            }
            Why::Full(rest) => {
                self.unsent = rest;
                Ok(())
            }
            Why::Over(end) => {
                match &end {
                    End::Ended(ended) => self.tell(ended),
                    End::Shutdown => self.tell_end(EndReason::Shutdown),
                    _ => {}
                }
                Err(end)
            }
        }
    }

    async fn flush_in_time(&mut self) -> Result<(), End> {
        if self.write_failed {
            // Whatever the session wants to say, nobody hears it.
            self.unsent = Bytes::new();
            while self.session.poll_output().is_some() {}
            return Ok(());
        }
        match timeout(WRITE_TIMEOUT, self.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                // A publisher that sent all it had and closed may leave its last media in our socket's buffer, behind which an
                // acknowledgement fails: read on to the end.
                debug!(%error, "the peer reads no more");
                self.write_failed = true;
                Ok(())
            }
            Err(_) => Err(End::WriteTimeout),
        }
    }

    /// Sends the last words and closes our side, then reads what the peer still sends: closing with unread input resets the
    /// connection, and the peer would lose the last words.
    async fn say_goodbye(&mut self) -> std::io::Result<()> {
        self.flush().await?;
        self.io()?.shutdown().await?;
        let mut rest = BytesMut::with_capacity(DISCARD_BYTES);
        while self.io()?.read_buf(&mut rest).await? > 0 {
            rest.clear();
        }
        Ok(())
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        let mut wrote = false;
        let unsent = std::mem::take(&mut self.unsent);
        let mut next = Some(unsent).filter(|unsent| !unsent.is_empty());
        while let Some(bytes) = next.take().or_else(|| self.session.poll_output()) {
            self.io()?.write_all(&bytes).await?;
            self.traffic
                .sent
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            wrote = true;
        }
        if wrote {
            self.io()?.flush().await?;
        }
        Ok(())
    }

    fn check_clocks(&mut self, now: Instant) -> Result<(), End> {
        self.session.handle_timeout(now)?;
        let checked = match &mut self.publishing {
            Some(publishing) => publishing.ingest.check(now),
            // One that does neither publish nor play has nothing to lose.
            None if self.live.hub().is_shut_down() => return Err(End::Shutdown),
            None => Ok(()),
        };
        if let Err(ended) = &checked {
            self.tell(ended);
        }
        Ok(checked?)
    }

    /// Tells the publisher why the server ends it.
    fn tell(&mut self, ended: &Ended) {
        match ended {
            Ended::Claim(reason) => self.tell_end(*reason),
            Ended::Expired | Ended::TooFast(_) => {
                if let Some(publishing) = &self.publishing {
                    let reject = Reject::new("NetStream.Publish.Denied", ended.to_string());
                    self.session.end_publish(publishing.stream_id, &reject);
                }
            }
            _ => {}
        }
    }

    async fn events(&mut self) -> Result<(), End> {
        while let Some(event) = self.session.poll_event() {
            self.event(event).await?;
        }
        Ok(())
    }

    async fn event(&mut self, event: Event) -> Result<(), End> {
        match event {
            // What is asked once is not a part of each connection's memory while nothing is.
            Event::Connect(connect) => Box::pin(self.connected(connect)).await?,
            Event::Publish(publish) => Box::pin(self.publish(&publish)).await?,
            Event::Play(play) => {
                self.wanted = Some(play);
            }
            Event::Media { .. } | Event::Data { .. } => {
                let taken = self
                    .publishing
                    .as_mut()
                    .map(|p| p.take(event, Instant::now()));
                if let Some(Err(end)) = taken {
                    if let End::Ended(ended) = &end {
                        self.tell(ended);
                    }
                    return Err(end);
                }
            }
            Event::Pause { .. } | Event::StopPlay { .. } => {}
            Event::Unpublish { stream_id } => {
                if self
                    .publishing
                    .as_ref()
                    .is_some_and(|p| p.stream_id == stream_id)
                {
                    self.unpublish("client_left");
                }
            }
        }
        Ok(())
    }

    /// Tells the publisher that the server ends it.
    fn tell_end(&mut self, reason: EndReason) {
        if let Some(publishing) = &self.publishing {
            let code = match reason {
                EndReason::Kicked => "NetStream.Publish.BadName",
                EndReason::Operator => "NetStream.Publish.Denied",
                EndReason::Idle => "NetStream.Unpublish.Success",
                _ => "NetConnection.Connect.AppShutdown",
            };
            let reject = Reject::new(code, ingest::told(reason));
            self.session.end_publish(publishing.stream_id, &reject);
        }
    }

    fn unpublish(&mut self, reason: &'static str) {
        if let Some(publishing) = self.publishing.take() {
            publishing.ingest.finish(reason);
        }
    }
}

/// What can be read without waiting.
fn read_now(io: &mut Stream, input: &mut BytesMut) -> Poll<std::io::Result<usize>> {
    let mut nobody = Context::from_waker(Waker::noop());
    pin!(io.read_buf(input)).poll(&mut nobody)
}
