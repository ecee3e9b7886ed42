//! Every bound on what a peer can make a session hold or do.
//!
//! Worst case for one connection, whatever the peer sends: [`MAX_PARTIAL_BYTES`] of messages in progress (twice that
//! while a buffer grows), [`AHEAD_BYTES`] for each of a message and a chunk that are on their way, [`READ_BYTES`] of unread input, [`MAX_OUTPUT_BYTES`] of replies, and the events below.
//! The bounds of AMF0 stand in [`super::amf0`].

use std::time::Duration;

/// Time for C0, C1 and C2, from the start of the connection. A client on a satellite link needs 2 s.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time from the end of the handshake to a complete connect command.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time from the answer to connect, or from the end of the last publish, to the next publish or play.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that a server has to answer a client's connect, createStream, and publish or play, each.
///
/// A server may hold a play for a stream that is not there yet; ours does for 5 s unless it is told otherwise.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest code, description or URL that is kept of a server's status, in characters: they go to logs and to players.
pub const MAX_STATUS_CHARS: usize = 512;

/// Longest audio, video or aggregate message, in bytes.
///
/// The format can say 16 MiB. A keyframe of 4K at 100 Mbit/s is about 2 MiB.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// Longest data message (metadata), in bytes; a keyframe index of a long file is a few hundred KiB.
pub const MAX_DATA_BYTES: usize = 1 << 20;

/// Longest command, in bytes. A connect with a long signed tcUrl is about 2 KiB.
pub const MAX_COMMAND_BYTES: usize = 64 << 10;

/// Longest protocol control message, in bytes. The longest defined one has 10.
pub const MAX_CONTROL_BYTES: usize = 128;

/// Bytes of unfinished messages in all chunk streams together, the chunk that is being waited for included.
///
/// More than [`MAX_MESSAGE_BYTES`], so that audio may interleave with the largest video message.
pub const MAX_PARTIAL_BYTES: usize = 10 << 20;

/// Chunk size before anybody said otherwise, in bytes (RTMP 1.0 §5.4.1).
pub const DEFAULT_CHUNK_SIZE: u32 = 128;

/// Largest chunk size a peer may announce (RTMP 1.0 §5.4.1: the first bit is zero).
///
/// It is no promise of memory: a chunk is never longer than its message. The smallest is 1.
pub const MAX_CHUNK_SIZE: u32 = 0x7fff_ffff;

/// Largest chunk size we announce: beyond this a message never spans chunks (RTMP 1.0 §5.4.1).
pub const MAX_OUT_CHUNK_SIZE: u32 = 0x00ff_ffff;

/// Chunk streams a peer may open. The format has 65,597; encoders use three to eight.
pub const MAX_CHUNK_STREAMS: usize = 64;

/// Message streams (createStream without deleteStream) of a connection. Publishers use one.
pub const MAX_STREAMS: usize = 8;

/// Commands of a connection while it neither publishes nor plays, counted anew after each publish.
///
/// The longest known dialogue before media has about ten. Each may cost a reply.
pub const MAX_IDLE_COMMANDS: u32 = 64;

/// Replies that wait to be sent, in bytes; a peer that calls and never reads ends here. A whole dialogue is about 4 KiB.
pub const MAX_OUTPUT_BYTES: usize = 64 << 10;

/// Events that wait to be polled. At this many the session stops decoding until the driver polls again.
pub const MAX_PENDING_EVENTS: usize = 64;

/// Input that the driver may append while the session waits for its answer to connect, publish or play, in bytes.
///
/// A driver that stops reading meanwhile never comes near.
pub const MAX_HELD_INPUT_BYTES: usize = 1 << 20;

/// FourCCs kept of a connect command. E-RTMP defines about a dozen.
pub const MAX_FOURCCS: usize = 64;

/// Room that [`input`](super::ServerSession::input) makes for a read, in bytes.
///
/// It is also the unit in which received bytes stay in memory: a message handed out without a copy keeps its
/// buffer alive. At 1 Mbit/s this is 130 ms of a stream.
pub const READ_BYTES: usize = 16 << 10;

/// Room for what a message or a chunk has still to bring, by its own word, in bytes: so that it is not moved while its buffer grows. One
/// message of a connection has it, and the chunk at the front of the input. Keyframes of 8 Mbit/s are about 200 KB.
pub const AHEAD_BYTES: usize = 256 << 10;

/// An input buffer with more room than this, in bytes, is given up once the large chunk is through that it grew for.
pub const MAX_KEPT_INPUT_BYTES: usize = 4 * READ_BYTES;

/// Below this much free room [`input`](super::ServerSession::input) makes more, so that no read is tiny, in bytes.
pub const MIN_READ_BYTES: usize = 4 << 10;

/// The longest message of a type, in bytes.
pub(crate) fn max_message_bytes(type_id: u8) -> usize {
    use super::message as m;
    match type_id {
        m::AUDIO | m::VIDEO | m::AGGREGATE => MAX_MESSAGE_BYTES,
        m::DATA_AMF0 | m::DATA_AMF3 => MAX_DATA_BYTES,
        m::SET_CHUNK_SIZE..=m::SET_PEER_BANDWIDTH => MAX_CONTROL_BYTES,
        // Commands; and shared objects and unknown types, which are read and dropped.
        _ => MAX_COMMAND_BYTES,
    }
}
