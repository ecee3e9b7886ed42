//! What stands in a registry: any text is a lease or an announcement, or none; and what was read is written and read alike, and can
//! stand in a header.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pingora_live::cluster::{Addresses, Announcement, Lease};

fn is_safe(addresses: &Addresses) {
    let Addresses {
        http,
        https,
        rtmp,
        rtmps,
        inside,
        ..
    } = addresses;
    for url in [http, https, rtmp, rtmps, inside].into_iter().flatten() {
        assert!(url.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

fuzz_target!(|text: &str| {
    if let Some(lease) = Lease::decode(text) {
        is_safe(&lease.addresses);
        assert_eq!(Lease::decode(&lease.encode()), Some(lease));
    }
    if let Some(node) = Announcement::decode(text) {
        is_safe(&node.addresses);
        // Written, it may be longer than what is read.
        let again = Announcement::decode(&node.encode());
        assert!(again.is_none() || again == Some(node));
    }
});
