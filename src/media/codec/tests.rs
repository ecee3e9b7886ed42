use super::*;
use crate::media::fixtures::*;
use crate::media::frame::{Frame, FrameKind};
use crate::media::tag::{self, PacketType, Part};
use bytes::Bytes;
use proptest::prelude::*;

fn line(kind: FrameKind, digits: &str) -> String {
    let frame = Frame::parse(kind, 0, hex(digits)).unwrap();
    CodecInfo::of_frame(&frame).unwrap().to_string()
}

fn video(digits: &str) -> String {
    line(FrameKind::Video, digits)
}

fn audio(digits: &str) -> String {
    line(FrameKind::Audio, digits)
}

fn h264_header(sps: &str) -> String {
    format!(
        "17 00 000000 01 {} ff e1 {:04x} {sps} 00",
        &sps[2..8],
        sps.len() / 2
    )
}

fn record(codec: Codec, record: Bytes) -> Result<CodecInfo, CodecError> {
    CodecInfo::of_part(&Part {
        track: 0,
        codec,
        packet: PacketType::SequenceStart,
        keyframe: false,
        composition_ms: 0,
        nano_offset: 0,
        data: record,
    })
}

#[test]
fn h264() {
    assert_eq!(video(H264_HEADER), "H.264 High 1.2 322x182");
    assert_eq!(video(H264_422_HEADER), "H.264 High 4:2:2 1.2 322x182");
    assert_eq!(video(H264_INTERLACED_HEADER), "H.264 High 4.0 1920x1080");
    for (sps, line) in [
        // Picture order count of type 2 and of type 1.
        (
            "6742c01fda014016e4",
            "H.264 Constrained Baseline 3.1 1280x720",
        ),
        (
            "6742c01fd32265402802dc80",
            "H.264 Constrained Baseline 3.1 1280x720",
        ),
        // With scaling lists, one of which ends early, and cropping.
        ("6764001fadaffff0881d01405ff2a0", "H.264 High 3.1 640x360"),
    ] {
        assert_eq!(video(&h264_header(sps)), line);
    }
}

#[test]
fn h264_without_sps_has_no_size() {
    assert_eq!(video("17 00 000000 01 4d400b ff e0 00"), "H.264 Main 1.1");
    assert_eq!(video("17 00 000000 01 4d500b ff e0 00"), "H.264 Main 1b");
}

#[test]
fn hevc() {
    assert_eq!(video(HEVC_HEADER), "H.265 Main 2.0 322x182");
    assert_eq!(video(HEVC10_HEADER), "H.265 Main 10 2.0 322x182");
}

#[test]
fn av1() {
    assert_eq!(video(AV1_HEADER), "AV1 Main 2.0 322x182");
    assert_eq!(video(AV1_EMPTY_HEADER), "AV1");
    assert_eq!(
        video("90 61763031 81 e8 80 00"),
        "AV1 profile 7 4.0 High tier"
    );
    // MPEG2TSSequenceStart.
    assert_eq!(video("95 61763031 8004 81000cc0"), "AV1 Main 2.0");
}

#[test]
fn vp9_and_vp8() {
    assert_eq!(video(VP9_HEADER), "VP9 Profile 0 1.1");
    assert_eq!(
        video("90 76703039 01 1f 80 02 02 02 0000"),
        "VP9 Profile 1 3.1"
    );
    assert_eq!(video(VP9_KEYFRAME), "VP9 Profile 0 322x182");
    assert_eq!(video("91 76703038 100200 9d012a 4001 b400"), "VP8 320x180");
    assert_eq!(video("90 76703038 01000000 00 0a 80 02 02 02 0000"), "VP8");
    assert_eq!(video("a1 76703038 11"), "VP8");
}

#[test]
fn aac() {
    assert_eq!(audio(AAC_HEADER), "AAC-LC 48000 Hz stereo");
    assert_eq!(audio(AAC_MULTICHANNEL), "AAC 5.1");
    for (config, line) in [
        ("1210", "AAC-LC 44100 Hz stereo"),
        ("1208", "AAC-LC 44100 Hz mono"),
        ("0a10", "AAC-Main 44100 Hz stereo"),
        // Hierarchical SBR and PS.
        ("2b920800", "HE-AAC 44100 Hz stereo"),
        ("eb8a0800", "HE-AAC v2 44100 Hz stereo"),
        // Backward compatible SBR and PS.
        ("139056e5a0", "HE-AAC 44100 Hz stereo"),
        ("138856e5a54880", "HE-AAC v2 44100 Hz stereo"),
        // A rate that has no index: 44,056 Hz.
        ("1780560c10", "AAC-LC 44056 Hz stereo"),
        // Seven stands for eight channels.
        ("11b8", "AAC-LC 48000 Hz 7.1"),
        // An escaped object type: 42.
        ("f9464000", "AAC-USAC 48000 Hz stereo"),
        // Reserved rate, reserved channel configuration.
        ("16c8", "AAC-LC"),
    ] {
        assert_eq!(audio(&format!("af00{config}")), line, "{config}");
    }
}

