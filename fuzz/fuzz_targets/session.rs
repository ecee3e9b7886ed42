//! A whole session behind a valid handshake: the same events however the bytes are split, and never more held than the limits say.
//!
//! Input: one byte of options, one byte of split, then what the client sends. With the lowest bit of the options the client is
//! already publishing; with the next one the rest is not chunks but messages (type, stream, time, length, body), which
//! gets the fuzzer past the chunk layer.

#![no_main]

#[path = "shared/messages.rs"]
mod messages;

use bytes::{BufMut, BytesMut};
use libfuzzer_sys::fuzz_target;
use pingora_live::rtmp::amf0::Value;
use pingora_live::rtmp::chunk::Encoder;
use pingora_live::rtmp::limits::MAX_OUTPUT_BYTES;
use pingora_live::rtmp::{Event, ProtocolError, Reject, ServerSession, SessionConfig};
use std::time::Instant;

use messages::{command, messages};

const HANDSHAKE_BYTES: usize = 1 + 2 * 1536;
const PUBLISHING: u8 = 1;
const MESSAGES: u8 = 2;
const REJECTING: u8 = 4;

/// The bytes of a client.
fn client(options: u8, rest: &[u8]) -> BytesMut {
    let mut out = BytesMut::zeroed(HANDSHAKE_BYTES);
    out[0] = 3;
    let mut encoder = Encoder::new();
    if options & PUBLISHING != 0 {
        command(
            &mut encoder,
            0,
            "connect",
            1.0,
            &[Value::object([("app", "live")])],
            &mut out,
        );
        command(
            &mut encoder,
            0,
            "createStream",
            1.0,
            &[Value::Null],
            &mut out,
        );
        command(
            &mut encoder,
            1,
            "publish",
            1.0,
            &[Value::Null, "name".into()],
            &mut out,
        );
    }
    if options & MESSAGES == 0 {
        out.put_slice(rest);
        return out;
    }
    messages(&mut encoder, rest, &mut out);
    out
}

fn run(bytes: &[u8], options: u8, step: usize) -> (Vec<Event>, Option<ProtocolError>) {
    let now = Instant::now();
    let mut session = ServerSession::new(SessionConfig::default(), now);
    let reject = Reject::new("NetStream.Publish.BadName", "no");
    let mut events = Vec::new();
    let mut fed = 0;
    // The handshake has a target of its own.
    let (handshake, rest) = bytes.split_at(HANDSHAKE_BYTES);
    for part in std::iter::once(handshake).chain(rest.chunks(step)) {
        session.input().put_slice(part);
        fed += part.len() as u64;
        let mut result = session.handle_input(now);
        while let Some(event) = session.poll_event() {
            match &event {
                Event::Connect(_) => session.accept_connect(),
                Event::Publish(publish) if options & REJECTING != 0 => {
                    session.reject_publish(publish.stream_id, &reject)
                }
                Event::Publish(publish) => session.accept_publish(publish.stream_id),
                Event::Play(play) if options & REJECTING == 0 => {
                    session.accept_play(play.stream_id)
                }
                Event::Play(play) => session.reject_play(play.stream_id, &reject),
                _ => {}
            }
            events.push(event);
        }
        if result.is_ok() {
            // An error found while polling.
            result = session.handle_input(now);
        }
        assert_eq!(session.bytes_received(), fed);
        assert!(session.position() <= fed);
        let waiting: usize = std::iter::from_fn(|| session.poll_output())
            .map(|bytes| bytes.len())
            .sum();
        assert!(waiting <= 2 * MAX_OUTPUT_BYTES, "{waiting}");
        if let Err(error) = result {
            assert_eq!(session.handle_input(now), Err(error.clone()));
            assert_eq!(session.deadline(), Some(now));
            return (events, Some(error));
        }
    }
    (events, None)
}

/// Whether an error depends on how often the driver sends, which goes with the split.
fn depends_on_split(error: &Option<ProtocolError>) -> bool {
    matches!(error, Some(ProtocolError::OutputOverflow { .. }))
}

fuzz_target!(|data: &[u8]| {
    let Some((&[options, step], rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let bytes = client(options, rest);
    let whole = run(&bytes, options, bytes.len());
    let split = run(&bytes, options, usize::from(step).max(1));
    if whole != split && !depends_on_split(&whole.1) && !depends_on_split(&split.1) {
        // Numbers of a command may be NaN, which is not equal to itself.
        assert_eq!(format!("{whole:?}"), format!("{split:?}"));
    }
});
