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

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use super::dialogue::{leading_string, without_selector};
use super::wire::{CSID_CONTROL, Came, Wire};
use crate::rtmp::FIRST_MEDIA_CSID;
use crate::rtmp::amf0::{self, Value};
use crate::rtmp::command::{Command, CommandError, enhanced};
use crate::rtmp::error::{Phase, ProtocolError};
use crate::rtmp::event::MediaKind;
use crate::rtmp::handshake::ClientHandshake;
use crate::rtmp::limits::{
    ANSWER_TIMEOUT, HANDSHAKE_TIMEOUT, MAX_IDLE_COMMANDS, MAX_OUT_CHUNK_SIZE, MAX_OUTPUT_BYTES,
    MAX_PENDING_EVENTS, MAX_STATUS_CHARS,
};
use crate::rtmp::message::{self, Message};

/// What a client wants of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be given it.
    Play,
    /// To give it.
    Publish,
}

/// What a [`ClientSession`] needs to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientConfig {
    /// To play or to publish.
    pub purpose: Purpose,
    /// The application, with what is appended to it (`live`, `live?vhost=example.com`).
    pub app: String,
    /// The URL of the application: `rtmp://host:port/live`. Its host is the vhost to most servers.
    pub tc_url: String,
    /// The stream's name, with what is appended to it (`livestream?token=…`).
    pub stream: String,
    /// What the client calls itself. Default: `FMLE/3.0 (compatible; pingora-live/x.y.z)`; some servers want the first word.
    pub flash_ver: String,
    /// The page that the player is on, empty for none.
    pub page_url: String,
    /// More properties of the connect command's object.
    pub properties: Vec<(String, Value)>,
    /// The chunk size that we announce and send with, in bytes. Default 60,000. Clamped to 1..=16,777,215.
    pub chunk_size: u32,
    /// After how many bytes the server is asked to acknowledge. Default 2,500,000.
    pub window_ack_size: u32,
}

impl ClientConfig {
    /// With defaults for all but what has none.
    pub fn new(
        purpose: Purpose,
        app: impl Into<String>,
        tc_url: impl Into<String>,
        stream: impl Into<String>,
    ) -> Self {
        ClientConfig {
            purpose,
            app: app.into(),
            tc_url: tc_url.into(),
            stream: stream.into(),
            flash_ver: concat!(
                "FMLE/3.0 (compatible; pingora-live/",
                env!("CARGO_PKG_VERSION"),
                ")"
            )
            .to_owned(),
            page_url: String::new(),
            properties: Vec::new(),
            chunk_size: 60_000,
            window_ack_size: 2_500_000,
        }
    }
}

/// What happened on a connection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The server accepted: the stream plays, or is waited for by the server. Once, and before any other event.
    Started,
    /// Audio or video of the stream that plays.
    Media {
        /// Audio or video.
        kind: MediaKind,
        /// Milliseconds, modulo 2^32.
        timestamp: u32,
        /// An FLV audio or video tag body as it came; never empty.
        payload: Bytes,
    },
    /// Metadata and other script data of the stream that plays.
    Data {
        /// `onMetaData` and so on.
        name: String,
        /// Milliseconds, modulo 2^32.
        timestamp: u32,
        /// An FLV script tag body: the name as an AMF0 string, then the values, which are not checked.
        payload: Bytes,
    },
    /// The server said that the stream which played is over. The connection may stay.
    Ended {
        /// The server's code, such as `NetStream.Play.UnpublishNotify`.
        code: String,
    },
}

/// Why a client session ends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server broke the protocol, or was too slow.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The server refused, or ended what it had accepted.
    #[error("the server says {code}: {description}")]
    Refused {
        /// The server's own code, such as `NetStream.Play.StreamNotFound`; what the command was when it gave none.
        code: String,
        /// The server's own words, which may be none.
        description: String,
    },
    /// The stream is at another address.
    #[error("the server points to {url}")]
    Redirected {
        /// Where: `rtmp://host:port/app`, in some servers with the stream.
        url: String,
    },
}

/// What the session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Handshake,
    Connecting,
    Creating,
    Asking,
    Running,
    /// Failed. Input is dropped.
    Over,
}

// The transactions of our calls (RTMP §7.2.1.1: 1 for connect).
const CONNECT: f64 = 1.0;
const RELEASE: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE: f64 = 4.0;
const ASK: f64 = 5.0;
const FC_UNPUBLISH: f64 = 6.0;

