//! What each codec is called in a program map, and how its frames stand in PES packets.

use bytes::BufMut;

use super::av1::{self, Av1Config};
use super::nal::{self, NalConfig};
use super::packet::PesWriter;
use crate::media::Codec;
use crate::mux::aac::Adts;
use crate::mux::mp3;

/// ISO/IEC 13818-1 table 2-34, and ATSC A/52 Annexes A and G for the last two.
const MPEG1_AUDIO: u8 = 0x03;
const MPEG2_AUDIO: u8 = 0x04;
const PRIVATE_DATA: u8 = 0x06;
const ADTS_AAC: u8 = 0x0f;
const H264: u8 = 0x1b;
const H265: u8 = 0x24;
const ATSC_AC3: u8 = 0x81;
const ATSC_EAC3: u8 = 0x87;

/// ISO/IEC 13818-1 table 2-22.
const AUDIO_STREAM: u8 = 0xc0;
const VIDEO_STREAM: u8 = 0xe0;
const PRIVATE_STREAM_1: u8 = 0xbd;

/// ISO/IEC 13818-1 §2.6.8.
const REGISTRATION_DESCRIPTOR: u8 = 0x05;
/// ATSC A/52 §A4.3.
const AC3_AUDIO_DESCRIPTOR: u8 = 0x81;
/// ETSI EN 300 468 §6.2.18.1, for Opus with this extension tag.
const EXTENSION_DESCRIPTOR: u8 = 0x7f;
const OPUS_EXTENSION: u8 = 0x80;

/// How many channels an Opus stream has of which nothing is said. Any Opus decoder makes stereo of any stream of family 0.
const OPUS_CHANNELS: u8 = 2;

/// The codec of a track, with what its frames need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    Nal(Codec, NalConfig),
    Av1(Av1Config),
    Aac(Adts),
    Mp3(mp3::Version),
    Opus { channels: u8 },
    Ac3(Ac3Facts),
    Eac3,
}

/// The fields of an AC-3 frame that its descriptor repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ac3Facts {
    rate_code: u8,
    bit_rate_code: u8,
    bsid: u8,
    bsmod: u8,
    acmod: u8,
    surround: u8,
}

/// How a frame is going to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Bytes of the elementary stream.
    pub(super) size: usize,
    /// Video: a player may start here.
    pub(super) random_access: bool,
    layout: Layout,
}

#[derive(Debug, Clone, Copy)]
enum Layout {
    /// As it came, but for what may stand before it.
    Whole,
    Nal(nal::Layout),
    Av1(av1::Layout),
}

/// Whether a transport stream has a place for a codec.
pub(super) fn is_known(codec: Codec) -> bool {
    matches!(
        codec,
        Codec::H264
            | Codec::Hevc
            | Codec::Av1
            | Codec::Aac
            | Codec::Mp3
            | Codec::Opus
            | Codec::Ac3
            | Codec::Eac3
    )
}

impl Format {
    /// By a sequence header. None for a codec that has no place here, a record that says too little, and for
    /// codecs whose frames say what they are.
    pub(super) fn from_header(codec: Codec, record: &[u8]) -> Option<Format> {
        match codec {
            Codec::H264 | Codec::Hevc => {
                NalConfig::from_record(codec, record).map(|config| Format::Nal(codec, config))
            }
            Codec::Av1 => Av1Config::from_record(record).map(Format::Av1),
            Codec::Aac => Adts::from_config(record).ok().map(Format::Aac),
            Codec::Opus => opus_channels(record).map(|channels| Format::Opus { channels }),
            _ => None,
        }
    }

    /// By a sequence header in the form of a descriptor, which only AV1 has.
    pub(super) fn from_descriptor(codec: Codec, descriptor: &[u8]) -> Option<Format> {
        match codec {
            Codec::Av1 => Av1Config::from_descriptor(descriptor).map(Format::Av1),
            _ => None,
        }
    }

    /// By a coded frame, for codecs that need no sequence header.
    pub(super) fn from_frame(codec: Codec, frame: &[u8]) -> Option<Format> {
        match codec {
            Codec::Mp3 => mp3::version(frame).map(Format::Mp3),
            Codec::Opus => Some(Format::Opus {
                channels: OPUS_CHANNELS,
            }),
            Codec::Ac3 => Ac3Facts::from_frame(frame).map(Format::Ac3),
            Codec::Eac3 => has_ac3_sync(frame).then_some(Format::Eac3),
            _ => None,
        }
    }

