//! What can be wrong with a configuration, and where.
//!
//! All errors of a file are collected, so that an operator mends it in one go. Each names the place (file, line and
//! column, or the environment variable), the key, what was found there, and what is accepted.

use std::fmt;
use std::sync::Arc;

/// The longest value that is repeated in an error, in characters: enough to recognise it, short enough for one line.
const MAX_FOUND_CHARS: usize = 60;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody set it: it is the built-in default, or was set by code.
    #[default]
    Default,
    /// A place in a YAML file.
    File {
        /// The name of the file, as it was given.
        name: Arc<str>,
        /// The line, counted from 1; 0 stands for the file as a whole.
        line: usize,
        /// The column in characters, counted from 1.
        column: usize,
    },
    /// An environment variable.
    Environment {
        /// The name of the variable, such as `PINGORA_LIVE_HTTP_LISTEN`.
        name: Arc<str>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("defaults"),
            Origin::File { name, line: 0, .. } => f.write_str(name),
            Origin::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Origin::Environment { name } => write!(f, "environment: {name}"),
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {}{problem}", KeyPrefix(key))]
pub struct ConfigError {
    /// Where the value came from.
    pub origin: Origin,
    /// The path of the key, such as `live.http.listen`; empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong with it.
    pub problem: Problem,
}

struct KeyPrefix<'a>(&'a str);

impl fmt::Display for KeyPrefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, "{}: ", self.0)
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is not YAML, or uses a part of YAML that has no meaning here.
    #[error("not valid YAML: {message}")]
    Syntax {
        /// What the parser stumbled on.
        message: String,
    },
    /// The file of the configuration cannot be read.
    #[error("cannot be read: {message}")]
    Unreadable {
        /// Why.
        message: String,
    },
    /// There is no such key at this place.
    #[error("unknown key; {hint}")]
    UnknownKey {
        /// The nearest known key, where the key belongs, or which keys are known here.
        hint: String,
    },
    /// There is no such environment variable.
    #[error("unknown name; {hint}")]
    UnknownVariable {
        /// The nearest known name, or where to find all of them.
        hint: String,
    },
    /// A key that is known from other servers or planned, and would have no effect here.
    #[error("not served by this version")]
    NotServed,
    /// A value of the wrong type, form, unit or range.
    #[error("found {found}; accepted is {accepted}{}", Hint(hint))]
    Invalid {
        /// What stands there.
        found: String,
        /// What would be accepted.
        accepted: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// The same key twice in one mapping.
    #[error("set twice; the first is on line {first_line}")]
    Duplicate {
        /// The line of the first one.
        first_line: usize,
    },
    /// A value that has no default is absent.
    #[error("missing; {needed}")]
    Missing {
        /// What has to be there, and why.
        needed: String,
    },
    /// Values that are good each, but not together.
    #[error("{message}")]
    Conflict {
        /// Which values, and why they exclude each other.
        message: String,
    },
    /// A file that cannot be used.
    #[error("{path}: {message}")]
    File {
        /// The path, as it was given.
        path: String,
        /// What is wrong with the file.
        message: String,
    },
}

struct Hint<'a>(&'a Option<String>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// All that is wrong with a configuration: never empty. Shown one error a line, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `Ok(())` when nothing was found, else all of it.
    pub(super) fn check(mut errors: Vec<ConfigError>) -> Result<(), ConfigErrors> {
        if errors.is_empty() {
            return Ok(());
        }
        // Errors of the file stand in its order, then those of the environment; equal places stay as they were found.
        errors.sort_by_key(|error| match &error.origin {
            Origin::File { line, column, .. } => (0, *line, *column),
            Origin::Environment { .. } => (1, 0, 0),
            Origin::Default => (2, 0, 0),
        });
        Err(ConfigErrors(errors))
    }

    pub(super) fn one(error: ConfigError) -> ConfigErrors {
        ConfigErrors(vec![error])
    }

    /// The errors, at least one.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A value as an error repeats it: in quotes, without control characters, cut when it is long.
pub(super) fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(MAX_FOUND_CHARS).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}
