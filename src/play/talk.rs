//! What a player may say while it is played to, in protocols in which it may say something.

use bytes::Bytes;

/// The player's side of a connection whose bytes the fan-out writes: WebSocket's control frames, RTMP's commands.
pub(crate) trait Talk: Send {
    /// Takes what came and says what is to be done.
    fn hear(&mut self, bytes: &[u8]) -> Said;

    /// The last words to a player whose stream has ended.
    fn goodbye(&mut self) -> Bytes;

    /// The last words to a player that may play no longer, though the stream goes on.
    fn dismissal(&mut self) -> Bytes {
        self.goodbye()
    }
}

/// What a player said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing that matters.
    Nothing,
    /// These bytes are to be sent, and the play goes on.
    Answer(Bytes),
    /// The play halts (true) or goes on at the next keyframe, after these bytes.
    Pause(bool, Bytes),
    /// These bytes are to be sent, and then the connection is closed.
    Close(Bytes),
}
