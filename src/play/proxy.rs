//! The ready-made proxy: live first, then the player page and files, then nothing.

use async_trait::async_trait;
use http::{Method, StatusCode};
use pingora::http::RequestHeader;
use pingora::proxy::{ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use super::file::{self, Place, Sent};
use super::request::Streamed;
use super::to_node::ToNode;
use super::{Live, http as answer, page};

/// What is kept of a request while it is proxied.
#[derive(Default)]
pub struct Context {
    /// The node that has its stream.
    node: Option<Box<ToNode>>,
}

/// What the binary serves. A proxy of one's own calls [`Live::handle`] instead.
pub struct LiveProxy {
    live: Live,
}

impl LiveProxy {
    /// Serves `live`, the player page, and the files below `live.http.root`; all else is 404.
    pub fn new(live: Live) -> Self {
        Self { live }
    }
}

#[async_trait]
impl ProxyHttp for LiveProxy {
    type CTX = Context;

    fn new_ctx(&self) -> Self::CTX {
        Context::default()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        match self.live.stream_or_node(session, true).await? {
            Streamed::Yes => return Ok(true),
            Streamed::At(node) => {
                ctx.node = Some(node);
                return Ok(false);
            }
            Streamed::No => {}
        }
        let config = self.live.config();
        let crossdomain = &config.http.crossdomain;
        let path = session.req_header().uri.path();
        let is_page = path == "/";
        if path == file::LISTING
            && matches!(session.req_header().method, Method::GET | Method::HEAD)
        {
            self.live.send_listing(session).await?;
            return Ok(true);
        }
        // A folder of files may have a first page of its own, but not scripts that take the place of the player's.
        if !is_page && page::serve(session, crossdomain).await? {
            return Ok(true);
        }
        let (status, line) = match self.live.send_file(session, Place::Plain).await? {
            Sent::Yes => return Ok(true),
            Sent::No if is_page && page::serve(session, crossdomain).await? => return Ok(true),
            Sent::No => (StatusCode::NOT_FOUND, "nothing is here"),
            Sent::BadPath => (
                StatusCode::BAD_REQUEST,
                "the path names nothing that could be here",
            ),
        };
        answer::text(session, status, crossdomain, line).await?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        match &ctx.node {
            Some(node) => node.upstream_peer().await,
            // request_filter answers everything else.
            None => Error::e_explain(ErrorType::InternalError, "there is no upstream"),
        }
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        match &ctx.node {
            Some(node) => node.change_request(request),
            None => Ok(()),
        }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, _ctx: &mut Self::CTX) {
        self.live.request_done(session);
    }
}
