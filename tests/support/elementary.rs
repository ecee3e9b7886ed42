//! Elementary streams: what of each frame has to come through unchanged, whatever the container. Slices of H.264 and H.265,
//! frames of AAC without ADTS headers, and frames of everything else.

use super::flv::{AUDIO, Tag, VIDEO};

/// What must come through of a frame: the slices of a picture, or the audio frame alone.
pub type Unit = Vec<Vec<u8>>;

pub fn is_slice(hevc: bool, nal: &[u8]) -> bool {
    match (nal.first(), hevc) {
        // H.264 table 7-1, H.265 table 7-1: the rest are delimiters, parameter sets and supplements.
        (Some(first), false) => matches!(first & 0x1f, 1 | 5),
        (Some(first), true) => first >> 1 & 0x3f < 32,
        (None, _) => false,
    }
}

/// From an FLV tag.
pub fn unit_of_tag(tag: &Tag) -> Unit {
    let hevc = tag.codec() == "hvc1";
    let head = match (tag.kind, tag.is_enhanced()) {
        (VIDEO, false) => 5,
        // CodedFrames has a composition time, CodedFramesX has none.
        (VIDEO, true) if tag.body[0] & 0x0f == 1 => 8,
        (VIDEO | AUDIO, true) => 5,
        _ if tag.codec() == "10" => 2,
        _ => 1,
    };
    let mut rest = &tag.body[head..];
    if tag.kind == AUDIO {
        return vec![rest.to_vec()];
    }
    let mut slices = Vec::new();
    while let Some((size, tail)) = rest.split_first_chunk::<4>() {
        let (nal, tail) = tail.split_at(u32::from_be_bytes(*size) as usize);
        if is_slice(hevc, nal) {
            slices.push(nal.to_vec());
        }
        rest = tail;
    }
    slices
}

/// The NAL units of a byte stream (H.264 and H.265 annex B).
pub fn nals(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> = (0..stream.len().saturating_sub(2))
        .filter(|at| stream[*at..].starts_with(&[0, 0, 1]))
        .collect();
    starts.push(stream.len());
    starts
        .windows(2)
        .map(|pair| {
            // B.1.1: zeros at the end belong to the next start code.
            let nal = &stream[pair[0] + 3..pair[1]];
            &nal[..nal
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1)]
        })
        .collect()
}

pub fn slices(hevc: bool, stream: &[u8]) -> Unit {
    nals(stream)
        .into_iter()
        .filter(|nal| is_slice(hevc, nal))
        .map(<[u8]>::to_vec)
        .collect()
}

/// The frames of ADTS with AAC-LC at 48 kHz in stereo, as most fixtures have it, without their headers; a frame that is cut off at the end is
/// left out.
#[track_caller]
pub fn adts_frames(bytes: &[u8]) -> Vec<Unit> {
    adts_frames_of(bytes, 3, 2)
}

/// The same with another samplingFrequencyIndex and channel configuration. The object type is always LC.
#[track_caller]
pub fn adts_frames_of(mut bytes: &[u8], rate_index: u8, channels: u8) -> Vec<Unit> {
    let mut frames = Vec::new();
    while let Some(head) = bytes.get(..7) {
        // ISO/IEC 14496-3 1.A.3.2.1: no CRC, profile 1.
        assert_eq!(
            (head[0], head[1], head[2], head[3] & 0xc0),
            (
                0xff,
                0xf1,
                0x40 | rate_index << 2 | channels >> 2,
                channels << 6
            ),
            "{head:02x?}"
        );
        let size =
            usize::from(head[3] & 3) << 11 | usize::from(head[4]) << 3 | usize::from(head[5] >> 5);
        let Some(frame) = bytes.get(7..size) else {
            break;
        };
        frames.push(vec![frame.to_vec()]);
        bytes = &bytes[size..];
    }
    frames
}

/// Opus in MPEG-TS: the control header, and the packet behind it.
#[track_caller]
pub fn opus_packet(payload: &[u8]) -> Unit {
    assert_eq!(
        (payload[0], payload[1] & 0xe0),
        (0x7f, 0xe0),
        "the prefix of a control header"
    );
    assert_eq!(payload[1] & 0x1f, 0, "nothing trimmed, no extension");
    let (mut size, mut at) = (0, 2);
    loop {
        size += usize::from(payload[at]);
        at += 1;
        if payload[at - 1] != 255 {
            break;
        }
    }
    assert_eq!(payload.len() - at, size, "one packet");
    vec![payload[at..].to_vec()]
}

pub fn coded(tags: &[Tag], kind: u8) -> Vec<Unit> {
    tags.iter()
        .filter(|tag| tag.kind == kind && tag.is_coded())
        .map(unit_of_tag)
        .collect()
}

/// `came` is a part of `sent`, without a gap.
#[track_caller]
pub fn assert_run<T: PartialEq>(what: &str, came: &[T], sent: &[T]) {
    assert!(!came.is_empty(), "{what}: nothing came");
    let found = sent.windows(came.len()).any(|window| window == came);
    if found {
        return;
    }
    let longest = (0..sent.len())
        .map(|from| {
            sent[from..]
                .iter()
                .zip(came)
                .take_while(|(a, b)| a == b)
                .count()
        })
        .max();
    panic!(
        "{what}: {} came, {} were sent; at most the first {longest:?} agree",
        came.len(),
        sent.len()
    );
}

pub fn twice<T: Clone>(units: &[T]) -> Vec<T> {
    [units, units].concat()
}

pub fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

/// AV1: the OBUs of a tag, without temporal delimiters.
pub fn obus_of_tag(tag: &Tag) -> Unit {
    assert_eq!(tag.codec(), "av01");
    let mut rest = &tag.body[5..];
    let mut obus = Vec::new();
    while !rest.is_empty() {
        // AV1 5.3.2: each has a size here, and no extension.
        assert_eq!(rest[0] & 0x87, 0x02, "{:02x?}", &rest[..2]);
        let (mut size, mut at) = (0, 1);
        loop {
            size |= usize::from(rest[at] & 0x7f) << (7 * (at - 1));
            at += 1;
            if rest[at - 1] & 0x80 == 0 {
                break;
            }
        }
        let (obu, tail) = rest.split_at(at + size);
        if obu[0] >> 3 != 2 {
            obus.push(obu.to_vec());
        }
        rest = tail;
    }
    obus
}

/// AV1 in MPEG-TS: the OBUs behind start codes, without emulation prevention.
#[track_caller]
pub fn obus_of_pes(payload: &[u8]) -> Unit {
    let starts: Vec<usize> = (0..payload.len().saturating_sub(2))
        .filter(|at| payload[*at..].starts_with(&[0, 0, 1]))
        .collect();
    assert_eq!(starts.first(), Some(&0), "begins with a start code");
    let ends = starts.iter().skip(1).copied().chain([payload.len()]);
    let escaped = starts
        .iter()
        .zip(ends)
        .map(|(from, to)| &payload[from + 3..to]);
    let plain = escaped.map(|obu| {
        let mut plain: Vec<u8> = Vec::new();
        let mut zeros = 0;
        for byte in obu {
            if zeros >= 2 {
                assert!(*byte >= 3, "a start code inside of an OBU");
            }
            if zeros >= 2 && *byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if *byte == 0 { zeros + 1 } else { 0 };
            plain.push(*byte);
        }
        plain
    });
    plain.collect()
}
