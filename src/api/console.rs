//! The console: a page for operators, as plain HTML, CSS and script modules, in the binary.
//!
//! The files tell nothing of the server, so they need no credentials: the page asks for those itself, and shows them to the API with each
//! request. What it shows holds names that peers chose; [`POLICY`] is the second lock after the page's own care.

use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use sha2::{Digest, Sha256};

use crate::play::{MPEGTS_JS, MPEGTS_LICENSE, SERVER, THEME_CSS};

/// One file of the page.
#[derive(Debug)]
pub(super) struct File {
    /// Its name below `/console/`; the page itself has none.
    name: &'static str,
    content_type: &'static str,
    body: &'static [u8],
}

/// What stands at a path.
#[derive(Debug)]
pub(super) enum Found {
    File(&'static File),
    /// The page is elsewhere, relative to the path: a proxy in front may have put a prefix before it.
    Elsewhere(&'static str),
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! file {
    ($name:literal, $content_type:expr) => {
        File {
            name: $name,
            content_type: $content_type,
            body: include_bytes!(concat!("console/", $name)),
        }
    };
}

static FILES: &[File] = &[
    File {
        name: "",
        content_type: HTML,
        body: include_bytes!("console/index.html"),
    },
    file!("console.css", STYLE),
    // The player page's own.
    File {
        name: "theme.css",
        content_type: STYLE,
        body: THEME_CSS,
    },
    file!("main.js", SCRIPT),
    file!("api.js", SCRIPT),
    file!("chart.js", SCRIPT),
    file!("clients-table.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("history.js", SCRIPT),
    file!("player.js", SCRIPT),
    file!("relays-table.js", SCRIPT),
    file!("view-clients.js", SCRIPT),
    file!("view-configuration.js", SCRIPT),
    file!("view-nodes.js", SCRIPT),
    file!("view-recordings.js", SCRIPT),
    file!("view-stream.js", SCRIPT),
    file!("view-streams.js", SCRIPT),
    // Also the player page's; mpegts.js is Apache-2.0, and its licence goes with it.
    File {
        name: "mpegts.js",
        content_type: SCRIPT,
        body: MPEGTS_JS,
    },
    File {
        name: "LICENSE",
        content_type: TEXT,
        body: MPEGTS_LICENSE,
    },
];

/// What the page may do: run its own scripts and no other, and never turn text into markup (Trusted Types). Pictures come from wherever
/// players reach the server, which only the operator knows: hence `connect-src` and the media made of it (`blob:`).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; media-src blob:; \
     connect-src 'self' http: https: ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// What stands at a path, if it is the console's.
pub(super) fn find(path: &str) -> Option<Found> {
    match path {
        "/" => return Some(Found::Elsewhere("console")),
        "/console/" => return Some(Found::Elsewhere("../console")),
        _ => {}
    }
    let name = match path.strip_prefix("/console")? {
        "" => "",
        rest => rest.strip_prefix('/').filter(|name| !name.is_empty())?,
    };
    let file = FILES.iter().find(|file| file.name == name)?;
    Some(Found::File(file))
}

/// Leads to the page, at an address relative to the one that was asked for.
pub(super) async fn lead(session: &mut Session, to: &str) -> Result<()> {
    let mut resp = ResponseHeader::build(StatusCode::FOUND, Some(4))?;
    resp.insert_header(header::SERVER, SERVER)?;
    resp.insert_header(header::LOCATION, to)?;
    resp.insert_header(header::CACHE_CONTROL, "no-cache")?;
    resp.insert_header(header::CONTENT_LENGTH, 0)?;
    session.write_response_header(Box::new(resp), true).await?;
    session.write_response_body(None, true).await
}

/// Answers with it.
pub(super) async fn serve(session: &mut Session, found: Found) -> Result<()> {
    let request = session.req_header();
    let (method, tag) = (request.method.clone(), tag(&found));
    let known = tag.is_some_and(|tag| has_tag(&request.headers, tag));
    let readable = matches!(method, Method::GET | Method::HEAD);
    let (status, body) = match &found {
        _ if !readable => (StatusCode::METHOD_NOT_ALLOWED, None),
        Found::Elsewhere(_) => (StatusCode::FOUND, None),
        Found::File(_) if known => (StatusCode::NOT_MODIFIED, None),
        Found::File(file) => (StatusCode::OK, Some(Bytes::from_static(file.body))),
    };
    let mut resp = ResponseHeader::build(status, Some(10))?;
    resp.insert_header(header::SERVER, SERVER)?;
    resp.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
    resp.insert_header(header::CONTENT_SECURITY_POLICY, POLICY)?;
    resp.insert_header(header::REFERRER_POLICY, "no-referrer")?;
    // The names of the files stay while their bytes change with the server's version: browsers ask each time, and are told by the tag.
    resp.insert_header(header::CACHE_CONTROL, "no-cache")?;
    match &found {
        _ if !readable => resp.insert_header(header::ALLOW, "GET, HEAD")?,
        Found::Elsewhere(to) => resp.insert_header(header::LOCATION, *to)?,
        Found::File(file) => resp.insert_header(header::CONTENT_TYPE, file.content_type)?,
    }
    if let Some(tag) = tag {
        resp.insert_header(header::ETAG, tag)?;
    }
    if status != StatusCode::NOT_MODIFIED {
        resp.insert_header(header::CONTENT_LENGTH, body.as_ref().map_or(0, Bytes::len))?;
    }
    let body = body.filter(|_| method != Method::HEAD);
    session
        .write_response_header(Box::new(resp), body.is_none())
        .await?;
    match body {
        Some(body) => session.write_response_body(Some(body), true).await,
        None => session.write_response_body(None, true).await,
    }
}

/// The entity tag of a file: it changes with its bytes alone.
fn tag(found: &Found) -> Option<&'static str> {
    static TAGS: OnceLock<Vec<(&'static str, String)>> = OnceLock::new();
    let Found::File(file) = found else {
        return None;
    };
    let tags = TAGS.get_or_init(|| {
        let tag = |file: &File| {
            let digest = Sha256::digest(file.body);
            let hex: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
            (file.name, format!("\"{hex}\""))
        };
        FILES.iter().map(tag).collect()
    });
    let (_, tag) = tags.iter().find(|(name, _)| *name == file.name)?;
    Some(tag)
}

/// Whether the browser has these bytes already (RFC 9110 §13.1.2; a proxy may have made the tag a weak one).
fn has_tag(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|shown| shown == "*" || shown.strip_prefix("W/").unwrap_or(shown) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(file: &File) -> &'static str {
        std::str::from_utf8(file.body).expect("UTF-8")
    }

    fn own() -> impl Iterator<Item = &'static File> {
        FILES
            .iter()
            .filter(|file| !matches!(file.name, "mpegts.js" | "LICENSE"))
    }

    #[test]
    fn paths() {
        let name = |path: &str| match find(path) {
            Some(Found::File(file)) => Some(file.name),
            _ => None,
        };
        assert_eq!(name("/console"), Some(""));
        assert_eq!(name("/console/main.js"), Some("main.js"));
        assert_eq!(name("/console/mpegts.js"), Some("mpegts.js"));
        for none in [
            "/console/main.js/",
            "/console/none",
            "/consolemain.js",
            "/console//",
            "/console/../main.js",
            "",
        ] {
            assert_eq!(name(none), None, "{none}");
            assert!(find(none).is_none(), "{none}");
        }
        for (path, to) in [("/", "console"), ("/console/", "../console")] {
            assert!(
                matches!(find(path), Some(Found::Elsewhere(place)) if place == to),
                "{path}"
            );
        }
    }

    #[test]
    fn tags_tell_files_apart() {
        let mut tags: Vec<_> = FILES
            .iter()
            .map(|file| tag(&Found::File(file)).expect("a tag"))
            .collect();
        let shown = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, value.parse().expect("a value"));
            has_tag(&headers, tags[0])
        };
        assert!(shown(tags[0]) && shown("*"));
        assert!(shown(&format!("\"x\", W/{}", tags[0])));
        assert!(!shown(tags[1]) && !shown("\"\""));
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), FILES.len());
    }

    /// Names of streams are a peer's to choose. Nothing of the page may take text for markup or for a script.
    #[test]
    fn no_text_becomes_markup() {
        for file in own() {
            for sink in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "DOMParser",
                "srcdoc",
                "eval(",
                "new Function",
                "javascript:",
                " style=",
                " onclick=",
            ] {
                assert!(!text(file).contains(sink), "{sink} in {:?}", file.name);
            }
        }
    }

    /// Whatever a file names is there, and all that is there is named.
    #[test]
    fn the_files_are_those_that_are_named() {
        let mut named = vec![""];
        for file in own() {
            let prefix = if file.name.is_empty() {
                "\"console/"
            } else {
                "'./"
            };
            for rest in text(file).split(prefix).skip(1) {
                let name = rest.split(['"', '\'']).next().expect("a name");
                let found = FILES.iter().find(|other| other.name == name);
                named.push(
                    found
                        .unwrap_or_else(|| panic!("{name}, named by {:?}", file.name))
                        .name,
                );
            }
        }
        for file in FILES {
            assert!(named.contains(&file.name), "{} is not used", file.name);
        }
    }
}
