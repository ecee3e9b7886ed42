//! What `fuzz/` needs of this room. No part of the interface.

use http::{HeaderMap, Method};

use crate::config;

use super::{auth, routes};

/// Whether a request is answered at all.
pub fn may(config: &config::Api, method: &Method, authority: &str, headers: &HeaderMap) -> bool {
    auth::judge(config, method, authority, headers, false).is_ok()
}

/// What stands for `{id}` in a path that is served.
pub fn id(method: &Method, path: &str) -> Option<String> {
    routes::find(method, path).ok().map(|(_, id)| id)
}

/// How many of a list of so many a query asks for.
pub fn page(query: &str, all: usize) -> Option<usize> {
    let page = routes::Page::of(query).ok()?;
    Some(page.take(0..all).count())
}
