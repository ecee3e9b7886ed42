//! A node pulls what another has.

use super::*;

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
