//! Tag bodies for tests, as FFmpeg n9.0 wrote them (libx264, libx265, libaom, libvpx, its own encoders), some cut short.

use bytes::Bytes;

/// The bytes that hexadecimal digits stand for; blanks do not count.
pub(crate) fn hex(digits: &str) -> Bytes {
    let digits: Vec<u32> = digits
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).unwrap())
        .collect();
    assert!(digits.len().is_multiple_of(2));
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

/// AVC sequence header: x264, 322x182, High 1.2, with cropping.
pub(crate) const H264_HEADER: &str = "\
    17000000000164000cffe1001a6764000cacd941519e226c0440000003004000000503c50a658001\
    000668ebe3cb22c0fdf8f800";
/// AVC sequence header: x264, 4:2:2, ten bits.
pub(crate) const H264_422_HEADER: &str = "\
    1700000000017a000cffe1001b677a000cb6cd941519e222f011000003000100000300140f142996\
    01000668ebe3cb22c0fefafa00";
/// AVC sequence header: x264, 1920x1080 in field coding.
pub(crate) const H264_INTERLACED_HEADER: &str = "\
    170000000001640028ffe1001a67640028acd94078044fde0220000003002000000643e2c5b2c001\
    000668fba3cb22c0fdf8f800";
/// The begin of an AVC keyframe, composition time 200 ms.
pub(crate) const H264_KEYFRAME: &str = "\
    17010000c80000029e0605ffff9adc45e9bde6d948b7962cd820d923eeef78323634202d20636f72\
    6520313635202d20";
/// E-RTMP HEVC SequenceStart: x265, 322x182, Main; cut after the SPS.
pub(crate) const HEVC_HEADER: &str = "\
    90687663310101600000009000000000003cf000fcfdf8f800000f04200001001840010c01ffff01\
    600000030090000003000003003c959809210001002a42010101600000030090000003000003003c\
    a00a480b9c9596566924caf0168080000003008000000504";
/// E-RTMP HEVC SequenceStart: x265, 322x182, Main 10; cut after the SPS.
pub(crate) const HEVC10_HEADER: &str = "\
    90687663310102200000009000000000003cf000fcfdfafa00000f04200001001840010c01ffff02\
    200000030090000003000003003c959809210001002c42010102200000030090000003000003003c\
    a00a480b9c94d96566924caf0168080000030008000003005040";
/// The begin of an E-RTMP HEVC keyframe, CodedFrames, composition time 200 ms.
pub(crate) const HEVC_FRAME_X: &str =
    "91687663310000c800000dfe2801af1162fcfbdd80ae433ca0e241754bc00433f66b3031746d9ffe";
/// E-RTMP video Metadata: an empty colorInfo, with frame type 5, which does not count.
pub(crate) const COLOR_INFO: &str =
    "d468766331020009636f6c6f72496e666f03000b636f6c6f72436f6e66696703000009000009";
/// E-RTMP AV1 SequenceStart without a record, as FFmpeg sends it first.
pub(crate) const AV1_EMPTY_HEADER: &str = "9061763031";
/// E-RTMP AV1 SequenceStart: libaom, 322x182.
pub(crate) const AV1_HEADER: &str = "906176303181000c000a0b000000043d06d4daf90040";
/// The begin of an E-RTMP AV1 keyframe, which has no composition time.
pub(crate) const AV1_KEYFRAME: &str =
    "916176303112000a0b000000043d06d4daf9004032f20e140023183030c9344b75c10500db2ae09a";
/// E-RTMP VP9 SequenceStart, with version and flags of the box.
pub(crate) const VP9_HEADER: &str = "907670303901000000000b820202020000";
/// The begin of an E-RTMP VP9 keyframe, 322x182.
pub(crate) const VP9_KEYFRAME: &str =
    "9176703039824983420014100b560638241c184a0009a050661fdfeff7fe8fff27e4fd1ffa0f7edf";
