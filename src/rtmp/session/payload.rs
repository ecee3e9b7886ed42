//! What both ends look at in a payload.

use bytes::{Buf, Bytes};

use crate::rtmp::amf0::{self, Value};

/// The string at the start of AMF0, and how many bytes it takes.
pub(super) fn leading_string(payload: &[u8]) -> Option<(String, usize)> {
    // Not worth decoding an object to find that it is no string.
    const STRING_MARKER: u8 = 2;
    let mut rest = payload;
    match payload.first() {
        Some(&STRING_MARKER) => match amf0::decode(&mut rest) {
            Ok(Value::String(name)) => Some((name, payload.len() - rest.len())),
            _ => None,
        },
        _ => None,
    }
}

/// E-RTMP, "Important AMF3-encoded Historical Specification Clarification": types 15 and 17 start with a format
/// selector, and 0 is AMF0. Some encoders leave it out; a name (marker 2) cannot be mistaken for it.
pub(super) fn without_selector(mut payload: Bytes) -> Bytes {
    if payload.first() == Some(&0) {
        payload.advance(1);
    }
    payload
}
