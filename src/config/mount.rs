//! Mount templates: which path plays which stream.
//!
//! A template such as `[vhost]/[app]/[stream].flv` is matched against the path of a request, segment by segment:
//!
//! - `[app]` alone in a segment stands for one segment or several, since RTMP apps may hold slashes; beside other text,
//!   as in `[app]-[stream].flv`, it is what comes before the first occurrence of that text.
//! - `[stream]` is a segment or a part of one.
//! - `[vhost]` is a whole segment. At the front it may be left out of the path; when it is there, it has to be the
//!   host of the request. Otherwise a path could not say whether `a/b/s.flv` is the stream `b/s` of the host `a` or
//!   the stream `s` of the app `a/b`, and a guessed host would reach another vhost's streams.
//! - Everything else stands for itself, letter by letter.
//!
//! Names are percent-decoded once, after the path was split. A name that would be ambiguous or dangerous afterwards
//! is refused ([`BadPath`]).

use crate::percent;
use std::fmt;
use std::str::FromStr;

/// The default, before the ending: each stream under its app and name.
const DEFAULT: &str = "[vhost]/[app]/[stream]";
/// Endings of formats that are known, but not played by this version.
const NOT_SERVED: [&str; 3] = [".m3u8", ".mp4", ".ogg"];

/// A template that was read, ready for matching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    text: String,
    /// The first segment is `[vhost]`, and not in `segments`.
    vhost_in_front: bool,
    segments: Vec<Vec<Part>>,
    extension: Extension,
}

/// What a path that matches a template asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountMatch {
    /// The host that the path names, in lower case; `None` where it names none.
    pub vhost: Option<String>,
    /// The app, with slashes when it spans several segments.
    pub app: String,
    /// The name of the stream.
    pub stream: String,
}

/// The format that a template stands for, by its ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Extension {
    /// `.flv`: FLV.
    Flv,
    /// `.ts`: an MPEG-2 transport stream.
    Ts,
    /// `.aac`: audio only, AAC in ADTS.
    Aac,
    /// `.mp3`: audio only, MP3.
    Mp3,
}

impl Extension {
    /// All of them.
    pub const ALL: [Extension; 4] = [
        Extension::Flv,
        Extension::Ts,
        Extension::Aac,
        Extension::Mp3,
    ];

