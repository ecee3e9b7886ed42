//! A request to the API: nobody is answered without the secrets, or by a name that is not the machine's; a page is no longer than a list.
//!
//! Input, a line each: the method, the path, the query, the host that is asked for, and what stands in `Authorization`.

#![no_main]

use std::net::{IpAddr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, header};
use libfuzzer_sys::fuzz_target;
use pingora_live::config::{Api, ApiAuth, Secret};
use pingora_live::fuzzing::api::{id, may, page};

const LIST: usize = 20_000;
const LONGEST: usize = 10_000;

/// Whether a host and port are this machine's, or one of those below.
fn is_ours(authority: &str) -> bool {
    let authority = authority.to_ascii_lowercase();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if digits(port) && (name.starts_with('[') || !name.contains(':')) => {
            name
        }
        _ => &authority,
    };
    // A dot at its end makes a name a full one, and is passed over in addresses too.
    let bare = |name: &str| name.strip_suffix('.').unwrap_or(name).to_owned();
    let inside = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Some(inside) = inside {
        return bare(inside)
            .parse()
            .is_ok_and(|ip: Ipv6Addr| ip.is_loopback());
    }
    let name = &*bare(name);
    let loopback = name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let names = ["localhost", "api.example"].contains(&name);
    loopback || names || name.ends_with(".localhost") || name.ends_with(".wild.example")
}

fuzz_target!(|text: &str| {
    let lines: Vec<&str> = text.splitn(5, '\n').collect();
    let [method, path, query, authority, credentials] = lines[..] else {
        return;
    };
    let Ok(method) = method.parse::<Method>() else {
        return;
    };
    if let Some(id) = id(&method, path) {
        assert!(!id.contains('/') && path.contains(&id));
    }
    if let Some(count) = page(query, LIST) {
        assert!(count <= LONGEST);
    }
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(credentials) {
        headers.insert(header::AUTHORIZATION, value);
    }
    let mut open = Api::default();
    open.hosts = vec!["api.example".to_owned(), "*.wild.example".to_owned()];
    if may(&open, &method, authority, &headers) {
        assert!(is_ours(authority), "{authority:?}");
    }
    let mut auth = ApiAuth::default();
    auth.username = "admin".to_owned();
    auth.password = Secret::new("a:b");
    auth.token = Secret::new("t0k3n");
    let mut closed = open;
    closed.auth = Some(auth);
    if may(&closed, &method, authority, &headers) {
        let (_, value) = credentials.split_once(' ').expect("a scheme");
        let pair = STANDARD.decode(value.trim()).unwrap_or_default();
        assert!(value.trim() == "t0k3n" || pair == b"admin:a:b");
    }
});
