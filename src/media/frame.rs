//! The unit in which media moves through the server.

use bytes::Bytes;

use super::codec::Codec;
use super::tag::{self, PacketType, Parts, TagError};

/// What a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// FLV tag type 9, RTMP message type 9.
    Video,
    /// FLV tag type 8, RTMP message type 8.
    Audio,
    /// A script tag (FLV tag type 18, RTMP message type 18) whose name is `onMetaData`: it describes the stream.
    Metadata,
    /// Any other script tag, such as `onTextData` or `onCuePoint`.
    Data,
}

/// One message of a publisher: an FLV tag body as it came, with what its first bytes say.
///
/// Cloning is cheap: the payload is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it belongs to.
    pub kind: FrameKind,
    /// E-RTMP track id; 0 when the packet is not multitrack. A packet of several tracks states its first here;
    /// [`Frame::parts`] gives them all.
    pub track: u8,
    /// The codec of that track; [`Codec::None`] for script data, command frames and empty messages.
    pub codec: Codec,
    /// Video: a random access point, as the publisher flagged it: a coded frame, never a sequence header. Audio: false.
    pub keyframe: bool,
    /// What a decoder must have before the coded frames that follow, and a joining player before all else:
    /// an AVCDecoderConfigurationRecord, an AudioSpecificConfig, any E-RTMP `SequenceStart` or
    /// `MPEG2TSSequenceStart`, and also E-RTMP's video `Metadata` (HDR colour) and audio `MultichannelConfig`.
    pub sequence_header: bool,
    /// It holds coded picture or sound: what a decoder decodes, not what configures or announces.
    pub coded: bool,
    /// Decoding time on the stream's timeline, in milliseconds.
    pub dts_ms: u64,
    /// Presentation time minus decoding time, in milliseconds, of the same track as [`Frame::track`].
    pub composition_ms: i32,
    /// The FLV tag body as it came, never rewritten.
    pub payload: Bytes,
}

impl Frame {
    /// Reads the head of a tag body. All tracks of a multitrack packet are walked, so what is accepted here can be
    /// walked again without an error. Script data is taken as it is; see
    /// [`metadata::classify`](super::metadata::classify) for the kind of a script tag.
    ///
    /// # Errors
    /// [`TagError`] when the body ends too early or contradicts itself, or is of a form that nobody can walk. An unknown
    /// codec or packet type is no error: it passes through.
    pub fn parse(kind: FrameKind, dts_ms: u64, payload: Bytes) -> Result<Frame, TagError> {
        let mut frame = Frame {
            kind,
            track: 0,
            codec: Codec::None,
            keyframe: false,
            sequence_header: false,
            coded: false,
            dts_ms,
            composition_ms: 0,
            payload,
        };
        let mut parts = frame.parts();
        let first = parts.next().transpose()?;
        for (others, part) in parts.enumerate() {
            part?;
            if others + 1 >= tag::MAX_PACKET_TRACKS {
                return Err(TagError::TooManyTracks {
                    max: tag::MAX_PACKET_TRACKS,
                });
            }
        }
        if let Some(first) = first {
            frame.track = first.track;
            frame.codec = first.codec;
            frame.keyframe = first.keyframe;
            frame.composition_ms = first.composition_ms;
            // All tracks of a packet have one packet type (E-RTMP v2, ExVideoTagHeader and ExAudioTagHeader).
            frame.sequence_header = first.packet.is_header();
            frame.coded = matches!(first.packet, PacketType::CodedFrames);
        }
        if frame.sequence_header && frame.payload.len() > tag::MAX_HEADER_BYTES {
            return Err(TagError::HeaderTooLarge {
                size: frame.payload.len(),
                max: tag::MAX_HEADER_BYTES,
            });
        }
        Ok(frame)
    }

    /// The tracks in this packet, in wire order: one for most packets, several for a multitrack packet, none for
    /// script data.
    pub fn parts(&self) -> Parts {
        tag::parts(self.kind, &self.payload)
    }

    /// Whether this may be a multitrack packet: false only when it is none.
    pub(crate) fn may_have_tracks(&self) -> bool {
        // E-RTMP v2, `enum VideoPacketType` and `enum AudioPacketType`: Multitrack and ModEx, which may stand before it.
        let &[first, ..] = &self.payload[..] else {
            return false;
        };
        match self.kind {
            FrameKind::Video => first & 0x80 != 0 && first & 0x0f >= 6,
            FrameKind::Audio => first >> 4 == 9 && first & 0x0f >= 5,
            FrameKind::Metadata | FrameKind::Data => false,
        }
    }

    /// See [`Frame::coded`]: it is asked for often, and found once.
    pub fn is_coded(&self) -> bool {
        self.coded
    }
}
