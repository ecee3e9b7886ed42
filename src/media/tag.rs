//! FLV audio and video tag bodies, which are also the payloads of RTMP messages 8 and 9.
//!
//! [`parts`] walks a body: it yields one [`Part`] for each track in it. A legacy body (FLV 10.1 §E.4.2, §E.4.3) and
//! most E-RTMP bodies hold one track; an E-RTMP `Multitrack` body of type `ManyTracks` or `ManyTracksManyCodecs` holds
//! several. The first error ends the walk. Nothing is copied: a part's data is a slice of the body.
//!
//! "E-RTMP v2" below is the specification "Enhanced RTMP (V2)" of the Veovera Software Organization; its sections have
//! names, not numbers, so the names are cited.
//!
//! # What is tolerated
//! - An empty audio body is E-RTMP's "silence message" (E-RTMP v2, `enum AudioPacketType`), a [`PacketType::Empty`]. An
//!   empty video body is no such thing, but some encoders send one, and other servers ignore it: it is tolerated alike.
//! - A codec that is not known, legacy or FourCC, is passed through as [`Codec::Other`].
//! - A packet type that is not known is passed through as [`PacketType::Other`]. E-RTMP v2 wants a *receiver* to fail on it
//!   in a controlled way; we are no receiver, and the player at the other end may know it.
//! - `AVC end of sequence` without its composition time: the body may end after the packet type.

use bytes::Bytes;
use thiserror::Error;

use super::codec::Codec;
use super::frame::FrameKind;
use super::read::{ByteReader, Short};

/// How many tracks one packet may hold. Track ids are one byte, so more can only be repetitions.
pub const MAX_PACKET_TRACKS: usize = 256;

/// How many bytes a packet with decoder configuration may have. The largest seen in practice (H.265 with several
/// parameter sets and SEI) have a few kilobytes; each is kept for as long as the stream lives, and is sent to each joining
/// player, so a publisher must not choose its size freely.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Bit 7 of a video body's first byte: the other bits are an ExVideoTagHeader (E-RTMP v2, Enhanced Video).
const VIDEO_EX_HEADER: u8 = 0x80;
/// SoundFormat 9: the low four bits are an AudioPacketType (E-RTMP v2, Enhanced Audio).
const SOUND_FORMAT_EX_HEADER: u8 = 9;
/// FLV 10.1 §E.4.3.1. Frame type 4, "generated key frame", is reserved for servers and is not taken for a place to
/// start: players do not start there either.
const FRAME_TYPE_KEY: u8 = 1;
/// FLV 10.1 §E.4.3.1: a video info or command frame.
const FRAME_TYPE_COMMAND: u8 = 5;

/// Why a tag body cannot be read. Offsets are bytes from the start of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TagError {
    /// The peer broke the format: the body ends inside of something.
    #[error("tag body ends at offset {offset}, inside {reading}")]
    Truncated {
        /// What was being read.
        reading: &'static str,
        /// Where it begins.
        offset: usize,
    },
    /// The peer broke the format: a multitrack packet inside a multitrack packet (E-RTMP v2: the packet type fetched for
    /// the tracks "MUST not result in Multitrack").
    #[error("multitrack packet inside a multitrack packet at offset {offset}")]
    NestedMultitrack {
        /// Where the inner packet type stands.
        offset: usize,
    },
    /// The peer broke the format: the nanosecond offset of ModEx has fewer than its three bytes.
    #[error("ModEx at offset {offset}: a nanosecond offset of {size} bytes, where 3 are needed")]
    ShortTimestampOffset {
        /// Where the ModEx data begins.
        offset: usize,
        /// Bytes that it has.
        size: usize,
    },
    /// The peer broke the format, or a limit: more tracks in a packet than there are track ids.
    #[error("more than {max} tracks in a packet")]
    TooManyTracks {
        /// [`MAX_PACKET_TRACKS`].
        max: usize,
    },
    /// The peer wants more than we take: decoder configuration of an absurd size.
    #[error("sequence header of {size} bytes, where {max} are taken")]
    HeaderTooLarge {
        /// Bytes of the body.
        size: usize,
        /// [`MAX_HEADER_BYTES`].
        max: usize,
    },
    /// The peer wants what we lack: a reserved AvMultitrackType, so that the tracks cannot be told apart.
    #[error("unknown multitrack type {value} at offset {offset}")]
    UnknownMultitrackType {
        /// The four bits that were found.
        value: u8,
        /// Where they stand.
        offset: usize,
    },
}

impl From<Short> for TagError {
    fn from(Short { reading, offset }: Short) -> Self {
        TagError::Truncated { reading, offset }
    }
}

