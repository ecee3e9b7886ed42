//! Players of a node whose stream is taken by another: with `on_elsewhere: pull` they stay, and go on with what the other node has.

mod edge;
mod forward;
mod orders;

use std::time::{Duration, Instant};

use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, Flv, Tag, VIDEO, assert_continuous};
use super::support::player::{End, Player};
use super::support::programs::{self, Job};
use super::support::redis::Redis;
use super::support::rtmp::Client;
use super::support::server::{Server, command};
use super::support::{PATIENCE, fixtures, http, wait_for};

/// The longest gap that a player may see: from the old publisher's end to the new one's first keyframe, on a busy machine.
const GAP: Duration = Duration::from_secs(4);

/// A node of that name, whose vhost has `more`; a newcomer takes the stream.
fn node(redis: &Redis, name: &str, more: &str) -> Server {
    node_with(redis, name, "kick", more)
}

fn node_with(redis: &Redis, name: &str, on_busy: &str, more: &str) -> Server {
    let server = Server::start(&format!(
        "registry: {{ redis: \"{}\", ttl: 2s, timeout: 500ms }}
node: {{ name: {name}, host: 127.0.0.1 }}
vhosts:
  __defaultVhost__:
    publish: {{ republish_wait: 2s, on_busy: {on_busy} }}
    cluster: {{ on_elsewhere: pull, stall: 1s }}
{more}",
        redis.url()
    ));
    wait_for("the node is announced", PATIENCE, || {
        let nodes = redis.ask(&["HKEYS", "pingora-live:nodes"])?;
        nodes.contains(&format!("\r\n{name}\r\n")).then_some(())
    });
    server
}

fn feed(server: &Server) -> Feed {
    Feed::start(server, "live", "x", Plan::of(&fixtures::h264_aac()))
}

/// Another encoder: another picture, with other decoder configurations, and a clock of its own.
fn other_feed(server: &Server) -> Feed {
    let plan = Plan::of(&fixtures::h264_aac_other()).starting_at(1_000_000);
    Feed::start(server, "live", "x", plan)
}

fn play(server: &Server, count: usize, path: &str) -> Vec<Player> {
    let players: Vec<Player> = (0..count).map(|_| Player::open(server, path)).collect();
    for player in &players {
        player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    }
    players
}

/// All go on: nobody was lost, no gap is too long, and time is continuous. `since`: when the stream was taken.
#[track_caller]
fn all_go_on(players: &[Player], since: Instant, what: &str) {
    // All at a time: one after the other, each would wait for a second of its own.
    let wanted: Vec<usize> = players.iter().map(|p| p.tag_count() + 100).collect();
    for (player, wanted) in players.iter().zip(wanted) {
        player.wait("100 tags more", PATIENCE, |flv| flv.tags.len() >= wanted);
    }
    let lost = players.iter().filter(|p| p.ended().is_some()).count();
    let longest = players.iter().map(|player| player.longest_gap(since)).max();
    let longest = longest.unwrap_or_default();
    println!("{what}: longest gap {longest:?}, players lost {lost}");
    assert_eq!(lost, 0, "{what}");
    assert!(longest < GAP, "{what}: a gap of {longest:?}");
    for player in players {
        let flv = player.flv();
        for kind in [VIDEO, AUDIO] {
            assert_continuous(&flv.frames(kind), 8_000);
        }
    }
}

/// The value of a metric.
fn metric(server: &Server, name: &str) -> u64 {
    let text = http::get(server.address("api"), "/metrics").text();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.and_then(|value| value.parse().ok()).expect(name)
}

/// How often a configuration of the decoder came, and whether a keyframe is the first picture after the last of them.
fn turns(flv: &Flv) -> (usize, bool) {
    let header = |n: &usize| flv.tags[*n].kind == VIDEO && flv.tags[*n].is_header();
    let headers: Vec<usize> = (0..flv.tags.len()).filter(header).collect();
    let last = headers.last().copied().unwrap_or_default();
    let mut after = flv.tags[last..].iter();
    let first = after.find(|tag| tag.kind == VIDEO && tag.is_coded());
    (headers.len(), first.is_some_and(|tag| tag.is_keyframe()))
}