    /// Whether a coded frame belongs to it. MP3 may change between versions, which have different stream types.
    pub(super) fn takes(&self, codec: Codec, frame: &[u8]) -> bool {
        match self {
            Format::Nal(own, _) => *own == codec,
            Format::Av1(_) => codec == Codec::Av1,
            Format::Aac(_) => codec == Codec::Aac,
            Format::Mp3(version) => codec == Codec::Mp3 && mp3::version(frame) == Some(*version),
            Format::Opus { .. } => codec == Codec::Opus,
            Format::Ac3(_) => codec == Codec::Ac3 && has_ac3_sync(frame),
            Format::Eac3 => codec == Codec::Eac3 && has_ac3_sync(frame),
        }
    }

    /// stream_type of the program map.
    pub(super) fn stream_type(&self) -> u8 {
        match self {
            Format::Nal(Codec::Hevc, _) => H265,
            Format::Nal(..) => H264,
            Format::Aac(_) => ADTS_AAC,
            Format::Mp3(mp3::Version::Mpeg1) => MPEG1_AUDIO,
            Format::Mp3(mp3::Version::Lower) => MPEG2_AUDIO,
            Format::Av1(_) | Format::Opus { .. } => PRIVATE_DATA,
            Format::Ac3(_) => ATSC_AC3,
            Format::Eac3 => ATSC_EAC3,
        }
    }

    /// Descriptors of the program map.
    pub(super) fn descriptors(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let identifier: Option<&[u8; 4]> = match self {
            Format::Nal(Codec::Hevc, _) => Some(b"HEVC"),
            Format::Nal(..) | Format::Aac(_) | Format::Mp3(_) => None,
            Format::Av1(_) => Some(b"AV01"),
            Format::Opus { .. } => Some(b"Opus"),
            Format::Ac3(_) => Some(b"AC-3"),
            Format::Eac3 => Some(b"EAC3"),
        };
        if let Some(identifier) = identifier {
            out.put_slice(&[REGISTRATION_DESCRIPTOR, 4]);
            out.put_slice(identifier);
        }
        match self {
            Format::Av1(config) => out.put_slice(&config.descriptor()),
            // "Encapsulation of Opus in MPEG-TS" draft, opus_audio_descriptor: channel_config_code.
            Format::Opus { channels } => {
                out.put_slice(&[EXTENSION_DESCRIPTOR, 2, OPUS_EXTENSION, *channels]);
            }
            Format::Ac3(facts) => facts.write_descriptor(&mut out),
            _ => {}
        }
        out
    }

    /// stream_id of PES packets. Where there are several tracks of a kind it counts them.
    pub(super) fn stream_id(&self, track: u8) -> u8 {
        match self {
            Format::Nal(..) => VIDEO_STREAM | track & 0x0f,
            Format::Aac(_) | Format::Mp3(_) => AUDIO_STREAM | track & 0x1f,
            Format::Av1(_) | Format::Opus { .. } | Format::Ac3(_) | Format::Eac3 => {
                PRIVATE_STREAM_1
            }
        }
    }

    /// Looks at a frame. None when it is empty, broken or larger than the codec's framing can state.
    pub(super) fn plan(&self, frame: &[u8], keyframe: bool) -> Option<Plan> {
        let whole = |size| Plan {
            size,
            random_access: false,
            layout: Layout::Whole,
        };
        if frame.is_empty() {
            return None;
        }
        Some(match self {
            Format::Nal(_, config) => {
                let layout = config.layout(frame, keyframe)?;
                Plan {
                    size: layout.size,
                    random_access: layout.random_access,
                    layout: Layout::Nal(layout),
                }
            }
            Format::Av1(config) => {
                let layout = config.layout(frame, keyframe)?;
                Plan {
                    size: layout.size,
                    random_access: keyframe,
                    layout: Layout::Av1(layout),
                }
            }
            Format::Aac(adts) => whole(adts.frame_size(frame.len())?),
            Format::Opus { .. } => whole(OPUS_HEAD + frame.len() / 255 + 1 + frame.len()),
            _ => whole(frame.len()),
        })
    }

    /// Writes the frame that `plan` was made of.
    pub(super) fn write(&self, frame: &[u8], plan: Plan, pes: &mut PesWriter<'_>) {
        match (self, plan.layout) {
            (Format::Nal(_, config), Layout::Nal(layout)) => config.write(frame, layout, pes),
            (Format::Av1(config), Layout::Av1(layout)) => config.write(frame, layout, pes),
            (Format::Aac(adts), _) => {
                if let Some(header) = adts.header(frame.len()) {
                    pes.put(&header);
                    pes.put(adts.program_config());
                    pes.put(frame);
                }
            }
            (Format::Opus { .. }, _) => {
                write_opus_head(frame.len(), pes);
                pes.put(frame);
            }
            _ => pes.put(frame),
        }
    }

