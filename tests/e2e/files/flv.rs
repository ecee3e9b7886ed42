//! FLV files from a keyframe on, files beside live streams, and recordings in a browser.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::{Flv, SCRIPT, VIDEO};
use super::super::support::http::request;
use super::super::support::player::Player;
use super::super::support::programs::{self, FFMPEG_DEBIAN, curl, run};
use super::super::support::{PATIENCE, fixtures, wait_for};
use super::{Site, VERSIONS, fetch};

/// Packets as PyAV sees them: kind, time, whether a decoder can begin there, and what is in them.
fn packets(url: &str) -> Vec<(String, i64, bool, String)> {
    let seen = programs::demux(url, PATIENCE);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packets = seen["packets"].as_array().expect("packets");
    packets
        .iter()
        .map(|p| {
            (
                text(&p["stream"]),
                p["dts"].as_i64().unwrap_or(-1),
                p["key"] == true,
                text(&p["sha256"]),
            )
        })
        .collect()
}

#[track_caller]
fn probe(url: &str) -> String {
    let mut command = Command::new("/usr/bin/ffprobe");
    command.args([
        "-v",
        "warning",
        "-count_packets",
        "-show_entries",
        "stream=codec_name,width,sample_rate",
        "-of",
        "compact",
        url,
    ]);
    let output = run(&mut command, PATIENCE);
    assert_eq!(output.stderr, "", "{url}: no warnings");
    output.success()
}

#[test]
fn flv_from_a_keyframe_on() {
    let site = Site::new();
    let mut command = Command::new(FFMPEG_DEBIAN);
    command
        .args(["-v", "error", "-i"])
        .arg(site.path("vod/film.flv"))
        .args(["-c", "copy", "-flvflags", "add_keyframe_index"]);
    run(command.arg(site.path("vod/indexed.flv")), PATIENCE).success();
    for name in ["film", "indexed"] {
        let bytes = fs::read(site.path(&format!("vod/{name}.flv"))).expect("a recording");
        let (url, size) = (site.server.http(&format!("/vod/{name}.flv")), bytes.len());
        let all = packets(&url);
        let keys: Vec<i64> = all
            .iter()
            .filter(|p| p.0 == "video" && p.2)
            .map(|p| p.1)
            .collect();
        assert!(keys.len() >= 5, "{keys:?}");
        // By time: the keyframe at or before, and from there on all that is in the file.
        for ms in [1, 900, keys[1], keys[1] + 1, keys[3] - 1, 4_567] {
            let cut = format!("{url}?start_ms={ms}");
            let from = keys.iter().rfind(|key| **key <= ms).unwrap_or(&keys[0]);
            let got = packets(&cut);
            assert_eq!(
                (got[0].0.as_str(), got[0].1, got[0].2),
                ("video", *from, true),
                "{cut}"
            );
            assert_eq!(got[..], all[all.len() - got.len()..], "{cut}");
        }
        // By byte: what is given is the rest of the file behind a head that is made.
        for start in [14, size / 3, size / 2] {
            let got = fetch(&format!("{url}?start={start}"), &[]);
            assert_eq!(
                (got.status, got.header("content-type")),
                (200, Some("video/x-flv"))
            );
            got.has(&format!("content-length: {}", got.body.len()));
            let flv = Flv::read(&got.body).expect("an FLV file");
            let first = flv
                .tags
                .iter()
                .position(|tag| tag.is_keyframe())
                .expect("a keyframe");
            assert!(
                flv.tags[..first]
                    .iter()
                    .all(|tag| tag.is_header() || tag.kind == SCRIPT),
                "{:?}",
                &flv.tags[..=first]
            );
            assert_eq!(first, 3, "metadata, video and audio headers");
            let rest: usize = flv.tags[first..].iter().map(|tag| tag.bytes().len()).sum();
            assert!(bytes.ends_with(&got.body[got.body.len() - rest..]) && size - rest >= start);
        }
        let cut = format!("{url}?start={}", size / 2);
        assert!(probe(&cut).contains("h264"), "{}", probe(&cut));
        // Parts of it, and conditions on it.
        let whole = fetch(&cut, &[]);
        let part = fetch(&cut, &["-r", "100-199"]);
        assert_eq!((part.status, &part.body[..]), (206, &whole.body[100..200]));
        assert_ne!(whole.header("etag"), fetch(&url, &[]).header("etag"));
        let tag = format!("If-None-Match: {}", whole.header("etag").expect("a tag"));
        assert_eq!(fetch(&cut, &["-H", &tag]).status, 304);
        // None, and beyond.
        for (query, status) in [
            ("start=0", 200),
            ("start_ms=0", 200),
            ("other=1", 200),
            ("start=x", 400),
            ("start_ms=-5", 400),
            ("start_ms=99999", 416),
        ] {
            let got = fetch(&format!("{url}?{query}"), &[]);
            assert_eq!(got.status, status, "{query}");
            assert!(status != 200 || got.body == bytes, "{query}");
        }
        let beyond = fetch(&format!("{url}?start={size}"), &[]);
        assert_eq!(beyond.status, 416);
        beyond.has(&format!("content-range: bytes */{size}"));
    }
    assert_eq!(
        fetch(&site.server.http("/digits.txt?start=5"), &[]).body,
        b"0123456789"
    );
}

