//! Where another server's answer points to (HTTP's `Location`, RTMP's `redirect`): an address that can be asked for as it stands, by the
//! same family of protocols, and nothing in it that would end a line.
//!
//! Input, a line each: the protocol, then the answers.

#![no_main]

use http::{HeaderValue, Uri};
use libfuzzer_sys::fuzz_target;
use pingora_live::config::Remote;
use pingora_live::fuzzing::relay::Target;
use pingora_live::hub::StreamKey;

fuzz_target!(|text: &str| {
    let Some((scheme, answers)) = text.split_once('\n') else {
        return;
    };
    if !["rtmp", "rtmps", "http", "https"].contains(&scheme) {
        return;
    }
    let first: Remote = format!("{scheme}://origin.example/live/x?token=1")
        .parse()
        .expect("a server");
    let key = StreamKey::new("a.example", "live", "x").expect("a key");
    let mut target = Target::of_destination(&first, &key);
    for to in answers.lines() {
        let Some(next) = target.redirected(to) else {
            continue;
        };
        assert_eq!(next.scheme().is_rtmp(), target.scheme().is_rtmp());
        if next.scheme().is_rtmp() {
            for text in [next.tc_url(), next.name(), next.to_string()] {
                assert!(!text.chars().any(char::is_control), "{text:?}");
            }
        } else {
            let (authority, path) = (next.authority(), next.path_and_query());
            assert!(HeaderValue::from_str(&authority).is_ok(), "{authority:?}");
            assert!(path.starts_with('/') && path.bytes().all(|b| b > b' ' && b != 0x7f));
            let uri = format!("{}://{authority}{path}", next.scheme().as_str());
            let uri: Uri = uri.parse().unwrap_or_else(|_| panic!("{uri:?}"));
            assert_eq!(uri.authority().map(|a| a.as_str()), Some(&*authority));
        }
        target = next;
    }
});
