//! The keys for standing behind proxies, and for being one.

use super::kinds::words;

words! {
    /// Which header tells who asks, of those that trusted proxies send.
    pub enum ForwardedHeader {
        /// `X-Forwarded-For`; where there is none, `Forwarded`. A proxy that writes only the latter has to remove the former
        Any = "any",
        /// `X-Forwarded-For` alone
        XForwardedFor = "x-forwarded-for",
        /// `Forwarded` (RFC 7239) alone
        Forwarded = "forwarded",
    }
}
