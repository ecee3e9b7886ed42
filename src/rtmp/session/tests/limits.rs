//! Each bound, and what a peer is told that breaks the protocol.

use super::*;
use crate::rtmp::amf0::{Amf0Error, MAX_DEPTH};
use crate::rtmp::error::{Blame, ChunkError, Phase};
use crate::rtmp::limits::*;
use crate::rtmp::session::core::Dialogue;

fn timed_out(phase: Phase) -> Result<(), ProtocolError> {
    Err(ProtocolError::TimedOut {
        phase,
        after: Duration::from_secs(10),
    })
}

#[test]
fn the_handshake_has_ten_seconds() {
    let mut peer = Peer::new();
    assert_eq!(
        peer.session.deadline(),
        Some(peer.start + HANDSHAKE_TIMEOUT)
    );
    assert_eq!(peer.after(9), Ok(()));
    // A byte now and then buys no time.
    peer.feed(&[3, 0]).unwrap();
    assert_eq!(peer.after(10), timed_out(Phase::Handshake));
    assert_eq!(peer.session.poll_output(), None);
}

#[test]
fn connect_has_ten_seconds_from_the_handshake() {
    let mut peer = Peer::new();
    peer.after(5).unwrap();
    peer.feed(&handshake()).unwrap();
    // Messages that are no commands buy no time.
    let sent = peer.chunk(message::WINDOW_ACK_SIZE, 0, 0, &[0, 1, 0, 0]);
    peer.after(14).unwrap();
    peer.feed(&sent).unwrap();
    assert_eq!(
        peer.session.deadline(),
        Some(peer.start + Duration::from_secs(15))
    );
    assert_eq!(peer.after(15), timed_out(Phase::Connect));
    assert_eq!(peer.replies(), ["0 _error 1 NetConnection.Connect.Failed"]);
}

#[test]
fn publish_has_ten_seconds_from_connect_and_from_the_last_publish() {
    let mut peer = Peer::connected();
    let sent = peer.command(0, "createStream", 2.0, &[Value::Null]);
    peer.after(9).unwrap();
    peer.feed(&sent).unwrap();
    assert_eq!(peer.session.deadline(), Some(peer.start + PUBLISH_TIMEOUT));
    let sent = peer.publish(1, "name");
    peer.feed(&sent).unwrap();
    assert_eq!(
        peer.session.deadline(),
        None,
        "how long a publisher may be silent is not a matter of the protocol"
    );
    assert_eq!(peer.after(1000), Ok(()));
    let sent = peer.command(0, "closeStream", 0.0, &[Value::Null]);
    peer.feed(&sent).unwrap();
    assert_eq!(peer.session.deadline(), None, "not this stream");
    let sent = peer.command(1, "closeStream", 0.0, &[Value::Null]);
    peer.feed(&sent).unwrap();
    assert_eq!(
        peer.session.deadline(),
        Some(peer.start + Duration::from_secs(1010))
    );
    peer.replies();
    assert_eq!(peer.after(1010), timed_out(Phase::Publish));
    assert_eq!(
        peer.replies(),
        ["0 onStatus 0 NetConnection.Connect.IdleTimeOut"]
    );
}

#[test]
fn no_time_runs_while_the_driver_decides() {
    let mut peer = Peer::opened();
    let sent = [
        peer.command(0, "connect", 1.0, &[connect_object()]),
        peer.command(0, "createStream", 2.0, &[Value::Null]),
        peer.publish(1, "name"),
    ]
    .concat();
    peer.session.input().put_slice(&sent);
    peer.session.handle_input(peer.now).unwrap();
    assert!(matches!(peer.session.poll_event(), Some(Event::Connect(_))));
    assert_eq!((peer.session.deadline(), peer.after(100)), (None, Ok(())));
    peer.session.accept_connect();
    assert!(matches!(peer.session.poll_event(), Some(Event::Publish(_))));
    assert_eq!((peer.session.deadline(), peer.after(200)), (None, Ok(())));
    peer.session
        .reject_publish(1, &Reject::new("NetStream.Publish.Denied", "no"));
    assert_eq!(
        peer.session.deadline(),
        Some(peer.start + Duration::from_secs(210)),
        "time for another try"
    );
    let sent = peer.publish(1, "other");
    assert_eq!(peer.feed(&sent).unwrap().len(), 1);
}

