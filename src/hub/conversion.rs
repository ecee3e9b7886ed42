//! AAC to MP3 for one log: a thread that converts what the publisher hands it, once for all players.
//!
//! The publisher does no more than append to a bounded queue. The thread begins with the first AAC frame of a log that somebody
//! plays, survives publishers and changes of codec, and ends with the log: when the stream does, or some time after the last
//! player left. MP3 needs no conversion, and a log that has seen no AAC has no thread.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tracing::{debug, error};

use crate::media::{Codec, Frame, FrameKind, Tracks};
use crate::mux::Transcoder;
use crate::observe::{Count, Counters};

use super::EndReason;
use super::writer::LogWriter;

/// Frames that may wait for the thread. It converts a hundred times as fast as sound plays, so this much (40 s of 48 kHz) waits only
/// when the machine has no time at all, or a publisher sends a file as fast as it can.
const MAX_WAITING: usize = 2048;

/// The stream's side.
pub(super) struct Conversion {
    settings: Settings,
    /// Until the thread has it.
    writer: Option<Box<LogWriter>>,
    /// Once there is a thread.
    queue: Option<Arc<Queue>>,
}

#[derive(Clone)]
pub(super) struct Settings {
    /// See [`Transcoder::new`].
    pub(super) kbps: u32,
    pub(super) counters: Arc<Counters>,
}

/// What the thread is given.
#[derive(Default)]
struct Queue {
    /// Guards what waits. Held to push or to pop.
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

#[derive(Default)]
struct Waiting {
    work: VecDeque<Work>,
    /// Bytes of the frames in it.
    bytes: usize,
    /// Nobody is interested any more: what waits is left.
    closed: bool,
}

enum Work {
    Frame(Frame, usize),
    Flush(usize),
    End(EndReason),
}

impl Queue {
    fn push(&self, work: Work) {
        let mut waiting = self.waiting.lock();
        if matches!(
            (waiting.work.back(), &work),
            (Some(Work::Flush(_)), Work::Flush(_))
        ) {
            // Once is enough, however long the thread is away.
            return;
        }
        waiting.work.push_back(work);
        drop(waiting);
        self.bell.notify_one();
    }

    /// False when there is no room.
    fn push_frame(&self, frame: &Frame, budget: usize) -> bool {
        let mut waiting = self.waiting.lock();
        let size = frame.payload.len();
        if waiting.work.len() >= MAX_WAITING || waiting.bytes + size > budget {
            return false;
        }
        waiting.bytes += size;
        waiting.work.push_back(Work::Frame(frame.clone(), budget));
        drop(waiting);
        self.bell.notify_one();
        true
    }

    /// Waits for work; none when the queue was closed.
    fn pop(&self) -> Option<Work> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(work) = waiting.work.pop_front() {
                if let Work::Frame(frame, _) = &work {
                    waiting.bytes = waiting.bytes.saturating_sub(frame.payload.len());
                }
                return Some(work);
            }
            self.bell.wait(&mut waiting);
        }
    }

    fn close(&self) {
        self.waiting.lock().closed = true;
        self.bell.notify_one();
    }
}

impl Conversion {
    pub(super) fn new(settings: Settings, writer: LogWriter) -> Self {
        Self {
            settings,
            writer: Some(Box::new(writer)),
            queue: None,
        }
    }

    /// Converts `frames` before what comes: what players of a new log begin with. It is part of what the stream keeps anyhow, so no bound
    /// of the queue holds for it.
    pub(super) fn prime(&mut self, frames: Vec<Frame>, tracks: &Tracks, budget: usize) {
        if frames.iter().any(is_aac) {
            self.start(frames, budget);
        } else if let Some(writer) = &mut self.writer {
            for frame in &frames {
                writer.write(frame, tracks, false, budget);
            }
        }
    }

