//! What `fuzz/` needs of this room. No part of the interface.

use std::fmt;

use http::StatusCode;

use crate::config::{Remote, Scheme};
use crate::hub::StreamKey;

use super::{backend, target};

/// What the answer of `forward.backend` names: where to push, and how many it named that cannot be used.
pub fn named(status: StatusCode, body: &[u8]) -> Option<(Vec<Remote>, usize)> {
    let named = backend::read(status, body).ok()?;
    Some((named.destinations, named.left_out))
}

/// A stream at another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(target::Target);

impl Target {
    /// Where a stream is pushed to.
    pub fn of_destination(destination: &Remote, key: &StreamKey) -> Self {
        Self(target::Target::of_destination(destination, key))
    }

    /// Where an answer points to.
    pub fn redirected(&self, to: &str) -> Option<Self> {
        self.0.redirected(to).map(Self)
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.0.scheme
    }

    /// The Host header.
    pub fn authority(&self) -> String {
        self.0.authority()
    }

    /// Path and query of an HTTP request.
    pub fn path_and_query(&self) -> String {
        self.0.path_and_query()
    }

    /// RTMP's tcUrl.
    pub fn tc_url(&self) -> String {
        self.0.tc_url()
    }

    /// The stream's name with the query, as RTMP's clients send it.
    pub fn name(&self) -> String {
        self.0.name()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
