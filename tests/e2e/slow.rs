//! Players that do not read: they skip or are ended, what the kernel holds for them is bounded, and nobody else notices.

use std::time::{Duration, Instant};

use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, VIDEO, assert_continuous};
use super::support::player::{Over, Player};
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, wait_for};

/// Bytes of a picture of the heavy stream: 4 Mbit/s at 25 pictures a second, so that 20 s are many times what kernels buffer.
const PICTURE: usize = 20_000;

/// What a sleeping player's own kernel takes for it: fixed, since Linux would let it grow, and large enough for the stream's rate.
const RECEIVE: usize = 128 * 1024;

/// What the kernel may hold for a player at most with the default `send_buffer` of 512 KiB; Linux counts its own overhead
/// in that figure, so a little more than it is already too much.
const HELD: u64 = 640 * 1024;

fn heavy() -> Plan {
    Plan::of(&fixtures::h264_aac()).with_pictures_of(PICTURE)
}

fn server(stall: &str) -> Server {
    Server::start(&format!(
        "limits: {{ player_stall: {stall} }}\nvhosts:\n  __defaultVhost__:\n    play: {{ queue_length: 5s }}\n"
    ))
}

#[test]
fn a_player_that_stops_reading_for_twenty_seconds() {
    check_sleeper(Over::Http);
}

#[test]
fn one_that_stops_reading_a_websocket() {
    check_sleeper(Over::WebSocket);
}

#[test]
fn one_that_stops_reading_rtmp() {
    check_sleeper(Over::Rtmp);
}

/// One that sleeps for 20 s beside one that does not.
#[track_caller]
fn check_sleeper(over: Over) {
    let server = server("60s");
    let feed = Feed::start(&server, "live", "x", heavy());
    let steady = Player::open_over(over, &server, "/live/x.flv");
    let sleepy = Player::open_over_with(over, &server, "/live/x.flv", Some(RECEIVE));
    for player in [&steady, &sleepy] {
        player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    }
    let memory = server.memory_kib();
    let from = steady.tag_count();
    sleepy.pause();
    let begin = Instant::now();
    let (mut held, mut grown) = (0, 0);
    while begin.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(100));
        held = held.max(server.send_queue(over.listener()));
        grown = grown.max(server.memory_kib().saturating_sub(memory));
    }
    assert!(held > 64 * 1024, "the sleeper's queue filled: {held} bytes");
    assert!(held <= HELD, "the kernel held {held} bytes for a player");
    // The log keeps queue_length of the stream, about 2.5 MB; all that was sent meanwhile is 10 MB.
    assert!(grown < 8 * 1024, "the process grew by {grown} KiB");

    // The other one saw nothing of it: each frame, and none late.
    let flv = steady.flv();
    for kind in [VIDEO, AUDIO] {
        feed.assert_gave(&flv, kind);
    }
    let arrivals: Vec<Instant> = (from..flv.tags.len())
        .filter_map(|tag| steady.arrival(tag))
        .collect();
    let gap = arrivals
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .expect("frames came");
    assert!(
        gap < Duration::from_secs(1),
        "the steady player waited {gap:?} for a frame"
    );

    // Awake again, the sleeper goes on from a keyframe near the live edge.
    sleepy.resume();
    let newest = flv.frames(VIDEO).last().expect("frames").dts;
    let flv = sleepy.wait("the live edge", PATIENCE, |flv| {
        flv.frames(VIDEO)
            .last()
            .is_some_and(|tag| tag.dts > newest + 1000)
    });
    let frames = flv.frames(VIDEO);
    let leaps: Vec<_> = frames
        .windows(2)
        .filter(|pair| pair[1].dts - pair[0].dts > 250)
        .collect();
    assert!(
        !leaps.is_empty(),
        "20 s are more than queue_length, so something was skipped"
    );
    for pair in leaps {
        assert!(
            pair[1].is_keyframe(),
            "a skip ends at a keyframe: {:?} then {:?}",
            pair[0],
            pair[1]
        );
    }
    for kind in [VIDEO, AUDIO] {
        assert_continuous(&flv.frames(kind), 30_000);
    }
    drop(sleepy);
    let line = server.wait_log(
        &["play ended", &format!("protocol=\"{}\"", over.name())],
        PATIENCE,
    );
    assert!(!line.contains("skips=0"), "{line}");
}

