//! The bytes of a file.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::record::scan::Scan;
use crate::record::seek::SeekPoints;
use crate::record::writer::FlvWriter;

/// Writes frames as a recording does: the head of an unfinished file, tags, and the final head over the first.
fn write(metadata: Option<&Bytes>, keyframes: usize, frames: &[Frame]) -> (Vec<u8>, FlvWriter) {
    let metadata = metadata.map(|body| Metadata::read(body));
    let mut writer = FlvWriter::new(metadata.as_ref(), keyframes);
    let mut file = writer.head(false);
    assert_eq!(file.len() as u64, writer.head_len());
    let mut seek = SeekPoints::default();
    for frame in frames {
        let seekable = seek.is_start(frame);
        writer.tag(frame, seekable, &mut file);
        assert_eq!(writer.totals().len, file.len() as u64);
    }
    finish(&mut file, &writer);
    (file.to_vec(), writer)
}

fn finish(file: &mut BytesMut, writer: &FlvWriter) {
    let head = writer.head(true);
    assert_eq!(
        head.len() as u64,
        writer.head_len(),
        "the head keeps its size"
    );
    file[..head.len()].copy_from_slice(&head);
}

fn frames(steps: &[(u8, u8)]) -> Vec<Frame> {
    let mut ms = 0;
    let steps = steps.iter().enumerate().map(|(number, (what, step))| {
        ms += u64::from(*step);
        let number = number as u8;
        match what % 7 {
            0 => frame(FrameKind::Video, ms, &key(number)),
            1 | 2 => frame(FrameKind::Video, ms, &inter(number)),
            3 => frame(FrameKind::Video, ms, VIDEO_HEADER),
            4 => frame(FrameKind::Data, ms, b"\x02\x00\x0aonTextData\x05"),
            // By Enhanced RTMP: a keyframe of HEVC.
            5 => frame(FrameKind::Video, ms, b"\x91hvc1\0\0\0\0\0\0\x01\x26"),
            _ => frame(FrameKind::Audio, ms, &audio(number)),
        }
    });
    steps.collect()
}

fn bodies(read: &Read) -> Vec<(u32, Bytes)> {
    let tags = read.tags.iter().skip(1);
    tags.map(|tag| (tag.timestamp_ms, tag.body.clone()))
        .collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        steps in prop::collection::vec((any::<u8>(), any::<u8>()), 0..120),
        keyframes in 2usize..40,
        width in prop::option::of(1f64..4000.0),
    ) {
        let metadata = width.map(|width| meta(&[("width", width), ("duration", 77.0)]));
        let frames = frames(&steps);
        let (file, writer) = write(metadata.as_ref(), keyframes, &frames);
        let read = read(&file);
        let came: Vec<_> = frames.iter().map(|f| (f.dts_ms as u32, f.payload.clone())).collect();
        prop_assert_eq!(bodies(&read), came);
        prop_assert_eq!(read.metadata().get("width").and_then(Value::as_f64), width);
        prop_assert_eq!(read.number("filesize"), file.len() as f64);
        prop_assert_eq!(read.number("duration"), writer.duration_ms() as f64 / 1000.0);
        let has = |kind| frames.iter().any(|f| f.kind == kind && f.is_coded());
        prop_assert_eq!(read.flags, (has(FrameKind::Audio), has(FrameKind::Video)));
        let noted = read.check_index();
        let coded = frames.iter().filter(|f| f.keyframe).count();
        prop_assert!(noted <= keyframes);
        prop_assert!(noted == coded || (coded > keyframes && noted >= keyframes / 2), "{} of {}", noted, coded);
        let said = read.metadata();
        prop_assert_eq!(said.get("hasKeyframes"), Some(&Value::Boolean(coded > 0)));
    }

    /// However a file was cut, with whatever behind it: what is whole is found, and gets the same index.
    #[test]
    fn a_file_that_was_cut_is_mended(
        steps in prop::collection::vec((any::<u8>(), any::<u8>()), 1..60),
        keyframes in 2usize..20,
        cut in any::<prop::sample::Index>(),
        junk in prop::collection::vec(any::<u8>(), 0..40),
        piece in 1usize..5000,
    ) {
        let frames = frames(&steps);
        let metadata = meta(&[("width", 1280.0)]);
        let (file, writer) = write(Some(&metadata), keyframes, &frames);
        let head = writer.head_len() as usize;
        let cut = head + cut.index(file.len() - head + 1);
        let whole = {
            let all = read(&file);
            let ends = all.at.iter().skip(1).copied().chain([file.len() as u64]);
            ends.filter(|end| *end <= cut as u64).max().unwrap() as usize
        };
        // What a killed process leaves has the head of an unfinished file.
        let mut left = FlvWriter::new(Some(&Metadata::read(&metadata)), keyframes).head(false).to_vec();
        left.extend_from_slice(&file[head..cut]);
        left.extend_from_slice(&junk);
        let mut scan = Scan::default();
        for piece in left.chunks(piece) {
            if !scan.feed(piece) {
                break;
            }
        }
        let mended = scan.finish().unwrap();
        prop_assert!(mended.totals().len >= whole as u64, "junk may be a tag, by chance");
        if mended.totals().len == whole as u64 {
            let mut fresh = left[..whole].to_vec().as_slice().into();
            finish(&mut fresh, &mended);
            let count = read(&file[..whole]).tags.len() - 1;
            let (direct, _) = write(Some(&metadata), keyframes, &frames[..count]);
            let (mended, direct) = (read(&fresh), read(&direct));
            prop_assert_eq!(bodies(&mended), bodies(&direct));
            prop_assert_eq!(mended.number("duration"), direct.number("duration"));
            prop_assert_eq!(mended.number("width"), 1280.0);
            mended.check_index();
        }
    }

    /// Any bytes at all.
    #[test]
    fn a_scan_survives_anything(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut scan = Scan::default();
        scan.feed(&bytes);
        scan.finish();
    }
}