#[test]
fn an_error_is_returned_again_and_nothing_is_decoded_after_it() {
    let mut peer = Peer::publishing("name");
    let sent = [peer.chunk(AUDIO, 1, 0, b"a"), vec![0xc0, 1]].concat();
    peer.session.input().put_slice(&sent);
    let error = peer.session.handle_input(peer.now).unwrap_err();
    let source = ChunkError::NoHeader { csid: 65, fmt: 3 };
    let position = peer.session.position();
    assert_eq!(error, ProtocolError::Chunk { position, source });
    assert_eq!(
        (error.position(), error.blame()),
        (Some(position), Blame::Peer)
    );
    assert_eq!(peer.session.deadline(), Some(peer.now));
    assert_eq!(
        peer.session.poll_event(),
        Some(audio(1, 0, b"a")),
        "what came before is valid"
    );
    assert_eq!(
        peer.replies(),
        ["0 onStatus 0 NetConnection.Connect.Closed"]
    );
    let received = peer.session.bytes_received();
    peer.session.input().put_slice(&[0; 1000]);
    assert_eq!(peer.session.handle_input(peer.now), Err(error.clone()));
    assert_eq!(peer.session.handle_timeout(peer.now), Err(error));
    assert_eq!(peer.session.bytes_received(), received + 1000);
    assert_eq!(
        (peer.session.poll_event(), peer.session.poll_output()),
        (None, None)
    );
}

#[test]
fn commands_before_connect_are_refused() {
    let mut peer = Peer::opened();
    let sent = peer.command(0, "createStream", 1.0, &[Value::Null]);
    let error = peer.feed(&sent).unwrap_err();
    let position = 3073 + sent.len() as u64;
    let command = "createStream".to_owned();
    assert_eq!(
        error,
        ProtocolError::Command {
            position,
            command,
            problem: "sent before connect"
        }
    );
    assert_eq!(peer.replies(), ["0 _error 1 NetConnection.Connect.Failed"]);

    let mut peer = Peer::opened();
    let sent = peer.command(0, "connect", 1.0, &[Value::Null]);
    assert!(matches!(
        peer.feed(&sent),
        Err(ProtocolError::Command {
            problem: "no command object",
            ..
        })
    ));
}

#[test]
fn unreadable_commands_are_refused() {
    let nested = [
        &b"\x02\x00\x01x\x00\0\0\0\0\0\0\0\0"[..],
        &b"\x03\x00\x01a".repeat(10_000),
    ]
    .concat();
    let offset = 13 + 4 * MAX_DEPTH;
    for (payload, source) in [
        (&nested[..], Amf0Error::TooDeep { offset }),
        (
            b"\x02\x00\x01x\x0a\xff\xff\xff\xff",
            Amf0Error::UnexpectedEnd {
                offset: 9,
                reading: "a type marker",
            },
        ),
        (
            b"\xff",
            Amf0Error::UnknownMarker {
                offset: 0,
                marker: 0xff,
            },
        ),
    ] {
        let mut peer = Peer::connected();
        let sent = peer.chunk(COMMAND_AMF0, 0, 0, payload);
        let position = peer.session.position() + sent.len() as u64;
        assert_eq!(
            peer.feed(&sent),
            Err(ProtocolError::Amf0 { position, source })
        );
        assert_eq!(
            peer.replies(),
            ["0 onStatus 0 NetConnection.Connect.Closed"]
        );
    }
    let mut peer = Peer::connected();
    let sent = peer.chunk(COMMAND_AMF0, 0, 0, &[5]);
    assert!(matches!(
        peer.feed(&sent),
        Err(ProtocolError::Command {
            problem: "no name in the first place",
            ..
        })
    ));
}

