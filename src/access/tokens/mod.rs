//! Signed URLs: who was given one may, until it ends.
//!
//! No I/O and no clock: the URL, the rules and the time come in, and out comes until when it is good, or what is wrong with it. A file
//! has one scheme: what it signs, and which parameters carry it. The signature is judged before the time, so that only somebody
//! who was given a URL learns that it has expired; the client is told nothing either way.

mod aliyun;
mod hmac;
mod node_media_server;
mod query;
mod secure_link;
mod tencent;
#[cfg(test)]
mod tests;
mod uses;

use std::net::IpAddr;

use subtle::ConstantTimeEq;

use crate::config::{Action, Token, TokenKey, TokenScheme};

pub(super) use query::Query;
pub(super) use uses::Uses;

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) action: Action,
    /// `/app/stream`, whatever the format; of a file, its path without the ending of a format.
    pub(super) path: &'a str,
    /// The path as it was asked for, percent-decoded: `/app/stream.flv`. Over RTMP the same as `path`.
    pub(super) uri: &'a str,
    pub(super) address: Option<IpAddr>,
}

/// What is wrong with a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadToken {
    #[error("the URL is not signed")]
    Missing,
    #[error("the signature's parameters are none: {0}")]
    Malformed(&'static str),
    #[error("the signature is wrong")]
    Wrong,
    #[error("the URL expired {0} s ago")]
    Expired(u64),
    #[error("the URL was used {0} times, which is its limit")]
    UsedUp(u32),
    #[error("more signed URLs with a limit of uses are about than can be counted")]
    TooMany,
}

/// A URL whose signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signed {
    /// The time that stands in it, in seconds since 1970.
    time: u64,
    /// The signature as it stands in it: names the URL when uses are counted.
    signature: Vec<u8>,
}

/// A URL that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Good {
    /// The first second at which it is good no more, since 1970.
    pub(super) expires: u64,
    /// Names it when uses are counted.
    pub(super) signature: Vec<u8>,
}

/// Judges signature and time. `now` in seconds since 1970.
pub(super) fn verify(
    rules: &Token,
    asked: &Asked<'_>,
    query: &Query<'_>,
    now: u64,
) -> Result<Good, BadToken> {
    let signed = match rules.scheme {
        TokenScheme::Hmac => hmac::verify(rules, asked, query),
        TokenScheme::Tencent => tencent::verify(rules, asked, query),
        TokenScheme::Aliyun => aliyun::verify(rules, asked, query),
        TokenScheme::SecureLink => secure_link::verify(rules, asked, query),
        TokenScheme::NodeMediaServer => node_media_server::verify(rules, asked, query),
    }?;
    // The time of an hmac is its end: there is no console in which another validity was agreed on.
    let validity = match rules.scheme {
        TokenScheme::Hmac => 0,
        _ => rules.validity.as_secs(),
    };
    let expires = signed.time.saturating_add(validity);
    if now >= expires {
        return Err(BadToken::Expired(now - expires));
    }
    Ok(Good {
        expires,
        signature: signed.signature,
    })
}

/// The parameters that sign a URL, as they are appended to it.
///
/// `time`: what stands in it, in seconds since 1970. `address`: binds it to a client, where the scheme can.
pub fn sign(
    rules: &Token,
    key: &TokenKey,
    action: Action,
    path: &str,
    uri: &str,
    address: Option<IpAddr>,
    time: u64,
) -> String {
    let asked = Asked {
        action,
        path,
        uri,
        address,
    };
    match rules.scheme {
        TokenScheme::Hmac => hmac::sign(key, &asked, time),
        TokenScheme::Tencent => tencent::sign(key, &asked, time),
        TokenScheme::Aliyun => aliyun::sign(key, &asked, time),
        TokenScheme::SecureLink => secure_link::sign(rules, key, &asked, time),
        TokenScheme::NodeMediaServer => node_media_server::sign(key, &asked, time),
    }
}

/// Whether a URL of these rules is good for one address only, which [`sign`] has to know.
pub(super) fn needs_address(rules: &Token) -> bool {
    rules.scheme == TokenScheme::SecureLink && secure_link::needs_address(rules)
}

/// Whether one of the keys makes this signature. All are tried, and compared in a time that tells nothing.
fn any_key(
    keys: &[TokenKey],
    given: &[u8],
    make: impl Fn(&TokenKey) -> Vec<u8>,
) -> Result<(), BadToken> {
    let mut right = subtle::Choice::from(0);
    for key in keys {
        right |= make(key).ct_eq(given);
    }
    if bool::from(right) {
        Ok(())
    } else {
        Err(BadToken::Wrong)
    }
}

/// A time in seconds since 1970, in digits.
fn seconds(text: &str) -> Result<u64, BadToken> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or(BadToken::Malformed("the time is no number"))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// MD5 is what these schemes are made of; it is no good hash, and with a key at its end or front it is what their users have.
fn md5(parts: &[&str]) -> Vec<u8> {
    use md5::{Digest, Md5};
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().to_vec()
}

fn md5_hex(parts: &[&str]) -> Vec<u8> {
    hex(&md5(parts)).into_bytes()
}
