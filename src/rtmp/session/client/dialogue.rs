//! What a client session says, and what it does with what it hears.

use bytes::Bytes;

use super::{ClientError, ClientEvent, ClientSession, Purpose, State};
use crate::rtmp::amf0::{self, Value};
use crate::rtmp::command::{Command, CommandError, enhanced};
use crate::rtmp::error::ProtocolError;
use crate::rtmp::event::MediaKind;
use crate::rtmp::limits::{MAX_IDLE_COMMANDS, MAX_OUT_CHUNK_SIZE, MAX_STATUS_CHARS};
use crate::rtmp::message::{self, Message};
use crate::rtmp::session::payload::{leading_string, without_selector};
use crate::rtmp::session::wire::CSID_CONTROL;

// The transactions of our calls (RTMP §7.2.1.1: 1 for connect).
const CONNECT: f64 = 1.0;
const RELEASE: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE: f64 = 4.0;
const ASK: f64 = 5.0;
pub(super) const FC_UNPUBLISH: f64 = 6.0;

/// What a player asks the server to send ahead, in milliseconds (RTMP §6.2, SetBufferLength): servers send a live stream as it
/// comes all the same, but some wait for the event.
const BUFFER_MS: u32 = 1_000;

impl ClientSession {
    pub(super) fn connect(&mut self) {
        let window = self.config.window_ack_size;
        self.core.wire.send(
            CSID_CONTROL,
            message::WINDOW_ACK_SIZE,
            0,
            &window.to_be_bytes(),
        );
        let chunk_size = self.config.chunk_size.clamp(1, MAX_OUT_CHUNK_SIZE);
        self.core.wire.send(
            CSID_CONTROL,
            message::SET_CHUNK_SIZE,
            0,
            &chunk_size.to_be_bytes(),
        );
        self.core.wire.encoder.set_chunk_size(chunk_size);
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
        self.core
            .wire
            .send_command(0, "connect", CONNECT, &[Value::Object(object)]);
        self.enter(State::Connecting);
    }

    fn create_stream(&mut self) {
        let name = Value::from(self.config.stream.as_str());
        if self.config.purpose == Purpose::Publish {
            self.core
                .wire
                .send_command(0, "releaseStream", RELEASE, &[Value::Null, name.clone()]);
            self.core
                .wire
                .send_command(0, "FCPublish", FC_PUBLISH, &[Value::Null, name]);
        }
        self.core
            .wire
            .send_command(0, "createStream", CREATE, &[Value::Null]);
        self.enter(State::Creating);
    }

    fn ask(&mut self) {
        let name = Value::from(self.config.stream.as_str());
        let id = self.stream_id;
        match self.config.purpose {
            Purpose::Publish => {
                let values = [Value::Null, name, Value::from("live")];
                self.core.wire.send_command(id, "publish", ASK, &values);
            }
            Purpose::Play => {
                // RTMP §7.2.2.1: -2, a live stream if there is one.
                let values = [Value::Null, name, Value::Number(-2.0)];
                self.core.wire.send_command(id, "play", ASK, &values);
                let [a, b, c, d] = id.to_be_bytes();
                let [e, f, g, h] = BUFFER_MS.to_be_bytes();
                let [kind, code] = message::EVENT_SET_BUFFER_LENGTH.to_be_bytes();
                self.core.wire.send(
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
            self.core.events.push_back(ClientEvent::Started);
        }
    }

    pub(super) fn handle_message(&mut self, message: Message) -> Result<(), ClientError> {
        if message.type_id == message::USER_CONTROL {
            self.stream_event(&message.payload);
        }
        if self.core.wire.control(&message)? {
            return Ok(());
        }
        match message.type_id {
            message::COMMAND_AMF0 => self.handle_command(&message.payload)?,
            message::COMMAND_AMF3 => self.handle_command(&without_selector(message.payload))?,
            message::AGGREGATE => self.core.wire.split(message),
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
            self.core.events.push_back(ClientEvent::Ended { code });
        }
    }

    /// Audio, video and data of the stream that plays.
    pub(super) fn handle_media(&mut self, message: Message) {
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
        self.core.events.push_back(ClientEvent::Media {
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
        self.core.events.push_back(ClientEvent::Data {
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
                self.core.events.push_back(ClientEvent::Ended { code });
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
