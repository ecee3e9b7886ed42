//! Signed URLs: made by the command, judged by the server, with every scheme and protocol.

use std::path::Path;
use std::time::Duration;

use crate::support::feed::{Feed, Plan};
use crate::support::player::Player;
use crate::support::programs::{FFMPEG_DEBIAN, publish_loop, run};
use crate::support::rtmp::Client;
use crate::support::server::{Server, command};
use crate::support::websocket;
use crate::support::{PATIENCE, fixtures, http, wait_for};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// `pingora-live sign`, with the key given.
fn sign(url: &str, more: &[&str]) -> String {
    let mut command = command();
    command.args(["sign", url, "--key", KEY]).args(more);
    run(&mut command, PATIENCE).success().trim().to_owned()
}

/// Path and query of a URL.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").expect("a URL").1;
    &rest[rest.find('/').expect("a path")..]
}

fn status(server: &Server, url: &str) -> u16 {
    http::request(server.address("http"), "GET", path_of(url), &[])
        .expect("an answer")
        .status
}

fn vhost(scheme: &str, more: &str) -> String {
    format!(
        "vhosts:
  __defaultVhost__:
    tokens:
      play: {{ enabled: on, scheme: {scheme}, keys: [{{ key: {KEY} }}], {more} }}
"
    )
}

#[test]
fn every_scheme_lets_in_whom_it_was_given_to() {
    for scheme in [
        "hmac",
        "tencent",
        "aliyun",
        "secure_link",
        "node_media_server",
    ] {
        let server = Server::start(&vhost(scheme, ""));
        let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
        let address: &[&str] = match scheme {
            "secure_link" => &["--address", "127.0.0.1"],
            _ => &[],
        };
        let signed = |url: &str, expires: &str| {
            let mut more = vec!["--scheme", scheme, "--expires", expires];
            more.extend(address);
            sign(url, &more)
        };
        let good = signed(&server.http("/live/x.flv"), "1h");
        assert_eq!(status(&server, &good), 200, "{good}");
        let ts = signed(&server.http("/live/x.ts"), "1h");
        assert_eq!(status(&server, &ts), 200, "{ts}");
        let old = signed(&server.http("/live/x.flv"), "@1700000000");
        assert_eq!(status(&server, &old), 403, "{old}");
        let other = signed(&server.http("/live/y.flv"), "1h").replace("/y.", "/x.");
        assert_eq!(status(&server, &other), 403, "{other}");
        assert_eq!(status(&server, &server.http("/live/x.flv")), 401);
        // Over RTMP the arguments travel with the stream's name.
        let rtmp = signed(&server.rtmp("live/x"), "1h");
        let name = rtmp.rsplit_once('/').expect("a path").1;
        let mut client = Client::connect(server.address("rtmp"), "live").expect("RTMP");
        assert_eq!(
            client.play(name).expect("an answer").0,
            "NetStream.Play.Start",
            "{rtmp}"
        );
        for (by, why) in [
            ("token_expired", "the URL expired"),
            ("token_wrong", "the signature is wrong"),
            ("token_missing", "the URL is not signed"),
        ] {
            server.wait_log(&[&format!("by=\"{by}\""), why], PATIENCE);
        }
    }
}

/// One URL for all formats and protocols of a stream, and for HEAD, which uses nothing up.
#[test]
fn a_url_is_used_up_and_the_log_says_so() {
    let server = Server::start(&vhost("hmac", "max_uses: 2"));
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let url = sign(&server.http("/live/x.flv"), &["--expires", "1h"]);
    wait_for("the stream", PATIENCE, || {
        let head = http::request(server.address("http"), "HEAD", path_of(&url), &[]);
        head.is_ok_and(|head| head.status == 200).then_some(())
    });
    assert_eq!(status(&server, &url), 200);
    assert_eq!(status(&server, &url.replace(".flv", ".ts")), 200);
    assert_eq!(status(&server, &url), 403);
    server.wait_log(&["by=\"token_used\"", "was used 2 times"], PATIENCE);
    let fresh = sign(&server.http("/live/x.flv"), &["--expires", "2h"]);
    assert_eq!(status(&server, &fresh), 200);
}

/// Two keys at a time; and what is signed for playing, or for another address, does not publish.
#[test]
fn keys_change_without_anybody_noticing_and_ffmpeg_publishes_with_one() {
    let server = Server::start(&format!(
        "vhosts:
  __defaultVhost__:
    tokens:
      publish: {{ enabled: on, keys: [{{ id: new, key: another-key-of-some-length }}, {{ id: old, key: {KEY} }}] }}
"
    ));
    let fixture = fixtures::h264_aac();
    let publishes = |name: &str, url: &str| {
        let _job = publish_loop(FFMPEG_DEBIAN, &fixture, url);
        server.wait_stream(&format!("/live/{name}.flv"));
    };
    let sign_publish = |url: &str, more: &[&str]| {
        let mut all = vec!["--expires", "1h", "--publish", "--key-id", "old"];
        all.extend(more);
        sign(url, &all)
    };
    publishes("a", &sign_publish(&server.rtmp("live/a"), &[]));
    publishes(
        "b",
        &sign_publish(&server.http("/live/b.flv"), &["--address", "127.0.0.1"]),
    );
    for bad in [
        sign(
            &server.rtmp("live/c"),
            &["--expires", "1h", "--key-id", "old"],
        ),
        sign_publish(&server.rtmp("live/c"), &["--address", "10.0.0.1"]),
        sign_publish(&server.rtmp("live/c"), &[]).replace("kid=old", "kid=new"),
    ] {
        let name = bad.rsplit_once('/').expect("a path").1;
        let mut client = Client::connect(server.address("rtmp"), "live").expect("RTMP");
        let code = client.publish(name).expect("an answer");
        assert_eq!(code, "NetStream.Publish.Denied", "{bad}");
    }
}

