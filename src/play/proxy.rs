//! The ready-made proxy: streams first, then what `live.routes` send to an upstream, then files and the player page.

use async_trait::async_trait;
use http::{Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use tracing::{debug, info};

use crate::config::RouteStreams;
use crate::observe;
use crate::proxy::{Asked, Forwarding, Route, Router, UpstreamError};

use super::file::{self, Place, Sent};
use super::request::{Streamed, via};
use super::route::{self, Route as Meant};
use super::to_node::ToNode;
use super::{Admission, Live, Peer, Refusal, http as answer, page};

/// What is kept of a request while it is proxied.
#[derive(Default)]
pub struct Context {
    /// The node that has its stream.
    node: Option<Box<ToNode>>,
    /// The upstream of its route.
    forwarding: Option<Box<Forwarding>>,
    /// Its place among the connections, while it is proxied.
    admission: Option<Admission>,
}

/// What the binary serves. A proxy of one's own calls [`Live::handle`] instead.
pub struct LiveProxy {
    live: Live,
    router: Router,
}

impl LiveProxy {
    /// Serves `live`, its routes, the player page, and the files below `live.http.root`; all else is 404.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub fn new(live: Live) -> std::result::Result<Self, UpstreamError> {
        Ok(Self {
            router: Router::new(&live.config(), live.shared_counters())?,
            live,
        })
    }

    /// What leads to the upstreams. Run it as a background service for their health checks.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Whether the address is a stream's although a route matches it.
    fn is_streams(&self, session: &Session, of: RouteStreams) -> bool {
        if of == RouteStreams::None {
            return false;
        }
        let uri = &session.req_header().uri;
        let vhosts = self.live.vhosts();
        match route::route(&vhosts, route::host(session), uri.path(), uri.query()) {
            Meant::NotLive => false,
            Meant::Refused(..) => of == RouteStreams::Mounts,
            Meant::Play(target) => {
                of == RouteStreams::Mounts || self.live.hub().find(&target.key).is_some()
            }
        }
    }

    fn forward(&self, session: &mut Session, route: &std::sync::Arc<Route>) -> Option<Forwarding> {
        let peer = session.client_addr().and_then(|a| a.as_inet()).copied();
        let request = session.req_header();
        let authority = request.uri.authority().map(|authority| authority.as_str());
        let host = request.headers.get(header::HOST);
        let asked = Asked {
            client: self.live.peer_of(session),
            peer,
            trusted: peer.is_some_and(|peer| self.live.trusted_proxies().trusts(peer.ip())),
            tls: session.digest().is_some_and(|d| d.ssl_digest.is_some()),
            hop: self.live.relay().node().hop(request.version),
            host: authority
                .or_else(|| host?.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
        };
        self.router.forward(session, route, asked)
    }

    /// A request for an upstream that is over a limit.
    async fn too_many(&self, session: &mut Session, refusal: Refusal) -> Result<()> {
        info!(
            peer = %Peer(self.live.peer_of(session)),
            path = session.req_header().uri.path(),
            "proxied request refused: {refusal}"
        );
        self.live
            .counters()
            .turned_away(observe::Asked::Proxy, refusal.reason());
        let line = refusal.to_string();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        self.live.refuse_upload(session, status, &line).await
    }

    /// Whether the request has come through this node already. Then it is answered: 508 (RFC 5842 §7.2).
    async fn refuse_loop(&self, session: &mut Session) -> Result<bool> {
        if !self.live.relay().node().is_in(&via(session)) {
            return Ok(false);
        }
        let counters = self.live.counters();
        counters.count(observe::Count::RelayLoop);
        counters.turned_away(observe::Asked::Proxy, observe::Reason::Loop);
        info!(
            host = route::host(session),
            path = session.req_header().uri.path(),
            "request refused: its route leads back here"
        );
        let line = "the request would go in a circle";
        let status = StatusCode::LOOP_DETECTED;
        self.live.refuse_upload(session, status, line).await?;
        Ok(true)
    }

    /// What has no route: the player page, its list of files, and files.
    async fn serve_own(&self, session: &mut Session) -> Result<()> {
        let config = self.live.config();
        let crossdomain = &config.http.crossdomain;
        let path = session.req_header().uri.path();
        let is_page = path == "/";
        if path == file::LISTING && is_read(session) {
            return self.live.send_listing(session).await;
        }
        // A folder of files may have a first page of its own, but not scripts that take the place of the player's.
        if !is_page && page::serve(session, crossdomain).await? {
            return Ok(());
        }
        let (status, line) = match self.live.send_file(session, Place::Plain).await? {
            Sent::Yes => return Ok(()),
            Sent::No if is_page && page::serve(session, crossdomain).await? => return Ok(()),
            Sent::No => (StatusCode::NOT_FOUND, "nothing is here"),
            Sent::BadPath => (
                StatusCode::BAD_REQUEST,
                "the path names nothing that could be here",
            ),
        };
        self.live.refuse_upload(session, status, line).await
    }
}

fn is_read(session: &Session) -> bool {
    matches!(session.req_header().method, Method::GET | Method::HEAD)
}

#[async_trait]
impl ProxyHttp for LiveProxy {
    type CTX = Context;

    fn new_ctx(&self) -> Self::CTX {
        Context::default()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        self.live.header_came(session);
        let path = session.req_header().uri.path();
        let route = self.router.find(route::host(session), path).cloned();
        let streams = route.as_ref().map(|route| route.streams);
        if streams.is_none_or(|of| self.is_streams(session, of)) {
            match self.live.stream_or_node(session, true).await? {
                Streamed::Yes => return Ok(true),
                Streamed::At(node) => {
                    ctx.node = Some(node);
                    return Ok(false);
                }
                Streamed::No => {}
            }
        }
        let Some(route) = route else {
            self.serve_own(session).await?;
            return Ok(true);
        };
        // Files come before a route that takes all that is left, and behind one that has a path of its own.
        if route.is_rest()
            && is_read(session)
            && !session.is_upgrade_req()
            && self.live.send_file(session, Place::Plain).await? == Sent::Yes
        {
            return Ok(true);
        }
        if self.refuse_loop(session).await? {
            return Ok(true);
        }
        match self.live.admit(self.live.peer_of(session)) {
            Ok(admission) => ctx.admission = Some(admission),
            Err(refusal) => {
                self.too_many(session, refusal).await?;
                return Ok(true);
            }
        }
        ctx.forwarding = self.forward(session, &route).map(Box::new);
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        match (&mut ctx.forwarding, &mut ctx.node) {
            (Some(forwarding), _) => forwarding.upstream_peer().await,
            (None, Some(node)) => node.upstream_peer(&self.live).await,
            (None, None) => Error::e_explain(ErrorType::HTTPStatus(502), "there is no upstream"),
        }
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        match (&ctx.forwarding, &ctx.node) {
            (Some(forwarding), _) => forwarding.change_request(request),
            (None, Some(node)) => node.change_request(request),
            (None, None) => Ok(()),
        }
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        match &ctx.forwarding {
            Some(forwarding) => forwarding.change_response(response),
            None => Ok(()),
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _ctx: &mut Self::CTX,
    ) -> Result<()> {
        Forwarding::fit_version(session, response);
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Self::CTX,
        error: Box<Error>,
    ) -> Box<Error> {
        match (&mut ctx.forwarding, &ctx.node) {
            (Some(forwarding), _) => forwarding.fail_to_connect(error),
            (None, Some(node)) => node.fail_to_connect(error),
            (None, None) => error,
        }
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Self::CTX,
        reused: bool,
    ) -> Box<Error> {
        if let Some(forwarding) = &mut ctx.forwarding {
            return forwarding.error_while_proxy(session, error, reused);
        }
        // As pingora does by itself.
        if !session.req_header().method.is_idempotent() || session.as_ref().retry_buffer_truncated()
        {
            error.set_retry(false);
        } else {
            error.retry.decide_reuse(reused);
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Self::CTX,
    ) -> FailToProxy {
        let status = match &mut ctx.forwarding {
            Some(forwarding) => forwarding.failed(session, error),
            None => match (error.etype(), error.esource()) {
                (ErrorType::HTTPStatus(code), _) => StatusCode::from_u16(*code).ok(),
                (_, ErrorSource::Upstream) => Some(StatusCode::BAD_GATEWAY),
                // The client of a stream or a file, which is not there any more.
                (_, ErrorSource::Downstream) => None,
                _ => Some(StatusCode::INTERNAL_SERVER_ERROR),
            },
        };
        // What has begun cannot be taken back: it breaks off, so that nobody takes it for whole.
        let status = status.filter(|_| session.response_written().is_none());
        if let Some(status) = status {
            session.set_keepalive(None);
            let line = match status {
                StatusCode::GATEWAY_TIMEOUT => "the server behind did not answer in time",
                StatusCode::BAD_GATEWAY => "no server answers behind this address",
                _ => status.canonical_reason().unwrap_or("it failed"),
            };
            let config = self.live.config();
            let crossdomain = &config.http.crossdomain;
            if let Err(error) = answer::text(session, status, crossdomain, line).await {
                debug!(%error, "the client did not hear that no server answers");
            }
        }
        FailToProxy {
            error_code: status.map_or(0, |status| status.as_u16()),
            can_reuse_downstream: false,
        }
    }

    fn suppress_error_log(&self, _session: &Session, ctx: &Self::CTX, _error: &Error) -> bool {
        // It has a line of ours.
        ctx.forwarding.is_some()
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        ctx: &Self::CTX,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        ctx.forwarding.is_some()
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        if let Some(forwarding) = &ctx.forwarding {
            forwarding.log(session, error);
        }
        self.live.request_done(session);
    }
}
