//! The library in somebody else's proxy: `examples/embed.rs`, run as it stands.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::support::flv::VIDEO;
use super::support::player::Player;
use super::support::programs::{self, FFMPEG_DEBIAN, Job, curl, run};
use super::support::{PATIENCE, fixtures, http, wait_for};

/// The example's process. Killed by its handle.
struct Example(Child);

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An upstream that answers every request with its path.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut byte = [0; 1];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.extend_from_slice(&byte),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&request);
    let body = format!(
        "upstream has {}",
        text.split_whitespace().nth(1).unwrap_or("-")
    );
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

/// A port that was free a moment ago: the example takes addresses and tells none.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// Where cargo puts examples: beside the folder of this test's own executable.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this executable");
    let deps = test.parent().expect("target/debug/deps");
    deps.parent()
        .expect("target/debug")
        .join("examples")
        .join(name)
}

/// The example with more arguments, and its HTTP and RTMP addresses.
fn start(more: &[&str]) -> (Example, SocketAddr, SocketAddr) {
    start_example("embed", more)
}

fn start_example(name: &str, more: &[&str]) -> (Example, SocketAddr, SocketAddr) {
    let (web, rtmp, upstream) = (free(), free(), upstream());
    let child = Command::new(example(name))
        .args([web.to_string(), rtmp.to_string(), upstream.to_string()])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the example was built with the tests");
    let example = Example(child);
    wait_for("both listeners", PATIENCE, || {
        (TcpStream::connect(web).is_ok() && TcpStream::connect(rtmp).is_ok()).then_some(())
    });
    (example, web, rtmp)
}

/// Files below `http.root` are answered by the library, what it has not by the upstream; and files stand back for streams.
#[test]
fn an_existing_proxy_serves_files() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("live")).expect("a folder");
    let recording = std::fs::read(fixtures::h264_aac()).expect("a fixture");
    for (name, bytes) in [
        ("notes.txt", b"0123456789".as_slice()),
        ("live/old.flv", &recording),
    ] {
        std::fs::write(folder.path().join(name), bytes).expect("a file");
    }
    let (_example, web, _) = start(&[&folder.path().display().to_string()]);
    let get = |path: &str, headers: &[(&str, &str)]| {
        http::request(web, "GET", path, headers).expect("an answer")
    };
    let whole = get("/notes.txt", &[]);
    let etag = whole.header("etag").expect("an ETag").to_owned();
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    let part = get("/notes.txt", &[("Range", "bytes=2-4")]);
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(get("/notes.txt", &[("If-None-Match", &etag)]).status, 304);
    let head = http::request(web, "HEAD", "/notes.txt", &[]).expect("an answer");
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("10"))
    );

    // At an address that could be a stream's, and from a keyframe on.
    let old = get("/live/old.flv", &[]);
    assert_eq!(old.status, 200);
    assert!(old.bytes() == recording, "another file");
    let cut = get("/live/old.flv?start_ms=3000", &[]);
    assert_eq!(cut.status, 200);
    let cut = cut.bytes();
    assert!(cut.starts_with(b"FLV") && cut.len() < recording.len());

    // What is no file, or no file that may be served, is the upstream's.
    for path in ["/no.txt", "/..%2fnotes.txt", "/live/"] {
        let answer = get(path, &[]);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().starts_with("upstream has"), "{path}");
    }
    // A file can be read, and nothing else.
    let post = http::request(web, "POST", "/notes.txt", &[("Content-Length", "0")]);
    assert_eq!(post.expect("an answer").status, 405);
}

#[test]
fn an_existing_proxy_plays_streams_and_its_other_paths_reach_the_upstream() {
    let (_example, web, rtmp) = start(&[]);
    let page = http::request(web, "GET", "/some/page?x=1", &[]).expect("an answer");
    assert_eq!(
        (page.status, page.text().as_str()),
        (200, "upstream has /some/page?x=1")
    );

    let mut publisher = Command::new(FFMPEG_DEBIAN)
        .args(["-v", "error", "-re", "-stream_loop", "-1", "-i"])
        .arg(fixtures::h264_aac())
        .args(["-c", "copy", "-f", "flv", &format!("rtmp://{rtmp}/live/x")])
        .stdin(Stdio::null())
        .spawn()
        .map(Example)
        .expect("ffmpeg");
    let player = Player::open_with(web, "/live/x.flv", &[], None);
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);

    // While it plays, the rest goes on; and over HTTP/1.1 with curl as well.
    let url = format!("http://{web}/live/x.html");
    let text = run(curl().arg(&url), PATIENCE).success();
    assert_eq!(text, "upstream has /live/x.html");
    publisher.0.kill().expect("ffmpeg runs");
}