#[test]
fn a_player_that_never_reads_is_ended() {
    check_dead(Over::Http);
}

#[test]
fn one_that_never_reads_a_websocket_is_ended() {
    check_dead(Over::WebSocket);
}

#[test]
fn one_that_never_reads_rtmp_is_ended() {
    check_dead(Over::Rtmp);
}

/// One that never reads is ended after player_stall, and all that was kept for it is given back.
#[track_caller]
fn check_dead(over: Over) {
    let server = server("3s");
    let feed = Feed::start(&server, "live", "x", heavy());
    let steady = Player::open_over(over, &server, "/live/x.flv");
    steady.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    let beside = server.connections(over.listener());
    let dead = Player::open_over_with(over, &server, "/live/x.flv", Some(RECEIVE));
    dead.pause();
    server.wait_connections(over.listener(), beside + 1);
    // Its buffers take a few seconds to fill.
    wait_for(
        "the dead player's connection is closed",
        Duration::from_secs(20),
        || (server.connections(over.listener()) == beside).then_some(()),
    );
    let protocol = format!("protocol=\"{}\"", over.name());
    server.wait_log(&["play ended", "stalled", &protocol], PATIENCE);
    let flv = steady.wait_more(50, PATIENCE);
    feed.assert_gave(&flv, VIDEO);
}

/// A short sleep, within queue_length, costs no frame.
#[test]
fn a_short_sleep_costs_nothing() {
    let server = server("60s");
    let feed = Feed::start(&server, "live", "x", heavy());
    let player = Player::open_with(server.address("http"), "/live/x.flv", &[], Some(RECEIVE));
    player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    player.pause();
    std::thread::sleep(Duration::from_secs(3));
    player.resume();
    let newest = feed
        .sent()
        .iter()
        .rfind(|tag| tag.kind == VIDEO)
        .expect("pictures were sent")
        .dts;
    let flv = player.wait("the live edge", PATIENCE, |flv| {
        flv.frames(VIDEO)
            .last()
            .is_some_and(|tag| tag.dts > newest + 500)
    });
    for kind in [VIDEO, AUDIO] {
        feed.assert_gave(&flv, kind);
    }
}

/// By HTTP/2 too: one stream of a connection that is not read does not stop another.
#[test]
fn a_slow_player_by_http_2() {
    use super::support::programs::{Job, curl};
    let server = server("60s");
    let feed = Feed::start(&server, "live", "x", heavy());
    let steady = Player::open(&server, "/live/x.flv");
    steady.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    let mut command = curl();
    // A fifth of the stream's rate.
    command
        .args([
            "--http2-prior-knowledge",
            "--limit-rate",
            "100k",
            "-m",
            "15",
            "-o",
            "/dev/null",
        ])
        .arg(server.http("/live/x.flv"));
    let _slow = Job::start(&mut command);
    server.wait_connections("http", 2);
    let memory = server.memory_kib();
    let from = steady.tag_count();
    let flv = steady.wait("ten more seconds", Duration::from_secs(30), |flv| {
        flv.tags.len() > from + 700
    });
    assert!(
        server.memory_kib().saturating_sub(memory) < 8 * 1024,
        "from {memory} to {} KiB",
        server.memory_kib()
    );
    feed.assert_gave(&flv, VIDEO);
}

/// A player that went away without a word is noticed though nothing is written to it.
#[test]
fn a_player_that_leaves_a_quiet_stream_is_noticed() {
    let server = Server::start(
        "vhosts:\n  __defaultVhost__:\n    publish: { normal_timeout: 60s, republish_wait: 60s }\n    play: { wait: 60s }\n",
    );
    let feed = Feed::start(
        &server,
        "live",
        "x",
        Plan::of(&fixtures::h264_aac()).for_ms(1000),
    );
    let playing = Player::open(&server, "/live/x.flv");
    playing.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    let waiting = Player::open(&server, "/live/never.flv");
    server.wait_connections("http", 2);
    let descriptors = server.descriptors();
    drop((playing, waiting));
    wait_for(
        "both are noticed within ten seconds",
        Duration::from_secs(12),
        || (server.descriptors() <= descriptors - 2).then_some(()),
    );
    drop(feed);
}
