//! Many players of each format, who join at random times.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use super::check_content;
use crate::SHORT;
use crate::support::elementary::{adts_frames, assert_run, coded, contains};
use crate::support::feed::{Feed, Plan};
use crate::support::flv::{AUDIO, Flv, Parser, Tag, VIDEO};
use crate::support::raw::Raw;
use crate::support::rtmp::Client;
use crate::support::server::Server;
use crate::support::ts::{self, PACKET, STEP};
use crate::support::{PATIENCE, fixtures, wait_for, websocket};

/// Players that are there at once.
const CROWD: usize = 50;

/// A random time in a span.
fn some_of(span: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    span.mul_f64((random % 10_000) as f64 / 10_000.0)
}

/// Fifty times `play`, each on a thread of its own, begun within four seconds at random.
fn all_at_random<T: Send>(play: impl Fn() -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let joins: Vec<_> = (0..CROWD)
            .map(|_| {
                scope.spawn(|| {
                    std::thread::sleep(some_of(Duration::from_secs(4)));
                    play()
                })
            })
            .collect();
        joins
            .into_iter()
            .map(|join| join.join().expect("a player"))
            .collect()
    })
}

/// Fifty players that join within four seconds, at random.
pub fn join_at_random(server: &Server, path: &str) -> Vec<Raw> {
    all_at_random(|| Raw::open(server, path))
}

/// Players that join within four seconds, at random. Gives what each of them has and what one has that was there before all.
fn crowd(server: &Server, path: &str) -> (Vec<Vec<u8>>, Vec<u8>) {
    let early = Raw::open(server, path);
    early.wait("something", PATIENCE, |bytes| !bytes.is_empty());
    let players = join_at_random(server, path);
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

/// Coded frames of one kind came as a run of those that were sent, pictures from a keyframe on.
#[track_caller]
fn check_run(what: &str, came: &[Tag], sent: &[Tag]) {
    for kind in [VIDEO, AUDIO] {
        let bodies = |tags: &[Tag]| -> Vec<Vec<u8>> {
            let coded = tags.iter().filter(|tag| tag.kind == kind && tag.is_coded());
            coded.map(|tag| tag.body.clone()).collect()
        };
        assert_run(
            &format!("{what}, kind {kind}"),
            &bodies(came),
            &bodies(sent),
        );
    }
    let first = came.iter().find(|tag| tag.kind == VIDEO && tag.is_coded());
    assert!(first.is_some_and(Tag::is_keyframe), "{what}: {first:?}");
}

#[test]
fn fifty_players_of_flv() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let (all, early) = crowd(&server, "/live/x.flv");
    let sent = feed.sent();
    for bytes in all.iter().chain([&early]) {
        let mut parser = Parser::default();
        parser.feed(bytes).expect("FLV");
        check_run("a player", &parser.flv.tags, &sent);
    }
}

#[test]
fn fifty_players_by_websocket() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    for path in ["/live/x.flv", "/live/x.ts"] {
        let all = all_at_random(|| {
            let mut client = websocket::Client::open(server.address("http"), path);
            let (opened, mut bytes) = (Instant::now(), Vec::new());
            while opened.elapsed() < Duration::from_secs(2) || bytes.len() < 16_000 {
                let (opcode, payload) = client.frame();
                assert_eq!(opcode, 2, "binary messages only");
                bytes.extend(payload);
            }
            bytes
        });
        let sent = feed.sent();
        for (index, bytes) in all.iter().enumerate() {
            let what = format!("{path}, player {index}");
            if path.ends_with(".ts") {
                let ts = ts::check(bytes, STEP);
                check_content(&what, &ts, &sent, (Some(ts::H264), Some(ts::AAC)));
            } else {
                let flv = Flv::read(bytes).expect("FLV");
                check_run(&what, &flv.tags, &sent);
            }
        }
    }
}

#[test]
fn fifty_players_by_rtmp() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    let address = server.address("rtmp");
    let all = all_at_random(|| {
        let mut client = Client::connect(address, "live").expect("a connection");
        let (code, _) = client.play("x").expect("an answer");
        assert_eq!(code, "NetStream.Play.Start");
        std::thread::sleep(Duration::from_secs(2));
        wait_for("fifty messages", PATIENCE, || {
            let heard = client.heard();
            (heard.iter().filter(|message| message.kind == VIDEO).count() > 30).then_some(heard)
        })
    });
    let sent = feed.sent();
    for (index, heard) in all.iter().enumerate() {
        let tags: Vec<Tag> = heard
            .iter()
            .map(|message| Tag::new(message.kind, 0, &message.body))
            .collect();
        check_run(&format!("player {index}"), &tags, &sent);
    }
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
