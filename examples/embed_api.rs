//! A pingora proxy of one's own that serves the API and the console of pingora-live below a path of its own, beside the streams and what was
//! there before.
//!
//! ```sh
//! cargo run --example embed_api -- 127.0.0.1:8080 127.0.0.1:1935 127.0.0.1:3000 secret
//! #                                HTTP           RTMP           the upstream     the password of "admin"
//! curl -u admin:secret http://127.0.0.1:8080/ops/api/v1/live/streams
//! open http://127.0.0.1:8080/ops/console
//! ```

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service;
use pingora::services::listening::Service;
use pingora_live::{Api, Handled, Live, RtmpApp, config};

/// The proxy that was there before.
struct Proxy {
    upstream: SocketAddr,
    live: Live,
    api: Api,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        // What is below /ops is the API's, under the rules of live.api; then come the streams; the rest goes on.
        Ok(self.api.handle(session).await? == Handled::Yes
            || self.live.handle(session).await? == Handled::Yes)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| {
        arguments
            .next()
            .unwrap_or_else(|| panic!("the {what} is missing"))
    };
    let mut address = |what: &str| -> SocketAddr {
        next(what)
            .parse()
            .unwrap_or_else(|_| panic!("the {what} is no address:port"))
    };
    let (http, rtmp) = (address("HTTP address"), address("RTMP address"));
    let upstream = address("upstream's address");
    // Others than this machine are answered only with a password or a token.
    let mut config = config::Live::default();
    config.api.auth = Some(config::ApiAuth {
        password: config::Secret::new(next("password")),
        ..config::ApiAuth::default()
    });

    let mut server = Server::new(None).expect("pingora's defaults are good");
    server.bootstrap();
    let live = Live::new(config);
    let api = Api::new(live.clone())
        .below("/ops")
        // The console plays the streams from there.
        .listening(vec![("http", http), ("rtmp", rtmp)]);

    let mut publishers = Service::new("rtmp".to_owned(), RtmpApp::new(live.clone()));
    publishers.add_tcp(&rtmp.to_string());
    server.add_service(publishers);

    let proxy = Proxy {
        upstream,
        live,
        api,
    };
    let mut web = http_proxy_service(&server.configuration, proxy);
    web.add_tcp(&http.to_string());
    server.add_service(web);
    server.run_forever();
}
