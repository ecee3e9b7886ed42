//! Who may: what each client really sees, by rule, protocol and action; and what the log tells of it.

mod chromium;
mod hooks;
mod limits;
mod probe;
mod relays;
mod table;
mod tokens;

use std::process::Command;

use super::support::feed::{Feed, Plan};
use super::support::flv::VIDEO;
use super::support::programs::{FFMPEG_DEBIAN, ffmpeg_current, publish, run};
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, http, wait_for};

const WEBSOCKET: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A vhost for each rule. Publishing is open where playing is tried, so that there is something to play.
const VHOSTS: &str = "
vhosts:
  open.test: { play: { on_missing: 404 } }
  deny-play.test:
    security: { enabled: on, seal: [deny play 127.0.0.0/8] }
  deny-publish.test:
    security: { enabled: on, seal: [deny publish 127.0.0.1] }
  allow-others.test:
    security: { enabled: on, seal: [allow play 10.0.0.0/8, allow publish all] }
  no-rules.test:
    security: { enabled: on }
  refer.test:
    refer: { enabled: on, play: page.test }
  refer-none.test:
    refer: { enabled: on, all: none }
  token-play.test:
    tokens: { play: { enabled: on, keys: [{ key: 0123456789abcdef }] } }
  token-publish.test:
    tokens: { publish: { enabled: on, keys: [{ key: 0123456789abcdef }] } }
";

/// What people see in the window of the program that they use.
#[test]
fn ffmpeg_says_that_it_may_not() {
    let server = Server::start(VHOSTS);
    let vhost = "deny-play.test";
    let app = format!("live?vhost={vhost}");
    let address = server.address("rtmp");
    let url = format!("rtmp://{address}/{app}");
    let _feed = Feed::start_as(address, &app, &url, "x", Plan::of(&fixtures::h264_aac()));
    for ffmpeg in [FFMPEG_DEBIAN, ffmpeg_current()] {
        let url = server.rtmp("live/y?vhost=deny-publish.test");
        let output = publish(ffmpeg, &fixtures::h264_aac(), &url).finish(PATIENCE);
        assert!(!output.status.success());
        assert!(output.stderr.contains("not allowed"), "{}", output.stderr);
        for url in [
            server.rtmp("live/x?vhost=deny-play.test"),
            server.http("/live/x.flv?vhost=deny-play.test"),
        ] {
            let mut command = Command::new(ffmpeg);
            command.args(["-hide_banner", "-i", &url, "-f", "null", "-"]);
            let output = run(&mut command, PATIENCE);
            assert!(!output.status.success());
            let said = ["not allowed", "403 Forbidden"]
                .iter()
                .any(|said| output.stderr.contains(said));
            assert!(said, "{url}: {}", output.stderr);
        }
    }
}

/// Forged headers of who is no trusted proxy, for plain requests and for WebSockets: the address stays the socket's, and nothing grows.
#[test]
fn ten_thousand_forged_addresses_change_nothing() {
    let server = Server::start(
        "limits: { connections_per_ip: 50 }
vhosts:
  __defaultVhost__:
    security: { enabled: on, seal: [allow play 10.0.0.0/8] }
",
    );
    let one = |n: u32| {
        let forged = format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255);
        let host = format!("h{n}.test");
        let mut headers = vec![
            ("X-Forwarded-For", forged.clone()),
            ("X-Real-IP", forged.clone()),
            ("Forwarded", format!("for={forged};host={host}")),
            ("X-Forwarded-Host", host.clone()),
            ("Referer", format!("http://{host}/{n}")),
            ("Origin", format!("http://{host}")),
            ("Range", format!("bytes={n}-")),
            ("Via", format!("1.1 {host}")),
            ("Authorization", format!("Bearer {n}")),
            ("Cookie", format!("id={n}")),
        ];
        if n % 2 == 1 {
            let upgrade = WEBSOCKET.map(|(name, value)| (name, value.to_owned()));
            headers.extend(upgrade);
        }
        let headers: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let headers = headers.concat();
        format!("GET /live/x.flv?token={n} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")
    };
    use std::io::{Read, Write};
    // On a few connections, as fast as it goes; each answer is looked at.
    let round = |from: u32, count: u32| {
        let mut stream = std::net::TcpStream::connect(server.address("http")).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let (mut buffer, mut read) = (vec![0; 64 * 1024], String::new());
        for n in from..from + count {
            stream.write_all(one(n).as_bytes()).expect("sent");
            read.clear();
            while !read.contains("not allowed\n") {
                let got = stream.read(&mut buffer).expect("an answer");
                assert_ne!(got, 0, "closed after {read}");
                read.push_str(&String::from_utf8_lossy(&buffer[..got]));
            }
            assert!(read.starts_with("HTTP/1.1 403 "), "{read}");
        }
    };
    round(0, 1_000);
    let before = server.memory_kib();
    for at in 1..10 {
        round(at * 1_000, 1_000);
    }
    let grown = server.memory_kib().saturating_sub(before);
    assert!(grown < 4 * 1024, "grew by {grown} KiB");
    let log = server.log();
    assert_eq!(log.matches("reason=\"denied\"").count(), 10_000);
    assert_eq!(log.matches("peer=127.0.0.1:").count(), 10_000);
    assert!(!log.contains("peer=10."));
}

