//! HTTP-TS: an MPEG-2 transport stream (ISO/IEC 13818-1) without end.
//!
//! - *Is transformed*: H.264 and H.265 become byte streams with delimiters and, where players may start, the sequence header's
//!   parameter sets; AV1 gets start codes and its sequence header (`av1.rs`); AAC gets ADTS headers; Opus gets control headers. MP3, AC-3 and
//!   E-AC-3 pass through as they are. One frame is one PES packet. Times are 90 kHz, modulo 2^33 ([`clock`]).
//! - *Is added*: PAT and PMT at each keyframe of the first video track, and each 100 ms; clock references each 40 ms.
//! - *Is dropped*: all script data; other codecs; frames that came before
//!   their sequence header; frames that are broken or too large for their framing. [`TsMux::dropped`] counts the coded ones.
//!
//! # Tracks
//! All tracks of a stream are given, up to [`MAX_TRACKS`]: video track `n` on PID 0x100 + n, audio track `n` on 0x200 + n. The
//! first video track, by id, carries the clock references; without video it is the first audio track. A track is in the PMT
//! since its sequence header, or first frame where the codec has no header. A change of the PMT raises its version, and the PMT
//! is written before what follows. A track leaves the PMT only when its codec becomes one that has no place here.
//!
//! # Where players start
//! What [`Muxer::write`] appends is whole packets, and at a keyframe of the first video track it begins with PAT and PMT. So a
//! player may start anywhere, and best there, and needs nothing before: [`Muxer::start`] and [`Muxer::headers`] write
//! nothing. They must not: the tables' continuity counters run on from unit to unit, and a table of a joiner's own would
//! either repeat a counter or break the count (§2.4.3.3 allows a repetition only of the very same packet, right after it).
//! Without video, players start where the tables stand ([`Muxer::can_start`]), which they do each 100 ms.
//!
//! A player that skips finds gaps in the counters, as after any loss, and goes on with the tables and parameter sets at the
//! keyframe.
//!
//! # Limits
//! Audio takes a PES packet for each frame, so that it is not held back; low rates pay for it with stuffing. A frame that comes
//! more than [`clock::DELAY_MS`] later than one of another track with the same time is behind the clock.

mod av1;
pub mod clock;
mod format;
mod nal;
mod packet;
mod psi;

use bytes::BytesMut;

use self::clock::{Clock, Stamps};
use self::format::Format;
use self::packet::{Counter, PesHeader, PesWriter, reservation};
use self::psi::Tables;
use super::Muxer;
use super::aac::Adts;
use super::support::{self, Unsupported};
use crate::media::{Codec, Frame, FrameKind, PacketType, Part, Tracks};

pub use packet::{PACKET, SYNC};
pub use psi::PMT_PID;

/// How many tracks a transport stream gives. The PMT is kept in one packet, where there is room for seven of the longest
/// entries; publishers of several renditions send up to six and one audio track.
pub const MAX_TRACKS: usize = 7;

/// PID of the video track with id 0.
pub const VIDEO_PID: u16 = 0x100;
/// PID of the audio track with id 0.
pub const AUDIO_PID: u16 = 0x200;

/// After how many intervals a clock reference gets a packet of its own while frames of other tracks come: the frame that
/// carries them is usually near, and brings the missing ones along.
const PATIENCE: u64 = 2;

/// Makes MPEG-TS. See the [module](self).
#[derive(Debug, Clone)]
pub struct TsMux {
    only: Option<FrameKind>,
    /// In the order of the PMT: video first, each kind by id.
    tracks: Vec<Track>,
    /// Those that left the PMT and may come back: their counters must go on. At most one for each PID.
    retired: Vec<(u16, Progress)>,
    tables: Tables,
    clock: Clock,
    dropped: u64,
}

#[derive(Debug, Clone)]
struct Track {
    video: bool,
    id: u8,
    format: Format,
    progress: Progress,
}

/// How far a PID is.
#[derive(Debug, Clone, Default)]
struct Progress {
    counter: Counter,
    stamps: Stamps,
}

impl Track {
    fn pid(&self) -> u16 {
        pid(self.video, self.id)
    }
}

fn pid(video: bool, id: u8) -> u16 {
    let first = if video { VIDEO_PID } else { AUDIO_PID };
    first + u16::from(id)
}

impl TsMux {
    /// With the tracks that are known already, by their headers or by frames: frames come without their headers when a log begins in
    /// mid-stream.
    pub fn new(tracks: &Tracks) -> Self {
        Self::with(tracks, None)
    }