#[test]
fn an_index_that_is_outgrown_is_thinned_evenly() {
    let frames: Vec<Frame> = (0..1000u64)
        .map(|n| frame(FrameKind::Video, n * 1000, &key(n as u8)))
        .collect();
    let (file, _) = write(None, 100, &frames);
    let read = read(&file);
    assert_eq!(read.check_index(), 63);
    let index = read.index();
    assert!(
        index.windows(2).all(|pair| pair[1].0 - pair[0].0 == 16.0),
        "one in 16"
    );
    assert_eq!(read.number("lastkeyframetimestamp"), 999.0);
}

#[test]
fn a_file_of_days_has_the_upper_eight_bits() {
    let frames: Vec<Frame> = [0xff_fff0u64, 0x100_0010, 0xffff_fff0]
        .map(|ms| frame(FrameKind::Video, ms, &key(0)))
        .to_vec();
    let (file, writer) = write(None, 8, &frames);
    let read = read(&file);
    let times: Vec<u32> = read.tags[1..].iter().map(|tag| tag.timestamp_ms).collect();
    assert_eq!(times, [0xff_fff0, 0x100_0010, 0xffff_fff0]);
    assert_eq!(read.check_index(), 3);
    assert_eq!(writer.duration_ms(), 0xffff_fff0 - 0xff_fff0 + 32);
}

#[test]
fn metadata_that_comes_late_is_in_the_head() {
    let mut writer = FlvWriter::new(None, 4);
    let mut file = writer.head(false);
    writer.tag(&frame(FrameKind::Video, 0, &key(0)), true, &mut file);
    let many: Vec<(String, f64)> = (0..40)
        .map(|n| (format!("a property {n:05}"), 1.0))
        .collect();
    let many: Vec<(&str, f64)> = many
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    writer.set_metadata(&Metadata::read(&meta(&many)));
    finish(&mut file, &writer);
    assert_eq!(read(&file).number("a property 00039"), 1.0);
    // The first one stays.
    writer.set_metadata(&Metadata::read(&meta(&[("width", 1.0)])));
    finish(&mut file, &writer);
    assert_eq!(read(&file).metadata().get("width"), None);
    // One that does not fit gives way, first the index, then what came.
    let mut writer = FlvWriter::new(None, 4);
    let mut file = writer.head(false);
    writer.tag(&frame(FrameKind::Video, 0, &key(0)), true, &mut file);
    let huge: Vec<(String, f64)> = (0..500)
        .map(|n| (format!("a property {n:05}"), 1.0))
        .collect();
    let huge: Vec<(&str, f64)> = huge
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    writer.set_metadata(&Metadata::read(&meta(&huge)));
    finish(&mut file, &writer);
    assert_eq!(read(&file).number("filesize"), file.len() as f64);
}

#[test]
fn the_properties_of_another_file_are_left_out() {
    let came = meta(&[
        ("duration", 9.0),
        ("filesize", 9.0),
        ("Duration", 9.0),
        ("width", 320.0),
        ("filler", 1.0),
    ]);
    let (file, _) = write(Some(&came), 4, &[frame(FrameKind::Audio, 5, &audio(0))]);
    let read = read(&file);
    assert_eq!(read.number("duration"), 0.0);
    assert_eq!(read.metadata().get("Duration"), None);
    assert_eq!(read.number("width"), 320.0);
}

#[test]
fn a_rollback_takes_back_what_was_not_written() {
    let mut writer = FlvWriter::new(None, 8);
    let mut file = writer.head(false);
    writer.tag(&frame(FrameKind::Video, 0, &key(0)), true, &mut file);
    writer.tag(&frame(FrameKind::Video, 40, &inter(0)), false, &mut file);
    let (totals, len) = (writer.totals(), file.len());
    writer.tag(&frame(FrameKind::Video, 80, &key(1)), true, &mut file);
    writer.tag(&frame(FrameKind::Video, 120, &inter(1)), false, &mut file);
    writer.rollback(totals);
    file.truncate(len);
    finish(&mut file, &writer);
    let read = read(&file);
    assert_eq!(read.shape(), "K0 i40");
    assert_eq!(read.check_index(), 1);
    assert_eq!(read.number("duration"), 0.08);
}
