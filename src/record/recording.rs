//! One recording: a thread that reads a stream's log and writes files until the stream ends.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tracing::{info, warn};

use crate::config::{self, Dvr, DvrPlan};
use crate::hub::{Log, Place as LogPlace, Read, Seat, StreamKey, Unit, Watch};
use crate::media::flv::{TAG_AUDIO, TAG_VIDEO, Tags};
use crate::media::{Frame, FrameKind, TimeJitter, Timeline, Tracks, metadata};

use super::file::Unfinished;
use super::job::Job;
use super::seek::SeekPoints;
use super::writer::{FlvWriter, Totals};
use super::{EndOfRecording, Place, Recorded, path_of};

/// What comes in that time goes to the disk in one write. Ten writes a second cost nothing, and a player can follow a file that
/// grows.
const GATHER: Duration = Duration::from_millis(100);
/// Units taken from the log at once.
const BATCH_UNITS: usize = 64;
/// And about that many bytes: what one recording holds beside the log.
const BATCH_BYTES: usize = 1024 * 1024;
/// After an error, the next file is begun at the first keyframe after this.
pub(super) const RETRY: Duration = Duration::from_secs(5);
/// Keyframes that the index of a session has room for: at one in two seconds, more than two hours before it is thinned, for
/// 72 KiB of each file.
const SESSION_KEYFRAMES: usize = 4096;
/// The same of a segment, for each second of its length: encoders for low delay send two.
const SEGMENT_KEYFRAMES_A_SECOND: u64 = 2;
/// And besides, since a segment ends at a keyframe after its time.
const SEGMENT_KEYFRAMES_MORE: usize = 16;

/// Starts to record what `seat` is at.
pub(super) fn spawn(place: Place, seat: Seat) -> io::Result<()> {
    // A stream that begins is recorded from its first frame on, and the thread may begin after that.
    let from_start = seat.log().next_seq() == 0;
    std::thread::Builder::new()
        .name("dvr".to_owned())
        .spawn(move || {
            block_file_size_signal();
            let reader = Reader {
                units: Vec::new(),
                job: Arc::clone(&place.job),
                recording: Recording::new(
                    &place,
                    seat.stream().key(),
                    &seat.stream().settings().dvr,
                ),
            };
            reader.run(seat.log(), from_start);
            // In this order: the address of the stream may be another's as soon as the seat is gone.
            drop(place);
            drop(seat);
        })?;
    Ok(())
}

/// A file that grows beyond the process's limit (`ulimit -f`) is an error of its write, and not the end of the process. The signal
/// is sent to the thread that writes.
#[allow(unsafe_code)]
fn block_file_size_signal() {
    // SAFETY: `set` is plain data, initialized by sigemptyset before it is used; the mask is this thread's own.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGXFSZ);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Reads the log.
struct Reader<'a> {
    job: Arc<Job>,
    /// Scratch.
    units: Vec<Arc<Unit>>,
    recording: Recording<'a>,
}

impl Reader<'_> {
    fn run(mut self, log: &Arc<Log>, from_start: bool) {
        let watch: Arc<dyn Watch> = Arc::clone(&self.job) as _;
        log.watch(&watch);
        let mut next = if from_start { 0 } else { self.join(log) };
        let reason = loop {
            if self.job.is_stopped() {
                break EndOfRecording::Stopped;
            }
            self.units.clear();
            match log.read(next, BATCH_UNITS, BATCH_BYTES, &mut self.units) {
                Read::Units => {
                    for unit in &self.units {
                        self.recording.unit(unit, Instant::now());
                        next = unit.seq + 1;
                    }
                    self.recording.write();
                }
                Read::Edge => {
                    self.job.wait();
                    if !self.job.is_stopped() {
                        std::thread::sleep(GATHER);
                    }
                }
                Read::Lost => next = self.lost(log, next),
                Read::Ended(reason) => break EndOfRecording::Stream(reason),
            }
        };
        log.unwatch(&watch);
        self.recording.close(reason);
    }

    /// A stream that is there already is recorded from the newest place to start on.
    fn join(&mut self, log: &Log) -> u64 {
        self.recording.wait_for_start();
        log.join().map_or_else(|| log.next_seq(), |unit| unit.seq)
    }

    /// The disk was slower than the stream for longer than the log keeps.
    fn lost(&mut self, log: &Log, next: u64) -> u64 {
        let to = match log.place(next) {
            LogPlace::Here => return next,
            LogPlace::Skip(unit) => unit.seq,
            LogPlace::NextStart => log.next_seq(),
        };
        self.recording.skipped(to.saturating_sub(next));
        to
    }
}

