//! The table: what a client of each protocol sees, rule by rule, whether it plays or publishes. The limits have one of their own,
//! [`super::limits`], and so have relays, [`super::relays`].

use std::net::TcpListener;

use super::probe::{Ask, PLAY, PUBLISH, Site};
use crate::support::callback::{Backend, Reply};
use crate::support::feed::{Feed, Plan};
use crate::support::programs::{curl, run};
use crate::support::server::{Server, command};
use crate::support::{PATIENCE, fixtures, wait_for};

pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// What is said to a client, whatever it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Yes,
    /// It has to show something.
    Unauthorized,
    Forbidden,
    NotFound,
    /// Somebody else has the name.
    Busy,
    /// Not now: a limit, or a back end that does not answer.
    NotNow,
    /// A limit of connections: over RTMP they are refused before it is known what they want.
    TooMany,
    /// Not heard.
    Closed,
}

impl Said {
    pub fn to_player(self, by: &str) -> &'static str {
        match (self, by) {
            (Self::Closed, _) => "closed",
            (Self::Yes, "rtmp" | "rtmps") => "NetStream.Play.Start",
            (Self::NotFound, "rtmp" | "rtmps") => "NetStream.Play.StreamNotFound",
            (Self::TooMany, "rtmp" | "rtmps") => "NetConnection.Connect.Rejected",
            (_, "rtmp" | "rtmps") => "NetStream.Play.Failed",
            (Self::Yes, "ws" | "wss") => "101",
            (Self::NotNow | Self::TooMany, "ws" | "wss") => "1013",
            _ => self.status(),
        }
    }

    pub fn to_publisher(self, by: &str) -> &'static str {
        match (self, by) {
            (Self::Closed, _) => "closed",
            (Self::Yes, "rtmp" | "rtmps") => "NetStream.Publish.Start",
            (Self::Busy, "rtmp" | "rtmps") => "NetStream.Publish.BadName",
            (Self::TooMany, "rtmp" | "rtmps") => "NetConnection.Connect.Rejected",
            (_, "rtmp" | "rtmps") => "NetStream.Publish.Denied",
            _ => self.status(),
        }
    }

    pub fn status(self) -> &'static str {
        match self {
            Self::Yes => "200",
            Self::Unauthorized => "401",
            Self::Forbidden => "403",
            Self::NotFound => "404",
            Self::Busy => "409",
            Self::NotNow | Self::TooMany => "503",
            Self::Closed => "closed",
        }
    }
}

/// How the address is signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    No,
    Well,
    ByAnotherKey,
    ForAnotherStream,
    ForAnotherAddress,
    TooLate,
}

impl Signed {
    /// The query for an address.
    pub fn query(self, path: &str, publish: bool) -> String {
        if self == Self::No {
            return String::new();
        }
        let path = match self {
            Self::ForAnotherStream => "/live/another",
            _ => path,
        };
        let mut sign = command();
        sign.args(["sign", &format!("http://a.example{path}"), "--key"]);
        sign.arg(match self {
            Self::ByAnotherKey => "another-key-of-a-sufficient-length",
            _ => KEY,
        });
        sign.args([
            "--expires",
            if self == Self::TooLate {
                "@1700000000"
            } else {
                "1h"
            },
        ]);
        if self == Self::ForAnotherAddress {
            sign.args(["--address", "127.0.0.9"]);
        }
        if publish {
            sign.arg("--publish");
        }
        let url = run(&mut sign, PATIENCE).success();
        let query = url.trim().split_once('?').expect("a signed URL").1;
        query.to_owned()
    }
}

struct Row {
    rule: &'static str,
    vhost: &'static str,
    page: Option<&'static str>,
    signed: Signed,
    play: Said,
    publish: Said,
}

impl Row {
    fn ask<'a>(&self, stream: &'a str, query: &'a str) -> Ask<'a> {
        Ask {
            vhost: self.vhost,
            page: self.page,
            query,
            stream,
        }
    }
}

