//! TS, AAC and MP3: the elementary streams that were published, to the byte, for one player and for many, over each transport; and
//! what cannot be given.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::SHORT;
use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, Flv, Tag, VIDEO};
use super::support::player::End;
use super::support::programs::{self, FFMPEG_DEBIAN, Job, curl, ffmpeg_current};
use super::support::raw::Raw;
use super::support::server::Server;
use super::support::ts::{self, Map, PACKET, Pes, Ts, distance};
use super::support::{PATIENCE, fixtures, http, wait_for};
use super::websocket;

/// Players that are there at once.
const CROWD: usize = 50;

/// A program that plays for some seconds, with its start on a busy machine.
const PLAY: Duration = Duration::from_secs(60);

const SECOND: i64 = 90_000;

/// The longest step of a track's time where nothing is missing.
const STEP: i64 = SECOND / 4;

// ---- elementary streams ------------------------------------------------------------------------------------------------

/// What must come through of a frame: the slices of a picture, or the audio frame alone.
type Unit = Vec<Vec<u8>>;

fn is_slice(hevc: bool, nal: &[u8]) -> bool {
    match (nal.first(), hevc) {
        // H.264 table 7-1, H.265 table 7-1: the rest are delimiters, parameter sets and supplements.
        (Some(first), false) => matches!(first & 0x1f, 1 | 5),
        (Some(first), true) => first >> 1 & 0x3f < 32,
        (None, _) => false,
    }
}

/// From an FLV tag.
fn unit_of_tag(tag: &Tag) -> Unit {
    let hevc = tag.codec() == "hvc1";
    let head = match (tag.kind, tag.is_enhanced()) {
        (VIDEO, false) => 5,
        // CodedFrames has a composition time, CodedFramesX has none.
        (VIDEO, true) if tag.body[0] & 0x0f == 1 => 8,
        (VIDEO | AUDIO, true) => 5,
        _ if tag.codec() == "10" => 2,
        _ => 1,
    };
    let mut rest = &tag.body[head..];
    if tag.kind == AUDIO {
        return vec![rest.to_vec()];
    }
    let mut slices = Vec::new();
    while let Some((size, tail)) = rest.split_first_chunk::<4>() {
        let (nal, tail) = tail.split_at(u32::from_be_bytes(*size) as usize);
        if is_slice(hevc, nal) {
            slices.push(nal.to_vec());
        }
        rest = tail;
    }
    slices
}

/// The NAL units of a byte stream (H.264 and H.265 annex B).
fn nals(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> = (0..stream.len().saturating_sub(2)).filter(|at| stream[*at..].starts_with(&[0, 0, 1])).collect();
    starts.push(stream.len());
    starts
        .windows(2)
        .map(|pair| stream[pair[0] + 3..pair[1]].trim_ascii_end_zeros())
        .collect()
}

trait TrimZeros {
    fn trim_ascii_end_zeros(&self) -> &[u8];
}

impl TrimZeros for [u8] {
    fn trim_ascii_end_zeros(&self) -> &[u8] {
        let end = self.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &self[..end]
    }
}

fn slices(hevc: bool, stream: &[u8]) -> Unit {
    nals(stream).into_iter().filter(|nal| is_slice(hevc, nal)).map(<[u8]>::to_vec).collect()
}

/// The frames of ADTS, without their headers; a frame that is cut off at the end is left out.
#[track_caller]
fn adts_frames(mut bytes: &[u8]) -> Vec<Unit> {
    let mut frames = Vec::new();
    while let Some(head) = bytes.get(..7) {
        // ISO/IEC 14496-3 1.A.3.2.1: no CRC, AAC-LC, 48 kHz, stereo.
        assert_eq!((head[0], head[1], head[2], head[3] & 0xc0), (0xff, 0xf1, 0x4c, 0x80), "{head:02x?}");
        let size = usize::from(head[3] & 3) << 11 | usize::from(head[4]) << 3 | usize::from(head[5] >> 5);
        let Some(frame) = bytes.get(7..size) else { break };
        frames.push(vec![frame.to_vec()]);
        bytes = &bytes[size..];
    }
    frames
}

/// Opus in MPEG-TS: the control header, and the packet behind it.
#[track_caller]
fn opus_packet(payload: &[u8]) -> Unit {
    assert_eq!((payload[0], payload[1] & 0xe0), (0x7f, 0xe0), "the prefix of a control header");
    assert_eq!(payload[1] & 0x1f, 0, "nothing trimmed, no extension");
    let (mut size, mut at) = (0, 2);
    loop {
        size += usize::from(payload[at]);
        at += 1;
        if payload[at - 1] != 255 {
            break;
        }
    }
    assert_eq!(payload.len() - at, size, "one packet");
    vec![payload[at..].to_vec()]
}

