//! The path of a request as names of files.
//!
//! It is decoded once. What could mean another place than it says is refused as a whole: an empty segment, `.` and `..`, a slash or a
//! zero byte in disguise. A name that begins with a dot is refused like one that is not there: such files are
//! hidden for a reason (`.git`, `.htpasswd`).

use crate::percent;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use thiserror::Error;

/// Why a path names no file, whatever there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadPath {
    /// It does not begin with a slash.
    #[error("it does not begin with a slash")]
    Relative,
    /// A `%` without two hexadecimal digits (RFC 3986 §2.1).
    #[error("a % is not followed by two hexadecimal digits")]
    Percent,
    /// `%2F`: a slash that would be part of a name.
    #[error("it holds an encoded slash")]
    EncodedSlash,
    /// A control character, zero among them.
    #[error("it holds a control character")]
    Control,
    /// Nothing between two slashes.
    #[error("it holds an empty segment")]
    Empty,
    /// A segment that is `.` or `..`, encoded or not.
    #[error("it holds a segment of dots")]
    Dots,
    /// A name that begins with a dot.
    #[error("it names a hidden file")]
    Hidden,
}

/// The names of a path, decoded. Displays as it would stand in an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath {
    names: Vec<OsString>,
    folder: bool,
}

impl FilePath {
    /// Reads the path of a request, percent-encoded, without the query.
    ///
    /// # Errors
    /// [`BadPath`].
    pub fn parse(path: &str) -> Result<Self, BadPath> {
        let path = path.strip_prefix('/').ok_or(BadPath::Relative)?;
        if path.is_empty() {
            // The root itself.
            return Ok(Self {
                names: Vec::new(),
                folder: true,
            });
        }
        let (path, folder) = match path.strip_suffix('/') {
            Some(path) => (path, true),
            None => (path, false),
        };
        let names = path.split('/').map(name).collect::<Result<_, _>>()?;
        Ok(Self { names, folder })
    }

    /// From the root on.
    pub fn names(&self) -> &[OsString] {
        &self.names
    }

    /// It ends in a slash.
    pub fn is_folder(&self) -> bool {
        self.folder
    }
}

fn name(segment: &str) -> Result<OsString, BadPath> {
    let bytes = percent::decode(segment).ok_or(BadPath::Percent)?;
    match bytes.as_slice() {
        [] => Err(BadPath::Empty),
        [b'.'] | [b'.', b'.'] => Err(BadPath::Dots),
        bytes if bytes.contains(&b'/') => Err(BadPath::EncodedSlash),
        bytes if bytes.iter().any(u8::is_ascii_control) => Err(BadPath::Control),
        [b'.', ..] => Err(BadPath::Hidden),
        _ => Ok(OsString::from_vec(bytes)),
    }
}

/// A name as it stands in an address: all but RFC 3986's unreserved characters encoded (§2.3).
pub fn encode(name: &OsStr, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in name.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 0x0f] {
                out.push(char::from(
                    HEX.get(usize::from(digit)).copied().unwrap_or(b'0'),
                ));
            }
        }
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        for name in &self.names {
            out.push('/');
            encode(name, &mut out);
        }
        if self.folder {
            out.push('/');
        }
        f.write_str(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_once() {
        for (path, names, folder) in [
            ("/", &[][..], true),
            ("/a", &["a"][..], false),
            ("/a/", &["a"][..], true),
            ("/vod/film.flv", &["vod", "film.flv"][..], false),
            ("/a%20b/%C3%BC.mp4", &["a b", "ü.mp4"][..], false),
            ("/%252e%252e/x", &["%2e%2e", "x"][..], false),
            ("/a..b/c.", &["a..b", "c."][..], false),
            ("/back\\slash", &["back\\slash"][..], false),
        ] {
            let parsed = FilePath::parse(path).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert_eq!(
                (parsed.names(), parsed.is_folder()),
                (
                    &names.iter().map(OsString::from).collect::<Vec<_>>()[..],
                    folder
                ),
                "{path}"
            );
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        for (path, why) in [
            ("", BadPath::Relative),
            ("a", BadPath::Relative),
            ("//", BadPath::Empty),
            ("//a", BadPath::Empty),
            ("/a//b", BadPath::Empty),
            ("/a//", BadPath::Empty),
            ("/..", BadPath::Dots),
            ("/../etc/passwd", BadPath::Dots),
            ("/a/./b", BadPath::Dots),
            ("/%2e%2E/x", BadPath::Dots),
            ("/a/.%2e", BadPath::Dots),
            ("/..%2fetc", BadPath::EncodedSlash),
            ("/a%2Fb", BadPath::EncodedSlash),
            ("/a%00.flv", BadPath::Control),
            ("/a%0d%0ab", BadPath::Control),
            ("/a%7f", BadPath::Control),
            ("/a%", BadPath::Percent),
            ("/a%2", BadPath::Percent),
            ("/a%zz", BadPath::Percent),
            ("/.git/config", BadPath::Hidden),
            ("/%2egit/config", BadPath::Hidden),
            ("/a/.htpasswd", BadPath::Hidden),
            ("/...", BadPath::Hidden),
        ] {
            assert_eq!(FilePath::parse(path), Err(why), "{path}");
        }
    }

    #[test]
    fn names_are_encoded_for_addresses() {
        let mut out = String::new();
        encode(OsStr::from_bytes(b"a b/\xff%~.flv"), &mut out);
        assert_eq!(out, "a%20b%2F%FF%25~.flv");
        for path in ["/", "/a", "/a/", "/x%20y/%C3%BC.flv"] {
            assert_eq!(FilePath::parse(path).expect("a path").to_string(), path);
        }
    }
}
