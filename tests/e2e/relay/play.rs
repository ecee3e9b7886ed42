//! Playing at an edge.

use std::time::{Duration, Instant};

use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::{AUDIO, Tag, VIDEO, assert_run_of};
use super::super::support::player::{End, Player};
use super::super::support::programs::run;
use super::super::support::server::{Server, command};
use super::super::support::{PATIENCE, fixtures, http, wait_for};
use super::{edge_of, http_of, lines, rtmp_of};

/// Two edges, one by RTMP and one by HTTP-FLV, with 50 players each: one pull an edge, and each player has what was published, to the
/// byte. The pull ends when the players are gone.
#[test]
fn two_edges_with_fifty_players_each() {
    let origin = Server::start("");
    let by_rtmp = Server::start(&edge_of(&[rtmp_of(&origin)], "idle: 1s"));
    let by_flv = Server::start(&edge_of(&[http_of(&origin)], "protocol: flv, idle: 1s"));
    let feed = Feed::start(&origin, "live", "x", Plan::of(&fixtures::h264_aac()));
    origin.wait_stream("/live/x.flv");
    let players: Vec<Player> = [&by_rtmp, &by_flv]
        .into_iter()
        .flat_map(|edge| (0..50).map(|_| Player::open(edge, "/live/x.flv")))
        .collect();
    let plays: Vec<_> = players
        .iter()
        .map(|player| {
            player.wait("three seconds", PATIENCE, |flv| {
                flv.frames(VIDEO).len() > 75 && flv.frames(AUDIO).len() > 100
            })
        })
        .collect();
    assert_eq!(lines(&by_rtmp, &["publish started"]), 1, "one pull");
    assert_eq!(lines(&by_flv, &["publish started"]), 1, "one pull");
    assert_eq!(origin.connections("http"), 1, "one pull by HTTP");
    assert_eq!(origin.connections("rtmp"), 2, "the publisher, and a pull");
    let sent = feed.sent();
    for flv in &plays {
        for kind in [VIDEO, AUDIO] {
            let sent: Vec<&Tag> = sent
                .iter()
                .filter(|tag| tag.kind == kind && tag.is_coded())
                .collect();
            assert_run_of(&flv.frames(kind), &sent);
            assert!(flv.header(kind).is_some(), "a sequence header");
        }
    }
    // All players of an edge were given the same bytes.
    for half in plays.chunks(50) {
        let last = half
            .iter()
            .map(|flv| flv.frames(VIDEO)[0].dts)
            .max()
            .expect("players");
        let tags = |flv: &super::super::support::flv::Flv| -> Vec<Tag> {
            let frames = flv.frames(VIDEO).into_iter();
            frames
                .filter(|tag| tag.dts >= last)
                .take(25)
                .cloned()
                .collect()
        };
        let first = tags(&half[0]);
        assert!(!first.is_empty());
        for flv in half {
            let own = tags(flv);
            let common = own.len().min(first.len());
            assert_eq!(own[..common], first[..common]);
        }
    }
    drop(players);
    wait_for("the pulls end", PATIENCE, || {
        (origin.connections("http") == 0 && origin.connections("rtmp") == 1).then_some(())
    });
    by_rtmp.wait_log(&["publish ended", "idle"], PATIENCE);
}

/// Each format and protocol at the edge, whatever the pull's.
#[test]
fn an_edge_gives_every_format() {
    let origin = Server::start("");
    let edge = Server::start(&edge_of(&[rtmp_of(&origin)], ""));
    let _feed = Feed::start(&origin, "live", "x", Plan::of(&fixtures::h264_aac()));
    for path in ["/live/x.ts", "/live/x.aac", "/live/x.flv"] {
        let response = http::get(edge.address("http"), path);
        assert_eq!(response.status, 200, "{path}");
    }
    let mut client =
        super::super::support::rtmp::Client::connect(edge.address("rtmp"), "live").expect("RTMP");
    assert_eq!(
        client.play("x").expect("an answer").0,
        "NetStream.Play.Start"
    );
}

/// A chain of three: the stream goes through, and each hop adds little. The latencies are printed.
#[test]
fn a_chain_of_three() {
    let origin = Server::start("");
    let middle = Server::start(&edge_of(&[rtmp_of(&origin)], ""));
    let last = Server::start(&edge_of(&[http_of(&middle)], "protocol: flv"));
    let _feed = Feed::start(&origin, "live", "x", Plan::of(&fixtures::h264_aac()));
    let players: Vec<Player> = [&origin, &middle, &last]
        .map(|server| Player::open(server, "/live/x.flv"))
        .into();
    for player in &players {
        player.wait("five seconds", PATIENCE, |flv| {
            flv.frames(VIDEO).len() > 125
        });
    }
    // When each frame came, by what it holds: at the same moment in all, but for what the hop takes.
    let arrivals = |player: &Player| -> Vec<(Vec<u8>, u32, Instant)> {
        let flv = player.flv();
        let tags = flv.tags.iter().enumerate();
        tags.filter(|(_, tag)| tag.kind == VIDEO && tag.is_coded())
            .map(|(n, tag)| {
                (
                    tag.body.clone(),
                    tag.dts,
                    player.arrival(n).expect("it came"),
                )
            })
            .collect()
    };
    let first = arrivals(&players[0]);
    for (name, player) in [("one hop", &players[1]), ("two hops", &players[2])] {
        let mut delays: Vec<Duration> = arrivals(player)
            .iter()
            .rev()
            .take(50)
            .filter_map(|(body, _, came)| {
                let same = first.iter().rev().find(|(known, ..)| known == body)?;
                Some(came.saturating_duration_since(same.2))
            })
            .collect();
        delays.sort();
        assert!(delays.len() > 20, "{name}: the same frames are found");
        let p50 = delays[delays.len() / 2];
        let worst = delays[delays.len() - 1];
        println!("latency after {name}: p50 {p50:?}, worst of 50 {worst:?}");
        assert!(p50 < Duration::from_millis(250), "{name}: {p50:?}");
    }
}

