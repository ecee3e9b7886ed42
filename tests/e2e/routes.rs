//! The rest, proxied: routes to nginx, to servers of a test's own and to another server of this kind.

mod circles;
mod examples;
mod servers;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::SHORT;
use super::support::backend::{Backend, say};
use super::support::certs;
use super::support::feed::{Feed, Plan};
use super::support::flv::VIDEO;
use super::support::http::{Framing, get, raw, request};
use super::support::player::Player;
use super::support::programs::{self, Job, curl, run};
use super::support::proxies::{Proxy, free_port};
use super::support::server::Server;
use super::support::websocket::Client as WebSocket;
use super::support::{PATIENCE, fixtures, wait_for};

/// Larger than all buffers between two ends together.
const LARGE: usize = 64 << 20;

fn feed(server: &Server) -> Feed {
    let feed = Feed::start(server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    feed
}

/// nginx with files: a site, and what an HLS packager leaves.
fn nginx_site(large: bool) -> (Proxy, u16) {
    let port = free_port();
    let folder = tempfile::tempdir().expect("a folder");
    // Kept by nginx's own folder.
    let root = folder.keep();
    std::fs::create_dir(root.join("hls")).expect("a folder");
    std::fs::write(root.join("index.html"), "the site").expect("a file");
    std::fs::write(root.join("song.mp3"), "no stream").expect("a file");
    std::fs::write(root.join("hls/x.m3u8"), "#EXTM3U\n#EXTINF:4,\nx-1.ts\n").expect("a file");
    std::fs::write(root.join("hls/x-1.ts"), vec![0x47; 188 * 100]).expect("a file");
    if large {
        let bytes: Vec<u8> = (0..LARGE).map(|i| (i * 31 % 251) as u8).collect();
        std::fs::write(root.join("large.bin"), bytes).expect("a file");
    }
    let site = format!(
        "http {{ server {{ listen 127.0.0.1:{port}; root {}; \
         location /api/ {{ default_type application/json; return 200 '{{\"uri\":\"$request_uri\",\"for\":\"$http_x_forwarded_for\"}}'; }} }} }}",
        root.display()
    );
    (Proxy::nginx(port, &site), port)
}

/// A site, an API and an HLS origin of an nginx, beside streams.
#[test]
fn nginx_behind() {
    let (_nginx, port) = nginx_site(false);
    let server = Server::start(&format!(
        "upstreams:\n  nginx: {{ servers: ['127.0.0.1:{port}'] }}\nroutes:\n  - {{ path: /, upstream: nginx }}\n  \
         - {{ path: /hls/, upstream: nginx }}\n  - {{ host: music.example, upstream: nginx, streams: published }}\n{SHORT}"
    ));
    let _feed = feed(&server);
    let address = server.address("http");
    let playlist = get(address, "/hls/x.m3u8");
    assert_eq!(playlist.header("server").map(|s| &s[..5]), Some("nginx"));
    assert!(playlist.text().starts_with("#EXTM3U"));
    // A segment has the address of a stream that is not there. Nobody waits for one.
    let began = Instant::now();
    let segment = get(address, "/hls/x-1.ts");
    assert_eq!((segment.status, segment.text().len()), (200, 18_800));
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it was waited for"
    );
    let answer = get(address, "/api/users?a=%20b");
    assert_eq!(
        answer.text(),
        "{\"uri\":\"/api/users?a=%20b\",\"for\":\"127.0.0.1\"}"
    );
    // What is asked for in part comes in part.
    let part =
        request(address, "GET", "/hls/x.m3u8", &[("Range", "bytes=1-6")]).expect("an answer");
    assert_eq!((part.status, part.text().as_str()), (206, "EXTM3U"));
    assert_eq!(get(address, "/none").status, 404);
    assert_eq!(get(address, "/").text(), "the site");

    // Streams are where they were, and one that comes is waited for.
    let player = Player::open(&server, "/live/x.flv");
    player.wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);
    let waiting = Player::open(&server, "/live/late.flv");
    let _late = Feed::start(&server, "live", "late", Plan::of(&fixtures::h264_aac()));
    waiting.wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);
    let song = request(address, "GET", "/song.mp3", &[("Host", "music.example")]);
    assert_eq!(song.expect("an answer").text(), "no stream");
    server.wait_log(
        &[
            "request proxied",
            "path=\"/hls/x-1.ts\"",
            "upstream=\"nginx\"",
            "status=200",
            "bytes=18800",
            "complete",
        ],
        PATIENCE,
    );
}

