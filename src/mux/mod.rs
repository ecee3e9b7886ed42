//! Frame → bytes: one file a format, no I/O, no locks.
//!
//! A muxer is made once for each format that a stream is played in, whatever the number of players. It is given each frame
//! once, in order, by [`Muxer::write`]. [`Muxer::start`] and [`Muxer::headers`] make what single players need besides, and
//! change nothing.

pub mod aac;
pub mod flv;
pub mod mp3;
pub mod rtmp;
mod support;
#[cfg(feature = "transcode")]
pub mod transcode;
pub mod ts;

use bytes::BytesMut;

use crate::media::{Frame, Tracks};

pub use aac::AacMux;
pub use flv::FlvMux;
pub use mp3::Mp3Mux;
pub use rtmp::RtmpMux;
pub use support::Unsupported;
#[cfg(feature = "transcode")]
pub use transcode::Transcoder;
pub use ts::TsMux;

/// The time on every onMetaData, wherever it stands: FFmpeg and what is built on it take a script tag with another time for a
/// subtitle, and show a text stream that is none.
const METADATA_MS: u64 = 0;

/// Makes the bytes of one format.
pub trait Muxer: Send {
    /// Appends what each joining player gets first, before the frame with the decoding time `dts_ms`. For FLV: the file
    /// header, PreviousTagSize0, onMetaData, sequence headers. Nothing for a format without a beginning.
    fn start(&self, _tracks: &Tracks, _dts_ms: u64, _out: &mut BytesMut) {}

    /// Appends what a player is given that skipped to the frame with the decoding time `dts_ms`, when the metadata or
    /// the sequence headers changed meanwhile. Nothing for a format that repeats them by itself.
    fn headers(&self, _tracks: &Tracks, _dts_ms: u64, _out: &mut BytesMut) {}

    /// Appends the bytes of one frame; nothing when the format has no place for it.
    fn write(&mut self, frame: &Frame, out: &mut BytesMut);

    /// Whether a player may start at `written`, what [`Muxer::write`] made of a frame of a stream without video.
    fn can_start(&self, _written: &[u8]) -> bool {
        true
    }
}
