//! MPEG-TS: what players are given, and where they start.

use super::{all_fixtures, check_content, check_pieces};
use crate::SHORT;
use crate::support::elementary::nals;
use crate::support::feed::{Feed, Plan};
use crate::support::flv::{AUDIO, VIDEO};
use crate::support::raw::Raw;
use crate::support::server::Server;
use crate::support::ts::{self, Pes, STEP, lasts};
use crate::support::{PATIENCE, fixtures, wait_for};

#[test]
fn ts_carries_what_was_published() {
    let server = Server::start(SHORT);
    let all = all_fixtures();
    let feeds: Vec<Feed> = all
        .iter()
        .map(|(name, file, _)| Feed::start(&server, "live", name, Plan::of(file)))
        .collect();
    let players: Vec<Raw> = all
        .iter()
        .map(|(name, ..)| Raw::open(&server, &format!("/live/{name}.ts")))
        .collect();
    for ((name, _, types), (player, feed)) in all.iter().zip(players.iter().zip(&feeds)) {
        let bytes = player.wait(&format!("three seconds of {name}"), PATIENCE, |bytes| {
            lasts(bytes, 3.0)
        });
        let sent = feed.sent();
        check_pieces(player);
        assert_eq!(bytes[..3], [0x47, 0x40, 0], "{name} begins with a PAT");
        assert_eq!(player.header("content-type").as_deref(), Some("video/mp2t"));
        check_content(name, &ts::check(&bytes, STEP), &sent, *types);
    }
}

/// However units are cut and wherever players start, it is at a PAT and a keyframe.
#[test]
fn players_start_at_a_pat_with_other_settings() {
    for play in [
        "mw_latency: 350ms",
        "gop_cache: off",
        "mix_correct: on",
        "gop_cache: off, mw_latency: 350ms",
    ] {
        let server = Server::start(&format!(
            "vhosts: {{ __defaultVhost__: {{ play: {{ {play} }} }} }}"
        ));
        let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
        for _ in 0..3 {
            let player = Raw::open(&server, "/live/x.ts");
            let bytes = player.wait("a second and a half", PATIENCE, |bytes| lasts(bytes, 1.5));
            check_pieces(&player);
            check_content(
                play,
                &ts::check(&bytes, STEP),
                &feed.sent(),
                (Some(ts::H264), Some(ts::AAC)),
            );
        }
    }
}

/// Delimiter and parameter sets stand before each picture at which a decoder can start.
#[test]
fn a_keyframe_has_all_that_a_decoder_needs() {
    let server = Server::start(SHORT);
    for (name, file, stream_type, expected) in [
        ("a", fixtures::h264_aac(), ts::H264, [9, 7, 8].as_slice()),
        ("b", fixtures::hevc_aac(), ts::HEVC, &[35, 32, 33, 34]),
    ] {
        let _feed = Feed::start(&server, "live", name, Plan::of(&file));
        let player = Raw::open(&server, &format!("/live/{name}.ts"));
        let bytes = player.wait("two seconds", PATIENCE, |bytes| lasts(bytes, 2.2));
        let ts = ts::check(&bytes, STEP);
        let keys: Vec<&Pes> = ts
            .of(ts.pid_of(stream_type))
            .into_iter()
            .filter(|pes| pes.random_access)
            .collect();
        assert!(keys.len() >= 2, "{} keyframes in two seconds", keys.len());
        for key in keys {
            let kinds: Vec<u8> = nals(&key.payload)
                .into_iter()
                .map(|nal| {
                    if stream_type == ts::HEVC {
                        nal[0] >> 1 & 0x3f
                    } else {
                        nal[0] & 0x1f
                    }
                })
                .collect();
            assert_eq!(
                &kinds[..expected.len()],
                expected,
                "{name}: NAL types {kinds:?}"
            );
        }
    }
}

/// Sound whose codec has no header is in the map from its first packet on, for who joins in the first group of pictures too.
#[test]
fn the_first_map_is_the_last() {
    let server = Server::start(SHORT);
    for (name, file, sound) in [
        ("a", fixtures::h264_mp3(), ts::MPEG1_AUDIO),
        ("b", fixtures::h264_ac3(), ts::AC3),
    ] {
        let feed = Feed::start(&server, "live", name, Plan::of(&file).without_metadata());
        wait_for("pictures and sound", PATIENCE, || {
            let sent = feed.sent();
            let has = |kind| sent.iter().any(|tag| tag.kind == kind && tag.is_coded());
            (has(VIDEO) && has(AUDIO)).then_some(())
        });
        for _ in 0..3 {
            let player = Raw::open(&server, &format!("/live/{name}.ts"));
            let bytes = player.wait("a second", PATIENCE, |bytes| lasts(bytes, 1.0));
            let ts = ts::check(&bytes, STEP);
            assert_eq!(ts.maps.len(), 1, "{name}: {:?}", ts.maps);
            check_content(name, &ts, &feed.sent(), (Some(ts::H264), Some(sound)));
        }
    }
}
