//! TS, AAC and MP3: the elementary streams that were published, to the byte, for one player and for many, over each transport; and
//! what cannot be given.

mod audio;
mod changes;
#[cfg(feature = "transcode")]
mod convert;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::support::elementary::{adts_frames, assert_run, coded, contains, nals, slices, twice};
use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, Flv, Tag, VIDEO};
use super::support::programs::{self, FFMPEG_DEBIAN, Job, curl, ffmpeg_current};
use super::support::raw::Raw;
use super::support::server::Server;
use super::support::ts::{self, PACKET, Pes, STEP, Ts, lasts, units_of};
use super::support::{PATIENCE, fixtures, http};
use super::{SHORT, websocket};

/// Players that are there at once.
const CROWD: usize = 50;

/// A program that plays for some seconds, with its start on a busy machine.
const PLAY: Duration = Duration::from_secs(60);

/// The whole units of a stream, so that the last packet is whole.
#[track_caller]
fn check_pieces(player: &Raw) {
    for size in player.pieces() {
        assert_eq!(
            size % PACKET,
            0,
            "a unit of {size} bytes is not whole packets"
        );
    }
}

/// What one player was given of one fixture agrees with what was sent.
#[track_caller]
fn check_content(name: &str, ts: &Ts, sent: &[Tag], types: (Option<u8>, Option<u8>)) {
    for (kind, stream_type) in [(VIDEO, types.0), (AUDIO, types.1)] {
        if let Some(stream_type) = stream_type {
            assert_run(
                &format!("{name}, kind {kind}"),
                &units_of(ts, stream_type),
                &coded(sent, kind),
            );
        }
    }
    let map: Vec<u8> = ts
        .maps
        .last()
        .expect("a map")
        .streams
        .iter()
        .map(|(kind, _)| *kind)
        .collect();
    let expected: Vec<u8> = [types.0, types.1].into_iter().flatten().collect();
    assert_eq!(map, expected, "{name}: the map");
}

