//! The sessions: messages in, events and replies out. [`server`] has one end of a connection, [`client`] the other; what they have in
//! common is in `core.rs` (the calls of their driver) and `wire.rs` (bytes to messages and back).

pub mod client;
mod core;
mod payload;
pub mod server;
#[cfg(test)]
mod tests;
mod wire;
