//! What there is to ask, in one table.

use bytes::Bytes;
use http::{Method, StatusCode};
use schemars::{Schema, SchemaGenerator};
use serde::Serialize;

use crate::play::Live;

use super::shapes::Failed;
use super::{Api, live, metrics, openapi, relays, srs};

/// The type of most answers.
pub(super) const JSON: &str = "application/json";

/// A request that was understood.
pub(super) struct Ask<'a> {
    pub(super) api: &'a Api,
    pub(super) live: &'a Live,
    /// What stands for `{id}`; empty for a path without one.
    pub(super) id: &'a str,
    pub(super) query: &'a str,
    pub(super) body: &'a [u8],
}

/// What is answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
    /// The methods that are served, where another was asked for.
    pub(super) allow: Option<String>,
}

impl Answer {
    pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        // Maps with other keys than texts cannot be written, and there are none.
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self {
            status,
            content_type: JSON,
            body: body.into(),
            allow: None,
        }
    }

    pub(super) fn ok(value: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, value)
    }
}

/// An answer that says what is wrong.
pub(super) fn failure(status: StatusCode, message: &str) -> Answer {
    failed(status, u32::from(status.as_u16()), message, Vec::new())
}

pub(super) fn failed(status: StatusCode, code: u32, message: &str, errors: Vec<String>) -> Answer {
    let failed = Failed {
        code,
        message: message.to_owned(),
        errors,
    };
    Answer::json(status, &failed)
}

/// The shape of an answer, for the description.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// The methods that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Delete,
}

impl Verb {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    /// HEAD is GET without the body, which is left out where it is written.
    fn serves(self, method: &Method) -> bool {
        *method == self.as_str() || (self == Self::Get && method == Method::HEAD)
    }
}

/// A query parameter.
#[derive(Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) is_number: bool,
}

/// One thing to ask.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) method: Verb,
    /// `{id}` stands for one segment.
    pub(super) path: &'static str,
    pub(super) about: &'static str,
    pub(super) call: fn(&Ask<'_>) -> Answer,
    /// `None`: a text.
    pub(super) shape: Option<Shape>,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Option<Shape>,
    /// Other statuses than 200 that mean something.
    pub(super) statuses: &'static [u16],
}

const PAGE: [Parameter; 2] = [
    Parameter {
        name: "start",
        about: "How many to leave out from the beginning.",
        is_number: true,
    },
    Parameter {
        name: "count",
        about: "How many to give at most; 10 when left out, 10000 at most.",
        is_number: true,
    },
];
const PAGES: &[Parameter] = &PAGE;
const PAGES_OF_STREAM: &[Parameter] = &[
    PAGE[0],
    PAGE[1],
    Parameter {
        name: "stream",
        about: "The id of a stream, for its clients alone.",
        is_number: false,
    },
];