/// A file that cannot be cut is sent as it is.
#[test]
fn broken_recordings() {
    let site = Site::new();
    let film = site.film();
    let mut garbage = film.clone();
    garbage[film.len() / 3..].fill(0xee);
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("text", &b"this is no FLV"[..]),
        ("garbage", &garbage[..]),
    ] {
        fs::write(site.path(&format!("{name}.flv")), bytes).expect("a file");
        let begin = Instant::now();
        for query in [
            "start_ms=5000",
            &format!("start={}", bytes.len().saturating_sub(1)),
        ] {
            let got = fetch(&site.server.http(&format!("/{name}.flv?{query}")), &[]);
            let whole = got.status == 200 && got.body == bytes;
            assert!(whole || got.status == 416, "{name} {query}: {}", got.status);
        }
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
    // One that a crash cut short plays from the middle to its last whole tag.
    fs::write(site.path("short.flv"), &film[..film.len() - 777]).expect("a file");
    let got = packets(&site.server.http("/short.flv?start_ms=3000"));
    assert!(got.len() > 50 && got[0].2, "{} packets", got.len());
}

/// The address of a file is that of a stream, too. SRS takes such a file for a stream, and its reader waits for ever.
#[test]
fn a_file_beside_a_live_mount() {
    let site = Site::with(
        "vhosts: { __defaultVhost__: { play: { wait: 30s }, publish: { republish_wait: 300ms } } }",
    );
    let (film, url) = (site.film(), site.server.http("/vod/film.flv"));
    for version in VERSIONS {
        let begin = Instant::now();
        let got = fetch(&url, &[version]);
        assert!(
            begin.elapsed() < Duration::from_secs(3),
            "{version}: {:?}",
            begin.elapsed()
        );
        assert!(got.status == 200 && got.body == film, "{version}");
        got.has("cache-control: no-cache");
        assert_eq!(
            fetch(&url, &[version, "-I"]).header("content-length"),
            Some(film.len().to_string().as_str())
        );
    }
    // A stream of that name comes first, also with a question that only a file can answer.
    let feed = Feed::start(
        &site.server,
        "vod",
        "film",
        Plan::of(&fixtures::h264_aac_other()),
    );
    let http = site.server.address("http");
    wait_for("the stream", PATIENCE, || {
        let head = request(http, "HEAD", "/vod/film.flv", &[]).expect("an answer");
        (head.header("content-length").is_none()).then_some(())
    });
    for query in ["", "?start=100", "?start_ms=3000"] {
        let player = Player::open(&site.server, &format!("/vod/film.flv{query}"));
        let flv = player.wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
        assert_ne!(
            flv.header(VIDEO),
            Flv::read(&film).expect("an FLV file").header(VIDEO),
            "{query}: it is the stream"
        );
    }
    // When it has gone, there is the file again.
    drop(feed);
    wait_for("the file", PATIENCE, || {
        (fetch(&url, &["-I"]).header("content-length").is_some()).then_some(())
    });
    assert_eq!(fetch(&url, &[]).body, film);
    // What is neither is waited for, as ever.
    let mut command = curl();
    command
        .args(["-m", "2", "-o", "/dev/null"])
        .arg(site.server.http("/vod/none.flv"));
    assert_eq!(
        run(&mut command, PATIENCE).status.code(),
        Some(28),
        "curl's own time ran out"
    );
}

fn mp4(flv: &Path, to: &Path) {
    let mut command = Command::new(FFMPEG_DEBIAN);
    command
        .args(["-v", "error", "-i"])
        .arg(flv)
        .args(["-c", "copy"])
        .arg(to);
    run(&mut command, PATIENCE).success();
}

/// By the keyboard alone: Tab to the recording, Enter.
#[test]
fn chromium_plays_recordings_from_the_list() {
    let site = Site::with("vhosts: { __defaultVhost__: { play: { on_missing: 404 } } }");
    // Its index stands at the end, so a browser has to ask for parts.
    mp4(&site.path("vod/film.flv"), &site.path("vod/film.mp4"));
    for name in ["vod/film.flv", "vod/film.mp4"] {
        let mut browser = programs::tool("browser.py");
        browser.arg(&site.server.open).args([
            "--recording",
            name,
            "--seconds",
            "3",
            "--deadline",
            "40",
        ]);
        let seen = run(&mut browser, Duration::from_secs(90)).json();
        assert_eq!(
            (&seen["state"], &seen["message"]),
            (&"playing".into(), &"".into()),
            "{name}: {seen}"
        );
        assert_eq!(seen["page_errors"], Value::Array(vec![]), "{name}: {seen}");
        assert!(
            seen["advanced"].as_f64().is_some_and(|s| s >= 3.0),
            "{name}: {seen}"
        );
        assert_eq!(seen["stats"]["width"], 320, "{name}: {seen}");
        site.server.wait_log(&["file sent", name], PATIENCE);
    }
    let log = site.server.log();
    assert!(
        log.lines()
            .any(|l| l.contains("film.mp4") && l.contains("status=206")),
        "MP4 is asked for in parts"
    );
}
