//! Players are proxied to the node that has their stream.

use super::*;

/// A node whose players of other nodes' streams are proxied there.
fn proxying(redis: &Redis, name: &str) -> Server {
    node_with(redis, name, "reject", "proxy")
}

/// With `on_elsewhere: proxy`, players stay where they asked, over HTTP/1 and HTTP/2; with their query, and the bytes that the other node has.
#[test]
fn players_can_be_proxied_to_the_node_that_has_the_stream() {
    let redis = Redis::start();
    let (a, b) = (node(&redis, "a"), proxying(&redis, "b"));
    let _feed = Feed::start(&a, "live", "x", plan());
    a.wait_stream("/live/x.flv");
    b.wait_stream("/live/x.flv");
    let here = plays(&a, "/live/x.flv");
    let there = plays(&b, "/live/x.flv");
    here.wait_more(50, PATIENCE);
    there.wait_more(50, PATIENCE);
    let (here, there) = (here.flv(), there.flv());
    let (last, keyframe) = {
        let frames = there.frames(VIDEO);
        let last = *frames.last().expect("frames");
        (last.dts, frames.iter().any(|tag| tag.is_keyframe()))
    };
    assert!(keyframe && last > 0);
    let same = |tag: &&crate::support::flv::Tag| here.frames(VIDEO).contains(tag);
    assert!(there.frames(VIDEO).iter().filter(|tag| same(tag)).count() > 20);
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let url = b.http("/live/x.flv?a=1");
        let bytes = programs::run(
            programs::curl().args([version, "--max-time", "3", &url]),
            PATIENCE,
        );
        assert!(bytes.stdout.starts_with(b"FLV"), "{version}");
    }
    // One that waits is proxied when the stream begins.
    let waiting = Player::open(&b, "/live/later.flv");
    let _later = Feed::start(&a, "live", "later", plan());
    assert_eq!(waiting.wait_status(PATIENCE), 200);
    waiting.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    // Nobody plays through a node that has gone.
    a.signal(libc::SIGKILL);
    waiting.wait_end(PATIENCE);
    let gone = http::request(b.address("http"), "HEAD", "/live/x.flv", &[]).unwrap();
    assert!([502, 404].contains(&gone.status), "{}", gone.status);
}

/// No page can follow a redirect of its WebSocket: it is proxied, whatever is configured.
#[test]
fn a_websocket_is_proxied() {
    use std::io::{Read, Write};

    let redis = Redis::start();
    let (a, b) = (node(&redis, "a"), node(&redis, "b"));
    let _feed = Feed::start(&a, "live", "x", plan());
    wait_sent(&b, &a, "/live/x.flv");
    let mut socket = std::net::TcpStream::connect(b.address("http")).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
        .write_all(
            b"GET /live/x.flv HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .expect("the request is sent");
    let mut came = Vec::new();
    let mut piece = [0; 4096];
    while !came.windows(3).any(|bytes| bytes == b"FLV") || came.len() < 20_000 {
        let length = socket.read(&mut piece).expect("bytes in time");
        assert!(
            length > 0,
            "it goes on: {:?}",
            String::from_utf8_lossy(&came)
        );
        came.extend_from_slice(&piece[..length]);
    }
    let text = String::from_utf8_lossy(&came);
    assert!(text.starts_with("HTTP/1.1 101"), "{text}");
    assert!(
        text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "the key's answer"
    );
}