#[test]
fn impossible_control_messages_are_refused() {
    for (type_id, payload) in [
        (message::SET_CHUNK_SIZE, &[0, 0, 0, 0][..]),
        (message::SET_CHUNK_SIZE, &[0x80, 0, 0, 0]),
        (message::SET_CHUNK_SIZE, &[0, 0, 1]),
        (message::ABORT, &[]),
        (message::WINDOW_ACK_SIZE, &[0]),
        (message::SET_PEER_BANDWIDTH, &[0, 0]),
    ] {
        let mut peer = Peer::opened();
        let sent = peer.chunk(type_id, 0, 0, payload);
        let error = peer.feed(&sent).unwrap_err();
        assert!(matches!(error, ProtocolError::Control { .. }), "{error}");
    }
}

#[test]
fn a_long_name_is_cut_in_the_error() {
    let mut peer = Peer::opened();
    let sent = peer.command(0, &"n".repeat(10_000), 1.0, &[]);
    let error = peer.feed(&sent).unwrap_err();
    assert!(error.to_string().len() < 200, "{error}");
}

#[test]
fn streams_are_bounded() {
    let mut peer = Peer::connected();
    for id in 1..=MAX_STREAMS {
        let sent = peer.command(0, "createStream", 2.0, &[Value::Null]);
        assert_eq!(peer.ask(&sent), [format!("0 _result 2 {id}")]);
    }
    let sent = peer.command(0, "createStream", 2.0, &[Value::Null]);
    assert_eq!(peer.ask(&sent), ["0 _error 2 NetConnection.Call.Failed"]);
    let sent = [
        peer.command(0, "deleteStream", 0.0, &[Value::Null, 3.0.into()]),
        peer.command(0, "createStream", 2.0, &[Value::Null]),
    ]
    .concat();
    assert_eq!(peer.ask(&sent), ["0 _result 2 3"]);
}

#[test]
fn commands_without_a_publish_are_bounded() {
    let mut peer = Peer::publishing("name");
    let sent = peer.command(0, "_checkbw", 9.0, &[Value::Null]);
    for _ in 0..2 * MAX_IDLE_COMMANDS {
        // Not while it publishes.
        peer.ask(&sent);
    }
    let end = peer.command(1, "closeStream", 0.0, &[Value::Null]);
    peer.feed(&end).unwrap();
    for count in 1.. {
        match peer.feed(&sent) {
            Ok(_) => assert!(count <= MAX_IDLE_COMMANDS),
            Err(error) => {
                assert!(
                    matches!(error, ProtocolError::TooManyCommands { .. }),
                    "{error}"
                );
                assert_eq!(
                    (count, error.blame()),
                    (MAX_IDLE_COMMANDS + 1, Blame::Limit)
                );
                return;
            }
        }
    }
}

#[test]
fn replies_that_are_not_read_are_bounded() {
    let mut peer = Peer::connected();
    let ping = peer.chunk(message::USER_CONTROL, 0, 0, &[0, 6, 0, 0, 0, 0]);
    let pings = ping.repeat(100_000);
    let mut error = None;
    for part in pings.chunks(1000) {
        if let Err(found) = peer.feed(part) {
            error = Some(found);
            break;
        }
    }
    assert!(
        matches!(error, Some(ProtocolError::OutputOverflow { .. })),
        "{error:?}"
    );
    let waiting = peer.session.poll_output().unwrap().len();
    assert!(
        (MAX_OUTPUT_BYTES..MAX_OUTPUT_BYTES + 1000).contains(&waiting),
        "{waiting}"
    );
    // Read in time, there may be any number.
    let mut peer = Peer::connected();
    for part in pings.chunks(1000) {
        peer.feed(part).unwrap();
        while peer.session.poll_output().is_some() {}
    }
}

#[test]
fn events_are_decoded_as_they_are_polled() {
    let mut peer = Peer::publishing("name");
    let mut sent = peer.chunk(AUDIO, 1, 0, b"a");
    // The smallest messages there are: two bytes each.
    sent.extend(b"\xc6a".repeat(10_000));
    peer.session.input().put_slice(&sent);
    peer.session.handle_input(peer.now).unwrap();
    assert_eq!(peer.session.core().events.len(), MAX_PENDING_EVENTS);
    let mut count = 0;
    while peer.session.poll_event().is_some() {
        count += 1;
        assert!(peer.session.core().events.len() <= MAX_PENDING_EVENTS);
    }
    assert_eq!(count, 10_001);
    assert_eq!(peer.session.deadline(), None);
}

