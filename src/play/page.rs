//! The player page: plain HTML, CSS and script, in the binary.

use ::http::StatusCode;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use bytes::Bytes;

use super::http;
use crate::config::Crossdomain;

/// One file of the page.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    body: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The player that browsers lack; the console has it too.
pub(crate) static MPEGTS_JS: &[u8] = include_bytes!("page/mpegts.js");
/// Its licence, Apache-2.0.
pub(crate) static MPEGTS_LICENSE: &[u8] = include_bytes!("page/LICENSE");

/// Colours and forms; the console has them too.
pub(crate) static THEME_CSS: &[u8] = include_bytes!("page/theme.css");

/// Where the page's files are. mpegts.js is Apache-2.0; its licence goes with it.
static ASSETS: &[Asset] = &[
    Asset {
        path: "/",
        content_type: HTML,
        body: include_bytes!("page/index.html"),
    },
    Asset {
        path: "/player/player.js",
        content_type: SCRIPT,
        body: include_bytes!("page/player.js"),
    },
    Asset {
        path: "/player/theme.css",
        content_type: STYLE,
        body: THEME_CSS,
    },
    Asset {
        path: "/player/player.css",
        content_type: STYLE,
        body: include_bytes!("page/player.css"),
    },
    Asset {
        path: "/player/mpegts.js",
        content_type: SCRIPT,
        body: MPEGTS_JS,
    },
    Asset {
        path: "/player/LICENSE",
        content_type: TEXT,
        body: MPEGTS_LICENSE,
    },
];

/// Serves a file of the page. False when the path is none of them or the method is neither GET nor HEAD.
pub(super) async fn serve(session: &mut Session, crossdomain: &Crossdomain) -> Result<bool> {
    let request = session.req_header();
    if !matches!(request.method, ::http::Method::GET | ::http::Method::HEAD) {
        return Ok(false);
    }
    let Some(asset) = ASSETS.iter().find(|a| a.path == request.uri.path()) else {
        return Ok(false);
    };
    let mut resp = ResponseHeader::build(StatusCode::OK, Some(8))?;
    // The files change with the server's version only, but without names of their own: let browsers ask again soon.
    resp.insert_header(::http::header::CACHE_CONTROL, "max-age=60")?;
    resp.insert_header("X-Content-Type-Options", "nosniff")?;
    http::content(
        session,
        resp,
        crossdomain,
        asset.content_type,
        Bytes::from_static(asset.body),
    )
    .await?;
    Ok(true)
}
