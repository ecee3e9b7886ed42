//! The kinds of values that keys hold: how each is read, shown, and described in errors.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::error::Origin;
use super::mount::Mount;
use super::node::{Data, Node};
use super::recording_path::RecordingPath;
use super::schema::{Context, Leaf};
use super::units::{self, Guess};

const ADDRESS: &str = "an address such as \"0.0.0.0:1935\", \"[::]:1935\" or 1935";
const HOST_NAME: &str = "a host name such as live.example.com or \"*.example.com\"";
const TEMPLATE: &str = "a template such as \"[vhost]/[app]/[stream].flv\"";
pub(super) const LIST: &str = "a list of them";

/// The text of a scalar, or an error.
fn scalar<'a>(node: &'a Node, path: &str, accepted: &str, cx: &mut Context) -> Option<&'a str> {
    match &node.data {
        Data::Scalar(text) => Some(text),
        Data::Null => {
            let hint = "leave the key out for its default".to_owned();
            cx.refuse(node, path, accepted, Some(hint));
            None
        }
        Data::List(items) => {
            let hint = (items.len() == 1).then(|| "one value, without brackets or dash".to_owned());
            cx.refuse(node, path, accepted, hint);
            None
        }
        Data::Map(_) => {
            cx.refuse(node, path, accepted, None);
            None
        }
    }
}

/// Reads a scalar by a function that tells what was probably meant when it cannot.
pub(super) fn parse_scalar<T>(
    node: &Node,
    path: &str,
    accepted: &str,
    cx: &mut Context,
    parse: impl Fn(&str) -> Result<T, Guess>,
) -> Option<T> {
    match parse(scalar(node, path, accepted, cx)?) {
        Ok(value) => Some(value),
        Err(hint) => {
            cx.refuse(node, path, accepted, hint);
            None
        }
    }
}

/// Reads a list, or a single value as a list of one, item by item; each bad item is reported at its own place.
/// `accepted` says what an item is, and what the list is.
pub(super) fn parse_list<T>(
    node: &Node,
    path: &str,
    accepted: (&str, &str),
    cx: &mut Context,
    parse: impl Fn(&str) -> Result<T, Guess>,
) -> Option<Vec<T>> {
    let (one, list) = accepted;
    match &node.data {
        Data::List(nodes) => {
            let mut values = Vec::with_capacity(nodes.len());
            for (index, node) in nodes.iter().enumerate() {
                let path = format!("{path}[{index}]");
                cx.origins.note(&path, &node.at);
                values.push(parse_scalar(node, &path, one, cx, &parse));
            }
            values.into_iter().collect()
        }
        Data::Scalar(text)
            if text.trim().is_empty() && matches!(node.at, Origin::Environment { .. }) =>
        {
            Some(Vec::new())
        }
        _ => parse_scalar(node, path, &format!("{one}, or {list}"), cx, &parse)
            .map(|value| vec![value]),
    }
}

/// `a,b c` as a list, for lists in the environment.
pub(super) fn split_list(text: &str, at: &Origin) -> Node {
    let items = text
        .split([',', ' ', '\t', '\n'])
        .filter(|item| !item.is_empty());
    Node {
        at: at.clone(),
        data: Data::List(items.map(|item| Node::scalar(at, item)).collect()),
    }
}

/// A text as a YAML scalar: bare when that is unmistakable, else in double quotes.
pub(super) fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_'))
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // YAML 1.2 §5.7: \U and eight hex digits name any character.
            c if c.is_control() || c == '\u{feff}' => {
                out.push_str(&format!("\\U{:08X}", u32::from(c)))
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(super) fn flow_list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// `on` or `off`.
pub(super) struct Switch;

impl Leaf for Switch {
    type Value = bool;

    fn accepted(&self) -> String {
        "on, off, true or false".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<bool> {
        parse_scalar(node, path, &self.accepted(), cx, units::parse_switch)
    }

    fn text(&self, value: &bool) -> String {
        if *value { "on" } else { "off" }.to_owned()
    }
}

/// A whole number within bounds.
pub(super) struct Int {
    pub(super) range: RangeInclusive<u32>,
    /// Said of 0 where it means "no limit".
    pub(super) zero: &'static str,
}

impl Leaf for Int {
    type Value = u32;

    fn accepted(&self) -> String {
        let zero = if self.zero.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.zero)
        };
        format!(
            "a whole number from {}{zero} to {}",
            self.range.start(),
            self.range.end()
        )
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<u32> {
        parse_scalar(node, path, &self.accepted(), cx, |text| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let value = digits.then(|| text.parse().ok()).flatten();
            value.filter(|value| self.range.contains(value)).ok_or(None)
        })
    }

    fn text(&self, value: &u32) -> String {
        value.to_string()
    }
}

/// A duration within bounds, written with its unit.
pub(super) struct Time {
    pub(super) range: RangeInclusive<Duration>,
    /// Said of 0 where it switches something off.
    pub(super) zero: &'static str,
}

impl Leaf for Time {
    type Value = Duration;

