//! Nodes that share a registry and are edges of one origin: what is published at them is pushed there.

use super::*;

/// A node whose vhost is an edge of that origin.
fn edge(redis: &Redis, name: &str, origin: &Server) -> Server {
    let server = Server::start(&format!(
        "registry: {{ redis: \"{}\", ttl: 2s, timeout: 500ms }}
node: {{ name: {name}, host: 127.0.0.1 }}
vhosts:
  __defaultVhost__:
    publish: {{ republish_wait: 2s, on_busy: kick }}
    cluster: {{ mode: remote, origin: \"{}\", stall: 1s }}
",
        redis.url(),
        origin.address("rtmp"),
    ));
    wait_for("the node is announced", PATIENCE, || {
        let nodes = redis.ask(&["HKEYS", "pingora-live:nodes"])?;
        nodes.contains(&format!("\r\n{name}\r\n")).then_some(())
    });
    server
}

/// The publisher of one edge gives way to that of another: its players stay, and get the stream from the origin.
#[test]
fn players_of_an_edge_stay() {
    let redis = Redis::start();
    let origin = Server::start("vhosts: { __defaultVhost__: { publish: { on_busy: kick } } }\n");
    let [a, b] = ["a", "b"].map(|name| edge(&redis, name, &origin));
    let first = feed(&a);
    let players = play(&a, 5, "/live/x.flv");
    let there = play(&origin, 2, "/live/x.flv");

    let since = Instant::now();
    let second = other_feed(&b);
    wait_for("the first publisher is ended", PATIENCE, || {
        (!first.is_running()).then_some(())
    });
    a.wait_log(&["the players stay", "players=5"], PATIENCE);
    let origin_at = origin.address("rtmp").to_string();
    a.wait_log(&["pull goes on", &origin_at], PATIENCE);
    all_go_on(&players, since, "taken by b, at a");
    all_go_on(&there, since, "taken by b, at the origin");
    assert_eq!(metric(&a, "pingora_live_players_carried_total"), 5);
    // It is the new publisher's picture that they see.
    let sent = second.sent();
    for player in &players {
        let flv = player.flv();
        let last = *flv.frames(VIDEO).last().expect("a frame");
        wait_for("the last frame was sent by the second", PATIENCE, || {
            let found = |tag: &Tag| tag.body == last.body;
            (sent.iter().any(found) || second.sent().iter().any(found)).then_some(())
        });
    }

    // And back to the node that pulls it.
    let since = Instant::now();
    let _third = feed(&a);
    all_go_on(&players, since, "taken back, at a");
    wait_for("the second publisher is ended", PATIENCE, || {
        (!second.is_running()).then_some(())
    });
    wait_for("nobody pulls", PATIENCE, || {
        let pulls = |node| metric(node, "pingora_live_pulls_running");
        ((pulls(&a), pulls(&b)) == (0, 0)).then_some(())
    });
}

/// The origin refuses who comes second. The newcomer is told, and comes again, as encoders do; the players are held until it is taken.
#[test]
fn players_of_an_edge_are_held_until_the_origin_takes_the_newcomer() {
    let redis = Redis::start();
    let origin = Server::start("vhosts: { __defaultVhost__: { publish: { on_busy: reject } } }\n");
    let [a, b] = ["a", "b"].map(|name| edge(&redis, name, &origin));
    let first = feed(&a);
    let players = play(&a, 3, "/live/x.flv");
    let since = Instant::now();
    let client = wait_for("b's publisher is taken", PATIENCE, || {
        let mut client = Client::connect(b.address("rtmp"), "live").ok()?;
        let code = client.publish("x").unwrap_or_default();
        (code == "NetStream.Publish.Start").then_some(client)
    });
    let _second = Feed::run(client, "x", Plan::of(&fixtures::h264_aac_other()));
    all_go_on(&players, since, "taken by b");
    assert!(!first.is_running());
    assert_eq!(metric(&a, "pingora_live_players_carried_total"), 3);
}
