//! Files below `live.http.root`, sent through pingora's session: a connection is kept for the next request, unlike a player's.
//!
//! What a file is and what of it is asked for, [`crate::files`] says; here is HTTP, and the time that a client may take.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ::http::{HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::protocols::SocketDigest;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tracing::{error, info};

use crate::access::Gate;
use crate::config::{Crossdomain, Vhost};
use crate::files::condition::{self, Verdict};
use crate::files::list::Listing;
use crate::files::seek::Seek;
use crate::files::{Body, Files, Find, Found, Sought};
use crate::observe::{Asked, Count, Counters};
use crate::vhost;

use super::account::{Peer, millis};
use super::{Live, http as answer, route, socket};

/// What is read of a file and written at a time, in bytes. Two of these are held for each client.
const PIECE: usize = 128 * 1024;
/// FLV files that are searched for a keyframe at a time. One without an index is read through from its start, which is work for a disk;
/// others wait for their turn.
const SEARCHES: usize = 8;
/// In how many parts `player_stall` is looked at.
const STALL_PARTS: u32 = 4;
/// An HTTP/2 stream that takes nothing while others on its connection do is ended after this many times `player_stall`: the kernel
/// only tells how the connection fares.
const STALL_OF_STREAM: u32 = 6;
/// How long a listing is given again before the folders are looked through anew.
const LISTING_FRESH: Duration = Duration::from_secs(2);
/// Where the player page finds the recordings.
pub(super) const LISTING: &str = "/player/files.json";

const METHODS: &str = "GET, HEAD, OPTIONS";

/// The folder that is served, and what bounds the work on it.
pub(super) struct Root {
    files: Arc<Files>,
    searches: Semaphore,
    /// Held while the folders are looked through, so that this is done once for all who ask meanwhile.
    listing: tokio::sync::Mutex<Option<(Instant, Bytes)>>,
}

impl Root {
    pub(super) fn new(folder: &std::path::Path) -> Self {
        Self {
            files: Arc::new(Files::new(folder)),
            searches: Semaphore::new(SEARCHES),
            listing: tokio::sync::Mutex::new(None),
        }
    }
}

/// What became of a request for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It was answered.
    Yes,
    /// There is no such file.
    No,
    /// There cannot be one: the path is none.
    BadPath,
}

/// What else the address of a file may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing.
    Plain,
    /// A stream, which is not there now: caches have to ask each time.
    Mount,
}

impl Live {
    /// Answers with the file that the request's path names, if there is one below `live.http.root`.
    ///
    /// # Errors
    /// Those of writing to the client; the connection is then of no more use.
    pub(super) async fn send_file(&self, session: &mut Session, place: Place) -> Result<Sent> {
        let Some((root, vhost, settings)) = self.root_for(session) else {
            return Ok(Sent::No);
        };
        let method = session.req_header().method.clone();
        let path = session.req_header().uri.path().to_owned();
        let files = Arc::clone(&root.files);
        let found = match blocking(move || files.find(&path)).await? {
            Find::Missing => return Ok(Sent::No),
            Find::Bad(_) => return Ok(Sent::BadPath),
            // What a page of another origin asks before it asks holds nothing by which it could be judged.
            _ if method != Method::OPTIONS
                && self.refuse_file(session, &vhost, &settings).await? =>
            {
                return Ok(Sent::Yes);
            }
            Find::Folder(to) if is_read(&method) => {
                self.redirect(session, to).await?;
                return Ok(Sent::Yes);
            }
            Find::Folder(_) => None,
            Find::File(found) => Some(found),
        };
        let config = self.config();
        let crossdomain = &config.http.crossdomain;
        match found.filter(|_| is_read(&method)) {
            Some(found) => self.send(session, &root, found, place).await?,
            None if method == Method::OPTIONS => answer::preflight(session, crossdomain).await?,
            None => {
                let mut resp = ResponseHeader::build(StatusCode::METHOD_NOT_ALLOWED, Some(8))?;
                resp.insert_header(header::ALLOW, METHODS)?;
                line(session, resp, crossdomain, "a file is read with GET").await?;
            }
        }
        Ok(Sent::Yes)
    }

