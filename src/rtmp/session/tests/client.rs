//! The client session, against the server session and against servers of other manners.

use super::*;
use crate::rtmp::session::client::*;
use crate::rtmp::session::core::Dialogue;
use crate::rtmp::{Connect, MediaKind};
use proptest::prelude::*;

/// A client and the server that it talks to, on one clock.
struct Pair {
    client: ClientSession,
    server: ServerSession,
    now: Instant,
    answer: Answer,
    connect: Option<Connect>,
    asked: Vec<String>,
    got: Vec<Event>,
}

#[derive(Clone, PartialEq)]
enum Answer {
    Yes,
    RefuseConnect(Reject),
    Refuse(Reject),
}

impl Pair {
    fn new(purpose: Purpose, answer: Answer) -> Pair {
        let now = Instant::now();
        let mut config = ClientConfig::new(
            purpose,
            "live?a=b",
            "rtmp://origin.example:1935/live",
            "stream?token=x",
        );
        config.properties.push(("via".into(), "1.1 me".into()));
        Pair {
            client: ClientSession::new(config, now),
            server: ServerSession::new(SessionConfig::default(), now),
            now,
            answer,
            connect: None,
            asked: Vec::new(),
            got: Vec::new(),
        }
    }

    fn serve(&mut self) {
        self.server.handle_input(self.now).expect("a good client");
        while let Some(event) = self.server.poll_event() {
            match (&event, &self.answer) {
                (Event::Connect(connect), answer) => {
                    self.connect = Some(connect.clone());
                    match answer {
                        Answer::RefuseConnect(reject) => self.server.reject_connect(reject),
                        _ => self.server.accept_connect(),
                    }
                }
                (Event::Play(play), Answer::Yes) => {
                    self.asked.push(play.name.clone());
                    self.server.accept_play(play.stream_id);
                }
                (Event::Play(play), Answer::Refuse(reject)) => {
                    self.server.reject_play(play.stream_id, reject)
                }
                (Event::Publish(publish), Answer::Yes) => {
                    self.asked.push(publish.name.clone());
                    self.server.accept_publish(publish.stream_id);
                }
                (Event::Publish(publish), Answer::Refuse(reject)) => {
                    self.server.reject_publish(publish.stream_id, reject)
                }
                _ => self.got.push(event),
            }
        }
    }

    /// Carries bytes to and fro, `step` at a time to the client, until nothing moves.
    fn talk(&mut self, step: usize) -> Result<Vec<ClientEvent>, ClientError> {
        let mut events = Vec::new();
        loop {
            let mut moved = false;
            while let Some(bytes) = self.client.poll_output() {
                self.server.input().put_slice(&bytes);
                self.serve();
                moved = true;
            }
            while let Some(bytes) = self.server.poll_output() {
                moved = true;
                for part in bytes.chunks(step) {
                    self.client.input().put_slice(part);
                    let result = self.client.handle_input(self.now);
                    events.extend(std::iter::from_fn(|| self.client.poll_event()));
                    result?;
                }
            }
            if !moved {
                return Ok(events);
            }
        }
    }
}

#[test]
fn it_plays() {
    for step in [1, 7, usize::MAX] {
        let mut pair = Pair::new(Purpose::Play, Answer::Yes);
        assert_eq!(pair.talk(step), Ok(vec![ClientEvent::Started]));
        let connect = pair.connect.as_ref().expect("a connect");
        assert_eq!(
            (connect.app.as_str(), connect.tc_url.as_str()),
            ("live?a=b", "rtmp://origin.example:1935/live")
        );
        assert_eq!(connect.via, "1.1 me");
        assert!(connect.fourcc_list.iter().any(|cc| cc == "hvc1"));
        assert_eq!(pair.asked, ["stream?token=x"]);
        assert_eq!(pair.client.deadline(), None);

        let mut encoder = Encoder::new();
        encoder.set_chunk_size(60_000);
        let mut media = BytesMut::new();
        let metadata = b"\x02\x00\x0aonMetaData\x05";
        encoder.encode(8, message::DATA_AMF0, 1, 0, metadata, &mut media);
        encoder.encode(6, AUDIO, 1, 20, b"\xaf\x01sound", &mut media);
        encoder.encode(7, VIDEO, 1, 40, &[0x17; 70_000], &mut media);
        let mut events = Vec::new();
        for part in media.chunks(step.min(media.len())) {
            pair.client.input().put_slice(part);
            pair.client.handle_input(pair.now).expect("media");
            events.extend(std::iter::from_fn(|| pair.client.poll_event()));
        }
        let [data, audio, video] = &events[..] else {
            panic!("{events:?}")
        };
        assert!(matches!(data, ClientEvent::Data { name, .. } if name == "onMetaData"));
        assert!(
            matches!(audio, ClientEvent::Media { kind: MediaKind::Audio, timestamp: 20, payload } if payload.ends_with(b"sound"))
        );
        assert!(
            matches!(video, ClientEvent::Media { kind: MediaKind::Video, timestamp: 40, payload } if payload.len() == 70_000)
        );

        pair.server.end_play(1);
        let ended = pair.talk(step).expect("an end");
        let codes: Vec<_> = ended
            .iter()
            .map(|event| match event {
                ClientEvent::Ended { code } => code.as_str(),
                _ => panic!("{event:?}"),
            })
            .collect();
        assert_eq!(
            codes,
            [
                "NetStream.Play.UnpublishNotify",
                "StreamEOF",
                "NetStream.Play.Stop"
            ]
        );
    }
}

