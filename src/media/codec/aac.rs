//! AAC: AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1).

use std::borrow::Cow;

use super::{Codec, CodecError, CodecInfo};
use crate::media::read::{BitReader, Short};

const SBR: u32 = 5;
const PS: u32 = 29;

/// ISO/IEC 14496-3 table 1.18.
const SAMPLE_RATES_HZ: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// Object type, sample rate and channels; SBR and PS by either way of signalling them.
///
/// A channel configuration of 0 is tolerated: the channels stand in a program config element, and if that cannot be read
/// they are unknown.
pub(super) fn read_config(config: &[u8]) -> Result<CodecInfo, CodecError> {
    let mut bits = BitReader::new(config);
    let mut object_type = object_type(&mut bits)?;
    let mut rate = sample_rate(&mut bits)?;
    let channel_configuration = bits.bits(4, "channelConfiguration")?;
    // Hierarchical signalling: the extension first, then what it extends.
    let mut sbr = object_type == SBR || object_type == PS;
    let mut ps = object_type == PS;
    if sbr {
        rate = sample_rate(&mut bits)?;
        object_type = self::object_type(&mut bits)?;
        if object_type == 22 {
            bits.skip(4, "extensionChannelConfiguration")?;
        }
    }
    let mut channels = channels(channel_configuration);
    // Beyond here lies only what refines the above, and truncated configs are common: what cannot be read is left out.
    if let Ok(found) = specific_config(&mut bits, object_type, channel_configuration) {
        channels = channels.or(found);
        if !sbr && let Ok(Some(extension)) = sync_extension(&mut bits) {
            sbr = true;
            ps = extension.ps;
            rate = extension.rate;
        }
    }
    if ps && channels == Some(1) {
        channels = Some(2);
    }
    Ok(CodecInfo {
        profile: Some(profile_name(object_type, sbr, ps)),
        sample_rate_hz: rate,
        channels,
        ..CodecInfo::new(Codec::Aac)
    })
}

/// ISO/IEC 14496-3 §1.6.2.1, GetAudioObjectType: 31 escapes to six more bits.
fn object_type(bits: &mut BitReader<'_>) -> Result<u32, Short> {
    match bits.bits(5, "audioObjectType")? {
        31 => Ok(32 + bits.bits(6, "audioObjectTypeExt")?),
        short => Ok(short),
    }
}

/// None for a reserved index.
fn sample_rate(bits: &mut BitReader<'_>) -> Result<Option<u32>, Short> {
    match bits.bits(4, "samplingFrequencyIndex")? {
        15 => Ok(Some(bits.bits(24, "samplingFrequency")?)),
        index => Ok(SAMPLE_RATES_HZ.get(index as usize).copied()),
    }
}

/// ISO/IEC 14496-3 table 1.19, and ISO/IEC 23001-8 for those after 7.
fn channels(configuration: u32) -> Option<u8> {
    match configuration {
        1..=6 => Some(configuration as u8),
        7 | 12 | 14 => Some(8),
        11 => Some(7),
        13 => Some(24),
        _ => None,
    }
}

/// ISO/IEC 14496-3 table 1.3.
fn profile_name(object_type: u32, sbr: bool, ps: bool) -> Cow<'static, str> {
    match (object_type, sbr, ps) {
        (_, true, true) => "HE v2".into(),
        (_, true, false) => "HE".into(),
        (1, ..) => "Main".into(),
        (2, ..) => "LC".into(),
        (3, ..) => "SSR".into(),
        (4, ..) => "LTP".into(),
        (23, ..) => "LD".into(),
        (39, ..) => "ELD".into(),
        (42, ..) => "USAC".into(),
        (other, ..) => format!("type {other}").into(),
    }
}

/// GASpecificConfig, ISO/IEC 14496-3 §4.4.1. Returns the channels of a program config element.
fn specific_config(
    bits: &mut BitReader<'_>,
    object_type: u32,
    channel_configuration: u32,
) -> Result<Option<u8>, CodecError> {
    if !matches!(object_type, 1..=4 | 6 | 7 | 17 | 19..=23) {
        return Err(CodecError::Invalid {
            what: "object type is not general audio",
            offset: 0,
        });
    }
    bits.skip(1, "frameLengthFlag")?;
    if bits.bit("dependsOnCoreCoder")? {
        bits.skip(14, "coreCoderDelay")?;
    }
    let extension = bits.bit("extensionFlag")?;
    let channels = match channel_configuration {
        0 => Some(program_config(bits)?),
        _ => None,
    };
    if matches!(object_type, 6 | 20) {
        bits.skip(3, "layerNr")?;
    }
    if extension {
        if object_type == 22 {
            bits.skip(16, "numOfSubFrame, layer_length")?;
        }
        if matches!(object_type, 17 | 19 | 20 | 23) {
            bits.skip(3, "resilience flags")?;
        }
        bits.skip(1, "extensionFlag3")?;
    }
    Ok(channels)
}

/// program_config_element, ISO/IEC 14496-3 §4.4.1.1: how many channels it names.
fn program_config(bits: &mut BitReader<'_>) -> Result<u8, CodecError> {
    bits.skip(
        10,
        "element_instance_tag, object_type, sampling_frequency_index",
    )?;
    let front = bits.bits(4, "num_front_channel_elements")?;
    let side = bits.bits(4, "num_side_channel_elements")?;
    let back = bits.bits(4, "num_back_channel_elements")?;
    let lfe = bits.bits(2, "num_lfe_channel_elements")?;
    let assoc = bits.bits(3, "num_assoc_data_elements")?;
    let coupling = bits.bits(4, "num_valid_cc_elements")?;
    if bits.bit("mono_mixdown_present")? {
        bits.skip(4, "mono_mixdown_element_number")?;
    }
    if bits.bit("stereo_mixdown_present")? {
        bits.skip(4, "stereo_mixdown_element_number")?;
    }
    if bits.bit("matrix_mixdown_idx_present")? {
        bits.skip(3, "matrix_mixdown_idx")?;
    }
    // At most 45 elements of two channels, so a byte holds the sum.
    let mut channels = lfe as u8;
    for _ in 0..front + side + back {
        channels += if bits.bit("element_is_cpe")? { 2 } else { 1 };
        bits.skip(4, "element_tag_select")?;
    }
    bits.skip(
        4 * (lfe + assoc) as usize + 5 * coupling as usize,
        "element tags",
    )?;
    bits.align();
    let comment = bits.bits(8, "comment_field_bytes")?;
    bits.skip(8 * comment as usize, "comment_field_data")?;
    Ok(channels)
}

struct Extension {
    rate: Option<u32>,
    ps: bool,
}

/// Backward compatible signalling, ISO/IEC 14496-3 §1.6.2.1: after the config of plain AAC, where old decoders do not look.
fn sync_extension(bits: &mut BitReader<'_>) -> Result<Option<Extension>, Short> {
    const SYNC_SBR: u32 = 0x2b7;
    const SYNC_PS: u32 = 0x548;
    if bits.left() < 16 || bits.bits(11, "syncExtensionType")? != SYNC_SBR {
        return Ok(None);
    }
    if object_type(bits)? != SBR || !bits.bit("sbrPresentFlag")? {
        return Ok(None);
    }
    let rate = sample_rate(bits)?;
    let ps = bits.left() >= 12
        && bits.bits(11, "syncExtensionType")? == SYNC_PS
        && bits.bit("psPresentFlag")?;
    Ok(Some(Extension { rate, ps }))
}
