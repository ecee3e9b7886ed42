//! The table for relays: what an edge's player and publisher, a forward, and a pull and a push of the API come to, rule by rule of the server at
//! the other end. To it, a relay is a client like any other; its word is passed on.

use serde_json::{Value, json};

use super::table::{KEY, Said, Signed, Wrong};
use crate::support::callback::{Backend, Reply};
use crate::support::feed::{Feed, Plan};
use crate::support::programs::{curl, run};
use crate::support::proxies::free_port;
use crate::support::server::Server;
use crate::support::{PATIENCE, fixtures, http, wait_for};

struct Row {
    rule: &'static str,
    vhost: &'static str,
    /// Of the player at the edge, or its publisher; other relays are on none.
    page: Option<&'static str>,
    signed: Signed,
    /// What is played, or published where that is not a name of the row's own.
    stream: Option<&'static str>,
    play: Said,
    publish: Said,
}

/// Vhost by vhost, at the origin. All relays come from 127.0.0.1, and so do the publishers of what is pulled.
const RULES: &str = "
  open.test: {}
  off.test: { enabled: off }
  deny-play.test: { security: { enabled: on, seal: [deny play 127.0.0.0/8] } }
  deny-publish.test: { security: { enabled: on, seal: [deny publish 127.0.0.1] } }
  refer.test: { refer: { enabled: on, play: page.test } }
  refer-publish.test: { refer: { enabled: on, publish: page.test } }
  token.test: { tokens: { play: { enabled: on, keys: [{ key: {key} }] } } }
  token-publish.test: { tokens: { publish: { enabled: on, keys: [{ key: {key} }] } } }
  hook-no.test: { http_hooks: { enabled: on, on_play: '{no}' } }
  hook-no-publish.test: { http_hooks: { enabled: on, on_publish: '{no}' } }
  hook-down.test: { http_hooks: { enabled: on, on_play: '{down}', timeout: 1s } }
  hook-down-publish.test: { http_hooks: { enabled: on, on_publish: '{down}', timeout: 1s } }
";

/// Where the publishers of what is pulled are refused, there is nothing to play.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { rule: "none",                        vhost: "open.test",              page: None,                           signed: Signed::No,               stream: None,            play: Said::Yes,          publish: Said::Yes },
    Row { rule: "missing",                     vhost: "open.test",              page: None,                           signed: Signed::No,               stream: Some("missing"), play: Said::NotFound,     publish: Said::Yes },
    Row { rule: "taken",                       vhost: "open.test",              page: None,                           signed: Signed::No,               stream: Some("x"),       play: Said::Yes,          publish: Said::Busy },
    Row { rule: "blocked",                     vhost: "open.test",              page: None,                           signed: Signed::No,               stream: Some("blocked"), play: Said::Forbidden,    publish: Said::Forbidden },
    Row { rule: "off",                         vhost: "off.test",               page: None,                           signed: Signed::No,               stream: None,            play: Said::NotFound,     publish: Said::NotFound },
    Row { rule: "security: deny play",         vhost: "deny-play.test",         page: None,                           signed: Signed::No,               stream: None,            play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "security: deny publish",      vhost: "deny-publish.test",      page: None,                           signed: Signed::No,               stream: None,            play: Said::NotFound,     publish: Said::Forbidden },
    Row { rule: "refer: no page",              vhost: "refer.test",             page: None,                           signed: Signed::No,               stream: None,            play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "refer: another page",         vhost: "refer.test",             page: Some("https://evilpage.test/"), signed: Signed::No,               stream: None,            play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "refer: the page",             vhost: "refer.test",             page: Some("https://page.test/x"),    signed: Signed::No,               stream: None,            play: Said::Yes,          publish: Said::Yes },
    Row { rule: "refer: publish, no page",     vhost: "refer-publish.test",     page: None,                           signed: Signed::No,               stream: None,            play: Said::NotFound,     publish: Said::Forbidden },
    Row { rule: "refer: publish, the page",    vhost: "refer-publish.test",     page: Some("https://page.test/x"),    signed: Signed::No,               stream: None,            play: Said::NotFound,     publish: Said::Yes },
    Row { rule: "tokens.play: none",           vhost: "token.test",             page: None,                           signed: Signed::No,               stream: None,            play: Said::Unauthorized, publish: Said::Yes },
    Row { rule: "tokens.play: good",           vhost: "token.test",             page: None,                           signed: Signed::Well,             stream: None,            play: Said::Yes,          publish: Said::Yes },
    Row { rule: "tokens.play: another key",    vhost: "token.test",             page: None,                           signed: Signed::ByAnotherKey,     stream: None,            play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "tokens.play: another stream", vhost: "token.test",             page: None,                           signed: Signed::ForAnotherStream, stream: None,            play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "tokens.play: expired",        vhost: "token.test",             page: None,                           signed: Signed::TooLate,          stream: None,            play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "tokens.publish: none",        vhost: "token-publish.test",     page: None,                           signed: Signed::No,               stream: None,            play: Said::Yes,          publish: Said::Unauthorized },
    Row { rule: "tokens.publish: good",        vhost: "token-publish.test",     page: None,                           signed: Signed::Well,             stream: None,            play: Said::Yes,          publish: Said::Yes },
    Row { rule: "tokens.publish: another key", vhost: "token-publish.test",     page: None,                           signed: Signed::ByAnotherKey,     stream: None,            play: Said::Yes,          publish: Said::Forbidden },
    Row { rule: "http_hooks: no to play",      vhost: "hook-no.test",           page: None,                           signed: Signed::No,               stream: None,            play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "http_hooks: no to publish",   vhost: "hook-no-publish.test",   page: None,                           signed: Signed::No,               stream: None,            play: Said::NotFound,     publish: Said::Forbidden },
    Row { rule: "http_hooks: play, down",      vhost: "hook-down.test",         page: None,                           signed: Signed::No,               stream: None,            play: Said::NotNow,       publish: Said::Yes },
    Row { rule: "http_hooks: publish, down",   vhost: "hook-down-publish.test", page: None,                           signed: Signed::No,               stream: None,            play: Said::NotFound,     publish: Said::NotNow },
];

