//! The server session: messages in, events and replies out.

mod dialogue;

use super::core::{Core, Dialogue};
use super::wire::{CSID_COMMAND, CSID_CONTROL, Came};
use crate::rtmp::amf0::Value;
use crate::rtmp::command::{connect_result, info, rejection};
use crate::rtmp::error::{Guess, Phase, ProtocolError};
use crate::rtmp::event::{Event, Reject};
use crate::rtmp::handshake::Handshake;
use crate::rtmp::limits::{
    CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT, MAX_OUT_CHUNK_SIZE, PUBLISH_TIMEOUT,
};
use crate::rtmp::message;
use bytes::{Bytes, BytesMut};
use std::time::{Duration, Instant};

/// What a [`ServerSession`] needs to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// The chunk size that we announce and send with, in bytes. Default 60,000: a reply or an audio frame is one chunk, and
    /// most video frames are a few. Clamped to 1..=16,777,215.
    pub chunk_size: u32,
    /// After how many bytes the peer is asked to acknowledge, and after how many we do as long as the peer has not said.
    /// Default 2,500,000, which is also what FFmpeg and librtmp announce.
    pub window_ack_size: u32,
    /// Name and version of the server, told in the answer to connect.
    pub server: String,
}

impl Default for SessionConfig {
    fn default() -> Self {
        SessionConfig {
            chunk_size: 60_000,
            window_ack_size: 2_500_000,
            server: concat!("pingora-live/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// The lowest chunk stream that a session leaves to media.
pub const FIRST_MEDIA_CSID: u32 = 6;
/// RTMP §5.4.5: the limit type "dynamic".
const LIMIT_DYNAMIC: u8 = 2;

/// Where the connection is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Handshake,
    /// Waits for connect.
    Opened,
    /// [`Event::Connect`] waits for its answer.
    Connecting {
        transaction: f64,
    },
    Connected,
    /// connect was rejected, or the session failed. Input is dropped.
    Closed,
}

/// A message stream (RTMP §7.2.1.3).
#[derive(Debug)]
struct NetStream {
    id: u32,
    /// The name of the publish or play.
    name: String,
    state: StreamState,
}

/// What a message stream is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamState {
    Idle,
    /// [`Event::Publish`] waits for its answer.
    PublishAsked,
    Publishing,
    /// [`Event::Play`] waits for its answer.
    PlayAsked,
    Playing,
}

/// One RTMP connection, server side. See the [module](crate::rtmp) for how to drive it.
#[derive(Debug)]
pub struct ServerSession {
    config: SessionConfig,
    core: Core<Event, ProtocolError>,
    state: State,
    handshake: Handshake,
    streams: Vec<NetStream>,
    /// Commands since the last publish.
    idle_commands: u32,
}

impl ServerSession {
    /// A session for a connection that was just accepted.
    pub fn new(config: SessionConfig, now: Instant) -> Self {
        ServerSession {
            core: Core::new(config.window_ack_size, now),
            state: State::Handshake,
            handshake: Handshake::new(),
            streams: Vec::new(),
            idle_commands: 0,
            config,
        }
    }

    /// Where to append what was received, with room for a read of at least [`MIN_READ_BYTES`](crate::rtmp::limits::MIN_READ_BYTES). Only append, and call this
    /// anew for each read.
    pub fn input(&mut self) -> &mut BytesMut {
        self.core.wire.input()
    }

    /// Appends a little that was received: what a player says. As [`input`](Self::input), but without room for more.
    pub fn append_input(&mut self, bytes: &[u8]) {
        self.core.wire.input.extend_from_slice(bytes);
    }

    /// Gives up the room of its buffers. For a connection that says little from now on.
    pub fn release_input(&mut self) {
        self.core.wire.release();
    }

    /// Decodes what was appended to [`input`](Self::input), as far as it goes.
    ///
    /// # Errors
    /// Whatever ends the session; the same again when called again.
    pub fn handle_input(&mut self, now: Instant) -> Result<(), ProtocolError> {
        Dialogue::handle_input(self, now)
    }

    /// The next event, in the order in which things happened. Decodes more input when there is some left; an error found
    /// then is returned by the next `handle_…` call, for which [`deadline`](Self::deadline) is now.
    pub fn poll_event(&mut self) -> Option<Event> {
        Dialogue::poll_event(self)
    }

    /// Whether there is something to send.
    pub fn has_output(&self) -> bool {
        !self.core.wire.output.is_empty()
    }

    /// Bytes to send. What is polled no longer counts against `limits::MAX_OUTPUT_BYTES`, so poll only what can be sent.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.core.poll_output()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; nothing while the peer publishes, or while an event waits for
    /// its answer.
    pub fn deadline(&self) -> Option<Instant> {
        Dialogue::deadline(self)
    }

    /// To be called at the [`deadline`](Self::deadline); does nothing before.
    ///
    /// # Errors
    /// [`ProtocolError::TimedOut`], or what [`handle_input`](Self::handle_input) would return.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        Dialogue::handle_timeout(self, now)
    }

    /// To be called before an answer that took its time: the clocks do not count what the driver waited for.
    pub fn waited(&mut self, now: Instant) {
        self.core.phase_since += now.saturating_duration_since(self.core.now);
        self.core.now = now;
    }

    /// Answers [`Event::Connect`] with `NetConnection.Connect.Success`.
    pub fn accept_connect(&mut self) {
        let State::Connecting { transaction } = self.state else {
            return;
        };
        let window = self.config.window_ack_size;
        let [a, b, c, d] = window.to_be_bytes();
        self.core.wire.send(
            CSID_CONTROL,
            message::WINDOW_ACK_SIZE,
            0,
            &window.to_be_bytes(),
        );
        self.core.wire.send(
            CSID_CONTROL,
            message::SET_PEER_BANDWIDTH,
            0,
            &[a, b, c, d, LIMIT_DYNAMIC],
        );
        self.core.wire.announced_window = window;
        // RTMP §7.2.1.1 figure: stream 0 begins once the connection is accepted.
        self.core
            .wire
            .send_user_control(message::EVENT_STREAM_BEGIN, 0);
        let chunk_size = self.config.chunk_size.clamp(1, MAX_OUT_CHUNK_SIZE);
        self.core.wire.send(
            CSID_CONTROL,
            message::SET_CHUNK_SIZE,
            0,
            &chunk_size.to_be_bytes(),
        );
        self.core.wire.encoder.set_chunk_size(chunk_size);
        let result = connect_result(transaction, &self.config.server);
        self.core
            .wire
            .send(CSID_COMMAND, message::COMMAND_AMF0, 0, &result);
        // Flash Media Server says so when its bandwidth check is done, and clients of its time wait for it; librtmp and
        // FFmpeg answer with _checkbw.
        self.core
            .wire
            .send_command(0, "onBWDone", 0.0, &[Value::Null]);
        self.enter(State::Connected);
    }

    /// Answers [`Event::Connect`] with an error, such as `NetConnection.Connect.Rejected`. The driver sends the output and closes.
    pub fn reject_connect(&mut self, reject: &Reject) {
        let State::Connecting { transaction } = self.state else {
            return;
        };
        self.core
            .wire
            .send_command(0, "_error", transaction, &[Value::Null, rejection(reject)]);
        self.enter(State::Closed);
    }

    /// Answers [`Event::Publish`] with `NetStream.Publish.Start`; media follows.
    pub fn accept_publish(&mut self, stream_id: u32) {
        let Some(stream) = self.stream_in(stream_id, StreamState::PublishAsked) else {
            return;
        };
        stream.state = StreamState::Publishing;
        let description = format!("{} is now published.", stream.name);
        self.core
            .wire
            .send_user_control(message::EVENT_STREAM_BEGIN, stream_id);
        self.core
            .wire
            .send_status(stream_id, "status", "NetStream.Publish.Start", &description);
        self.idle_commands = 0;
    }

    /// Answers [`Event::Publish`] with an error. The client may try again with another name, or be disconnected.
    pub fn reject_publish(&mut self, stream_id: u32, reject: &Reject) {
        let Some(stream) = self.stream_in(stream_id, StreamState::PublishAsked) else {
            return;
        };
        stream.state = StreamState::Idle;
        self.send_rejection(stream_id, reject);
        self.core.phase_since = self.core.now;
    }

    /// Answers [`Event::Play`] with an error.
    pub fn reject_play(&mut self, stream_id: u32, reject: &Reject) {
        let Some(stream) = self.stream_in(stream_id, StreamState::PlayAsked) else {
            return;
        };
        stream.state = StreamState::Idle;
        self.send_rejection(stream_id, reject);
        self.core.phase_since = self.core.now;
    }

    /// Answers [`Event::Play`] with `NetStream.Play.Start`. What follows on the message stream is the driver's: whole messages, cut
    /// into chunks of the size that was announced, on chunk streams from [`FIRST_MEDIA_CSID`] on, between what
    /// [`poll_output`](Self::poll_output) returns.
    pub fn accept_play(&mut self, stream_id: u32) {
        let Some(stream) = self.stream_in(stream_id, StreamState::PlayAsked) else {
            return;
        };
        stream.state = StreamState::Playing;
        let name = stream.name.clone();
        self.core
            .wire
            .send_user_control(message::EVENT_STREAM_BEGIN, stream_id);
        // Flash's order, which players of its time wait for: reset, start, permission. Flash Media Server says `NetStream.Data.Start` in a
        // data message behind them; FFmpeg makes a track without a codec of it (`Stream #0:0: Data: none`), so SRS leaves it out, too.
        let reset = format!("Playing and resetting {name}.");
        self.core
            .wire
            .send_status(stream_id, "status", "NetStream.Play.Reset", &reset);
        let start = format!("Started playing {name}.");
        self.core
            .wire
            .send_status(stream_id, "status", "NetStream.Play.Start", &start);
        let access = [Value::Boolean(true), Value::Boolean(true)];
        self.core
            .wire
            .send_data(stream_id, "|RtmpSampleAccess", &access);
        self.idle_commands = 0;
    }

    /// Ends an accepted play because the stream did: `NetStream.Play.UnpublishNotify`, StreamEOF and `NetStream.Play.Stop`.
    pub fn end_play(&mut self, stream_id: u32) {
        let Some(stream) = self.stream_in(stream_id, StreamState::Playing) else {
            return;
        };
        stream.state = StreamState::Idle;
        let name = stream.name.clone();
        let unpublished = format!("{name} is now unpublished.");
        self.core.wire.send_status(
            stream_id,
            "status",
            "NetStream.Play.UnpublishNotify",
            &unpublished,
        );
        self.core
            .wire
            .send_user_control(message::EVENT_STREAM_EOF, stream_id);
        let stopped = format!("Stopped playing {name}.");
        self.core
            .wire
            .send_status(stream_id, "status", "NetStream.Play.Stop", &stopped);
        self.core.phase_since = self.core.now;
    }

    /// Ends an accepted play with an error: an `onStatus` of level `error`, as `reject` says, and StreamEOF.
    pub fn fail_play(&mut self, stream_id: u32, reject: &Reject) {
        let Some(stream) = self.stream_in(stream_id, StreamState::Playing) else {
            return;
        };
        stream.state = StreamState::Idle;
        self.core
            .wire
            .send_status(stream_id, "error", reject.code, &reject.description);
        self.core
            .wire
            .send_user_control(message::EVENT_STREAM_EOF, stream_id);
        self.core.phase_since = self.core.now;
    }

    /// Ends an accepted publish from the server's side (kicked, idle, shutdown). The driver sends the output and closes.
    /// What the client still sends on the stream is dropped.
    pub fn end_publish(&mut self, stream_id: u32, reject: &Reject) {
        let Some(stream) = self.stream_in(stream_id, StreamState::Publishing) else {
            return;
        };
        stream.state = StreamState::Idle;
        self.core.events.retain(|event| {
            !matches!(event, Event::Media { stream_id: id, .. } | Event::Data { stream_id: id, .. } if *id == stream_id)
        });
        self.send_rejection(stream_id, reject);
        self.core.phase_since = self.core.now;
    }

    /// Bytes appended to [`input`](Self::input) since the start of the connection.
    pub fn bytes_received(&self) -> u64 {
        self.core.wire.received()
    }

    /// Bytes of the connection that are decoded: where the next chunk starts.
    pub fn position(&self) -> u64 {
        self.core.wire.position()
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.core.phase_since = self.core.now;
    }

    fn send_rejection(&mut self, stream_id: u32, reject: &Reject) {
        self.core.wire.send_command(
            stream_id,
            "onStatus",
            0.0,
            &[Value::Null, rejection(reject)],
        );
    }

    fn stream_in(&mut self, id: u32, state: StreamState) -> Option<&mut NetStream> {
        self.streams
            .iter_mut()
            .find(|stream| stream.id == id && stream.state == state)
    }
}

impl Dialogue for ServerSession {
    type Event = Event;
    type Failure = ProtocolError;

