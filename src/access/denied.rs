//! Why somebody may not, for the log; and what is told to the client, which is less.

use crate::observe::Denial;

use super::rules;
use super::tokens::BadToken;

/// Why a client may not. Its `Display` is for the log alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Denied(#[from] Why);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Why {
    #[error("denied by {0}")]
    Address(#[from] rules::Refused),
    #[error("the page is none of those that may: {}", .0.as_deref().unwrap_or("none"))]
    Refer(Option<String>),
    #[error(transparent)]
    Token(#[from] BadToken),
}

/// How a client is answered. Each protocol has its own words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It showed nothing that could let it in: HTTP's 401.
    Unauthorized,
    /// It may not: HTTP's 403.
    Forbidden,
}

impl Denied {
    /// What it is counted as.
    pub(crate) fn denial(&self) -> Denial {
        match &self.0 {
            Why::Address(_) => Denial::Address,
            Why::Refer(_) => Denial::Refer,
            Why::Token(BadToken::Missing) => Denial::TokenMissing,
            Why::Token(BadToken::Expired(_)) => Denial::TokenExpired,
            Why::Token(BadToken::UsedUp(_) | BadToken::TooMany) => Denial::TokenUsed,
            Why::Token(BadToken::Malformed(_) | BadToken::Wrong) => Denial::TokenWrong,
        }
    }

    /// How the client is answered.
    pub(crate) fn answer(&self) -> Answer {
        match &self.0 {
            Why::Token(BadToken::Missing) => Answer::Unauthorized,
            _ => Answer::Forbidden,
        }
    }

    /// What the client is told. No more than the status says: a reason would help nobody but somebody who tries.
    pub(crate) fn told(&self) -> &'static str {
        match self.answer() {
            Answer::Unauthorized => "a signed URL is needed",
            Answer::Forbidden => "not allowed",
        }
    }
}