#[test]
fn it_publishes() {
    let mut pair = Pair::new(Purpose::Publish, Answer::Yes);
    pair.client
        .publish_media(MediaKind::Audio, 0, b"too early, so never sent");
    assert_eq!(pair.talk(3), Ok(vec![ClientEvent::Started]));
    assert_eq!(pair.asked, ["stream?token=x"]);
    pair.client
        .publish_data(0, b"\x02\x00\x0aonMetaData\x08\0\0\0\0\0\0\x09");
    pair.client
        .publish_media(MediaKind::Video, u32::MAX, &[0x17; 200_000]);
    pair.client
        .publish_media(MediaKind::Audio, 5, b"\xaf\x01sound");
    pair.client.close();
    assert_eq!(pair.talk(3), Ok(vec![]));
    let got = std::mem::take(&mut pair.got);
    let [data, video, audio, end] = &got[..] else {
        panic!("{got:?}")
    };
    assert!(matches!(data, Event::Data { name, .. } if name == "onMetaData"));
    assert!(
        matches!(video, Event::Media { timestamp: u32::MAX, payload, .. } if payload.len() == 200_000)
    );
    assert!(matches!(audio, Event::Media { timestamp: 5, .. }));
    assert!(matches!(end, Event::Unpublish { .. }));
}

#[test]
fn refusals_keep_the_servers_own_code() {
    let not_found = Reject::new("NetStream.Play.StreamNotFound", "no such stream");
    let denied = Reject::new("NetStream.Publish.Denied", "bad token");
    let closed = Reject::new("NetConnection.Connect.Rejected", "go away");
    for (purpose, answer, reject) in [
        (Purpose::Play, Answer::Refuse(not_found.clone()), &not_found),
        (Purpose::Publish, Answer::Refuse(denied.clone()), &denied),
        (
            Purpose::Play,
            Answer::RefuseConnect(closed.clone()),
            &closed,
        ),
    ] {
        let mut pair = Pair::new(purpose, answer);
        let error = pair.talk(5).unwrap_err();
        assert_eq!(
            error,
            ClientError::Refused {
                code: reject.code.into(),
                description: reject.description.clone()
            }
        );
        assert_eq!(pair.client.handle_input(pair.now), Err(error));
        assert_eq!(pair.client.deadline(), Some(pair.now));
    }
}

#[test]
fn redirects_are_told_wherever_they_stand() {
    let elsewhere = Reject::redirect("rtmp://other.example/live/stream");
    for answer in [
        Answer::Refuse(elsewhere.clone()),
        Answer::RefuseConnect(elsewhere),
    ] {
        let mut pair = Pair::new(Purpose::Play, answer);
        assert_eq!(
            pair.talk(usize::MAX),
            Err(ClientError::Redirected {
                url: "rtmp://other.example/live/stream".into()
            })
        );
    }
}

#[test]
fn a_publisher_is_told_when_it_is_ended() {
    let mut pair = Pair::new(Purpose::Publish, Answer::Yes);
    pair.talk(usize::MAX).expect("a publish");
    let kicked = Reject::new("NetStream.Publish.BadName", "another took it");
    pair.server.end_publish(1, &kicked);
    assert!(matches!(
        pair.talk(usize::MAX),
        Err(ClientError::Refused { code, .. }) if code == "NetStream.Publish.BadName"
    ));
}