/// How a relay asks the origin: by RTMP, which has no code for a publisher of a vhost that is off, or by HTTP.
const BY: [&str; 2] = ["rtmp", "http"];

/// What is said over HTTP at the edge of what the origin said.
fn status(said: Said, by: &str, action: &str) -> &'static str {
    match (said, by, action) {
        (Said::NotFound, "rtmp", "publish") => "403",
        // An origin that cannot say is as good as none.
        (Said::NotNow, ..) => "502",
        _ => said.status(),
    }
}

/// What the API says of a relay that the origin refuses: in its words.
fn why(said: Said, by: &str, action: &str) -> &'static str {
    match (said, by, action) {
        (Said::Yes, ..) => "running",
        (Said::Unauthorized, "rtmp", _) => "a signed URL is needed",
        (Said::Unauthorized, ..) => "HTTP status 401",
        (Said::NotFound, "rtmp", "play") => "NetStream.Play.StreamNotFound",
        (Said::NotFound, "http", _) => "HTTP status 404",
        (Said::Busy, ..) => "NetStream.Publish.BadName",
        (Said::Forbidden, "http", _) => "HTTP status 403",
        (Said::NotNow, "http", _) => "HTTP status 503",
        (Said::NotNow, ..) => "try again later",
        (_, _, "play") => "NetStream.Play.Failed",
        _ => "NetStream.Publish.Denied",
    }
}

/// The origin, an edge of it for each protocol, and a server whose streams are pushed to it.
struct Nodes {
    origin: Server,
    edges: [Server; 2],
    pusher: Server,
    _backend: Backend,
    _feeds: Vec<Feed>,
}

