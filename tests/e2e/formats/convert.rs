//! MP3 of streams whose sound is AAC.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::crowd::join_at_random;
use crate::SHORT;
use crate::support::elementary::contains;
use crate::support::feed::{Feed, Plan};
use crate::support::http;
use crate::support::programs::{self, FFMPEG_DEBIAN, ffmpeg_current};
use crate::support::raw::Raw;
use crate::support::server::Server;
use crate::support::{PATIENCE, fixtures, wait_for};

/// A file in one channel, as ffmpeg decodes it, which must have nothing to say about it.
#[track_caller]
fn decode(ffmpeg: &str, format: &str, file: &Path, rate_hz: u32) -> Vec<f32> {
    let mut command = Command::new(ffmpeg);
    command
        .args(["-hide_banner", "-v", "warning", "-f", format, "-i"])
        .arg(file);
    command.args(["-ac", "1", "-f", "f32le", "-ar", &rate_hz.to_string(), "-"]);
    let output = programs::run(&mut command, PATIENCE);
    let said = output
        .stderr
        .lines()
        .filter(|line| !line.contains("Estimating duration from bitrate"));
    assert_eq!(said.collect::<Vec<_>>(), Vec::<&str>::new());
    let bytes = output.bytes();
    let samples = bytes.chunks_exact(4);
    samples
        .map(|four| f32::from_le_bytes(four.try_into().expect("four bytes")))
        .collect()
}

/// Level in dB and pitch in Hz, of the middle.
fn measure(samples: &[f32], rate_hz: u32) -> (f32, f32) {
    let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
    let square: f32 = middle.iter().map(|s| s * s).sum::<f32>() / middle.len() as f32;
    let rises = middle.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0);
    let seconds = middle.len() as f32 / rate_hz as f32;
    (10.0 * square.log10(), rises.count() as f32 / seconds)
}

/// Rates of the MP3 frames in a body, which must have nothing else in it.
#[track_caller]
fn rates(mut bytes: &[u8]) -> Vec<u32> {
    let mut rates = Vec::new();
    while let [0xff, second, third, _, ..] = *bytes {
        let lower = second >> 3 & 1 == 0;
        let kbps: &[usize] = if lower {
            &[0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
        } else {
            &[
                0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
            ]
        };
        let rate = [44_100, 48_000, 32_000][usize::from(third >> 2 & 3)] >> u32::from(lower);
        let samples = if lower { 72 } else { 144 };
        let bit_rate = kbps[usize::from(third >> 4)] * 1000;
        let size = samples * bit_rate / rate as usize + usize::from(third >> 1 & 1);
        rates.push(rate);
        bytes = bytes.get(size..).unwrap_or_default();
    }
    assert!(
        bytes.is_empty(),
        "no MP3: {:02x?}",
        &bytes[..bytes.len().min(8)]
    );
    rates
}

#[test]
fn it_sounds_as_it_was_and_lasts_as_long() {
    let server = Server::start(
        "vhosts: { __defaultVhost__: { publish: { republish_wait: 0s }, play: { wait: 60s } } }",
    );
    let shapes = [
        (48_000, 1),
        (48_000, 2),
        (44_100, 2),
        (32_000, 2),
        (24_000, 2),
        (22_050, 1),
        (16_000, 1),
        (48_000, 6),
    ];
    std::thread::scope(|scope| {
        for (rate_hz, channels) in shapes {
            let server = &server;
            scope.spawn(move || check_shape(server, rate_hz, channels));
        }
    });
}

#[track_caller]
fn check_shape(server: &Server, rate_hz: u32, channels: u32) {
    let what = format!("{rate_hz} Hz, {channels} channels");
    let name = format!("x{rate_hz}-{channels}");
    let file = fixtures::aac_of(rate_hz, channels);
    // They wait for the stream, and have it from its beginning.
    let players = ["mp3", "aac"].map(|e| Raw::open(server, &format!("/live/{name}.{e}")));
    let feed = Feed::start(server, "live", &name, Plan::of(&file).for_ms(5_500));
    for player in &players {
        player.wait_end(PATIENCE);
    }
    feed.finish();
    let folder = tempfile::tempdir().expect("a folder");
    let [mp3, aac] = [(0, "mp3"), (1, "aac")].map(|(index, ending)| {
        let path = folder.path().join(format!("came.{ending}"));
        std::fs::write(&path, players[index].bytes()).expect("a file");
        path
    });
    let source = decode(FFMPEG_DEBIAN, "aac", &aac, rate_hz);
    for ffmpeg in [FFMPEG_DEBIAN, ffmpeg_current()] {
        let came = decode(ffmpeg, "mp3", &mp3, rate_hz);
        let (level, pitch) = measure(&came, rate_hz);
        let (source_level, source_pitch) = measure(&source, rate_hz);
        // Of 5.1, the tone is in the centre, and ffmpeg's mono has it at another level.
        if channels <= 2 {
            assert!(
                (level - source_level).abs() < 0.5,
                "{what}: {level:.2} dB, {source_level:.2} dB were sent"
            );
            assert!(
                (pitch - source_pitch).abs() < 1.0,
                "{what}: {pitch} Hz, {source_pitch} Hz were sent"
            );
        } else {
            assert!(level > -40.0, "{what}: {level} dB");
        }
        let seconds = |samples: &[f32]| samples.len() as f32 / rate_hz as f32;
        let (lasts, lasted) = (seconds(&came), seconds(&source));
        assert!(lasted > 4.5, "{what}: {lasted} s of AAC");
        assert!(
            (lasts - lasted).abs() < 0.3,
            "{what}: {lasts} s of {lasted} s"
        );
    }
}

/// Threads of a process that convert.
fn converting(server: &Server) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("threads");
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.trim() == "aac-to-mp3")
        .count()
}