/// Files are played: the same rules.
#[test]
fn files_are_judged_as_streams_are() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.flv"), b"FLV").expect("written");
    std::fs::write(folder.path().join("a.txt"), b"text").expect("written");
    let server = Server::start(&format!(
        "http: {{ listen: [\"127.0.0.1:0\"], root: {:?} }}{VHOSTS}",
        folder.path()
    ));
    let rows: &[(&str, &str, u16)] = &[
        ("open.test", "", 200),
        ("deny-play.test", "", 403),
        ("deny-publish.test", "", 200),
        ("refer.test", "", 403),
        ("refer.test", "https://page.test/", 200),
        ("token-play.test", "", 401),
    ];
    for (vhost, page, status) in rows {
        for (file, method) in [("/a.flv", "GET"), ("/a.txt", "GET"), ("/a.txt", "HEAD")] {
            let path = format!("{file}?vhost={vhost}");
            let answer = http::request(server.address("http"), method, &path, &[("Referer", page)])
                .expect("an answer");
            assert_eq!(answer.status, *status, "{vhost} {page} {method} {file}");
        }
        // What is not there is not there, whoever asks.
        let answer = http::get(server.address("http"), &format!("/b.txt?vhost={vhost}"));
        assert_eq!(answer.status, 404);
        // Names of files are for those who may have them.
        let listing = http::get(
            server.address("http"),
            &format!("/player/files.json?vhost={vhost}"),
        );
        let listed = listing.text().contains("a.flv");
        let may = matches!(
            *vhost,
            "open.test" | "deny-publish.test" | "token-play.test"
        );
        assert_eq!(listed, may, "{vhost}");
    }
    server.wait_log(
        &["file denied", "by=\"address\"", "reason=\"denied\""],
        PATIENCE,
    );
}

#[test]
fn origins_that_are_listed_and_no_others() {
    let server = Server::start(
        "http: { listen: [\"127.0.0.1:0\"], crossdomain: [\"https://page.test\", \"http://other.test:8000\"] }",
    );
    let address = server.address("http");
    for (origin, allowed) in [
        ("https://page.test", true),
        ("http://other.test:8000", true),
        ("http://page.test", false),
        ("https://page.test.evil.test", false),
        ("null", false),
    ] {
        for method in ["GET", "OPTIONS"] {
            let answer =
                http::request(address, method, "/", &[("Origin", origin)]).expect("an answer");
            let answer = if method == "GET" {
                answer
            } else {
                http::request(address, method, "/live/x.flv", &[("Origin", origin)])
                    .expect("an answer")
            };
            let expected = allowed.then_some(origin);
            assert_eq!(
                answer.header("access-control-allow-origin"),
                expected,
                "{method} {origin}"
            );
            assert_eq!(answer.header("vary"), Some("Origin"), "{method} {origin}");
        }
    }
}

/// A browser's WebSocket carries an Origin and no Referer.
#[test]
fn a_websocket_is_judged_by_its_origin() {
    let server = Server::start(VHOSTS);
    let address = server.address("rtmp");
    let app = "live?vhost=refer.test";
    let url = format!("rtmp://{address}/{app}");
    let feed = Feed::start_as(address, app, &url, "x", Plan::of(&fixtures::h264_aac()));
    wait_for("some pictures", PATIENCE, || {
        (feed.sent().iter().filter(|tag| tag.kind == VIDEO).count() > 5).then_some(())
    });
    for (origin, status) in [
        ("https://page.test", 101),
        ("https://other.test", 403),
        ("null", 403),
    ] {
        let mut headers = WEBSOCKET.to_vec();
        headers.push(("Origin", origin));
        let answer = http::request(
            server.address("http"),
            "GET",
            "/live/x.flv?vhost=refer.test",
            &headers,
        );
        assert_eq!(answer.expect("an answer").status, status, "{origin}");
    }
}
