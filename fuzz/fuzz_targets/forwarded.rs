//! `X-Forwarded-For` and `Forwarded`: whatever a client writes, the address that its proxy appends is the one that counts.
//!
//! Input: one byte that says which header, then what the client wrote into it.

#![no_main]

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use pingora_live::config::Live;
use pingora_live::proxy::{TrustedProxies, X_FORWARDED_FOR};

fuzz_target!(|data: &[u8]| {
    let Some((&which, written)) = data.split_first() else {
        return;
    };
    let mut live = Live::default();
    live.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
    let trusted = TrustedProxies::new(&live);
    let peer = "10.0.0.1:80".parse().expect("an address");
    let (name, appended) = if which % 2 == 0 {
        (X_FORWARDED_FOR, "192.0.2.1")
    } else {
        (header::FORWARDED, "for=192.0.2.1")
    };
    let Ok(value) = HeaderValue::from_bytes(written) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.append(name.clone(), value);
    trusted.client(peer, &headers);
    // A line of its own, and, where the proxy looks at what is there, the same line.
    let mut joined = written.to_vec();
    joined.extend_from_slice(b", ");
    joined.extend_from_slice(appended.as_bytes());
    headers.append(name.clone(), HeaderValue::from_static(appended));
    let expected = "192.0.2.1:0".parse().expect("an address");
    assert_eq!(trusted.client(peer, &headers), expected);
    if let Ok(value) = HeaderValue::from_bytes(&joined)
        && value.to_str().is_ok()
    {
        headers.insert(name, value);
        assert_eq!(trusted.client(peer, &headers), expected);
    }
});
