//! AV1: from the low-overhead byte stream that FLV has to what MPEG-TS has, by "Carriage of AV1 in MPEG-2 TS" of the Alliance for
//! Open Media (working group draft 1.0.1; its sections have names, not numbers, so the names are cited).
//!
//! A temporal unit of FLV holds a frame that is shown, and before it those that only later ones refer to. MPEG-TS has a PES packet for
//! each ("Use of PES packets"), so [`split`] takes it apart. Each of the access units then becomes, in this order:
//!
//! 1. where a player may start, the sequence header of the configuration record, unless the unit has its own;
//! 2. its OBUs as they are, behind start codes, with emulation prevention bytes ("Start-code based format"). One without a size gets
//!    it: players that put OBUs into MP4 again need it.
//!
//! *Is dropped*: temporal delimiters, which may be removed ("General constraints"): mpegts.js takes what begins with one for a keyframe if
//! the unit before was one. Tile lists, which are forbidden there.

use bytes::Bytes;

use super::packet::PesWriter;

/// How many frames a temporal unit may have. There are eight reference slots (AV1 Bitstream §3, NUM_REF_FRAMES) and at most four spatial
/// layers; encoders send up to five. Each costs packets of its own, however small it is.
pub(super) const MAX_FRAMES: usize = 16;

/// "AV1 video descriptor".
const VIDEO_DESCRIPTOR: u8 = 0x80;
/// hdr_wcg_idc 3: nothing is said of dynamic range and colours. What the sequence header says of them holds.
const NO_INDICATION: u8 = 3 << 6;

/// AV1CodecConfigurationRecord: marker 1, version 1.
const MARKER_AND_VERSION: u8 = 0x81;
/// Bytes of the record before its OBUs, which are the descriptor's too.
const RECORD: usize = 4;

const START_CODE: [u8; 3] = [0, 0, 1];
const EMULATION_PREVENTION: u8 = 3;

/// AV1 Bitstream §6.2.2, obu_type.
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const METADATA: u8 = 5;
const FRAME: u8 = 6;
const TILE_LIST: u8 = 8;

/// AV1 Bitstream §5.3.2, obu_header.
const FORBIDDEN_BIT: u8 = 0x80;
const HAS_EXTENSION: u8 = 0x04;
const HAS_SIZE: u8 = 0x02;
/// AV1 Bitstream §4.10.5: more bytes are not allowed.
const MAX_LEB128: usize = 8;

/// What a sequence header of FLV says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Av1Config {
    /// What the descriptor says.
    fields: [u8; RECORD],
    /// The sequence header OBU, ready to be written; empty when the record has none.
    sequence_header: Vec<u8>,
}

/// How an access unit is going to be written: made by [`Av1Config::layout`], because a PES packet begins with its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of the elementary stream.
    pub(super) size: usize,
    adds_sequence_header: bool,
}

impl Av1Config {
    /// Reads an AV1CodecConfigurationRecord (AV1 Codec ISO Media File Format Binding §2.3.3). None when it is none.
    pub(super) fn from_record(record: &[u8]) -> Option<Self> {
        let (head, obus) = record.split_first_chunk::<RECORD>()?;
        if head[0] != MARKER_AND_VERSION {
            return None;
        }
        let mut sequence_header = Vec::new();
        let own = Obus { rest: obus }
            .flatten()
            .find(|obu| obu.kind == SEQUENCE_HEADER);
        if let Some(obu) = own {
            obu.write(&mut |piece| sequence_header.extend_from_slice(piece));
        }
        let [marker, profile, format, delay] = *head;
        Some(Self {
            fields: [marker, profile, format, delay & 0x1f | NO_INDICATION],
            sequence_header,
        })
    }

    /// Takes the descriptor that a publisher made itself (E-RTMP v2, `MPEG2TSSequenceStart`), with what it says of dynamic range. The
    /// sequence header is in the stream then. None when it is none.
    pub(super) fn from_descriptor(descriptor: &[u8]) -> Option<Self> {
        match *descriptor {
            [VIDEO_DESCRIPTOR, length, marker, profile, format, delay]
                if usize::from(length) == RECORD && marker == MARKER_AND_VERSION =>
            {
                Some(Self {
                    fields: [marker, profile, format, delay],
                    sequence_header: Vec::new(),
                })
            }
            _ => None,
        }
    }

    /// The descriptor for the program map.
    pub(super) fn descriptor(&self) -> [u8; 2 + RECORD] {
        let [a, b, c, d] = self.fields;
        [VIDEO_DESCRIPTOR, RECORD as u8, a, b, c, d]
    }

    /// Looks through an access unit. None when it is empty, or when an OBU reaches past its end.
    pub(super) fn layout(&self, unit: &[u8], random_access: bool) -> Option<Layout> {
        let (mut size, mut has_own) = (0, false);
        for obu in (Obus { rest: unit }) {
            let obu = obu?;
            has_own |= obu.kind == SEQUENCE_HEADER;
            obu.write(&mut |piece| size += piece.len());
        }
        let adds_sequence_header = random_access && !has_own;
        if size > 0 && adds_sequence_header {
            size += self.sequence_header.len();
        }
        (size > 0).then_some(Layout {
            size,
            adds_sequence_header,
        })
    }

