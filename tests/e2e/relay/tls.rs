//! Pulls and pushes over TLS: who is trusted, and what is said of who is not.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::super::support::certs::{Authority, Certificate, make, make_leaf};
use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::{AUDIO, Flv, Tag, VIDEO, assert_run_of};
use super::super::support::player::Player;
use super::super::support::programs::{ffmpeg_current, publish_loop};
use super::super::support::proxies::{Proxy, free_port};
use super::super::support::server::Server;
use super::super::support::{PATIENCE, fixtures, http, wait_for};
use super::{edge_of, lines};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A server whose RTMPS has one certificate, and whose HTTPS has another for those who do not name that one.
fn secure(own: &Certificate, other: &Certificate, http2: &str) -> Server {
    let pair = |c: &Certificate| format!("cert: {}, key: {}", c.cert.display(), c.key.display());
    Server::start(&format!(
        "rtmp: {{ listen: [\"127.0.0.1:0\"], tls: {{ listen: [\"127.0.0.1:0\"], {} }} }}\n\
         https: {{ listen: [\"127.0.0.1:0\"], http2: {http2}, certs: [{{ {} }}, {{ {}, names: [localhost] }}] }}\n",
        pair(own),
        pair(other),
        pair(own),
    ))
}

fn plan() -> Plan {
    Plan::of(&fixtures::h264_aac())
}

/// An edge of `localhost`, by one of the protocols over TLS.
fn edge(server: &Server, protocol: &str, more: &str) -> Server {
    edge_by("localhost", server, protocol, more)
}

fn edge_by(host: &str, server: &Server, protocol: &str, more: &str) -> Server {
    let kind = if protocol == "rtmps" {
        "rtmps"
    } else {
        "https"
    };
    let port = server.address(kind).port();
    let origin = format!("{host}:{port}");
    Server::start(&format!(
        "{}    play: {{ wait: 1s }}\n",
        edge_of(&[origin], &format!("protocol: {protocol}, stall: 1s{more}"))
    ))
}

fn trusting(ca: &Path) -> String {
    format!(", tls_ca: {}", ca.display())
}

/// What a player at the edge has is what was published, to the byte.
#[track_caller]
fn same(edge: &Server, path: &str, feed: &Feed) {
    let player = Player::open(edge, path);
    let flv = player.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() > 50);
    let sent = feed.sent();
    for kind in [VIDEO, AUDIO] {
        let sent: Vec<&Tag> = sent
            .iter()
            .filter(|tag| tag.kind == kind && tag.is_coded())
            .collect();
        assert_run_of(&flv.frames(kind), &sent);
    }
}

/// RTMPS, and HTTPS-FLV over HTTP/2 and HTTP/1.1; certificates checked, by an authority of our own and by the name in `origin`, which
/// is asked for (the HTTPS listener has another certificate for who asks for none).
#[test]
fn pulls_over_tls() {
    let folder = folder();
    let authority = Authority::make(folder.path());
    let own = authority.sign(folder.path(), "localhost");
    let other = authority.sign(folder.path(), "other.example");
    for (protocol, http2, seen) in [
        ("rtmps", "on", "protocol=\"rtmp\""),
        ("flvs", "on", "protocol=\"http2\""),
        ("flvs", "off", "protocol=\"http1\""),
    ] {
        let origin = secure(&own, &other, http2);
        let feed = Feed::start(&origin, "live", "x", plan());
        let edge = edge(
            &origin,
            protocol,
            &format!("{}, idle: 0s", trusting(authority.cert())),
        );
        same(&edge, "/live/x.flv", &feed);
        // What it came by is said when it is over.
        wait_for(&format!("{protocol}: {seen}"), PATIENCE, || {
            (lines(&origin, &["play ended", seen]) == 1).then_some(())
        });
        let kind = if protocol == "rtmps" {
            "rtmps"
        } else {
            "https"
        };
        wait_for("the connection is closed", PATIENCE, || {
            (origin.connections(kind) == 0).then_some(())
        });
    }
}

/// Who is not trusted gives no stream: the log says why and by which key, and players get 502.
#[test]
fn who_is_not_trusted_is_not_asked() {
    let folder = folder();
    let authority = Authority::make(folder.path());
    // The subject is nobody whom the system knows, and the addresses are those of this machine.
    let leaf = make_leaf(folder.path(), "origin.example");
    let signing = make(folder.path(), "signing.example");
    let wrong = authority.sign(folder.path(), "wrong.example");
    let refused = |server: &Server, host: &str, more: &str, said: &[&str]| {
        for protocol in ["rtmps", "flvs"] {
            let edge = edge_by(host, server, protocol, more);
            let answer = http::get(edge.address("http"), "/live/x.flv");
            assert_eq!(answer.status, 502, "{protocol}");
            for said in said {
                let no_tls = format!("no TLS with {host}");
                assert!(lines(&edge, &[&no_tls, said]) > 0, "{protocol}: {said}");
            }
        }
    };
    let by_itself = secure(&leaf, &leaf, "on");
    let _feed = Feed::start(&by_itself, "live", "x", plan());
    let unknown = ["UnknownIssuer", "tls_ca"];
    refused(&by_itself, "127.0.0.1", "", &unknown);
    let ca = trusting(authority.cert());
    refused(&by_itself, "127.0.0.1", &ca, &unknown);
    // Its own certificate can be trusted, or none be checked.
    for more in [trusting(&leaf.cert), ", tls_verify: off".to_owned()] {
        for protocol in ["rtmps", "flvs"] {
            let edge = edge_by("127.0.0.1", &by_itself, protocol, &more);
            let player = Player::open(&edge, "/live/x.flv");
            player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
        }
    }
    // One that is for another name, and one that may sign others.
    let misnamed = secure(&wrong, &wrong, "on");
    refused(&misnamed, "localhost", &ca, &["wrong.example"]);
    let by_signing = secure(&signing, &signing, "on");
    let ca = trusting(&signing.cert);
    refused(&by_signing, "127.0.0.1", &ca, &["CA:TRUE"]);
}

