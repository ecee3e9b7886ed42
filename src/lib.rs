//! Live streaming as a plugin for pingora: publish by RTMP or HTTP, play FLV, TS, AAC and MP3 over HTTP/1, HTTP/2, TLS and WebSocket,
//! or RTMP.
//!
//! # To embed it
//!
//! [`Live`] is the door. A pingora proxy of your own calls [`Live::handle`] in its `request_filter`, and a listening service with
//! [`RtmpApp`] takes the publishers. That is all: the hub's clock and the fan-out's workers start with the first request, on the
//! runtime that serves it.
//!
//! ```no_run
//! use async_trait::async_trait;
//! use pingora::prelude::*;
//! use pingora::services::listening::Service;
//! use pingora_live::{Handled, Live, RtmpApp, config};
//!
//! struct Proxy { live: Live }
//!
//! #[async_trait]
//! impl ProxyHttp for Proxy {
//!     type CTX = ();
//!     fn new_ctx(&self) {}
//!
//!     async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
//!         Ok(self.live.handle(session).await? == Handled::Yes)
//!     }
//!
//!     async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
//!         Ok(Box::new(HttpPeer::new("127.0.0.1:3000", false, String::new())))
//!     }
//! }
//!
//! let mut server = Server::new(None).expect("pingora's defaults");
//! server.bootstrap();
//! let live = Live::new(config::Live::default());
//! let mut publishers = Service::new("rtmp".to_owned(), RtmpApp::new(live.clone()));
//! publishers.add_tcp("0.0.0.0:1935");
//! server.add_service(publishers);
//! let mut web = pingora::proxy::http_proxy_service(&server.configuration, Proxy { live });
//! web.add_tcp("0.0.0.0:8080");
//! server.add_service(web);
//! server.run_forever();
//! ```
//!
//! [`service::assemble`] puts the whole server of the binary together, from a [`config::Config`].
//!
//! # The rooms
//!
//! In the order in which a frame meets them: [`rtmp`] (bytes to messages to a session, without sockets), [`media`] (what a frame is),
//! [`hub`] (one stream, many readers), [`mux`] (frames to bytes), [`play`] (bytes to players). `ARCHITECTURE.md` follows a frame from
//! socket to player, file by file.
#![warn(missing_docs)]
#![deny(unsafe_code)]

mod access;
mod api;
mod bare;
mod client;
mod clients;
pub mod cluster;
pub mod config;
pub mod demo;
pub mod files;
#[doc(hidden)]
pub mod fuzzing;
pub mod hub;
mod identity;
mod ingest;
pub mod media;
pub mod mux;
pub mod observe;
pub mod open_files;
mod outbound;
mod percent;
pub mod play;
pub mod proxy;
mod record;
mod relay;
pub mod rtmp;
pub mod service;
pub mod tls;
mod vhost;
mod via;

pub use access::sign;
pub use api::{Api, ApiProxy};
pub use play::{Handled, HttpConnections, Live, LiveProxy, ReloadError};
pub use record::{EndOfRecording, Recorded, Recording};
pub use relay::{NotStarted, NotStopped, RelayBy, RelayState, RelayStatus, Started};
pub use rtmp::listener::RtmpApp;
