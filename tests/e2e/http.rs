//! HTTP as curl and browsers speak it: versions, framing, methods, headers and statuses.

use std::time::Duration;

use super::support::feed::{Feed, Plan};
use super::support::flv::{Flv, VIDEO};
use super::support::http::{Framing, get, raw, request};
use super::support::player::Player;
use super::support::programs::{self, curl};
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, wait_for};

/// YAML: a stream that is not there is told at once, and one that has gone is soon forgotten.
pub const BRIEF: &str = "
vhosts:
  __defaultVhost__:
    play: { on_missing: 404 }
    publish: { republish_wait: 500ms }
";

/// A stream that ends by itself after three seconds.
pub fn brief_feed(server: &Server) -> Feed {
    let feed = Feed::start(
        server,
        "live",
        "x",
        Plan::of(&fixtures::h264_aac()).for_ms(3000),
    );
    server.wait_stream("/live/x.flv");
    feed
}

fn endless_feed(server: &Server) -> Feed {
    let feed = Feed::start(server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    feed
}

/// Plays a stream to its end with curl, and checks the head and that the body is whole; curl exits with 0 only if the body ended as
/// its framing says. Gives what `-w` asks for.
#[track_caller]
pub fn curl_to_the_end(arguments: &[&str], url: &str, ask: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let body = folder.path().join("body");
    let head = folder.path().join("head");
    let mut command = curl();
    command
        .args(arguments)
        .arg("-o")
        .arg(&body)
        .arg("-D")
        .arg(&head)
        .args(["-w", ask, url]);
    let told = programs::run(&mut command, PATIENCE).success();
    let head = std::fs::read_to_string(head)
        .expect("a head")
        .to_lowercase();
    for line in ["content-type: video/x-flv", "cache-control: no-store"] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    assert!(!head.contains("content-length"), "{head}");
    let flv = Flv::read(&std::fs::read(body).expect("a body")).expect("whole tags only");
    assert!(
        flv.frames(VIDEO).len() > 50,
        "{} pictures came",
        flv.frames(VIDEO).len()
    );
    assert!(flv.frames(VIDEO)[0].is_keyframe());
    format!("{told}\n{head}")
}

#[test]
fn http_1_0_is_delimited_by_the_close() {
    let server = Server::start(BRIEF);
    let _feed = brief_feed(&server);
    let told = curl_to_the_end(
        &["--http1.0"],
        &server.http("/live/x.flv"),
        "%{response_code}",
    );
    assert!(told.starts_with("200\n"));
    assert!(!told.contains("transfer-encoding"), "{told}");
}

#[test]
fn http_1_1_is_chunked() {
    let server = Server::start(BRIEF);
    let _feed = brief_feed(&server);
    let told = curl_to_the_end(
        &["--http1.1"],
        &server.http("/live/x.flv"),
        "%{http_version}",
    );
    assert!(told.starts_with("1.1\n"), "{told}");
    assert!(told.contains("transfer-encoding: chunked"), "{told}");
}

#[test]
fn h2c_by_prior_knowledge() {
    let server = Server::start(BRIEF);
    let _feed = brief_feed(&server);
    let told = curl_to_the_end(
        &["--http2-prior-knowledge"],
        &server.http("/live/x.flv"),
        "%{http_version}",
    );
    assert!(told.starts_with("2\n"), "{told}");
}

#[test]
fn h2c_off_leaves_http_1() {
    let server = Server::start(&format!(
        "http: {{ listen: [\"127.0.0.1:0\"], h2c: off }}{BRIEF}"
    ));
    let _feed = brief_feed(&server);
    let mut command = curl();
    command
        .args(["--http2-prior-knowledge", "-m", "5", "-o", "/dev/null"])
        .arg(server.http("/live/x.flv"));
    assert!(!programs::run(&mut command, PATIENCE).status.success());
    curl_to_the_end(&["--http1.1"], &server.http("/live/x.flv"), "");
}

#[test]
fn head_has_the_headers_and_no_player() {
    let server = Server::start(BRIEF);
    let _feed = endless_feed(&server);
    let play = get(server.address("http"), "/live/x.flv");
    let head = request(server.address("http"), "HEAD", "/live/x.flv", &[]).expect("an answer");
    assert_eq!((play.status, head.status), (200, 200));
    let names = |headers: &[(String, String)]| {
        let mut all: Vec<(String, String)> = headers
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "date" | "connection"))
            .cloned()
            .collect();
        all.sort();
        all
    };
    assert_eq!(names(&head.headers), names(&play.headers));
    assert_eq!(head.header("content-type"), Some("video/x-flv"));
}