/// What a packet carries. One enum for audio and video, legacy and E-RTMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketType {
    /// The codec's configuration record.
    SequenceStart,
    /// Video: a configuration in the form of an MPEG-2 TS descriptor (only defined for AV1), instead of a record.
    Mpeg2TsSequenceStart,
    /// Coded pictures or sound. E-RTMP's `CodedFramesX` is this too, with a composition time of 0.
    CodedFrames,
    /// The sequence is over. It takes back nothing: what configured the track stays.
    SequenceEnd,
    /// Video: AMF-encoded metadata, such as `colorInfo` (HDR). See E-RTMP v2, Metadata Frame.
    Metadata,
    /// Audio: which speaker each channel belongs to.
    MultichannelConfig,
    /// Video: a command for the player: 0 and 1 are start and end of a client-side seek.
    Command(u8),
    /// An empty body: for audio E-RTMP's silence message.
    Empty,
    /// A packet type that this crate does not know.
    Other(u8),
}

impl PacketType {
    /// Whether a player that joins later needs it: see [`Frame::sequence_header`](super::Frame::sequence_header).
    pub fn is_header(self) -> bool {
        matches!(
            self,
            PacketType::SequenceStart
                | PacketType::Mpeg2TsSequenceStart
                | PacketType::Metadata
                | PacketType::MultichannelConfig
        )
    }

    /// Whether it says what a decoder of the codec needs to know.
    pub fn is_configuration(self) -> bool {
        matches!(
            self,
            PacketType::SequenceStart | PacketType::Mpeg2TsSequenceStart
        )
    }

    /// E-RTMP v2, `enum VideoPacketType`, without the two that are resolved before (Multitrack, ModEx).
    fn from_video(value: u8) -> PacketType {
        match value {
            0 => PacketType::SequenceStart,
            1 | 3 => PacketType::CodedFrames,
            2 => PacketType::SequenceEnd,
            4 => PacketType::Metadata,
            5 => PacketType::Mpeg2TsSequenceStart,
            other => PacketType::Other(other),
        }
    }

    /// E-RTMP v2, `enum AudioPacketType`, without the two that are resolved before (Multitrack, ModEx).
    fn from_audio(value: u8) -> PacketType {
        match value {
            0 => PacketType::SequenceStart,
            1 => PacketType::CodedFrames,
            2 => PacketType::SequenceEnd,
            4 => PacketType::MultichannelConfig,
            other => PacketType::Other(other),
        }
    }
}

/// One track of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// E-RTMP track id; 0 when the packet is not multitrack.
    pub track: u8,
    /// The codec.
    pub codec: Codec,
    /// What the data is.
    pub packet: PacketType,
    /// Video: coded frames from which a decoder can start. The flag is one for the whole packet.
    pub keyframe: bool,
    /// Presentation time minus decoding time, in milliseconds.
    pub composition_ms: i32,
    /// E-RTMP ModEx `TimestampOffsetNano`: nanoseconds to add to the presentation time, 0 when absent. The specification
    /// wants at most 999,999; a peer may state up to 24 bits.
    pub nano_offset: u32,
    /// The data for the decoder: headers, track framing and composition time are cut off. A slice of the body.
    pub data: Bytes,
}

/// Walks the tracks of a tag body; made by [`parts`].
#[derive(Debug, Clone)]
pub struct Parts {
    body: Bytes,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nothing was read yet.
    Start {
        video: bool,
    },
    /// The next track of a multitrack packet begins at `position`.
    Track {
        head: Head,
        multitrack: Multitrack,
        position: usize,
    },
    Done,
}

/// What is said once for all tracks of a packet.
#[derive(Debug, Clone, Copy)]
struct Head {
    video: bool,
    /// VideoPacketType or AudioPacketType as on the wire.
    packet: u8,
    key: bool,
    nano_offset: u32,
}

/// E-RTMP v2, `enum AvMultitrackType`, each with the codec where one holds for all tracks.
#[derive(Debug, Clone, Copy)]
enum Multitrack {
    One(Codec),
    Many(Codec),
    ManyCodecs,
}

/// The tracks of a tag body, in wire order. Script data has none.
pub fn parts(kind: FrameKind, body: &Bytes) -> Parts {
    let state = match kind {
        FrameKind::Video => State::Start { video: true },
        FrameKind::Audio => State::Start { video: false },
        FrameKind::Metadata | FrameKind::Data => State::Done,
    };
    Parts {
        body: body.clone(),
        state,
    }
}

impl Iterator for Parts {
    type Item = Result<Part, TagError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = match std::mem::replace(&mut self.state, State::Done) {
            State::Start { video: true } => self.video(),
            State::Start { video: false } => self.audio(),
            State::Track {
                head,
                multitrack,
                position,
            } => self.track(head, multitrack, position),
            State::Done => return None,
        };
        if result.is_err() {
            // What follows could be found by its size, but a walk that failed once is not to be trusted any more.
            self.state = State::Done;
        }
        Some(result)
    }
}