#[track_caller]
fn unit_of_pes(stream_type: u8, pes: &Pes) -> Unit {
    match stream_type {
        ts::H264 | ts::HEVC => slices(stream_type == ts::HEVC, &pes.payload),
        ts::AAC => {
            let mut frames = adts_frames(&pes.payload);
            assert_eq!(frames.len(), 1, "one frame a PES packet");
            frames.remove(0)
        }
        ts::PRIVATE => opus_packet(&pes.payload),
        _ => vec![pes.payload.clone()],
    }
}

fn coded(tags: &[Tag], kind: u8) -> Vec<Unit> {
    tags.iter().filter(|tag| tag.kind == kind && tag.is_coded()).map(unit_of_tag).collect()
}

/// `came` is a part of `sent`, without a gap.
#[track_caller]
fn assert_run<T: PartialEq>(what: &str, came: &[T], sent: &[T]) {
    assert!(!came.is_empty(), "{what}: nothing came");
    let found = sent.windows(came.len()).any(|window| window == came);
    if found {
        return;
    }
    let longest = (0..sent.len())
        .map(|from| sent[from..].iter().zip(came).take_while(|(a, b)| a == b).count())
        .max();
    panic!("{what}: {} came, {} were sent; at most the first {longest:?} agree", came.len(), sent.len());
}

// ---- transport streams -------------------------------------------------------------------------------------------------

/// What holds in each part of a transport stream that one player was given, if no time is missing beyond `leap`.
#[track_caller]
fn check_ts(bytes: &[u8], leap: i64) -> Ts {
    let ts = Ts::read(bytes).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(ts.gaps, [0usize; 0], "continuity counters");
    check_times(&ts, leap);
    let video = ts.maps.iter().flat_map(|map| &map.streams).find(|(kind, _)| matches!(*kind, ts::H264 | ts::HEVC));
    if let Some((_, pid)) = video {
        assert_eq!(ts.tables.first(), Some(&0), "begins with a PAT");
        let first = ts.of(*pid)[0];
        assert!(first.random_access, "the first picture is a keyframe");
        for key in ts.of(*pid).into_iter().filter(|pes| pes.random_access) {
            assert!(ts.tables.contains(&(key.at - 2)), "PAT and PMT right before the keyframe in packet {}", key.at);
        }
    }
    ts
}

