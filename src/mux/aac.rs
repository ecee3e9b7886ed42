//! HTTP-AAC: ADTS without end.
//!
//! - *Passes through*: the raw data blocks of one AAC track: the one with the lowest id, when a stream has several.
//! - *Is added*: an ADTS header before each (ISO/IEC 14496-3 §1.A.3.2), made from the AudioSpecificConfig. HE-AAC is signalled
//!   implicitly: the header states the core's object type and sampling rate, and a decoder finds the rest in the frames. Where
//!   the config has the channels in a program config element, that element is repeated in each frame, so that a
//!   player can start anywhere.
//! - *Is dropped*: all else; frames before their config; what ADTS has no place for: object types after 4 (xHE-AAC, ELD),
//!   channel configurations after 7, frames of 960 samples, frames of more than 8,191 bytes.
//!
//! Each frame stands for itself, so players start anywhere, and [`Muxer::start`] and [`Muxer::headers`] write nothing.

use bytes::{BufMut, BytesMut};
use thiserror::Error;

use super::Muxer;
use super::support::{self, Unsupported};
use crate::media::read::{BitReader, Short};
use crate::media::{Codec, Frame, FrameKind, PacketType, Part, Tracks};

/// Bytes of an ADTS header without CRC.
pub(super) const ADTS_HEADER: usize = 7;

/// aac_frame_length has 13 bits, and counts the header.
const MAX_ADTS_FRAME: usize = 0x1fff;

/// Object types of ISO/IEC 14496-3 table 1.17.
const AAC_MAIN: u32 = 1;
const AAC_LTP: u32 = 4;
const SBR: u32 = 5;
const PS: u32 = 29;

/// ISO/IEC 14496-3 table 1.18, by samplingFrequencyIndex.
const SAMPLE_RATES_HZ: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// Why an AudioSpecificConfig cannot be put into ADTS headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AdtsError {
    /// The publisher broke the format: the config ends too early.
    #[error("the configuration ends at byte {offset}, inside {reading}")]
    Truncated {
        /// What was being read.
        reading: &'static str,
        /// Where it begins, in bytes.
        offset: usize,
    },
    /// ADTS has two bits for the object type: Main, LC, SSR and LTP.
    #[error("object type {0}")]
    ObjectType(u32),
    /// ADTS names a sampling rate by its place in a table.
    #[error("a sampling rate that is in no table")]
    SampleRate,
    /// ADTS has three bits for the channel configuration.
    #[error("channel configuration {0}")]
    Channels(u32),
    /// ADTS frames have 1,024 samples.
    #[error("frames of 960 samples")]
    FrameLength,
    /// ADTS has no place for a core coder or for scalable layers.
    #[error("a scalable configuration")]
    Scalable,
}

impl From<Short> for AdtsError {
    fn from(Short { reading, offset }: Short) -> Self {
        AdtsError::Truncated { reading, offset }
    }
}

/// What stands in each ADTS header of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Adts {
    profile: u8,
    rate_index: u8,
    channels: u8,
    /// ID_PCE and a program config element, when `channels` is 0: goes before each raw data block. Whole bytes.
    program_config: Vec<u8>,
}

impl Adts {
    /// Reads an AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1).
    pub(super) fn from_config(config: &[u8]) -> Result<Adts, AdtsError> {
        let mut bits = BitReader::new(config);
        let mut object_type = object_type(&mut bits)?;
        let rate_index = rate_index(&mut bits)?;
        let channels = bits.bits(4, "channelConfiguration")?;
        if object_type == SBR || object_type == PS {
            // Explicit signalling: what ADTS states is the core, whose rate came first and whose type comes now.
            self::rate_index(&mut bits)?;
            object_type = self::object_type(&mut bits)?;
        }
        if !(AAC_MAIN..=AAC_LTP).contains(&object_type) {
            return Err(AdtsError::ObjectType(object_type));
        }
        if channels > 7 {
            return Err(AdtsError::Channels(channels));
        }
        let rate_index = rate_index.ok_or(AdtsError::SampleRate)?;
        // GASpecificConfig, §4.4.1. Some encoders cut it off; it says nothing then that ADTS could not state.
        if bits.left() >= 3 {
            if bits.bit("frameLengthFlag")? {
                return Err(AdtsError::FrameLength);
            }
            if bits.bit("dependsOnCoreCoder")? || bits.bit("extensionFlag")? {
                return Err(AdtsError::Scalable);
            }
        }
        let program_config = if channels == 0 {
            program_config(&mut bits)?
        } else {
            Vec::new()
        };
        Ok(Adts {
            profile: (object_type - 1) as u8,
            rate_index,
            channels: channels as u8,
            program_config,
        })
    }