/// Decides where files begin and end.
pub(super) struct Recording<'a> {
    place: &'a Place,
    key: &'a StreamKey,
    dvr: &'a Dvr,
    tracks: Tracks,
    seek: SeekPoints,
    file: Option<Open>,
    /// Frames are let pass until one comes at which players may start.
    awaiting_start: bool,
    /// No file is begun before.
    retry_at: Option<Instant>,
    /// When the newest unit came.
    now: Instant,
}

/// A file at work.
struct Open {
    file: Unfinished,
    writer: FlvWriter,
    timeline: Timeline,
    /// Tags that are not written yet.
    buffer: BytesMut,
    /// What the file holds.
    written: Totals,
    /// Time in the file of its first frame.
    first_ms: u64,
    /// Coded pictures, and coded sound, are in it.
    coded: [bool; 2],
    /// A configuration changed: the file ends where the next can begin. One file has one configuration of each track, because
    /// players that seek are given the headers of its beginning.
    over: bool,
}

impl<'a> Recording<'a> {
    pub(super) fn new(place: &'a Place, key: &'a StreamKey, dvr: &'a Dvr) -> Self {
        Self {
            place,
            key,
            dvr,
            tracks: Tracks::new(),
            seek: SeekPoints::default(),
            file: None,
            awaiting_start: false,
            retry_at: None,
            now: Instant::now(),
        }
    }

    /// Nothing is taken before the next keyframe.
    pub(super) fn wait_for_start(&mut self) {
        self.awaiting_start = true;
    }

    pub(super) fn skipped(&mut self, units: u64) {
        self.wait_for_start();
        let why = format!("the disk is too slow; {units} units were skipped");
        self.place
            .recorder
            .failed("a recording lost frames", self.key, &why);
        self.place.job.failed(why);
    }

    /// Takes the next unit of the log. `now`: the time of arrival.
    pub(super) fn unit(&mut self, unit: &Unit, now: Instant) {
        self.now = now;
        if self.awaiting_start
            && let Some(prelude) = &unit.prelude
        {
            for frame in frames(prelude.full.body()) {
                let changed = self.tracks.update(&frame);
                if changed && frame.sequence_header {
                    self.append(frame, false);
                }
            }
        }
        for frame in frames(unit.data.body()) {
            self.frame(frame);
        }
    }

    fn frame(&mut self, frame: Frame) {
        let changed = self.tracks.update(&frame);
        if frame.kind == FrameKind::Metadata {
            if let (Some(open), Some(metadata)) = (&mut self.file, self.tracks.properties()) {
                open.writer.set_metadata(metadata);
            }
            return;
        }
        let keyframe = self.seek.is_start(&frame);
        let start = keyframe || (!self.tracks.has_video() && frame.is_coded());
        if self.awaiting_start {
            if !start || self.retry_at.is_some_and(|at| self.now < at) {
                return;
            }
            self.awaiting_start = false;
            self.retry_at = None;
        }
        if frame.sequence_header {
            if let Some(open) = &mut self.file {
                open.over |= changed && open.coded[usize::from(frame.kind == FrameKind::Audio)];
            }
            // Written with the others when a file begins.
            return self.append(frame, false);
        }
        let codec_changed = start && self.file.as_ref().is_some_and(|open| open.over);
        if codec_changed || self.is_over(&frame, start) {
            self.close(match codec_changed {
                true => EndOfRecording::CodecChanged,
                false => EndOfRecording::Segment,
            });
            if self.awaiting_start {
                // It could not be written.
                return;
            }
        }
        if self.file.is_none()
            && let Err(error) = self.open(&frame)
        {
            return self.failed("a recording cannot be begun", &error);
        }
        self.append(frame, keyframe);
    }

    /// Whether the file ends before this frame. `start`: players may start at it.
    fn is_over(&self, frame: &Frame, start: bool) -> bool {
        let Some(open) = &self.file else { return false };
        let may_cut = frame.is_coded() && (start || !self.dvr.wait_keyframe);
        if self.dvr.plan != DvrPlan::Segment || !may_cut {
            return false;
        }
        let at_ms = stamped(&open.timeline, frame, self.now);
        u128::from(at_ms.saturating_sub(open.first_ms)) >= self.dvr.duration.as_millis()
    }

    /// Begins a file whose first frame this is.
    fn open(&mut self, frame: &Frame) -> io::Result<()> {
        let file = Unfinished::create(&path_of(&self.dvr.path, self.key))?;
        self.place.recorder.opened(file.path());
        self.place.job.opened(file.path());
        let timeline = Timeline::new(match self.dvr.time_jitter {
            config::TimeJitter::Full => TimeJitter::Full,
            config::TimeJitter::Zero => TimeJitter::Zero,
            config::TimeJitter::Off => TimeJitter::Off,
        });
        let first_ms = stamped(&timeline, frame, self.now);
        let mut writer = FlvWriter::new(self.tracks.properties(), self.keyframes());
        let mut buffer = writer.head(false);
        for header in self.tracks.headers() {
            let mut header = header.clone();
            header.dts_ms = first_ms;
            writer.tag(&header, false, &mut buffer);
        }
        info!(stream = %self.key, path = %file.path().display(), "recording begins");
        self.file = Some(Open {
            file,
            writer,
            timeline,
            buffer,
            written: Totals::default(),
            first_ms,
            coded: [false; 2],
            over: false,
        });
        Ok(())
    }

