//! What `fuzz/` needs of this room. No part of the interface.

use bytes::Bytes;

use crate::cluster;
use crate::config::Live;
use crate::hub::{Format, StreamKey};
use crate::vhost::{self, Vhosts};

use super::route::{self, Route};
use super::talk::{Said, Talk};
use super::websocket;

pub use super::websocket::{MAX_ANSWERS, MAX_CLIENT_FRAME};

/// The frames of a WebSocket's client.
#[derive(Default)]
pub struct ClientFrames(websocket::ClientFrames);

/// What a client's bytes led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    Nothing,
    /// These bytes go to the client.
    Answer(Bytes),
    /// These bytes go to the client, and are the last.
    Close(Bytes),
}

impl ClientFrames {
    /// Takes what the client sent.
    pub fn hear(&mut self, bytes: &[u8]) -> Heard {
        match self.0.hear(bytes) {
            Said::Answer(bytes) => Heard::Answer(bytes),
            Said::Close(bytes) => Heard::Close(bytes),
            Said::Nothing | Said::Pause(..) => Heard::Nothing,
        }
    }

    /// Bytes that wait for the rest of their frame.
    pub fn held(&self) -> usize {
        self.0.held()
    }
}

/// The vhosts of a configuration, and their mounts.
pub struct Addresses(Vhosts);

impl Addresses {
    /// Those of `live`.
    pub fn new(live: &Live) -> Self {
        Self(Vhosts::new(live))
    }

    /// The stream and the format that an address means. `host`: the Host header, with its port.
    pub fn stream(&self, host: &str, path: &str, query: &str) -> Option<(StreamKey, Format)> {
        match route::route(&self.0, vhost::without_port(host), path, Some(query)) {
            Route::Play(target) => Some((target.key, target.format)),
            Route::NotLive | Route::Refused(..) => None,
        }
    }
}

/// The query with which a player is sent to another server.
pub fn passed_on(query: &str, stream: &StreamKey) -> String {
    cluster::passed_on(query, stream)
}

/// How often the client with that query was sent on already.
pub fn hops(query: &str) -> u32 {
    cluster::hops(query)
}
