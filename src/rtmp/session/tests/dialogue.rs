//! What is said when, in which order.

use super::*;
use crate::rtmp::error::Guess;
use crate::rtmp::event::{Play, Publish, PublishKind};
use crate::rtmp::message::DATA_AMF0;
use proptest::prelude::*;

const SUCCESS: [&str; 6] = [
    "window 2500000",
    "bandwidth 2500000 2",
    "stream 0 begins",
    "chunk size 60000",
    "0 _result 1 NetConnection.Connect.Success",
    "0 onBWDone 0",
];

#[test]
fn from_connect_to_unpublish() {
    let mut peer = Peer::opened();
    let sent = peer.command(0, "connect", 1.0, &[connect_object()]);
    let events = peer.feed(&sent).unwrap();
    let [Event::Connect(connect)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (connect.app.as_str(), connect.tc_url.as_str()),
        ("live", "rtmp://host/live")
    );
    assert_eq!(peer.replies(), SUCCESS);

    let sent = [
        peer.command(0, "releaseStream", 2.0, &[Value::Null, "name".into()]),
        peer.command(0, "FCPublish", 3.0, &[Value::Null, "name".into()]),
        peer.command(0, "createStream", 4.0, &[Value::Null]),
        peer.command(0, "_checkbw", 5.0, &[Value::Null]),
    ]
    .concat();
    assert_eq!(
        peer.ask(&sent),
        [
            "0 _result 2",
            "0 onFCPublish 0 NetStream.Publish.Start",
            "0 _result 3",
            "0 _result 4 1",
            "0 _result 5",
        ]
    );

    let sent = peer.publish(1, "name?key=1");
    let expected = Publish {
        stream_id: 1,
        name: "name?key=1".into(),
        kind: PublishKind::Live,
    };
    assert_eq!(peer.feed(&sent), Ok(vec![Event::Publish(expected)]));
    assert_eq!(
        peer.replies(),
        ["stream 1 begins", "1 onStatus 0 NetStream.Publish.Start"]
    );

    let sent = peer.chunk(AUDIO, 1, 40, b"a");
    assert_eq!(peer.feed(&sent), Ok(vec![audio(1, 40, b"a")]));

    let sent = [
        peer.command(0, "FCUnpublish", 6.0, &[Value::Null, "name".into()]),
        peer.chunk(AUDIO, 1, 60, b"late"),
        peer.command(1, "closeStream", 0.0, &[Value::Null]),
        peer.command(0, "deleteStream", 7.0, &[Value::Null, 1.0.into()]),
    ]
    .concat();
    assert_eq!(
        peer.feed(&sent),
        Ok(vec![Event::Unpublish { stream_id: 1 }])
    );
    assert_eq!(
        peer.replies(),
        [
            "0 onFCUnpublish 0 NetStream.Unpublish.Success",
            "0 _result 6",
            "1 onStatus 0 NetStream.Unpublish.Success"
        ]
    );
    // The id is free again.
    let sent = peer.command(0, "createStream", 8.0, &[Value::Null]);
    assert_eq!(peer.ask(&sent), ["0 _result 8 1"]);
}

/// A client that waits for nothing.
fn everything_at_once(peer: &mut Peer) -> Vec<u8> {
    [
        handshake(),
        peer.command(0, "connect", 1.0, &[connect_object()]),
        peer.command(0, "createStream", 2.0, &[Value::Null]),
        peer.publish(1, "name"),
        peer.chunk(message::SET_CHUNK_SIZE, 0, 0, &[0, 0, 0, 7]),
        {
            peer.encoder.set_chunk_size(7);
            peer.chunk(
                DATA_AMF0,
                1,
                0,
                b"\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData\x05",
            )
        },
        peer.chunk(AUDIO, 1, 0xff_fff0, b"audio that is longer than a chunk"),
        peer.chunk(VIDEO, 1, 0x100_0010, b"video that is longer than a chunk"),
        peer.chunk(message::USER_CONTROL, 0, 0, &[0, 6, 1, 2, 3, 4]),
        peer.chunk(AUDIO, 1, 0x100_0020, b"more"),
        peer.command(0, "deleteStream", 0.0, &[Value::Null, 1.0.into()]),
        peer.command(0, "createStream", 3.0, &[Value::Null]),
        peer.command(1, "play", 0.0, &[Value::Null, "name".into()]),
    ]
    .concat()
}

