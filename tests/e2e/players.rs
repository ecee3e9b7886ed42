//! Players for people: mpv and VLC, without a screen or a loudspeaker, by each protocol.

use std::process::Command;
use std::time::Duration;

use super::SHORT;
use super::support::feed::{Feed, Plan};
use super::support::programs::Job;
use super::support::server::Server;
use super::support::{PATIENCE, certs, fixtures};

/// Some seconds of play, with the start of a large program on a busy machine.
const PLAY: Duration = Duration::from_secs(90);

/// A server with all protocols, and a stream.
fn start(folder: &std::path::Path) -> (Server, Feed) {
    let certificate = certs::make(folder, "localhost");
    let server = Server::start(&format!(
        "{SHORT}\nrtmp:\n  listen: [\"127.0.0.1:0\"]\n  tls: {{ listen: [\"127.0.0.1:0\"], cert: {:?}, key: {:?} }}",
        certificate.cert, certificate.key
    ));
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    (server, feed)
}

/// An address, whether it has a picture, and what the server's log calls it.
fn addresses(server: &Server) -> Vec<(String, bool, &'static str)> {
    let secure = format!("rtmps://{}/live/x", server.address("rtmps"));
    let mut all = vec![
        (server.rtmp("live/x"), true, "rtmp"),
        (secure, true, "rtmp"),
        (server.http("/live/x.flv"), true, "flv"),
        (server.http("/live/x.ts"), true, "ts"),
        (server.http("/live/x.aac"), false, "aac"),
    ];
    if cfg!(feature = "transcode") {
        all.push((server.http("/live/x.mp3"), false, "mp3"));
    }
    all
}

#[test]
fn mpv_plays_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, _feed) = start(folder.path());
    for (url, has_picture, format) in addresses(&server) {
        let mut command = Command::new("mpv");
        command
            .args(["--no-config", "--vo=null", "--ao=null", "--length=3"])
            .args(["--msg-level=all=warn,cplayer=info", "--term-status-msg="])
            .arg(&url);
        let output = Job::start(&mut command).finish(PLAY);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &output.stderr;
        assert!(output.status.success(), "{url}: {said}");
        assert!(said.contains("AO: [null] 48000Hz"), "{url}: {said}");
        let picture = said.contains("VO: [null] 320x180");
        assert_eq!(picture, has_picture, "{url}: {said}");
        for bad in ["rror", "nvalid", "orrupt"] {
            assert!(!said.contains(bad), "{url}: {said}");
        }
        let line = format!("format=\"{format}\"");
        server.wait_log(&["play ended", &line, "client_left"], PATIENCE);
    }
}

#[test]
fn vlc_plays_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, _feed) = start(folder.path());
    for (url, has_picture, format) in addresses(&server) {
        // It refuses to run as root.
        // SAFETY: geteuid has no arguments and cannot fail.
        let mut command = if unsafe { libc::geteuid() } == 0 {
            let mut command = Command::new("runuser");
            command.args(["-u", "nobody", "--", "vlc"]);
            command
        } else {
            Command::new("vlc")
        };
        command
            .args(["-I", "dummy", "-vv", "--vout", "dummy", "--aout", "dummy"])
            .args(["--run-time=3", "--play-and-exit"])
            .arg(&url);
        let output = Job::start(&mut command).finish(PLAY);
        let said = output.stderr;
        assert!(output.status.success(), "{url}: {}", tail(&said));
        assert!(
            said.contains("using audio decoder"),
            "{url}: {}",
            tail(&said)
        );
        let picture = said.contains("Received first picture");
        assert_eq!(picture, has_picture, "{url}: {}", tail(&said));
        let line = format!("format=\"{format}\"");
        server.wait_log(&["play ended", &line, "client_left"], PATIENCE);
    }
}

/// It says a lot.
fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(3000);
    text.get(from..).unwrap_or(text)
}
