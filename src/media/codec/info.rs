//! What is told about a track in logs and in the API.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use super::{Codec, aac, ac3, av1, h264, hevc, mp3, vp, xiph};
use crate::media::frame::Frame;
use crate::media::read::{ByteReader, Short};
use crate::media::tag::{PacketType, Part, TagError};

/// Why a configuration record or a first frame cannot be read. Such a stream is passed on all the same. Offsets are bytes
/// from the start of the record, or of the unit in it that is being read (a parameter set, an OBU).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The record ends inside of something.
    #[error("configuration ends at offset {offset}, inside {reading}")]
    Truncated {
        /// What was being read.
        reading: &'static str,
        /// Where it begins.
        offset: usize,
    },
    /// The record contradicts its specification.
    #[error("configuration at offset {offset}: {what}")]
    Invalid {
        /// What is wrong.
        what: &'static str,
        /// Where it stands.
        offset: usize,
    },
    /// The frame that the record was to be taken from is broken itself.
    #[error(transparent)]
    Tag(#[from] TagError),
}

impl From<Short> for CodecError {
    fn from(Short { reading, offset }: Short) -> Self {
        CodecError::Truncated { reading, offset }
    }
}

/// What a sequence header, or for codecs without one a coded frame, says about a track. What is not said there is None.
///
/// `Display` makes one line: `H.264 High 3.1 1280x720`, `AAC-LC 44100 Hz stereo`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodecInfo {
    /// The codec.
    pub codec: Codec,
    /// Profile as it is called: `High`, `Main 10`, `LC`.
    pub profile: Option<Cow<'static, str>>,
    /// Level as it is called: `3.1`.
    pub level: Option<Cow<'static, str>>,
    /// Pixels that are shown (cropping is taken off).
    pub width: Option<u32>,
    /// Lines that are shown (cropping is taken off).
    pub height: Option<u32>,
    /// What comes out of the decoder: with SBR twice what the core has.
    pub sample_rate_hz: Option<u32>,
    /// What comes out of the decoder, low frequency channels counted.
    pub channels: Option<u8>,
}

impl CodecInfo {
    /// Nothing but the codec is known.
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            profile: None,
            level: None,
            width: None,
            height: None,
            sample_rate_hz: None,
            channels: None,
        }
    }

    /// Of the frame's first track.
    ///
    /// # Errors
    /// As [`CodecInfo::of_part`].
    pub fn of_frame(frame: &Frame) -> Result<CodecInfo, CodecError> {
        match frame.parts().next() {
            Some(part) => Self::of_part(&part?),
            None => Ok(Self::new(Codec::None)),
        }
    }

    /// Reads a sequence header, or what a coded frame says by itself (MP3, AC-3, E-AC-3 always; the size of VP8 and VP9
    /// in a keyframe). Of other packets only the codec is told.
    ///
    /// # Errors
    /// [`CodecError`] when the record is broken. The track may still play: decoders are tolerant.
    pub fn of_part(part: &Part) -> Result<CodecInfo, CodecError> {
        let Part {
            codec,
            packet,
            keyframe,
            ..
        } = *part;
        let data: &Bytes = &part.data;
        // FFmpeg begins with an empty SequenceStart when it has no configuration yet, and for AC-3 never sends another.
        if data.is_empty() && packet.is_configuration() && codec != Codec::Opus {
            return Ok(Self::new(codec));
        }
        match (codec, packet) {
            (Codec::H264, PacketType::SequenceStart) => h264::read_record(data),
            (Codec::Hevc, PacketType::SequenceStart) => hevc::read_record(data),
            (Codec::Av1, PacketType::SequenceStart) => av1::read_record(data),
            (Codec::Av1, PacketType::Mpeg2TsSequenceStart) => av1::read_descriptor(data),
            (Codec::Vp8 | Codec::Vp9, PacketType::SequenceStart) => vp::read_record(codec, data),
            (Codec::Vp8, PacketType::CodedFrames) if keyframe => vp::read_vp8_keyframe(data),
            (Codec::Vp9, PacketType::CodedFrames) if keyframe => vp::read_vp9_keyframe(data),
            (Codec::Aac, PacketType::SequenceStart) => aac::read_config(data),
            (Codec::Opus, PacketType::SequenceStart) => xiph::read_opus_head(data),
            (Codec::Flac, PacketType::SequenceStart) => xiph::read_flac_header(data),
            (Codec::Mp3, PacketType::CodedFrames) => mp3::read_frame(data),
            (Codec::Ac3 | Codec::Eac3, PacketType::CodedFrames) => ac3::read_frame(codec, data),
            (_, PacketType::MultichannelConfig) => multichannel(codec, data),
            _ => Ok(Self::new(codec)),
        }
    }
}

/// The largest picture that is believed, in pixels or lines. Level 6.2 of H.264 and H.265 allows 16,888; level 8.5 has no limit.
const MAX_SIZE: u32 = 1 << 16;

/// The width or height that is shown of `whole` pixels or lines, of which steps of `unit` are cut off at both sides; if such a picture can
/// be.
pub(super) fn cropped(whole: u32, begin: u32, end: u32, unit: u32) -> Option<u32> {
    let cut = begin.checked_add(end)?.checked_mul(unit)?;
    whole
        .checked_sub(cut)
        .filter(|size| (1..=MAX_SIZE).contains(size))
}

/// E-RTMP v2, ExAudioTagBody, MultichannelConfig: order, count, and who is where.
fn multichannel(codec: Codec, data: &[u8]) -> Result<CodecInfo, CodecError> {
    let mut reader = ByteReader::new(data);
    reader.u8("audioChannelOrder")?;
    let channels = reader.u8("channelCount")?;
    Ok(CodecInfo {
        channels: Some(channels),
        ..CodecInfo::new(codec)
    })
}

impl fmt::Display for CodecInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.codec, self.profile.as_deref()) {
            // As everybody calls them.
            (Codec::Aac, Some("HE")) => f.write_str("HE-AAC")?,
            (Codec::Aac, Some("HE v2")) => f.write_str("HE-AAC v2")?,
            (Codec::Aac, Some(profile)) => write!(f, "AAC-{profile}")?,
            (codec, Some(profile)) => write!(f, "{codec} {profile}")?,
            (codec, None) => codec.fmt(f)?,
        }
        if let Some(level) = &self.level {
            write!(f, " {level}")?;
        }
        if let (Some(width), Some(height)) = (self.width, self.height) {
            write!(f, " {width}x{height}")?;
        }
        if let Some(rate) = self.sample_rate_hz {
            write!(f, " {rate} Hz")?;
        }
        match self.channels {
            None => Ok(()),
            Some(1) => f.write_str(" mono"),
            Some(2) => f.write_str(" stereo"),
            Some(6) => f.write_str(" 5.1"),
            Some(8) => f.write_str(" 7.1"),
            Some(channels) => write!(f, " {channels} channels"),
        }
    }
}