/// Vhost by vhost: one rule each. `{yes}`, `{no}` and `{down}` are back ends.
const RULES: &str = "
  open.test: {}
  deny-play.test: { security: { enabled: on, seal: [deny play 127.0.0.0/8] } }
  deny-publish.test: { security: { enabled: on, seal: [deny publish 127.0.0.2] } }
  allow-others.test: { security: { enabled: on, seal: [allow play 10.0.0.0/8, allow publish 127.0.0.1] } }
  no-rules.test: { security: { enabled: on, seal: [deny play all, deny publish 127.0.0.2] } }
  refer.test: { refer: { enabled: on, play: page.test } }
  refer-none.test: { refer: { enabled: on, all: none } }
  token.test:
    tokens: { play: { enabled: on, keys: [{ key: {key} }] } }
  token-publish.test:
    tokens: { publish: { enabled: on, keys: [{ key: {key} }] } }
  hook-yes.test: { http_hooks: { enabled: on, on_play: '{yes}', on_publish: '{yes}' } }
  hook-no.test: { http_hooks: { enabled: on, on_play: '{no}' } }
  hook-no-publish.test: { http_hooks: { enabled: on, on_publish: '{no}' } }
  hook-down.test: { http_hooks: { enabled: on, on_play: '{down}', timeout: 1s } }
  hook-down-publish.test: { http_hooks: { enabled: on, on_publish: '{down}', timeout: 1s } }
";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { rule: "none",                        vhost: "open.test",              page: None,                            signed: Signed::No,                play: Said::Yes,          publish: Said::Yes },
    Row { rule: "security: deny play",         vhost: "deny-play.test",         page: None,                            signed: Signed::No,                play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "security: deny publish",      vhost: "deny-publish.test",      page: None,                            signed: Signed::No,                play: Said::Yes,          publish: Said::Forbidden },
    Row { rule: "security: allow others",      vhost: "allow-others.test",      page: None,                            signed: Signed::No,                play: Said::Forbidden,    publish: Said::Forbidden },
    Row { rule: "security: deny both",         vhost: "no-rules.test",          page: None,                            signed: Signed::No,                play: Said::Forbidden,    publish: Said::Forbidden },
    Row { rule: "refer: no page",              vhost: "refer.test",             page: None,                            signed: Signed::No,                play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "refer: another page",         vhost: "refer.test",             page: Some("https://evilpage.test/"),  signed: Signed::No,                play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "refer: the page",             vhost: "refer.test",             page: Some("https://www.page.test/x"), signed: Signed::No,                play: Said::Yes,          publish: Said::Yes },
    Row { rule: "refer: none",                 vhost: "refer-none.test",        page: None,                            signed: Signed::No,                play: Said::Yes,          publish: Said::Yes },
    Row { rule: "refer: not none",             vhost: "refer-none.test",        page: Some("https://page.test/"),      signed: Signed::No,                play: Said::Forbidden,    publish: Said::Forbidden },
    Row { rule: "tokens.play: none",           vhost: "token.test",             page: None,                            signed: Signed::No,                play: Said::Unauthorized, publish: Said::Yes },
    Row { rule: "tokens.play: good",           vhost: "token.test",             page: None,                            signed: Signed::Well,              play: Said::Yes,          publish: Said::Yes },
    Row { rule: "tokens.play: another key",    vhost: "token.test",             page: None,                            signed: Signed::ByAnotherKey,      play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "tokens.play: another stream", vhost: "token.test",             page: None,                            signed: Signed::ForAnotherStream,  play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "tokens.play: another's",      vhost: "token.test",             page: None,                            signed: Signed::ForAnotherAddress, play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "tokens.play: expired",        vhost: "token.test",             page: None,                            signed: Signed::TooLate,           play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "tokens.publish: none",        vhost: "token-publish.test",     page: None,                            signed: Signed::No,                play: Said::Yes,          publish: Said::Unauthorized },
    Row { rule: "tokens.publish: good",        vhost: "token-publish.test",     page: None,                            signed: Signed::Well,              play: Said::Yes,          publish: Said::Yes },
    Row { rule: "tokens.publish: another key", vhost: "token-publish.test",     page: None,                            signed: Signed::ByAnotherKey,      play: Said::Yes,          publish: Said::Forbidden },
    Row { rule: "tokens.publish: expired",     vhost: "token-publish.test",     page: None,                            signed: Signed::TooLate,           play: Said::Yes,          publish: Said::Forbidden },
    Row { rule: "http_hooks: yes",             vhost: "hook-yes.test",          page: None,                            signed: Signed::No,                play: Said::Yes,          publish: Said::Yes },
    Row { rule: "http_hooks: no to play",      vhost: "hook-no.test",           page: None,                            signed: Signed::No,                play: Said::Forbidden,    publish: Said::Yes },
    Row { rule: "http_hooks: no to publish",   vhost: "hook-no-publish.test",   page: None,                            signed: Signed::No,                play: Said::Yes,          publish: Said::Forbidden },
    Row { rule: "http_hooks: play, down",      vhost: "hook-down.test",         page: None,                            signed: Signed::No,                play: Said::NotNow,       publish: Said::Yes },
    Row { rule: "http_hooks: publish, down",   vhost: "hook-down-publish.test", page: None,                            signed: Signed::No,                play: Said::Yes,          publish: Said::NotNow },
];

