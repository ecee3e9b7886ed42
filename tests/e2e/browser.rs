//! The player page in a real browser: Debian's Chromium, headless, which decodes H.264 and AAC.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::support::certs;
use super::support::feed::{Feed, Plan};
use super::support::fixtures;
use super::support::programs::{self, FFMPEG_DEBIAN, Job};
use super::support::server::{Server, command};

/// A browser's start, what it plays, and its end, on a machine with two cores.
const VISIT: Duration = Duration::from_secs(90);

fn visit(url: &str, arguments: &[&str]) -> Job {
    Job::start(programs::tool("browser.py").arg(url).args(arguments))
}

/// The page played for that many seconds, pictures were decoded, and nothing went wrong.
#[track_caller]
fn check_played(seen: &Value, seconds: f64) {
    let number = |value: &Value| {
        value
            .as_f64()
            .unwrap_or_else(|| panic!("a number in {seen}"))
    };
    assert_eq!(seen["state"], "playing", "{seen}");
    assert_eq!(seen["errors"], Value::Array(vec![]), "{seen}");
    assert_eq!(seen["page_errors"], Value::Array(vec![]), "{seen}");
    assert_eq!(seen["console"], Value::Array(vec![]), "{seen}");
    assert_eq!(seen["retries"], 0, "{seen}");
    assert!(number(&seen["advanced"]) >= seconds, "{seen}");
    let samples = seen["samples"].as_array().expect("samples");
    let last = samples.last().expect("samples");
    let decoded = number(&last["decoded"]);
    assert!(
        decoded >= seconds * 20.0,
        "{decoded} pictures in {seconds} s: {seen}"
    );
    assert!(number(&last["dropped"]) <= decoded / 4.0, "{seen}");
    // The picture never goes back.
    let times: Vec<f64> = samples
        .iter()
        .map(|sample| number(&sample["currentTime"]))
        .collect();
    assert!(times.windows(2).all(|pair| pair[1] >= pair[0]), "{times:?}");
}

fn demo() -> Server {
    let folder = TempDir::new().expect("a temporary folder");
    let mut command = command();
    command
        .arg("demo")
        .env("PINGORA_LIVE_RTMP_LISTEN", "127.0.0.1:0")
        .env("PINGORA_LIVE_HTTP_LISTEN", "127.0.0.1:0");
    Server::spawn(command, folder)
}

/// What a newcomer sees first: the address that `demo` tells, opened, plays. Ten seconds, so that the clip's loop is crossed.
#[test]
fn the_demo_plays() {
    let server = demo();
    let seen = visit(&server.open, &["--seconds", "10"])
        .finish(VISIT)
        .json();
    check_played(&seen, 10.0);
    let stats = &seen["stats"];
    assert_eq!(
        (&stats["width"], &stats["height"]),
        (&640.into(), &360.into())
    );
    assert!(
        stats["videoCodec"]
            .as_str()
            .is_some_and(|codec| codec.starts_with("avc1.")),
        "{stats}"
    );
    assert!(
        stats["audioCodec"]
            .as_str()
            .is_some_and(|codec| codec.starts_with("mp4a.40.")),
        "{stats}"
    );
    let bitrate = stats["bitrateKbps"].as_f64().expect("a bitrate");
    assert!((200.0..1500.0).contains(&bitrate), "{bitrate} kbit/s");
    assert!(
        stats["latencyS"].as_f64().expect("a latency") < 4.0,
        "{stats}"
    );
}

/// A stream of one's own, by its name typed into the box, with its sound turned on.
#[test]
fn a_published_stream_plays_by_its_name() {
    let server = demo();
    let _ffmpeg = programs::publish_loop(
        FFMPEG_DEBIAN,
        &fixtures::h264_aac(),
        &server.rtmp("live/livestream"),
    );
    let seen = visit(
        &server.open,
        &["--play", "live/livestream", "--unmute", "--seconds", "7"],
    )
    .finish(VISIT)
    .json();
    check_played(&seen, 7.0);
    assert_eq!(
        (&seen["stats"]["width"], &seen["muted"]),
        (&320.into(), &false.into())
    );
}

/// The address of a page names the stream.
#[test]
fn a_stream_by_the_pages_address() {
    let server = demo();
    let _feed = Feed::start(&server, "live/room", "x", Plan::of(&fixtures::h264_aac()));
    let seen = visit(
        &format!("{}?stream=live/room/x", server.open),
        &["--seconds", "4"],
    )
    .finish(VISIT)
    .json();
    check_played(&seen, 4.0);
}

/// A stream that is not there is told in plain words, with the command that publishes it.
#[test]
fn a_missing_stream_is_told() {
    let server = demo();
    let seen = visit(
        &server.open,
        &["--play", "live/none", "--until-state", "waiting"],
    )
    .finish(VISIT)
    .json();
    let message = seen["message"].as_str().expect("a message");
    assert!(
        message.contains("no such stream")
            && message.contains("ffmpeg -re -i")
            && message.contains(":1935/live/none"),
        "{message}"
    );
    assert_eq!(seen["errors"][0]["code"], 404, "{seen}");
    assert_eq!(seen["page_errors"], Value::Array(vec![]), "{seen}");
}

/// A publisher that dies and comes back is a pause to the viewer, not an error.
#[test]
fn a_publisher_back_in_time_is_not_noticed() {
    let server = demo();
    let first =
        programs::publish_loop(FFMPEG_DEBIAN, &fixtures::h264_aac(), &server.rtmp("live/x"));
    let page = visit(
        &format!("{}?stream=live/x", server.open),
        &["--seconds", "14", "--deadline", "50"],
    );
    server.wait_log(&["live", "x"], VISIT);
    std::thread::sleep(Duration::from_secs(6));
    first.kill();
    std::thread::sleep(Duration::from_secs(3));
    let _second =
        programs::publish_loop(FFMPEG_DEBIAN, &fixtures::h264_aac(), &server.rtmp("live/x"));
    check_played(&page.finish(VISIT).json(), 14.0);
}

#[test]
fn sound_only_plays() {
    let server = demo();
    let _feed = Feed::start(&server, "live", "radio", Plan::of(&fixtures::aac()));
    let seen = visit(
        &format!("{}?stream=live/radio", server.open),
        &["--seconds", "4"],
    )
    .finish(VISIT)
    .json();
    assert!(
        seen["advanced"]
            .as_f64()
            .is_some_and(|advanced| advanced >= 4.0),
        "{seen}"
    );
    assert_eq!(seen["errors"], Value::Array(vec![]), "{seen}");
}

/// By HTTPS, where Chromium speaks HTTP/2.
#[test]
fn the_page_plays_by_https() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let certificate = certs::make(folder.path(), "localhost");
    let server = Server::start(&format!(
        "https: {{ listen: [\"127.0.0.1:0\"], certs: [{{ cert: {:?}, key: {:?} }}] }}",
        certificate.cert, certificate.key
    ));
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let seen = visit(
        &format!("https://{}/?stream=live/x", server.address("https")),
        &["--seconds", "5"],
    )
    .finish(VISIT)
    .json();
    check_played(&seen, 5.0);
}
