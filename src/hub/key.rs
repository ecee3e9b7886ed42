//! The name of a stream: vhost, app and stream, in one canonical form for every protocol.

use std::fmt;

use thiserror::Error;

/// Longest app or stream name, in bytes. RTMP's short strings end at 65,535; nobody names a stream in more than this,
/// and names stand in maps, logs and metrics.
pub const MAX_NAME_BYTES: usize = 512;

/// Identifies one stream in the hub.
///
/// `vhost` is the *configured* name (`__defaultVhost__` for every host that is not configured), so a stream published to
/// `localhost` is found by a player that asks for `127.0.0.1`, as in SRS.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    vhost: String,
    app: String,
    stream: String,
}

/// Why a name cannot be a stream's.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing stands before or after the last slash.
    #[error("the {part} name is empty")]
    Empty {
        /// `app` or `stream`.
        part: &'static str,
    },
    /// Longer than [`MAX_NAME_BYTES`].
    #[error("the {part} name has {bytes} bytes, at most {MAX_NAME_BYTES} are taken")]
    TooLong {
        /// `app` or `stream`.
        part: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// A control character, a backslash, or a `.`, `..` or empty segment.
    #[error("the {part} name holds {what}")]
    Forbidden {
        /// `app` or `stream`.
        part: &'static str,
        /// What was found.
        what: &'static str,
    },
}

impl StreamKey {
    /// Builds a key from what a client named. The app may hold slashes, and clients differ in where they cut
    /// `rtmp://host/a/b/c` (FFmpeg: `a/b` and `c`; others: `a` and `b/c`): both are joined here and cut at the last
    /// slash.
    ///
    /// # Errors
    /// [`NameError`] for a name that is empty, too long, or could mean something else in a path or a log.
    pub fn new(vhost: &str, app: &str, stream: &str) -> Result<Self, NameError> {
        let app = app.trim_matches('/');
        let stream = stream.trim_matches('/');
        if stream.is_empty() {
            return Err(NameError::Empty { part: "stream" });
        }
        let (app, stream) = match stream.rsplit_once('/') {
            Some((more, last)) if app.is_empty() => (more.to_owned(), last),
            Some((more, last)) => (format!("{app}/{more}"), last),
            None => (app.to_owned(), stream),
        };
        check("app", &app)?;
        check("stream", stream)?;
        Ok(Self {
            vhost: vhost.to_owned(),
            app,
            stream: stream.to_owned(),
        })
    }

    /// The configured vhost, `__defaultVhost__` when none matched.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// The app, which may hold slashes.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The stream's name, without slashes.
    pub fn stream(&self) -> &str {
        &self.stream
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.vhost, self.app, self.stream)
    }
}

fn check(part: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { part });
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong {
            part,
            bytes: name.len(),
        });
    }
    let forbidden = |what| Err(NameError::Forbidden { part, what });
    if name.chars().any(char::is_control) {
        return forbidden("a control character");
    }
    if name.contains('\\') {
        return forbidden("a backslash");
    }
    for segment in name.split('/') {
        match segment {
            "" => return forbidden("an empty segment"),
            "." | ".." => return forbidden("a dot segment"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_cut_the_path_differently_name_the_same_stream() {
        let a = StreamKey::new("v", "a/b", "c").unwrap();
        let b = StreamKey::new("v", "a", "b/c").unwrap();
        let c = StreamKey::new("v", "a/", "/b/c").unwrap();
        assert_eq!(a, b);
        assert_eq!(a, c);
        assert_eq!((a.app(), a.stream()), ("a/b", "c"));
        assert_eq!(a.to_string(), "v/a/b/c");
    }

    #[test]
    fn names_that_mean_something_else_are_refused() {
        for (app, stream) in [
            ("", "s"),
            ("live", ""),
            ("live", "/"),
            ("..", "s"),
            ("live", ".."),
            ("a//b", "s"),
            ("live", "a\nb"),
            ("live", "a\\b"),
            ("live", &"x".repeat(MAX_NAME_BYTES + 1)),
        ] {
            assert!(
                StreamKey::new("v", app, stream).is_err(),
                "{app:?} {stream:?}"
            );
        }
    }
}