type Fixture = (&'static str, PathBuf, (Option<u8>, Option<u8>));

fn all_fixtures() -> Vec<Fixture> {
    vec![
        (
            "h264-aac",
            fixtures::h264_aac(),
            (Some(ts::H264), Some(ts::AAC)),
        ),
        (
            "hevc-aac",
            fixtures::hevc_aac(),
            (Some(ts::HEVC), Some(ts::AAC)),
        ),
        (
            "h264-mp3",
            fixtures::h264_mp3(),
            (Some(ts::H264), Some(ts::MPEG1_AUDIO)),
        ),
        (
            "h264-ac3",
            fixtures::h264_ac3(),
            (Some(ts::H264), Some(ts::AC3)),
        ),
        (
            "h264-opus",
            fixtures::h264_opus(),
            (Some(ts::H264), Some(ts::PRIVATE)),
        ),
        ("h264", fixtures::h264(), (Some(ts::H264), None)),
        ("aac", fixtures::aac(), (None, Some(ts::AAC))),
        ("mp3", fixtures::mp3(), (None, Some(ts::MPEG1_AUDIO))),
    ]
}

#[test]
fn ts_carries_what_was_published() {
    let server = Server::start(SHORT);
    let all = all_fixtures();
    let feeds: Vec<Feed> = all
        .iter()
        .map(|(name, file, _)| Feed::start(&server, "live", name, Plan::of(file)))
        .collect();
    let players: Vec<Raw> = all
        .iter()
        .map(|(name, ..)| Raw::open(&server, &format!("/live/{name}.ts")))
        .collect();
    for ((name, _, types), (player, feed)) in all.iter().zip(players.iter().zip(&feeds)) {
        let bytes = player.wait(&format!("three seconds of {name}"), PATIENCE, |bytes| {
            lasts(bytes, 3.0)
        });
        let sent = feed.sent();
        check_pieces(player);
        assert_eq!(bytes[..3], [0x47, 0x40, 0], "{name} begins with a PAT");
        assert_eq!(player.header("content-type").as_deref(), Some("video/mp2t"));
        check_content(name, &ts::check(&bytes, STEP), &sent, *types);
    }
}

/// However units are cut and wherever players start, it is at a PAT and a keyframe.
#[test]
fn players_start_at_a_pat_with_other_settings() {
    for play in [
        "mw_latency: 350ms",
        "gop_cache: off",
        "mix_correct: on",
        "gop_cache: off, mw_latency: 350ms",
    ] {
        let server = Server::start(&format!(
            "vhosts: {{ __defaultVhost__: {{ play: {{ {play} }} }} }}"
        ));
        let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
        for _ in 0..3 {
            let player = Raw::open(&server, "/live/x.ts");
            let bytes = player.wait("a second and a half", PATIENCE, |bytes| lasts(bytes, 1.5));
            check_pieces(&player);
            check_content(
                play,
                &ts::check(&bytes, STEP),
                &feed.sent(),
                (Some(ts::H264), Some(ts::AAC)),
            );
        }
    }
}

/// Delimiter and parameter sets stand before each picture at which a decoder can start.
#[test]
fn a_keyframe_has_all_that_a_decoder_needs() {
    let server = Server::start(SHORT);
    for (name, file, stream_type, expected) in [
        ("a", fixtures::h264_aac(), ts::H264, [9, 7, 8].as_slice()),
        ("b", fixtures::hevc_aac(), ts::HEVC, &[35, 32, 33, 34]),
    ] {
        let _feed = Feed::start(&server, "live", name, Plan::of(&file));
        let player = Raw::open(&server, &format!("/live/{name}.ts"));
        let bytes = player.wait("two seconds", PATIENCE, |bytes| lasts(bytes, 2.2));
        let ts = ts::check(&bytes, STEP);
        let keys: Vec<&Pes> = ts
            .of(ts.pid_of(stream_type))
            .into_iter()
            .filter(|pes| pes.random_access)
            .collect();
        assert!(keys.len() >= 2, "{} keyframes in two seconds", keys.len());
        for key in keys {
            let kinds: Vec<u8> = nals(&key.payload)
                .into_iter()
                .map(|nal| {
                    if stream_type == ts::HEVC {
                        nal[0] >> 1 & 0x3f
                    } else {
                        nal[0] & 0x1f
                    }
                })
                .collect();
            assert_eq!(
                &kinds[..expected.len()],
                expected,
                "{name}: NAL types {kinds:?}"
            );
        }
    }
}

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

/// A random time in a span.
fn some_of(span: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    span.mul_f64((random % 10_000) as f64 / 10_000.0)
}

/// Players that join within four seconds, at random. Gives what each of them has and what one has that was there before all.
fn crowd(server: &Server, path: &str) -> (Vec<Vec<u8>>, Vec<u8>) {
    let early = Raw::open(server, path);
    early.wait("something", PATIENCE, |bytes| !bytes.is_empty());
    let players: Vec<Raw> = std::thread::scope(|scope| {
        let joins: Vec<_> = (0..CROWD)
            .map(|_| {
                scope.spawn(|| {
                    std::thread::sleep(some_of(Duration::from_secs(4)));
                    Raw::open(server, path)
                })
            })
            .collect();
        joins
            .into_iter()
            .map(|join| join.join().expect("a player"))
            .collect()
    });
    let all: Vec<Vec<u8>> = players
        .iter()
        .map(|player| {
            player.wait("two seconds", PATIENCE, |bytes| {
                bytes.len() >= 16_000 && player.opened.elapsed() > Duration::from_secs(2)
            })
        })
        .collect();
    (all, early.bytes())
}

#[test]
fn fifty_players_of_ts() {
    for (file, types) in [
        (fixtures::h264_aac(), (Some(ts::H264), Some(ts::AAC))),
        (fixtures::hevc_aac(), (Some(ts::HEVC), Some(ts::AAC))),
    ] {
        let server = Server::start(SHORT);
        let feed = Feed::start(&server, "live", "x", Plan::of(&file));
        let (all, early) = crowd(&server, "/live/x.ts");
        let sent = feed.sent();
        check_content("the early one", &ts::check(&early, STEP), &sent, types);
        for (index, bytes) in all.iter().enumerate() {
            let ts = ts::check(bytes, STEP);
            check_content(&format!("player {index}"), &ts, &sent, types);
            // Counters and all: the very packets that everybody gets. Not to the end, which the early one may have had to read later.
            let most = &bytes[..bytes.len() / PACKET * 3 / 4 * PACKET];
            let found = (0..early.len())
                .step_by(PACKET)
                .any(|at| early[at..].starts_with(most));
            assert!(found, "player {index} has other packets");
        }
    }
}

#[test]
fn fifty_players_of_aac() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let (all, early) = crowd(&server, "/live/x.aac");
    let sent = coded(&feed.sent(), AUDIO);
    for bytes in all.iter().chain([&early]) {
        assert_run("a player", &adts_frames(bytes), &sent);
    }
}

#[test]
fn fifty_players_of_mp3() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::mp3()));
    let (all, early) = crowd(&server, "/live/x.mp3");
    let sent = coded(&feed.sent(), AUDIO).concat().concat();
    for bytes in all.iter().chain([&early]) {
        assert!(contains(&sent, bytes), "the sound differs");
    }
}

#[test]
fn ts_over_http2() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.ts");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.ts");
    let mut command = curl();
    command
        .args([
            "--http2-prior-knowledge",
            "-m",
            "4",
            "-w",
            "%{http_version} %{content_type}",
            "-o",
        ])
        .arg(&file)
        .arg(server.http("/live/x.ts"));
    let output = programs::run(&mut command, PATIENCE);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 video/mp2t");
    let bytes = std::fs::read(&file).expect("a file");
    let ts = ts::check(&bytes[..bytes.len() - bytes.len() % PACKET], STEP);
    check_content("HTTP/2", &ts, &feed.sent(), (Some(ts::H264), Some(ts::AAC)));
}

