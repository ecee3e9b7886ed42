//! Publishing through an edge, and forwarding.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::super::rtmp_play::Nginx;
use super::super::support::callback::{Backend, Reply};
use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::{AUDIO, Tag, VIDEO, assert_continuous, assert_run_of};
use super::super::support::player::Player;
use super::super::support::programs::{self, FFMPEG_DEBIAN};
use super::super::support::rtmp::Client;
use super::super::support::server::Server;
use super::super::support::{PATIENCE, fixtures, stays, wait_for};
use super::{edge_of, http_of, lines, rtmp_of};

/// What is published at an edge is played there, at its origin, and at another edge.
#[test]
fn a_publish_at_an_edge_reaches_the_origin() {
    let origin = Server::start("");
    let edge = Server::start(&edge_of(&[rtmp_of(&origin)], ""));
    let other = Server::start(&edge_of(&[rtmp_of(&origin)], ""));
    let feed = Feed::start(&edge, "live", "x", Plan::of(&fixtures::h264_aac()));
    for server in [&edge, &origin, &other] {
        let player = Player::open(server, "/live/x.flv");
        let flv = player.wait("two seconds", PATIENCE, |flv| {
            flv.frames(VIDEO).len() > 50 && flv.frames(AUDIO).len() > 50
        });
        let sent = feed.sent();
        for kind in [VIDEO, AUDIO] {
            let sent: Vec<&Tag> = sent
                .iter()
                .filter(|tag| tag.kind == kind && tag.is_coded())
                .collect();
            assert_run_of(&flv.frames(kind), &sent);
        }
    }
    // The name is the origin's to give.
    let mut second = Client::connect(other.address("rtmp"), "live").expect("RTMP");
    assert_ne!(
        second.publish("x").expect("an answer"),
        "NetStream.Publish.Start"
    );
    feed.finish();
    wait_for("the origin sees the end", PATIENCE, || {
        (lines(&origin, &["publish ended", "client_left"]) > 0).then_some(())
    });
    // And the name is free again.
    let _again = Feed::start(&edge, "live", "x", Plan::of(&fixtures::h264_aac()));
}

/// POST of FLV at an edge, as ffmpeg does.
#[test]
fn a_publish_over_http_at_an_edge() {
    let origin = Server::start("");
    let edge = Server::start(&edge_of(&[rtmp_of(&origin)], ""));
    let _job = programs::publish_loop(
        FFMPEG_DEBIAN,
        &fixtures::h264_aac(),
        &edge.http("/live/x.flv"),
    );
    let player = Player::open(&origin, "/live/x.flv");
    player.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() > 50);
}

/// The origin that takes a stream is killed: the next one takes it, and the publisher does not notice.
#[test]
fn the_next_origin_takes_a_publish() {
    let mut origins = vec![Server::start(""), Server::start("")];
    let addresses = [rtmp_of(&origins[0]), rtmp_of(&origins[1])];
    let edge = Server::start(&edge_of(&addresses, "retry: 300ms"));
    let feed = Feed::start(&edge, "live", "x", Plan::of(&fixtures::h264_aac()));
    let local = Player::open(&edge, "/live/x.flv");
    local.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    let taken = edge.wait_log(&["pushed to the origin"], PATIENCE);
    let first = addresses
        .iter()
        .position(|address| taken.contains(address))
        .expect("one of them");
    drop(origins.remove(first));
    let player = Player::open(&origins[0], "/live/x.flv");
    player.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() > 50);
    assert!(feed.is_running(), "the publisher goes on");
    local.wait_more(50, PATIENCE);
    for kind in [VIDEO, AUDIO] {
        assert_continuous(&local.flv().frames(kind), 1000);
    }
}

/// With no origin, a publisher is refused, at once.
#[test]
fn no_origin_takes_a_publish() {
    let port = super::super::support::proxies::free_port();
    let edge = Server::start(&edge_of(&[format!("127.0.0.1:{port}")], ""));
    let mut client = Client::connect(edge.address("rtmp"), "live").expect("RTMP");
    let since = Instant::now();
    assert_eq!(
        client.publish("x").expect("an answer"),
        "NetStream.Publish.Denied"
    );
    assert!(since.elapsed() < Duration::from_secs(5));
}

