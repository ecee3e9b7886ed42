//! The written reference: made from the declarations of the keys, or checked against them.
//!
//! After a change of a key, `BLESS=1 cargo test config::` writes `config/live.yaml` and the table of
//! `docs/configuration.md` anew.

use std::collections::BTreeSet;

use super::{project, read};
use crate::config::hints::ELSEWHERE;
use crate::config::print::{entries, line};
use crate::config::schema::Entry;
use crate::config::{Config, Live, keys, server};

/// The widest line of a comment, in characters.
const WIDTH: usize = 100;

const HEADER: &str = "\
# The reference of pingora-live: every key with its default. An empty file gives the same server.
#
# Switches are on or off; durations have a unit (10s, 350ms, 2m, 1h); so have sizes (64KiB, 32MiB).
# Each key under `live` may be set from the environment too, by its path in upper case:
# PINGORA_LIVE_HTTP_LISTEN=0.0.0.0:9090. Keys of a vhost then apply to all vhosts:
# PINGORA_LIVE_VHOST_PLAY_WAIT=3s. `pingora-live -t` checks a file and names each mistake.
#
# The keys at the top level are pingora's own. Those that matter most, with their defaults:
#
# threads: 1                    # threads of each service; set it to the number of cores
# daemon: false                 # run in the background
# error_log: null               # file for the log, with daemon; otherwise it goes to stderr
# pid_file: /tmp/pingora.pid
# upgrade_sock: /tmp/pingora_upgrade.sock
# user: null
# group: null
# grace_period_seconds: null    # time for players to leave after SIGTERM; null is 300
# graceful_shutdown_timeout_seconds: null
";

/// The text of `config/live.yaml`.
fn reference() -> String {
    let mut out = String::from(HEADER);
    // The depth of the section that is left out, with all that it holds.
    let mut left_out: Option<usize> = None;
    let mut after_heading = false;
    for entry in entries(&Live::default()) {
        let place = &entry.place;
        if place.present || left_out.is_some_and(|depth| place.depth <= depth) {
            left_out = None;
        }
        if !place.present && left_out.is_none() {
            left_out = Some(place.depth);
        }
        let (outer, inner) = match left_out {
            Some(depth) => (
                format!("{}# ", "  ".repeat(depth)),
                "  ".repeat(place.depth - depth),
            ),
            None => (String::new(), "  ".repeat(place.depth)),
        };
        if !after_heading && !place.starts_item {
            if left_out != Some(place.depth) {
                out.push_str(outer.trim_end());
            }
            out.push('\n');
        }
        after_heading = entry.value.is_none();
        for comment in comments(&entry, WIDTH - outer.len() - inner.len()) {
            out.push_str(format!("{outer}{inner}# {comment}").trim_end());
            out.push('\n');
        }
        // A value that has to be set is shown by an example.
        let example = entry.example.map(str::to_owned);
        let shown = Entry {
            value: example.or_else(|| entry.value.clone()),
            ..entry
        };
        out.push_str(&format!("{outer}{}\n", line(&shown, &inner)));
    }
    out
}

/// The doc comment of a key, and what it takes where the comment does not show it.
fn comments(entry: &Entry, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut paragraph = String::new();
    for line in entry.place.doc.lines().chain([""]) {
        if !line.trim().is_empty() {
            paragraph.push_str(line);
            continue;
        }
        if !lines.is_empty() && !paragraph.is_empty() {
            lines.push(String::new());
        }
        lines.extend(wrap(&paragraph, width));
        paragraph.clear();
    }
    for (word, about) in &entry.words {
        lines.extend(wrap(&format!("- {word}: {}", about.trim()), width));
    }
    if ["a whole number", "a duration", "a size"]
        .iter()
        .any(|start| entry.accepted.starts_with(start))
    {
        lines.extend(wrap(
            &format!("Takes {}.", without_examples(&entry.accepted)),
            width,
        ));
    }
    lines
}

/// What is accepted, for a place where the forms of values were explained already.
fn without_examples(accepted: &str) -> &str {
    match accepted {
        "on, off, true or false" => "on or off",
        _ if accepted.ends_with("a list of them") => accepted,
        _ => accepted.split(", such as").next().unwrap_or_default(),
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() + 2 <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Compares a file with what it should be, or writes it when that is asked for.
fn compare(path: &str, expected: &str) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(project(path), expected).unwrap();
    }
    let found = std::fs::read_to_string(project(path)).unwrap_or_default();
    if found == expected {
        return;
    }
    let differing = found
        .lines()
        .zip(expected.lines())
        .position(|(found, expected)| found != expected);
    let number = differing.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
    panic!(
        "{path}, line {}: it says\n  {:?}\nand should say\n  {:?}\nBLESS=1 cargo test config:: writes it",
        number + 1,
        found.lines().nth(number),
        expected.lines().nth(number),
    );
}

#[test]
fn the_reference_file_is_made_from_the_keys() {
    compare("config/live.yaml", &reference());
}

