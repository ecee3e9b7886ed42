//! The API: what runs, told and changed over HTTP.
//!
//! - SRS's: `/api/v1/{versions,summaries,vhosts,streams,clients}`, in its shapes ([`srs`]), so that what reads an SRS reads this.
//! - Our own below `/api/v1/live/` ([`live`], [`shapes`]): what SRS has no place for, and what changes something.
//! - A page for operators at `/console` ([`console`]).
//! - `/metrics` for Prometheus ([`metrics`]), `/healthz` and `/readyz`, and `/api/openapi.json`, which describes all of it ([`openapi`]).
//!
//! One table ([`routes`]) says what there is; the description is made from it, and what answers is typed. Who may ask is judged in
//! [`auth`], before anything else.
//!
//! [`Api::handle`] answers in any pingora proxy; [`ApiProxy`] is a proxy that has nothing else.

mod auth;
mod console;
#[doc(hidden)]
pub mod fuzzing;
mod live;
mod metrics;
mod node_metrics;
mod nodes;
mod openapi;
mod relays;
mod routes;
mod shapes;
mod srs;

use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::proxy::{ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use sha2::{Digest, Sha256};

use crate::hub::StreamKey;
use crate::observe::Process;
use crate::play::{Handled, Live, SERVER};

use auth::Denied;
use routes::{Answer, Ask};

/// A request's body, in bytes: the name of a stream and an address are all that is ever sent.
const MAX_BODY: usize = 16 * 1024;

/// Answers the requests of the API.
pub struct Api {
    live: Live,
    process: Process,
    /// Where players and publishers are listened for: the protocol and the address.
    listening: Vec<(&'static str, SocketAddr)>,
    /// Stands before each path; empty for none.
    prefix: String,
}

impl Api {
    /// For what runs in `live`, under the rules of its `api` keys.
    pub fn new(live: Live) -> Self {
        Self {
            live,
            process: Process::default(),
            listening: Vec::new(),
            prefix: String::new(),
        }
    }

    /// Tells where players and publishers are listened for: protocols are `rtmp`, `rtmps`, `http` and `https`. The console makes the
    /// addresses of streams of it.
    #[must_use]
    pub fn listening(mut self, listening: Vec<(&'static str, SocketAddr)>) -> Self {
        self.listening = listening;
        self
    }

    /// Puts all of it below a path: with `/ops`, the console is at `/ops/console` and the API at `/ops/api/v1/…`. For a proxy of one's own,
    /// some of whose paths are the same.
    #[must_use]
    pub fn below(mut self, prefix: &str) -> Self {
        let names = prefix.split('/').filter(|name| !name.is_empty());
        self.prefix = names.map(|name| format!("/{name}")).collect();
        self
    }

    /// Answers the request if its path is one of the API's. To be called in `request_filter`, as [`Live::handle`]. The rules of
    /// `live.api` (credentials, names, origins) hold here too.
    ///
    /// # Errors
    /// Those of writing to the client.
    pub async fn handle(&self, session: &mut Session) -> Result<Handled> {
        let Some(path) = self.own_path(session) else {
            return Ok(Handled::No);
        };
        if path.is_empty() && !self.prefix.is_empty() {
            // Addresses are relative to what stands behind the last slash.
            let last = self.prefix.rsplit('/').next().unwrap_or_default();
            let to = format!("{last}/console");
            console::lead(session, &to).await?;
            return Ok(Handled::Yes);
        }
        let is_page = console::find(path).is_some();
        // What stands at `/` is the proxy's own.
        let is_foreign = matches!(path, "" | "/") && self.prefix.is_empty();
        if is_foreign || !is_page && !routes::is_known(path) {
            return Ok(Handled::No);
        }
        self.live.api_header_came(session);
        self.answer(session).await?;
        Ok(Handled::Yes)
    }

    /// The path without the prefix, if it has it.
    fn own_path<'a>(&self, session: &'a Session) -> Option<&'a str> {
        let path = session.req_header().uri.path();
        let own = path.strip_prefix(self.prefix.as_str())?;
        (own.is_empty() || own.starts_with('/')).then_some(own)
    }

    async fn answer(&self, session: &mut Session) -> Result<()> {
        let path = self.own_path(session).unwrap_or_default().to_owned();
        if !self.live.is_ready() {
            // Who keeps its connection would go on asking a process that leaves, and never meet the one that takes its place.
            session.set_keepalive(None);
        }
        let request = session.req_header();
        let method = request.method.clone();
        let query = request.uri.query().unwrap_or_default().to_owned();
        let authority = match request.uri.authority() {
            Some(authority) => authority.as_str(),
            None => request
                .headers
                .get(header::HOST)
                .and_then(|host| host.to_str().ok())
                .unwrap_or_default(),
        };
        let config = self.live.config();
        let page = console::find(&path);
        let judged = auth::judge(
            &config.api,
            &method,
            authority,
            &request.headers,
            routes::is_open(&path) || page.is_some(),
        );
        if let Err(denied) = judged {
            session.set_keepalive(None);
            return write(session, refusal(denied)).await;
        }
        if let Some(page) = page {
            return console::serve(session, page).await;
        }
        let answer = match routes::find(&method, &path) {
            Err(answer) => answer,
            Ok((route, id)) => match read_body(session).await? {
                None => routes::failure(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "the body is larger than anything that is asked for",
                ),
                Some(body) => (route.call)(&Ask {
                    api: self,
                    live: &self.live,
                    id: &id,
                    query: &query,
                    body: &body,
                }),
            },
        };
        write(session, answer).await
    }
}

fn refusal(denied: Denied) -> Answer {
    let status = match denied {
        Denied::Credentials => StatusCode::UNAUTHORIZED,
        Denied::Host | Denied::Origin => StatusCode::FORBIDDEN,
    };
    routes::failure(status, denied.about())
}

/// The body, or `None` when it is too large.
async fn read_body(session: &mut Session) -> Result<Option<Bytes>> {
    let mut body = BytesMut::new();
    while let Some(piece) = session.read_request_body().await? {
        if body.len() + piece.len() > MAX_BODY {
            // What follows is not read.
            session.set_keepalive(None);
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body.freeze()))
}

async fn write(session: &mut Session, answer: Answer) -> Result<()> {
    let mut resp = ResponseHeader::build(answer.status, Some(8))?;
    resp.insert_header(header::SERVER, SERVER)?;
    resp.insert_header(header::CONTENT_TYPE, answer.content_type)?;
    resp.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
    resp.insert_header(header::CACHE_CONTROL, "no-store")?;
    resp.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
    if answer.status == StatusCode::UNAUTHORIZED {
        resp.insert_header(header::WWW_AUTHENTICATE, "Basic realm=\"pingora-live\"")?;
    }
    if let Some(allow) = answer.allow {
        resp.insert_header(header::ALLOW, allow)?;
    }
    let bare = session.req_header().method == Method::HEAD || answer.body.is_empty();
    session.write_response_header(Box::new(resp), bare).await?;
    let body = (!bare).then_some(answer.body);
    session.write_response_body(body, true).await
}

/// The id of a stream: the same for the same name, whichever process tells it.
fn stream_id(key: &StreamKey) -> String {
    id(&[key.vhost(), key.app(), key.stream()])
}

/// Short enough to be typed, long enough that two never meet.
fn id(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.as_bytes());
        // No name holds it.
        digest.update([0]);
    }
    let bytes = digest.finalize();
    let hex = bytes.iter().take(8).map(|byte| format!("{byte:02x}"));
    hex.collect()
}

/// A proxy that serves the API and nothing else.
pub struct ApiProxy {
    api: Api,
}

impl ApiProxy {
    /// Serves `api`; all else is 404.
    pub fn new(api: Api) -> Self {
        Self { api }
    }
}

#[async_trait]
impl ProxyHttp for ApiProxy {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut Self::CTX) -> Result<bool> {
        self.api.live.api_header_came(session);
        self.api.answer(session).await?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        // request_filter answers everything.
        Error::e_explain(ErrorType::InternalError, "there is no upstream")
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, _ctx: &mut Self::CTX) {
        self.api.live.request_done(session);
    }
}
