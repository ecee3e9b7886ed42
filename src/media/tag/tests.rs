use super::*;
use crate::media::fixtures::*;
use crate::media::frame::Frame;
use proptest::prelude::*;

fn video(digits: &str) -> Vec<Result<Part, TagError>> {
    parts(FrameKind::Video, &hex(digits)).collect()
}

fn audio(digits: &str) -> Vec<Result<Part, TagError>> {
    parts(FrameKind::Audio, &hex(digits)).collect()
}

fn only(parts: Vec<Result<Part, TagError>>) -> Part {
    let [part] = <[_; 1]>::try_from(parts).unwrap();
    part.unwrap()
}

fn frame(kind: FrameKind, digits: &str) -> Frame {
    Frame::parse(kind, 7, hex(digits)).unwrap()
}

#[test]
fn avc() {
    let header = frame(FrameKind::Video, H264_HEADER);
    assert_eq!(
        (header.codec, header.track, header.dts_ms),
        (Codec::H264, 0, 7)
    );
    assert!(header.sequence_header && !header.keyframe && !header.is_coded());

    let key = frame(FrameKind::Video, H264_KEYFRAME);
    assert!(key.keyframe && !key.sequence_header && key.is_coded());
    assert_eq!(key.composition_ms, 200);

    let inter = only(video("27 01 fffffe 00000001 09"));
    assert!(!inter.keyframe);
    assert_eq!(
        (inter.composition_ms, &inter.data[..]),
        (-2, &[0, 0, 0, 1, 9][..])
    );
    assert_eq!(only(video("27 01 800000")).composition_ms, -0x80_0000);
    assert_eq!(only(video("27 01 7fffff")).composition_ms, 0x7f_ffff);
}

#[test]
fn end_of_sequence_is_no_keyframe_though_its_flag_says_so() {
    for digits in ["17 02 000000", "17 02", "92 61766331"] {
        let end = only(video(digits));
        assert_eq!(end.packet, PacketType::SequenceEnd);
        assert!(!end.keyframe);
    }
}

#[test]
fn composition_time_of_a_sequence_header_does_not_count() {
    assert_eq!(only(video("17 00 00ffff 01")).composition_ms, 0);
}

#[test]
fn generated_keyframe_is_not_a_place_to_start() {
    assert!(!only(video("47 01 000000")).keyframe);
}

#[test]
fn legacy_hevc_of_chinese_cdns() {
    let header = only(video("1c 00 000000 01"));
    assert_eq!(
        (header.codec, header.packet),
        (Codec::Hevc, PacketType::SequenceStart)
    );
    let key = only(video("1c 01 000028 00"));
    assert_eq!(
        (key.codec, key.keyframe, key.composition_ms),
        (Codec::Hevc, true, 40)
    );
}

#[test]
fn unknown_legacy_codecs_pass() {
    let key = frame(FrameKind::Video, "14 00 01");
    assert_eq!(key.codec, Codec::Other(crate::media::CodecId::Video(4)));
    assert!(key.keyframe);
    assert!(!frame(FrameKind::Video, "22").keyframe);
    let speex = frame(FrameKind::Audio, "b6 00");
    assert_eq!(speex.codec, Codec::Other(crate::media::CodecId::Audio(11)));
    assert!(speex.is_coded() && !speex.keyframe);
}

#[test]
fn command_frames_are_no_pictures() {
    for digits in ["57 00", "d1 00", "d6 00"] {
        let seek = frame(FrameKind::Video, digits);
        assert!(!seek.keyframe && !seek.sequence_header && !seek.is_coded());
        assert_eq!(seek.codec, Codec::None);
        assert_eq!(only(video(digits)).packet, PacketType::Command(0));
    }
}

#[test]
fn empty_bodies_are_silence() {
    for kind in [FrameKind::Audio, FrameKind::Video] {
        let frame = frame(kind, "");
        assert_eq!(frame.codec, Codec::None);
        assert!(!frame.is_coded());
        assert_eq!(only(frame.parts().collect()).packet, PacketType::Empty);
    }
}

#[test]
fn legacy_audio() {
    assert!(frame(FrameKind::Audio, AAC_HEADER).sequence_header);
    let raw = only(audio(AAC_FRAME));
    assert_eq!(
        (raw.codec, raw.packet),
        (Codec::Aac, PacketType::CodedFrames)
    );
    assert_eq!(raw.data, hex(AAC_FRAME).slice(2..));
    assert_eq!(only(audio(MP3_FRAME)).codec, Codec::Mp3);
    assert_eq!(only(audio("e2 ff fb")).codec, Codec::Mp3);
}

