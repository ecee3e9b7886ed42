//! Behind proxies: who asks, by `X-Forwarded-For`, `Forwarded` and the PROXY protocol, as HAProxy, nginx and curl send them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::support::certs::{self, Certificate};
use super::support::feed::{Feed, Plan};
use super::support::flv::VIDEO;
use super::support::http::{get, request};
use super::support::player::Player;
use super::support::programs::{FFMPEG_DEBIAN, Job, curl, publish_loop, run};
use super::support::proxies::{Proxy, free_port};
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, stays, wait_for};

/// What curl plays before it leaves, by `--max-time`.
const PLAY: &str = "2";

fn feed(server: &Server) -> Feed {
    let feed = Feed::start(server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    feed
}

/// Plays for a while by curl, which is then told to leave; the stream has to have come.
#[track_caller]
fn curl_plays(arguments: &[&str], url: &str) {
    let mut command = curl();
    command.args([
        "--max-time",
        PLAY,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{size_download}",
    ]);
    command.args(arguments).arg(url);
    let output = run(&mut command, PATIENCE);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let (status, size) = told.split_once(' ').expect("status and size");
    assert_eq!(status, "200", "{}", output.stderr);
    assert!(
        size.parse::<u64>().is_ok_and(|size| size > 10_000),
        "{told}"
    );
}

/// By default nobody is believed; a trusted proxy is, in every protocol that HTTP carries.
#[test]
fn forwarded_headers() {
    let (x, f) = (
        "X-Forwarded-For: 192.0.2.1, 203.0.113.7",
        "Forwarded: for=\"[2001:db8::7]:4711\"",
    );
    let server = Server::start("");
    let _feed = feed(&server);
    curl_plays(&["-H", x, "-H", f], &server.http("/live/x.flv"));
    let line = server.wait_log(&["play ended", "bytes="], PATIENCE);
    assert!(line.contains("peer=127.0.0.1:"), "{line}");

    let root = tempfile::tempdir().expect("a folder");
    std::fs::write(root.path().join("page.txt"), "a file").expect("a file");
    let server = Server::start(&format!(
        "trusted_proxies: [127.0.0.1, 10.0.0.0/8]\nhttp: {{ listen: [\"127.0.0.1:0\"], root: {:?} }}\n",
        root.path()
    ));
    let _feed = feed(&server);
    let url = server.http("/live/x.flv");
    for (protocol, arguments) in [
        ("http1", &["--http1.1"][..]),
        ("http2", &["--http2-prior-knowledge"]),
        (
            "websocket",
            &[
                "--http1.1",
                "-H",
                "Upgrade: websocket",
                "-H",
                "Connection: Upgrade",
                "-H",
                "Sec-WebSocket-Version: 13",
                "-H",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ],
        ),
    ] {
        let protocol = format!("protocol=\"{protocol}\"");
        for (header, peer) in [(x, "peer=203.0.113.7 "), (f, "peer=[2001:db8::7]:4711 ")] {
            let mut command = curl();
            command.args(["--max-time", PLAY, "-o", "/dev/null", "-H", header]);
            run(command.args(arguments).arg(&url), PATIENCE);
            server.wait_log(&["play ended", &protocol, peer], PATIENCE);
        }
    }
    // Both: the proxy may have written one and passed on the other.
    curl_plays(
        &["-H", "X-Forwarded-For: 203.0.113.8, 10.1.2.3", "-H", f],
        &url,
    );
    server.wait_log(&["play ended", "peer=203.0.113.8 "], PATIENCE);
    // What a client wrote before its own address does not count, nor does nonsense.
    curl_plays(&["-H", "X-Forwarded-For: 127.0.0.1, 203.0.113.9"], &url);
    server.wait_log(&["play ended", "peer=203.0.113.9 "], PATIENCE);
    curl_plays(&["-H", "X-Forwarded-For: 203.0.113.10, me"], &url);
    server.wait_log(&["play ended", "peer=127.0.0.1:"], PATIENCE);

    // A file, and a publisher by POST.
    let answer = request(
        server.address("http"),
        "GET",
        "/page.txt",
        &[("X-Forwarded-For", "203.0.113.11")],
    );
    assert_eq!(answer.expect("an answer").text(), "a file");
    server.wait_log(&["/page.txt", "peer=203.0.113.11 "], PATIENCE);
    let file = format!("@{}", fixtures::h264_aac().display());
    let mut command = curl();
    command.args([
        "-H",
        "X-Forwarded-For: 203.0.113.12",
        "--data-binary",
        &file,
    ]);
    run(command.arg(server.http("/live/posted.flv")), PATIENCE).success();
    server.wait_log(
        &["publish ended", "peer=203.0.113.12", "stream=\"posted\""],
        PATIENCE,
    );
}

/// A limit for each address counts clients, not their proxy.
#[test]
fn limits_are_for_clients() {
    let server = Server::start("trusted_proxies: 127.0.0.1\nlimits: { connections_per_ip: 1 }\n");
    let mut publisher = curl();
    let file = format!("@{}", fixtures::h264_aac().display());
    publisher.args([
        "-H",
        "X-Forwarded-For: 203.0.113.1",
        "--limit-rate",
        "200k",
        "--data-binary",
        &file,
    ]);
    let _publisher = Job::start(publisher.arg(server.http("/live/x.flv")));
    server.wait_stream("/live/x.flv");
    let play = |client: &str| {
        let mut socket = TcpStream::connect(server.address("http")).expect("a connection");
        write!(
            socket,
            "GET /live/x.flv HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n"
        )
        .expect("a request");
        let mut status = [0; 12];
        socket.read_exact(&mut status).expect("a status");
        (String::from_utf8_lossy(&status[9..]).into_owned(), socket)
    };
    let (first, _one) = play("203.0.113.2");
    let (second, _two) = play("203.0.113.3");
    let (third, _three) = play("203.0.113.3");
    assert_eq!([first, second, third], ["200", "200", "503"]);
}

/// A server all of whose listeners speak the PROXY protocol, and what stands before it.
struct Behind {
    server: Server,
    certificate: Certificate,
    _folder: tempfile::TempDir,
}

fn behind(more: &str) -> Behind {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = certs::make(folder.path(), "localhost");
    let (cert, key) = (&certificate.cert, &certificate.key);
    let server = Server::start(&format!(
        "trusted_proxies: [127.0.0.1]\n\
         rtmp:\n  listen: [\"127.0.0.1:0\"]\n  proxy_protocol: on\n  \
           tls: {{ listen: [\"127.0.0.1:0\"], proxy_protocol: on, cert: {cert:?}, key: {key:?} }}\n\
         http: {{ listen: [\"127.0.0.1:0\"], proxy_protocol: on }}\n\
         https:\n  listen: [\"127.0.0.1:0\"]\n  proxy_protocol: on\n  certs: [{{ cert: {cert:?}, key: {key:?} }}]\n{more}"
    ));
    Behind {
        server,
        certificate,
        _folder: folder,
    }
}

/// Both versions, on all four listeners, from both programs; clients come from another address of this machine.
#[test]
fn haproxy_and_nginx_announce_clients() {
    let behind = behind("");
    let server = &behind.server;
    let kinds = ["rtmp", "rtmps", "http", "https"];
    let ports = kinds.map(|kind| (kind, free_port(), free_port()));
    // Version 2, with additions: haproxy sends an authority, a unique id and what it knows of TLS.
    let sections: String = ports
        .iter()
        .map(|(kind, port, _)| {
            format!(
                "listen {kind}\n  bind 127.0.0.1:{port}\n  unique-id-format %[uuid()]\n  server s {} send-proxy-v2-ssl-cn proxy-v2-options unique-id,crc32c\n",
                server.address(kind)
            )
        })
        .collect();
    let _haproxy = Proxy::haproxy(ports[3].1, &sections);
    let servers: String = ports
        .iter()
        .map(|(kind, _, port)| {
            format!(
                "server {{ listen 127.0.0.1:{port}; proxy_pass {}; proxy_protocol on; }}\n",
                server.address(kind)
            )
        })
        .collect();
    let _nginx = Proxy::nginx(ports[3].2, &format!("stream {{ {servers} }}"));

    for (index, name) in [(1, "two"), (2, "one")] {
        let port = |kind: &str| {
            let (_, two, one) = ports.iter().find(|(k, ..)| *k == kind).expect("a port");
            if index == 1 { *two } else { *one }
        };
        let peer = format!("peer=127.0.1.{index}:");
        let interface = format!("127.0.1.{index}");
        let ca = behind.certificate.cert.to_str().expect("a path");
        // RTMPS by a real program; ffmpeg cannot choose its address.
        let publisher = publish_loop(
            FFMPEG_DEBIAN,
            &fixtures::h264_aac(),
            &format!("rtmps://127.0.0.1:{}/live/{name}", port("rtmps")),
        );
        server.wait_log(
            &["publish started", &format!("stream=\"{name}\"")],
            PATIENCE,
        );
        let path = format!("/live/{name}.flv");
        curl_plays(
            &["--interface", &interface],
            &format!("http://127.0.0.1:{}{path}", port("http")),
        );
        server.wait_log(&["play ended", &peer, "protocol=\"http1\"", name], PATIENCE);
        for version in ["--http1.1", "--http2"] {
            let url = format!("https://127.0.0.1:{}{path}", port("https"));
            curl_plays(&["--interface", &interface, version, "--cacert", ca], &url);
        }
        server.wait_log(&["play ended", &peer, "protocol=\"http2\"", name], PATIENCE);
        // curl speaks RTMP by librtmp.
        let url = format!("rtmp://127.0.0.1:{}/live/{name}", port("rtmp"));
        let mut command = curl();
        command.args([
            "--interface",
            &interface,
            "--max-time",
            PLAY,
            "-o",
            "/dev/null",
            &url,
        ]);
        run(&mut command, PATIENCE);
        server.wait_log(&["play ended", &peer, "protocol=\"rtmp\"", name], PATIENCE);
        drop(publisher);
    }
    let file = fixtures::h264_aac();
    let _publisher = publish_loop(
        FFMPEG_DEBIAN,
        &file,
        &format!("rtmp://127.0.0.1:{}/live/y", ports[0].1),
    );
    server.wait_log(&["publish started", "stream=\"y\""], PATIENCE);
    assert!(!server.log().contains("refused"), "{}", server.log());
}

/// curl announces itself, or an address that it was told, and a proxy behind that one may add its own header.
#[test]
fn curl_announces_itself() {
    let behind = behind("");
    let server = &behind.server;
    let mut client = TcpStream::connect(server.address("rtmp")).expect("a connection");
    client
        .write_all(b"PROXY TCP4 203.0.113.5 127.0.0.1 4711 1935\r\n")
        .expect("a header");
    let publisher = super::support::rtmp::Client::start(server.address("rtmp"));
    assert!(publisher.is_err(), "a publisher without a header");
    drop(client);

    let port = free_port();
    let to = format!(
        "listen a\n  bind 127.0.0.1:{port}\n  server s {} send-proxy\n",
        server.address("rtmp")
    );
    let _haproxy = Proxy::haproxy(port, &to);
    let url = format!("rtmp://127.0.0.1:{port}/live/x");
    let _publisher = publish_loop(FFMPEG_DEBIAN, &fixtures::h264_aac(), &url);
    server.wait_log(
        &["publish started", "peer=127.0.0.1:", "stream=\"x\""],
        PATIENCE,
    );
    curl_plays(
        &["--haproxy-protocol", "--interface", "127.0.0.1"],
        &server.http("/live/x.flv"),
    );
    server.wait_log(
        &["play ended", "protocol=\"http1\"", "peer=127.0.0.1:"],
        PATIENCE,
    );
    // The PROXY header tells the nearest proxy, and that one is trusted with the rest.
    curl_plays(
        &["--haproxy-protocol", "-H", "X-Forwarded-For: 203.0.113.6"],
        &server.http("/live/x.flv"),
    );
    server.wait_log(&["play ended", "peer=203.0.113.6 "], PATIENCE);
    // Two requests on one connection have one header.
    let mut socket = TcpStream::connect(server.address("http")).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
        .write_all(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n")
        .expect("a header");
    for _ in 0..2 {
        socket
            .write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("a request");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        assert!(
            head.starts_with(b"HTTP/1.1 200 "),
            "{}",
            String::from_utf8_lossy(&head)
        );
    }
}

/// The proxies' own connections (checks whether the server lives) are no clients', and leave no line.
#[test]
fn checks_of_proxies() {
    let behind = behind("");
    let server = &behind.server;
    let port = free_port();
    let rtmp = server.address("rtmp");
    let http = server.address("http");
    let stats = free_port();
    let _haproxy = Proxy::haproxy(
        port,
        &format!(
            "listen a\n  bind 127.0.0.1:{port}\n  server s {rtmp} send-proxy-v2 check check-send-proxy inter 100ms\n\
             listen b\n  mode http\n  option httpchk\n  http-check send meth HEAD uri /\n  bind 127.0.0.1:{stats}\n  \
               stats enable\n  stats uri /stats\n  server s {http} send-proxy-v2 check check-send-proxy inter 100ms rise 3\n"
        ),
    );
    wait_for("both servers are up, by their checks", PATIENCE, || {
        let table = get(SocketAddr::from(([127, 0, 0, 1], stats)), "/stats;csv").text();
        let up = |row: &str| {
            let checked = row.contains(",L4OK,") || row.contains(",L7OK,");
            (row.starts_with("a,s,") || row.starts_with("b,s,")) && row.contains(",UP,") && checked
        };
        (table.lines().filter(|row| up(row)).count() == 2).then_some(())
    });
    stays("nothing is refused", Duration::from_secs(1), || {
        !server.log().contains("refused")
    });
}

/// Who speaks no PROXY protocol, or may not, is closed, with a line; before TLS too.
#[test]
fn others_are_refused() {
    let behind = behind("");
    let server = &behind.server;
    let closed = |kind: &str, from: Ipv4Addr, bytes: &[u8]| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::from((from, 0)).into())
            .expect("an address");
        socket
            .connect(&server.address(kind).into())
            .expect("a connection");
        let mut stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let from = stream.local_addr().expect("an address");
        // It may be closed before all is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"", "{kind}");
        from
    };
    let good = b"PROXY TCP4 203.0.113.5 127.0.0.1 4711 80\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    for kind in ["rtmp", "rtmps", "http", "https"] {
        let listener = format!("listener=\"{kind}\"");
        let from = closed(
            kind,
            Ipv4Addr::LOCALHOST,
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        );
        server.wait_log(
            &[
                "connection refused",
                "no PROXY header (byte 0)",
                &listener,
                &format!("\"{from}\""),
            ],
            PATIENCE,
        );
        let from = closed(kind, Ipv4Addr::new(127, 0, 0, 2), good);
        server.wait_log(
            &[
                "connection refused",
                "live.trusted_proxies",
                &listener,
                &format!("\"{from}\""),
            ],
            PATIENCE,
        );
        let from = closed(
            kind,
            Ipv4Addr::LOCALHOST,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b",
        );
        server.wait_log(
            &[
                "connection refused",
                "11 bytes",
                &listener,
                &format!("\"{from}\""),
            ],
            PATIENCE,
        );
    }
    // A header that does not come, or comes as slowly as can be, is not waited for.
    let began = Instant::now();
    let mut slow = TcpStream::connect(server.address("https")).expect("a connection");
    slow.set_read_timeout(Some(Duration::from_millis(900)))
        .expect("a timeout");
    let mut header = b"PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".iter();
    let ended = loop {
        assert!(began.elapsed() < PATIENCE, "it is still open");
        let _ = slow.write_all(&[*header.next().expect("a byte")]);
        match slow.read(&mut [0]) {
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            _ => break began.elapsed(),
        }
    };
    assert!(ended > Duration::from_secs(9), "{ended:?}");
    server.wait_log(&["connection refused", "did not come in 10 s"], PATIENCE);
    // The others are served all the while.
    let mut good_client = TcpStream::connect(server.address("http")).expect("a connection");
    good_client.write_all(good).expect("a request");
    let mut status = [0; 12];
    good_client.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 200");
}