const CSID_AUDIO: u32 = FIRST_MEDIA_CSID;
const CSID_VIDEO: u32 = FIRST_MEDIA_CSID + 1;
const CSID_DATA: u32 = FIRST_MEDIA_CSID + 2;

/// What a player asks the server to send ahead, in milliseconds (RTMP §6.2, SetBufferLength): servers send a live stream as it
/// comes all the same, but some wait for the event.
const BUFFER_MS: u32 = 1_000;

/// One RTMP connection, client side. See the beginning of the file for how to drive it.
#[derive(Debug)]
pub struct ClientSession {
    config: ClientConfig,
    /// The time of the last call that brought one.
    now: Instant,
    /// When the phase began that [`Self::deadline`] is about.
    phase_since: Instant,
    state: State,
    handshake: ClientHandshake,
    wire: Wire,
    events: VecDeque<ClientEvent>,
    /// The message stream that the server gave.
    stream_id: u32,
    /// Output at the last poll: what is beyond is replies to what the server sent.
    unanswered: usize,
    /// Commands of the server before it accepted.
    commands: u32,
    failure: Option<ClientError>,
}

impl ClientSession {
    /// A session for a connection that was just made. It has something to send at once.
    pub fn new(config: ClientConfig, now: Instant) -> Self {
        let mut wire = Wire::new(config.window_ack_size);
        let handshake = ClientHandshake::start(&mut wire.output);
        ClientSession {
            config,
            now,
            phase_since: now,
            state: State::Handshake,
            handshake,
            wire,
            events: VecDeque::new(),
            stream_id: 0,
            unanswered: 0,
            commands: 0,
            failure: None,
        }
    }

    /// Where to append what was received, with room for a read of at least
    /// [`MIN_READ_BYTES`](crate::rtmp::limits::MIN_READ_BYTES). Only append, and call this anew for each read.
    pub fn input(&mut self) -> &mut BytesMut {
        self.wire.input()
    }

    /// Decodes what was appended to [`input`](Self::input), as far as it goes.
    ///
    /// # Errors
    /// Whatever ends the session; the same again when called again.
    pub fn handle_input(&mut self, now: Instant) -> Result<(), ClientError> {
        self.now = now;
        if self.failure.is_some() {
            self.wire.drop_input();
        }
        self.pump();
        self.verdict()
    }

