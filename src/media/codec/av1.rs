//! AV1: AV1CodecConfigurationRecord (AV1 Codec ISO Media File Format Binding §2.3.3) and sequence header OBU (AV1 Bitstream
//! §5.5).

use std::borrow::Cow;

use super::{Codec, CodecError, CodecInfo};
use crate::media::read::{BitReader, ByteReader};

/// Profile and level from the record, the size from the sequence header in it, if there is one.
pub(super) fn read_record(record: &[u8]) -> Result<CodecInfo, CodecError> {
    const MARKER_AND_VERSION: u8 = 0x81;
    const SEQUENCE_HEADER: u8 = 1;
    let mut reader = ByteReader::new(record);
    if reader.u8("marker and version")? != MARKER_AND_VERSION {
        return Err(CodecError::Invalid {
            what: "not an AV1CodecConfigurationRecord",
            offset: 0,
        });
    }
    let profile_level = reader.u8("seq_profile, seq_level_idx_0")?;
    let tier_depth = reader.u8("seq_tier_0 and format")?;
    reader.u8("initial_presentation_delay")?;
    let mut info = CodecInfo {
        profile: Some(profile_name(profile_level >> 5)),
        level: Some(level_name(profile_level & 0x1f, tier_depth & 0x80 != 0)),
        ..CodecInfo::new(Codec::Av1)
    };
    // configOBUs, AV1 Bitstream §5.3.2: each turn consumes at least a byte.
    while !reader.is_empty() {
        let header = reader.u8("obu_header")?;
        let (extended, sized) = (header & 0x04 != 0, header & 0x02 != 0);
        if extended {
            reader.u8("obu_extension_header")?;
        }
        let size = if sized {
            leb128(&mut reader)?
        } else {
            reader.rest().len()
        };
        let obu = reader.take(size, "OBU")?;
        if header >> 3 & 0x0f == SEQUENCE_HEADER {
            let (width, height) = sequence_size(obu)?;
            info.width = Some(width);
            info.height = Some(height);
            break;
        }
    }
    Ok(info)
}

/// The same from an AV1 video descriptor ("Carriage of AV1 in MPEG-2 TS", AV1 video descriptor): tag and length before the record's first
/// four bytes, and no sequence header.
pub(super) fn read_descriptor(descriptor: &[u8]) -> Result<CodecInfo, CodecError> {
    const TAG_AND_LENGTH: [u8; 2] = [0x80, 4];
    match descriptor.strip_prefix(&TAG_AND_LENGTH) {
        Some(fields) if fields.len() == 4 => read_record(fields),
        _ => Err(CodecError::Invalid {
            what: "not an AV1 video descriptor",
            offset: 0,
        }),
    }
}

/// AV1 Bitstream §4.10.5.
fn leb128(reader: &mut ByteReader<'_>) -> Result<usize, CodecError> {
    let offset = reader.position();
    let mut value = 0u64;
    for shift in (0..56).step_by(7) {
        let byte = reader.u8("obu_size")?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(value).map_err(|_| CodecError::Invalid {
                what: "impossible obu_size",
                offset,
            });
        }
    }
    Err(CodecError::Invalid {
        what: "obu_size of more than eight bytes",
        offset,
    })
}

/// AV1 Bitstream §6.4.1.
fn profile_name(profile: u8) -> Cow<'static, str> {
    match profile {
        0 => "Main".into(),
        1 => "High".into(),
        2 => "Professional".into(),
        other => format!("profile {other}").into(),
    }
}

/// AV1 Bitstream §A.3: X.Y with `seq_level_idx = (X - 2) * 4 + Y`; 31 is "maximum parameters".
fn level_name(index: u8, high_tier: bool) -> Cow<'static, str> {
    if index == 31 {
        return "max".into();
    }
    let tier = if high_tier { " High tier" } else { "" };
    format!("{}.{}{tier}", 2 + index / 4, index % 4).into()
}

/// AV1 Bitstream §5.5.1, up to the size of the largest frame.
fn sequence_size(obu: &[u8]) -> Result<(u32, u32), CodecError> {
    let mut bits = BitReader::new(obu);
    bits.skip(3, "seq_profile")?;
    bits.skip(1, "still_picture")?;
    if bits.bit("reduced_still_picture_header")? {
        bits.skip(5, "seq_level_idx")?;
    } else {
        skip_operating_points(&mut bits)?;
    }
    let width_bits = bits.bits(4, "frame_width_bits_minus_1")? + 1;
    let height_bits = bits.bits(4, "frame_height_bits_minus_1")? + 1;
    let width = bits.bits(width_bits, "max_frame_width_minus_1")? + 1;
    let height = bits.bits(height_bits, "max_frame_height_minus_1")? + 1;
    Ok((width, height))
}

fn skip_operating_points(bits: &mut BitReader<'_>) -> Result<(), CodecError> {
    let mut delay_bits = None;
    if bits.bit("timing_info_present_flag")? {
        bits.skip(64, "timing_info")?;
        if bits.bit("equal_picture_interval")? {
            bits.ue("num_ticks_per_picture_minus_1")?;
        }
        if bits.bit("decoder_model_info_present_flag")? {
            delay_bits = Some(bits.bits(5, "buffer_delay_length_minus_1")? as usize + 1);
            bits.skip(42, "decoder_model_info")?;
        }
    }
    let initial_delay = bits.bit("initial_display_delay_present_flag")?;
    for _ in 0..=bits.bits(5, "operating_points_cnt_minus_1")? {
        bits.skip(12, "operating_point_idc")?;
        if bits.bits(5, "seq_level_idx")? > 7 {
            bits.skip(1, "seq_tier")?;
        }
        if let Some(delay_bits) = delay_bits
            && bits.bit("decoder_model_present_for_this_op")?
        {
            bits.skip(2 * delay_bits + 1, "operating_parameters_info")?;
        }
        if initial_delay && bits.bit("initial_display_delay_present_for_this_op")? {
            bits.skip(4, "initial_display_delay_minus_1")?;
        }
    }
    Ok(())
}
