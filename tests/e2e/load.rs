//! Many players that come and go.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::support::feed::{Feed, Plan};
use super::support::flv::VIDEO;
use super::support::player::Player;
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, http, wait_for};

/// The kernel has made room for all descriptors that connections will need before the first comes: it stops a thread for as long as it takes.
#[test]
fn there_is_room_for_descriptors() {
    for connections in [500, 2000] {
        let server = Server::start(&format!("limits: {{ connections: {connections} }}\n"));
        let room = server.room_for_descriptors();
        assert!(room >= 2 * connections, "{room} for {connections}");
    }
}

/// 200 joins and leaves a second for ten seconds: no descriptor, thread or stream is left behind, and memory stays.
#[test]
fn two_hundred_joins_and_leaves_a_second() {
    const THREADS: usize = 4;
    const EACH: usize = 500;
    const RHYTHM: Duration = Duration::from_millis(20);

    let server = Server::start("");
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let steady = Player::open(&server, "/live/x.flv");
    steady.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    let address = server.address("http");
    // What a first round of players makes is there for good: buffers, tasks' storage, the allocator's arenas.
    for _ in 0..50 {
        join_and_leave(address);
    }
    wait_for("the first round has left", PATIENCE, || {
        (server.connections("http") == 1).then_some(())
    });
    let (descriptors, threads, memory) =
        (server.descriptors(), server.threads(), server.memory_kib());

    let joined = AtomicUsize::new(0);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let joined = &joined;
            scope.spawn(move || {
                for round in 0..EACH {
                    let due = RHYTHM * u32::try_from(round).expect("few")
                        + RHYTHM / 4 * u32::try_from(thread).expect("few");
                    std::thread::sleep(due.saturating_sub(begin.elapsed()));
                    join_and_leave(address);
                    joined.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(joined.into_inner(), THREADS * EACH);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(20), "2000 joins took {took:?}");

    wait_for("all have left", PATIENCE, || {
        (server.connections("http") == 1).then_some(())
    });
    wait_for("all descriptors are closed", PATIENCE, || {
        (server.descriptors() <= descriptors).then_some(())
    });
    assert!(
        server.threads() <= threads,
        "from {threads} to {} threads",
        server.threads()
    );
    let grown = server.memory_kib().saturating_sub(memory);
    assert!(
        grown < 8 * 1024,
        "2000 players left {grown} KiB behind, of {memory}"
    );

    let flv = steady.wait_more(25, PATIENCE);
    feed.assert_gave(&flv, VIDEO);
    // The stream and its log go when their last user has gone.
    drop(steady);
    feed.finish();
}

/// Plays until the first bytes of the stream have come.
fn join_and_leave(address: std::net::SocketAddr) {
    let mut response = http::get(address, "/live/x.flv");
    assert_eq!(response.status, 200);
    let piece = response.body.next().expect("a body").expect("the stream");
    assert!(
        piece.starts_with(b"FLV\x01"),
        "{:02x?}",
        &piece[..4.min(piece.len())]
    );
}

/// Many players at once all get the same bytes.
#[test]
fn two_hundred_players_at_once() {
    let server = Server::start("");
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let players: Vec<Player> = (0..200)
        .map(|_| Player::open(&server, "/live/x.flv"))
        .collect();
    for player in &players {
        player.wait("five seconds", Duration::from_secs(30), |flv| {
            flv.frames(VIDEO).len() > 125
        });
    }
    for player in &players {
        let flv = player.flv();
        feed.assert_gave(&flv, VIDEO);
    }
}

/// Streams that come and go leave nothing behind either.
#[test]
fn publishers_that_come_and_go() {
    let server =
        Server::start("vhosts:\n  __defaultVhost__:\n    publish: { republish_wait: 100ms }\n");
    let plan = Plan::of(&fixtures::h264_aac());
    let round = |n: usize| {
        let feeds: Vec<Feed> = (0..20)
            .map(|k| Feed::start(&server, "live", &format!("s{n}-{k}"), plan.clone()))
            .collect();
        wait_for("all publish", PATIENCE, || {
            feeds.iter().all(|feed| feed.sent().len() > 3).then_some(())
        });
        feeds.into_iter().for_each(|feed| drop(feed.finish()));
        wait_for("all have left", PATIENCE, || {
            (server.connections("rtmp") == 0).then_some(())
        });
    };
    round(0);
    let (descriptors, memory) = (server.descriptors(), server.memory_kib());
    for n in 1..6 {
        round(n);
    }
    wait_for("all descriptors are closed", PATIENCE, || {
        (server.descriptors() <= descriptors).then_some(())
    });
    let grown = server.memory_kib().saturating_sub(memory);
    assert!(
        grown < 6 * 1024,
        "100 streams left {grown} KiB behind, of {memory}"
    );
}
