//! The chunk layer (RTMP 1.0 §5.3): messages cut into chunks and interleaved, and back.
//!
//! [`Decoder`] takes whole chunks off the front of a buffer and hands out whole messages; [`Encoder`] appends a
//! message as chunks. Neither interprets a message: that a Set Chunk Size or Abort message came must be told to
//! the decoder by its owner, before the next call.

mod decoder;
mod encoder;
#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use encoder::{Encoder, encode_absolute};

/// RTMP §5.3.1.3: a timestamp field with this value says that 32 bits follow.
const EXTENDED: u32 = 0x00ff_ffff;
