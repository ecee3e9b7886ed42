//! Chunks → messages.

use super::EXTENDED;
use crate::rtmp::error::ChunkError;
use crate::rtmp::limits::{
    AHEAD_BYTES, DEFAULT_CHUNK_SIZE, MAX_CHUNK_STREAMS, MAX_PARTIAL_BYTES, max_message_bytes,
};
use crate::rtmp::message::Message;
use bytes::{Buf, Bytes, BytesMut};

/// Turns chunks into messages.
///
/// A message that lies in one chunk is split off the input buffer without a copy. One that spans chunks is copied
/// once, into a buffer with room for all of it, or for [`AHEAD_BYTES`] if it is longer: beyond that, and where another message is in
/// progress, the buffer grows with what came, whatever length was declared. A chunk is taken only when
/// it is there whole, so that a call without a whole chunk costs a look at its header, however long the wait.
#[derive(Debug)]
pub struct Decoder {
    chunk_size: usize,
    /// Few, so a search is quicker than a map. At most [`MAX_CHUNK_STREAMS`].
    streams: Vec<ChunkStream>,
    /// Sum of the lengths of all `partial`.
    partial_bytes: usize,
    consumed: u64,
}

/// What a chunk stream remembers.
#[derive(Debug)]
struct ChunkStream {
    csid: u32,
    header: Header,
    /// The message in progress, as far as it came. `Some` also says that there is one.
    partial: Option<BytesMut>,
}

/// A message header with what was left out filled in.
#[derive(Debug, Clone, Copy, Default)]
struct Header {
    timestamp: u32,
    /// What a chunk of type 3 that starts a message adds.
    delta: u32,
    /// The extended timestamp field of the last chunk of type 0 to 2, if it had one.
    extended: Option<u32>,
    /// The last chunk of type 0 to 2 was one of type 0.
    absolute: bool,
    length: usize,
    type_id: u8,
    stream_id: u32,
}

/// A chunk whose header is complete and within the limits.
struct Chunk {
    csid: u32,
    /// Its chunk stream in `streams`; nothing for a new one.
    slot: Option<usize>,
    header: Header,
    header_bytes: usize,
    body_bytes: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the start of a connection, with the chunk size of 128 bytes.
    pub fn new() -> Self {
        Decoder {
            chunk_size: DEFAULT_CHUNK_SIZE as usize,
            streams: Vec::new(),
            partial_bytes: 0,
            consumed: 0,
        }
    }

    /// The chunk size from the next chunk on, in bytes. Zero is taken as 1: callers refuse it before.
    pub fn set_chunk_size(&mut self, bytes: u32) {
        self.chunk_size = (bytes as usize).max(1);
    }

    /// Bytes taken off the input so far.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Bytes held of messages in progress.
    pub fn partial_bytes(&self) -> usize {
        self.partial_bytes
    }

    /// Room that the buffers of messages in progress take, in bytes.
    #[cfg(test)]
    pub(super) fn partial_capacity(&self) -> usize {
        self.streams
            .iter()
            .filter_map(|stream| stream.partial.as_ref())
            .map(BytesMut::capacity)
            .sum()
    }