/// Files and the player page keep their places.
#[test]
fn files_and_the_page_beside_routes() {
    let web = Backend::saying("from the upstream");
    let root = tempfile::tempdir().expect("a folder");
    for name in ["a.txt", "api.txt"] {
        std::fs::write(root.path().join(name), "a file").expect("a file");
    }
    std::fs::create_dir(root.path().join("api")).expect("a folder");
    std::fs::write(root.path().join("api/a.txt"), "a file").expect("a file");
    let start = |routes: &str| {
        Server::start(&format!(
            "http: {{ listen: ['127.0.0.1:0'], root: {:?} }}\nupstreams: {{ web: {{ servers: '{}' }} }}\nroutes: [{routes}]\n",
            root.path(),
            web.address
        ))
    };
    let server = start("{ path: /api, upstream: web }");
    let text = |server: &Server, path: &str| get(server.address("http"), path).text();
    assert_eq!(text(&server, "/a.txt"), "a file");
    assert_eq!(text(&server, "/api.txt"), "a file");
    assert_eq!(text(&server, "/api/a.txt"), "from the upstream");
    assert!(text(&server, "/").contains("player.js"));
    assert!(text(&server, "/player/files.json").starts_with('{'));
    assert_eq!(get(server.address("http"), "/none").status, 404);

    let server = start("{ upstream: web }");
    assert_eq!(text(&server, "/a.txt"), "a file");
    for path in ["/", "/player/player.js", "/none"] {
        assert_eq!(text(&server, path), "from the upstream", "{path}");
    }
    let posted = request(
        server.address("http"),
        "POST",
        "/a.txt",
        &[("Content-Length", "0")],
    );
    assert_eq!(posted.expect("an answer").text(), "from the upstream");
}

