//! The API and the metrics, as programs that use them see them.

mod dashboard;
mod metrics;
mod relays;
mod reload;

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use super::support::feed::{Feed, Plan};
use super::support::flv::{VIDEO, assert_run_of};
use super::support::player::Player;
use super::support::programs::{self, FFMPEG_DEBIAN, Job};
use super::support::server::{Server, command, write_config};
use super::support::websocket;
use super::support::{PATIENCE, fixtures, http, wait_for};

/// Asks the API by curl; the status and the answer.
#[track_caller]
fn ask(server: &Server, arguments: &[&str], path: &str) -> (u16, Value) {
    let url = format!("http://{}{path}", server.address("api"));
    let mut curl = programs::curl();
    curl.args(["-w", "\n%{http_code}"]).args(arguments).arg(url);
    let said = programs::run(&mut curl, PATIENCE).success();
    let (body, status) = said.rsplit_once('\n').expect("a status");
    let body = serde_json::from_str(body).unwrap_or(Value::Null);
    (status.parse().expect("a status"), body)
}

#[track_caller]
fn get(server: &Server, path: &str) -> Value {
    let (status, answer) = ask(server, &[], path);
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// The first client that does `action`, when it is there.
#[track_caller]
fn client(server: &Server, action: &str, protocol: &str) -> Value {
    wait_for(&format!("a {protocol} {action}"), PATIENCE, || {
        let all = get(server, "/api/v1/live/clients?count=1000");
        let found = all["clients"].as_array()?.iter().find(|client| {
            client["action"] == action && client["protocol"] == protocol && client["waits"] == false
        });
        found.cloned()
    })
}

#[test]
fn a_stream_is_told_in_both_shapes() {
    let server = Server::start("");
    let _feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/a.flv");
    let player = Player::open(&server, "/live/a.flv");
    player.wait_more(100, PATIENCE);
    let stream = wait_for("rates", PATIENCE, || {
        let all = get(&server, "/api/v1/live/streams");
        let stream = all["streams"][0].clone();
        let counted = stream["tracks"][0]["frames_per_second"].as_f64()? > 5.0
            && stream["bytes_out"].as_u64()? > 0
            && stream["gop"].is_object();
        counted.then_some(stream)
    });
    assert_eq!(stream["tracks"][0]["codec"], "H.264");
    assert_eq!(stream["tracks"][1]["codec"], "AAC");
    assert_eq!(
        stream["players"],
        json!([{"format": "flv", "protocol": "http1", "count": 1}])
    );
    assert_eq!(stream["publisher"]["protocol"], "rtmp");
    assert_eq!(stream["first_byte"]["plays"], 1);
    let id = stream["id"].as_str().expect("an id");
    assert_eq!(
        get(&server, &format!("/api/v1/live/streams/{id}"))["id"],
        id
    );

    let theirs = get(&server, "/api/v1/streams/?start=0&count=10");
    assert_eq!(theirs["code"], 0);
    let theirs = &theirs["streams"][0];
    assert_eq!(
        (&theirs["id"], &theirs["url"]),
        (&json!(id), &json!("/live/a"))
    );
    assert_eq!(theirs["video"]["codec"], "H264");
    let live_ms = theirs["live_ms"].as_u64().expect("a time");
    assert!(
        (1..600_000).contains(&live_ms),
        "{live_ms} is how long it is live"
    );
    let clients = get(&server, "/api/v1/clients/");
    let kinds: BTreeSet<_> = clients["clients"]
        .as_array()
        .expect("clients")
        .iter()
        .filter_map(|client| client["type"].as_str())
        .collect();
    assert_eq!(kinds, BTreeSet::from(["flv-play", "fmle-publish"]));
    assert_eq!(ask(&server, &[], "/api/v1/streams/none").1["code"], 2048);
    assert_eq!(ask(&server, &["-XPUT"], "/api/v1/streams").0, 405);
}

#[test]
fn who_is_kicked_sees_it() {
    let server =
        Server::start("vhosts: { __defaultVhost__: { publish: { republish_wait: 1s } } }\n");
    let mut publisher =
        programs::publish_loop(FFMPEG_DEBIAN, &fixtures::h264_aac(), &server.rtmp("live/a"));
    server.wait_stream("/live/a.flv");
    let kick = |id: &Value| ask(&server, &["-XDELETE"], &format!("/api/v1/clients/{id}"));

    // ffmpeg sees the proper end of the body, and exits well.
    let player = Job::start(
        Command::new(FFMPEG_DEBIAN)
            .args(["-v", "error", "-i"])
            .arg(server.http("/live/a.flv"))
            .args(["-f", "null", "-"]),
    );
    let playing = client(&server, "play", "http1");
    assert_eq!(kick(&playing["id"]).0, 200);
    player.finish(PATIENCE).success();
    server.wait_log(&["play ended", "protocol=\"http1\"", "kicked"], PATIENCE);

    // A WebSocket is told that it may not.
    let mut socket = websocket::Client::open(server.address("http"), "/live/a.flv");
    let playing = client(&server, "play", "websocket");
    assert_eq!(kick(&playing["id"]).0, 200);
    assert_eq!(socket.close_code(), 1008);

    // A publisher is gone in a moment, and its encoder fails.
    let publishing = client(&server, "publish", "rtmp");
    assert_eq!(kick(&publishing["id"]).0, 200);
    wait_for("the encoder ends", PATIENCE, || {
        (!publisher.is_running()).then_some(())
    });
    server.wait_log(&["publish ended", "kicked"], PATIENCE);
    assert_eq!(kick(&publishing["id"]).1["code"], 2049);
}

#[test]
fn a_blocked_stream_is_nobodys_until_it_is_unblocked() {
    let server = Server::start("");
    let feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/a.flv");
    let player = Player::open(&server, "/live/a.flv");
    player.wait_more(20, PATIENCE);
    let name = ["-XPOST", "-d", r#"{"app":"live","name":"a"}"#];
    assert_eq!(
        ask(&server, &name, "/api/v1/live/blocks").1["changed"],
        true
    );
    assert_eq!(
        ask(&server, &name, "/api/v1/live/blocks").1["changed"],
        false
    );
    player.wait_end(PATIENCE);
    feed.abandon();
    assert_eq!(http::get(server.address("http"), "/live/a.flv").status, 403);
    let refused = programs::publish(FFMPEG_DEBIAN, &fixtures::h264_aac(), &server.rtmp("live/a"));
    assert!(!refused.finish(PATIENCE).status.success());
    let id = get(&server, "/api/v1/live/blocks")["blocks"][0]["id"].clone();
    let path = format!("/api/v1/live/blocks/{}", id.as_str().expect("an id"));
    assert_eq!(ask(&server, &["-XDELETE"], &path).0, 200);
    assert_eq!(ask(&server, &["-XDELETE"], &path).0, 404);
    let _feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/a.flv");
}

#[test]
fn credentials_names_and_pages() {
    let config = "api: { auth: { password: \"secret\", token: \"t0k3n\" } }\n";
    let server = Server::start(config);
    let bearer = "Authorization: Bearer t0k3n";
    for (arguments, path, status) in [
        (&[][..], "/api/v1/versions", 401),
        (&["-u", "admin:secret"][..], "/api/v1/versions", 200),
        (&["-u", "admin:wrong"][..], "/api/v1/versions", 401),
        (&["-u", "root:secret"][..], "/api/v1/versions", 401),
        (&["-H", bearer][..], "/metrics", 200),
        (&[][..], "/metrics", 401),
        (&[][..], "/healthz", 200),
        (&[][..], "/readyz", 200),
        (&[][..], "/api/openapi.json", 401),
        (
            &[
                "-u",
                "admin:secret",
                "-XPOST",
                "-H",
                "Origin: http://evil.example",
            ][..],
            "/api/v1/live/reload",
            403,
        ),
        (
            &["-H", bearer, "-XPOST", "-H", "Origin: http://evil.example"][..],
            "/api/v1/live/reload",
            200,
        ),
    ] {
        assert_eq!(
            ask(&server, arguments, path).0,
            status,
            "{arguments:?} {path}"
        );
    }
    let shown = ask(&server, &["-H", bearer], "/api/v1/live/config")
        .1
        .to_string();
    assert!(shown.contains("live.api.auth.password") && !shown.contains("t0k3n"));

    let open = Server::start("");
    assert_eq!(
        ask(&open, &["-H", "Host: evil.example"], "/api/v1/versions").0,
        403
    );
    assert_eq!(
        ask(
            &open,
            &["-XPOST", "-H", "Sec-Fetch-Site: cross-site"],
            "/api/v1/live/reload"
        )
        .0,
        403
    );

    let folder = tempfile::tempdir().expect("a folder");
    let file = write_config(folder.path(), "api: { listen: \"0.0.0.0:0\" }\n", "");
    for test in [true, false] {
        let mut start = command();
        start
            .env_remove("PINGORA_LIVE_API_LISTEN")
            .arg("-c")
            .arg(&file);
        if test {
            start.arg("-t");
        }
        let said = programs::run(&mut start, PATIENCE);
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        assert!(said.stderr.contains("live.api.auth"), "{said:?}");
    }
}

#[test]
fn a_reload_leaves_no_gap_and_a_broken_file_changes_nothing() {
    let server = Server::start("http: { listen: \"127.0.0.1:0\", crossdomain: on }\n");
    let feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/a.flv");
    let player = Player::open(&server, "/live/a.flv");
    player.wait_more(50, PATIENCE);
    let folder = server.folder();
    write_config(
        folder,
        "http: { listen: \"127.0.0.1:9\", crossdomain: off }\n",
        "",
    );
    let (status, answer) = ask(&server, &["-XPOST"], "/api/v1/live/reload");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["changed"], json!(["live.http.crossdomain"]));
    let waits: BTreeSet<_> = answer["needs_restart"]
        .as_array()
        .expect("keys")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(waits.contains("live.http.listen"), "{answer}");
    let cors = |server: &Server| {
        let answer = http::request(
            server.address("http"),
            "GET",
            "/none",
            &[("Origin", "http://a.example")],
        );
        answer
            .expect("an answer")
            .header("access-control-allow-origin")
            .is_some()
    };
    assert!(!cors(&server));
    write_config(folder, "http: { crossdomain: maybe }\n", "");
    let (status, answer) = ask(&server, &["-XPOST"], "/api/v1/live/reload");
    assert_eq!(status, 422);
    assert!(
        answer["errors"][0]
            .as_str()
            .is_some_and(|e| e.contains("crossdomain")),
        "{answer}"
    );
    assert!(!cors(&server));
    let came = player.wait_more(50, PATIENCE);
    let sent = feed.finish();
    let coded = sent
        .iter()
        .filter(|tag| tag.kind == VIDEO && tag.is_coded());
    let sent: Vec<_> = coded.collect();
    assert_run_of(&came.frames(VIDEO), &sent);
}

/// Schemathesis asks all that the description allows, and checks each answer against it.
#[test]
fn the_description_is_right() {
    let server = Server::start("");
    let _feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/a.flv");
    let url = format!("http://{}/api/openapi.json", server.address("api"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut schemathesis = Command::new(programs::python().with_file_name("schemathesis"));
    schemathesis
        .current_dir(folder.path())
        .args(["run", &url, "--max-examples", "15", "--seed", "1", "--phases", "examples,coverage,fuzzing"])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method"]);
    let said = programs::run(&mut schemathesis, PATIENCE * 4);
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stdout)
    );
}
