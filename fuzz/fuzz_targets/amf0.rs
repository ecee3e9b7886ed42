//! AMF0: any bytes are values or an error, and values survive being written and read.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pingora_live::rtmp::amf0::{Value, decode, decode_all, decode_prefix, encode};

fn encode_all(values: &[Value]) -> BytesMut {
    let mut out = BytesMut::new();
    for value in values {
        encode(value, &mut out);
    }
    out
}

fuzz_target!(|data: &[u8]| {
    let (prefix, error) = decode_prefix(data);
    match decode_all(data) {
        Ok(values) => {
            assert!(error.is_none());
            // Compared as bytes, since NaN is not equal to itself.
            let once = encode_all(&values);
            assert_eq!(once, encode_all(&prefix));
            let again = decode_all(&once).expect("what was written can be read");
            assert_eq!(once, encode_all(&again));
        }
        Err(found) => assert_eq!(error, Some(found)),
    }
    let mut rest = data;
    if decode(&mut rest).is_err() {
        assert_eq!(rest, data);
    }
});