/// The parts that are left out are good YAML once the marks are taken away, and show every key.
#[test]
fn the_reference_file_shows_every_key() {
    let text = read("config/live.yaml");
    let body = text.strip_prefix(HEADER).unwrap();
    // A section that is left out is a block of its own, between blank lines.
    let is_left_out = |block: &&str| {
        block.lines().any(|line| {
            matches!(
                line.trim(),
                "# tls:" | "# https:" | "# upstreams:" | "# routes:" | "# registry:" | "# auth:"
            )
        })
    };
    let mut left_out = 0;
    let blocks = body.split("\n\n").map(|block| match is_left_out(&block) {
        true => {
            left_out += 1;
            let bare = |line: &str| line.replacen("# ", "", 1).replacen(" #\n", "\n", 1);
            block.lines().map(bare).collect::<Vec<_>>().join("\n")
        }
        false => block.to_owned(),
    });
    let uncommented = blocks.collect::<Vec<_>>().join("\n\n");
    assert_eq!(left_out, 6);
    // With a registry, a node has to say where it is.
    let uncommented = uncommented.replacen("\n    host: null", "\n    host: a.example", 1);
    let config = Config::from_yaml(&uncommented, "live.yaml", std::iter::empty())
        .unwrap_or_else(|errors| panic!("{uncommented}\n{errors}"));
    // Every value is the default, and those that have none are the examples.
    let https = config.live.https.clone().unwrap();
    assert_eq!(
        (https.certs.len(), https.http2, https.listen[0].port()),
        (1, true, 8443)
    );
    let tls = config.live.rtmp.tls.clone().unwrap();
    assert_eq!(
        (tls.cert.to_str(), tls.listen[0].port()),
        (Some("config/server.crt"), 1936)
    );
    let upstream = &config.live.upstreams["web"];
    assert_eq!(upstream.servers[0].to_string(), "127.0.0.1:3000");
    let route = &config.live.routes[0];
    assert_eq!((route.path.as_str(), route.upstream.as_str()), ("/", "web"));
    let mut rest = config;
    rest.live.upstreams.clear();
    rest.live.routes.clear();
    rest.live.https = None;
    assert_eq!(
        rest.live
            .api
            .auth
            .take()
            .map(|auth| auth.username)
            .as_deref(),
        Some("admin")
    );
    rest.live.rtmp.tls = None;
    assert!(rest.live.registry.take().is_some());
    assert_eq!(rest.live.node.host.take().as_deref(), Some("a.example"));
    assert_eq!(rest, Config::default());
    let written: BTreeSet<_> = uncommented
        .lines()
        .filter_map(|line| line.trim_start().trim_start_matches("- ").split_once(':'))
        .map(|(key, _)| key)
        .collect();
    for key in keys() {
        let name = key.path.rsplit('.').next().unwrap();
        assert!(written.contains(name), "{} is missing", key.path);
    }
}

/// The table of all keys, as it stands in the manual.
fn table() -> String {
    let mut out = String::from("| key | default | takes | what it does |\n|---|---|---|---|\n");
    for key in keys() {
        let alias = key
            .alias
            .map(|alias| format!(" or `{alias}`"))
            .unwrap_or_default();
        let default = if key.default.is_empty() {
            "(has to be set)".to_owned()
        } else {
            format!("`{}`", key.default)
        };
        let about = key
            .about
            .split(". ")
            .next()
            .unwrap_or_default()
            .trim_end_matches('.');
        let accepted = without_examples(&key.accepted);
        out.push_str(&format!(
            "| `{}`{alias} | {default} | {accepted} | {about} |\n",
            key.path
        ));
    }
    out
}

const TABLE: (&str, &str) = ("<!-- keys: written by a test -->\n", "<!-- end of keys -->");

#[test]
fn the_manual_has_every_key() {
    let path = "docs/configuration.md";
    let text = read(path);
    let (before, rest) = text.split_once(TABLE.0).unwrap();
    let (_, after) = rest.split_once(TABLE.1).unwrap();
    compare(
        path,
        &format!("{before}{}{}{}{after}", TABLE.0, table(), TABLE.1),
    );
}

/// Each key is explained: what it does, and where there is something to choose, when.
#[test]
fn every_key_is_explained() {
    for key in keys() {
        assert!(
            key.about.len() > 25 && key.about.ends_with('.'),
            "{}: {}",
            key.path,
            key.about
        );
        assert!(
            !key.accepted.is_empty() && !key.about.contains("[`"),
            "{}",
            key.path
        );
    }
}

fn paths() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for key in keys() {
        // The key itself and all sections around it.
        for (end, _) in key.path.match_indices(['.', '[']) {
            paths.insert(key.path[..end].to_owned());
        }
        if let (Some(alias), Some((section, _))) = (key.alias, key.path.rsplit_once('.')) {
            paths.insert(format!("{section}.{alias}"));
        }
        paths.insert(key.path);
    }
    paths
}

/// The hints for keys of other servers name keys that there are.
#[test]
fn hints_for_other_servers_are_right() {
    let paths = paths();
    for (theirs, ours) in ELSEWHERE {
        let path = ours.split([':', ',', ' ']).next().unwrap();
        let is_servers = ours.ends_with("at the top level")
            && server::KEYS.iter().any(|(name, ..)| *name == path);
        assert!(
            paths.contains(path) || is_servers || path == "nothing",
            "{theirs}: {ours}"
        );
    }
}

/// The manual names no key that there is not, and every key of another server that is hinted at.
#[test]
fn the_manual_is_right_about_keys() {
    let text = read("docs/configuration.md");
    let paths = paths();
    let named = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|quoted| quoted.starts_with("live."));
    for quoted in named.filter(|quoted| !quoted.ends_with(".yaml") && !quoted.contains("example")) {
        let path = quoted
            .split([':', ' '])
            .next()
            .unwrap()
            .trim_end_matches('.');
        assert!(paths.contains(path), "{quoted}");
    }
    for (theirs, _) in ELSEWHERE {
        assert!(
            text.contains(&format!("`{theirs}")) || text.contains(&format!("{theirs}`")),
            "{theirs} is not in the manual"
        );
    }
}

/// The errors that the manual shows are those that one gets.
#[test]
fn the_manual_is_right_about_errors() {
    let text = read("docs/configuration.md");
    let (_, section) = text.split_once("## Errors").unwrap();
    let yaml = section
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let shown = section
        .split("```text\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let found = Config::from_yaml(yaml, "live.yaml", std::iter::empty()).unwrap_err();
    assert_eq!(format!("{found}\n"), shown);
}
