//! Playing by RTMP: real players, byte for byte; and another server that pulls.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::SHORT;
use super::support::amf::Amf;
use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, Flv, VIDEO, assert_run_of};
use super::support::player::Player;
use super::support::programs::{FFMPEG_DEBIAN, Job, ffmpeg_current, publish_loop};
use super::support::rtmp::Client;
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, wait_for};

/// Some seconds of play, with a start on a busy machine.
const PLAY: Duration = Duration::from_secs(40);

/// Reads `url` for three seconds with ffmpeg, without re-encoding, into an FLV file.
fn record(ffmpeg: &str, url: &str, file: &Path) -> Job {
    let mut command = Command::new(ffmpeg);
    command
        .args([
            "-hide_banner",
            "-loglevel",
            "warning",
            "-y",
            "-i",
            url,
            "-t",
            "3",
            "-c",
            "copy",
            "-f",
            "flv",
        ])
        .arg(file);
    Job::start(&mut command)
}

/// What a program recorded is a run of what the fixture, sent again and again, holds.
#[track_caller]
fn check(recorded: &Path, fixture: &Path) {
    let read = |path: &Path| Flv::read(&std::fs::read(path).expect("a file")).expect("FLV");
    let (came, sent) = (read(recorded), read(fixture));
    for kind in [VIDEO, AUDIO] {
        let (came, sent) = (came.frames(kind), sent.frames(kind));
        assert!(came.len() > 30, "{} frames of kind {kind}", came.len());
        let twice: Vec<_> = sent.iter().chain(sent.iter()).copied().collect();
        assert_run_of(&came, &twice);
    }
    assert!(came.frames(VIDEO)[0].is_keyframe());
}

#[test]
fn both_ffmpegs_play() {
    let server = Server::start(SHORT);
    let fixture = fixtures::h264_aac();
    let _feed = publish_loop(FFMPEG_DEBIAN, &fixture, &server.rtmp("live/x"));
    server.wait_stream("/live/x.flv");
    let folder = tempfile::tempdir().expect("a folder");
    for (index, ffmpeg) in [FFMPEG_DEBIAN, ffmpeg_current()].into_iter().enumerate() {
        let file = folder.path().join(format!("{index}.flv"));
        let output = record(ffmpeg, &server.rtmp("live/x"), &file).finish(PLAY);
        assert!(
            !output.stderr.contains("Unsupported codec"),
            "a stream that is none: {}",
            output.stderr
        );
        output.success();
        check(&file, &fixture);
    }
    server.wait_log(
        &["play ended", "protocol=\"rtmp\"", "client_left"],
        PATIENCE,
    );
}

#[test]
fn enhanced_codecs_are_given_as_they_came() {
    let server = Server::start(SHORT);
    let fixture = fixtures::av1_opus();
    let _feed = publish_loop(ffmpeg_current(), &fixture, &server.rtmp("live/x"));
    server.wait_stream("/live/x.flv");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.flv");
    record(ffmpeg_current(), &server.rtmp("live/x"), &file)
        .finish(PLAY)
        .success();
    check(&file, &fixture);
}

#[test]
fn rtmpdump_plays() {
    let server = Server::start(SHORT);
    let fixture = fixtures::h264_aac();
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixture).for_ms(8_000));
    server.wait_stream("/live/x.flv");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.flv");
    let mut command = Command::new("rtmpdump");
    command
        .args([
            "-q",
            "--live",
            "--stop",
            "3",
            "-r",
            &server.rtmp("live/x"),
            "-o",
        ])
        .arg(&file);
    Job::start(&mut command).finish(PLAY);
    let came = Flv::read(&std::fs::read(&file).expect("a file")).expect("FLV");
    assert!(
        came.frames(VIDEO).len() > 30,
        "{}",
        came.frames(VIDEO).len()
    );
    assert!(came.frames(VIDEO)[0].is_keyframe());
}

#[test]
fn both_elements_of_gstreamer_play() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(
        &server,
        "live",
        "x",
        Plan::of(&fixtures::h264_aac()).for_ms(60_000),
    );
    server.wait_stream("/live/x.flv");
    let url = server.rtmp("live/x");
    for (element, location) in [("rtmpsrc", format!("{url} live=1")), ("rtmp2src", url)] {
        let mut command = Command::new("gst-launch-1.0");
        command.args([
            "-q",
            element,
            &format!("location={location}"),
            "num-buffers=60",
            "!",
            "fakesink",
        ]);
        Job::start(&mut command).finish(PLAY).success();
    }
}

