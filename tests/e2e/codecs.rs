//! Codecs beyond H.264 with AAC: all passed through, and recognised well enough to start players at a keyframe.

use std::path::Path;
use std::process::Command;

use super::SHORT;
use super::publish::check_whole;
use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, Flv, Tag, VIDEO};
use super::support::player::{Over, Player};
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

/// Publishes tags that no program here makes, and checks that they come out as they went in, for a player that was there and for one
/// that joins late.
#[track_caller]
fn check_passed(plan: Plan) -> Flv {
    let server = Server::start(SHORT);
    let early = Player::open(&server, "/live/x.flv");
    server.wait_connections("http", 1);
    let feed = Feed::start(&server, "live", "x", plan);
    early.wait("two and a half seconds", PATIENCE, |flv| {
        flv.frames(VIDEO).last().is_some_and(|tag| tag.dts > 2500)
    });
    let late = Player::open(&server, "/live/x.flv");
    late.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() > 50);
    let (early, late) = (early.flv(), late.flv());
    for flv in [&early, &late] {
        for kind in [VIDEO, AUDIO] {
            feed.assert_gave(flv, kind);
            for header in feed.headers().iter().filter(|tag| tag.kind == kind) {
                assert!(
                    flv.tags.iter().any(|tag| tag.body == header.body),
                    "no {header:?}"
                );
            }
        }
        assert!(flv.frames(VIDEO)[0].is_keyframe());
    }
    late
}

/// HEVC as it was before Enhanced RTMP: codec id 12, which many encoders and players in Asia still speak.
#[test]
fn hevc_by_its_legacy_id() {
    let plan = Plan::of(&fixtures::hevc_aac()).mapped(|tag| {
        let body = &tag.body;
        if tag.kind != VIDEO {
            return vec![tag.clone()];
        }
        assert_eq!(&body[1..5], b"hvc1");
        let frame = (body[0] & 0x70) | 12;
        let legacy = match body[0] & 0x0f {
            0 => [&[frame, 0, 0, 0, 0], &body[5..]].concat(),
            1 => [&[frame, 1], &body[5..]].concat(),
            3 => [&[frame, 1, 0, 0, 0], &body[5..]].concat(),
            other => panic!("packet type {other}"),
        };
        vec![Tag::new(VIDEO, tag.dts, &legacy)]
    });
    let flv = check_passed(plan);
    assert_eq!(flv.frames(VIDEO)[0].codec(), "12");
}

/// Enhanced RTMP v2: a second picture as track 1 of multitrack packets, and frames with a nanosecond offset (ModEx).
#[test]
fn multitrack_and_modex() {
    let plan = Plan::of(&fixtures::hevc_aac()).mapped(|tag| {
        if tag.kind != VIDEO {
            return vec![tag.clone()];
        }
        let (first, rest) = (tag.body[0], &tag.body[1..]);
        // VideoPacketType Multitrack; OneTrack and the packet's own type; FourCC; track 1; the body.
        let second = [
            &[(first & 0xf0) | 6, first & 0x0f],
            &rest[..4],
            &[1],
            &rest[4..],
        ]
        .concat();
        let main = match first & 0x0f {
            0 => tag.body.clone(),
            // VideoPacketType ModEx; a size of 3; 500,000 ns; TimestampOffsetNano and the packet's own type; the rest.
            kind => [&[(first & 0xf0) | 7, 2, 0x07, 0xa1, 0x20, kind], rest].concat(),
        };
        vec![
            Tag::new(VIDEO, tag.dts, &main),
            Tag::new(VIDEO, tag.dts, &second),
        ]
    });
    check_passed(plan);
}

/// An encoder that begins anew under the same publish: another picture of the same codec.
#[test]
fn another_configuration_in_mid_stream() {
    check_change(&fixtures::h264_aac_other(), "7");
}

#[test]
fn another_codec_in_mid_stream() {
    check_change(&fixtures::hevc_aac(), "hvc1");
}

/// From H.264 to something else after two seconds, by each protocol: players that were there get all, with the new
/// configuration before the first new picture, and those that join later know nothing of the old one.
#[track_caller]
fn check_change(other: &Path, codec: &str) {
    let server = Server::start("");
    let open = |over| (over, Player::open_over(over, &server, "/live/x.flv"));
    let early = Over::ALL.map(open);
    server.wait_connections("http", 2);
    // What a second round would begin with has no configuration of its own.
    let plan = Plan::of(&fixtures::h264_aac()).then_at(2000, Plan::of(other));
    let feed = Feed::start(&server, "live", "x", plan.for_ms(6000));
    for (over, player) in &early {
        player.wait(&format!("three seconds over {over:?}"), PATIENCE, |flv| {
            flv.frames(VIDEO).len() > 75
        });
    }
    let late = Over::ALL.map(open);
    for (over, player) in &late {
        player.wait(&format!("pictures over {over:?}"), PATIENCE, |flv| {
            flv.frames(VIDEO).len() > 10
        });
    }
    let configurations = |tags: &[Tag]| -> Vec<Vec<u8>> {
        let headers = tags.iter().filter(|t| t.kind == VIDEO && t.is_header());
        let mut bodies: Vec<_> = headers.map(|tag| tag.body.clone()).collect();
        bodies.dedup();
        bodies
    };
    let came = |(over, player): &(Over, Player)| (*over, player.flv());
    let (early, late) = (early.each_ref().map(came), late.each_ref().map(came));
    let sent = configurations(&feed.sent());
    assert_eq!(sent.len(), 2, "the fixtures differ");
    for (over, flv) in &early {
        feed.assert_gave(flv, VIDEO);
        feed.assert_gave(flv, AUDIO);
        assert_eq!(configurations(&flv.tags), sent, "over {over:?}");
        let second = flv.tags.iter().position(|tag| tag.body == sent[1]);
        let (before, after) = flv.tags.split_at(second.expect("just seen"));
        let pictures = |tags: &[Tag]| -> Vec<Tag> {
            let all = tags.iter().filter(|t| t.kind == VIDEO && t.is_coded());
            all.cloned().collect()
        };
        let (before, after) = (pictures(before), pictures(after));
        assert!(before.iter().all(|tag| tag.codec() == "7"));
        assert!(!before.is_empty(), "over {over:?}");
        assert!(after[0].is_keyframe(), "over {over:?}: {:?}", after[0]);
        assert!(after.iter().all(|tag| tag.codec() == codec));
    }
    for (over, flv) in &late {
        feed.assert_gave(flv, VIDEO);
        assert_eq!(configurations(&flv.tags), sent[1..], "over {over:?}");
        let first = flv.frames(VIDEO)[0];
        assert!(first.is_keyframe(), "over {over:?}: {first:?}");
        assert_eq!(first.codec(), codec);
    }
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
