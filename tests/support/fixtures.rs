//! Media that ffmpeg makes when a test first asks for it. Kept in `target/tmp`, under a name that changes with the command.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::programs::{self, FFMPEG_DEBIAN};

/// Each fixture lasts that long, so that tests may loop it.
pub const LENGTH_S: u32 = 6;

/// 320x180 at 25 fps.
const PICTURE: &[&str] = &[
    "-f",
    "lavfi",
    "-i",
    "testsrc2=size=320x180:rate=25:duration=6",
];
const SOUND: &[&str] = &[
    "-f",
    "lavfi",
    "-i",
    "sine=frequency=440:sample_rate=48000:duration=6",
];

/// H.264 with B-frames and a keyframe each second, and AAC.
pub fn h264_aac() -> PathBuf {
    make("h264-aac", FFMPEG_DEBIAN, &[PICTURE, SOUND, H264, AAC])
}

/// Another picture and other decoder configuration than [`h264_aac`].
pub fn h264_aac_other() -> PathBuf {
    const OTHER: &[&str] = &[
        "-f",
        "lavfi",
        "-i",
        "smptebars=size=256x144:rate=25:duration=6",
    ];
    make("h264-aac-other", FFMPEG_DEBIAN, &[OTHER, SOUND, H264, AAC])
}

/// Only AAC.
pub fn aac() -> PathBuf {
    make("aac", FFMPEG_DEBIAN, &[SOUND, AAC])
}

/// Only AAC, of another rate or more channels: the tone of [`aac`].
pub fn aac_of(rate_hz: u32, channels: u32) -> PathBuf {
    let (rate, count) = (rate_hz.to_string(), channels.to_string());
    let shape = ["-ar", &rate, "-ac", &count];
    make(
        &format!("aac-{rate_hz}-{channels}"),
        FFMPEG_DEBIAN,
        &[SOUND, &shape, &["-c:a", "aac", "-b:a", "96k"]],
    )
}

/// HE-AAC, versions 1 and 2, which ffmpeg does not encode: see `tests/data/README.md`.
pub fn he_aac(version: u8) -> PathBuf {
    let name = if version == 1 {
        "he-aac.flv"
    } else {
        "he-aac-v2.flv"
    };
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Only MP3.
pub fn mp3() -> PathBuf {
    make(
        "mp3",
        FFMPEG_DEBIAN,
        &[
            SOUND,
            &["-c:a", "libmp3lame", "-ar", "44100", "-b:a", "64k"],
        ],
    )
}

/// Only H.264.
pub fn h264() -> PathBuf {
    make("h264", FFMPEG_DEBIAN, &[PICTURE, H264])
}

/// By Enhanced RTMP: HEVC (`hvc1`) and AAC.
pub fn hevc_aac() -> PathBuf {
    const HEVC: &[&str] = &[
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "keyint=25:min-keyint=25:log-level=error:pools=1",
    ];
    make(
        "hevc-aac",
        programs::ffmpeg_current(),
        &[PICTURE, SOUND, HEVC, AAC],
    )
}

/// By Enhanced RTMP: AV1 (`av01`) and Opus.
pub fn av1_opus() -> PathBuf {
    const AV1: &[&str] = &[
        "-c:v",
        "libsvtav1",
        "-preset",
        "12",
        "-g",
        "25",
        "-svtav1-params",
        "lp=1",
    ];
    make(
        "av1-opus",
        programs::ffmpeg_current(),
        &[
            PICTURE,
            SOUND,
            AV1,
            &["-c:a", "libopus", "-ac", "2", "-b:a", "64k"],
        ],
    )
}

/// By Enhanced RTMP: AV1 (`av01`) of an encoder for live streams, which shows each frame at once, and AAC.
pub fn av1_aac() -> PathBuf {
    const AV1: &[&str] = &[
        "-c:v",
        "libaom-av1",
        "-usage",
        "realtime",
        "-cpu-used",
        "8",
        "-threads",
        "1",
        "-g",
        "25",
        "-b:v",
        "250k",
    ];
    make(
        "av1-aac",
        programs::ffmpeg_current(),
        &[PICTURE, SOUND, AV1, AAC],
    )
}

/// By Enhanced RTMP: VP9 (`vp09`) and FLAC.
pub fn vp9_flac() -> PathBuf {
    const VP9: &[&str] = &[
        "-c:v",
        "libvpx-vp9",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-g",
        "25",
        "-b:v",
        "300k",
    ];
    make(
        "vp9-flac",
        programs::ffmpeg_current(),
        &[PICTURE, SOUND, VP9, &["-c:a", "flac", "-ac", "2"]],
    )
}

/// H.264 and, by Enhanced RTMP, AC-3.
pub fn h264_ac3() -> PathBuf {
    make(
        "h264-ac3",
        programs::ffmpeg_current(),
        &[PICTURE, SOUND, H264, &["-c:a", "ac3", "-b:a", "96k"]],
    )
}

/// H.264 and MP3.
pub fn h264_mp3() -> PathBuf {
    const MP3: &[&str] = &["-c:a", "libmp3lame", "-ar", "44100", "-b:a", "64k"];
    make("h264-mp3", FFMPEG_DEBIAN, &[PICTURE, SOUND, H264, MP3])
}

/// H.264 and, by Enhanced RTMP, Opus.
pub fn h264_opus() -> PathBuf {
    const OPUS: &[&str] = &["-c:a", "libopus", "-ac", "2", "-b:a", "64k"];
    make(
        "h264-opus",
        programs::ffmpeg_current(),
        &[PICTURE, SOUND, H264, OPUS],
    )
}

const H264: &[&str] = &[
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-pix_fmt",
    "yuv420p",
    "-b:v",
    "250k",
    "-bf",
    "2",
    "-g",
    "25",
    "-keyint_min",
    "25",
    "-sc_threshold",
    "0",
];
const AAC: &[&str] = &["-c:a", "aac", "-ac", "2", "-b:a", "64k"];

fn make(name: &str, ffmpeg: &str, arguments: &[&[&str]]) -> PathBuf {
    let arguments: Vec<&str> = arguments.concat();
    let mut hasher = DefaultHasher::new();
    (ffmpeg, &arguments).hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
    let file = folder.join(format!("{name}-{:016x}.flv", hasher.finish()));
    if !file.exists() {
        std::fs::create_dir_all(&folder).expect("target/tmp can be written");
        // Under a name of its own first: tests run side by side, and must see a whole file or none.
        let half = tempfile::Builder::new()
            .prefix(name)
            .suffix(".flv")
            .tempfile_in(&folder)
            .expect("a temporary file");
        let mut command = Command::new(ffmpeg);
        command
            .args(["-hide_banner", "-loglevel", "error", "-y"])
            .args(&arguments)
            .args(["-f", "flv"])
            .arg(half.path());
        programs::run(&mut command, Duration::from_secs(100)).success();
        half.persist(&file)
            .expect("the fixture is put in its place");
    }
    file
}
