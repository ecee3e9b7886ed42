use super::*;
use crate::media::fixtures::*;
use proptest::prelude::*;

fn audio(digits: &str) -> Frame {
    Frame::parse(FrameKind::Audio, 0, hex(digits)).unwrap()
}

fn tracks(frames: &[Frame]) -> Tracks {
    let mut tracks = Tracks::new();
    for frame in frames {
        tracks.update(frame);
    }
    tracks
}

/// What comes of frames, of which the first is usually a header; and how many were dropped.
fn write(frames: &[&str]) -> (BytesMut, u64) {
    let mut mux = AacMux::default();
    let mut out = BytesMut::new();
    for frame in frames {
        mux.write(&audio(frame), &mut out);
    }
    (out, mux.dropped())
}

/// AudioSpecificConfig to error.
fn error(config: &str) -> AdtsError {
    Adts::from_config(&hex(config)).unwrap_err()
}

#[test]
fn bytes_of_a_frame() {
    // LC (profile 1), 48 kHz (index 3), stereo; seven bytes of header and three of data.
    let (out, dropped) = write(&[AAC_HEADER, "af01 210011"]);
    assert_eq!(out, hex("fff1 4c 80 01 5f fc  210011"));
    assert_eq!(dropped, 0);
    // E-RTMP.
    let (out, _) = write(&["90 6d703461 1190", "91 6d703461 210011"]);
    assert_eq!(out, hex("fff1 4c 80 01 5f fc  210011"));
}

#[test]
fn he_aac_states_its_core() {
    // SBR with 44.1 kHz over LC with 22.05 kHz (index 7), stereo: object type 5, then the core.
    let explicit = Adts::from_config(&hex("2b920800")).unwrap();
    // The same, told behind a config of plain LC: 0x2b7, object type 5.
    let compatible = Adts::from_config(&hex("1390 56e5a0")).unwrap();
    assert_eq!(explicit, compatible);
    assert_eq!(explicit.header(1).unwrap()[2..4], [0x40 | 7 << 2, 2 << 6]);
    // PS over a mono core: object type 29.
    let ps = Adts::from_config(&hex("eb8a0800")).unwrap();
    assert_eq!(ps.header(1).unwrap()[2..4], [0x40 | 7 << 2, 1 << 6]);
}

#[test]
fn channels_up_to_seven_one() {
    // LC, 44.1 kHz, channel configuration 7.
    let adts = Adts::from_config(&hex("1238")).unwrap();
    assert_eq!(adts.header(100).unwrap()[2..4], [0x40 | 4 << 2 | 1, 3 << 6]);
}

#[test]
fn a_program_config_goes_into_each_frame() {
    // As FFmpeg writes it for six channels in a hexagon: LC, 44.1 kHz, configuration 0; tag 0, LC, index 4; front 2 elements,
    // a single one and a pair, side none, back 2 elements, a pair and a single one; no comment.
    let config = "1200 0508 0800 0604 0000";
    let header = format!("af00 {config}");
    let adts = Adts::from_config(&hex(config)).unwrap();
    // ID_PCE is 101; the element follows in the next bit, and ends with its comment's length.
    let element = adts.program_config().to_vec();
    assert_eq!(element[0] >> 5, 5);
    let (out, _) = write(&[&header, "af01 210011", "af01 210022"]);
    let length = 7 + element.len() + 3;
    assert_eq!(out.len(), 2 * length);
    for (frame, last) in out.chunks(length).zip([0x11, 0x22]) {
        assert_eq!(frame[2..4], [0x50, (length >> 11) as u8]);
        assert_eq!(frame[7..7 + element.len()], element);
        assert_eq!(frame[7 + element.len()..], [0x21, 0, last]);
    }
}

#[test]
fn configs_without_a_place() {
    // xHE-AAC (42), ELD (39), reserved (0).
    assert_eq!(error("f94640"), AdtsError::ObjectType(42));
    assert_eq!(error("f8e640"), AdtsError::ObjectType(39));
    assert_eq!(error("0210"), AdtsError::ObjectType(0));
    assert_eq!(error("1260"), AdtsError::Channels(12));
    // 960 samples; core coder; extension flag.
    assert_eq!(error("1214"), AdtsError::FrameLength);
    assert_eq!(error("1212"), AdtsError::Scalable);
    assert_eq!(error("1211"), AdtsError::Scalable);
    // Index 13; 12,345 Hz spelt out.
    assert_eq!(error("1690"), AdtsError::SampleRate);
    assert_eq!(error("17 80181c 90"), AdtsError::SampleRate);
    assert_eq!(
        error("12"),
        AdtsError::Truncated {
            reading: "samplingFrequencyIndex",
            offset: 0
        }
    );
}

