//! Origins and destinations by name: what the name stands for may change, be several addresses, or be unknown for a while.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::{AUDIO, VIDEO, assert_continuous};
use super::super::support::names::Names;
use super::super::support::player::Player;
use super::super::support::server::Server;
use super::super::support::{PATIENCE, fixtures, http};
use super::{edge_of, lines, rtmp_of};

fn start(names: &Names, live: &str) -> Server {
    let environment = names.environment();
    let environment = environment
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    Server::start_with(live, "grace_period_seconds: 2\n", &[], &environment)
}

fn origin_at(address: &str, port: u16) -> Server {
    Server::start(&format!(
        "rtmp: {{ listen: [\"{address}:{port}\"] }}\nvhosts:\n  __defaultVhost__:\n    play: {{ on_missing: 404 }}\n"
    ))
}

fn feed(server: &Server) -> Feed {
    Feed::start(server, "live", "x", Plan::of(&fixtures::h264_aac()))
}

/// The origin dies, and its name is given to another machine: the players of the edge are held, and go on from there.
#[test]
fn a_name_moves_to_another_address() {
    let first = origin_at("127.0.0.2", 0);
    let port = first.address("rtmp").port();
    let names = Names::new("127.0.0.2 origin.test\n");
    let edge = start(
        &names,
        &edge_of(&[format!("origin.test:{port}")], "retry: 300ms"),
    );
    let _feed = feed(&first);
    let player = Player::open(&edge, "/live/x.flv");
    player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    drop(first);
    let second = origin_at("127.0.0.3", port);
    let _feed = feed(&second);
    let before = player.tag_count();
    let since = Instant::now();
    names.change("127.0.0.3 origin.test\n");
    let flv = player.wait("it goes on", PATIENCE, |flv| flv.tags.len() > before + 100);
    println!("found again after {:?} with frames", since.elapsed());
    assert!(lines(&edge, &["an origin has other addresses", "127.0.0.3"]) > 0);
    assert_eq!(player.ended(), None);
    for kind in [VIDEO, AUDIO] {
        assert_continuous(&flv.frames(kind), 15_000);
    }
    // Another player needs no look-up: it shares what is there. And a new pull goes to the new address.
    let _other = Feed::start(&second, "live", "y", Plan::of(&fixtures::h264_aac()));
    let player = Player::open(&edge, "/live/y.flv");
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
}

/// A name with an IPv6 address on which nobody listens, and an IPv4 address: players do not notice, nor is what the origin says waited
/// for any longer. The other way round too, and for pushes.
#[test]
fn a_name_with_several_addresses() {
    let names = Names::new("::1 dual.test\n127.0.0.1 dual.test\n");
    for address in ["127.0.0.1", "[::1]"] {
        let server = origin_at(address, 0);
        let bound: SocketAddr = server.address("rtmp");
        let target = format!("dual.test:{}", bound.port());
        let edge = start(&names, &edge_of(std::slice::from_ref(&target), ""));
        let pushing = start(
            &names,
            &format!(
                "vhosts:\n  __defaultVhost__:\n    forward: {{ enabled: on, destination: \"{target}\" }}\n"
            ),
        );
        let feed = feed(&pushing);
        server.wait_stream("/live/x.flv");
        let player = Player::open(&edge, "/live/x.flv");
        player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
        assert_eq!(lines(&pushing, &["forward failed"]), 0);
        let since = Instant::now();
        assert_eq!(
            http::get(edge.address("http"), "/live/none.flv").status,
            404
        );
        assert!(since.elapsed() < Duration::from_secs(2));
        // The stream ends as at any origin: nobody is held for the address that never answered.
        feed.finish();
        let since = Instant::now();
        player.wait_end(PATIENCE);
        // The origin holds for 10 s; the edge would do so once more.
        assert!(
            since.elapsed() < Duration::from_secs(15),
            "{:?}",
            since.elapsed()
        );
    }
}

/// Nobody knows the name yet: players get 502, and those who come after it is known play.
#[test]
fn a_name_that_becomes_known() {
    let names = Names::new("127.0.0.1 other.test\n");
    let origin = Server::start("");
    let _feed = feed(&origin);
    let port = origin.address("rtmp").port();
    let edge = start(
        &names,
        &format!(
            "{}    play: {{ wait: 1s }}\n",
            edge_of(&[format!("origin.test:{port}")], "stall: 1s")
        ),
    );
    assert_eq!(http::get(edge.address("http"), "/live/x.flv").status, 502);
    assert!(lines(&edge, &["origin.test cannot be resolved"]) > 0);
    names.change("127.0.0.1 origin.test\n");
    let deadline = Instant::now() + PATIENCE;
    while http::request(edge.address("http"), "HEAD", "/live/x.flv", &[]).is_err()
        || Player::open(&edge, "/live/x.flv").wait_status(PATIENCE) != 200
    {
        assert!(Instant::now() < deadline, "the name is looked up again");
    }
    // While nobody knows it any more, the last address holds.
    names.change("127.0.0.1 other.test\n");
    let _second = Feed::start(&origin, "live", "y", Plan::of(&fixtures::h264_aac()));
    let player = Player::open(&edge, "/live/y.flv");
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    assert!(!rtmp_of(&origin).is_empty());
}
