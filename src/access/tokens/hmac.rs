//! Our own scheme: `expires=…&kid=…&sig=…`, and `ip=1` when it is bound to a client's address.
//!
//! ```text
//! sig = base64url(HMAC-SHA256(key, "pingora-live\n" action "\n" path "\n" expires "\n" address))
//! ```
//!
//! `action` is `play` or `publish`, `path` is `/app/stream` for every protocol and format, `address` the client's, empty where the URL is
//! bound to none. base64url is RFC 4648 §5, without padding.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::config::{Token, TokenKey};

use super::{Asked, BadToken, Query, Signed, any_key, seconds};

/// Sets the messages apart from whatever else the key may sign.
const CONTEXT: &str = "pingora-live";

pub(super) fn verify(
    rules: &Token,
    asked: &Asked<'_>,
    query: &Query<'_>,
) -> Result<Signed, BadToken> {
    let given = query.need("sig")?;
    let expires = query.need("expires")?;
    let id = query.need("kid")?;
    let time = seconds(&expires)?;
    let signature = BASE64
        .decode(given.as_bytes())
        .map_err(|_| BadToken::Malformed("sig is no base64url"))?;
    let address = match query.get("ip")?.as_deref() {
        None | Some("0") => None,
        Some("1") => Some(
            asked
                .address
                .ok_or(BadToken::Malformed("the client has no address"))?,
        ),
        Some(_) => return Err(BadToken::Malformed("ip is neither 0 nor 1")),
    };
    // The id is no secret.
    let key = rules.keys.iter().find(|key| key.id == id.as_ref());
    let key = key.ok_or(BadToken::Wrong)?;
    any_key(std::slice::from_ref(key), &signature, |key| {
        mac(key, asked, &expires, address)
    })?;
    Ok(Signed { time, signature })
}

pub(super) fn sign(key: &TokenKey, asked: &Asked<'_>, time: u64) -> String {
    let expires = time.to_string();
    let signature = BASE64.encode(mac(key, asked, &expires, asked.address));
    let bound = if asked.address.is_some() { "&ip=1" } else { "" };
    format!("expires={expires}&kid={}{bound}&sig={signature}", key.id)
}

fn mac(key: &TokenKey, asked: &Asked<'_>, expires: &str, address: Option<IpAddr>) -> Vec<u8> {
    let address = address.map(|a| a.to_canonical().to_string());
    let message = [
        CONTEXT,
        asked.action.as_str(),
        // Names hold no line breaks, so no two messages are alike.
        asked.path,
        expires,
        address.as_deref().unwrap_or_default(),
    ]
    .join("\n");
    match Hmac::<Sha256>::new_from_slice(key.key.expose().as_bytes()) {
        Ok(mac) => mac.chain_update(message).finalize().into_bytes().to_vec(),
        // RFC 2104 §2 takes keys of any length; nothing equals an empty signature of ours, since a given one is not compared to it.
        Err(_) => Vec::new(),
    }
}
