//! VP8 and VP9: VPCodecConfigurationRecord (VP Codec ISO Media File Format Binding), which knows no size, and the keyframe
//! headers, which do (RFC 6386 §9.1; VP9 Bitstream §6.2).

use std::borrow::Cow;

use super::{Codec, CodecError, CodecInfo};
use crate::media::read::{BitReader, ByteReader};

pub(super) fn read_record(codec: Codec, record: &[u8]) -> Result<CodecInfo, CodecError> {
    // The record is the content of an MP4 full box. FFmpeg sends the box's version and flags before it, all zero; others
    // with version 1. Neither can be mistaken: a record has no level 0 with a bit depth of 0.
    let record = match record {
        [0 | 1, 0, 0, 0, record @ ..] => record,
        record => record,
    };
    let mut reader = ByteReader::new(record);
    let profile = reader.u8("profile")?;
    let level = reader.u8("level")?;
    let name = |text: String| Some(Cow::from(text));
    let mut info = CodecInfo::new(codec);
    if codec == Codec::Vp9 {
        info.profile = name(format!("Profile {profile}"));
        info.level = if level == 0 {
            None
        } else {
            name(format!("{}.{}", level / 10, level % 10))
        };
    }
    Ok(info)
}

/// RFC 6386 §9.1: after three bytes of frame tag and a start code, 14 bits each of width and height.
pub(super) fn read_vp8_keyframe(frame: &[u8]) -> Result<CodecInfo, CodecError> {
    let mut reader = ByteReader::new(frame);
    let tag = reader.take(3, "frame tag")?;
    if tag.first().is_some_and(|first| first & 1 != 0) {
        return Err(CodecError::Invalid {
            what: "VP8 keyframe flag without a keyframe",
            offset: 0,
        });
    }
    if reader.take(3, "start code")? != [0x9d, 0x01, 0x2a] {
        return Err(CodecError::Invalid {
            what: "no VP8 start code",
            offset: 3,
        });
    }
    let mut size = || Ok::<_, CodecError>(u32::from(reader.u16("size")?.swap_bytes() & 0x3fff));
    let (width, height) = (size()?, size()?);
    Ok(CodecInfo {
        width: Some(width),
        height: Some(height),
        ..CodecInfo::new(Codec::Vp8)
    })
}

/// VP9 Bitstream §6.2, uncompressed_header up to frame_size.
pub(super) fn read_vp9_keyframe(frame: &[u8]) -> Result<CodecInfo, CodecError> {
    const CS_RGB: u32 = 7;
    let mut info = CodecInfo::new(Codec::Vp9);
    let mut bits = BitReader::new(frame);
    if bits.bits(2, "frame_marker")? != 2 {
        return Err(CodecError::Invalid {
            what: "no VP9 frame marker",
            offset: 0,
        });
    }
    let low = bits.bits(1, "profile_low_bit")?;
    let profile = bits.bits(1, "profile_high_bit")? << 1 | low;
    if profile == 3 {
        bits.skip(1, "reserved_zero")?;
    }
    info.profile = Some(format!("Profile {profile}").into());
    let show_existing = bits.bit("show_existing_frame")?;
    if show_existing || bits.bit("frame_type")? {
        return Ok(info);
    }
    bits.skip(2, "show_frame, error_resilient_mode")?;
    let offset = bits.offset();
    if bits.bits(24, "frame_sync_code")? != 0x49_83_42 {
        return Err(CodecError::Invalid {
            what: "no VP9 sync code",
            offset,
        });
    }
    // §6.2.2, color_config.
    if profile >= 2 {
        bits.skip(1, "ten_or_twelve_bit")?;
    }
    let has_subsampling = profile == 1 || profile == 3;
    if bits.bits(3, "color_space")? != CS_RGB {
        bits.skip(1, "color_range")?;
        if has_subsampling {
            bits.skip(3, "subsampling")?;
        }
    } else if has_subsampling {
        bits.skip(1, "reserved_zero")?;
    }
    info.width = Some(bits.bits(16, "frame_width_minus_1")? + 1);
    info.height = Some(bits.bits(16, "frame_height_minus_1")? + 1);
    Ok(info)
}
