//! A log: the muxed bytes of one stream in one format, as a bounded ring of units that any number of players read.
//!
//! One producer (the stream, under its own lock) appends; players hold nothing but a position. Whoever drives players
//! registers a [`Watch`] and is woken once for each append, whatever the number of its players.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::EndReason;
use super::unit::{MAX_STEP_MS, Unit};

/// Which bytes a log holds. Players whose answers differ here cannot share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogKey {
    /// The container.
    pub format: Format,
    /// The player was told that there is audio.
    pub audio: bool,
    /// The player was told that there is video.
    pub video: bool,
}

/// A container that streams are given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// FLV over HTTP (Adobe FLV 10.1 annex E).
    Flv,
    /// MPEG-2 transport stream (ISO/IEC 13818-1).
    Ts,
    /// AAC in ADTS, without video.
    Aac,
    /// MP3, without video.
    Mp3,
    /// RTMP chunks, for players of message stream 1.
    Rtmp,
}

impl Format {
    /// Whether it says at its beginning, once, which tracks it has.
    pub fn announces_tracks(self) -> bool {
        matches!(self, Self::Flv)
    }

    /// Whether it has a place for video.
    pub fn has_video(self) -> bool {
        !matches!(self, Self::Aac | Self::Mp3)
    }

    /// Whether a unit at which players start must begin with the keyframe itself: in a transport stream, the tables stand
    /// before it, and what is before them cannot be read.
    pub(super) fn starts_with_keyframe(self) -> bool {
        matches!(self, Self::Ts)
    }

    /// The `Content-Type` of a response in this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Flv => "video/x-flv",
            Self::Ts => "video/mp2t",
            Self::Aac => "audio/aac",
            Self::Mp3 => "audio/mpeg",
            // Never given over HTTP.
            Self::Rtmp => "application/octet-stream",
        }
    }

    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flv => "flv",
            Self::Ts => "ts",
            Self::Aac => "aac",
            Self::Mp3 => "mp3",
            Self::Rtmp => "rtmp",
        }
    }
}

/// Woken when a log that it watches has news (units, or its end). Must be cheap and must not block: the publisher calls it.
pub trait Watch: Send + Sync {
    /// News in the log of this id.
    fn wake(&self, log: u64);
}

/// What a log keeps.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How far a player may fall behind, on the stream's timeline. Units older than that are dropped unless the newest place to
    /// start is older still.
    pub queue: Duration,
    /// Players may start at the newest keyframe kept; otherwise only at the next one.
    pub gop_cache: bool,
    /// How far in the past players of a format without video start.
    pub fast_cache: Duration,
}

/// See the module.
pub struct Log {
    /// Unique in the process.
    id: u64,
    key: LogKey,
    window: Window,
    /// Guards the units, the end and the watchers. Held for a few pointer copies, never over an await or a write.
    ring: Mutex<Ring>,
    players: AtomicUsize,
}

struct Ring {
    units: VecDeque<Arc<Unit>>,
    /// `seq` of the next unit.
    next: u64,
    bytes: usize,
    /// `seq` of the newest unit with a prelude, while it is kept.
    newest_start: Option<u64>,
    end: Option<EndReason>,
    watchers: Vec<Arc<dyn Watch>>,
    /// Since when nobody reads it.
    idle_since: Option<Instant>,
}

/// What [`Log::read`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Units were appended to the output.
    Units,
    /// The position is the next unit to come.
    Edge,
    /// All was read and no more will come.
    Ended(EndReason),
    /// The unit at the position is no longer kept.
    Lost,
}

/// Where a player that fell behind goes on.
#[derive(Debug)]
pub enum Place {
    /// At the position it had.
    Here,
    /// At this unit, which has a prelude; the units between are lost to it.
    Skip(Arc<Unit>),
    /// Nowhere yet: at the next unit with a prelude.
    NextStart,
}

impl Log {
    /// An empty log.
    pub(crate) fn new(id: u64, key: LogKey, window: Window) -> Self {
        Self {
            id,
            key,
            window,
            ring: Mutex::new(Ring {
                units: VecDeque::new(),
                next: 0,
                bytes: 0,
                newest_start: None,
                end: None,
                watchers: Vec::new(),
                idle_since: None,
            }),
            players: AtomicUsize::new(0),
        }
    }

    /// Unique in the process; what [`Watch::wake`] is given.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Which bytes it holds.
    pub fn key(&self) -> LogKey {
        self.key
    }

