//! Messages: what chunks carry. Types, the control messages we send, and the splitting of aggregates.
//!
//! Cited as "RTMP": *Adobe's Real Time Messaging Protocol*, version 1.0, December 2012.

use bytes::{Buf, Bytes};

/// Set Chunk Size (RTMP §5.4.1).
pub const SET_CHUNK_SIZE: u8 = 1;
/// Abort Message (RTMP §5.4.2).
pub const ABORT: u8 = 2;
/// Acknowledgement (RTMP §5.4.3).
pub const ACKNOWLEDGEMENT: u8 = 3;
/// User Control (RTMP §6.2).
pub const USER_CONTROL: u8 = 4;
/// Window Acknowledgement Size (RTMP §5.4.4).
pub const WINDOW_ACK_SIZE: u8 = 5;
/// Set Peer Bandwidth (RTMP §5.4.5).
pub const SET_PEER_BANDWIDTH: u8 = 6;
/// Audio (RTMP §7.1.4): an FLV audio tag body.
pub const AUDIO: u8 = 8;
/// Video (RTMP §7.1.5): an FLV video tag body.
pub const VIDEO: u8 = 9;
/// Data in the AMF3 wrapping (RTMP §7.1.2).
pub const DATA_AMF3: u8 = 15;
/// A command in the AMF3 wrapping (RTMP §7.1.1).
pub const COMMAND_AMF3: u8 = 17;
/// Data (RTMP §7.1.2): an FLV script tag body, perhaps behind `@setDataFrame`.
pub const DATA_AMF0: u8 = 18;
/// A command (RTMP §7.1.1).
pub const COMMAND_AMF0: u8 = 20;
/// Aggregate (RTMP §7.1.6): several audio, video and data messages as FLV tags.
pub const AGGREGATE: u8 = 22;

// RTMP §7.1.7: user control events.
/// A stream can be used (by the server).
pub const EVENT_STREAM_BEGIN: u16 = 0;
/// A stream has ended (by the server).
pub const EVENT_STREAM_EOF: u16 = 1;
/// How much a player buffers (by the client).
pub const EVENT_SET_BUFFER_LENGTH: u16 = 3;
/// Are you there?
pub const EVENT_PING_REQUEST: u16 = 6;
/// I am.
pub const EVENT_PING_RESPONSE: u16 = 7;

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The chunk stream it came or goes on.
    pub csid: u32,
    /// Its type, [`AUDIO`] and so on.
    pub type_id: u8,
    /// The message stream; 0 for the connection itself.
    pub stream_id: u32,
    /// Milliseconds, modulo 2^32.
    pub timestamp: u32,
    /// The body.
    pub payload: Bytes,
}

/// The body of a user control message with one number.
pub(crate) fn user_control(event: u16, value: u32) -> [u8; 6] {
    let [a, b] = event.to_be_bytes();
    let [c, d, e, f] = value.to_be_bytes();
    [a, b, c, d, e, f]
}

/// The messages inside an aggregate, one at a time, as slices of its body.
#[derive(Debug)]
pub(crate) struct Aggregate {
    stream_id: u32,
    csid: u32,
    timestamp: u32,
    /// Timestamp of the first inner message.
    first: Option<u32>,
    rest: Bytes,
    length: usize,
}

/// An aggregate ends too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AggregateEnd {
    /// Bytes before the inner message.
    pub offset: usize,
    /// What was being read.
    pub reading: &'static str,
}

impl Aggregate {
    /// Splits the message `outer`, which must be of type [`AGGREGATE`].
    pub fn new(outer: Message) -> Self {
        Aggregate {
            stream_id: outer.stream_id,
            csid: outer.csid,
            timestamp: outer.timestamp,
            first: None,
            length: outer.payload.len(),
            rest: outer.payload,
        }
    }

