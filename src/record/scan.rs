//! Reading a file that was not closed: up to where it is whole, and what its head should say. No I/O.
//!
//! Feed the file in pieces from its start. [`Scan::finish`] gives the writer as it was after the last whole tag; what stands behind
//! it in the file is to be cut off.

use bytes::{Buf, Bytes, BytesMut};

use crate::media::flv::{
    HEADER_SIZE, PREVIOUS_TAG_SIZE, SIGNATURE, TAG_AUDIO, TAG_HEADER_SIZE, TAG_SCRIPT, TAG_VIDEO,
    TagHeader,
};
use crate::media::metadata::Metadata;
use crate::media::{Frame, FrameKind, metadata};

use super::seek::SeekPoints;
use super::writer::FlvWriter;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Scan {
    buffer: BytesMut,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Before the head is whole.
    #[default]
    Head,
    Tags(Box<Found>),
    /// What came is no tag; nothing more is read.
    Broken(Box<Found>),
    /// It is no recording of this server's.
    Foreign,
}

#[derive(Debug)]
struct Found {
    writer: FlvWriter,
    seek: SeekPoints,
    last_ms: u64,
}

impl Scan {
    /// Takes the next bytes. False when no more are needed.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        self.buffer.extend_from_slice(bytes);
        loop {
            match &mut self.state {
                State::Head => match head(&mut self.buffer) {
                    Step::More => return true,
                    Step::Broken => self.state = State::Foreign,
                    Step::Done(writer) => {
                        self.state = State::Tags(Box::new(Found {
                            writer,
                            seek: SeekPoints::default(),
                            last_ms: 0,
                        }));
                    }
                },
                State::Tags(found) => match tag(&mut self.buffer) {
                    Step::More => return true,
                    Step::Done((header, body)) => found.note(header, body),
                    Step::Broken => {
                        let state = std::mem::take(&mut self.state);
                        if let State::Tags(found) = state {
                            self.state = State::Broken(found);
                        }
                    }
                },
                State::Broken(_) | State::Foreign => {
                    self.buffer.clear();
                    return false;
                }
            }
        }
    }

    /// The file up to its last whole tag; None when its head is not one that this server wrote.
    pub(super) fn finish(self) -> Option<FlvWriter> {
        match self.state {
            State::Tags(found) | State::Broken(found) => Some(found.writer),
            State::Head | State::Foreign => None,
        }
    }
}

impl Found {
    fn note(&mut self, header: TagHeader, body: Bytes) {
        let (kind, body) = match header.first {
            TAG_VIDEO => (FrameKind::Video, body),
            TAG_AUDIO => (FrameKind::Audio, body),
            _ => (FrameKind::Data, body),
        };
        // The nearest time with these 32 bits: a file of more than 49.7 days goes on.
        let ahead = header.timestamp_ms.wrapping_sub(self.last_ms as u32) as i32;
        let ms = self.last_ms.saturating_add_signed(i64::from(ahead));
        let frame = Frame::parse(kind, ms, body.clone()).unwrap_or_else(|_| Frame {
            kind: FrameKind::Data,
            track: 0,
            codec: crate::media::Codec::None,
            keyframe: false,
            sequence_header: false,
            coded: false,
            dts_ms: ms,
            composition_ms: 0,
            payload: body,
        });
        if frame.is_coded() {
            self.last_ms = ms;
        }
        let seekable = self.seek.is_start(&frame);
        self.writer.note(&frame, seekable);
    }
}

enum Step<T> {
    /// It is not whole yet.
    More,
    Done(T),
    /// It is none.
    Broken,
}

fn head(buffer: &mut BytesMut) -> Step<FlvWriter> {
    const START: usize = HEADER_SIZE + PREVIOUS_TAG_SIZE;
    let Some(start) = buffer.first_chunk::<START>() else {
        return Step::More;
    };
    if !start.starts_with(&SIGNATURE) || start.get(5..) != Some(&[0, 0, 0, 9, 0, 0, 0, 0]) {
        return Step::Broken;
    }
    let mut rest = buffer.clone();
    rest.advance(START);
    let (header, body) = match tag(&mut rest) {
        Step::Done(tag) => tag,
        Step::More => return Step::More,
        Step::Broken => return Step::Broken,
    };
    let (kind, body) = metadata::classify(&body);
    if header.first != TAG_SCRIPT || kind != FrameKind::Metadata {
        return Step::Broken;
    }
    let came = Metadata::read(&body);
    if came.get("filler").is_none() {
        return Step::Broken;
    }
    *buffer = rest;
    let mut writer = FlvWriter::with_room(header.size);
    writer.set_metadata(&came);
    Step::Done(writer)
}

/// Takes a tag with its PreviousTagSize, which has to be right.
fn tag(buffer: &mut BytesMut) -> Step<(TagHeader, Bytes)> {
    let Some(header) = buffer.first_chunk::<TAG_HEADER_SIZE>() else {
        return Step::More;
    };
    let header = TagHeader::read(header);
    if !matches!(header.first, TAG_AUDIO | TAG_VIDEO | TAG_SCRIPT) {
        return Step::Broken;
    }
    let whole = TAG_HEADER_SIZE + header.size;
    let Some(previous) = buffer.get(whole..whole + PREVIOUS_TAG_SIZE) else {
        return Step::More;
    };
    if previous != (whole as u32).to_be_bytes() {
        return Step::Broken;
    }
    let mut tag = buffer.split_to(whole + PREVIOUS_TAG_SIZE).freeze();
    tag.advance(TAG_HEADER_SIZE);
    tag.truncate(header.size);
    Step::Done((header, tag))
}
