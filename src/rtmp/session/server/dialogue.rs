//! What a session does with each message.

use super::{NetStream, ServerSession, State, StreamState};
use crate::rtmp::amf0::{self, Value};
use crate::rtmp::command::{Command, CommandError, info};
use crate::rtmp::error::ProtocolError;
use crate::rtmp::event::{Event, MediaKind};
use crate::rtmp::limits::{MAX_IDLE_COMMANDS, MAX_STREAMS};
use crate::rtmp::message::{self, Message};
use crate::rtmp::session::payload::{leading_string, without_selector};
use bytes::{Buf, Bytes};

/// Longest part of a command's name that an error repeats, in characters.
const MAX_SHOWN_NAME: usize = 64;

impl ServerSession {
    /// Acts on a message from a chunk stream.
    pub(super) fn handle_message(&mut self, message: Message) -> Result<(), ProtocolError> {
        if self.core.wire.control(&message)? {
            return Ok(());
        }
        match message.type_id {
            message::COMMAND_AMF0 => self.handle_command(message.stream_id, &message.payload)?,
            message::COMMAND_AMF3 => {
                self.handle_command(message.stream_id, &without_selector(message.payload))?
            }
            message::AGGREGATE => {
                // Unless it has a publish to go to, not worth splitting.
                if self
                    .stream_in(message.stream_id, StreamState::Publishing)
                    .is_some()
                {
                    self.core.wire.split(message);
                }
            }
            _ => self.handle_inner(message),
        }
        Ok(())
    }

    /// Acts on what may also be inside an aggregate: audio, video, data. Drops everything else: acknowledgements, shared
    /// objects (types 16 and 19), and types that nobody has defined.
    pub(super) fn handle_inner(&mut self, message: Message) {
        let Message {
            type_id,
            stream_id,
            timestamp,
            payload,
            ..
        } = message;
        // Also true after the publish ended, when messages are still under way.
        if self.stream_in(stream_id, StreamState::Publishing).is_none() {
            return;
        }
        let kind = match type_id {
            message::AUDIO => MediaKind::Audio,
            message::VIDEO => MediaKind::Video,
            message::DATA_AMF0 => return self.handle_data(stream_id, timestamp, payload),
            message::DATA_AMF3 => {
                let payload = without_selector(payload);
                // An FLV script tag holds AMF0 only, so data with AMF3 values inside cannot be passed on.
                if amf0::decode_all(&payload).is_ok() {
                    self.handle_data(stream_id, timestamp, payload);
                }
                return;
            }
            _ => return,
        };
        // librtmp's users send empty tags as a sign of life or at the end.
        if !payload.is_empty() {
            self.core.events.push_back(Event::Media {
                stream_id,
                kind,
                timestamp,
                payload,
            });
        }
    }

    /// RTMP §7.1.2. Data without a name is dropped: it harms nobody, and says nothing.
    fn handle_data(&mut self, stream_id: u32, timestamp: u32, mut payload: Bytes) {
        let Some((mut name, length)) = leading_string(&payload) else {
            return;
        };
        if name == "@setDataFrame" {
            payload.advance(length);
            let Some((inner, _)) = leading_string(&payload) else {
                return;
            };
            name = inner;
        }
        // Not for players: the one takes metadata back, which no player format can say; the other is a permission that
        // only Flash Media Server acts on.
        if name == "@clearDataFrame" || name == "|RtmpSampleAccess" {
            return;
        }
        self.core.events.push_back(Event::Data {
            stream_id,
            name,
            timestamp,
            payload,
        });
    }

    fn handle_command(&mut self, stream_id: u32, body: &[u8]) -> Result<(), ProtocolError> {
        let position = self.position();
        let command = Command::parse(body).map_err(|error| match error {
            CommandError::Amf0(source) => ProtocolError::Amf0 { position, source },
            CommandError::NoName => ProtocolError::Command {
                position,
                command: String::new(),
                problem: "no name in the first place",
            },
        })?;
        if !self
            .streams
            .iter()
            .any(|stream| matches!(stream.state, StreamState::Publishing | StreamState::Playing))
        {
            self.idle_commands += 1;
            if self.idle_commands > MAX_IDLE_COMMANDS {
                return Err(ProtocolError::TooManyCommands { position });
            }
        }
        if self.state == State::Opened {
            return self.handle_connect(&command);
        }
        self.handle_connected(stream_id, &command);
        Ok(())
    }

