//! Whose a stream is: second publishers, take-overs, and nodes that go.

use super::*;

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