    fn accepted(&self) -> String {
        let zero = if self.zero.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.zero)
        };
        let (from, to) = (self.range.start(), self.range.end());
        format!(
            "a duration from {}{zero} to {}, such as 10s or 350ms",
            units::show_duration(*from),
            units::show_duration(*to)
        )
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Duration> {
        parse_scalar(node, path, &self.accepted(), cx, |text| {
            let value = units::parse_duration(text)?;
            self.range.contains(&value).then_some(value).ok_or(None)
        })
    }

    fn text(&self, value: &Duration) -> String {
        units::show_duration(*value)
    }
}

/// A number of bytes within bounds.
pub(super) struct Size {
    pub(super) range: RangeInclusive<u64>,
}

impl Leaf for Size {
    type Value = u64;

    fn accepted(&self) -> String {
        let (from, to) = (self.range.start(), self.range.end());
        format!(
            "a size from {} to {}, such as 512KiB or 32MiB",
            units::show_size(*from),
            units::show_size(*to)
        )
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<u64> {
        parse_scalar(node, path, &self.accepted(), cx, |text| {
            let value = units::parse_size(text)?;
            self.range.contains(&value).then_some(value).ok_or(None)
        })
    }

    fn text(&self, value: &u64) -> String {
        units::show_size(*value)
    }
}

/// Addresses to listen on.
pub(super) struct Listen;

impl Leaf for Listen {
    type Value = Vec<SocketAddr>;

    fn accepted(&self) -> String {
        format!("{ADDRESS}, or {LIST}")
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Vec<SocketAddr>> {
        parse_list(node, path, (ADDRESS, LIST), cx, parse_address)
    }

    fn text(&self, value: &Vec<SocketAddr>) -> String {
        flow_list(value.iter().map(|address| quoted(&address.to_string())))
    }

    fn environment_node(&self, text: &str, at: &Origin) -> Node {
        split_list(text, at)
    }
}

const IPV6_FORM: &str =
    "an IPv6 address stands in brackets and has its port after them, as in \"[::1]:8080\"";

/// `1935`, `:1935`, `*:1935`, `localhost:1935`, `127.0.0.1:1935` or `[::]:1935`.
///
/// Other names are refused: what they resolve to may be another address when the server starts than it was when the
/// configuration was tested.
fn parse_address(text: &str) -> Result<SocketAddr, Guess> {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            return Err(Some(format!("the port is missing, as in \"{ip}:8080\"")));
        }
        Ok(IpAddr::V6(_)) => return Err(Some(IPV6_FORM.to_owned())),
        Err(_) => {}
    }
    if text
        .split([' ', ','])
        .filter(|part| !part.is_empty())
        .count()
        > 1
    {
        return Err(Some(
            "write several as a list: [\"0.0.0.0:1935\", \"[::]:1935\"]".to_owned(),
        ));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !digits {
        return Err(None);
    }
    let Ok(port) = port.parse::<u16>() else {
        return Err(Some("ports go up to 65535".to_owned()));
    };
    match host {
        "" | "*" => Ok(SocketAddr::new(any, port)),
        "localhost" => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        _ if host.contains(':') => Err(Some(IPV6_FORM.to_owned())),
        _ if host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.') =>
        {
            Err(None)
        }
        _ => Err(Some("an IP address, not a name".to_owned())),
    }
}

/// The path of a file; empty when it was not set, for keys without a default.
pub(super) struct FilePath {
    /// Shown in the reference instead of nothing.
    pub(super) example: &'static str,
}

impl Leaf for FilePath {
    type Value = PathBuf;

    fn accepted(&self) -> String {
        "the path of a file".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<PathBuf> {
        parse_scalar(node, path, &self.accepted(), cx, |text| {
            if text.is_empty() || text.contains('\0') {
                return Err(None);
            }
            Ok(PathBuf::from(text))
        })
    }

    fn text(&self, value: &PathBuf) -> String {
        quoted(&value.to_string_lossy())
    }

    fn example(&self) -> Option<&'static str> {
        Some(self.example)
    }
}

/// The path of a file, or none.
pub(super) struct OptionalFile;

impl Leaf for OptionalFile {
    type Value = Option<PathBuf>;

    fn accepted(&self) -> String {
        "the path of a file, or null".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Option<PathBuf>> {
        parse_path(node, path, &self.accepted(), cx)
    }

    fn text(&self, value: &Option<PathBuf>) -> String {
        show_path(value)
    }
}

fn parse_path(
    node: &Node,
    path: &str,
    accepted: &str,
    cx: &mut Context,
) -> Option<Option<PathBuf>> {
    if matches!(node.data, Data::Null) {
        return Some(None);
    }
    let environment = matches!(node.at, Origin::Environment { .. });
    parse_scalar(node, path, accepted, cx, |text| match text {
        // A variable has no other way to say it.
        "" | "null" if environment => Ok(None),
        "" => Err(None),
        text if text.chars().any(char::is_control) => Err(None),
        text => Ok(Some(PathBuf::from(text))),
    })
}

fn show_path(value: &Option<PathBuf>) -> String {
    match value {
        Some(path) => quoted(&path.to_string_lossy()),
        None => "null".to_owned(),
    }
}

/// The path of a folder, or none.
pub(super) struct FolderPath;

impl Leaf for FolderPath {
    type Value = Option<PathBuf>;

