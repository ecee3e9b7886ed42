//! Sessions under test, and what they have in common.

mod client;
mod control;
mod dialogue;
mod limits;
mod media;
mod play;
mod replay;

use super::server::{ServerSession, SessionConfig};
use crate::rtmp::amf0::Value;
use crate::rtmp::amf0::decode_all;
use crate::rtmp::chunk::{Decoder, Encoder};
use crate::rtmp::command::body;
use crate::rtmp::error::ProtocolError;
use crate::rtmp::event::MediaKind;
use crate::rtmp::event::{Event, Reject};
use crate::rtmp::handshake::PACKET_BYTES;
use crate::rtmp::message::{self, AUDIO, COMMAND_AMF0, COMMAND_AMF3, Message, VIDEO};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::time::{Duration, Instant};

/// A client, and the driver of the session that it talks to. The driver says yes to everything but play.
struct Peer {
    session: ServerSession,
    start: Instant,
    now: Instant,
    encoder: Encoder,
    /// Reads the replies.
    decoder: Decoder,
    inbox: BytesMut,
    handshake: usize,
}

impl Peer {
    fn new() -> Peer {
        let start = Instant::now();
        Peer {
            session: ServerSession::new(SessionConfig::default(), start),
            start,
            now: start,
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            inbox: BytesMut::new(),
            handshake: 1 + 2 * PACKET_BYTES,
        }
    }

    /// Through the handshake.
    fn opened() -> Peer {
        let mut peer = Peer::new();
        assert_eq!(peer.feed(&handshake()), Ok(vec![]));
        assert_eq!(peer.replies(), [""; 0]);
        peer
    }

    /// Through connect.
    fn connected() -> Peer {
        let mut peer = Peer::opened();
        let sent = peer.command(0, "connect", 1.0, &[connect_object()]);
        assert!(matches!(
            &peer.feed(&sent).unwrap()[..],
            [Event::Connect(_)]
        ));
        peer.replies();
        peer
    }

    /// Publishes `name` on stream 1.
    fn publishing(name: &str) -> Peer {
        let mut peer = Peer::connected();
        let sent = [
            peer.command(0, "createStream", 2.0, &[Value::Null]),
            peer.publish(1, name),
        ]
        .concat();
        assert!(matches!(
            &peer.feed(&sent).unwrap()[..],
            [Event::Publish(_)]
        ));
        peer.replies();
        peer
    }

    /// Hands over bytes, answers what wants an answer, and returns the events.
    fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, ProtocolError> {
        self.session.input().put_slice(bytes);
        let mut result = self.session.handle_input(self.now);
        let mut events = Vec::new();
        while let Some(event) = self.session.poll_event() {
            match &event {
                Event::Connect(_) => self.session.accept_connect(),
                Event::Publish(publish) => self.session.accept_publish(publish.stream_id),
                Event::Play(play) => self.session.reject_play(play.stream_id, &not_found()),
                _ => {}
            }
            events.push(event);
        }
        if result.is_ok() && self.session.deadline() == Some(self.now) {
            // Found while polling.
            result = self.session.handle_timeout(self.now);
        }
        result.map(|()| events)
    }

    /// The messages that the session sent since the last call.
    fn received(&mut self) -> Vec<Message> {
        while let Some(bytes) = self.session.poll_output() {
            self.inbox.put(bytes);
        }
        let skip = self.handshake.min(self.inbox.len());
        self.inbox.advance(skip);
        self.handshake -= skip;
        let mut messages = Vec::new();
        while let Some(message) = self.decoder.decode(&mut self.inbox).unwrap() {
            if message.type_id == message::SET_CHUNK_SIZE {
                self.decoder.set_chunk_size(number(&message.payload));
            }
            messages.push(message);
        }
        assert!(self.inbox.is_empty());
        messages
    }

    /// [`Self::received`], in words.
    fn replies(&mut self) -> Vec<String> {
        self.received().iter().map(in_words).collect()
    }

    /// The replies to some bytes that cause no error.
    fn ask(&mut self, bytes: &[u8]) -> Vec<String> {
        self.feed(bytes).unwrap();
        self.replies()
    }

    fn chunk(&mut self, type_id: u8, stream_id: u32, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let csid = match type_id {
            AUDIO => 6,
            VIDEO => 7,
            COMMAND_AMF0 | COMMAND_AMF3 => 3,
            1..=6 => 2,
            _ => 8,
        };
        let mut out = BytesMut::new();
        self.encoder
            .encode(csid, type_id, stream_id, timestamp, payload, &mut out);
        out.to_vec()
    }

    fn command(
        &mut self,
        stream_id: u32,
        name: &str,
        transaction: f64,
        values: &[Value],
    ) -> Vec<u8> {
        self.chunk(COMMAND_AMF0, stream_id, 0, &body(name, transaction, values))
    }

    fn publish(&mut self, stream_id: u32, name: &str) -> Vec<u8> {
        self.command(
            stream_id,
            "publish",
            3.0,
            &[Value::Null, name.into(), "live".into()],
        )
    }

    fn after(&mut self, seconds: u64) -> Result<(), ProtocolError> {
        self.now = self.start + Duration::from_secs(seconds);
        self.session.handle_timeout(self.now)
    }
}

/// C0, C1 and C2 of a client without digests.
fn handshake() -> Vec<u8> {
    let mut bytes = vec![3];
    bytes.resize(1 + 2 * PACKET_BYTES, 0);
    bytes
}

fn connect_object() -> Value {
    Value::object([("app", "live"), ("tcUrl", "rtmp://host/live")])
}

fn not_found() -> Reject {
    Reject::new("NetStream.Play.StreamNotFound", "no such stream")
}

fn audio(stream_id: u32, timestamp: u32, payload: &'static [u8]) -> Event {
    Event::Media {
        stream_id,
        kind: MediaKind::Audio,
        timestamp,
        payload: Bytes::from_static(payload),
    }
}

fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

/// A reply in a few words: its name, and what matters of it.
fn in_words(reply: &Message) -> String {
    let payload = &reply.payload;
    match reply.type_id {
        message::SET_CHUNK_SIZE => format!("chunk size {}", number(payload)),
        message::ACKNOWLEDGEMENT => format!("acknowledge {}", number(payload)),
        message::WINDOW_ACK_SIZE => format!("window {}", number(payload)),
        message::SET_PEER_BANDWIDTH => format!("bandwidth {} {}", number(payload), payload[4]),
        message::USER_CONTROL => match payload[1] {
            0 => format!("stream {} begins", number(&payload[2..])),
            7 => format!("pong {}", number(&payload[2..])),
            event => format!("event {event}"),
        },
        COMMAND_AMF0 => {
            let values = decode_all(payload).unwrap();
            let (name, transaction) = (values[0].as_str().unwrap(), values[1].as_f64().unwrap());
            let info = match values.get(3) {
                Some(Value::Number(number)) => format!(" {number}"),
                Some(info) => info
                    .get("code")
                    .and_then(Value::as_str)
                    .map(|code| format!(" {code}"))
                    .unwrap_or_default(),
                None => String::new(),
            };
            format!("{} {name} {transaction}{info}", reply.stream_id)
        }
        other => format!("type {other}"),
    }
}