/// Rows that went wrong; the test shows them all.
#[derive(Default)]
pub struct Wrong(Vec<String>);

impl Wrong {
    pub fn check(&mut self, what: &str, by: &str, seen: &str, expected: &str) {
        if seen != expected {
            self.0
                .push(format!("{what} by {by}: {seen}, and not {expected}"));
        }
    }
}

impl Drop for Wrong {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{}", self.0.join("\n"));
        }
    }
}

#[test]
fn playing_and_publishing_are_judged_alike_in_every_protocol() {
    let yes = Backend::start(|_| Reply::yes());
    let no = Backend::start(|_| Reply::Status(200, "1".to_owned()));
    // Bound, so that nobody else gets the port, and deaf.
    let down = TcpListener::bind("127.0.0.1:0").expect("a port");
    let down_url = format!("http://{}/", down.local_addr().expect("bound"));
    let rules = RULES
        .replace("{key}", KEY)
        .replace("{yes}", &yes.url("/"))
        .replace("{no}", &no.url("/"))
        .replace("{down}", &down_url);
    let rules = rules.replace("test: {", "test: { play: { on_missing: 404 },");
    let rules = rules.replace(".test:\n", ".test:\n    play: { on_missing: 404 }\n");
    let site = Site::start(&format!("vhosts:{rules}"));
    let server = &site.server;
    let probe = site.at("127.0.0.2");
    let mut wrong = Wrong::default();
    let mut feed: Option<(&str, Feed)> = None;
    for (n, row) in ROWS.iter().enumerate() {
        let signed = |path: &str, publish| row.signed.query(path, publish);
        // Something to play, where its publisher is let in: it comes from another address.
        if feed.as_ref().is_none_or(|(of, _)| *of != row.vhost) {
            feed = publish_for(server, row).map(|feed| (row.vhost, feed));
        }
        let query = signed("/live/x.flv", false);
        let file = signed("/vod/a.txt", false);
        for (by, seen) in all(&PLAY, |by| {
            // This client tells no page, and a back end is not asked about files and HEAD.
            let page = by.starts_with("rtmp") && row.page.is_some();
            let hook = ["file", "head"].contains(&by) && row.rule.starts_with("http_hooks");
            let query = if by == "file" { &file } else { &query };
            (!page && !hook).then(|| probe.play(by, row.ask("x", query)))
        }) {
            // A stream that could not be published is not there.
            let expected = match row.play {
                Said::Yes if by != "file" && feed.is_none() => Said::NotFound,
                said => said,
            };
            wrong.check(row.rule, by, &seen, expected.to_player(by));
        }
        for (by, seen) in all(&PUBLISH, |by| {
            let stream = format!("{}-{n}", by.replace(' ', "-"));
            let query = signed(&format!("/live/{stream}.flv"), true);
            let page = by.starts_with("rtmp") && row.page.is_some();
            (!page).then(|| probe.publish(by, row.ask(&stream, &query)))
        }) {
            wrong.check(row.rule, by, &seen, row.publish.to_publisher(by));
        }
    }
    // One line for each who was refused, with the rule that did.
    for (vhost, action, by, why) in [
        ("deny-play.test", "play", "address", "deny play 127.0.0.0/8"),
        (
            "deny-publish.test",
            "publish",
            "address",
            "deny publish 127.0.0.2",
        ),
        ("refer.test", "play", "refer", "evilpage.test"),
        ("token.test", "play", "token_expired", "expired"),
        ("token.test", "play", "token_missing", "not signed"),
        ("token-publish.test", "publish", "token_wrong", "wrong"),
        ("hook-no.test", "play", "hook", "said no"),
        ("hook-down.test", "play", "hook_failed", "no answer"),
    ] {
        let vhost = format!("vhost=\"{vhost}\"");
        let (action, by) = (format!("action=\"{action}\""), format!("by=\"{by}\""));
        let parts = [
            "reason=\"denied\"",
            "peer=127.0.0.2:",
            &vhost,
            &action,
            &by,
            why,
        ];
        server.wait_log(&parts, PATIENCE);
    }
}