impl std::iter::FusedIterator for Parts {}

impl Parts {
    fn video(&mut self) -> Result<Part, TagError> {
        let body = self.body.clone();
        let mut reader = ByteReader::new(&body);
        let Ok(first) = reader.u8("VideoTagHeader") else {
            return Ok(self.empty());
        };
        let frame_type = first >> 4 & 0x07;
        let head = Head {
            video: true,
            packet: first & 0x0f,
            key: frame_type == FRAME_TYPE_KEY,
            nano_offset: 0,
        };
        if first & VIDEO_EX_HEADER != 0 {
            self.ex_header(&mut reader, head, frame_type == FRAME_TYPE_COMMAND)
        } else {
            self.legacy_video(&mut reader, head, frame_type)
        }
    }

    /// FLV 10.1 §E.4.3.1, VIDEODATA.
    fn legacy_video(
        &self,
        reader: &mut ByteReader<'_>,
        head: Head,
        frame_type: u8,
    ) -> Result<Part, TagError> {
        let codec = Codec::from_legacy_video(head.packet);
        if frame_type == FRAME_TYPE_COMMAND {
            let command = reader.u8("video command")?;
            return Ok(self.part(
                head,
                0,
                Codec::None,
                PacketType::Command(command),
                0,
                reader,
            ));
        }
        if !matches!(codec, Codec::H264 | Codec::Hevc) {
            return Ok(self.part(head, 0, codec, PacketType::CodedFrames, 0, reader));
        }
        // The composition time is defined to be 0 but for coded frames; what else stands there is ignored.
        let (packet, composition_ms) = match reader.u8("AVCPacketType")? {
            0 => {
                reader.i24("CompositionTime")?;
                (PacketType::SequenceStart, 0)
            }
            1 => (PacketType::CodedFrames, reader.i24("CompositionTime")?),
            2 => (PacketType::SequenceEnd, 0),
            other => (PacketType::Other(other), 0),
        };
        Ok(self.part(head, 0, codec, packet, composition_ms, reader))
    }

    fn audio(&mut self) -> Result<Part, TagError> {
        let body = self.body.clone();
        let mut reader = ByteReader::new(&body);
        let Ok(first) = reader.u8("AudioTagHeader") else {
            return Ok(self.empty());
        };
        let format = first >> 4;
        let head = Head {
            video: false,
            packet: first & 0x0f,
            key: false,
            nano_offset: 0,
        };
        if format == SOUND_FORMAT_EX_HEADER {
            return self.ex_header(&mut reader, head, false);
        }
        // FLV 10.1 §E.4.2.1, AUDIODATA: only AAC has a packet type.
        let codec = Codec::from_legacy_audio(format);
        let packet = if codec == Codec::Aac {
            match reader.u8("AACPacketType")? {
                0 => PacketType::SequenceStart,
                1 => PacketType::CodedFrames,
                other => PacketType::Other(other),
            }
        } else {
            PacketType::CodedFrames
        };
        Ok(self.part(head, 0, codec, packet, 0, &reader))
    }

    /// E-RTMP v2, ExVideoTagHeader and ExAudioTagHeader, which differ in two numbers and in the command frame.
    fn ex_header(
        &mut self,
        reader: &mut ByteReader<'_>,
        mut head: Head,
        command: bool,
    ) -> Result<Part, TagError> {
        const MOD_EX: u8 = 7;
        const VIDEO_METADATA: u8 = 4;
        let multitrack_packet = if head.video { 6 } else { 5 };
        // Each turn consumes at least three bytes, so the length of the body bounds the loop.
        while head.packet == MOD_EX {
            (head.packet, head.nano_offset) = mod_ex(reader, head.nano_offset)?;
        }
        // "frameType is ignored if videoPacketType is VideoPacketType.MetaData".
        if command && head.packet != VIDEO_METADATA {
            let command = reader.u8("video command")?;
            return Ok(self.part(
                head,
                0,
                Codec::None,
                PacketType::Command(command),
                0,
                reader,
            ));
        }
        if head.packet != multitrack_packet {
            let codec = four_cc(reader, head.video)?;
            return self.body(head, 0, codec, reader);
        }

        let offset = reader.position();
        let kinds = reader.u8("multitrack type")?;
        head.packet = kinds & 0x0f;
        if head.packet == multitrack_packet {
            return Err(TagError::NestedMultitrack { offset });
        }
        let multitrack = match kinds >> 4 {
            0 => Multitrack::One(four_cc(reader, head.video)?),
            1 => Multitrack::Many(four_cc(reader, head.video)?),
            2 => Multitrack::ManyCodecs,
            value => return Err(TagError::UnknownMultitrackType { value, offset }),
        };
        self.track(head, multitrack, reader.position())
    }

