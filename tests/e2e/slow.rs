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

/// Of each protocol, one that sleeps for 20 s beside one that does not.
#[test]
fn players_that_stop_reading_for_twenty_seconds() {
    let server = server("60s");
    let feed = Feed::start(&server, "live", "x", heavy());
    let open = |receive| {
        Over::ALL.map(|over| Player::open_over_with(over, &server, "/live/x.flv", receive))
    };
    let (steady, sleepy) = (open(None), open(Some(RECEIVE)));
    for player in steady.iter().chain(&sleepy) {
        player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    }
    let memory = server.memory_kib();
    let from = steady.each_ref().map(Player::tag_count);
    sleepy.iter().for_each(Player::pause);
    let begin = Instant::now();
    let (mut held, mut grown) = ([0; 3], 0);
    while begin.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(100));
        for (held, player) in held.iter_mut().zip(&sleepy) {
            *held = server.send_queue_to(player.local_address()).max(*held);
        }
        grown = grown.max(server.memory_kib().saturating_sub(memory));
    }
    for (over, held) in Over::ALL.iter().zip(held) {
        assert!(held > 64 * 1024, "{over:?}: the queue filled: {held} bytes");
        assert!(held <= HELD, "{over:?}: the kernel held {held} bytes");
    }
    // The logs of FLV and RTMP keep queue_length of the stream, about 2.5 MB each; what the sleepers missed is 10 MB for each of them.
    assert!(grown < 10 * 1024, "the process grew by {grown} KiB");

    // The others saw nothing of it: each frame, and none late.
    for ((over, steady), from) in Over::ALL.iter().zip(&steady).zip(from) {
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
            "{over:?}: the steady player waited {gap:?} for a frame"
        );
    }

    // Awake again, the sleepers go on from a keyframe near the live edge.
    sleepy.iter().for_each(Player::resume);
    let newest = steady[0].flv().frames(VIDEO).last().expect("frames").dts;
    for (over, sleepy) in Over::ALL.iter().zip(&sleepy) {
        let flv = sleepy.wait(&format!("the live edge over {over:?}"), PATIENCE, |flv| {
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
            "{over:?}: 20 s are more than queue_length, so something was skipped"
        );
        for pair in leaps {
            assert!(
                pair[1].is_keyframe(),
                "{over:?}: a skip ends at a keyframe: {:?} then {:?}",
                pair[0],
                pair[1]
            );
        }
        for kind in [VIDEO, AUDIO] {
            assert_continuous(&flv.frames(kind), 30_000);
        }
    }
    drop(sleepy);
    for over in Over::ALL {
        let protocol = format!("protocol=\"{}\"", over.name());
        let line = server.wait_log(&["play ended", &protocol], PATIENCE);
        assert!(!line.contains("skips=0"), "{line}");
    }
}

/// Of each protocol, one that never reads: it is ended after player_stall, and all that was kept for it is given back.
#[test]
fn players_that_never_read_are_ended() {
    let server = server("3s");
    let feed = Feed::start(&server, "live", "x", heavy());
    let steady = Over::ALL.map(|over| Player::open_over(over, &server, "/live/x.flv"));
    for steady in &steady {
        steady.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    }
    let connections = || ["http", "rtmp"].map(|kind| server.connections(kind));
    let before = connections();
    let dead = Over::ALL.map(|over| {
        let player = Player::open_over_with(over, &server, "/live/x.flv", Some(RECEIVE));
        player.pause();
        player
    });
    server.wait_connections("http", before[0] + 2);
    server.wait_connections("rtmp", before[1] + 1);
    // Their buffers take a few seconds to fill.
    wait_for(
        "the dead players' connections are closed",
        Duration::from_secs(20),
        || (connections() == before).then_some(()),
    );
    for over in Over::ALL {
        let protocol = format!("protocol=\"{}\"", over.name());
        server.wait_log(&["play ended", "stalled", &protocol], PATIENCE);
    }
    for steady in &steady {
        let flv = steady.wait_more(50, PATIENCE);
        feed.assert_gave(&flv, VIDEO);
    }
    drop(dead);
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
