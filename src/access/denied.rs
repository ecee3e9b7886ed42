//! Why somebody may not, for the log; and what is told to the client, which is less.

use crate::observe::Denial;

use super::tokens::BadToken;
use super::{hooks, rules};

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
    #[error(transparent)]
    Hook(#[from] hooks::Refused),
}

/// How a client is answered. Each protocol has its own words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It showed nothing that could let it in: HTTP's 401.
    Unauthorized,
    /// It may not: HTTP's 403.
    Forbidden,
    /// It cannot be said now whether it may: HTTP's 503.
    Unavailable,
}

impl Denied {
    /// What it is counted as.
    pub(crate) fn denial(&self) -> Denial {
        match &self.0 {
            Why::Address(_) => Denial::Address,
            Why::Refer(_) => Denial::Refer,
            Why::Hook(hooks::Refused::No { .. }) => Denial::Hook,
            Why::Hook(hooks::Refused::Failed { .. }) => Denial::HookFailed,
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
            Why::Hook(hooks::Refused::Failed { .. }) => Answer::Unavailable,
            _ => Answer::Forbidden,
        }
    }

    /// What the client is told. No more than the status says: a reason would help nobody but somebody who tries.
    pub(crate) fn told(&self) -> &'static str {
        match self.answer() {
            Answer::Unauthorized => "a signed URL is needed",
            Answer::Forbidden => "not allowed",
            Answer::Unavailable => "try again later",
        }
    }
}
