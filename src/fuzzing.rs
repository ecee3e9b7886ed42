//! What `fuzz/` needs of rooms that are not public. No part of the interface.

pub use crate::access::fuzzing as access;
pub use crate::api::fuzzing as api;
pub use crate::play::fuzzing as play;
pub use crate::relay::fuzzing as relay;
