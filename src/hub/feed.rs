//! From a stream's frames to one log: straight through its writer, or by way of a conversion.

use std::sync::Arc;

use crate::media::{Frame, Tracks};

use super::EndReason;
#[cfg(feature = "transcode")]
use super::conversion::Conversion;
use super::log::Log;
use super::writer::LogWriter;

/// The stream's side of a log.
pub(super) struct Feed {
    log: Arc<Log>,
    way: Way,
}

enum Way {
    Writer(Box<LogWriter>),
    /// For MP3, of which the stream may have none.
    #[cfg(feature = "transcode")]
    Conversion(Conversion),
}

impl Feed {
    pub(super) fn new(log: Arc<Log>, writer: LogWriter) -> Self {
        Self {
            log,
            way: Way::Writer(Box::new(writer)),
        }
    }

    #[cfg(feature = "transcode")]
    pub(super) fn converted(log: Arc<Log>, conversion: Conversion) -> Self {
        Self {
            log,
            way: Way::Conversion(conversion),
        }
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// See [`LogWriter::write`].
    pub(super) fn write(&mut self, frame: &Frame, tracks: &Tracks, changed: bool, budget: usize) {
        match &mut self.way {
            Way::Writer(writer) => writer.write(frame, tracks, changed, budget),
            #[cfg(feature = "transcode")]
            Way::Conversion(conversion) => conversion.write(frame, tracks, changed, budget),
        }
    }

    /// Appends what is pending to the log.
    pub(super) fn flush(&mut self, budget: usize) {
        match &mut self.way {
            Way::Writer(writer) => writer.flush(budget),
            #[cfg(feature = "transcode")]
            Way::Conversion(conversion) => conversion.flush(budget),
        }
    }

    /// Ends the log after all that was written.
    pub(super) fn end(mut self, budget: usize, reason: EndReason) {
        self.flush(budget);
        match self.way {
            Way::Writer(_) => self.log.end(reason),
            #[cfg(feature = "transcode")]
            Way::Conversion(conversion) => conversion.end(reason),
        }
    }
}
