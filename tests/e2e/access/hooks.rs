//! Callbacks: what back ends of SRS get, and what becomes of clients when one is slow, down, wrong or lying.

use std::time::{Duration, Instant};

use crate::support::callback::{Backend, Reply};
use crate::support::feed::{Feed, Plan};
use crate::support::player::Player;
use crate::support::programs::{FFMPEG_DEBIAN, Job, publish, tool};
use crate::support::rtmp::Client;
use crate::support::server::Server;
use crate::support::sockets::nobody;
use crate::support::{PATIENCE, certs, fixtures, http, stays, wait_for};

/// `http_hooks` with every callback at one back end.
fn everything(backend: &Backend, more: &str) -> String {
    let url = |path: &str| format!("{:?}", backend.url(path));
    format!(
        "vhosts:
  __defaultVhost__:
    play: {{ on_missing: 404 }}
    publish: {{ republish_wait: 0 }}
    http_hooks:
      enabled: on
      on_connect: {}
      on_close: {}
      on_publish: {}
      on_unpublish: {}
      on_play: {}
      on_stop: {}
      on_dvr: {}
      {more}
",
        url("/api/v1/clients"),
        url("/api/v1/clients"),
        url("/api/v1/streams"),
        url("/api/v1/streams"),
        url("/api/v1/sessions"),
        url("/api/v1/sessions"),
        url("/api/v1/dvrs"),
    )
}

fn status(server: &Server, path: &str) -> u16 {
    http::get(server.address("http"), path).status
}

#[test]
fn a_back_end_of_srs_gets_what_it_got_from_srs() {
    let backend =
        Backend::start(|_| Reply::Status(200, "{\"code\": 0, \"data\": null}".to_owned()));
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&everything(
        &backend,
        &format!(
            "timeout: 5s\n    dvr: {{ enabled: on, path: {:?} }}",
            folder.path().join("[stream].flv")
        ),
    ));
    let url = server.rtmp("live/x?token=xxx&salt=yyy");
    let job = publish(FFMPEG_DEBIAN, &fixtures::h264_aac(), &url);
    server.wait_stream("/live/x.flv");
    let page = "http://www.test.com/live.html";
    let player = Player::open_with(
        server.address("http"),
        "/live/x.flv?who=me",
        &[("Referer", page)],
        None,
    );
    player.wait_more(5, PATIENCE);
    let mut rtmp = Client::connect(server.address("rtmp"), "live").expect("RTMP");
    assert_eq!(rtmp.play("x").expect("an answer").0, "NetStream.Play.Start");
    wait_for("both play", PATIENCE, || {
        (backend.of("on_play").len() == 2).then_some(())
    });
    drop(rtmp);
    drop(player);
    assert!(job.finish(PATIENCE).status.success());
    for action in ["on_unpublish", "on_close", "on_dvr"] {
        backend.wait(action, PATIENCE);
    }
    wait_for("both stopped", PATIENCE, || {
        (backend.of("on_stop").len() == 2).then_some(())
    });
    wait_for("both closed", PATIENCE, || {
        (backend.of("on_close").len() == 2).then_some(())
    });

    let port = server.address("rtmp").port();
    let connect = &backend.of("on_connect")[0];
    assert_eq!(connect.path, "/api/v1/clients");
    assert_eq!(connect.header("content-type"), Some("application/json"));
    for (name, value) in [
        ("ip", "127.0.0.1"),
        ("vhost", "__defaultVhost__"),
        ("app", "live"),
        ("tcUrl", &format!("rtmp://127.0.0.1:{port}/live")),
        ("pageUrl", ""),
    ] {
        assert_eq!(connect.text(name), value, "on_connect {name}");
    }
    let publish = &backend.of("on_publish")[0];
    assert_eq!(publish.path, "/api/v1/streams");
    for (name, value) in [
        ("client_id", connect.text("client_id")),
        ("server_id", connect.text("server_id")),
        ("service_id", connect.text("service_id")),
        ("ip", "127.0.0.1"),
        ("vhost", "__defaultVhost__"),
        ("app", "live"),
        ("stream", "x"),
        ("param", "?token=xxx&salt=yyy"),
        ("stream_url", "/live/x"),
    ] {
        assert_eq!(publish.text(name), value, "on_publish {name}");
        if name != "service_id" {
            assert_eq!(
                backend.of("on_unpublish")[0].text(name),
                value,
                "on_unpublish {name}"
            );
            assert_eq!(backend.of("on_dvr")[0].text(name), value, "on_dvr {name}");
        }
    }
    let play = backend
        .of("on_play")
        .into_iter()
        .find(|call| !call.text("pageUrl").is_empty());
    let play = play.expect("the player with a page");
    assert_eq!(play.path, "/api/v1/sessions");
    for (name, value) in [
        ("pageUrl", page),
        ("param", "?who=me"),
        ("stream", "x"),
        ("tcUrl", "http://127.0.0.1/live"),
    ] {
        assert_eq!(play.text(name), value, "on_play {name}");
    }
    let stop = backend.of("on_stop");
    assert!(
        stop.iter()
            .any(|call| call.text("client_id") == play.text("client_id"))
    );
    let dvr = &backend.of("on_dvr")[0];
    assert!(dvr.text("file").ends_with("/x.flv"), "{dvr:?}");
    assert!(dvr.text("cwd").starts_with('/'), "{dvr:?}");
    for close in backend.of("on_close") {
        let bytes = |name: &str| close.body[name].as_u64().expect("a number");
        assert!(bytes("recv_bytes") > 3_000, "{close:?}");
        assert!(bytes("send_bytes") > 3_000, "{close:?}");
    }
    let publisher = backend
        .of("on_close")
        .into_iter()
        .find(|c| c.text("client_id") == publish.text("client_id"));
    assert!(publisher.expect("it").body["recv_bytes"].as_u64() > Some(200_000));
    // Each event has a name of its own; and the connection is used again.
    let mut ids: Vec<_> = backend
        .calls()
        .iter()
        .map(|c| c.header("x-event-id").map(str::to_owned))
        .collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all);
    assert!(
        backend.connections() < all,
        "{} connections for {all} calls",
        backend.connections()
    );
}

