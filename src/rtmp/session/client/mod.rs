//! The client session: it plays or publishes one stream of a server.
//!
//! [`ClientSession`] is one connection. Its driver owns the socket and the time, as with [`ServerSession`](crate::rtmp::ServerSession):
//!
//! 1. Send what [`poll_output`](ClientSession::poll_output) returns, until it returns nothing; the session speaks first.
//! 2. Read from the socket into [`input`](ClientSession::input), then call [`handle_input`](ClientSession::handle_input).
//! 3. Call [`poll_event`](ClientSession::poll_event) until it returns nothing. From [`ClientEvent::Started`] on, a publisher calls
//!    [`publish_media`](ClientSession::publish_media) and [`publish_data`](ClientSession::publish_data); what they append to the output is not
//!    bounded here, so call them only when the output was sent.
//! 4. Wait for the socket or for [`deadline`](ClientSession::deadline), whichever is first. At the deadline call
//!    [`handle_timeout`](ClientSession::handle_timeout).
//!
//! An error from either `handle_…` call ends the session; the events before it can still be polled. Whether a stream that plays still
//! moves is the driver's affair.
//!
//! The dialogue is FFmpeg's and librtmp's, which all servers know: connect with the E-RTMP capabilities of this crate, for a publish
//! releaseStream and FCPublish, createStream, and publish or play.

mod config;
mod dialogue;
mod event;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::core::{Core, Dialogue};
use super::payload::leading_string;
use super::wire::Came;
use crate::rtmp::FIRST_MEDIA_CSID;
use crate::rtmp::amf0::{self, Value};
use crate::rtmp::error::Phase;
use crate::rtmp::event::MediaKind;
use crate::rtmp::handshake::ClientHandshake;
use crate::rtmp::limits::{ANSWER_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::rtmp::message;

pub use config::{ClientConfig, Purpose};
pub use event::{ClientError, ClientEvent};

const CSID_AUDIO: u32 = FIRST_MEDIA_CSID;
const CSID_VIDEO: u32 = FIRST_MEDIA_CSID + 1;
const CSID_DATA: u32 = FIRST_MEDIA_CSID + 2;

/// What the session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Handshake,
    Connecting,
    Creating,
    Asking,
    Running,
    /// It plays, and its driver looks at nothing of it.
    Skipping,
    /// Failed, or closed. Input is dropped.
    Over,
}

/// One RTMP connection, client side. See the beginning of the file for how to drive it.
#[derive(Debug)]
pub struct ClientSession {
    config: ClientConfig,
    core: Core<ClientEvent, ClientError>,
    state: State,
    handshake: ClientHandshake,
    /// The message stream that the server gave.
    stream_id: u32,
    /// Commands of the server before it accepted.
    commands: u32,
}

impl ClientSession {
    /// A session for a connection that was just made. It has something to send at once.
    pub fn new(config: ClientConfig, now: Instant) -> Self {
        let mut core = Core::new(config.window_ack_size, now);
        let handshake = ClientHandshake::start(&mut core.wire.output);
        ClientSession {
            config,
            core,
            state: State::Handshake,
            handshake,
            stream_id: 0,
            commands: 0,
        }
    }

    /// Where to append what was received, with room for a read of at least
    /// [`MIN_READ_BYTES`](crate::rtmp::limits::MIN_READ_BYTES). Only append, and call this anew for each read.
    pub fn input(&mut self) -> &mut BytesMut {
        self.core.wire.input()
    }

    /// Decodes what was appended to [`input`](Self::input), as far as it goes.
    ///
    /// # Errors
    /// Whatever ends the session; the same again when called again.
    pub fn handle_input(&mut self, now: Instant) -> Result<(), ClientError> {
        Dialogue::handle_input(self, now)
    }

