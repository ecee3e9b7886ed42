//! Host, path and query in; a stream, its vhost's settings and a format out.

use std::sync::Arc;

use http::StatusCode;
use pingora::proxy::Session;

use crate::config::{Extension, Mount, MountMatch, Vhost};
use crate::hub::{Format, StreamKey};
use crate::vhost::{self, Vhosts};

/// Longest query that is looked at, in bytes; pingora bounds the whole header already.
const MAX_QUERY_BYTES: usize = 8 * 1024;

/// What a request means to us.
pub(super) enum Route {
    /// Nothing: it is for files, the player page or an upstream.
    NotLive,
    /// It has the shape of a stream's address but is none.
    Refused(StatusCode, String),
    /// A stream.
    Play(Target),
}

/// A stream that a player asks for.
pub(super) struct Target {
    pub(super) key: StreamKey,
    pub(super) settings: Arc<Vhost>,
    pub(super) format: Format,
}

/// The host a request names: HTTP/2's authority or the Host header, without port.
pub(super) fn host(session: &Session) -> &str {
    let request = session.req_header();
    let host = request
        .uri
        .host()
        .or_else(|| {
            request
                .headers
                .get(http::header::HOST)
                .and_then(|h| h.to_str().ok())
        })
        .unwrap_or_default();
    vhost::without_port(host)
}

/// Judges a request by its address alone.
pub(super) fn route(vhosts: &Vhosts, host: &str, path: &str, query: Option<&str>) -> Route {
    let query = query.unwrap_or_default();
    if query.len() > MAX_QUERY_BYTES {
        return Route::Refused(StatusCode::BAD_REQUEST, "the query is too long".to_owned());
    }
    let asked = match vhost::from_query(query) {
        Ok(asked) => asked,
        Err(bad) => {
            return Route::Refused(
                StatusCode::BAD_REQUEST,
                format!("the vhost in the query holds {bad}"),
            );
        }
    };
    let asked = asked.as_deref().unwrap_or(host);
    let (name, settings) = vhosts.resolve(asked);
    if !settings.enabled || !settings.http_remux.enabled {
        return Route::NotLive;
    }
    let mut best: Option<(&Mount, MountMatch)> = None;
    for mount in &settings.http_remux.mounts {
        match mount.try_match(asked, path) {
            Ok(Some(matched)) => {
                if best
                    .as_ref()
                    .is_none_or(|(other, _)| mount.literal_len() > other.literal_len())
                {
                    best = Some((mount, matched));
                }
            }
            Ok(None) => {}
            Err(bad) => {
                return Route::Refused(StatusCode::BAD_REQUEST, format!("the path holds {bad}"));
            }
        }
    }
    let Some((mount, matched)) = best else {
        return Route::NotLive;
    };
    match StreamKey::new(&name, &matched.app, &matched.stream) {
        Ok(key) => Route::Play(Target {
            key,
            settings: Arc::clone(&settings),
            format: match mount.extension() {
                Extension::Flv => Format::Flv,
                Extension::Ts => Format::Ts,
                Extension::Aac => Format::Aac,
                Extension::Mp3 => Format::Mp3,
            },
        }),
        Err(error) => Route::Refused(StatusCode::BAD_REQUEST, error.to_string()),
    }
}
