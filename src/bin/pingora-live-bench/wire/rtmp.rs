//! RTMP: the dialogue of a player and of a publisher, over the crate's own chunk codec and AMF0.
//!
//! Cited as "RTMP": *Adobe's Real Time Messaging Protocol*, version 1.0, December 2012.

use bytes::{Buf, Bytes, BytesMut};
use pingora_live::media::flv::{TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO};
use pingora_live::rtmp::amf0::{self, Value};
use pingora_live::rtmp::chunk::{Decoder, Encoder};
use pingora_live::rtmp::message::{
    ABORT, ACKNOWLEDGEMENT, COMMAND_AMF0, DATA_AMF0, EVENT_PING_REQUEST, EVENT_PING_RESPONSE,
    EVENT_STREAM_EOF, Message, SET_CHUNK_SIZE, USER_CONTROL, WINDOW_ACK_SIZE,
};

use crate::feed::Tag;
use crate::target::Target;

use super::{Event, Role, Trouble};

/// S0, S1 and S2 (RTMP §5.2).
const HANDSHAKE: usize = 1 + 2 * 1536;
/// What we announce and send with, in bytes: most frames are one chunk.
const CHUNK_SIZE: u32 = 60_000;
/// The chunk streams of control messages, of commands, and of each kind of media.
const CSID_CONTROL: u32 = 2;
const CSID_COMMAND: u32 = 3;
const CSID_DATA: u32 = 4;
const CSID_VIDEO: u32 = 6;
const CSID_AUDIO: u32 = 7;
/// The transactions of the calls that are waited for.
const CONNECT: f64 = 1.0;
const CREATE_STREAM: f64 = 4.0;
const PUBLISH: f64 = 5.0;

pub(crate) struct Rtmp {
    role: Role,
    app: String,
    stream: String,
    tc_url: String,
    shaken: bool,
    input: BytesMut,
    decoder: Decoder,
    encoder: Encoder,
    /// The message stream that the server gave.
    stream_id: u32,
    /// After how many bytes the server wants to hear that they came; 0: it has not said.
    window: u64,
    received: u64,
    acknowledged: u64,
}

impl Rtmp {
    pub(super) fn new(target: &Target, role: Role) -> (Self, Vec<u8>) {
        let (app, stream) = target.app_and_stream();
        let scheme = if target.tls { "rtmps" } else { "rtmp" };
        let rtmp = Self {
            role,
            app: app.to_owned(),
            stream: stream.to_owned(),
            tc_url: format!("{scheme}://{}/{app}", target.authority()),
            shaken: false,
            input: BytesMut::new(),
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            stream_id: 0,
            window: 0,
            received: 0,
            acknowledged: 0,
        };
        // RTMP §5.2.2, §5.2.3: C0, and C1 of time 0, zero and anything.
        let mut hello = vec![0; 1 + 1536];
        hello.splice(..1, [3]);
        (rtmp, hello)
    }

    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(), Trouble> {
        self.input.extend_from_slice(bytes);
        if !self.shaken {
            if self.input.len() < HANDSHAKE {
                return Ok(());
            }
            let answer = self.input.split_to(HANDSHAKE);
            // RTMP §5.2.4: C2 echoes S1.
            out.extend_from_slice(answer.get(1..1 + 1536).unwrap_or_default());
            self.shaken = true;
            self.connect(out);
        }
        self.received(bytes.len(), out);
        while let Some(message) = self.decoder.decode(&mut self.input)? {
            self.message(message, out, sink)?;
        }
        Ok(())
    }

    /// Counts what came, and acknowledges it when it is due (RTMP §5.4.3).
    pub(super) fn received(&mut self, bytes: usize, out: &mut Vec<u8>) {
        self.received += bytes as u64;
        if self.window > 0 && self.received - self.acknowledged >= self.window {
            self.acknowledged = self.received;
            let count = (self.received as u32).to_be_bytes();
            self.put(CSID_CONTROL, ACKNOWLEDGEMENT, 0, 0, &count, out);
        }
    }

