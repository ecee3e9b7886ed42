//! What a back end answers: it lets in only by saying so, and what it names to push to are addresses of RTMP, not too many.
//!
//! Input: a byte that says the status, then the answer's body.

#![no_main]

use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use pingora_live::config::Remote;
use pingora_live::fuzzing::access::verdict;
use pingora_live::fuzzing::relay::{Target, named};
use pingora_live::hub::StreamKey;
use serde_json::Value;

const STATUSES: [u16; 8] = [200, 201, 200, 204, 302, 403, 500, 999];
/// Servers that one answer may name.
const MAX_NAMED: usize = 16;

fuzz_target!(|data: &[u8]| {
    let Some((&status, body)) = data.split_first() else {
        return;
    };
    let status = STATUSES[usize::from(status) % STATUSES.len()];
    let status = StatusCode::from_u16(status).expect("a status");
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let code = json.as_ref().and_then(|json| match json {
        Value::Object(object) => object.get("code")?.as_i64(),
        number => number.as_i64(),
    });
    if verdict(status, body) == Some(true) {
        assert!(matches!(status.as_u16(), 200 | 201));
        assert_eq!(code, Some(0));
    }
    let Some((destinations, left_out)) = named(status, body) else {
        return;
    };
    assert_eq!(code, Some(0));
    let urls = json.as_ref().and_then(|json| json.pointer("/data/urls"));
    let count = urls.and_then(Value::as_array).map_or(0, Vec::len);
    assert_eq!(destinations.len() + left_out, count);
    assert!(destinations.len() <= MAX_NAMED);
    let key = StreamKey::new("a.example", "live", "x").expect("a key");
    for destination in &destinations {
        assert!(destination.scheme.is_none_or(|scheme| scheme.is_rtmp()));
        let again: Result<Remote, ()> = destination.to_string().parse();
        assert_eq!(again.as_ref(), Ok(destination));
        let target = Target::of_destination(destination, &key);
        for text in [target.tc_url(), target.name(), target.to_string()] {
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
});
