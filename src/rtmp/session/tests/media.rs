//! Media and data messages: which become events.

use super::*;
use crate::rtmp::message::{AGGREGATE, DATA_AMF0, DATA_AMF3};

#[test]
fn amf3_wrapping() {
    let mut peer = Peer::connected();
    let create = body("createStream", 2.0, &[Value::Null]);
    // With the format selector, and without.
    let sent = peer.chunk(COMMAND_AMF3, 0, 0, &[&[0], &create[..]].concat());
    assert_eq!(peer.ask(&sent), ["0 _result 2 1"]);
    let sent = peer.chunk(COMMAND_AMF3, 0, 0, &create);
    assert_eq!(peer.ask(&sent), ["0 _result 2 2"]);

    let mut peer = Peer::publishing("name");
    let sent = [
        peer.chunk(DATA_AMF3, 1, 5, b"\x00\x02\x00\x0aonTextData\x05"),
        // With an AMF3 value inside there is no way to say it in FLV.
        peer.chunk(DATA_AMF3, 1, 6, b"\x00\x02\x00\x0aonTextData\x11\x01"),
    ]
    .concat();
    let payload = Bytes::from_static(b"\x02\x00\x0aonTextData\x05");
    let expected = Event::Data {
        stream_id: 1,
        name: "onTextData".into(),
        timestamp: 5,
        payload,
    };
    assert_eq!(peer.feed(&sent), Ok(vec![expected]));
}

#[test]
fn data_that_is_not_for_players() {
    let mut peer = Peer::publishing("name");
    for payload in [
        &b""[..],
        b"\x05",
        b"\x02\x00\xffcut",
        b"\x02\x00\x0d@setDataFrame",
        b"\x02\x00\x0d@setDataFrame\x05",
        b"\x02\x00\x0f@clearDataFrame\x02\x00\x0aonMetaData",
        b"\x02\x00\x11|RtmpSampleAccess\x01\x00\x01\x00",
    ] {
        let sent = peer.chunk(DATA_AMF0, 1, 0, payload);
        assert_eq!(peer.feed(&sent), Ok(vec![]), "{payload:?}");
    }
    // Names are not ours to judge.
    for name in [
        "onMetaData",
        "onTextData",
        "onCuePoint",
        "onFI",
        "somethingElse",
    ] {
        let payload = body(name, 0.0, &[]);
        let sent = peer.chunk(DATA_AMF0, 1, 7, &payload);
        let expected = Event::Data {
            stream_id: 1,
            name: name.into(),
            timestamp: 7,
            payload: payload.freeze(),
        };
        assert_eq!(peer.feed(&sent), Ok(vec![expected]));
    }
}

#[test]
fn media_without_a_publish_or_without_bytes_is_dropped() {
    let mut peer = Peer::publishing("name");
    let sent = [
        peer.chunk(AUDIO, 2, 0, b"another stream"),
        peer.chunk(VIDEO, 1, 0, b""),
        // A shared object, and a type that nobody defined.
        peer.chunk(19, 1, 0, b"x"),
        peer.chunk(99, 1, 0, b"x"),
    ]
    .concat();
    assert_eq!(peer.feed(&sent), Ok(vec![]));
}

#[test]
fn aggregates_are_split() {
    let mut peer = Peer::publishing("name");
    let tag = |type_id: u8, time: u8, body: &[u8]| {
        let header = [type_id, 0, 0, body.len() as u8, 0, 0, time, 0, 0, 0, 0];
        [&header[..], body, &[0, 0, 0, body.len() as u8 + 11]].concat()
    };
    let whole = [
        tag(AUDIO, 10, b"a"),
        tag(COMMAND_AMF0, 11, b"x"),
        tag(AUDIO, 30, b"b"),
        tag(AGGREGATE, 40, b""),
    ]
    .concat();
    let sent = peer.chunk(AGGREGATE, 1, 1000, &whole);
    assert_eq!(
        peer.feed(&sent),
        Ok(vec![audio(1, 1000, b"a"), audio(1, 1020, b"b")])
    );
    let sent = peer.chunk(AGGREGATE, 2, 1000, &whole);
    assert_eq!(peer.feed(&sent), Ok(vec![]), "no publish there");
    let sent = peer.chunk(AGGREGATE, 1, 1000, &whole[..20]);
    let error = peer.feed(&sent).unwrap_err();
    assert!(
        matches!(error, ProtocolError::Aggregate { offset: 16, .. }),
        "{error:?}"
    );
}