    fn message(
        &mut self,
        message: Message,
        out: &mut Vec<u8>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(), Trouble> {
        let mut body = message.payload;
        match message.type_id {
            SET_CHUNK_SIZE if body.len() >= 4 => self.decoder.set_chunk_size(body.get_u32()),
            ABORT if body.len() >= 4 => self.decoder.abort(body.get_u32()),
            WINDOW_ACK_SIZE if body.len() >= 4 => self.window = u64::from(body.get_u32()),
            USER_CONTROL if body.len() >= 6 => match body.get_u16() {
                EVENT_PING_REQUEST => {
                    let mut pong = EVENT_PING_RESPONSE.to_be_bytes().to_vec();
                    pong.extend_from_slice(&body);
                    self.put(CSID_CONTROL, USER_CONTROL, 0, 0, &pong, out);
                }
                EVENT_STREAM_EOF => return Err(Trouble("the stream ended".to_owned())),
                _ => {}
            },
            COMMAND_AMF0 => self.command(&body, out, sink)?,
            TAG_AUDIO | TAG_VIDEO | TAG_SCRIPT => {
                sink(Event::Tag(message.type_id, message.timestamp, body));
            }
            _ => {}
        }
        Ok(())
    }

    fn command(
        &mut self,
        body: &Bytes,
        out: &mut Vec<u8>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(), Trouble> {
        let (values, _) = amf0::decode_prefix(body);
        let name = values.first().and_then(Value::as_str).unwrap_or_default();
        let transaction = values.get(1).and_then(Value::as_f64).unwrap_or_default();
        let code = values
            .iter()
            .find_map(|value| value.get("code"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        match name {
            "_error" if transaction == CONNECT || transaction == CREATE_STREAM => {
                return Err(Trouble(format!("refused: {code}")));
            }
            "_result" if transaction == CONNECT => self.create_stream(out),
            "_result" if transaction == CREATE_STREAM => {
                let id = values.get(3).and_then(Value::as_f64).unwrap_or(1.0);
                self.stream_id = id as u32;
                self.begin(out);
            }
            "onStatus" => {
                let level = values
                    .iter()
                    .find_map(|value| value.get("level"))
                    .and_then(Value::as_str);
                if level == Some("error") {
                    return Err(Trouble(format!("refused: {code}")));
                }
                match code {
                    "NetStream.Publish.Start" => sink(Event::MayPublish),
                    "NetStream.Play.UnpublishNotify" | "NetStream.Play.Stop" => {
                        return Err(Trouble("the stream ended".to_owned()));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn connect(&mut self, out: &mut Vec<u8>) {
        let size = CHUNK_SIZE.to_be_bytes();
        self.put(CSID_CONTROL, SET_CHUNK_SIZE, 0, 0, &size, out);
        self.encoder.set_chunk_size(CHUNK_SIZE);
        let text = |text: &str| Value::String(text.to_owned());
        let object = Value::object([
            ("app", text(&self.app)),
            ("flashVer", text(crate::AGENT)),
            ("tcUrl", text(&self.tc_url)),
            ("type", text("nonprivate")),
        ]);
        self.call(0, "connect", CONNECT, &[object], out);
    }

    fn create_stream(&mut self, out: &mut Vec<u8>) {
        let stream = Value::String(self.stream.clone());
        if self.role == Role::Publish {
            // What encoders say; some servers make the stream at this.
            self.call(0, "releaseStream", 2.0, &[Value::Null, stream.clone()], out);
            self.call(0, "FCPublish", 3.0, &[Value::Null, stream], out);
        }
        self.call(0, "createStream", CREATE_STREAM, &[Value::Null], out);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        let stream = Value::String(self.stream.clone());
        let id = self.stream_id;
        match self.role {
            Role::Play => {
                let arguments = [Value::Null, stream, Value::Number(-2000.0)];
                self.call(id, "play", 0.0, &arguments, out);
            }
            Role::Publish => {
                let arguments = [Value::Null, stream, Value::String("live".to_owned())];
                self.call(id, "publish", PUBLISH, &arguments, out);
            }
        }
    }

    fn call(
        &mut self,
        stream_id: u32,
        name: &str,
        transaction: f64,
        arguments: &[Value],
        out: &mut Vec<u8>,
    ) {
        let mut body = BytesMut::new();
        amf0::encode(&Value::String(name.to_owned()), &mut body);
        amf0::encode(&Value::Number(transaction), &mut body);
        for argument in arguments {
            amf0::encode(argument, &mut body);
        }
        self.put(CSID_COMMAND, COMMAND_AMF0, stream_id, 0, &body, out);
    }

    pub(super) fn send(&mut self, tag: &Tag, out: &mut Vec<u8>) {
        let (time, id) = (tag.timestamp(), self.stream_id);
        match tag.kind {
            TAG_VIDEO => self.put(CSID_VIDEO, TAG_VIDEO, id, time, &tag.body, out),
            TAG_AUDIO => self.put(CSID_AUDIO, TAG_AUDIO, id, time, &tag.body, out),
            _ => {
                let mut body = BytesMut::new();
                amf0::encode(&Value::String("@setDataFrame".to_owned()), &mut body);
                body.extend_from_slice(&tag.body);
                self.put(CSID_DATA, DATA_AMF0, id, time, &body, out);
            }
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let stream = Value::String(self.stream.clone());
        self.call(0, "FCUnpublish", 6.0, &[Value::Null, stream], out);
        let id = Value::Number(f64::from(self.stream_id));
        self.call(0, "deleteStream", 7.0, &[Value::Null, id], out);
    }

    fn put(
        &mut self,
        csid: u32,
        type_id: u8,
        stream_id: u32,
        timestamp: u32,
        body: &[u8],
        out: &mut Vec<u8>,
    ) {
        let mut chunks = BytesMut::new();
        self.encoder
            .encode(csid, type_id, stream_id, timestamp, body, &mut chunks);
        out.extend_from_slice(&chunks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_live::rtmp::{Event as Asked, ServerSession, SessionConfig};
    use std::time::{Duration, Instant};

    /// Both sides over memory, until neither has anything to say.
    fn talk(role: Role, sink: &mut dyn FnMut(Event)) -> (Rtmp, ServerSession, Vec<Asked>) {
        let target = Target::parse("rtmp://127.0.0.1/live/x?key=1", 0).unwrap();
        let (mut client, mut up) = Rtmp::new(&target, role);
        let mut server = ServerSession::new(SessionConfig::default(), Instant::now());
        let mut asked = Vec::new();
        loop {
            server.input().extend_from_slice(&up);
            up.clear();
            server.handle_input(Instant::now()).unwrap();
            while let Some(event) = server.poll_event() {
                match &event {
                    Asked::Connect(_) => server.accept_connect(),
                    Asked::Publish(publish) => server.accept_publish(publish.stream_id),
                    Asked::Play(play) => server.accept_play(play.stream_id),
                    _ => {}
                }
                asked.push(event);
            }
            while let Some(down) = server.poll_output() {
                client.feed(&down, &mut up, sink).unwrap();
            }
            if up.is_empty() {
                return (client, server, asked);
            }
        }
    }

    #[test]
    fn it_plays_what_it_was_asked_to() {
        let (_, _, asked) = talk(Role::Play, &mut |_| {});
        let play = asked.iter().find_map(|event| match event {
            Asked::Play(play) => Some(play.name.as_str()),
            _ => None,
        });
        assert_eq!(play, Some("x?key=1"));
    }

    #[test]
    fn it_publishes_when_it_may() {
        let mut may = 0;
        let (mut client, mut server, _) = talk(Role::Publish, &mut |event| match event {
            Event::MayPublish => may += 1,
            event => panic!("{event:?}"),
        });
        assert_eq!(may, 1);
        let mut up = Vec::new();
        let tag = Tag {
            kind: TAG_VIDEO,
            body: vec![0x17; 200_000].into(),
            due: Duration::from_millis(40),
        };
        client.send(&tag, &mut up);
        client.finish(&mut up);
        server.input().extend_from_slice(&up);
        server.handle_input(Instant::now()).unwrap();
        let came = std::iter::from_fn(|| server.poll_event()).collect::<Vec<_>>();
        let media = came.iter().find_map(|event| match event {
            Asked::Media {
                timestamp, payload, ..
            } => Some((*timestamp, payload.len())),
            _ => None,
        });
        assert_eq!(media, Some((40, 200_000)));
        assert!(
            came.iter()
                .any(|event| matches!(event, Asked::Unpublish { .. })),
            "{came:?}"
        );
    }
}
