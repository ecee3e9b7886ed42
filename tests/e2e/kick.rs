//! An operator ends clients by the API: each sees an end that its protocol has a word for, at once, and the log says who did it.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::support::feed::{Feed, Plan};
use super::support::flv::VIDEO;
use super::support::player::Player;
use super::support::programs::{
    self, FFMPEG_DEBIAN, Job, curl, demux, ffmpeg_current, publish_loop, run,
};
use super::support::server::Server;
use super::support::{PATIENCE, certs, fixtures, wait_for};

/// The status of the API's answer, and the answer.
#[track_caller]
fn api(server: &Server, method: &str, path: &str, body: &str) -> Value {
    let mut command = curl();
    command.args(["-f", "-X", method]);
    if !body.is_empty() {
        command.args(["-d", body]);
    }
    command.arg(format!("http://{}{path}", server.address("api")));
    let answer = run(&mut command, PATIENCE).success();
    serde_json::from_str(&answer).unwrap_or(Value::Null)
}

/// Ends the client that does `action` in `protocol`, once it is there.
#[track_caller]
fn kick(server: &Server, action: &str, protocol: &str) {
    let id = wait_for(&format!("a {protocol} {action}"), PATIENCE, || {
        let all = api(server, "GET", "/api/v1/live/clients?count=1000", "");
        let found = all["clients"].as_array()?.iter().find(|client| {
            client["action"] == action
                && client["protocol"] == protocol
                && client["waits"] == false
                && client["bytes"].as_u64() > Some(0)
        });
        Some(found?["id"].clone())
    });
    api(server, "DELETE", &format!("/api/v1/clients/{id}"), "");
}

fn ended(server: &Server, what: &str, protocol: &str) -> String {
    server.wait_log(
        &[
            what,
            &format!("protocol=\"{protocol}\""),
            "reason=\"kicked\"",
        ],
        PATIENCE,
    )
}

