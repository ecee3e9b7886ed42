//! Streams pulled from and pushed to other servers because an operator wants it, with real servers at the other end.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::rtmp_play::Nginx;
use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::{AUDIO, Tag, VIDEO, assert_run_of};
use super::super::support::player::{End, Player};
use super::super::support::proxies::free_port;
use super::super::support::rtmp::Client;
use super::super::support::server::Server;
use super::super::support::{PATIENCE, fixtures, http, wait_for};
use super::{ask, get};

const SOON: &str = "vhosts: { __defaultVhost__: { publish: { republish_wait: 1s } } }\n";

#[track_caller]
fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    ask(server, &["-XPOST", "-d", &body.to_string()], path)
}

#[track_caller]
fn delete(server: &Server, path: &str) -> u16 {
    ask(server, &["-XDELETE"], path).0
}

/// The pull or push, once it is in that state.
#[track_caller]
fn wait_state(server: &Server, way: &str, id: &Value, state: &str) -> Value {
    wait_for(&format!("{way} {id} is {state}"), PATIENCE, || {
        let relay = get(server, &format!("/api/v1/live/{way}/{id}"));
        (relay["state"] == state).then_some(relay)
    })
}

/// A figure of `/metrics`.
#[track_caller]
fn metric(server: &Server, sample: &str) -> f64 {
    let text = http::get(server.address("api"), "/metrics").text();
    let value = text.lines().find_map(|line| line.strip_prefix(sample));
    value
        .unwrap_or_else(|| panic!("{sample} in {text}"))
        .trim()
        .parse()
        .expect("a number")
}

/// What was played is what was sent.
#[track_caller]
fn assert_same(player: &Player, feed: &Feed) {
    let flv = player.wait("two seconds", PATIENCE, |flv| {
        flv.frames(VIDEO).len() > 50 && flv.frames(AUDIO).len() > 50
    });
    let sent = feed.sent();
    for kind in [VIDEO, AUDIO] {
        let sent = sent.iter().filter(|tag| tag.kind == kind && tag.is_coded());
        let sent: Vec<&Tag> = sent.collect();
        assert_run_of(&flv.frames(kind), &sent);
    }
}

/// Pushed to nginx and to a server of ours while it runs; stopped; and one whose server dies goes on when it is back.
#[test]
fn a_stream_is_pushed_while_it_runs() {
    let nginx = Nginx::start("");
    let second = Server::start(SOON);
    let server = Server::start("");
    let feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/a.flv");
    let wanted = |to: &str| json!({"app": "live", "name": "a", "to": to});
    let pushes = "/api/v1/live/pushes";

    let to_nginx = format!("rtmp://127.0.0.1:{}/live/hush-hush?key=secret", nginx.port);
    let (status, first) = post(&server, pushes, &wanted(&to_nginx));
    assert_eq!((status, &first["changed"]), (200, &json!(true)), "{first}");
    let (status, again) = post(&server, pushes, &wanted(&to_nginx));
    assert_eq!((status, &again["changed"]), (200, &json!(false)));
    assert_eq!(again["id"], first["id"], "it is begun once");
    let to_second = format!("rtmp://{}/copy/[app]-[stream]", second.address("rtmp"));
    let (status, other) = post(&server, pushes, &wanted(&to_second));
    assert_eq!(status, 200, "{other}");

    let seen = wait_state(&server, "pushes", &first["id"], "running");
    assert_eq!(
        (&seen["by"], &seen["server"], &seen["retries"]),
        (
            &json!("operator"),
            &json!(format!("rtmp://127.0.0.1:{}/live/***?***", nginx.port)),
            &json!(0)
        )
    );
    let seen = wait_state(&server, "pushes", &other["id"], "running");
    let shown = seen["server"].as_str().expect("a server");
    assert!(shown.ends_with("/copy/live-a"), "{seen}");
    assert_same(&Player::open(&second, "/copy/live-a.flv"), &feed);
    let all = get(&server, pushes);
    assert_eq!(all["total"], 2);
    for text in [all.to_string(), server.log()] {
        assert!(!text.contains("hush") && !text.contains("secret"), "{text}");
    }
    assert!(all["pushes"][1]["bytes"].as_u64() > Some(10_000), "{all}");
    assert!(
        metric(
            &server,
            "pingora_live_relays{way=\"push\",state=\"running\"}"
        ) >= 2.0
    );

    // What nginx has, another server of ours pulls from it.
    let back = Server::start(SOON);
    let (status, pulled) = post(
        &back,
        "/api/v1/live/pulls",
        &json!({"app": "live", "name": "back", "from": to_nginx}),
    );
    assert_eq!(status, 200, "{pulled}");
    assert_same(&Player::open(&back, "/live/back.flv"), &feed);

    // nginx dies: the push tries again, and says why.
    let port = nginx.port;
    drop(nginx);
    let seen = wait_state(&server, "pushes", &first["id"], "waiting");
    assert!(seen["last_error"].is_string(), "{seen}");
    assert_eq!(seen["running_since_at_ms"], Value::Null);
    let nginx = Nginx::start_at(port, "");
    let seen = wait_state(&server, "pushes", &first["id"], "running");
    assert!(seen["retries"].as_u64() > Some(0), "{seen}");
    drop(nginx);

    // A reload changes nothing of it; it is stopped, and the other server sees a proper end.
    assert_eq!(ask(&server, &["-XPOST"], "/api/v1/live/reload").0, 200);
    assert_eq!(delete(&server, &format!("{pushes}/{}", other["id"])), 200);
    second.wait_log(&["publish ended", "client_left"], PATIENCE);
    wait_for("it is gone", PATIENCE, || {
        (delete(&server, &format!("{pushes}/{}", other["id"])) == 404).then_some(())
    });
    server.wait_stream("/live/a.flv");

    // With the stream, its pushes are over.
    feed.finish();
    wait_for("no push is left", PATIENCE, || {
        (get(&server, pushes)["total"] == 0).then_some(())
    });
    assert_eq!(post(&server, pushes, &wanted(&to_second)).0, 404);
}

