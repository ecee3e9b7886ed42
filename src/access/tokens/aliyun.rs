//! Aliyun, type A: `auth_key=timestamp-rand-uid-md5hash`.
//!
//! ```text
//! md5hash = hex(MD5(uri "-" timestamp "-" rand "-" uid "-" key))
//! ```
//!
//! `uri` is the path as it is asked for, ending included: one URL for each format.

use crate::config::{Token, TokenKey};

use super::{Asked, BadToken, Query, Signed, any_key, md5_hex, seconds};

pub(super) fn verify(
    rules: &Token,
    asked: &Asked<'_>,
    query: &Query<'_>,
) -> Result<Signed, BadToken> {
    let value = query.need("auth_key")?;
    let (signed, given) = value
        .rsplit_once('-')
        .ok_or(BadToken::Malformed("auth_key has no parts"))?;
    let mut parts = signed.split('-');
    let time = seconds(parts.next().unwrap_or_default())?;
    // rand and uid; more hyphens than that belong to none of them.
    if parts.count() != 2 {
        return Err(BadToken::Malformed("auth_key has not four parts"));
    }
    let given = given.to_ascii_lowercase();
    any_key(&rules.keys, given.as_bytes(), |key| {
        md5_hex(&[asked.uri, "-", signed, "-", key.key.expose()])
    })?;
    Ok(Signed {
        time,
        signature: given.into_bytes(),
    })
}

pub(super) fn sign(key: &TokenKey, asked: &Asked<'_>, time: u64) -> String {
    let signed = format!("{time}-0-0");
    let hash = md5_hex(&[asked.uri, "-", &signed, "-", key.key.expose()]);
    format!("auth_key={signed}-{}", String::from_utf8_lossy(&hash))
}
