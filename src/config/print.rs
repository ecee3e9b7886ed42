//! What is in effect, as YAML; the reference file; the list of keys.

use super::schema::{Entry, Kind, Place};
use super::sections::nested;
use super::{Config, DEFAULT_VHOST, ENVIRONMENT_PREFIX, EXAMPLE_UPSTREAM, Live, server};

/// A key, as the reference describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// A second name of it, beside the last part of the path.
    pub alias: Option<&'static str>,
    /// Its path, such as `live.vhosts.<name>.play.wait`; `[]` stands for each item of a list.
    pub path: String,
    /// The environment variable that sets it; empty when there is none.
    pub environment: String,
    /// The default, as YAML; empty when the key has to be set.
    pub default: String,
    /// What is accepted.
    pub accepted: String,
    /// The words that are accepted and what each does, where it is one of a few.
    pub words: Vec<(&'static str, &'static str)>,
    /// What it does, when to change it, and what that costs.
    pub about: String,
}

/// All keys, in the order of the reference.
pub fn keys() -> Vec<Key> {
    documented_keys()
}

/// A key and the value in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its path: `live.http.listen`.
    pub path: String,
    /// Its value as YAML; secrets are `"***"`.
    pub value: String,
    /// Whether it is the built-in default.
    pub is_default: bool,
}

/// The values in effect, in the order of the reference.
pub fn settings(live: &Live) -> Vec<Setting> {
    let values = |live: &Live| {
        let present = entries(live).into_iter().filter(|e| e.place.present);
        present
            .filter_map(|e| Some((e.place.path, e.value?)))
            .collect::<Vec<_>>()
    };
    let mut defaults = Live::default();
    let default_vhost = defaults.vhosts.get(DEFAULT_VHOST).cloned();
    for name in live.vhosts.keys() {
        let vhost = default_vhost.clone().unwrap_or_default();
        defaults.vhosts.entry(name.clone()).or_insert(vhost);
    }
    let defaults = values(&defaults);
    values(live)
        .into_iter()
        .map(|entry| Setting {
            is_default: defaults.contains(&entry),
            path: entry.0,
            value: entry.1,
        })
        .collect()
}

/// The effective configuration as YAML, which reads back to an equal [`Config`].
pub fn print_config(config: &Config) -> String {
    let mut out = String::new();
    if !config.server.is_empty() {
        out.push_str(&config.server_yaml());
    }
    for entry in entries(&config.live)
        .iter()
        .filter(|entry| entry.place.present)
    {
        let indent = "  ".repeat(entry.place.depth);
        out.push_str(&line(entry, &indent));
        out.push('\n');
    }
    out
}

/// `  key: value`, with the dash of a list before the first key of an item.
pub(super) fn line(entry: &Entry, indent: &str) -> String {
    let place = &entry.place;
    let start = match indent.strip_suffix("  ") {
        Some(outer) if place.starts_item => format!("{outer}- "),
        _ => indent.to_owned(),
    };
    match &entry.value {
        Some(value) => format!("{start}{}: {value}", super::kinds::quoted(&place.name)),
        None => format!("{start}{}:", super::kinds::quoted(&place.name)),
    }
}

/// Every key of a configuration, sections included.
pub(super) fn entries(live: &Live) -> Vec<Entry> {
    let mut out = Vec::new();
    let place = Place {
        path: server::LIVE.to_owned(),
        variable: ENVIRONMENT_PREFIX.trim_end_matches('_').to_owned(),
        name: server::LIVE.to_owned(),
        alias: None,
        doc: "",
        depth: 0,
        present: true,
        starts_item: false,
    };
    nested::<Live>().describe(live, place, &mut out);
    out
}

/// The keys that hold a value, with their defaults.
pub(super) fn documented_keys() -> Vec<Key> {
    // A value that only has an example has to be set.
    let default = |entry: &Entry| match entry.example {
        Some(_) => String::new(),
        None => entry.value.clone().unwrap_or_default(),
    };
    let of = |entry: Entry| Key {
        default: default(&entry),
        alias: entry.place.alias,
        path: entry
            .place
            .path
            .replace(DEFAULT_VHOST, "<name>")
            .replace(&format!("upstreams.{EXAMPLE_UPSTREAM}"), "upstreams.<name>")
            .replace("[0]", "[]"),
        environment: entry.place.variable,
        accepted: entry.accepted,
        words: entry.words,
        about: sentences(entry.place.doc),
    };
    let entries = entries(&Live::default()).into_iter();
    entries
        .filter(|entry| !entry.accepted.is_empty())
        .map(of)
        .collect()
}

/// The names of the sections right under `live:`.
pub(super) fn sections() -> Vec<String> {
    let entries = entries(&Live::default()).into_iter();
    entries
        .filter(|entry| entry.place.depth == 1)
        .map(|entry| entry.place.name)
        .collect()
}

/// A doc comment as running text.
fn sentences(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}