/// What is the same for everybody: a name that is taken, one that an operator blocked, one that nobody publishes, a vhost that is off.
#[test]
fn states_are_told_alike_in_every_protocol() {
    let site = Site::start(
        "vhosts:
  __defaultVhost__: { play: { on_missing: 404 } }
  off.test: { enabled: off }
",
    );
    let server = &site.server;
    let _feed = Feed::start(server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    let mut block = curl();
    block.args(["-f", "-d", r#"{"app":"live","name":"blocked"}"#]);
    block.arg(format!(
        "http://{}/api/v1/live/blocks",
        server.address("api")
    ));
    run(&mut block, PATIENCE).success();
    let probe = site.at("127.0.0.2");
    let mut wrong = Wrong::default();
    for (state, vhost, stream, play, publish) in [
        ("taken", "", "x", Said::Yes, Some(Said::Busy)),
        (
            "blocked",
            "",
            "blocked",
            Said::Forbidden,
            Some(Said::Forbidden),
        ),
        ("missing", "", "missing", Said::NotFound, None),
        ("off", "off.test", "x", Said::NotFound, Some(Said::NotFound)),
    ] {
        let ask = |stream| Ask {
            vhost,
            stream,
            ..Ask::default()
        };
        for (by, seen) in all(&PLAY, |by| {
            (by != "file").then(|| probe.play(by, ask(stream)))
        }) {
            wrong.check(state, by, &seen, play.to_player(by));
        }
        for (by, seen) in all(&PUBLISH, |by| {
            publish.map(|_| probe.publish(by, ask(stream)))
        }) {
            let publish = publish.expect("tried");
            wrong.check(state, by, &seen, publish.to_publisher(by));
        }
    }
}

/// What is seen by each of these, asked at the same time; none where that is not tried.
fn all<'a>(
    by: &[&'a str],
    seen: impl Fn(&'a str) -> Option<String> + Sync,
) -> Vec<(&'a str, String)> {
    std::thread::scope(|scope| {
        let seen = &seen;
        let asked: Vec<_> = by
            .iter()
            .map(|by| (*by, scope.spawn(move || seen(by))))
            .collect();
        let answered = asked.into_iter().filter_map(|(by, asked)| {
            let seen = asked.join().expect("the probe does not fail");
            Some((by, seen?))
        });
        answered.collect()
    })
}

/// A publisher at 127.0.0.1, if the row's vhost lets one in.
fn publish_for(server: &Server, row: &Row) -> Option<Feed> {
    let refused = row.vhost == "hook-no-publish.test" || row.vhost == "hook-down-publish.test";
    if refused {
        return None;
    }
    let address = server.address("rtmp");
    let app = format!("live?vhost={}", row.vhost);
    let url = format!("rtmp://{address}/{app}");
    let query = match row.vhost {
        "token-publish.test" => Signed::Well.query("/live/x.flv", true),
        _ => String::new(),
    };
    let plan = Plan::of(&fixtures::h264_aac());
    let feed = Feed::start_as(address, &app, &url, &format!("x?{query}"), plan);
    wait_for("the stream", PATIENCE, || {
        let tags = feed.sent().len();
        assert!(feed.is_running(), "{} lets its publisher in", row.vhost);
        (tags > 100).then_some(())
    });
    Some(feed)
}
