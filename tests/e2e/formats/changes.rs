//! What changes while it plays: tracks, publishers, codecs, time; and players that are too slow.

use std::time::Duration;

use super::check_content;
use crate::SHORT;
use crate::support::elementary::{Unit, adts_frames, assert_run, coded};
use crate::support::feed::{Feed, Plan};
use crate::support::flv::{AUDIO, VIDEO};
use crate::support::player::End;
use crate::support::raw::Raw;
use crate::support::server::Server;
use crate::support::ts::{
    self, Map, PACKET, Pes, SECOND, STEP, Ts, distance, lasts, unit_of_pes, units_of,
};
use crate::support::{PATIENCE, fixtures};

#[test]
fn sound_that_comes_late_appears() {
    let server = Server::start(SHORT);
    let feed = Feed::start(
        &server,
        "live",
        "x",
        Plan::of(&fixtures::h264_aac()).audio_from(3000),
    );
    let player = Raw::open(&server, "/live/x.ts");
    let has_sound = |bytes: &[u8]| {
        Ts::read(bytes).is_ok_and(|ts| ts.pes.iter().filter(|pes| pes.pid >= 0x200).count() > 50)
    };
    let bytes = player.wait("sound", PATIENCE, has_sound);
    let sent = feed.sent();
    let ts = ts::check(&bytes, STEP);
    let types = |map: &Map| {
        map.streams
            .iter()
            .map(|(kind, _)| *kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ts.maps.iter().map(types).collect::<Vec<_>>(),
        [vec![ts::H264], vec![ts::H264, ts::AAC]]
    );
    assert_eq!(ts.maps[1].version, ts.maps[0].version + 1);
    check_content("late sound", &ts, &sent, (Some(ts::H264), Some(ts::AAC)));
    let pid = ts.pid_of(ts::AAC);
    let first = ts.of(pid)[0].at;
    assert!(
        ts.maps[1].at < first,
        "the map tells of it before its first packet"
    );
}

/// A publisher that dies and comes back: the same response goes on, its counters and its time too.
#[test]
fn a_publisher_back_in_time() {
    let server = Server::start("");
    let first = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let players = [
        Raw::open(&server, "/live/x.ts"),
        Raw::open(&server, "/live/x.aac"),
    ];
    players[0].wait("two seconds", PATIENCE, |bytes| lasts(bytes, 2.0));
    let sent_first = first.abandon();
    std::thread::sleep(Duration::from_secs(2));
    let before = players[0].len();
    let second = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let bytes = players[0].wait("two seconds more", PATIENCE, |bytes| {
        bytes.len() > before && lasts(&bytes[before..], 2.0)
    });
    let sound = players[1].bytes();
    let sent_second = second.sent();
    let ts = ts::check(&bytes, 8 * SECOND);
    assert_eq!(ts.maps.len(), 1, "nothing changed: {:?}", ts.maps);
    let units = units_of(&ts, ts::H264);
    let frames = coded(&sent_second, VIDEO);
    // The first picture of the second publisher follows the last of the first.
    let leap = ts
        .of(ts.pid_of(ts::H264))
        .iter()
        .take_while(|pes| pes.at < before / PACKET)
        .count();
    assert_run("before", &units[..leap], &coded(&sent_first, VIDEO));
    assert_eq!(units[leap], frames[0], "goes on from a keyframe");
    assert_run("after", &units[leap..], &frames);
    let (all, one) = (adts_frames(&sound), coded(&sent_second, AUDIO));
    assert_run("the sound's end", &all[all.len() - 30..], &one);
}

/// Another codec in the same response: the map's version rises, and the new pictures begin at a keyframe behind it.
#[test]
fn a_publisher_back_with_another_codec() {
    let server = Server::start("");
    let first = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let player = Raw::open(&server, "/live/x.ts");
    player.wait("two seconds", PATIENCE, |bytes| lasts(bytes, 2.0));
    first.abandon();
    let before = player.len();
    let second = Feed::start(&server, "live", "x", Plan::of(&fixtures::hevc_aac()));
    let bytes = player.wait("two seconds more", PATIENCE, |bytes| {
        bytes.len() > before + PACKET && lasts(&bytes[before..], 2.0)
    });
    let sent = second.sent();
    let ts = ts::check(&bytes, 8 * SECOND);
    assert_eq!(ts.maps.len(), 2, "{:?}", ts.maps);
    assert_eq!(ts.maps[1].version, (ts.maps[0].version + 1) % 32);
    let pid = ts.pid_of(ts::HEVC);
    assert_eq!(ts.maps[0].streams[0], (ts::H264, pid), "on the same PID");
    let after: Vec<&Pes> = ts
        .of(pid)
        .into_iter()
        .filter(|pes| pes.at > ts.maps[1].at)
        .collect();
    assert!(after[0].random_access);
    let units: Vec<Unit> = after
        .into_iter()
        .map(|pes| unit_of_pes(ts::HEVC, pes))
        .collect();
    assert_run("the new pictures", &units, &coded(&sent, VIDEO));
    // A player that joins now sees only the new codec.
    let late = Raw::open(&server, "/live/x.ts");
    let ts = ts::check(
        &late.wait("a second", PATIENCE, |bytes| lasts(bytes, 1.0)),
        STEP,
    );
    assert_eq!(ts.maps.len(), 1);
    ts.pid_of(ts::HEVC);
}

/// The publisher's clock runs over 32 bits of milliseconds, and the output's over 33 bits of 90 kHz.
#[test]
fn clocks_that_wrap() {
    let server = Server::start(
        "vhosts: { __defaultVhost__: { play: { wait: 20s } }, off.example: { play: { wait: 20s, time_jitter: off } } }",
    );
    const WRAP_MS: u64 = ts::CIRCLE / 90;
    for (name, vhost, start_ms, wraps) in [
        ("a", "", (1 << 32) - 1500, false),
        // 2^32 ms are 45 times 2^33 / 90,000 s, so that both wrap at once.
        ("b", "off.example", (1 << 32) - 1500, true),
        ("c", "off.example", WRAP_MS - 2000, true),
    ] {
        let address = server.address("rtmp");
        let host = if vhost.is_empty() { "localhost" } else { vhost };
        let plan = Plan::of(&fixtures::h264_aac()).starting_at(start_ms);
        let feed = Feed::start_as(address, "live", &format!("rtmp://{host}/live"), name, plan);
        let player = Raw::open(&server, &format!("/live/{name}.ts?vhost={vhost}"));
        let bytes = player.wait("four seconds", PATIENCE, |bytes| lasts(bytes, 4.0));
        let ts = ts::check(&bytes, STEP);
        let dts: Vec<u64> = ts
            .of(ts.pid_of(ts::H264))
            .iter()
            .map(|pes| pes.dts)
            .collect();
        assert_eq!(
            dts.windows(2).any(|pair| pair[1] < pair[0]),
            wraps,
            "{name}: {dts:?}"
        );
        assert_eq!(
            ts.clock.windows(2).any(|pair| pair[1].1 < pair[0].1),
            wraps,
            "{name}: {:?}",
            ts.clock
        );
        check_content(name, &ts, &feed.sent(), (Some(ts::H264), Some(ts::AAC)));
    }
}

/// One that sleeps beyond `queue_length` goes on from tables and a keyframe near the live edge.
#[test]
fn a_slow_player_goes_on_at_a_pat() {
    let server = Server::start(
        "limits: { player_stall: 60s }\nvhosts:\n  __defaultVhost__:\n    play: { queue_length: 3s }\n",
    );
    let plan = Plan::of(&fixtures::h264_aac()).with_pictures_of(20_000);
    let feed = Feed::start(&server, "live", "x", plan);
    let sleepy = Raw::open_with(server.address("http"), "/live/x.ts", Some(128 * 1024));
    sleepy.wait("a second", PATIENCE, |bytes| lasts(bytes, 1.0));
    sleepy.pause();
    std::thread::sleep(Duration::from_secs(12));
    sleepy.resume();
    let now = feed.sent().last().expect("frames").dts;
    let bytes = sleepy.wait("the live edge", PATIENCE, |bytes| {
        Ts::read(bytes).is_ok_and(|ts| {
            let edge = ts.clock.last().map_or(0, |(_, clock)| clock / 90);
            edge > u64::from(now) + 1000
        })
    });
    super::check_pieces(&sleepy);
    let sent = coded(&feed.sent(), VIDEO);
    let ts = Ts::read(&bytes).unwrap_or_else(|fault| panic!("{fault}"));
    let first = *ts.gaps.first().expect("something was skipped");
    assert!(
        ts.tables.contains(&first),
        "goes on in packet {first} of PID {:#x}",
        ts.pids[first]
    );
    ts::check_times(&ts, 20 * SECOND);
    let pictures = ts.of(ts.pid_of(ts::H264));
    let leaps: Vec<usize> = (1..pictures.len())
        .filter(|at| distance(pictures[at - 1].dts, pictures[*at].dts) > STEP)
        .collect();
    assert!(!leaps.is_empty());
    for leap in &leaps {
        assert!(pictures[*leap].random_access, "a skip ends at a keyframe");
        assert!(
            ts.tables.contains(&(pictures[*leap].at - 2)),
            "behind its tables"
        );
    }
    // From the last skip on, nothing is missing.
    let last = *leaps.last().expect("leaps");
    let units: Vec<Unit> = pictures[last..]
        .iter()
        .map(|pes| unit_of_pes(ts::H264, pes))
        .collect();
    assert_run("after the skip", &units, &sent);
    drop(sleepy);
    let line = server.wait_log(&["play ended", "format=\"ts\""], PATIENCE);
    assert!(!line.contains("skips=0"), "{line}");
}

/// The end of the stream ends each body as its framing says.
#[test]
fn the_end_of_the_stream_is_the_end_of_the_body() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let players: Vec<Raw> = ["ts", "aac"]
        .iter()
        .map(|ending| Raw::open(&server, &format!("/live/x.{ending}")))
        .collect();
    players[0].wait("a second", PATIENCE, |bytes| lasts(bytes, 1.0));
    let sent = feed.finish();
    for player in &players {
        assert_eq!(player.wait_end(PATIENCE), End::Proper);
    }
    ts::check(&players[0].bytes(), STEP);
    let frames = adts_frames(&players[1].bytes());
    assert_eq!(
        frames.last(),
        coded(&sent, AUDIO).last(),
        "the last frame came too"
    );
}