    /// Answers with the newest recordings, as JSON; with none where no folder is served.
    pub(super) async fn send_listing(&self, session: &mut Session) -> Result<()> {
        let allowed = self.root_for(session).filter(|(_, _, settings)| {
            Gate::listing(settings, &self.client(session, false)).is_ok()
        });
        let body = match allowed {
            None => json(&Listing::default()),
            Some((root, ..)) => {
                let mut listing = root.listing.lock().await;
                match &*listing {
                    Some((made, body)) if made.elapsed() < LISTING_FRESH => body.clone(),
                    _ => {
                        let files = Arc::clone(&root.files);
                        let body = blocking(move || json(&files.list())).await?;
                        *listing = Some((Instant::now(), body.clone()));
                        body
                    }
                }
            }
        };
        let mut resp = ResponseHeader::build(StatusCode::OK, Some(8))?;
        resp.insert_header(header::CACHE_CONTROL, "no-cache")?;
        resp.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
        answer::content(
            session,
            resp,
            &self.config().http.crossdomain,
            "application/json",
            body,
        )
        .await
    }

    /// Answers a request for a file by somebody who may not; says whether it did.
    async fn refuse_file(
        &self,
        session: &mut Session,
        vhost: &str,
        settings: &Vhost,
    ) -> Result<bool> {
        let client = self.client(session, false);
        let Err(denied) = self.gate().file(vhost, settings, &client) else {
            return Ok(false);
        };
        self.counters().denied(denied.denial());
        self.counters()
            .turned_away(Asked::File, denied.denial().into());
        info!(
            target: "pingora_live::access",
            client = client.id,
            peer = %Peer(client.peer),
            vhost,
            path = session.req_header().uri.path(),
            by = denied.denial().name(),
            why = %denied,
            reason = "denied",
            "file denied"
        );
        let config = self.config();
        let crossdomain = &config.http.crossdomain;
        let status = answer::status_of(&denied);
        answer::text(session, status, crossdomain, denied.told()).await?;
        Ok(true)
    }

    /// The folder, with the request's vhost and its settings, unless that is switched off.
    fn root_for(&self, session: &Session) -> Option<(Arc<Root>, String, Arc<Vhost>)> {
        let root = self.root()?;
        let query = session.req_header().uri.query().unwrap_or_default();
        // A query that is none names no vhost that could be looked at.
        let asked = vhost::from_query(query).ok()?;
        let (vhost, settings) = self
            .vhosts()
            .resolve(asked.as_deref().unwrap_or_else(|| route::host(session)));
        settings.enabled.then_some((root, vhost, settings))
    }

    async fn redirect(&self, session: &mut Session, mut to: String) -> Result<()> {
        if let Some(query) = session.req_header().uri.query() {
            to = format!("{to}?{query}");
        }
        let mut resp = ResponseHeader::build(StatusCode::MOVED_PERMANENTLY, Some(8))?;
        resp.insert_header(header::LOCATION, to)?;
        line(
            session,
            resp,
            &self.config().http.crossdomain,
            "the folder's address ends in a slash",
        )
        .await
    }

