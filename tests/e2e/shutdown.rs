//! SIGTERM with everybody connected: players' bodies end as they should, publishers are told, and the process ends soon.

use std::time::{Duration, Instant};

use super::support::feed::{Feed, Plan};
use super::support::flv::{Flv, VIDEO};
use super::support::player::{End, Player};
use super::support::programs::{self, FFMPEG_DEBIAN, Job, curl};
use super::support::rtmp::Client;
use super::support::server::Server;
use super::support::{PATIENCE, amf, fixtures, http, wait_for};

#[test]
fn sigterm_with_players_and_publishers() {
    let mut server = Server::start_with("", "grace_period_seconds: 5\n", &[], &[]);
    let ffmpeg = programs::publish_loop(
        FFMPEG_DEBIAN,
        &fixtures::h264_aac(),
        &server.rtmp("live/real"),
    );
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let mut publisher =
        Client::connect(server.address("rtmp"), "live").expect("the server talks RTMP");
    assert_eq!(
        publisher.publish("quiet").expect("an answer"),
        "NetStream.Publish.Start"
    );
    let players = [
        Player::open(&server, "/live/x.flv"),
        Player::open(&server, "/live/real.flv"),
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let body = folder.path().join("body");
    let mut h2 = curl();
    h2.args(["--http2-prior-knowledge", "-o"])
        .arg(&body)
        .arg(server.http("/live/x.flv"));
    let h2 = Job::start(&mut h2);
    let waiting = Player::open(&server, "/live/never.flv");
    for player in &players {
        player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    }
    server.wait_connections("http", 4);

    let begin = Instant::now();
    server.signal(libc::SIGTERM);
    for player in &players {
        assert_eq!(player.wait_end(Duration::from_secs(5)), End::Proper);
        assert!(Flv::default().flags.is_none() && player.flv().flags.is_some());
    }
    // By HTTP/2, curl exits with 0 only after END_STREAM.
    h2.finish(Duration::from_secs(5)).success();
    assert!(
        Flv::read(&std::fs::read(&body).expect("a body"))
            .expect("whole tags only")
            .frames(VIDEO)
            .len()
            > 10
    );
    wait_for(
        "the publisher is disconnected",
        Duration::from_secs(5),
        || publisher.is_closed().then_some(()),
    );
    let told = publisher.heard().iter().any(|message| {
        message.kind == super::support::rtmp::COMMAND
            && matches!(
                amf::command_name(&message.body).as_deref(),
                Some("onStatus" | "close")
            )
    });
    assert!(told, "the publisher was told why: {:?}", publisher.heard());
    ffmpeg.finish(Duration::from_secs(5));
    waiting.wait_end(Duration::from_secs(5));

    let status = server.wait_exit(Duration::from_secs(8));
    let took = begin.elapsed();
    assert_eq!(status.code(), Some(0));
    assert!(
        took < Duration::from_secs(7),
        "it took {took:?}, with a grace period of 5 s"
    );
}

/// Nobody is connected, so there is nobody to wait for.
#[test]
fn sigterm_of_an_idle_server() {
    let mut server = Server::start_with("", "grace_period_seconds: 20\n", &[], &[]);
    http::get(server.address("http"), "/");
    let begin = Instant::now();
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait_exit(Duration::from_secs(30)).code(), Some(0));
    assert!(
        begin.elapsed() < Duration::from_secs(8),
        "it took {:?}",
        begin.elapsed()
    );
}

#[test]
fn sigint_is_immediate() {
    let mut server = Server::start_with("", "grace_period_seconds: 20\n", &[], &[]);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let player = Player::open(&server, "/live/x.flv");
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    server.signal(libc::SIGINT);
    assert_eq!(server.wait_exit(Duration::from_secs(6)).code(), Some(0));
}

/// New connections are not taken once the server has been told to stop.
#[test]
fn no_newcomers_after_sigterm() {
    let mut server = Server::start_with("", "grace_period_seconds: 3\n", &[], &[]);
    let address = server.address("http");
    http::get(address, "/");
    server.signal(libc::SIGTERM);
    wait_for("the listener is closed", Duration::from_secs(6), || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    server.wait_exit(Duration::from_secs(10));
}
