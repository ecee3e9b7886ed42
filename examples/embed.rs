//! A pingora reverse proxy that is given live streaming in three lines, marked 1, 2 and 3.
//!
//! ```sh
//! cargo run --example embed -- 127.0.0.1:8080 127.0.0.1:1935 127.0.0.1:3000
//! #                            HTTP           RTMP           the upstream that was there before; a folder of files, if wanted
//! ffmpeg -re -i clip.mp4 -c copy -f flv rtmp://127.0.0.1/live/clip
//! ffplay http://127.0.0.1:8080/live/clip.flv
//! curl http://127.0.0.1:8080/anything/else
//! ```

use async_trait::async_trait;
use pingora::prelude::*;
use pingora::proxy::http_proxy_service;
use pingora::services::listening::Service;
use pingora_live::{Handled, Live, RtmpApp, config};

/// The proxy that was there before.
struct Proxy {
    upstream: std::net::SocketAddr,
    live: Live, // 1: the door to the streams
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        Ok(self.live.handle(session).await? == Handled::Yes) // 2: streams are answered here, the rest goes on
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
            .unwrap_or_else(|| panic!("the {what} address is missing"))
    };
    let (http, rtmp, upstream) = (next("HTTP"), next("RTMP"), next("upstream"));
    let upstream = upstream.parse().expect("the upstream is address:port");
    let mut config = config::Live::default();
    config.http.root = arguments.next().map(Into::into);

    let mut server = Server::new(None).expect("pingora's defaults are good");
    server.bootstrap();
    let live = Live::new(config);

    let mut publishers = Service::new("rtmp".to_owned(), RtmpApp::new(live.clone()));
    publishers.add_tcp(&rtmp);
    server.add_service(publishers); // 3: where broadcasters publish

    let mut web = http_proxy_service(&server.configuration, Proxy { upstream, live });
    web.add_tcp(&http);
    server.add_service(web);
    server.run_forever();
}
