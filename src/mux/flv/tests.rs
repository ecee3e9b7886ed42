use super::*;
use crate::media::fixtures::*;
use crate::media::flv::{FlvHeader, FlvReader, FlvTag, MAX_BODY_SIZE};
use bytes::Bytes;
use proptest::prelude::*;

const BOTH: FlvMux = FlvMux {
    audio: true,
    video: true,
    drop: true,
};

fn frame(kind: FrameKind, dts_ms: u64, digits: &str) -> Frame {
    Frame::parse(kind, dts_ms, hex(digits)).unwrap()
}

fn tracks() -> Tracks {
    let mut tracks = Tracks::new();
    tracks.update(&frame(FrameKind::Audio, 0, AAC_HEADER));
    tracks.update(&frame(FrameKind::Video, 0, H264_HEADER));
    tracks.update(&frame(FrameKind::Metadata, 0, META_DATA));
    tracks
}

/// Everything in a file, whose back-pointers must all be right.
fn read(file: &[u8]) -> (FlvHeader, Vec<FlvTag>) {
    let mut reader = FlvReader::new();
    reader.feed(file);
    let mut tags = Vec::new();
    while let Some(tag) = reader.poll().unwrap() {
        tags.push(tag);
    }
    assert_eq!(reader.mismatches(), 0);
    assert_eq!(reader.offset(), file.len() as u64);
    (reader.header().unwrap(), tags)
}

fn start(mux: FlvMux, tracks: &Tracks, dts_ms: u64) -> BytesMut {
    let mut out = BytesMut::new();
    mux.start(tracks, dts_ms, &mut out);
    out
}

#[test]
fn bytes_of_a_tag() {
    let mut out = BytesMut::new();
    let mut mux = BOTH;
    mux.write(
        &frame(FrameKind::Video, 0x1_1234_5678, "27 01 000028 aabb"),
        &mut out,
    );
    assert_eq!(
        out,
        hex("09 000007 345678 12 000000 27 01 000028 aabb 00000012")
    );
}

#[test]
fn what_a_joining_player_gets() {
    let out = start(BOTH, &tracks(), 90_000);
    assert_eq!(out[..13], hex("464c56 01 05 00000009 00000000")[..]);
    let (_, tags) = read(&out);
    let kinds: Vec<_> = tags
        .iter()
        .map(|tag| (tag.kind, tag.timestamp_ms))
        .collect();
    assert_eq!(
        kinds,
        [(TAG_SCRIPT, 0), (TAG_VIDEO, 90_000), (TAG_AUDIO, 90_000)]
    );
    assert_eq!(tags[1].body, hex(H264_HEADER));
    assert_eq!(tags[2].body, hex(AAC_HEADER));
    let metadata = Metadata::read(&tags[0].body);
    assert!(metadata.get("duration").is_none());
    assert_eq!(
        metadata.get("server").unwrap().as_str(),
        Some(crate::media::metadata::SERVER)
    );

    let mut skipped = BytesMut::new();
    BOTH.headers(&tracks(), 90_000, &mut skipped);
    assert_eq!(skipped, out[13..]);
}

#[test]
fn without_metadata_the_server_still_says_its_name() {
    let (_, tags) = read(&start(BOTH, &Tracks::new(), 0));
    assert_eq!(tags.len(), 1);
    let metadata = Metadata::read(&tags[0].body);
    assert_eq!(metadata.properties().len(), 1);
}

