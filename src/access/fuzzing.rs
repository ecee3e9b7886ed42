//! What `fuzz/` needs of this room. No part of the interface.

use std::net::IpAddr;

use http::StatusCode;

use crate::config::{Action, Token, TokenKey};

use super::hooks::answer;
use super::tokens::{self, Asked, Query};

/// What is asked for, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// What the URL is to be good for.
    pub action: Action,
    /// `/app/stream`.
    pub path: &'a str,
    /// The path as it was asked for, decoded.
    pub uri: &'a str,
    /// The client's address.
    pub address: Option<IpAddr>,
}

impl<'a> Signed<'a> {
    fn asked(&self) -> Asked<'a> {
        Asked {
            action: self.action,
            path: self.path,
            uri: self.uri,
            address: self.address,
        }
    }

    /// The parameters that sign it, with `time` in them, in seconds since 1970.
    pub fn sign(&self, rules: &Token, key: &TokenKey, time: u64) -> String {
        tokens::sign(
            rules,
            key,
            self.action,
            self.path,
            self.uri,
            self.address,
            time,
        )
    }

    /// Until when the query is good, in seconds since 1970, if it is.
    pub fn verify(&self, rules: &Token, query: &str, now: u64) -> Option<u64> {
        let good = tokens::verify(rules, &self.asked(), &Query(query), now);
        good.ok().map(|good| good.expires)
    }
}

/// What a back end said of a client: yes, no, or nothing that could be understood.
pub fn verdict(status: StatusCode, body: &[u8]) -> Option<bool> {
    match answer::judge(status, body) {
        answer::Verdict::Yes => Some(true),
        answer::Verdict::No(_) => Some(false),
        answer::Verdict::Failed(_) => None,
    }
}
