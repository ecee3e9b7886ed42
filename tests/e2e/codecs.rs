//! Codecs beyond H.264 with AAC: all passed through, and recognised well enough to start players at a keyframe.

use std::path::Path;
use std::process::Command;

use super::SHORT;
use super::publish::check_whole;
use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, Flv, VIDEO};
use super::support::player::Player;
use super::support::programs::{self, FFMPEG_DEBIAN, ffmpeg_current};
use super::support::server::Server;
use super::support::{PATIENCE, fixtures};

/// Publishes with a current ffmpeg; what comes out is what went in, and a player that joins late starts at a keyframe.
#[track_caller]
fn check_enhanced(fixture: &Path, video: &str, audio: &str) {
    let server = Server::start(SHORT);
    // ffmpeg writes some configurations anew when it copies a stream; what it publishes is what it would write into a file.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let published = folder.path().join("published.flv");
    let mut copy = Command::new(ffmpeg_current());
    copy.args(["-loglevel", "error", "-i"])
        .arg(fixture)
        .args(["-c", "copy", "-f", "flv"])
        .arg(&published);
    programs::run(&mut copy, PATIENCE).success();
    check_whole(&server, &published, || {
        programs::publish(ffmpeg_current(), fixture, &server.rtmp("live/whole"))
    });

    let _feed = Feed::start(&server, "live", "late", Plan::of(fixture));
    let early = Player::open(&server, "/live/late.flv");
    early.wait("three seconds", PATIENCE, |flv| {
        flv.frames(VIDEO).len() >= 75
    });
    let late = Player::open(&server, "/live/late.flv");
    let flv = late.wait("frames", PATIENCE, |flv| {
        flv.frames(VIDEO).len() >= 5 && flv.frames(AUDIO).len() >= 5
    });
    check_start(&flv, video, audio);
}

#[track_caller]
fn check_start(flv: &Flv, video: &str, audio: &str) {
    assert_eq!(flv.flags, Some((true, true)));
    let header = flv.header(VIDEO).expect("the video's configuration");
    assert_eq!(header.codec(), video);
    assert!(flv.frames(VIDEO)[0].is_keyframe());
    assert_eq!(flv.frames(AUDIO)[0].codec(), audio);
}

#[test]
fn hevc() {
    check_enhanced(&fixtures::hevc_aac(), "hvc1", "10");
}

#[test]
fn av1_with_opus() {
    check_enhanced(&fixtures::av1_opus(), "av01", "Opus");
}

#[test]
fn vp9_with_flac() {
    check_enhanced(&fixtures::vp9_flac(), "vp09", "fLaC");
}

#[test]
fn h264_with_ac3() {
    check_enhanced(&fixtures::h264_ac3(), "7", "ac-3");
}

#[test]
fn audio_only_aac() {
    let server = Server::start(SHORT);
    let fixture = fixtures::aac();
    check_whole(&server, &fixture, || {
        programs::publish(FFMPEG_DEBIAN, &fixture, &server.rtmp("live/whole"))
    });
}

/// MP3 has no decoder configuration, so nothing but its frames tells that it is there.
#[test]
fn audio_only_mp3() {
    let server = Server::start(SHORT);
    let fixture = fixtures::mp3();
    check_whole(&server, &fixture, || {
        programs::publish(FFMPEG_DEBIAN, &fixture, &server.rtmp("live/whole"))
    });
}

#[test]
fn video_only() {
    let server = Server::start(SHORT);
    let fixture = fixtures::h264();
    check_whole(&server, &fixture, || {
        programs::publish(FFMPEG_DEBIAN, &fixture, &server.rtmp("live/whole"))
    });
}
