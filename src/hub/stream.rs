//! One stream: a publisher's frames in, logs out.

mod report;
mod seat;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::config::{self, Vhost};
use crate::media::codec::CodecInfo;
use crate::media::{Frame, FrameKind, MixCorrect, TagError, TimeJitter, Timeline, Tracks};

use super::feed::Feed;
use super::gop::{AudioCache, GopCache};
use super::{EndReason, HubLimits, StreamKey};

pub use report::{GopReport, LogReport, Report, Sent, TrackReport};
pub use seat::{AvFlags, Seat, SeatError};

/// A log that nobody reads is kept this long, so that a player that reconnects finds it warm.
const LOG_LINGER: Duration = Duration::from_secs(10);

/// Who feeds a stream, and need not hurry while nobody reads it.
pub(crate) trait Source: Send + Sync {
    /// Somebody reads it from now on. Must be cheap and must not block.
    fn wanted(&self);
}

/// A stream in the hub. Outlives its publisher by `republish_wait`.
pub struct Stream {
    key: StreamKey,
    settings: Arc<Vhost>,
    /// Bytes kept at most: `limits.stream_memory`.
    memory: usize,
    /// Chunk size that RTMP players are told, in bytes.
    rtmp_chunk_size: u32,
    /// The server's.
    #[cfg_attr(
        not(feature = "transcode"),
        expect(
            dead_code,
            reason = "of a stream's doings only conversions are counted for the whole server, and without the feature there are none"
        )
    )]
    counters: Arc<crate::observe::Counters>,
    /// Guards all that a frame changes: timeline, headers, the GOP and the writers' side of the logs. Taken by the publisher for each
    /// frame, by players when they join, by the hub's tick. Never held over an await; the rings' own locks nest inside it.
    ingest: Mutex<Ingest>,
    players: AtomicUsize,
    /// Guards the times of the newest plays to their first byte, in milliseconds. Held to add or copy.
    first_bytes: Mutex<VecDeque<u32>>,
    /// Guards what players that left were given. Held to add or copy.
    sent: Mutex<Sent>,
}

struct Ingest {
    /// The claim that may push.
    publisher: Option<u64>,
    /// Somebody has published it before.
    had_publisher: bool,
    /// When the present publisher came, or the last one left.
    since: Instant,
    /// The end was told to the logs; nothing may come any more.
    ended: bool,
    ready: bool,
    timeline: Timeline,
    mix: Option<MixCorrect>,
    tracks: Tracks,
    /// The headers that players of before the publisher's change have, while the new publisher has not reached a keyframe.
    previous: Option<Tracks>,
    /// Video is dropped until a keyframe comes.
    awaiting_keyframe: bool,
    /// The lowest E-RTMP track id seen in video: its keyframes are where players start.
    primary_video: Option<u8>,
    gop: GopCache,
    audio: AudioCache,
    logs: Vec<Feed>,
    /// Told when the first log is made.
    source: Option<Arc<dyn Source>>,
    counters: Counters,
    /// Those of all publishers.
    all: Counters,
    meter: report::Meter,
    /// What a publisher had sent from whom the stream was taken, or whose stream was ended, until it asks.
    replaced: Option<(u64, Counters)>,
    idle_since: Option<Instant>,
    /// How long an announced track is waited for: `guess_wait`, unless the present publisher's is known to take longer.
    guess_wait: Duration,
}

/// What a publisher sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Coded video frames taken.
    pub video_frames: u64,
    /// Coded audio frames taken.
    pub audio_frames: u64,
    /// Bytes of tag bodies.
    pub bytes: u64,
    /// Video frames dropped before the first keyframe.
    pub dropped: u64,
}

impl Counters {
    pub(super) fn add(&mut self, more: Self) {
        self.video_frames += more.video_frames;
        self.audio_frames += more.audio_frames;
        self.bytes += more.bytes;
        self.dropped += more.dropped;
    }
}

/// Why a frame was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The claim is gone: kicked, ended by the server, or shut down.
    #[error("the publisher was ended: {0}")]
    Ended(EndReason),
    /// The publisher broke the format.
    #[error(transparent)]
    Malformed(#[from] TagError),
}