    async fn send(
        &self,
        session: &mut Session,
        root: &Root,
        mut found: Found,
        place: Place,
    ) -> Result<()> {
        let config = self.config();
        let crossdomain = &config.http.crossdomain;
        let peer = self.peer_of(session);
        let _admission = match self.admit(peer) {
            Ok(admission) => admission,
            Err(refusal) => {
                info!(peer = %Peer(peer), "file refused: {refusal}");
                self.counters().turned_away(Asked::File, refusal.reason());
                return answer::text(
                    session,
                    StatusCode::SERVICE_UNAVAILABLE,
                    crossdomain,
                    &refusal.to_string(),
                )
                .await;
            }
        };
        let mut account = Account {
            counters: self.shared_counters(),
            peer,
            path: session.req_header().uri.path().to_owned(),
            status: StatusCode::OK,
            asked: Instant::now(),
            bytes: 0,
            reason: "shutdown",
        };
        if found.is_flv {
            match Seek::from_query(session.req_header().uri.query().unwrap_or_default()) {
                Ok(None) => {}
                Ok(Some(seek)) => {
                    let _turn = root.searches.acquire().await;
                    let (sought, cut) = blocking(move || (found.seek(seek), found)).await?;
                    found = cut;
                    match sought {
                        Ok(Sought::Cut | Sought::Whole) => {}
                        Ok(Sought::Beyond) => {
                            account.status = StatusCode::RANGE_NOT_SATISFIABLE;
                            account.reason = "complete";
                            return unsatisfiable(
                                session,
                                found.file_size(),
                                crossdomain,
                                "the file ends before that",
                            )
                            .await;
                        }
                        Err(error) => {
                            account.unreadable(&error);
                            account.status = StatusCode::INTERNAL_SERVER_ERROR;
                            return answer::text(
                                session,
                                account.status,
                                crossdomain,
                                "the file cannot be read",
                            )
                            .await;
                        }
                    }
                }
                Err(bad) => {
                    account.status = StatusCode::BAD_REQUEST;
                    account.reason = "complete";
                    return answer::text(session, account.status, crossdomain, &bad.to_string())
                        .await;
                }
            }
        }
        let request = session.req_header();
        let (method, validators, size) = (request.method.clone(), found.validators(), found.len());
        let verdict = condition::judge(
            &method,
            &request.headers,
            &validators,
            size,
            SystemTime::now(),
        );
        let (status, from, len) = match verdict {
            Verdict::Whole => (StatusCode::OK, 0, size),
            Verdict::Part { from, len } => (StatusCode::PARTIAL_CONTENT, from, len),
            Verdict::NotModified => (StatusCode::NOT_MODIFIED, 0, 0),
            Verdict::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, 0, 0),
            Verdict::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
        };
        account.status = status;
        self.counters().count(Count::File);
        if status == StatusCode::PARTIAL_CONTENT {
            self.counters().count(Count::FileRange);
        }
        if status.is_client_error() {
            account.reason = "complete";
            if status == StatusCode::RANGE_NOT_SATISFIABLE {
                return unsatisfiable(session, size, crossdomain, "the range lies beyond the end")
                    .await;
            }
            return answer::text(
                session,
                status,
                crossdomain,
                "the file is another one than the request expects",
            )
            .await;
        }
        let mut resp = ResponseHeader::build(status, Some(14))?;
        resp.insert_header(header::ETAG, validators.tag.as_str())?;
        resp.insert_header(
            header::LAST_MODIFIED,
            httpdate::fmt_http_date(validators.modified),
        )?;
        resp.insert_header(header::ACCEPT_RANGES, "bytes")?;
        resp.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
        if place == Place::Mount {
            resp.insert_header(header::CACHE_CONTROL, "no-cache")?;
        }
        if status != StatusCode::NOT_MODIFIED {
            let content_type = HeaderValue::from_str(&found.content_type);
            resp.insert_header(
                header::CONTENT_TYPE,
                content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")),
            )?;
            resp.insert_header(header::CONTENT_LENGTH, len)?;
        }
        if status == StatusCode::PARTIAL_CONTENT {
            let last = from.saturating_add(len).saturating_sub(1);
            resp.insert_header(header::CONTENT_RANGE, format!("bytes {from}-{last}/{size}"))?;
        }
        answer::dress(session, &mut resp, crossdomain)?;
        if method == Method::HEAD || len == 0 {
            account.reason = "complete";
            session.write_response_header(Box::new(resp), true).await?;
            return session.write_response_body(None, true).await;
        }
        session.set_write_timeout(Some(self.config().limits.player_stall));
        let config = self.config();
        let limits = &config.limits;
        if let Some(io) = session.as_downstream().stream() {
            // A test's pipe has no options; what cannot be set is no reason to send nothing.
            let _ = socket::bound(io, limits.send_buffer);
        }
        session.write_response_header(Box::new(resp), false).await?;
        // From here on the time of a write is watched here: pingora's clock ends a slow client that takes its time.
        session.set_write_timeout(None);
        send_body(
            session,
            found.body(from, len),
            limits.player_stall,
            &mut account,
        )
        .await
    }
}

/// Whether a method reads a file.
fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Runs what may wait for a disk on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    spawn_blocking(work)
        .await
        .map_err(|_| Error::explain(ErrorType::InternalError, "work on a file was given up"))
}

fn json(listing: &Listing) -> Bytes {
    // Strings and numbers: it cannot fail.
    serde_json::to_vec(listing).unwrap_or_default().into()
}

async fn line(
    session: &mut Session,
    resp: ResponseHeader,
    crossdomain: &Crossdomain,
    line: &str,
) -> Result<()> {
    let body = Bytes::from(format!("{line}\n"));
    answer::content(
        session,
        resp,
        crossdomain,
        "text/plain; charset=utf-8",
        body,
    )
    .await
}

