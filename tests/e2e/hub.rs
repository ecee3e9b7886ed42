//! One stream, its claim and its players: who may publish, who waits, where a player begins.

use std::time::{Duration, Instant};

use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, VIDEO, assert_continuous};
use super::support::player::{End, Player};
use super::support::programs::{self, FFMPEG_DEBIAN};
use super::support::rtmp::Client;
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, http, wait_for};

fn server(play: &str, publish: &str) -> Server {
    Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    play: {{ {play} }}\n    publish: {{ {publish} }}\n"
    ))
}

fn plan() -> Plan {
    Plan::of(&fixtures::h264_aac())
}

// ---- where a player begins ----------------------------------------------------------------------------------------

/// A late joiner begins at the newest keyframe, and from there has the same bytes at the same times as everyone.
#[test]
fn a_late_joiner_begins_at_the_newest_keyframe() {
    let server = server("", "");
    let feed = Feed::start(&server, "live", "x", plan());
    let early = Player::open(&server, "/live/x.flv");
    early.wait("three and a half seconds", PATIENCE, |flv| {
        flv.frames(VIDEO).len() >= 87
    });
    let sent = feed.sent();
    let late = Player::open(&server, "/live/x.flv");
    let flv = late.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() >= 50);

    let first = flv.frames(VIDEO)[0].clone();
    assert!(first.is_keyframe());
    let newest = sent
        .iter()
        .rev()
        .find(|tag| tag.is_keyframe())
        .expect("keyframes were sent");
    // Keyframes are a second apart; one may have come between the two looks.
    let behind = newest.dts.abs_diff(first.dts);
    assert!(
        behind <= 1000,
        "began at {}, the newest keyframe was {}",
        first.dts,
        newest.dts
    );

    let flv = late.flv();
    feed.assert_gave(&flv, VIDEO);
    let theirs = early.flv();
    let same = theirs
        .frames(VIDEO)
        .into_iter()
        .find(|tag| tag.body == first.body)
        .expect("the early player has it too")
        .clone();
    assert_eq!(same.dts, first.dts, "all players share the timestamps");
    for kind in [VIDEO, AUDIO] {
        assert_continuous(&flv.frames(kind), 250);
    }
}

/// The newest GOP comes in one go, so that a player has a picture at once.
#[test]
fn the_first_frame_comes_at_once() {
    let server = server("", "");
    let _feed = Feed::start(&server, "live", "x", plan());
    Player::open(&server, "/live/x.flv")
        .wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() >= 50);
    let late = Player::open(&server, "/live/x.flv");
    late.wait("a frame", PATIENCE, |flv| !flv.frames(VIDEO).is_empty());
    let waited = late.arrival(0).expect("a tag came") - late.opened;
    assert!(
        waited < Duration::from_millis(300),
        "the first tag came after {waited:?}"
    );
}

/// Without the cache a player waits for the next keyframe; it never begins with an inter frame.
#[test]
fn without_gop_cache_a_player_begins_at_the_next_keyframe() {
    let server = server("gop_cache: off", "");
    let feed = Feed::start(&server, "live", "x", plan());
    wait_for("half a second is sent", PATIENCE, || {
        (feed.sent().iter().filter(|t| t.kind == VIDEO).count() > 38).then_some(())
    });
    let sent = feed.sent();
    let newest = sent
        .iter()
        .rev()
        .find(|tag| tag.is_keyframe())
        .expect("keyframes were sent")
        .dts;
    let player = Player::open(&server, "/live/x.flv");
    let flv = player.wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    let first = flv.frames(VIDEO)[0].clone();
    assert!(first.is_keyframe());
    assert!(
        first.dts > newest,
        "began at {}, though the keyframe at {newest} was over",
        first.dts
    );
}

/// A group of pictures longer than the bound: joiners still begin with a keyframe, and memory is bounded.
#[test]
fn a_gop_longer_than_the_cache() {
    let server = server("gop_cache_max_frames: 20", "");
    let _feed = Feed::start(&server, "live", "x", plan());
    let early = Player::open(&server, "/live/x.flv");
    early.wait("two and a half seconds", PATIENCE, |flv| {
        flv.frames(VIDEO).len() >= 62
    });
    let flv = Player::open(&server, "/live/x.flv")
        .wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 30);
    assert!(flv.frames(VIDEO)[0].is_keyframe());
    assert_continuous(&flv.frames(VIDEO), 250);
}

// ---- a player before its stream -----------------------------------------------------------------------------------

#[test]
fn a_player_before_its_publisher_is_held_and_then_plays() {
    let server = server("wait: 20s", "");
    let player = Player::open(&server, "/live/x.flv");
    server.wait_connections("http", 1);
    super::support::stays(
        "no header before the stream comes",
        Duration::from_secs(1),
        || player.status().is_none() && player.ended().is_none(),
    );
    let _feed = Feed::start(&server, "live", "x", plan());
    let flv = player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    assert_eq!(player.status(), Some(200));
    assert!(flv.frames(VIDEO)[0].is_keyframe());
}

#[test]
fn a_player_whose_publisher_never_comes_gets_404_after_the_wait() {
    let server = server("wait: 2s", "");
    let begin = Instant::now();
    let response = http::get(server.address("http"), "/live/x.flv");
    let waited = begin.elapsed();
    assert_eq!(response.status, 404);
    assert!(
        (Duration::from_millis(1800)..Duration::from_secs(4)).contains(&waited),
        "after {waited:?}"
    );
    assert_eq!(response.text().lines().count(), 1, "a one-line text body");
}

#[test]
fn on_missing_404_answers_at_once() {
    let server = server("on_missing: 404", "");
    let begin = Instant::now();
    let response = http::get(server.address("http"), "/live/x.flv");
    assert_eq!(response.status, 404);
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "after {:?}",
        begin.elapsed()
    );
}

