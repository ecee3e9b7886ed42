//! RTMP, without sockets and without a clock.
//!
//! [`ServerSession`] is one connection of a server; [`ClientSession`] is one of a client, and is driven alike. The server's driver owns
//! the socket and the time:
//!
//! 1. Read from the socket into [`ServerSession::input`], then call [`ServerSession::handle_input`].
//! 2. Call [`ServerSession::poll_event`] until it returns nothing, and answer [`Event::Connect`],
//!    [`Event::Publish`] and [`Event::Play`] with one of the `accept_…` and `reject_…` calls. While one of these waits for its
//!    answer, nothing more is decoded and `poll_event` returns nothing: the driver may take its time, should not
//!    read meanwhile, and goes on polling afterwards.
//! 3. Send what [`ServerSession::poll_output`] returns, until it returns nothing.
//! 4. Wait for the socket or for [`ServerSession::deadline`], whichever is first. At the deadline call
//!    [`ServerSession::handle_timeout`].
//!
//! An error from either `handle_…` call ends the session: send what `poll_output` still holds, and close. The events before
//! the error can still be polled.
//!
//! [`listener`] is such a driver, a pingora application. It and the threads that read its publishers are all here that have sockets.
//!
//! Inside, bytes go through [`handshake`], then [`chunk`] makes [`message`]s of them, and `session` acts on these.
//! All that a peer can make grow is bounded by a constant in [`limits`].
//!
//! What is said before media differs by encoder. Recordings of FFmpeg, librtmp (from which OBS derives) and both of GStreamer's
//! sinks are in `testdata/` and are replayed by the tests; Flash Media Live Encoder is served by what is documented of it.
//!
//! Cited as "RTMP": *Adobe's Real Time Messaging Protocol*, version 1.0, December 2012; as "E-RTMP": *Enhanced RTMP*, version 2.

pub mod amf0;
pub mod chunk;
mod command;
mod error;
mod event;
pub mod handshake;
pub mod limits;
pub mod listener;
pub mod message;
mod player_talk;
mod reader;
mod session;

pub use error::{Blame, ChunkError, Guess, Phase, ProtocolError};
pub use event::{Connect, Event, MediaKind, Play, Publish, PublishKind, Reject};
pub use session::client::{ClientConfig, ClientError, ClientEvent, ClientSession, Purpose};
pub use session::server::{FIRST_MEDIA_CSID, ServerSession, SessionConfig};