#[test]
fn an_answer_is_waited_for_before_the_next_command() {
    let mut peer = Peer::new();
    let sent = everything_at_once(&mut peer);
    peer.session.input().put_slice(&sent);
    assert_eq!(peer.session.handle_input(peer.now), Ok(()));
    assert!(matches!(peer.session.poll_event(), Some(Event::Connect(_))));
    assert_eq!(peer.session.poll_event(), None);
    assert_eq!(peer.session.deadline(), None, "it is the driver's turn");
    assert_eq!(peer.replies(), [""; 0]);
    peer.session.accept_connect();
    assert!(matches!(peer.session.poll_event(), Some(Event::Publish(_))));
    assert_eq!(peer.session.poll_event(), None);
    assert_eq!(peer.replies(), [&SUCCESS[..], &["0 _result 2 1"]].concat());
    peer.session
        .reject_publish(1, &Reject::new("NetStream.Publish.BadName", "in use"));
    assert!(
        matches!(peer.session.poll_event(), Some(Event::Play(_))),
        "media of a rejected publish is dropped"
    );
    assert_eq!(
        peer.replies(),
        [
            "1 onStatus 0 NetStream.Publish.BadName",
            "pong 16909060",
            "0 _result 3 1"
        ]
    );
    peer.session.reject_play(1, &not_found());
    assert_eq!(
        peer.replies(),
        ["1 onStatus 0 NetStream.Play.StreamNotFound"]
    );
    assert_eq!(peer.session.bytes_received(), sent.len() as u64);
    assert_eq!(peer.session.position(), sent.len() as u64);
}

#[test]
fn a_client_that_waits_for_nothing_gets_all_in_order() {
    let mut peer = Peer::new();
    let sent = everything_at_once(&mut peer);
    let events = peer.feed(&sent).unwrap();
    assert!(matches!(events[0], Event::Connect(_)));
    assert!(matches!(events[1], Event::Publish(_)));
    let media = |kind, timestamp, payload| {
        let payload = Bytes::from_static(payload);
        Event::Media {
            stream_id: 1,
            kind,
            timestamp,
            payload,
        }
    };
    assert_eq!(
        events[2..],
        [
            Event::Data {
                stream_id: 1,
                name: "onMetaData".into(),
                timestamp: 0,
                payload: Bytes::from_static(b"\x02\x00\x0aonMetaData\x05"),
            },
            media(
                MediaKind::Audio,
                0xff_fff0,
                b"audio that is longer than a chunk"
            ),
            media(
                MediaKind::Video,
                0x100_0010,
                b"video that is longer than a chunk"
            ),
            media(MediaKind::Audio, 0x100_0020, b"more"),
            Event::Unpublish { stream_id: 1 },
            Event::Play(Play {
                stream_id: 1,
                name: "name".into(),
                start: -2.0,
                duration: -1.0,
                reset: true
            }),
        ]
    );
}

proptest! {
    #[test]
    fn splits_change_nothing(sizes in prop::collection::vec(1..200_usize, 1..20)) {
        let mut whole = Peer::new();
        let sent = everything_at_once(&mut whole);
        let expected = (whole.feed(&sent).unwrap(), whole.replies());
        let (mut peer, mut rest) = (Peer::new(), &sent[..]);
        let (mut events, mut replies, mut sizes) = (vec![], vec![], sizes.iter().cycle());
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            rest = tail;
            events.extend(peer.feed(head).unwrap());
            replies.extend(peer.replies());
        }
        prop_assert_eq!((events, replies), expected);
    }
}

#[test]
fn a_rejected_connect_is_told_why_and_heard_no_more() {
    let mut peer = Peer::opened();
    let sent = peer.command(0, "connect", 1.0, &[connect_object()]);
    peer.session.input().put_slice(&sent);
    peer.session.handle_input(peer.now).unwrap();
    assert!(matches!(peer.session.poll_event(), Some(Event::Connect(_))));
    let reject = Reject::new("NetConnection.Connect.Rejected", "no such vhost");
    peer.session.reject_connect(&reject);
    let [reply] = &peer.received()[..] else {
        panic!()
    };
    let values = decode_all(&reply.payload).unwrap();
    assert_eq!(
        (values[0].as_str(), values[1].as_f64()),
        (Some("_error"), Some(1.0))
    );
    assert_eq!(
        values[3].get("code").unwrap().as_str(),
        Some("NetConnection.Connect.Rejected")
    );
    assert_eq!(
        values[3].get("description").unwrap().as_str(),
        Some("no such vhost")
    );
    let sent = peer.command(0, "createStream", 2.0, &[]);
    assert_eq!(peer.feed(&sent), Ok(vec![]));
    assert_eq!(peer.replies(), [""; 0]);
    assert_eq!(peer.session.deadline(), None);
}

#[test]
fn an_ended_publish_is_silent() {
    let mut peer = Peer::publishing("name");
    let sent = [peer.chunk(AUDIO, 1, 0, b"a"), peer.chunk(AUDIO, 1, 1, b"b")].concat();
    peer.session.input().put_slice(&sent);
    peer.session.handle_input(peer.now).unwrap();
    peer.session.end_publish(
        1,
        &Reject::new("NetStream.Publish.BadName", "kicked by a newer publisher"),
    );
    assert_eq!(
        peer.session.poll_event(),
        None,
        "what was waiting is dropped"
    );
    assert_eq!(peer.replies(), ["1 onStatus 0 NetStream.Publish.BadName"]);
    let sent = [
        peer.chunk(AUDIO, 1, 2, b"c"),
        peer.command(0, "deleteStream", 0.0, &[Value::Null, 1.0.into()]),
    ]
    .concat();
    assert_eq!(peer.feed(&sent), Ok(vec![]));
}