/// The PMT follows each PAT, and no time goes back or leaps.
#[track_caller]
fn check_times(ts: &Ts, leap: i64) {
    let map_at = ts.maps.first().expect("a PMT").at;
    let map_pid = ts.pids[map_at];
    for table in ts.tables.iter().filter(|table| **table + 1 < ts.pids.len()) {
        assert_eq!(ts.pids[table + 1], map_pid, "what follows the PAT in packet {table}");
    }
    let mut pids: Vec<u16> = ts.pes.iter().map(|pes| pes.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    for pid in pids {
        for pair in ts.of(pid).windows(2) {
            let step = distance(pair[0].dts, pair[1].dts);
            assert!(0 < step && step <= leap, "PID {pid:#x}: DTS {} then {}", pair[0].dts, pair[1].dts);
        }
    }
    for pes in &ts.pes {
        assert!(distance(pes.dts, pes.pts) >= 0, "PTS {} before DTS {}", pes.pts, pes.dts);
        let clock = ts.clock.iter().rev().find(|(at, _)| *at <= pes.at);
        if let Some((_, clock)) = clock {
            let ahead = distance(*clock, pes.dts);
            assert!((0..=2 * SECOND).contains(&ahead), "DTS {} when the clock is at {clock}", pes.dts);
        }
    }
    for pair in ts.clock.windows(2) {
        let step = distance(pair[0].1, pair[1].1);
        // Clock references each 40 ms, but where a publisher was away.
        let most = if leap > STEP { leap } else { SECOND / 25 };
        assert!(0 < step && step <= most, "the clock goes from {} to {}", pair[0].1, pair[1].1);
    }
    if leap == STEP {
        let times: Vec<u64> = ts
            .tables
            .iter()
            .filter_map(|table| ts.clock.iter().find(|(at, _)| at > table).map(|(_, clock)| *clock))
            .collect();
        for pair in times.windows(2) {
            let step = distance(pair[0], pair[1]);
            assert!(step <= SECOND / 10 + SECOND / 25, "{} ms without tables", step / 90);
        }
    }
}

/// The whole units of a stream, so that the last packet is whole.
#[track_caller]
fn check_pieces(player: &Raw) {
    for size in player.pieces() {
        assert_eq!(size % PACKET, 0, "a unit of {size} bytes is not whole packets");
    }
}

#[track_caller]
fn units_of(ts: &Ts, stream_type: u8) -> Vec<Unit> {
    ts.of(ts.pid_of(stream_type)).into_iter().map(|pes| unit_of_pes(stream_type, pes)).collect()
}

/// Whether the tracks with the most packets have that much, in seconds.
fn lasts(bytes: &[u8], seconds: f64) -> bool {
    let Ok(ts) = Ts::read(&bytes[..bytes.len() - bytes.len() % PACKET]) else {
        return true; // to be judged
    };
    let (first, last) = (ts.clock.first(), ts.clock.last());
    first.zip(last).is_some_and(|((_, first), (_, last))| distance(*first, *last) as f64 >= seconds * SECOND as f64)
}

/// What one player was given of one fixture agrees with what was sent.
#[track_caller]
fn check_content(name: &str, ts: &Ts, sent: &[Tag], types: (Option<u8>, Option<u8>)) {
    for (kind, stream_type) in [(VIDEO, types.0), (AUDIO, types.1)] {
        if let Some(stream_type) = stream_type {
            assert_run(&format!("{name}, kind {kind}"), &units_of(ts, stream_type), &coded(sent, kind));
        }
    }
    let map: Vec<u8> = ts.maps.last().expect("a map").streams.iter().map(|(kind, _)| *kind).collect();
    let expected: Vec<u8> = [types.0, types.1].into_iter().flatten().collect();
    assert_eq!(map, expected, "{name}: the map");
}

type Fixture = (&'static str, PathBuf, (Option<u8>, Option<u8>));

fn all_fixtures() -> Vec<Fixture> {
    vec![
        ("h264-aac", fixtures::h264_aac(), (Some(ts::H264), Some(ts::AAC))),
        ("hevc-aac", fixtures::hevc_aac(), (Some(ts::HEVC), Some(ts::AAC))),
        ("h264-mp3", fixtures::h264_mp3(), (Some(ts::H264), Some(ts::MPEG1_AUDIO))),
        ("h264-ac3", fixtures::h264_ac3(), (Some(ts::H264), Some(ts::AC3))),
        ("h264-opus", fixtures::h264_opus(), (Some(ts::H264), Some(ts::PRIVATE))),
        ("h264", fixtures::h264(), (Some(ts::H264), None)),
        ("aac", fixtures::aac(), (None, Some(ts::AAC))),
        ("mp3", fixtures::mp3(), (None, Some(ts::MPEG1_AUDIO))),
    ]
}

#[test]
fn ts_carries_what_was_published() {
    let server = Server::start(SHORT);
    let all = all_fixtures();
    let feeds: Vec<Feed> = all.iter().map(|(name, file, _)| Feed::start(&server, "live", name, Plan::of(file))).collect();
    let players: Vec<Raw> = all.iter().map(|(name, ..)| Raw::open(&server, &format!("/live/{name}.ts"))).collect();
    for ((name, _, types), (player, feed)) in all.iter().zip(players.iter().zip(&feeds)) {
        let bytes = player.wait(&format!("three seconds of {name}"), PATIENCE, |bytes| lasts(bytes, 3.0));
        let sent = feed.sent();
        check_pieces(player);
        assert_eq!(player.header("content-type").as_deref(), Some("video/mp2t"));
        check_content(name, &check_ts(&bytes, STEP), &sent, *types);
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
        let ts = check_ts(&bytes, STEP);
        let keys: Vec<&Pes> = ts.of(ts.pid_of(stream_type)).into_iter().filter(|pes| pes.random_access).collect();
        assert!(keys.len() >= 2, "{} keyframes in two seconds", keys.len());
        for key in keys {
            let kinds: Vec<u8> = nals(&key.payload)
                .into_iter()
                .map(|nal| if stream_type == ts::HEVC { nal[0] >> 1 & 0x3f } else { nal[0] & 0x1f })
                .collect();
            assert_eq!(&kinds[..expected.len()], expected, "{name}: NAL types {kinds:?}");
        }
    }
}

/// Real publishers and a real reader: FFmpeg has nothing to say about what it reads, and its packets are those of the fixture.
#[test]
fn ffmpeg_reads_ts_without_a_word() {
    let server = Server::start(SHORT);
    let folder = tempfile::tempdir().expect("a folder");
    let all = all_fixtures();
    for (name, file, types) in &all {
        let old = matches!(*name, "h264-aac" | "h264-mp3" | "aac" | "mp3");
        let publisher = if old { FFMPEG_DEBIAN } else { ffmpeg_current() };
        let _feed = programs::publish_loop(publisher, file, &server.rtmp(&format!("live/{name}")));
        let path = format!("/live/{name}.ts");
        server.wait_stream(&path);
        let published = published(publisher, file, folder.path());
        for reader in [FFMPEG_DEBIAN, ffmpeg_current()] {
            let mut command = Command::new(reader);
            command.args(["-hide_banner", "-v", "warning", "-y", "-i", &server.http(&path)]);
            let part = |kind: &str| folder.path().join(kind);
            for (kind, there) in [("v", types.0.is_some()), ("a", types.1.is_some())] {
                if there {
                    command.args(["-t", "3", "-map", &format!("0:{kind}"), "-c", "copy", "-f", "data"]).arg(part(kind));
                }
            }
            let output = Job::start(&mut command).finish(PLAY);
            assert_eq!(output.stderr, "", "{name} by {reader}");
            output.success();
            if let Some(video) = types.0 {
                let came = slices(video == ts::HEVC, &std::fs::read(part("v")).expect("a file"));
                assert!(came.len() > 60, "{} pictures", came.len());
                // ffmpeg's parser closes the last picture only when the next begins, or where it stopped reading.
                let sent: Unit = twice(&coded(&published, VIDEO)).concat();
                assert_run(&format!("{name}: pictures by {reader}"), &came, &sent);
            }
            if let Some(audio) = types.1 {
                let came = std::fs::read(part("a")).expect("a file");
                let sent = twice(&coded(&published, AUDIO));
                if audio == ts::AAC {
                    let came = adts_frames(&came);
                    assert!(came.len() > 100, "{} frames", came.len());
                    assert_run(&format!("{name}: sound by {reader}"), &came, &sent);
                } else {
                    assert!(came.len() > 15_000, "{name}: {} bytes of sound", came.len());
                    let sent = sent.concat().concat();
                    assert!(contains(&sent, &came), "{name}: the sound differs by {reader}");
                }
            }
        }
    }
}

/// What that ffmpeg makes of a file when it publishes it: some configurations and frames are written anew.
fn published(ffmpeg: &str, file: &Path, folder: &Path) -> Vec<Tag> {
    let copy = folder.join("published.flv");
    let mut command = Command::new(ffmpeg);
    command.args(["-loglevel", "error", "-y", "-i"]).arg(file).args(["-c", "copy", "-f", "flv"]).arg(&copy);
    programs::run(&mut command, PATIENCE).success();
    Flv::read(&std::fs::read(copy).expect("a file")).expect("FLV").tags
}

fn twice<T: Clone>(units: &[T]) -> Vec<T> {
    [units, units].concat()
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

#[test]
fn ffprobe_sees_the_codecs() {
    let server = Server::start(SHORT);
    let _feeds = [
        Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac())),
        Feed::start(&server, "live", "b", Plan::of(&fixtures::hevc_aac())),
        Feed::start(&server, "live", "c", Plan::of(&fixtures::mp3())),
    ];
    for (path, expected) in [
        ("/live/a.ts", &[("h264", 320, ""), ("aac", 0, "48000")][..]),
        ("/live/b.ts", &[("hevc", 320, ""), ("aac", 0, "48000")]),
        ("/live/c.ts", &[("mp3", 0, "44100")]),
        ("/live/a.aac", &[("aac", 0, "48000")]),
        ("/live/c.mp3", &[("mp3", 0, "44100")]),
    ] {
        server.wait_stream(path);
        let mut command = Command::new("ffprobe");
        command.args(["-v", "warning", "-of", "json", "-show_streams", "-read_intervals", "%+2"]).arg(server.http(path));
        let output = programs::run(&mut command, PATIENCE);
        assert_eq!(output.stderr, "", "{path}");
        let found = output.json();
        let found: Vec<(&str, i64, &str)> = found["streams"]
            .as_array()
            .expect("streams")
            .iter()
            .map(|stream| {
                (
                    stream["codec_name"].as_str().expect("a codec"),
                    stream["width"].as_i64().unwrap_or(0),
                    stream["sample_rate"].as_str().unwrap_or(""),
                )
            })
            .collect();
        assert_eq!(found, expected, "{path}");
    }
}

// ---- AAC and MP3 -------------------------------------------------------------------------------------------------------

#[test]
fn aac_and_mp3_carry_what_was_published() {
    let server = Server::start(SHORT);
    let all = [
        ("a", "aac", fixtures::h264_aac(), "audio/aac"),
        ("b", "aac", fixtures::aac(), "audio/aac"),
        ("c", "mp3", fixtures::mp3(), "audio/mpeg"),
        ("d", "mp3", fixtures::h264_mp3(), "audio/mpeg"),
    ];
    let feeds: Vec<Feed> = all.iter().map(|(name, _, file, _)| Feed::start(&server, "live", name, Plan::of(file))).collect();
    let players: Vec<Raw> = all.iter().map(|(name, ending, ..)| Raw::open(&server, &format!("/live/{name}.{ending}"))).collect();
    for ((name, ending, _, content_type), (player, feed)) in all.iter().zip(players.iter().zip(&feeds)) {
        // 64 kbit/s.
        let bytes = player.wait("two seconds", PATIENCE, |bytes| bytes.len() >= 16_000);
        let sent = coded(&feed.sent(), AUDIO);
        assert_eq!(player.header("content-type").as_deref(), Some(*content_type));
        if *ending == "aac" {
            assert_run(name, &adts_frames(&bytes), &sent);
        } else {
            assert!(contains(&sent.concat().concat(), &bytes), "{name}: the sound differs");
        }
        // Each unit is whole frames.
        let mut from = 0;
        for size in player.pieces() {
            let piece = &player.bytes()[from..from + size];
            assert!(piece[0] == 0xff && piece[1] & 0xe0 == 0xe0, "a unit begins with a frame: {:02x?}", &piece[..4]);
            from += size;
        }
    }
}

#[test]
fn ffmpeg_reads_aac_and_mp3_without_a_word() {
    let server = Server::start(SHORT);
    for (path, file) in [("live/a", fixtures::h264_aac()), ("live/b", fixtures::mp3())] {
        let _feed = programs::publish_loop(FFMPEG_DEBIAN, &file, &server.rtmp(path));
        let ending = if path == "live/a" { "aac" } else { "mp3" };
        let path = format!("/{path}.{ending}");
        server.wait_stream(&path);
        for reader in [FFMPEG_DEBIAN, ffmpeg_current()] {
            let folder = tempfile::tempdir().expect("a folder");
            let out = folder.path().join("out");
            let mut command = Command::new(reader);
            command.args(["-hide_banner", "-v", "warning", "-i", &server.http(&path), "-t", "3", "-map", "0:a", "-c", "copy", "-f", "data"]).arg(&out);
            let output = Job::start(&mut command).finish(PLAY);
            assert_eq!(output.stderr, "", "{path} by {reader}");
            output.success();
            let came = std::fs::read(&out).expect("a file");
            let sent = twice(&coded(&Flv::read(&std::fs::read(&file).expect("a fixture")).expect("FLV").tags, AUDIO));
            if ending == "aac" {
                assert_run(&path, &adts_frames(&came), &sent);
            } else {
                assert!(came.len() > 15_000 && contains(&sent.concat().concat(), &came), "{path}: the sound differs by {reader}");
            }
        }
    }
}

/// `fast_cache` gives that much sound at once, to the first player and to those after it; without it there is none.
#[test]
fn fast_cache_gives_a_joiner_some_seconds_at_once() {
    const CACHED_S: f64 = 3.0;
    let with = Server::start("vhosts: { __defaultVhost__: { http_remux: { fast_cache: 3s } } }");
    let without = Server::start("");
    let feed = |server: &Server| {
        [
            Feed::start(server, "live", "a", Plan::of(&fixtures::h264_aac())),
            Feed::start(server, "live", "b", Plan::of(&fixtures::aac())),
            Feed::start(server, "live", "c", Plan::of(&fixtures::mp3())),
        ]
    };
    let feeds = [feed(&with), feed(&without)];
    wait_for("five seconds are sent", PATIENCE, || {
        feeds.iter().flatten().all(|feed| feed.sent().last().is_some_and(|tag| tag.dts > 5000)).then_some(())
    });
    for (server, feeds, seconds) in [(&with, &feeds[0], CACHED_S), (&without, &feeds[1], 0.0)] {
        for (path, feed) in ["/live/a.aac", "/live/b.aac", "/live/c.mp3"].into_iter().zip(feeds) {
            for _ in 0..2 {
                let player = Raw::open(server, path);
                player.wait("sound goes on", PATIENCE, |_| player.first_at().is_some_and(|at| at.elapsed() > Duration::from_millis(1000)));
                let first = player.first_at().expect("just seen");
                let burst = player.until(first + Duration::from_millis(300));
                let (got, sent) = (player.bytes(), coded(&feed.sent(), AUDIO));
                let frames = |bytes: &[u8]| match path.ends_with(".aac") {
                    true => adts_frames(bytes).len() as f64 * 1024.0 / 48_000.0,
                    // 64 kbit/s.
                    false => bytes.len() as f64 / 8000.0,
                };
                let had = frames(&burst);
                assert!((seconds - 0.2..seconds + 0.8).contains(&had), "{path}: {had:.2} s of sound at once, fast_cache is {seconds} s");
                if path.ends_with(".aac") {
                    assert_run(path, &adts_frames(&got), &sent);
                } else {
                    assert!(contains(&sent.concat().concat(), &got), "{path}: the sound differs");
                }
            }
        }
    }
}

// ---- many players ------------------------------------------------------------------------------------------------------

/// A random time in a span.
fn some_of(span: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    span.mul_f64((random % 10_000) as f64 / 10_000.0)
}

/// Players that join within four seconds, at random. Gives what each of them has and what one has that was there before all.
fn crowd(server: &Server, path: &str) -> (Vec<Vec<u8>>, Vec<u8>) {
    let early = Raw::open(server, path);
    early.wait("something", PATIENCE, |bytes| !bytes.is_empty());
    let players: Vec<Raw> = std::thread::scope(|scope| {
        let joins: Vec<_> = (0..CROWD)
            .map(|_| {
                scope.spawn(|| {
                    std::thread::sleep(some_of(Duration::from_secs(4)));
                    Raw::open(server, path)
                })
            })
            .collect();
        joins.into_iter().map(|join| join.join().expect("a player")).collect()
    });
    let all: Vec<Vec<u8>> = players
        .iter()
        .map(|player| player.wait("two seconds", PATIENCE, |bytes| bytes.len() >= 16_000 && player.opened.elapsed() > Duration::from_secs(2)))
        .collect();
    (all, early.bytes())
}

#[test]
fn fifty_players_of_ts() {
    for (file, types) in [
        (fixtures::h264_aac(), (Some(ts::H264), Some(ts::AAC))),
        (fixtures::hevc_aac(), (Some(ts::HEVC), Some(ts::AAC))),
    ] {
        let server = Server::start(SHORT);
        let feed = Feed::start(&server, "live", "x", Plan::of(&file));
        let (all, early) = crowd(&server, "/live/x.ts");
        let sent = feed.sent();
        check_content("the early one", &check_ts(&early, STEP), &sent, types);
        for (index, bytes) in all.iter().enumerate() {
            let ts = check_ts(bytes, STEP);
            check_content(&format!("player {index}"), &ts, &sent, types);
            // Counters and all: the very packets that everybody gets.
            let at = early.chunks_exact(PACKET).position(|packet| packet == &bytes[..PACKET]);
            let at = at.unwrap_or_else(|| panic!("player {index} began with a packet that another never got")) * PACKET;
            let both = bytes.len().min(early.len() - at);
            let found = (at..early.len()).step_by(PACKET).any(|at| early[at..].starts_with(&bytes[..both.min(early.len() - at)]));
            assert!(found, "player {index} has other packets");
        }
    }
}

#[test]
fn fifty_players_of_aac() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let (all, early) = crowd(&server, "/live/x.aac");
    let sent = coded(&feed.sent(), AUDIO);
    for bytes in all.iter().chain([&early]) {
        assert_run("a player", &adts_frames(bytes), &sent);
    }
}

