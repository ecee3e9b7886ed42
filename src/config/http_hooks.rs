//! The keys of callbacks.

use std::time::Duration;

use super::kinds::{Switch, Time, one_of, words};
use super::schema::section;
use super::url::{HttpUrl, Urls};

const DAY: Duration = Duration::from_secs(86_400);

section! {
    /// Callbacks: a back end is asked who may, and told what happened, as SRS does it. Each URL gets a POST with JSON, and agrees
    /// by status 200 and `0` or `{"code": 0}`.
    pub struct HttpHooks {
        /// Whether the callbacks are called.
        enabled: bool = false => Switch,
        /// Asked when an RTMP client connects to an app.
        on_connect: Vec<HttpUrl> = Vec::new() => Urls,
        /// Told when that client is gone.
        on_close: Vec<HttpUrl> = Vec::new() => Urls,
        /// Asked when a client wants to publish, whatever the protocol.
        on_publish: Vec<HttpUrl> = Vec::new() => Urls,
        /// Told when that publish is over.
        on_unpublish: Vec<HttpUrl> = Vec::new() => Urls,
        /// Asked when a client wants to play, whatever the protocol and format.
        on_play: Vec<HttpUrl> = Vec::new() => Urls,
        /// Told when that play is over.
        on_stop: Vec<HttpUrl> = Vec::new() => Urls,
        /// Told when a recording is finished.
        on_dvr: Vec<HttpUrl> = Vec::new() => Urls,
        /// How long one URL may take to answer, connecting included. Players wait that long for their first picture.
        timeout: Duration = Duration::from_secs(5) => Time { range: Duration::from_millis(50)..=Duration::from_secs(60), zero: "" },
        /// What a back end that is asked and does not answer, or answers what is no answer, means.
        on_failure: OnFailure = OnFailure::Deny => one_of(),
        /// For how long a back end that cannot be told is tried again, with growing pauses. What happened meanwhile waits
        /// (`limits.hook_queue`). 0 tries once.
        retry_for: Duration = Duration::from_secs(300) => Time { range: Duration::ZERO..=DAY, zero: "once" },
    }
}

words! {
    /// What a back end that does not answer means.
    pub enum OnFailure {
        /// No: who is not known to be allowed is refused, with 503.
        Deny = "deny",
        /// Yes: streaming goes on while the back end is down.
        Allow = "allow",
    }
}
