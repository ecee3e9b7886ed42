use super::*;
use crate::media::codec::CodecId;
use crate::media::fixtures::*;
use proptest::prelude::*;

fn body(properties: Vec<(&str, Value)>) -> BytesMut {
    let mut out = BytesMut::new();
    amf0::encode(&Value::from(ON_META_DATA), &mut out);
    let properties = properties
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    amf0::encode(&Value::EcmaArray(properties), &mut out);
    out
}

fn read(properties: Vec<(&str, Value)>) -> Metadata {
    Metadata::read(&body(properties))
}

fn rewritten(metadata: &Metadata, video: bool, audio: bool) -> Vec<(String, Value)> {
    let mut out = BytesMut::new();
    metadata.write_for_players(video, audio, &mut out);
    let values = amf0::decode_all(&out).unwrap();
    let [Value::String(name), Value::EcmaArray(properties)] = &values[..] else {
        panic!("{values:?}")
    };
    assert_eq!(name, "onMetaData");
    properties.clone()
}

fn names(properties: &[(String, Value)]) -> Vec<&str> {
    properties.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn of_ffmpeg() {
    let metadata = Metadata::read(&hex(META_DATA));
    assert_eq!(metadata.video_codec(), Some(Codec::Hevc));
    assert_eq!(metadata.audio_codec(), Some(Codec::Opus));
    assert_eq!(
        (metadata.width(), metadata.height()),
        (Some(322), Some(182))
    );
    assert_eq!(metadata.frame_rate(), Some(10.0));
    assert!(metadata.encoder().unwrap().starts_with("Lavf"));
    let properties = rewritten(&metadata, true, true);
    let kept = names(&properties);
    assert!(!kept.contains(&"duration") && !kept.contains(&"filesize"));
    assert_eq!(kept.first(), Some(&"width"));
    assert_eq!(kept.last(), Some(&"server"));
    assert_eq!(properties.last().unwrap().1, Value::from(SERVER));
}

#[test]
fn properties_keep_their_order_and_lose_what_describes_a_file() {
    let number = || Value::Number(1.0);
    let metadata = read(vec![
        ("zeta", number()),
        ("duration", number()),
        ("Duration", number()),
        (
            "keyframes",
            Value::object([("times", Value::StrictArray(vec![number()]))]),
        ),
        ("hasKeyframes", true.into()),
        ("hasAudio", true.into()),
        ("server", "SRS/7.0".into()),
        ("alpha", Value::Null),
        ("filesize", number()),
        ("canSeekToEnd", false.into()),
    ]);
    let properties = rewritten(&metadata, true, true);
    assert_eq!(names(&properties), ["zeta", "server", "alpha"]);
    assert_eq!(properties[1].1, Value::from(SERVER));
}

#[test]
fn players_without_audio_are_told_nothing_of_it() {
    let number = || Value::Number(1.0);
    let metadata = read(vec![
        ("width", number()),
        ("videocodecid", number()),
        ("audiocodecid", number()),
        ("stereo", true.into()),
        ("audioTrackIdInfoMap", Value::Null),
        ("videoTrackIdInfoMap", Value::Null),
        ("encoder", "x".into()),
    ]);
    let video_only = rewritten(&metadata, true, false);
    assert_eq!(
        names(&video_only),
        [
            "width",
            "videocodecid",
            "videoTrackIdInfoMap",
            "encoder",
            "server"
        ]
    );
    let audio_only = rewritten(&metadata, false, true);
    assert_eq!(
        names(&audio_only),
        [
            "audiocodecid",
            "stereo",
            "audioTrackIdInfoMap",
            "encoder",
            "server"
        ]
    );
}

#[test]
fn codec_ids_are_numbers_four_ccs_or_names() {
    let codecs = |video: Value, audio: Value| {
        let metadata = read(vec![("videocodecid", video), ("audiocodecid", audio)]);
        (metadata.video_codec(), metadata.audio_codec())
    };
    assert_eq!(
        codecs(7.0.into(), 10.0.into()),
        (Some(Codec::H264), Some(Codec::Aac))
    );
    assert_eq!(
        codecs(12.0.into(), 2.0.into()),
        (Some(Codec::Hevc), Some(Codec::Mp3))
    );
    assert_eq!(
        codecs(1_635_135_537.0.into(), 1_332_770_163.0.into()),
        (Some(Codec::Av1), Some(Codec::Opus))
    );
    assert_eq!(
        codecs("avc1".into(), "mp4a".into()),
        (Some(Codec::H264), Some(Codec::Aac))
    );
    assert_eq!(
        codecs("x".into(), "".into()),
        (Some(Codec::Other(CodecId::FourCc(*b"x   "))), None)
    );
    assert_eq!(codecs(f64::NAN.into(), (-1.0).into()), (None, None));
    assert_eq!(codecs(1e300.into(), Value::Null), (None, None));
    assert_eq!(codecs(0.0.into(), 0.0.into()).0, None);
}

#[test]
fn announcements() {
    let announced = |properties| {
        let metadata = read(properties);
        (metadata.announces_video(), metadata.announces_audio())
    };
    assert_eq!(announced(vec![]), (None, None));
    assert_eq!(announced(vec![("encoder", "x".into())]), (None, None));
    assert_eq!(
        announced(vec![("videocodecid", 7.0.into())]),
        (Some(true), Some(false))
    );
    assert_eq!(
        announced(vec![("audiocodecid", "mp4a".into())]),
        (Some(false), Some(true))
    );
    assert_eq!(
        announced(vec![
            ("videocodecid", 7.0.into()),
            ("hasVideo", false.into()),
            ("hasAudio", true.into())
        ]),
        (Some(false), Some(true))
    );
}

#[test]
fn kinds_of_script_tags() {
    let meta = body(vec![]).freeze();
    assert_eq!(classify(&meta), (FrameKind::Metadata, meta.clone()));
    let mut set = BytesMut::new();
    amf0::encode(&Value::from("@setDataFrame"), &mut set);
    set.extend_from_slice(&meta);
    assert_eq!(classify(&set.freeze()), (FrameKind::Metadata, meta));
    for other in [
        &b"\x02\x00\x0aonTextData"[..],
        b"",
        b"\x02\x00\x0aonMeta",
        b"\xff",
    ] {
        let other = Bytes::from_static(other);
        assert_eq!(classify(&other), (FrameKind::Data, other));
    }
}

#[test]
fn broken_metadata_is_used_up_to_the_break() {
    let whole = body(vec![
        ("width", 1280.0.into()),
        ("height", 720.0.into()),
        ("encoder", "obs".into()),
    ]);
    let cut = Metadata::read(&whole[..whole.len() - 8]);
    assert_eq!(
        (cut.width(), cut.height(), cut.encoder()),
        (Some(1280), Some(720), None)
    );
    // A type marker that does not exist, in the middle.
    let mut wrong = whole.clone();
    let height = wrong.windows(6).position(|at| at == b"height").unwrap();
    wrong[height + 6] = 0x77;
    let wrong = Metadata::read(&wrong);
    assert_eq!((wrong.width(), wrong.height()), (Some(1280), None));
    assert_eq!(
        Metadata::read(b"\x02\x00\x0aonMetaData\x05"),
        Metadata::default()
    );
    assert_eq!(
        Metadata::read(b"\x02\x00\x0aonMetaData"),
        Metadata::default()
    );
    assert_eq!(Metadata::read(b"garbage"), Metadata::default());
    // Of metadata of which nothing can be read, the server's name remains.
    assert_eq!(
        names(&rewritten(&Metadata::default(), true, true)),
        ["server"]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read(tail in proptest::collection::vec(any::<u8>(), 0..300), array: bool) {
        let mut body = b"\x02\x00\x0aonMetaData".to_vec();
        body.extend(if array { &b"\x08\0\0\0\x01"[..] } else { b"\x03" });
        body.extend(tail);
        let metadata = Metadata::read(&body);
        let mut out = BytesMut::new();
        metadata.write_for_players(true, true, &mut out);
        // What players get can always be read.
        amf0::decode_all(&out).unwrap();
    }
}