    /// Whether the packet in which a player may start has elementary_stream_priority_indicator: demanded for AV1 ("Use of PES packets").
    pub(super) fn has_priority(&self) -> bool {
        matches!(self, Format::Av1(_))
    }
}

/// Bytes of opus_control_header before the size.
const OPUS_HEAD: usize = 2;

/// "Encapsulation of Opus in MPEG-TS" draft, opus_control_header: eleven bits 0x3ff, no trimming, no extension; then the
/// size of the packet as a sum of bytes, of which the first that is not 255 is the last.
fn write_opus_head(size: usize, pes: &mut PesWriter<'_>) {
    pes.put(&[0x7f, 0xe0]);
    for _ in 0..size / 255 {
        pes.put(&[255]);
    }
    pes.put(&[(size % 255) as u8]);
}

/// What channel_config_code says of an OpusHead (RFC 7845 §5.1); it may be empty (E-RTMP v2, ExAudioTagBody). The codes 1 to
/// 8 mean RFC 7845's channel mapping families 0 and 1, with as many coupled streams as there can be. Other mappings have no
/// code that players know.
fn opus_channels(head: &[u8]) -> Option<u8> {
    /// Streams, coupled streams, and where each channel is found, for one to eight channels.
    const MAPPINGS: [&[u8]; 8] = [
        &[1, 0, 0],
        &[1, 1, 0, 1],
        &[2, 1, 0, 2, 1],
        &[2, 2, 0, 1, 2, 3],
        &[3, 2, 0, 4, 1, 2, 3],
        &[4, 2, 0, 4, 1, 2, 3, 5],
        &[4, 3, 0, 4, 1, 2, 3, 5, 6],
        &[5, 3, 0, 6, 1, 2, 3, 4, 5, 7],
    ];
    const FAMILY: usize = 18;
    if head.is_empty() {
        return Some(OPUS_CHANNELS);
    }
    let channels = *head.strip_prefix(b"OpusHead")?.get(1)?;
    match head.get(FAMILY)? {
        0 => (1..=2).contains(&channels).then_some(channels),
        1 => {
            let mapping = MAPPINGS.get(usize::from(channels).checked_sub(1)?)?;
            head.get(FAMILY + 1..)?
                .starts_with(mapping)
                .then_some(channels)
        }
        _ => None,
    }
}

/// ETSI TS 102 366 §4.4.1.1.
fn has_ac3_sync(frame: &[u8]) -> bool {
    frame.starts_with(&[0x0b, 0x77])
}

impl Ac3Facts {
    /// ETSI TS 102 366 §4.3.1, §4.3.2. None when it is no AC-3 frame.
    fn from_frame(frame: &[u8]) -> Option<Self> {
        /// Above are E-AC-3 and what nobody has defined.
        const MAX_BSID: u8 = 10;
        let &[0x0b, 0x77, _, _, rates, kind, mode, ..] = frame else {
            return None;
        };
        let facts = Self {
            rate_code: rates >> 6,
            bit_rate_code: (rates & 0x3f) >> 1,
            bsid: kind >> 3,
            bsmod: kind & 7,
            acmod: mode >> 5,
            // dsurmod, which follows acmod at once in stereo, and is nowhere else.
            surround: if mode >> 5 == 2 { mode >> 3 & 3 } else { 0 },
        };
        (facts.rate_code < 3 && facts.bit_rate_code < 19 && facts.bsid <= MAX_BSID).then_some(facts)
    }

    /// ATSC A/52 table A4.1.
    fn write_descriptor(self, out: &mut Vec<u8>) {
        const FULL_SERVICE: u8 = 1;
        const NO_LANGUAGE: u8 = 0xff;
        let dual_mono = self.acmod == 0;
        let mut body = vec![
            self.rate_code << 5 | self.bsid,
            self.bit_rate_code << 2 | self.surround,
            self.bsmod << 5 | self.acmod << 1 | FULL_SERVICE,
            NO_LANGUAGE,
        ];
        if dual_mono {
            body.push(NO_LANGUAGE);
        }
        // mainid 0, priority "primary", reserved; or for an associated service no main one that it belongs to.
        body.push(if self.bsmod < 2 { 0x0f } else { 0x00 });
        body.push(0x01); // textlen 0, text_code
        body.push(0x3f); // no languages, reserved
        out.put_slice(&[AC3_AUDIO_DESCRIPTOR, body.len() as u8]);
        out.put_slice(&body);
    }
}