    /// As [`TsMux::new`], but gives only video or only audio.
    pub fn only(kind: FrameKind, tracks: &Tracks) -> Self {
        Self::with(tracks, Some(kind))
    }

    fn with(tracks: &Tracks, only: Option<FrameKind>) -> Self {
        let mut mux = Self {
            only,
            tracks: Vec::new(),
            retired: Vec::new(),
            tables: Tables::new(),
            clock: Clock::default(),
            dropped: 0,
        };
        for header in tracks.headers() {
            mux.write(header, &mut BytesMut::new());
        }
        for (kind, video) in [(FrameKind::Video, true), (FrameKind::Audio, false)] {
            if only.is_some_and(|only| only != kind) {
                continue;
            }
            for seen in tracks.unconfigured(kind) {
                if let Some(format) = Format::from_frame(seen.codec, seen.head) {
                    mux.set_track(video, seen.track, format);
                }
            }
        }
        mux
    }

    /// Whether this stream can be given as MPEG-TS, as far as is known: each kind of track that it has must have a codec with
    /// a place here. Half a stream is refused, so that nobody looks for the sound where there is none.
    ///
    /// # Errors
    /// [`Unsupported`] says why not.
    pub fn supports(tracks: &Tracks) -> Result<(), Unsupported> {
        const FORMAT: &str = "MPEG-TS";
        for (kind, name) in [(FrameKind::Video, "video"), (FrameKind::Audio, "audio")] {
            let mut unsupported = None;
            for (codec, record) in support::known(tracks, kind) {
                let reason = match codec {
                    _ if !format::is_known(codec) => Unsupported::Codec {
                        kind: name,
                        codec,
                        format: FORMAT,
                    },
                    Codec::Aac if !record.is_empty() => match Adts::from_config(&record) {
                        Ok(_) => break,
                        Err(reason) => Unsupported::Aac {
                            format: FORMAT,
                            reason,
                        },
                    },
                    _ => break,
                };
                unsupported.get_or_insert(reason);
            }
            if let Some(unsupported) = unsupported {
                return Err(unsupported);
            }
        }
        Ok(())
    }

