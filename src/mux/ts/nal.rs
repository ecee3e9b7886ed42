//! H.264 and H.265: from length-prefixed NAL units, as FLV has them, to Annex B byte streams, as MPEG-TS has them.
//!
//! An access unit becomes, in this order:
//!
//! 1. an access unit delimiter, which MPEG-TS demands (ISO/IEC 13818-1 §2.14.1, §2.17.1): the unit's own if it begins with
//!    one, else one that is added;
//! 2. where a player may start, the parameter sets of the sequence header, unless the unit has its own: a kind of which the unit
//!    has any is not added;
//! 3. the NAL units as they are, behind start codes.

use crate::media::Codec;

use super::packet::PesWriter;

/// Annex B: `zero_byte` and start code prefix, before parameter sets and the first NAL unit of an access unit.
const START_CODE_4: [u8; 4] = [0, 0, 0, 1];
/// Annex B: start code prefix, before all others.
const START_CODE_3: [u8; 3] = [0, 0, 1];

/// H.264 §7.3.2.4, primary_pic_type 7: all slice types may follow.
const H264_DELIMITER: [u8; 6] = [0, 0, 0, 1, 0x09, 0xf0];
/// H.265 §7.3.2.5, pic_type 2: all slice types may follow.
const H265_DELIMITER: [u8; 7] = [0, 0, 0, 1, 0x46, 0x01, 0x50];

/// Where lengthSizeMinusOne stands in an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1) and in an
/// HEVCDecoderConfigurationRecord (§8.3.3.1); the parameter sets follow the byte after it and it, respectively.
const AVC_LENGTH_SIZE: usize = 4;
const HEVC_LENGTH_SIZE: usize = 21;

/// What a NAL unit is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Delimiter,
    /// A parameter set, by its place in [`NalConfig::sets`].
    Set(usize),
    /// An IDR picture, or any IRAP picture of H.265.
    RandomAccess,
    Other,
}

/// Places in [`NalConfig::sets`]: the order in which they are written.
const VPS: usize = 0;
const SPS: usize = 1;
const PPS: usize = 2;
const SEI: usize = 3;

/// What a sequence header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NalConfig {
    hevc: bool,
    /// Bytes of each length, 1 to 4.
    length_size: usize,
    /// Parameter sets behind start codes, ready to be written; and, of H.265, the SEI messages for all pictures.
    sets: [Vec<u8>; 4],
}

/// How an access unit is going to be written: made by [`NalConfig::layout`] in a first pass over it, because a PES packet
/// begins with its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of the byte stream.
    pub(super) size: usize,
    /// A player may start here.
    pub(super) random_access: bool,
    /// The unit begins with a delimiter.
    delimited: bool,
    /// Which of [`NalConfig::sets`] are added.
    added: [bool; 4],
}

impl NalConfig {
    /// Reads a configuration record of H.264 or H.265. What can be read of a truncated one is used; None when not even the
    /// length size is there. A record without parameter sets is fine: they may stand in the stream.
    pub(super) fn from_record(codec: Codec, record: &[u8]) -> Option<NalConfig> {
        let hevc = codec == Codec::Hevc;
        let version = *record.first()?;
        // H.265: the files of some early muxers have 0, and are the same otherwise.
        if version != 1 && !(hevc && version == 0) {
            return None;
        }
        let at = if hevc {
            HEVC_LENGTH_SIZE
        } else {
            AVC_LENGTH_SIZE
        };
        let mut config = NalConfig {
            hevc,
            length_size: usize::from(record.get(at)? & 3) + 1,
            sets: Default::default(),
        };
        let rest = record.get(at + 1..).unwrap_or_default();
        if hevc {
            config.read_arrays(rest);
        } else {
            config.read_sets(rest);
        }
        Some(config)
    }

    /// ISO/IEC 14496-15 §5.3.3.1.2, from numOfSequenceParameterSets.
    fn read_sets(&mut self, mut rest: &[u8]) -> Option<()> {
        for mask in [0x1f, 0xff] {
            let count = *rest.split_off_first()? & mask;
            for _ in 0..count {
                self.read_set(&mut rest)?;
            }
        }
        Some(())
    }

    /// ISO/IEC 14496-15 §8.3.3.1.2, from numOfArrays.
    fn read_arrays(&mut self, mut rest: &[u8]) -> Option<()> {
        for _ in 0..*rest.split_off_first()? {
            rest.split_off_first()?; // NAL_unit_type, which the NAL units state too
            for _ in 0..take_u16(&mut rest)? {
                self.read_set(&mut rest)?;
            }
        }
        Some(())
    }

