//! `pingora-live-bench`: a short run of each of its commands, whose reports are read. Nothing here judges speed.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::SHORT;
use super::support::certs;
use super::support::programs::{self, Job};
use super::support::server::Server;
use super::support::{fixtures, wait_for};

const WITHIN: Duration = Duration::from_secs(60);

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pingora-live-bench"));
    command.args(["--json", "--quiet"]).args(arguments);
    command
}

/// Runs it to its end, which must be a good one.
#[track_caller]
fn run(arguments: &[&str]) -> Value {
    programs::run(&mut bench(arguments), WITHIN).json()
}

/// Publishes until it is dropped.
fn publish(server: &Server) -> Job {
    let url = server.rtmp("live/x");
    let job = Job::start(&mut bench(&["publish", &url, "-d", "10m"]));
    server.wait_stream("/live/x.flv");
    job
}

/// Frames came at the rate at which they were published, to all players.
#[track_caller]
fn check_played(report: &Value, players: u64) {
    assert_eq!(report["players"]["asked"], players, "{report}");
    assert_eq!(report["players"]["playing"], players, "{report}");
    assert_eq!(report["players"]["failed"], 0, "{report}");
    for what in ["first_byte_ms", "first_keyframe_ms"] {
        assert_eq!(report[what]["count"], players, "{report}");
        let (p50, max) = (&report[what]["p50"], &report[what]["max"]);
        assert!(p50.as_f64() <= max.as_f64(), "{report}");
    }
    assert!(report["gap_ms"]["count"].as_u64() > Some(10), "{report}");
    let bitrate = report["bitrate_per_player"].as_f64().expect("a number");
    assert!((500_000.0..1_500_000.0).contains(&bitrate), "{report}");
    assert!(report["verified"]["tags"].as_u64() > Some(100), "{report}");
    assert_eq!(report["verified"]["problems"], serde_json::json!({}));
    assert_eq!(report["errors"], serde_json::json!({}), "{report}");
}

#[test]
fn twenty_players_for_three_seconds() {
    let server = Server::start(SHORT);
    let _publisher = publish(&server);
    let url = server.http("/live/x.flv");
    let pid = server.pid().to_string();
    let report = run(&[
        "play", &url, "-n", "20", "--sample", "5", "-d", "3s", "--pid", &pid,
    ]);
    check_played(&report, 20);
    assert_eq!(report["verified"]["connections"], 5);
    assert!(report["delay_ms"]["count"].as_u64() > Some(100), "{report}");
    let measured = report["server"].as_object().expect("the server's cost");
    for what in ["cpu_us_per_client", "cpu_s_per_gb", "memory"] {
        assert!(measured[what].as_f64() > Some(0.0), "{report}");
    }
    assert!(report["own_cpu_percent"].as_f64() > Some(0.0), "{report}");
}

#[test]
fn every_protocol_is_played() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cert = certs::make(folder.path(), "localhost");
    let server = Server::start(&format!(
        "{SHORT}https: {{ listen: [\"127.0.0.1:0\"], certs: [{{ cert: {:?}, key: {:?} }}] }}\n\
         rtmp: {{ listen: [\"127.0.0.1:0\"], tls: {{ listen: [\"127.0.0.1:0\"], cert: {0:?}, key: {1:?} }} }}\n",
        cert.cert, cert.key
    ));
    let _publisher = publish(&server);
    let (http, https) = (server.address("http"), server.address("https"));
    let (rtmp, rtmps) = (server.address("rtmp"), server.address("rtmps"));
    for (url, encrypted) in [
        (format!("ws://{http}/live/x.flv"), false),
        (format!("https://{https}/live/x.flv"), true),
        (format!("wss://{https}/live/x.flv"), true),
        (format!("rtmp://{rtmp}/live/x"), false),
        (format!("rtmps://{rtmps}/live/x"), true),
    ] {
        let report = run(&["play", &url, "-n", "6", "--sample", "3", "-d", "2s"]);
        check_played(&report, 6);
        let handshakes = &report["tls"];
        assert_eq!(handshakes.is_object(), encrypted, "{report}");
        if encrypted {
            let count = |kind: &str| handshakes[kind].as_u64().unwrap_or_default();
            assert_eq!(count("full") + count("resumed"), 6, "{report}");
            assert!(count("resumed") > 0, "sessions are resumed: {report}");
        }
    }
    // What is not FLV is not looked into.
    let report = run(&["play", &server.http("/live/x.ts"), "-n", "2", "-d", "1s"]);
    assert_eq!(report["players"]["playing"], 2, "{report}");
    assert_eq!(report["verified"]["tags"], 0, "{report}");
}

