//! What becomes of the frames of each codec.

use super::*;

/// Makes H.264 frames of NAL units, with lengths of so many bytes.
fn h264(dts_ms: u64, key: bool, length_size: usize, nals: &[&str]) -> Frame {
    let mut body = String::from(if key { "17 01 000000" } else { "27 01 000000" });
    for nal in nals {
        let length = hex(nal).len() as u32;
        let digits = format!("{length:08x}");
        body += &digits[8 - 2 * length_size..];
        body += nal;
    }
    video(dts_ms, &body)
}

/// [`H264_HEADER`] with another lengthSizeMinusOne.
fn header(length_size: usize) -> Frame {
    let mut body = hex(H264_HEADER).to_vec();
    body[9] = 0xfc | (length_size as u8 - 1);
    Frame::parse(FrameKind::Video, 0, body.into()).unwrap()
}

/// The byte stream of one frame.
fn stream_of(header: Frame, frame: Frame) -> Vec<u8> {
    let mut mux = mux(&[header]);
    let reader = read(&mut mux, &[frame]);
    assert_eq!((reader.pes.len(), mux.dropped()), (1, 0));
    reader.stream(VIDEO_PID)
}

const DELIMITER: &str = "00000001 09f0";

#[test]
fn parameter_sets_come_before_an_idr_picture() {
    for size in 1..=4 {
        let frame = h264(0, true, size, &["06aa", "65bb"]);
        assert_eq!(
            stream_of(header(size), frame),
            hex(&format!("{DELIMITER} {H264_SETS} 000001 06aa 000001 65bb"))
        );
        let frame = h264(0, false, size, &["41bb"]);
        assert_eq!(
            stream_of(header(size), frame),
            hex(&format!("{DELIMITER} 000001 41bb"))
        );
    }
    // An IDR picture that is not flagged, and a keyframe without one (recovery point, open GOP).
    for (key, nal) in [(false, "65bb"), (true, "41bb")] {
        let frame = h264(0, key, 4, &[nal]);
        let reader = read(&mut mux(&[header(4)]), &[frame]);
        assert!(reader.pes[0].random_access);
        assert_eq!(
            reader.pes[0].payload,
            hex(&format!("{DELIMITER} {H264_SETS} 000001 {nal}"))
        );
    }
}

#[test]
fn parameter_sets_are_not_repeated() {
    let frame = h264(0, true, 4, &["67cc", "68dd", "65bb"]);
    assert_eq!(
        stream_of(header(4), frame),
        hex(&format!(
            "{DELIMITER} 00000001 67cc 00000001 68dd 000001 65bb"
        ))
    );
    // Only one of the two is there.
    let frame = h264(0, true, 4, &["67cc", "65bb"]);
    assert_eq!(
        stream_of(header(4), frame),
        hex(&format!(
            "{DELIMITER} 00000001 68ebe3cb22c0 00000001 67cc 000001 65bb"
        ))
    );
}

#[test]
fn a_delimiter_is_not_repeated() {
    let frame = h264(0, true, 4, &["0910", "06aa", "65bb"]);
    assert_eq!(
        stream_of(header(4), frame),
        hex(&format!(
            "00000001 0910 {H264_SETS} 000001 06aa 000001 65bb"
        ))
    );
    // Two fields, two access units: the second has its own.
    let frame = h264(0, false, 4, &["0930", "41aa", "0930", "41bb"]);
    assert_eq!(
        stream_of(header(4), frame),
        hex("00000001 0930 000001 41aa 00000001 0930 000001 41bb")
    );
}

#[test]
fn h265_by_either_name() {
    // VPS, SPS and SEI of a record with lengths of four bytes; the PPS is in the stream.
    let record = "01 01 60000000 900000000000 3c f000 fc fd f8 f8 0000 0f 03 \
        a0 0001 0003 4001aa  a1 0001 0003 4201bb  a7 0001 0003 4e01cc";
    let nals = "00000003 4401dd 00000003 2601ee";
    let names = [
        ("1c 00 000000", "1c 01 000000"),
        ("90 68766331", "91 68766331 000000"),
        ("90 68766331", "93 68766331"),
    ];
    for (header, frame) in names {
        let header = video(0, &format!("{header}{record}"));
        let frame = video(0, &format!("{frame}{nals}"));
        assert_eq!(
            stream_of(header, frame),
            hex(
                "00000001 460150 00000001 4001aa 00000001 4201bb 00000001 4e01cc \
                00000001 4401dd 000001 2601ee"
            )
        );
    }
}