    fn core(&self) -> &Core<Event, ProtocolError> {
        &self.core
    }

    fn core_mut(&mut self) -> &mut Core<Event, ProtocolError> {
        &mut self.core
    }

    fn phase(&self) -> Option<(Phase, Duration)> {
        match self.state {
            State::Handshake => Some((Phase::Handshake, HANDSHAKE_TIMEOUT)),
            State::Opened => Some((Phase::Connect, CONNECT_TIMEOUT)),
            State::Connecting { .. } | State::Closed => None,
            State::Connected => {
                let idle = self
                    .streams
                    .iter()
                    .all(|stream| stream.state == StreamState::Idle);
                idle.then_some((Phase::Publish, PUBLISH_TIMEOUT))
            }
        }
    }

    fn holds(&self) -> bool {
        matches!(self.state, State::Connecting { .. })
            || self.streams.iter().any(|stream| {
                matches!(
                    stream.state,
                    StreamState::PublishAsked | StreamState::PlayAsked
                )
            })
    }

    fn step(&mut self) -> Result<bool, ProtocolError> {
        match self.state {
            State::Handshake => {
                let done = self
                    .handshake
                    .advance(&mut self.core.wire.input, &mut self.core.wire.output);
                self.core.wire.before_chunks = self.handshake.consumed();
                if !done? {
                    return Ok(false);
                }
                self.enter(State::Opened);
                Ok(true)
            }
            State::Closed => {
                self.core.wire.drop_input();
                Ok(false)
            }
            State::Opened | State::Connecting { .. } | State::Connected => {
                match self.core.wire.next()? {
                    Some(Came::Whole(message)) => self.handle_message(message).map(|()| true),
                    Some(Came::Inner(message)) => {
                        self.handle_inner(message);
                        Ok(true)
                    }
                    None => Ok(false),
                }
            }
        }
    }