    fn read_set(&mut self, rest: &mut &[u8]) -> Option<()> {
        let length = take_u16(rest)?;
        let nal = rest.split_off(..usize::from(length))?;
        if let Some(&first) = nal.first()
            && let Kind::Set(place) = self.kind(first)
            && let Some(set) = self.sets.get_mut(place)
        {
            set.extend_from_slice(&START_CODE_4);
            set.extend_from_slice(nal);
        }
        Some(())
    }

    /// By the first byte of a NAL unit: H.264 table 7-1, H.265 table 7-1.
    fn kind(&self, first: u8) -> Kind {
        if self.hevc {
            match first >> 1 & 0x3f {
                16..=23 => Kind::RandomAccess,
                32 => Kind::Set(VPS),
                33 => Kind::Set(SPS),
                34 => Kind::Set(PPS),
                35 => Kind::Delimiter,
                39 => Kind::Set(SEI),
                _ => Kind::Other,
            }
        } else {
            match first & 0x1f {
                5 => Kind::RandomAccess,
                7 => Kind::Set(SPS),
                8 => Kind::Set(PPS),
                9 => Kind::Delimiter,
                _ => Kind::Other,
            }
        }
    }

    fn delimiter(&self) -> &'static [u8] {
        if self.hevc {
            &H265_DELIMITER
        } else {
            &H264_DELIMITER
        }
    }

    /// Looks through an access unit. None when it holds no NAL unit, or when a length reaches past its end.
    pub(super) fn layout(&self, unit: &[u8], keyframe: bool) -> Option<Layout> {
        let mut layout = Layout {
            size: 0,
            random_access: keyframe,
            delimited: false,
            added: [false; 4],
        };
        let mut own = [false; 4];
        let mut empty = true;
        for nal in self.nals(unit) {
            let nal = nal?;
            let kind = self.kind(nal.first().copied().unwrap_or_default());
            match kind {
                Kind::Delimiter if empty => layout.delimited = true,
                Kind::RandomAccess => layout.random_access = true,
                Kind::Set(place) => {
                    if let Some(own) = own.get_mut(place) {
                        *own = true;
                    }
                }
                _ => {}
            }
            layout.size += start_code(kind, empty && layout.delimited).len() + nal.len();
            empty = false;
        }
        if empty {
            return None;
        }
        if !layout.delimited {
            layout.size += self.delimiter().len();
        }
        if layout.random_access {
            // SEI messages of the record belong to its parameter sets.
            let [vps, sps, pps, sei] = own;
            layout.added = [!vps, !sps, !pps, !sps && !sei];
            for (set, _) in self.sets.iter().zip(layout.added).filter(|(_, add)| *add) {
                layout.size += set.len();
            }
        }
        Some(layout)
    }

    /// Writes the access unit that `layout` was made of.
    pub(super) fn write(&self, unit: &[u8], layout: Layout, pes: &mut PesWriter<'_>) {
        let mut first = true;
        if !layout.delimited {
            pes.put(self.delimiter());
            self.write_sets(layout, pes);
            first = false;
        }
        for nal in self.nals(unit).flatten() {
            let kind = self.kind(nal.first().copied().unwrap_or_default());
            pes.put(start_code(kind, first));
            pes.put(nal);
            if first {
                self.write_sets(layout, pes);
                first = false;
            }
        }
    }

    fn write_sets(&self, layout: Layout, pes: &mut PesWriter<'_>) {
        for (set, _) in self.sets.iter().zip(layout.added).filter(|(_, add)| *add) {
            pes.put(set);
        }
    }

    fn nals<'a>(&self, unit: &'a [u8]) -> Nals<'a> {
        Nals {
            rest: unit,
            length_size: self.length_size,
        }
    }
}

fn start_code(kind: Kind, first: bool) -> &'static [u8] {
    match kind {
        // H.264 §B.1.2, H.265 §B.2.2: where zero_byte is demanded. SEI may have it.
        Kind::Delimiter | Kind::Set(VPS | SPS | PPS) => &START_CODE_4,
        _ if first => &START_CODE_4,
        _ => &START_CODE_3,
    }
}

/// The NAL units of an access unit, without empty ones. None for one that reaches past the end, which ends the walk.
struct Nals<'a> {
    rest: &'a [u8],
    length_size: usize,
}

impl<'a> Iterator for Nals<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            let Some((length, rest)) = rest.split_at_checked(self.length_size) else {
                return Some(None);
            };
            let length = length
                .iter()
                .fold(0usize, |length, byte| length << 8 | usize::from(*byte));
            let Some((nal, rest)) = rest.split_at_checked(length) else {
                return Some(None);
            };
            self.rest = rest;
            if !nal.is_empty() {
                return Some(Some(nal));
            }
        }
        None
    }
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    let (value, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    Some(u16::from_be_bytes(*value))
}