#[test]
fn broken_pictures_are_dropped() {
    let mut mux = mux(&[video(0, H264_HEADER)]);
    let broken = [
        // A length past the end, half a length, nothing, only empty NAL units.
        "27 01 000000 00000004 41aabb",
        "27 01 000000 00000003 41aabb 0000",
        "27 01 000000",
        "27 01 000000 00000000 00000000",
        "27 01 000000 ffffffff 41",
    ];
    let frames: Vec<_> = broken.iter().map(|body| video(0, body)).collect();
    let reader = read(&mut mux, &frames);
    assert_eq!((reader.packets, mux.dropped()), (0, broken.len() as u64));
    // Empty NAL units among others do no harm.
    let reader = read(
        &mut mux,
        &[video(0, "27 01 000000 00000000 00000002 41aa 00000000")],
    );
    assert!(reader.stream(VIDEO_PID).ends_with(&hex("000001 41aa")));
}

#[test]
fn frames_without_their_header_are_dropped() {
    let mut mux = mux(&[]);
    let reader = read(
        &mut mux,
        &[
            idr(0),
            sound(0),
            video(0, HEVC_FRAME_X),
            video(0, AV1_KEYFRAME),
        ],
    );
    assert_eq!((reader.packets, mux.dropped()), (0, 4));
    // An empty header is none; a truncated one serves as far as it goes.
    let frames = [
        video(0, "17 00 000000"),
        idr(0),
        video(0, "17 00 000000 0164000cff"),
        idr(0),
    ];
    let reader = read(&mut mux, &frames);
    assert_eq!((reader.pes.len(), mux.dropped()), (1, 5));
    assert_eq!(
        reader.stream(VIDEO_PID),
        hex(&format!("{DELIMITER} 000001 65aabb"))
    );
}

#[test]
fn aac_gets_headers() {
    for (header, frame) in [
        (AAC_HEADER, "af01 210011"),
        ("90 6d703461 1190", "91 6d703461 210011"),
    ] {
        let reader = read(&mut mux(&[audio(0, header)]), &[audio(0, frame)]);
        // LC, 48 kHz, stereo, ten bytes.
        assert_eq!(reader.stream(AUDIO_PID), hex("fff14c80015ffc 210011"));
        assert_eq!(reader.pes[0].stream_id, 0xc0);
    }
}

#[test]
fn what_passes_through() {
    for (frame, head, stream_id) in [
        (MP3_FRAME, 1, 0xc0),
        (AC3_FRAME, 5, 0xbd),
        (EAC3_FRAME, 5, 0xbd),
    ] {
        let reader = read(&mut mux(&[]), &[audio(0, frame), audio(20, frame)]);
        let body = &hex(frame)[head..];
        assert_eq!(reader.stream(AUDIO_PID), [body, body].concat());
        assert!(reader.pes.iter().all(|pes| pes.stream_id == stream_id));
    }
}

#[test]
fn what_is_not_what_it_says() {
    let mut mux = mux(&[]);
    let frames = [
        // MP3 without sync, layer II, AC-3 without sync, with a bsid of E-AC-3, cut off; E-AC-3 without sync.
        audio(0, "2f 00fb9064"),
        audio(0, "2f fffd9064"),
        audio(0, "91 61632d33 0b760000 1e40eb"),
        audio(0, "91 61632d33 0b770000 1e80eb"),
        audio(0, "91 61632d33 0b77"),
        audio(0, "91 65632d33 770b"),
    ];
    let reader = read(&mut mux, &frames);
    assert_eq!((reader.packets, mux.dropped()), (0, frames.len() as u64));
}

