//! Real clients: what they sent (`testdata/`, see its README) is replayed, and the events and replies are as when they were recorded.

use super::*;
use proptest::prelude::*;

struct Recording {
    name: &'static str,
    bytes: &'static [u8],
    /// How the events begin.
    events: &'static [&'static str],
    /// How many there are.
    count: usize,
    /// All replies: names of commands, types of other messages.
    replies: &'static [&'static str],
}

macro_rules! recording {
    ($name:literal, $count:literal, $events:expr, $replies:expr) => {
        Recording {
            name: $name,
            bytes: include_bytes!(concat!("../../testdata/", $name, ".bin")),
            events: $events,
            count: $count,
            replies: $replies,
        }
    };
}

const RECORDINGS: &[Recording] = &[
    // FFmpeg 5.1: digest handshake, releaseStream and FCPublish before createStream.
    recording!(
        "ffmpeg51_h264_aac",
        20,
        &[
            "connect live FMLE/3.0 (compatible; Lavf59.27.100) []",
            "publish 1 test?key=abc Live",
            "data 1 0 onMetaData 293",
            "Video 1 0 44 1700000000",
            "Audio 1 0 7 af00120856",
            "Audio 1 0 155 af01de0200",
            "Video 1 23 3101 1701000000",
            "Audio 1 23 163 af01013894",
            "Audio 1 46 63 af01013af2"
        ],
        &[
            "window 2500000",
            "bandwidth 2500000 2",
            "stream 0 begins",
            "chunk size 60000",
            "0 _result 1 NetConnection.Connect.Success",
            "0 onBWDone 0",
            "0 _result 2",
            "0 onFCPublish 0 NetStream.Publish.Start",
            "0 _result 3",
            "0 _result 4 1",
            "0 _result 5",
            "stream 1 begins",
            "1 onStatus 0 NetStream.Publish.Start"
        ]
    ),
    // FFmpeg 9.0, H.264 and AAC.
    recording!(
        "ffmpeg9_h264_aac",
        20,
        &[
            "connect live FMLE/3.0 (compatible; Lavf63.1.102) []",
            "publish 1 test?key=abc Live",
            "data 1 0 onMetaData 292",
            "Video 1 0 44 1700000000",
            "Audio 1 0 7 af00120856",
            "Audio 1 0 153 af01dc004c",
            "Video 1 23 3087 1701000000",
            "Audio 1 23 164 af01013894",
            "Audio 1 46 62 af01013af2"
        ],
        &[
            "window 2500000",
            "bandwidth 2500000 2",
            "stream 0 begins",
            "chunk size 60000",
            "0 _result 1 NetConnection.Connect.Success",
            "0 onBWDone 0",
            "0 _result 2",
            "0 onFCPublish 0 NetStream.Publish.Start",
            "0 _result 3",
            "0 _result 4 1",
            "0 _result 5",
            "stream 1 begins",
            "1 onStatus 0 NetStream.Publish.Start"
        ]
    ),
    // FFmpeg 9.0, HEVC and Opus by E-RTMP: multichannel configuration, metadata packet with the colours.
    recording!(
        "ffmpeg9_hevc_opus",
        31,
        &[
            "connect live FMLE/3.0 (compatible; Lavf63.1.102) []",
            "publish 1 test?key=abc Live",
            "data 1 0 onMetaData 292",
            "Video 1 0 2453 9068766331",
            "Audio 1 0 24 904f707573",
            "Audio 1 0 11 944f707573",
            "Video 1 0 38 d468766331",
            "Video 1 0 1684 9168766331",
            "Video 1 40 483 a168766331"
        ],
        &[
            "window 2500000",
            "bandwidth 2500000 2",
            "stream 0 begins",
            "chunk size 60000",
            "0 _result 1 NetConnection.Connect.Success",
            "0 onBWDone 0",
            "0 _result 2",
            "0 onFCPublish 0 NetStream.Publish.Start",
            "0 _result 3",
            "0 _result 4 1",
            "0 _result 5",
            "stream 1 begins",
            "1 onStatus 0 NetStream.Publish.Start"
        ]
    ),
    // FFmpeg 9.0, HEVC, with its FourCCs in connect (`-rtmp_enhanced_codecs`).
    recording!(
        "ffmpeg9_fourcc_list",
        10,
        &[
            "connect live FMLE/3.0 (compatible; Lavf63.1.102) [hvc1,av01,vp09]",
            "publish 1 test?key=abc Live",
            "data 1 0 onMetaData 292",
            "Video 1 0 2453 9068766331",
            "Audio 1 0 7 af00120856",
            "Video 1 0 38 d468766331",
            "Video 1 0 1684 9168766331",
            "Video 1 40 483 a168766331",
            "Audio 1 57 153 af01dc004c"
        ],
        &[
            "window 2500000",
            "bandwidth 2500000 2",
            "stream 0 begins",
            "chunk size 60000",
            "0 _result 1 NetConnection.Connect.Success",
            "0 onBWDone 0",
            "0 _result 2",
            "0 onFCPublish 0 NetStream.Publish.Start",
            "0 _result 3",
            "0 _result 4 1",
            "0 _result 5",
            "stream 1 begins",
            "1 onStatus 0 NetStream.Publish.Start"
        ]
    ),
    // GStreamer 1.22 rtmpsink (librtmp).
    recording!(
        "gst_rtmpsink",
        33,
        &[
            "connect live  []",
            "publish 1 test?key=abc Live",
            "data 1 0 onMetaData 339",
            "Video 1 0 48 1700000000",
            "Audio 1 0 4 af001208",
            "Video 1 0 2684 1701000000",
            "Audio 1 0 94 af01014840",
            "Audio 1 23 123 af01013492",
            "Video 1 40 510 2701000000"
        ],
        &[
            "window 2500000",
            "bandwidth 2500000 2",
            "stream 0 begins",
            "chunk size 60000",
            "0 _result 1 NetConnection.Connect.Success",
            "0 onBWDone 0",
            "0 _result 2",
            "0 onFCPublish 0 NetStream.Publish.Start",
            "0 _result 3",
            "0 _result 4 1",
            "0 _result 5",
            "stream 1 begins",
            "1 onStatus 0 NetStream.Publish.Start"
        ]
    ),
    // GStreamer 1.22 rtmp2sink (its own implementation).
    recording!(
        "gst_rtmp2sink",
        33,
        &[
            "connect live LNX 10,0,32,18 []",
            "publish 1 test?key=abc Live",
            "data 1 0 onMetaData 339",
            "Video 1 0 48 1700000000",
            "Audio 1 0 4 af001208",
            "Video 1 0 2684 1701000000",
            "Audio 1 0 94 af01014840",
            "Audio 1 23 123 af01013492",
            "Video 1 40 510 2701000000"
        ],
        &[
            "window 2500000",
            "bandwidth 2500000 2",
            "stream 0 begins",
            "chunk size 60000",
            "0 _result 1 NetConnection.Connect.Success",
            "0 onBWDone 0",
            "0 onFCPublish 0 NetStream.Publish.Start",
            "0 _result 2 1",
            "stream 1 begins",
            "1 onStatus 0 NetStream.Publish.Start"
        ]
    ),
    // librtmp 2.4 in chunks of 128 bytes, as OBS derives from it.
    recording!(
        "librtmp_publish",
        20,
        &[
            "connect live FMLE/3.0 (compatible; FMSc/1.0) []",
            "publish 1 test?key=abc Live",
            "data 1 0 onMetaData 293",
            "Video 1 0 44 1700000000",
            "Audio 1 0 7 af00120856",
            "Audio 1 0 155 af01de0200",
            "Video 1 23 3101 1701000000",
            "Audio 1 23 163 af01013894",
            "Audio 1 46 63 af01013af2"
        ],
        &[
            "window 2500000",
            "bandwidth 2500000 2",
            "stream 0 begins",
            "chunk size 60000",
            "0 _result 1 NetConnection.Connect.Success",
            "0 onBWDone 0",
            "0 _result 2",
            "0 onFCPublish 0 NetStream.Publish.Start",
            "0 _result 3",
            "0 _result 4 1",
            "0 _result 5",
            "stream 1 begins",
            "1 onStatus 0 NetStream.Publish.Start"
        ]
    ),
    // rtmpdump 2.4 with SWF verification: the digest handshake; play.
    recording!(
        "rtmpdump_digest",
        2,
        &[
            "connect live LNX 10,0,32,18 []",
            "play 1 test?key=abc -1000"
        ],
        &[
            "window 2500000",
            "bandwidth 2500000 2",
            "stream 0 begins",
            "chunk size 60000",
            "0 _result 1 NetConnection.Connect.Success",
            "0 onBWDone 0",
            "0 _result 2 1",
            "0 onFCSubscribe 0 NetStream.Play.Start",
            "0 _result 3",
            "0 _result 4",
            "1 onStatus 0 NetStream.Play.StreamNotFound"
        ]
    ),
    // FFmpeg 5.1: play.
    recording!(
        "ffmpeg51_play",
        2,
        &["connect live LNX 9,0,124,2 []", "play 1 test?key=abc -2000"],
        &[
            "window 2500000",
            "bandwidth 2500000 2",
            "stream 0 begins",
            "chunk size 60000",
            "0 _result 1 NetConnection.Connect.Success",
            "0 onBWDone 0",
            "0 _result 2 1",
            "0 _result 3",
            "0 _result 4 0",
            "1 onStatus 0 NetStream.Play.StreamNotFound"
        ]
    ),
];

