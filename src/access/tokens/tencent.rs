//! Tencent: `txSecret=…&txTime=…`, as its "Hotlink Protection URL Calculation" says.
//!
//! ```text
//! txSecret = hex(MD5(key stream txTime)), or SHA-256 of the same
//! ```
//!
//! `stream` is the stream's name alone; `txTime` is in hexadecimal digits, or decimal ones.

use sha2::{Digest, Sha256};

use crate::config::{Token, TokenKey};

use super::{Asked, BadToken, Query, Signed, any_key, hex, md5_hex};

/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;
/// Seconds since 1970 have ten decimal digits from 2001 to 2286, and at most eight hexadecimal ones until 2106.
const DECIMAL_DIGITS: usize = 10;

pub(super) fn verify(
    rules: &Token,
    asked: &Asked<'_>,
    query: &Query<'_>,
) -> Result<Signed, BadToken> {
    let given = query.need("txSecret")?.to_ascii_lowercase();
    let time = query.need("txTime")?;
    let stream = stream(asked);
    any_key(&rules.keys, given.as_bytes(), |key| {
        let key = key.key.expose();
        if given.len() == SHA256_DIGITS {
            let hash = Sha256::new()
                .chain_update(key)
                .chain_update(stream)
                .chain_update(time.as_ref());
            hex(&hash.finalize()).into_bytes()
        } else {
            md5_hex(&[key, stream, &time])
        }
    })?;
    let radix = if time.len() >= DECIMAL_DIGITS { 10 } else { 16 };
    let digits = time.bytes().all(|byte| byte.is_ascii_hexdigit());
    let time = digits
        .then(|| u64::from_str_radix(&time, radix).ok())
        .flatten()
        .ok_or(BadToken::Malformed("txTime is no number"))?;
    Ok(Signed {
        time,
        signature: given.into_bytes(),
    })
}

pub(super) fn sign(key: &TokenKey, asked: &Asked<'_>, time: u64) -> String {
    let time = format!("{time:X}");
    let secret = md5_hex(&[key.key.expose(), stream(asked), &time]);
    format!(
        "txSecret={}&txTime={time}",
        String::from_utf8_lossy(&secret)
    )
}

fn stream<'a>(asked: &Asked<'a>) -> &'a str {
    asked
        .path
        .rsplit_once('/')
        .map_or(asked.path, |(_, name)| name)
}