#[test]
fn opus_gets_control_headers() {
    for (size, head) in [
        (1, "7fe0 01"),
        (254, "7fe0 fe"),
        (255, "7fe0 ff00"),
        (600, "7fe0 ffff5a"),
    ] {
        let packet = "5c".repeat(size);
        let frame = audio(0, &format!("91 4f707573 {packet}"));
        let reader = read(&mut mux(&[audio(0, OPUS_HEADER)]), &[frame]);
        assert_eq!(reader.stream(AUDIO_PID), hex(&format!("{head} {packet}")));
        assert_eq!(reader.pes[0].stream_id, 0xbd);
    }
}

#[test]
fn opus_channel_mappings() {
    let head = "90 4f707573 4f70757348656164 01";
    let channels = |rest: &str| {
        let mut mux = mux(&[audio(0, &format!("{head}{rest}"))]);
        let reader = read(&mut mux, &[audio(0, OPUS_FRAME)]);
        *reader.map.unwrap().streams[0].2.last().unwrap()
    };
    assert_eq!(channels("01 3801 80bb0000 0000 00"), 1);
    // 5.1 in Vorbis order.
    assert_eq!(channels("06 3801 80bb0000 0000 01 04 02 000401020305"), 6);
    // Nobody knows ambisonics; its frames are taken for stereo, which every decoder makes of a first stream.
    let mut mux = mux(&[audio(
        0,
        &format!("{head} 04 3801 80bb0000 0000 02 04 00 00010203"),
    )]);
    assert!(mux.tracks.is_empty());
    read(&mut mux, &[audio(0, OPUS_FRAME)]);
}

#[test]
fn each_size_fits_its_packets() {
    let mut mux = mux(&[audio(0, OPUS_HEADER)]);
    let mut reader = Reader::new();
    for size in 1..1_000 {
        let mut body = hex("91 4f707573").to_vec();
        body.resize(5 + size, 0x5c);
        let frame = Frame::parse(FrameKind::Audio, size as u64 * 10, body.into()).unwrap();
        let mut out = BytesMut::new();
        mux.write(&frame, &mut out);
        reader.feed(&out);
        let payload = &reader.pes.last().unwrap().payload;
        assert_eq!(payload.len(), 2 + size / 255 + 1 + size);
    }
}

#[test]
fn the_length_of_a_large_pes_packet() {
    // PES_packet_length counts eight bytes of header; the unit has a delimiter of six and a start code of three.
    for (size, length) in [(65_518, 65_535), (65_519, 0), (300_000, 0)] {
        let mut body = hex("27 01 000000").to_vec();
        body.extend_from_slice(&(size as u32).to_be_bytes());
        body.resize(body.len() + size, 0x41);
        let frame = Frame::parse(FrameKind::Video, 0, body.into()).unwrap();
        let reader = read(&mut mux(&[video(0, H264_HEADER)]), &[frame]);
        assert_eq!(reader.pes[0].length, length);
        assert_eq!(reader.pes[0].payload.len(), size + 9);
    }
    // Audio has to state it.
    for (size, dropped) in [(65_527, 0), (65_528, 1)] {
        let mut body = hex("91 65632d33 0b77").to_vec();
        body.resize(5 + size, 0);
        let frame = Frame::parse(FrameKind::Audio, 0, body.into()).unwrap();
        let mut mux = mux(&[]);
        let reader = read(&mut mux, &[frame]);
        assert_eq!(
            (reader.pes.len(), mux.dropped()),
            (1 - dropped as usize, dropped)
        );
    }
}

#[test]
fn no_memory_but_one_reservation() {
    let mut mux = h264_aac();
    let mut body = hex("17 01 000000").to_vec();
    body.extend_from_slice(&40_000u32.to_be_bytes());
    body.resize(body.len() + 40_000, 0x65);
    let key = Frame::parse(FrameKind::Video, 0, body.into()).unwrap();
    for (frame, least) in [(key, 40_000), (inter(500), 1), (sound(900), 1)] {
        let mut out = BytesMut::new();
        mux.write(&frame, &mut out);
        let capacity = out.capacity();
        assert!(out.len() >= least);
        // What was reserved was enough, and not much more: the buffer did not grow to twice its size.
        assert!(
            capacity < out.len() + 16 * PACKET,
            "{capacity} for {}",
            out.len()
        );
    }
}