#[test]
fn e_rtmp_video() {
    let hevc = only(video(HEVC_HEADER));
    assert_eq!(
        (hevc.codec, hevc.packet),
        (Codec::Hevc, PacketType::SequenceStart)
    );
    assert_eq!(hevc.data, hex(HEVC_HEADER).slice(5..));
    let coded = only(video(HEVC_FRAME_X));
    assert_eq!((coded.composition_ms, coded.keyframe), (200, true));
    assert_eq!(coded.data, hex(HEVC_FRAME_X).slice(8..));
    // AV1 and VP9 have no composition time to cut off.
    let av1 = only(video(AV1_KEYFRAME));
    assert_eq!(
        (av1.codec, av1.keyframe, av1.data.clone()),
        (Codec::Av1, true, hex(AV1_KEYFRAME).slice(5..))
    );
    assert_eq!(only(video(VP9_KEYFRAME)).codec, Codec::Vp9);
    assert_eq!(only(video("91 76703038 10")).codec, Codec::Vp8);
    // CodedFramesX: the composition time is 0 and not sent.
    let x = only(video("a3 61766331 0000 0001"));
    assert_eq!(
        (x.composition_ms, x.data.len(), x.packet),
        (0, 4, PacketType::CodedFrames)
    );
    assert_eq!(
        only(video("95 61763031 80")).packet,
        PacketType::Mpeg2TsSequenceStart
    );
    assert_eq!(only(video("91 76766331 00000a 01")).composition_ms, 10);
}

#[test]
fn hdr_metadata_counts_as_header_whatever_its_frame_type() {
    let color = frame(FrameKind::Video, COLOR_INFO);
    assert!(color.sequence_header && !color.keyframe);
    assert_eq!(only(video(COLOR_INFO)).packet, PacketType::Metadata);
}

#[test]
fn e_rtmp_audio() {
    for (digits, codec) in [
        (OPUS_FRAME, Codec::Opus),
        (AC3_FRAME, Codec::Ac3),
        (EAC3_FRAME, Codec::Eac3),
        ("91 664c6143 ff", Codec::Flac),
        ("91 2e6d7033 ff", Codec::Mp3),
        ("91 6d703461 21", Codec::Aac),
    ] {
        let part = only(audio(digits));
        assert_eq!((part.codec, part.packet), (codec, PacketType::CodedFrames));
        assert_eq!(part.data, hex(digits).slice(5..));
    }
    for digits in [OPUS_HEADER, FLAC_HEADER, AC3_EMPTY_HEADER, AAC_MULTICHANNEL] {
        assert!(frame(FrameKind::Audio, digits).sequence_header);
    }
    assert_eq!(
        only(audio(AAC_MULTICHANNEL)).packet,
        PacketType::MultichannelConfig
    );
    assert_eq!(only(audio("92 4f707573")).packet, PacketType::SequenceEnd);
}

#[test]
fn unknown_four_cc_and_packet_type_pass() {
    let other = only(video("91 78787878 01"));
    assert_eq!(
        other.codec,
        Codec::Other(crate::media::CodecId::FourCc(*b"xxxx"))
    );
    assert!(other.keyframe);
    let later = frame(FrameKind::Video, "9a 61766331 01");
    assert!(!later.keyframe && !later.sequence_header && !later.is_coded());
    assert_eq!(only(later.parts().collect()).packet, PacketType::Other(10));
    assert_eq!(only(audio("9b 4f707573")).packet, PacketType::Other(11));
}

#[test]
fn one_track() {
    let header = frame(FrameKind::Video, H264_TRACK_1_HEADER);
    assert_eq!(
        (header.track, header.codec, header.sequence_header),
        (1, Codec::H264, true)
    );
    let header = frame(FrameKind::Audio, AAC_TRACK_1_HEADER);
    assert_eq!(
        (header.track, header.codec, header.sequence_header),
        (1, Codec::Aac, true)
    );
    let coded = only(video("a6 01 61766331 02 000005 aabb"));
    assert_eq!(
        (coded.track, coded.composition_ms, coded.data.len()),
        (2, 5, 2)
    );
    assert!(!coded.keyframe);
}

#[test]
fn many_tracks_of_one_codec() {
    let body = "96 11 68766331 00 000005 000028 aabb 03 000003 00000a 09 000004 fffff6 cc";
    let packet = frame(FrameKind::Video, body);
    assert_eq!(
        (packet.track, packet.keyframe, packet.composition_ms),
        (0, true, 40)
    );
    let parts: Vec<_> = packet.parts().map(Result::unwrap).collect();
    let seen: Vec<_> = parts
        .iter()
        .map(|p| (p.track, p.codec, p.keyframe, p.composition_ms, p.data.len()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, Codec::Hevc, true, 40, 2),
            (3, Codec::Hevc, true, 10, 0),
            (9, Codec::Hevc, true, -10, 1)
        ]
    );
}