    /// The next event, in the order in which things happened. Decodes more input when there is some left; an error found
    /// then is returned by the next `handle_…` call, for which [`deadline`](Self::deadline) is now.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        if self.events.is_empty() {
            self.pump();
        }
        self.events.pop_front()
    }

    /// Bytes to send.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.unanswered = 0;
        self.wire.poll_output()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; nothing once the server accepted.
    pub fn deadline(&self) -> Option<Instant> {
        if self.failure.is_some() {
            return Some(self.now);
        }
        self.phase().map(|(_, limit)| self.phase_since + limit)
    }

    /// To be called at the [`deadline`](Self::deadline); does nothing before.
    ///
    /// # Errors
    /// A time-out, or what [`handle_input`](Self::handle_input) would return.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        self.now = now;
        if self.failure.is_none()
            && let Some((phase, after)) = self.phase()
            && now >= self.phase_since + after
        {
            self.fail(ProtocolError::TimedOut { phase, after }.into());
        }
        self.verdict()
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
        if self.state != State::Running {
            return;
        }
        if self.config.purpose == Purpose::Publish {
            let name = Value::from(self.config.stream.as_str());
            self.wire
                .send_command(0, "FCUnpublish", FC_UNPUBLISH, &[Value::Null, name]);
        }
        let id = Value::Number(f64::from(self.stream_id));
        self.wire
            .send_command(0, "deleteStream", 0.0, &[Value::Null, id]);
        self.state = State::Over;
    }

    /// Bytes appended to [`input`](Self::input) since the start of the connection.
    pub fn bytes_received(&self) -> u64 {
        self.wire.received()
    }

    /// Bytes of the connection that are decoded: where the next chunk starts.
    pub fn position(&self) -> u64 {
        self.wire.position()
    }

    fn publish(&mut self, csid: u32, type_id: u8, timestamp: u32, payload: &[u8]) {
        if self.state == State::Running && self.config.purpose == Purpose::Publish {
            self.wire.encoder.encode(
                csid,
                type_id,
                self.stream_id,
                timestamp,
                payload,
                &mut self.wire.output,
            );
        }
    }

    fn verdict(&self) -> Result<(), ClientError> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn phase(&self) -> Option<(Phase, std::time::Duration)> {
        match self.state {
            State::Handshake => Some((Phase::Handshake, HANDSHAKE_TIMEOUT)),
            State::Connecting | State::Creating | State::Asking => {
                Some((Phase::Answer, ANSWER_TIMEOUT))
            }
            State::Running | State::Over => None,
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.phase_since = self.now;
    }

    fn fail(&mut self, error: ClientError) {
        self.wire.drop_input();
        self.state = State::Over;
        self.failure = Some(error);
    }

    /// Decodes until the input is used up or the events are enough.
    fn pump(&mut self) {
        while self.failure.is_none() && self.events.len() < MAX_PENDING_EVENTS {
            let before = self.wire.output.len();
            match self.step() {
                Ok(true) => {
                    self.unanswered += self.wire.output.len() - before;
                    if self.unanswered > MAX_OUTPUT_BYTES {
                        let position = self.position();
                        self.fail(ProtocolError::OutputOverflow { position }.into());
                    }
                }
                Ok(false) => break,
                Err(error) => self.fail(error),
            }
        }
        if matches!(self.state, State::Creating | State::Asking | State::Running) {
            self.wire.acknowledge();
        }
    }

    /// Decodes one thing. False when there is not enough input for it.
    fn step(&mut self) -> Result<bool, ClientError> {
        match self.state {
            State::Handshake => {
                let done = self
                    .handshake
                    .advance(&mut self.wire.input, &mut self.wire.output);
                self.wire.before_chunks = self.handshake.consumed();
                if !done? {
                    return Ok(false);
                }
                self.connect();
            }
            State::Over => {
                self.wire.drop_input();
                return Ok(false);
            }
            State::Connecting | State::Creating | State::Asking | State::Running => {
                match self.wire.next()? {
                    Some(Came::Whole(message)) => self.handle_message(message)?,
                    Some(Came::Inner(message)) => self.handle_media(message),
                    None => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    fn connect(&mut self) {
        let window = self.config.window_ack_size;
        self.wire.send(
            CSID_CONTROL,
            message::WINDOW_ACK_SIZE,
            0,
            &window.to_be_bytes(),
        );
        let chunk_size = self.config.chunk_size.clamp(1, MAX_OUT_CHUNK_SIZE);
        self.wire.send(
            CSID_CONTROL,
            message::SET_CHUNK_SIZE,
            0,
            &chunk_size.to_be_bytes(),
        );
        self.wire.encoder.set_chunk_size(chunk_size);
        let text = |text: &str| Value::from(text);
        let mut object = vec![
            ("app".to_owned(), text(&self.config.app)),
            ("flashVer".to_owned(), text(&self.config.flash_ver)),
            ("tcUrl".to_owned(), text(&self.config.tc_url)),
        ];
        if self.config.purpose == Purpose::Publish {
            object.push(("type".to_owned(), text("nonprivate")));
        }
        if !self.config.page_url.is_empty() {
            object.push(("pageUrl".to_owned(), text(&self.config.page_url)));
        }
        // RTMP §7.2.1.1: all codecs of Flash; servers of its time send nothing that is not named.
        object.extend(
            [
                ("fpad", Value::Boolean(false)),
                ("capabilities", Value::Number(15.0)),
                ("audioCodecs", Value::Number(4071.0)),
                ("videoCodecs", Value::Number(252.0)),
                ("videoFunction", Value::Number(1.0)),
                ("objectEncoding", Value::Number(0.0)),
            ]
            .into_iter()
            .chain(enhanced())
            .map(|(name, value)| (name.to_owned(), value)),
        );
        object.extend(self.config.properties.iter().cloned());
        self.wire
            .send_command(0, "connect", CONNECT, &[Value::Object(object)]);
        self.enter(State::Connecting);
    }

    fn create_stream(&mut self) {
        let name = Value::from(self.config.stream.as_str());
        if self.config.purpose == Purpose::Publish {
            self.wire
                .send_command(0, "releaseStream", RELEASE, &[Value::Null, name.clone()]);
            self.wire
                .send_command(0, "FCPublish", FC_PUBLISH, &[Value::Null, name]);
        }
        self.wire
            .send_command(0, "createStream", CREATE, &[Value::Null]);
        self.enter(State::Creating);
    }

    fn ask(&mut self) {
        let name = Value::from(self.config.stream.as_str());
        let id = self.stream_id;
        match self.config.purpose {
            Purpose::Publish => {
                let values = [Value::Null, name, Value::from("live")];
                self.wire.send_command(id, "publish", ASK, &values);
            }
            Purpose::Play => {
                // RTMP §7.2.2.1: -2, a live stream if there is one.
                let values = [Value::Null, name, Value::Number(-2.0)];
                self.wire.send_command(id, "play", ASK, &values);
                let [a, b, c, d] = id.to_be_bytes();
                let [e, f, g, h] = BUFFER_MS.to_be_bytes();
                let [kind, code] = message::EVENT_SET_BUFFER_LENGTH.to_be_bytes();
                self.wire.send(
                    CSID_CONTROL,
                    message::USER_CONTROL,
                    0,
                    &[kind, code, a, b, c, d, e, f, g, h],
                );
            }
        }
        self.enter(State::Asking);
    }

    fn started(&mut self) {
        if self.state == State::Asking {
            self.enter(State::Running);
            self.events.push_back(ClientEvent::Started);
        }
    }

    fn handle_message(&mut self, message: Message) -> Result<(), ClientError> {
        if message.type_id == message::USER_CONTROL {
            self.stream_event(&message.payload);
        }
        if self.wire.control(&message)? {
            return Ok(());
        }
        match message.type_id {
            message::COMMAND_AMF0 => self.handle_command(&message.payload)?,
            message::COMMAND_AMF3 => self.handle_command(&without_selector(message.payload))?,
            message::AGGREGATE => self.wire.split(message),
            _ => self.handle_media(message),
        }
        Ok(())
    }

    /// RTMP §6.2: the end of our stream.
    fn stream_event(&mut self, payload: &[u8]) {
        let Some((event, data)) = payload.split_first_chunk::<2>() else {
            return;
        };
        if u16::from_be_bytes(*event) == message::EVENT_STREAM_EOF
            && self.state == State::Running
            && self.config.purpose == Purpose::Play
            && data.first_chunk::<4>() == Some(&self.stream_id.to_be_bytes())
        {
            let code = "StreamEOF".to_owned();
            self.events.push_back(ClientEvent::Ended { code });
        }
    }

    /// Audio, video and data of the stream that plays.
    fn handle_media(&mut self, message: Message) {
        let plays = matches!(self.state, State::Asking | State::Running)
            && self.config.purpose == Purpose::Play;
        if !plays || message.payload.is_empty() {
            return;
        }
        let Message {
            type_id,
            timestamp,
            payload,
            ..
        } = message;
        let kind = match type_id {
            message::AUDIO => MediaKind::Audio,
            message::VIDEO => MediaKind::Video,
            message::DATA_AMF0 => return self.handle_data(timestamp, payload),
            message::DATA_AMF3 => {
                let payload = without_selector(payload);
                // An FLV script tag holds AMF0 only.
                if amf0::decode_all(&payload).is_ok() {
                    self.handle_data(timestamp, payload);
                }
                return;
            }
            _ => return,
        };
        // Some servers begin to send before they say so.
        self.started();
        self.events.push_back(ClientEvent::Media {
            kind,
            timestamp,
            payload,
        });
    }

    fn handle_data(&mut self, timestamp: u32, mut payload: Bytes) {
        let Some((mut name, length)) = leading_string(&payload) else {
            return;
        };
        // Some servers pass on what their publisher said as it was said.
        if name == "@setDataFrame" {
            bytes::Buf::advance(&mut payload, length);
            let Some((inner, _)) = leading_string(&payload) else {
                return;
            };
            name = inner;
        }
        // Of the play, not of the stream.
        if matches!(
            name.as_str(),
            "onStatus" | "|RtmpSampleAccess" | "@clearDataFrame"
        ) {
            return;
        }
        self.started();
        self.events.push_back(ClientEvent::Data {
            name,
            timestamp,
            payload,
        });
    }

    fn handle_command(&mut self, body: &[u8]) -> Result<(), ClientError> {
        let position = self.position();
        let command = Command::parse(body).map_err(|error| match error {
            CommandError::Amf0(source) => ProtocolError::Amf0 { position, source },
            CommandError::NoName => ProtocolError::Command {
                position,
                command: String::new(),
                problem: "no name in the first place",
            },
        })?;
        if self.state != State::Running {
            self.commands += 1;
            if self.commands > MAX_IDLE_COMMANDS {
                return Err(ProtocolError::TooManyCommands { position }.into());
            }
        }
        match command.name.as_str() {
            "_result" => self.result(&command),
            "_error" => self.error(&command),
            "onStatus" => self.status(&command),
            // A server of ours or another's says so at any moment.
            "close" => Err(refused("close", "the server closes the connection")),
            _ => Ok(()),
        }
    }

    fn result(&mut self, command: &Command) -> Result<(), ClientError> {
        match self.state {
            State::Connecting if command.transaction == CONNECT => self.create_stream(),
            State::Creating if command.transaction == CREATE => {
                let Some(id) = command.stream_id(0) else {
                    return Err(ProtocolError::Command {
                        position: self.position(),
                        command: "_result".to_owned(),
                        problem: "createStream answered without a stream",
                    }
                    .into());
                };
                self.stream_id = id;
                self.ask();
            }
            _ => {}
        }
        Ok(())
    }

    fn error(&mut self, command: &Command) -> Result<(), ClientError> {
        let what = match command.transaction {
            CONNECT => "NetConnection.Connect.Failed",
            CREATE => "createStream",
            ASK if self.state == State::Asking => "NetStream.Failed",
            // releaseStream and FCPublish are Flash Media Server's; others say that they do not know them.
            _ => return Ok(()),
        };
        Err(self.refusal(command, what))
    }

    /// RTMP §7.2.2: what a server says of a stream or the connection.
    fn status(&mut self, command: &Command) -> Result<(), ClientError> {
        let text = |key| command.argument(0).and_then(|info| text_of(info, key));
        let code = text("code").unwrap_or_default();
        match code.as_str() {
            "NetStream.Play.Start" if self.config.purpose == Purpose::Play => self.started(),
            "NetStream.Publish.Start" if self.config.purpose == Purpose::Publish => self.started(),
            "NetStream.Play.UnpublishNotify"
            | "NetStream.Play.Stop"
            | "NetStream.Play.Complete"
                if self.state == State::Running && self.config.purpose == Purpose::Play =>
            {
                self.events.push_back(ClientEvent::Ended { code });
            }
            // Whatever the level: some servers refuse with `status`.
            "NetStream.Play.StreamNotFound"
            | "NetStream.Play.Failed"
            | "NetStream.Publish.BadName"
            | "NetStream.Publish.Denied"
            | "NetConnection.Connect.Rejected"
            | "NetConnection.Connect.Closed"
            | "NetConnection.Connect.AppShutdown" => return Err(self.refusal(command, &code)),
            "NetStream.Unpublish.Success" if self.state == State::Running => {
                return Err(self.refusal(command, &code));
            }
            _ if text("level").as_deref() == Some("error") => {
                return Err(self.refusal(command, "onStatus"));
            }
            _ => {}
        }
        Ok(())
    }

    /// What an _error or onStatus says, or where it points.
    fn refusal(&self, command: &Command, what: &str) -> ClientError {
        // An _error may leave the command object out, and its information then stands in its place.
        let info = command
            .argument(0)
            .filter(|info| info.properties().is_some())
            .or_else(|| command.object());
        let Some(info) = info else {
            return refused(what, "");
        };
        // E-RTMP has no word on it; Flash Media Server, Wowza and SRS say `ex: { code: 302, redirect }`, and SRS has the whole address in
        // `redirect2`.
        let to = |key| info.get("ex").and_then(|ex| text_of(ex, key));
        if let Some(url) = to("redirect2").or_else(|| to("redirect"))
            && !url.is_empty()
        {
            return ClientError::Redirected { url };
        }
        refused(
            &text_of(info, "code").unwrap_or_else(|| what.to_owned()),
            &text_of(info, "description").unwrap_or_default(),
        )
    }
}

fn refused(code: &str, description: &str) -> ClientError {
    ClientError::Refused {
        code: code.to_owned(),
        description: description.to_owned(),
    }
}

/// A text of the server's, bounded and without what would break a line of a log.
fn text_of(object: &Value, key: &str) -> Option<String> {
    let text = object.get(key)?.as_str()?;
    let clean = text.chars().filter(|c| !c.is_control());
    Some(clean.take(MAX_STATUS_CHARS).collect())
}
