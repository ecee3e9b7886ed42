//! What a stream is known to hold: metadata, sequence headers, which kinds of frames came.
//!
//! [`Tracks::update`] is given each frame once, in order; the rest are questions. A player that joins is told
//! [`Tracks::metadata`] and [`Tracks::headers`] before anything else.
//!
//! # Several tracks
//! Headers are kept for each (kind, track id) and for each purpose: an HDR `Metadata` packet or a `MultichannelConfig` does
//! not displace the `SequenceStart` of its track, nor the other way round.
//!
//! A multitrack packet may configure several tracks at once, and need not configure all that the stream has. It is kept
//! whole, because tag bodies are never rewritten, until each of its tracks was configured anew by later packets. Headers
//! are handed out in an order in which the newest one for each track is the last: by track while every packet has one
//! track, else in the order of arrival.
//!
//! # Codecs without a header
//! MP3, AC-3 and others are known by their frames alone, and a publisher may go on with such a codec where there was one with a header.
//! [`Tracks::unconfigured`] has what frames showed and no header says.
//!
//! # What ends a configuration
//! Only a newer one, or [`Tracks::clear`]. `SequenceEnd` takes nothing back: encoders send it when they stop, and what comes
//! next is either the end or a new header.

use std::sync::Arc;

use bytes::Bytes;

use super::codec::Codec;
use super::frame::{Frame, FrameKind};
use super::metadata::{MAX_METADATA_BYTES, Metadata};
use super::tag::{PacketType, Part};

/// How many headers are kept for each of video and audio. Multitrack publishers in the field send up to six renditions; with
/// HDR metadata and some room this is ample. Together with
/// [`MAX_HEADER_BYTES`](super::tag::MAX_HEADER_BYTES) it bounds what a publisher can make a stream keep. Headers beyond it
/// are passed on to the players of the moment, but those who join later do not get them.
pub const MAX_HEADERS: usize = 32;

/// How many bytes of a frame without a sequence header are kept: as far as the fields of an AC-3 frame reach that its descriptor in MPEG-TS
/// repeats.
const HEAD: usize = 7;

/// What a stream is known to hold, kept up to date frame by frame.
#[derive(Debug, Clone, Default)]
pub struct Tracks {
    /// Shared, because whoever remembers what was valid at a keyframe makes a copy of all this for each.
    metadata: Option<Arc<(Frame, Metadata)>>,
    video: Kind,
    audio: Kind,
}

impl Tracks {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of a frame. True when it changed the metadata or a sequence header (its bytes differ from what was
    /// known), so that players which skipped must be told.
    pub fn update(&mut self, frame: &Frame) -> bool {
        match frame.kind {
            FrameKind::Video => self.video.update(frame),
            FrameKind::Audio => self.audio.update(frame),
            FrameKind::Metadata => self.update_metadata(frame),
            FrameKind::Data => false,
        }
    }

    fn update_metadata(&mut self, frame: &Frame) -> bool {
        let known = self
            .metadata()
            .is_some_and(|known| known.payload == frame.payload);
        if known || frame.payload.len() > MAX_METADATA_BYTES {
            return false;
        }
        self.metadata = Some(Arc::new((detached(frame), Metadata::read(&frame.payload))));
        true
    }

    /// The newest onMetaData as it came.
    pub fn metadata(&self) -> Option<&Frame> {
        self.metadata.as_deref().map(|(frame, _)| frame)
    }

    /// The newest onMetaData, read.
    pub fn properties(&self) -> Option<&Metadata> {
        self.metadata.as_deref().map(|(_, properties)| properties)
    }

    /// The newest sequence headers: video first, then audio, each by track. A packet that configures several tracks comes
    /// once; see the module's text for the order then.
    pub fn headers(&self) -> impl Iterator<Item = &Frame> {
        self.video
            .headers
            .frames()
            .chain(self.audio.headers.frames())
    }

    /// Whether a video header or a coded picture was seen.
    pub fn has_video(&self) -> bool {
        self.video.seen
    }

    /// Whether an audio header or coded sound was seen.
    pub fn has_audio(&self) -> bool {
        self.audio.seen
    }

    /// The tracks of a kind whose newest frames have a codec for which no sequence header came. A header of another codec for the same track
    /// is out of date then.
    pub fn unconfigured(&self, kind: FrameKind) -> impl Iterator<Item = Unconfigured<'_>> {
        let frames = match kind {
            FrameKind::Video => &self.video.unconfigured[..],
            FrameKind::Audio => &self.audio.unconfigured,
            FrameKind::Metadata | FrameKind::Data => &[],
        };
        frames.iter().map(Seen::as_public)
    }

