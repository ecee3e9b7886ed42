//! What the API tells of pulls and pushes, and how an operator begins and ends them.

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hub::StreamKey;
use crate::relay::{NotStarted, NotStopped, RelayStatus, Started};

use super::live::{STREAM_NOT_FOUND, done};
use super::routes::{Answer, Ask, Page, failed, failure};
use super::shapes::{StreamName, at_ms, default_vhost};
use super::stream_id;

/// Streams that come from other servers, some of all.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Pulls {
    /// How many there are in all.
    total: usize,
    /// Those that were asked for, in the order in which they began.
    pulls: Vec<Relay>,
}

/// Streams that go to other servers, some of all.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Pushes {
    /// How many there are in all.
    total: usize,
    /// Those that were asked for, in the order in which they began.
    pushes: Vec<Relay>,
}

/// A stream that comes from another server, or goes to one.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Relay {
    /// Its number among the pulls and pushes of this process.
    id: u64,
    /// The stream's id.
    stream_id: String,
    /// The stream, by its name here.
    stream: StreamName,
    /// Who wanted it: `players` of an edge, a `publisher` at an edge, `forward` or its `backend`, or an `operator`.
    by: String,
    /// `connecting`, `running`, or `waiting` before it tries again.
    state: String,
    /// The other server, with `***` for names that are keys, and for the queries of pushes (those of pulls are left out); null for an edge's that has found no origin yet.
    server: Option<String>,
    /// When it began.
    since_at_ms: u64,
    /// Since when it carries the stream; null while it does not.
    running_since_at_ms: Option<u64>,
    /// Bytes of media that it carried.
    bytes: u64,
    /// Times that it was tried again.
    retries: u64,
    /// Why it last failed.
    last_error: Option<String>,
}

impl Relay {
    fn of(relay: &RelayStatus) -> Self {
        Self {
            id: relay.id,
            stream_id: stream_id(&relay.stream),
            stream: StreamName::of(&relay.stream),
            by: relay.by.name().to_owned(),
            state: relay.state.name().to_owned(),
            server: relay.server.clone(),
            since_at_ms: at_ms(relay.since),
            running_since_at_ms: relay.running_since.map(at_ms),
            bytes: relay.bytes,
            retries: relay.retries,
            last_error: relay.last_error.clone(),
        }
    }
}

/// A stream that is to come from another server.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedPull {
    /// The configured vhost; `__defaultVhost__` when left out.
    #[serde(default = "default_vhost")]
    vhost: String,
    /// The app here, which may hold slashes.
    app: String,
    /// The stream's own name here.
    name: String,
    /// Where from: `rtmp://host[:port]/app/stream`, `rtmps://…`, `http://host[:port]/path` (FLV) or `https://…`, with a query if need be;
    /// without a path, the same name there.
    from: String,
}

/// A stream that is to go to another server.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedPush {
    /// The configured vhost; `__defaultVhost__` when left out.
    #[serde(default = "default_vhost")]
    vhost: String,
    /// Its app, which may hold slashes.
    app: String,
    /// Its own name.
    name: String,
    /// Where to: `rtmp://host[:port]/app/stream` or `rtmps://…`, with a query if need be, in which `[vhost]`, `[app]` and `[stream]` stand for the
    /// stream's own; without a path, the same name there.
    to: String,
}

/// A relay that was wanted.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Begun {
    /// 0.
    code: u32,
    /// False when there was this very one already.
    changed: bool,
    /// Its number.
    id: u64,
}

pub(super) fn pulls(ask: &Ask<'_>) -> Answer {
    let page = match Page::of(ask.query) {
        Ok(page) => page,
        Err(answer) => return answer,
    };
    let pulls = ask.live.pull_list();
    Answer::ok(&Pulls {
        total: pulls.len(),
        pulls: page.take(&pulls).map(Relay::of).collect(),
    })
}

