use super::*;
use crate::media::fixtures::*;
use crate::media::metadata;

fn video(digits: &str) -> Frame {
    Frame::parse(FrameKind::Video, 0, hex(digits)).unwrap()
}

fn audio(digits: &str) -> Frame {
    Frame::parse(FrameKind::Audio, 0, hex(digits)).unwrap()
}

fn metadata() -> Frame {
    let (kind, body) = metadata::classify(&hex(META_DATA));
    Frame::parse(kind, 0, body).unwrap()
}

fn headers(tracks: &Tracks) -> Vec<Bytes> {
    tracks
        .headers()
        .map(|frame| frame.payload.clone())
        .collect()
}

#[test]
fn video_comes_before_audio_whatever_came_first() {
    let mut tracks = Tracks::new();
    assert!(tracks.update(&audio(AAC_HEADER)));
    assert!(tracks.update(&video(H264_HEADER)));
    assert_eq!(headers(&tracks), [hex(H264_HEADER), hex(AAC_HEADER)]);
    assert!(tracks.has_video() && tracks.has_audio());
    tracks.clear();
    assert!(tracks.headers().next().is_none() && !tracks.has_video() && !tracks.has_audio());
}

#[test]
fn only_other_bytes_are_a_change() {
    let mut tracks = Tracks::new();
    assert!(tracks.update(&video(H264_HEADER)));
    assert!(!tracks.update(&video(H264_HEADER)));
    assert!(!tracks.update(&video(H264_KEYFRAME)));
    assert!(tracks.update(&video(H264_INTERLACED_HEADER)));
    assert_eq!(headers(&tracks), [hex(H264_INTERLACED_HEADER)]);
    assert!(tracks.update(&metadata()));
    assert!(!tracks.update(&metadata()));
    assert!(tracks.metadata().is_some());
}

#[test]
fn what_is_kept_does_not_hold_the_buffer_it_came_in() {
    let buffer = Bytes::from(vec![0x17; 1 << 16]);
    let mut body = hex(H264_HEADER).to_vec();
    body.extend_from_slice(&buffer);
    let body = Bytes::from(body);
    let frame = Frame::parse(FrameKind::Video, 0, body.slice(..52)).unwrap();
    let mut tracks = Tracks::new();
    tracks.update(&frame);
    let kept = tracks.headers().next().unwrap().payload.as_ptr() as usize;
    let came = body.as_ptr() as usize;
    assert!(!(came..came + body.len()).contains(&kept));
}

#[test]
fn seen_by_coded_frames_alone() {
    let mut tracks = Tracks::new();
    assert!(!tracks.update(&audio(MP3_FRAME)));
    assert!(tracks.has_audio() && !tracks.has_video());
    // A command frame, an empty message or the end of a sequence is neither.
    let mut tracks = Tracks::new();
    for frame in [video("57 00"), video(""), audio(""), video("17 02 000000")] {
        assert!(!tracks.update(&frame));
    }
    assert!(!tracks.has_audio() && !tracks.has_video());
}

/// What frames showed and no header says: track, codec, how the newest frame begins.
fn unconfigured(tracks: &Tracks, kind: FrameKind) -> Vec<(u8, Codec, Vec<u8>)> {
    let all = tracks.unconfigured(kind);
    all.map(|seen| (seen.track, seen.codec, seen.head.to_vec()))
        .collect()
}

#[test]
fn codecs_without_a_header_are_known_by_their_frames() {
    let mut tracks = Tracks::new();
    tracks.update(&audio("2f fffb9064 000102030405"));
    tracks.update(&video("91 76703038 aabb"));
    let head = hex("fffb9064000102").to_vec();
    assert_eq!(
        unconfigured(&tracks, FrameKind::Audio),
        [(0, Codec::Mp3, head)]
    );
    let head = hex("aabb").to_vec();
    assert_eq!(
        unconfigured(&tracks, FrameKind::Video),
        [(0, Codec::Vp8, head)]
    );
    // The newest frame counts.
    tracks.update(&audio("2f fff3"));
    let head = hex("fff3").to_vec();
    assert_eq!(
        unconfigured(&tracks, FrameKind::Audio),
        [(0, Codec::Mp3, head)]
    );
    tracks.clear();
    assert!(unconfigured(&tracks, FrameKind::Audio).is_empty());
}

#[test]
fn what_came_last_counts() {
    let aac = || audio("af01 210011");
    let mut tracks = Tracks::new();
    tracks.update(&audio(AAC_HEADER));
    tracks.update(&aac());
    assert!(unconfigured(&tracks, FrameKind::Audio).is_empty());
    // MP3 follows AAC, and AAC follows MP3.
    tracks.update(&audio(MP3_FRAME));
    assert_eq!(unconfigured(&tracks, FrameKind::Audio)[0].1, Codec::Mp3);
    tracks.update(&audio(AAC_HEADER));
    assert!(unconfigured(&tracks, FrameKind::Audio).is_empty());
    tracks.update(&audio(MP3_FRAME));
    tracks.update(&aac());
    assert!(unconfigured(&tracks, FrameKind::Audio).is_empty());
    // An empty header says no more than the frames.
    let mut tracks = Tracks::new();
    tracks.update(&audio("90 61632d33"));
    tracks.update(&audio("91 61632d33 0b77aa"));
    assert_eq!(unconfigured(&tracks, FrameKind::Audio)[0].1, Codec::Ac3);
    tracks.update(&audio("90 61632d33"));
    assert_eq!(unconfigured(&tracks, FrameKind::Audio)[0].1, Codec::Ac3);
}

