//! Standing behind proxies.

mod forwarded;
mod listener;
pub mod protocol;

pub use forwarded::{TrustedProxies, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
pub use listener::{PROXY_HEADER, ProxiedConnections, ProxyProtocol};
