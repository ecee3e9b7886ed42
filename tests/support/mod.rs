//! What the end to end tests are made of: the server as a child process, real programs as publishers and players, and
//! small clients of our own for what no real program does.
//!
//! Nothing here uses the crate under test, so that its mistakes cannot hide behind themselves: the FLV reader, the HTTP
//! client and the RTMP client are written anew, as small as the tests allow.

#![allow(dead_code)] // each test binary uses a part

pub mod amf;
pub mod backend;
pub mod callback;
pub mod certs;
pub mod elementary;
pub mod feed;
pub mod fixtures;
pub mod flv;
pub mod http;
pub mod names;
pub mod player;
pub mod programs;
pub mod proxies;
pub mod raw;
pub mod redis;
pub mod rtmp;
pub mod server;
pub mod sockets;
pub mod ts;
pub mod websocket;

use std::time::{Duration, Instant};

/// How long a condition may take that has no deadline of its own: far more than a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `condition` gives a value, and fails the test with `what` when it does not do so in time.
#[track_caller]
pub fn wait_for<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "not within {:.1} s: {what}",
            within.as_secs_f32()
        );
        std::thread::sleep(POLL);
    }
}

/// Watches for `span` that `condition` stays true, and fails the test with `what` when it does not.
#[track_caller]
pub fn stays(what: &str, span: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + span;
    while Instant::now() < deadline {
        assert!(condition(), "no longer so: {what}");
        std::thread::sleep(POLL);
    }
}