#[test]
fn http2_is_played_with_several_streams_on_a_connection() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cert = certs::make(folder.path(), "localhost");
    let server = Server::start(&format!(
        "{SHORT}https: {{ listen: [\"127.0.0.1:0\"], certs: [{{ cert: {:?}, key: {:?} }}] }}\n",
        cert.cert, cert.key
    ));
    let _publisher = publish(&server);
    let (http, https) = (server.address("http"), server.address("https"));
    // Some connections are looked at, and some are thrown away.
    for (base, connections) in [
        (format!("http://{http}"), 0),
        (format!("https://{https}"), 4),
    ] {
        let url = format!("{base}/live/x.flv");
        let shared = ["--http2", "--streams-per-connection", "5"];
        let few = ["play", &url, "-n", "18", "--sample", "6", "-d", "2s"];
        let report = run(&[&few[..], &shared].concat());
        check_played(&report, 18);
        // The second connection of four, and the last one, which has three players.
        assert_eq!(report["verified"]["connections"], 8, "{report}");
        let handshakes = &report["tls"];
        let count = |kind: &str| handshakes[kind].as_u64().unwrap_or_default();
        assert_eq!(count("full") + count("resumed"), connections, "{report}");
    }
}

#[test]
fn players_that_are_lost_midway_count_for_as_long_as_they_played() {
    let server = Server::start(SHORT);
    let _publisher = publish(&server);
    let url = server.http("/live/x.flv");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pingora-live-bench"));
    command.args(["--json", "play", &url, "-n", "20", "-d", "10m"]);
    let player = Job::start(&mut command);
    // The line stays for seconds, in which it measures.
    wait_for("it measures", WITHIN, || {
        player
            .stderr()
            .contains("measuring: 20 of 20")
            .then_some(())
    });
    drop(server);
    let output = player.finish(WITHIN);
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["players"]["left"], 20, "{report}");
    assert_eq!(report["players"]["playing"], 0, "{report}");
    let bitrate = report["bitrate_per_player"].as_f64().expect("a number");
    assert!((500_000.0..1_500_000.0).contains(&bitrate), "{report}");
}

#[test]
fn delay_is_measured() {
    let server = Server::start(SHORT);
    let report = run(&[
        "latency",
        &server.rtmp("live/late"),
        &server.http("/live/late.flv"),
        "-n",
        "10",
        "-d",
        "3s",
    ]);
    check_played(&report, 10);
    let delay = &report["delay_ms"];
    assert!(delay["count"].as_u64() > Some(200), "{report}");
    // A unit is a frame: what is published is not held back for the next one, as merged writes would for longer than this.
    assert!(delay["p50"].as_f64() < Some(200.0), "{report}");
}

#[test]
fn streams_are_published_from_a_file_and_by_post() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cert = certs::make(folder.path(), "localhost");
    let server = Server::start(&format!(
        "{SHORT}https: {{ listen: [\"127.0.0.1:0\"], certs: [{{ cert: {:?}, key: {:?} }}] }}\n",
        cert.cert, cert.key
    ));
    let file = fixtures::h264_aac();
    let file = file.to_str().expect("a path in UTF-8");
    let pid = server.pid().to_string();
    for url in [
        server.rtmp("live/many{}"),
        server.http("/live/posted{}.flv"),
        format!("https://{}/live/sealed{{}}.flv", server.address("https")),
    ] {
        let publisher = Job::start(&mut bench(&[
            "publish", &url, "-n", "3", "-d", "4s", "--file", file, "--pid", &pid,
        ]));
        let last = match url.split(':').next() {
            Some("rtmp") => "/live/many2.flv",
            Some("http") => "/live/posted2.flv",
            _ => "/live/sealed2.flv",
        };
        server.wait_stream(last);
        let report = run(&["play", &server.http(last), "-d", "1s"]);
        assert_eq!(report["players"]["playing"], 1, "{report}");
        assert_eq!(
            report["verified"]["problems"],
            serde_json::json!({}),
            "{report}"
        );
        let report = publisher.finish(WITHIN).json();
        assert_eq!(report["publishers"]["publishing"], 3, "{report}");
        assert_eq!(report["publishers"]["left"], 0, "{report}");
        let bitrate = &report["bitrate_per_publisher"];
        assert!(bitrate.as_f64() > Some(10_000.0), "{report}");
        let cost = &report["server"]["cpu_us_per_client"];
        assert!(cost.as_f64() > Some(0.0), "{report}");
    }
}

