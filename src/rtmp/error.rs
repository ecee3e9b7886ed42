//! Why a session ends, and whose fault it is.

use super::amf0::Amf0Error;
use super::limits::{
    MAX_CHUNK_STREAMS, MAX_HELD_INPUT_BYTES, MAX_IDLE_COMMANDS, MAX_OUTPUT_BYTES, MAX_PARTIAL_BYTES,
};
use std::time::Duration;

/// Why a session cannot go on.
///
/// `position` is the number of bytes of the connection, handshake included, before the chunk or message in question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The first byte is no RTMP version.
    #[error("not RTMP: the first byte is {first:#04x} ({guess})")]
    NotRtmp {
        /// The first byte.
        first: u8,
        /// What the peer seems to speak.
        guess: Guess,
    },
    /// RTMPE: the peer wants the handshake that encrypts, which is not served.
    #[error("RTMPE (handshake version {version:#04x}) is not supported; use RTMPS")]
    Encrypted {
        /// The first byte.
        version: u8,
    },
    /// The bytes are no valid chunks, or exceed a limit of the chunk layer.
    #[error("byte {position}: {source}")]
    Chunk {
        /// Where the chunk starts.
        position: u64,
        /// What is wrong with it.
        source: ChunkError,
    },
    /// A protocol control message that cannot be what it says.
    #[error("byte {position}: {message} message with {problem}")]
    Control {
        /// Where the next chunk starts.
        position: u64,
        /// The message.
        message: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An aggregate message whose inner lengths do not add up.
    #[error("byte {position}: aggregate message ends inside {reading}, {offset} bytes into it")]
    Aggregate {
        /// Where the next chunk starts.
        position: u64,
        /// Bytes of the message before the inner message in question.
        offset: usize,
        /// What was being read.
        reading: &'static str,
    },
    /// A command that is not readable AMF0.
    #[error("byte {position}: unreadable command: {source}")]
    Amf0 {
        /// Where the next chunk starts.
        position: u64,
        /// What is wrong, and where in the message.
        source: Amf0Error,
    },
    /// A command without what it needs.
    #[error("byte {position}: command {command:?}: {problem}")]
    Command {
        /// Where the next chunk starts.
        position: u64,
        /// Its name, at most 64 characters of it.
        command: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// More than [`MAX_IDLE_COMMANDS`] commands without a publish or play.
    #[error("byte {position}: more than {MAX_IDLE_COMMANDS} commands without publish or play")]
    TooManyCommands {
        /// Where the next chunk starts.
        position: u64,
    },
    /// More than [`MAX_OUTPUT_BYTES`] of replies wait: the peer calls and does not read.
    #[error(
        "byte {position}: more than {MAX_OUTPUT_BYTES} bytes of replies wait for the peer to read"
    )]
    OutputOverflow {
        /// Where the next chunk starts.
        position: u64,
    },
    /// More than [`MAX_HELD_INPUT_BYTES`] came while connect, publish or play was not answered yet.
    #[error(
        "byte {position}: more than {MAX_HELD_INPUT_BYTES} bytes came before the server answered"
    )]
    HeldInputOverflow {
        /// Where the next chunk starts.
        position: u64,
    },
    /// The peer took too long.
    #[error("{phase} took longer than {} s", .after.as_secs())]
    TimedOut {
        /// What did not come in time.
        phase: Phase,
        /// The time it had.
        after: Duration,
    },
}