    /// Writes the access unit that `layout` was made of.
    pub(super) fn write(&self, unit: &[u8], layout: Layout, pes: &mut PesWriter<'_>) {
        if layout.adds_sequence_header {
            pes.put(&self.sequence_header);
        }
        for obu in (Obus { rest: unit }).flatten() {
            obu.write(&mut |piece| pes.put(piece));
        }
    }
}

/// The access units of a temporal unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    /// Where each begins.
    starts: [usize; MAX_FRAMES],
    count: usize,
}

/// "The AV1 Access Unit": all OBUs from the end of the last one of a frame to the end of the last one of the next. None when there is no
/// frame or too many, or when an OBU reaches past the end.
pub(super) fn split(unit: &[u8]) -> Option<Split> {
    let mut split = Split {
        starts: [0; MAX_FRAMES],
        count: 0,
    };
    // Where what belongs to the next frame begins, if there is one.
    let mut next = None;
    let mut at = 0;
    for obu in (Obus { rest: unit }) {
        let obu = obu?;
        match obu.kind {
            FRAME | FRAME_HEADER => {
                if split.count > 0 {
                    *split.starts.get_mut(split.count)? = next.take().unwrap_or(at);
                }
                split.count += 1;
            }
            SEQUENCE_HEADER | TEMPORAL_DELIMITER | METADATA if split.count > 0 => {
                next.get_or_insert(at);
            }
            // Tile groups, copies of the frame header, padding: of the frame that has begun.
            _ => next = None,
        }
        at += obu.raw.len();
    }
    (split.count > 0).then_some(split)
}

impl Split {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The access units of `unit`, of which this was made.
    pub(super) fn units(self, unit: &Bytes) -> impl Iterator<Item = Bytes> {
        let ends = (1..self.count).filter_map(move |index| self.starts.get(index).copied());
        let ends = ends.chain([unit.len()]);
        let ranges = self.starts.into_iter().zip(ends);
        ranges.map(|(from, to)| unit.slice(from..to))
    }
}

/// An OBU as it came.
#[derive(Debug, Clone, Copy)]
struct Obu<'a> {
    kind: u8,
    /// All of it.
    raw: &'a [u8],
    /// What follows the header and the size.
    payload: &'a [u8],
}

impl Obu<'_> {
    /// Start code, header, size, payload, in pieces.
    fn write(&self, sink: &mut impl FnMut(&[u8])) {
        if matches!(self.kind, TEMPORAL_DELIMITER | TILE_LIST) {
            return;
        }
        sink(&START_CODE);
        let mut escape = Escape { zeros: 0 };
        let Some((&header, rest)) = self.raw.split_first() else {
            return;
        };
        if header & HAS_SIZE != 0 {
            escape.put(self.raw, sink);
            return;
        }
        escape.put(&[header | HAS_SIZE], sink);
        let extension = rest.len().saturating_sub(self.payload.len());
        escape.put(rest.get(..extension).unwrap_or_default(), sink);
        // AV1 Bitstream §4.10.5, leb128.
        let mut left = self.payload.len();
        loop {
            let more = left > 0x7f;
            escape.put(&[left as u8 & 0x7f | u8::from(more) << 7], sink);
            left >>= 7;
            if !more {
                break;
            }
        }
        escape.put(self.payload, sink);
    }
}

/// Puts a byte between two zeros and one that could be taken for more of a start code ("Start-code based format").
struct Escape {
    /// Zeros that were written last.
    zeros: usize,
}

impl Escape {
    fn put(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8])) {
        let mut from = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            if self.zeros >= 2 && byte <= EMULATION_PREVENTION {
                sink(bytes.get(from..at).unwrap_or_default());
                sink(&[EMULATION_PREVENTION]);
                from = at;
                self.zeros = 0;
            }
            self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        }
        sink(bytes.get(from..).unwrap_or_default());
    }
}

/// The OBUs of a low-overhead byte stream (AV1 Bitstream §5.2). None for one that reaches past the end, which ends the walk.
struct Obus<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Obus<'a> {
    type Item = Option<Obu<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let whole = std::mem::take(&mut self.rest);
        let &header = whole.first()?;
        let Some((head, size)) = read_size(whole, header) else {
            return Some(None);
        };
        let end = head.checked_add(size);
        let Some((raw, rest)) = end.and_then(|end| whole.split_at_checked(end)) else {
            return Some(None);
        };
        self.rest = rest;
        Some(Some(Obu {
            kind: header >> 3 & 0x0f,
            raw,
            payload: raw.get(head..).unwrap_or_default(),
        }))
    }
}

/// Bytes of header and size, and bytes of the payload; without a size it is all that is left.
fn read_size(whole: &[u8], header: u8) -> Option<(usize, usize)> {
    if header & FORBIDDEN_BIT != 0 {
        return None;
    }
    let head = if header & HAS_EXTENSION != 0 { 2 } else { 1 };
    let rest = whole.get(head..)?;
    if header & HAS_SIZE == 0 {
        return Some((head, rest.len()));
    }
    let mut size = 0u64;
    for (index, byte) in rest.iter().take(MAX_LEB128).enumerate() {
        size |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((head + index + 1, usize::try_from(size).ok()?));
        }
    }
    None
}
