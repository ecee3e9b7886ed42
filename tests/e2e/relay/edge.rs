//! What an edge gives to whom: formats and protocols, tokens, vhosts, the time that a pull outlives its players, and what is counted.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::{AUDIO, Parser, VIDEO};
use super::super::support::player::Player;
use super::super::support::programs::{curl, run};
use super::super::support::proxies::free_port;
use super::super::support::rtmp::Client;
use super::super::support::server::{Server, command};
use super::super::support::websocket::Client as WebSocket;
use super::super::support::{PATIENCE, certs, fixtures, http, wait_for};
use super::{edge_of, http_of, lines, rtmp_of};

fn plan() -> Plan {
    Plan::of(&fixtures::h264_aac())
}

/// The value of a metric.
fn metric(server: &Server, name: &str) -> u64 {
    let text = http::get(server.address("api"), "/metrics").text();
    let named = |line: &&str| line.split(' ').next() == Some(name);
    let line = text.lines().find(named);
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.and_then(|value| value.parse().ok()).expect(name)
}

/// The codecs that ffprobe finds.
#[track_caller]
fn codecs(url: &str) -> String {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-show_entries", "stream=codec_name"]);
    ffprobe.args(["-of", "csv=p=0", url]);
    run(&mut ffprobe, PATIENCE).success()
}

/// FLV with pictures and sound, from its beginning.
#[track_caller]
fn is_flv(bytes: &[u8], what: &str) {
    let mut parser = Parser::default();
    parser.feed(bytes).expect(what);
    let first = parser
        .flv
        .frames(VIDEO)
        .first()
        .map(|tag| tag.is_keyframe());
    assert_eq!(first, Some(true), "{what}");
    assert!(!parser.flv.frames(AUDIO).is_empty(), "{what}");
}

/// Each output of an edge, by each protocol of its pull: all from one pull.
#[test]
fn every_output_by_every_pull() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = certs::make(folder.path(), "origin.example");
    let (cert, key) = (&made.cert, &made.key);
    let origin = Server::start(&format!(
        "https: {{ listen: [\"127.0.0.1:0\"], certs: [{{ cert: {cert:?}, key: {key:?} }}] }}\n\
         rtmp: {{ listen: [\"127.0.0.1:0\"], tls: {{ listen: [\"127.0.0.1:0\"], cert: {cert:?}, key: {key:?} }} }}\n"
    ));
    let _feed = Feed::start(&origin, "live", "x", plan());
    origin.wait_stream("/live/x.flv");
    for (protocol, listener) in [
        ("rtmp", "rtmp"),
        ("rtmps", "rtmps"),
        ("flv", "http"),
        ("flvs", "https"),
    ] {
        let address = origin.address(listener).to_string();
        let more = format!("protocol: {protocol}, tls_verify: off, idle: 30s");
        let edge = Server::start(&edge_of(&[address], &more));
        let http = edge.address("http");
        for (path, expected) in [
            ("/live/x.flv", &["h264", "aac"][..]),
            ("/live/x.ts", &["h264", "aac"]),
            ("/live/x.aac", &["aac"]),
            ("/live/x.mp3", &["mp3"]),
        ] {
            let found = codecs(&edge.http(path));
            for codec in expected {
                assert!(found.contains(codec), "{protocol} {path}: {found}");
            }
        }
        let found = codecs(&edge.rtmp("live/x"));
        assert!(
            found.contains("h264") && found.contains("aac"),
            "{protocol} RTMP: {found}"
        );
        for version in ["--http1.0", "--http2-prior-knowledge"] {
            let url = edge.http("/live/x.flv");
            let came = run(curl().args([version, "--max-time", "3", &url]), PATIENCE);
            is_flv(&came.stdout, &format!("{protocol} {version}"));
        }
        let mut socket = WebSocket::open(http, "/live/x.flv");
        let mut came = Vec::new();
        while came.len() < 50_000 {
            let (opcode, payload) = socket.frame();
            assert_eq!(opcode, 2, "{protocol}: a binary message");
            came.extend(payload);
        }
        is_flv(&came, &format!("{protocol} WebSocket"));
        assert_eq!(metric(&edge, "pingora_live_pulls_total"), 1, "{protocol}");
        assert_eq!(lines(&edge, &["publish started"]), 1, "{protocol}");
    }
}

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// What a client of each protocol is told: 200 for one that plays.
fn told(edge: &Server, query: &str) -> Vec<(&'static str, String)> {
    let http = edge.address("http");
    let mut told = Vec::new();
    for (name, path) in [
        ("flv", "/live/x.flv"),
        ("ts", "/live/x.ts"),
        ("aac", "/live/x.aac"),
        ("mp3", "/live/x.mp3"),
    ] {
        let status = http::get(http, &format!("{path}?{query}")).status;
        told.push((name, status.to_string()));
    }
    let headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let path = format!("/live/x.flv?{query}");
    let answer = http::request(http, "GET", &path, &headers).expect("an answer");
    told.push(("websocket", answer.status.to_string()));
    let mut curl = curl();
    curl.args(["--http2-prior-knowledge", "--max-time", "2"]);
    curl.args(["-o", "/dev/null", "-w", "%{http_code}", &edge.http(&path)]);
    let by_h2 = String::from_utf8_lossy(&run(&mut curl, PATIENCE).stdout).into_owned();
    told.push(("http2", by_h2));
    let mut client = Client::connect(edge.address("rtmp"), "live").expect("RTMP");
    told.push((
        "rtmp",
        client.play(&format!("x?{query}")).expect("an answer").0,
    ));
    told
}

