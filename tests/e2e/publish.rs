//! Real publishers: all that they send comes out, to the byte.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::SHORT;
use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, Flv, SCRIPT, VIDEO, assert_run_of};
use super::support::player::{End, Player};
use super::support::programs::{self, FFMPEG_DEBIAN, Job, ffmpeg_current};
use super::support::rtmp::{self, Client};
use super::support::server::Server;
use super::support::{PATIENCE, amf, fixtures, wait_for};

/// A fixture of six seconds at its own pace, with a start on a busy machine.
const WHOLE: Duration = Duration::from_secs(40);

/// Publishes a file once, and checks that FFmpeg's demuxers find the same packets in what a waiting player gets as in the
/// file, and that our own reader finds the same tag bodies.
#[track_caller]
pub fn check_whole(server: &Server, fixture: &Path, publisher: impl FnOnce() -> Job) {
    let url = server.http("/live/whole.flv");
    let player = Player::open(server, "/live/whole.flv");
    let demuxer = Job::start(programs::tool("demux.py").arg(&url));
    server.wait_connections("http", 2);

    publisher().finish(WHOLE).success();
    assert_eq!(player.wait_end(WHOLE), End::Proper);
    let came = demuxer.finish(PATIENCE).json();
    let sent = programs::demux(fixture.to_str().expect("a path in UTF-8"), PATIENCE);

    let file = Flv::read(&std::fs::read(fixture).expect("a fixture")).expect("a good fixture");
    assert_same_packets(&came, &sent, lead_in(&file, AUDIO));
    let flv = player.flv();
    check_beginning(&flv);
    for kind in [VIDEO, AUDIO] {
        assert_eq!(
            flv.header(kind).map(|tag| &tag.body),
            file.header(kind).map(|tag| &tag.body),
            "decoder configuration"
        );
        let (came, sent) = (flv.frames(kind), file.frames(kind));
        assert_eq!(came.is_empty(), sent.is_empty(), "kind {kind}");
        if !came.is_empty() {
            let (before, after) = assert_run_of(&came, &sent);
            assert_eq!(after, 0, "frames of kind {kind} missing at the end");
            assert!(
                before <= lead_in(&file, kind),
                "{before} frames of kind {kind} missing at the beginning"
            );
        }
    }
}

/// Frames at the beginning that a player need not get, though it was there before: sound before the first keyframe, since a play begins
/// at one; and of sound alone, what came before the stream was known to be that.
fn lead_in(file: &Flv, kind: u8) -> usize {
    match file.tags.iter().position(|tag| tag.is_keyframe()) {
        _ if kind == VIDEO => 0,
        Some(keyframe) => file.tags[..keyframe]
            .iter()
            .filter(|tag| tag.kind == kind && tag.is_coded())
            .count(),
        None => 8,
    }
}

/// Compares two outputs of demux.py: codecs, configuration, and for each stream the packets with their payload, times
/// apart from a common shift, and keyframes.
#[track_caller]
pub fn assert_same_packets(
    came: &serde_json::Value,
    sent: &serde_json::Value,
    lead_in_allowed: usize,
) {
    let streams = |all: &serde_json::Value| {
        let mut streams: Vec<String> = all["streams"]
            .as_array()
            .expect("streams")
            .iter()
            .map(ToString::to_string)
            .collect();
        streams.sort();
        streams
    };
    assert_eq!(streams(came), streams(sent));
    for kind in ["video", "audio"] {
        let of = |all: &serde_json::Value| -> Vec<serde_json::Value> {
            all["packets"]
                .as_array()
                .expect("packets")
                .iter()
                .filter(|packet| packet["stream"] == kind)
                .cloned()
                .collect()
        };
        let (came, mut sent) = (of(came), of(sent));
        let lead_in = sent.len().saturating_sub(came.len());
        assert!(
            lead_in <= if kind == "audio" { lead_in_allowed } else { 0 },
            "{} {kind} packets came, {} were sent",
            came.len(),
            sent.len()
        );
        sent.drain(..lead_in);
        assert_eq!(came.len(), sent.len(), "{kind} packets");
        let Some((first_came, first_sent)) = came.first().zip(sent.first()) else {
            continue;
        };
        assert_eq!(
            first_came["key"], true,
            "the first {kind} packet is a keyframe"
        );
        let shift =
            first_came["dts"].as_i64().expect("dts") - first_sent["dts"].as_i64().expect("dts");
        let mut last = i64::MIN;
        for (at, (got, put)) in came.iter().zip(&sent).enumerate() {
            for field in ["sha256", "size", "key"] {
                assert_eq!(got[field], put[field], "{field} of {kind} packet {at}");
            }
            let dts = got["dts"].as_i64().expect("dts");
            assert!(
                dts >= last,
                "dts of {kind} packet {at} goes back from {last} to {dts}"
            );
            last = dts;
            for field in ["dts", "pts"] {
                let (got, put) = (
                    got[field].as_i64().expect("a time"),
                    put[field].as_i64().expect("a time"),
                );
                // A publisher may round a millisecond another way than the fixture.
                assert!(
                    (got - put - shift).abs() <= 1,
                    "{field} of {kind} packet {at}: {got} for {put}, first shifted by {shift}"
                );
            }
        }
    }
}

