//! Streams that not everybody may play, in Chromium: by signed URLs, and what the player page says when it may not.

use std::time::Duration;

use crate::support::callback::{Backend, Reply};
use crate::support::feed::{Feed, Plan};
use crate::support::flv::VIDEO;
use crate::support::programs::{self, Job};
use crate::support::server::{Server, command};
use crate::support::{fixtures, http, wait_for};

/// A browser's start, what it is told, and its end, on a machine with two cores.
const VISIT: Duration = Duration::from_secs(90);

#[test]
fn the_page_says_why_it_may_not_play() {
    let down = Backend::start(|_| Reply::Hangup);
    let server = Server::start(&format!(
        "vhosts:
  __defaultVhost__: {{ play: {{ on_missing: 404 }} }}
  deny.test: {{ security: {{ enabled: on, seal: [deny play all] }} }}
  token.test: {{ tokens: {{ play: {{ enabled: on, keys: [{{ key: 0123456789abcdef }}] }} }} }}
  full.test: {{ http_hooks: {{ enabled: on, on_play: '{}' }} }}
",
        down.url("/")
    ));
    let address = server.address("rtmp");
    let feed = |vhost: &str, plan: Plan| {
        let app = format!("live?vhost={vhost}");
        let url = format!("rtmp://{address}/{app}");
        Feed::start_as(address, &app, &url, "x", plan)
    };
    let plan = || Plan::of(&fixtures::h264_aac());
    let feeds = ["deny.test", "token.test", "full.test"].map(|vhost| feed(vhost, plan()));
    // Pictures alone: nothing for a player of sound.
    let silent = feed("__defaultVhost__", plan().only(VIDEO));
    for feed in feeds.iter().chain([&silent]) {
        wait_for("the stream", VISIT, || {
            (feed.sent().len() > 60).then_some(())
        });
    }
    // `error` is the end of it, and `waiting` tries again by itself.
    for (stream, status, state, says) in [
        (
            "live/x?vhost=deny.test",
            403,
            "error",
            "does not let you play",
        ),
        ("live/x?vhost=token.test", 401, "error", "signed address"),
        ("live/none", 404, "waiting", "no such stream"),
        (
            "live/x?vhost=full.test",
            503,
            "waiting",
            "cannot take more players now",
        ),
        ("live/x.aac", 415, "error", "nothing for a player of .aac"),
    ] {
        let stream = stream.replace('?', "%3F").replace('=', "%3D");
        let url = server.http(&format!("/?stream={stream}"));
        let mut visit = programs::tool("browser.py");
        visit.args([&url, "--until-state", state, "--deadline", "40"]);
        let folder = std::env::var_os("PINGORA_LIVE_SCREENSHOTS");
        if let Some(folder) = &folder {
            let file = std::path::Path::new(folder).join(format!("denied-{status}.png"));
            visit.arg("--screenshot").arg(file);
        }
        let seen = Job::start(&mut visit).finish(VISIT).json();
        assert_eq!(seen["state"], state, "{status}: {seen}");
        let message = seen["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(says), "{status}: {seen}");
        assert!(
            message.contains(&status.to_string()) || status == 404,
            "{status}: {seen}"
        );
        assert_eq!(seen["errors"][0]["code"], status, "{seen}");
        assert_eq!(
            seen["page_errors"].as_array().map(Vec::len),
            Some(0),
            "{seen}"
        );
    }
}

/// A signed URL of each scheme, opened in the page as a site would embed it: mpegts.js plays it.
#[test]
fn signed_urls_play() {
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const SCHEMES: [&str; 5] = [
        "hmac",
        "tencent",
        "aliyun",
        "secure_link",
        "node_media_server",
    ];
    let vhost = |scheme: &str| format!("{}.test", scheme.replace('_', "-"));
    let vhosts: String = SCHEMES
        .iter()
        .map(|scheme| {
            format!(
                "  {}: {{ tokens: {{ play: {{ enabled: on, scheme: {scheme}, keys: [{{ key: {KEY} }}] }} }} }}\n",
                vhost(scheme)
            )
        })
        .collect();
    let server = Server::start(&format!("vhosts:\n{vhosts}"));
    let address = server.address("rtmp");
    let sign = |scheme: &str, name: &str| {
        let url = format!("http://a.example/live/{name}.flv");
        let mut sign = command();
        sign.args(["sign", &url, "--key", KEY, "--scheme", scheme]);
        sign.args(["--expires", "1h"]);
        // nginx's usual expression hashes it.
        if scheme == "secure_link" {
            sign.args(["--address", "127.0.0.1"]);
        }
        let signed = programs::run(&mut sign, VISIT).success();
        let query = signed.trim().split_once('?').expect("a signed URL").1;
        query.to_owned()
    };
    for scheme in SCHEMES {
        let app = format!("live?vhost={}", vhost(scheme));
        let url = format!("rtmp://{address}/{app}");
        let feed = Feed::start_as(address, &app, &url, "x", Plan::of(&fixtures::h264_aac()));
        wait_for("the stream", VISIT, || {
            (feed.sent().len() > 60).then_some(())
        });
        let query = format!("vhost={}&{}", vhost(scheme), sign(scheme, "x"));
        let stream = format!("live/x?{query}");
        let stream: String = url::form_urlencoded::byte_serialize(stream.as_bytes()).collect();
        let mut visit = programs::tool("browser.py");
        visit.arg(server.http(&format!("/?stream={stream}")));
        visit.args(["--seconds", "2", "--deadline", "40"]);
        let seen = Job::start(&mut visit).finish(VISIT).json();
        assert_eq!(seen["state"], "playing", "{scheme}: {seen}");
        for what in ["errors", "console", "page_errors"] {
            assert_eq!(seen[what], serde_json::json!([]), "{scheme}: {seen}");
        }
        assert!(seen["advanced"].as_f64() >= Some(2.0), "{scheme}: {seen}");
        let last = seen["samples"].as_array().and_then(|all| all.last());
        let decoded = last.and_then(|sample| sample["decoded"].as_u64());
        assert!(decoded >= Some(40), "{scheme}: {seen}");
        let other = format!("/live/x.flv?vhost={}&{}", vhost(scheme), sign(scheme, "y"));
        assert_eq!(
            http::get(server.address("http"), &other).status,
            403,
            "{scheme}"
        );
    }
}
