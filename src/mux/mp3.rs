//! HTTP-MP3: MPEG audio without end.
//!
//! - *Passes through*: the frames of one MP3 track, byte by byte: the one with the lowest id seen, when a stream has several.
//! - *Is dropped*: all else, and messages that do not begin with the header of a layer III frame.
//!
//! Each frame has its own header, so players start anywhere, and [`Muxer::start`] and [`Muxer::headers`] write nothing. A
//! decoder that starts in mid-stream may leave out the first frame: its bits can begin in the one before.

use bytes::{BufMut, BytesMut};

use super::Muxer;
use super::support::{self, Unsupported};
use crate::media::{Codec, Frame, FrameKind, PacketType, Part, Tracks};

/// Which half of the standards a layer III frame belongs to: they have different names in MPEG-TS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// ISO/IEC 11172-3: 32 kHz and more.
    Mpeg1,
    /// ISO/IEC 13818-3 (half the rates), and the unofficial MPEG-2.5 (a quarter).
    Lower,
}

/// Reads the header of a frame (ISO/IEC 11172-3 §2.4.1.3). None when it is not one of layer III.
pub(super) fn version(frame: &[u8]) -> Option<Version> {
    const LAYER_3: u8 = 1;
    let &[0xff, second, third, _, ..] = frame else {
        return None;
    };
    let (sync, layer) = (second >> 5 == 7, second >> 1 & 3);
    let (bit_rate, sample_rate) = (third >> 4, third >> 2 & 3);
    if !sync || layer != LAYER_3 || bit_rate == 15 || sample_rate == 3 {
        return None;
    }
    match second >> 3 & 3 {
        3 => Some(Version::Mpeg1),
        0 | 2 => Some(Version::Lower),
        _ => None,
    }
}

/// Makes MP3. See the [module](self).
#[derive(Debug, Clone, Default)]
pub struct Mp3Mux {
    track: Option<u8>,
    dropped: u64,
}

impl Mp3Mux {
    /// Nothing has to be known: MP3 has no configuration.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether this stream can be given as MP3, as far as is known; AAC counts where it can be converted, which is done before this
    /// muxer. A stream with audio of which nothing came yet may be MP3.
    ///
    /// # Errors
    /// [`Unsupported`] says why not.
    pub fn supports(tracks: &Tracks) -> Result<(), Unsupported> {
        if support::lacks_audio(tracks) {
            return Err(Unsupported::Missing { kind: "audio" });
        }
        let known = support::known(tracks, FrameKind::Audio);
        #[cfg(feature = "transcode")]
        if let Some((_, config)) = known.iter().find(|(codec, _)| *codec == Codec::Aac)
            && known.iter().all(|(codec, _)| *codec != Codec::Mp3)
        {
            // Without a config yet, as from onMetaData alone, nothing speaks against it.
            return match config.is_empty() {
                true => Ok(()),
                false => super::Transcoder::supports(config)
                    .map_err(|reason| Unsupported::Transcode { reason }),
            };
        }
        match known.first() {
            Some(&(codec, _)) if known.iter().all(|(codec, _)| *codec != Codec::Mp3) => {
                Err(Unsupported::Codec {
                    kind: "audio",
                    codec,
                    format: "MP3",
                })
            }
            _ => Ok(()),
        }
    }

    /// Coded audio frames of which nothing was written, other tracks included.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn frame(&mut self, part: &Part, out: &mut BytesMut) -> Option<()> {
        if part.codec != Codec::Mp3 {
            return None;
        }
        version(&part.data)?;
        let track = self.track.map_or(part.track, |t| t.min(part.track));
        self.track = Some(track);
        if part.track != track {
            return None;
        }
        out.reserve(part.data.len());
        out.put_slice(&part.data);
        Some(())
    }
}

impl Muxer for Mp3Mux {
    fn write(&mut self, frame: &Frame, out: &mut BytesMut) {
        if frame.kind != FrameKind::Audio {
            return;
        }
        for part in frame.parts().map_while(Result::ok) {
            if part.packet == PacketType::CodedFrames && self.frame(&part, out).is_none() {
                self.dropped += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