    /// Bytes of units kept.
    pub fn bytes(&self) -> usize {
        self.ring.lock().bytes
    }

    /// What it holds.
    pub(super) fn report(&self) -> super::LogReport {
        let ring = self.ring.lock();
        let clock = |unit: Option<&Arc<Unit>>| unit.map_or(0, |unit| unit.clock_ms);
        let window = clock(ring.units.back()).saturating_sub(clock(ring.units.front()));
        super::LogReport {
            key: self.key,
            readers: self.players(),
            units: ring.units.len(),
            bytes: ring.bytes,
            window: Duration::from_millis(window),
        }
    }

    /// Players that hold a position in it.
    pub fn players(&self) -> usize {
        self.players.load(Ordering::Relaxed)
    }

    /// Appends a unit made by `make` from its position, drops what is older than the window allows or does not fit into `budget`
    /// bytes, and wakes the watchers.
    pub(crate) fn append(&self, budget: usize, make: impl FnOnce(u64) -> Unit) {
        let mut ring = self.ring.lock();
        let mut unit = make(ring.next);
        if let Some(last) = ring.units.back() {
            let step = unit.dts_ms.saturating_sub(last.dts_ms).min(MAX_STEP_MS);
            unit.clock_ms = last.clock_ms + step;
        }
        let unit = Arc::new(unit);
        ring.next += 1;
        ring.bytes += unit.data.memory();
        if unit.prelude.is_some() {
            ring.newest_start = Some(unit.seq);
        }
        let newest_ms = unit.clock_ms;
        ring.units.push_back(unit);
        self.trim(&mut ring, newest_ms, budget);
        for watcher in &ring.watchers {
            watcher.wake(self.id);
        }
    }

    /// How far behind a player may be: `queue`, counted from where players start.
    fn lag(&self) -> Duration {
        if self.key.format.has_video() {
            self.window.queue
        } else {
            self.window.queue.saturating_add(self.window.fast_cache)
        }
    }

    fn trim(&self, ring: &mut Ring, newest_ms: u64, budget: usize) {
        let kept_ms = u64::try_from(self.lag().as_millis()).unwrap_or(u64::MAX);
        // The newest unit is always kept: a player that is at the edge must be able to read it.
        while ring.units.len() > 1 {
            let Some(front) = ring.units.front() else {
                break;
            };
            let over = ring.bytes > budget;
            // What joiners start from is kept however old it is; without a GOP cache nobody starts in the past.
            let needed =
                self.window.gop_cache && ring.newest_start.is_some_and(|start| front.seq >= start);
            let old = newest_ms.saturating_sub(front.clock_ms) > kept_ms;
            if !(over || (old && !needed)) {
                break;
            }
            ring.bytes = ring.bytes.saturating_sub(front.data.memory());
            if ring.newest_start == Some(front.seq) {
                ring.newest_start = None;
            }
            ring.units.pop_front();
        }
    }

    /// Another publisher begins: nobody may start in what the last one sent.
    pub(crate) fn restart(&self) {
        self.ring.lock().newest_start = None;
    }

    /// No more units will come.
    pub(crate) fn end(&self, reason: EndReason) {
        let mut ring = self.ring.lock();
        if ring.end.is_none() {
            ring.end = Some(reason);
            for watcher in ring.watchers.drain(..) {
                watcher.wake(self.id);
            }
        }
    }

