//! What is not live, to an upstream: the steps of a proxied request that [`ProxyHttp`](pingora::proxy::ProxyHttp) has, in their order.
//!
//! [`Router::find`] says whether a request has a route. [`Router::forward`] begins; then [`Forwarding::upstream_peer`] chooses a server, and
//! again after [`Forwarding::fail_to_connect`] or [`Forwarding::error_while_proxy`] said that another may be tried.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::{StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::{self, HashBy};
use crate::observe::{Count, Counters};

use super::routes::{Asked, Route, Routes};
use super::upstream::{Busy, Server, Upstream, UpstreamError};

/// Routes and the upstreams that they lead to. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct Router {
    routes: Arc<Routes>,
    upstreams: Arc<HashMap<String, Arc<Upstream>>>,
    counters: Arc<Counters>,
}

impl Router {
    /// As `live.routes` and `live.upstreams` say. Names are looked up and servers checked once it runs as a background service; without
    /// that, names are looked up with the first request, and no server is checked.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub fn new(
        live: &config::Live,
        counters: Arc<Counters>,
    ) -> std::result::Result<Self, UpstreamError> {
        let mut upstreams = HashMap::new();
        for (group, (name, options)) in (1..).zip(&live.upstreams) {
            let upstream = Upstream::new(name, options, group)?;
            upstreams.insert(name.clone(), Arc::new(upstream));
        }
        Ok(Self {
            routes: Arc::new(Routes::new(&live.routes)),
            upstreams: Arc::new(upstreams),
            counters,
        })
    }

    /// Whether there is something to run in the background.
    pub fn is_empty(&self) -> bool {
        self.upstreams.is_empty()
    }

    /// The route for a request, if there is one. `host` is without its port.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.routes.find(host, path)
    }

    /// Sends a request on its way. None when its upstream does not exist, which a checked configuration excludes.
    pub fn forward(
        &self,
        session: &mut Session,
        route: &Arc<Route>,
        asked: Asked,
    ) -> Option<Forwarding> {
        let upstream = Arc::clone(self.upstreams.get(&route.upstream)?);
        let options = upstream.options();
        session.set_write_timeout(Some(options.write_timeout));
        let request = session.req_header();
        let key = match options.hash_by {
            HashBy::Path => {
                let target = request.uri.path_and_query();
                target.map(|target| target.as_str().to_owned())
            }
            HashBy::Client => asked
                .client
                .map(|client| client.ip().to_canonical().to_string()),
        };
        self.counters.count(Count::Proxied);
        Some(Forwarding {
            upgrade: session.is_upgrade_req(),
            route: Arc::clone(route),
            upstream,
            counters: Arc::clone(&self.counters),
            key: key.unwrap_or_default().into_bytes(),
            asked,
            tried: Vec::new(),
            at: None,
            next: None,
            began: Instant::now(),
            failure: None,
        })
    }
}

#[async_trait]
impl BackgroundService for Router {
    async fn start(&self, shutdown: ShutdownWatch) {
        let mut all = JoinSet::new();
        for upstream in self.upstreams.values() {
            let (upstream, shutdown) = (Arc::clone(upstream), shutdown.clone());
            all.spawn(async move { upstream.run(shutdown).await });
        }
        while all.join_next().await.is_some() {}
    }
}

/// One request on its way.
pub struct Forwarding {
    route: Arc<Route>,
    upstream: Arc<Upstream>,
    counters: Arc<Counters>,
    asked: Asked,
    /// What a hash is about.
    key: Vec<u8>,
    /// It asks for another protocol.
    upgrade: bool,
    /// Servers that did not do.
    tried: Vec<SocketAddr>,
    /// Where it is.
    at: Option<Busy>,
    /// Where it goes if it is tried again.
    next: Option<Arc<Server>>,
    began: Instant,
    /// Why no server answered.
    failure: Option<StatusCode>,
}

impl Forwarding {
    /// The server for the next try.
    ///
    /// # Errors
    /// When no server has an address.
    pub async fn upstream_peer(&mut self) -> Result<Box<HttpPeer>> {
        let server = match self.next.take() {
            Some(server) => server,
            None => {
                self.upstream.look_up().await;
                match self.upstream.next(&self.key, &self.tried) {
                    Some(server) => server,
                    None => {
                        let error =
                            Error::explain(ErrorType::ConnectError, "no server has an address");
                        return Err(error.into_up());
                    }
                }
            }
        };
        let peer = self
            .upstream
            .peer(&server, self.upgrade, self.route.websocket);
        self.at = Some(Busy::new(server));
        Ok(Box::new(peer))
    }

    /// Nothing was sent yet: the next server may be tried, whatever the request is.
    pub fn fail_to_connect(&mut self, mut error: Box<Error>) -> Box<Error> {
        if let Some(at) = &self.at {
            at.0.failed();
        }
        error.set_retry(self.try_another(&error));
        error
    }