impl Nodes {
    fn start() -> Nodes {
        let backend = Backend::start(|_| Reply::Status(200, "1".to_owned()));
        let down = format!("http://127.0.0.1:{}/", free_port());
        let rules = RULES
            .replace("{key}", KEY)
            .replace("{no}", &backend.url("/"))
            .replace("{down}", &down)
            .replace("test: {", "test: { play: { on_missing: 404 },");
        let origin = Server::start(&format!("vhosts:{rules}"));
        let mut vhosts: Vec<&str> = ROWS.iter().map(|row| row.vhost).collect();
        vhosts.dedup();
        let edges = BY.map(|by| {
            let address = match by {
                "rtmp" => origin.address("rtmp").to_string(),
                _ => origin.http(""),
            };
            let edge = |vhost: &&str| {
                format!("  {vhost}: {{ cluster: {{ mode: remote, origin: \"{address}\", token_traverse: on }} }}\n")
            };
            let edges: String = vhosts.iter().map(edge).collect();
            Server::start(&format!("vhosts:\n{edges}"))
        });
        let feeds = vhosts.iter().filter_map(|vhost| feed(&origin, vhost));
        let feeds: Vec<Feed> = feeds.collect();
        for feed in &feeds {
            wait_for("the stream", PATIENCE, || {
                assert!(feed.is_running(), "its publisher is let in");
                (feed.sent().len() > 60).then_some(())
            });
        }
        let mut block = curl();
        block.args([
            "-f",
            "-d",
            r#"{"vhost":"open.test","app":"live","name":"blocked"}"#,
        ]);
        block.arg(format!(
            "http://{}/api/v1/live/blocks",
            origin.address("api")
        ));
        run(&mut block, PATIENCE).success();
        let pushed = |(n, row): (usize, &Row)| {
            let to = to(&origin, row, "forward", n);
            format!("  row-{n}.test: {{ forward: {{ enabled: on, destination: \"{to}\" }} }}\n")
        };
        let pushed: String = ROWS.iter().enumerate().map(pushed).collect();
        Nodes {
            pusher: Server::start(&format!("vhosts:\n{pushed}")),
            edges,
            origin,
            _backend: backend,
            _feeds: feeds,
        }
    }

    fn edge(&self, by: &str) -> &Server {
        &self.edges[usize::from(by != "rtmp")]
    }
}

/// `live/x` at the origin, if the vhost lets its publisher in.
fn feed(origin: &Server, vhost: &str) -> Option<Feed> {
    let refused = [
        "off",
        "deny-publish",
        "refer-publish",
        "hook-no-publish",
        "hook-down-publish",
    ];
    if refused.iter().any(|name| vhost == format!("{name}.test")) {
        return None;
    }
    let query = match vhost {
        "token-publish.test" => Signed::Well.query("/live/x.flv", true),
        _ => String::new(),
    };
    Some(publish(origin, vhost, &format!("x?{query}")))
}

fn publish(server: &Server, vhost: &str, name: &str) -> Feed {
    let address = server.address("rtmp");
    let app = format!("live?vhost={vhost}");
    let url = format!("rtmp://{address}/{app}");
    Feed::start_as(address, &app, &url, name, Plan::of(&fixtures::h264_aac()))
}

/// The name under which a row publishes.
fn name(row: &Row, kind: &str, n: usize) -> String {
    row.stream
        .filter(|_| row.publish != Said::Yes)
        .map_or_else(|| format!("{kind}-{n}"), str::to_owned)
}

/// Where a stream is pushed to, at the origin.
fn to(origin: &Server, row: &Row, kind: &str, n: usize) -> String {
    let name = name(row, kind, n);
    let query = row.signed.query(&format!("/live/{name}.flv"), true);
    origin.rtmp(&format!("live/{name}?vhost={}&{query}", row.vhost))
}

fn api(server: &Server, path: &str) -> Value {
    let text = http::get(server.address("api"), path).text();
    serde_json::from_str(&text).expect("JSON")
}

/// What becomes of a pull or a push: `running`, or why not.
fn becomes(relay: impl Fn() -> Value) -> String {
    wait_for("it is judged", PATIENCE, || {
        let relay = relay();
        if relay["state"] == "running" {
            return Some("running".to_owned());
        }
        relay["last_error"].as_str().map(str::to_owned)
    })
}

