//! HE-AAC, whose second half the formats must neither lose nor misname: FLV keeps the publisher's configuration, ADTS states the core and leaves the rest to the
//! frames.

use std::path::Path;
use std::process::Command;

use crate::SHORT;
use crate::support::elementary::{Unit, adts_frames_of, assert_run, coded};
use crate::support::feed::{Feed, Plan};
use crate::support::flv::{AUDIO, Flv};
use crate::support::programs;
#[cfg(feature = "transcode")]
use crate::support::programs::{FFMPEG_DEBIAN, ffmpeg_current};
use crate::support::raw::Raw;
use crate::support::server::Server;
use crate::support::ts::{self, AAC, Ts};
use crate::support::{PATIENCE, fixtures};

/// samplingFrequencyIndex of 24 kHz, which the core has.
const CORE_RATE: u8 = 6;

/// Profile, rate and channels as FFmpeg names them.
fn probe(file: &Path) -> String {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-of", "compact=p=0:nk=1"]);
    command
        .args(["-show_entries", "stream=profile,sample_rate,channels"])
        .arg(file);
    let text = programs::run(&mut command, PATIENCE).success();
    // A transport stream has its streams twice, by program and by themselves.
    text.lines().next().unwrap_or_default().to_owned()
}

/// What was published of one version, as each format gives it: in files, after its bytes were compared.
fn played(version: u8, folder: &Path) -> Vec<(&'static str, std::path::PathBuf)> {
    let server = Server::start(SHORT);
    let fixture = fixtures::he_aac(version);
    let endings = ["flv", "aac", "ts", "mp3"];
    let endings = &endings[..if cfg!(feature = "transcode") { 4 } else { 3 }];
    // They wait for the stream, and have it from its beginning.
    let players: Vec<Raw> = endings
        .iter()
        .map(|ending| Raw::open(&server, &format!("/live/x.{ending}")))
        .collect();
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixture).for_ms(5_500));
    for player in &players {
        player.wait_end(PATIENCE);
    }
    let sent = coded(&feed.finish(), AUDIO);
    let mut files = Vec::new();
    for (ending, player) in endings.iter().zip(&players) {
        let bytes = player.bytes();
        let what = format!("version {version}, {ending}");
        // Of version 2 the core is mono.
        let frames = |bytes: &[u8]| adts_frames_of(bytes, CORE_RATE, 3 - version);
        let came: Vec<Unit> = match *ending {
            "flv" => coded(&Flv::read(&bytes).expect("FLV").tags, AUDIO),
            "aac" => frames(&bytes),
            "ts" => {
                let ts: Ts = ts::check(&bytes, ts::STEP);
                let pes = ts.of(ts.pid_of(AAC));
                pes.iter().flat_map(|pes| frames(&pes.payload)).collect()
            }
            _ => Vec::new(),
        };
        if *ending != "mp3" {
            assert!(came.len() > 100, "{what}: {} frames", came.len());
            assert_run(&what, &came, &sent);
        }
        let file = folder.join(format!("came.{ending}"));
        std::fs::write(&file, bytes).expect("a file");
        files.push((*ending, file));
    }
    files
}

#[test]
fn each_format_names_it_right() {
    let folder = tempfile::tempdir().expect("a folder");
    for (version, name) in [(1, "HE-AAC|48000|2"), (2, "HE-AACv2|48000|2")] {
        for (ending, file) in played(version, folder.path()) {
            let probed = probe(&file);
            // Of version 2, FFmpeg goes by the first frame that it decodes, which need not have the header of PS: of a part of the fixture itself
            // it says the same.
            let by_frame = version == 2 && ending != "aac" && probed == "HE-AAC|48000|2";
            assert!(
                ending == "mp3" || probed == name || by_frame,
                "{ending}: {probed}"
            );
            if ending == "flv" {
                let header = |path: &Path| {
                    let flv = Flv::read(&std::fs::read(path).expect("a file")).expect("FLV");
                    flv.header(AUDIO).expect("a header").body.clone()
                };
                assert_eq!(header(&file), header(&fixtures::he_aac(version)));
            }
        }
    }
}

