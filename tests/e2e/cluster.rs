//! Nodes that share a registry in a real Redis: who has a stream, where players are sent, and what becomes of both when Redis or a node
//! goes away.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::support::amf::{self, Amf};
use super::support::feed::{Feed, Plan};
use super::support::flv::VIDEO;
use super::support::player::{End, Player};
use super::support::programs::{self, FFMPEG_DEBIAN, Job};
use super::support::redis::Redis;
use super::support::rtmp::{COMMAND, Client};
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, http, stays, wait_for};

/// The time of a lease in these tests, in seconds.
const TTL: u64 = 2;

fn plan() -> Plan {
    Plan::of(&fixtures::h264_aac())
}

/// A node of that name.
fn node_with(redis: &Redis, name: &str, on_busy: &str, on_elsewhere: &str) -> Server {
    let server = Server::start(&format!(
        "registry: {{ redis: \"{}\", ttl: {TTL}s, timeout: 500ms }}
node: {{ name: {name}, host: 127.0.0.1 }}
vhosts:
  __defaultVhost__:
    play: {{ wait: 10s }}
    publish: {{ republish_wait: 1s, on_busy: {on_busy} }}
    cluster: {{ on_elsewhere: {on_elsewhere} }}
",
        redis.url()
    ));
    wait_for("the node is announced", PATIENCE, || {
        let nodes = redis.ask(&["HKEYS", "pingora-live:nodes"])?;
        nodes.contains(&format!("\r\n{name}\r\n")).then_some(())
    });
    server
}

/// A node whose players of other nodes' streams are proxied there.
fn proxying(redis: &Redis, name: &str) -> Server {
    node_with(redis, name, "reject", "proxy")
}

fn node(redis: &Redis, name: &str) -> Server {
    node_with(redis, name, "reject", "redirect")
}

fn publish(server: &Server, name: &str) -> (Client, String) {
    let mut client =
        Client::connect(server.address("rtmp"), "live").expect("the server talks RTMP");
    // A refused publisher may be disconnected before its answer is read.
    let code = client.publish(name).unwrap_or_default();
    (client, code)
}

/// Where a GET is sent.
fn location(server: &Server, path: &str) -> Option<String> {
    let answer = http::request(server.address("http"), "GET", path, &[]).ok()?;
    (answer.status == 302).then(|| answer.header("location").expect("Location").to_owned())
}

/// The files of the project, as they stand there but for ports and Redis.
#[test]
fn the_example_files_are_a_cluster() {
    let redis = Redis::start();
    let start = |letter: &str| {
        let file = format!("config/origin.cluster.server{letter}.yaml");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = super::support::server::command();
        command
            .arg("-c")
            .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file))
            .env("PINGORA_LIVE_RTMP_LISTEN", "127.0.0.1:0")
            .env("PINGORA_LIVE_HTTP_LISTEN", "127.0.0.1:0")
            .env("PINGORA_LIVE_REGISTRY_REDIS", redis.url());
        Server::spawn(command, folder)
    };
    let (a, b, c) = (start("A"), start("B"), start("C"));
    let _feed = Feed::start(&b, "live", "livestream", plan());
    wait_sent(&c, &b, "/live/livestream.flv");
    wait_sent(&a, &b, "/live/livestream.flv");
    plays(&b, "/live/livestream.flv");
}

/// The file for an origin of a CDN: what is not there is 404 at once, and who asks is the one that the CDN names.
#[test]
fn the_origin_of_a_cdn() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = super::support::server::command();
    command
        .arg("-c")
        .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/cdn.origin.yaml"))
        .env("PINGORA_LIVE_RTMP_LISTEN", "127.0.0.1:0")
        .env("PINGORA_LIVE_HTTP_LISTEN", "127.0.0.1:0");
    let origin = Server::spawn(command, folder);
    let missing = http::get(origin.address("http"), "/live/x.flv");
    assert_eq!(missing.status, 404);
    let _feed = Feed::start(&origin, "live", "x", plan());
    let headers = [("X-Forwarded-For", "203.0.113.7")];
    wait_for("it plays", PATIENCE, || {
        let player = Player::open_with(origin.address("http"), "/live/x.flv", &headers, None);
        let plays = player.wait_status(PATIENCE) == 200;
        plays.then(|| player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5))
    });
    origin.wait_log(&["203.0.113.7", "play ended"], PATIENCE);
}

