//! `publish.lazy_read`: publishers whose streams nobody reads are read in turns, and nobody notices but the machine.

use std::time::{Duration, Instant};

use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, VIDEO, assert_continuous};
use super::support::player::Player;
use super::support::rtmp::Client;
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, http, stays, wait_for};

/// The longest time between two turns that may be configured: what is read at once is not late by that.
const SLOW: &str =
    "vhosts:\n  __defaultVhost__:\n    publish: { lazy_read: 1s, republish_wait: 0 }\n";

fn plan() -> Plan {
    Plan::of(&fixtures::h264_aac())
}

/// How many streams are read in turns.
fn lazy(server: &Server) -> u64 {
    let text = http::get(server.address("api"), "/metrics").text();
    let name = "pingora_live_streams_read_lazily ";
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.expect("the metric").parse().expect("a number")
}

fn wait_lazy(server: &Server, count: u64) {
    wait_for("publishers that are read in turns", PATIENCE, || {
        (lazy(server) == count).then_some(())
    });
}

/// A player that comes to such a stream has its first frame and those after it as early as on any other, and lacks none.
#[test]
fn who_comes_is_not_late() {
    let server = Server::start(SLOW);
    let feed = Feed::start(&server, "live", "x", plan());
    wait_lazy(&server, 1);
    let player = Player::open(&server, "/live/x.flv");
    player.wait("a frame", PATIENCE, |flv| !flv.frames(VIDEO).is_empty());
    let waited = player.arrival(0).expect("a tag came") - player.opened;
    assert!(waited < Duration::from_millis(500), "waited {waited:?}");
    assert_eq!(lazy(&server), 0);

    let since = Instant::now();
    let flv = player.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() >= 75);
    let gap = player.longest_gap(since);
    assert!(gap < Duration::from_millis(700), "a gap of {gap:?}");
    for kind in [VIDEO, AUDIO] {
        feed.assert_gave(&flv, kind);
        assert_continuous(&flv.frames(kind), 250);
    }

    // A log is kept for a while for who comes again.
    drop(player);
    wait_lazy(&server, 1);
    let again = Player::open(&server, "/live/x.flv");
    let flv = again.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() >= 50);
    feed.assert_gave(&flv, VIDEO);
}

/// The name of a publisher that left is free at once, be it closed or said.
#[test]
fn a_name_that_is_given_up_is_free() {
    let server = Server::start(SLOW);
    for gently in [false, true] {
        let feed = Feed::start(&server, "live", "x", plan());
        wait_lazy(&server, 1);
        let _sent = match gently {
            true => feed.finish(),
            false => feed.abandon(),
        };
        // Its turn may be a second away; a handshake takes a few milliseconds.
        let mut client = Client::connect(server.address("rtmp"), "live").expect("RTMP");
        let code = client.publish("x").expect("an answer");
        assert_eq!(code, "NetStream.Publish.Start", "gently: {gently}");
        drop(client);
        wait_lazy(&server, 0);
    }
}

/// One whose socket would be full before its turn, and all where the key is 0, are read at once.
#[test]
fn those_that_send_much_have_no_turns() {
    let server = Server::start(SLOW);
    // 25 pictures a second of 100 KB each: 20 Mbit/s.
    let feed = Feed::start(&server, "live", "x", plan().with_pictures_of(100_000));
    server.wait_stream("/live/x.flv");
    stays("read at once", Duration::from_secs(2), || {
        lazy(&server) == 0
    });
    assert!(feed.is_running());

    let off = Server::start("vhosts:\n  __defaultVhost__:\n    publish: { lazy_read: 0 }\n");
    let _feed = Feed::start(&off, "live", "x", plan());
    off.wait_stream("/live/x.flv");
    stays("read at once", Duration::from_secs(2), || lazy(&off) == 0);
}

/// A recording reads the stream as a player does.
#[test]
fn what_is_recorded_is_read_at_once() {
    let server = Server::start(
        "vhosts:\n  __defaultVhost__:\n    dvr: { enabled: on, path: 'rec/[stream].flv' }\n    publish: { lazy_read: 1s }\n",
    );
    let _feed = Feed::start(&server, "live", "x", plan());
    server.wait_stream("/live/x.flv");
    stays("read at once", Duration::from_secs(2), || {
        lazy(&server) == 0
    });
}
