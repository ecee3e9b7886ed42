//! What stands between a listener and a pingora HTTP application: a deadline for whole request headers, a bound for the connections of one
//! address that ask for nothing, and HTTP/2 without TLS for those who speak it.
//!
//! pingora bounds each read of a request header by 60 s and not the header as a whole, so a client that sends a byte now and then
//! holds its connection for hours. And where HTTP/2 without TLS is allowed, pingora waits for 24 bytes before it looks at what
//! they are, without any bound: a request of 18 bytes (`GET / HTTP/1.0`) is never answered. [`HttpConnections`] does both right.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{SocketDigest, Stream};
use pingora::server::ShutdownWatch;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use crate::observe::Count;

use super::Live;
use super::limits::Idle;

/// For a connection's first request: from its beginning (after TLS) to the end of the header.
pub const REQUEST_HEADER: Duration = Duration::from_secs(10);
/// For the next one on the same connection: pingora keeps an idle connection for 60 s, and then the header has its 10 s.
pub const NEXT_REQUEST_HEADER: Duration = Duration::from_secs(70);
/// For the next request of a client that has as many idle connections as it may: its answer is on its way.
const ONE_TOO_MANY: Duration = Duration::from_secs(1);

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The clocks of the connections whose header is awaited. Cheap to clone; clones share.
#[derive(Clone, Default)]
pub(super) struct Deadlines {
    /// Guards the clocks, by the address of the connection's socket digest, which its session has too. Held for a look-up, twice a request.
    clocks: Arc<Mutex<HashMap<usize, Clock>>>,
}

/// Of one connection.
struct Clock {
    deadline: watch::Sender<Option<Instant>>,
    /// Its place among those that ask for nothing at the moment.
    idle: Option<Idle>,
    /// Who may have how many of those; none where nobody is bounded.
    live: Option<Live>,
}

/// A clock's entry, gone with the connection.
struct Entry {
    deadlines: Deadlines,
    /// Keeps the address from being used again.
    digest: Arc<SocketDigest>,
}

impl Deadlines {
    fn enter(
        &self,
        digest: Arc<SocketDigest>,
        deadline: Instant,
        idle: Option<Idle>,
        live: Option<Live>,
    ) -> (Entry, watch::Receiver<Option<Instant>>) {
        let (deadline, watching) = watch::channel(Some(deadline));
        let clock = Clock {
            deadline,
            idle,
            live,
        };
        self.clocks.lock().insert(address(&digest), clock);
        let entry = Entry {
            deadlines: self.clone(),
            digest,
        };
        (entry, watching)
    }

    /// The header of a request is there: the clock stands still. Without a clock, nothing.
    pub(super) fn header_came(&self, session: &ServerSession) {
        let idle = self.with(session, |clock, _| {
            clock.deadline.send_replace(None);
            clock.idle.take()
        });
        // Not under the lock.
        drop(idle);
    }

    /// The request is done, and the next one may come.
    pub(super) fn request_done(&self, session: &ServerSession) {
        // Streams of an HTTP/2 connection come and go at the same time; pingora closes it when it has none for a while.
        if session.is_http2() {
            return;
        }
        self.with(session, |clock, peer| {
            let mut wait = NEXT_REQUEST_HEADER;
            if let Some(live) = &clock.live {
                clock.idle = live.wait_at_door(peer);
                if clock.idle.is_none() {
                    wait = ONE_TOO_MANY;
                }
            }
            clock.deadline.send_replace(Some(Instant::now() + wait));
        });
    }

    fn with<T>(
        &self,
        session: &ServerSession,
        change: impl FnOnce(&mut Clock, Option<SocketAddr>) -> T,
    ) -> Option<T> {
        let digest = session.digest()?.socket_digest.as_ref()?;
        let mut clocks = self.clocks.lock();
        let clock = clocks.get_mut(&address(digest))?;
        Some(change(clock, peer_of(digest)))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.deadlines.clocks.lock().remove(&address(&self.digest));
    }
}

fn peer_of(digest: &SocketDigest) -> Option<SocketAddr> {
    digest.peer_addr()?.as_inet().copied()
}

fn address(digest: &Arc<SocketDigest>) -> usize {
    Arc::as_ptr(digest).addr()
}

