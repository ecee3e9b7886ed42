//! Whether a stream can be given in a format, in words for people.

use bytes::Bytes;
use thiserror::Error;

use super::aac::AdtsError;
use crate::media::{Codec, FrameKind, Part, Tracks};

/// Why a stream cannot be given in a format. `Display` makes one line for the person who asked for it:
/// `the stream's audio is Opus, which has no place in ADTS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// The format has nothing but a kind of track that the stream has not.
    #[error("the stream has no {kind}")]
    Missing {
        /// `audio` or `video`.
        kind: &'static str,
    },
    /// The format knows the kind of track, but not the codec.
    #[error("the stream's {kind} is {codec}, which has no place in {format}")]
    Codec {
        /// `audio` or `video`.
        kind: &'static str,
        /// What the stream has.
        codec: Codec,
        /// What the format is called.
        format: &'static str,
    },
    /// The format knows AAC, but not of this sort.
    #[error("the stream's AAC has no place in {format}: {reason}")]
    Aac {
        /// What the format is called.
        format: &'static str,
        /// What is wrong with it.
        #[source]
        reason: AdtsError,
    },
    /// The stream's AAC would have to become MP3, and cannot.
    #[cfg(feature = "transcode")]
    #[error("the stream's AAC cannot be converted to MP3: {reason}")]
    Transcode {
        /// Why not.
        #[source]
        reason: super::transcode::TranscodeError,
    },
}

/// What is known of a stream's tracks of one kind: codec and configuration, which is a record but for AV1, of which it may be a descriptor. Without a record where frames say what the codec is and no
/// header does. Empty when there is no such track.
pub(super) fn known(tracks: &Tracks, kind: FrameKind) -> Vec<(Codec, Bytes)> {
    let frames: Vec<_> = tracks.unconfigured(kind).collect();
    let newer = |part: &Part| {
        let frame = frames.iter().find(|frame| frame.track == part.track);
        frame.is_some_and(|frame| frame.codec != part.codec)
    };
    let mut known: Vec<_> = tracks
        .headers()
        .filter(|header| header.kind == kind)
        .flat_map(|header| header.parts().flatten())
        .filter(|part| part.packet.is_configuration() && !newer(part))
        .map(|part| (part.codec, part.data))
        .collect();
    known.extend(frames.iter().map(|frame| (frame.codec, Bytes::new())));
    known
}

/// Whether the stream has no audio, as far as can be known: none was seen, and what was announced is something else.
pub(super) fn lacks_audio(tracks: &Tracks) -> bool {
    let other = tracks.has_video() || tracks.announced_audio() == Some(false);
    other && !tracks.has_audio() && tracks.announced_audio() != Some(true)
}