    /// What goes before a raw data block of `size` bytes: the header, and then [`Adts::program_config`]. None when the
    /// frame is too large or empty.
    pub(super) fn header(&self, size: usize) -> Option<[u8; ADTS_HEADER]> {
        let whole = self.frame_size(size)?;
        // ISO/IEC 14496-3 §1.A.3.2.1, §1.A.3.2.2: syncword, ID 0 (MPEG-4), layer 0, no CRC; profile, rate, channels;
        // frame length; buffer fullness 0x7ff (variable bit rate); one raw data block.
        Some([
            0xff,
            0xf1,
            self.profile << 6 | self.rate_index << 2 | self.channels >> 2,
            (self.channels & 3) << 6 | (whole >> 11) as u8,
            (whole >> 3) as u8,
            (whole << 5) as u8 | 0x1f,
            0xfc,
        ])
    }

    /// Bytes of the ADTS frame around a raw data block. None when it is too large or empty.
    pub(super) fn frame_size(&self, size: usize) -> Option<usize> {
        let whole = ADTS_HEADER + self.program_config.len() + size;
        (size > 0 && whole <= MAX_ADTS_FRAME).then_some(whole)
    }

    pub(super) fn program_config(&self) -> &[u8] {
        &self.program_config
    }
}

/// §1.6.2.1, GetAudioObjectType: 31 escapes to six more bits.
fn object_type(bits: &mut BitReader<'_>) -> Result<u32, AdtsError> {
    match bits.bits(5, "audioObjectType")? {
        31 => Ok(32 + bits.bits(6, "audioObjectTypeExt")?),
        short => Ok(short),
    }
}

/// None for a rate that is in no table. A table rate that is spelt out is as good as its index.
fn rate_index(bits: &mut BitReader<'_>) -> Result<Option<u8>, AdtsError> {
    let index = match bits.bits(4, "samplingFrequencyIndex")? {
        15 => {
            let rate = bits.bits(24, "samplingFrequency")?;
            SAMPLE_RATES_HZ.iter().position(|known| *known == rate)
        }
        index => Some(index as usize).filter(|index| *index < SAMPLE_RATES_HZ.len()),
    };
    Ok(index.map(|index| index as u8))
}

/// Copies a program_config_element (§4.4.1.1) behind the ID_PCE that announces it in a raw data block (§4.4.2.1, table
/// 4.85). It ends at a byte boundary here as there, but what lies before the alignment is shifted.
fn program_config(bits: &mut BitReader<'_>) -> Result<Vec<u8>, AdtsError> {
    const ID_PCE: u32 = 5;
    let mut copy = Copy::default();
    copy.put(ID_PCE, 3);
    let mut field = |bits: &mut BitReader<'_>, count: u32, reading| -> Result<u32, AdtsError> {
        let value = bits.bits(count, reading)?;
        copy.put(value, count);
        Ok(value)
    };
    field(bits, 10, "element_instance_tag to sampling_frequency_index")?;
    let front = field(bits, 4, "num_front_channel_elements")?;
    let side = field(bits, 4, "num_side_channel_elements")?;
    let back = field(bits, 4, "num_back_channel_elements")?;
    let lfe = field(bits, 2, "num_lfe_channel_elements")?;
    let assoc = field(bits, 3, "num_assoc_data_elements")?;
    let coupling = field(bits, 4, "num_valid_cc_elements")?;
    if field(bits, 1, "mono_mixdown_present")? == 1 {
        field(bits, 4, "mono_mixdown_element_number")?;
    }
    if field(bits, 1, "stereo_mixdown_present")? == 1 {
        field(bits, 4, "stereo_mixdown_element_number")?;
    }
    if field(bits, 1, "matrix_mixdown_idx_present")? == 1 {
        field(bits, 3, "matrix_mixdown_idx")?;
    }
    for _ in 0..front + side + back + coupling {
        field(bits, 5, "channel and coupling elements")?;
    }
    for _ in 0..lfe + assoc {
        field(bits, 4, "LFE and data elements")?;
    }
    bits.align();
    copy.align();
    let comment = bits.bits(8, "comment_field_bytes")?;
    copy.put(comment, 8);
    for _ in 0..comment {
        copy.put(bits.bits(8, "comment_field_data")?, 8);
    }
    Ok(copy.bytes)
}

