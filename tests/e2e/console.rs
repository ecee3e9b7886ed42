//! The console in a real browser, used by its keyboard as much as by its buttons: what it shows, what it does, and whom it believes.

use std::time::Duration;

use serde_json::Value;

use super::support::feed::{Feed, Plan};
use super::support::fixtures;
use super::support::http;
use super::support::programs::{self, FFMPEG_DEBIAN, Job};
use super::support::server::{Server, command, write_config};

/// A browser's start, all steps and its end, on a machine with two cores.
const VISIT: Duration = Duration::from_secs(150);

fn visit(server: &Server, arguments: &[&str]) -> Job {
    let url = format!("http://{}/", server.address("api"));
    Job::start(programs::tool("console.py").arg(url).args(arguments))
}

/// All steps were done, nothing was complained of, and nobody's name became markup.
#[track_caller]
fn check_good(seen: &Value) {
    assert_eq!(seen["console"], Value::Array(vec![]), "{seen:#}");
    check_done(seen);
}

/// As [`check_good`], whatever the browser says of answers that are no 200.
#[track_caller]
fn check_done(seen: &Value) {
    assert_eq!(seen["failed"], Value::Null, "{seen:#}");
    let none = Value::Array(vec![]);
    assert_eq!(seen["page_errors"], none, "{seen:#}");
    assert_eq!(seen["dialogs"], none, "{seen:#}");
    for step in seen["steps"].as_array().expect("steps") {
        assert_eq!(step["foreign"], 0, "{step:#}");
        assert!(
            step["overflow"].as_i64().is_some_and(|px| px <= 0),
            "{step:#}"
        );
    }
}

/// What was seen after the first step that begins so.
#[track_caller]
fn after<'a>(seen: &'a Value, step: &str) -> &'a Value {
    let steps = seen["steps"].as_array().expect("steps");
    steps
        .iter()
        .find(|seen| {
            seen["step"]
                .as_str()
                .is_some_and(|name| name.starts_with(step))
        })
        .unwrap_or_else(|| panic!("{step} in {seen:#}"))
}

#[track_caller]
fn text<'a>(seen: &'a Value, step: &str) -> &'a str {
    after(seen, step)["text"].as_str().expect("a text")
}

/// Each phrase stands in what is shown, in this order.
#[track_caller]
fn check_says(text: &str, phrases: &[&str]) {
    let mut rest = text;
    for phrase in phrases {
        let at = rest
            .find(phrase)
            .unwrap_or_else(|| panic!("{phrase:?} in its place in {text:?}"));
        rest = &rest[at + phrase.len()..];
    }
}

/// The way of an operator: the rows, a stream opened by the keyboard, its picture and details, a player sent away, the other views.
#[test]
fn a_stream_is_seen_opened_played_and_a_player_is_sent_away() {
    let server = Server::start("");
    let _ffmpeg = programs::publish_loop(
        FFMPEG_DEBIAN,
        &fixtures::h264_aac(),
        &server.rtmp("live/livestream"),
    );
    server.wait_stream("/live/livestream.flv");
    let mut player = Job::start(
        programs::curl()
            .args(["-e", "http://tv.example/watch", "-o", "/dev/null"])
            .arg(server.http("/live/livestream.flv")),
    );
    server.wait_connections("http", 1);
    let seen = visit(
        &server,
        &[
            "wait:live/livestream",
            "seconds:6",
            "open:live/livestream",
            "play:3",
            "kick:tv.example",
            "view:clients",
            "view:nodes",
            "view:recordings",
            "view:configuration",
            "view:streams",
        ],
    )
    .finish(VISIT)
    .json();
    check_good(&seen);

    // Rows that live do not move: one set of left edges was seen in all looks.
    assert_eq!(
        seen["columns"].as_array().map(Vec::len),
        Some(1),
        "{:#}",
        seen["columns"]
    );
    let row = &after(&seen, "seconds")["rows"][0];
    let row = row.as_str().expect("a row");
    check_says(row, &["live/livestream", "kbit/s", " fps", "127.0.0.1:"]);

    // The focus is where a keyboard or a screen reader goes on.
    assert_eq!(after(&seen, "open")["focus"], "live/livestream", "{seen:#}");
    let details = text(&seen, "play");
    check_says(
        details,
        &["live/livestream", "Live", "Publisher: 127.0.0.1:", "RTMP"],
    );
    check_says(details, &["behind live", "GOP", "frames", "Log window"]);
    check_says(
        details,
        &["Video", "H.264", "320 × 180", "Audio", "AAC", "48 kHz"],
    );
    check_says(details, &["FLV, HTTP/1", "Its clients", "Publishes"]);
    check_says(details, &["http://tv.example/watch", "Plays"]);
    check_says(
        details,
        &["Addresses", &server.http("/live/livestream.flv")],
    );

    assert!(!player.is_running(), "it was to be sent away");
    let kicked = after(&seen, "kick");
    check_says(kicked["focus"].as_str().expect("a focus"), &["Disconnect"]);
    assert!(
        server.log().contains("kicked"),
        "the log says why the player was ended"
    );

    check_says(
        text(&seen, "view:clients"),
        &["live/livestream", "Publishes"],
    );
    check_says(text(&seen, "view:nodes"), &["This node", "Publishers", "1"]);
    check_says(text(&seen, "view:recordings"), &["Nothing is recorded"]);
    check_says(
        text(&seen, "view:configuration"),
        &[
            "live.rtmp.listen: ",
            "live.http.listen: ",
            "needs a restart",
        ],
    );
    assert_eq!(
        after(&seen, "view:streams")["names"][0],
        "live/livestream",
        "{seen:#}"
    );
}