#[test]
fn formats_over_a_websocket() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    for path in ["/live/x.ts", "/live/x.aac"] {
        server.wait_stream(path);
        let mut client = websocket::Client::open(server.address("http"), path);
        let mut bytes = Vec::new();
        while bytes.len() < 16_000 {
            let (opcode, payload) = client.frame();
            assert_eq!(opcode, 2, "binary messages only");
            assert!(
                !path.ends_with(".ts") || payload.len().is_multiple_of(PACKET),
                "a message of {} bytes",
                payload.len()
            );
            bytes.extend(payload);
        }
        let sent = feed.sent();
        if path.ends_with(".aac") {
            assert_run(path, &adts_frames(&bytes), &coded(&sent, AUDIO));
        } else {
            check_content(
                path,
                &ts::check(&bytes, STEP),
                &sent,
                (Some(ts::H264), Some(ts::AAC)),
            );
        }
    }
}

/// mpegts.js in a browser, by the page's own address.
#[track_caller]
fn check_browser(server: &Server, stream: &str) {
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

#[test]
fn what_cannot_be_given_is_told() {
    let server = Server::start(SHORT);
    let streams = [
        ("a", fixtures::h264_aac()),
        ("b", fixtures::h264()),
        ("c", fixtures::mp3()),
        ("d", fixtures::av1_opus()),
        ("e", fixtures::h264_opus()),
    ];
    let _feeds: Vec<Feed> = streams
        .iter()
        .map(|(name, file)| Feed::start(&server, "live", name, Plan::of(file)))
        .collect();
    for (name, _) in &streams {
        server.wait_stream(&format!("/live/{name}.flv"));
    }
    for (path, expected) in [
        ("/live/b.aac", "the stream has no audio"),
        ("/live/b.mp3", "the stream has no audio"),
        (
            "/live/c.aac",
            "the stream's audio is MP3, which has no place in ADTS",
        ),
        (
            "/live/d.ts",
            "the stream's video is AV1, which has no place in MPEG-TS",
        ),
        (
            "/live/e.aac",
            "the stream's audio is Opus, which has no place in ADTS",
        ),
    ] {
        let answer = http::get(server.address("http"), path);
        assert_eq!(answer.status, 415, "{path}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8"),
            "{path}"
        );
        assert_eq!(answer.text(), format!("{expected}\n"), "{path}");
        let head = http::request(server.address("http"), "HEAD", path, &[]).expect("an answer");
        assert_eq!(head.status, 415, "HEAD {path}");
    }
    for (path, content_type) in [
        ("/live/a.flv", "video/x-flv"),
        ("/live/a.ts", "video/mp2t"),
        ("/live/b.ts", "video/mp2t"),
        ("/live/a.aac", "audio/aac"),
        ("/live/c.mp3", "audio/mpeg"),
        #[cfg(feature = "transcode")]
        ("/live/a.mp3", "audio/mpeg"),
        ("/live/e.ts", "video/mp2t"),
    ] {
        let head = http::request(server.address("http"), "HEAD", path, &[]).expect("an answer");
        assert_eq!(
            (head.status, head.header("content-type")),
            (200, Some(content_type)),
            "HEAD {path}"
        );
        assert_eq!(
            head.header("cache-control"),
            Some("no-store"),
            "HEAD {path}"
        );
        assert_eq!(head.header("content-length"), None, "HEAD {path}");
    }
}

/// All endings at once, and a template of one's own beside them.
#[test]
fn one_vhost_has_every_mount() {
    let server = Server::start(
        "
vhosts:
  __defaultVhost__:
    http_remux:
      mounts:
        - '[vhost]/[app]/[stream].flv'
        - '[vhost]/[app]/[stream].ts'
        - '[vhost]/[app]/[stream].aac'
        - '/x/[app]-[stream].ts'
        - '/sound/[app]/[stream].mp3'
",
    );
    let _a = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    let _b = Feed::start(&server, "live", "b", Plan::of(&fixtures::mp3()));
    for path in [
        "/live/a.flv",
        "/live/a.ts",
        "/live/a.aac",
        "/x/live-a.ts",
        "/sound/live/b.mp3",
        "/live/b.ts",
    ] {
        server.wait_stream(path);
    }
    let player = Raw::open(&server, "/x/live-a.ts");
    ts::check(
        &player.wait("a second", PATIENCE, |bytes| lasts(bytes, 1.0)),
        STEP,
    );
    let status = |path| {
        http::request(server.address("http"), "HEAD", path, &[])
            .expect("an answer")
            .status
    };
    assert_eq!(status("/live/b.mp3"), 404, "not where it is not mounted");
}
