//! The chunk layer: the same messages however the bytes are split, within the limits; and what was decoded can be encoded and
//! decoded again.
//!
//! Input: two bytes of chunk size, one byte of split, then chunks.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pingora_live::rtmp::ChunkError;
use pingora_live::rtmp::chunk::{Decoder, Encoder};
use pingora_live::rtmp::limits::MAX_PARTIAL_BYTES;
use pingora_live::rtmp::message::Message;

fn run(bytes: &[u8], chunk_size: u32, step: usize) -> (Vec<Message>, Option<ChunkError>) {
    let (mut decoder, mut input) = (Decoder::new(), BytesMut::new());
    decoder.set_chunk_size(chunk_size);
    let mut messages = Vec::new();
    for part in bytes.chunks(step.max(1)) {
        input.extend_from_slice(part);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(message)) => {
                    // As a session would.
                    if let (1 | 2, Some(&number)) =
                        (message.type_id, message.payload.first_chunk::<4>())
                    {
                        match (message.type_id, u32::from_be_bytes(number)) {
                            (1, size) => decoder.set_chunk_size(size),
                            (_, csid) => decoder.abort(csid),
                        }
                    }
                    messages.push(message);
                }
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(decoder.partial_bytes() <= MAX_PARTIAL_BYTES);
    }
    (messages, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((&[high, low, step], bytes)) = data.split_first_chunk::<3>() else {
        return;
    };
    let chunk_size = u32::from(u16::from_be_bytes([high, low])).max(1);
    let whole = run(bytes, chunk_size, bytes.len());
    assert_eq!(whole, run(bytes, chunk_size, usize::from(step)));

    let (mut encoder, mut encoded) = (Encoder::new(), BytesMut::new());
    encoder.set_chunk_size(chunk_size);
    let messages: Vec<Message> = whole
        .0
        .into_iter()
        .filter(|message| message.type_id > 2)
        .collect();
    for Message {
        csid,
        type_id,
        stream_id,
        timestamp,
        payload,
    } in &messages
    {
        encoder.encode(
            *csid,
            *type_id,
            *stream_id,
            *timestamp,
            payload,
            &mut encoded,
        );
    }
    assert_eq!(
        run(&encoded, chunk_size, usize::from(step)),
        (messages, None)
    );
});