/// A peer chooses the names of streams. They are text, wherever they stand, on a phone too, and the stream plays by its name.
#[test]
fn a_hostile_name_is_text() {
    const NAME: &str = "<img src=x onerror=alert(1)>\"'&#{{7*7}}";
    let server = Server::start("");
    let _hostile = Feed::start(&server, "live", NAME, Plan::of(&fixtures::h264_aac()));
    let long = "long".repeat(120);
    let _long = Feed::start(&server, "live", &long, Plan::of(&fixtures::aac()));
    // U+202E turns the direction of what follows.
    let _turned = Feed::start(&server, "live", "a\u{202e}b", Plan::of(&fixtures::aac()));
    let shown = format!("live/{NAME}");
    let open = format!("open:{shown}");
    let seen = visit(
        &server,
        &[
            "--width",
            "360",
            "--height",
            "740",
            "--dark",
            &format!("wait:live/{long}"),
            &format!("wait:{shown}"),
            "wait:live/a\\u{202e}b",
            &open,
            "play:2",
            "view:clients",
            "view:recordings",
            "view:configuration",
            "view:streams",
            &open,
            "press:Block",
            "answer:Cancel",
        ],
    )
    .finish(VISIT)
    .json();
    check_good(&seen);
    let names = after(&seen, "wait:live/a")["names"]
        .as_array()
        .expect("names");
    assert_eq!(names.len(), 3, "{names:?}");
    check_says(text(&seen, "view:clients"), &[&shown]);
    let title = after(&seen, "play")["title"].as_str().expect("a title");
    assert_eq!(title, format!("{shown} – pingora-live console"));
    check_says(text(&seen, "press"), &[&shown]);
}

/// The page comes to everybody and says nothing; the API's answers need the token or the password.
#[test]
fn who_may() {
    let server = Server::start(
        "api: { listen: [\"127.0.0.1:0\"], auth: { username: ops, password: \"pass:wörd\", token: t0k3n } }",
    );
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    for steps in [
        [
            "token:wrong",
            "says:does not take",
            "token:t0k3n",
            "wait:live/x",
        ],
        [
            "password:ops:wrong",
            "says:does not take",
            "password:ops:pass:wörd",
            "wait:live/x",
        ],
    ] {
        let seen = visit(&server, &steps).finish(VISIT).json();
        assert_eq!(seen["failed"], Value::Null, "{seen:#}");
        // Browsers write each 401 to the console; that is all there is.
        let complaints = seen["console"].as_array().expect("a list");
        assert!(
            complaints
                .iter()
                .all(|line| line.as_str().is_some_and(|line| line.contains("401"))),
            "{complaints:?}"
        );
        assert!(!complaints.is_empty(), "it was asked before it was told");
        assert!(
            !text(&seen, "says").contains("live/x"),
            "nothing is shown before"
        );
        assert_eq!(after(&seen, "wait")["names"][0], "live/x");
    }
    let api = server.address("api");
    assert_eq!(http::get(api, "/console").status, 200);
    assert_eq!(http::get(api, "/api/v1/live/streams").status, 401);
    let page = http::get(api, "/console").text();
    assert!(!page.contains("t0k3n") && !page.contains("live/x"));
}

