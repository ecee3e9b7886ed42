//! What a stream is like now, for those who ask: rates, tracks, keyframes, logs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::hub::{Counters, LogKey};
use crate::media::codec::{Codec, CodecInfo};
use crate::media::{Frame, FrameKind};

use super::Stream;

/// How often rates are sampled, and how many samples one is taken over.
const SAMPLE: Duration = Duration::from_secs(1);
const SAMPLES: usize = 5;
/// Tracks that are told apart; what belongs to others counts for the stream alone. As many as headers are kept.
const MAX_TRACKS: usize = 64;
/// Plays whose time to the first byte is kept, the newest.
const FIRST_BYTES: usize = 512;

/// A stream at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Players can be given it.
    pub ready: bool,
    /// How long the present publisher has had it; `None` when there is none.
    pub published_for: Option<Duration>,
    /// What the present publisher has sent, or the last one.
    pub counters: Counters,
    /// Its tracks, video first.
    pub tracks: Vec<TrackReport>,
    /// Bits a second from the publisher, over the last seconds.
    pub bits_per_second: u64,
    /// The last whole group of pictures.
    pub gop: Option<GopReport>,
    /// Players that hold a seat.
    pub players: usize,
    /// Bytes kept: the GOP and the logs.
    pub memory: usize,
    /// Its logs.
    pub logs: Vec<LogReport>,
    /// Nobody reads it, and so its publisher is read a few times a second only (`publish.lazy_read`).
    pub lazy: bool,
}

/// A track.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TrackReport {
    /// Video or audio.
    pub kind: FrameKind,
    /// E-RTMP's track id.
    pub id: u8,
    /// Its codec.
    pub codec: Codec,
    /// What its header says, where it has one.
    pub info: Option<CodecInfo>,
    /// Bytes of tag bodies.
    pub bytes: u64,
    /// Coded frames.
    pub frames: u64,
    /// Bits a second, over the last seconds.
    pub bits_per_second: u64,
    /// Frames a second, over the last seconds.
    pub frames_per_second: f64,
}

/// From one keyframe to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GopReport {
    /// Video frames, the first keyframe counted.
    pub frames: u64,
    /// Its length on the stream's timeline.
    pub duration: Duration,
}

/// A log.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LogReport {
    /// Which bytes it holds.
    pub key: LogKey,
    /// Readers, those of the server counted.
    pub readers: usize,
    /// Units kept.
    pub units: usize,
    /// Bytes kept.
    pub bytes: usize,
    /// From the oldest unit kept to the newest, on the stream's timeline.
    pub window: Duration,
}

/// What players that left were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Bytes to them.
    pub bytes: u64,
    /// Times that they fell behind and skipped.
    pub skips: u64,
}

/// Counts of what comes, and their last samples.
#[derive(Debug, Default)]
pub(super) struct Meter {
    tracks: Vec<Track>,
    samples: VecDeque<Sample>,
    gop_began: Option<(u64, u64)>,
    gop: Option<GopReport>,
    video_frames: u64,
}

#[derive(Debug)]
struct Track {
    kind: FrameKind,
    id: u8,
    codec: Codec,
    bytes: u64,
    frames: u64,
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    bytes: u64,
    /// Bytes and frames of the tracks, in their order.
    tracks: Vec<(u64, u64)>,
}

impl Meter {
    /// Another publisher begins.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Counts a frame. `starts_gop`: a keyframe of the primary video track.
    pub(super) fn count(&mut self, frame: &Frame, coded: bool, starts_gop: bool) {
        if !matches!(frame.kind, FrameKind::Video | FrameKind::Audio) {
            return;
        }
        let place = self
            .tracks
            .iter()
            .position(|t| t.kind == frame.kind && t.id == frame.track);
        let track = match place {
            Some(place) => self.tracks.get_mut(place),
            None if self.tracks.len() < MAX_TRACKS => {
                self.tracks.push(Track {
                    kind: frame.kind,
                    id: frame.track,
                    codec: frame.codec,
                    bytes: 0,
                    frames: 0,
                });
                self.tracks.last_mut()
            }
            None => None,
        };
        if let Some(track) = track {
            track.bytes += frame.payload.len() as u64;
            track.frames += u64::from(coded);
            if frame.codec != Codec::None {
                track.codec = frame.codec;
            }
        }
        if starts_gop {
            if let Some((at_ms, frames)) = self.gop_began {
                self.gop = Some(GopReport {
                    frames: self.video_frames.saturating_sub(frames),
                    duration: Duration::from_millis(frame.dts_ms.saturating_sub(at_ms)),
                });
            }
            self.gop_began = Some((frame.dts_ms, self.video_frames));
        }
        self.video_frames += u64::from(coded && frame.kind == FrameKind::Video);
    }