/// One line for each event: what it is, and the first bytes of what it carries.
fn line(event: &Event) -> String {
    match event {
        Event::Connect(connect) => {
            let fourccs = connect.fourcc_list.join(",");
            format!("connect {} {} [{fourccs}]", connect.app, connect.flash_ver)
        }
        Event::Publish(publish) => format!(
            "publish {} {} {:?}",
            publish.stream_id, publish.name, publish.kind
        ),
        Event::Play(play) => format!("play {} {} {}", play.stream_id, play.name, play.start),
        Event::Media {
            stream_id,
            kind,
            timestamp,
            payload,
        } => {
            let head: String = payload
                .iter()
                .take(5)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("{kind:?} {stream_id} {timestamp} {} {head}", payload.len())
        }
        Event::Data {
            stream_id,
            name,
            timestamp,
            payload,
        } => {
            format!("data {stream_id} {timestamp} {name} {}", payload.len())
        }
        Event::Unpublish { stream_id } => format!("unpublish {stream_id}"),
        Event::Pause { stream_id, paused } => format!("pause {stream_id} {paused}"),
        Event::StopPlay { stream_id } => format!("stop {stream_id}"),
    }
}

fn replay(bytes: &[u8], sizes: &[usize]) -> (Vec<String>, Vec<String>) {
    let mut peer = Peer::new();
    let (mut rest, mut sizes) = (bytes, sizes.iter().copied().cycle());
    let (mut events, mut sent) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
        rest = tail;
        events.extend(peer.feed(head).unwrap().iter().map(line));
        sent.extend(peer.replies());
    }
    (events, sent)
}

#[test]
fn the_events_and_replies_are_as_recorded() {
    for recording in RECORDINGS {
        let (events, replies) = replay(recording.bytes, &[recording.bytes.len()]);
        let shown = events
            .iter()
            .take(recording.events.len())
            .map(String::as_str)
            .collect::<Vec<_>>();
        assert_eq!(shown, recording.events, "{}", recording.name);
        assert_eq!(events.len(), recording.count, "{}", recording.name);
        assert_eq!(replies, recording.replies, "{}", recording.name);
    }
}

#[test]
fn byte_by_byte_is_the_same() {
    for recording in RECORDINGS {
        let whole = replay(recording.bytes, &[recording.bytes.len()]);
        assert_eq!(replay(recording.bytes, &[1]), whole, "{}", recording.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn random_splits_are_the_same(
        recording in 0..RECORDINGS.len(),
        sizes in prop::collection::vec(1..3000_usize, 1..20),
    ) {
        let bytes = RECORDINGS[recording].bytes;
        prop_assert_eq!(replay(bytes, &sizes), replay(bytes, &[bytes.len()]));
    }
}
