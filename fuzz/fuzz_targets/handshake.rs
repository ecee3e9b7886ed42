//! The handshake: never more than one answer, and the same one however the bytes are split.
//!
//! Input: one byte that says where to split, then what the client sends.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pingora_live::rtmp::ProtocolError;
use pingora_live::rtmp::handshake::Handshake;

fn run(bytes: &[u8], step: usize) -> (Result<bool, ProtocolError>, Vec<u8>, Vec<u8>, u64) {
    let (mut handshake, mut input, mut out) = (Handshake::new(), BytesMut::new(), BytesMut::new());
    let mut result = Ok(false);
    for part in bytes.chunks(step.max(1)) {
        input.extend_from_slice(part);
        result = handshake.advance(&mut input, &mut out);
        if result.is_err() {
            break;
        }
    }
    assert!(out.len() <= 1 + 2 * 1536);
    (result, input.to_vec(), out.to_vec(), handshake.consumed())
}

fuzz_target!(|data: &[u8]| {
    let Some((&step, bytes)) = data.split_first() else {
        return;
    };
    let whole = run(bytes, bytes.len());
    let split = run(bytes, usize::from(step));
    assert_eq!(whole.0, split.0);
    assert_eq!(whole.2, split.2);
    if whole.0.is_ok() {
        assert_eq!((whole.1, whole.3), (split.1, split.3));
    }
});
