//! Nodes that name each other in a circle.

use std::time::{Duration, Instant};

use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::VIDEO;
use super::super::support::player::Player;
use super::super::support::proxies::free_port;
use super::super::support::rtmp::Client;
use super::super::support::server::Server;
use super::super::support::{PATIENCE, fixtures, http, stays};
use super::{edge_of, lines};

/// A node that would have a stream from itself refuses, and so does a ring of three.
#[test]
fn no_pull_goes_in_a_circle() {
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    for protocol in ["rtmp", "flv"] {
        let listen = |n: usize| {
            let other = match protocol {
                "rtmp" => "rtmp",
                _ => "http",
            };
            format!("{other}: {{ listen: [\"127.0.0.1:{}\"] }}\n", ports[n])
        };
        let node = |n: usize, origin: usize| {
            let origin = format!("127.0.0.1:{}", ports[origin]);
            Server::start(&(listen(n) + &edge_of(&[origin], &format!("protocol: {protocol}"))))
        };
        let itself = node(0, 0);
        let since = Instant::now();
        assert_eq!(
            http::get(itself.address("http"), "/live/x.flv").status,
            508,
            "{protocol}"
        );
        assert!(since.elapsed() < Duration::from_secs(3));
        let mut client = Client::connect(itself.address("rtmp"), "live").expect("RTMP");
        assert_ne!(
            client.publish("y").expect("an answer"),
            "NetStream.Publish.Start",
            "{protocol}"
        );
        drop(itself);
        let ring = [node(0, 1), node(1, 2), node(2, 0)];
        let since = Instant::now();
        for server in &ring {
            assert_eq!(
                http::get(server.address("http"), "/live/x.flv").status,
                508,
                "{protocol}"
            );
            server.wait_log(&["the relay would go in a circle"], PATIENCE);
        }
        assert!(since.elapsed() < Duration::from_secs(9));
        // Nobody goes on asking.
        let asked = || ring.iter().map(|server| lines(server, &[])).sum::<usize>();
        let before = asked();
        stays("nothing more is said", Duration::from_secs(1), || {
            asked() == before
        });
    }
}

/// A forwards to B, B to C, C to A: the stream is at each of them once, and the last push is refused, said, and not tried again. A server
/// that forwards to itself has the stream once too.
#[test]
fn no_forward_goes_in_a_circle() {
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let node = |n: usize, to: usize| {
        Server::start(&format!(
            "rtmp: {{ listen: [\"127.0.0.1:{}\"] }}\nvhosts:\n  __defaultVhost__:\n    forward: {{ enabled: on, destination: \"127.0.0.1:{}\" }}\n",
            ports[n], ports[to]
        ))
    };
    let ring = [node(0, 1), node(1, 2), node(2, 0)];
    let feed = Feed::start(&ring[0], "live", "x", Plan::of(&fixtures::h264_aac()));
    let players: Vec<Player> = ring
        .iter()
        .map(|server| Player::open(server, "/live/x.flv"))
        .collect();
    for player in &players {
        player.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() > 50);
    }
    let said = ["not forwarded", "the relay would go in a circle"];
    ring[2].wait_log(&said, PATIENCE);
    // The first pause of one that tries again is 100 ms; they grow by half or so.
    stays("it is not tried again", Duration::from_secs(3), || {
        lines(&ring[0], &["publish refused"]) == 1 && lines(&ring[2], &said) == 1
    });
    for server in &ring {
        assert_eq!(lines(server, &["publish started"]), 1);
    }
    for player in &players {
        player.wait_more(25, PATIENCE);
        assert_eq!(player.ended(), None);
    }
    assert!(feed.is_running());
    drop((players, feed, ring));

    let itself = node(0, 0);
    let feed = Feed::start(&itself, "live", "x", Plan::of(&fixtures::h264_aac()));
    itself.wait_log(&said, PATIENCE);
    let player = Player::open(&itself, "/live/x.flv");
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    assert!(feed.is_running());
}
