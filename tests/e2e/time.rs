//! Timestamps: across the limits of 24 and 32 bits, with jumps, and rebased.

use std::time::Duration;

use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, Flv, SCRIPT, Tag, VIDEO, assert_continuous, assert_run_of};
use super::support::player::{Over, Player};
use super::support::rtmp::Client;
use super::support::server::Server;
use super::support::{PATIENCE, fixtures};

fn server(play: &str) -> Server {
    Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    play: {{ wait: 20s, {play} }}\n"
    ))
}

/// Plays a stream whose timestamps begin two seconds before a limit, and checks that each step between frames came out as it
/// went in, by each protocol, for one who was there and for one who joined after it.
#[track_caller]
fn check_across(limit: u64, play: &str) {
    let server = server(play);
    let open = |over| (over, Player::open_over(over, &server, "/live/x.flv"));
    let mut players: Vec<(Over, Player)> = Over::ALL.map(open).into();
    server.wait_connections("http", 2);
    let feed = Feed::start(
        &server,
        "live",
        "x",
        Plan::of(&fixtures::h264_aac()).starting_at(limit - 2000),
    );
    for (over, early) in &players {
        early.wait(&format!("four seconds over {over:?}"), PATIENCE, |flv| {
            flv.frames(VIDEO).len() > 100
        });
    }
    players.extend(Over::ALL.map(open));
    for (over, late) in &players[Over::ALL.len()..] {
        late.wait(&format!("another second over {over:?}"), PATIENCE, |flv| {
            flv.frames(VIDEO).len() > 50
        });
    }
    let came: Vec<(Over, Flv)> = players.iter().map(|(over, p)| (*over, p.flv())).collect();
    let sent = feed.sent();
    for (over, flv) in &came {
        for kind in [VIDEO, AUDIO] {
            let came = flv.frames(kind);
            let sent: Vec<&Tag> = sent
                .iter()
                .filter(|tag| tag.kind == kind && tag.is_coded())
                .collect();
            let (skipped, _) = assert_run_of(&came, &sent);
            for (at, (came, sent)) in came.windows(2).zip(sent[skipped..].windows(2)).enumerate() {
                assert_eq!(
                    came[1].dts.wrapping_sub(came[0].dts),
                    sent[1].dts.wrapping_sub(sent[0].dts),
                    "step {at} of kind {kind} over {over:?}"
                );
            }
        }
    }
}

/// 0xFFFFFF: where the chunk header's field is full and the extended timestamp begins.
#[test]
fn across_24_bits() {
    check_across(0x00ff_ffff, "");
}

/// 2^32, after 49 days.
#[test]
fn across_32_bits() {
    check_across(1 << 32, "");
}

/// 2^31, where a signed reader would go wrong.
#[test]
fn across_31_bits() {
    check_across(1 << 31, "");
}

#[test]
fn across_32_bits_without_jitter_correction() {
    check_across(1 << 32, "time_jitter: off");
}

/// Sends frames with timestamps of the test's own and gives what a player gets.
fn passed_through(play: &str, dts: &[u32]) -> Vec<u32> {
    let server = server(play);
    let player = Player::open(&server, "/live/x.flv");
    server.wait_connections("http", 1);
    let mut client =
        Client::connect(server.address("rtmp"), "live").expect("the server talks RTMP");
    assert_eq!(
        client.publish("x").expect("an answer"),
        "NetStream.Publish.Start"
    );
    let flv =
        Flv::read(&std::fs::read(fixtures::h264()).expect("a fixture")).expect("a good fixture");
    for tag in flv
        .tags
        .iter()
        .filter(|tag| tag.is_header() || tag.kind == SCRIPT)
    {
        client
            .media(tag.kind, dts[0], &tag.body)
            .expect("the server takes it");
    }
    let key = flv
        .tags
        .iter()
        .find(|tag| tag.is_keyframe())
        .expect("a keyframe");
    // A player begins at the newest keyframe, and all of these are: it has to be there before the second.
    client
        .media(VIDEO, dts[0], &key.body)
        .expect("the server takes it");
    player.wait("the first frame", PATIENCE, |flv| {
        !flv.frames(VIDEO).is_empty()
    });
    for &dts in &dts[1..] {
        client
            .media(VIDEO, dts, &key.body)
            .expect("the server takes it");
    }
    let flv = player.wait("all frames", PATIENCE, |flv| {
        flv.frames(VIDEO).len() >= dts.len()
    });
    flv.frames(VIDEO).iter().map(|tag| tag.dts).collect()
}

fn steps(dts: &[u32]) -> Vec<i64> {
    dts.windows(2)
        .map(|pair| i64::from(pair[1]) - i64::from(pair[0]))
        .collect()
}

/// An encoder that sets its clock forward or back does not move the stream's.
#[test]
fn jumps_are_corrected() {
    let came = passed_through(
        "time_jitter: full",
        &[1000, 1040, 1080, 61_080, 61_120, 5, 45, 85],
    );
    let steps = steps(&came);
    assert!(
        steps.iter().all(|step| (0..=250).contains(step)),
        "steps {steps:?} of {came:?}"
    );
    for at in [0, 1, 3, 5, 6] {
        assert_eq!(steps[at], 40, "a step without a jump stays: {steps:?}");
    }
}

#[test]
fn jitter_off_lets_timestamps_be() {
    let came = passed_through("time_jitter: off", &[1000, 1040, 61_080, 61_120]);
    assert_eq!(steps(&came), [40, 60_040, 40]);
}

#[test]
fn jitter_zero_begins_at_zero() {
    let came = passed_through("time_jitter: zero", &[500_000, 500_040, 500_080]);
    assert_eq!(came, [0, 40, 80]);
}

/// Shared timestamps are the default; rebased ones begin at 0 for each player.
#[test]
fn start_time_zero_rebases_each_player() {
    let server = server("start_time: zero");
    let _feed = Feed::start(
        &server,
        "live",
        "x",
        Plan::of(&fixtures::h264_aac()).starting_at(1_000_000),
    );
    let early = Player::open(&server, "/live/x.flv");
    early.wait("three seconds", PATIENCE, |flv| {
        flv.frames(VIDEO).len() > 75
    });
    let late = Player::open(&server, "/live/x.flv");
    late.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() > 50);
    for player in [&early, &late] {
        let flv = player.flv();
        let first = flv
            .tags
            .iter()
            .filter(|tag| tag.is_coded())
            .map(|tag| tag.dts)
            .min()
            .expect("frames");
        assert!(first <= 40, "began at {first}");
        for kind in [VIDEO, AUDIO] {
            assert_continuous(&flv.frames(kind), 250);
        }
    }
}

/// mw_latency merges what comes in that time: fewer arrivals, the same frames.
#[test]
fn merged_writes_lose_nothing() {
    let server = server("mw_latency: 350ms");
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let player = Player::open(&server, "/live/x.flv");
    player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    let from = player.tag_count();
    let flv = player.wait("four seconds", Duration::from_secs(30), |flv| {
        flv.frames(VIDEO).len() > 125
    });
    for kind in [VIDEO, AUDIO] {
        feed.assert_gave(&flv, kind);
    }
    let mut arrivals: Vec<_> = (from..flv.tags.len())
        .filter_map(|tag| player.arrival(tag))
        .collect();
    arrivals.dedup_by(|b, a| *b - *a < Duration::from_millis(20));
    assert!(
        (5..=30).contains(&arrivals.len()),
        "{} writes in four seconds",
        arrivals.len()
    );
}
