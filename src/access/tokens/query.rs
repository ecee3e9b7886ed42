//! A query's parameters, as tokens need them: each at most once, percent-decoded.

use std::borrow::Cow;

use crate::percent;

use super::BadToken;

/// Parameters that are looked at; a query of 8 KiB has hardly more, and one over RTMP may be 64 KiB.
const MAX_PARAMETERS: usize = 1_000;

/// What follows `?` in an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a>(pub(crate) &'a str);

impl<'a> Query<'a> {
    /// The value of a parameter. One that stands twice is refused unless both say the same: what signs and what is signed must not be
    /// read differently by two readers.
    pub(super) fn get(&self, name: &str) -> Result<Option<Cow<'a, str>>, BadToken> {
        let mut found: Option<&'a str> = None;
        let pairs = self.0.split('&').take(MAX_PARAMETERS);
        for (key, value) in pairs.filter_map(|pair| pair.split_once('=')) {
            if key != name {
                continue;
            }
            if found.is_some_and(|before| before != value) {
                return Err(BadToken::Malformed("a parameter stands in it twice"));
            }
            found = Some(value);
        }
        let Some(value) = found.filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        if !value.contains('%') {
            return Ok(Some(Cow::Borrowed(value)));
        }
        let decoded = percent::decode(value).and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or(BadToken::Malformed("a parameter is encoded wrongly"))?;
        Ok(Some(Cow::Owned(decoded)))
    }

    /// A parameter without which there is no signature.
    pub(super) fn need(&self, name: &str) -> Result<Cow<'a, str>, BadToken> {
        self.get(name)?.ok_or(BadToken::Missing)
    }
}
