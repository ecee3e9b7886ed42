//! SIGTERM with everybody connected: players' bodies end as they should, publishers are told, and the process ends soon.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::support::feed::{Feed, Plan};
use super::support::flv::{Flv, VIDEO};
use super::support::player::{End, Player};
use super::support::programs::{self, FFMPEG_DEBIAN, Job, curl};
use super::support::proxies::free_port;
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

/// At once, but not so that publishers and players leave no line: those of plain RTMP, of which a thread of its own reads, and of HTTP.
#[test]
fn sigint_is_immediate() {
    let mut server = Server::start_with("", "grace_period_seconds: 20\n", &[], &[]);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let _job = programs::publish_loop(
        FFMPEG_DEBIAN,
        &fixtures::h264_aac(),
        &server.http("/live/y.flv"),
    );
    for path in ["/live/x.flv", "/live/y.flv"] {
        server.wait_stream(path);
    }
    let player = Player::open(&server, "/live/x.flv");
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    // A player that takes nothing holds nobody up.
    let stuck = Player::open(&server, "/live/y.flv");
    stuck.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    stuck.pause();
    server.signal(libc::SIGINT);
    assert_eq!(server.wait_exit(Duration::from_secs(6)).code(), Some(0));
    let log = server.log();
    for stream in ["x", "y"] {
        let ended = |line: &&str| {
            let parts = ["publish ended", "reason=\"shutdown\""];
            let name = format!("stream=\"{stream}\"");
            line.contains(&name) && parts.iter().all(|part| line.contains(part))
        };
        assert_eq!(log.lines().filter(ended).count(), 1, "{stream}: {log}");
    }
    assert_eq!(player.wait_end(PATIENCE), End::Proper);
}

/// Who presses it twice does not wait.
#[test]
fn sigint_twice() {
    let mut server = Server::start_with("", "grace_period_seconds: 20\n", &[], &[]);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    server.signal(libc::SIGINT);
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

/// The status of a path of the API.
fn status(address: std::net::SocketAddr, path: &str) -> Option<u16> {
    http::request(address, "GET", path, &[])
        .ok()
        .map(|answer| answer.status)
}

/// Whoever balances the load hears of it at once, and while a player is still seen off.
#[test]
fn readiness_ends_with_sigterm() {
    let mut server = Server::start_with(
        "limits: { player_stall: 60s }\n",
        "grace_period_seconds: 60\n",
        &[],
        &[],
    );
    let plan = Plan::of(&fixtures::h264_aac()).with_pictures_of(20_000);
    let _feed = Feed::start(&server, "live", "x", plan);
    let player = Player::open_with(server.address("http"), "/live/x.flv", &[], Some(128 * 1024));
    player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    player.pause();
    wait_for("what it does not read is held", PATIENCE, || {
        (server.send_queue("http") > 64 * 1024).then_some(())
    });
    let api = server.address("api");
    assert_eq!(status(api, "/readyz"), Some(200));

    let since = Instant::now();
    server.signal(libc::SIGTERM);
    wait_for("it is not ready", PATIENCE, || {
        (status(api, "/readyz") == Some(503)).then_some(())
    });
    assert!(since.elapsed() < Duration::from_secs(5));
    assert_eq!(player.ended(), None, "the player is still there");
    assert_eq!(status(api, "/healthz"), Some(200));
    let metrics = http::get(api, "/metrics").text();
    assert!(metrics.contains("pingora_live_ready 0"));
    assert!(server.is_running());

    player.resume();
    assert_eq!(player.wait_end(PATIENCE), End::Proper);
    assert_eq!(server.wait_exit(PATIENCE).code(), Some(0));
}

/// An upgrade: the old process says that it is not ready on the connections that it has, and goes on with its players, while the new one
/// is ready at the same address.
#[test]
fn readiness_ends_with_sigquit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let live = format!(
        "rtmp: {{ listen: \"127.0.0.1:{}\" }}\nhttp: {{ listen: \"127.0.0.1:{}\" }}\n",
        ports[0], ports[1]
    );
    let top = format!(
        "grace_period_seconds: 4\nupgrade_sock: \"{}\"\n",
        folder.path().join("upgrade.sock").display()
    );
    let listen = format!("127.0.0.1:{}", ports[2]);
    let environment = [("PINGORA_LIVE_API_LISTEN", listen.as_str())];
    let mut old = Server::start_with(&live, &top, &[], &environment);
    let _feed = Feed::start(&old, "live", "x", Plan::of(&fixtures::h264_aac()));
    let player = Player::open(&old, "/live/x.flv");
    player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    let api = old.address("api");
    let mut kept = TcpStream::connect(api).expect("a connection");
    let mut ask = |path: &str| {
        write!(kept, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
        let answer = http::read_head(kept.try_clone().expect("a socket"), false);
        let answer = answer.expect("an answer");
        let close = answer.header("connection").map(str::to_owned);
        (answer.status, close, answer.text())
    };
    assert_eq!(ask("/readyz").0, 200);

    let (live, top) = (live.clone(), top.clone());
    let new = std::thread::spawn(move || {
        let environment = [("PINGORA_LIVE_API_LISTEN", listen.as_str())];
        Server::start_with(&live, &top, &["-u"], &environment)
    });
    std::thread::sleep(Duration::from_millis(500));
    old.signal(libc::SIGQUIT);
    let said = wait_for("it is not ready", PATIENCE, || {
        let said = ask("/readyz");
        (said.0 == 503 || said.1.is_some()).then_some(said)
    });
    assert_eq!(
        (said.0, said.1.as_deref()),
        (503, Some("close")),
        "{}",
        said.2
    );
    player.wait_more(20, PATIENCE);

    let new = new.join().expect("the new process");
    wait_for("the old process has gone", PATIENCE * 2, || {
        (!old.is_running()).then_some(())
    });
    assert_eq!(status(new.address("api"), "/readyz"), Some(200));
    assert_eq!(status(new.address("api"), "/healthz"), Some(200));
}