#[test]
fn an_error_found_while_polling_is_due_at_once() {
    let mut peer = Peer::publishing("name");
    let mut sent = peer.chunk(AUDIO, 1, 0, b"a");
    sent.extend(b"\xc6a".repeat(MAX_PENDING_EVENTS));
    sent.push(0xc3 ^ 0x20);
    peer.session.input().put_slice(&sent);
    assert_eq!(peer.session.handle_input(peer.now), Ok(()));
    assert_eq!(
        std::iter::from_fn(|| peer.session.poll_event()).count(),
        MAX_PENDING_EVENTS + 1
    );
    assert_eq!(peer.session.deadline(), Some(peer.now));
    assert!(matches!(
        peer.session.handle_timeout(peer.now),
        Err(ProtocolError::Chunk { .. })
    ));
}

#[test]
fn input_that_comes_before_the_answer_is_bounded() {
    let mut peer = Peer::opened();
    let sent = peer.command(0, "connect", 1.0, &[connect_object()]);
    peer.session.input().put_slice(&sent);
    peer.session.handle_input(peer.now).unwrap();
    for _ in 0..MAX_HELD_INPUT_BYTES / READ_BYTES {
        peer.session.input().put_slice(&[0; READ_BYTES]);
        assert_eq!(peer.session.handle_input(peer.now), Ok(()));
    }
    peer.session.input().put_slice(&[0; READ_BYTES]);
    let result = peer.session.handle_input(peer.now);
    assert!(
        matches!(result, Err(ProtocolError::HeldInputOverflow { .. })),
        "{result:?}"
    );
}

#[test]
fn sixty_five_thousand_chunk_streams_are_refused() {
    let mut peer = Peer::opened();
    let mut sent = BytesMut::new();
    for csid in 2..=65_599 {
        Encoder::new().encode(csid, VIDEO, 1, 0, b"", &mut sent);
    }
    let error = peer.feed(&sent).unwrap_err();
    let source = ChunkError::TooManyChunkStreams {
        csid: 2 + MAX_CHUNK_STREAMS as u32,
    };
    assert!(
        matches!(&error, ProtocolError::Chunk { source: found, .. } if *found == source),
        "{error}"
    );
    assert_eq!(error.blame(), Blame::Limit);
}

#[test]
fn room_for_input_is_made_in_small_steps() {
    let mut peer = Peer::new();
    let mut largest = 0;
    for part in [0; 3000].chunks(100) {
        let input = peer.session.input();
        assert!(input.capacity() - input.len() >= MIN_READ_BYTES);
        input.put_slice(part);
        largest = largest.max(input.capacity());
    }
    assert!(largest <= 2 * READ_BYTES, "{largest}");
}

#[test]
fn a_buffer_that_grew_for_a_large_chunk_is_given_up() {
    let mut peer = Peer::publishing("name");
    let set_chunk_size = peer.chunk(message::SET_CHUNK_SIZE, 0, 0, &[0, 0x7f, 0xff, 0xff]);
    peer.encoder.set_chunk_size(0x7f_ffff);
    let large = peer.chunk(VIDEO, 1, 0, &[7; 4 << 20]);
    peer.feed(&set_chunk_size).unwrap();
    for part in large.chunks(READ_BYTES) {
        peer.feed(part).unwrap();
    }
    assert!(peer.session.input().capacity() <= MAX_KEPT_INPUT_BYTES);
}

#[test]
fn a_large_message_byte_by_byte_is_not_quadratic() {
    let mut peer = Peer::publishing("name");
    peer.feed(&[
        2,
        0,
        0,
        0,
        0,
        0,
        4,
        message::SET_CHUNK_SIZE,
        0,
        0,
        0,
        0,
        0x7f,
        0xff,
        0xff,
        0xff,
    ])
    .unwrap();
    peer.encoder.set_chunk_size(0xff_ffff);
    let sent = peer.chunk(VIDEO, 1, 0, &[7; 1 << 20]);
    for part in sent.chunks(1) {
        peer.session.input().put_slice(part);
        peer.session.handle_input(peer.now).unwrap();
    }
    assert!(matches!(
        peer.session.poll_event(),
        Some(Event::Media { .. })
    ));
}