/// Both sides of a file at 48 kHz, as ffmpeg decodes it, which must have nothing to say about it.
#[cfg(feature = "transcode")]
#[track_caller]
fn decode(ffmpeg: &str, file: &Path) -> [Vec<f32>; 2] {
    let mut command = Command::new(ffmpeg);
    command
        .args(["-hide_banner", "-v", "warning", "-i"])
        .arg(file);
    // Without -ar and -ac: what comes must have that shape by itself.
    command.args(["-f", "f32le", "-"]);
    let output = programs::run(&mut command, PATIENCE);
    let said = output
        .stderr
        .lines()
        .filter(|line| !line.contains("Estimating duration from bitrate"));
    assert_eq!(said.collect::<Vec<_>>(), Vec::<&str>::new());
    let bytes = output.bytes();
    let mut sides = [Vec::new(), Vec::new()];
    for (index, four) in bytes.chunks_exact(4).enumerate() {
        let sample = f32::from_le_bytes(four.try_into().expect("four bytes"));
        sides[index % 2].push(sample);
    }
    sides
}

/// The level of the tone of 440 Hz and of what is high, in dB, of the middle second.
#[cfg(feature = "transcode")]
fn levels(samples: &[f32]) -> (f32, f32) {
    let from = samples.len() / 2 - 24_000;
    let middle = &samples[from..from + 48_000];
    let wave = std::f32::consts::TAU * 440.0 / 48_000.0;
    let (mut re, mut im) = (0.0, 0.0);
    for (index, sample) in middle.iter().enumerate() {
        re += sample * (wave * index as f32).cos();
        im += sample * (wave * index as f32).sin();
    }
    let tone = f32::hypot(re, im) / 24_000.0;
    // The second difference weakens 440 Hz by 50 dB.
    let high = middle.windows(3).map(|w| w[0] - 2.0 * w[1] + w[2]);
    let high = high.map(|sample| sample * sample).sum::<f32>() / 48_000.0;
    (20.0 * tone.log10(), 10.0 * high.log10())
}

/// Converted at the rate at which it plays, with the high half that SBR makes and the sides that PS makes.
#[cfg(feature = "transcode")]
#[test]
fn it_is_converted_with_all_that_was_heard() {
    let folder = tempfile::tempdir().expect("a folder");
    for version in [1, 2] {
        let files = played(version, folder.path());
        let file = |ending| {
            &files
                .iter()
                .find(|(name, _)| *name == ending)
                .expect("it")
                .1
        };
        assert_eq!(probe(file("mp3")), "unknown|48000|2");
        let source = decode(FFMPEG_DEBIAN, file("aac"));
        for ffmpeg in [FFMPEG_DEBIAN, ffmpeg_current()] {
            let came = decode(ffmpeg, file("mp3"));
            let lasts = came[0].len() as f32 / 48_000.0;
            let lasted = source[0].len() as f32 / 48_000.0;
            assert!((lasts - lasted).abs() < 0.3, "{lasts} s of {lasted} s");
            for (side, (came, source)) in came.iter().zip(&source).enumerate() {
                let ((tone, high), (tone_was, high_was)) = (levels(came), levels(source));
                let what = format!(
                    "version {version}, side {side}: {tone:.2} and {high:.2} dB of {tone_was:.2} and {high_was:.2}"
                );
                assert!((tone - tone_was).abs() < 0.5, "{what}");
                assert!((high - high_was).abs() < 1.0, "{what}");
            }
            let [(left, _), (right, _)] = [levels(&came[0]), levels(&came[1])];
            assert!(
                (10.0..16.0).contains(&(left - right)),
                "{left} and {right} dB"
            );
        }
    }
}