/// A stream goes from node to node and back, and its players stay where they are, whatever they speak.
#[test]
fn players_stay_when_their_stream_is_taken() {
    let redis = Redis::start();
    let [a, b, c] = ["a", "b", "c"].map(|name| node(&redis, name, ""));
    let first = feed(&a);
    let players = play(&a, 20, "/live/x.flv");
    let curl = |version: &str, path: &str| {
        Job::start(programs::curl().args([version, "--max-time", "120", &a.http(path)]))
    };
    let mut others = [
        curl("--http2-prior-knowledge", "/live/x.flv"),
        curl("--http1.1", "/live/x.ts"),
    ];
    let mut rtmp = Client::connect(a.address("rtmp"), "live").expect("RTMP");
    assert_eq!(rtmp.play("x").expect("an answer").0, "NetStream.Play.Start");
    wait_for("the others play", PATIENCE, || {
        others
            .iter()
            .all(|job| job.stdout_bytes() > 0)
            .then_some(())
    });

    let since = Instant::now();
    let second = other_feed(&b);
    wait_for("the first publisher is ended", PATIENCE, || {
        (!first.is_running()).then_some(())
    });
    a.wait_log(&["the players stay", "players=23"], PATIENCE);
    a.wait_log(&["pull goes on"], PATIENCE);
    all_go_on(&players, since, "taken by b");
    for player in &players {
        assert_eq!(turns(&player.flv()), (2, true), "once, and in time");
    }
    assert_eq!(metric(&a, "pingora_live_players_carried_total"), 23);
    assert_eq!(metric(&a, "pingora_live_leases_lost_total"), 1);
    let sizes = || {
        let size = |job: &Job| job.stdout_bytes();
        (size(&others[0]), size(&others[1]), rtmp.heard().len())
    };
    let before = sizes();
    wait_for("the others go on", PATIENCE, || {
        let now = sizes();
        (now.0 > before.0 && now.1 > before.1 && now.2 > before.2 + 20).then_some(())
    });

    // Further on: b's own players, and a's pull at b, go on with what c has.
    let at_b = play(&b, 5, "/live/x.flv");
    let since = Instant::now();
    let third = feed(&c);
    b.wait_log(&["the players stay", "players=6"], PATIENCE);
    all_go_on(&at_b, since, "taken by c, at b");
    all_go_on(&players, since, "taken by c, at a");
    assert!(!second.is_running());

    // And back: who pulled the stream has it now, and b, which pulled from c, pulls from a.
    let since = Instant::now();
    let _fourth = other_feed(&a);
    all_go_on(&players, since, "taken back, at a");
    all_go_on(&at_b, since, "taken back, at b");
    assert!(!third.is_running());
    assert!(others.iter_mut().all(Job::is_running) && !rtmp.is_closed());
    let pulls = |node: &Server| metric(node, "pingora_live_pulls_running");
    wait_for("nobody pulls what nobody plays", PATIENCE, || {
        ((pulls(&a), pulls(&b), pulls(&c)) == (0, 1, 0)).then_some(())
    });
}

/// The node that took the stream dies before, or while, its players go on; the stream comes back on a third: the registry says where.
#[test]
fn players_follow_a_stream_whose_node_dies() {
    let redis = Redis::start();
    let [a, b, c] = ["a", "b", "c"].map(|name| node(&redis, name, ""));
    let _first = feed(&a);
    let players = play(&a, 5, "/live/x.flv");
    let since = Instant::now();
    let _second = feed(&b);
    all_go_on(&players, since, "taken by b");
    b.signal(libc::SIGKILL);
    let since = Instant::now();
    let _third = other_feed(&c);
    a.wait_log(
        &["the stream is at another node now", "node=\"c\""],
        PATIENCE,
    );
    all_go_on(&players, since, "b is killed, c takes it");
}

/// The publisher leaves one node and comes back at another while its players are held: they need not ask again.
#[test]
fn players_follow_a_publisher_that_comes_back_elsewhere() {
    let redis = Redis::start();
    let [a, b] = ["a", "b"].map(|name| node(&redis, name, ""));
    let first = feed(&a);
    let players = play(&a, 5, "/live/x.flv");
    let since = Instant::now();
    first.abandon();
    a.wait_log(&["publish ended"], PATIENCE);
    let _second = feed(&b);
    all_go_on(&players, since, "the publisher moves from a to b");
    assert_eq!(metric(&a, "pingora_live_players_carried_total"), 5);
    assert_eq!(metric(&a, "pingora_live_leases_lost_total"), 0);
}

/// The new publisher has said that it publishes, and sends nothing for a while; the other node is one that says 404 at once. Players are held.
#[test]
fn players_are_held_for_a_publisher_that_is_slow_to_begin() {
    let redis = Redis::start();
    let a = node(&redis, "a", "");
    let b = node(&redis, "b", "    play: { on_missing: 404 }\n");
    let _first = feed(&a);
    let players = play(&a, 3, "/live/x.flv");
    let mut slow = Client::connect(b.address("rtmp"), "live").expect("RTMP");
    assert_eq!(
        slow.publish("x").expect("an answer"),
        "NetStream.Publish.Start"
    );
    a.wait_log(&["the players stay"], PATIENCE);
    // Longer than `republish_wait`.
    std::thread::sleep(Duration::from_millis(3_500));
    let since = Instant::now();
    let _second = Feed::run(slow, "x", Plan::of(&fixtures::h264_aac()));
    all_go_on(&players, since, "a slow publisher");
}

/// The stream goes on nowhere: players are let go, not held for ever.
#[test]
fn players_of_a_stream_that_ends_elsewhere_are_let_go() {
    let redis = Redis::start();
    let [a, b] = ["a", "b"].map(|name| node(&redis, name, ""));
    let _first = feed(&a);
    let players = play(&a, 2, "/live/x.flv");
    let second = feed(&b);
    a.wait_log(&["pull goes on"], PATIENCE);
    for player in &players {
        player.wait_more(50, PATIENCE);
    }
    second.finish();
    for player in &players {
        assert_eq!(player.wait_end(Duration::from_secs(40)), End::Proper);
    }
}

/// Where the nodes' rules want a signed URL, the pull has that of a player.
#[test]
fn a_pull_for_players_that_stay_has_the_token_of_one() {
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let redis = Redis::start();
    let tokens = format!("    tokens: {{ play: {{ enabled: on, keys: [{{ key: {KEY} }}] }} }}\n");
    let [a, b] = ["a", "b"].map(|name| node(&redis, name, &tokens));
    let _first = feed(&a);
    let mut sign = command();
    sign.args([
        "sign",
        &a.http("/live/x.flv"),
        "--key",
        KEY,
        "--expires",
        "1h",
    ]);
    let url = programs::run(&mut sign, PATIENCE).success();
    let rest = url.trim().split_once("://").expect("a URL").1;
    let path = &rest[rest.find('/').expect("a path")..];
    let players = play(&a, 2, path);
    let since = Instant::now();
    let _second = feed(&b);
    all_go_on(&players, since, "with tokens");
    assert_eq!(http::get(b.address("http"), "/live/x.flv").status, 401);
}
