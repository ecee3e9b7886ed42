//! Redis is killed, or hangs.

use super::*;

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
