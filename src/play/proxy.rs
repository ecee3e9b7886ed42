//! The ready-made proxy: live first, then the player page, then nothing.

use async_trait::async_trait;
use http::StatusCode;
use pingora::proxy::{ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use super::{Handled, Live, http as answer, page};

/// What the binary serves. A proxy of one's own calls [`Live::handle`] instead.
pub struct LiveProxy {
    live: Live,
}

impl LiveProxy {
    /// Serves `live` and the player page; all else is 404.
    pub fn new(live: Live) -> Self {
        Self { live }
    }
}

#[async_trait]
impl ProxyHttp for LiveProxy {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut Self::CTX) -> Result<bool> {
        if self.live.handle(session).await? == Handled::Yes {
            return Ok(true);
        }
        let crossdomain = self.live.config().http.crossdomain;
        if !page::serve(session, crossdomain).await? {
            answer::text(session, StatusCode::NOT_FOUND, crossdomain, "nothing is here").await?;
        }
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        // request_filter answers everything.
        Error::e_explain(ErrorType::InternalError, "there is no upstream")
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, _ctx: &mut Self::CTX) {
        self.live.request_done(session);
    }
}
