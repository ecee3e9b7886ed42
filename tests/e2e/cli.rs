//! The command line: checking, printing, exit codes, what is said at the start.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use super::support::certs;
use super::support::feed::{Feed, Plan};
use super::support::flv::VIDEO;
use super::support::player::Player;
use super::support::programs::{self, Output};
use super::support::server::{Server, command, write_config};
use super::support::{PATIENCE, fixtures};

const SOON: Duration = Duration::from_secs(20);

fn check(folder: &Path, live: &str) -> Output {
    let file = write_config(folder, live, "");
    programs::run(command().arg("-t").arg("-c").arg(file), SOON)
}

#[test]
fn a_good_file_is_checked_with_0() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert_eq!(check(folder.path(), "").status.code(), Some(0));
}

/// Each file in config/ can be used as it stands, in a folder that has what it names: a certificate, a folder of videos.
#[test]
fn the_files_that_come_with_it_are_good() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["config", "vod"] {
        fs::create_dir(folder.path().join(name)).expect("a folder");
    }
    certs::make(&folder.path().join("config"), "server");
    let mut seen = 0;
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for entry in fs::read_dir(config).expect("config/ is there") {
        let file = entry.expect("an entry").path();
        if file
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let mut command = command();
            command
                .current_dir(folder.path())
                .arg("-t")
                .arg("-c")
                .arg(&file);
            let output = programs::run(&mut command, SOON);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{}: {}",
                file.display(),
                output.stderr
            );
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen} files");
}

/// An error names the file, the line, the key, what was found and what is accepted.
#[test]
fn a_bad_value_is_told_with_1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = check(
        folder.path(),
        "vhosts:\n  __defaultVhost__:\n    play:\n      queue_length: soon\n",
    );
    assert_eq!(output.status.code(), Some(1));
    for part in [
        "live.yaml:7",
        "vhosts.__defaultVhost__.play.queue_length",
        "soon",
        "10s",
    ] {
        assert!(
            output.stderr.contains(part),
            "{part:?} is not in {:?}",
            output.stderr
        );
    }
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_known_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = check(
        folder.path(),
        "vhosts:\n  __defaultVhost__:\n    play:\n      gop_cash: off\n",
    );
    assert_eq!(output.status.code(), Some(1));
    for part in ["gop_cash", "gop_cache"] {
        assert!(
            output.stderr.contains(part),
            "{part:?} is not in {:?}",
            output.stderr
        );
    }
}

#[test]
fn all_errors_are_told_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = check(
        folder.path(),
        "limits: { connections: many }\nnonsense: 1\nvhosts: { __defaultVhost__: { play: { gop_cache: perhaps } } }\n",
    );
    assert_eq!(output.status.code(), Some(1));
    for part in ["many", "nonsense", "perhaps"] {
        assert!(
            output.stderr.contains(part),
            "{part:?} is not in {:?}",
            output.stderr
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_told_with_1() {
    let output = programs::run(command().args(["-t", "-c", "/nonexistent/live.yaml"]), SOON);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output.stderr.contains("/nonexistent/live.yaml"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_certificate_that_is_not_one_is_told_with_1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("not.crt");
    fs::write(&file, "no certificate").expect("written");
    let output = check(
        folder.path(),
        &format!(
            "https: {{ listen: [\"127.0.0.1:0\"], certs: [{{ cert: {file:?}, key: {file:?} }}] }}"
        ),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.contains("not.crt"), "{}", output.stderr);
}

#[test]
fn the_environment_overlays_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = write_config(folder.path(), "", "");
    let print = |name: &str, value: &str| {
        programs::run(
            command()
                .args(["--print-config", "-c"])
                .arg(&file)
                .env(name, value),
            SOON,
        )
    };
    let printed = print("PINGORA_LIVE_VHOST_PLAY_QUEUE_LENGTH", "3s").success();
    assert!(
        printed
            .lines()
            .any(|line| line.trim() == "queue_length: 3s"),
        "{printed}"
    );

    let unknown = print("PINGORA_LIVE_VHOST_PLAY_QUEUE_LENGHT", "3s");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        unknown
            .stderr
            .contains("PINGORA_LIVE_VHOST_PLAY_QUEUE_LENGTH"),
        "{}",
        unknown.stderr
    );
    let bad = print("PINGORA_LIVE_VHOST_HTTP_REMUX_GUESS_HAS_AV", "maybe");
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        bad.stderr
            .contains("PINGORA_LIVE_VHOST_HTTP_REMUX_GUESS_HAS_AV")
            && bad.stderr.contains("maybe"),
        "{}",
        bad.stderr
    );
}

/// What is printed is a whole configuration: it may be used as one, and prints itself.
#[test]
fn the_printed_configuration_is_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = write_config(
        folder.path(),
        "limits: { player_stall: 7s }",
        "threads: 2\n",
    );
    let first = programs::run(command().args(["--print-config", "-c"]).arg(file), SOON).success();
    assert!(first.contains("player_stall: 7s"), "{first}");
    let again = folder.path().join("again.yaml");
    fs::write(&again, &first).expect("written");
    let second = programs::run(command().args(["--print-config", "-c"]).arg(again), SOON).success();
    assert_eq!(first, second);
}

#[test]
fn a_taken_port_is_told_with_2() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for key in ["rtmp", "http"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = write_config(
            folder.path(),
            &format!("{key}: {{ listen: [{address:?}] }}"),
            "",
        );
        let output = programs::run(command().arg("-c").arg(file), SOON);
        assert_eq!(output.status.code(), Some(2), "{key}: {}", output.stderr);
        assert!(output.stderr.contains(&address), "{}", output.stderr);
    }
}

#[test]
fn the_version_is_told() {
    let output = programs::run(command().arg("--version"), SOON).success();
    assert_eq!(
        output.trim(),
        concat!("pingora-live ", env!("CARGO_PKG_VERSION"))
    );
}

/// Port 0 in the environment too; several listeners of a kind each have a line.
#[test]
fn each_listener_is_told() {
    let server = Server::start_with(
        "rtmp: { listen: [\"127.0.0.1:0\", \"127.0.0.1:0\"] }",
        "",
        &[],
        &[("PINGORA_LIVE_HTTP_LISTEN", "127.0.0.1:0")],
    );
    assert_ne!(server.address("rtmp").port(), 0);
    assert_eq!(server.open, format!("http://{}/", server.address("http")));
}

/// Publish and play each have a line with what an operator asks first.
#[test]
fn the_log_tells_each_publish_and_play() {
    let server =
        Server::start("vhosts:\n  __defaultVhost__:\n    publish: { republish_wait: 200ms }\n");
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let left = Player::open(&server, "/live/x.flv");
    left.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    drop(left);
    server.wait_log(&["client_left", "live", "x", "bytes"], PATIENCE);
    let stays = Player::open(&server, "/live/x.flv");
    stays.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    feed.finish();
    stays.wait_end(PATIENCE);
    server.wait_log(&["publisher_left", "bytes"], PATIENCE);
}