#[test]
fn many_tracks_of_many_codecs() {
    let packet = frame(
        FrameKind::Audio,
        "95 20 4f707573 01 000000 6d703461 02 000002 1190",
    );
    assert!(packet.sequence_header);
    assert_eq!(packet.track, 1);
    let parts: Vec<_> = packet.parts().map(Result::unwrap).collect();
    assert_eq!(
        (parts[0].track, parts[0].codec, parts[0].data.len()),
        (1, Codec::Opus, 0)
    );
    assert_eq!(
        (parts[1].track, parts[1].codec, &parts[1].data[..]),
        (2, Codec::Aac, &[0x11, 0x90][..])
    );
}

#[test]
fn mod_ex_nanoseconds() {
    // One byte of type 1 first, then 999,999 ns, then CodedFramesX.
    let part = only(video("97 00 ff 17 02 0f423f 03 61766331 aa"));
    assert_eq!(
        (part.nano_offset, part.packet, part.keyframe),
        (999_999, PacketType::CodedFrames, true)
    );
    assert_eq!(part.data, hex("aa"));
    // A size of 256 means that two more bytes state it.
    let long = "97 ff 0002 00000a 01 4f707573 bb";
    let part = only(audio(long));
    assert_eq!((part.nano_offset, part.data.len()), (10, 1));
    // Before a multitrack packet it holds for all tracks.
    let body = "97 02 00000a 05 11 6d703461 00 000001 aa 01 000001 bb";
    assert!(
        audio(body)
            .into_iter()
            .all(|part| part.unwrap().nano_offset == 10)
    );
}

#[test]
fn errors_say_where_and_what() {
    let truncated = |reading, offset| Err(TagError::Truncated { reading, offset });
    for (body, error) in [
        ("17", truncated("AVCPacketType", 1)),
        ("17 01 0000", truncated("CompositionTime", 2)),
        ("57", truncated("video command", 1)),
        ("90 617663", truncated("FourCC", 1)),
        ("91 68766331 0000", truncated("compositionTimeOffset", 5)),
        ("96", truncated("multitrack type", 1)),
        ("96 00 61766331", truncated("track id", 6)),
        ("96 10 61766331 00 0000", truncated("size of track", 7)),
        ("96 10 61766331 00 000002 00", truncated("track data", 10)),
        (
            "96 11 68766331 00 000002 0000",
            truncated("compositionTimeOffset", 10),
        ),
        ("96 06", Err(TagError::NestedMultitrack { offset: 1 })),
        (
            "96 30",
            Err(TagError::UnknownMultitrackType {
                value: 3,
                offset: 1,
            }),
        ),
        ("97", truncated("ModEx size", 1)),
        ("97 ff 00", truncated("ModEx size", 2)),
        ("97 02 0000", truncated("ModEx data", 2)),
        ("97 00 00", truncated("ModEx type", 3)),
        (
            "97 00 00 01",
            Err(TagError::ShortTimestampOffset { offset: 2, size: 1 }),
        ),
    ] {
        assert_eq!(
            Frame::parse(FrameKind::Video, 0, hex(body)).map(drop),
            error,
            "{body}"
        );
    }
    for (body, error) in [
        ("af", truncated("AACPacketType", 1)),
        ("95 05", Err(TagError::NestedMultitrack { offset: 1 })),
        ("94 6d703461 01 06 0000", truncated("audioChannelFlags", 7)),
        (
            "94 6d703461 02 03 0000",
            truncated("audioChannelMapping", 7),
        ),
    ] {
        assert_eq!(
            Frame::parse(FrameKind::Audio, 0, hex(body)).map(drop),
            error,
            "{body}"
        );
    }
}

#[test]
fn an_error_in_a_later_track_fails_the_packet() {
    let body = hex("96 11 61763031 00 000001 aa 01 000009 bb");
    assert_eq!(
        Frame::parse(FrameKind::Video, 0, body.clone()),
        Err(TagError::Truncated {
            reading: "track data",
            offset: 15
        })
    );
    let mut parts = parts(FrameKind::Video, &body);
    assert!(parts.next().unwrap().is_ok());
    assert!(parts.next().unwrap().is_err());
    assert!(parts.next().is_none());
}

