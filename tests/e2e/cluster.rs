//! Nodes that share a registry in a real Redis: who has a stream, where players are sent, and what becomes of both when Redis or a node
//! goes away.

mod examples;
mod leases;
mod outage;
mod overflow;
mod proxy;
mod pull;
mod redirect;
mod secure;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::support::amf::{self, Amf};
use super::support::feed::{Feed, Plan};
use super::support::flv::VIDEO;
use super::support::player::{End, Player};
use super::support::programs::{self, FFMPEG_DEBIAN, Job};
use super::support::redis::Redis;
use super::support::rtmp::{COMMAND, Client};
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, http, stays, wait_for};

/// The time of a lease in these tests, in seconds.
const TTL: u64 = 2;

fn plan() -> Plan {
    Plan::of(&fixtures::h264_aac())
}

/// A node of that name.
fn node_with(redis: &Redis, name: &str, on_busy: &str, on_elsewhere: &str) -> Server {
    let server = Server::start(&format!(
        "registry: {{ redis: \"{}\", ttl: {TTL}s, timeout: 500ms }}
node: {{ name: {name}, host: 127.0.0.1 }}
vhosts:
  __defaultVhost__:
    play: {{ wait: 10s }}
    publish: {{ republish_wait: 1s, on_busy: {on_busy} }}
    cluster: {{ on_elsewhere: {on_elsewhere} }}
",
        redis.url()
    ));
    wait_for("the node is announced", PATIENCE, || {
        let nodes = redis.ask(&["HKEYS", "pingora-live:nodes"])?;
        nodes.contains(&format!("\r\n{name}\r\n")).then_some(())
    });
    server
}

fn node(redis: &Redis, name: &str) -> Server {
    node_with(redis, name, "reject", "redirect")
}

fn publish(server: &Server, name: &str) -> (Client, String) {
    let mut client =
        Client::connect(server.address("rtmp"), "live").expect("the server talks RTMP");
    // A refused publisher may be disconnected before its answer is read.
    let code = client.publish(name).unwrap_or_default();
    (client, code)
}

/// Where a GET is sent.
fn location(server: &Server, path: &str) -> Option<String> {
    let answer = http::request(server.address("http"), "GET", path, &[]).ok()?;
    (answer.status == 302).then(|| answer.header("location").expect("Location").to_owned())
}

/// The port that an address names.
fn port(address: &str) -> u16 {
    let rest = address.split("://").nth(1).expect("a scheme");
    let authority = rest.split('/').next().expect("a host");
    let address: SocketAddr = authority.parse().expect("an address and a port");
    address.port()
}

#[track_caller]
fn wait_sent(from: &Server, to: &Server, path: &str) {
    let port_of = to.address("http").port();
    wait_for(&format!("{path} is sent there"), PATIENCE, || {
        location(from, path).filter(|address| port(address) == port_of)
    });
}

#[track_caller]
fn plays(server: &Server, path: &str) -> Player {
    let player = Player::open(server, path);
    assert_eq!(player.wait_status(PATIENCE), 200);
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    player
}