    fn handle_connect(&mut self, command: &Command) -> Result<(), ProtocolError> {
        let refuse = |problem| {
            let command = command.name.chars().take(MAX_SHOWN_NAME).collect();
            ProtocolError::Command {
                position: self.position(),
                command,
                problem,
            }
        };
        if command.name != "connect" {
            return Err(refuse("sent before connect"));
        }
        let connect = command
            .connect()
            .ok_or_else(|| refuse("no command object"))?;
        self.core.events.push_back(Event::Connect(connect));
        self.enter(State::Connecting {
            transaction: command.transaction,
        });
        Ok(())
    }

    /// Commands after connect.
    fn handle_connected(&mut self, stream_id: u32, command: &Command) {
        let transaction = command.transaction;
        match command.name.as_str() {
            "createStream" => match self.create_stream() {
                Some(id) => self.send_result(transaction, Value::Number(f64::from(id))),
                None => self.send_error(transaction, "too many streams"),
            },
            "publish" if command.argument(0).and_then(Value::as_bool) == Some(false) => {
                self.unpublish(stream_id)
            }
            "publish" => self.publish(stream_id, command),
            "play" => self.play(stream_id, command),
            "play2" => self.core.wire.send_status(
                stream_id,
                "error",
                "NetStream.Play.Failed",
                "play2 is not supported",
            ),
            "closeStream" => {
                self.unpublish(stream_id);
                self.stop_play(stream_id);
            }
            "deleteStream" => {
                if let Some(id) = command.stream_id(0) {
                    self.unpublish(id);
                    self.stop_play(id);
                    self.streams.retain(|stream| stream.id != id);
                }
            }
            // Flash Media Server's way to free a name that a broken connection still holds. Names are freed by
            // themselves here; encoders go on whatever the answer.
            "releaseStream" => self.send_result(transaction, Value::Undefined),
            "FCPublish" => {
                // Flash Media Live Encoder waits for this one.
                self.send_fc(0, "onFCPublish", "NetStream.Publish.Start", command.text(0));
                self.send_result(transaction, Value::Undefined);
            }
            "FCUnpublish" => {
                self.send_fc(
                    0,
                    "onFCUnpublish",
                    "NetStream.Unpublish.Success",
                    command.text(0),
                );
                self.send_result(transaction, Value::Undefined);
                if let Some(id) = self.published_as(command.text(0)) {
                    self.unpublish(id);
                }
            }
            "FCSubscribe" => {
                self.send_fc(0, "onFCSubscribe", "NetStream.Play.Start", command.text(0));
                self.send_result(transaction, Value::Undefined);
            }
            "_checkbw" => self.send_result(transaction, Value::Undefined),
            // Seconds; 0 for a live stream.
            "getStreamLength" => self.send_result(transaction, Value::Number(0.0)),
            "pause" => self.pause(stream_id, command.argument(0).and_then(Value::as_bool)),
            // A live stream cannot be searched, and its tracks are one; these want no answer.
            "seek" | "receiveAudio" | "receiveVideo" | "FCUnsubscribe" => {}
            // Answers to what we never asked.
            "_result" | "_error" | "onStatus" => {}
            name => {
                if transaction != 0.0 {
                    let name = name.chars().take(MAX_SHOWN_NAME).collect::<String>();
                    self.send_error(transaction, &format!("unknown command {name}"));
                }
            }
        }
    }

    /// The lowest free id: encoders that do not read the answer take 1 for granted.
    fn create_stream(&mut self) -> Option<u32> {
        let id = (1..=MAX_STREAMS as u32)
            .find(|&id| self.streams.iter().all(|stream| stream.id != id))?;
        self.streams.push(NetStream {
            id,
            name: String::new(),
            state: StreamState::Idle,
        });
        Some(id)
    }