/// What the origin says of a stream, its edge says, at once.
#[test]
fn the_origins_word_is_passed_on() {
    let origin = Server::start(
        "vhosts:\n  __defaultVhost__:\n    play: { on_missing: 404 }\n\
         \x20   security: { enabled: on, seal: [deny play all] }\n\
         \x20 open.example:\n    play: { on_missing: 404 }\n",
    );
    for (protocol, address) in [("rtmp", rtmp_of(&origin)), ("flv", http_of(&origin))] {
        let denied = Server::start(&edge_of(
            std::slice::from_ref(&address),
            &format!("protocol: {protocol}"),
        ));
        let missing = Server::start(&edge_of(
            &[address],
            &format!("protocol: {protocol}, vhost: open.example"),
        ));
        for (edge, status) in [(&denied, 403), (&missing, 404)] {
            let since = Instant::now();
            let answer = http::get(edge.address("http"), "/live/x.flv");
            assert_eq!(answer.status, status, "{protocol}");
            assert!(
                since.elapsed() < Duration::from_secs(3),
                "{protocol} {status}: {:?}",
                since.elapsed()
            );
        }
    }
}

/// Redirects are followed, three at most; other statuses are passed on.
#[test]
fn redirects_of_http_origins() {
    let origin = Server::start("");
    let _feed = Feed::start(&origin, "live", "x", Plan::of(&fixtures::h264_aac()));
    origin.wait_stream("/live/x.flv");
    let port = super::super::support::proxies::free_port();
    let nginx = super::super::support::proxies::Proxy::nginx(
        port,
        &format!(
            "http {{ server {{ listen 127.0.0.1:{port};\n\
             location /live/x.flv {{ return 302 /second$is_args$args; }}\n\
             location /second {{ return 302 http://127.0.0.1:{port}/third$is_args$args; }}\n\
             location /third {{ return 302 http://{}/live/x.flv$is_args$args; }}\n\
             location /live/round.flv {{ return 302 /live/round.flv; }}\n\
             location /live/closed.flv {{ return 401; }}\n\
             location /live/gone.flv {{ return 404; }}\n\
             location /live/broken.flv {{ return 500; }} }} }}",
            http_of(&origin)
        ),
    );
    let edge = Server::start(&edge_of(
        &[format!("127.0.0.1:{port}")],
        "protocol: flv, retry: 100ms",
    ));
    let player = Player::open(&edge, "/live/x.flv?token=secret");
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);
    for (path, status) in [
        ("/live/closed.flv", 401),
        ("/live/gone.flv", 404),
        ("/live/broken.flv", 502),
        ("/live/round.flv", 502),
    ] {
        assert_eq!(
            http::get(edge.address("http"), path).status,
            status,
            "{path}"
        );
    }
    assert!(!edge.log().contains("secret"), "tokens stay out of the log");
    drop(nginx);
}

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// The query goes to the origin, whose word on it is passed on; with `token_traverse`, it judges each player.
#[test]
fn tokens_are_the_origins_to_judge() {
    let origin = Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    tokens: {{ play: {{ enabled: on, keys: [{{ key: {KEY} }}] }} }}\n"
    ));
    let _feed = Feed::start(&origin, "live", "x", Plan::of(&fixtures::h264_aac()));
    let signed = |edge: &Server| {
        let mut command = command();
        command.args([
            "sign",
            &edge.http("/live/x.flv"),
            "--key",
            KEY,
            "--expires",
            "1h",
        ]);
        let url = run(&mut command, PATIENCE).success();
        let rest = url.trim().split_once("://").expect("a URL").1;
        rest[rest.find('/').expect("a path")..].to_owned()
    };
    for (protocol, address) in [("rtmp", rtmp_of(&origin)), ("flv", http_of(&origin))] {
        for (traverse, after) in [("off", 200), ("on", 401)] {
            let more = format!("protocol: {protocol}, token_traverse: {traverse}");
            let edge = Server::start(&edge_of(std::slice::from_ref(&address), &more));
            let status = |path: &str| http::get(edge.address("http"), path).status;
            assert_eq!(status("/live/x.flv"), 401, "{more}: nobody is there yet");
            let player = Player::open(&edge, &signed(&edge));
            player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);
            assert_eq!(status("/live/x.flv"), after, "{more}: another plays");
            assert_eq!(status(&signed(&edge)), 200, "{more}");
        }
    }
}

/// When the publisher leaves the origin, the players of its edges are not held a second time.
#[test]
fn a_stream_that_ends_at_the_origin_ends_at_the_edge() {
    let origin = Server::start(
        "vhosts:\n  __defaultVhost__:\n    play: { on_missing: 404 }\n    publish: { republish_wait: 1s }\n",
    );
    for (protocol, address) in [("rtmp", rtmp_of(&origin)), ("flv", http_of(&origin))] {
        let edge = Server::start(&edge_of(&[address], &format!("protocol: {protocol}")));
        let feed = Feed::start(&origin, "live", protocol, Plan::of(&fixtures::h264_aac()));
        let player = Player::open(&edge, &format!("/live/{protocol}.flv"));
        player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);
        let since = Instant::now();
        feed.finish();
        assert_eq!(player.wait_end(PATIENCE), End::Proper);
        assert!(
            since.elapsed() < Duration::from_secs(8),
            "{:?}",
            since.elapsed()
        );
    }
}
