//! What a server takes at most: what is over it is refused with a status, and let in again when there is room.

use std::process::Command;

use super::support::feed::{Feed, Plan};
use super::support::flv::VIDEO;
use super::support::player::Player;
use super::support::programs::{FFMPEG_DEBIAN, run};
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

/// An address that asks too often is told so, and served again in the next second.
#[test]
fn requests_of_an_address() {
    let server = Server::start("limits: { request_rate_per_ip: 3 }");
    let _feed = Feed::start(&server, "live", "x", plan());
    let ask = || http::request(server.address("http"), "POST", "/live/y.flv", &[]).unwrap();
    let refused = wait_for("more than three in a second", PATIENCE, || {
        let refused = ask();
        (refused.status == 503).then_some(refused)
    });
    assert!(refused.header("retry-after").is_some());
    let told = refused.text();
    assert!(told.contains("more than 3 times a second"), "{told}");
    wait_for("the next second", PATIENCE, || {
        std::thread::sleep(std::time::Duration::from_millis(400));
        (ask().status != 503).then_some(())
    });
}

/// An address that connects too often is not heard, on any listener; the others' connections, and its own that stand, go on.
#[test]
fn connections_of_an_address_in_a_second() {
    let server = Server::start("limits: { accept_rate_per_ip: 5 }");
    let feed = Feed::start(&server, "live", "x", plan());
    for listener in ["http", "rtmp"] {
        wait_for("a connection is not heard", PATIENCE, || {
            let closed = (0..20).any(|_| {
                use std::io::{Read, Write};
                let mut socket = std::net::TcpStream::connect(server.address(listener)).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                // A version of RTMP that nobody speaks, and a request: both are answered or logged by who hears them.
                let _ = socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                let mut answer = Vec::new();
                let read = socket.read_to_end(&mut answer);
                answer.is_empty() || read.is_err()
            });
            closed.then_some(())
        });
    }
    assert!(feed.is_running());
    wait_for("the next second", PATIENCE, || {
        std::thread::sleep(std::time::Duration::from_millis(400));
        let head = http::request(server.address("http"), "HEAD", "/live/x.flv", &[]);
        head.is_ok_and(|head| head.status == 200).then_some(())
    });
}

/// A publisher that sends more than it may is told so and ended; one that does not, stays.
#[test]
fn the_bitrate_of_a_publisher() {
    let server = Server::start("limits: { publish_kbps: 5 }");
    let _feed = Feed::start(&server, "live", "x", plan());
    server.wait_log(&["publish ended", "too_fast"], PATIENCE);
    // Over HTTP it is told so while it sends.
    let clip = fixtures::h264_aac();
    let mut upload = Command::new("sh");
    upload.args(["-c", "$0 -v error -re -i \"$1\" -c copy -f flv - | curl -s -w %{http_code} -o /dev/null -X POST -T . -H Expect: \"$2\""]);
    upload
        .arg(FFMPEG_DEBIAN)
        .arg(&clip)
        .arg(server.http("/live/y.flv"));
    let told = run(&mut upload, PATIENCE);
    assert_eq!(String::from_utf8_lossy(&told.stdout), "503", "{told:?}");
    let wide = Server::start("limits: { publish_kbps: 100000 }");
    let feed = Feed::start(&wide, "live", "x", plan());
    super::support::stays("it stays", std::time::Duration::from_secs(6), || {
        feed.is_running()
    });
}