    fn acknowledges(&self) -> bool {
        self.state == State::Connected
    }

    fn close_with(&mut self, error: &ProtocolError) {
        match (&self.state, error) {
            // A last reply would only wait behind the others.
            (_, ProtocolError::OutputOverflow { .. }) => {}
            (
                State::Handshake,
                ProtocolError::NotRtmp {
                    guess: Guess::Http, ..
                },
            ) => {
                self.core.wire.output.extend_from_slice(HTTP_ANSWER);
            }
            (State::Handshake | State::Closed, _) => {}
            (State::Opened | State::Connecting { .. }, _) => {
                let info = Value::Object(info(
                    "error",
                    "NetConnection.Connect.Failed",
                    &error.to_string(),
                ));
                self.core
                    .wire
                    .send_command(0, "_error", CONNECT_TRANSACTION, &[Value::Null, info]);
            }
            (State::Connected, ProtocolError::TimedOut { .. }) => {
                self.core.wire.send_status(
                    0,
                    "error",
                    "NetConnection.Connect.IdleTimeOut",
                    &error.to_string(),
                );
            }
            (State::Connected, _) => {
                self.core.wire.send_status(
                    0,
                    "error",
                    "NetConnection.Connect.Closed",
                    &error.to_string(),
                );
            }
        }
        self.state = State::Closed;
    }
}

/// The transaction of connect (RTMP §7.2.1.1: always 1), for errors before one was read.
const CONNECT_TRANSACTION: f64 = 1.0;

/// For who opens the RTMP port in a browser.
const HTTP_ANSWER: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 24\r\n\
    Connection: close\r\n\r\nThis port speaks RTMP.\r\n";
