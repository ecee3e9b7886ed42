//! Servers that are full, and where they send their players.

use super::*;

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