/// Forwarded to nginx-rtmp and to a server of ours, and pulled back from nginx by an edge. One that is away disturbs nothing.
#[test]
fn forward_to_nginx_and_back() {
    let nginx = Nginx::start("");
    let second = Server::start("");
    let away = super::super::support::proxies::free_port();
    let server = Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    forward: {{ enabled: on, destination: [\"127.0.0.1:{}\", \"rtmp://{}/copy/[app]-[stream]\", \"127.0.0.1:{away}\"] }}\n",
        nginx.port,
        rtmp_of(&second)
    ));
    let back = Server::start(&edge_of(&[format!("127.0.0.1:{}", nginx.port)], ""));
    for (name, fixture) in [("x", fixtures::h264_aac()), ("hevc", fixtures::hevc_aac())] {
        let feed = Feed::start(&server, "live", name, Plan::of(&fixture));
        let copy = Player::open(&second, &format!("/copy/live-{name}.flv"));
        let mut players = vec![copy];
        // nginx's module knows the codecs of Flash.
        if name == "x" {
            players.push(Player::open(&back, "/live/x.flv"));
        }
        for player in players {
            let flv = player.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() > 50);
            let sent = feed.sent();
            let sent: Vec<&Tag> = sent
                .iter()
                .filter(|tag| tag.kind == VIDEO && tag.is_coded())
                .collect();
            assert_run_of(&flv.frames(VIDEO), &sent);
        }
        server.wait_log(&["forward failed", &away.to_string()], PATIENCE);
    }
}

