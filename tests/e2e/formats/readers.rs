//! Real readers: both ffmpegs, ffprobe, and mpegts.js in Chromium.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{PLAY, all_fixtures};
use crate::SHORT;
use crate::support::elementary::{adts_frames, assert_run, coded, contains, slices, twice};
use crate::support::feed::{Feed, Plan};
use crate::support::flv::{AUDIO, Flv, Tag, VIDEO};
use crate::support::programs::{self, FFMPEG_DEBIAN, Job, ffmpeg_current};
use crate::support::server::Server;
use crate::support::ts;
use crate::support::{PATIENCE, fixtures};

/// Real publishers and real readers: FFmpeg has nothing to say about what it reads, and its packets are those of the fixture.
#[test]
fn ffmpeg_reads_ts_without_a_word() {
    let server = Server::start(SHORT);
    let all = all_fixtures();
    std::thread::scope(|scope| {
        for (name, file, types) in &all {
            scope.spawn(|| check_ffmpeg(&server, name, file, *types));
        }
    });
}

#[track_caller]
fn check_ffmpeg(server: &Server, name: &str, file: &Path, types: (Option<u8>, Option<u8>)) {
    let folder = tempfile::tempdir().expect("a folder");
    let old = matches!(name, "h264-aac" | "h264-mp3" | "aac" | "mp3");
    let publisher = if old { FFMPEG_DEBIAN } else { ffmpeg_current() };
    let _feed = programs::publish_loop(publisher, file, &server.rtmp(&format!("live/{name}")));
    let path = format!("/live/{name}.ts");
    server.wait_stream(&path);
    let published = published(publisher, file, folder.path());
    let readers = [(FFMPEG_DEBIAN, "old"), (ffmpeg_current(), "current")].map(|(reader, age)| {
        let (video, sound) = (
            folder.path().join(format!("{age}.v")),
            folder.path().join(format!("{age}.a")),
        );
        let mut command = Command::new(reader);
        command.args([
            "-hide_banner",
            "-v",
            "warning",
            "-y",
            "-i",
            &server.http(&path),
        ]);
        for (map, there, out) in [
            ("0:v", types.0.is_some(), &video),
            ("0:a", types.1.is_some(), &sound),
        ] {
            if there {
                command
                    .args(["-t", "3", "-map", map, "-c", "copy", "-f", "data"])
                    .arg(out);
            }
        }
        (
            Job::start(&mut command),
            video,
            sound,
            format!("{name} by {age} ffmpeg"),
        )
    });
    for (reader, video, sound, what) in readers {
        let output = reader.finish(PLAY);
        assert_eq!(output.stderr, "", "{what}");
        output.success();
        if let Some(codec) = types.0 {
            let came = slices(codec == ts::HEVC, &std::fs::read(video).expect("a file"));
            assert!(came.len() > 60, "{what}: {} pictures", came.len());
            assert_run(&what, &came, &twice(&coded(&published, VIDEO)).concat());
        }
        if let Some(codec) = types.1 {
            let came = std::fs::read(sound).expect("a file");
            let sent = twice(&coded(&published, AUDIO));
            if codec == ts::AAC {
                let came = adts_frames(&came);
                assert!(came.len() > 100, "{what}: {} frames", came.len());
                assert_run(&what, &came, &sent);
            } else {
                assert!(came.len() > 15_000, "{what}: {} bytes of sound", came.len());
                assert!(
                    contains(&sent.concat().concat(), &came),
                    "{what}: the sound differs"
                );
            }
        }
    }
}

/// What that ffmpeg makes of a file when it publishes it: some configurations and frames are written anew.
fn published(ffmpeg: &str, file: &Path, folder: &Path) -> Vec<Tag> {
    let copy = folder.join("published.flv");
    let mut command = Command::new(ffmpeg);
    command
        .args(["-loglevel", "error", "-y", "-i"])
        .arg(file)
        .args(["-c", "copy", "-f", "flv"])
        .arg(&copy);
    programs::run(&mut command, PATIENCE).success();
    Flv::read(&std::fs::read(copy).expect("a file"))
        .expect("FLV")
        .tags
}

#[test]
fn ffprobe_sees_the_codecs() {
    let server = Server::start(SHORT);
    let _feeds = [
        Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac())),
        Feed::start(&server, "live", "b", Plan::of(&fixtures::hevc_aac())),
        Feed::start(&server, "live", "c", Plan::of(&fixtures::mp3())),
    ];
    for (path, expected) in [
        ("/live/a.ts", &[("h264", 320, ""), ("aac", 0, "48000")][..]),
        ("/live/b.ts", &[("hevc", 320, ""), ("aac", 0, "48000")]),
        ("/live/c.ts", &[("mp3", 0, "44100")]),
        ("/live/a.aac", &[("aac", 0, "48000")]),
        ("/live/c.mp3", &[("mp3", 0, "44100")]),
    ] {
        server.wait_stream(path);
        let mut command = Command::new("ffprobe");
        command
            .args([
                "-v",
                "warning",
                "-of",
                "json",
                "-show_streams",
                "-read_intervals",
                "%+2",
            ])
            .arg(server.http(path));
        let output = programs::run(&mut command, PATIENCE);
        assert_eq!(output.stderr, "", "{path}");
        let found = output.json();
        let found: Vec<(&str, i64, &str)> = found["streams"]
            .as_array()
            .expect("streams")
            .iter()
            .map(|stream| {
                (
                    stream["codec_name"].as_str().expect("a codec"),
                    stream["width"].as_i64().unwrap_or(0),
                    stream["sample_rate"].as_str().unwrap_or(""),
                )
            })
            .collect();
        assert_eq!(found, expected, "{path}");
    }
}

/// mpegts.js in a browser, by the page's own address.
#[track_caller]
pub fn check_browser(server: &Server, stream: &str) {
    let page = server.http(&format!("/?stream={stream}"));
    let seen = Job::start(programs::tool("browser.py").arg(page).args([
        "--seconds",
        "4",
        "--deadline",
        "60",
    ]));
    let seen = seen.finish(Duration::from_secs(120)).json();
    let nothing = serde_json::Value::Array(vec![]);
    assert_eq!(seen["state"], "playing", "{seen}");
    assert_eq!(
        (&seen["errors"], &seen["page_errors"], &seen["console"]),
        (&nothing, &nothing, &nothing),
        "{seen}"
    );
    assert!(
        seen["advanced"].as_f64().is_some_and(|s| s >= 4.0),
        "{seen}"
    );
    assert_eq!(
        (&seen["stats"]["width"], &seen["stats"]["height"]),
        (&320.into(), &180.into()),
        "{seen}"
    );
}

#[test]
fn chromium_plays_ts() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.ts");
    check_browser(&server, "live/x.ts");
    server.wait_log(
        &["play ended", "format=\"ts\"", "protocol=\"http1\""],
        PATIENCE,
    );
}

#[test]
fn chromium_plays_ts_over_a_websocket() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.ts");
    check_browser(
        &server,
        &format!("ws://{}/live/x.ts", server.address("http")),
    );
    server.wait_log(
        &["play ended", "format=\"ts\"", "protocol=\"websocket\""],
        PATIENCE,
    );
}