/// The port that an address names.
fn port(address: &str) -> u16 {
    let rest = address.split("://").nth(1).expect("a scheme");
    let authority = rest.split('/').next().expect("a host");
    let address: SocketAddr = authority.parse().expect("an address and a port");
    address.port()
}

#[track_caller]
fn wait_sent(from: &Server, to: &Server, path: &str) {
    let port_of = to.address("http").port();
    wait_for(&format!("{path} is sent there"), PATIENCE, || {
        location(from, path).filter(|address| port(address) == port_of)
    });
}

#[track_caller]
fn plays(server: &Server, path: &str) -> Player {
    let player = Player::open(server, path);
    assert_eq!(player.wait_status(PATIENCE), 200);
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    player
}

/// The whole of an HTTP redirect: every player that can be sent on is, with its query; HEAD too; and never twice in a circle.
#[test]
fn players_are_sent_to_the_node_that_has_the_stream() {
    let redis = Redis::start();
    let (a, b, c) = (node(&redis, "a"), node(&redis, "b"), node(&redis, "c"));
    let _feed = Feed::start(&a, "live", "x", plan());
    for from in [&b, &c] {
        let address = location(from, "/live/x.flv?token=t%2F1").expect("302");
        let to = format!(
            "http://{}/live/x.flv?token=t%2F1&pl_hops=1",
            a.address("http")
        );
        assert_eq!(address, to);
        let head = http::request(from.address("http"), "HEAD", "/live/x.flv", &[]).unwrap();
        assert_eq!(head.status, 302);
        assert_eq!(head.header("cache-control"), Some("no-store"));
    }
    // One that was sent round is not sent any further: it waits here, and is told that there is nothing.
    let tired = http::get(b.address("http"), "/live/x.flv?pl_hops=3");
    assert_eq!(tired.status, 404);
    assert!(location(&a, "/live/x.flv").is_none());

    // A page of another origin may follow.
    let crossing = http::request(
        b.address("http"),
        "GET",
        "/live/x.flv",
        &[("Origin", "http://page.example")],
    )
    .unwrap();
    assert_eq!(crossing.status, 302);
    assert_eq!(crossing.header("access-control-allow-origin"), Some("*"));

    let bytes = programs::run(
        programs::curl().args(["-L", "--max-time", "3", &b.http("/live/x.flv")]),
        PATIENCE,
    );
    assert!(bytes.stdout.starts_with(b"FLV"), "curl follows");
    let seen = programs::run(
        std::process::Command::new("ffprobe").args([
            "-v",
            "error",
            "-show_entries",
            "stream=codec_name",
            "-of",
            "csv=p=0",
            &c.http("/live/x.flv"),
        ]),
        PATIENCE,
    )
    .success();
    assert!(seen.contains("h264") && seen.contains("aac"), "{seen}");
    let source = format!("location={}", b.http("/live/x.flv"));
    let mut gstreamer = std::process::Command::new("gst-launch-1.0");
    gstreamer.args([
        "-q",
        "souphttpsrc",
        &source,
        "num-buffers=20",
        "!",
        "fakesink",
    ]);
    programs::run(&mut gstreamer, PATIENCE).success();
}

/// Behind a proxy that ends TLS: a page of HTTPS is not sent to an address without, where another cannot be reached it is proxied.
#[test]
fn who_came_by_tls_is_not_sent_to_an_address_without() {
    let redis = Redis::start();
    let a = node(&redis, "a");
    let b = Server::start(&format!(
        "registry: {{ redis: \"{}\", ttl: {TTL}s }}
node: {{ name: b, host: 127.0.0.1 }}
trusted_proxies: [127.0.0.1]",
        redis.url()
    ));
    let _feed = Feed::start(&a, "live", "x", plan());
    wait_sent(&b, &a, "/live/x.flv");
    let secure = [("X-Forwarded-Proto", "https")];
    let player = Player::open_with(b.address("http"), "/live/x.flv", &secure, None);
    assert_eq!(player.wait_status(PATIENCE), 200);
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
}

