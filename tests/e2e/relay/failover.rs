//! Origins that die or hang while players play.

use std::time::{Duration, Instant};

use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::{AUDIO, VIDEO, assert_continuous};
use super::super::support::player::Player;
use super::super::support::server::Server;
use super::super::support::{PATIENCE, fixtures, http, stays, wait_for};
use super::{edge_of, lines, rtmp_of};

/// Two origins with the same stream, and 20 players at an edge. The origin that is pulled from is ended by `signal`: no player is lost, and the
/// longest gap is at most `most`.
fn one_of_two_origins(signal: i32, more: &str, most: Duration) {
    let origins = [Server::start(""), Server::start("")];
    let _feeds: Vec<Feed> = origins
        .iter()
        .map(|origin| Feed::start(origin, "live", "x", Plan::of(&fixtures::h264_aac())))
        .collect();
    for origin in &origins {
        origin.wait_stream("/live/x.flv");
    }
    let addresses = origins.each_ref().map(rtmp_of);
    let edge = Server::start(&edge_of(&addresses, more));
    let players: Vec<Player> = (0..20)
        .map(|_| Player::open(&edge, "/live/x.flv"))
        .collect();
    for player in &players {
        player.wait("three seconds", PATIENCE, |flv| {
            flv.frames(VIDEO).len() > 75
        });
    }
    if more.contains("standby: on") {
        edge.wait_log(&["standby warm"], PATIENCE);
    }
    let started = edge.wait_log(&["publish started"], PATIENCE);
    let pulled = addresses
        .iter()
        .position(|address| started.contains(address))
        .expect("one of them");
    let since = Instant::now();
    origins[pulled].signal(signal);
    wait_for("the pull goes on", PATIENCE, || {
        (lines(&edge, &["pull goes on"]) > 0).then_some(())
    });
    // All at once: two seconds of stream for each, counted from the same moment.
    let before: Vec<usize> = players.iter().map(Player::tag_count).collect();
    for (player, before) in players.iter().zip(before) {
        player.wait("150 more tags", PATIENCE, |flv| {
            flv.tags.len() >= before + 150
        });
    }
    let gaps = players.iter().map(|player| player.longest_gap(since));
    let longest = gaps.max().expect("players");
    let lost = players.iter().filter(|p| p.ended().is_some()).count();
    println!("signal {signal}, {more}: longest gap {longest:?}, players lost {lost}");
    assert_eq!(lost, 0);
    assert!(longest < most, "a gap of {longest:?}");
    for player in &players {
        let flv = player.flv();
        for kind in [VIDEO, AUDIO] {
            assert_continuous(&flv.frames(kind), 8000);
        }
    }
    if signal == libc::SIGSTOP {
        origins[pulled].signal(libc::SIGCONT);
    }
}

#[test]
fn an_origin_is_killed() {
    one_of_two_origins(libc::SIGKILL, "stall: 1s", Duration::from_secs(3));
}

#[test]
fn an_origin_hangs() {
    one_of_two_origins(libc::SIGSTOP, "stall: 1s", Duration::from_secs(4));
}

#[test]
fn an_origin_is_killed_and_another_is_warm() {
    one_of_two_origins(
        libc::SIGKILL,
        "stall: 1s, standby: on",
        Duration::from_secs(2),
    );
}

#[test]
fn an_origin_hangs_and_another_is_warm() {
    one_of_two_origins(
        libc::SIGSTOP,
        "stall: 1s, standby: on",
        Duration::from_secs(3),
    );
}