    fn accepted(&self) -> String {
        "the path of a folder, or null".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Option<PathBuf>> {
        parse_path(node, path, &self.accepted(), cx)
    }

    fn text(&self, value: &Option<PathBuf>) -> String {
        show_path(value)
    }
}

/// Host names, each possibly with `*.` in front.
pub(super) struct HostNames;

impl Leaf for HostNames {
    type Value = Vec<String>;

    fn accepted(&self) -> String {
        format!("{HOST_NAME}, or {LIST}")
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Vec<String>> {
        parse_list(node, path, (HOST_NAME, LIST), cx, |text| {
            let name = text.strip_prefix("*.").unwrap_or(text);
            let well_formed = name.len() <= 253
                && name.split('.').all(|label| {
                    !label.is_empty()
                        && label.len() <= 63
                        && label
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                });
            if well_formed {
                return Ok(text.to_ascii_lowercase());
            }
            let port = name
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
            Err(port.then(|| "without the port".to_owned()))
        })
    }

    fn text(&self, value: &Vec<String>) -> String {
        flow_list(value.iter().map(|name| quoted(name)))
    }

    fn environment_node(&self, text: &str, at: &Origin) -> Node {
        split_list(text, at)
    }
}

/// Mount templates, at least one.
pub(super) struct Mounts;

impl Leaf for Mounts {
    type Value = Vec<Mount>;

    fn accepted(&self) -> String {
        format!("{TEMPLATE}, or {LIST}")
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Vec<Mount>> {
        let mounts = parse_list(node, path, (TEMPLATE, LIST), cx, |text| {
            text.parse::<Mount>()
                .map_err(|error| Some(error.to_string()))
        })?;
        if mounts.is_empty() {
            let hint = "to serve none, set http_remux.enabled to off".to_owned();
            cx.refuse(node, path, &self.accepted(), Some(hint));
            return None;
        }
        Some(mounts)
    }

    fn text(&self, value: &Vec<Mount>) -> String {
        flow_list(value.iter().map(|mount| quoted(mount.as_str())))
    }

    fn environment_node(&self, text: &str, at: &Origin) -> Node {
        split_list(text, at)
    }
}

/// The template of the paths of recordings.
pub(super) struct Recordings;

impl Leaf for Recordings {
    type Value = RecordingPath;

    fn accepted(&self) -> String {
        "a path such as \"./objs/recordings/[app]/[stream].[timestamp].flv\"".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<RecordingPath> {
        parse_scalar(node, path, &self.accepted(), cx, |text| {
            text.parse::<RecordingPath>()
                .map_err(|error| Some(error.to_string()))
        })
    }

    fn text(&self, value: &RecordingPath) -> String {
        quoted(value.as_str())
    }
}

/// An enum whose values are words.
pub(super) trait Words: Copy + PartialEq + 'static {
    /// Each word, what it does, and what it stands for, in the order of the documentation.
    const WORDS: &'static [(&'static str, &'static str, Self)];
}

/// One of a few words.
pub(super) struct OneOf<T>(std::marker::PhantomData<T>);

pub(super) const fn one_of<T: Words>() -> OneOf<T> {
    OneOf(std::marker::PhantomData)
}

impl<T: Words> Leaf for OneOf<T> {
    type Value = T;

    fn accepted(&self) -> String {
        let words: Vec<_> = T::WORDS.iter().map(|(word, ..)| *word).collect();
        match words.as_slice() {
            [before @ .., last] if !before.is_empty() => format!("{} or {last}", before.join(", ")),
            _ => words.join(", "),
        }
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<T> {
        parse_scalar(node, path, &self.accepted(), cx, |text| {
            let known = T::WORDS.iter().find(|(word, ..)| *word == text);
            known.map(|(.., value)| *value).ok_or_else(|| {
                let near = super::hints::nearest(text, T::WORDS.iter().map(|(word, ..)| *word));
                near.map(|word| format!("did you mean {word}?"))
            })
        })
    }

    fn text(&self, value: &T) -> String {
        let word = T::WORDS.iter().find(|(.., known)| known == value);
        word.map(|(word, ..)| (*word).to_owned())
            .unwrap_or_default()
    }

    fn words(&self) -> Vec<(&'static str, &'static str)> {
        T::WORDS
            .iter()
            .map(|(word, about, _)| (*word, *about))
            .collect()
    }
}

/// Declares an enum whose values are words: `Variant = "word"`.
macro_rules! words {
    (
        $(#[doc = $about:literal])*
        pub enum $name:ident {
            $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[doc = $doc])+ $variant, )*
        }

        impl $name {
            /// The word that stands for it in the configuration.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( $name::$variant => $word, )*
                }
            }
        }

        impl $crate::config::kinds::Words for $name {
            const WORDS: &'static [(&'static str, &'static str, Self)] =
                &[$(($word, concat!($($doc),+), $name::$variant)),*];
        }
    };
}

pub(super) use words;