    /// Takes the next frame of the stream; never waits.
    pub(super) fn write(&mut self, frame: &Frame, tracks: &Tracks, changed: bool, budget: usize) {
        if frame.kind != FrameKind::Audio {
            return;
        }
        if self.queue.is_none() {
            if let (Some(writer), false) = (&mut self.writer, is_aac(frame)) {
                return writer.write(frame, tracks, changed, budget);
            }
            self.start(Vec::new(), budget);
        }
        if let Some(queue) = &self.queue
            && !queue.push_frame(frame, budget)
        {
            self.settings.counters.count(Count::TranscodeLost);
        }
    }

    pub(super) fn flush(&mut self, budget: usize) {
        match (&self.queue, &mut self.writer) {
            (Some(queue), _) => queue.push(Work::Flush(budget)),
            (None, Some(writer)) => writer.flush(budget),
            (None, None) => {}
        }
    }

    /// Ends the log after all that waits.
    pub(super) fn end(mut self, reason: EndReason) {
        match (self.queue.take(), &self.writer) {
            (Some(queue), _) => queue.push(Work::End(reason)),
            (None, Some(writer)) => writer.log().end(reason),
            (None, None) => {}
        }
    }

    fn start(&mut self, first: Vec<Frame>, budget: usize) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        let queue = Arc::<Queue>::default();
        let log = Arc::clone(writer.log());
        match spawn(
            Arc::clone(&queue),
            *writer,
            first,
            budget,
            self.settings.clone(),
        ) {
            Ok(()) => {
                self.settings.counters.count(Count::Transcode);
                self.queue = Some(queue);
            }
            Err(error) => {
                self.settings.counters.count(Count::TranscodeError);
                error!(%error, "no thread to convert AAC to MP3");
                log.end(EndReason::Shutdown);
            }
        }
    }
}

impl Drop for Conversion {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.close();
        }
    }
}

fn is_aac(frame: &Frame) -> bool {
    frame.kind == FrameKind::Audio && frame.parts().flatten().any(|part| part.codec == Codec::Aac)
}

fn spawn(
    queue: Arc<Queue>,
    writer: LogWriter,
    first: Vec<Frame>,
    budget: usize,
    settings: Settings,
) -> io::Result<()> {
    std::thread::Builder::new()
        .name("aac-to-mp3".to_owned())
        .spawn(move || {
            let mut worker = Worker {
                transcoder: Transcoder::new(settings.kbps),
                kbps: settings.kbps,
                writer,
                tracks: Tracks::new(),
                frames: Vec::new(),
                counters: settings.counters,
            };
            for frame in &first {
                worker.frame(frame, budget);
            }
            drop(first);
            while let Some(work) = queue.pop() {
                match work {
                    Work::Frame(frame, budget) => worker.frame(&frame, budget),
                    Work::Flush(budget) => worker.writer.flush(budget),
                    Work::End(reason) => {
                        worker.writer.log().end(reason);
                        break;
                    }
                }
            }
            debug!(broken = worker.transcoder.broken(), "a conversion ended");
        })
        .map(drop)
}

struct Worker {
    transcoder: Transcoder,
    kbps: u32,
    writer: LogWriter,
    /// Of the converted frames, there is nothing that a player has to be told first.
    tracks: Tracks,
    /// Scratch.
    frames: Vec<Frame>,
    counters: Arc<Counters>,
}

impl Worker {
    fn frame(&mut self, frame: &Frame, budget: usize) {
        let broken = self.transcoder.broken();
        let (transcoder, frames) = (&mut self.transcoder, &mut self.frames);
        // The codecs are others' code, and the bytes a peer's: a panic in there must not leave players behind who wait for nothing.
        let pushed = catch_unwind(AssertUnwindSafe(|| transcoder.push(frame, frames)));
        if pushed.is_err() {
            self.frames.clear();
            self.transcoder = Transcoder::new(self.kbps);
        }
        if pushed.is_err() || self.transcoder.broken() > broken {
            self.counters.count(Count::TranscodeError);
        }
        for frame in self.frames.drain(..) {
            self.writer.write(&frame, &self.tracks, false, budget);
        }
    }
}