impl Stream {
    pub(super) fn new(
        key: StreamKey,
        settings: Arc<Vhost>,
        limits: &HubLimits,
        counters: Arc<crate::observe::Counters>,
        now: Instant,
    ) -> Self {
        let timeline = Timeline::new(match settings.play.time_jitter {
            config::TimeJitter::Full => TimeJitter::Full,
            config::TimeJitter::Zero => TimeJitter::Zero,
            config::TimeJitter::Off => TimeJitter::Off,
        });
        let mix = settings.play.mix_correct.then(MixCorrect::new);
        let guess_wait = settings.http_remux.guess_wait;
        Self {
            key,
            settings,
            memory: limits.stream_memory,
            rtmp_chunk_size: limits.rtmp_chunk_size,
            counters,
            ingest: Mutex::new(Ingest {
                publisher: None,
                had_publisher: false,
                since: now,
                ended: false,
                ready: false,
                timeline,
                mix,
                tracks: Tracks::default(),
                previous: None,
                awaiting_keyframe: true,
                primary_video: None,
                gop: GopCache::default(),
                audio: AudioCache::default(),
                logs: Vec::new(),
                source: None,
                counters: Counters::default(),
                all: Counters::default(),
                meter: report::Meter::default(),
                replaced: None,
                idle_since: None,
                guess_wait,
            }),
            players: AtomicUsize::new(0),
            first_bytes: Mutex::default(),
            sent: Mutex::default(),
        }
    }

    /// Its name.
    pub fn key(&self) -> &StreamKey {
        &self.key
    }

    /// The settings of its vhost, as they were when it began.
    pub fn settings(&self) -> &Arc<Vhost> {
        &self.settings
    }

    /// Players that hold a seat.
    pub fn players(&self) -> usize {
        self.players.load(Ordering::Relaxed)
    }

    /// Whether a publisher holds it now.
    pub fn is_published(&self) -> bool {
        self.ingest.lock().publisher.is_some()
    }

    /// Bytes kept: the GOP and the logs.
    pub fn bytes(&self) -> usize {
        let ingest = self.ingest.lock();
        ingest.gop.bytes()
            + ingest.audio.bytes()
            + ingest.logs.iter().map(|w| w.log().bytes()).sum::<usize>()
    }

    /// Logs in use or lingering.
    pub fn logs(&self) -> usize {
        self.ingest.lock().logs.len()
    }

    /// One line on what is in it, for logs: `H.264 High 3.1 1280x720, AAC-LC 44100 Hz stereo`.
    pub fn summary(&self) -> String {
        let ingest = self.ingest.lock();
        let described: Vec<String> = ingest
            .tracks
            .headers()
            .filter_map(|header| {
                CodecInfo::of_frame(header)
                    .ok()
                    .map(|info| info.to_string())
            })
            .collect();
        if described.is_empty() {
            let name = |seen, name| if seen { name } else { "" };
            return format!(
                "{}{}",
                name(ingest.tracks.has_video(), "video "),
                name(ingest.tracks.has_audio(), "audio")
            );
        }
        described.join(", ")
    }

    // ---- the publisher's side ----

    /// Gives the stream to a publisher. Players that are there go on: time continues, and new headers come before a keyframe.
    pub(super) fn begin(&self, publisher: u64, now: Instant) {
        let mut ingest = self.ingest.lock();
        let ingest = &mut *ingest;
        if let Some(old) = ingest.publisher.replace(publisher) {
            ingest.replaced = Some((old, ingest.counters));
        }
        ingest.since = now;
        ingest.idle_since = None;
        ingest.counters = Counters::default();
        ingest.guess_wait = self.settings.http_remux.guess_wait;
        ingest.meter.restart();
        ingest.turn();
        ingest.had_publisher = true;
    }

    /// Tracks that are announced may take this long to show.
    pub(super) fn wait_for_tracks(&self, at_least: Duration) {
        let mut ingest = self.ingest.lock();
        ingest.guess_wait = ingest.guess_wait.max(at_least);
    }

    /// Whether nobody reads what `publisher` sends, nor waits for it. Then `source` is told when that is over, once.
    pub(super) fn is_unread(&self, publisher: u64, source: Arc<dyn Source>) -> bool {
        let mut ingest = self.ingest.lock();
        let unread = ingest.publisher == Some(publisher) && ingest.ready && ingest.logs.is_empty();
        if unread {
            ingest.source = Some(source);
        }
        unread
    }

    /// `publisher`'s source need not be told any more.
    pub(super) fn forget_source(&self, publisher: u64) {
        let mut ingest = self.ingest.lock();
        if ingest.publisher == Some(publisher) {
            ingest.source = None;
        }
    }

    /// `publisher` goes on with frames from elsewhere. Nothing, unless the stream is its.
    pub(super) fn renew(&self, publisher: u64, now: Instant) {
        let mut ingest = self.ingest.lock();
        if ingest.publisher == Some(publisher) {
            self.drain_mix(&mut ingest);
            ingest.since = now;
            ingest.turn();
        }
    }