/// `examples/embed_api.rs`: API, metrics and console below a path of somebody else's proxy, under their own rules, and nowhere else.
#[test]
fn an_existing_proxy_serves_the_api_below_a_path() {
    let (_example, web, rtmp) = start_example("embed_api", &["secret"]);
    let _ffmpeg = programs::publish_loop(
        FFMPEG_DEBIAN,
        &fixtures::h264_aac(),
        &format!("rtmp://{rtmp}/live/x"),
    );
    let player = Player::open_with(web, "/live/x.flv", &[], None);
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);

    let ask = |arguments: &[&str], path: &str| {
        let mut curl = curl();
        curl.args(["-w", "\n%{http_code}"])
            .args(arguments)
            .arg(format!("http://{web}{path}"));
        let said = run(&mut curl, PATIENCE).success();
        let (body, status) = said.rsplit_once('\n').expect("a status");
        (status.to_owned(), body.to_owned())
    };
    let admin = ["-u", "admin:secret"];
    let (status, streams) = ask(&admin, "/ops/api/v1/live/streams");
    assert_eq!(status, "200", "{streams}");
    let streams: serde_json::Value = serde_json::from_str(&streams).expect("JSON");
    assert_eq!(streams["streams"][0]["name"], "x");
    assert_eq!(ask(&admin, "/ops/metrics").0, "200");
    let (_, document) = ask(&admin, "/ops/api/openapi.json");
    let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["servers"][0]["url"], "/ops");
    // Its rules hold there.
    for path in ["/ops/api/v1/live/streams", "/ops/metrics"] {
        assert_eq!(ask(&[], path).0, "401", "{path}");
    }
    assert_eq!(ask(&[], "/ops/readyz").0, "200");
    let foreign = [
        "-u",
        "admin:secret",
        "-XPOST",
        "-H",
        "Origin: http://evil.example",
    ];
    assert_eq!(ask(&foreign, "/ops/api/v1/live/reload").0, "403");
    // And nowhere else: these are the upstream's.
    for path in [
        "/api/v1/versions",
        "/console",
        "/metrics",
        "/",
        "/opsx/metrics",
        "/ops/other",
    ] {
        let (status, body) = ask(&admin, path);
        assert_eq!(status, "200", "{path}");
        assert_eq!(body, format!("upstream has {path}"));
    }
    let leads = |path: &str| {
        let answer = http::request(web, "GET", path, &[]).expect("an answer");
        (answer.status, answer.header("location").map(str::to_owned))
    };
    assert_eq!(leads("/ops/"), (302, Some("console".to_owned())));
    assert_eq!(leads("/ops"), (302, Some("ops/console".to_owned())));

    // The console, by the password, plays and shows the stream.
    let seen = Job::start(
        programs::tool("console.py")
            .arg(format!("http://{web}/ops"))
            .args([
                "password:admin:secret",
                "open:live/x",
                "play:1",
                "view:nodes",
            ]),
    )
    .finish(PATIENCE * 6)
    .json();
    assert_eq!(seen["failed"], serde_json::Value::Null, "{seen:#}");
    assert_eq!(seen["page_errors"], serde_json::json!([]), "{seen:#}");

    // A kick reaches the player.
    let (_, clients) = ask(&admin, "/ops/api/v1/live/clients?count=100");
    let clients: serde_json::Value = serde_json::from_str(&clients).expect("JSON");
    let id = clients["clients"]
        .as_array()
        .expect("clients")
        .iter()
        .find(|client| client["action"] == "play")
        .map(|client| client["id"].to_string())
        .expect("a player");
    let kick = ["-u", "admin:secret", "-XDELETE"];
    assert_eq!(
        ask(&kick, &format!("/ops/api/v1/live/clients/{id}")).0,
        "200"
    );
    player.wait_end(PATIENCE);
}
