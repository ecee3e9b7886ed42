//! TS, AAC and MP3: the elementary streams that were published, to the byte, for one player and for many, over each transport; and
//! what cannot be given.

mod audio;
mod av1;
mod changes;
#[cfg(feature = "transcode")]
mod convert;
mod crowd;
mod he_aac;
mod mounts;
mod readers;
mod transports;
mod ts;

use std::path::PathBuf;
use std::time::Duration;

use super::support::elementary::{assert_run, coded};
use super::support::fixtures;
use super::support::flv::{AUDIO, Tag, VIDEO};
use super::support::raw::Raw;
use super::support::ts::{AAC, AC3, H264, HEVC, MPEG1_AUDIO, PACKET, PRIVATE, Ts, units_of};

/// A program that plays for some seconds, with its start on a busy machine.
const PLAY: Duration = Duration::from_secs(60);

/// The whole units of a stream, so that the last packet is whole.
#[track_caller]
fn check_pieces(player: &Raw) {
    for size in player.pieces() {
        assert_eq!(
            size % PACKET,
            0,
            "a unit of {size} bytes is not whole packets"
        );
    }
}

/// What one player was given of one fixture agrees with what was sent.
#[track_caller]
fn check_content(name: &str, ts: &Ts, sent: &[Tag], types: (Option<u8>, Option<u8>)) {
    for (kind, stream_type) in [(VIDEO, types.0), (AUDIO, types.1)] {
        if let Some(stream_type) = stream_type {
            assert_run(
                &format!("{name}, kind {kind}"),
                &units_of(ts, stream_type),
                &coded(sent, kind),
            );
        }
    }
    let map: Vec<u8> = ts
        .maps
        .last()
        .expect("a map")
        .streams
        .iter()
        .map(|(kind, _)| *kind)
        .collect();
    let expected: Vec<u8> = [types.0, types.1].into_iter().flatten().collect();
    assert_eq!(map, expected, "{name}: the map");
}

type Fixture = (&'static str, PathBuf, (Option<u8>, Option<u8>));

fn all_fixtures() -> Vec<Fixture> {
    vec![
        ("h264-aac", fixtures::h264_aac(), (Some(H264), Some(AAC))),
        ("hevc-aac", fixtures::hevc_aac(), (Some(HEVC), Some(AAC))),
        (
            "h264-mp3",
            fixtures::h264_mp3(),
            (Some(H264), Some(MPEG1_AUDIO)),
        ),
        ("h264-ac3", fixtures::h264_ac3(), (Some(H264), Some(AC3))),
        (
            "h264-opus",
            fixtures::h264_opus(),
            (Some(H264), Some(PRIVATE)),
        ),
        ("h264", fixtures::h264(), (Some(H264), None)),
        ("aac", fixtures::aac(), (None, Some(AAC))),
        ("mp3", fixtures::mp3(), (None, Some(MPEG1_AUDIO))),
    ]
}
