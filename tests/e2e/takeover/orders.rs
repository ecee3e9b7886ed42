//! Pulls that operators want, beside those for players who stay.

use serde_json::{Value, json};

use super::*;

fn order(node: &Server, from: &str) -> (u16, Value) {
    let body = json!({"app": "live", "name": "x", "from": from}).to_string();
    let url = format!("http://{}/api/v1/live/pulls", node.address("api"));
    let mut curl = programs::curl();
    curl.args(["-w", "\n%{http_code}", "-d", &body, &url]);
    let answer = programs::run(&mut curl, PATIENCE).success();
    let (answer, status) = answer.rsplit_once('\n').expect("a status");
    let answer = serde_json::from_str(answer).expect("JSON");
    (status.parse().expect("a status"), answer)
}

/// By whom, and in which state, a node's pulls are.
fn pulls(node: &Server) -> Vec<(String, String)> {
    let answer = http::get(node.address("api"), "/api/v1/live/pulls").text();
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let text = |pull: &Value, name: &str| pull[name].as_str().unwrap_or_default().to_owned();
    let all = answer["pulls"].as_array().expect("pulls").iter();
    all.map(|pull| (text(pull, "by"), text(pull, "state")))
        .collect()
}

#[track_caller]
fn wait_pulls(node: &Server, wanted: &[(&str, &str)]) {
    wait_for(&format!("{wanted:?}"), PATIENCE, || {
        let pulls = pulls(node);
        let pulls: Vec<_> = pulls
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        (pulls == wanted).then_some(())
    });
}

/// Which node has the stream, as the registry says.
fn holder(redis: &Redis) -> Option<String> {
    let answer = redis.ask(&["GET", "pingora-live:stream:__defaultVhost__/live/x"])?;
    // The length, and in the next line the node's name, a token and its addresses.
    let lease = answer.lines().nth(1)?;
    lease.split(' ').next().map(str::to_owned)
}

#[track_caller]
fn wait_holder(redis: &Redis, wanted: Option<&str>) {
    wait_for(&format!("the lease is {wanted:?}'s"), PATIENCE, || {
        (holder(redis).as_deref() == wanted).then_some(())
    });
}

fn publish(node: &Server) -> (Client, String) {
    let mut client = Client::connect(node.address("rtmp"), "live").expect("RTMP");
    let code = client.publish("x").unwrap_or_default();
    (client, code)
}

fn stop(node: &Server, id: &Value) {
    let url = format!("http://{}/api/v1/live/pulls/{id}", node.address("api"));
    programs::run(programs::curl().args(["-f", "-XDELETE", &url]), PATIENCE).success();
}

fn source() -> (Server, String) {
    let source =
        Server::start("vhosts: { __defaultVhost__: { publish: { republish_wait: 1s } } }\n");
    let from = source.rtmp("live/s");
    (source, from)
}

fn feed_source(source: &Server) -> Feed {
    Feed::start(source, "live", "s", Plan::of(&fixtures::h264_aac()))
}

/// A pull that an operator wants is a stream of its node: leased while it runs; free for others when its source is away, when it is stopped,
/// and when its node dies.
#[test]
fn a_pull_of_an_operator_has_a_lease() {
    let redis = Redis::start();
    let (source, from) = source();
    let [a, b] = ["a", "b"].map(|name| node_with(&redis, name, "reject", ""));
    let sent = feed_source(&source);
    let (status, first) = order(&a, &from);
    assert_eq!(status, 200, "{first}");
    wait_pulls(&a, &[("operator", "running")]);
    assert_eq!(holder(&redis).as_deref(), Some("a"));
    assert_eq!(publish(&b).1, "NetStream.Publish.BadName");

    // The same at another node waits, and says for whom; players there have the stream all the same, from the node that has it.
    let (status, second) = order(&b, &from);
    assert_eq!(status, 200, "{second}");
    wait_pulls(&b, &[("operator", "waiting")]);
    let url = format!("/api/v1/live/pulls/{}", second["id"]);
    let why = http::get(b.address("api"), &url).text();
    assert!(why.contains("on the node a"), "{why}");
    let players = play(&b, 2, "/live/x.flv");
    wait_for("it is pulled from a for them", PATIENCE, || {
        let pulls = pulls(&b);
        let one = ("players".to_owned(), "running".to_owned());
        (pulls.len() == 2 && pulls[0].0 == "operator" && pulls[1] == one).then_some(())
    });
    drop(players);
    stop(&b, &second["id"]);
    wait_pulls(&b, &[]);

    // The source is away: another node may have the stream, and keeps it when the source is back.
    sent.finish();
    wait_holder(&redis, None);
    let local = feed(&b);
    wait_holder(&redis, Some("b"));
    let _sent = feed_source(&source);
    wait_for("a says who has it", PATIENCE, || {
        let url = format!("/api/v1/live/pulls/{}", first["id"]);
        let why = http::get(a.address("api"), &url).text();
        why.contains("on the node b").then_some(())
    });
    assert!(local.is_running());
    local.finish();
    wait_holder(&redis, Some("a"));
    wait_pulls(&a, &[("operator", "running")]);

    stop(&a, &first["id"]);
    wait_holder(&redis, None);
    let (client, code) = publish(&b);
    assert_eq!(code, "NetStream.Publish.Start");
    drop(client);
    wait_holder(&redis, None);

    let (status, third) = order(&a, &from);
    assert_eq!(status, 200, "{third}");
    wait_holder(&redis, Some("a"));
    a.signal(libc::SIGKILL);
    wait_for("the lease runs out", PATIENCE, || {
        (publish(&b).1 == "NetStream.Publish.Start").then_some(())
    });
}