/// The files: their types, the rules that a browser keeps for them, and that they are not sent twice.
#[test]
fn the_files_and_their_rules() {
    let server = Server::start("");
    let api = server.address("api");
    let root = http::get(api, "/");
    assert_eq!(
        (root.status, root.header("location")),
        (302, Some("console"))
    );
    for (path, kind) in [
        ("/console", "text/html; charset=utf-8"),
        ("/console/main.js", "text/javascript; charset=utf-8"),
        ("/console/mpegts.js", "text/javascript; charset=utf-8"),
        ("/console/console.css", "text/css; charset=utf-8"),
        ("/console/theme.css", "text/css; charset=utf-8"),
    ] {
        let file = http::get(api, path);
        assert_eq!(file.status, 200, "{path}");
        assert_eq!(file.header("content-type"), Some(kind), "{path}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        let policy = file.header("content-security-policy").expect("a policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let tag = file.header("etag").expect("a tag").to_owned();
        let again = http::request(api, "GET", path, &[("If-None-Match", &tag)]).expect("an answer");
        assert_eq!(again.status, 304, "{path}");
        let head = http::request(api, "HEAD", path, &[]).expect("an answer");
        assert_eq!(head.status, 200, "{path}");
        assert_eq!(head.header("content-length"), file.header("content-length"));
    }
    let other = http::request(api, "POST", "/console", &[]).expect("an answer");
    assert_eq!(
        (other.status, other.header("allow")),
        (405, Some("GET, HEAD"))
    );
    // The rule of names holds for the page as for the API: a page of that name could read it.
    let foreign = http::request(api, "GET", "/console", &[("Host", "evil.example")]);
    assert_eq!(foreign.expect("an answer").status, 403);
    assert_eq!(http::get(api, "/console/none").status, 404);
    // It is on this listener alone.
    assert_eq!(http::get(server.address("http"), "/console").status, 404);
}

/// A server that goes away is told of, in words and once; what was known stays.
#[test]
fn a_server_that_goes_away_is_told_of() {
    let server = Server::start("");
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let page = visit(
        &server,
        &[
            "open:live/x",
            "says:The server cannot be reached",
            "says:Try now (",
        ],
    );
    // The picture is asked for when the stream is open.
    server.wait_connections("http", 1);
    drop(server);
    let seen = page.finish(VISIT).json();
    assert_eq!(seen["failed"], Value::Null, "{seen:#}");
    assert_eq!(seen["page_errors"], Value::Array(vec![]), "{seen:#}");
    let last = after(&seen, "says:Try");
    assert_eq!(last["state"], "away", "{last:#}");
    check_says(
        text(&seen, "says:Try"),
        &[
            "What is shown is the last that was known",
            "live/x",
            "H.264",
        ],
    );
}

/// Recording, blocking, and reading the configuration again, by their buttons.
#[test]
fn what_can_be_done() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let live = "limits: { connections: 1000 }";
    let file = write_config(folder.path(), live, "grace_period_seconds: 2\n");
    let mut command = command();
    command.arg("-c").arg(&file);
    let server = Server::spawn(command, folder);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let text_of = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, text_of.replace("1000", "1001")).expect("the configuration is written");
    let seen = visit(
        &server,
        &[
            "open:live/x",
            "press:Record",
            "says:files finished",
            "view:recordings",
            "says:.flv",
            "view:configuration",
            "press:Read the file again",
            "says:These have another value now",
            "says:live.limits.connections: 1001",
            "view:streams",
            "open:live/x",
            "press:Block",
            "answer:Block",
            "says:This stream is blocked",
            "press:Unblock",
            "says:may be published and played again",
        ],
    )
    .finish(VISIT)
    .json();
    check_done(&seen);
    // The stream that was blocked is asked for, and is not there: that is all.
    let complaints = seen["console"].as_array().expect("a list");
    assert!(
        complaints
            .iter()
            .all(|line| line.as_str().is_some_and(|line| line.contains("404"))),
        "{complaints:?}"
    );
    check_says(
        text(&seen, "says:.flv"),
        &["At work", "1", "live/x", ".flv"],
    );
    // A block ends the publisher.
    server.wait_log(&["publish ended", "kicked"], VISIT);
}

/// Pulls and pushes: begun in their forms and stopped by their buttons, by the keyboard alone, on a phone.
#[test]
fn streams_are_pulled_and_pushed() {
    let source = Server::start("");
    let target = Server::start("");
    let server = Server::start("vhosts: { __defaultVhost__: { publish: { republish_wait: 1s } } }");
    let _far = Feed::start(&source, "live", "far", Plan::of(&fixtures::h264_aac()));
    source.wait_stream("/live/far.flv");
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/x.flv");
    let from = format!("type:pull-from:{}", source.rtmp("live/far?token=hush"));
    let shown = source.rtmp("live/far");
    let to = format!("type:push-to:{}", target.rtmp("copy/[stream]?key=hush"));
    let seen = visit(
        &server,
        &[
            "--width",
            "360",
            "--height",
            "740",
            "--dark",
            "open:live/x",
            "says:It goes to no other server",
            "type:push-to:nowhere",
            "enter:",
            "says:is not of the form",
            &to,
            "enter:",
            "says:The push begins",
            "says:Running",
            "kick:/copy/x",
            "says:It goes to no other server",
            "view:nodes",
            &from,
            "type:pull-as:far",
            "enter:",
            "says:The stream here is named by its app",
            "type:pull-as:tv/far",
            "enter:",
            &format!("says:{shown}"),
            "says:Running",
            "view:streams",
            "wait:tv/far",
            "view:nodes",
            "kick:tv/far",
            "says:No stream comes from another server",
        ],
    )
    .finish(VISIT)
    .json();
    check_done(&seen);
    let complaints = seen["console"].as_array().expect("a list");
    assert!(
        complaints
            .iter()
            .all(|line| line.as_str().is_some_and(|line| line.contains("400"))),
        "{complaints:?}"
    );
    check_says(text(&seen, "says:Running"), &["live/x", "by an operator"]);
    target.wait_log(&["publish ended", "client_left"], VISIT);
    server.wait_log(&["publish ended", "kicked"], VISIT);
    assert!(!server.log().contains("hush"));
}
