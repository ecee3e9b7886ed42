//! H.264: AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1) and sequence parameter set (ITU-T H.264 §7.3.2.1).

use std::borrow::Cow;

use super::info::cropped;
use super::{Codec, CodecError, CodecInfo};
use crate::media::read::{BitReader, ByteReader, rbsp};

/// Profile and level from the record, the size from its first SPS. A record without SPS is tolerated: some encoders
/// send parameter sets only in the stream.
pub(super) fn read_record(record: &[u8]) -> Result<CodecInfo, CodecError> {
    let mut reader = ByteReader::new(record);
    if reader.u8("configurationVersion")? != 1 {
        return Err(CodecError::Invalid {
            what: "not an AVCDecoderConfigurationRecord",
            offset: 0,
        });
    }
    let profile = reader.u8("AVCProfileIndication")?;
    let constraints = reader.u8("profile_compatibility")?;
    let level = reader.u8("AVCLevelIndication")?;
    reader.u8("lengthSizeMinusOne")?;
    let count = reader.u8("numOfSequenceParameterSets")? & 0x1f;
    let mut info = CodecInfo {
        profile: Some(profile_name(profile, constraints)),
        level: Some(level_name(level, constraints)),
        ..CodecInfo::new(Codec::H264)
    };
    if count > 0 {
        let length = reader.u16("sequenceParameterSetLength")?;
        let sps = reader.take(length.into(), "sequenceParameterSet")?;
        let (width, height) = sps_size(sps)?;
        info.width = Some(width);
        info.height = Some(height);
    }
    Ok(info)
}

/// H.264 Annex A.2.
fn profile_name(profile: u8, constraints: u8) -> Cow<'static, str> {
    let set = |bit: u8| constraints & 0x80 >> bit != 0;
    match profile {
        66 if set(1) => "Constrained Baseline",
        66 => "Baseline",
        77 => "Main",
        88 => "Extended",
        100 if set(4) && set(5) => "Constrained High",
        100 if set(4) => "Progressive High",
        100 => "High",
        110 if set(3) => "High 10 Intra",
        110 => "High 10",
        122 if set(3) => "High 4:2:2 Intra",
        122 => "High 4:2:2",
        244 if set(3) => "High 4:4:4 Intra",
        244 => "High 4:4:4",
        44 => "CAVLC 4:4:4 Intra",
        other => return format!("profile {other}").into(),
    }
    .into()
}

/// H.264 §A.3.1 and §7.4.2.1.1: ten times the level; 1b is 9, or in the older profiles 11 with a constraint flag.
fn level_name(level: u8, constraints: u8) -> Cow<'static, str> {
    match level {
        9 => "1b".into(),
        11 if constraints & 0x10 != 0 => "1b".into(),
        level => format!("{}.{}", level / 10, level % 10).into(),
    }
}

/// Width and height of what is shown.
fn sps_size(sps: &[u8]) -> Result<(u32, u32), CodecError> {
    const SPS: u32 = 7;
    let payload = rbsp(sps);
    let mut bits = BitReader::new(&payload);
    if bits.bits(8, "NAL header")? & 0x1f != SPS {
        return Err(CodecError::Invalid {
            what: "not a sequence parameter set",
            offset: 0,
        });
    }
    let profile = bits.bits(8, "profile_idc")?;
    bits.skip(16, "constraint flags, level_idc")?;
    bits.ue("seq_parameter_set_id")?;
    let mut chroma_format = 1;
    let mut separate_planes = false;
    if matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    ) {
        chroma_format = bits.ue("chroma_format_idc")?;
        if chroma_format == 3 {
            separate_planes = bits.bit("separate_colour_plane_flag")?;
        }
        bits.ue("bit_depth_luma_minus8")?;
        bits.ue("bit_depth_chroma_minus8")?;
        bits.bit("qpprime_y_zero_transform_bypass_flag")?;
        if bits.bit("seq_scaling_matrix_present_flag")? {
            let lists = if chroma_format == 3 { 12 } else { 8 };
            for list in 0..lists {
                if bits.bit("seq_scaling_list_present_flag")? {
                    skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.ue("log2_max_frame_num_minus4")?;
    match bits.ue("pic_order_cnt_type")? {
        0 => drop(bits.ue("log2_max_pic_order_cnt_lsb_minus4")?),
        1 => {
            bits.bit("delta_pic_order_always_zero_flag")?;
            bits.se("offset_for_non_ref_pic")?;
            bits.se("offset_for_top_to_bottom_field")?;
            let count = bits.ue("num_ref_frames_in_pic_order_cnt_cycle")?;
            // Each turn consumes a bit, so the input bounds the loop whatever the count.
            for _ in 0..count {
                bits.se("offset_for_ref_frame")?;
            }
        }
        _ => {}
    }
    bits.ue("max_num_ref_frames")?;
    bits.bit("gaps_in_frame_num_value_allowed_flag")?;
    let offset = bits.offset();
    let width_in_mbs = bits.ue("pic_width_in_mbs_minus1")?;
    let height_in_units = bits.ue("pic_height_in_map_units_minus1")?;
    let fields = if bits.bit("frame_mbs_only_flag")? {
        1
    } else {
        2
    };
    if fields == 2 {
        bits.bit("mb_adaptive_frame_field_flag")?;
    }
    bits.bit("direct_8x8_inference_flag")?;
    let [left, right, top, bottom] = if bits.bit("frame_cropping_flag")? {
        let mut crop = || bits.ue("frame_crop_offset");
        [crop()?, crop()?, crop()?, crop()?]
    } else {
        [0; 4]
    };
    // H.264 §7.4.2.1.1, formulas 7-19 to 7-22: what one step of cropping means.
    let (unit_x, unit_y) = match (separate_planes, chroma_format) {
        (false, 1) => (2, 2 * fields),
        (false, 2) => (2, fields),
        _ => (1, fields),
    };
    let shown = |minus1: u32, scale: u32, begin: u32, end: u32, unit: u32| {
        let whole = minus1.checked_add(1)?.checked_mul(16 * scale)?;
        cropped(whole, begin, end, unit)
    };
    let invalid = CodecError::Invalid {
        what: "impossible picture size",
        offset,
    };
    Ok((
        shown(width_in_mbs, 1, left, right, unit_x).ok_or(invalid)?,
        shown(height_in_units, fields, top, bottom, unit_y).ok_or(invalid)?,
    ))
}

/// H.264 §7.3.2.1.1.1, of which only the length matters here.
fn skip_scaling_list(bits: &mut BitReader<'_>, size: u32) -> Result<(), CodecError> {
    let mut last = 8;
    let mut next = 8;
    for _ in 0..size {
        if next != 0 {
            let delta = bits.se("delta_scale")?;
            next = (last + i64::from(delta)).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
}
