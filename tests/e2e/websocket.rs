//! WebSocket-FLV: the handshake and its errors, messages, pings, close codes, and a browser.

use std::time::Duration;

use super::SHORT;
use super::support::feed::{Feed, Plan};
use super::support::flv::{Flv, Parser, VIDEO};
use super::support::programs::{self, Job};
use super::support::server::Server;
use super::support::websocket::{Client, UPGRADE};
use super::support::{PATIENCE, fixtures, http};

#[test]
fn messages_carry_the_same_bytes_as_http() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    let mut client = Client::open(server.address("http"), "/live/x.flv");
    let mut parser = Parser::default();
    while parser.flv.frames(VIDEO).len() < 50 {
        let (opcode, payload) = client.frame();
        assert_eq!(opcode, 2, "binary messages only");
        parser.feed(&payload).expect("FLV");
    }
    let flv: &Flv = &parser.flv;
    assert!(flv.frames(VIDEO)[0].is_keyframe());
    feed.assert_gave(flv, VIDEO);
}

#[test]
fn a_ping_is_answered_between_messages() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    let mut client = Client::open(server.address("http"), "/live/x.flv");
    client.say(9, b"are you there");
    let mut messages = 0;
    loop {
        match client.frame() {
            (2, _) => messages += 1,
            (10, payload) => {
                assert_eq!(payload, b"are you there");
                break;
            }
            other => panic!("unexpected: {other:?}"),
        }
        assert!(messages < 500, "no pong among {messages} messages");
    }
}

#[test]
fn the_end_of_the_stream_is_close_1000() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    let mut client = Client::open(server.address("http"), "/live/x.flv");
    client.frame();
    feed.finish();
    assert_eq!(client.close_code(), 1000);
    server.wait_log(
        &["play ended", "protocol=\"websocket\"", "publisher_left"],
        PATIENCE,
    );
}

#[test]
fn a_client_that_closes_is_answered_and_one_that_breaks_the_rules_is_told() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    let mut client = Client::open(server.address("http"), "/live/x.flv");
    client.say(8, &1001u16.to_be_bytes());
    assert_eq!(client.close_code(), 1000);
    let mut client = Client::open(server.address("http"), "/live/x.flv");
    // A frame that is not masked.
    client.raw(&[0x89, 0x01, b'x']);
    assert_eq!(client.close_code(), 1002);
    let mut client = Client::open(server.address("http"), "/live/x.flv");
    // The head of 4 GiB.
    client.raw(&[0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(client.close_code(), 1009);
    server.wait_log(&["play ended", "client_left"], PATIENCE);
}

#[test]
fn over_a_limit_is_close_1013() {
    let server = Server::start("limits: { players_per_stream: 1 }");
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    let mut first = Client::open(server.address("http"), "/live/x.flv");
    first.frame();
    assert_eq!(
        Client::open(server.address("http"), "/live/x.flv").close_code(),
        1013
    );
    // Without an upgrade, the same is a status.
    let refused = http::get(server.address("http"), "/live/x.flv");
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
}

#[test]
fn handshakes_that_are_wrong_are_answered_as_the_rfc_says() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    let ask = |change: usize, value: &'static str| {
        let mut headers = UPGRADE;
        headers[change].1 = value;
        http::request(server.address("http"), "GET", "/live/x.flv", &headers).expect("an answer")
    };
    let version = ask(2, "8");
    assert_eq!(
        (version.status, version.header("sec-websocket-version")),
        (426, Some("13"))
    );
    assert_eq!(ask(1, "close").status, 400);
    assert_eq!(ask(3, "c2hvcnQ=").status, 400);
}

/// mpegts.js chooses WebSocket by the URL.
#[test]
fn chromium_plays_over_a_websocket() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(
        &server,
        "live",
        "x",
        Plan::of(&fixtures::h264_aac()).for_ms(60_000),
    );
    server.wait_stream("/live/x.flv");
    let address = server.address("http");
    let page = server.http(&format!("/?stream=ws://{address}/live/x.flv"));
    let seen = Job::start(
        programs::tool("browser.py")
            .arg(page)
            .args(["--seconds", "3"]),
    );
    let seen = seen.finish(Duration::from_secs(90)).json();
    assert_eq!(seen["state"], "playing", "{seen}");
    assert_eq!(seen["errors"], serde_json::Value::Array(vec![]), "{seen}");
    assert!(
        seen["advanced"].as_f64().is_some_and(|s| s >= 3.0),
        "{seen}"
    );
    server.wait_log(&["play ended", "protocol=\"websocket\""], PATIENCE);
}