/// What each player gets first: onMetaData that speaks for this server, the headers, and from a keyframe on.
#[track_caller]
pub fn check_beginning(flv: &Flv) {
    let first_frame = flv
        .tags
        .iter()
        .position(|tag| tag.is_coded())
        .expect("frames");
    let (start, _) = flv.tags.split_at(first_frame);
    if let Some(script) = start.iter().find(|tag| tag.kind == SCRIPT) {
        assert_eq!(script, &start[0], "onMetaData comes first");
        assert_eq!(
            amf::command_name(&script.body).as_deref(),
            Some("onMetaData")
        );
        let server = amf::text_property(&script.body, "server").expect("metadata names the server");
        assert!(server.starts_with("pingora-live/"), "{server}");
        assert!(
            !amf::has_property(&script.body, "duration"),
            "a live stream has no duration"
        );
    }
    if let Some(video) = flv.frames(VIDEO).first() {
        assert!(video.is_keyframe(), "the first video frame: {video:?}");
    }
}

#[test]
fn ffmpeg_of_debian() {
    let server = Server::start(SHORT);
    let fixture = fixtures::h264_aac();
    check_whole(&server, &fixture, || {
        programs::publish(FFMPEG_DEBIAN, &fixture, &server.rtmp("live/whole"))
    });
}

#[test]
fn current_ffmpeg() {
    let server = Server::start(SHORT);
    let fixture = fixtures::h264_aac();
    check_whole(&server, &fixture, || {
        programs::publish(ffmpeg_current(), &fixture, &server.rtmp("live/whole"))
    });
}

/// rtmpsink is librtmp, as OBS uses it.
#[test]
fn gstreamer_rtmpsink() {
    gstreamer(|url| {
        vec![
            "rtmpsink".to_owned(),
            "sync=true".to_owned(),
            format!("location={url} live=1"),
        ]
    });
}

#[test]
fn gstreamer_rtmp2sink() {
    gstreamer(|url| {
        vec![
            "rtmp2sink".to_owned(),
            "sync=true".to_owned(),
            format!("location={url}"),
        ]
    });
}

fn gstreamer(sink: impl FnOnce(&str) -> Vec<String>) {
    let server = Server::start(SHORT);
    let folder = tempfile::tempdir().expect("a temporary folder");
    // What GStreamer's own muxer makes of the fixture is what is published, so it is kept to compare with.
    let published = folder.path().join("published.flv");
    check_whole(&server, &published, || {
        let mut command = Command::new("gst-launch-1.0");
        command
            .args(["-q", "filesrc"])
            .arg(format!("location={}", fixtures::h264_aac().display()));
        command
            .args(
                "! flvdemux name=d flvmux name=m streamable=true ! tee name=t ! queue !".split(' '),
            )
            .args(sink(&server.rtmp("live/whole")));
        command
            .args("t. ! queue ! filesink".split(' '))
            .arg(format!("location={}", published.display()));
        command.args("d.video ! queue ! m.video d.audio ! queue ! m.audio".split(' '));
        Job::start(&mut command)
    });
}

/// ffprobe is what an operator looks with first.
#[test]
fn ffprobe_sees_the_codecs() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let mut command = Command::new("ffprobe");
    command
        .args([
            "-v",
            "error",
            "-of",
            "json",
            "-show_streams",
            "-read_intervals",
            "%+2",
        ])
        .arg(server.http("/live/x.flv"));
    let found = programs::run(&mut command, PATIENCE).json();
    let streams: Vec<(&str, &str)> = found["streams"]
        .as_array()
        .expect("streams")
        .iter()
        .map(|s| {
            (
                s["codec_type"].as_str().expect("a type"),
                s["codec_name"].as_str().expect("a codec"),
            )
        })
        .collect();
    assert_eq!(streams, [("video", "h264"), ("audio", "aac")]);
    assert_eq!(
        (
            &found["streams"][0]["width"],
            &found["streams"][0]["height"]
        ),
        (&320.into(), &180.into())
    );
    assert_eq!(found["streams"][1]["sample_rate"], "48000");
}

#[test]
fn an_app_may_hold_slashes() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(&server, "live/room/7", "x", Plan::of(&fixtures::h264_aac()));
    Player::open(&server, "/live/room/7/x.flv")
        .wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
}