#[test]
fn fifty_players_of_mp3() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::mp3()));
    let (all, early) = crowd(&server, "/live/x.mp3");
    let sent = coded(&feed.sent(), AUDIO).concat().concat();
    for bytes in all.iter().chain([&early]) {
        assert!(contains(&sent, bytes), "the sound differs");
    }
}

// ---- over other transports ---------------------------------------------------------------------------------------------

#[test]
fn ts_over_http2() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.ts");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.ts");
    let mut command = curl();
    command.args(["--http2-prior-knowledge", "-m", "4", "-w", "%{http_version} %{content_type}", "-o"]).arg(&file).arg(server.http("/live/x.ts"));
    let output = programs::run(&mut command, PATIENCE);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 video/mp2t");
    let bytes = std::fs::read(&file).expect("a file");
    let ts = check_ts(&bytes[..bytes.len() - bytes.len() % PACKET], STEP);
    check_content("HTTP/2", &ts, &feed.sent(), (Some(ts::H264), Some(ts::AAC)));
}

#[test]
fn formats_over_a_websocket() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    for path in ["/live/x.ts", "/live/x.aac"] {
        server.wait_stream(path);
        let mut client = websocket::Client::open(server.address("http"), path);
        let mut bytes = Vec::new();
        while bytes.len() < 16_000 {
            let (opcode, payload) = client.frame();
            assert_eq!(opcode, 2, "binary messages only");
            assert!(!path.ends_with(".ts") || payload.len().is_multiple_of(PACKET), "a message of {} bytes", payload.len());
            bytes.extend(payload);
        }
        let sent = feed.sent();
        if path.ends_with(".aac") {
            assert_run(path, &adts_frames(&bytes), &coded(&sent, AUDIO));
        } else {
            check_content(path, &check_ts(&bytes, STEP), &sent, (Some(ts::H264), Some(ts::AAC)));
        }
    }
}

