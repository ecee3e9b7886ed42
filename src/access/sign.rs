//! Makes a signed URL, as `pingora-live sign` prints it.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::{Action, Token, TokenKey};
use crate::{percent, vhost};

use super::{tokens, without_format};

/// What is to be signed, and how.
#[derive(Clone, Debug)]
pub struct Signing<'a> {
    /// `scheme://host/app/stream…`, in any protocol; a query is kept.
    pub url: &'a str,
    /// What the URL shall be good for.
    pub action: Action,
    /// The scheme and what belongs to it.
    pub rules: &'a Token,
    /// The key.
    pub key: &'a TokenKey,
    /// Binds it to a client, where the scheme can (`hmac`, `secure_link`).
    pub address: Option<IpAddr>,
    /// The time that stands in it, since 1970: its end, but for the validity of the schemes that have one.
    pub time: Duration,
}

/// Why a URL cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// No `scheme://`, or no host.
    #[error("it is no URL such as http://host/app/stream.flv")]
    Url,
    /// It names no stream.
    #[error("it names no stream: it needs an app and a stream, as in rtmp://host/app/stream")]
    Path,
    /// It carries a fragment, which no server sees.
    #[error("it has a part after #, which no server sees")]
    Fragment,
    /// The expression of `secure_link` has the client's address in it, and there is none.
    #[error(
        "secure_link_md5 has $remote_addr, so a URL is good for one client: name it by --address"
    )]
    Address,
}

/// The URL with its signature.
///
/// # Errors
/// [`SignError`] for what is no URL of a stream.
pub fn sign(signing: &Signing<'_>) -> Result<String, SignError> {
    let url = signing.url;
    if url.contains('#') {
        return Err(SignError::Fragment);
    }
    let (scheme, rest) = url.split_once("://").ok_or(SignError::Url)?;
    let (address, query) = match rest.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (rest, None),
    };
    let at = address.find('/').ok_or(SignError::Path)?;
    let (host, path) = address.split_at(at);
    if host.is_empty() {
        return Err(SignError::Url);
    }
    let uri = percent::decode(path)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or(SignError::Url)?;
    let path = without_format(&uri);
    // Over HTTP it may be a file, which needs no folder.
    let names = match path.trim_start_matches('/').rsplit_once('/') {
        Some((app, stream)) => !app.is_empty() && !stream.is_empty(),
        None => !scheme.starts_with("rtmp") && path.len() > 1,
    };
    if !names {
        return Err(SignError::Path);
    }
    if signing.address.is_none() && tokens::needs_address(signing.rules) {
        return Err(SignError::Address);
    }
    let signature = tokens::sign(
        signing.rules,
        signing.key,
        signing.action,
        path,
        &uri,
        signing.address,
        signing.time.as_secs(),
    );
    let joint = match query {
        None => "?",
        Some("") => "",
        Some(_) => "&",
    };
    Ok(format!("{url}{joint}{signature}"))
}

/// The vhost that a URL means: `?vhost=` or `?domain=`, else its host.
pub fn vhost_of(url: &str) -> String {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let named = vhost::from_query(query).ok().flatten();
    named.unwrap_or_else(|| vhost::host_of_url(url).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, TokenScheme};

    fn signed(url: &str, scheme: TokenScheme) -> Result<String, SignError> {
        let rules = Token {
            scheme,
            ..Token::default()
        };
        let key = TokenKey {
            id: "k".to_owned(),
            key: Secret::new("nodemedia2017privatekey"),
        };
        sign(&Signing {
            url,
            action: Action::Play,
            rules: &rules,
            key: &key,
            address: None,
            time: Duration::from_secs(1_503_458_721),
        })
    }

    #[test]
    fn the_signature_is_appended() {
        let hash = "1503458721-80c1d1ad2e0c2ab63eebb50eed64201a";
        for (url, expected) in [
            (
                "rtmp://h/live/stream",
                format!("rtmp://h/live/stream?sign={hash}"),
            ),
            (
                "http://h:8080/live/stream.flv",
                format!("http://h:8080/live/stream.flv?sign={hash}"),
            ),
            (
                "wss://h/live/stream.ts?",
                format!("wss://h/live/stream.ts?sign={hash}"),
            ),
            (
                // A file.
                "https://h/stream",
                "https://h/stream?sign=1503458721-bfb6e771be14d710a296901e1e9695b7".to_owned(),
            ),
            (
                "https://h/live/stream.aac?a=b",
                format!("https://h/live/stream.aac?a=b&sign={hash}"),
            ),
        ] {
            assert_eq!(signed(url, TokenScheme::NodeMediaServer), Ok(expected));
        }
    }

    #[test]
    fn what_is_no_stream_is_not_signed() {
        for (url, error) in [
            ("live/stream", SignError::Url),
            ("rtmp:///live/stream", SignError::Url),
            ("rtmp://h", SignError::Path),
            ("rtmp://h/", SignError::Path),
            ("rtmp://h/live", SignError::Path),
            ("rtmp://h/live/", SignError::Path),
            ("http://h/live/stream.flv#x", SignError::Fragment),
            ("http://h/live/%zz.flv", SignError::Url),
        ] {
            assert_eq!(signed(url, TokenScheme::Hmac), Err(error), "{url}");
        }
        // Nobody's address would be in it, and it would be good for nobody.
        let bound = signed("http://h/live/stream.flv", TokenScheme::SecureLink);
        assert_eq!(bound, Err(SignError::Address));
    }
}