    /// The next inner message; nothing at the end.
    pub fn next(&mut self) -> Result<Option<Message>, AggregateEnd> {
        /// Type, length, timestamp, timestamp's upper byte, stream id.
        const HEADER_BYTES: usize = 11;
        /// The length of the inner message once more.
        const BACK_POINTER_BYTES: usize = 4;
        let offset = self.length - self.rest.len();
        let end = |reading| AggregateEnd { offset, reading };
        if self.rest.is_empty() {
            return Ok(None);
        }
        if self.rest.len() < HEADER_BYTES {
            return Err(end("an inner header"));
        }
        let type_id = self.rest.get_u8();
        let length = self.rest.get_uint(3) as usize;
        // The same odd order as in an FLV tag: the upper byte comes last.
        let low = self.rest.get_uint(3) as u32;
        let timestamp = u32::from(self.rest.get_u8()) << 24 | low;
        // RTMP §7.1.6: the stream id of the aggregate overrides those inside.
        self.rest.advance(3);
        if self.rest.len() < length {
            return Err(end("an inner message"));
        }
        let payload = self.rest.split_to(length);
        // The back pointer of the last message is left out by some; nothing depends on it.
        self.rest.advance(BACK_POINTER_BYTES.min(self.rest.len()));
        // RTMP §7.1.6: the difference between the aggregate's timestamp and the first inner one is added to all.
        let first = *self.first.get_or_insert(timestamp);
        Ok(Some(Message {
            csid: self.csid,
            type_id,
            stream_id: self.stream_id,
            timestamp: self.timestamp.wrapping_add(timestamp.wrapping_sub(first)),
            payload,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(type_id: u8, timestamp: u32, body: &[u8]) -> Vec<u8> {
        let [high, rest @ ..] = timestamp.to_be_bytes();
        let mut tag = vec![type_id, 0, 0, body.len() as u8];
        tag.extend(rest);
        tag.extend([high, 0, 0, 9]);
        tag.extend(body);
        tag.extend((body.len() as u32 + 11).to_be_bytes());
        tag
    }

    fn aggregate(timestamp: u32, payload: Vec<u8>) -> Aggregate {
        Aggregate::new(Message {
            csid: 4,
            type_id: AGGREGATE,
            stream_id: 1,
            timestamp,
            payload: payload.into(),
        })
    }

    #[test]
    fn timestamps_are_rebased_to_the_outer_one() {
        let payload = [
            inner(VIDEO, 0x0100_0000, b"v"),
            inner(AUDIO, 0x0100_0017, b"aa"),
        ]
        .concat();
        let mut split = aggregate(u32::MAX - 2, payload);
        let video = split.next().unwrap().unwrap();
        assert_eq!(
            (video.type_id, video.stream_id, video.timestamp),
            (VIDEO, 1, u32::MAX - 2)
        );
        assert_eq!(&video.payload[..], b"v");
        let audio = split.next().unwrap().unwrap();
        assert_eq!((audio.type_id, audio.timestamp), (AUDIO, 0x14));
        assert_eq!(&audio.payload[..], b"aa");
        assert_eq!(split.next(), Ok(None));
    }

    #[test]
    fn the_last_back_pointer_may_be_missing() {
        let mut payload = inner(AUDIO, 0, b"a");
        payload.truncate(payload.len() - 4);
        let mut split = aggregate(0, payload);
        assert!(split.next().unwrap().is_some());
        assert_eq!(split.next(), Ok(None));
    }

    #[test]
    fn a_truncated_inner_message_is_an_error_at_its_offset() {
        let first = inner(AUDIO, 0, b"a");
        let whole = [first.clone(), inner(VIDEO, 0, b"vvvv")].concat();
        for (length, reading) in [
            (first.len() + 5, "an inner header"),
            (first.len() + 12, "an inner message"),
        ] {
            let mut split = aggregate(0, whole[..length].to_vec());
            assert!(split.next().unwrap().is_some());
            assert_eq!(
                split.next(),
                Err(AggregateEnd {
                    offset: first.len(),
                    reading
                })
            );
        }
    }
}