    /// Drops the message in progress on a chunk stream (RTMP §5.4.2). Its header stays valid for later chunks.
    pub fn abort(&mut self, csid: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.csid == csid)
            && let Some(partial) = stream.partial.take()
        {
            self.partial_bytes -= partial.len();
        }
    }

    /// Takes chunks off the front of `input` until a message is complete; nothing when a whole chunk is not there yet.
    ///
    /// # Errors
    /// [`ChunkError`]; `input` then starts with the chunk in question, and the connection cannot go on.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Message>, ChunkError> {
        loop {
            let Some(chunk) = self.header(input)? else {
                return Ok(None);
            };
            let whole = chunk.header_bytes + chunk.body_bytes;
            if input.len() < whole {
                return Ok(None);
            }
            self.consumed += whole as u64;
            input.advance(chunk.header_bytes);
            let header = chunk.header;
            let Some(payload) = self.take_body(&chunk, input) else {
                continue;
            };
            return Ok(Some(Message {
                csid: chunk.csid,
                type_id: header.type_id,
                stream_id: header.stream_id,
                timestamp: header.timestamp,
                payload,
            }));
        }
    }

    /// How many bytes the chunk at the front of `input` lacks; 0 when that is not known, or it is whole.
    pub fn lacks(&self, input: &[u8]) -> usize {
        match self.header(input) {
            Ok(Some(chunk)) => (chunk.header_bytes + chunk.body_bytes).saturating_sub(input.len()),
            _ => 0,
        }
    }

    /// Moves a chunk's body from the input to where it belongs. The payload, if this completes the message.
    fn take_body(&mut self, chunk: &Chunk, input: &mut BytesMut) -> Option<Bytes> {
        let slot = chunk.slot.unwrap_or_else(|| {
            self.streams.push(ChunkStream {
                csid: chunk.csid,
                header: chunk.header,
                partial: None,
            });
            self.streams.len() - 1
        });
        let stream = self.streams.get_mut(slot)?;
        stream.header = chunk.header;
        if stream.partial.is_none() && chunk.body_bytes == chunk.header.length {
            return Some(input.split_to(chunk.body_bytes).freeze());
        }
        let ahead = match self.partial_bytes {
            0 => chunk.header.length.min(AHEAD_BYTES),
            _ => 0,
        };
        let partial = stream
            .partial
            .get_or_insert_with(|| BytesMut::with_capacity(ahead));
        partial.extend_from_slice(input.get(..chunk.body_bytes)?);
        input.advance(chunk.body_bytes);
        self.partial_bytes += chunk.body_bytes;
        if partial.len() < chunk.header.length {
            return None;
        }
        let payload = stream.partial.take()?.freeze();
        self.partial_bytes -= payload.len();
        Some(payload)
    }

    /// Reads the header at the front of `input`; nothing when it is incomplete. Changes no state.
    fn header(&self, input: &[u8]) -> Result<Option<Chunk>, ChunkError> {
        let mut cursor = input;
        let Some((fmt, csid)) = basic_header(&mut cursor) else {
            return Ok(None);
        };
        let slot = self.streams.iter().position(|stream| stream.csid == csid);
        let stream = slot.and_then(|slot| self.streams.get(slot));
        let partial = stream.and_then(|stream| stream.partial.as_ref());
        let mut header = stream.map(|stream| stream.header).unwrap_or_default();
        if stream.is_none() {
            // A chunk stream must start with type 0 (RTMP §5.3.1.2.1). librtmp starts chunk stream 2 with a
            // type 1 chunk when it answers a ping: stream 0, time 0.
            if fmt > 1 {
                return Err(ChunkError::NoHeader { csid, fmt });
            }
            if self.streams.len() >= MAX_CHUNK_STREAMS {
                return Err(ChunkError::TooManyChunkStreams { csid });
            }
        }
        if let Some(partial) = partial
            && fmt != 3
        {
            return Err(ChunkError::Interrupted {
                csid,
                fmt,
                missing: header.length - partial.len(),
            });
        }
        let complete = if fmt == 3 {
            header.continue_with(partial.is_some(), &mut cursor)
        } else {
            header.read(fmt, &mut cursor)
        };
        let max = max_message_bytes(header.type_id);
        if complete.is_none() {
            return Ok(None);
        }
        if header.length > max {
            return Err(ChunkError::MessageTooLarge {
                type_id: header.type_id,
                length: header.length,
                max,
            });
        }
        let missing = header.length - partial.map_or(0, |partial| partial.len());
        let body_bytes = missing.min(self.chunk_size);
        if self.partial_bytes + body_bytes > MAX_PARTIAL_BYTES {
            return Err(ChunkError::TooMuchPartial { csid });
        }
        Ok(Some(Chunk {
            csid,
            slot,
            header,
            header_bytes: input.len() - cursor.len(),
            body_bytes,
        }))
    }
}

/// RTMP §5.3.1.1: chunk type and chunk stream id, in 1, 2 or 3 bytes.
fn basic_header(cursor: &mut &[u8]) -> Option<(u8, u32)> {
    let [first] = take(cursor)?;
    let csid = match first & 0x3f {
        0 => {
            let [id] = take(cursor)?;
            64 + u32::from(id)
        }
        1 => 64 + u32::from(u16::from_le_bytes(take(cursor)?)),
        id => u32::from(id),
    };
    Some((first >> 6, csid))
}

impl Header {
    /// RTMP §5.3.1.2: the message header of a chunk of type 0, 1 or 2.
    fn read(&mut self, fmt: u8, cursor: &mut &[u8]) -> Option<()> {
        let mut time = be24(take(cursor)?);
        if fmt <= 1 {
            self.length = be24(take(cursor)?) as usize;
            [self.type_id] = take(cursor)?;
        }
        if fmt == 0 {
            // The one little-endian field.
            self.stream_id = u32::from_le_bytes(take(cursor)?);
        }
        self.extended = None;
        if time == EXTENDED {
            time = u32::from_be_bytes(take(cursor)?);
            self.extended = Some(time);
        }
        self.absolute = fmt == 0;
        // RTMP §5.3.1.2.4: after a type 0 chunk, the delta of a type 3 chunk is that chunk's timestamp.
        self.delta = time;
        self.timestamp = if self.absolute {
            time
        } else {
            self.timestamp.wrapping_add(time)
        };
        Some(())
    }

    /// RTMP §5.3.1.2.4: a chunk of type 3, which goes on with a message or starts one like the last.
    fn continue_with(&mut self, in_progress: bool, cursor: &mut &[u8]) -> Option<()> {
        if let Some(extended) = self.extended {
            // RTMP §5.3.1.3: the field is repeated in type 3 chunks. The text of 2009 had it otherwise, and OBS before
            // 30.1 and rtmpdump's librtmp 2.3 do not repeat it; readers such as SRS before 7 expect the absolute time
            // where the header had a delta. So: it is the field if it is one of these two values, and data
            // otherwise. Byte by byte, since the message may end with fewer than four.
            let candidates = [extended.to_be_bytes(), self.timestamp.to_be_bytes()];
            let seen = cursor.get(..cursor.len().min(4)).unwrap_or_default();
            if candidates.iter().any(|field| field.starts_with(seen)) {
                take::<4>(cursor)?;
            }
        }
        if !in_progress {
            if self.absolute && self.extended.is_some() {
                // To the letter, the delta would be the timestamp of the type 0 chunk: a jump of over four hours.
                // librtmp means "the same time again"; nobody is known to mean the other.
                self.delta = 0;
            }
            self.timestamp = self.timestamp.wrapping_add(self.delta);
        }
        Some(())
    }
}

fn take<const N: usize>(cursor: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = cursor.split_first_chunk::<N>()?;
    *cursor = tail;
    Some(*head)
}

fn be24([a, b, c]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}