/// A destination that is killed and comes back is pushed to again; the stream goes on meanwhile.
#[test]
fn a_forward_tries_again() {
    let port = super::super::support::proxies::free_port();
    let listen = format!("rtmp: {{ listen: [\"127.0.0.1:{port}\"] }}\n");
    let server = Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    forward: {{ enabled: on, destination: \"127.0.0.1:{port}\" }}\n"
    ));
    let destination = Server::start(&listen);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let player = Player::open(&destination, "/live/x.flv");
    player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    drop(destination);
    let destination = Server::start(&listen);
    let player = Player::open(&destination, "/live/x.flv");
    player.wait("frames again", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    assert!(feed.is_running());
}

/// A publisher leaves, and the server that it was pushed to does not wait for it as long as this one does: nothing is pushed again before it
/// comes back, or the last frames would play there once more.
#[test]
fn nothing_is_forwarded_twice() {
    let target = Server::start(
        "vhosts:\n  __defaultVhost__:\n    publish: { normal_timeout: 1s, republish_wait: 1s }\n",
    );
    let server = Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    publish: {{ republish_wait: 20s }}\n    forward: {{ enabled: on, destination: \"{}\" }}\n",
        rtmp_of(&target)
    ));
    let plan = || Plan::of(&fixtures::h264_aac());
    let feed = Feed::start(&server, "live", "x", plan());
    Player::open(&target, "/live/x.flv")
        .wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    feed.abandon();
    server.wait_log(&["forward failed"], PATIENCE);
    // The first pause is 100 ms.
    stays("it is not published again", Duration::from_secs(2), || {
        lines(&target, &["publish started"]) == 1
    });
    let feed = Feed::start(&server, "live", "x", plan());
    let player = Player::open(&target, "/live/x.flv");
    player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    assert_eq!(lines(&target, &["publish started"]), 2);
    assert!(feed.is_running());
}

/// As above, and the publisher does not come back: with the end of the stream, the last frames are not pushed again either.
#[test]
fn nothing_is_forwarded_after_the_end() {
    let target = Server::start(
        "vhosts:\n  __defaultVhost__:\n    publish: { normal_timeout: 1s, republish_wait: 1s }\n",
    );
    let server = Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    publish: {{ republish_wait: 5s }}\n    forward: {{ enabled: on, destination: \"{}\" }}\n",
        rtmp_of(&target)
    ));
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    Player::open(&target, "/live/x.flv")
        .wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    feed.abandon();
    server.wait_log(&["forward failed"], PATIENCE);
    server.wait_log(&["forward ended"], PATIENCE);
    assert_eq!(lines(&server, &["forward started"]), 1);
    assert_eq!(lines(&target, &["publish started"]), 1);
}

/// Back ends that are not there, hang, or answer nonsense: the publisher is not held for any of them, and each is said.
#[test]
fn back_ends_that_do_not_answer() {
    let target = Server::start("");
    let urls = format!("[\"rtmp://{}/copy/[stream]\"]", rtmp_of(&target));
    let asked = AtomicUsize::new(0);
    let backend = Backend::start(move |_| {
        let yes = |body: &str| Reply::Status(200, body.to_owned());
        match asked.fetch_add(1, Ordering::Relaxed) {
            0 => yes("<html>sorry</html>"),
            1 => yes("{\"code\": 1}"),
            2 => yes("{\"code\": 0, \"data\": {\"urls\": \"rtmp://127.0.0.1/live/x\"}}"),
            3 => Reply::Late(Duration::from_secs(8), "{\"code\": 0}".to_owned()),
            _ => yes(&format!("{{\"code\": 0, \"data\": {{\"urls\": {urls}}}}}")),
        }
    });
    let ask = |url: &str| {
        Server::start(&format!(
            "vhosts:\n  __defaultVhost__:\n    forward: {{ enabled: on, backend: {url:?} }}\n"
        ))
    };
    let server = ask(&backend.url("/forward"));
    let since = Instant::now();
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    assert!(
        since.elapsed() < Duration::from_secs(2),
        "the publisher is not held"
    );
    let near = Player::open(&server, "/live/x.flv");
    near.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    let said = "did not say where to forward";
    for why in ["the answer is not", "code 1", "no answer in 5s"] {
        server.wait_log(&[said, why], PATIENCE);
    }
    assert_eq!(lines(&server, &[said]), 4);
    target.wait_stream("/copy/x.flv");
    assert_eq!(near.ended(), None);
    assert!(feed.is_running());

    let nobody = ask(&format!(
        "http://127.0.0.1:{}/forward",
        super::super::support::proxies::free_port()
    ));
    let feed = Feed::start(&nobody, "live", "x", Plan::of(&fixtures::h264_aac()));
    nobody.wait_log(&[said, "again_in"], PATIENCE);
    let near = Player::open(&nobody, "/live/x.flv");
    near.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    assert!(feed.is_running());
}

/// A back end that fails at first, and then names a server of ours twice, one of them with a token, beside what is no address.
#[test]
fn a_back_end_says_where_to_forward() {
    let named = Server::start("");
    let fixed = Server::start("");
    let urls = format!(
        "[\"rtmp://{0}/copy/of-[stream]?key=k\", \"rtmp://{0}/copy/of-[stream]?key=k\", \"http://{0}/no\"]",
        rtmp_of(&named)
    );
    let failures = AtomicUsize::new(0);
    let backend = Backend::start(move |_| match failures.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::Status(500, String::new()),
        1 => Reply::Late(
            Duration::from_secs(1),
            format!("{{\"code\":0,\"data\":{{\"urls\":{urls}}}}}"),
        ),
        _ => Reply::Status(200, "{\"code\":0}".to_owned()),
    });
    let server = Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    forward: {{ enabled: on, destination: \"{}\", backend: {:?} }}\n",
        rtmp_of(&fixed),
        backend.url("/api/v1/forward")
    ));
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    for (at, path) in [(&fixed, "/live/x.flv"), (&named, "/copy/of-x.flv")] {
        let player = Player::open(at, path);
        let flv = player.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() > 50);
        let sent = feed.sent();
        let sent: Vec<&Tag> = sent
            .iter()
            .filter(|tag| tag.kind == VIDEO && tag.is_coded())
            .collect();
        assert_run_of(&flv.frames(VIDEO), &sent);
    }
    let calls = backend.of("on_forward");
    assert_eq!(calls.len(), 2, "one failed, one was answered");
    for call in &calls {
        assert_eq!(call.path, "/api/v1/forward");
        assert_eq!(
            (call.text("vhost"), call.text("app"), call.text("stream")),
            ("__defaultVhost__", "live", "x")
        );
        assert_eq!(call.text("ip"), "127.0.0.1");
        assert!(call.text("tcUrl").starts_with("rtmp://"));
        assert!(call.body["param"].is_string() && call.body["client_id"].is_string());
    }
    assert_eq!(
        lines(&server, &["did not say where to forward", "status 500"]),
        1
    );
    assert_eq!(lines(&server, &["left_out=1"]), 1);
    assert_eq!(lines(&server, &["forward failed"]), 0);
    // A second publish of another name asks again, and is told to go nowhere else.
    let _other = Feed::start(&server, "live", "y", Plan::of(&fixtures::h264_aac()));
    wait_for("it is asked for the other", PATIENCE, || {
        (backend.of("on_forward").len() == 3).then_some(())
    });
    Player::open(&fixed, "/live/y.flv")
        .wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
}