    /// One turn of the loop in E-RTMP v2's ExVideoTagBody and ExAudioTagBody.
    fn track(
        &mut self,
        head: Head,
        multitrack: Multitrack,
        position: usize,
    ) -> Result<Part, TagError> {
        let body = self.body.clone();
        let mut reader = ByteReader::at(&body, position);
        let codec = match multitrack {
            Multitrack::One(codec) | Multitrack::Many(codec) => codec,
            Multitrack::ManyCodecs => four_cc(&mut reader, head.video)?,
        };
        let track = reader.u8("track id")?;
        if let Multitrack::One(_) = multitrack {
            return self.body(head, track, codec, &mut reader);
        }
        let size = reader.u24("size of track")? as usize;
        let begin = reader.position();
        reader.take(size, "track data")?;
        let end = reader.position();
        if !reader.is_empty() {
            self.state = State::Track {
                head,
                multitrack,
                position: end,
            };
        }
        // The track must not read on into its neighbour, so it gets a reader that ends where it ends.
        let data = body.get(..end).unwrap_or_default();
        self.body(head, track, codec, &mut ByteReader::at(data, begin))
    }

    /// The rest of a track after FourCC and framing.
    fn body(
        &self,
        head: Head,
        track: u8,
        codec: Codec,
        reader: &mut ByteReader<'_>,
    ) -> Result<Part, TagError> {
        const VIDEO_CODED_FRAMES: u8 = 1;
        let packet = if head.video {
            PacketType::from_video(head.packet)
        } else {
            PacketType::from_audio(head.packet)
        };
        // E-RTMP v2, ExVideoTagBody: these three codecs have a composition time, but not with CodedFramesX.
        let has_composition = head.video
            && head.packet == VIDEO_CODED_FRAMES
            && matches!(codec, Codec::H264 | Codec::Hevc | Codec::Vvc);
        let composition_ms = if has_composition {
            reader.i24("compositionTimeOffset")?
        } else {
            0
        };
        let part = self.part(head, track, codec, packet, composition_ms, reader);
        if packet == PacketType::MultichannelConfig {
            check_multichannel(reader)?;
        }
        Ok(part)
    }

    fn part(
        &self,
        head: Head,
        track: u8,
        codec: Codec,
        packet: PacketType,
        composition_ms: i32,
        reader: &ByteReader<'_>,
    ) -> Part {
        let begin = reader.position();
        let end = begin + reader.rest().len();
        Part {
            track,
            codec,
            packet,
            keyframe: head.key && packet == PacketType::CodedFrames,
            composition_ms,
            nano_offset: head.nano_offset,
            // `rest` never reaches past the body, so neither does the slice.
            data: self.body.slice(begin..end),
        }
    }

    fn empty(&self) -> Part {
        Part {
            track: 0,
            codec: Codec::None,
            packet: PacketType::Empty,
            keyframe: false,
            composition_ms: 0,
            nano_offset: 0,
            data: Bytes::new(),
        }
    }
}

fn four_cc(reader: &mut ByteReader<'_>, video: bool) -> Result<Codec, TagError> {
    let four_cc = reader.four_cc("FourCC")?;
    Ok(if video {
        Codec::from_video_four_cc(four_cc)
    } else {
        Codec::from_audio_four_cc(four_cc)
    })
}

/// One ModEx of E-RTMP v2's ex headers: size, data, then four bits of its type and four of the packet type that follows.
fn mod_ex(reader: &mut ByteReader<'_>, nano_offset: u32) -> Result<(u8, u32), TagError> {
    const TIMESTAMP_OFFSET_NANO: u8 = 0;
    let mut size = usize::from(reader.u8("ModEx size")?) + 1;
    if size == 256 {
        size = usize::from(reader.u16("ModEx size")?) + 1;
    }
    let offset = reader.position();
    let mut data = ByteReader::new(reader.take(size, "ModEx data")?);
    let kinds = reader.u8("ModEx type")?;
    let nano_offset = if kinds >> 4 == TIMESTAMP_OFFSET_NANO {
        data.u24("nanosecond offset")
            .map_err(|_| TagError::ShortTimestampOffset { offset, size })?
    } else {
        nano_offset
    };
    Ok((kinds & 0x0f, nano_offset))
}

/// E-RTMP v2, ExAudioTagBody, MultichannelConfig: the list or the mask must be whole. What they say is read by
/// [`codec`](super::codec).
fn check_multichannel(reader: &mut ByteReader<'_>) -> Result<(), TagError> {
    const NATIVE: u8 = 1;
    const CUSTOM: u8 = 2;
    let order = reader.u8("audioChannelOrder")?;
    let count = reader.u8("channelCount")?;
    match order {
        NATIVE => drop(reader.u32("audioChannelFlags")?),
        CUSTOM => drop(reader.take(count.into(), "audioChannelMapping")?),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