    /// Learns from what was known later in the same stream which codecs without a header will come, so that a player who begins here is told
    /// of them at once.
    pub(crate) fn expect(&mut self, later: &Tracks) {
        self.video.expect(&later.video);
        self.audio.expect(&later.audio);
    }

    /// Whether onMetaData says that there is video. None: no metadata, or it names no codec at all.
    pub fn announced_video(&self) -> Option<bool> {
        self.properties()?.announces_video()
    }

    /// Whether onMetaData says that there is audio. None: no metadata, or it names no codec at all.
    pub fn announced_audio(&self) -> Option<bool> {
        self.properties()?.announces_audio()
    }

    /// Forgets everything: another publisher begins.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A copy that stands in memory of its own: what is kept for hours must not hold on to the read buffer that the
/// payload is a slice of.
fn detached(frame: &Frame) -> Frame {
    Frame {
        payload: Bytes::copy_from_slice(&frame.payload),
        ..frame.clone()
    }
}

/// A track of which frames came without a sequence header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unconfigured<'a> {
    /// E-RTMP track id.
    pub track: u8,
    /// The frames' codec.
    pub codec: Codec,
    /// How the newest frame begins: its first bytes, at most seven, as [`Part::data`](super::Part::data) has them.
    pub head: &'a [u8],
}

/// What is known of one kind.
#[derive(Debug, Clone, Default)]
struct Kind {
    headers: Headers,
    unconfigured: Vec<Seen>,
    /// A header or a coded frame came.
    seen: bool,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    track: u8,
    codec: Codec,
    head: [u8; HEAD],
    size: usize,
}

impl Seen {
    fn new(part: &Part) -> Self {
        let mut head = [0; HEAD];
        for (to, from) in head.iter_mut().zip(&part.data) {
            *to = *from;
        }
        Self {
            track: part.track,
            codec: part.codec,
            head,
            size: part.data.len().min(HEAD),
        }
    }

    fn as_public(&self) -> Unconfigured<'_> {
        Unconfigured {
            track: self.track,
            codec: self.codec,
            head: self.head.get(..self.size).unwrap_or_default(),
        }
    }
}

impl Kind {
    fn update(&mut self, frame: &Frame) -> bool {
        if frame.sequence_header {
            self.seen = true;
            self.forget(frame);
            return self.headers.update(frame);
        }
        // Nearly all frames end here.
        let known = self.seen && self.unconfigured.is_empty() && !frame.may_have_tracks();
        if known && self.headers.configure(frame.track, frame.codec) {
            return false;
        }
        for part in frame.parts().flatten() {
            if part.packet == PacketType::CodedFrames {
                self.seen = true;
                self.note(&part);
            }
        }
        false
    }

    /// A header comes: what frames showed before is over, unless it says no more than they do.
    fn forget(&mut self, header: &Frame) {
        if self.unconfigured.is_empty() {
            return;
        }
        for part in header.parts().flatten() {
            if part.packet.is_configuration() {
                self.unconfigured.retain(|seen| {
                    seen.track != part.track || (seen.codec == part.codec && part.data.is_empty())
                });
            }
        }
    }

