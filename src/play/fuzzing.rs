//! What `fuzz/` needs of this room. No part of the interface.

use bytes::Bytes;

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