/// Text by `onTextData` goes through beside the pictures.
#[test]
fn text_data_passes() {
    let server = Server::start(SHORT);
    let mut client =
        Client::connect(server.address("rtmp"), "live").expect("the server talks RTMP");
    assert_eq!(
        client.publish("x").expect("an answer"),
        "NetStream.Publish.Start"
    );
    let plan = Flv::read(&std::fs::read(fixtures::h264_aac()).expect("a fixture"))
        .expect("a good fixture");
    let player = Player::open(&server, "/live/x.flv");
    for tag in plan.tags.iter().take(40) {
        client
            .media(tag.kind, tag.dts, &tag.body)
            .expect("the server takes it");
    }
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    let text = amf::encode(&[
        amf::Amf::Text("onTextData"),
        amf::Amf::Array(vec![("text", amf::Amf::Text("a word"))]),
    ]);
    client
        .media(rtmp::DATA, plan.tags[40].dts, &text)
        .expect("the server takes it");
    for tag in plan.tags.iter().skip(40).take(20) {
        client
            .media(tag.kind, tag.dts, &tag.body)
            .expect("the server takes it");
    }
    let flv = player.wait("the text", PATIENCE, |flv| {
        flv.of_kind(SCRIPT)
            .iter()
            .any(|tag| amf::command_name(&tag.body).as_deref() == Some("onTextData"))
    });
    let text = flv
        .of_kind(SCRIPT)
        .into_iter()
        .find(|tag| amf::command_name(&tag.body).as_deref() == Some("onTextData"))
        .expect("just seen");
    assert_eq!(
        amf::text_property(&text.body, "text").as_deref(),
        Some("a word")
    );
}

/// What Enhanced RTMP lets a publisher ask for is told in the answer to `connect`.
#[test]
fn connect_tells_what_the_server_can() {
    let server = Server::start("");
    let mut client = Client::start(server.address("rtmp")).expect("the handshake");
    let object = amf::Amf::Object(vec![
        ("app", amf::Amf::Text("live")),
        ("tcUrl", amf::Amf::Text("rtmp://localhost/live")),
    ]);
    client
        .command(0, "connect", vec![object])
        .expect("the server takes it");
    let result = wait_for("the answer to connect", PATIENCE, || {
        client
            .heard()
            .into_iter()
            .find(|message| amf::command_name(&message.body).as_deref() == Some("_result"))
    });
    for name in [
        "fourCcList",
        "videoFourCcInfoMap",
        "audioFourCcInfoMap",
        "capsEx",
    ] {
        assert!(
            amf::has_property(&result.body, name),
            "{name} is not in the answer"
        );
    }
    assert_eq!(
        amf::text_property(&result.body, "code").as_deref(),
        Some("NetConnection.Connect.Success")
    );
}

/// Publish, stop, publish: no claim is left behind.
#[test]
fn a_publisher_that_stops_frees_the_name_at_once() {
    let server = Server::start(SHORT);
    for _ in 0..3 {
        let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
        wait_for("frames are taken", PATIENCE, || {
            (feed.sent().len() > 5).then_some(())
        });
        feed.finish();
    }
}

/// More than is read of one publisher in a turn, and the end behind it: nothing else tells of that.
#[test]
fn a_publisher_that_sends_much_and_leaves_is_read_to_its_end() {
    let server = Server::start(SHORT);
    let plan = Flv::read(&std::fs::read(fixtures::h264_aac()).expect("a fixture"))
        .expect("a good fixture");
    let mut client =
        Client::connect(server.address("rtmp"), "live").expect("the server talks RTMP");
    assert_eq!(
        client.publish("x").expect("an answer"),
        "NetStream.Publish.Start"
    );
    // The connection is read by a thread of its own from the first pause on.
    for tag in plan.tags.iter().take(20) {
        client
            .media(tag.kind, tag.dts, &tag.body)
            .expect("the server takes it");
    }
    let player = Player::open(&server, "/live/x.flv");
    player.wait("frames", PATIENCE, |flv| !flv.frames(VIDEO).is_empty());
    let mut rest = Vec::new();
    for tag in plan.tags.iter().skip(20) {
        rest.extend(rtmp::message(4, tag.kind, 1, tag.dts, &tag.body));
    }
    client.raw(&rest).expect("the server takes it");
    client.stop_sending().expect("the connection is open");
    server.wait_log(&["publish ended", "client_left"], PATIENCE);
    let (came, sent) = (player.flv(), plan);
    let last = |flv: &Flv| flv.frames(VIDEO).last().map(|tag| tag.body.clone());
    assert_eq!(last(&came), last(&sent));
}