/// Bits that become bytes.
#[derive(Default)]
struct Copy {
    bytes: Vec<u8>,
    /// How many bits of the last byte are in use; 0: all of them.
    used: usize,
}

impl Copy {
    fn put(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> bit & 1) as u8) << (7 - self.used);
            }
            self.used = (self.used + 1) % 8;
        }
    }

    fn align(&mut self) {
        self.used = 0;
    }
}

/// Makes ADTS. See the [module](self).
#[derive(Debug, Clone, Default)]
pub struct AacMux {
    /// The track that is given, and what its headers say; without headers while its config is one that ADTS cannot state.
    track: Option<(u8, Option<Adts>)>,
    dropped: u64,
}

impl AacMux {
    /// With the configs that are known already: frames come without them when a log begins in mid-stream.
    pub fn new(tracks: &Tracks) -> Self {
        let mut mux = Self::default();
        for header in tracks.headers() {
            mux.write(header, &mut BytesMut::new());
        }
        mux
    }

    /// Whether this stream can be given as ADTS, as far as is known.
    ///
    /// # Errors
    /// [`Unsupported`] says why not.
    pub fn supports(tracks: &Tracks) -> Result<(), Unsupported> {
        const FORMAT: &str = "ADTS";
        if support::lacks_audio(tracks) {
            return Err(Unsupported::Missing { kind: "audio" });
        }
        let known = support::known(tracks, FrameKind::Audio);
        let mut reason = None;
        for (codec, config) in known {
            let unsupported = if codec != Codec::Aac {
                Unsupported::Codec {
                    kind: "audio",
                    codec,
                    format: FORMAT,
                }
            } else if let (false, Err(reason)) = (config.is_empty(), Adts::from_config(&config)) {
                Unsupported::Aac {
                    format: FORMAT,
                    reason,
                }
            } else {
                return Ok(());
            };
            reason.get_or_insert(unsupported);
        }
        reason.map_or(Ok(()), Err)
    }

    /// Coded audio frames of which nothing was written, other tracks included.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn configure(&mut self, part: &Part) {
        let ours = self
            .track
            .as_ref()
            .is_none_or(|(track, _)| part.track <= *track);
        // FFmpeg begins with an empty config when it has none yet.
        if ours && part.codec == Codec::Aac && !part.data.is_empty() {
            self.track = Some((part.track, Adts::from_config(&part.data).ok()));
        }
    }

    fn frame(&mut self, part: &Part, out: &mut BytesMut) -> Option<()> {
        let (track, adts) = self.track.as_ref()?;
        let adts = adts
            .as_ref()
            .filter(|_| part.codec == Codec::Aac && part.track == *track)?;
        let header = adts.header(part.data.len())?;
        out.reserve(header.len() + adts.program_config().len() + part.data.len());
        out.put_slice(&header);
        out.put_slice(adts.program_config());
        out.put_slice(&part.data);
        Some(())
    }
}

impl Muxer for AacMux {
    fn write(&mut self, frame: &Frame, out: &mut BytesMut) {
        if frame.kind != FrameKind::Audio {
            return;
        }
        for part in frame.parts().map_while(Result::ok) {
            match part.packet {
                PacketType::SequenceStart => self.configure(&part),
                PacketType::CodedFrames if self.frame(&part, out).is_none() => self.dropped += 1,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
