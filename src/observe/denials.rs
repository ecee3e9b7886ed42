//! Who was refused, counted by reason.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a client was refused. The names are those of logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// Its address (`security`).
    Address,
    /// The page that it came from (`refer`).
    Refer,
    /// Its URL is not signed.
    TokenMissing,
    /// The signature of its URL is wrong.
    TokenWrong,
    /// Its URL has expired.
    TokenExpired,
    /// Its URL was used too often.
    TokenUsed,
    /// A back end said no (`http_hooks`).
    Hook,
    /// A back end did not answer.
    HookFailed,
}

impl Denial {
    /// All of them.
    pub const ALL: [Denial; 8] = [
        Self::Address,
        Self::Refer,
        Self::TokenMissing,
        Self::TokenWrong,
        Self::TokenExpired,
        Self::TokenUsed,
        Self::Hook,
        Self::HookFailed,
    ];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Refer => "refer",
            Self::TokenMissing => "token_missing",
            Self::TokenWrong => "token_wrong",
            Self::TokenExpired => "token_expired",
            Self::TokenUsed => "token_used",
            Self::Hook => "hook",
            Self::HookFailed => "hook_failed",
        }
    }
}

/// Counts of refusals.
#[derive(Debug, Default)]
pub struct Denials([AtomicU64; Denial::ALL.len()]);

impl Denials {
    fn of(&self, denial: Denial) -> Option<&AtomicU64> {
        let at = Denial::ALL.iter().position(|known| *known == denial)?;
        self.0.get(at)
    }

    pub(crate) fn count(&self, denial: Denial) {
        if let Some(counter) = self.of(denial) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were refused for this reason.
    pub fn get(&self, denial: Denial) -> u64 {
        self.of(denial)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_count_and_a_name_of_its_own() {
        let denials = Denials::default();
        for (times, denial) in Denial::ALL.into_iter().enumerate() {
            for _ in 0..times {
                denials.count(denial);
            }
        }
        for (times, denial) in Denial::ALL.into_iter().enumerate() {
            assert_eq!(denials.get(denial), times as u64);
            let same = Denial::ALL.iter().filter(|d| d.name() == denial.name());
            assert_eq!(same.count(), 1);
        }
    }
}
