//! Which codec, and what its configuration record says about the picture or the sound.

use std::fmt;

mod aac;
mod ac3;
mod av1;
mod h264;
mod hevc;
mod info;
mod mp3;
mod vp;
mod xiph;

pub use info::{CodecError, CodecInfo};

/// The codec of a track, whichever of FLV's two ways of naming it the publisher used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// H.264 / AVC: legacy video id 7, FourCC `avc1`.
    H264,
    /// H.265 / HEVC: FourCC `hvc1`, and the unofficial legacy video id 12 of Chinese CDNs.
    Hevc,
    /// H.266 / VVC: FourCC `vvc1`.
    Vvc,
    /// AV1: FourCC `av01`.
    Av1,
    /// VP8: FourCC `vp08`.
    Vp8,
    /// VP9: FourCC `vp09`.
    Vp9,
    /// AAC: legacy sound format 10, FourCC `mp4a`.
    Aac,
    /// MP3: legacy sound formats 2 and 14, FourCC `.mp3`.
    Mp3,
    /// Opus: FourCC `Opus`.
    Opus,
    /// FLAC: FourCC `fLaC`.
    Flac,
    /// AC-3: FourCC `ac-3`.
    Ac3,
    /// Enhanced AC-3: FourCC `ec-3`.
    Eac3,
    /// A codec that this crate passes through without knowing it.
    Other(CodecId),
    /// No codec: script data, a command frame, an empty message.
    None,
}

/// How the wire names a codec that [`Codec`] has no name for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodecId {
    /// E-RTMP: four ASCII bytes.
    FourCc([u8; 4]),
    /// Legacy FLV: the CodecID of a VideoTagHeader, `0..=15`.
    Video(u8),
    /// Legacy FLV: the SoundFormat of an AudioTagHeader, `0..=15`.
    Audio(u8),
}

impl Codec {
    /// E-RTMP v2, Enhanced Video, `enum VideoFourCc`.
    pub fn from_video_four_cc(four_cc: [u8; 4]) -> Codec {
        match &four_cc {
            b"avc1" => Codec::H264,
            b"hvc1" => Codec::Hevc,
            b"vvc1" => Codec::Vvc,
            b"av01" => Codec::Av1,
            b"vp08" => Codec::Vp8,
            b"vp09" => Codec::Vp9,
            _ => Codec::Other(CodecId::FourCc(four_cc)),
        }
    }

    /// E-RTMP v2, Enhanced Audio, `enum AudioFourCc`.
    pub fn from_audio_four_cc(four_cc: [u8; 4]) -> Codec {
        match &four_cc {
            b"mp4a" => Codec::Aac,
            b".mp3" => Codec::Mp3,
            b"Opus" => Codec::Opus,
            b"fLaC" => Codec::Flac,
            b"ac-3" => Codec::Ac3,
            b"ec-3" => Codec::Eac3,
            _ => Codec::Other(CodecId::FourCc(four_cc)),
        }
    }

    /// FLV 10.1 §E.4.3.1, CodecID of a VideoTagHeader; only the low four bits count.
    pub fn from_legacy_video(id: u8) -> Codec {
        match id & 0x0f {
            7 => Codec::H264,
            // Not in the specification: what Chinese CDNs and their encoders agreed on before E-RTMP.
            12 => Codec::Hevc,
            id => Codec::Other(CodecId::Video(id)),
        }
    }

    /// FLV 10.1 §E.4.2.1, SoundFormat of an AudioTagHeader; only the low four bits count.
    pub fn from_legacy_audio(format: u8) -> Codec {
        match format & 0x0f {
            // 14 is MP3 at 8 kHz, a rate that the two bits of SoundRate cannot name.
            2 | 14 => Codec::Mp3,
            10 => Codec::Aac,
            format => Codec::Other(CodecId::Audio(format)),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codec::H264 => "H.264",
            Codec::Hevc => "H.265",
            Codec::Vvc => "H.266",
            Codec::Av1 => "AV1",
            Codec::Vp8 => "VP8",
            Codec::Vp9 => "VP9",
            Codec::Aac => "AAC",
            Codec::Mp3 => "MP3",
            Codec::Opus => "Opus",
            Codec::Flac => "FLAC",
            Codec::Ac3 => "AC-3",
            Codec::Eac3 => "E-AC-3",
            Codec::Other(id) => return id.fmt(f),
            Codec::None => "none",
        })
    }
}

impl fmt::Display for CodecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A peer chose these bytes and they end in a log line: nothing but plain ASCII goes out as it is.
            CodecId::FourCc(four_cc) => write!(f, "FourCC {}", four_cc.escape_ascii()),
            CodecId::Video(id) => f.write_str(match id {
                2 => "Sorenson H.263",
                3 => "Screen video",
                4 => "VP6",
                5 => "VP6 with alpha",
                6 => "Screen video 2",
                id => return write!(f, "video codec {id}"),
            }),
            CodecId::Audio(format) => f.write_str(match format {
                0 | 3 => "PCM",
                1 => "ADPCM",
                4..=6 => "Nellymoser",
                7 => "G.711 A-law",
                8 => "G.711 mu-law",
                11 => "Speex",
                format => return write!(f, "audio codec {format}"),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