/// mpegts.js in a browser, by the page's own address.
#[track_caller]
fn check_browser(server: &Server, stream: &str) {
    let page = server.http(&format!("/?stream={stream}"));
    let seen = Job::start(programs::tool("browser.py").arg(page).args(["--seconds", "4", "--deadline", "60"]));
    let seen = seen.finish(Duration::from_secs(120)).json();
    let nothing = serde_json::Value::Array(vec![]);
    assert_eq!(seen["state"], "playing", "{seen}");
    assert_eq!((&seen["errors"], &seen["page_errors"], &seen["console"]), (&nothing, &nothing, &nothing), "{seen}");
    assert!(seen["advanced"].as_f64().is_some_and(|s| s >= 4.0), "{seen}");
    assert_eq!((&seen["stats"]["width"], &seen["stats"]["height"]), (&320.into(), &180.into()), "{seen}");
}

#[test]
fn chromium_plays_ts() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.ts");
    check_browser(&server, "live/x.ts");
    server.wait_log(&["play ended", "format=\"ts\"", "protocol=\"http1\""], PATIENCE);
}

#[test]
fn chromium_plays_ts_over_a_websocket() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.ts");
    check_browser(&server, &format!("ws://{}/live/x.ts", server.address("http")));
    server.wait_log(&["play ended", "format=\"ts\"", "protocol=\"websocket\""], PATIENCE);
}