    /// The next event, in the order in which things happened. Decodes more input when there is some left; an error found
    /// then is returned by the next `handle_…` call, for which [`deadline`](Self::deadline) is now.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        Dialogue::poll_event(self)
    }

    /// Bytes to send.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.core.poll_output()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; nothing once the server accepted.
    pub fn deadline(&self) -> Option<Instant> {
        Dialogue::deadline(self)
    }

    /// To be called at the [`deadline`](Self::deadline); does nothing before.
    ///
    /// # Errors
    /// A time-out, or what [`handle_input`](Self::handle_input) would return.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        Dialogue::handle_timeout(self, now)
    }

    /// Sends audio or video: an FLV tag body, at a time in milliseconds modulo 2^32. Nothing happens before [`ClientEvent::Started`].
    pub fn publish_media(&mut self, kind: MediaKind, timestamp: u32, payload: &[u8]) {
        let (csid, type_id) = match kind {
            MediaKind::Audio => (CSID_AUDIO, message::AUDIO),
            MediaKind::Video => (CSID_VIDEO, message::VIDEO),
        };
        self.publish(csid, type_id, timestamp, payload);
    }

    /// Sends an FLV script tag body: metadata is sent as FFmpeg does, behind `@setDataFrame`, by which servers know that it is to be
    /// kept for those who join.
    pub fn publish_data(&mut self, timestamp: u32, payload: &[u8]) {
        if leading_string(payload).is_some_and(|(name, _)| name == "onMetaData") {
            let mut data = BytesMut::with_capacity(payload.len() + 16);
            amf0::encode(&Value::from("@setDataFrame"), &mut data);
            data.extend_from_slice(payload);
            return self.publish(CSID_DATA, message::DATA_AMF0, timestamp, &data);
        }
        self.publish(CSID_DATA, message::DATA_AMF0, timestamp, payload);
    }

    /// Says that nothing more is wanted or will be sent. The driver sends the output and closes.
    pub fn close(&mut self) {
        if !matches!(self.state, State::Running | State::Skipping) {
            return;
        }
        if self.config.purpose == Purpose::Publish {
            let name = Value::from(self.config.stream.as_str());
            self.core.wire.send_command(
                0,
                "FCUnpublish",
                dialogue::FC_UNPUBLISH,
                &[Value::Null, name],
            );
        }
        let id = Value::Number(f64::from(self.stream_id));
        self.core
            .wire
            .send_command(0, "deleteStream", 0.0, &[Value::Null, id]);
        self.state = State::Over;
    }

    /// Takes note of that many bytes that came, and that the driver neither looked at nor appended to [`input`](Self::input): they are
    /// acknowledged as the server wants it. For a load that plays and only counts. Nothing happens before [`ClientEvent::Started`]; from the
    /// first call on nothing is decoded any more, and there are no events.
    pub fn skip(&mut self, bytes: u64) {
        if self.state == State::Running && self.config.purpose == Purpose::Play {
            self.core.events.clear();
            self.state = State::Skipping;
        }
        if self.state == State::Skipping {
            self.core.wire.skip(bytes);
            self.core.wire.acknowledge();
        }
    }

    /// Bytes that came since the start of the connection.
    pub fn bytes_received(&self) -> u64 {
        self.core.wire.received()
    }

    /// Bytes of the connection that are decoded: where the next chunk starts.
    pub fn position(&self) -> u64 {
        self.core.wire.position()
    }

    fn publish(&mut self, csid: u32, type_id: u8, timestamp: u32, payload: &[u8]) {
        if self.state == State::Running && self.config.purpose == Purpose::Publish {
            self.core.wire.encoder.encode(
                csid,
                type_id,
                self.stream_id,
                timestamp,
                payload,
                &mut self.core.wire.output,
            );
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.core.phase_since = self.core.now;
    }
}

impl Dialogue for ClientSession {
    type Event = ClientEvent;
    type Failure = ClientError;

    fn core(&self) -> &Core<ClientEvent, ClientError> {
        &self.core
    }

    fn core_mut(&mut self) -> &mut Core<ClientEvent, ClientError> {
        &mut self.core
    }

    fn phase(&self) -> Option<(Phase, Duration)> {
        match self.state {
            State::Handshake => Some((Phase::Handshake, HANDSHAKE_TIMEOUT)),
            State::Connecting | State::Creating | State::Asking => {
                Some((Phase::Answer, ANSWER_TIMEOUT))
            }
            State::Running | State::Skipping | State::Over => None,
        }
    }

    /// The driver is asked nothing.
    fn holds(&self) -> bool {
        false
    }

    fn acknowledges(&self) -> bool {
        matches!(
            self.state,
            State::Creating | State::Asking | State::Running | State::Skipping
        )
    }

    /// A server that failed is told nothing.
    fn close_with(&mut self, _: &ClientError) {
        self.state = State::Over;
    }

    fn step(&mut self) -> Result<bool, ClientError> {
        match self.state {
            State::Handshake => {
                let done = self
                    .handshake
                    .advance(&mut self.core.wire.input, &mut self.core.wire.output);
                self.core.wire.before_chunks = self.handshake.consumed();
                if !done? {
                    return Ok(false);
                }
                self.connect();
            }
            State::Skipping | State::Over => {
                self.core.wire.drop_input();
                return Ok(false);
            }
            State::Connecting | State::Creating | State::Asking | State::Running => {
                match self.core.wire.next()? {
                    Some(Came::Whole(message)) => self.handle_message(message)?,
                    Some(Came::Inner(message)) => self.handle_media(message),
                    None => return Ok(false),
                }
            }
        }
        Ok(true)
    }
}
