//! The FLV file header: which tracks it promises, for whom, and after what wait.

use std::time::{Duration, Instant};

use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, VIDEO};
use super::support::player::Player;
use super::support::server::Server;
use super::support::{PATIENCE, fixtures};

fn server(remux: &str) -> Server {
    Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    http_remux: {{ {remux} }}\n    play: {{ wait: 20s }}\n"
    ))
}

fn plan() -> Plan {
    Plan::of(&fixtures::h264_aac())
}

/// How long a player waits for its first byte at most when nothing has to be waited for.
const AT_ONCE: Duration = Duration::from_millis(400);

#[test]
fn both_tracks_are_promised_when_both_are_there() {
    let server = server("");
    let _feed = Feed::start(&server, "live", "x", plan());
    let player = Player::open(&server, "/live/x.flv");
    let flv = player.wait("frames", PATIENCE, |flv| {
        flv.frames(VIDEO).len() > 3 && flv.frames(AUDIO).len() > 3
    });
    assert_eq!(flv.flags, Some((true, true)));
}

/// An audio-only stream starts at once: nothing announced a picture, so there is none to wait for.
#[test]
fn audio_only_starts_at_once() {
    let server = server("");
    let _feed = Feed::start(&server, "live", "x", plan().only(AUDIO));
    let first = Player::open(&server, "/live/x.flv");
    first.wait("a second of sound", PATIENCE, |flv| {
        flv.frames(AUDIO).len() > 45
    });
    let player = Player::open(&server, "/live/x.flv");
    let flv = player.wait("sound", PATIENCE, |flv| flv.frames(AUDIO).len() > 3);
    assert_eq!(flv.flags, Some((true, false)));
    let waited = player.arrival(0).expect("a tag came") - player.opened;
    // guess_wait is 500 ms; the stream is a second old, so that time is over for this player.
    assert!(waited < AT_ONCE, "the first tag came after {waited:?}");
}

#[test]
fn video_only_promises_no_sound() {
    let server = server("");
    let _feed = Feed::start(&server, "live", "x", plan().only(VIDEO));
    let flv = Player::open(&server, "/live/x.flv")
        .wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 30);
    assert_eq!(flv.flags, Some((false, true)));
    assert!(flv.frames(VIDEO)[0].is_keyframe());
}

/// Sound that was announced but comes late: who joins before sees what has come, who joins later gets it all.
#[test]
fn audio_that_starts_late_is_not_lost_to_those_who_join_later() {
    let server = server("");
    let feed = Feed::start(&server, "live", "x", plan().audio_from(3000));
    let before = Player::open(&server, "/live/x.flv");
    let flv = before.wait("the first pictures", PATIENCE, |flv| {
        flv.frames(VIDEO).len() > 5
    });
    assert_eq!(
        flv.flags,
        Some((false, true)),
        "no sound was seen within guess_wait"
    );
    let waited = before.arrival(0).expect("a tag came") - before.opened;
    assert!(
        waited < Duration::from_secs(2),
        "guess_wait is 500 ms, the first tag came after {waited:?}"
    );

    before.wait("four seconds", PATIENCE, |flv| {
        flv.frames(VIDEO).len() > 105
    });
    assert!(
        feed.sent().iter().any(|tag| tag.kind == AUDIO),
        "the sound has begun"
    );
    let after = Player::open(&server, "/live/x.flv");
    let flv = after.wait("both", PATIENCE, |flv| {
        flv.frames(AUDIO).len() > 5 && flv.frames(VIDEO).len() > 5
    });
    assert_eq!(flv.flags, Some((true, true)));
    assert!(flv.header(AUDIO).is_some(), "the sound's configuration");
    // drop_if_not_match: the first player was promised no sound and gets none, but its pictures go on.
    assert!(before.flv().of_kind(AUDIO).is_empty());
    before.wait_more(20, PATIENCE);
}

/// The same with no metadata to announce it.
#[test]
fn unannounced_late_audio_is_not_lost_either() {
    let server = server("");
    let _feed = Feed::start(
        &server,
        "live",
        "x",
        plan().without_metadata().audio_from(3000),
    );
    let before = Player::open(&server, "/live/x.flv");
    before.wait("four seconds", PATIENCE, |flv| {
        flv.frames(VIDEO).len() > 105
    });
    let flv = Player::open(&server, "/live/x.flv")
        .wait("both", PATIENCE, |flv| flv.frames(AUDIO).len() > 5);
    assert_eq!(flv.flags, Some((true, true)));
}

#[test]
fn guess_off_promises_what_is_configured() {
    let server = server("guess_has_av: off, has_audio: on, has_video: on, drop_if_not_match: on");
    let _feed = Feed::start(&server, "live", "x", plan().only(VIDEO));
    let flv = Player::open(&server, "/live/x.flv")
        .wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    assert_eq!(flv.flags, Some((true, true)));
}

#[test]
fn has_audio_off_drops_the_sound() {
    let server = server("guess_has_av: off, has_audio: off");
    let _feed = Feed::start(&server, "live", "x", plan());
    let flv = Player::open(&server, "/live/x.flv")
        .wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 30);
    assert_eq!(flv.flags, Some((false, true)));
    assert!(flv.of_kind(AUDIO).is_empty());
}

#[test]
fn has_video_off_drops_the_picture() {
    let server = server("guess_has_av: off, has_video: off");
    let _feed = Feed::start(&server, "live", "x", plan());
    let flv = Player::open(&server, "/live/x.flv")
        .wait("sound", PATIENCE, |flv| flv.frames(AUDIO).len() > 30);
    assert_eq!(flv.flags, Some((true, false)));
    assert!(flv.of_kind(VIDEO).is_empty());
}

#[test]
fn drop_if_not_match_off_keeps_what_was_not_promised() {
    let server = server("guess_has_av: off, has_audio: off, drop_if_not_match: off");
    let _feed = Feed::start(&server, "live", "x", plan());
    let flv = Player::open(&server, "/live/x.flv").wait("both", PATIENCE, |flv| {
        flv.frames(VIDEO).len() > 5 && flv.frames(AUDIO).len() > 5
    });
    assert_eq!(flv.flags, Some((false, true)));
}

/// A player that waited for the stream gets its first tag as soon as both tracks are known.
#[test]
fn a_waiting_player_starts_with_the_stream() {
    let server = server("guess_wait: 10s");
    let player = Player::open(&server, "/live/x.flv");
    server.wait_connections("http", 1);
    let begin = Instant::now();
    let _feed = Feed::start(&server, "live", "x", plan());
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 3);
    let waited = player.arrival(0).expect("a tag came") - begin;
    assert!(
        waited < Duration::from_secs(3),
        "guess_wait is for tracks that were not seen; the first tag came after {waited:?}"
    );
}