#[test]
fn a_player_is_held_for_a_stream_to_come_and_told_when_it_does_not() {
    let server = Server::start("vhosts: { __defaultVhost__: { play: { wait: 3s } } }");
    let mut command = Command::new(FFMPEG_DEBIAN);
    command.args([
        "-hide_banner",
        "-loglevel",
        "info",
        "-i",
        &server.rtmp("live/x"),
        "-t",
        "1",
        "-f",
        "null",
        "-",
    ]);
    let early = Job::start(&mut command);
    server.wait_connections("rtmp", 1);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    early.finish(PLAY).success();

    let mut command = Command::new(FFMPEG_DEBIAN);
    command.args([
        "-hide_banner",
        "-loglevel",
        "info",
        "-i",
        &server.rtmp("live/none"),
        "-f",
        "null",
        "-",
    ]);
    let output = Job::start(&mut command).finish(PLAY);
    assert!(!output.status.success());
    assert!(
        output.stderr.contains("no such stream"),
        "{}",
        output.stderr
    );
}

/// The stream's end reaches the player: ffmpeg writes its file's end and exits with 0.
#[test]
fn the_end_of_the_stream_ends_the_player() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(
        &server,
        "live",
        "x",
        Plan::of(&fixtures::h264_aac()).for_ms(6_000),
    );
    server.wait_stream("/live/x.flv");
    let mut command = Command::new(FFMPEG_DEBIAN);
    command.args([
        "-hide_banner",
        "-loglevel",
        "warning",
        "-i",
        &server.rtmp("live/x"),
        "-c",
        "copy",
        "-f",
        "null",
        "-",
    ]);
    let player = Job::start(&mut command);
    player.finish(PLAY).success();
    server.wait_log(
        &["play ended", "protocol=\"rtmp\"", "publisher_left"],
        PATIENCE,
    );
}

/// A player that breaks the protocol is dropped, and those beside it play on.
#[test]
fn a_hostile_player_disturbs_nobody() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(
        &server,
        "live",
        "x",
        Plan::of(&fixtures::h264_aac()).for_ms(60_000),
    );
    server.wait_stream("/live/x.flv");
    let beside = Player::open(&server, "/live/x.flv");
    let mut hostile = Client::connect(server.address("rtmp"), "live").expect("a connection");
    hostile
        .command(1, "play", vec![Amf::Null, Amf::Text("x")])
        .expect("play is sent");
    wait_for("media comes", PATIENCE, || {
        hostile
            .heard()
            .iter()
            .any(|m| m.kind == VIDEO)
            .then_some(())
    });
    hostile.raw(&[0xff; 4096]).expect("rubbish is sent");
    server.wait_log(&["play ended", "protocol=\"rtmp\""], PATIENCE);
    beside.wait_more(50, PATIENCE);
}

/// nginx with its RTMP module pulls from us, and is pulled from.
#[test]
fn nginx_rtmp_pulls() {
    let server = Server::start(SHORT);
    let fixture = fixtures::h264_aac();
    let _feed = publish_loop(FFMPEG_DEBIAN, &fixture, &server.rtmp("live/x"));
    server.wait_stream("/live/x.flv");
    let nginx = Nginx::start(&format!("pull {};", server.rtmp("live")));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.flv");
    record(
        FFMPEG_DEBIAN,
        &format!("rtmp://127.0.0.1:{}/live/x", nginx.port),
        &file,
    )
    .finish(PLAY)
    .success();
    check(&file, &fixture);
}

/// nginx in the foreground, with one RTMP application. Killed by its handle.
/// nginx with its RTMP module and an application `live`.
pub struct Nginx {
    child: Child,
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// `application`: further directives.
    pub fn start(application: &str) -> Nginx {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port")
            .port();
        Nginx::start_at(port, application)
    }

    /// At a port that another had.
    pub fn start_at(port: u16, application: &str) -> Nginx {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().display();
        let config = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\n\
             daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; {application} }} }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config).expect("a configuration");
        let child = Command::new("/usr/sbin/nginx")
            .arg("-c")
            .arg(&file)
            .args(["-p", &root.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx with libnginx-mod-rtmp");
        let nginx = Nginx {
            child,
            port,
            _folder: folder,
        };
        wait_for("nginx listens", PATIENCE, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