/// A push that the configuration wants is listed, can be stopped, and is begun with the next stream of that name, not before.
#[test]
fn a_configured_push_is_stopped() {
    let target = Server::start(SOON);
    let server = Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    publish: {{ republish_wait: 2s }}\n    forward: {{ enabled: on, destination: [\"rtmp://{}/[app]/[stream]\"] }}\n",
        target.address("rtmp")
    ));
    let feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    target.wait_stream("/live/a.flv");
    let pushes = get(&server, "/api/v1/live/pushes");
    let push = &pushes["pushes"][0];
    assert_eq!(
        (&pushes["total"], &push["by"]),
        (&json!(1), &json!("forward"))
    );
    let path = format!("/api/v1/live/pushes/{}", push["id"]);
    assert_eq!(delete(&server, &path), 200);
    target.wait_log(&["publish ended", "client_left"], PATIENCE);

    // The publisher comes back to the same stream, which stays as it was said.
    feed.finish();
    let feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    server.wait_log(&["publish started"], PATIENCE);
    server.wait_stream("/live/a.flv");
    let player = Player::open(&server, "/live/a.flv");
    player.wait_more(50, PATIENCE);
    assert_eq!(get(&server, "/api/v1/live/pushes")["total"], 0);
    // Asked for, it is begun again.
    let to = format!("rtmp://{}", target.address("rtmp"));
    let wanted = json!({"app": "live", "name": "a", "to": to});
    let (_, begun) = post(&server, "/api/v1/live/pushes", &wanted);
    wait_state(&server, "pushes", &begun["id"], "running");
    assert_eq!(
        delete(&server, &format!("/api/v1/live/pushes/{}", begun["id"])),
        200
    );

    // Over, and published anew.
    feed.finish();
    assert_eq!(player.wait_end(PATIENCE), End::Proper);
    let _feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    wait_for("it is pushed again", PATIENCE, || {
        (get(&server, "/api/v1/live/pushes")["total"] == 1).then_some(())
    });
}

/// Pulled over RTMP and over HTTP, without players; publishers find the stream taken; the source goes and comes back.
#[test]
fn a_stream_is_pulled_while_it_is_wanted() {
    let source = Server::start(SOON);
    let server = Server::start(SOON);
    let feed = Feed::start(&source, "live", "a", Plan::of(&fixtures::h264_aac()));
    source.wait_stream("/live/a.flv");
    let pulls = "/api/v1/live/pulls";
    let rtmp = json!({"app": "tv", "name": "one", "from": source.rtmp("live/a?token=secret")});
    let flv = json!({"app": "tv", "name": "two", "from": source.http("/live/a.flv?token=secret")});
    let (status, one) = post(&server, pulls, &rtmp);
    assert_eq!((status, &one["changed"]), (200, &json!(true)), "{one}");
    let (status, again) = post(&server, pulls, &rtmp);
    assert_eq!(
        (status, &again["changed"], &again["id"]),
        (200, &json!(false), &one["id"])
    );
    let (status, two) = post(&server, pulls, &flv);
    assert_eq!(status, 200, "{two}");
    for id in [&one["id"], &two["id"]] {
        let seen = wait_state(&server, "pulls", id, "running");
        assert_eq!(seen["by"], "operator");
        assert!(!seen["server"].as_str().expect("a server").contains('?'));
    }
    assert!(!server.log().contains("secret"));
    for path in ["/tv/one.flv", "/tv/two.flv"] {
        assert_same(&Player::open(&server, path), &feed);
    }
    // It is a publisher among the clients and the streams.
    let clients = get(&server, "/api/v1/live/clients?count=100");
    let pulled = clients["clients"].as_array().expect("clients").iter();
    assert_eq!(pulled.filter(|c| c["protocol"] == "pull").count(), 2);
    assert_eq!(metric(&server, "pingora_live_pulls_running"), 2.0);

    // Who publishes the name finds it taken, as the API does.
    let mut publisher = Client::connect(server.address("rtmp"), "tv").expect("RTMP");
    assert_eq!(
        publisher.publish("one").expect("an answer"),
        "NetStream.Publish.BadName"
    );
    let other = json!({"app": "tv", "name": "one", "from": "rtmp://127.0.0.1:9/live/b"});
    assert_eq!(post(&server, pulls, &other).0, 409);
    let _local = Feed::start(&server, "live", "local", Plan::of(&fixtures::aac()));
    server.wait_stream("/live/local.flv");
    let busy = json!({"app": "live", "name": "local", "from": source.rtmp("live/a")});
    assert_eq!(post(&server, pulls, &busy).0, 409);

    // The source's publisher leaves: the pull waits, its players are held and let go; and it goes on with the next.
    let player = Player::open(&server, "/tv/one.flv");
    player.wait_more(20, PATIENCE);
    feed.finish();
    assert_eq!(player.wait_end(PATIENCE), End::Proper);
    let seen = wait_state(&server, "pulls", &one["id"], "waiting");
    assert!(seen["last_error"].is_string(), "{seen}");
    assert_eq!(ask(&server, &["-XPOST"], "/api/v1/live/reload").0, 200);
    let feed = Feed::start(&source, "live", "a", Plan::of(&fixtures::h264_aac()));
    let seen = wait_state(&server, "pulls", &one["id"], "running");
    assert!(seen["retries"].as_u64() > Some(0), "{seen}");
    let player = Player::open(&server, "/tv/one.flv");
    assert_same(&player, &feed);

    // Stopped, its players are let go as when a publisher leaves.
    assert_eq!(delete(&server, &format!("{pulls}/{}", one["id"])), 200);
    assert_eq!(player.wait_end(PATIENCE), End::Proper);
    wait_for("it is gone", PATIENCE, || {
        (delete(&server, &format!("{pulls}/{}", one["id"])) == 404).then_some(())
    });
    // One that is ended as a publisher is over as well.
    let stream = get(&server, &format!("{pulls}/{}", two["id"]))["stream_id"].clone();
    let stream = stream.as_str().expect("an id");
    let kick = format!("/api/v1/live/streams/{stream}/publisher");
    assert_eq!(delete(&server, &kick), 200);
    wait_for("no pull is left", PATIENCE, || {
        (get(&server, pulls)["total"] == 0).then_some(())
    });
}

#[test]
fn what_is_wrong_is_said() {
    let config = "vhosts:\n  __defaultVhost__: {}\n  off.example: { enabled: off }\n  edge.example: { cluster: { mode: remote, origin: [\"127.0.0.1:9\"] } }\n";
    let server = Server::start(config);
    let _feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/a.flv");
    let from = "rtmp://127.0.0.1:9/live/x";
    for (path, body, status, says) in [
        ("pulls", json!({}), 400, "missing field `app`"),
        (
            "pulls",
            json!({"app": "a", "name": "b"}),
            400,
            "missing field `from`",
        ),
        (
            "pulls",
            json!({"app": "a", "name": "b", "form": from}),
            400,
            "unknown field `form`",
        ),
        (
            "pulls",
            json!({"app": "a", "name": "b", "from": 7}),
            400,
            "expected a string",
        ),
        (
            "pulls",
            json!({"app": "a", "name": "b", "from": "127.0.0.1"}),
            400,
            "rtmp://host[:port]/app/stream",
        ),
        (
            "pulls",
            json!({"app": "a", "name": "b", "from": "rtmp://127.0.0.1/live"}),
            400,
            "no stream in it",
        ),
        (
            "pulls",
            json!({"app": "", "name": "b", "from": from}),
            400,
            "",
        ),
        (
            "pulls",
            json!({"vhost": "none.example", "app": "a", "name": "b", "from": from}),
            400,
            "no vhost",
        ),
        (
            "pulls",
            json!({"vhost": "off.example", "app": "a", "name": "b", "from": from}),
            403,
            "disabled",
        ),
        (
            "pulls",
            json!({"vhost": "edge.example", "app": "a", "name": "b", "from": from}),
            409,
            "edge",
        ),
        (
            "pulls",
            json!({"app": "live", "name": "a", "from": from}),
            409,
            "published already",
        ),
        (
            "pushes",
            json!({"app": "live", "name": "a", "to": "http://127.0.0.1/live/x.flv"}),
            400,
            "rtmp://host[:port]/app/stream",
        ),
        (
            "pushes",
            json!({"app": "live", "name": "none", "to": from}),
            404,
            "no such stream",
        ),
    ] {
        let (answered, answer) = post(&server, &format!("/api/v1/live/{path}"), &body);
        assert_eq!(answered, status, "{body}: {answer}");
        let message = answer["message"].as_str().expect("a message");
        assert!(message.contains(says), "{body}: {message}");
    }
    let path = "/api/v1/live/pulls";
    assert_eq!(ask(&server, &["-XPOST", "-d", "no JSON"], path).0, 400);
    assert_eq!(delete(&server, "/api/v1/live/pulls/none"), 404);
    assert_eq!(delete(&server, "/api/v1/live/pushes/0"), 404);

    // A blocked stream is nobody's, a pull's neither.
    let block = json!({"app": "live", "name": "b"});
    assert_eq!(post(&server, "/api/v1/live/blocks", &block).0, 200);
    let pull = json!({"app": "live", "name": "b", "from": from});
    assert_eq!(post(&server, path, &pull).0, 403);

    // There is a bound, for each stream.
    let port = free_port();
    let mut statuses = Vec::new();
    for at in 0..17 {
        let to = format!("rtmp://127.0.0.1:{port}/live/{at}");
        let push = json!({"app": "live", "name": "a", "to": to});
        statuses.push(post(&server, "/api/v1/live/pushes", &push).0);
    }
    assert_eq!(statuses[..16], [200; 16]);
    assert_eq!(statuses[16], 503);

    // A pull that never works says why, again and again, and is stopped all the same.
    let from = format!("rtmp://127.0.0.1:{port}/live/x");
    let never = json!({"app": "live", "name": "never", "from": from});
    let (_, begun) = post(&server, path, &never);
    let seen = wait_for("it tried three times", PATIENCE, || {
        let seen = get(&server, &format!("{path}/{}", begun["id"]));
        (seen["retries"].as_u64() >= Some(2)).then_some(seen)
    });
    let error = seen["last_error"].as_str().expect("an error");
    assert!(error.contains("refused"), "{seen}");
    let since = std::time::Instant::now();
    assert_eq!(delete(&server, &format!("{path}/{}", begun["id"])), 200);
    wait_for("it is gone", Duration::from_secs(5), || {
        (get(&server, path)["total"] == 0).then_some(())
    });
    assert!(since.elapsed() < Duration::from_secs(5));
}

/// With credentials, none of it without them.
#[test]
fn who_may() {
    let server = Server::start("api: { auth: { password: \"secret\" } }\n");
    for way in ["pulls", "pushes"] {
        let path = format!("/api/v1/live/{way}");
        for method in ["-XGET", "-XPOST"] {
            assert_eq!(ask(&server, &[method, "-d", "{}"], &path).0, 401);
        }
        let one = format!("{path}/1");
        assert_eq!(ask(&server, &["-XDELETE"], &one).0, 401);
        let known = ["-u", "admin:secret", "-XDELETE"];
        assert_eq!(ask(&server, &known, &one).0, 404);
    }
}
