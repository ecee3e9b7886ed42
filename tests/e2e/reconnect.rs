//! Publishers that leave: for a moment, or for good.

use std::time::Duration;

use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, VIDEO, assert_continuous};
use super::support::player::{End, Player};
use super::support::programs::{self, FFMPEG_DEBIAN};
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, http, stays, wait_for};

fn server(publish: &str) -> Server {
    Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    publish: {{ {publish} }}\n"
    ))
}

/// A machine dies and its stream is back three seconds later: the same response goes on, from a keyframe, and time does not
/// go back, though the new publisher's own timestamps begin at 0.
#[test]
fn a_publisher_killed_and_back_in_three_seconds() {
    let server = server("");
    let fixture = fixtures::h264_aac();
    let url = server.rtmp("live/x");
    let first = programs::publish_loop(FFMPEG_DEBIAN, &fixture, &url);
    let player = Player::open(&server, "/live/x.flv");
    player.wait("three seconds", PATIENCE, |flv| {
        flv.frames(VIDEO).len() > 75
    });
    first.kill();
    wait_for("the last frames have come", PATIENCE, || {
        let before = player.tag_count();
        std::thread::sleep(Duration::from_millis(500));
        (player.tag_count() == before).then_some(())
    });
    let before = player.tag_count();
    stays("the play is held", Duration::from_millis(2500), || {
        player.ended().is_none()
    });

    let _second = programs::publish_loop(FFMPEG_DEBIAN, &fixture, &url);
    let flv = player.wait("the stream goes on", PATIENCE, |flv| {
        flv.tags[before..]
            .iter()
            .filter(|tag| tag.kind == VIDEO && tag.is_coded())
            .count()
            > 50
    });
    let next = flv.tags[before..]
        .iter()
        .find(|tag| tag.kind == VIDEO && tag.is_coded())
        .expect("just seen");
    assert!(next.is_keyframe(), "goes on from a keyframe, not {next:?}");
    for kind in [VIDEO, AUDIO] {
        // No jump back; forward at most by about the time that really passed.
        assert_continuous(&flv.frames(kind), 8000);
    }
    // A player that joins now is on the same timeline.
    let late = Player::open(&server, "/live/x.flv")
        .wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    let now = player.flv().frames(VIDEO).last().expect("frames").dts;
    assert!(
        now.abs_diff(late.frames(VIDEO)[0].dts) < 3000,
        "{now} and {}",
        late.frames(VIDEO)[0].dts
    );
}

/// What comes back may be another encoder: its new configuration is repeated before its first keyframe.
#[test]
fn a_publisher_back_with_another_configuration() {
    let server = server("");
    let first = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let player = Player::open(&server, "/live/x.flv");
    player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    let old = player
        .flv()
        .header(VIDEO)
        .expect("the first configuration")
        .body
        .clone();
    first.abandon();
    let second = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac_other()));
    let header = wait_for("a header is sent", PATIENCE, || {
        second
            .sent()
            .into_iter()
            .find(|tag| tag.kind == VIDEO && tag.is_header())
    });
    assert_ne!(old, header.body, "the fixtures differ");
    let flv = player.wait("the new pictures", PATIENCE, |flv| {
        flv.header(VIDEO).is_some_and(|tag| tag.body == header.body)
    });
    let at = flv
        .tags
        .iter()
        .position(|tag| tag.body == header.body)
        .expect("just seen");
    let flv = player.wait("pictures after it", PATIENCE, |flv| {
        flv.tags[at..]
            .iter()
            .any(|tag| tag.kind == VIDEO && tag.is_coded())
    });
    let next = flv.tags[at..]
        .iter()
        .find(|tag| tag.kind == VIDEO && tag.is_coded())
        .expect("just seen");
    assert!(next.is_keyframe());
    assert_continuous(&flv.frames(VIDEO), 5000);
}

/// Gone for good: the body ends as its framing says, a response of which nothing is cut off.
#[test]
fn a_publisher_gone_for_good_ends_the_body_properly() {
    let server = server("republish_wait: 1s");
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let player = Player::open(&server, "/live/x.flv");
    player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    let sent = feed.abandon();
    assert_eq!(player.wait_end(Duration::from_secs(5)), End::Proper);
    let flv = player.flv();
    let last = sent
        .iter()
        .rfind(|tag| tag.kind == VIDEO)
        .expect("pictures were sent");
    assert_eq!(
        flv.frames(VIDEO).last().expect("pictures came").body,
        last.body,
        "the last frame came too"
    );
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
    let player = Player::open(&server, "/live/x.flv");
    for _ in 0..4 {
        let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
        player.wait_more(60, PATIENCE);
        feed.abandon();
    }
    let flv = player.flv();
    for kind in [VIDEO, AUDIO] {
        assert_continuous(&flv.frames(kind), 3000);
    }
    assert_eq!(player.wait_end(Duration::from_secs(10)), End::Proper);
}
