//! A configuration that is read again while streams are pulled and pushed.

use std::path::Path;

use super::super::support::callback::{Backend, Call, Reply};
use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::{AUDIO, VIDEO, assert_continuous};
use super::super::support::player::Player;
use super::super::support::programs;
use super::super::support::server::{Server, write_config};
use super::super::support::{PATIENCE, fixtures, http, wait_for};
use super::{edge_of, http_of, lines, rtmp_of};

fn feed(server: &Server, name: &str) -> Feed {
    Feed::start(server, "live", name, Plan::of(&fixtures::h264_aac()))
}

/// Another configuration, by SIGHUP. Listeners stand where they are.
fn reload(server: &Server, live: &str) {
    let before = lines(server, &["configuration"]);
    write_config(server.folder(), live, "grace_period_seconds: 2\n");
    server.signal(libc::SIGHUP);
    wait_for("it is read again", PATIENCE, || {
        (lines(server, &["configuration"]) > before).then_some(())
    });
}

fn players(server: &Server, path: &str) -> Vec<Player> {
    let players: Vec<Player> = (0..3).map(|_| Player::open(server, path)).collect();
    for player in &players {
        player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    }
    players
}

#[track_caller]
fn go_on(players: &[Player]) {
    let before: Vec<usize> = players.iter().map(Player::tag_count).collect();
    for (player, before) in players.iter().zip(before) {
        let flv = player.wait("it goes on", PATIENCE, |flv| flv.tags.len() > before + 100);
        assert_eq!(player.ended(), None);
        for kind in [VIDEO, AUDIO] {
            assert_continuous(&flv.frames(kind), 8_000);
        }
    }
}

/// An origin is taken out of the configuration: what is pulled from it goes on from one that is in it, whatever its protocol, and nobody is
/// dropped. One that stays is not left.
#[test]
fn an_origin_is_taken_out() {
    let origins = [Server::start(""), Server::start("")];
    let _feeds = origins.each_ref().map(|origin| feed(origin, "x"));
    let edge = Server::start(&edge_of(&[rtmp_of(&origins[0])], ""));
    let players = players(&edge, "/live/x.flv");
    // One more, and other keys: no reason to leave the one that is there.
    let both = origins.each_ref().map(rtmp_of);
    reload(&edge, &edge_of(&both, "standby: on"));
    edge.wait_log(&["standby warm", &both[1]], PATIENCE);
    assert_eq!(lines(&edge, &["no longer configured"]), 0);
    let one = format!("http://{}", http_of(&origins[1]));
    reload(&edge, &edge_of(&[one], ""));
    edge.wait_log(&["no longer configured", &both[0]], PATIENCE);
    edge.wait_log(&["pull goes on", "http://"], PATIENCE);
    go_on(&players);
    wait_for("nothing is pulled from the first", PATIENCE, || {
        (origins[0].connections("rtmp") == 1 && origins[1].connections("http") == 1).then_some(())
    });
    assert_eq!(lines(&edge, &["publish started"]), 1, "the same publish");
}

/// A vhost that is no edge any more: what is pulled goes on as it is, and nothing else is pulled.
#[test]
fn an_edge_becomes_local() {
    let origin = Server::start("");
    let _feeds = [feed(&origin, "x"), feed(&origin, "y")];
    let edge = Server::start(&edge_of(&[rtmp_of(&origin)], ""));
    let players = players(&edge, "/live/x.flv");
    reload(
        &edge,
        "vhosts:\n  __defaultVhost__:\n    play: { on_missing: 404 }\n",
    );
    assert_eq!(http::get(edge.address("http"), "/live/y.flv").status, 404);
    go_on(&players);
    // And back again.
    reload(&edge, &edge_of(&[rtmp_of(&origin)], ""));
    let player = Player::open(&edge, "/live/y.flv");
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
}

/// What is published at an edge is pushed to another origin when its own is taken out; the publisher and its players stay.
#[test]
fn a_publish_at_an_edge_moves_to_another_origin() {
    let origins = [Server::start(""), Server::start("")];
    let edge = Server::start(&edge_of(&[rtmp_of(&origins[0])], ""));
    let feed = feed(&edge, "x");
    let players = players(&edge, "/live/x.flv");
    reload(&edge, &edge_of(&[rtmp_of(&origins[1])], ""));
    edge.wait_log(&["pushed to the origin", &rtmp_of(&origins[1])], PATIENCE);
    let there = Player::open(&origins[1], "/live/x.flv");
    there.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    wait_for("it has left the first", PATIENCE, || {
        (origins[0].connections("rtmp") == 0).then_some(())
    });
    go_on(&players);
    assert!(feed.is_running());
}