/// What is wrong with a chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// A chunk that leaves out what no chunk before it has said.
    #[error("chunk stream {csid} starts with a chunk of type {fmt}, which has no message length")]
    NoHeader {
        /// The chunk stream.
        csid: u32,
        /// The chunk type, 2 or 3.
        fmt: u8,
    },
    /// A new message header in the middle of a message.
    #[error(
        "chunk stream {csid}: a chunk of type {fmt} with {missing} bytes of the message missing"
    )]
    Interrupted {
        /// The chunk stream.
        csid: u32,
        /// The chunk type, 0 to 2.
        fmt: u8,
        /// Bytes of the message that did not come.
        missing: usize,
    },
    /// A message longer than the limit for its type.
    #[error("a message of type {type_id} with {length} bytes, more than {max}")]
    MessageTooLarge {
        /// The message type.
        type_id: u8,
        /// The declared length in bytes.
        length: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// More than [`MAX_CHUNK_STREAMS`] chunk streams.
    #[error("chunk stream {csid}: more than {MAX_CHUNK_STREAMS} chunk streams")]
    TooManyChunkStreams {
        /// The one that is too many.
        csid: u32,
    },
    /// More than [`MAX_PARTIAL_BYTES`] of unfinished messages.
    #[error("chunk stream {csid}: more than {MAX_PARTIAL_BYTES} bytes of unfinished messages")]
    TooMuchPartial {
        /// The chunk stream that asked for more.
        csid: u32,
    },
}

/// What a peer that does not speak RTMP seems to speak, judged by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guess {
    /// The start of an HTTP method.
    Http,
    /// A TLS record: perhaps RTMPS sent to the plain port.
    Tls,
    /// Anything else.
    Other,
}

impl std::fmt::Display for Guess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Guess::Http => "looks like an HTTP request",
            Guess::Tls => "looks like a TLS handshake; RTMPS has a port of its own",
            Guess::Other => "unknown protocol",
        })
    }
}

/// What a session waits for, as far as it waits with a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// C0, C1 and C2.
    Handshake,
    /// The connect command.
    Connect,
    /// A publish or play command.
    Publish,
    /// What a client waits for: the server's answer to connect, createStream, publish or play.
    Answer,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Handshake => "the handshake",
            Phase::Connect => "the connect command",
            Phase::Publish => "a publish or play command",
            Phase::Answer => "the server's answer",
        })
    }
}

/// Whom a [`ProtocolError`] blames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blame {
    /// The peer broke the protocol, or does not speak it.
    Peer,
    /// The peer asked for something valid that this server lacks.
    Lacking,
    /// The peer went over a limit of this server.
    Limit,
    /// The peer was too slow.
    Slow,
}

impl ProtocolError {
    /// Whom to blame.
    pub fn blame(&self) -> Blame {
        match self {
            ProtocolError::NotRtmp { .. }
            | ProtocolError::Control { .. }
            | ProtocolError::Aggregate { .. }
            | ProtocolError::Command { .. } => Blame::Peer,
            ProtocolError::Encrypted { .. } => Blame::Lacking,
            ProtocolError::Chunk { source, .. } => match source {
                ChunkError::NoHeader { .. } | ChunkError::Interrupted { .. } => Blame::Peer,
                ChunkError::MessageTooLarge { .. }
                | ChunkError::TooManyChunkStreams { .. }
                | ChunkError::TooMuchPartial { .. } => Blame::Limit,
            },
            ProtocolError::Amf0 { source, .. } => match source {
                Amf0Error::Amf3 { .. } => Blame::Lacking,
                Amf0Error::UnexpectedEnd { .. } | Amf0Error::UnknownMarker { .. } => Blame::Peer,
                Amf0Error::TooDeep { .. }
                | Amf0Error::TooManyValues { .. }
                | Amf0Error::StringTooLong { .. } => Blame::Limit,
            },
            ProtocolError::TooManyCommands { .. }
            | ProtocolError::OutputOverflow { .. }
            | ProtocolError::HeldInputOverflow { .. } => Blame::Limit,
            ProtocolError::TimedOut { .. } => Blame::Slow,
        }
    }

    /// Bytes of the connection before what is wrong; nothing for a timeout.
    pub fn position(&self) -> Option<u64> {
        match self {
            ProtocolError::NotRtmp { .. } | ProtocolError::Encrypted { .. } => Some(0),
            ProtocolError::Chunk { position, .. }
            | ProtocolError::Control { position, .. }
            | ProtocolError::Aggregate { position, .. }
            | ProtocolError::Amf0 { position, .. }
            | ProtocolError::Command { position, .. }
            | ProtocolError::TooManyCommands { position }
            | ProtocolError::OutputOverflow { position }
            | ProtocolError::HeldInputOverflow { position } => Some(*position),
            ProtocolError::TimedOut { .. } => None,
        }
    }
}