    /// Takes a sample when it is time. `bytes`: all that came.
    pub(super) fn tick(&mut self, bytes: u64, now: Instant) {
        let due = self
            .samples
            .back()
            .is_none_or(|last| now.saturating_duration_since(last.at) >= SAMPLE);
        if !due {
            return;
        }
        self.samples.push_back(Sample {
            at: now,
            bytes,
            tracks: self.tracks.iter().map(|t| (t.bytes, t.frames)).collect(),
        });
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
    }

    /// Seconds since the oldest sample, and what it says of all bytes.
    fn since(&self, now: Instant) -> Option<(f64, &Sample)> {
        let oldest = self.samples.front()?;
        let seconds = now.saturating_duration_since(oldest.at).as_secs_f64();
        (seconds > 0.0).then_some((seconds, oldest))
    }
}

fn rate(now: u64, then: u64, seconds: f64) -> f64 {
    now.saturating_sub(then) as f64 / seconds
}

impl Stream {
    /// What it is like at `now`.
    pub fn report(&self, now: Instant) -> Report {
        let ingest = self.ingest.lock();
        let since = ingest.meter.since(now);
        let bits = |now: u64, then: u64| {
            since
                .as_ref()
                .map_or(0, |(seconds, _)| (rate(now, then, *seconds) * 8.0) as u64)
        };
        let infos = infos(&ingest.tracks);
        let mut tracks: Vec<TrackReport> = ingest
            .meter
            .tracks
            .iter()
            .enumerate()
            .map(|(place, track)| {
                let (bytes, frames) = since
                    .as_ref()
                    .and_then(|(_, sample)| sample.tracks.get(place).copied())
                    .unwrap_or_default();
                let found = infos
                    .iter()
                    .find(|(kind, id, _)| *kind == track.kind && *id == track.id);
                TrackReport {
                    kind: track.kind,
                    id: track.id,
                    codec: track.codec,
                    info: found.map(|(_, _, info)| info.clone()),
                    bytes: track.bytes,
                    frames: track.frames,
                    bits_per_second: bits(track.bytes, bytes),
                    frames_per_second: since
                        .as_ref()
                        .map_or(0.0, |(seconds, _)| rate(track.frames, frames, *seconds)),
                }
            })
            .collect();
        tracks.sort_by_key(|track| (track.kind != FrameKind::Video, track.id));
        let logs: Vec<LogReport> = ingest.logs.iter().map(|w| w.log().report()).collect();
        Report {
            ready: ingest.ready,
            lazy: ingest.source.is_some(),
            published_for: ingest
                .publisher
                .map(|_| now.saturating_duration_since(ingest.since)),
            counters: ingest.counters,
            tracks,
            bits_per_second: bits(
                ingest.counters.bytes,
                since.as_ref().map_or(0, |(_, sample)| sample.bytes),
            ),
            gop: ingest.meter.gop,
            players: self.players(),
            memory: ingest.gop.bytes()
                + ingest.audio.bytes()
                + logs.iter().map(|log| log.bytes).sum::<usize>(),
            logs,
        }
    }

    /// A player leaves that was given this.
    pub(crate) fn note_sent(&self, bytes: u64, skips: u64) {
        let mut sent = self.sent.lock();
        sent.bytes += bytes;
        sent.skips += skips;
    }

    /// What players that left were given.
    pub fn sent(&self) -> Sent {
        *self.sent.lock()
    }

    /// What all its publishers sent.
    pub(in crate::hub) fn all(&self) -> Counters {
        self.ingest.lock().all
    }

    /// Notes how long a player waited for its first byte.
    pub(crate) fn note_first_byte(&self, after: Duration) {
        let ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
        let mut kept = self.first_bytes.lock();
        if kept.len() >= FIRST_BYTES {
            kept.pop_front();
        }
        kept.push_back(ms);
    }

    /// The times to the first byte of the newest plays, in milliseconds, sorted.
    pub fn first_bytes_ms(&self) -> Vec<u32> {
        let mut kept: Vec<u32> = self.first_bytes.lock().iter().copied().collect();
        kept.sort_unstable();
        kept
    }
}

/// What the headers say, by kind and track.
fn infos(tracks: &crate::media::Tracks) -> Vec<(FrameKind, u8, CodecInfo)> {
    let mut found = Vec::new();
    for header in tracks.headers() {
        for part in header.parts().flatten() {
            if let Ok(info) = CodecInfo::of_part(&part)
                && (info.width.is_some() || info.sample_rate_hz.is_some() || info.profile.is_some())
            {
                found.push((header.kind, part.track, info));
            }
        }
    }
    found
}
