//! H.265: HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3.1) and sequence parameter set (ITU-T H.265 §7.3.2.2).

use std::borrow::Cow;

use super::info::cropped;
use super::{Codec, CodecError, CodecInfo};
use crate::media::read::{BitReader, ByteReader, rbsp};

/// Profile, tier and level from the record, the size from its first SPS.
pub(super) fn read_record(record: &[u8]) -> Result<CodecInfo, CodecError> {
    const SPS: u8 = 33;
    let mut reader = ByteReader::new(record);
    // The version is 1; the files of some early muxers have 0, and are the same otherwise.
    if reader.u8("configurationVersion")? > 1 {
        return Err(CodecError::Invalid {
            what: "not an HEVCDecoderConfigurationRecord",
            offset: 0,
        });
    }
    let profile = reader.u8("general_profile_idc")?;
    let compatibility = reader.u32("general_profile_compatibility_flags")?;
    reader.take(6, "general_constraint_indicator_flags")?;
    let level = reader.u8("general_level_idc")?;
    reader.take(9, "min_spatial_segmentation_idc to lengthSizeMinusOne")?;
    let arrays = reader.u8("numOfArrays")?;
    let mut info = CodecInfo {
        profile: Some(profile_name(profile & 0x1f, compatibility)),
        level: Some(level_name(level, profile & 0x20 != 0)),
        ..CodecInfo::new(Codec::Hevc)
    };
    for _ in 0..arrays {
        let kind = reader.u8("NAL_unit_type")? & 0x3f;
        for _ in 0..reader.u16("numNalus")? {
            let length = reader.u16("nalUnitLength")?;
            let nal = reader.take(length.into(), "nalUnit")?;
            if kind == SPS {
                let (width, height) = sps_size(nal)?;
                info.width = Some(width);
                info.height = Some(height);
                return Ok(info);
            }
        }
    }
    Ok(info)
}

/// H.265 Annex A.3. An encoder may state profile 0 and only set compatibility flags; the lowest one counts then.
fn profile_name(profile: u8, compatibility: u32) -> Cow<'static, str> {
    let profile = match profile {
        0 => (1..32)
            .find(|bit| compatibility & 0x8000_0000 >> bit != 0)
            .unwrap_or(0),
        profile => profile,
    };
    match profile {
        1 => "Main".into(),
        2 => "Main 10".into(),
        3 => "Main Still Picture".into(),
        4 => "Range Extensions".into(),
        5 => "High Throughput".into(),
        9 => "Screen-Extended".into(),
        other => format!("profile {other}").into(),
    }
}

/// H.265 §A.4.1: thirty times the level.
fn level_name(level: u8, high_tier: bool) -> Cow<'static, str> {
    let tier = if high_tier { " High tier" } else { "" };
    format!("{}.{}{tier}", level / 30, level % 30 / 3).into()
}

fn sps_size(nal: &[u8]) -> Result<(u32, u32), CodecError> {
    let payload = rbsp(nal);
    let mut bits = BitReader::new(&payload);
    bits.skip(16, "NAL header")?;
    bits.skip(4, "sps_video_parameter_set_id")?;
    let sub_layers = bits.bits(3, "sps_max_sub_layers_minus1")?;
    bits.skip(1, "sps_temporal_id_nesting_flag")?;
    skip_profile_tier_level(&mut bits, sub_layers)?;
    bits.ue("sps_seq_parameter_set_id")?;
    let chroma_format = bits.ue("chroma_format_idc")?;
    let separate_planes = chroma_format == 3 && bits.bit("separate_colour_plane_flag")?;
    let offset = bits.offset();
    let width = bits.ue("pic_width_in_luma_samples")?;
    let height = bits.ue("pic_height_in_luma_samples")?;
    let [left, right, top, bottom] = if bits.bit("conformance_window_flag")? {
        let mut crop = || bits.ue("conf_win_offset");
        [crop()?, crop()?, crop()?, crop()?]
    } else {
        [0; 4]
    };
    // H.265 table 6-1: SubWidthC, SubHeightC.
    let (unit_x, unit_y) = match (separate_planes, chroma_format) {
        (false, 1) => (2, 2),
        (false, 2) => (2, 1),
        _ => (1, 1),
    };
    let invalid = CodecError::Invalid {
        what: "impossible picture size",
        offset,
    };
    Ok((
        cropped(width, left, right, unit_x).ok_or(invalid)?,
        cropped(height, top, bottom, unit_y).ok_or(invalid)?,
    ))
}

/// H.265 §7.3.3, profile_tier_level(1, sub_layers), of which only the length matters here.
fn skip_profile_tier_level(bits: &mut BitReader<'_>, sub_layers: u32) -> Result<(), CodecError> {
    const PROFILE_BITS: usize = 88;
    const LEVEL_BITS: usize = 8;
    bits.skip(PROFILE_BITS + LEVEL_BITS, "general profile, tier and level")?;
    let mut present = Vec::new();
    for _ in 0..sub_layers {
        let profile = bits.bit("sub_layer_profile_present_flag")?;
        present.push((profile, bits.bit("sub_layer_level_present_flag")?));
    }
    if sub_layers > 0 {
        // Two flags for each of eight layers: those that are not there are reserved bits.
        bits.skip(2 * (8 - sub_layers as usize), "reserved_zero_2bits")?;
    }
    for (profile, level) in present {
        let size = if profile { PROFILE_BITS } else { 0 } + if level { LEVEL_BITS } else { 0 };
        bits.skip(size, "sub-layer profile, tier and level")?;
    }
    Ok(())
}