/// `on_expiry: end`: each is told in its own way. `go_on`: nothing happens.
#[test]
fn who_plays_when_the_url_expires_goes_on_or_is_ended() {
    let server = Server::start(&format!(
        "vhosts:
  end.test:
    tokens:
      play: {{ enabled: on, on_expiry: end, keys: [{{ key: {KEY} }}] }}
      publish: {{ enabled: on, on_expiry: end, keys: [{{ key: {KEY} }}] }}
  on.test:
    tokens:
      play: {{ enabled: on, keys: [{{ key: {KEY} }}] }}
"
    ));
    let address = server.address("rtmp");
    let publish = sign("rtmp://end.test/live/x", &["--expires", "20s", "--publish"]);
    let publish = publish.rsplit_once('/').expect("a path").1;
    let plan = || Plan::of(&fixtures::h264_aac());
    let ended = Feed::start_as(address, "live", "rtmp://end.test/live", publish, plan());
    let _goes_on = Feed::start_as(address, "live", "rtmp://on.test/live", "x", plan());
    let play = |vhost: &str, expires: &str| {
        let url = sign(
            &format!("http://{vhost}/live/x.flv?vhost={vhost}"),
            &["--expires", expires],
        );
        path_of(&url).to_owned()
    };
    let on = Player::open(&server, &play("on.test", "6s"));
    let end = Player::open(&server, &play("end.test", "6s"));
    let mut socket = websocket::Client::open(server.address("http"), &play("end.test", "6s"));
    let later = Player::open(&server, &play("end.test", "1h"));
    end.wait_end(PATIENCE);
    let line = server.wait_log(
        &["play ended", "protocol=\"http1\"", "reason=\"expired\""],
        PATIENCE,
    );
    assert!(line.contains("vhost=\"end.test\""), "{line}");
    // RFC 6455 §7.4.1: 1008 is for what breaks a policy.
    loop {
        let (opcode, payload) = socket.frame();
        if opcode == 8 {
            assert_eq!(payload, 1008u16.to_be_bytes());
            break;
        }
    }
    later.wait_more(20, PATIENCE);
    // The publisher's turn.
    server.wait_log(&["publish ended", "reason=\"expired\""], PATIENCE);
    wait_for("the feed ends", PATIENCE, || {
        (!ended.is_running()).then_some(())
    });
    on.wait_more(20, PATIENCE);
}

/// `sign` without a key takes what the configuration has for the URL's vhost.
#[test]
fn the_command_reads_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("live.yaml");
    let text = format!(
        "live:
  vhosts:
    a.test:
      tokens:
        play: {{ enabled: on, scheme: tencent, keys: [{{ id: k, key: {KEY} }}] }}
"
    );
    std::fs::write(&file, text).expect("written");
    let sign = |arguments: &[&str]| {
        let mut command = command();
        command.arg("-c").arg(&file).arg("sign").args(arguments);
        run(&mut command, Duration::from_secs(20))
    };
    let url = sign(&["rtmp://a.test/live/x", "--expires", "@1546064025"]).success();
    assert!(url.starts_with("rtmp://a.test/live/x?txSecret="), "{url}");
    assert!(url.trim().ends_with("&txTime=5C271099"), "{url}");
    for (arguments, said) in [
        (
            &["rtmp://b.test/live/x", "--expires", "1h"][..],
            "has no such key",
        ),
        (
            &["rtmp://a.test/live/x", "--expires", "1h", "--publish"],
            "has no such key",
        ),
        (
            &[
                "rtmp://a.test/live/x",
                "--expires",
                "1h",
                "--address",
                "::1",
            ],
            "binds a URL to no address",
        ),
        (&["rtmp://a.test/x", "--expires", "1h"], "names no stream"),
        (&["rtmp://a.test/live/x", "--expires", "1"], "1s"),
        (
            &[
                "rtmp://a.test/live/x",
                "--expires",
                "1h",
                "--key-file",
                "/nonexistent",
            ],
            "/nonexistent",
        ),
    ] {
        let output = sign(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(
            output.stderr.contains(said),
            "{arguments:?}: {}",
            output.stderr
        );
    }
    let key = folder.path().join("key");
    std::fs::write(&key, format!("{KEY}\n")).expect("written");
    let path = |path: &Path| path.display().to_string();
    let by_file = sign(&[
        "rtmp://a.test/live/x",
        "--expires",
        "@1",
        "--key-file",
        &path(&key),
    ]);
    let by_text = sign(&["rtmp://a.test/live/x", "--expires", "@1", "--key", KEY]);
    assert_eq!(by_file.success(), by_text.success());
}