/// Each says no in its own words: how clients are told.
/// SRS's sample of `on_connect` has the key there, and back ends look for it.
#[test]
fn the_tc_url_has_its_query() {
    let backend = Backend::start(|_| Reply::yes());
    let server = Server::start(&everything(&backend, ""));
    let address = server.address("rtmp");
    let tc_url = format!("rtmp://{address}/live?key=d2fa801d");
    let mut client = Client::connect_as(address, "live?key=d2fa801d", &tc_url).expect("RTMP");
    assert_eq!(backend.of("on_connect")[0].text("tcUrl"), tc_url);
    assert_eq!(backend.of("on_connect")[0].text("param"), "?key=d2fa801d");
    client.publish("x?salt=yyy").expect("a publish");
    let publish = &backend.of("on_publish")[0];
    assert_eq!(publish.text("tcUrl"), tc_url);
    assert_eq!(publish.text("param"), "?salt=yyy&key=d2fa801d");
    assert!(
        !server.log().contains("d2fa801d"),
        "keys stay out of the log"
    );
}

#[test]
fn a_back_end_keeps_people_out() {
    let backend = Backend::start(|call| match (call.text("action"), call.text("param")) {
        ("on_publish", "?ok=1") | ("on_connect", _) => Reply::yes(),
        (_, param) if param.contains("code=7") => Reply::Status(200, "{\"code\": 7}".to_owned()),
        (_, param) if param.contains("number") => Reply::Status(200, "1".to_owned()),
        (_, param) if param.contains("status") => Reply::Status(403, "0".to_owned()),
        _ => Reply::yes(),
    });
    let server = Server::start(&everything(&backend, "on_failure: allow"));
    let _feed = Feed::start(&server, "live", "x?ok=1", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    for no in ["code=7", "number", "status"] {
        assert_eq!(status(&server, &format!("/live/x.flv?{no}")), 403, "{no}");
        let mut client = Client::connect(server.address("rtmp"), "live").expect("RTMP");
        let (code, description) = client.play(&format!("x?{no}")).expect("an answer");
        assert_eq!(
            (code.as_str(), description.as_str()),
            ("NetStream.Play.Failed", "not allowed")
        );
        let mut client = Client::connect(server.address("rtmp"), "live").expect("RTMP");
        let code = client.publish(&format!("y?{no}")).expect("an answer");
        assert_eq!(code, "NetStream.Publish.Denied");
    }
    assert_eq!(status(&server, "/live/x.flv?yes"), 200);
    server.wait_log(
        &["reason=\"denied\"", "by=\"hook\"", "said no: code 7"],
        PATIENCE,
    );
    // A name that is taken is refused without asking: the back end would take the stream for gone when that is over.
    let asked = backend.of("on_publish").len();
    let mut client = Client::connect(server.address("rtmp"), "live").expect("RTMP");
    assert_eq!(
        client.publish("x?ok=1").expect("an answer"),
        "NetStream.Publish.BadName"
    );
    assert_eq!(backend.of("on_publish").len(), asked);
    stays("nobody says that it ended", Duration::from_secs(1), || {
        backend.of("on_unpublish").is_empty()
    });
}

#[test]
fn a_back_end_keeps_connections_out() {
    let backend = Backend::start(|_| Reply::Status(200, "{\"code\":1}".to_owned()));
    let server = Server::start(&everything(&backend, ""));
    let output =
        publish(FFMPEG_DEBIAN, &fixtures::h264_aac(), &server.rtmp("live/x")).finish(PATIENCE);
    assert!(!output.status.success());
    assert!(output.stderr.contains("not allowed"), "{}", output.stderr);
    server.wait_log(
        &["reason=\"denied\"", "action=\"connect\"", "by=\"hook\""],
        PATIENCE,
    );
    stays(
        "nobody is seen off who was not let in",
        Duration::from_secs(1),
        || backend.of("on_close").is_empty(),
    );
}

/// Whatever it does but answer: 503 with `deny`, in the time that the key says, and in with `allow`.
#[test]
fn a_back_end_that_is_down_slow_or_mad() {
    let closed = nobody();
    let backend = Backend::start(|call| match call.path.as_str() {
        "/slow" => Reply::Late(Duration::from_secs(60), "0".to_owned()),
        "/garbage" => Reply::Raw(b"\xff\x00SSH-2.0-nonsense\r\n\r\n".to_vec()),
        "/huge" => Reply::Status(200, "0".repeat(1 << 20)),
        "/endless" => {
            let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for _ in 0..1_000 {
                bytes.extend_from_slice(b"400\r\n");
                bytes.extend_from_slice(&[b' '; 1_024]);
                bytes.extend_from_slice(b"\r\n");
            }
            Reply::Raw(bytes)
        }
        "/hangup" => Reply::Hangup,
        // Settings and a window of HTTP/2, to who did not ask for it.
        "/http2" => Reply::Raw(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64".to_vec()),
        // What it is called does not matter, as for SRS.
        "/typed" => Reply::Raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 1\r\n\r\n0".to_vec(),
        ),
        "/lying" => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0".to_vec()),
        "/redirect" => {
            Reply::Raw(b"HTTP/1.1 302 X\r\nLocation: /yes\r\nContent-Length: 1\r\n\r\n0".to_vec())
        }
        "/error" => Reply::Status(500, "0".to_owned()),
        "/empty" => Reply::Status(200, String::new()),
        "/html" => Reply::Status(200, "<html>0</html>".to_owned()),
        _ => Reply::yes(),
    });
    let kinds = [
        "slow", "garbage", "huge", "endless", "hangup", "lying", "redirect", "error", "empty",
        "html", "http2", "typed", "down", "yes",
    ];
    let mut yaml = "vhosts:\n".to_owned();
    for kind in kinds {
        let url = match kind {
            "down" => format!("http://{closed}/"),
            kind => backend.url(&format!("/{kind}")),
        };
        for failure in ["deny", "allow"] {
            yaml.push_str(&format!(
                "  {kind}-{failure}.test: {{ http_hooks: {{ enabled: on, on_play: {url:?}, timeout: 700ms, on_failure: {failure} }} }}\n"
            ));
        }
    }
    let server = Server::start(&yaml);
    for kind in kinds {
        for (failure, expected) in [("deny", 503), ("allow", 200)] {
            let vhost = format!("{kind}-{failure}.test");
            let app = format!("live?vhost={vhost}");
            let url = format!("rtmp://{}/{app}", server.address("rtmp"));
            let _feed = Feed::start_as(
                server.address("rtmp"),
                &app,
                &url,
                "x",
                Plan::of(&fixtures::h264_aac()),
            );
            server.wait_stream(&format!("/live/x.flv?vhost={vhost}"));
            let begin = Instant::now();
            let seen = status(&server, &format!("/live/x.flv?vhost={vhost}"));
            let expected = match kind {
                "yes" | "typed" => 200,
                _ => expected,
            };
            assert_eq!(seen, expected, "{vhost}");
            assert!(
                begin.elapsed() < Duration::from_secs(5),
                "{vhost}: {:?}",
                begin.elapsed()
            );
        }
    }
    server.wait_log(&["by=\"hook_failed\"", "no answer in"], PATIENCE);
}

/// All of several have to agree, and they are asked in order.
#[test]
fn several_back_ends_have_to_agree() {
    let yes = Backend::start(|_| Reply::yes());
    let no = Backend::start(|_| Reply::Status(200, "1".to_owned()));
    let last = Backend::start(|_| Reply::yes());
    let yaml = format!(
        "vhosts:\n  __defaultVhost__:\n    http_hooks: {{ enabled: on, on_publish: [{:?}, {:?}, {:?}] }}\n",
        yes.url("/"),
        no.url("/"),
        last.url("/")
    );
    let server = Server::start(&yaml);
    let mut client = Client::connect(server.address("rtmp"), "live").expect("RTMP");
    assert_eq!(
        client.publish("x").expect("an answer"),
        "NetStream.Publish.Denied"
    );
    assert_eq!(
        (yes.calls().len(), no.calls().len(), last.calls().len()),
        (1, 1, 0)
    );
}

/// What happened is told until it is heard, with the same id.
#[test]
fn what_happened_is_told_when_the_back_end_is_back() {
    let times = std::sync::atomic::AtomicUsize::new(0);
    let backend = Backend::start(move |call| {
        if call.text("action") != "on_stop" {
            return Reply::yes();
        }
        match times.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Reply::Status(502, "bad gateway".to_owned()),
            1 => Reply::Hangup,
            _ => Reply::yes(),
        }
    });
    let server = Server::start(&everything(&backend, ""));
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    drop(Player::open(&server, "/live/x.flv"));
    wait_for("three tries", PATIENCE, || {
        (backend.of("on_stop").len() == 3).then_some(())
    });
    let ids: Vec<_> = backend
        .of("on_stop")
        .iter()
        .map(|c| c.header("x-event-id").map(str::to_owned))
        .collect();
    assert!(
        ids[0].is_some() && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
    stays("that was enough", Duration::from_secs(2), || {
        backend.of("on_stop").len() == 3
    });
}

/// SIGTERM ends players, and back ends hear of it before the process is gone.
#[test]
fn a_server_that_ends_says_so() {
    let backend = Backend::start(|_| Reply::yes());
    let mut server = Server::start(&everything(&backend, ""));
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    let player = Player::open(&server, "/live/x.flv");
    player.wait_more(5, PATIENCE);
    server.signal(libc::SIGTERM);
    server.wait_exit(PATIENCE);
    for action in ["on_stop", "on_unpublish", "on_close"] {
        assert_eq!(backend.of(action).len(), 1, "{action}");
    }
}

/// HTTPS is verified: by the certificates of the system, or those that `SSL_CERT_FILE` names.
#[test]
fn https_is_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = certs::make_leaf(folder.path(), "localhost");
    let mut backend = tool("https_backend.py");
    let ready = folder.path().join("ready");
    backend
        .arg(&certificate.cert)
        .arg(&certificate.key)
        .arg(&ready);
    let _backend = Job::start(&mut backend);
    let port = wait_for("the back end listens", PATIENCE, || {
        std::fs::read_to_string(&ready)
            .ok()
            .filter(|port| port.ends_with('\n'))
    });
    let yaml = |host: &str| {
        format!(
            "vhosts:\n  __defaultVhost__:\n    http_hooks: {{ enabled: on, on_publish: \"https://{host}:{}/\" }}\n",
            port.trim()
        )
    };
    let trusted = [("SSL_CERT_FILE", certificate.cert.to_str().expect("a path"))];
    let publishes = |host: &str, env: &[(&str, &str)]| {
        let server = Server::start_with(&yaml(host), "", &[], env);
        let mut client = Client::connect(server.address("rtmp"), "live").expect("RTMP");
        client.publish("x").expect("an answer")
    };
    assert_eq!(publishes("localhost", &trusted), "NetStream.Publish.Start");
    assert_eq!(publishes("127.0.0.1", &trusted), "NetStream.Publish.Start");
    assert_eq!(publishes("localhost", &[]), "NetStream.Publish.Denied");
}
