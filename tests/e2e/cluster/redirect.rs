//! Players are sent to the node that has their stream.

use super::*;

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