/// With `token_traverse`, the origin judges each player, whatever it speaks, and whatever the pull speaks.
#[test]
fn the_origin_judges_players_of_every_protocol() {
    let origin = Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    tokens: {{ play: {{ enabled: on, keys: [{{ key: {KEY} }}] }} }}\n"
    ));
    let _feed = Feed::start(&origin, "live", "x", plan());
    for (protocol, address) in [("rtmp", rtmp_of(&origin)), ("flv", http_of(&origin))] {
        let more = format!("protocol: {protocol}, token_traverse: on");
        let edge = Server::start(&edge_of(&[address], &more));
        let mut sign = command();
        sign.args(["sign", &edge.http("/live/x.flv"), "--key", KEY]);
        let url = run(sign.args(["--expires", "1h"]), PATIENCE).success();
        let query = url.trim().split_once('?').expect("a query").1;
        let player = Player::open(&edge, &format!("/live/x.flv?{query}"));
        player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);
        for (query, plays) in [(query, true), ("", false), ("sig=x&expires=1&kid=1", false)] {
            for (kind, said) in told(&edge, query) {
                let expected = match (kind, plays) {
                    ("rtmp", true) => "NetStream.Play.Start",
                    ("rtmp", false) => "NetStream.Play.Failed",
                    ("websocket", true) => "101",
                    (_, true) => "200",
                    // A signature that is none is 403, none at all is 401.
                    (_, false) if query.is_empty() => "401",
                    (_, false) => "403",
                };
                assert_eq!(said, expected, "{protocol}, {kind}, {query:?}");
            }
        }
        assert_eq!(
            lines(&edge, &["publish started"]),
            1,
            "{protocol}: one pull"
        );
    }
}

