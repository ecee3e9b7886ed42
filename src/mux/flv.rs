//! HTTP-FLV: an FLV file without end.
//!
//! - *Passes through*: the bodies of audio, video and data tags, byte by byte, E-RTMP bodies included.
//! - *Is transformed*: timestamps are those of the stream's timeline, modulo 2^32 (the extended byte counts); onMetaData
//!   loses what describes a file, gets a `server` ([`Metadata::write_for_players`]), and stands at 0 wherever it comes.
//! - *Is dropped*: with [`FlvMux::drop`], tags of a kind that the header's flags deny; bodies that are larger than
//!   DataSize can state; onMetaData of an absurd size.
//!
//! Layout: FLV 10.1 Annex E. Each tag is followed by its PreviousTagSize, so what [`Muxer::write`] appends can be cut
//! between any two frames.

use bytes::{BufMut, BytesMut};

use super::{METADATA_MS, Muxer};
use crate::media::flv::{
    HEADER_SIZE, PREVIOUS_TAG_SIZE, SIGNATURE, TAG_AUDIO, TAG_HEADER_SIZE, TAG_SCRIPT, TAG_VIDEO,
    TagHeader, write_header, write_tag,
};
use crate::media::metadata::MAX_METADATA_BYTES;
use crate::media::{Frame, FrameKind, Metadata, Tracks};

/// How far before its base a timestamp may lie for [`rebase`] to take it for the past, in milliseconds. A player starts at a
/// keyframe, and audio or a sequence header beside it may be a little older; anything else is 49 days in the future.
const MAX_BEFORE_BASE_MS: u32 = 10_000;

/// Makes FLV. See the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlvMux {
    /// The header's flag for audio.
    pub audio: bool,
    /// The header's flag for video.
    pub video: bool,
    /// Whether to drop tags of a kind whose flag is off. Otherwise the flags are only what the header says.
    pub drop: bool,
}

impl FlvMux {
    fn gives(&self, kind: FrameKind) -> bool {
        match kind {
            FrameKind::Video => self.video || !self.drop,
            FrameKind::Audio => self.audio || !self.drop,
            FrameKind::Metadata | FrameKind::Data => true,
        }
    }

    fn write_metadata(&self, metadata: &Metadata, out: &mut BytesMut) {
        let (video, audio) = (self.gives(FrameKind::Video), self.gives(FrameKind::Audio));
        let mut body = BytesMut::new();
        metadata.write_for_players(video, audio, &mut body);
        write_tag(TAG_SCRIPT, wire_ms(METADATA_MS), &body, out);
    }
}

impl Muxer for FlvMux {
    fn start(&self, tracks: &Tracks, dts_ms: u64, out: &mut BytesMut) {
        write_header(self.audio, self.video, out);
        self.headers(tracks, dts_ms, out);
    }

    fn headers(&self, tracks: &Tracks, dts_ms: u64, out: &mut BytesMut) {
        match tracks.properties() {
            Some(metadata) => self.write_metadata(metadata, out),
            None => self.write_metadata(&Metadata::default(), out),
        }
        for header in tracks.headers().filter(|header| self.gives(header.kind)) {
            write_tag(tag_type(header.kind), wire_ms(dts_ms), &header.payload, out);
        }
    }

    fn write(&mut self, frame: &Frame, out: &mut BytesMut) {
        match frame.kind {
            FrameKind::Metadata if frame.payload.len() > MAX_METADATA_BYTES => {}
            FrameKind::Metadata => {
                self.write_metadata(&Metadata::read(&frame.payload), out);
            }
            kind if self.gives(kind) => {
                write_tag(tag_type(kind), wire_ms(frame.dts_ms), &frame.payload, out)
            }
            _ => {}
        }
    }
}

/// The wire has 32 bits: every 49.7 days the timestamps begin again at 0, which players know from RTMP.
fn wire_ms(dts_ms: u64) -> u32 {
    dts_ms as u32
}

fn tag_type(kind: FrameKind) -> u8 {
    match kind {
        FrameKind::Video => TAG_VIDEO,
        FrameKind::Audio => TAG_AUDIO,
        FrameKind::Metadata | FrameKind::Data => TAG_SCRIPT,
    }
}

/// Copies tags that were muxed already, with `base_ms` taken off their timestamps: for a player whose time starts at 0.
///
/// `unit` is whole tags, each with its PreviousTagSize; the file header with PreviousTagSize0 may stand before them. From
/// the first byte that is neither, the rest is copied as it is. A timestamp up to ten seconds before the base becomes 0.
pub fn rebase(unit: &[u8], base_ms: u32, out: &mut BytesMut) {
    out.reserve(unit.len());
    let mut rest = unit;
    if rest.starts_with(&SIGNATURE)
        && let Some((header, tags)) = rest.split_at_checked(HEADER_SIZE + PREVIOUS_TAG_SIZE)
    {
        out.put_slice(header);
        rest = tags;
    }
    while let Some((header, body, after)) = split_tag(rest) {
        let behind_ms = base_ms.wrapping_sub(header.timestamp_ms);
        let metadata = header.first == TAG_SCRIPT && header.timestamp_ms == METADATA_MS as u32;
        let timestamp_ms = if metadata || (1..=MAX_BEFORE_BASE_MS).contains(&behind_ms) {
            0
        } else {
            header.timestamp_ms.wrapping_sub(base_ms)
        };
        out.put_slice(
            &TagHeader {
                timestamp_ms,
                ..header
            }
            .to_bytes(),
        );
        out.put_slice(body);
        rest = after;
    }
    out.put_slice(rest);
}

/// The first tag: its header, its body with the PreviousTagSize, and what follows. None unless the PreviousTagSize is
/// right: that is what tells a tag from other bytes.
fn split_tag(input: &[u8]) -> Option<(TagHeader, &[u8], &[u8])> {
    let (header, rest) = input.split_first_chunk::<TAG_HEADER_SIZE>()?;
    let header = TagHeader::read(header);
    let (body, after) = rest.split_at_checked(header.size + PREVIOUS_TAG_SIZE)?;
    let previous = u32::from_be_bytes(*body.last_chunk::<PREVIOUS_TAG_SIZE>()?);
    let is_tag = matches!(header.first, TAG_AUDIO | TAG_VIDEO | TAG_SCRIPT)
        && previous as usize == TAG_HEADER_SIZE + header.size;
    is_tag.then_some((header, body, after))
}

#[cfg(test)]
mod tests;
