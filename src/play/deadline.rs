//! A deadline for a whole request header.
//!
//! pingora bounds each read of a request header by 60 s and not the header as a whole, so a client that sends a byte now and then holds its
//! connection for hours. This wraps any pingora HTTP application and drops a connection whose header is not there in time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;
use tokio::sync::Notify;
use tracing::debug;

/// For a connection's first request.
pub const REQUEST_HEADER: Duration = Duration::from_secs(10);
/// For the next one on the same connection: pingora keeps an idle connection for a minute.
pub const NEXT_REQUEST_HEADER: Duration = Duration::from_secs(70);

tokio::task_local! {
    static HEADER_CAME: Arc<Notify>;
}

/// Marks a connection that has served a request before.
struct Served;

/// See the module. The wrapped application must call [`HeaderDeadline::header_came`] when it has a request, as
/// [`super::LiveProxy`] does.
pub struct HeaderDeadline<A> {
    app: Arc<A>,
}

impl<A> HeaderDeadline<A> {
    /// Wraps an application, for instance a [`pingora::proxy::HttpProxy`].
    pub fn new(app: A) -> Self {
        Self { app: Arc::new(app) }
    }
}

impl HeaderDeadline<()> {
    /// To be called from `early_request_filter`: the request's header is there.
    pub fn header_came() {
        // Outside of a deadline (an HTTP/2 stream, an embedding proxy without one) there is nobody to tell.
        let _ = HEADER_CAME.try_with(|came| came.notify_one());
    }
}

#[async_trait]
impl<A> HttpServerApp for HeaderDeadline<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if session.is_http2() {
            return self.app.process_new_http(session, shutdown).await;
        }
        let served = session.take_connection_user_context().is_some();
        let limit = if served { NEXT_REQUEST_HEADER } else { REQUEST_HEADER };
        let peer = session.client_addr().map(ToString::to_string);
        let came = Arc::new(Notify::new());
        let work = HEADER_CAME.scope(Arc::clone(&came), self.app.process_new_http(session, shutdown));
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return mark(done),
            () = came.notified() => {}
            () = tokio::time::sleep(limit) => {
                debug!(peer = peer.as_deref().unwrap_or("-"), "the request header did not come in {limit:?}");
                return None;
            }
        }
        mark(work.await)
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.app.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.app.server_options()
    }

    async fn http_cleanup(&self) {
        self.app.http_cleanup().await;
    }
}

fn mark(done: Option<ReusedHttpStream>) -> Option<ReusedHttpStream> {
    let (stream, settings) = done?.consume();
    let settings = settings.map(|mut settings| {
        settings.set_user_context(Box::new(Served));
        settings
    });
    Some(ReusedHttpStream::new(stream, settings))
}