/// Players count for the address that was announced.
#[test]
fn limits_are_for_announced_clients() {
    let behind = behind("limits: { connections_per_ip: 1 }\n");
    let server = &behind.server;
    let port = free_port();
    let _haproxy = Proxy::haproxy(
        port,
        &format!(
            "listen a\n  bind 127.0.0.1:{port}\n  server s {} send-proxy\n",
            server.address("rtmp")
        ),
    );
    let _publisher = publish_loop(
        FFMPEG_DEBIAN,
        &fixtures::h264_aac(),
        &format!("rtmp://127.0.0.1:{port}/live/x"),
    );
    server.wait_log(&["publish started", "stream=\"x\""], PATIENCE);
    // A second from the publisher's address is one too many, and one from elsewhere is not.
    let player = |client: &str| {
        let mut socket = TcpStream::connect(server.address("http")).expect("a connection");
        write!(
            socket,
            "PROXY TCP4 {client} 127.0.0.1 1 2\r\nGET /live/x.flv HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        .expect("a request");
        let mut status = [0; 12];
        socket.read_exact(&mut status).expect("a status");
        (String::from_utf8_lossy(&status[9..]).into_owned(), socket)
    };
    assert_eq!(player("127.0.0.1").0, "503");
    let (status, _kept) = player("203.0.113.5");
    assert_eq!(status, "200");
    assert_eq!(player("203.0.113.5").0, "503");
}

/// A player behind a proxy that is not trusted plays all the same: only its word does not count.
#[test]
fn nginx_in_front_without_trust() {
    let server = Server::start("");
    let _feed = feed(&server);
    let port = free_port();
    let _nginx = Proxy::nginx(
        port,
        &format!(
            "http {{ server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_buffering off; \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header Host $http_host; }} }} }}",
            server.address("http")
        ),
    );
    let player = Player::open_with(
        SocketAddr::from(([127, 0, 0, 1], port)),
        "/live/x.flv",
        &[],
        None,
    );
    player.wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 30);
    drop(player);
    server.wait_log(&["play ended", "peer=127.0.0.1:", "bytes="], PATIENCE);
}