    /// Coded frames of which nothing was written.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn find(&self, video: bool, id: u8) -> Result<usize, usize> {
        // Video first, so false sorts before true when negated.
        self.tracks
            .binary_search_by_key(&(!video, id), |track| (!track.video, track.id))
    }

    /// Adds a track, or gives it another codec or configuration. None when there are too many.
    fn set_track(&mut self, video: bool, id: u8, format: Format) -> Option<usize> {
        let index = match self.find(video, id) {
            Ok(index) => {
                self.tracks.get_mut(index)?.format = format;
                index
            }
            Err(_) if self.tracks.len() >= MAX_TRACKS => return None,
            Err(index) => {
                let pid = pid(video, id);
                let before = self.retired.iter().position(|(retired, _)| *retired == pid);
                let track = Track {
                    video,
                    id,
                    format,
                    progress: before.map_or_else(Progress::default, |at| self.retired.remove(at).1),
                };
                self.tracks.insert(index, track);
                index
            }
        };
        self.update_map();
        Some(index)
    }

    fn update_map(&mut self) {
        let pcr_pid = self.tracks.first().map_or(0x1fff, Track::pid);
        let mut streams = Vec::new();
        for track in &self.tracks {
            let descriptors = track.format.descriptors();
            streams.extend(psi::stream(
                track.format.stream_type(),
                track.pid(),
                &descriptors,
            ));
        }
        if self.tables.set_map(pcr_pid, streams) {
            self.clock.psi_changed();
        }
    }

    fn configure(&mut self, video: bool, part: &Part) {
        // FFmpeg begins with an empty header when it has no configuration yet, and for AC-3 never sends another.
        if part.data.is_empty() && part.codec != Codec::Opus {
            return;
        }
        let format = match part.packet {
            PacketType::Mpeg2TsSequenceStart => Format::from_descriptor(part.codec, &part.data),
            _ => Format::from_header(part.codec, &part.data),
        };
        if let Some(format) = format {
            self.set_track(video, part.track, format);
        } else if let Ok(index) = self.find(video, part.track) {
            // What it was is over, and what it is now is not known.
            let track = self.tracks.remove(index);
            self.retired.push((track.pid(), track.progress));
            self.update_map();
        }
    }

    /// None when the frame is dropped.
    fn coded(&mut self, video: bool, dts_ms: u64, part: &Part, out: &mut BytesMut) -> Option<()> {
        if part.codec != Codec::Av1 {
            return self.frame(video, dts_ms, 0, part, out);
        }
        let split = av1::split(&part.data)?;
        let mut written = None;
        for (index, data) in split.units(&part.data).enumerate() {
            let unit = Part {
                data,
                keyframe: part.keyframe && index == 0,
                ..part.clone()
            };
            // The last one is shown. Those before it are decoded one tick after the other, and then it.
            let early = split.len().saturating_sub(index + 1) as u64;
            written = self.frame(video, dts_ms, early, &unit, out).or(written);
        }
        written
    }

    /// None when the frame is dropped. `early`: see [`Stamps::stamp`].
    fn frame(
        &mut self,
        video: bool,
        dts_ms: u64,
        early: u64,
        part: &Part,
        out: &mut BytesMut,
    ) -> Option<()> {
        let data: &[u8] = &part.data;
        let known = self.find(video, part.track).ok().filter(|index| {
            self.tracks
                .get(*index)
                .is_some_and(|track| track.format.takes(part.codec, data))
        });
        let index = match known {
            Some(index) => index,
            None => {
                let format = Format::from_frame(part.codec, data)?;
                self.set_track(video, part.track, format)?
            }
        };
        let track = self.tracks.get_mut(index)?;
        let plan = track.format.plan(data, part.keyframe)?;
        // Before the clock moves: a frame that has no place must leave no trace.
        let mut stamps = track.progress.stamps.clone();
        let last_ms = stamps.last_ms();
        let (pts, dts) = stamps.stamp(dts_ms, part.composition_ms, part.nano_offset, early);
        let mut header = PesHeader {
            stream_id: track.format.stream_id(part.track),
            unbounded: video,
            // Of audio each frame is a place to start, which is only worth telling where there is nothing else.
            random_access: plan.random_access || (index == 0 && !video),
            priority: track.format.has_priority(),
            pts,
            dts,
        };
        if !header.holds(plan.size) {
            return None;
        }
        if self.clock.advance(dts_ms, last_ms) {
            for other in &mut self.tracks {
                other.progress.stamps.reset();
            }
            stamps.reset();
            (header.pts, header.dts) =
                stamps.stamp(dts_ms, part.composition_ms, part.nano_offset, early);
        }
        out.reserve(Tables::SIZE + reservation(plan.size, self.clock.pcrs()));
        // The clock runs on the PID of the first track.
        let carries_clock = index == 0;
        if self.clock.psi_due() || (carries_clock && video && plan.random_access) {
            self.tables.write(out);
            self.clock.psi_written();
        }
        if !carries_clock && self.clock.pcr_due(PATIENCE) {
            self.write_pcrs(out);
        }
        let track = self.tracks.get_mut(index)?;
        track.progress.stamps = stamps;
        let mut pes = PesWriter::begin(
            out,
            track.pid(),
            &mut track.progress.counter,
            carries_clock.then_some(&mut self.clock),
            header,
            plan.size,
        );
        track.format.write(data, plan, &mut pes);
        if carries_clock && self.clock.pcr_due(1) {
            self.write_pcrs(out);
        }
        Some(())
    }

    /// Brings the clock references up to date, in packets of their own.
    fn write_pcrs(&mut self, out: &mut BytesMut) {
        let Some(track) = self.tracks.first() else {
            return;
        };
        while self.clock.pcr_due(1)
            && let Some(pcr) = self.clock.next_pcr()
        {
            packet::put_pcr(out, track.pid(), track.progress.counter, pcr);
        }
    }
}

impl Muxer for TsMux {
    /// Where the tables stand.
    fn can_start(&self, written: &[u8]) -> bool {
        psi::begins_with_tables(written)
    }

    fn write(&mut self, frame: &Frame, out: &mut BytesMut) {
        let video = match frame.kind {
            FrameKind::Video => true,
            FrameKind::Audio => false,
            FrameKind::Metadata | FrameKind::Data => return,
        };
        if self.only.is_some_and(|only| only != frame.kind) {
            return;
        }
        for part in frame.parts().map_while(Result::ok) {
            match part.packet {
                packet if packet.is_configuration() => self.configure(video, &part),
                PacketType::CodedFrames => {
                    let written = self.coded(video, frame.dts_ms, &part, out);
                    self.dropped += u64::from(written.is_none());
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