fn of<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn get(
    path: &'static str,
    about: &'static str,
    call: fn(&Ask<'_>) -> Answer,
    shape: Shape,
) -> Route {
    Route {
        method: Verb::Get,
        path,
        about,
        call,
        shape: Some(shape),
        parameters: &[],
        body: None,
        statuses: &[],
    }
}

/// A thing of which there may be none of that id.
const fn one(
    path: &'static str,
    about: &'static str,
    call: fn(&Ask<'_>) -> Answer,
    shape: Shape,
) -> Route {
    Route {
        statuses: &[404],
        ..get(path, about, call, shape)
    }
}

const fn list(
    path: &'static str,
    about: &'static str,
    call: fn(&Ask<'_>) -> Answer,
    shape: Shape,
) -> Route {
    Route {
        parameters: PAGES,
        statuses: &[400],
        ..get(path, about, call, shape)
    }
}

const fn change(
    method: Verb,
    path: &'static str,
    about: &'static str,
    call: fn(&Ask<'_>) -> Answer,
    statuses: &'static [u16],
) -> Route {
    Route {
        method,
        statuses,
        ..get(path, about, call, of::<super::shapes::Done>)
    }
}

const TABLE: &[Route] = &[
    // SRS's.
    get(
        "/api/v1/versions",
        "The version, as SRS tells its own.",
        srs::versions,
        of::<srs::Versions>,
    ),
    get(
        "/api/v1/summaries",
        "The process and the machine.",
        srs::summaries,
        of::<srs::Summaries>,
    ),
    get(
        "/api/v1/vhosts",
        "The configured vhosts.",
        srs::vhosts,
        of::<srs::Vhosts>,
    ),
    one(
        "/api/v1/vhosts/{id}",
        "One vhost.",
        srs::vhost,
        of::<srs::OneVhost>,
    ),
    list(
        "/api/v1/streams",
        "The streams.",
        srs::streams,
        of::<srs::Streams>,
    ),
    one(
        "/api/v1/streams/{id}",
        "One stream.",
        srs::stream,
        of::<srs::OneStream>,
    ),
    list(
        "/api/v1/clients",
        "Publishers and players.",
        srs::clients,
        of::<srs::Clients>,
    ),
    one(
        "/api/v1/clients/{id}",
        "One publisher or player.",
        srs::client,
        of::<srs::OneClient>,
    ),
    Route {
        method: Verb::Delete,
        ..one(
            "/api/v1/clients/{id}",
            "Ends a publisher or player.",
            srs::kick,
            of::<srs::Kicked>,
        )
    },
    // Ours.
    get(
        "/api/v1/live/server",
        "The server at one moment.",
        live::server,
        of::<super::shapes::Server>,
    ),
    list(
        "/api/v1/live/streams",
        "The streams, with all that is known of them.",
        live::streams,
        of::<super::shapes::Streams>,
    ),
    one(
        "/api/v1/live/streams/{id}",
        "One stream.",
        live::stream,
        of::<super::shapes::Stream>,
    ),
    change(
        Verb::Delete,
        "/api/v1/live/streams/{id}/publisher",
        "Ends the publisher of a stream. It may come back; a block keeps it away.",
        live::kick_publisher,
        &[404],
    ),
    change(
        Verb::Post,
        "/api/v1/live/streams/{id}/recording",
        "Records a stream until it ends, as the dvr of its vhost says, though it may not be enabled.",
        live::start_recording,
        &[404],
    ),
    change(
        Verb::Delete,
        "/api/v1/live/streams/{id}/recording",
        "Stops recording a stream. Its file is finished soon.",
        live::stop_recording,
        &[404],
    ),
    Route {
        parameters: PAGES_OF_STREAM,
        ..list(
            "/api/v1/live/clients",
            "Publishers and players, with all that is known of them.",
            live::clients,
            of::<super::shapes::Clients>,
        )
    },
    one(
        "/api/v1/live/clients/{id}",
        "One publisher or player.",
        live::client,
        of::<super::shapes::Client>,
    ),
    change(
        Verb::Delete,
        "/api/v1/live/clients/{id}",
        "Ends a publisher or player, in the words of its protocol.",
        live::kick,
        &[404],
    ),
    get(
        "/api/v1/live/blocks",
        "The streams that nobody may publish or play.",
        live::blocks,
        of::<super::shapes::Blocks>,
    ),
    Route {
        body: Some(of::<super::shapes::StreamName>),
        ..change(
            Verb::Post,
            "/api/v1/live/blocks",
            "Ends a stream, and refuses its publishers and players until it is unblocked or the server started again.",
            live::block,
            &[400, 413, 503],
        )
    },
    change(
        Verb::Delete,
        "/api/v1/live/blocks/{id}",
        "Lets a stream be published and played again.",
        live::unblock,
        &[404],
    ),
    get(
        "/api/v1/live/recordings",
        "The recordings at work.",
        live::recordings,
        of::<super::shapes::Recordings>,
    ),
    list(
        "/api/v1/live/pulls",
        "The streams that come from other servers.",
        relays::pulls,
        of::<relays::Pulls>,
    ),
    one(
        "/api/v1/live/pulls/{id}",
        "One stream that comes from another server.",
        relays::pull,
        of::<relays::Relay>,
    ),
    Route {
        body: Some(of::<relays::WantedPull>),
        shape: Some(of::<relays::Begun>),
        ..change(
            Verb::Post,
            "/api/v1/live/pulls",
            "Pulls a stream from another server, whoever plays it, until it is stopped.",
            relays::start_pull,
            &[400, 409, 413, 503],
        )
    },
    change(
        Verb::Delete,
        "/api/v1/live/pulls/{id}",
        "Ends a pull. Its stream is held as for a publisher that left.",
        relays::stop_pull,
        &[404],
    ),
    list(
        "/api/v1/live/pushes",
        "The streams that go to other servers.",
        relays::pushes,
        of::<relays::Pushes>,
    ),
    one(
        "/api/v1/live/pushes/{id}",
        "One stream that goes to another server.",
        relays::push,
        of::<relays::Relay>,
    ),
    Route {
        body: Some(of::<relays::WantedPush>),
        shape: Some(of::<relays::Begun>),
        ..change(
            Verb::Post,
            "/api/v1/live/pushes",
            "Pushes a stream to another server, until it is over or the push is stopped.",
            relays::start_push,
            &[400, 404, 409, 413, 503],
        )
    },
    change(
        Verb::Delete,
        "/api/v1/live/pushes/{id}",
        "Ends a push. One of forward begins again when the stream is published anew.",
        relays::stop_push,
        &[404, 409],
    ),
    get(
        "/api/v1/live/nodes",
        "This node among those that share its registry.",
        super::nodes::nodes,
        of::<super::nodes::Nodes>,
    ),
    get(
        "/api/v1/live/config",
        "The configuration in effect.",
        live::configuration,
        of::<super::shapes::Configuration>,
    ),
    Route {
        shape: Some(of::<super::shapes::Reloaded>),
        ..change(
            Verb::Post,
            "/api/v1/live/reload",
            "Reads the configuration again, as SIGHUP does. A file with mistakes changes nothing.",
            live::reload,
            &[422],
        )
    },
    // Signs of life and figures.
    get(
        HEALTHZ,
        "Whether the process serves at all.",
        live::health,
        of::<super::shapes::Health>,
    ),
    Route {
        statuses: &[503],
        ..get(
            READYZ,
            "Whether it takes new publishers and players: not while it shuts down.",
            live::ready,
            of::<super::shapes::Health>,
        )
    },
    Route {
        shape: None,
        ..get(
            "/metrics",
            "Figures for Prometheus, in its text format.",
            metrics::metrics,
            of::<super::shapes::Health>,
        )
    },
    Route {
        shape: None,
        ..get(
            DESCRIPTION,
            "This description, in OpenAPI 3.1.",
            openapi::document,
            of::<super::shapes::Health>,
        )
    },
];

const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";
/// Where the description is.
pub(super) const DESCRIPTION: &str = "/api/openapi.json";

pub(super) fn table() -> &'static [Route] {
    TABLE
}

/// What tells nothing, and so needs no credentials: what asks for a sign of life has seldom any.
pub(super) fn is_open(path: &str) -> bool {
    matches!(path, HEALTHZ | READYZ)
}

/// Whether a path is the API's, whatever is there.
pub(super) fn is_known(path: &str) -> bool {
    path.starts_with("/api/") || matches!(path, HEALTHZ | READYZ | "/metrics")
}

/// The route, and what stands for its `{id}`; or what to answer instead. SRS's clients append slashes.
pub(super) fn find(method: &Method, path: &str) -> Result<(&'static Route, String), Answer> {
    let path = match path.strip_suffix('/') {
        Some("") | None => path,
        Some(shorter) => shorter,
    };
    let mut allowed = Vec::new();
    for route in TABLE {
        let Some(id) = matches(route.path, path) else {
            continue;
        };
        if route.method.serves(method) {
            return Ok((route, id));
        }
        allowed.push(route.method.as_str());
        if route.method == Verb::Get {
            allowed.push("HEAD");
        }
    }
    if allowed.is_empty() {
        return Err(failure(StatusCode::NOT_FOUND, "nothing is here"));
    }
    let mut answer = failure(StatusCode::METHOD_NOT_ALLOWED, "not with this method");
    answer.allow = Some(allowed.join(", "));
    Err(answer)
}

/// What stands for `{id}` if the path is the template's; empty for a template without one.
fn matches(template: &str, path: &str) -> Option<String> {
    let (mut theirs, mut ours) = (path.split('/'), template.split('/'));
    let mut id = String::new();
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return Some(id),
            (Some("{id}"), Some(segment)) if !segment.is_empty() => segment.clone_into(&mut id),
            (Some(one), Some(other)) if one == other => {}
            _ => return None,
        }
    }
}

/// Which part of a list is asked for. Parameters that are not known are passed over.
pub(super) struct Page {
    start: usize,
    count: usize,
}

/// As SRS.
const DEFAULT_COUNT: usize = 10;
/// A page that anybody can read; and what is made for one request.
const MAX_COUNT: usize = 10_000;

impl Page {
    pub(super) fn of(query: &str) -> Result<Self, Answer> {
        let number = |name: &str, default: usize| match parameter(query, name) {
            None | Some("") => Ok(default),
            Some(text) => text
                .parse::<u32>()
                .map(|n| n as usize)
                .map_err(|_| failure(StatusCode::BAD_REQUEST, &format!("{name} is no number"))),
        };
        Ok(Self {
            start: number("start", 0)?,
            count: number("count", DEFAULT_COUNT)?.min(MAX_COUNT),
        })
    }

    pub(super) fn take<T>(&self, all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        all.into_iter().skip(self.start).take(self.count)
    }
}

pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found() {
        let id = |path: &str| find(&Method::GET, path).map(|(_, id)| id).ok();
        assert_eq!(id("/api/v1/streams").as_deref(), Some(""));
        assert_eq!(id("/api/v1/streams/").as_deref(), Some(""));
        assert_eq!(id("/api/v1/streams/a1").as_deref(), Some("a1"));
        assert_eq!(id("/api/v1/streams/a1/b"), None);
        assert_eq!(id("/"), None);
        assert_eq!(id(""), None);
        let wrong = find(&Method::PUT, "/api/v1/clients/1");
        assert!(wrong.is_err_and(|answer| {
            answer.status == StatusCode::METHOD_NOT_ALLOWED
                && answer.allow.as_deref() == Some("GET, HEAD, DELETE")
        }));
    }

    #[test]
    fn pages() {
        let part = |query: &str| {
            let page = Page::of(query).ok()?;
            Some(page.take(0..100).collect::<Vec<_>>())
        };
        assert_eq!(part("").map(|p| p.len()), Some(10));
        assert_eq!(part("start=98&count=5"), Some(vec![98, 99]));
        assert_eq!(part("start=1000&count=5"), Some(vec![]));
        assert_eq!(part("count=0"), Some(vec![]));
        assert_eq!(part("count=-1"), None);
        assert_eq!(part("start=x"), None);
    }
}