/// YAML: forwarded to these servers. `more`: further keys of `forward`.
fn forward_to(servers: &[&Server], more: &str) -> String {
    let servers: Vec<String> = servers
        .iter()
        .map(|server| format!("\"rtmp://{}/copy/[stream]\"", rtmp_of(server)))
        .collect();
    format!(
        "vhosts:\n  __defaultVhost__:\n    publish: {{ republish_wait: 20s }}\n    forward: {{ enabled: on, destination: [{}]{more} }}\n",
        servers.join(", ")
    )
}

/// What streams are pushed to changes while they run: what is no longer named is left properly, what is new is begun, and the rest, the
/// publisher and its players do not notice.
#[test]
fn destinations_change_while_a_stream_runs() {
    let [one, two, three] = [(); 3].map(|()| Server::start(""));
    let server = Server::start("");
    let feed = feed(&server, "x");
    let players = players(&server, "/live/x.flv");

    // Nothing was forwarded when it began.
    reload(&server, &forward_to(&[&one, &two], ""));
    for destination in [&one, &two] {
        let there = Player::open(destination, "/copy/x.flv");
        there.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    }
    let at_two = Player::open(&two, "/copy/x.flv");
    at_two.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);

    reload(&server, &forward_to(&[&two, &three], ""));
    one.wait_log(&["publish ended", "client_left"], PATIENCE);
    three.wait_stream("/copy/x.flv");
    // One that an operator stopped stays stopped, whatever else changes.
    let pushes = curl(&server, &[], "/api/v1/live/pushes");
    assert_eq!(pushes["total"], 2, "{pushes}");
    let mut pushes = pushes["pushes"].as_array().expect("pushes").iter();
    let third = pushes.find(|push| {
        push["server"]
            .as_str()
            .is_some_and(|at| at.contains(&rtmp_of(&three)))
    });
    let third = &third.expect("the third")["id"];
    curl(
        &server,
        &["-XDELETE"],
        &format!("/api/v1/live/pushes/{third}"),
    );
    three.wait_log(&["publish ended", "client_left"], PATIENCE);
    reload(&server, &forward_to(&[&one, &two, &three], ""));
    wait_for("the first has it again", PATIENCE, || {
        (lines(&one, &["publish started"]) == 2).then_some(())
    });
    let total = || curl(&server, &[], "/api/v1/live/pushes")["total"].clone();
    wait_for("two are pushed to", PATIENCE, || {
        (total() == 2).then_some(())
    });
    // Until it is named anew.
    reload(&server, &forward_to(&[&one, &two], ""));
    reload(&server, &forward_to(&[&one, &two, &three], ""));
    wait_for("the third has it again", PATIENCE, || {
        (lines(&three, &["publish started"]) == 2).then_some(())
    });
    assert_eq!(
        (
            lines(&two, &["publish started"]),
            lines(&one, &["publish started"])
        ),
        (1, 2),
        "those that stay are not begun anew"
    );
    go_on(std::slice::from_ref(&at_two));

    // The publisher comes back to its stream: it is pushed to what is named now, once.
    feed.abandon();
    server.wait_log(&["publish ended"], PATIENCE);
    let feed = self::feed(&server, "x");
    for destination in [&one, &two, &three] {
        let there = Player::open(destination, "/copy/x.flv");
        there.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    }
    assert_eq!(total(), 3);

    reload(&server, "");
    wait_for("nothing is pushed", PATIENCE, || {
        (total() == 0).then_some(())
    });
    for destination in [&one, &two, &three] {
        wait_for("each was left", PATIENCE, || {
            let (begun, ended) = (
                lines(destination, &["publish started"]),
                lines(destination, &["publish ended"]),
            );
            (begun == ended).then_some(())
        });
    }
    go_on(&players);
    assert!(feed.is_running());
}