/// Returns when the clock has run out; never while it stands still.
async fn expired(mut clock: watch::Receiver<Option<Instant>>) {
    loop {
        let deadline = *clock.borrow_and_update();
        let changed = match deadline {
            None => clock.changed().await,
            Some(deadline) => match tokio::time::timeout_at(deadline, clock.changed()).await {
                Ok(changed) => changed,
                Err(_) => return,
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

/// See the module. Wraps an HTTP application, for instance a [`pingora::proxy::HttpProxy`], for
/// [`pingora::services::listening::Service`].
///
/// The application must serve the [`Live`](super::Live) that this is made with ([`Live::connections_for`](super::Live::connections_for)):
/// it stops the clock of a connection when [`Live::handle`](super::Live::handle) is called for its request.
pub struct HttpConnections<A> {
    http1: Arc<Delegate<A>>,
    h2c: Arc<Delegate<A>>,
    allow_h2c: bool,
    live: Live,
    bounded: bool,
}

impl<A: HttpServerApp + Send + Sync + 'static> HttpConnections<A> {
    pub(super) fn new(app: A, live: &Live) -> Self {
        let app = Arc::new(app);
        let with_h2c = |h2c| {
            let mut options = app.server_options().cloned().unwrap_or_default();
            options.h2c = h2c;
            Arc::new(Delegate {
                app: Arc::clone(&app),
                options,
            })
        };
        Self {
            http1: with_h2c(false),
            h2c: with_h2c(true),
            allow_h2c: app.server_options().is_some_and(|o| o.h2c),
            live: live.clone(),
            bounded: true,
        }
    }

    /// Without a bound for the connections of one address that ask for nothing: for operators, who must get in when others hammer.
    pub(crate) fn unbounded(mut self) -> Self {
        self.bounded = false;
        self
    }

    async fn serve(&self, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let plain = stream.get_ssl_digest().is_none();
        if !plain {
            self.live.counters().count(Count::TlsHttp);
        }
        let (stream, h2c) = if self.allow_h2c && plain {
            detect(stream).await?
        } else {
            (stream, false)
        };
        let app = if h2c { &self.h2c } else { &self.http1 };
        ServerApp::process_new(app, stream, shutdown).await
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> ServerApp for HttpConnections<A> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let Some(digest) = stream.get_socket_digest() else {
            return self.serve(stream, shutdown).await;
        };
        let mut idle = None;
        if self.bounded {
            idle = Some(self.live.wait_at_door(peer_of(&digest))?);
        }
        let live = self.bounded.then(|| self.live.clone());
        let deadline = Instant::now() + REQUEST_HEADER;
        let deadlines = &self.live.inner.deadlines;
        let (_entry, clock) = deadlines.enter(Arc::clone(&digest), deadline, idle, live);
        tokio::select! {
            biased;
            done = self.serve(stream, shutdown) => done,
            () = expired(clock) => {
                let peer = digest.peer_addr.get().and_then(Option::as_ref).map(ToString::to_string);
                debug!(peer = peer.as_deref().unwrap_or("-"), "the request header did not come in time");
                None
            }
        }
    }

    async fn cleanup(&self) {
        self.http1.app.http_cleanup().await;
    }
}

/// Whether the client begins with the HTTP/2 preface. Reads no further than to the first byte that differs, and puts all back.
async fn detect(stream: Stream) -> Option<(Stream, bool)> {
    if !stream.as_any().is::<L4Stream>() {
        return Some((stream, false));
    }
    let mut stream = stream.into_any().downcast::<L4Stream>().ok()?;
    let mut seen = [0u8; PREFACE.len()];
    let mut len = 0;
    while let Some(room) = seen.get_mut(len..).filter(|room| !room.is_empty()) {
        let read = stream.read(room).await.ok()?;
        if read == 0 {
            return None;
        }
        len += read;
        if seen.get(..len) != PREFACE.get(..len) {
            break;
        }
    }
    stream.rewind(seen.get(..len)?);
    Some((stream, seen == *PREFACE))
}

/// An application with server options of its own.
struct Delegate<A> {
    app: Arc<A>,
    options: HttpServerOptions,
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> HttpServerApp for Delegate<A> {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.app.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.app.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
