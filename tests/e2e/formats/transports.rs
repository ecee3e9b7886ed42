//! The same bytes over HTTP/2 and WebSockets.

use super::check_content;
use crate::SHORT;
use crate::support::elementary::{adts_frames, assert_run, coded, contains};
use crate::support::feed::{Feed, Plan};
use crate::support::flv::AUDIO;
use crate::support::programs::{self, curl};
use crate::support::server::Server;
use crate::support::ts::{self, PACKET, STEP};
use crate::support::{PATIENCE, fixtures, websocket};

#[test]
fn ts_over_http2() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.ts");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.ts");
    let mut command = curl();
    command
        .args([
            "--http2-prior-knowledge",
            "-m",
            "4",
            "-w",
            "%{http_version} %{content_type}",
            "-o",
        ])
        .arg(&file)
        .arg(server.http("/live/x.ts"));
    let output = programs::run(&mut command, PATIENCE);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 video/mp2t");
    let bytes = std::fs::read(&file).expect("a file");
    let ts = ts::check(&bytes[..bytes.len() - bytes.len() % PACKET], STEP);
    check_content("HTTP/2", &ts, &feed.sent(), (Some(ts::H264), Some(ts::AAC)));
}

#[test]
fn formats_over_a_websocket() {
    let server = Server::start(SHORT);
    let aac = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let mp3 = Feed::start(&server, "live", "y", Plan::of(&fixtures::h264_mp3()));
    for path in ["/live/x.ts", "/live/x.aac", "/live/y.ts", "/live/y.mp3"] {
        server.wait_stream(path);
        let mut client = websocket::Client::open(server.address("http"), path);
        let mut bytes = Vec::new();
        while bytes.len() < 16_000 {
            let (opcode, payload) = client.frame();
            assert_eq!(opcode, 2, "binary messages only");
            assert!(
                !path.ends_with(".ts") || payload.len().is_multiple_of(PACKET),
                "a message of {} bytes",
                payload.len()
            );
            bytes.extend(payload);
        }
        let (sent, sound) = match path.starts_with("/live/x") {
            true => (aac.sent(), ts::AAC),
            false => (mp3.sent(), ts::MPEG1_AUDIO),
        };
        if path.ends_with(".aac") {
            assert_run(path, &adts_frames(&bytes), &coded(&sent, AUDIO));
        } else if path.ends_with(".mp3") {
            let sent = coded(&sent, AUDIO).concat().concat();
            assert!(contains(&sent, &bytes), "{path}: the sound differs");
        } else {
            let ts = ts::check(&bytes, STEP);
            check_content(path, &ts, &sent, (Some(ts::H264), Some(sound)));
        }
    }
}