/// The other origin is away: it is not asked again and again for each stream, and the one that plays is not asked a second time.
#[test]
fn a_standby_without_another_origin_is_quiet() {
    let origin = Server::start("");
    let _feed = Feed::start(&origin, "live", "x", Plan::of(&fixtures::h264_aac()));
    origin.wait_stream("/live/x.flv");
    let port = super::super::support::proxies::free_port();
    let origins = [rtmp_of(&origin), format!("127.0.0.1:{port}")];
    let edge = Server::start(&edge_of(
        &origins,
        "standby: on, retry: 100ms, health_check: 1s",
    ));
    let player = Player::open(&edge, "/live/x.flv");
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    edge.wait_log(&["an origin is not well"], PATIENCE);
    let refused = || lines(&edge, &["the connection was refused"]);
    let before = refused();
    assert!(before <= 3, "{before} attempts");
    stays("nobody is asked", Duration::from_secs(2), || {
        refused() == before && origin.connections("rtmp") <= 3
    });
    assert_eq!(lines(&origin, &["play ended"]), 0);
    // It comes, and is kept warm.
    let second = Server::start(&format!("rtmp: {{ listen: [\"127.0.0.1:{port}\"] }}\n"));
    let _feed = Feed::start(&second, "live", "x", Plan::of(&fixtures::h264_aac()));
    edge.wait_log(&["standby warm", &port.to_string()], PATIENCE);
}

/// The only origin is started again: players of the edge are held and go on.
#[test]
fn an_origin_comes_back() {
    let port = super::super::support::proxies::free_port();
    let listen = format!("rtmp: {{ listen: [\"127.0.0.1:{port}\"] }}\n");
    let edge = Server::start(&edge_of(&[format!("127.0.0.1:{port}")], "retry: 300ms"));
    let origin = Server::start(&listen);
    let feed = Feed::start(&origin, "live", "x", Plan::of(&fixtures::h264_aac()));
    let player = Player::open(&edge, "/live/x.flv");
    player.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() > 50);
    drop(origin);
    drop(feed);
    let before = player.tag_count();
    let origin = Server::start(&listen);
    let _feed = Feed::start(&origin, "live", "x", Plan::of(&fixtures::h264_aac()));
    let flv = player.wait("it goes on", PATIENCE, |flv| flv.tags.len() > before + 100);
    let next = flv.tags[before..]
        .iter()
        .find(|tag| tag.kind == VIDEO && tag.is_coded())
        .expect("frames");
    assert!(next.is_keyframe(), "goes on from a keyframe, not {next:?}");
    for kind in [VIDEO, AUDIO] {
        assert_continuous(&flv.frames(kind), 15_000);
    }
}

/// No origin at all: players are told so after their wait, and the next may come.
#[test]
fn no_origin_answers() {
    let port = super::super::support::proxies::free_port();
    let text = format!(
        "{}    play: {{ wait: 1s }}\n",
        edge_of(&[format!("127.0.0.1:{port}")], "stall: 1s")
    );
    let edge = Server::start(&text);
    assert_eq!(http::get(edge.address("http"), "/live/x.flv").status, 502);
}

/// With `hash`, streams have homes: pulled again, a stream comes from where it came before.
#[test]
fn streams_have_homes() {
    let origins = [Server::start(""), Server::start("")];
    let names: Vec<String> = (0..6).map(|n| format!("s{n}")).collect();
    let _feeds: Vec<Feed> = origins
        .iter()
        .flat_map(|origin| names.iter().map(move |name| (origin, name)))
        .map(|(origin, name)| Feed::start(origin, "live", name, Plan::of(&fixtures::h264_aac())))
        .collect();
    let addresses = origins.each_ref().map(rtmp_of);
    let homes = || -> Vec<bool> {
        let edge = Server::start(&edge_of(&addresses, "balance: hash"));
        let _players: Vec<Player> = names
            .iter()
            .map(|name| {
                let player = Player::open(&edge, &format!("/live/{name}.flv"));
                player.wait("frames", PATIENCE, |flv| !flv.frames(VIDEO).is_empty());
                player
            })
            .collect();
        names
            .iter()
            .map(|name| {
                edge.wait_log(
                    &["publish started", &format!("stream=\"{name}\"")],
                    PATIENCE,
                )
                .contains(&addresses[0])
            })
            .collect()
    };
    assert_eq!(homes(), homes());
}