/// The back end that is asked where to forward changes while a stream runs: what the old one named is left, and the new one is asked, though
/// the old one never answered for another stream.
#[test]
fn the_back_end_changes_while_a_stream_runs() {
    let [one, two] = [(); 2].map(|()| Server::start(""));
    let names = |server: &Server| {
        let url = format!("rtmp://{}/named/[stream]", rtmp_of(server));
        let answer = serde_json::json!({"code": 0, "data": {"urls": [url]}}).to_string();
        move |call: &Call| match call.text("stream") {
            "x" => Reply::Status(200, answer.clone()),
            _ => Reply::Status(500, String::new()),
        }
    };
    let backends = [Backend::start(names(&one)), Backend::start(names(&two))];
    let config =
        |backend: &Backend| forward_to(&[], &format!(", backend: \"{}\"", backend.url("/forward")));
    let server = Server::start(&config(&backends[0]));
    let _feeds = [feed(&server, "x"), feed(&server, "y")];
    one.wait_stream("/named/x.flv");
    wait_for("it is asked again for the other", PATIENCE, || {
        (backends[0].of("on_forward").len() > 3).then_some(())
    });
    reload(&server, &config(&backends[1]));
    two.wait_stream("/named/x.flv");
    one.wait_log(&["publish ended", "client_left"], PATIENCE);
    wait_for("the new one is asked for both", PATIENCE, || {
        let calls = backends[1].of("on_forward");
        let asked = |name| calls.iter().any(|call| call.text("stream") == name);
        (asked("x") && asked("y")).then_some(())
    });
    let asked = backends[0].of("on_forward").len();
    wait_for("the new one is asked again for the other", PATIENCE, || {
        (backends[1].of("on_forward").len() > 5).then_some(())
    });
    assert_eq!(
        backends[0].of("on_forward").len(),
        asked,
        "the old one is asked no more"
    );
    let pushes = curl(&server, &[], "/api/v1/live/pushes");
    assert_eq!(
        (&pushes["total"], &pushes["pushes"][0]["by"]),
        (&serde_json::json!(1), &serde_json::json!("backend")),
        "{pushes}"
    );

    // And without one, nothing that it named is pushed to.
    reload(&server, "");
    two.wait_log(&["publish ended", "client_left"], PATIENCE);
}

fn curl(server: &Server, arguments: &[&str], path: &str) -> serde_json::Value {
    let url = format!("http://{}{path}", server.address("api"));
    let mut command = programs::curl();
    programs::run(command.args(arguments).arg(url), PATIENCE).json()
}

fn names(answer: &serde_json::Value, list: &str) -> Vec<String> {
    let found = answer.pointer(&format!("/data/{list}"));
    let found = found.or_else(|| answer.get(list));
    let found = found.and_then(serde_json::Value::as_array);
    let found = found.unwrap_or_else(|| panic!("{list} in {answer}"));
    found
        .iter()
        .filter_map(|key| key.as_str().map(str::to_owned))
        .collect()
}

/// By the API: it says what changed, and names what needs a restart.
#[test]
fn the_api_names_what_needs_a_restart() {
    let server = Server::start("");
    write_config(
        server.folder(),
        "registry: { redis: \"redis://:sekret@127.0.0.1:1/0\" }\n\
         node: { name: a, host: a.example }\n\
         upstreams:\n  web: { servers: [\"127.0.0.1:3000\"] }\n\
         routes:\n  - { path: /, upstream: web }\n\
         vhosts:\n  __defaultVhost__:\n    cluster: { mode: remote, origin: [\"127.0.0.1:9\"] }\n    forward: { enabled: on, destination: [\"127.0.0.1:9\"] }\n",
        "grace_period_seconds: 2\n",
    );
    let answer = curl(&server, &["-X", "POST"], "/api/v1/live/reload");
    let (changed, restart) = (names(&answer, "changed"), names(&answer, "needs_restart"));
    let has = |list: &[String], start: &str| list.iter().any(|key| key.starts_with(start));
    for key in ["registry.redis", "node.name", "upstreams.web", "routes[0]"] {
        let key = format!("live.{key}");
        assert!(has(&restart, &key), "{key} in {restart:?}");
        assert!(!has(&changed, &key), "{key} in {changed:?}");
    }
    for key in ["cluster.mode", "cluster.origin", "forward.destination"] {
        let key = format!("live.vhosts.__defaultVhost__.{key}");
        assert!(has(&changed, &key), "{key} in {changed:?}");
    }
    assert!(!answer.to_string().contains("sekret"));
    assert!(!server.log().contains("sekret"));
    assert!(Path::new(server.folder()).exists());
}