    /// The ending of a path, with the dot.
    pub fn suffix(self) -> &'static str {
        match self {
            Extension::Flv => ".flv",
            Extension::Ts => ".ts",
            Extension::Aac => ".aac",
            Extension::Mp3 => ".mp3",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Vhost,
    App,
    Stream,
}

/// Why a template is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// A format that this version does not play.
    #[error("{0} is not served by this version; mounts end in .flv, .ts, .aac or .mp3")]
    NotServed(&'static str),
    /// No ending, or another one.
    #[error("a mount ends in .flv, .ts, .aac or .mp3")]
    NoExtension,
    /// A variable that each stream needs to be told from the others.
    #[error("{0} is missing, so that streams could not be told apart")]
    MissingVariable(&'static str),
    /// A variable twice.
    #[error("{0} stands there twice")]
    Repeated(&'static str),
    /// Something in brackets that is no variable.
    #[error("{0} is unknown; variables are [vhost], [app] and [stream]")]
    UnknownVariable(String),
    /// A bracket without its partner.
    #[error("a bracket is not closed, or not opened")]
    Bracket,
    /// Two variables with nothing between them, so that nobody knows where one ends.
    #[error("text is needed between {0} and {1}")]
    Adjacent(&'static str, &'static str),
    /// `[vhost]` beside other text.
    #[error("[vhost] has to be a whole segment")]
    PartialVhost,
    /// A character that no path has, or that has another meaning in it.
    #[error("{0:?} cannot stand in a path")]
    Character(char),
    /// `//`, `/./` or `/../`.
    #[error("an empty segment, \".\" or \"..\" cannot stand in a path")]
    Segment,
}

/// Why the path of a request is refused, though its ending is that of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadPath {
    /// A `%` without two hexadecimal digits (RFC 3986 §2.1).
    #[error("a % is not followed by two hexadecimal digits")]
    Percent,
    /// What was decoded is no UTF-8.
    #[error("the path is not UTF-8 after decoding")]
    NotUtf8,
    /// `%2F`: a slash that would be part of a name.
    #[error("an encoded slash")]
    EncodedSlash,
    /// A control character, which would break log lines and what is told to others.
    #[error("a control character")]
    Control,
    /// A segment that is `.` or `..`, encoded or not.
    #[error("a segment of dots")]
    Dots,
}

impl Default for Mount {
    fn default() -> Self {
        Mount::of(Extension::Flv)
    }
}

impl Mount {
    /// The default template of a format: `[vhost]/[app]/[stream].flv`.
    pub fn of(extension: Extension) -> Self {
        let whole = |part| vec![part];
        Mount {
            text: format!("{DEFAULT}{}", extension.suffix()),
            vhost_in_front: true,
            segments: vec![
                whole(Part::App),
                vec![Part::Stream, Part::Text(extension.suffix().to_owned())],
            ],
            extension,
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Mount {
    /// The template, as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The format that is played under it.
    pub fn extension(&self) -> Extension {
        self.extension
    }

    /// How many bytes of a path it spells out. Of several templates that match a path, the one that spells out most of it is
    /// meant: beside `[app]/[stream].ts`, which matches nearly all, `/x/[app]-[stream].ts` would never have its turn otherwise.
    pub fn literal_len(&self) -> usize {
        let literal = |part: &Part| match part {
            Part::Text(text) => text.len(),
            _ => 0,
        };
        self.segments.iter().flatten().map(literal).sum()
    }

    /// What the path of a request to `host` asks for, if it matches. A path that is refused ([`BadPath`]) matches
    /// nothing.
    ///
    /// `path` is the path as it came, percent-encoded, without the query. `host` is the request's own, without port.
    pub fn matches(&self, host: &str, path: &str) -> Option<MountMatch> {
        self.try_match(host, path).ok().flatten()
    }

    /// As [`matches`](Self::matches), but tells a path that asks for something else (`None`) from one that has the
    /// ending of this mount and cannot be taken for a name.
    pub fn try_match(&self, host: &str, path: &str) -> Result<Option<MountMatch>, BadPath> {
        self.try_match_where(|name| name.eq_ignore_ascii_case(host), path)
    }

    /// As [`try_match`](Self::try_match), where the caller says which names may stand for the `[vhost]` at the front.
    pub fn try_match_where(
        &self,
        is_vhost: impl Fn(&str) -> bool,
        path: &str,
    ) -> Result<Option<MountMatch>, BadPath> {
        let encoded = path.strip_prefix('/').unwrap_or(path);
        let names: Result<Vec<String>, BadPath> = encoded.split('/').map(decode).collect();
        let names = match names {
            Ok(names) => names,
            Err(error) if path.ends_with(self.extension.suffix()) => return Err(error),
            Err(_) => return Ok(None),
        };
        if names.iter().any(String::is_empty) {
            return Ok(None);
        }
        if self.vhost_in_front
            && let [vhost, rest @ ..] = names.as_slice()
            && is_vhost(vhost)
            && let Some(found) = self.match_names(rest)
        {
            let vhost = Some(vhost.to_ascii_lowercase());
            return Ok(Some(MountMatch { vhost, ..found }));
        }
        Ok(self.match_names(&names))
    }

    /// Matches all segments but a `[vhost]` at the front.
    fn match_names(&self, names: &[String]) -> Option<MountMatch> {
        let mut found = Found::default();
        match self
            .segments
            .iter()
            .position(|segment| *segment == [Part::App])
        {
            // Everything between what is matched from the front and what is matched from the end.
            Some(app) => {
                let (front, back) = (self.segments.get(..app)?, self.segments.get(app + 1..)?);
                let end = names.len().checked_sub(back.len())?;
                let (start, middle) = (names.get(..front.len())?, names.get(front.len()..end)?);
                if middle.is_empty() {
                    return None;
                }
                found.app = Some(middle.join("/"));
                found.take_all(front, start)?;
                found.take_all(back, names.get(end..)?)?;
            }
            None => found.take_all(&self.segments, names)?,
        }
        Some(MountMatch {
            vhost: found.vhost,
            app: found.app?,
            stream: found.stream?,
        })
    }
}

/// What the variables stand for, as far as it is known.
#[derive(Default)]
struct Found {
    vhost: Option<String>,
    app: Option<String>,
    stream: Option<String>,
}

impl Found {
    fn take_all(&mut self, segments: &[Vec<Part>], names: &[String]) -> Option<()> {
        if segments.len() != names.len() {
            return None;
        }
        segments
            .iter()
            .zip(names)
            .try_for_each(|(segment, name)| self.take(segment, name))
    }

    /// Matches one segment.
    fn take(&mut self, parts: &[Part], name: &str) -> Option<()> {
        let (parts, name) = match parts {
            // The text at the end goes first, or `[stream].flv` would not match `a.flv.flv`.
            [before @ .., Part::Text(text)] => (before, name.strip_suffix(text.as_str())?),
            _ => (parts, name),
        };
        let mut rest = name;
        for (index, part) in parts.iter().enumerate() {
            if let Part::Text(text) = part {
                rest = rest.strip_prefix(text.as_str())?;
                continue;
            }
            let end = match parts.get(index + 1) {
                Some(Part::Text(text)) => {
                    // A variable is never empty: the text after it is looked for from the second character on.
                    let second = rest.chars().next()?.len_utf8();
                    second + rest.get(second..)?.find(text.as_str())?
                }
                _ => rest.len(),
            };
            let (value, after) = rest.split_at_checked(end)?;
            if value.is_empty() {
                return None;
            }
            match part {
                Part::Vhost => self.vhost = Some(value.to_ascii_lowercase()),
                Part::App => self.app = Some(value.to_owned()),
                Part::Stream => self.stream = Some(value.to_owned()),
                Part::Text(_) => {}
            }
            rest = after;
        }
        rest.is_empty().then_some(())
    }
}

/// Decodes one segment of a path, once (RFC 3986 §2.1).
pub(crate) fn decode(segment: &str) -> Result<String, BadPath> {
    let bytes = percent::decode(segment).ok_or(BadPath::Percent)?;
    let name = String::from_utf8(bytes).map_err(|_| BadPath::NotUtf8)?;
    if name.contains('/') {
        return Err(BadPath::EncodedSlash);
    }
    if name.chars().any(char::is_control) {
        return Err(BadPath::Control);
    }
    if name == "." || name == ".." {
        return Err(BadPath::Dots);
    }
    Ok(name)
}

impl FromStr for Mount {
    type Err = MountError;

    fn from_str(text: &str) -> Result<Self, MountError> {
        let path = text.strip_prefix('/').unwrap_or(text);
        // First, since it is what most who come from SRS will meet.
        let extension = Extension::ALL
            .into_iter()
            .find(|extension| path.ends_with(extension.suffix()));
        let Some(extension) = extension else {
            let other = NOT_SERVED.into_iter().find(|suffix| path.ends_with(suffix));
            return Err(other.map_or(MountError::NoExtension, MountError::NotServed));
        };
        let allowed =
            |c: char| !c.is_control() && !c.is_whitespace() && !"?#%\\*\"<>{}|^`,".contains(c);
        if let Some(c) = path.chars().find(|c| !allowed(*c)) {
            return Err(MountError::Character(c));
        }
        let mut segments = path
            .split('/')
            .map(parse_segment)
            .collect::<Result<Vec<_>, _>>()?;
        for (variable, name, needed) in [
            (Part::Vhost, "[vhost]", false),
            (Part::App, "[app]", true),
            (Part::Stream, "[stream]", true),
        ] {
            match segments
                .iter()
                .flatten()
                .filter(|part| **part == variable)
                .count()
            {
                0 if needed => return Err(MountError::MissingVariable(name)),
                0 | 1 => {}
                _ => return Err(MountError::Repeated(name)),
            }
        }
        let vhost_in_front = segments
            .first()
            .is_some_and(|first| *first == [Part::Vhost]);
        if vhost_in_front {
            segments.remove(0);
        }
        Ok(Mount {
            text: text.to_owned(),
            vhost_in_front,
            segments,
            extension,
        })
    }
}

fn parse_segment(segment: &str) -> Result<Vec<Part>, MountError> {
    if matches!(segment, "" | "." | "..") {
        return Err(MountError::Segment);
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = segment;
    while !rest.is_empty() {
        let Some(open) = rest.find(['[', ']']) else {
            parts.push(Part::Text(rest.to_owned()));
            break;
        };
        let (before, from_bracket) = rest.split_at_checked(open).ok_or(MountError::Bracket)?;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        let (name, after) = from_bracket
            .strip_prefix('[')
            .and_then(|inside| inside.split_once(']'))
            .ok_or(MountError::Bracket)?;
        let part = match name {
            "vhost" => Part::Vhost,
            "app" => Part::App,
            "stream" => Part::Stream,
            _ => return Err(MountError::UnknownVariable(format!("[{name}]"))),
        };
        if let Some(before) = parts.last().and_then(Part::name)
            && let Some(name) = part.name()
        {
            return Err(MountError::Adjacent(before, name));
        }
        parts.push(part);
        rest = after;
    }
    if parts.len() > 1 && parts.contains(&Part::Vhost) {
        return Err(MountError::PartialVhost);
    }
    Ok(parts)
}

impl Part {
    fn name(&self) -> Option<&'static str> {
        match self {
            Part::Text(_) => None,
            Part::Vhost => Some("[vhost]"),
            Part::App => Some("[app]"),
            Part::Stream => Some("[stream]"),
        }
    }
}

#[cfg(test)]
#[path = "mount_tests.rs"]
mod tests;