#[test]
fn flags_and_what_they_drop() {
    let video_only = FlvMux {
        audio: false,
        video: true,
        drop: true,
    };
    let (header, tags) = read(&start(video_only, &tracks(), 0));
    assert_eq!(
        header,
        FlvHeader {
            audio: false,
            video: true
        }
    );
    assert!(tags.iter().all(|tag| tag.kind != TAG_AUDIO));
    assert!(Metadata::read(&tags[0].body).get("audiocodecid").is_none());

    let audio_only = FlvMux {
        audio: true,
        video: false,
        drop: true,
    };
    let mut out = start(audio_only, &tracks(), 0);
    let mut mux = audio_only;
    mux.write(&frame(FrameKind::Video, 0, H264_KEYFRAME), &mut out);
    mux.write(&frame(FrameKind::Audio, 0, AAC_FRAME), &mut out);
    mux.write(
        &frame(FrameKind::Data, 0, "02 000a 6f6e5465787444617461"),
        &mut out,
    );
    let (header, tags) = read(&out);
    assert_eq!(
        header,
        FlvHeader {
            audio: true,
            video: false
        }
    );
    let kinds: Vec<_> = tags.iter().map(|tag| tag.kind).collect();
    assert_eq!(kinds, [TAG_SCRIPT, TAG_AUDIO, TAG_AUDIO, TAG_SCRIPT]);

    // Without `drop` the flags are only what the header says.
    let all = FlvMux {
        audio: false,
        video: false,
        drop: false,
    };
    let (header, tags) = read(&start(all, &tracks(), 0));
    assert_eq!(
        header,
        FlvHeader {
            audio: false,
            video: false
        }
    );
    assert_eq!(tags.len(), 3);
    assert!(Metadata::read(&tags[0].body).get("audiocodecid").is_some());
}

#[test]
fn metadata_in_the_middle_is_rewritten_too() {
    let mut out = BytesMut::new();
    out.put_slice(&hex("464c56 01 05 00000009 00000000"));
    let mut mux = BOTH;
    mux.write(&frame(FrameKind::Metadata, 40, META_DATA), &mut out);
    let (_, tags) = read(&out);
    // FFmpeg takes a script tag with another time for a subtitle.
    assert_eq!(tags[0].timestamp_ms, 0);
    assert!(Metadata::read(&tags[0].body).get("duration").is_none());
}

#[test]
fn bodies_that_no_tag_can_hold_are_dropped() {
    let mut body = hex(H264_KEYFRAME).to_vec();
    body.resize(MAX_BODY_SIZE + 1, 0);
    let mut frame = Frame::parse(FrameKind::Video, 0, body.into()).unwrap();
    let mut out = BytesMut::new();
    let mut mux = BOTH;
    mux.write(&frame, &mut out);
    assert!(out.is_empty());
    frame.payload.truncate(MAX_BODY_SIZE);
    mux.write(&frame, &mut out);
    assert_eq!(out.len(), MAX_BODY_SIZE + 15);
}

#[test]
fn metadata_of_absurd_size_is_dropped() {
    let mut body = hex(META_DATA).to_vec();
    body.resize(MAX_METADATA_BYTES + 1, 0);
    let mut out = BytesMut::new();
    let mut mux = BOTH;
    mux.write(
        &Frame::parse(FrameKind::Metadata, 0, body.into()).unwrap(),
        &mut out,
    );
    assert!(out.is_empty());
}

fn rebased(unit: &[u8], base_ms: u32) -> BytesMut {
    let mut out = BytesMut::new();
    rebase(unit, base_ms, &mut out);
    out
}

#[test]
fn rebase_takes_the_base_off() {
    let mut unit = start(BOTH, &tracks(), 5000);
    let mut mux = BOTH;
    for dts_ms in [
        5000,
        4980,
        5040,
        0x1_0000_0000,
        0x1_0000_1388,
        0x1_0000_1000,
    ] {
        mux.write(&frame(FrameKind::Video, dts_ms, "27 01 000000"), &mut unit);
    }
    let out = rebased(&unit, 5000);
    assert_eq!(out[..13], unit[..13]);
    let (_, tags) = read(&out);
    let times: Vec<_> = tags.iter().map(|tag| tag.timestamp_ms).collect();
    assert_eq!(times, [0, 0, 0, 0, 0, 40, 0, 0, 0]);
    let (_, before) = read(&unit);
    assert!(
        tags.iter()
            .zip(before)
            .all(|(a, b)| a.body == b.body && a.kind == b.kind)
    );
}

