//! AAC and MP3, without pictures.

use std::process::Command;
use std::time::Duration;

use super::PLAY;
use crate::SHORT;
use crate::support::elementary::{adts_frames, assert_run, coded, contains, twice};
use crate::support::feed::{Feed, Plan};
use crate::support::flv::{AUDIO, Flv};
use crate::support::programs::{self, FFMPEG_DEBIAN, Job, ffmpeg_current};
use crate::support::raw::Raw;
use crate::support::server::Server;
use crate::support::{PATIENCE, fixtures, wait_for};

#[test]
fn aac_and_mp3_carry_what_was_published() {
    let server = Server::start(SHORT);
    let all = [
        ("a", "aac", fixtures::h264_aac(), "audio/aac"),
        ("b", "aac", fixtures::aac(), "audio/aac"),
        ("c", "mp3", fixtures::mp3(), "audio/mpeg"),
        ("d", "mp3", fixtures::h264_mp3(), "audio/mpeg"),
    ];
    let feeds: Vec<Feed> = all
        .iter()
        .map(|(name, _, file, _)| Feed::start(&server, "live", name, Plan::of(file)))
        .collect();
    let players: Vec<Raw> = all
        .iter()
        .map(|(name, ending, ..)| Raw::open(&server, &format!("/live/{name}.{ending}")))
        .collect();
    for ((name, ending, _, content_type), (player, feed)) in
        all.iter().zip(players.iter().zip(&feeds))
    {
        // 64 kbit/s.
        let bytes = player.wait("two seconds", PATIENCE, |bytes| bytes.len() >= 16_000);
        let sent = coded(&feed.sent(), AUDIO);
        assert_eq!(
            player.header("content-type").as_deref(),
            Some(*content_type)
        );
        if *ending == "aac" {
            assert_run(name, &adts_frames(&bytes), &sent);
        } else {
            assert!(
                contains(&sent.concat().concat(), &bytes),
                "{name}: the sound differs"
            );
        }
        // Each unit is whole frames.
        let mut from = 0;
        for size in player.pieces() {
            let piece = &player.bytes()[from..from + size];
            assert!(
                piece[0] == 0xff && piece[1] & 0xe0 == 0xe0,
                "a unit begins with a frame: {:02x?}",
                &piece[..4]
            );
            from += size;
        }
    }
}

#[test]
fn ffmpeg_reads_aac_and_mp3_without_a_word() {
    let server = Server::start(SHORT);
    for (path, file) in [
        ("live/a", fixtures::h264_aac()),
        ("live/b", fixtures::mp3()),
    ] {
        let _feed = programs::publish_loop(FFMPEG_DEBIAN, &file, &server.rtmp(path));
        let ending = if path == "live/a" { "aac" } else { "mp3" };
        let path = format!("/{path}.{ending}");
        server.wait_stream(&path);
        for reader in [FFMPEG_DEBIAN, ffmpeg_current()] {
            let folder = tempfile::tempdir().expect("a folder");
            let out = folder.path().join("out");
            let mut command = Command::new(reader);
            command
                .args([
                    "-hide_banner",
                    "-v",
                    "warning",
                    "-i",
                    &server.http(&path),
                    "-t",
                    "3",
                    "-map",
                    "0:a",
                    "-c",
                    "copy",
                    "-f",
                    "data",
                ])
                .arg(&out);
            let output = Job::start(&mut command).finish(PLAY);
            assert_eq!(output.stderr, "", "{path} by {reader}");
            output.success();
            let came = std::fs::read(&out).expect("a file");
            let sent = twice(&coded(
                &Flv::read(&std::fs::read(&file).expect("a fixture"))
                    .expect("FLV")
                    .tags,
                AUDIO,
            ));
            if ending == "aac" {
                assert_run(&path, &adts_frames(&came), &sent);
            } else {
                assert!(
                    came.len() > 15_000 && contains(&sent.concat().concat(), &came),
                    "{path}: the sound differs by {reader}"
                );
            }
        }
    }
}

/// `fast_cache` gives that much sound at once, to the first player and to those after it; without it there is none.
#[test]
fn fast_cache_gives_a_joiner_some_seconds_at_once() {
    const CACHED_S: f64 = 3.0;
    let with = Server::start("vhosts: { __defaultVhost__: { http_remux: { fast_cache: 3s } } }");
    let without = Server::start("");
    let feed = |server: &Server| {
        [
            Feed::start(server, "live", "a", Plan::of(&fixtures::h264_aac())),
            Feed::start(server, "live", "b", Plan::of(&fixtures::aac())),
            Feed::start(server, "live", "c", Plan::of(&fixtures::mp3())),
        ]
    };
    let feeds = [feed(&with), feed(&without)];
    wait_for("five seconds are sent", PATIENCE, || {
        feeds
            .iter()
            .flatten()
            .all(|feed| feed.sent().last().is_some_and(|tag| tag.dts > 5000))
            .then_some(())
    });
    for (server, feeds, seconds) in [(&with, &feeds[0], CACHED_S), (&without, &feeds[1], 0.0)] {
        for (path, feed) in ["/live/a.aac", "/live/b.aac", "/live/c.mp3"]
            .into_iter()
            .zip(feeds)
        {
            for _ in 0..2 {
                let player = Raw::open(server, path);
                player.wait("sound goes on", PATIENCE, |_| {
                    player
                        .first_at()
                        .is_some_and(|at| at.elapsed() > Duration::from_millis(1000))
                });
                let first = player.first_at().expect("just seen");
                let burst = player.until(first + Duration::from_millis(300));
                let (got, sent) = (player.bytes(), coded(&feed.sent(), AUDIO));
                let frames = |bytes: &[u8]| match path.ends_with(".aac") {
                    true => adts_frames(bytes).len() as f64 * 1024.0 / 48_000.0,
                    // 64 kbit/s.
                    false => bytes.len() as f64 / 8000.0,
                };
                let had = frames(&burst);
                assert!(
                    (seconds - 0.2..seconds + 0.8).contains(&had),
                    "{path}: {had:.2} s of sound at once, fast_cache is {seconds} s"
                );
                if path.ends_with(".aac") {
                    assert_run(path, &adts_frames(&got), &sent);
                } else {
                    assert!(
                        contains(&sent.concat().concat(), &got),
                        "{path}: the sound differs"
                    );
                }
            }
        }
    }
}

/// What a joiner is given for a start is no reason to skip, though it is more than `queue_length`.
#[test]
fn fast_cache_may_be_longer_than_the_queue() {
    let server = Server::start(
        "vhosts: { __defaultVhost__: { http_remux: { fast_cache: 8s }, play: { queue_length: 2s } } }",
    );
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::aac()));
    wait_for("nine seconds are sent", PATIENCE, || {
        feed.sent()
            .last()
            .is_some_and(|tag| tag.dts > 9000)
            .then_some(())
    });
    for _ in 0..3 {
        let player = Raw::open(&server, "/live/x.aac");
        player.wait("sound goes on", PATIENCE, |_| {
            player
                .first_at()
                .is_some_and(|at| at.elapsed() > Duration::from_millis(1500))
        });
        let first = player.first_at().expect("just seen");
        let burst = adts_frames(&player.until(first + Duration::from_millis(300))).len() as f64
            * 1024.0
            / 48_000.0;
        assert!(burst > 7.5, "{burst:.2} s of sound at once");
        assert_run(
            "the sound",
            &adts_frames(&player.bytes()),
            &coded(&feed.sent(), AUDIO),
        );
    }
}