/// With TLS, and streams that are not held for long.
fn start(folder: &std::path::Path, more: &str) -> Server {
    let cert = certs::make(folder, "a.example");
    let cert = format!("cert: {:?}, key: {:?}", cert.cert, cert.key);
    Server::start(&format!(
        "https: {{ listen: [\"127.0.0.1:0\"], certs: [{{ {cert} }}] }}
rtmp:
  listen: [\"127.0.0.1:0\"]
  tls: {{ listen: [\"127.0.0.1:0\"], {cert} }}
{more}vhosts: {{ __defaultVhost__: {{ publish: {{ republish_wait: 1s }} }} }}
"
    ))
}

fn null_player(ffmpeg: &str, url: &str) -> Job {
    let mut command = Command::new(ffmpeg);
    command.args(["-v", "error"]);
    if url.starts_with("rtmps") {
        command.args(["-tls_verify", "0"]);
    }
    Job::start(command.args(["-i", url, "-f", "null", "-"]))
}

/// Players of all kinds end properly: ffmpeg and curl take it for the end of the stream, and exit well.
#[test]
fn players_see_the_end_of_the_stream() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path(), "");
    let feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/a.flv");
    let bystander = Player::open(&server, "/live/a.flv?by=stander");
    bystander.wait_more(5, PATIENCE);
    for ffmpeg in [FFMPEG_DEBIAN, ffmpeg_current()] {
        for listener in ["rtmp", "rtmps"] {
            let url = format!("{listener}://{}/live/a", server.address(listener));
            let player = null_player(ffmpeg, &url);
            kick(&server, "play", "rtmp");
            let said = player.finish(PATIENCE);
            assert!(said.status.success(), "{ffmpeg} {url}: {said:?}");
        }
    }
    ended(&server, "play ended", "rtmp");
    drop(bystander);
    wait_for("the bystander is gone", PATIENCE, || {
        let all = api(&server, "GET", "/api/v1/live/clients?count=1000", "");
        let clients = all["clients"].as_array()?;
        clients
            .iter()
            .all(|c| c["action"] == "publish")
            .then_some(())
    });
    for (options, protocol, ending) in [
        (&["--http1.1"][..], "http1", "flv"),
        (&["--http1.1"], "http1", "ts"),
        (&["--http1.0"], "http1", "aac"),
        (&["--http2"], "http2", "flv"),
        (&["--http2"], "http2", "mp3"),
    ] {
        let mut command = curl();
        let url = format!("https://{}/live/a.{ending}", server.address("https"));
        // `-f` and a body that is cut off make curl fail; a proper end does not.
        command.args(["-kf", "-o", "/dev/null"]).args(options);
        let player = Job::start(command.arg(url));
        kick(&server, "play", protocol);
        player.finish(PATIENCE).success();
        let line = ended(&server, "play ended", protocol);
        assert!(line.contains("bytes="), "{line}");
    }
    assert!(feed.is_running(), "the others notice nothing");
}

/// Publishers are told in their protocol's words, and their line says what they had sent.
#[test]
fn publishers_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path(), "");
    for listener in ["rtmp", "rtmps"] {
        let url = format!("{listener}://{}/live/a", server.address(listener));
        let mut publisher = publish_loop(FFMPEG_DEBIAN, &fixtures::h264_aac(), &url);
        server.wait_stream("/live/a.flv");
        kick(&server, "publish", "rtmp");
        wait_for("the encoder ends", PATIENCE, || {
            (!publisher.is_running()).then_some(())
        });
        let line = server.wait_log(&["publish ended", "reason=\"kicked\""], PATIENCE);
        assert!(!line.contains("bytes=0 "), "{line}");
    }
    let clip = fixtures::h264_aac();
    for (option, protocol) in [("--http1.1", "http1"), ("--http2", "http2")] {
        let mut command = curl();
        command.args(["-k", option, "-w", "%{http_code}", "-o", "/dev/null"]);
        // A dot is the standard input too, but curl listens meanwhile.
        command.args(["-X", "POST", "-T", ".", "-H", "Expect:"]);
        command.arg(format!("https://{}/live/b.flv", server.address("https")));
        let mut feeding = Command::new("sh");
        let flv =
            format!("{FFMPEG_DEBIAN} -v error -re -stream_loop -1 -i \"$0\" -c copy -f flv -");
        feeding.arg("-c").arg(format!("{flv} | \"$@\"")).arg(&clip);
        feeding.arg(command.get_program()).args(command.get_args());
        let publisher = Job::start(&mut feeding);
        kick(&server, "publish", protocol);
        wait_for("it is told", PATIENCE, || {
            (publisher.stdout().trim() == "403").then_some(())
        });
        drop(publisher);
        let line = server.wait_log(
            &["publish ended", "http_publish", "reason=\"kicked\""],
            PATIENCE,
        );
        assert!(!line.contains("bytes=0 "), "{line}");
    }
}

/// A stream that is blocked ends for its publisher and its players, in every protocol, and its line is complete.
#[test]
fn a_block_is_seen_by_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path(), "");
    let mut publisher = publish_loop(FFMPEG_DEBIAN, &fixtures::h264_aac(), &server.rtmp("live/a"));
    server.wait_stream("/live/a.flv");
    let player = Player::open(&server, "/live/a.flv");
    player.wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);
    let by_rtmp = null_player(FFMPEG_DEBIAN, &server.rtmp("live/a"));
    wait_for("it plays", PATIENCE, || {
        let all = api(&server, "GET", "/api/v1/live/clients?count=1000", "");
        let mut clients = all["clients"].as_array()?.iter();
        clients
            .find(|c| c["action"] == "play" && c["protocol"] == "rtmp")
            .map(|_| ())
    });
    let name = r#"{"app":"live","name":"a"}"#;
    api(&server, "POST", "/api/v1/live/blocks", name);
    player.wait_end(PATIENCE);
    by_rtmp.finish(PATIENCE).success();
    wait_for("the encoder ends", PATIENCE, || {
        (!publisher.is_running()).then_some(())
    });
    let line = server.wait_log(&["publish ended"], PATIENCE);
    assert!(!line.contains("bytes=0 "), "{line}");
    assert!(!line.contains("video_frames=0 "), "{line}");
    // What players say who come now.
    let refused = null_player(FFMPEG_DEBIAN, &server.rtmp("live/a")).finish(PATIENCE);
    assert!(!refused.status.success());
    let id = api(&server, "GET", "/api/v1/live/blocks", "")["blocks"][0]["id"].clone();
    let path = format!("/api/v1/live/blocks/{}", id.as_str().expect("an id"));
    api(&server, "DELETE", &path, "");
    let _again = publish_loop(FFMPEG_DEBIAN, &fixtures::h264_aac(), &server.rtmp("live/a"));
    server.wait_stream("/live/a.flv");
}