    /// Units from `from` on, at most `max_units` of them and about `max_bytes`.
    pub fn read(
        &self,
        from: u64,
        max_units: usize,
        max_bytes: usize,
        out: &mut Vec<Arc<Unit>>,
    ) -> Read {
        let ring = self.ring.lock();
        let first = ring.next - ring.units.len() as u64;
        if from < first {
            return Read::Lost;
        }
        if from >= ring.next {
            return ring.end.map_or(Read::Edge, Read::Ended);
        }
        let skip = usize::try_from(from - first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        for unit in ring.units.iter().skip(skip).take(max_units) {
            out.push(Arc::clone(unit));
            bytes += unit.data.memory();
            if bytes >= max_bytes {
                break;
            }
        }
        Read::Units
    }

    /// Where a player that joins now starts: the newest unit with a prelude, if players may start in the past.
    pub fn join(&self) -> Option<Arc<Unit>> {
        if !self.window.gop_cache && self.key.video {
            return None;
        }
        let ring = self.ring.lock();
        if !self.window.fast_cache.is_zero() && !self.key.format.has_video() {
            let back = u64::try_from(self.window.fast_cache.as_millis()).unwrap_or(u64::MAX);
            let from = ring.units.back()?.clock_ms.saturating_sub(back);
            return ring
                .units
                .iter()
                .find(|u| u.prelude.is_some() && u.clock_ms >= from)
                .cloned();
        }
        self.newest_start(&ring)
    }

    /// The position that comes next.
    pub fn next_seq(&self) -> u64 {
        self.ring.lock().next
    }

    /// Whether a player that is at `from` has fallen behind further than the window allows, and where it goes on.
    pub fn place(&self, from: u64) -> Place {
        let ring = self.ring.lock();
        let first = ring.next - ring.units.len() as u64;
        let start = self.newest_start(&ring);
        if from < first {
            return start.map_or(Place::NextStart, Place::Skip);
        }
        let index = usize::try_from(from - first).unwrap_or(usize::MAX);
        let (Some(at), Some(newest)) = (ring.units.get(index), ring.units.back()) else {
            return Place::Here;
        };
        let behind = Duration::from_millis(newest.clock_ms.saturating_sub(at.clock_ms));
        match start {
            // Never to an inter frame, and never back: with one long GOP the player stays where it is until the ring drops it.
            Some(start) if behind > self.lag() && start.seq > from => Place::Skip(start),
            _ => Place::Here,
        }
    }

    fn newest_start(&self, ring: &Ring) -> Option<Arc<Unit>> {
        let first = ring.next - ring.units.len() as u64;
        let index = usize::try_from(ring.newest_start?.checked_sub(first)?).ok()?;
        ring.units.get(index).cloned()
    }

    /// Registers who is woken. Registering the same one twice has no effect. Returns false when the log has ended already.
    pub fn watch(&self, watch: &Arc<dyn Watch>) -> bool {
        let mut ring = self.ring.lock();
        if ring.end.is_some() {
            return false;
        }
        if !ring.watchers.iter().any(|w| Arc::ptr_eq(w, watch)) {
            ring.watchers.push(Arc::clone(watch));
        }
        true
    }

    /// Forgets a watcher.
    pub fn unwatch(&self, watch: &Arc<dyn Watch>) {
        self.ring.lock().watchers.retain(|w| !Arc::ptr_eq(w, watch));
    }

    pub(crate) fn player_joined(&self) {
        self.players.fetch_add(1, Ordering::Relaxed);
        self.ring.lock().idle_since = None;
    }

    pub(crate) fn player_left(&self) {
        self.players.fetch_sub(1, Ordering::Relaxed);
    }

    /// How long nobody has read it, counted from the first call that finds it without players.
    pub(crate) fn idle_for(&self, now: Instant) -> Duration {
        if self.players() > 0 {
            return Duration::ZERO;
        }
        let mut ring = self.ring.lock();
        let since = *ring.idle_since.get_or_insert(now);
        now.saturating_duration_since(since)
    }
}

/// Source of [`Log::id`]: one counter for the process, so that a worker can keep logs of several hubs apart.
pub(crate) fn next_log_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::unit::{Framed, Prelude};

    const KEY: LogKey = LogKey {
        format: Format::Flv,
        audio: true,
        video: true,
    };

    fn log(queue_ms: u64) -> Log {
        Log::new(
            1,
            KEY,
            Window {
                queue: Duration::from_millis(queue_ms),
                gop_cache: true,
                fast_cache: Duration::ZERO,
            },
        )
    }

    /// Appends a unit of 100 bytes of body at `dts_ms`.
    fn put(log: &Log, dts_ms: u64, start: bool) {
        put_with(log, dts_ms, start, usize::MAX);
    }

    fn put_with(log: &Log, dts_ms: u64, start: bool, budget: usize) {
        log.append(budget, |seq| Unit {
            seq,
            data: Framed::copy_from(&[0; 100]),
            dts_ms,
            clock_ms: 0,
            headers_version: 0,
            arrived: Instant::now(),
            prelude: start.then(|| {
                Arc::new(Prelude {
                    full: Framed::copy_from(b"full"),
                    headers: Framed::copy_from(b"headers"),
                })
            }),
        });
    }

    fn seqs(log: &Log, from: u64) -> Vec<u64> {
        let mut out = Vec::new();
        assert_eq!(log.read(from, 1000, usize::MAX, &mut out), Read::Units);
        out.iter().map(|u| u.seq).collect()
    }

