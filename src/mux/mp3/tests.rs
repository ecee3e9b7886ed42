use super::*;
use crate::media::fixtures::*;

fn audio(digits: &str) -> Frame {
    Frame::parse(FrameKind::Audio, 0, hex(digits)).unwrap()
}

fn supports(frames: &[Frame]) -> String {
    let mut tracks = Tracks::new();
    for frame in frames {
        tracks.update(frame);
    }
    match Mp3Mux::supports(&tracks) {
        Ok(()) => String::new(),
        Err(unsupported) => unsupported.to_string(),
    }
}

#[test]
fn versions() {
    for (frame, expected) in [
        ("fffb9064", Some(Version::Mpeg1)),
        ("fffa9064", Some(Version::Mpeg1)),
        ("fff38064", Some(Version::Lower)),
        ("ffe38064", Some(Version::Lower)),
        // Reserved version, layers II and I, bit rate 15, sampling rate 3, no sync, too short.
        ("ffeb9064", None),
        ("fffd9064", None),
        ("ffff9064", None),
        ("fffbf064", None),
        ("fffb9c64", None),
        ("ff1b9064", None),
        ("00fb9064", None),
        ("fffb90", None),
    ] {
        assert_eq!(version(&hex(frame)), expected, "{frame}");
    }
}

#[test]
fn frames_pass_through() {
    let mut mux = Mp3Mux::new();
    let mut out = BytesMut::new();
    mux.start(&Tracks::new(), 0, &mut out);
    mux.headers(&Tracks::new(), 0, &mut out);
    assert!(out.is_empty());
    // Legacy, legacy with 8 kHz, E-RTMP with its empty header before it.
    for body in [
        MP3_FRAME,
        "e2 ffe38064",
        "90 2e6d7033",
        "91 2e6d7033 fffb9064",
    ] {
        mux.write(&audio(body), &mut out);
    }
    let expected = [&hex(MP3_FRAME)[1..], &hex("ffe38064 fffb9064")].concat();
    assert_eq!((&out[..], mux.dropped()), (&expected[..], 0));
}

#[test]
fn all_else_is_dropped() {
    let mut mux = Mp3Mux::new();
    let mut out = BytesMut::new();
    // Track 1 until track 0 comes.
    mux.write(&audio("95 01 2e6d7033 01 fffb9064"), &mut out);
    assert_eq!((out.len(), mux.dropped()), (4, 0));
    mux.write(&audio(MP3_FRAME), &mut out);
    let length = out.len();
    for body in [
        "95 01 2e6d7033 01 fffb9064",
        AAC_FRAME,
        "2f 00",
        "2f fffd9064",
    ] {
        mux.write(&audio(body), &mut out);
    }
    let video = Frame::parse(FrameKind::Video, 0, hex(H264_KEYFRAME)).unwrap();
    mux.write(&video, &mut out);
    assert_eq!((out.len(), mux.dropped()), (length, 4));
}

#[test]
fn what_is_supported() {
    let video = Frame::parse(FrameKind::Video, 0, hex(H264_HEADER)).unwrap();
    assert_eq!(supports(&[]), "");
    assert_eq!(supports(&[video.clone(), audio(MP3_FRAME)]), "");
    assert_eq!(supports(&[video]), "the stream has no audio");
    let aac = supports(&[audio(AAC_HEADER)]);
    if cfg!(feature = "transcode") {
        assert_eq!(aac, "");
    } else {
        assert_eq!(aac, "the stream's audio is AAC, which has no place in MP3");
    }
}
