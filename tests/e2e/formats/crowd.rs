//! Many players of each format, who join at random times.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::check_content;
use crate::SHORT;
use crate::support::elementary::{adts_frames, assert_run, coded, contains};
use crate::support::feed::{Feed, Plan};
use crate::support::flv::AUDIO;
use crate::support::raw::Raw;
use crate::support::server::Server;
use crate::support::ts::{self, PACKET, STEP};
use crate::support::{PATIENCE, fixtures};

/// Players that are there at once.
const CROWD: usize = 50;

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
