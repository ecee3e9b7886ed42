//! What both ends of a connection have in common below its dialogue: bytes to messages, messages to bytes, and the messages that
//! control just that.

use bytes::{Bytes, BytesMut};

use crate::rtmp::amf0::{self, Value};
use crate::rtmp::chunk::{Decoder, Encoder};
use crate::rtmp::command::{body, info};
use crate::rtmp::error::ProtocolError;
use crate::rtmp::limits::{
    AHEAD_BYTES, MAX_CHUNK_SIZE, MAX_KEPT_INPUT_BYTES, MIN_READ_BYTES, READ_BYTES,
};
use crate::rtmp::message::{self, Aggregate, Message};

/// The chunk stream of protocol and user control messages (RTMP §5.4).
pub(super) const CSID_CONTROL: u32 = 2;
/// The chunk stream of commands of the connection.
pub(super) const CSID_COMMAND: u32 = 3;
/// The chunk stream of commands of a message stream.
pub(super) const CSID_STREAM: u32 = 5;

/// The two directions of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) input: BytesMut,
    pub(super) output: BytesMut,
    decoder: Decoder,
    /// What is left of an aggregate message; comes before the input.
    aggregate: Option<Aggregate>,
    pub(super) encoder: Encoder,
    /// After how many bytes we acknowledge.
    ack_window: u64,
    /// [`Self::received`] at the last acknowledgement.
    acknowledged: u64,
    /// What the peer was last told to acknowledge after.
    pub(super) announced_window: u32,
    /// Bytes that were taken off the input before the chunks: the handshake.
    pub(super) before_chunks: u64,
    /// Input that came after the end of the session.
    dropped: u64,
}

/// What came.
pub(super) enum Came {
    Whole(Message),
    /// From inside an aggregate: only audio, video and data mean something there.
    Inner(Message),
}

impl Wire {
    pub(super) fn new(window_ack_size: u32) -> Self {
        Wire {
            input: BytesMut::new(),
            output: BytesMut::new(),
            decoder: Decoder::new(),
            aggregate: None,
            encoder: Encoder::new(),
            ack_window: u64::from(window_ack_size.max(1)),
            acknowledged: 0,
            announced_window: window_ack_size,
            before_chunks: 0,
            dropped: 0,
        }
    }

    /// Where to append what was received, with room for a read.
    pub(super) fn input(&mut self) -> &mut BytesMut {
        let (length, capacity) = (self.input.len(), self.input.capacity());
        let left = capacity - length;
        let full = left < MIN_READ_BYTES;
        if !full && capacity <= MAX_KEPT_INPUT_BYTES {
            return &mut self.input;
        }
        // With room for the rest of the chunk that has begun, what came of it is carried over once, and not again while the rest comes.
        let lacks = self.decoder.lacks(&self.input).min(AHEAD_BYTES);
        let outgrown = length <= READ_BYTES && left > lacks + MAX_KEPT_INPUT_BYTES;
        if !full && !outgrown {
            return &mut self.input;
        }
        let room = READ_BYTES.max(lacks + MIN_READ_BYTES);
        if length <= READ_BYTES {
            // Not `reserve`, which would reuse a buffer that once held a large chunk for the rest of the connection, and
            // let the next sequence header, kept as long as the stream lives, keep all of it alive.
            let mut fresh = BytesMut::with_capacity(length + room);
            fresh.extend_from_slice(&self.input);
            self.input = fresh;
        } else {
            self.input.reserve(room);
        }
        &mut self.input
    }

    /// Gives the room of both buffers back, but for what is in them: what a player said behind its play is a few bytes, and would keep
    /// a publisher's room as long as it plays.
    pub(super) fn release(&mut self) {
        self.input = BytesMut::from(self.input.as_ref());
        self.output = BytesMut::from(self.output.as_ref());
    }

    pub(super) fn poll_output(&mut self) -> Option<Bytes> {
        (!self.output.is_empty()).then(|| self.output.split().freeze())
    }

    /// Bytes of the connection that are decoded: where the next chunk starts.
    pub(super) fn position(&self) -> u64 {
        self.before_chunks + self.decoder.consumed()
    }

    /// Bytes that came.
    pub(super) fn received(&self) -> u64 {
        self.position() + self.dropped + self.input.len() as u64
    }

    /// What came and what an aggregate still holds is of no more use.
    pub(super) fn drop_input(&mut self) {
        self.aggregate = None;
        self.dropped += self.input.len() as u64;
        self.input.clear();
    }

