//! Publishers that leave: for a moment, or for good.

use std::time::Duration;

use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, Flv, Tag, VIDEO, assert_continuous};
use super::support::player::{End, Over, Player};
use super::support::programs::{self, FFMPEG_DEBIAN};
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, http, stays, wait_for};

fn server(publish: &str) -> Server {
    Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    publish: {{ {publish} }}\n"
    ))
}

/// A player by each protocol.
fn players(server: &Server) -> [Player; 3] {
    Over::ALL.map(|over| Player::open_over(over, server, "/live/x.flv"))
}

/// The first picture from the `from`th tag on.
fn next_picture(flv: &Flv, from: usize) -> Option<&Tag> {
    flv.tags[from..]
        .iter()
        .find(|tag| tag.kind == VIDEO && tag.is_coded())
}

/// A machine dies and its stream is back three seconds later: the same response goes on, from a keyframe, and time does not
/// go back, though the new publisher's own timestamps begin at 0.
#[test]
fn a_publisher_killed_and_back_in_three_seconds() {
    let server = server("");
    let fixture = fixtures::h264_aac();
    let url = server.rtmp("live/x");
    let first = programs::publish_loop(FFMPEG_DEBIAN, &fixture, &url);
    let players = players(&server);
    for player in &players {
        player.wait("three seconds", PATIENCE, |flv| {
            flv.frames(VIDEO).len() > 75
        });
    }
    first.kill();
    let counts = || players.each_ref().map(Player::tag_count);
    wait_for("the last frames have come", PATIENCE, || {
        let before = counts();
        std::thread::sleep(Duration::from_millis(500));
        (counts() == before).then_some(())
    });
    let before = counts();
    stays("the plays are held", Duration::from_millis(2500), || {
        players.iter().all(|player| player.ended().is_none())
    });

    let _second = programs::publish_loop(FFMPEG_DEBIAN, &fixture, &url);
    for ((over, player), before) in Over::ALL.iter().zip(&players).zip(before) {
        let flv = player.wait(&format!("it goes on over {over:?}"), PATIENCE, |flv| {
            let new = &flv.tags[before..];
            let pictures = new.iter().filter(|tag| tag.kind == VIDEO && tag.is_coded());
            pictures.count() > 50
        });
        let next = next_picture(&flv, before).expect("just seen");
        assert!(next.is_keyframe(), "goes on from a keyframe, not {next:?}");
        for kind in [VIDEO, AUDIO] {
            // No jump back; forward at most by about the time that really passed.
            assert_continuous(&flv.frames(kind), 8000);
        }
        // A player that joins now is on the same timeline.
        let late =
            Player::open_over(*over, &server, "/live/x.flv")
                .wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
        let now = player.flv().frames(VIDEO).last().expect("frames").dts;
        let joined = late.frames(VIDEO)[0].dts;
        assert!(now.abs_diff(joined) < 3000, "{over:?}: {now} and {joined}");
    }
}

/// What comes back may be another encoder: its new configuration is repeated before its first keyframe.
#[test]
fn a_publisher_back_with_another_configuration() {
    let server = server("");
    let first = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let players = players(&server);
    for player in &players {
        player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    }
    let old = first
        .headers()
        .into_iter()
        .find(|tag| tag.kind == VIDEO)
        .expect("a header was sent")
        .body;
    first.abandon();
    let second = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac_other()));
    let header = wait_for("a header is sent", PATIENCE, || {
        second
            .sent()
            .into_iter()
            .find(|tag| tag.kind == VIDEO && tag.is_header())
    });
    assert_ne!(old, header.body, "the fixtures differ");
    for (over, player) in Over::ALL.iter().zip(&players) {
        let flv = player.wait(&format!("the new header over {over:?}"), PATIENCE, |flv| {
            flv.header(VIDEO).is_some_and(|tag| tag.body == header.body)
        });
        let position = |tag: &Tag| tag.body == header.body;
        let at = flv.tags.iter().position(position).expect("just seen");
        let flv = player.wait("pictures after it", PATIENCE, |flv| {
            next_picture(flv, at).is_some()
        });
        let next = next_picture(&flv, at).expect("just seen");
        assert!(next.is_keyframe(), "{over:?}: {next:?}");
        // None of the new pictures came before it.
        let sent = second.sent();
        let first = sent.iter().find(|tag| tag.is_keyframe()).expect("sent");
        assert_eq!(next.body, first.body, "{over:?}");
        assert_continuous(&flv.frames(VIDEO), 5000);
    }
}

/// Gone for good: the body ends as its framing says, a response of which nothing is cut off.
#[test]
fn a_publisher_gone_for_good_ends_the_body_properly() {
    let server = server("republish_wait: 1s");
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let players = players(&server);
    for player in &players {
        player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    }
    let sent = feed.abandon();
    let last = sent
        .iter()
        .rfind(|tag| tag.kind == VIDEO)
        .expect("pictures were sent");
    for (over, player) in Over::ALL.iter().zip(&players) {
        let end = player.wait_end(Duration::from_secs(5));
        assert_eq!(end, End::Proper, "{over:?}");
        let flv = player.flv();
        assert_eq!(
            flv.frames(VIDEO).last().expect("pictures came").body,
            last.body,
            "the last frame came too over {over:?}"
        );
    }
}

/// After that, the stream is one that is not there.
#[test]
fn after_its_end_a_stream_is_missing() {
    let server = Server::start(
        "vhosts:\n  __defaultVhost__:\n    play: { on_missing: 404 }\n    publish: { republish_wait: 500ms }\n",
    );
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    Player::open(&server, "/live/x.flv")
        .wait("frames", PATIENCE, |flv| !flv.frames(VIDEO).is_empty());
    feed.finish();
    wait_for("404", PATIENCE, || {
        (http::request(server.address("http"), "HEAD", "/live/x.flv", &[])
            .expect("an answer")
            .status
            == 404)
            .then_some(())
    });
    // And it may begin anew.
    let _again = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    Player::open(&server, "/live/x.flv")
        .wait("frames", PATIENCE, |flv| !flv.frames(VIDEO).is_empty());
}

/// A republish before `republish_wait` is over, again and again, is one stream to its players.
#[test]
fn many_short_publishes_are_one_stream() {
    let server = server("republish_wait: 5s");
    let players = players(&server);
    for _ in 0..4 {
        let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
        for player in &players {
            player.wait_more(60, PATIENCE);
        }
        feed.abandon();
    }
    for (over, player) in Over::ALL.iter().zip(&players) {
        let flv = player.flv();
        for kind in [VIDEO, AUDIO] {
            assert_continuous(&flv.frames(kind), 3000);
        }
        let end = player.wait_end(Duration::from_secs(10));
        assert_eq!(end, End::Proper, "{over:?}");
    }
}