#[test]
fn an_error_inside_a_track_ends_the_walk_though_more_tracks_follow() {
    // The first track is too short for its composition time, the second is whole.
    let body = hex("96 11 68766331 00 000001 aa 01 000003 000000");
    let mut parts = parts(FrameKind::Video, &body);
    let reading = "compositionTimeOffset";
    assert_eq!(
        parts.next(),
        Some(Err(TagError::Truncated {
            reading,
            offset: 10
        }))
    );
    assert_eq!(parts.next(), None);
}

#[test]
fn limits() {
    let mut tracks = hex("96 11 61763031").to_vec();
    for _ in 0..MAX_PACKET_TRACKS {
        tracks.extend([0, 0, 0, 0]);
    }
    assert!(Frame::parse(FrameKind::Video, 0, tracks.clone().into()).is_ok());
    tracks.extend([0, 0, 0, 0]);
    assert_eq!(
        Frame::parse(FrameKind::Video, 0, tracks.into()),
        Err(TagError::TooManyTracks {
            max: MAX_PACKET_TRACKS
        })
    );
    let mut header = hex("17 00 000000").to_vec();
    header.resize(MAX_HEADER_BYTES + 1, 0);
    assert_eq!(
        Frame::parse(FrameKind::Video, 0, header.clone().into()),
        Err(TagError::HeaderTooLarge {
            size: MAX_HEADER_BYTES + 1,
            max: MAX_HEADER_BYTES
        })
    );
    header.pop();
    assert!(Frame::parse(FrameKind::Video, 0, header.into()).is_ok());
}

#[test]
fn every_fixture_cut_anywhere_is_taken_or_refused() {
    for (video, digits) in BODIES {
        let kind = if *video {
            FrameKind::Video
        } else {
            FrameKind::Audio
        };
        let body = hex(digits);
        assert_eq!(Frame::parse(kind, 0, body.clone()).unwrap().payload, body);
        for end in 0..body.len() {
            if let Err(TagError::Truncated { offset, .. }) =
                Frame::parse(kind, 0, body.slice(..end))
            {
                assert!(offset <= end);
            }
        }
    }
}

fn arbitrary_body() -> impl Strategy<Value = Bytes> {
    // Half of them begin like something that has a structure.
    let head = prop_oneof![
        Just(vec![]),
        any::<u8>().prop_map(|packet| vec![0x80 | packet]),
        any::<u8>().prop_map(|packet| vec![0x90 | packet & 0x0f]),
        (0u8..4, any::<u8>()).prop_map(|(kind, packet)| vec![0x96, kind << 4 | packet & 0x0f]),
        (0u8..4, any::<u8>()).prop_map(|(kind, packet)| vec![0x95, kind << 4 | packet & 0x0f]),
    ];
    let tail = proptest::collection::vec(prop_oneof![2 => any::<u8>(), 1 => Just(0)], 0..200);
    (head, tail).prop_map(|(mut head, tail)| {
        head.extend(tail);
        head.into()
    })
}

proptest! {
    #[test]
    fn what_is_accepted_can_be_walked_and_lies_in_the_body(body in arbitrary_body(), video: bool) {
        let kind = if video { FrameKind::Video } else { FrameKind::Audio };
        if let Ok(frame) = Frame::parse(kind, 0, body.clone()) {
            prop_assert_eq!(&frame.payload, &body);
            prop_assert!(!(frame.keyframe && frame.sequence_header));
            let mut end = 0;
            for part in frame.parts() {
                let part = part.unwrap();
                let range = part.data.as_ptr() as usize - body.as_ptr() as usize;
                prop_assert!(part.data.is_empty() || range >= end);
                end = range + part.data.len();
                prop_assert!(part.data.is_empty() || end <= body.len());
            }
        }
    }

    #[test]
    fn tracks_come_out_as_they_went_in(
        tracks in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..50)), 1..8),
        many_codecs: bool,
    ) {
        let mut body = vec![0x96, if many_codecs { 0x23 } else { 0x13 }];
        if !many_codecs {
            body.extend(b"av01");
        }
        for (track, data) in &tracks {
            if many_codecs {
                body.extend(b"vp09");
            }
            body.push(*track);
            body.extend(&(data.len() as u32).to_be_bytes()[1..]);
            body.extend(data);
        }
        let frame = Frame::parse(FrameKind::Video, 0, body.into()).unwrap();
        let found: Vec<_> = frame.parts().map(|part| part.unwrap()).map(|part| (part.track, part.data.to_vec())).collect();
        prop_assert_eq!(found, tracks);
    }
}
