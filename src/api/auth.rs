//! Who may ask what: a password, a token, and what keeps web pages out.
//!
//! A browser sends what a page tells it to, from a machine that the listener trusts. So:
//!
//! - Without `auth`, the `Host` of a request has to be the machine itself: a page of `evil.example`, a name that resolves to 127.0.0.1,
//!   is of no use then (DNS rebinding).
//! - What changes something is refused to a page of another origin, with `auth` too: browsers send a password that they remember. Who
//!   shows a token is no page.
//! - No answer allows other origins to read it.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, Method, header};
use sha2::{Digest, Sha256};

use crate::config::{self, Secret};
use crate::vhost::without_port;

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// 401.
    Credentials,
    /// 403: asked for by a name that is not ours.
    Host,
    /// 403: sent by a page of another origin.
    Origin,
}

impl Denied {
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Credentials => "a password or a token is needed",
            Self::Host => "the API is not served under this name; see live.api.hosts",
            Self::Origin => "a page of another origin may not do that",
        }
    }
}

/// Judges a request. `authority`: the host and port that it asks for. `open`: what tells nothing, such as `/healthz`.
pub(super) fn judge(
    config: &config::Api,
    method: &Method,
    authority: &str,
    headers: &HeaderMap,
    open: bool,
) -> Result<(), Denied> {
    let shown = match &config.auth {
        Some(auth) => {
            let shown = shown(auth, headers);
            if shown == Shown::Nothing && !open {
                return Err(Denied::Credentials);
            }
            shown
        }
        None => {
            if !is_own_name(config, authority) {
                return Err(Denied::Host);
            }
            Shown::Nothing
        }
    };
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && shown != Shown::Token && is_foreign(authority, headers) {
        return Err(Denied::Origin);
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Password,
    Token,
}

/// Which of the secrets the request shows.
fn shown(auth: &config::ApiAuth, headers: &HeaderMap) -> Shown {
    let Some((scheme, value)) = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
    else {
        return Shown::Nothing;
    };
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return match is(&auth.token, value.as_bytes()) {
            true => Shown::Token,
            false => Shown::Nothing,
        };
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Shown::Nothing;
    }
    let Ok(pair) = BASE64.decode(value) else {
        return Shown::Nothing;
    };
    let colon = pair.iter().position(|byte| *byte == b':');
    let Some((user, password)) = colon.and_then(|at| pair.split_at_checked(at)) else {
        return Shown::Nothing;
    };
    let user = same(user, auth.username.as_bytes());
    let password = is(&auth.password, password.get(1..).unwrap_or_default());
    match user & password {
        true => Shown::Password,
        false => Shown::Nothing,
    }
}

/// Whether it is the secret. None is none.
fn is(secret: &Secret, shown: &[u8]) -> bool {
    !secret.expose().is_empty() && same(secret.expose().as_bytes(), shown)
}

/// Compares in a time that tells nothing: of digests, which nobody can steer.
fn same(one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (Sha256::digest(one), Sha256::digest(other));
    one.iter()
        .zip(other.iter())
        .fold(0, |differ, (a, b)| differ | (a ^ b))
        == 0
}

/// Whether the request asks for this machine by a name that no other can have.
fn is_own_name(config: &config::Api, authority: &str) -> bool {
    let name = without_port(authority);
    let brackets = if authority.starts_with('[') { 2 } else { 0 };
    let after = authority.get(name.len().saturating_add(brackets)..);
    let is_port = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit());
    // Whatever else is written behind a name that is ours may mean another one to others.
    if !after.is_some_and(|after| after.is_empty() || after.strip_prefix(':').is_some_and(is_port))
    {
        return false;
    }
    let host = config::host_key(name);
    // RFC 3986 §3.2.2: only addresses stand in brackets.
    if brackets > 0 && host.parse::<IpAddr>().is_err() {
        return false;
    }
    if host == "localhost" || host.ends_with(".localhost") {
        return true;
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return ip.is_loopback();
    }
    config
        .hosts
        .iter()
        .any(|name| match name.strip_prefix("*.") {
            Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
            None => *name == host,
        })
}

