//! Which addresses give which formats, and what is told where a stream cannot be given.

use crate::SHORT;
use crate::support::feed::{Feed, Plan};
use crate::support::raw::Raw;
use crate::support::server::Server;
use crate::support::ts::{self, STEP, lasts};
use crate::support::{PATIENCE, fixtures, http};

#[test]
fn what_cannot_be_given_is_told() {
    let server = Server::start(SHORT);
    let streams = [
        ("a", fixtures::h264_aac()),
        ("b", fixtures::h264()),
        ("c", fixtures::mp3()),
        ("d", fixtures::vp9_flac()),
        ("f", fixtures::av1_opus()),
        ("e", fixtures::h264_opus()),
    ];
    let _feeds: Vec<Feed> = streams
        .iter()
        .map(|(name, file)| Feed::start(&server, "live", name, Plan::of(file)))
        .collect();
    for (name, _) in &streams {
        server.wait_stream(&format!("/live/{name}.flv"));
    }
    for (path, expected) in [
        ("/live/b.aac", "the stream has no audio"),
        ("/live/b.mp3", "the stream has no audio"),
        (
            "/live/c.aac",
            "the stream's audio is MP3, which has no place in ADTS",
        ),
        (
            "/live/d.ts",
            "the stream's video is VP9, which has no place in MPEG-TS",
        ),
        #[cfg(not(feature = "transcode"))]
        (
            "/live/a.mp3",
            "the stream's audio is AAC, which has no place in MP3",
        ),
        (
            "/live/e.aac",
            "the stream's audio is Opus, which has no place in ADTS",
        ),
    ] {
        let answer = http::get(server.address("http"), path);
        assert_eq!(answer.status, 415, "{path}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8"),
            "{path}"
        );
        assert_eq!(answer.text(), format!("{expected}\n"), "{path}");
        let head = http::request(server.address("http"), "HEAD", path, &[]).expect("an answer");
        assert_eq!(head.status, 415, "HEAD {path}");
    }
    for (path, content_type) in [
        ("/live/a.flv", "video/x-flv"),
        ("/live/a.ts", "video/mp2t"),
        ("/live/b.ts", "video/mp2t"),
        ("/live/a.aac", "audio/aac"),
        ("/live/c.mp3", "audio/mpeg"),
        #[cfg(feature = "transcode")]
        ("/live/a.mp3", "audio/mpeg"),
        ("/live/e.ts", "video/mp2t"),
        ("/live/f.ts", "video/mp2t"),
    ] {
        let head = http::request(server.address("http"), "HEAD", path, &[]).expect("an answer");
        assert_eq!(
            (head.status, head.header("content-type")),
            (200, Some(content_type)),
            "HEAD {path}"
        );
        assert_eq!(
            head.header("cache-control"),
            Some("no-store"),
            "HEAD {path}"
        );
        assert_eq!(head.header("content-length"), None, "HEAD {path}");
    }
}

/// All endings at once, and a template of one's own beside them.
#[test]
fn one_vhost_has_every_mount() {
    let server = Server::start(
        "
vhosts:
  __defaultVhost__:
    http_remux:
      mounts:
        - '[vhost]/[app]/[stream].flv'
        - '[vhost]/[app]/[stream].ts'
        - '[vhost]/[app]/[stream].aac'
        - '/x/[app]-[stream].ts'
        - '/sound/[app]/[stream].mp3'
",
    );
    let _a = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    let _b = Feed::start(&server, "live", "b", Plan::of(&fixtures::mp3()));
    for path in [
        "/live/a.flv",
        "/live/a.ts",
        "/live/a.aac",
        "/x/live-a.ts",
        "/sound/live/b.mp3",
        "/live/b.ts",
    ] {
        server.wait_stream(path);
    }
    let player = Raw::open(&server, "/x/live-a.ts");
    ts::check(
        &player.wait("a second", PATIENCE, |bytes| lasts(bytes, 1.0)),
        STEP,
    );
    let status = |path| {
        http::request(server.address("http"), "HEAD", path, &[])
            .expect("an answer")
            .status
    };
    assert_eq!(status("/live/b.mp3"), 404, "not where it is not mounted");
}