/// A newcomer at another node takes the stream of such a pull, where newcomers do: the pull is over, as a publisher would be; its players stay,
/// with a pull from the other node.
#[test]
fn a_pull_of_an_operator_gives_way_to_a_newcomer() {
    let redis = Redis::start();
    let (source, from) = source();
    let [a, b] = ["a", "b"].map(|name| node(&redis, name, ""));
    let _sent = feed_source(&source);
    let (status, ordered) = order(&a, &from);
    assert_eq!(status, 200, "{ordered}");
    let players = play(&a, 3, "/live/x.flv");
    let since = Instant::now();
    let _second = other_feed(&b);
    a.wait_log(&["the players stay", "players=3"], PATIENCE);
    all_go_on(&players, since, "taken from an operator's pull");
    wait_pulls(&a, &[("players", "running")]);
    wait_holder(&redis, Some("b"));
    // Not while it is pulled from b.
    let (status, answer) = order(&a, &from);
    assert_eq!(status, 409, "{answer}");
    drop(players);
    // Without players, there is nothing left here; and it is b's all the same.
    wait_pulls(&a, &[]);
    let (status, ordered) = order(&a, &from);
    assert_eq!(status, 200, "{ordered}");
    wait_pulls(&a, &[("operator", "waiting")]);
    assert_eq!(holder(&redis).as_deref(), Some("b"));
}

/// A pull that waits for its source stands in nobody's way: the stream is published, its publisher moves to another node, its players go after
/// it, and others come. When the source is back it waits for the stream to be free, and goes on then.
#[test]
fn a_pull_that_waits_disturbs_no_players() {
    let redis = Redis::start();
    let (source, from) = source();
    let [a, b] = ["a", "b"].map(|name| node(&redis, name, ""));
    let (status, ordered) = order(&a, &from);
    assert_eq!(status, 200, "{ordered}");
    wait_for("it has failed", PATIENCE, || {
        (metric(&a, "pingora_live_pulls_failed_total") > 0).then_some(())
    });
    let first = feed(&a);
    let players = play(&a, 3, "/live/x.flv");
    let since = Instant::now();
    first.abandon();
    a.wait_log(&["publish ended"], PATIENCE);
    let second = other_feed(&b);
    all_go_on(&players, since, "the publisher moves from a to b");
    assert_eq!(metric(&a, "pingora_live_players_carried_total"), 3);
    drop(players);
    let of_operator = |pulls: Vec<(String, String)>| {
        assert_eq!(pulls.first().map(|(by, _)| by.as_str()), Some("operator"));
        pulls.len()
    };
    wait_for("nobody plays", PATIENCE, || {
        (of_operator(pulls(&a)) == 1).then_some(())
    });
    // Who comes now is not held for a source that is away.
    let others = play(&a, 2, "/live/x.flv");
    assert_eq!(of_operator(pulls(&a)), 2);

    // The source is back, and the stream another's.
    let sent = feed_source(&source);
    wait_for("it says that the stream is taken", PATIENCE, || {
        let url = format!("/api/v1/live/pulls/{}", ordered["id"]);
        let why = http::get(a.address("api"), &url).text();
        why.contains("published").then_some(())
    });
    for player in &others {
        player.wait_more(50, PATIENCE);
        assert_eq!(player.ended(), None);
    }
    assert!(second.is_running());
    second.finish();
    wait_holder(&redis, Some("a"));
    wait_pulls(&a, &[("operator", "running")]);
    let player = Player::open(&a, "/live/x.flv");
    let flv = player.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() > 50);
    let sent = sent.sent();
    for frame in flv.frames(VIDEO) {
        assert!(sent.iter().any(|tag| tag.body == frame.body));
    }
}