/// At an origin, an edge's pull is a player; at the edge it is the publisher. Its players see a stream that goes on, or its end.
#[test]
fn the_pull_of_an_edge() {
    let origin = Server::start("");
    let edge = Server::start(&format!(
        "vhosts: {{ __defaultVhost__: {{ publish: {{ republish_wait: 1s }}, cluster: {{ mode: remote, origin: ['{}'], retry: 1s }} }} }}",
        origin.address("rtmp")
    ));
    let _feed = Feed::start(&origin, "live", "a", Plan::of(&fixtures::h264_aac()));
    origin.wait_stream("/live/a.flv");
    let player = Player::open(&edge, "/live/a.flv");
    player.wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);
    kick(&origin, "play", "rtmp");
    ended(&origin, "play ended", "rtmp");
    // It may pull again: whoever shall not, is blocked. Its player either went on or was ended properly.
    wait_for("the player goes on, or is ended", PATIENCE, || {
        let more = player.tag_count();
        std::thread::sleep(Duration::from_millis(500));
        (player.tag_count() > more + 10 || player.ended().is_some()).then_some(())
    });
    let other = Player::open(&edge, "/live/a.flv");
    other.wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);
    kick(&edge, "publish", "pull");
    edge.wait_log(&["publish ended", "reason=\"kicked\""], PATIENCE);
    other.wait_end(PATIENCE);
}

/// A recording that is begun and ended from outside is a file that FFmpeg reads.
#[test]
fn a_recording_is_begun_and_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.flv");
    let server = Server::start(&format!(
        "vhosts: {{ __defaultVhost__: {{ dvr: {{ path: {file:?} }} }} }}"
    ));
    let _feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/a.flv");
    let id = api(&server, "GET", "/api/v1/live/streams", "")["streams"][0]["id"].clone();
    let path = format!(
        "/api/v1/live/streams/{}/recording",
        id.as_str().expect("an id")
    );
    api(&server, "POST", &path, "");
    wait_for("it records", PATIENCE, || {
        let all = api(&server, "GET", "/api/v1/live/recordings", "");
        (all["recordings"][0]["bytes"].as_u64()? > 60_000).then_some(())
    });
    api(&server, "DELETE", &path, "");
    server.wait_log(&["recording closed", "a.flv"], PATIENCE);
    let seen = demux(file.to_str().expect("a path"), PATIENCE).to_string();
    assert!(seen.contains("h264") && seen.contains("aac"), "{seen}");
}

mod chromium {
    use super::*;

    /// The page takes it for the end of the stream, asks again after a moment, and plays, since nobody blocked it.
    #[test]
    fn the_page_comes_back() {
        let server = Server::start("");
        let _feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
        server.wait_stream("/live/a.flv");
        let url = server.http("/?stream=live/a");
        let mut visit = programs::tool("browser.py");
        visit.args([&url, "--seconds", "6", "--deadline", "60"]);
        let visit = Job::start(&mut visit);
        kick(&server, "play", "http1");
        ended(&server, "play ended", "http1");
        let seen = visit.finish(Duration::from_secs(90)).json();
        let states: Vec<&str> = seen["samples"]
            .as_array()
            .expect("samples")
            .iter()
            .filter_map(|sample| sample["state"].as_str())
            .collect();
        assert!(states.contains(&"waiting"), "{states:?}");
        assert_eq!(states.last(), Some(&"playing"), "{states:?}");
        assert_eq!(
            seen["page_errors"].as_array().map(Vec::len),
            Some(0),
            "{seen}"
        );
    }
}