/// A large file by each protocol to each, whole; and one who reads slowly costs no memory.
#[test]
fn large_files_pass_without_being_held() {
    let (_nginx, port) = nginx_site(true);
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = certs::make_leaf(folder.path(), "localhost");
    let https = format!(
        "https: {{ listen: ['127.0.0.1:0'], certs: [{{ cert: {:?}, key: {:?} }}] }}\n",
        certificate.cert, certificate.key
    );
    let server = Server::start(&format!(
        "{https}upstreams: {{ nginx: {{ servers: '127.0.0.1:{port}' }} }}\nroutes: [{{ upstream: nginx }}]\n"
    ));
    // An upstream that speaks HTTP/2: the one above.
    let outer = Server::start(&format!(
        "{https}upstreams: {{ inner: {{ servers: '{}', http2: on }}, tls: {{ servers: '{}', tls: on, http2: on, ca: {:?} }} }}\n\
         routes: [{{ upstream: inner }}, {{ path: /tls, upstream: tls, strip_prefix: on }}]\n",
        server.address("http"),
        server.address("https"),
        certificate.cert
    ));
    for (server, version, kind, path) in [
        (&server, "--http1.1", "http", "/large.bin"),
        (&server, "--http2", "https", "/large.bin"),
        (&outer, "--http1.1", "http", "/large.bin"),
        (&outer, "--http2", "https", "/large.bin"),
        (&outer, "--http2", "https", "/tls/large.bin"),
    ] {
        let mut command = curl();
        let scheme = kind;
        let url = format!("{scheme}://{}{path}", server.address(kind));
        command.args([version, "-k", "--max-time", "100", &url]);
        let body = run(&mut command, Duration::from_secs(120)).bytes();
        assert_eq!(body.len(), LARGE, "{version} {path}");
        let wrong = body
            .iter()
            .enumerate()
            .find(|(i, byte)| **byte != (i * 31 % 251) as u8);
        assert_eq!(wrong, None);
    }
    let before = server.memory_kib();
    let mut slow = TcpStream::connect(server.address("http")).expect("a connection");
    slow.write_all(b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("a request");
    slow.read_exact(&mut [0; 4096]).expect("a beginning");
    // The kernel takes what it takes; then everything has to stand still.
    std::thread::sleep(Duration::from_secs(2));
    let grown = server.memory_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB for one who does not read");
}

/// Headers as they leave and as they come back; the path; and nothing that a client made up.
#[test]
fn headers_on_their_way() {
    let web = Backend::start(|_, stream| {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nServer: them\r\nX-Powered-By: x\r\nVary: Accept\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        )
    });
    let server = Server::start(&format!(
        "upstreams: {{ web: {{ servers: '{}' }} }}\nroutes:\n  - path: /api\n    upstream: web\n    strip_prefix: on\n    \
         request: {{ set: {{ X-Set: new }}, add: {{ X-Add: two }}, remove: [Cookie] }}\n    \
         response: {{ set: {{ Server: us }}, add: {{ Vary: Origin }}, remove: [X-Powered-By] }}\n  \
         - {{ path: /host, upstream: web, request: {{ set: {{ Host: b.example }} }} }}\n",
        web.address
    ));
    let sent = [
        ("Host", "a.example:81"),
        ("X-Set", "old"),
        ("X-Add", "one"),
        ("Cookie", "c"),
        ("X-Forwarded-For", "1.1.1.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Real-IP", "1.1.1.1"),
        ("Forwarded", "for=1.1.1.1"),
        ("Connection", "X-Secret"),
        ("X-Secret", "s"),
        ("TE", "trailers"),
    ];
    let answer =
        request(server.address("http"), "GET", "/api/users?q=1", &sent).expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("server"), Some("us"));
    assert_eq!(answer.header("x-powered-by"), None);
    let vary: Vec<_> = answer.headers.iter().filter(|(n, _)| n == "vary").collect();
    assert_eq!(vary.len(), 2);
    assert_eq!(answer.text(), "ok");
    let head = web.heads().remove(0);
    assert_eq!(head.line, "GET /users?q=1 HTTP/1.1");
    for (name, values) in [
        ("host", &["a.example:81"][..]),
        ("x-set", &["new"]),
        ("x-add", &["one", "two"]),
        ("cookie", &[]),
        ("x-forwarded-for", &["127.0.0.1"]),
        ("x-real-ip", &["127.0.0.1"]),
        ("x-forwarded-proto", &["http"]),
        ("x-forwarded-host", &["a.example:81"]),
        ("forwarded", &[]),
        ("x-secret", &[]),
        ("te", &[]),
    ] {
        assert_eq!(head.all(name), values, "{name}");
    }
    // By HTTP/2 the same, with the host from `:authority`.
    let mut command = curl();
    command.args([
        "--http2-prior-knowledge",
        "-H",
        "Host: c.example",
        &server.http("/host/x"),
    ]);
    assert_eq!(run(&mut command, PATIENCE).success(), "ok");
    let head = web.heads().remove(1);
    assert_eq!(head.line, "GET /host/x HTTP/1.1");
    assert_eq!(head.all("host"), ["b.example"]);
    assert_eq!(head.all("x-forwarded-host"), ["c.example"]);
}