/// One thread while somebody plays, whatever the number of players and when they join: all have the same sound, from a whole frame
/// on. Nobody plays, nothing is converted.
#[test]
fn one_conversion_for_all_players() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    assert_eq!(converting(&server), 0);
    // HEAD asks, and plays nothing.
    let head = http::request(server.address("http"), "HEAD", "/live/x.mp3", &[]).expect("answer");
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some("audio/mpeg"))
    );
    assert_eq!(converting(&server), 0);
    let first = Raw::open(&server, "/live/x.mp3");
    first.wait("some sound", PATIENCE, |bytes| bytes.len() > 4000);
    let others = join_at_random(&server, "/live/x.mp3");
    let came: Vec<Vec<u8>> = others
        .iter()
        .map(|other| {
            other.wait("two seconds", PATIENCE, |bytes| {
                bytes.len() > 16_000 && other.opened.elapsed() > Duration::from_secs(2)
            })
        })
        .collect();
    assert_eq!(converting(&server), 1);
    let all = first.bytes();
    let folder = tempfile::tempdir().expect("a folder");
    for (index, bytes) in came.iter().enumerate() {
        assert!(
            rates(bytes).iter().all(|rate| *rate == 48_000),
            "player {index}: {:?}",
            rates(bytes)
        );
        // Not to the end, which the first one may have had to read later.
        let most = &bytes[..bytes.len() * 3 / 4];
        assert!(
            contains(&all, most),
            "player {index} has other bytes than the first one"
        );
        if index % 10 == 0 {
            let file = folder.path().join("came.mp3");
            std::fs::write(&file, bytes).expect("a file");
            let (_, pitch) = measure(&decode(FFMPEG_DEBIAN, "mp3", &file, 48_000), 48_000);
            assert!((pitch - 440.0).abs() < 1.0, "player {index}: {pitch} Hz");
        }
    }
    drop((first, others));
    wait_for("the conversion ends after its players", PATIENCE, || {
        (converting(&server) == 0).then_some(())
    });
}

/// Publishers come and go with other rates, channels and codecs; the response goes on.
#[test]
fn a_player_hears_one_publisher_after_the_other() {
    let server = Server::start(SHORT);
    let mut player = None;
    for (file, rate) in [
        (fixtures::aac_of(48_000, 2), 48_000),
        (fixtures::aac_of(22_050, 1), 22_050),
        (fixtures::mp3(), 44_100),
        (fixtures::aac_of(48_000, 2), 48_000),
        (fixtures::aac_of(48_000, 2), 48_000),
    ] {
        let feed = Feed::start(&server, "live", "x", Plan::of(&file));
        let player = player.get_or_insert_with(|| Raw::open(&server, "/live/x.mp3"));
        let had = player.len();
        player.wait("a second of it", PATIENCE, |bytes| bytes.len() > had + 4000);
        let came = rates(&player.bytes());
        assert_eq!(came.last(), Some(&rate), "{came:?}");
        feed.abandon();
    }
}

/// Sound that changes its shape under one publisher.
#[test]
fn a_change_in_mid_stream() {
    let server = Server::start(SHORT);
    let plan = Plan::of(&fixtures::aac_of(48_000, 2));
    let (other, second) = (Plan::of(&fixtures::aac_of(24_000, 2)), 2000);
    let feed = Feed::start(&server, "live", "x", plan.then_at(second, other));
    let player = Raw::open(&server, "/live/x.mp3");
    player.wait("the other rate", PATIENCE, |_| {
        rates(&player.bytes()).last() == Some(&24_000)
    });
    assert_eq!(rates(&player.bytes()).first(), Some(&48_000));
    drop(feed);
}

#[test]
fn fast_cache_gives_converted_sound_at_once() {
    let server = Server::start("vhosts: { __defaultVhost__: { http_remux: { fast_cache: 3s } } }");
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    wait_for("five seconds are sent", PATIENCE, || {
        let last = feed.sent().last().map_or(0, |tag| tag.dts);
        (last > 5000).then_some(())
    });
    // The first one has it as soon as it is converted, the second at once.
    for _ in 0..2 {
        let player = Raw::open(&server, "/live/x.mp3");
        player.wait("sound goes on", PATIENCE, |_| {
            let first = player.first_at();
            first.is_some_and(|at| at.elapsed() > Duration::from_millis(1000))
        });
        let first = player.first_at().expect("just seen");
        let burst = player.until(first + Duration::from_millis(800));
        // 128 kbit/s.
        let seconds = burst.len() as f64 / 16_000.0;
        assert!((2.5..5.0).contains(&seconds), "{seconds:.2} s at once");
    }
}

#[test]
fn the_bit_rate_is_configured() {
    let server = Server::start("vhosts: { __defaultVhost__: { http_remux: { mp3_bitrate: 64 } } }");
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::aac_of(48_000, 2)));
    let player = Raw::open(&server, "/live/x.mp3");
    let bytes = player.wait("a second", PATIENCE, |bytes| bytes.len() > 8000);
    // 64 kbit/s is index 5 of 48 kHz; stereo.
    assert_eq!((bytes[2] >> 4, bytes[2] >> 2 & 3), (5, 1));
}

#[test]
fn what_cannot_be_converted_is_415_with_the_reason() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::aac_of(96_000, 2)));
    server.wait_stream("/live/x.flv");
    for method in ["GET", "HEAD"] {
        let answer =
            http::request(server.address("http"), method, "/live/x.mp3", &[]).expect("an answer");
        assert_eq!(answer.status, 415);
        if method == "GET" {
            assert_eq!(
                answer.text(),
                "the stream's AAC cannot be converted to MP3: MP3 has no sampling rate of 96000 Hz\n"
            );
        }
    }
}
