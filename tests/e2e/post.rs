//! Publishing over HTTP: POST and PUT of FLV to the address at which it is played.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::SHORT;
use super::publish::check_whole;
use super::support::feed::{Feed, Plan};
use super::support::programs::{FFMPEG_DEBIAN, curl, ffmpeg_current, publish, run};
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, http};

#[test]
fn ffmpeg_publishes_over_http() {
    let server = Server::start(SHORT);
    let fixture = fixtures::h264_aac();
    check_whole(&server, &fixture, || {
        publish(FFMPEG_DEBIAN, &fixture, &server.http("/live/whole.flv"))
    });
}

#[test]
fn a_current_ffmpeg_publishes_enhanced_codecs_over_http() {
    let server = Server::start(SHORT);
    let fixture = fixtures::av1_opus();
    check_whole(&server, &fixture, || {
        publish(ffmpeg_current(), &fixture, &server.http("/live/whole.flv"))
    });
}

/// At once and with a Content-Length: it is taken as it comes, and the answer is sent at its end.
#[test]
fn curl_puts_a_file_over_http1_and_http2() {
    let server = Server::start(SHORT);
    let file = format!("@{}", fixtures::h264_aac().display());
    for (version, name) in [("--http1.1", "a"), ("--http2-prior-knowledge", "b")] {
        let url = server.http(&format!("/live/{name}.flv"));
        let mut command = curl();
        command.args([
            version,
            "-X",
            "PUT",
            "-w",
            "%{http_code}",
            "--data-binary",
            &file,
            &url,
        ]);
        assert_eq!(run(&mut command, PATIENCE).success(), "published\n200");
        server.wait_log(
            &[
                "publish ended",
                &format!("stream=\"{name}\""),
                "video_frames=150",
            ],
            PATIENCE,
        );
    }
}

#[test]
fn a_stream_that_is_busy_is_a_conflict() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    let answer = http::request(
        server.address("http"),
        "POST",
        "/live/x.flv",
        &[("Content-Length", "0")],
    );
    assert_eq!(answer.expect("an answer").status, 409);
}

#[test]
fn what_is_no_flv_is_told() {
    let server = Server::start(SHORT);
    let text = run(
        curl().args([
            "-w",
            "%{http_code}",
            "--data-binary",
            "not a film",
            &server.http("/live/x.flv"),
        ]),
        PATIENCE,
    );
    let text = text.success();
    assert!(
        text.starts_with("the body is no FLV") && text.ends_with("400"),
        "{text}"
    );
    server.wait_log(&["publish ended", "protocol_error"], PATIENCE);
}

/// The clocks are those of every publisher.
#[test]
fn a_silent_publisher_is_ended() {
    let server =
        Server::start("vhosts: { __defaultVhost__: { publish: { firstpkt_timeout: 1s } } }");
    let mut stream = TcpStream::connect(server.address("http")).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(15)))
        .expect("a socket");
    write!(
        stream,
        "POST /live/x.flv HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .expect("a request");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("an answer, and the end");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    server.wait_log(&["publish ended", "firstpkt_timeout"], PATIENCE);
}
