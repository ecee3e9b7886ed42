//! The FLV container: its constants, and a reader of files.
//!
//! [`FlvReader`] knows no file and no socket. Feed it bytes as they come, and take tags until it has none:
//!
//! ```
//! # use pingora_live::media::flv::{FlvReader, FlvError};
//! # fn each_chunk(reader: &mut FlvReader, chunk: &[u8]) -> Result<(), FlvError> {
//! reader.feed(chunk);
//! while let Some(tag) = reader.poll()? {
//!     println!("{} at {} ms: {} bytes", tag.kind, tag.timestamp_ms, tag.body.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! It holds at most one tag and what was fed since the last `poll` returned None. After an error it stays at the error.
//!
//! Tolerated: PreviousTagSize fields that are wrong (many writers put 0; [`FlvReader::mismatches`] counts them), a header
//! with more bytes than nine, stream ids that are not 0, tag types that are not known (handed out like others), and a file
//! that ends inside a tag ([`FlvReader::is_between_tags`] tells).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

/// FLV 10.1 §E.2: "FLV".
pub const SIGNATURE: [u8; 3] = *b"FLV";
/// FLV 10.1 §E.2.
pub const VERSION: u8 = 1;
/// Bytes of a file header of version 1 (FLV 10.1 §E.2, DataOffset).
pub const HEADER_SIZE: usize = 9;
/// TypeFlags of the file header: audio tags are present.
pub const FLAG_AUDIO: u8 = 0x04;
/// TypeFlags of the file header: video tags are present.
pub const FLAG_VIDEO: u8 = 0x01;
/// Bytes of a tag's header: type, DataSize, Timestamp, TimestampExtended, StreamID (FLV 10.1 §E.4.1).
pub const TAG_HEADER_SIZE: usize = 11;
/// Bytes of the PreviousTagSize after each tag (FLV 10.1 §E.3).
pub const PREVIOUS_TAG_SIZE: usize = 4;
/// Tag type of audio.
pub const TAG_AUDIO: u8 = 8;
/// Tag type of video.
pub const TAG_VIDEO: u8 = 9;
/// Tag type of script data.
pub const TAG_SCRIPT: u8 = 18;
/// The largest body that the three bytes of DataSize can state.
pub const MAX_BODY_SIZE: usize = 0xff_ffff;

/// The largest DataOffset that is believed, in bytes. Version 1 has 9; what is more is skipped for the sake of later
/// versions.
const MAX_DATA_OFFSET: u32 = 1024;
/// Bits of a tag's first byte that state the type (FLV 10.1 §E.4.1).
const TYPE_MASK: u8 = 0x1f;
/// The bit of a tag's first byte that says that the body is encrypted (FLV 10.1 §E.4.1, Filter).
const FILTER: u8 = 0x20;

/// Why a file cannot be read further. Offsets are bytes from the start of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FlvError {
    /// It is no FLV file.
    #[error("not an FLV file: begins with {found:02x?}")]
    Signature {
        /// The first three bytes.
        found: [u8; 3],
    },
    /// The header says that it is shorter than a header, or absurdly long.
    #[error("FLV header: a DataOffset of {value} bytes at offset 5")]
    DataOffset {
        /// What it states.
        value: u32,
    },
    /// A tag has a larger body than the reader was told to take.
    #[error("FLV tag at offset {offset}: a body of {size} bytes, where {max} are taken")]
    TagTooLarge {
        /// Where the tag begins.
        offset: u64,
        /// What its DataSize states.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The tag is encrypted, which this crate cannot read.
    #[error("FLV tag at offset {offset} is encrypted")]
    Encrypted {
        /// Where the tag begins.
        offset: u64,
    },
}

/// The header of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlvHeader {
    /// The file says that it has audio tags.
    pub audio: bool,
    /// The file says that it has video tags.
    pub video: bool,
}

/// One tag of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlvTag {
    /// [`TAG_AUDIO`], [`TAG_VIDEO`], [`TAG_SCRIPT`], or what else stands there, `0..=31`.
    pub kind: u8,
    /// Decoding time in milliseconds, the extended byte included.
    pub timestamp_ms: u32,
    /// What an RTMP message of the same type has as its payload.
    pub body: Bytes,
}