    /// Counts bytes that came by another way, and gives up the room for input.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.drop_input();
        self.input = BytesMut::new();
        self.dropped += bytes;
    }

    /// The next message, of an aggregate or of the input; None when more input is needed.
    pub(super) fn next(&mut self) -> Result<Option<Came>, ProtocolError> {
        if let Some(aggregate) = &mut self.aggregate {
            match aggregate.next() {
                Ok(Some(inner)) => return Ok(Some(Came::Inner(inner))),
                Ok(None) => self.aggregate = None,
                Err(end) => {
                    let position = self.position();
                    return Err(ProtocolError::Aggregate {
                        position,
                        offset: end.offset,
                        reading: end.reading,
                    });
                }
            }
        }
        let decoded = self.decoder.decode(&mut self.input);
        let position = self.position();
        decoded
            .map(|message| message.map(Came::Whole))
            .map_err(|source| ProtocolError::Chunk { position, source })
    }

    /// The next messages are those inside of this one.
    pub(super) fn split(&mut self, message: Message) {
        self.aggregate = Some(Aggregate::new(message));
    }

    /// Acts on a message of the chunk layer's own (RTMP §5.4) or a ping. False when it is none of these.
    pub(super) fn control(&mut self, message: &Message) -> Result<bool, ProtocolError> {
        match message.type_id {
            message::SET_CHUNK_SIZE => {
                let size = self.number(message, "Set Chunk Size")?;
                if size == 0 || size > MAX_CHUNK_SIZE {
                    return Err(
                        self.bad_control("Set Chunk Size", "a size of 0 or over 0x7fffffff")
                    );
                }
                self.decoder.set_chunk_size(size);
            }
            message::ABORT => {
                let csid = self.number(message, "Abort")?;
                self.decoder.abort(csid);
            }
            message::WINDOW_ACK_SIZE => {
                // A window of 0 would ask for an acknowledgement of nothing, forever: keep what we have.
                if let size @ 1.. = self.number(message, "Window Acknowledgement Size")? {
                    self.ack_window = u64::from(size);
                }
            }
            message::SET_PEER_BANDWIDTH => {
                let size = self.number(message, "Set Peer Bandwidth")?;
                // RTMP §5.4.5: the answer is our window, if it is another than before. The fifth byte (how strict
                // the limit is) changes nothing for us, and some leave it out.
                if size != self.announced_window {
                    self.announced_window = size;
                    self.send(
                        CSID_CONTROL,
                        message::WINDOW_ACK_SIZE,
                        0,
                        &size.to_be_bytes(),
                    );
                }
            }
            message::ACKNOWLEDGEMENT => {}
            message::USER_CONTROL => self.ping(&message.payload),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// RTMP §6.2: a ping is answered; all other events, and cut ones, say nothing about the wire.
    fn ping(&mut self, payload: &[u8]) {
        let Some((event, data)) = payload.split_first_chunk::<2>() else {
            return;
        };
        if u16::from_be_bytes(*event) == message::EVENT_PING_REQUEST
            && let Some(&time) = data.first_chunk::<4>()
        {
            self.send_user_control(message::EVENT_PING_RESPONSE, u32::from_be_bytes(time));
        }
    }

    /// RTMP §5.4.3: an acknowledgement whenever a window is full. At most one for each call, so that a tiny window
    /// cannot make us send more than we receive.
    pub(super) fn acknowledge(&mut self) {
        let received = self.received();
        if received - self.acknowledged >= self.ack_window {
            self.acknowledged = received;
            // The sequence number wraps at 2^32.
            self.send(
                CSID_CONTROL,
                message::ACKNOWLEDGEMENT,
                0,
                &(received as u32).to_be_bytes(),
            );
        }
    }

    pub(super) fn send(&mut self, csid: u32, type_id: u8, stream_id: u32, payload: &[u8]) {
        self.encoder
            .encode(csid, type_id, stream_id, 0, payload, &mut self.output);
    }

    pub(super) fn send_user_control(&mut self, event: u16, value: u32) {
        self.send(
            CSID_CONTROL,
            message::USER_CONTROL,
            0,
            &message::user_control(event, value),
        );
    }

    pub(super) fn send_command(
        &mut self,
        stream_id: u32,
        name: &str,
        transaction: f64,
        values: &[Value],
    ) {
        let csid = if stream_id == 0 {
            CSID_COMMAND
        } else {
            CSID_STREAM
        };
        self.send(
            csid,
            message::COMMAND_AMF0,
            stream_id,
            &body(name, transaction, values),
        );
    }

    /// A data message (RTMP §7.1.2).
    pub(super) fn send_data(&mut self, stream_id: u32, name: &str, values: &[Value]) {
        let mut data = BytesMut::new();
        for value in std::iter::once(&Value::from(name)).chain(values) {
            amf0::encode(value, &mut data);
        }
        self.send(CSID_STREAM, message::DATA_AMF0, stream_id, &data);
    }

    /// onStatus (RTMP §7.2.2).
    pub(super) fn send_status(
        &mut self,
        stream_id: u32,
        level: &str,
        code: &str,
        description: &str,
    ) {
        let info = Value::Object(info(level, code, description));
        self.send_command(stream_id, "onStatus", 0.0, &[Value::Null, info]);
    }

    /// The number at the start of a control message.
    fn number(&self, message: &Message, name: &'static str) -> Result<u32, ProtocolError> {
        match message.payload.first_chunk::<4>() {
            Some(&bytes) => Ok(u32::from_be_bytes(bytes)),
            None => Err(self.bad_control(name, "less than 4 bytes")),
        }
    }

    fn bad_control(&self, message: &'static str, problem: &'static str) -> ProtocolError {
        ProtocolError::Control {
            position: self.position(),
            message,
            problem,
        }
    }
}