/// Bodies of requests go as they come, whatever their length; the answer may come before their end.
#[test]
fn request_bodies_are_not_held() {
    let web = Backend::start(|head, stream| {
        assert!(head.line.starts_with("POST "), "{head:?}");
        assert_eq!(head.all("transfer-encoding"), ["chunked"]);
        // What has come is told at once, before more is sent.
        let mut first = [0; 9];
        stream.read_exact(&mut first)?;
        assert_eq!(&first, b"4\r\nping\r\n");
        say(stream, "pong")
    });
    let server = Server::start(&format!(
        "upstreams: {{ web: {{ servers: '{}' }} }}\nroutes: [{{ upstream: web }}]\n",
        web.address
    ));
    let begun = b"POST /in HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nping\r\n";
    let answer = raw(server.address("http"), begun, false).expect("an answer before the end");
    assert_eq!(answer.text(), "pong");

    // A large one, counted.
    let count = Backend::start(|head, stream| {
        let mut left: u64 = head.all("content-length")[0].parse().expect("a length");
        let mut piece = vec![0; 1 << 16];
        while left > 0 {
            let read = stream.read(&mut piece)?;
            assert!(read > 0, "{left} bytes are missing");
            left -= read as u64;
        }
        say(stream, "all of it")
    });
    let server = Server::start(&format!(
        "upstreams: {{ web: {{ servers: '{}' }} }}\nroutes: [{{ upstream: web }}]\n",
        count.address
    ));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("large");
    std::fs::write(&file, vec![7; LARGE]).expect("a file");
    let before = server.memory_kib();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let mut command = curl();
        command
            .args([version, "-T"])
            .arg(&file)
            .arg(server.http("/in"));
        assert_eq!(
            run(&mut command, Duration::from_secs(60)).success(),
            "all of it"
        );
    }
    let grown = server.memory_kib().saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} KiB");
}

/// FLV without end from a server behind, as from an SRS or an nginx that is there already: tags come as they are made, and a player
/// that leaves is gone there, too.
#[test]
fn a_stream_of_a_server_behind() {
    let behind = Server::start(SHORT);
    let _feed = feed(&behind);
    let front = Server::start(&format!(
        "upstreams: {{ old: {{ servers: '{}' }} }}\nroutes: [{{ path: /old, upstream: old, strip_prefix: on }}]\n",
        behind.address("http")
    ));
    let direct = Player::open(&behind, "/live/x.flv");
    let player = Player::open(&front, "/old/live/x.flv");
    player.wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 60);
    direct.wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 60);
    // In time: what both have got by now differs by little.
    let (there, here) = (direct.tag_count(), player.tag_count());
    assert!(here + 40 > there, "{here} of {there} tags");
    let mut web_socket = WebSocket::open(front.address("http"), "/old/live/x.flv");
    for _ in 0..20 {
        assert_eq!(web_socket.frame().0, 2);
    }
    drop(player);
    drop(web_socket);
    behind.wait_log(
        &["play ended", "protocol=\"http1\"", "client_left"],
        PATIENCE,
    );
    behind.wait_log(
        &["play ended", "protocol=\"websocket\"", "client_left"],
        PATIENCE,
    );
    front.wait_log(
        &["request proxied", "/old/live/x.flv", "client_left"],
        PATIENCE,
    );
}

/// A server of Python's websockets, killed when dropped.
fn echo_server() -> (std::process::Child, u16) {
    let mut child = Command::new(programs::python())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/websocket_echo.py"))
        .arg("serve")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a port");
    (child, line.trim().parse().expect("a port"))
}

#[test]
fn websockets_through_a_route() {
    let (mut child, port) = echo_server();
    let server = Server::start(&format!(
        "upstreams: {{ echo: {{ servers: '127.0.0.1:{port}', http2: on }} }}\nroutes:\n  - {{ path: /socket, upstream: echo }}\n  \
         - {{ path: /closed, upstream: echo, websocket: off }}\n"
    ));
    let url = |path: &str| format!("ws://{}{path}", server.address("http"));
    let mut check = programs::tool("websocket_echo.py");
    assert_eq!(
        run(check.args(["check", &url("/socket")]), PATIENCE).success(),
        "echoed\n"
    );
    let mut check = programs::tool("websocket_echo.py");
    assert!(
        !run(check.args(["check", &url("/closed")]), PATIENCE)
            .status
            .success()
    );
    server.wait_log(
        &["request proxied", "path=\"/socket\"", "status=101"],
        PATIENCE,
    );
    let _ = child.kill();
    let _ = child.wait();
}