// ---- what cannot be given ----------------------------------------------------------------------------------------------

#[test]
fn what_cannot_be_given_is_told() {
    let server = Server::start(SHORT);
    let streams = [
        ("a", fixtures::h264_aac()),
        ("b", fixtures::h264()),
        ("c", fixtures::mp3()),
        ("d", fixtures::av1_opus()),
        ("e", fixtures::h264_opus()),
    ];
    let _feeds: Vec<Feed> = streams.iter().map(|(name, file)| Feed::start(&server, "live", name, Plan::of(file))).collect();
    for (name, _) in &streams {
        server.wait_stream(&format!("/live/{name}.flv"));
    }
    for (path, expected) in [
        ("/live/a.mp3", "the stream's audio is AAC, which has no place in MP3"),
        ("/live/b.aac", "the stream has no audio"),
        ("/live/b.mp3", "the stream has no audio"),
        ("/live/c.aac", "the stream's audio is MP3, which has no place in ADTS"),
        ("/live/d.ts", "the stream's video is AV1, which has no place in MPEG-TS"),
        ("/live/e.aac", "the stream's audio is Opus, which has no place in ADTS"),
    ] {
        let answer = http::get(server.address("http"), path);
        assert_eq!(answer.status, 415, "{path}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{path}");
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
        ("/live/e.ts", "video/mp2t"),
    ] {
        let head = http::request(server.address("http"), "HEAD", path, &[]).expect("an answer");
        assert_eq!((head.status, head.header("content-type")), (200, Some(content_type)), "HEAD {path}");
        assert_eq!(head.header("cache-control"), Some("no-store"), "HEAD {path}");
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
    for path in ["/live/a.flv", "/live/a.ts", "/live/a.aac", "/x/live-a.ts", "/sound/live/b.mp3", "/live/b.ts"] {
        server.wait_stream(path);
    }
    let player = Raw::open(&server, "/x/live-a.ts");
    check_ts(&player.wait("a second", PATIENCE, |bytes| lasts(bytes, 1.0)), STEP);
    let status = |path| http::request(server.address("http"), "HEAD", path, &[]).expect("an answer").status;
    assert_eq!(status("/live/b.mp3"), 404, "not where it is not mounted");
}

// ---- what changes while it plays ---------------------------------------------------------------------------------------

#[test]
fn sound_that_comes_late_appears() {
    let server = Server::start(SHORT);
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()).audio_from(3000));
    let player = Raw::open(&server, "/live/x.ts");
    let has_sound = |bytes: &[u8]| {
        Ts::read(bytes).is_ok_and(|ts| ts.pes.iter().filter(|pes| pes.pid >= 0x200).count() > 50)
    };
    let bytes = player.wait("sound", PATIENCE, has_sound);
    let sent = feed.sent();
    let ts = check_ts(&bytes, STEP);
    let types = |map: &Map| map.streams.iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
    assert_eq!(ts.maps.iter().map(types).collect::<Vec<_>>(), [vec![ts::H264], vec![ts::H264, ts::AAC]]);
    assert_eq!(ts.maps[1].version, ts.maps[0].version + 1);
    check_content("late sound", &ts, &sent, (Some(ts::H264), Some(ts::AAC)));
    let pid = ts.pid_of(ts::AAC);
    let first = ts.of(pid)[0].at;
    assert!(ts.maps[1].at < first, "the map tells of it before its first packet");
}

