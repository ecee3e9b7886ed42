//! A client session behind a valid handshake: the same events however the bytes of the server are split, and never more held than
//! the limits say.
//!
//! Input: one byte of options, one byte of split, then what the server sends. With the lowest bit of the options the client
//! publishes, else it plays; with the next one the server has accepted already; with the third the rest is not chunks but messages
//! (type, stream, time, length, body), which gets the fuzzer past the chunk layer.

#![no_main]

#[path = "shared/messages.rs"]
mod messages;

use bytes::{BufMut, BytesMut};
use libfuzzer_sys::fuzz_target;
use pingora_live::rtmp::amf0::Value;
use pingora_live::rtmp::chunk::Encoder;
use pingora_live::rtmp::limits::MAX_OUTPUT_BYTES;
use pingora_live::rtmp::{
    ClientConfig, ClientError, ClientEvent, ClientSession, ProtocolError, Purpose,
};
use std::time::Instant;

use messages::{command, messages};

const HANDSHAKE_BYTES: usize = 1 + 2 * 1536;
const PUBLISH: u8 = 1;
const ACCEPTED: u8 = 2;
const MESSAGES: u8 = 4;

/// The bytes of a server.
fn server(options: u8, rest: &[u8]) -> BytesMut {
    let mut out = BytesMut::zeroed(HANDSHAKE_BYTES);
    out[0] = 3;
    let mut encoder = Encoder::new();
    if options & ACCEPTED != 0 {
        command(
            &mut encoder,
            0,
            "_result",
            1.0,
            &[Value::Null, Value::Null],
            &mut out,
        );
        command(
            &mut encoder,
            0,
            "_result",
            4.0,
            &[Value::Null, Value::Number(1.0)],
            &mut out,
        );
        let code = if options & PUBLISH != 0 {
            "NetStream.Publish.Start"
        } else {
            "NetStream.Play.Start"
        };
        let info = Value::object([("level", "status"), ("code", code)]);
        command(
            &mut encoder,
            0,
            "onStatus",
            0.0,
            &[Value::Null, info],
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

fn run(bytes: &[u8], options: u8, step: usize) -> (Vec<ClientEvent>, Option<ClientError>) {
    let now = Instant::now();
    let purpose = if options & PUBLISH != 0 {
        Purpose::Publish
    } else {
        Purpose::Play
    };
    let config = ClientConfig::new(purpose, "live", "rtmp://a.example/live", "stream");
    let mut session = ClientSession::new(config, now);
    let mut events = Vec::new();
    let mut fed = 0;
    let (handshake, rest) = bytes.split_at(HANDSHAKE_BYTES);
    for part in std::iter::once(handshake).chain(rest.chunks(step)) {
        session.input().put_slice(part);
        fed += part.len() as u64;
        let mut result = session.handle_input(now);
        events.extend(std::iter::from_fn(|| session.poll_event()));
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
fn depends_on_split(error: &Option<ClientError>) -> bool {
    matches!(
        error,
        Some(ClientError::Protocol(ProtocolError::OutputOverflow { .. }))
    )
}

fuzz_target!(|data: &[u8]| {
    let Some((&[options, step], rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let bytes = server(options, rest);
    let whole = run(&bytes, options, bytes.len());
    let split = run(&bytes, options, usize::from(step).max(1));
    if !depends_on_split(&whole.1) && !depends_on_split(&split.1) {
        assert_eq!(whole, split);
    }
});