#[test]
fn each_step_has_its_time() {
    let start = Instant::now();
    let mut pair = Pair::new(Purpose::Play, Answer::Yes);
    pair.now = start;
    let deadline = pair.client.deadline().expect("a deadline");
    assert_eq!(
        pair.client
            .handle_timeout(deadline - Duration::from_millis(1)),
        Ok(())
    );
    assert!(matches!(
        pair.client.handle_timeout(deadline),
        Err(ClientError::Protocol(ProtocolError::TimedOut { .. }))
    ));
}

#[test]
fn a_server_of_another_protocol_is_named() {
    let mut pair = Pair::new(Purpose::Play, Answer::Yes);
    pair.client.input().put_slice(b"HTTP/1.1 400 Bad Request");
    assert!(matches!(
        pair.client.handle_input(pair.now),
        Err(ClientError::Protocol(ProtocolError::NotRtmp { .. }))
    ));
}

proptest! {
    /// Whatever a server sends behind its handshake, however it is split.
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..4000), step in 1usize..500) {
        let mut pair = Pair::new(Purpose::Play, Answer::Yes);
        let mut input = vec![3u8];
        input.extend(std::iter::repeat_n(0, 2 * PACKET_BYTES));
        input.extend(&bytes);
        let mut fed = 0;
        for part in input.chunks(step) {
            pair.client.input().put_slice(part);
            fed += part.len() as u64;
            let _ = pair.client.handle_input(pair.now);
            while pair.client.poll_event().is_some() {}
            while pair.client.poll_output().is_some() {}
            prop_assert_eq!(pair.client.bytes_received(), fed);
        }
    }
}

#[test]
fn what_nobody_looks_at_is_acknowledged() {
    let mut pair = Pair::new(Purpose::Play, Answer::Yes);
    pair.client.skip(10_000_000);
    assert_eq!(pair.client.bytes_received(), 0, "it does not play yet");
    assert_eq!(pair.talk(usize::MAX), Ok(vec![ClientEvent::Started]));
    let before = pair.client.bytes_received();
    // Half of a message, whose other half is skipped.
    let mut half = BytesMut::new();
    Encoder::new().encode(6, VIDEO, 1, 0, &[0x17; 100], &mut half);
    pair.client.input().put_slice(&half[..50]);
    pair.client.handle_input(pair.now).expect("no harm");
    pair.client.skip(2_000_000);
    assert_eq!(pair.client.poll_output(), None, "the window is not full");
    pair.client.skip(1_000_000);
    assert_eq!(pair.client.bytes_received(), before + 3_000_050);
    let said = pair.client.poll_output().expect("an acknowledgement");
    let count = (before + 3_000_050) as u32;
    assert!(said.ends_with(&count.to_be_bytes()), "{said:?}");
    assert_eq!(pair.client.poll_output(), None, "once");
    // What is appended all the same does no harm, and the play can be ended.
    pair.client.input().put_slice(&[0xff; 100]);
    assert_eq!(pair.client.handle_input(pair.now), Ok(()));
    assert_eq!(pair.client.poll_event(), None);
    pair.client.close();
    assert!(pair.client.poll_output().is_some());
}

#[test]
fn what_was_said_behind_a_play_does_not_keep_the_room_of_a_publisher() {
    let mut pair = Pair::new(Purpose::Play, Answer::Yes);
    assert_eq!(pair.talk(usize::MAX), Ok(vec![ClientEvent::Started]));
    let mut ping = BytesMut::new();
    let payload = message::user_control(message::EVENT_PING_REQUEST, 7);
    Encoder::new().encode(2, message::USER_CONTROL, 0, 0, &payload, &mut ping);
    let (first, rest) = ping.split_at(3);
    pair.server.input().put_slice(first);
    pair.server.handle_input(pair.now).expect("half a message");
    pair.server.release_input();
    let kept = pair.server.core().wire.input.capacity();
    assert!(kept < 100, "{kept} bytes are kept");
    pair.server.append_input(rest);
    pair.server.handle_input(pair.now).expect("the other half");
    assert!(pair.server.has_output(), "it is answered");
}