    fn keyframes(&self) -> usize {
        match self.dvr.plan {
            DvrPlan::Session => SESSION_KEYFRAMES,
            DvrPlan::Segment => {
                let frames = self.dvr.duration.as_secs() * SEGMENT_KEYFRAMES_A_SECOND;
                let frames = usize::try_from(frames).unwrap_or(SESSION_KEYFRAMES);
                frames
                    .saturating_add(SEGMENT_KEYFRAMES_MORE)
                    .min(SESSION_KEYFRAMES)
            }
        }
    }

    fn append(&mut self, mut frame: Frame, seekable: bool) {
        let Some(open) = &mut self.file else { return };
        if frame.is_coded() {
            open.coded[usize::from(frame.kind == FrameKind::Audio)] = true;
        }
        let timestamp = frame.dts_ms as u32;
        open.timeline.stamp_frame(&mut frame, timestamp, self.now);
        open.writer.tag(&frame, seekable, &mut open.buffer);
        if open.buffer.len() >= BATCH_BYTES {
            self.write();
        }
    }

    /// Writes what was gathered.
    pub(super) fn write(&mut self) {
        let Some(open) = &mut self.file else { return };
        match open.write() {
            Ok(()) => self.place.job.wrote(open.written.len),
            Err(error) => self.failed("a recording cannot be written", &error),
        }
    }

    /// Closes the file, if there is one.
    pub(super) fn close(&mut self, reason: EndOfRecording) {
        self.write();
        if let Some(open) = self.file.take() {
            self.finish(open, reason);
        }
    }

    fn failed(&mut self, what: &str, error: &io::Error) {
        self.retry_at = Some(self.now + RETRY);
        self.wait_for_start();
        self.place.job.failed(format!("{what}: {error}"));
        let Some(mut open) = self.file.take() else {
            return self.place.recorder.failed(what, self.key, error);
        };
        let about = format!("{} ({})", self.key, open.file.path().display());
        self.place.recorder.failed(what, &about, error);
        // What was written before is a good file.
        open.writer.rollback(open.written);
        if open.written.tags > 0 {
            self.finish(open, EndOfRecording::Error);
        } else {
            self.place.recorder.left(open.file.path());
            self.place.job.closed(false);
            if let Err(error) = open.file.discard() {
                warn!(%error, "an empty recording cannot be removed");
            }
        }
    }

    fn finish(&mut self, open: Open, reason: EndOfRecording) {
        let path = open.file.path().to_owned();
        let finished = open.file.finish(&open.writer);
        self.place.recorder.left(&path);
        self.place.job.closed(finished.is_ok());
        match finished {
            Ok(path) => self.place.recorder.closed(&recorded(
                Some(self.key.clone()),
                path,
                &open.writer,
                reason,
            )),
            Err(error) => {
                let about = format!("{} ({})", self.key, path.display());
                self.place
                    .job
                    .failed(format!("a recording cannot be closed: {error}"));
                self.place
                    .recorder
                    .failed("a recording cannot be closed", &about, &error);
            }
        }
    }
}

impl Open {
    fn write(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.file.write(&self.buffer, self.written.len)?;
        self.buffer.clear();
        self.written = self.writer.totals();
        Ok(())
    }
}

/// The time that the frame would get.
fn stamped(timeline: &Timeline, frame: &Frame, now: Instant) -> u64 {
    let mut frame = frame.clone();
    let timestamp = frame.dts_ms as u32;
    timeline.clone().stamp_frame(&mut frame, timestamp, now);
    frame.dts_ms
}

pub(super) fn recorded(
    stream: Option<StreamKey>,
    path: PathBuf,
    writer: &FlvWriter,
    reason: EndOfRecording,
) -> Recorded {
    Recorded {
        stream,
        path,
        bytes: writer.totals().len,
        duration: Duration::from_millis(writer.duration_ms()),
        reason,
    }
}

/// The tags in a unit or a prelude, as frames with the 32-bit time of the log.
fn frames(bytes: Bytes) -> impl Iterator<Item = Frame> {
    Tags::of(bytes).filter_map(|tag| {
        let (kind, body) = match tag.kind {
            TAG_VIDEO => (FrameKind::Video, tag.body),
            TAG_AUDIO => (FrameKind::Audio, tag.body),
            _ => metadata::classify(&tag.body),
        };
        // The hub has taken it, so it can be read.
        Frame::parse(kind, u64::from(tag.timestamp_ms), body).ok()
    })
}
