//! Pushes of a stream that another node takes.

use serde_json::{Value, json};

use super::*;

/// What the API says of a node's pushes: who wanted each, and where to.
fn pushes(node: &Server) -> Vec<(String, String)> {
    let answer = http::get(node.address("api"), "/api/v1/live/pushes").text();
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let text = |push: &Value, name: &str| push[name].as_str().unwrap_or_default().to_owned();
    let all = answer["pushes"].as_array().expect("pushes").iter();
    all.map(|push| (text(push, "by"), text(push, "server")))
        .collect()
}

fn ends(server: &Server) -> usize {
    let log = server.log();
    log.lines()
        .filter(|line| line.contains("publish ended"))
        .count()
}

/// With the stream go its pushes: the old node ends them properly, though it goes on with the stream for its players, and the new one begins
/// its own. What an operator of the old node wants is pushed from there all the same. The stream comes back, and its pushes with it.
#[test]
fn pushes_go_with_the_stream() {
    let redis = Redis::start();
    let [of_a, of_b, wanted] = [(); 3].map(|()| Server::start(""));
    let forward = |to: &Server| {
        format!(
            "    forward: {{ enabled: on, destination: \"rtmp://{}/of/[stream]\" }}\n",
            to.address("rtmp")
        )
    };
    let a = node(&redis, "a", &forward(&of_a));
    let b = node(&redis, "b", &forward(&of_b));
    let first = feed(&a);
    let players = play(&a, 3, "/live/x.flv");
    of_a.wait_stream("/of/x.flv");
    let to = format!("rtmp://{}/of/wanted", wanted.address("rtmp"));
    let order = json!({"app": "live", "name": "x", "to": to}).to_string();
    let url = format!("http://{}/api/v1/live/pushes", a.address("api"));
    let ordered = programs::run(programs::curl().args(["-d", &order, &url]), PATIENCE).json();
    assert_eq!(ordered["changed"], true, "{ordered}");
    let watcher = Player::open(&wanted, "/of/wanted.flv");
    watcher.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);

    let since = Instant::now();
    let second = other_feed(&b);
    a.wait_log(&["the players stay"], PATIENCE);
    of_a.wait_log(&["publish ended", "client_left"], PATIENCE);
    of_b.wait_stream("/of/x.flv");
    all_go_on(&players, since, "taken by b");
    let operators = |node: &Server| {
        let all = pushes(node);
        all.iter().map(|(by, _)| by.clone()).collect::<Vec<_>>()
    };
    wait_for("a pushes what its operator wants", PATIENCE, || {
        (operators(&a) == ["operator"]).then_some(())
    });
    assert_eq!(operators(&b), ["forward"]);
    let before = watcher.tag_count();
    watcher.wait("it goes on", PATIENCE, |flv| flv.tags.len() > before + 100);
    assert_eq!(watcher.ended(), None);
    assert_eq!((ends(&of_a), ends(&wanted)), (1, 0));
    assert!(!first.is_running());

    // Back again, at once: what a pushed before is pushed anew.
    let since = Instant::now();
    let _third = feed(&a);
    of_b.wait_log(&["publish ended", "client_left"], PATIENCE);
    let there = Player::open(&of_a, "/of/x.flv");
    there.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    all_go_on(&players, since, "taken back");
    wait_for("b pushes nothing", PATIENCE, || {
        operators(&b).is_empty().then_some(())
    });
    let mut both = operators(&a);
    both.sort();
    assert_eq!(both, ["forward", "operator"]);
    assert!(!second.is_running());
}
