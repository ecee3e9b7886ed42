//! Signed URLs: nobody gets in without a key, what is signed is good until its end, and whatever a client adds to a signed URL changes
//! neither what it is good for nor until when.
//!
//! Input, a line each: a number that says scheme, address and action; the path; a query.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pingora_live::config::{Action, Secret, Token, TokenKey, TokenScheme};
use pingora_live::fuzzing::access::Signed;

const SCHEMES: [TokenScheme; 5] = [
    TokenScheme::Hmac,
    TokenScheme::Tencent,
    TokenScheme::Aliyun,
    TokenScheme::SecureLink,
    TokenScheme::NodeMediaServer,
];
const VALIDITY: u64 = 60;
const TIME: u64 = 1_800_000_000;

fn key(id: &str, key: &str) -> TokenKey {
    let mut made = TokenKey::default();
    made.id = id.to_owned();
    made.key = Secret::new(key);
    made
}

/// The values of a query with each byte percent-encoded.
fn encoded(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) => {
            let value: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            format!("{name}={value}")
        }
        None => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let (Some(options), Some(path), Some(query)) = (lines.next(), lines.next(), lines.next())
    else {
        return;
    };
    let options: u8 = options.parse().unwrap_or_default();
    let mut rules = Token::default();
    rules.enabled = true;
    rules.scheme = SCHEMES[usize::from(options & 0x0f) % SCHEMES.len()];
    rules.validity = Duration::from_secs(VALIDITY);
    rules.keys = vec![
        key("old", "0123456789abcdef"),
        key("new", "a key that nobody can guess"),
    ];
    let validity = match rules.scheme {
        TokenScheme::Hmac => 0,
        _ => VALIDITY,
    };
    let address = (options & 0x10 != 0).then_some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    let action = if options & 0x20 != 0 {
        Action::Publish
    } else {
        Action::Play
    };
    let asked = Signed {
        action,
        path,
        uri: path,
        address,
    };
    let verify = |asked: &Signed, query: &str, now| asked.verify(&rules, query, now);
    // Nobody can sign without a key. These sign nothing here: libFuzzer sees what is compared, and so learns the signatures that are made
    // below.
    let mut others = rules.clone();
    others.keys = vec![key("old", "fedcba9876543210"), key("new", "nor this one")];
    assert_eq!(asked.verify(&others, query, 0), None);
    for key in &rules.keys {
        let signed = asked.sign(&rules, key, TIME);
        let end = TIME + validity;
        assert_eq!(verify(&asked, &signed, end - 1), Some(end), "{signed}");
        assert_eq!(verify(&asked, &signed, end), None);
        assert_eq!(verify(&asked, &encoded(&signed), end - 1), Some(end));
        // With more behind or before it, it is good for the same, or for nothing.
        for more in [format!("{signed}&{query}"), format!("{query}&{signed}")] {
            let until = verify(&asked, &more, end - 1);
            assert!(until.is_none() || until == Some(end), "{more}");
        }
        let longer = format!("{path}x");
        let other = Signed {
            path: &longer,
            uri: &longer,
            ..asked
        };
        assert_eq!(verify(&other, &signed, end - 1), None);
    }
});