/// A stream whose publisher was accepted is there, though its first frame may still be on its way.
#[test]
fn on_missing_404_holds_the_player_of_a_stream_that_has_just_begun() {
    let server = server("on_missing: 404", "");
    let mut client =
        Client::connect(server.address("rtmp"), "live").expect("the server talks RTMP");
    assert_eq!(
        client.publish("x").expect("an answer"),
        "NetStream.Publish.Start"
    );
    let player = Player::open(&server, "/live/x.flv");
    server.wait_connections("http", 1);
    let _feed = Feed::run(client, "x", plan());
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
}

// ---- a second publisher -------------------------------------------------------------------------------------------

#[test]
fn a_second_publisher_is_rejected() {
    let server = server("", "on_busy: reject");
    let feed = Feed::start(&server, "live", "x", plan());
    let player = Player::open(&server, "/live/x.flv");
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);

    let mut second =
        Client::connect(server.address("rtmp"), "live").expect("the server talks RTMP");
    assert_eq!(
        second.publish("x").expect("an answer"),
        "NetStream.Publish.BadName"
    );
    wait_for("the second is disconnected", PATIENCE, || {
        second.is_closed().then_some(())
    });
    // A real program is told too, and ends by itself with an error.
    let ffmpeg = programs::publish(
        FFMPEG_DEBIAN,
        &fixtures::h264_aac_other(),
        &server.rtmp("live/x"),
    );
    assert!(!ffmpeg.finish(PATIENCE).status.success());

    let flv = player.wait_more(50, PATIENCE);
    assert!(feed.is_running());
    feed.assert_gave(&flv, VIDEO);
}

#[test]
fn a_second_publisher_kicks_the_first() {
    let server = server("", "on_busy: kick");
    let first = Feed::start(&server, "live", "x", plan());
    let player = Player::open(&server, "/live/x.flv");
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 30);

    let other = Plan::of(&fixtures::h264_aac_other());
    let second = Feed::start(&server, "live", "x", other);
    wait_for("the first is disconnected", PATIENCE, || {
        (!first.is_running()).then_some(())
    });
    let header = second
        .sent()
        .into_iter()
        .find(|tag| tag.kind == VIDEO && tag.is_header())
        .expect("a header was sent");
    let flv = player.wait("the second's pictures", PATIENCE, |flv| {
        flv.of_kind(VIDEO).iter().any(|tag| tag.body == header.body)
    });
    let at = flv
        .tags
        .iter()
        .position(|tag| tag.body == header.body)
        .expect("just seen");
    let flv = player.wait("pictures after it", PATIENCE, |flv| {
        flv.tags[at..]
            .iter()
            .filter(|tag| tag.kind == VIDEO && tag.is_coded())
            .count()
            > 10
    });
    let next = flv.tags[at..]
        .iter()
        .find(|tag| tag.kind == VIDEO && tag.is_coded())
        .expect("just seen");
    assert!(
        next.is_keyframe(),
        "the first picture of the second publisher"
    );
    for kind in [VIDEO, AUDIO] {
        assert_continuous(&flv.frames(kind), 5000);
    }
    assert!(second.is_running());
}

// ---- publishers that do not publish -------------------------------------------------------------------------------

#[test]
fn a_publisher_that_sends_nothing_is_ended_after_firstpkt_timeout() {
    let server = server("", "firstpkt_timeout: 1s, normal_timeout: 30s");
    let mut client =
        Client::connect(server.address("rtmp"), "live").expect("the server talks RTMP");
    assert_eq!(
        client.publish("x").expect("an answer"),
        "NetStream.Publish.Start"
    );
    wait_for(
        "the publisher is disconnected",
        Duration::from_secs(6),
        || client.is_closed().then_some(()),
    );
    // The name is free again.
    Feed::start(&server, "live", "x", plan());
}

#[test]
fn a_publisher_that_falls_silent_is_ended_after_normal_timeout() {
    let server = server(
        "",
        "firstpkt_timeout: 30s, normal_timeout: 2s, republish_wait: 500ms",
    );
    let mut client =
        Client::connect(server.address("rtmp"), "live").expect("the server talks RTMP");
    assert_eq!(
        client.publish("x").expect("an answer"),
        "NetStream.Publish.Start"
    );
    let flv =
        super::support::flv::Flv::read(&std::fs::read(fixtures::h264_aac()).expect("a fixture"))
            .expect("a good fixture");
    for tag in flv.tags.iter().take(30) {
        client
            .media(tag.kind, tag.dts, &tag.body)
            .expect("the server takes it");
    }
    let player = Player::open(&server, "/live/x.flv");
    player.wait("frames", PATIENCE, |flv| !flv.frames(VIDEO).is_empty());
    let begin = Instant::now();
    wait_for(
        "the publisher is disconnected",
        Duration::from_secs(8),
        || client.is_closed().then_some(()),
    );
    assert!(
        begin.elapsed() > Duration::from_secs(1),
        "after {:?}",
        begin.elapsed()
    );
    assert_eq!(player.wait_end(PATIENCE), End::Proper);
}

#[test]
fn a_publisher_without_players_is_ended_after_kickoff_for_idle() {
    let server = server("", "kickoff_for_idle: 2s");
    let idle = Feed::start(&server, "live", "idle", plan());
    let watched = Feed::start(&server, "live", "watched", plan());
    let player = Player::open(&server, "/live/watched.flv");
    wait_for(
        "the idle publisher is disconnected",
        Duration::from_secs(10),
        || (!idle.is_running()).then_some(()),
    );
    player.wait("five seconds", PATIENCE, |flv| {
        flv.frames(VIDEO).len() > 125
    });
    assert!(watched.is_running());
}