/// Reads a file piece by piece. See the [module](self).
#[derive(Debug)]
pub struct FlvReader {
    buffer: BytesMut,
    state: State,
    /// Bytes before the buffer's first.
    offset: u64,
    header: Option<FlvHeader>,
    max_body: usize,
    mismatches: u64,
    failed: Option<FlvError>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Header,
    /// Bytes of the header, beyond those that are known, that are to be skipped.
    Skip(usize),
    /// PreviousTagSize, which should have this value.
    Previous(u32),
    Tag,
}

impl Default for FlvReader {
    fn default() -> Self {
        Self::new()
    }
}

impl FlvReader {
    /// Takes tags of any size that the format can state: up to 16 MB.
    pub fn new() -> Self {
        Self::with_max_body(MAX_BODY_SIZE)
    }

    /// Takes tags with bodies of up to `max_body` bytes.
    pub fn with_max_body(max_body: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            state: State::Header,
            offset: 0,
            header: None,
            max_body,
            mismatches: 0,
            failed: None,
        }
    }

    /// Takes the next bytes of the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next tag; None when more bytes are needed.
    ///
    /// # Errors
    /// [`FlvError`], and the same one from then on.
    pub fn poll(&mut self) -> Result<Option<FlvTag>, FlvError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.advance().inspect_err(|error| {
            self.failed = Some(*error);
            self.buffer = BytesMut::new();
        })
    }

    /// The file's header, once it was read.
    pub fn header(&self) -> Option<FlvHeader> {
        self.header
    }

    /// How many PreviousTagSize fields were wrong.
    pub fn mismatches(&self) -> u64 {
        self.mismatches
    }

    /// Bytes of the file that were consumed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the file may end here: nothing is left of a tag that began.
    pub fn is_between_tags(&self) -> bool {
        self.buffer.is_empty() && matches!(self.state, State::Tag | State::Previous(_))
    }

    fn advance(&mut self) -> Result<Option<FlvTag>, FlvError> {
        loop {
            match self.state {
                State::Header => {
                    let Some(header) = self.buffer.first_chunk::<HEADER_SIZE>() else {
                        return Ok(None);
                    };
                    let [a, b, c, _version, flags, offset @ ..] = *header;
                    if [a, b, c] != SIGNATURE {
                        return Err(FlvError::Signature { found: [a, b, c] });
                    }
                    let value = u32::from_be_bytes(offset);
                    let more = value.checked_sub(HEADER_SIZE as u32);
                    let Some(more) = more.filter(|_| value <= MAX_DATA_OFFSET) else {
                        return Err(FlvError::DataOffset { value });
                    };
                    self.header = Some(FlvHeader {
                        audio: flags & FLAG_AUDIO != 0,
                        video: flags & FLAG_VIDEO != 0,
                    });
                    self.consume(HEADER_SIZE);
                    self.state = State::Skip(more as usize);
                }
                State::Skip(more) => {
                    if self.buffer.len() < more {
                        return Ok(None);
                    }
                    self.consume(more);
                    self.state = State::Previous(0);
                }
                State::Previous(expected) => {
                    let Some(previous) = self.buffer.first_chunk::<PREVIOUS_TAG_SIZE>() else {
                        return Ok(None);
                    };
                    self.mismatches += u64::from(u32::from_be_bytes(*previous) != expected);
                    self.consume(PREVIOUS_TAG_SIZE);
                    self.state = State::Tag;
                }
                State::Tag => return self.tag(),
            }
        }
    }

    fn tag(&mut self) -> Result<Option<FlvTag>, FlvError> {
        let Some(header) = self.buffer.first_chunk::<TAG_HEADER_SIZE>() else {
            return Ok(None);
        };
        let TagHeader {
            first,
            size,
            timestamp_ms,
        } = TagHeader::read(header);
        let offset = self.offset;
        if first & FILTER != 0 {
            return Err(FlvError::Encrypted { offset });
        }
        if size > self.max_body {
            return Err(FlvError::TagTooLarge {
                offset,
                size,
                max: self.max_body,
            });
        }
        // Not reserved before it came: the size is a claim.
        let whole = TAG_HEADER_SIZE + size;
        if self.buffer.len() < whole {
            return Ok(None);
        }
        self.consume(TAG_HEADER_SIZE);
        let body = self.buffer.split_to(size).freeze();
        self.offset += size as u64;
        self.state = State::Previous(whole as u32);
        Ok(Some(FlvTag {
            kind: first & TYPE_MASK,
            timestamp_ms,
            body,
        }))
    }

    fn consume(&mut self, count: usize) {
        self.buffer.advance(count);
        self.offset += count as u64;
    }
}