/// RTMP's redirect as SRS and Flash Media Server say it; and what ffmpeg makes of it, which follows none.
#[test]
fn rtmp_players_are_told_where_the_stream_is() {
    let redis = Redis::start();
    let (a, b) = (node(&redis, "a"), node(&redis, "b"));
    let _feed = Feed::start(&a, "live", "x", plan());
    wait_sent(&b, &a, "/live/x.flv");
    let mut client = Client::connect(b.address("rtmp"), "live").expect("RTMP");
    client
        .command(1, "play", vec![Amf::Null, Amf::Text("x?token=1")])
        .expect("play is sent");
    let told = wait_for("an answer", PATIENCE, || {
        client.heard().into_iter().find(|message| {
            message.kind == COMMAND
                && amf::text_property(&message.body, "code").as_deref()
                    == Some("NetConnection.Connect.Rejected")
        })
    });
    let address = a.address("rtmp");
    assert_eq!(
        amf::text_property(&told.body, "redirect2").as_deref(),
        Some(format!("rtmp://{address}/live/x?token=1&pl_hops=1").as_str())
    );
    assert_eq!(
        amf::text_property(&told.body, "redirect").as_deref(),
        Some(format!("rtmp://{address}/live?token=1&pl_hops=1").as_str())
    );
    wait_for("the connection is closed", PATIENCE, || {
        client.is_closed().then_some(())
    });

    for ffmpeg in [FFMPEG_DEBIAN, programs::ffmpeg_current()] {
        let mut command = std::process::Command::new(ffmpeg);
        command.args(["-hide_banner", "-i", &b.rtmp("live/x"), "-f", "null", "-"]);
        let output = programs::run(&mut command, PATIENCE);
        assert!(!output.status.success());
        let said = output.stderr;
        assert!(
            said.contains(&format!("The stream is elsewhere: rtmp://{address}/live/x")),
            "{said}"
        );
    }
}

/// A browser whose page came from one node plays what another has: mpegts.js follows the 302 across origins.
#[test]
fn a_browser_follows() {
    let redis = Redis::start();
    let (a, b, c) = (node(&redis, "a"), node(&redis, "b"), node(&redis, "c"));
    let _job = programs::publish_loop(FFMPEG_DEBIAN, &fixtures::h264_aac(), &a.rtmp("live/x"));
    wait_sent(&b, &a, "/live/x.flv");
    // From the page's own origin to another; and from another to a third, where the browser hides who asks.
    for stream in ["live/x".to_owned(), b.http("/live/x.flv")] {
        let page = c.http(&format!("/?stream={stream}"));
        let seen = Job::start(programs::tool("browser.py").args([&page, "--seconds", "3"]))
            .finish(Duration::from_secs(90))
            .json();
        assert_eq!(seen["state"], "playing", "{seen}");
        assert_eq!(seen["errors"], serde_json::Value::Array(vec![]), "{seen}");
        assert!(
            seen["advanced"].as_f64().is_some_and(|s| s >= 3.0),
            "{seen}"
        );
    }
}

/// With `on_elsewhere: proxy`, players stay where they asked, over HTTP/1 and HTTP/2; with their query, and the bytes that the other node has.
#[test]
fn players_can_be_proxied_to_the_node_that_has_the_stream() {
    let redis = Redis::start();
    let (a, b) = (node(&redis, "a"), proxying(&redis, "b"));
    let _feed = Feed::start(&a, "live", "x", plan());
    a.wait_stream("/live/x.flv");
    b.wait_stream("/live/x.flv");
    let here = plays(&a, "/live/x.flv");
    let there = plays(&b, "/live/x.flv");
    here.wait_more(50, PATIENCE);
    there.wait_more(50, PATIENCE);
    let (here, there) = (here.flv(), there.flv());
    let (last, keyframe) = {
        let frames = there.frames(VIDEO);
        let last = *frames.last().expect("frames");
        (last.dts, frames.iter().any(|tag| tag.is_keyframe()))
    };
    assert!(keyframe && last > 0);
    let same = |tag: &&super::support::flv::Tag| here.frames(VIDEO).contains(tag);
    assert!(there.frames(VIDEO).iter().filter(|tag| same(tag)).count() > 20);
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let url = b.http("/live/x.flv?a=1");
        let bytes = programs::run(
            programs::curl().args([version, "--max-time", "3", &url]),
            PATIENCE,
        );
        assert!(bytes.stdout.starts_with(b"FLV"), "{version}");
    }
    // One that waits is proxied when the stream begins.
    let waiting = Player::open(&b, "/live/later.flv");
    let _later = Feed::start(&a, "live", "later", plan());
    assert_eq!(waiting.wait_status(PATIENCE), 200);
    waiting.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    // Nobody plays through a node that has gone.
    a.signal(libc::SIGKILL);
    waiting.wait_end(PATIENCE);
    let gone = http::request(b.address("http"), "HEAD", "/live/x.flv", &[]).unwrap();
    assert!([502, 404].contains(&gone.status), "{}", gone.status);
}