#[test]
fn rebase_of_a_player_that_stays_for_weeks() {
    let mut mux = BOTH;
    let mut unit = BytesMut::new();
    const BASE_MS: u64 = 7000;
    const WEEKS_MS: u64 = 40 * 86_400_000;
    mux.write(
        &frame(FrameKind::Video, BASE_MS + WEEKS_MS, "27 01 000000"),
        &mut unit,
    );
    let mut file = start(BOTH, &Tracks::new(), 0);
    file.extend_from_slice(&rebased(&unit, BASE_MS as u32));
    assert_eq!(read(&file).1[1].timestamp_ms, WEEKS_MS as u32);
}

#[test]
fn rebase_of_what_is_no_tag_copies_it() {
    for other in [
        "",
        "00",
        "464c56",
        "464c56 01 05 00000009 0000",
        "09 ffffff 000000 00 000000 00",
    ] {
        assert_eq!(rebased(&hex(other), 1), hex(other));
    }
    // From the middle of a tag on nothing is changed.
    let mut unit = BytesMut::new();
    let mut mux = BOTH;
    mux.write(&frame(FrameKind::Video, 100, H264_KEYFRAME), &mut unit);
    mux.write(&frame(FrameKind::Audio, 100, AAC_FRAME), &mut unit);
    assert_eq!(rebased(&unit[1..], 100), unit[1..]);
    // A whole tag, then part of one.
    let out = rebased(&unit[..unit.len() - 1], 100);
    assert_eq!(out.len(), unit.len() - 1);
    assert_ne!(out[4..8], unit[4..8]);
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let body = proptest::collection::vec(any::<u8>(), 0..300);
    let kind = prop_oneof![
        Just(FrameKind::Video),
        Just(FrameKind::Audio),
        Just(FrameKind::Data)
    ];
    (kind, any::<u64>(), body, 0..BODIES.len()).prop_filter_map(
        "not a tag body",
        |(kind, dts_ms, body, fixture)| {
            let (video, digits) = BODIES[fixture];
            let body = if body.len() % 2 == 0 {
                hex(digits)
            } else {
                Bytes::from(body)
            };
            let kind = match (kind, video) {
                (FrameKind::Data, _) => FrameKind::Data,
                (_, true) => FrameKind::Video,
                (_, false) => FrameKind::Audio,
            };
            Frame::parse(kind, dts_ms, body).ok()
        },
    )
}

proptest! {
    #[test]
    fn what_is_muxed_can_be_read_back(frames in proptest::collection::vec(any_frame(), 0..40), base_ms: u32) {
        let mut tracks = Tracks::new();
        for frame in &frames {
            tracks.update(frame);
        }
        let mut out = start(BOTH, &tracks, 0);
        let before = read(&out).1.len();
        prop_assert_eq!(before, 1 + tracks.headers().count());
        let mut mux = BOTH;
        for frame in &frames {
            mux.write(frame, &mut out);
        }
        let (_, tags) = read(&out);
        let tags = &tags[before..];
        prop_assert_eq!(tags.len(), frames.len());
        for (tag, frame) in tags.iter().zip(&frames) {
            prop_assert_eq!(tag.kind, tag_type(frame.kind));
            prop_assert_eq!(tag.timestamp_ms, frame.dts_ms as u32);
            prop_assert_eq!(&tag.body, &frame.payload);
        }
        let rebased = rebased(&out, base_ms);
        let (_, after) = read(&rebased);
        for (tag, after) in read(&out).1.iter().zip(after) {
            prop_assert_eq!(&tag.body, &after.body);
            let late = tag.timestamp_ms.wrapping_sub(base_ms);
            prop_assert!(after.timestamp_ms == late || after.timestamp_ms == 0);
        }
    }

    #[test]
    fn rebase_never_changes_a_length(bytes in proptest::collection::vec(any::<u8>(), 0..300), base_ms: u32) {
        prop_assert_eq!(rebased(&bytes, base_ms).len(), bytes.len());
    }
}