#[test]
fn a_preflight_is_answered() {
    let server = Server::start(BRIEF);
    let headers = [
        ("Origin", "https://page.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "range"),
        ("Access-Control-Request-Private-Network", "true"),
    ];
    let answer =
        request(server.address("http"), "OPTIONS", "/live/x.flv", &headers).expect("an answer");
    assert_eq!(answer.status, 204);
    for name in [
        "access-control-allow-origin",
        "access-control-allow-methods",
        "access-control-max-age",
        "access-control-allow-headers",
    ] {
        assert!(
            answer.header(name).is_some(),
            "{name} is not in {:?}",
            answer.headers
        );
    }
    assert_eq!(
        answer.header("access-control-allow-private-network"),
        Some("true")
    );

    let answer = request(
        server.address("http"),
        "OPTIONS",
        "/live/x.flv",
        &headers[..2],
    )
    .expect("an answer");
    assert_eq!(
        answer.header("access-control-allow-private-network"),
        None,
        "only when asked for"
    );
}

#[test]
fn an_origin_is_let_in_also_with_errors() {
    let server = Server::start(BRIEF);
    let _feed = endless_feed(&server);
    for (path, status) in [
        ("/live/x.flv", 200),
        ("/live/none.flv", 404),
        ("/live/%zz.flv", 400),
    ] {
        let answer = request(
            server.address("http"),
            "GET",
            path,
            &[("Origin", "https://page.example")],
        )
        .expect("an answer");
        assert_eq!(answer.status, status, "{path}");
        let origin = answer.header("access-control-allow-origin");
        assert!(
            matches!(origin, Some("*" | "https://page.example")),
            "{path}: {origin:?}"
        );
        assert!(
            answer.header("access-control-expose-headers").is_some(),
            "{path}"
        );
    }
}

#[test]
fn crossdomain_off_lets_no_origin_in() {
    let server = Server::start(&format!(
        "http: {{ listen: [\"127.0.0.1:0\"], crossdomain: off }}{BRIEF}"
    ));
    let _feed = endless_feed(&server);
    let answer = request(
        server.address("http"),
        "GET",
        "/live/x.flv",
        &[("Origin", "https://page.example")],
    )
    .expect("an answer");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, None)
    );
}

#[test]
fn another_method_is_405() {
    let server = Server::start(BRIEF);
    let answer = request(server.address("http"), "DELETE", "/live/x.flv", &[]).expect("an answer");
    assert_eq!(answer.status, 405);
    let allow = answer.header("allow").expect("Allow");
    assert!(
        ["GET", "HEAD", "OPTIONS"]
            .iter()
            .all(|method| allow.contains(method)),
        "{allow}"
    );
}

#[test]
fn a_bad_path_is_400() {
    let server = Server::start(BRIEF);
    for path in [
        "/live/%zz.flv",
        "/live/%00.flv",
        "/live/a%2fb.flv",
        "/live/..%2f..%2fx.flv",
    ] {
        let answer = get(server.address("http"), path);
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.text().lines().count(), 1, "a one-line text body");
    }
}

#[test]
fn a_bad_query_is_400() {
    let server = Server::start(BRIEF);
    for query in ["vhost=%zz", "vhost=%00"] {
        assert_eq!(
            get(server.address("http"), &format!("/live/x.flv?{query}")).status,
            400,
            "{query}"
        );
    }
}

/// What is not ours does not matter: players carry all sorts of queries.
#[test]
fn other_queries_are_let_be() {
    let server = Server::start(BRIEF);
    let _feed = endless_feed(&server);
    for query in ["token=%ff&_=1", "?", "&&&", "a=b=c"] {
        let player = Player::open(&server, &format!("/live/x.flv?{query}"));
        assert_eq!(player.wait_status(PATIENCE), 200, "{query}");
    }
}

#[test]
fn errors_are_one_line_of_text() {
    let server = Server::start(BRIEF);
    for path in ["/live/none.flv", "/nothing/here.txt"] {
        let answer = get(server.address("http"), path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(
            answer
                .header("content-type")
                .is_some_and(|value| value.starts_with("text/plain")),
            "{path}"
        );
        let text = answer.text();
        assert_eq!(text.lines().count(), 1, "{text:?}");
    }
}

#[test]
fn the_player_page_is_built_in() {
    let server = Server::start(BRIEF);
    let page = get(server.address("http"), "/");
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type")
            .is_some_and(|value| value.starts_with("text/html"))
    );
    let html = page.text();
    for (path, kind) in [
        ("player/player.js", "text/javascript"),
        ("player/theme.css", "text/css"),
        ("player/player.css", "text/css"),
        ("player/mpegts.js", "text/javascript"),
        ("player/LICENSE", "text/plain"),
    ] {
        assert!(
            html.contains(&format!("\"{path}\"")),
            "the page asks for {path}"
        );
        let answer = get(server.address("http"), &format!("/{path}"));
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            answer
                .header("content-type")
                .is_some_and(|value| value.starts_with(kind)),
            "{path}"
        );
        assert!(answer.text().len() > 1000, "{path}");
    }
}

/// A connection that has had one answer may ask for the next; a play takes it for good.
#[test]
fn keep_alive_before_a_play() {
    use std::io::{Read, Write};
    let server = Server::start(BRIEF);
    let _feed = endless_feed(&server);
    let mut stream =
        std::net::TcpStream::connect(server.address("http")).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    for _ in 0..3 {
        stream
            .write_all(b"HEAD /live/x.flv HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(
                stream.read(&mut byte).expect("an answer"),
                1,
                "closed after {:?}",
                String::from_utf8_lossy(&answer)
            );
            answer.push(byte[0]);
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    stream
        .write_all(b"GET /live/x.flv HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    let mut response = super::support::http::read_head(stream, false).expect("an answer");
    assert_eq!(
        (response.status, response.body.framing),
        (200, Framing::Chunked)
    );
    assert!(response.body.next().expect("a body").is_some());
}

#[test]
fn a_silent_request_is_dropped_in_time() {
    let server = Server::start(BRIEF);
    let _kept = std::net::TcpStream::connect(server.address("http")).expect("the server accepts");
    server.wait_connections("http", 1);
    wait_for(
        "the silent connection is closed",
        Duration::from_secs(16),
        || (server.connections("http") == 0).then_some(()),
    );
}

/// HTTP/1.0 without a Host is on the default vhost.
#[test]
fn a_request_without_host() {
    let server = Server::start(BRIEF);
    let _feed = brief_feed(&server);
    let response = raw(
        server.address("http"),
        b"GET /live/x.flv HTTP/1.0\r\n\r\n",
        false,
    )
    .expect("an answer");
    assert_eq!(
        (response.status, response.body.framing),
        (200, Framing::Close)
    );
}