#[test]
fn publish_needs_a_free_stream() {
    let mut peer = Peer::connected();
    let sent = [peer.publish(0, "a"), peer.publish(7, "a")].concat();
    assert_eq!(
        peer.ask(&sent),
        [
            "0 onStatus 0 NetStream.Publish.BadName",
            "7 onStatus 0 NetStream.Publish.BadName"
        ]
    );
    let mut peer = Peer::publishing("name");
    let sent = peer.publish(1, "other");
    assert_eq!(peer.ask(&sent), ["1 onStatus 0 NetStream.Publish.BadName"]);
    let sent = peer.command(1, "play", 0.0, &[Value::Null, "name".into()]);
    assert_eq!(peer.ask(&sent), ["1 onStatus 0 NetStream.Play.Failed"]);
    // The publish goes on.
    let sent = peer.chunk(AUDIO, 1, 0, b"a");
    assert_eq!(peer.feed(&sent), Ok(vec![audio(1, 0, b"a")]));
    // Flash: publish(false) ends it.
    let sent = peer.command(1, "publish", 0.0, &[Value::Null, false.into()]);
    assert_eq!(
        peer.feed(&sent),
        Ok(vec![Event::Unpublish { stream_id: 1 }])
    );
}

#[test]
fn fcunpublish_finds_its_stream() {
    for (first, second, named, id) in [
        ("a?k=1", "b", "a?k=1", 1),
        ("a?k=1", "b", "a", 1),
        ("a", "b", "b", 2),
        ("a?k=1", "a?k=2", "a?k=2", 2),
    ] {
        let mut peer = Peer::publishing(first);
        let sent = [
            peer.command(0, "createStream", 4.0, &[Value::Null]),
            peer.publish(2, second),
            peer.command(0, "FCUnpublish", 5.0, &[Value::Null, named.into()]),
        ]
        .concat();
        assert_eq!(
            peer.feed(&sent).unwrap()[1..],
            [Event::Unpublish { stream_id: id }]
        );
    }
    let mut peer = Peer::publishing("name");
    let sent = peer.command(
        0,
        "FCUnpublish",
        5.0,
        &[Value::Null, "something else".into()],
    );
    assert_eq!(
        peer.feed(&sent),
        Ok(vec![Event::Unpublish { stream_id: 1 }]),
        "there is no other"
    );
}

#[test]
fn publish_kinds() {
    for (word, kind) in [
        ("live", PublishKind::Live),
        ("record", PublishKind::Record),
        ("append", PublishKind::Append),
        ("appendWithGap", PublishKind::Append),
        ("", PublishKind::Live),
    ] {
        let mut peer = Peer::connected();
        let sent = [
            peer.command(0, "createStream", 2.0, &[Value::Null]),
            peer.command(1, "publish", 0.0, &[Value::Null, "n".into(), word.into()]),
        ]
        .concat();
        assert_eq!(
            peer.feed(&sent),
            Ok(vec![Event::Publish(Publish {
                stream_id: 1,
                name: "n".into(),
                kind
            })])
        );
    }
}

#[test]
fn commands_without_effect() {
    let mut peer = Peer::connected();
    for name in [
        "pause",
        "seek",
        "receiveAudio",
        "receiveVideo",
        "FCUnsubscribe",
        "_result",
        "_error",
        "onStatus",
    ] {
        let sent = peer.command(1, name, 9.0, &[Value::Null, 1.0.into()]);
        assert_eq!(peer.ask(&sent), [""; 0], "{name}");
    }
    let sent = peer.command(0, "getStreamLength", 9.0, &[Value::Null, "n".into()]);
    assert_eq!(peer.ask(&sent), ["0 _result 9 0"]);
    let sent = peer.command(0, "FCSubscribe", 9.0, &[Value::Null, "n".into()]);
    assert_eq!(
        peer.ask(&sent),
        ["0 onFCSubscribe 0 NetStream.Play.Start", "0 _result 9"]
    );
    let sent = peer.command(
        1,
        "play2",
        0.0,
        &[Value::Null, Value::object([("streamName", "n")])],
    );
    assert_eq!(peer.ask(&sent), ["1 onStatus 0 NetStream.Play.Failed"]);
    let sent = peer.command(0, "mystery", 9.0, &[Value::Null]);
    assert_eq!(peer.ask(&sent), ["0 _error 9 NetConnection.Call.Failed"]);
    let sent = peer.command(0, "connect", 9.0, &[connect_object()]);
    assert_eq!(peer.ask(&sent), ["0 _error 9 NetConnection.Call.Failed"]);
    let sent = peer.command(0, "mystery", 0.0, &[Value::Null]);
    assert_eq!(peer.ask(&sent), [""; 0], "no transaction, no answer");
}

#[test]
fn a_browser_is_told_what_this_port_is() {
    let mut peer = Peer::new();
    let error = peer.feed(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
    assert_eq!(
        error,
        ProtocolError::NotRtmp {
            first: b'G',
            guess: Guess::Http
        }
    );
    let answer = peer.session.poll_output().unwrap();
    let answer = std::str::from_utf8(&answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(
        head.contains(&format!("Content-Length: {}\r\n", body.len())),
        "{head}"
    );
    assert_eq!(
        peer.session.bytes_received(),
        18,
        "what was dropped counts as received"
    );
}