/// AAC sequence header: LC, 48 kHz, stereo, with an SBR extension that says no.
pub(crate) const AAC_HEADER: &str = "af00119056e500";
/// E-RTMP AAC MultichannelConfig: native order, 5.1.
pub(crate) const AAC_MULTICHANNEL: &str = "946d70346101060000003f";
/// The begin of an AAC frame.
pub(crate) const AAC_FRAME: &str = "af01dc004c61766336332e312e3130320042551ffffffff0";
/// The begin of an MP3 frame, legacy: 44.1 kHz, stereo.
pub(crate) const MP3_FRAME: &str = "2ffffb90640000023d08d1553c200800000d20a000010cd4";
/// E-RTMP Opus SequenceStart.
pub(crate) const OPUS_HEADER: &str = "904f7075734f707573486561640102380180bb0000000000";
/// The begin of an E-RTMP Opus frame.
pub(crate) const OPUS_FRAME: &str = "914f707573fc7e0299e7f9ecf511d613fd3afcf53c747846";
/// E-RTMP FLAC SequenceStart: 48 kHz, stereo.
pub(crate) const FLAC_HEADER: &str =
    "90664c6143040004000000000010980bb802f00000000000000000000000000000000000000000";
/// E-RTMP AC-3 SequenceStart, which has no content.
pub(crate) const AC3_EMPTY_HEADER: &str = "9061632d33";
/// The begin of an E-RTMP AC-3 frame: 48 kHz, 5.1.
pub(crate) const AC3_FRAME: &str = "9161632d330b77b50b1e40ebf8403eff99ff0841fc3f87f0";
/// The begin of an E-RTMP E-AC-3 frame: 48 kHz, stereo.
pub(crate) const EAC3_FRAME: &str = "9165632d330b77017f3487c0002084210838008c06060601";
/// E-RTMP Multitrack, OneTrack: track 1, H.264 SequenceStart.
pub(crate) const H264_TRACK_1_HEADER: &str = "\
    960061766331010164000cffe1001a6764000cacd941519e226c0440000003004000000503c50a65\
    8001000668ebe3cb22c0fdf8f800";
/// E-RTMP Multitrack, OneTrack: track 1, AAC SequenceStart.
pub(crate) const AAC_TRACK_1_HEADER: &str = "95006d70346101118856e500";
/// onMetaData of an FLV file.
pub(crate) const META_DATA: &str = "\
    02000a6f6e4d65746144617461080000000d00086475726174696f6e003ff3374bc6a7ef9e000577\
    696474680040742000000000000006686569676874004066c00000000000000d766964656f646174\
    617261746500000000000000000000096672616d6572617465004024000000000000000c76696465\
    6f636f64656369640041da1d98cc400000000d617564696f646174617261746500404f4000000000\
    00000f617564696f73616d706c65726174650040e7700000000000000f617564696f73616d706c65\
    73697a65004030000000000000000673746572656f0100000c617564696f636f64656369640041d3\
    dc1d5cc000000007656e636f64657202000c4c61766636332e312e313032000866696c6573697a65\
    0040dc8fc000000000000009";

/// All audio and video bodies above, with whether it is video.
pub(crate) const BODIES: &[(bool, &str)] = &[
    (true, H264_HEADER),
    (true, H264_422_HEADER),
    (true, H264_INTERLACED_HEADER),
    (true, H264_KEYFRAME),
    (true, HEVC_HEADER),
    (true, HEVC10_HEADER),
    (true, HEVC_FRAME_X),
    (true, COLOR_INFO),
    (true, AV1_EMPTY_HEADER),
    (true, AV1_HEADER),
    (true, AV1_KEYFRAME),
    (true, VP9_HEADER),
    (true, VP9_KEYFRAME),
    (false, AAC_HEADER),
    (false, AAC_MULTICHANNEL),
    (false, AAC_FRAME),
    (false, MP3_FRAME),
    (false, OPUS_HEADER),
    (false, OPUS_FRAME),
    (false, FLAC_HEADER),
    (false, AC3_EMPTY_HEADER),
    (false, AC3_FRAME),
    (false, EAC3_FRAME),
    (true, H264_TRACK_1_HEADER),
    (false, AAC_TRACK_1_HEADER),
];