    /// Takes the stream from `publisher`, if it is still its. Returns what it had sent.
    pub(super) fn leave(&self, publisher: u64, now: Instant) -> Option<Counters> {
        let mut ingest = self.ingest.lock();
        let ingest = &mut *ingest;
        if ingest.publisher != Some(publisher) {
            return ingest
                .replaced
                .take_if(|(old, _)| *old == publisher)
                .map(|(_, counters)| counters);
        }
        self.drain_mix(ingest);
        ingest.publisher = None;
        ingest.source = None;
        ingest.since = now;
        ingest.ready = false;
        let budget = self.budget(ingest);
        for writer in &mut ingest.logs {
            writer.flush(budget);
        }
        Some(ingest.counters)
    }

    /// What `publisher` sent to a stream that has ended.
    pub(super) fn sent_by(&self, publisher: u64) -> Counters {
        let ingest = self.ingest.lock();
        match ingest.replaced {
            Some((old, counters)) if old == publisher => counters,
            _ => Counters::default(),
        }
    }

    /// Takes one tag body from `publisher`.
    ///
    /// Returns true when the stream became ready for players by it.
    pub(super) fn push(
        &self,
        publisher: u64,
        kind: FrameKind,
        timestamp: u32,
        payload: Bytes,
        now: Instant,
    ) -> Result<bool, PushError> {
        let mut ingest = self.ingest.lock();
        let ingest = &mut *ingest;
        if ingest.publisher != Some(publisher) {
            return Err(PushError::Ended(EndReason::Kicked));
        }
        if payload.is_empty() {
            // Flash and some encoders send empty audio and video messages to say that a track is muted.
            return Ok(false);
        }
        ingest.counters.bytes += payload.len() as u64;
        ingest.all.bytes += payload.len() as u64;
        let mut frame = Frame::parse(kind, 0, payload)?;
        ingest.timeline.stamp_frame(&mut frame, timestamp, now);
        match ingest.mix.as_mut() {
            None => self.deliver(ingest, frame),
            Some(mix) => {
                let mut ordered = Vec::new();
                mix.push(frame, &mut ordered);
                for frame in ordered {
                    self.deliver(ingest, frame);
                }
            }
        }
        let became_ready = !ingest.ready && self.known(ingest, now);
        ingest.ready |= became_ready;
        Ok(became_ready)
    }

    fn drain_mix(&self, ingest: &mut Ingest) {
        if let Some(mix) = ingest.mix.as_mut() {
            let mut rest = Vec::new();
            mix.flush(&mut rest);
            for frame in rest {
                self.deliver(ingest, frame);
            }
        }
    }

    fn deliver(&self, ingest: &mut Ingest, frame: Frame) {
        let mut starts_gop = false;
        if frame.kind == FrameKind::Video && !frame.sequence_header {
            let primary = ingest
                .primary_video
                .map_or(frame.track, |p| p.min(frame.track));
            ingest.primary_video = Some(primary);
            starts_gop = frame.keyframe && frame.track == primary;
            if starts_gop {
                ingest.awaiting_keyframe = false;
            } else if ingest.awaiting_keyframe {
                ingest.counters.dropped += 1;
                ingest.all.dropped += 1;
                return;
            }
            let coded = frame.is_coded();
            ingest.counters.video_frames += u64::from(coded);
            ingest.all.video_frames += u64::from(coded);
            ingest.meter.count(&frame, coded, starts_gop);
        } else if frame.kind == FrameKind::Audio {
            let coded = frame.is_coded();
            ingest.counters.audio_frames += u64::from(coded);
            ingest.all.audio_frames += u64::from(coded);
            ingest.meter.count(&frame, coded, false);
        }
        let mut changed = ingest.tracks.update(&frame);
        if let Some(previous) = ingest.previous.as_mut() {
            // Players have the old publisher's headers: only what differs is news to them.
            let is_header = frame.sequence_header || frame.kind == FrameKind::Metadata;
            if is_header {
                changed = previous.update(&frame);
                if !changed {
                    return;
                }
            }
            if starts_gop {
                ingest.previous = None;
            }
        }
        let budget = self.budget(ingest);
        let play = &self.settings.play;
        if play.gop_cache {
            let max_frames = match play.gop_cache_max_frames {
                0 => usize::MAX,
                max => max as usize,
            };
            ingest
                .gop
                .push(&frame, &ingest.tracks, starts_gop, max_frames, budget);
        }
        ingest
            .audio
            .push(&frame, self.settings.http_remux.fast_cache, budget);
        for writer in &mut ingest.logs {
            writer.write(&frame, &ingest.tracks, changed, budget);
        }
    }

