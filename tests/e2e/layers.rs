//! The rooms know only what they may: the direction of the imports, read from the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// A room, the files and folders of it that are let off, and what its files must not name.
const RULES: &[(&str, &[&str], &[&str])] = &[
    (
        "rtmp",
        &["listener.rs", "listener", "player_talk.rs", "reader.rs"],
        &[
            "tokio",
            "pingora",
            "crate::hub",
            "crate::play",
            "crate::media",
            "crate::mux",
            "crate::config",
        ],
    ),
    (
        "media",
        &[],
        &[
            "tokio",
            "pingora",
            "crate::hub",
            "crate::play",
            "crate::mux",
            "crate::config",
        ],
    ),
    (
        "mux",
        &[],
        &[
            "tokio",
            "pingora",
            "crate::hub",
            "crate::play",
            "crate::config",
        ],
    ),
    (
        "hub",
        &["tests"],
        &[
            "pingora",
            "crate::play",
            "tokio::spawn",
            "tokio::time",
            "tokio::net",
            "tokio::runtime",
        ],
    ),
    (
        "record",
        &[],
        &["tokio", "pingora", "crate::play", "crate::service"],
    ),
    (
        "config",
        &[],
        &[
            "tokio",
            "pingora",
            "crate::hub",
            "crate::play",
            "crate::rtmp",
        ],
    ),
    ("play", &["tests.rs"], &["crate::rtmp", "crate::service"]),
    (
        "files",
        &[],
        &[
            "tokio",
            "pingora",
            "crate::hub",
            "crate::play",
            "crate::config",
            "crate::mux",
            "crate::record",
        ],
    ),
    (
        "proxy",
        &[],
        &["crate::hub", "crate::play", "crate::rtmp", "crate::service"],
    ),
    (
        "access",
        &[],
        &[
            "pingora",
            "tokio::net",
            "crate::play",
            "crate::rtmp",
            "crate::ingest",
            "crate::service",
        ],
    ),
    (
        "relay",
        &[],
        &["crate::service", "crate::record", "crate::mux"],
    ),
    (
        "cluster",
        &[],
        &["pingora", "crate::play", "crate::rtmp", "crate::service"],
    ),
    (
        "api",
        &[],
        &[
            "crate::rtmp",
            "crate::mux",
            "crate::service",
            "crate::ingest",
        ],
    ),
    (
        "observe",
        &[],
        &["tokio", "pingora", "crate::hub", "crate::play"],
    ),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Code without comments and strings of prose: a line counts when it names the path as code would.
fn names(line: &str, what: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let Some(at) = code.find(what) else {
        return false;
    };
    let before = code.get(..at).and_then(|b| b.chars().next_back());
    let after = code.get(at + what.len()..).unwrap_or_default();
    let boundary = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    boundary && (after.starts_with("::") || after.starts_with(';'))
}

#[test]
fn imports_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (room, let_off, forbidden) in RULES {
        let mut files = Vec::new();
        sources(&src.join(room), &mut files);
        for file in files {
            let inside = file
                .strip_prefix(src.join(room))
                .expect("a file of the room");
            if let_off.iter().any(|path| inside.starts_with(path)) {
                continue;
            }
            looked_at += 1;
            let text = fs::read_to_string(&file).expect("a source");
            for (number, line) in text.lines().enumerate() {
                for what in forbidden.iter().filter(|what| names(line, what)) {
                    wrong.push(format!("{}:{}: {what}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(looked_at > 30, "the rooms were not found");
    assert!(
        wrong.is_empty(),
        "rooms that know too much:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_rule_sees_what_it_should() {
    assert!(names("use tokio::time;", "tokio"));
    assert!(names("    crate::hub::Log::new()", "crate::hub"));
    assert!(!names("// tokio::time is not used", "tokio"));
    assert!(!names("let pingora_like = 1;", "pingora"));
}