#[test]
fn aac_channel_configuration_0_is_read_from_the_program_config_or_left_out() {
    // Front: one single, one pair. Side: none. Back: one pair. One LFE.
    assert_eq!(audio("af00 118004c8050001088000"), "AAC-LC 48000 Hz 5.1");
    assert_eq!(audio("af00 1180"), "AAC-LC 48000 Hz");
}

#[test]
fn mp3() {
    assert_eq!(audio(MP3_FRAME), "MP3 44100 Hz stereo");
    assert_eq!(audio("2f fff3 40c0"), "MP3 22050 Hz mono");
    assert_eq!(audio("2f ffe3 48c0"), "MP3 8000 Hz mono");
}

#[test]
fn opus_and_flac() {
    assert_eq!(audio(OPUS_HEADER), "Opus 48000 Hz stereo");
    assert_eq!(audio("90 4f707573"), "Opus 48000 Hz");
    assert_eq!(audio("94 4f707573 00 03"), "Opus 3 channels");
    assert_eq!(audio(FLAC_HEADER), "FLAC 48000 Hz stereo");
    let by_the_book = FLAC_HEADER.replacen("90664c6143", "90664c6143 664c6143 80000022", 1);
    assert_eq!(audio(&by_the_book), "FLAC 48000 Hz stereo");
}

#[test]
fn ac3() {
    assert_eq!(audio(AC3_EMPTY_HEADER), "AC-3");
    assert_eq!(audio(AC3_FRAME), "AC-3 48000 Hz 5.1");
    assert_eq!(audio(EAC3_FRAME), "E-AC-3 48000 Hz stereo");
}

#[test]
fn other_codecs_have_a_name() {
    assert_eq!(video("91 78220a78 00"), "FourCC x\\\"\\nx");
    assert_eq!(video("22"), "Sorenson H.263");
    assert_eq!(audio("b6"), "Speex");
    assert_eq!(audio(""), "none");
    assert_eq!(line(FrameKind::Data, "02"), "none");
}

#[test]
fn errors_say_where_and_what() {
    let truncated = |reading, offset| Err(CodecError::Truncated { reading, offset });
    let invalid = |what, offset| Err(CodecError::Invalid { what, offset });
    for (codec, config, error) in [
        (Codec::H264, "01 6400", truncated("AVCLevelIndication", 3)),
        (
            Codec::H264,
            "00 00 00 01 67",
            invalid("not an AVCDecoderConfigurationRecord", 0),
        ),
        (
            Codec::H264,
            "01 64000c ff e1 0009 67",
            truncated("sequenceParameterSet", 8),
        ),
        (
            Codec::H264,
            "01 64000c ff e1 0002 6842",
            invalid("not a sequence parameter set", 0),
        ),
        (
            Codec::Hevc,
            "02",
            invalid("not an HEVCDecoderConfigurationRecord", 0),
        ),
        (
            Codec::Av1,
            "80",
            invalid("not an AV1CodecConfigurationRecord", 0),
        ),
        (
            Codec::Av1,
            "81 00 0c 00 0a ffffffffffffffff",
            invalid("obu_size of more than eight bytes", 5),
        ),
        (Codec::Aac, "12", truncated("samplingFrequencyIndex", 0)),
        (Codec::Opus, "4f7075735461677300", invalid("no OpusHead", 0)),
        (
            Codec::Flac,
            "664c6143 84 000028",
            invalid("first metadata block is not STREAMINFO", 4),
        ),
    ] {
        assert_eq!(record(codec, hex(config)), error, "{config}");
    }
}

#[test]
fn h264_sps_of_absurd_size_is_refused() {
    // pic_width_in_mbs_minus1 of 2^31 - 2 and of 2^28: sixteen times that does not fit 32 bits.
    for sps in [
        "6742c01fda00000001fffffffc16e4",
        "6742c01fda00000004000000416e40",
    ] {
        let frame = Frame::parse(FrameKind::Video, 0, hex(&h264_header(sps))).unwrap();
        let error = CodecInfo::of_frame(&frame);
        assert_eq!(
            error,
            Err(CodecError::Invalid {
                what: "impossible picture size",
                offset: 5
            })
        );
    }
}

const RECORDS: [Codec; 9] = [
    Codec::H264,
    Codec::Hevc,
    Codec::Av1,
    Codec::Vp8,
    Codec::Vp9,
    Codec::Aac,
    Codec::Opus,
    Codec::Flac,
    Codec::Mp3,
];

proptest! {
    #[test]
    fn no_record_panics(index in 0..RECORDS.len(), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = record(RECORDS[index], bytes.into());
    }

    #[test]
    fn no_damaged_fixture_panics(
        index in 0..BODIES.len(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let (video, digits) = BODIES[index];
        let kind = if video { FrameKind::Video } else { FrameKind::Audio };
        let mut body = hex(digits).to_vec();
        for (at, value) in damage {
            let at = at.index(body.len());
            body[at] = value;
        }
        body.truncate(cut.index(body.len()) + 1);
        for part in tag::parts(kind, &body.into()).flatten() {
            if let Ok(info) = CodecInfo::of_part(&part) {
                let line = info.to_string();
                prop_assert!(line.chars().all(|c| (' '..='~').contains(&c)), "{line:?}");
            }
        }
    }
}
