//! The address of a stream over HTTP, and where a player of it is sent: names that mean one thing only, a vhost that is configured, and
//! no address that sends a player round for ever.
//!
//! Input, a line each: the host, the path and the query.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pingora_live::config::Live;
use pingora_live::fuzzing::play::{Addresses, hops, passed_on};
use pingora_live::hub::StreamKey;

const CONFIG: &str = "live:
  vhosts:
    a.example:
      http_remux: { mounts: ['[vhost]/[app]/[stream].flv', '/x/[app]-[stream].flv', '/[app]/[vhost]/y/[stream].ts'] }
    off.example: { enabled: off }
";

thread_local! {
    static ADDRESSES: Addresses = {
        let live = Live::from_yaml(CONFIG, "live.yaml", std::iter::empty()).expect("a configuration");
        Addresses::new(&live)
    };
}

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let (Some(host), Some(path), Some(query)) = (lines.next(), lines.next(), lines.next()) else {
        return;
    };
    let Some((key, _)) = ADDRESSES.with(|addresses| addresses.stream(host, path, query)) else {
        return;
    };
    assert!(["a.example", "__defaultVhost__"].contains(&key.vhost()));
    let names = format!("{}/{}", key.app(), key.stream());
    assert!(
        names
            .split('/')
            .all(|name| !["", ".", ".."].contains(&name))
    );
    assert!(!names.chars().any(|c| c.is_control() || c == '\\'));
    // Written and read again, it is the same stream.
    let again = StreamKey::new(key.vhost(), key.app(), key.stream());
    assert_eq!(again.as_ref(), Ok(&key));
    let next = passed_on(query, &key);
    assert_eq!(hops(&next), hops(query).saturating_add(1), "{next}");
    assert!(next.len() <= query.len() + 64);
});