/// Two edges with the same name, and an origin whose newcomer takes the stream: the first publisher is told, and its edge does not take the
/// stream back.
#[test]
fn a_stream_that_the_origin_gave_to_another_stays_there() {
    let origin = Server::start("vhosts:\n  __defaultVhost__:\n    publish: { on_busy: kick }\n");
    for (protocol, address) in [("rtmp", rtmp_of(&origin)), ("flv", http_of(&origin))] {
        let start = || {
            Server::start(&edge_of(
                std::slice::from_ref(&address),
                &format!("protocol: {protocol}, retry: 100ms"),
            ))
        };
        let (a, b) = (start(), start());
        let name = format!("x-{protocol}");
        let first = Feed::start(&a, "live", &name, Plan::of(&fixtures::h264_aac()));
        origin.wait_stream(&format!("/live/{name}.flv"));
        let second = Feed::start(&b, "live", &name, Plan::of(&fixtures::h264_aac()));
        wait_for("the first publisher is ended", PATIENCE, || {
            (!first.is_running()).then_some(())
        });
        a.wait_log(&["publish ended", "kicked"], PATIENCE);
        let player = Player::open(&b, &format!("/live/{name}.flv"));
        player.wait("three seconds", PATIENCE, |flv| {
            flv.frames(VIDEO).len() > 75
        });
        assert!(second.is_running(), "{protocol}");
        assert_eq!(lines(&a, &["pushed to the origin"]), 1, "{protocol}");
    }
}

/// A destination that hangs: the stream, its players and the other destination do not notice. When it goes on, so does its push, at a keyframe.
#[test]
fn a_destination_that_hangs_slows_nobody() {
    let hanging = Server::start("");
    let other = Server::start("");
    let server = Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    play: {{ queue_length: 2s }}\n    forward: {{ enabled: on, destination: [\"{}\", \"{}\"] }}\n",
        rtmp_of(&hanging),
        rtmp_of(&other)
    ));
    // Large pictures, so that what the kernel takes for the one that hangs is soon full.
    let plan = Plan::of(&fixtures::h264_aac()).with_pictures_of(60_000);
    let feed = Feed::start(&server, "live", "x", plan);
    let players = [&server, &other].map(|at| Player::open(at, "/live/x.flv"));
    let there = Player::open(&hanging, "/live/x.flv");
    for player in players.iter().chain([&there]) {
        player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    }
    let since = Instant::now();
    hanging.signal(libc::SIGSTOP);
    let wanted = players[0].flv().frames(VIDEO).len() + 150;
    for player in &players {
        player.wait("six seconds", PATIENCE, |flv| {
            flv.frames(VIDEO).len() >= wanted
        });
        let gap = player.longest_gap(since);
        assert!(gap < Duration::from_secs(2), "{gap:?}");
        let flv = player.flv();
        assert_continuous(&flv.frames(VIDEO), 200);
    }
    hanging.signal(libc::SIGCONT);
    let now = there.flv().frames(VIDEO).len();
    let flv = there.wait("it goes on", PATIENCE, |flv| {
        flv.frames(VIDEO).len() > now + 100
    });
    let sent = feed.sent();
    for frame in flv.frames(VIDEO) {
        assert!(
            sent.iter().any(|tag| tag.body == frame.body),
            "what came was sent"
        );
    }
}