#[test]
fn each_track_of_a_packet_is_noted() {
    let mut tracks = Tracks::new();
    tracks.update(&audio(AAC_HEADER));
    tracks.update(&audio("af01 210011"));
    // Many tracks of many codecs: AAC on 0, which has a header, and MP3 on 1.
    tracks.update(&audio(
        "95 21 6d703461 00 000001 21 2e6d7033 01 000002 fffb",
    ));
    assert_eq!(
        unconfigured(&tracks, FrameKind::Audio),
        [(1, Codec::Mp3, hex("fffb").to_vec())]
    );
    // However many tracks there are.
    let mut tracks = Tracks::new();
    for track in 0..=255 {
        tracks.update(&audio(&format!("95 01 2e6d7033 {track:02x} fffb")));
    }
    assert_eq!(unconfigured(&tracks, FrameKind::Audio).len(), MAX_HEADERS);
}

#[test]
fn what_is_expected_is_what_came_later() {
    let mut early = Tracks::new();
    early.update(&video(H264_HEADER));
    // An empty record says nothing.
    early.update(&audio("90 61632d33"));
    let mut later = early.clone();
    later.update(&audio("91 61632d33 0b77"));
    later.update(&video("91 76703038 aabb"));
    early.expect(&later);
    assert_eq!(unconfigured(&early, FrameKind::Audio)[0].1, Codec::Ac3);
    // What is known of a track already stands.
    assert!(unconfigured(&early, FrameKind::Video).is_empty());
}

#[test]
fn end_of_sequence_clears_nothing() {
    let mut tracks = Tracks::new();
    tracks.update(&video(H264_HEADER));
    assert!(!tracks.update(&video("17 02 000000")));
    assert_eq!(headers(&tracks).len(), 1);
}

#[test]
fn colour_and_channels_stand_beside_the_configuration() {
    let mut tracks = Tracks::new();
    for frame in [
        video(COLOR_INFO),
        video(HEVC_HEADER),
        audio(AAC_MULTICHANNEL),
        audio(AAC_HEADER),
    ] {
        assert!(tracks.update(&frame));
    }
    assert_eq!(
        headers(&tracks),
        [
            hex(HEVC_HEADER),
            hex(COLOR_INFO),
            hex(AAC_HEADER),
            hex(AAC_MULTICHANNEL)
        ]
    );
    assert!(tracks.update(&video(HEVC10_HEADER)));
    assert_eq!(headers(&tracks).len(), 4);
}

#[test]
fn an_empty_header_gives_way_to_the_real_one() {
    let mut tracks = Tracks::new();
    assert!(tracks.update(&video(AV1_EMPTY_HEADER)));
    assert!(tracks.update(&video(AV1_HEADER)));
    assert_eq!(headers(&tracks), [hex(AV1_HEADER)]);
}

#[test]
fn tracks_have_headers_of_their_own() {
    let mut tracks = Tracks::new();
    for frame in [
        video(H264_TRACK_1_HEADER),
        video(H264_HEADER),
        audio(AAC_TRACK_1_HEADER),
        audio(AAC_HEADER),
    ] {
        assert!(tracks.update(&frame));
    }
    assert_eq!(
        headers(&tracks),
        [
            hex(H264_HEADER),
            hex(H264_TRACK_1_HEADER),
            hex(AAC_HEADER),
            hex(AAC_TRACK_1_HEADER)
        ]
    );
}

#[test]
fn a_packet_of_many_tracks_stays_until_all_are_superseded() {
    let both = "96 10 61763031 01 000001 aa 02 000001 bb";
    let mut tracks = Tracks::new();
    assert!(tracks.update(&video(both)));
    assert!(!tracks.update(&video(both)));
    // Track 1 anew: the old packet is needed for track 2, and must come first or it would win.
    let one = "96 00 61763031 01 cc";
    assert!(tracks.update(&video(one)));
    assert_eq!(headers(&tracks), [hex(both), hex(one)]);
    // The old packet once more is a change now: it takes track 1 back.
    assert!(tracks.update(&video(both)));
    assert_eq!(headers(&tracks), [hex(both)]);
    assert!(tracks.update(&video(one)));
    let two = "96 00 61763031 02 dd";
    assert!(tracks.update(&video(two)));
    assert_eq!(headers(&tracks), [hex(one), hex(two)]);
    // A third one, which was in no packet before.
    assert!(tracks.update(&video("90 61763031 ee")));
    assert_eq!(headers(&tracks).len(), 3);
}

#[test]
fn the_number_of_headers_is_bounded() {
    let mut tracks = Tracks::new();
    for track in 0..=255u8 {
        tracks.update(&video(&format!("96 00 61763031 {track:02x} aa")));
    }
    assert_eq!(headers(&tracks).len(), MAX_HEADERS);
    // Those that are kept can still be replaced.
    assert!(tracks.update(&video("96 00 61763031 03 bb")));
    assert_eq!(headers(&tracks).len(), MAX_HEADERS);
}

#[test]
fn oversized_metadata_is_not_kept() {
    let mut body = hex(META_DATA).to_vec();
    body.resize(MAX_METADATA_BYTES + 1, 0);
    let mut tracks = Tracks::new();
    assert!(!tracks.update(&Frame::parse(FrameKind::Metadata, 0, body.into()).unwrap()));
    assert!(tracks.metadata().is_none());
}

#[test]
fn announced() {
    let mut tracks = Tracks::new();
    assert_eq!(
        (tracks.announced_video(), tracks.announced_audio()),
        (None, None)
    );
    tracks.update(&metadata());
    assert_eq!(
        (tracks.announced_video(), tracks.announced_audio()),
        (Some(true), Some(true))
    );
}
