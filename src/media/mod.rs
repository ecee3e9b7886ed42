//! What a frame is: tag bodies, codecs, tracks and time. No I/O, no clock.
//!
//! A publisher's message goes through here once, in this order:
//!
//! 1. [`metadata::classify`] for a script message: is it `onMetaData`, or other data?
//! 2. [`Frame::parse`]: which track, which codec, keyframe, sequence header, composition time ([`tag`]).
//! 3. [`Timeline::stamp_frame`]: the publisher's 32-bit timestamp becomes a place on the stream's 64-bit timeline.
//! 4. [`MixCorrect`], when the vhost asks for it: audio and video in one order.
//! 5. [`Tracks::update`]: what a player that joins later has to be told first.
//!
//! [`codec`] says what a sequence header means (picture size, sample rate), for logs and for muxers that need to know.
//! [`flv`] reads FLV files.

pub mod codec;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod flv;
pub mod frame;
pub mod metadata;
pub mod mix;
pub(crate) mod read;
pub mod tag;
pub mod timeline;
pub mod tracks;

pub use codec::{Codec, CodecId};
pub use frame::{Frame, FrameKind};
pub use metadata::Metadata;
pub use mix::MixCorrect;
pub use tag::{PacketType, Part, Parts, TagError};
pub use timeline::{TimeJitter, Timeline};
pub use tracks::Tracks;
