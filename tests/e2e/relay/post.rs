//! Publishing through an edge whose origins are named by HTTP: POST of an FLV without end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::{AUDIO, Tag, VIDEO, assert_continuous, assert_run_of};
use super::super::support::player::Player;
use super::super::support::programs::{self, FFMPEG_DEBIAN};
use super::super::support::proxies::{Proxy, free_port};
use super::super::support::rtmp::Client;
use super::super::support::server::Server;
use super::super::support::{PATIENCE, certs, fixtures, http, wait_for};
use super::{edge_of, http_of, lines, rtmp_of};

fn plan() -> Plan {
    Plan::of(&fixtures::h264_aac())
}

/// An nginx of these locations.
fn nginx(locations: &str) -> (Proxy, String) {
    let port = free_port();
    let server = format!("http {{ server {{ listen 127.0.0.1:{port};\n{locations} }} }}");
    (Proxy::nginx(port, &server), format!("127.0.0.1:{port}"))
}

/// What a player of `server` has is what was sent, to the byte.
#[track_caller]
fn has_all(server: &Server, path: &str, feed: &Feed) {
    let player = Player::open(server, path);
    let flv = player.wait("two seconds", PATIENCE, |flv| {
        flv.frames(VIDEO).len() > 50 && flv.frames(AUDIO).len() > 50
    });
    let sent = feed.sent();
    for kind in [VIDEO, AUDIO] {
        let sent: Vec<&Tag> = sent
            .iter()
            .filter(|tag| tag.kind == kind && tag.is_coded())
            .collect();
        assert_run_of(&flv.frames(kind), &sent);
    }
}

/// What an encoder of RTMP is told, and what one of HTTP.
fn told(edge: &Server, name: &str) -> (String, u16) {
    let mut client = Client::connect(edge.address("rtmp"), "live").expect("RTMP");
    let code = client.publish(name).expect("an answer");
    let post = format!(
        "POST /live/{name}.flv HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\nFLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00"
    );
    let answer = http::raw(edge.address("http"), post.as_bytes(), false).expect("an answer");
    (code, answer.status)
}

/// By HTTP and by HTTPS, from publishers of RTMP and of HTTP; the stream has the same bytes at the edge, and at the origin whose answer is 200
/// in the end.
#[test]
fn origins_named_by_http_take_publishers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let certificate = certs::make(folder.path(), "origin.example");
    let origin = Server::start(&format!(
        "https:\n  listen: [\"127.0.0.1:0\"]\n  certs: [{{ cert: {:?}, key: {:?} }}]\n",
        certificate.cert, certificate.key
    ));
    let https = origin.address("https").to_string();
    for (name, protocol, address) in [("plain", "flv", http_of(&origin)), ("tls", "flvs", https)] {
        let edge = Server::start(&edge_of(
            &[address],
            &format!("protocol: {protocol}, tls_verify: off"),
        ));
        let feed = Feed::start(&edge, "live", name, plan());
        has_all(&edge, &format!("/live/{name}.flv"), &feed);
        has_all(&origin, &format!("/live/{name}.flv"), &feed);
        assert_eq!(
            told(&edge, name).0,
            "NetStream.Publish.BadName",
            "it is taken here"
        );
        feed.finish();
        // The end of the body, not the end of a connection.
        wait_for("the origin sees the end", PATIENCE, || {
            let ended = ["publish ended", "client_left", name];
            (lines(&origin, &ended) > 0).then_some(())
        });
        let by_http = format!("/live/{name}-http.flv");
        let _job =
            programs::publish_loop(FFMPEG_DEBIAN, &fixtures::h264_aac(), &edge.http(&by_http));
        let player = Player::open(&origin, &by_http);
        player.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() > 50);
    }
}

/// The origin that takes a stream is killed: the next one takes it, from a keyframe on, and neither publisher nor players notice.
#[test]
fn the_next_origin_takes_a_post() {
    let mut origins = vec![Server::start(""), Server::start("")];
    let addresses = [http_of(&origins[0]), http_of(&origins[1])];
    let edge = Server::start(&edge_of(&addresses, "protocol: flv, retry: 300ms"));
    let feed = Feed::start(&edge, "live", "x", plan());
    let local = Player::open(&edge, "/live/x.flv");
    local.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    let taken = edge.wait_log(&["pushed to the origin"], PATIENCE);
    let first = addresses
        .iter()
        .position(|address| taken.contains(address))
        .expect("one of them");
    drop(origins.remove(first));
    has_all(&origins[0], "/live/x.flv", &feed);
    assert!(feed.is_running(), "the publisher goes on");
    local.wait_more(50, PATIENCE);
    for kind in [VIDEO, AUDIO] {
        assert_continuous(&local.flv().frames(kind), 1000);
    }
}