#[test]
fn a_table_rate_that_is_spelt_out() {
    // 48,000 Hz: index 15, then 24 bits.
    let adts = Adts::from_config(&hex("17 805dc0 10")).unwrap();
    assert_eq!(adts, Adts::from_config(&hex("1190")).unwrap());
}

#[test]
fn frames_of_all_sizes() {
    let adts = Adts::from_config(&hex("1190")).unwrap();
    assert_eq!(adts.header(0), None);
    assert_eq!(adts.header(8_185), None);
    for size in [1, 100, 1_000, 8_184] {
        let header = adts.header(size).unwrap();
        let length = usize::from(header[3] & 3) << 11
            | usize::from(header[4]) << 3
            | usize::from(header[5]) >> 5;
        assert_eq!(length, size + 7);
    }
}

#[test]
fn what_is_dropped() {
    // Before its header; of another codec; empty; of another track.
    let (out, dropped) = write(&[
        "af01 210011",
        AAC_HEADER,
        MP3_FRAME,
        "af01",
        AAC_TRACK_1_HEADER,
        "95 01 6d703461 01 210022",
    ]);
    assert_eq!((out.len(), dropped), (0, 4));
    // A header without a place: its frames are not given with the headers of before.
    let (out, dropped) = write(&[AAC_HEADER, "af00 1260", "af01 210011"]);
    assert_eq!((out.len(), dropped), (0, 1));
    // An empty header is none.
    let (out, dropped) = write(&[AAC_HEADER, "af00", "af01 210011"]);
    assert_eq!((out.len(), dropped), (10, 0));
}

#[test]
fn video_and_data_give_nothing() {
    let mut mux = AacMux::new(&tracks(&[audio(AAC_HEADER)]));
    let mut out = BytesMut::new();
    for (kind, body) in [
        (FrameKind::Video, H264_KEYFRAME),
        (FrameKind::Metadata, META_DATA),
    ] {
        mux.write(&Frame::parse(kind, 0, hex(body)).unwrap(), &mut out);
    }
    mux.start(&Tracks::new(), 0, &mut out);
    mux.headers(&Tracks::new(), 0, &mut out);
    assert!(out.is_empty());
    mux.write(&audio("af01 210011"), &mut out);
    assert_eq!((out.len(), mux.dropped()), (10, 0));
}

#[test]
fn what_is_supported() {
    let said = |frames: &[Frame]| match AacMux::supports(&tracks(frames)) {
        Ok(()) => String::new(),
        Err(unsupported) => unsupported.to_string(),
    };
    let video = Frame::parse(FrameKind::Video, 0, hex(H264_HEADER)).unwrap();
    assert_eq!(said(&[]), "");
    assert_eq!(said(&[video.clone(), audio(AAC_HEADER)]), "");
    // One track of several will do.
    assert_eq!(said(&[audio(OPUS_HEADER), audio(AAC_TRACK_1_HEADER)]), "");
    assert_eq!(
        said(std::slice::from_ref(&video)),
        "the stream has no audio"
    );
    assert_eq!(
        said(&[audio(OPUS_HEADER)]),
        "the stream's audio is Opus, which has no place in ADTS"
    );
    assert_eq!(
        said(&[audio("af00 1260")]),
        "the stream's AAC has no place in ADTS: channel configuration 12"
    );
    // Frames say what they are, whatever was said before.
    let mp3 = "the stream's audio is MP3, which has no place in ADTS";
    assert_eq!(said(&[audio(MP3_FRAME)]), mp3);
    assert_eq!(said(&[audio(AAC_HEADER), audio(MP3_FRAME)]), mp3);
    assert_eq!(said(&[audio(MP3_FRAME), audio(AAC_HEADER)]), "");
    // AAC whose header is still to come.
    assert_eq!(said(&[audio("af01 210011")]), "");
}

proptest! {
    /// Whatever the config and the frame: a header states the length of what follows it.
    #[test]
    fn frames_can_be_walked(
        config in prop::collection::vec(any::<u8>(), 0..24),
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9_000), 1..4),
    ) {
        let mut mux = AacMux::default();
        let mut out = BytesMut::new();
        let mut body = vec![0xaf, 0];
        body.extend_from_slice(&config);
        mux.write(&Frame::parse(FrameKind::Audio, 0, body.into()).unwrap(), &mut out);
        prop_assert!(out.is_empty());
        let count = frames.len() as u64;
        for frame in frames {
            let body = [&[0xaf, 1], &frame[..]].concat();
            mux.write(&Frame::parse(FrameKind::Audio, 0, body.into()).unwrap(), &mut out);
        }
        let mut walked = 0;
        let mut rest = &out[..];
        while let [0xff, 0xf1, _, a, b, c, _, ..] = rest {
            let length = usize::from(a & 3) << 11 | usize::from(*b) << 3 | usize::from(c >> 5);
            rest = &rest[length..];
            walked += 1;
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(walked + mux.dropped(), count);
    }
}