#[test]
fn the_floor_serves_what_a_server_does() {
    let mut floor = Job::start(&mut bench(&["floor", "--merge", "350ms"]));
    let address = wait_for("the floor listens", WITHIN, || {
        assert!(floor.is_running());
        let said = floor.stdout();
        said.lines()
            .find_map(|line| line.strip_prefix("listening http "))
            .map(str::to_owned)
    });
    let pid = floor.pid().to_string();
    let url = format!("http://{address}/any.flv");
    let report = run(&["play", &url, "-n", "5", "-d", "3s", "--pid", &pid]);
    assert_eq!(report["players"]["playing"], 5, "{report}");
    assert_eq!(
        report["verified"]["problems"],
        serde_json::json!({}),
        "{report}"
    );
    // Merged: three writes a second, not 25.
    assert!(report["gap_ms"]["p50"].as_f64() > Some(100.0), "{report}");
}

#[test]
fn a_receiver_that_only_reads_takes_publishers() {
    let mut floor = Job::start(&mut bench(&["floor", "--ingest"]));
    let address = wait_for("the floor listens", WITHIN, || {
        assert!(floor.is_running());
        let said = floor.stdout();
        said.lines()
            .find_map(|line| line.strip_prefix("listening rtmp "))
            .map(str::to_owned)
    });
    let url = format!("rtmp://{address}/live/s{{}}");
    let report = run(&["publish", &url, "-n", "3", "-d", "2s"]);
    assert_eq!(report["publishers"]["publishing"], 3, "{report}");
    let bitrate = report["bitrate_per_publisher"].as_f64().expect("a number");
    assert!((800_000.0..1_200_000.0).contains(&bitrate), "{report}");
}

#[test]
fn what_encryption_costs_is_measured() {
    let report = run(&["floor", "--seal", "50", "-d", "1s"]);
    assert_eq!(report["sessions"], 50, "{report}");
    let suite = report["suite"].as_str().expect("a name");
    assert!(suite.starts_with("TLS13_"), "{report}");
    // 1 Mbit/s for each.
    let bytes = report["bytes"].as_f64().expect("a number");
    assert!((4_000_000.0..8_000_000.0).contains(&bytes), "{report}");
    for what in [
        "cpu_us_per_client",
        "cpu_s_per_gb",
        "hot_cipher_us_per_client",
    ] {
        assert!(report[what].as_f64() > Some(0.0), "{report}");
    }
}

#[test]
fn what_goes_wrong_is_counted() {
    let server = Server::start(
        "vhosts:\n  __defaultVhost__:\n    play: { on_missing: 404 }\n    publish: { on_busy: reject }\n",
    );
    let url = server.http("/live/none.flv");
    let output = programs::run(
        &mut bench(&["play", &url, "-n", "4", "-d", "1s", "--patience", "2s"]),
        WITHIN,
    );
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["players"]["failed"], 4, "{report}");
    assert_eq!(report["errors"]["status 404"], 4, "{report}");

    // Two publishers of one stream: one is refused.
    let url = server.rtmp("live/one");
    let output = programs::run(
        &mut bench(&["publish", &url, "-n", "2", "-d", "1s"]),
        WITHIN,
    );
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["publishers"]["publishing"], 1, "{report}");
    assert_eq!(
        report["errors"]["refused: NetStream.Publish.BadName"], 1,
        "{report}"
    );

    for wrong in [
        &["play", "nonsense"][..],
        &["play", "ftp://127.0.0.1/x"],
        &["publish", "rtmp://127.0.0.1/live/x", "--file", "/none.flv"],
        &["publish", "ws://127.0.0.1/live/x"],
        &["play", "rtmp://127.0.0.1/live/x", "--http2"],
        &["play", "http://127.0.0.1/x", "-n", "0"],
        &["play", "http://127.0.0.1/x", "-n", "2000000000"],
        &["play", "http://127.0.0.1/x", "--pid", "4000000000"],
        &["floor", "--seal", "0"],
        &["suite", "--only", "nothing"],
    ] {
        let output = programs::run(&mut bench(wrong), WITHIN);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty(), "{wrong:?} says nothing");
    }
}
