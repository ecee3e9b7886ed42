//! Vhosts are apart: a stream of one is not reachable by the name of another.

use super::support::feed::{Feed, Plan};
use super::support::flv::VIDEO;
use super::support::player::Player;
use super::support::rtmp::Client;
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, http, wait_for};

const TWO: &str = "
vhosts:
  __defaultVhost__:
    play: { on_missing: 404 }
  a.example:
    play: { on_missing: 404 }
  b.example:
    play: { on_missing: 404 }
  off.example:
    enabled: off
  mute.example:
    http_remux: { enabled: off }
    play: { on_missing: 404 }
";

fn feed(server: &Server, tc_host: &str, app: &str) -> Feed {
    let feed = Feed::start_as(
        server.address("rtmp"),
        app,
        &format!("rtmp://{tc_host}/{app}"),
        "x",
        Plan::of(&fixtures::h264_aac()),
    );
    server.wait_log(&["stream ready"], PATIENCE);
    feed
}

fn status(server: &Server, host: &str, path: &str) -> u16 {
    http::request(server.address("http"), "HEAD", path, &[("Host", host)])
        .expect("an answer")
        .status
}

#[track_caller]
fn plays(server: &Server, host: &str, path: &str) {
    let player = Player::open_with(server.address("http"), path, &[("Host", host)], None);
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 3);
}

#[test]
fn a_stream_is_on_its_own_vhost_only() {
    let server = Server::start(TWO);
    let _feed = feed(&server, "a.example", "live");
    plays(&server, "a.example", "/live/x.flv");
    for other in [
        "b.example",
        "unknown.example",
        "__defaultVhost__",
        "127.0.0.1",
        "off.example",
    ] {
        assert_eq!(
            status(&server, other, "/live/x.flv"),
            404,
            "by Host {other}"
        );
    }
}

#[test]
fn the_host_may_have_a_port_and_capitals() {
    let server = Server::start(TWO);
    let _feed = feed(&server, "a.example:1935", "live");
    plays(&server, "a.example:8080", "/live/x.flv");
    plays(&server, "A.Example", "/live/x.flv");
}

#[test]
fn a_query_names_the_vhost_before_the_host() {
    let server = Server::start(TWO);
    let _feed = feed(&server, "a.example", "live");
    plays(&server, "b.example", "/live/x.flv?vhost=a.example");
    plays(&server, "b.example", "/live/x.flv?domain=a.example&token=7");
    assert_eq!(
        status(&server, "a.example", "/live/x.flv?vhost=b.example"),
        404
    );
}

/// OBS and others put the vhost behind the app.
#[test]
fn an_app_may_name_the_vhost() {
    let server = Server::start(TWO);
    let _feed = feed(&server, "127.0.0.1", "live?vhost=b.example");
    plays(&server, "b.example", "/live/x.flv");
    assert_eq!(status(&server, "a.example", "/live/x.flv"), 404);
}

#[test]
fn an_unknown_host_is_the_default_vhost() {
    let server = Server::start(TWO);
    let _feed = feed(&server, "whatever.example", "live");
    plays(&server, "another.example", "/live/x.flv");
    plays(&server, "127.0.0.1", "/live/x.flv");
    assert_eq!(status(&server, "a.example", "/live/x.flv"), 404);
}

/// The path may name the vhost too, since `[vhost]/` stands in the mount.
#[test]
fn the_mount_may_name_the_vhost() {
    let server = Server::start(TWO);
    let _feed = feed(&server, "a.example", "live");
    plays(&server, "a.example", "/a.example/live/x.flv");
    assert_eq!(
        status(&server, "b.example", "/a.example/live/x.flv"),
        404,
        "but only the request's own"
    );
}

#[test]
fn a_disabled_vhost_takes_no_publisher_and_no_player() {
    let server = Server::start(TWO);
    let address = server.address("rtmp");
    let refused = match Client::connect_as(address, "live", "rtmp://off.example/live") {
        Err(_) => true,
        Ok(mut client) => match client.publish("x") {
            Err(_) => true,
            Ok(code) => {
                wait_for("it is disconnected", PATIENCE, || {
                    client.is_closed().then_some(())
                });
                code != "NetStream.Publish.Start"
            }
        },
    };
    assert!(refused);
    assert_eq!(status(&server, "off.example", "/live/x.flv"), 404);
    assert_eq!(
        status(&server, "127.0.0.1", "/live/x.flv?vhost=off.example"),
        404
    );
}

#[test]
fn http_remux_off_serves_no_stream() {
    let server = Server::start(TWO);
    let _feed = feed(&server, "mute.example", "live");
    assert_eq!(status(&server, "mute.example", "/live/x.flv"), 404);
}

#[test]
fn two_vhosts_have_streams_of_one_name() {
    let server = Server::start(TWO);
    let _a = feed(&server, "a.example", "live");
    let other = Plan::of(&fixtures::h264_aac_other());
    let b = Feed::start_as(
        server.address("rtmp"),
        "live",
        "rtmp://b.example/live",
        "x",
        other,
    );
    let header = wait_for("a header is sent", PATIENCE, || {
        b.sent()
            .into_iter()
            .find(|tag| tag.kind == VIDEO && tag.is_header())
    });
    let of = |host: &str| {
        let player = Player::open_with(
            server.address("http"),
            "/live/x.flv",
            &[("Host", host)],
            None,
        );
        player
            .wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 3)
            .header(VIDEO)
            .expect("a header")
            .body
            .clone()
    };
    assert_eq!(of("b.example"), header.body);
    assert_ne!(of("a.example"), header.body);
}

/// The mount decides what is a stream's address.
#[test]
fn a_mount_of_ones_own() {
    let server = Server::start(
        "
vhosts:
  __defaultVhost__:
    http_remux: { mount: \"[vhost]/hls/[app]/feed-[stream].flv\" }
    play: { on_missing: 404 }
",
    );
    let _feed = feed(&server, "127.0.0.1", "live");
    plays(&server, "127.0.0.1", "/hls/live/feed-x.flv");
    assert_eq!(status(&server, "127.0.0.1", "/live/x.flv"), 404);
}