pub(super) fn pushes(ask: &Ask<'_>) -> Answer {
    let page = match Page::of(ask.query) {
        Ok(page) => page,
        Err(answer) => return answer,
    };
    let pushes = ask.live.push_list();
    Answer::ok(&Pushes {
        total: pushes.len(),
        pushes: page.take(&pushes).map(Relay::of).collect(),
    })
}

pub(super) fn pull(ask: &Ask<'_>) -> Answer {
    one(ask, &ask.live.pull_list())
}

pub(super) fn push(ask: &Ask<'_>) -> Answer {
    one(ask, &ask.live.push_list())
}

fn one(ask: &Ask<'_>, relays: &[RelayStatus]) -> Answer {
    let id = ask.id.parse().ok();
    match relays.iter().find(|relay| Some(relay.id) == id) {
        Some(relay) => Answer::ok(&Relay::of(relay)),
        None => not_stopped(NotStopped::None),
    }
}

pub(super) fn start_pull(ask: &Ask<'_>) -> Answer {
    let wanted: WantedPull = match serde_json::from_slice(ask.body) {
        Ok(wanted) => wanted,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match key(ask, &wanted.vhost, &wanted.app, &wanted.name) {
        Ok(key) => begun(ask.live.start_pull(&key, &wanted.from)),
        Err(answer) => answer,
    }
}

pub(super) fn start_push(ask: &Ask<'_>) -> Answer {
    let wanted: WantedPush = match serde_json::from_slice(ask.body) {
        Ok(wanted) => wanted,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match key(ask, &wanted.vhost, &wanted.app, &wanted.name) {
        Ok(key) => begun(ask.live.start_push(&key, &wanted.to)),
        Err(answer) => answer,
    }
}

pub(super) fn stop_pull(ask: &Ask<'_>) -> Answer {
    stopped(ask, |id| ask.live.stop_pull(id))
}

pub(super) fn stop_push(ask: &Ask<'_>) -> Answer {
    stopped(ask, |id| ask.live.stop_push(id))
}

fn stopped(ask: &Ask<'_>, stop: impl Fn(u64) -> Result<(), NotStopped>) -> Answer {
    match ask.id.parse().map_err(|_| NotStopped::None).and_then(stop) {
        Ok(()) => done(true),
        Err(error) => not_stopped(error),
    }
}

/// The stream that is meant. A vhost that is not configured is a mistake here: nobody asks by the name of a host.
fn key(ask: &Ask<'_>, vhost: &str, app: &str, name: &str) -> Result<StreamKey, Answer> {
    let (found, _) = ask.live.vhosts().resolve(vhost);
    if !found.eq_ignore_ascii_case(vhost) {
        let what = format!("there is no vhost {vhost:?}");
        return Err(failure(StatusCode::BAD_REQUEST, &what));
    }
    StreamKey::new(&found, app, name)
        .map_err(|error| failure(StatusCode::BAD_REQUEST, &error.to_string()))
}

fn begun(started: Result<Started, NotStarted>) -> Answer {
    let error = match started {
        Ok(Started { id, new }) => {
            return Answer::ok(&Begun {
                code: 0,
                changed: new,
                id,
            });
        }
        Err(error) => error,
    };
    let status = match error {
        NotStarted::Address(_) => StatusCode::BAD_REQUEST,
        NotStarted::NoStream => {
            let what = error.to_string();
            return failed(StatusCode::NOT_FOUND, STREAM_NOT_FOUND, &what, Vec::new());
        }
        NotStarted::Disabled(_) | NotStarted::Blocked => StatusCode::FORBIDDEN,
        NotStarted::Edge(_) | NotStarted::Busy => StatusCode::CONFLICT,
        NotStarted::TooMany(_) | NotStarted::Shutdown => StatusCode::SERVICE_UNAVAILABLE,
    };
    failure(status, &error.to_string())
}

fn not_stopped(error: NotStopped) -> Answer {
    let status = match error {
        NotStopped::None => StatusCode::NOT_FOUND,
        NotStopped::Publisher => StatusCode::CONFLICT,
    };
    failure(status, &error.to_string())
}
