//! Opus and FLAC: the identification headers of Xiph's codecs.

use super::{Codec, CodecError, CodecInfo};
use crate::media::read::{BitReader, ByteReader};

/// What comes out of every Opus decoder (RFC 6716 §2): the rate in the header is only that of the original.
const OPUS_RATE_HZ: u32 = 48_000;

/// RFC 7845 §5.1. The header may be empty (E-RTMP v2, ExAudioTagBody): channels are then as in MultichannelConfig, or what
/// each packet says.
pub(super) fn read_opus_head(head: &[u8]) -> Result<CodecInfo, CodecError> {
    let mut info = CodecInfo {
        sample_rate_hz: Some(OPUS_RATE_HZ),
        ..CodecInfo::new(Codec::Opus)
    };
    if head.is_empty() {
        return Ok(info);
    }
    let mut reader = ByteReader::new(head);
    if reader.take(8, "magic signature")? != b"OpusHead" {
        return Err(CodecError::Invalid {
            what: "no OpusHead",
            offset: 0,
        });
    }
    reader.u8("version")?;
    info.channels = Some(reader.u8("channel count")?);
    Ok(info)
}

/// E-RTMP v2, FlacSequenceHeader: the signature, then STREAMINFO as the first metadata block (RFC 9639 §8.1, §8.2). FFmpeg
/// sends the 34 bytes of STREAMINFO alone.
pub(super) fn read_flac_header(header: &[u8]) -> Result<CodecInfo, CodecError> {
    const STREAMINFO: u8 = 0;
    let mut reader = ByteReader::new(header);
    if header.starts_with(b"fLaC") {
        reader.take(4, "signature")?;
        if reader.u8("metadata block type")? & 0x7f != STREAMINFO {
            let what = "first metadata block is not STREAMINFO";
            return Err(CodecError::Invalid { what, offset: 4 });
        }
        reader.u24("metadata block length")?;
    }
    reader.take(10, "block and frame sizes")?;
    let mut bits = BitReader::new(reader.rest());
    let rate = bits.bits(20, "sample rate")?;
    let channels = bits.bits(3, "number of channels")? + 1;
    Ok(CodecInfo {
        sample_rate_hz: Some(rate),
        channels: Some(channels as u8),
        ..CodecInfo::new(Codec::Flac)
    })
}