/// Begun by the API of the pusher.
fn order(server: &Server, way: &str, body: &Value) -> String {
    let url = format!("http://{}/api/v1/live/{way}", server.address("api"));
    let mut post = curl();
    post.args(["-f", "-d", &body.to_string(), &url]);
    let begun = run(&mut post, PATIENCE).json();
    let path = format!("/api/v1/live/{way}/{}", begun["id"]);
    let seen = becomes(|| api(server, &path));
    let mut delete = curl();
    let url = format!("http://{}{path}", server.address("api"));
    run(delete.args(["-XDELETE", &url]), PATIENCE);
    seen
}

#[test]
fn relays_are_judged_as_other_clients_are() {
    let nodes = Nodes::start();
    let mut wrong = Wrong::default();
    let told = |seen: &str, expected: &'static str| match seen.contains(expected) {
        true => expected.to_owned(),
        false => seen.to_owned(),
    };
    for (n, row) in ROWS.iter().enumerate() {
        let stream = row.stream.unwrap_or("x");
        let query = row.signed.query(&format!("/live/{stream}.flv"), false);
        for by in BY {
            // A player at an edge.
            let path = format!("/live/{stream}.flv?vhost={}&{query}", row.vhost);
            let page = row.page.map(|page| ("Referer", page));
            let headers: Vec<(&str, &str)> = page.into_iter().collect();
            let address = nodes.edge(by).address("http");
            let answer = http::request(address, "GET", &path, &headers).expect("an answer");
            let seen = answer.status.to_string();
            drop(answer);
            wrong.check(
                row.rule,
                &format!("a player at an edge of {by}"),
                &seen,
                status(row.play, by, "play"),
            );

            // A publisher at an edge.
            let name = name(row, by, n);
            let query = row.signed.query(&format!("/live/{name}.flv"), true);
            let mut post = curl();
            post.args([
                "--http1.1",
                "-m",
                "20",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
            ]);
            post.args([
                "--data-binary",
                &format!("@{}", fixtures::h264_aac().display()),
            ]);
            if let Some(page) = row.page {
                post.args(["-e", page]);
            }
            post.arg(
                nodes
                    .edge(by)
                    .http(&format!("/live/{name}.flv?vhost={}&{query}", row.vhost)),
            );
            let seen = run(&mut post, PATIENCE).stdout;
            let seen = String::from_utf8(seen).expect("text");
            wrong.check(
                row.rule,
                &format!("a publisher at an edge of {by}"),
                &seen,
                status(row.publish, by, "publish"),
            );
        }
        // The others are on no page.
        if row.page.is_some() {
            continue;
        }
        for by in BY {
            let query = format!("vhost={}&{query}", row.vhost);
            let from = match by {
                "rtmp" => nodes.origin.rtmp(&format!("live/{stream}?{query}")),
                _ => nodes.origin.http(&format!("/live/{stream}.flv?{query}")),
            };
            let body = json!({"app": "pulled", "name": format!("{by}-{n}"), "from": from});
            let seen = order(&nodes.pusher, "pulls", &body);
            let expected = why(row.play, by, "play");
            wrong.check(
                row.rule,
                &format!("a pull by {by}"),
                &told(&seen, expected),
                expected,
            );
        }
        let vhost = format!("row-{n}.test");
        let feed = publish(&nodes.pusher, &vhost, "x");
        let expected = why(row.publish, "rtmp", "publish");
        let seen = becomes(|| {
            let all = api(&nodes.pusher, "/api/v1/live/pushes?count=100");
            let mut all = all["pushes"].as_array().expect("pushes").iter();
            let found =
                all.find(|push| push["stream"]["vhost"] == vhost && push["by"] == "forward");
            found.cloned().unwrap_or_default()
        });
        wrong.check(row.rule, "a forward", &told(&seen, expected), expected);
        let to = to(&nodes.origin, row, "push", n);
        let body = json!({"vhost": vhost, "app": "live", "name": "x", "to": to});
        let seen = order(&nodes.pusher, "pushes", &body);
        // To where the configuration has it pushed already, it is the same push.
        wrong.check(row.rule, "a push", &told(&seen, expected), expected);
        feed.abandon();
    }
    // Nobody's keys are in the logs.
    for server in [&nodes.pusher].into_iter().chain(&nodes.edges) {
        assert!(!server.log().contains("sig="), "{}", server.log());
    }
}