    fn note(&mut self, part: &Part) {
        if self.headers.configure(part.track, part.codec) {
            self.unconfigured.retain(|seen| seen.track != part.track);
            return;
        }
        let mut seen = self.unconfigured.iter_mut();
        if let Some(seen) = seen.find(|seen| seen.track == part.track) {
            *seen = Seen::new(part);
        } else if self.unconfigured.len() < MAX_HEADERS {
            self.unconfigured.push(Seen::new(part));
        }
    }

    fn expect(&mut self, later: &Kind) {
        for seen in &later.unconfigured {
            let known = self.headers.have_record(seen.track)
                || self.unconfigured.iter().any(|own| own.track == seen.track);
            if !known {
                self.unconfigured.push(*seen);
            }
        }
    }
}

/// Why a header is kept beside another of the same track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Configuration,
    Colour,
    Channels,
}

impl Purpose {
    fn of(packet: PacketType) -> Self {
        match packet {
            PacketType::Metadata => Purpose::Colour,
            PacketType::MultichannelConfig => Purpose::Channels,
            _ => Purpose::Configuration,
        }
    }
}

/// The headers of one kind.
#[derive(Debug, Clone, Default)]
struct Headers {
    kept: Vec<Header>,
    /// Number of the next header that is kept.
    arrivals: u64,
}

#[derive(Debug, Clone)]
struct Header {
    frame: Frame,
    purpose: Purpose,
    /// The tracks for which this is the newest header of its purpose; never empty.
    tracks: Vec<u8>,
    /// How many tracks the packet has.
    size: usize,
    /// Which tracks it gives a record, of which codec. Another header may have taken some of them over.
    records: Vec<(u8, Codec)>,
    arrival: u64,
}

impl Headers {
    fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.kept.iter().map(|header| &header.frame)
    }

    fn have_record(&self, track: u8) -> bool {
        let mut records = self.kept.iter().flat_map(|header| &header.records);
        records.any(|(known, _)| *known == track)
    }

    /// Whether the newest header of a track is a record of this codec.
    fn configure(&self, track: u8, codec: Codec) -> bool {
        self.kept.iter().any(|header| {
            header.records.contains(&(track, codec)) && header.tracks.contains(&track)
        })
    }

    fn update(&mut self, frame: &Frame) -> bool {
        let (mut tracks, mut records) = (Vec::new(), Vec::new());
        let mut purpose = Purpose::Configuration;
        for part in frame.parts().flatten() {
            purpose = Purpose::of(part.packet);
            // FFmpeg begins with an empty record when it has none yet, and for AC-3 never sends another.
            if part.packet.is_configuration() && !part.data.is_empty() {
                records.push((part.track, part.codec));
            }
            if !tracks.contains(&part.track) {
                tracks.push(part.track);
            }
        }
        if tracks.is_empty() {
            return false;
        }
        // The same bytes again change nothing, unless a part of them was superseded meanwhile.
        let size = tracks.len();
        if self.kept.iter().any(|header| {
            header.frame.payload == frame.payload && header.tracks.len() == header.size
        }) {
            return false;
        }
        for header in self
            .kept
            .iter_mut()
            .filter(|header| header.purpose == purpose)
        {
            header.tracks.retain(|track| !tracks.contains(track));
        }
        self.kept.retain(|header| !header.tracks.is_empty());
        if self.kept.len() < MAX_HEADERS {
            let frame = detached(frame);
            self.kept.push(Header {
                frame,
                purpose,
                tracks,
                size,
                records,
                arrival: self.arrivals,
            });
            self.arrivals += 1;
        }
        self.sort();
        true
    }

    fn sort(&mut self) {
        if self.kept.iter().all(|header| header.size == 1) {
            self.kept
                .sort_by_key(|header| (header.frame.track, header.purpose));
        } else {
            self.kept.sort_by_key(|header| header.arrival);
        }
    }
}

#[cfg(test)]
mod tests;
