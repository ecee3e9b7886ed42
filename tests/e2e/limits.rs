//! What a server takes at most: what is over it is refused with a status, and let in again when there is room.

use super::support::feed::{Feed, Plan};
use super::support::flv::VIDEO;
use super::support::player::Player;
use super::support::rtmp::Client;
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, http, wait_for};

fn plan() -> Plan {
    Plan::of(&fixtures::h264_aac())
}

/// Two players fit beside the publisher; a third is refused, and comes in when one has left.
#[track_caller]
fn check_two_players(limits: &str) {
    let server = Server::start(&format!("limits: {{ {limits} }}"));
    let feed = Feed::start(&server, "live", "x", plan());
    let mut players: Vec<Player> = (0..2)
        .map(|_| Player::open(&server, "/live/x.flv"))
        .collect();
    for player in &players {
        player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    }
    let refused = http::get(server.address("http"), "/live/x.flv");
    assert_eq!(refused.status, 503);
    let retry = refused.header("retry-after").expect("Retry-After");
    assert!(
        retry.parse::<u32>().is_ok_and(|seconds| seconds > 0),
        "{retry}"
    );
    assert_eq!(refused.text().lines().count(), 1, "a one-line text body");
    for player in &players {
        player.wait_more(20, PATIENCE);
    }
    assert!(feed.is_running());

    players.pop();
    wait_for("there is room", PATIENCE, || {
        let player = Player::open(&server, "/live/x.flv");
        (player.wait_status(PATIENCE) == 200).then_some(())
    });
}

#[test]
fn players_of_a_stream() {
    check_two_players("players_per_stream: 2");
}

#[test]
fn connections() {
    check_two_players("connections: 3");
}

#[test]
fn connections_of_an_address() {
    check_two_players("connections_per_ip: 3");
}

/// A stream too many is refused, and may be published when another has gone.
#[test]
fn streams() {
    let server = Server::start(
        "limits: { streams: 1 }\nvhosts:\n  __defaultVhost__:\n    publish: { republish_wait: 200ms }\n",
    );
    let publish = |name: &str| -> Option<(Client, String)> {
        let mut client = Client::connect(server.address("rtmp"), "live").ok()?;
        // A refused publisher may be disconnected before its answer is read.
        let code = client.publish(name).unwrap_or_default();
        Some((client, code))
    };
    let first = Feed::start(&server, "live", "x", plan());
    let (_client, code) = publish("y").expect("the server talks RTMP");
    assert_ne!(code, "NetStream.Publish.Start");
    Player::open(&server, "/live/x.flv")
        .wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    first.finish();
    wait_for("there is room", PATIENCE, || {
        publish("y").filter(|(_, code)| code == "NetStream.Publish.Start")
    });
}
