//! Standing behind proxies, and being one.
//!
//! *Behind*: [`TrustedProxies`] says who asks, by the headers of those that are believed; [`ProxyProtocol`] reads what load balancers
//! send ahead of a connection, and [`protocol`] is its format. *Being one*: [`Router`] finds the upstream for a request that is not
//! live and [`Forwarding`] takes it there, with pingora's load balancing and health checks.

mod forward;
mod forwarded;
mod listener;
pub mod protocol;
mod routes;
mod upstream;

pub use forward::{Forwarding, Router};
pub use forwarded::{TrustedProxies, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
pub use listener::{PROXY_HEADER, ProxiedConnections, ProxyProtocol};
pub use routes::{Asked, Route, Routes};
pub use upstream::{Upstream, UpstreamError};