    #[test]
    fn a_joiner_starts_at_the_newest_keyframe() {
        let log = log(10_000);
        for (i, start) in [true, false, false, true, false].into_iter().enumerate() {
            put(&log, i as u64 * 40, start);
        }
        assert_eq!(log.join().unwrap().seq, 3);
        assert_eq!(seqs(&log, 3), [3, 4]);
        assert_eq!(log.read(5, 1, 1, &mut Vec::new()), Read::Edge);
    }

    #[test]
    fn what_a_joiner_of_sound_is_given_is_not_taken_for_a_delay() {
        let key = LogKey {
            format: Format::Aac,
            ..KEY
        };
        let window = Window {
            queue: Duration::from_secs(2),
            gop_cache: true,
            fast_cache: Duration::from_secs(5),
        };
        let log = Log::new(1, key, window);
        for i in 0..100u64 {
            put(&log, i * 100, true);
        }
        let start = log.join().unwrap();
        assert_eq!(start.dts_ms, 4900);
        assert!(matches!(log.place(start.seq), Place::Here));
        // Seven seconds are kept; beyond, it skips.
        assert!(matches!(log.place(29), Place::Here));
        assert!(matches!(log.place(28), Place::Skip(unit) if unit.seq == 99));
    }

    #[test]
    fn the_window_keeps_the_queue_and_always_the_newest_gop() {
        let log = log(1000);
        for i in 0..100u64 {
            put(&log, i * 100, i % 50 == 0);
        }
        // The newest start is 50; 1000 ms behind the end is 89. The GOP wins.
        assert_eq!(seqs(&log, 50).len(), 50);
        assert_eq!(log.read(49, 1, 1, &mut Vec::new()), Read::Lost);
        put(&log, 10_000, true);
        assert_eq!(
            seqs(&log, 90).len(),
            11,
            "now the queue wins: 10 units and the new one"
        );
        assert_eq!(log.read(89, 1, 1, &mut Vec::new()), Read::Lost);
    }

    #[test]
    fn a_gop_longer_than_the_budget_is_dropped_and_joiners_wait() {
        let log = log(1000);
        put(&log, 0, true);
        for i in 1..50u64 {
            put_with(&log, i * 10, false, 2000);
        }
        assert!(log.bytes() <= 2000);
        assert!(log.join().is_none());
        assert!(matches!(log.place(0), Place::NextStart));
        put_with(&log, 1000, true, 2000);
        assert_eq!(log.join().unwrap().seq, 50);
    }

    #[test]
    fn a_player_behind_skips_forward_to_a_keyframe_and_never_back() {
        let log = log(1000);
        for i in 0..30u64 {
            put(&log, i * 100, i == 0 || i == 5);
        }
        // Behind by more than the queue, and the newest keyframe is ahead of it: skip. (The ring has dropped unit 0.)
        assert!(matches!(log.place(0), Place::Skip(u) if u.seq == 5));
        // Behind, but the newest keyframe is behind it too: it reads on.
        assert!(matches!(log.place(6), Place::Here));
        // At the edge, and near it.
        assert!(matches!(log.place(30), Place::Here));
        assert!(matches!(log.place(25), Place::Here));
    }

    #[test]
    fn a_jump_of_the_timeline_makes_nobody_late() {
        let log = log(2000);
        for dts_ms in [0, 40, 3_600_000, 3_600_040, 80, 120] {
            put(&log, dts_ms, dts_ms == 0 || dts_ms == 80);
        }
        assert!(matches!(log.place(1), Place::Here));
        assert_eq!(seqs(&log, 0).len(), 6);
    }

    #[test]
    fn the_end_comes_after_the_last_unit() {
        let log = log(1000);
        put(&log, 0, true);
        log.end(EndReason::PublisherLeft);
        log.end(EndReason::Shutdown);
        assert_eq!(seqs(&log, 0), [0]);
        assert_eq!(
            log.read(1, 1, 1, &mut Vec::new()),
            Read::Ended(EndReason::PublisherLeft)
        );
    }

    #[test]
    fn without_gop_cache_joiners_wait_for_the_next_keyframe() {
        let log = Log::new(
            1,
            KEY,
            Window {
                queue: Duration::from_secs(1),
                gop_cache: false,
                fast_cache: Duration::ZERO,
            },
        );
        put(&log, 0, true);
        assert!(log.join().is_none());
    }
}
