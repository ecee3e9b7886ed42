//! RTMP messages for sessions under test, which get the fuzzer past the chunk layer.

use bytes::BytesMut;
use pingora_live::rtmp::amf0::{Value, encode};
use pingora_live::rtmp::chunk::Encoder;

/// Appends a command.
pub fn command(
    encoder: &mut Encoder,
    stream_id: u32,
    name: &str,
    transaction: f64,
    values: &[Value],
    out: &mut BytesMut,
) {
    let mut body = BytesMut::new();
    encode(&Value::from(name), &mut body);
    encode(&Value::Number(transaction), &mut body);
    for value in values {
        encode(value, &mut body);
    }
    encoder.encode(3, 20, stream_id, 0, &body, out);
}

/// Appends the messages that the fuzzer describes: type, stream, time, length, body.
pub fn messages(encoder: &mut Encoder, mut rest: &[u8], out: &mut BytesMut) {
    while let Some((&[type_id, stream_id, time, length], tail)) = rest.split_first_chunk::<4>() {
        let (body, tail) = tail.split_at(usize::from(length).min(tail.len()));
        rest = tail;
        encoder.encode(
            4,
            type_id,
            u32::from(stream_id),
            u32::from(time) << 20,
            body,
            out,
        );
        if let (1, Some(&size)) = (type_id, body.first_chunk::<4>()) {
            encoder.set_chunk_size(u32::from_be_bytes(size));
        }
    }
}