/// A client of HTTP/1.0 gets what is chunked elsewhere, to the end of the connection.
#[test]
fn http_1_0_clients() {
    let web = Backend::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    });
    let server = Server::start(&format!(
        "upstreams: {{ web: {{ servers: '{}' }} }}\nroutes: [{{ upstream: web }}]\n",
        web.address
    ));
    let answer = raw(server.address("http"), b"GET / HTTP/1.0\r\n\r\n", false).expect("an answer");
    assert_eq!(answer.body.framing, Framing::Close);
    assert_eq!(answer.text(), "abcde");
    let answer = get(server.address("http"), "/");
    assert_eq!(answer.body.framing, Framing::Chunked);
    assert_eq!(answer.text(), "abcde");
    let mut command = curl();
    command.args(["--http1.0", &server.http("/")]);
    assert_eq!(run(&mut command, PATIENCE).success(), "abcde");
}

/// With a trusted proxy in front, the chain grows by one.
#[test]
fn between_two_proxies() {
    let web = Backend::saying("ok");
    let server = Server::start(&format!(
        "trusted_proxies: [127.0.0.1]\nupstreams: {{ web: {{ servers: '{}' }} }}\nroutes: [{{ upstream: web }}]\n",
        web.address
    ));
    let port = free_port();
    let _haproxy = Proxy::haproxy(
        port,
        &format!(
            "listen a\n  mode http\n  bind 127.0.0.1:{port}\n  option forwardfor\n  http-request set-header X-Forwarded-Proto https\n  server s {}\n",
            server.address("http")
        ),
    );
    let mut command = curl();
    command.args(["--interface", "127.0.1.9", "-H", "X-Forwarded-For: 1.1.1.1"]);
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(run(command.arg(&url), PATIENCE).success(), "ok");
    let head = web.heads().pop().expect("a request");
    assert_eq!(
        head.all("x-forwarded-for"),
        ["1.1.1.1, 127.0.1.9, 127.0.0.1"]
    );
    assert_eq!(head.all("x-real-ip"), ["127.0.1.9"]);
    assert_eq!(head.all("x-forwarded-proto"), ["https"]);
    server.wait_log(&["request proxied", "peer=\"127.0.1.9\""], PATIENCE);
}

/// A publisher who POSTs to a stream's address publishes, unless a route takes that address.
#[test]
fn posted_streams_and_routes() {
    let web = Backend::saying("taken");
    let server = Server::start(&format!(
        "upstreams: {{ web: {{ servers: '{}' }} }}\nroutes:\n  - {{ upstream: web }}\n  - {{ path: /in, upstream: web }}\n  \
         - {{ path: /all, upstream: web, streams: none }}\n",
        web.address
    ));
    let file = format!("@{}", fixtures::h264_aac().display());
    let post = |path: &str| {
        let mut command = curl();
        command.args(["-H", "Expect:", "--data-binary", &file, &server.http(path)]);
        run(&mut command, PATIENCE).success()
    };
    assert_eq!(post("/live/x.flv"), "published\n");
    let _publisher = Job::start(&mut {
        let mut command = curl();
        command.args([
            "--limit-rate",
            "100k",
            "--data-binary",
            &file,
            &server.http("/in2/x.flv"),
        ]);
        command
    });
    server.wait_stream("/in2/x.flv");
    wait_for("the backend was asked", PATIENCE, || {
        let answer = get(server.address("http"), "/in/x.flv").text();
        (answer == "taken").then_some(())
    });
    let _feed = Feed::start(&server, "all", "y", Plan::of(&fixtures::h264_aac()));
    server.wait_log(&["publish started", "app=\"all\""], PATIENCE);
    assert_eq!(get(server.address("http"), "/all/y.flv").text(), "taken");
}