/// The certificates of the system are trusted unless others are named; `SSL_CERT_FILE` says which they are.
#[test]
fn the_systems_certificates_are_trusted() {
    let folder = folder();
    let authority = Authority::make(folder.path());
    let own = authority.sign(folder.path(), "127.0.0.1");
    let origin = secure(&own, &own, "on");
    let _feed = Feed::start(&origin, "live", "x", plan());
    for (protocol, kind) in [("rtmps", "rtmps"), ("flvs", "https")] {
        let origin = origin.address(kind).to_string();
        let edge = Server::start_with(
            &edge_of(&[origin], &format!("protocol: {protocol}")),
            "grace_period_seconds: 2\n",
            &[],
            &[("SSL_CERT_FILE", &authority.cert().display().to_string())],
        );
        let player = Player::open(&edge, "/live/x.flv");
        player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    }
}

/// The file of `tls_ca` is looked at when the configuration is.
#[test]
fn a_file_without_certificates_is_a_mistake() {
    let folder = folder();
    let file = folder.path().join("empty.crt");
    std::fs::write(&file, "").expect("a file");
    let config = super::super::support::server::write_config(
        folder.path(),
        &edge_of(
            &["a.example".to_owned()],
            &format!("protocol: flvs, tls_ca: {}", file.display()),
        ),
        "",
    );
    let mut command = super::super::support::server::command();
    command.arg("-t").arg("-c").arg(config);
    let output = super::super::support::programs::run(&mut command, PATIENCE);
    assert!(!output.status.success());
    let key = "live.vhosts.__defaultVhost__.cluster.tls_ca";
    assert!(output.stderr.contains(key), "{}", output.stderr);
}

/// What is published at an edge goes on to its origin over RTMPS.
#[test]
fn a_publish_at_an_edge_over_rtmps() {
    let folder = folder();
    let authority = Authority::make(folder.path());
    let own = authority.sign(folder.path(), "localhost");
    let origin = secure(&own, &own, "on");
    let edge = edge(&origin, "rtmps", &trusting(authority.cert()));
    let feed = Feed::start(&edge, "live", "x", plan());
    same(&origin, "/live/x.flv", &feed);
    assert_eq!(origin.connections("rtmp"), 0);
}

/// HTTP/2 without TLS, to a server that speaks nothing else: nginx's, of the time when it did not tell them apart.
#[test]
fn a_pull_over_h2c() {
    let origin = Server::start("");
    let feed = Feed::start(&origin, "live", "x", plan());
    let port = free_port();
    let _nginx = Proxy::nginx(
        port,
        &format!(
            "http {{ access_log access.log; server {{ listen 127.0.0.1:{port} http2;\n\
             location / {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_buffering off; }} }} }}",
            origin.address("http")
        ),
    );
    let more = "protocol: flv, h2c: on";
    let edge = Server::start(&edge_of(&[format!("127.0.0.1:{port}")], more));
    same(&edge, "/live/x.flv", &feed);
    // And to ours, which tells them apart.
    let edge = Server::start(&edge_of(
        &[origin.address("http").to_string()],
        &format!("{more}, idle: 0s"),
    ));
    same(&edge, "/live/x.flv", &feed);
    wait_for("the pull was over HTTP/2", PATIENCE, || {
        (lines(&origin, &["play ended", "protocol=\"http2\""]) == 1).then_some(())
    });
}

/// Pushed over RTMPS, and of Enhanced RTMP: HEVC, AV1 and Opus of the current ffmpeg arrive as they were published.
#[test]
fn pushes_over_rtmps_with_enhanced_codecs() {
    let folder = folder();
    let authority = Authority::make(folder.path());
    let own = authority.sign(folder.path(), "localhost");
    let target = secure(&own, &own, "on");
    let forward = |more: &str| {
        format!(
            "vhosts:\n  __defaultVhost__:\n    forward: {{ enabled: on, destination: \"rtmps://localhost:{}/copy/[stream]\"{more} }}\n",
            target.address("rtmps").port()
        )
    };
    let server = Server::start(&forward(&trusting(authority.cert())));
    for (name, fixture) in [
        ("hevc", fixtures::hevc_aac()),
        ("av1", fixtures::av1_opus()),
    ] {
        let _job = publish_loop(
            ffmpeg_current(),
            &fixture,
            &server.rtmp(&format!("live/{name}")),
        );
        let player = Player::open(&target, &format!("/copy/{name}.flv"));
        let flv = player.wait("two seconds", PATIENCE, |flv| {
            flv.frames(VIDEO).len() > 50 && flv.frames(AUDIO).len() > 50
        });
        let sent = Flv::read(&std::fs::read(&fixture).expect("a fixture")).expect("FLV");
        for kind in [VIDEO, AUDIO] {
            let round = sent.frames(kind);
            let rounds: Vec<&Tag> = round
                .iter()
                .cycle()
                .take(3 * round.len())
                .copied()
                .collect();
            assert_run_of(&flv.frames(kind), &rounds);
            assert!(flv.header(kind).is_some(), "{name}: a sequence header");
        }
    }
    let distrustful = Server::start(&forward(""));
    let feed = Feed::start(&distrustful, "live", "x", plan());
    let said = ["forward failed", "no TLS with localhost", "tls_ca"];
    distrustful.wait_log(&said, PATIENCE);
    assert!(feed.is_running(), "the publisher does not notice");
    let near = Player::open(&distrustful, "/live/x.flv");
    near.wait_more(30, Duration::from_secs(10));
}