    /// The kept frames (the GOP and the audio for `fast_cache`) and each log have an equal share of the stream's memory.
    fn budget(&self, ingest: &Ingest) -> usize {
        self.memory / (2 + ingest.logs.len())
    }

    // ---- the players' side ----

    /// Whether it is known well enough what is in the stream to tell players (FLV can say it only once).
    fn known(&self, ingest: &Ingest, now: Instant) -> bool {
        let remux = &self.settings.http_remux;
        if ingest.publisher.is_none() {
            return false;
        }
        let (audio, video) = (ingest.tracks.has_audio(), ingest.tracks.has_video());
        if !remux.guess_has_av {
            return audio || video;
        }
        if audio && video {
            return true;
        }
        if !(audio || video) {
            return false;
        }
        if now.saturating_duration_since(ingest.since) >= ingest.guess_wait {
            return true;
        }
        // One was seen; the other is waited for unless metadata came and did not announce it.
        let other_announced = if audio {
            ingest.tracks.announced_video()
        } else {
            ingest.tracks.announced_audio()
        };
        other_announced == Some(false)
    }

    /// Whether players can be given it now.
    pub fn is_ready(&self) -> bool {
        self.ingest.lock().ready
    }

    /// Whether it is over: whoever publishes the name again publishes another stream.
    pub(crate) fn is_ended(&self) -> bool {
        self.ingest.lock().ended
    }

    // ---- the hub's side ----

    /// Ends all logs. Players finish their responses.
    pub(super) fn end(&self, reason: EndReason) {
        self.end_ingest(&mut self.ingest.lock(), reason);
    }

    /// As [`Stream::end`], unless somebody plays it. Whether it did. Seats are taken under the same lock.
    pub(super) fn end_unplayed(&self, reason: EndReason) -> bool {
        let mut ingest = self.ingest.lock();
        let unplayed = self.players() == 0;
        if unplayed {
            self.end_ingest(&mut ingest, reason);
        }
        unplayed
    }

    fn end_ingest(&self, ingest: &mut Ingest, reason: EndReason) {
        ingest.ended = true;
        ingest.ready = false;
        // Its session will ask what it had sent.
        if let Some(old) = ingest.publisher.take() {
            ingest.replaced = Some((old, ingest.counters));
        }
        let budget = self.budget(ingest);
        for feed in ingest.logs.drain(..) {
            feed.end(budget, reason);
        }
        ingest.gop.clear();
    }

    /// What time does to a stream.
    pub(super) fn tick(&self, now: Instant) -> Tick {
        let mut ingest = self.ingest.lock();
        let ingest = &mut *ingest;
        ingest
            .logs
            .retain(|writer| writer.log().idle_for(now) < LOG_LINGER);
        let publish = &self.settings.publish;
        if ingest.publisher.is_none() {
            let gone = now.saturating_duration_since(ingest.since) >= publish.republish_wait;
            return if gone { Tick::Expired } else { Tick::Nothing };
        }
        ingest.meter.tick(ingest.counters.bytes, now);
        if self.players() > 0 {
            ingest.idle_since = None;
        } else {
            let since = *ingest.idle_since.get_or_insert(now);
            let limit = publish.kickoff_for_idle;
            if !limit.is_zero() && now.saturating_duration_since(since) >= limit {
                return Tick::Idle;
            }
        }
        if !ingest.ready && self.known(ingest, now) {
            ingest.ready = true;
            return Tick::BecameReady;
        }
        Tick::Nothing
    }
}

impl Ingest {
    /// What comes next has another clock, and headers of its own.
    fn turn(&mut self) {
        self.ready = false;
        if self.had_publisher {
            self.timeline.restart();
            let tracks = std::mem::take(&mut self.tracks);
            // Of one that reached no keyframe, players have been told nothing that is not noted there.
            self.previous.get_or_insert(tracks);
        }
        self.awaiting_keyframe = true;
        self.primary_video = None;
        self.source = None;
        self.gop.clear();
        self.audio = AudioCache::default();
        for writer in &self.logs {
            writer.log().restart();
        }
    }
}

/// What [`Stream::tick`] asks the hub to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tick {
    Nothing,
    /// Tell those who wait for it.
    BecameReady,
    /// `republish_wait` is over.
    Expired,
    /// `kickoff_for_idle` is over.
    Idle,
}