    /// The connection broke. `repeatable`: the request may be sent again, as far as it is known and its method goes.
    pub fn error_while_proxy(
        &mut self,
        session: &Session,
        mut error: Box<Error>,
        reused: bool,
    ) -> Box<Error> {
        let repeatable = session.req_header().method.is_idempotent()
            && !session.as_ref().retry_buffer_truncated()
            && session.response_written().is_none();
        if !repeatable {
            error.set_retry(false);
            return error;
        }
        // Of a kept connection nobody knows whether the server still does.
        error.retry.decide_reuse(reused);
        if error.retry() {
            self.next = self.at.as_ref().map(|at| Arc::clone(&at.0));
            return error;
        }
        // A server that was waited for has had its time.
        let broke = *error.esource() == ErrorSource::Upstream && !is_timeout(error.etype());
        error.set_retry(broke && self.try_another(&error));
        error
    }

    fn try_another(&mut self, error: &Error) -> bool {
        let Some(at) = self.at.take() else {
            return false;
        };
        let retries = usize::try_from(self.upstream.options().retries).unwrap_or(usize::MAX);
        self.tried.push(at.0.address);
        if self.tried.len() > retries {
            self.at = Some(at);
            return false;
        }
        self.next = self.upstream.next(&self.key, &self.tried);
        let Some(next) = &self.next else {
            self.at = Some(at);
            return false;
        };
        self.counters.count(Count::ProxyRetry);
        info!(
            upstream = self.upstream.name(),
            server = %at.0.address,
            next = %next.address,
            "tried again: {error}"
        );
        true
    }

    /// Makes the client's request the one for the upstream.
    ///
    /// # Errors
    /// A header that pingora does not take.
    pub fn change_request(&self, request: &mut RequestHeader) -> Result<()> {
        self.route.change_request(request, &self.asked)
    }

    /// Makes the upstream's response the one for the client.
    ///
    /// # Errors
    /// A header that pingora does not take.
    pub fn change_response(&self, response: &mut ResponseHeader) -> Result<()> {
        if let Some(at) = &self.at {
            at.0.answered();
        }
        self.route.change_response(response)
    }

    /// What pingora does not do for clients of HTTP/1.0: they know no chunks (RFC 9112 §6.1), so for them a body without a length ends
    /// with the connection.
    pub fn fit_version(session: &mut Session, response: &mut ResponseHeader) {
        if session.req_header().version != Version::HTTP_10 {
            return;
        }
        response.set_version(Version::HTTP_10);
        if response.remove_header(&header::TRANSFER_ENCODING).is_some() {
            session.set_keepalive(None);
        }
    }

    /// The status for a request that failed; none when nobody can be told, because the client is gone or an answer has begun. Leaves a
    /// line in the log.
    pub fn failed(&mut self, session: &Session, error: &Error) -> Option<StatusCode> {
        if session.response_written().is_some() {
            return None;
        }
        let status = match (error.etype(), error.esource()) {
            (ErrorType::HTTPStatus(code), _) => StatusCode::from_u16(*code).ok()?,
            (kind, ErrorSource::Upstream) if is_timeout(kind) => StatusCode::GATEWAY_TIMEOUT,
            (_, ErrorSource::Upstream) => StatusCode::BAD_GATEWAY,
            (
                ErrorType::WriteError
                | ErrorType::ReadError
                | ErrorType::ConnectionClosed
                | ErrorType::WriteTimedout
                | ErrorType::ReadTimedout,
                ErrorSource::Downstream,
            ) => return None,
            (_, ErrorSource::Downstream) => StatusCode::BAD_REQUEST,
            (_, ErrorSource::Internal | ErrorSource::Unset) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            self.counters.count(Count::ProxyFailed);
            warn!(
                upstream = self.upstream.name(),
                server = self.server().as_deref().unwrap_or("-"),
                "no server answers: {error}"
            );
        }
        self.failure = Some(status);
        Some(status)
    }

    fn server(&self) -> Option<String> {
        let at = self.at.as_ref().map(|at| at.0.address);
        at.or(self.tried.last().copied()).map(|at| at.to_string())
    }

    /// The request's line in the log.
    pub fn log(&self, session: &Session, error: Option<&Error>) {
        let status = session.response_written().map(|response| response.status);
        let request = session.req_header();
        let peer = self.asked.client.map(|client| match client.port() {
            0 => client.ip().to_string(),
            _ => client.to_string(),
        });
        let bytes = session.body_bytes_sent();
        self.counters.proxied(bytes as u64);
        info!(
            target: "pingora_live::access",
            peer = peer.as_deref().unwrap_or("-"),
            host = self.asked.host,
            method = %request.method,
            path = request.uri.path(),
            upstream = self.upstream.name(),
            server = self.server().as_deref().unwrap_or("-"),
            status = status.map(|status| status.as_u16()),
            duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            bytes,
            reason = match (self.failure, error) {
                (Some(_), _) => "no_answer",
                (None, Some(error)) if *error.esource() == ErrorSource::Downstream => "client_left",
                (None, Some(_)) => "broke_off",
                (None, None) => "complete",
            },
            "request proxied"
        );
    }
}

fn is_timeout(kind: &ErrorType) -> bool {
    matches!(
        kind,
        ErrorType::ConnectTimedout
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout
    )
}