/// A publisher that dies and comes back: the same response goes on, its counters and its time too.
#[test]
fn a_publisher_back_in_time() {
    let server = Server::start("");
    let first = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let players = [Raw::open(&server, "/live/x.ts"), Raw::open(&server, "/live/x.aac")];
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
    let ts = check_ts(&bytes, 8 * SECOND);
    assert_eq!(ts.maps.len(), 1, "nothing changed: {:?}", ts.maps);
    let units = units_of(&ts, ts::H264);
    let frames = coded(&sent_second, VIDEO);
    // The first picture of the second publisher follows the last of the first.
    let leap = ts.of(ts.pid_of(ts::H264)).iter().take_while(|pes| pes.at < before / PACKET).count();
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
    let ts = check_ts(&bytes, 8 * SECOND);
    assert_eq!(ts.maps.len(), 2, "{:?}", ts.maps);
    assert_eq!(ts.maps[1].version, (ts.maps[0].version + 1) % 32);
    let pid = ts.pid_of(ts::HEVC);
    assert_eq!(ts.maps[0].streams[0], (ts::H264, pid), "on the same PID");
    let after: Vec<&Pes> = ts.of(pid).into_iter().filter(|pes| pes.at > ts.maps[1].at).collect();
    assert!(after[0].random_access);
    let units: Vec<Unit> = after.into_iter().map(|pes| unit_of_pes(ts::HEVC, pes)).collect();
    assert_run("the new pictures", &units, &coded(&sent, VIDEO));
    // A player that joins now sees only the new codec.
    let late = Raw::open(&server, "/live/x.ts");
    let ts = check_ts(&late.wait("a second", PATIENCE, |bytes| lasts(bytes, 1.0)), STEP);
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
        let ts = check_ts(&bytes, STEP);
        let dts: Vec<u64> = ts.of(ts.pid_of(ts::H264)).iter().map(|pes| pes.dts).collect();
        assert_eq!(dts.windows(2).any(|pair| pair[1] < pair[0]), wraps, "{name}: {dts:?}");
        assert_eq!(ts.clock.windows(2).any(|pair| pair[1].1 < pair[0].1), wraps, "{name}: {:?}", ts.clock);
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
    check_pieces(&sleepy);
    let sent = coded(&feed.sent(), VIDEO);
    let ts = Ts::read(&bytes).unwrap_or_else(|fault| panic!("{fault}"));
    let first = *ts.gaps.first().expect("something was skipped");
    assert!(ts.tables.contains(&first), "goes on in packet {first} of PID {:#x}", ts.pids[first]);
    check_times(&ts, 20 * SECOND);
    let pictures = ts.of(ts.pid_of(ts::H264));
    let leaps: Vec<usize> = (1..pictures.len())
        .filter(|at| distance(pictures[at - 1].dts, pictures[*at].dts) > STEP)
        .collect();
    assert!(!leaps.is_empty());
    for leap in &leaps {
        assert!(pictures[*leap].random_access, "a skip ends at a keyframe");
        assert!(ts.tables.contains(&(pictures[*leap].at - 2)), "behind its tables");
    }
    // From the last skip on, nothing is missing.
    let last = *leaps.last().expect("leaps");
    let units: Vec<Unit> = pictures[last..].iter().map(|pes| unit_of_pes(ts::H264, pes)).collect();
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
    let players: Vec<Raw> = ["ts", "aac"].iter().map(|ending| Raw::open(&server, &format!("/live/x.{ending}"))).collect();
    players[0].wait("a second", PATIENCE, |bytes| lasts(bytes, 1.0));
    let sent = feed.finish();
    for player in &players {
        assert_eq!(player.wait_end(PATIENCE), End::Proper);
    }
    check_ts(&players[0].bytes(), STEP);
    let frames = adts_frames(&players[1].bytes());
    assert_eq!(frames.last(), coded(&sent, AUDIO).last(), "the last frame came too");
}