/// RFC 9110 §15.5.17.
async fn unsatisfiable(
    session: &mut Session,
    size: u64,
    crossdomain: &Crossdomain,
    why: &str,
) -> Result<()> {
    let mut resp = ResponseHeader::build(StatusCode::RANGE_NOT_SATISFIABLE, Some(8))?;
    resp.insert_header(header::CONTENT_RANGE, format!("bytes */{size}"))?;
    resp.insert_header(header::CACHE_CONTROL, "no-store")?;
    line(session, resp, crossdomain, why).await
}

/// Writes a body to its end. The next piece is read while one is written.
async fn send_body(
    session: &mut Session,
    body: Body,
    stall: Duration,
    account: &mut Account,
) -> Result<()> {
    let digest = session.digest().and_then(|d| d.socket_digest.clone());
    let read = |mut body: Body| spawn_blocking(move || (body.read(PIECE), body));
    let mut reading = read(body);
    loop {
        let Ok((piece, body)) = reading.await else {
            return Error::e_explain(ErrorType::InternalError, "reading a file was given up");
        };
        let piece = match piece {
            Ok(piece) => piece,
            // The length was told already: only a connection that breaks off says that something is amiss.
            Err(error) => {
                account.unreadable(&error);
                return Err(
                    Error::because(ErrorType::ConnectionClosed, "reading a file", error)
                        .into_down(),
                );
            }
        };
        let (len, last) = (piece.len() as u64, body.left() == 0);
        reading = read(body);
        if let Err(error) = write(session, piece, last, stall, digest.as_deref()).await {
            account.reason = if is_stall(&error) {
                "stalled"
            } else {
                "client_left"
            };
            return Err(
                Error::because(ErrorType::ConnectionClosed, "sending a file", error).into_down(),
            );
        }
        account.bytes += len;
        if last {
            account.reason = "complete";
            return Ok(());
        }
    }
}

/// Writes one piece. An error of the type `WriteTimedout` when the client took nothing for the time of `stall`; one that takes little is
/// waited for.
async fn write(
    session: &mut Session,
    piece: Bytes,
    last: bool,
    stall: Duration,
    digest: Option<&SocketDigest>,
) -> Result<()> {
    let http2 = session.is_http2();
    let mut write = pin!(session.write_response_body(Some(piece), last));
    let begin = Instant::now();
    let (mut taken, mut moved) = (taken(digest), begin);
    loop {
        if let Ok(result) = tokio::time::timeout(stall / STALL_PARTS, &mut write).await {
            return result;
        }
        let now = self::taken(digest);
        if now != taken {
            (taken, moved) = (now, Instant::now());
        }
        let stuck = http2 && begin.elapsed() >= stall * STALL_OF_STREAM;
        if stuck || moved.elapsed() >= stall {
            return Error::e_explain(ErrorType::WriteTimedout, "the client takes nothing");
        }
    }
}

/// Whether a write failed because the client took nothing: the clock here may have said so, or the kernel's own (`TCP_USER_TIMEOUT`).
fn is_stall(error: &Error) -> bool {
    let kernel = error.root_cause().downcast_ref::<std::io::Error>();
    *error.etype() == ErrorType::WriteTimedout
        || kernel.is_some_and(|e| e.kind() == std::io::ErrorKind::TimedOut)
}

/// Bytes that the client's machine has confirmed on this connection.
fn taken(digest: Option<&SocketDigest>) -> Option<u64> {
    digest
        .and_then(SocketDigest::tcp_info)
        .map(|info| info.tcpi_bytes_acked)
}

/// What is known of one answer. Writes its line when it is dropped, so no way to end can miss it.
struct Account {
    counters: Arc<Counters>,
    peer: Option<SocketAddr>,
    /// As it came: percent-encoded.
    path: String,
    status: StatusCode,
    asked: Instant,
    /// Of the body.
    bytes: u64,
    reason: &'static str,
}

impl Account {
    fn unreadable(&mut self, error: &std::io::Error) {
        error!(path = self.path, %error, "a file cannot be read");
        self.reason = "unreadable";
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.counters.file_ended(self.bytes);
        info!(
            target: "pingora_live::access",
            peer = %Peer(self.peer),
            path = self.path,
            status = self.status.as_u16(),
            bytes = self.bytes,
            duration_ms = millis(self.asked.elapsed()),
            reason = self.reason,
            "file sent"
        );
    }
}