/// What servers say that take no stream: the next origin is asked; where there is none, the publisher is told, at once.
#[test]
fn an_origin_that_takes_no_post() {
    let (_nginx, address) = nginx(
        "location /live/missing.flv { return 404; }\n\
         location /live/page.flv { return 405; }\n\
         location /live/nothing.flv { return 501; }\n\
         location /live/closed.flv { return 401; }\n\
         location /live/secret.flv { return 403; }\n\
         location /live/taken.flv { return 409; }\n\
         location /live/broken.flv { return 500; }\n\
         location /live/fine.flv { return 200; }",
    );
    let edge = Server::start(&edge_of(std::slice::from_ref(&address), "protocol: flv"));
    let denied = "NetStream.Publish.Denied";
    for (name, code, status) in [
        ("missing", denied, 404),
        ("page", denied, 405),
        ("nothing", denied, 405),
        ("closed", denied, 401),
        ("secret", denied, 403),
        ("taken", "NetStream.Publish.BadName", 409),
        ("broken", denied, 502),
        // It answered before the body: it does not want one.
        ("fine", denied, 502),
    ] {
        let since = Instant::now();
        assert_eq!(told(&edge, name), (code.to_owned(), status), "{name}");
        assert!(since.elapsed() < Duration::from_secs(5), "{name}");
    }
    let page = http::raw(
        edge.address("http"),
        b"PUT /live/page.flv HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        false,
    )
    .expect("an answer");
    assert_eq!(page.header("allow"), Some("GET, HEAD, OPTIONS"));
    let ours = Server::start("");
    let edge = Server::start(&edge_of(&[address, http_of(&ours)], "protocol: flv"));
    for name in ["missing", "page", "broken"] {
        let feed = Feed::start(&edge, "live", name, plan());
        has_all(&ours, &format!("/live/{name}.flv"), &feed);
    }
}

/// Behind a proxy that redirects: 307, and 302 too, since an endless body cannot become a GET. One that points to itself is left.
#[test]
fn redirects_of_a_post_are_followed() {
    let origin = Server::start("");
    let to = http_of(&origin);
    let (_nginx, address) = nginx(&format!(
        "location /live/a.flv {{ return 307 http://{to}/live/a.flv$is_args$args; }}\n\
         location /live/b.flv {{ return 302 http://{to}/live/b.flv$is_args$args; }}\n\
         location /live/round.flv {{ return 302 /live/round.flv; }}"
    ));
    let edge = Server::start(&edge_of(&[address], "protocol: flv"));
    for name in ["a", "b"] {
        let feed = Feed::start(&edge, "live", name, plan());
        has_all(&origin, &format!("/live/{name}.flv"), &feed);
    }
    assert_eq!(told(&edge, "round").1, 502);
}

/// A server that says `100 Continue`, and thinks again: the refusal comes when the stream is on its way. The next origin has it then, and when
/// there is none, the publisher is ended.
#[test]
fn a_refusal_that_comes_late() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || refuse_late(socket));
        }
    });
    let open = Server::start("");
    let both = Server::start(&edge_of(
        &[format!("http://{address}"), rtmp_of(&open)],
        "retry: 300ms, health_check: 0",
    ));
    let feeds = ["a", "b"].map(|name| Feed::start(&both, "live", name, plan()));
    for (name, feed) in ["a", "b"].into_iter().zip(&feeds) {
        has_all(&open, &format!("/live/{name}.flv"), feed);
        assert!(feed.is_running());
    }
    both.wait_log(&["no longer takes the stream", "403"], PATIENCE);
    let alone = Server::start(&edge_of(&[address], "protocol: flv, retry: 300ms"));
    let since = Instant::now();
    let feed = Feed::start(&alone, "live", "y", plan());
    wait_for("the publisher is ended", PATIENCE, || {
        (!feed.is_running()).then_some(())
    });
    alone.wait_log(&["publish ended", "origin_lost"], PATIENCE);
    // Asked again with pauses, not as fast as it goes.
    let asked = lines(&alone, &["pushed to the origin"]);
    let most = since.elapsed().as_millis() / 500;
    assert!((2..=most).contains(&(asked as u128)), "{asked}");
}

fn refuse_late(mut socket: TcpStream) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    std::thread::sleep(Duration::from_millis(500));
    let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    socket.write_all(refusal).ok()?;
    // Closed with bytes unread, the connection would be reset, and the answer lost.
    socket.shutdown(Shutdown::Write).ok()?;
    let mut rest = [0; 4096];
    while socket.read(&mut rest).is_ok_and(|size| size > 0) {}
    Some(())
}