    fn publish(&mut self, stream_id: u32, command: &Command) {
        let Some(stream) = self.stream_in(stream_id, StreamState::Idle) else {
            return self.core.wire.send_status(
                stream_id,
                "error",
                "NetStream.Publish.BadName",
                NO_STREAM,
            );
        };
        let publish = command.publish(stream_id);
        stream.state = StreamState::PublishAsked;
        stream.name.clone_from(&publish.name);
        self.core.events.push_back(Event::Publish(publish));
    }

    fn play(&mut self, stream_id: u32, command: &Command) {
        let Some(stream) = self.stream_in(stream_id, StreamState::Idle) else {
            return self.core.wire.send_status(
                stream_id,
                "error",
                "NetStream.Play.Failed",
                NO_STREAM,
            );
        };
        let play = command.play(stream_id);
        stream.state = StreamState::PlayAsked;
        stream.name.clone_from(&play.name);
        self.core.events.push_back(Event::Play(play));
    }

    /// The client ended a publish; nothing if there is none on the stream.
    fn unpublish(&mut self, stream_id: u32) {
        let Some(stream) = self.stream_in(stream_id, StreamState::Publishing) else {
            return;
        };
        stream.state = StreamState::Idle;
        let description = format!("{} is now unpublished.", stream.name);
        self.core.phase_since = self.core.now;
        self.core.events.push_back(Event::Unpublish { stream_id });
        self.core.wire.send_status(
            stream_id,
            "status",
            "NetStream.Unpublish.Success",
            &description,
        );
    }

    /// RTMP §7.2.2.9. The third argument, where playback is, means nothing to a live stream.
    fn pause(&mut self, stream_id: u32, pause: Option<bool>) {
        let (Some(paused), Some(_)) = (pause, self.stream_in(stream_id, StreamState::Playing))
        else {
            return;
        };
        let (code, description) = if paused {
            ("NetStream.Pause.Notify", "Paused.")
        } else {
            ("NetStream.Unpause.Notify", "Unpaused.")
        };
        self.core
            .events
            .push_back(Event::Pause { stream_id, paused });
        self.core
            .wire
            .send_status(stream_id, "status", code, description);
    }

    /// The client ended a play; nothing if there is none on the stream.
    fn stop_play(&mut self, stream_id: u32) {
        if let Some(stream) = self.stream_in(stream_id, StreamState::Playing) {
            stream.state = StreamState::Idle;
            self.core.phase_since = self.core.now;
            self.core.events.push_back(Event::StopPlay { stream_id });
        }
    }

    /// FCUnpublish names the stream instead of giving its id, with or without what was appended to it. When there is only
    /// one publish, it is that one, whatever the name.
    fn published_as(&self, name: &str) -> Option<u32> {
        let bare = |name: &str| name.split('?').next().unwrap_or_default().to_owned();
        let mut publishing = self
            .streams
            .iter()
            .filter(|stream| stream.state == StreamState::Publishing);
        let named = publishing.clone().find(|stream| stream.name == name);
        let similar = || {
            publishing
                .clone()
                .find(|stream| bare(&stream.name) == bare(name))
        };
        let found = named.or_else(similar);
        let only = publishing.next().filter(|_| publishing.next().is_none());
        found.or(only).map(|stream| stream.id)
    }

    fn send_result(&mut self, transaction: f64, value: Value) {
        // Transaction 0 says that no answer is wanted.
        if transaction != 0.0 {
            self.core
                .wire
                .send_command(0, "_result", transaction, &[Value::Null, value]);
        }
    }

    fn send_error(&mut self, transaction: f64, description: &str) {
        let info = Value::Object(info("error", "NetConnection.Call.Failed", description));
        self.core
            .wire
            .send_command(0, "_error", transaction, &[Value::Null, info]);
    }

    fn send_fc(&mut self, stream_id: u32, name: &str, code: &str, description: &str) {
        let info = Value::Object(info("status", code, description));
        self.core
            .wire
            .send_command(stream_id, name, 0.0, &[Value::Null, info]);
    }
}

/// The answer to publish and play on a stream that cannot take it.
const NO_STREAM: &str = "no such message stream, or it is in use";
