//! Live streaming as a plugin for pingora.
#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod config;
pub mod demo;
pub mod hub;
mod ingest;
pub mod media;
pub mod mux;
pub mod observe;
pub mod play;
mod record;
pub mod rtmp;
#[path = "rtmp/listener.rs"]
pub mod rtmp_listener;
pub mod service;
pub mod tls;
mod vhost;

pub use play::{Handled, HttpConnections, Live, LiveProxy};
pub use record::{EndOfRecording, Recorded};
