//! nginx's `secure_link $arg_md5,$arg_expires`: `md5=…&expires=…`.
//!
//! ```text
//! md5 = base64url(MD5(expression))
//! ```
//!
//! The expression is what the directive `secure_link_md5` has in nginx, with `$secret` where the key stands. Its variables here:
//! `$secure_link_expires`, `$uri` (decoded, ending included), `$remote_addr`, `$secret`.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::config::{Token, TokenKey};

use super::{Asked, BadToken, Query, Signed, any_key, md5, seconds};

/// Some people forget to cut the padding off, which nginx forgives.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Variables by their names; one that begins like another stands first.
const EXPIRES: &str = "$secure_link_expires";
const URI: &str = "$uri";
const ADDRESS: &str = "$remote_addr";
const SECRET: &str = "$secret";

pub(super) fn verify(
    rules: &Token,
    asked: &Asked<'_>,
    query: &Query<'_>,
) -> Result<Signed, BadToken> {
    let given = query.need("md5")?;
    let expires = query.need("expires")?;
    let time = seconds(&expires)?;
    let signature = BASE64
        .decode(given.as_bytes())
        .map_err(|_| BadToken::Malformed("md5 is no base64url"))?;
    any_key(&rules.keys, &signature, |key| {
        hash(rules, key, asked, &expires)
    })?;
    Ok(Signed { time, signature })
}

/// Whether the expression binds each URL to an address.
pub(super) fn needs_address(rules: &Token) -> bool {
    rules.secure_link_md5.contains(ADDRESS)
}

pub(super) fn sign(rules: &Token, key: &TokenKey, asked: &Asked<'_>, time: u64) -> String {
    let expires = time.to_string();
    let hash = BASE64.encode(hash(rules, key, asked, &expires));
    format!("md5={hash}&expires={expires}")
}

/// What is put in is not looked at again: an address that holds `$secret` stays one.
fn hash(rules: &Token, key: &TokenKey, asked: &Asked<'_>, expires: &str) -> Vec<u8> {
    let address = asked
        .address
        .map(|a| a.to_canonical().to_string())
        .unwrap_or_default();
    let variables = [
        (EXPIRES, expires),
        (URI, asked.uri),
        (ADDRESS, address.as_str()),
        (SECRET, key.key.expose()),
    ];
    let mut parts = Vec::new();
    let mut rest = rules.secure_link_md5.as_str();
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        parts.push(before);
        match variables
            .iter()
            .find_map(|(name, value)| after.strip_prefix(name).map(|rest| (*value, rest)))
        {
            Some((value, after)) => {
                parts.push(value);
                rest = after;
            }
            None => {
                // A dollar sign that is none of ours stands for itself.
                parts.push("$");
                rest = after.strip_prefix('$').unwrap_or_default();
            }
        }
    }
    parts.push(rest);
    md5(&parts)
}