/// Whether a page of another origin sent it, as browsers tell (Fetch, `Sec-Fetch-Site` and `Origin`).
fn is_foreign(authority: &str, headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    match headers.get(header::ORIGIN).map(|origin| origin.to_str()) {
        None => false,
        Some(Ok(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_none_or(|host| !host.eq_ignore_ascii_case(authority))
        }
        Some(Err(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name = http::HeaderName::from_static(name);
                (name, value.parse().expect("a value"))
            })
            .collect()
    }

    fn protected() -> config::Api {
        let auth = config::ApiAuth {
            username: "admin".to_owned(),
            password: Secret::new("a:b"),
            token: Secret::new("t0k3n"),
        };
        config::Api {
            auth: Some(auth),
            ..config::Api::default()
        }
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", BASE64.encode(pair))
    }

    #[test]
    fn credentials() {
        let config = protected();
        let ask = |value: &str| {
            let headers = with(&[("authorization", value)]);
            judge(&config, &Method::GET, "any.example", &headers, false)
        };
        assert_eq!(ask(&basic("admin:a:b")), Ok(()));
        assert_eq!(ask("Bearer t0k3n"), Ok(()));
        assert_eq!(ask("bearer  t0k3n"), Ok(()));
        for wrong in [
            basic("admin:a"),
            basic("root:a:b"),
            basic("admin"),
            basic(":"),
            "Basic !".to_owned(),
            "Bearer t0k3".to_owned(),
            "Bearer ".to_owned(),
            "Digest t0k3n".to_owned(),
            "t0k3n".to_owned(),
        ] {
            assert_eq!(ask(&wrong), Err(Denied::Credentials), "{wrong}");
        }
        let none = HeaderMap::new();
        assert_eq!(
            judge(&config, &Method::GET, "a", &none, false),
            Err(Denied::Credentials)
        );
        assert_eq!(judge(&config, &Method::GET, "a", &none, true), Ok(()));
    }

    #[test]
    fn a_secret_that_is_not_set_is_no_secret() {
        let mut config = protected();
        if let Some(auth) = &mut config.auth {
            auth.password = Secret::default();
            auth.token = Secret::default();
        }
        for value in [basic("admin:"), "Bearer ".to_owned()] {
            let headers = with(&[("authorization", &value)]);
            assert_eq!(
                judge(&config, &Method::GET, "a", &headers, false),
                Err(Denied::Credentials)
            );
        }
    }

    #[test]
    fn a_name_that_resolves_to_this_machine_is_not_this_machine() {
        let config = config::Api {
            hosts: vec!["api.example.com".to_owned(), "*.lan".to_owned()],
            ..config::Api::default()
        };
        let ask = |host: &str| judge(&config, &Method::GET, host, &HeaderMap::new(), false);
        for own in [
            "127.0.0.1:1985",
            "127.8.8.8",
            "localhost:1985",
            "LOCALHOST.",
            "[::1]:1985",
            "api.example.com:80",
            "nas.lan",
        ] {
            assert_eq!(ask(own), Ok(()), "{own}");
        }
        for other in [
            "evil.example:1985",
            "10.0.0.1",
            "",
            "127.0.0.1.evil.example",
            "[::1].evil.example",
            "[localhost]",
            "[[o.localhost]",
            "[::1]:80@evil.example",
            "localhost:80/@evil.example",
            "lan",
            "a.b.lan",
        ] {
            assert_eq!(ask(other), Err(Denied::Host), "{other}");
        }
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing() {
        let open = config::Api::default();
        let locked = protected();
        let host = "localhost:1985";
        let password = basic("admin:a:b");
        for (headers, foreign) in [
            (vec![("origin", "http://evil.example")], true),
            (vec![("origin", "null")], true),
            (vec![("origin", "http://localhost:8080")], true),
            (vec![("origin", "http://localhost:1985")], false),
            (vec![("sec-fetch-site", "cross-site")], true),
            (vec![("sec-fetch-site", "same-site")], true),
            (vec![("sec-fetch-site", "same-origin")], false),
            (vec![("sec-fetch-site", "none")], false),
            (vec![], false),
        ] {
            let expected = if foreign { Err(Denied::Origin) } else { Ok(()) };
            let asked = with(&headers);
            assert_eq!(judge(&open, &Method::DELETE, host, &asked, false), expected);
            assert_eq!(judge(&open, &Method::GET, host, &asked, false), Ok(()));
            let mut pairs = headers.clone();
            pairs.push(("authorization", &password));
            let asked = with(&pairs);
            assert_eq!(judge(&locked, &Method::POST, host, &asked, false), expected);
            pairs.pop();
            pairs.push(("authorization", "Bearer t0k3n"));
            assert_eq!(
                judge(&locked, &Method::POST, host, &with(&pairs), false),
                Ok(())
            );
        }
    }
}
