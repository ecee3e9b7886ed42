//! NodeMediaServer: `sign=expires-md5`.
//!
//! ```text
//! md5 = hex(MD5("/app/stream" "-" expires "-" key))
//! ```

use crate::config::{Token, TokenKey};

use super::{Asked, BadToken, Query, Signed, any_key, md5_hex, seconds};

pub(super) fn verify(
    rules: &Token,
    asked: &Asked<'_>,
    query: &Query<'_>,
) -> Result<Signed, BadToken> {
    let value = query.need("sign")?;
    let (expires, given) = value
        .split_once('-')
        .ok_or(BadToken::Malformed("sign has no parts"))?;
    let time = seconds(expires)?;
    let given = given.to_ascii_lowercase();
    any_key(&rules.keys, given.as_bytes(), |key| {
        md5_hex(&[asked.path, "-", expires, "-", key.key.expose()])
    })?;
    Ok(Signed {
        time,
        signature: given.into_bytes(),
    })
}

pub(super) fn sign(key: &TokenKey, asked: &Asked<'_>, time: u64) -> String {
    let hash = md5_hex(&[asked.path, "-", &time.to_string(), "-", key.key.expose()]);
    format!("sign={time}-{}", String::from_utf8_lossy(&hash))
}
