//! Messages → chunks.

use super::EXTENDED;
use crate::rtmp::limits::{DEFAULT_CHUNK_SIZE, MAX_OUT_CHUNK_SIZE};
use bytes::{BufMut, BytesMut};

/// Turns messages into chunks, with as short headers as all known readers understand.
#[derive(Debug)]
pub struct Encoder {
    chunk_size: usize,
    /// One for each chunk stream that we used.
    streams: Vec<Sent>,
}

/// The last message header of a chunk stream.
#[derive(Debug, Clone, Copy)]
struct Sent {
    csid: u32,
    timestamp: u32,
    /// Nothing after a type 0 chunk: readers differ in what a type 3 chunk then adds.
    delta: Option<u32>,
    length: usize,
    type_id: u8,
    stream_id: u32,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder at the start of a connection, with the chunk size of 128 bytes.
    pub fn new() -> Self {
        Encoder {
            chunk_size: DEFAULT_CHUNK_SIZE as usize,
            streams: Vec::new(),
        }
    }

    /// The chunk size from the next message on, in bytes, 1 to [`MAX_OUT_CHUNK_SIZE`] (others are moved to the nearest).
    /// The peer must have been told before.
    pub fn set_chunk_size(&mut self, bytes: u32) {
        self.chunk_size = bytes.clamp(1, MAX_OUT_CHUNK_SIZE) as usize;
    }

    /// Appends a message. `csid` is the chunk stream, 2 to 65,599; the other arguments are as in
    /// [`Message`](crate::rtmp::message::Message). A payload over 16,777,215 bytes cannot be said and is cut there.
    pub fn encode(
        &mut self,
        csid: u32,
        type_id: u8,
        stream_id: u32,
        timestamp: u32,
        payload: &[u8],
        out: &mut BytesMut,
    ) {
        let payload = payload
            .get(..MAX_OUT_CHUNK_SIZE as usize)
            .unwrap_or(payload);
        let length = payload.len();
        let slot = self.streams.iter().position(|sent| sent.csid == csid);
        let last = slot
            .and_then(|slot| self.streams.get(slot))
            .filter(|last| last.stream_id == stream_id)
            .copied();
        // A delta that needs the extended field would be the same bytes as an absolute time, and is read in two ways.
        let delta = last
            .map(|last| timestamp.wrapping_sub(last.timestamp))
            .filter(|&delta| delta < EXTENDED);
        let (fmt, time) = match (last, delta) {
            (Some(last), Some(delta)) if last.length == length && last.type_id == type_id => {
                (if last.delta == Some(delta) { 3 } else { 2 }, delta)
            }
            (Some(_), Some(delta)) => (1, delta),
            _ => (0, timestamp),
        };
        let sent = Sent {
            csid,
            timestamp,
            delta,
            length,
            type_id,
            stream_id,
        };
        match slot.and_then(|slot| self.streams.get_mut(slot)) {
            Some(place) => *place = sent,
            None => self.streams.push(sent),
        }

        put_message(fmt, time, &sent, self.chunk_size, payload, out);
    }
}

/// Appends a message whose header tells all (type 0), so that it can be read without what came before on its chunk stream:
/// for bytes that many connections share and begin to read anywhere. The arguments are those of [`Encoder`]'s.
pub fn encode_absolute(
    chunk_size: u32,
    csid: u32,
    type_id: u8,
    stream_id: u32,
    timestamp: u32,
    payload: &[u8],
    out: &mut BytesMut,
) {
    let payload = payload
        .get(..MAX_OUT_CHUNK_SIZE as usize)
        .unwrap_or(payload);
    let sent = Sent {
        csid,
        timestamp,
        delta: None,
        length: payload.len(),
        type_id,
        stream_id,
    };
    let chunk_size = chunk_size.clamp(1, MAX_OUT_CHUNK_SIZE) as usize;
    put_message(0, timestamp, &sent, chunk_size, payload, out);
}

/// RTMP §5.3.1: a header of type `fmt` with `time` in it (absolute or a delta), and the payload in chunks.
fn put_message(
    fmt: u8,
    time: u32,
    sent: &Sent,
    chunk_size: usize,
    payload: &[u8],
    out: &mut BytesMut,
) {
    let chunks = sent.length.div_ceil(chunk_size).max(1);
    out.reserve(sent.length + 18 + chunks.saturating_mul(7));
    put_basic_header(fmt, sent.csid, out);
    let extended = (time >= EXTENDED).then_some(time);
    if fmt <= 2 {
        out.put_uint(u64::from(time.min(EXTENDED)), 3);
    }
    if fmt <= 1 {
        out.put_uint(sent.length as u64, 3);
        out.put_u8(sent.type_id);
    }
    if fmt == 0 {
        out.put_u32_le(sent.stream_id);
    }
    if let Some(extended) = extended {
        out.put_u32(extended);
    }
    let mut chunks = payload.chunks(chunk_size);
    out.put_slice(chunks.next().unwrap_or_default());
    for chunk in chunks {
        put_basic_header(3, sent.csid, out);
        if let Some(extended) = extended {
            out.put_u32(extended);
        }
        out.put_slice(chunk);
    }
}

/// RTMP §5.3.1.1.
fn put_basic_header(fmt: u8, csid: u32, out: &mut BytesMut) {
    let fmt = fmt << 6;
    match csid {
        0..=63 => out.put_u8(fmt | csid as u8),
        64..=319 => {
            out.put_u8(fmt);
            out.put_u8((csid - 64) as u8);
        }
        _ => {
            out.put_u8(fmt | 1);
            out.put_u16_le((csid - 64) as u16);
        }
    }
}