/// No page can follow a redirect of its WebSocket: it is proxied, whatever is configured.
#[test]
fn a_websocket_is_proxied() {
    use std::io::{Read, Write};

    let redis = Redis::start();
    let (a, b) = (node(&redis, "a"), node(&redis, "b"));
    let _feed = Feed::start(&a, "live", "x", plan());
    wait_sent(&b, &a, "/live/x.flv");
    let mut socket = std::net::TcpStream::connect(b.address("http")).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
        .write_all(
            b"GET /live/x.flv HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .expect("the request is sent");
    let mut came = Vec::new();
    let mut piece = [0; 4096];
    while !came.windows(3).any(|bytes| bytes == b"FLV") || came.len() < 20_000 {
        let length = socket.read(&mut piece).expect("bytes in time");
        assert!(
            length > 0,
            "it goes on: {:?}",
            String::from_utf8_lossy(&came)
        );
        came.extend_from_slice(&piece[..length]);
    }
    let text = String::from_utf8_lossy(&came);
    assert!(text.starts_with("HTTP/1.1 101"), "{text}");
    assert!(
        text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "the key's answer"
    );
}

/// One who waits for a stream is sent where it begins.
#[test]
fn players_that_wait_are_sent_on_when_the_stream_begins_elsewhere() {
    let redis = Redis::start();
    let (a, b) = (node(&redis, "a"), node(&redis, "b"));
    let waiting = Player::open(&b, "/live/x.flv");
    wait_for("it waits", PATIENCE, || {
        (b.connections("http") > 0).then_some(())
    });
    assert_eq!(waiting.status(), None);
    let _feed = Feed::start(&a, "live", "x", plan());
    assert_eq!(waiting.wait_status(PATIENCE), 302);
    let to = waiting.header("location").expect("Location");
    assert_eq!(port(&to), a.address("http").port());
}

/// A stream lives on one node: a second publisher elsewhere is refused until the first has left.
#[test]
fn a_stream_that_lives_elsewhere_cannot_be_published() {
    let redis = Redis::start();
    let (a, b) = (node(&redis, "a"), node(&redis, "b"));
    let feed = Feed::start(&a, "live", "x", plan());
    let (_client, code) = publish(&b, "x");
    assert_eq!(code, "NetStream.Publish.BadName");
    let posted = http::raw(
        b.address("http"),
        b"POST /live/x.flv HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nFLV\x01\x05\x00\x00\x00\x09",
        false,
    )
    .expect("an answer");
    assert_eq!(posted.status, 409);
    b.wait_log(&["publish refused", "on the node a"], PATIENCE);
    feed.finish();
    wait_for("the stream is free", PATIENCE, || {
        let (_client, code) = publish(&b, "x");
        (code == "NetStream.Publish.Start").then_some(())
    });
}

/// With `on_busy: kick`, the newcomer takes the stream from the other node at once; players there are let go, and sent after it.
#[test]
fn a_stream_can_be_taken_over() {
    let redis = Redis::start();
    let (a, b) = (
        node_with(&redis, "a", "kick", "redirect"),
        node_with(&redis, "b", "kick", "redirect"),
    );
    let old = Feed::start(&a, "live", "x", plan());
    let player = plays(&a, "/live/x.flv");
    let begun = Instant::now();
    let _new = Feed::start(&b, "live", "x", plan());
    assert_eq!(player.wait_end(PATIENCE), End::Proper);
    // By word from Redis, not only when the lease is renewed.
    assert!(
        begun.elapsed() < Duration::from_secs(TTL),
        "{:?}",
        begun.elapsed()
    );
    wait_for("the old publisher is ended", PATIENCE, || {
        (!old.is_running()).then_some(())
    });
    a.wait_log(&["another node has the stream now"], PATIENCE);
    wait_sent(&a, &b, "/live/x.flv");
    plays(&b, "/live/x.flv");
}

/// Redis is killed: streams go on, each node serves what it has, publishers are taken; and nobody waits for it. It comes back empty, and
/// all is known again.
#[test]
fn without_redis_each_node_goes_on_alone() {
    let mut redis = Redis::start();
    let (a, b, c) = (node(&redis, "a"), node(&redis, "b"), node(&redis, "c"));
    let feed = Feed::start(&a, "live", "x", plan());
    wait_sent(&b, &a, "/live/x.flv");
    let player = plays(&a, "/live/x.flv");
    redis.kill();
    for node in [&a, &b, &c] {
        node.wait_log(&["registry", "streams of this node go on"], PATIENCE);
    }
    let asked = Instant::now();
    let head = http::request(b.address("http"), "HEAD", "/live/x.flv", &[]).unwrap();
    assert_eq!(head.status, 404);
    assert!(
        asked.elapsed() < Duration::from_millis(400),
        "{:?}",
        asked.elapsed()
    );
    // For longer than a lease.
    stays("the stream goes on", Duration::from_secs(TTL + 1), || {
        feed.is_running() && player.ended().is_none()
    });
    player.wait_more(20, PATIENCE);
    let _other = Feed::start(&c, "live", "y", plan());
    plays(&c, "/live/y.flv");
    redis.restart();
    for node in [&a, &b, &c] {
        node.wait_log(&["the registry is back"], PATIENCE);
    }
    wait_sent(&b, &a, "/live/x.flv");
    wait_sent(&a, &c, "/live/y.flv");
    assert!(feed.is_running() && player.ended().is_none());
    // The log says it once, not at each try.
    let warned = a.log().matches("streams of this node go on").count();
    assert!(warned <= 2, "{warned} warnings");
}

/// Redis hangs: a player is held for no longer than the time-out, and the next for no time at all.
#[test]
fn a_redis_that_hangs_holds_nobody() {
    let redis = Redis::start();
    let (a, b) = (node(&redis, "a"), node(&redis, "b"));
    let feed = Feed::start(&a, "live", "x", plan());
    wait_sent(&b, &a, "/live/x.flv");
    redis.pause(true);
    let held = |what: &str, most: Duration| {
        let asked = Instant::now();
        let head = http::request(b.address("http"), "HEAD", "/live/other.flv", &[]).unwrap();
        assert_eq!(head.status, 404, "{what}");
        assert!(asked.elapsed() < most, "{what}: {:?}", asked.elapsed());
    };
    // The time-out is 500 ms.
    held("the first", Duration::from_millis(1_500));
    b.wait_log(&["registry", "streams of this node go on"], PATIENCE);
    held("the next", Duration::from_millis(400));
    let (_client, code) = publish(&b, "z");
    assert_eq!(code, "NetStream.Publish.Start");
    redis.pause(false);
    wait_sent(&b, &a, "/live/x.flv");
    assert!(feed.is_running());
}

/// A node that is killed loses its streams when their leases run out, and not before.
#[test]
fn a_node_that_dies_loses_its_streams() {
    let redis = Redis::start();
    let (a, b, c) = (node(&redis, "a"), node(&redis, "b"), node(&redis, "c"));
    let feed = Feed::start(&a, "live", "x", plan());
    wait_sent(&b, &a, "/live/x.flv");
    // It is renewed: for longer than a lease.
    stays("it lives on a", Duration::from_secs(TTL + 1), || {
        location(&b, "/live/x.flv").is_some()
    });
    a.signal(libc::SIGKILL);
    let killed = Instant::now();
    let (_client, code) = publish(&b, "x");
    assert_eq!(code, "NetStream.Publish.BadName", "the lease still stands");
    drop(feed);
    let _again = wait_for("the stream is free", PATIENCE, || {
        let (client, code) = publish(&b, "x");
        (code == "NetStream.Publish.Start").then_some(client)
    });
    assert!(
        killed.elapsed() < Duration::from_secs(TTL + 2),
        "{:?}",
        killed.elapsed()
    );
    wait_sent(&c, &b, "/live/x.flv");
}

/// A node that is shut down gives its streams back at once.
#[test]
fn a_node_that_leaves_gives_its_streams_back() {
    let redis = Redis::start();
    let (mut a, b) = (node(&redis, "a"), node(&redis, "b"));
    let _feed = Feed::start(&a, "live", "x", plan());
    wait_sent(&b, &a, "/live/x.flv");
    a.signal(libc::SIGTERM);
    a.wait_exit(PATIENCE);
    let nodes = redis.ask(&["HKEYS", "pingora-live:nodes"]).expect("Redis");
    assert!(!nodes.contains("\r\na\r\n"), "{nodes}");
    let (_client, code) = publish(&b, "x");
    assert_eq!(code, "NetStream.Publish.Start");
}

/// Over the limit, players are sent to the servers that are named for that, by HTTP and by RTMP; publishers are not.
#[test]
fn players_over_the_limit_are_sent_to_another_server() {
    let second = Server::start("");
    let _there = Feed::start(&second, "live", "x", plan());
    let first = Server::start(&format!(
        "limits: {{ connections: 2, overflow: [\"http://{}\", \"rtmp://{}\"] }}",
        second.address("http"),
        second.address("rtmp"),
    ));
    let _here = Feed::start(&first, "live", "x", plan());
    let player = plays(&first, "/live/x.flv");
    let to = location(&first, "/live/x.flv?a=1").expect("302");
    assert_eq!(
        to,
        format!("http://{}/live/x.flv?a=1&pl_hops=1", second.address("http"))
    );
    let followed = programs::run(
        programs::curl().args(["-L", "--max-time", "3", &first.http("/live/x.flv")]),
        PATIENCE,
    );
    assert!(followed.stdout.starts_with(b"FLV"), "curl follows");

    let mut client = Client::connect(first.address("rtmp"), "live").expect("RTMP over the limit");
    client
        .command(1, "play", vec![Amf::Null, Amf::Text("x")])
        .expect("play is sent");
    let told = wait_for("an answer", PATIENCE, || {
        client
            .heard()
            .into_iter()
            .find_map(|message| amf::text_property(&message.body, "redirect2"))
    });
    assert_eq!(port(&told), second.address("rtmp").port());
    let (_client, code) = publish(&first, "y");
    assert_eq!(code, "NetStream.Publish.Denied");
    // Those who were sent on take no place.
    drop(player);
    wait_for("there is room", PATIENCE, || {
        let player = Player::open(&first, "/live/x.flv");
        (player.wait_status(PATIENCE) == 200).then_some(())
    });
}

/// A player that was sent round often enough is refused, wherever it is: full servers that name each other are no circle.
#[test]
fn full_servers_do_not_send_players_round() {
    let server = Server::start(
        "limits: { players_per_stream: 1, overflow: [\"http://127.0.0.1:9\", \"https://127.0.0.1:9\"] }",
    );
    let _feed = Feed::start(&server, "live", "x", plan());
    let _first = plays(&server, "/live/x.flv");
    let to = location(&server, "/live/x.flv?pl_hops=2").expect("302");
    assert_eq!(to, "http://127.0.0.1:9/live/x.flv?pl_hops=3");
    let tired = http::get(server.address("http"), "/live/x.flv?pl_hops=3");
    assert_eq!(tired.status, 503);
    assert!(tired.header("retry-after").is_some());
}

/// A node that pulls what another node has: one pull for all its players, in every protocol, and for those that waited.
#[test]
fn a_node_pulls_the_stream_of_another() {
    let redis = Redis::start();
    let (a, b) = (node(&redis, "a"), node_with(&redis, "b", "reject", "pull"));
    let early = Player::open(&b, "/live/x.flv");
    let _feed = Feed::start(&a, "live", "x", plan());
    early.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    let _players: Vec<Player> = (0..5).map(|_| plays(&b, "/live/x.flv")).collect();
    let ts = Player::open(&b, "/live/x.ts");
    assert_eq!(ts.wait_status(PATIENCE), 200);
    let pulls = a.log().matches("play ended").count();
    assert_eq!(pulls, 0, "{}", a.log());
    let rtmp = Client::connect(b.address("rtmp"), "live").and_then(|mut client| client.play("x"));
    assert_eq!(rtmp.expect("an answer").0, "NetStream.Play.Start");
    assert_eq!(
        b.log().matches("protocol=\"pull\"").count(),
        1,
        "{}",
        b.log()
    );
    // A copy is leased to nobody: the stream still lives on a.
    let (_client, code) = publish(&b, "x");
    assert_eq!(code, "NetStream.Publish.BadName");
}

/// A node that is full sends its players to a node that can give any stream, and lets that one pull.
#[test]
fn a_full_node_sends_its_players_to_one_that_pulls() {
    let redis = Redis::start();
    let a = Server::start(&format!(
        "registry: {{ redis: \"{}\", ttl: {TTL}s, timeout: 500ms }}
node: {{ name: a, host: 127.0.0.1 }}
limits: {{ connections: 2 }}
",
        redis.url()
    ));
    let b = node_with(&redis, "b", "reject", "pull");
    let _feed = Feed::start(&a, "live", "x", plan());
    let _here = plays(&a, "/live/x.flv");
    // The publisher and a player are all that it takes.
    wait_sent(&a, &b, "/live/x.flv");
    plays(&b, "/live/x.flv");
}