/// A pull outlives its last player by `idle`: who comes back in time finds it, and it ends after that, or at once with 0.
#[test]
fn a_pull_waits_for_players_as_long_as_it_is_told() {
    let origin = Server::start("");
    let _feed = Feed::start(&origin, "live", "x", plan());
    for protocol in ["rtmp", "flv"] {
        let address = match protocol {
            "rtmp" => rtmp_of(&origin),
            _ => http_of(&origin),
        };
        let start = |idle: &str| {
            let more = format!("protocol: {protocol}, idle: {idle}");
            Server::start(&edge_of(std::slice::from_ref(&address), &more))
        };
        let play = |edge: &Server| {
            let player = Player::open(edge, "/live/x.flv");
            player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
        };
        let edge = start("4s");
        play(&edge);
        std::thread::sleep(Duration::from_secs(1));
        play(&edge);
        let left = Instant::now();
        let pulls = "pingora_live_pulls_running";
        wait_for("the pull ends", PATIENCE, || {
            (metric(&edge, pulls) == 0).then_some(())
        });
        assert!(
            left.elapsed() > Duration::from_secs(3),
            "{:?}",
            left.elapsed()
        );
        assert_eq!(metric(&edge, "pingora_live_pulls_total"), 1);
        edge.wait_log(
            &["publish ended", "reason=\"idle\"", "video_frames="],
            PATIENCE,
        );
        assert_eq!(
            lines(&edge, &["publish ended", "bytes=0"]),
            0,
            "{}",
            edge.log()
        );
        // And a new one, for who comes later.
        play(&edge);
        assert_eq!(metric(&edge, "pingora_live_pulls_total"), 2);

        let edge = start("0s");
        play(&edge);
        let left = Instant::now();
        wait_for("the pull ends", PATIENCE, || {
            (metric(&edge, pulls) == 0).then_some(())
        });
        assert!(
            left.elapsed() < Duration::from_secs(3),
            "{:?}",
            left.elapsed()
        );
    }
}

/// Players that come and go while the pull ends all the time: each gets the stream, or none would.
#[test]
fn players_come_while_a_pull_ends() {
    let origin = Server::start("");
    let _feed = Feed::start(&origin, "live", "x", plan());
    origin.wait_stream("/live/x.flv");
    let edge = Server::start(&edge_of(&[rtmp_of(&origin)], "idle: 0s"));
    let edge = &edge;
    std::thread::scope(|scope| {
        for crew in 0..4 {
            scope.spawn(move || {
                for round in 0..15 {
                    let player = Player::open(edge, "/live/x.flv");
                    player.wait(&format!("frames, {crew} {round}"), PATIENCE, |flv| {
                        flv.frames(VIDEO).len() > 2
                    });
                    drop(player);
                    // The pull looks for players ten times a second.
                    std::thread::sleep(Duration::from_millis(70 + 13 * round));
                }
            });
        }
    });
    assert!(metric(edge, "pingora_live_pulls_total") > 1, "pulls ended");
}

/// `[vhost]` and what stands in its place, by RTMP and by HTTP, for players and publishers.
#[test]
fn the_vhost_that_is_asked_of_the_origin() {
    let origin = Server::start(
        "vhosts:\n  __defaultVhost__: {}\n  a.example: {}\n  b.example: {}\n  own-a.example: {}\n",
    );
    let publish = |vhost: &str, name: &str| {
        let address = origin.address("rtmp");
        let feed = Feed::start_as(
            address,
            "live",
            &format!("rtmp://{vhost}/live"),
            name,
            plan(),
        );
        wait_for("it is there", PATIENCE, || {
            plays(origin.address("http"), vhost, name).then_some(())
        });
        feed
    };
    let _feeds = [
        publish("a.example", "of-a"),
        publish("b.example", "of-b"),
        publish("own-a.example", "own"),
        publish("__defaultVhost__", "of-none"),
    ];
    for (protocol, address) in [("rtmp", rtmp_of(&origin)), ("flv", http_of(&origin))] {
        for (vhost, asked, has, lacks) in [
            ("a.example", "[vhost]", "of-a", "of-b"),
            ("a.example", "b.example", "of-b", "of-a"),
            ("a.example", "own-[vhost]", "own", "of-a"),
            ("__defaultVhost__", "[vhost]", "of-none", "of-a"),
            ("__defaultVhost__", "b.example", "of-b", "of-none"),
        ] {
            let what = format!("{protocol}, {vhost} asks {asked}");
            let edge = Server::start(&format!(
                "vhosts:\n  {vhost}:\n    play: {{ wait: 1s }}\n    cluster: {{ mode: remote, origin: [\"{address}\"], protocol: {protocol}, vhost: \"{asked}\", stall: 1s }}\n"
            ));
            let http = edge.address("http");
            assert!(plays(http, vhost, has), "{what}: {has}");
            assert!(!plays(http, vhost, lacks), "{what}: {lacks}");
            let tc_url = format!("rtmp://{vhost}/live");
            let name = format!("up-{protocol}");
            let up = Feed::start_as(edge.address("rtmp"), "live", &tc_url, &name, plan());
            let there = asked.replace("[vhost]", vhost);
            wait_for(&what, PATIENCE, || {
                plays(origin.address("http"), &there, &name).then_some(())
            });
            up.finish();
            wait_for("the origin sees the end", PATIENCE, || {
                let metric = metric(&origin, "pingora_live_pulls_running");
                (metric == 0 && !is_published(&origin, &name)).then_some(())
            });
        }
    }
}

