//! Routes that lead back to where they began, and what upstreams are told in `Via`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::VIDEO;
use super::super::support::http::{get, raw, request};
use super::super::support::player::Player;
use super::super::support::programs::{curl, run};
use super::super::support::proxies::{Proxy, free_port};
use super::super::support::server::Server;
use super::super::support::{PATIENCE, fixtures};

/// A server on a port that is known before, whose routes lead to another.
fn server(port: u16, to: SocketAddr, more: &str) -> Server {
    Server::start(&format!(
        "http: {{ listen: [\"127.0.0.1:{port}\"] }}\nupstreams: {{ next: {{ servers: ['{to}'], retries: 2{more} }} }}\nroutes:\n  - {{ path: /, upstream: next }}\n"
    ))
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// One that leads to itself, a ring of two, and a ring with an nginx in it: each request is refused at once, by whatever protocol it came.
#[test]
fn a_circle_of_routes_is_refused() {
    let ports: Vec<u16> = (0..5).map(|_| free_port()).collect();
    let itself = server(ports[0], local(ports[0]), "");
    let ring = [
        server(ports[1], local(ports[2]), ", http2: on"),
        server(ports[2], local(ports[1]), ""),
    ];
    let with_nginx = server(ports[3], local(ports[4]), "");
    let _nginx = Proxy::nginx(
        ports[4],
        &format!(
            "http {{ server {{ listen 127.0.0.1:{}; location / {{ proxy_pass http://127.0.0.1:{}; }} }} }}",
            ports[4], ports[3]
        ),
    );
    for first in [&itself, &ring[0], &ring[1], &with_nginx] {
        let since = Instant::now();
        for path in ["/", "/a/x?q=1"] {
            assert_eq!(get(first.address("http"), path).status, 508, "{path}");
        }
        let posted = raw(
            first.address("http"),
            b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde",
            false,
        );
        assert_eq!(posted.expect("an answer").status, 508);
        let by_h2 = curl_status(first, &["--http2-prior-knowledge"]);
        assert_eq!(by_h2, "508");
        assert!(
            since.elapsed() < Duration::from_secs(5),
            "{:?}",
            since.elapsed()
        );
    }
    itself.wait_log(&["request refused", "leads back here"], PATIENCE);
    let text = get(itself.address("api"), "/metrics").text();
    let counted = text
        .lines()
        .any(|line| line.starts_with("pingora_live_relay_loops_total 4"));
    assert!(counted, "{text}");
    // What is not proxied is not in a circle: a CDN that pulls through us names us, and streams of our own play.
    let _feed = Feed::start(&itself, "live", "x", Plan::of(&fixtures::h264_aac()));
    let via = [("Via", "1.1 other, 1.0 nginx (x)")];
    let player = Player::open_with(itself.address("http"), "/live/x.flv", &via, None);
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
}

#[track_caller]
fn curl_status(server: &Server, arguments: &[&str]) -> String {
    let mut command = curl();
    command
        .args(["-o", "/dev/null", "-w", "%{http_code}"])
        .args(arguments)
        .arg(server.http("/"));
    run(&mut command, PATIENCE).success()
}

/// An upstream is told by which version each request came, and through whom; a route cannot take that away.
#[test]
fn upstreams_are_told_the_way() {
    let port = free_port();
    let _nginx = Proxy::nginx(
        port,
        &format!(
            "http {{ server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"$http_via\"; }} }} }}"
        ),
    );
    let server = server(0, local(port), "");
    let told = |headers: &[(&str, &str)]| {
        let answer = request(server.address("http"), "GET", "/", headers);
        answer.expect("an answer").text()
    };
    let own = told(&[]);
    let name = own.strip_prefix("1.1 ").expect("by HTTP/1.1").to_owned();
    assert!(name.starts_with("pingora-live-"), "{own}");
    assert_eq!(
        told(&[("Via", "1.0 fred"), ("Via", "1.1 p.example")]),
        format!("1.0 fred, 1.1 p.example, 1.1 {name}")
    );
    let by_h2 = run(
        curl().args(["--http2-prior-knowledge", &server.http("/")]),
        PATIENCE,
    );
    assert_eq!(by_h2.success(), format!("2 {name}"));
}