/// The tags in bytes that hold whole ones, each with its PreviousTagSize; a file header with PreviousTagSize0 may stand before them.
/// Ends at the first byte that is neither.
pub(crate) struct Tags {
    rest: Bytes,
}

impl Tags {
    pub(crate) fn of(mut bytes: Bytes) -> Self {
        if bytes.starts_with(&SIGNATURE) {
            bytes.advance((HEADER_SIZE + PREVIOUS_TAG_SIZE).min(bytes.len()));
        }
        Self { rest: bytes }
    }
}

impl Iterator for Tags {
    type Item = FlvTag;

    fn next(&mut self) -> Option<FlvTag> {
        let header = TagHeader::read(self.rest.first_chunk::<TAG_HEADER_SIZE>()?);
        let end = TAG_HEADER_SIZE + header.size;
        if self.rest.len() < end + PREVIOUS_TAG_SIZE {
            return None;
        }
        let body = self.rest.slice(TAG_HEADER_SIZE..end);
        self.rest.advance(end + PREVIOUS_TAG_SIZE);
        Some(FlvTag {
            kind: header.first & TYPE_MASK,
            timestamp_ms: header.timestamp_ms,
            body,
        })
    }
}

/// The eleven bytes before a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TagHeader {
    /// Reserved bits, filter bit and type.
    pub(crate) first: u8,
    pub(crate) size: usize,
    pub(crate) timestamp_ms: u32,
}

impl TagHeader {
    /// FLV 10.1 §E.4.1: TimestampExtended holds the *upper* eight bits.
    pub(crate) fn read(header: &[u8; TAG_HEADER_SIZE]) -> Self {
        let [first, s2, s1, s0, t2, t1, t0, t3, _, _, _] = *header;
        Self {
            first,
            size: u32::from_be_bytes([0, s2, s1, s0]) as usize,
            timestamp_ms: u32::from_be_bytes([t3, t2, t1, t0]),
        }
    }

    /// The bytes, with a StreamID of 0. `size` is at most [`MAX_BODY_SIZE`].
    pub(crate) fn to_bytes(self) -> [u8; TAG_HEADER_SIZE] {
        let [_, s2, s1, s0] = (self.size as u32).to_be_bytes();
        let [t3, t2, t1, t0] = self.timestamp_ms.to_be_bytes();
        [self.first, s2, s1, s0, t2, t1, t0, t3, 0, 0, 0]
    }
}

/// The file header with its PreviousTagSize0 (FLV 10.1 §E.2).
pub(crate) fn write_header(audio: bool, video: bool, out: &mut BytesMut) {
    let flags = if audio { FLAG_AUDIO } else { 0 } | if video { FLAG_VIDEO } else { 0 };
    out.put_slice(&SIGNATURE);
    out.put_u8(VERSION);
    out.put_u8(flags);
    out.put_u32(HEADER_SIZE as u32);
    out.put_u32(0);
}

/// A tag (FLV 10.1 §E.4.1) with the PreviousTagSize of §E.3 behind it. Nothing for a body that is larger than DataSize can state.
pub(crate) fn write_tag(first: u8, timestamp_ms: u32, body: &[u8], out: &mut BytesMut) {
    let size = body.len();
    if size > MAX_BODY_SIZE {
        return;
    }
    let whole = TAG_HEADER_SIZE + size;
    out.reserve(whole + PREVIOUS_TAG_SIZE);
    let header = TagHeader {
        first,
        size,
        timestamp_ms,
    };
    out.put_slice(&header.to_bytes());
    out.put_slice(body);
    out.put_u32(whole as u32);
}

#[cfg(test)]
mod tests;