/// Whether the API tells of a publisher of that stream.
fn is_published(server: &Server, name: &str) -> bool {
    let clients = http::get(server.address("api"), "/api/v1/live/clients?count=1000").text();
    let clients: serde_json::Value = serde_json::from_str(&clients).expect("JSON");
    let all = clients["clients"].as_array().expect("clients");
    all.iter()
        .any(|client| client["action"] == "publish" && client.to_string().contains(name))
}

fn plays(address: SocketAddr, vhost: &str, name: &str) -> bool {
    let host = match vhost {
        "__defaultVhost__" => "nobody.example",
        vhost => vhost,
    };
    let path = format!("/live/{name}.flv");
    http::request(address, "GET", &path, &[("Host", host)]).is_ok_and(|answer| answer.status == 200)
}

/// What an edge counts while its origins come and go.
#[test]
fn an_edge_counts() {
    let mut origins = vec![Server::start(""), Server::start("")];
    let addresses = [rtmp_of(&origins[0]), rtmp_of(&origins[1])];
    let _feeds: Vec<Feed> = origins
        .iter()
        .map(|origin| Feed::start(origin, "live", "x", plan()))
        .collect();
    let edge = Server::start(&edge_of(&addresses, "retry: 300ms"));
    let count = |name: &str| metric(&edge, &format!("pingora_live_{name}"));
    let player = Player::open(&edge, "/live/x.flv");
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);
    assert_eq!((count("pulls_running"), count("pulls_total")), (1, 1));
    assert_eq!(
        (count("origins_lost_total"), count("failovers_total")),
        (0, 0)
    );
    let pulled = edge.wait_log(&["publish started"], PATIENCE);
    let at = addresses
        .iter()
        .position(|address| pulled.contains(address));
    drop(origins.remove(at.expect("one of them")));
    player.wait_more(50, PATIENCE);
    wait_for("a failover is counted", PATIENCE, || {
        ((count("origins_lost_total"), count("failovers_total")) == (1, 1)).then_some(())
    });
    assert_eq!(count("pulls_total"), 1, "the pull is the same");
    let up = Feed::start(&edge, "live", "up", plan());
    wait_for("the push is counted", PATIENCE, || {
        ((count("pushes_running"), count("pushes_total")) == (1, 1)).then_some(())
    });
    origins.clear();
    wait_for("all is lost", PATIENCE, || {
        (count("pushes_failed_total") > 0 && count("pulls_failed_total") > 0).then_some(())
    });
    wait_for("the publisher is ended", PATIENCE, || {
        (!up.is_running()).then_some(())
    });
    wait_for("the push ends", PATIENCE, || {
        (count("pushes_running") == 0).then_some(())
    });
    // Nobody answers at all.
    let alone = Server::start(&edge_of(&[format!("127.0.0.1:{}", free_port())], ""));
    let mut client = Client::connect(alone.address("rtmp"), "live").expect("RTMP");
    let code = client.publish("y").expect("an answer");
    assert_eq!(code, "NetStream.Publish.Denied");
    assert_eq!(metric(&alone, "pingora_live_pushes_total"), 0);
}
