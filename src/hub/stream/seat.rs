//! The players' side of a stream: a seat at the log for a format and the tracks that are known now.

use std::sync::Arc;
use std::sync::atomic::Ordering;

#[cfg(feature = "transcode")]
use crate::hub::conversion::{self, Conversion};
use crate::hub::feed::Feed;
use crate::hub::log::{Format, Log, LogKey, Window, next_log_id};
use crate::hub::writer::LogWriter;
#[cfg(feature = "transcode")]
use crate::media::FrameKind;
use crate::media::{Frame, Tracks};
use crate::mux::{AacMux, FlvMux, Mp3Mux, Muxer, RtmpMux, TsMux, Unsupported};

use super::{Ingest, Stream};

/// Which tracks a player is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvFlags {
    /// Audio is announced.
    pub audio: bool,
    /// Video is announced.
    pub video: bool,
}

impl Stream {
    fn flags(&self, ingest: &Ingest, format: Format) -> AvFlags {
        let remux = &self.settings.http_remux;
        if !format.announces_tracks() {
            AvFlags {
                audio: true,
                video: true,
            }
        } else if remux.guess_has_av {
            AvFlags {
                audio: ingest.tracks.has_audio(),
                video: ingest.tracks.has_video(),
            }
        } else {
            AvFlags {
                audio: remux.has_audio,
                video: remux.has_video,
            }
        }
    }

    /// Whether it can be given in a format, as far as is known now.
    ///
    /// # Errors
    /// [`Unsupported`], in words for a person.
    pub fn supports(&self, format: Format) -> Result<(), Unsupported> {
        supports(format, &self.ingest.lock().tracks)
    }

    /// Takes a seat for a player of `format`: the log with the tracks that are known now, made and primed with the newest GOP if it
    /// is the first. `None` when the stream has ended or already has `max_players` (0: no bound).
    pub fn open(self: &Arc<Self>, format: Format, max_players: usize) -> Result<Seat, SeatError> {
        let mut ingest = self.ingest.lock();
        let ingest = &mut *ingest;
        if max_players > 0 && self.players() >= max_players && !ingest.ended {
            return Err(SeatError::Full { max: max_players });
        }
        supports(format, &ingest.tracks)?;
        let flags = self.flags(ingest, format);
        self.seat(ingest, format, flags, true)
    }

    /// Takes a seat for a reader of the server's own, such as a recording: no limit counts it, nor does it keep a publisher from
    /// being idle. It is given all tracks, those too that come late.
    pub fn tap(self: &Arc<Self>, format: Format) -> Result<Seat, SeatError> {
        let all = AvFlags {
            audio: true,
            video: true,
        };
        self.seat(&mut self.ingest.lock(), format, all, false)
    }

    fn seat(
        self: &Arc<Self>,
        ingest: &mut Ingest,
        format: Format,
        flags: AvFlags,
        is_player: bool,
    ) -> Result<Seat, SeatError> {
        if ingest.ended {
            return Err(SeatError::Ended);
        }
        let key = LogKey {
            format,
            audio: flags.audio,
            video: flags.video,
        };
        let log = match ingest.logs.iter().find(|w| w.log().key() == key) {
            Some(writer) => Arc::clone(writer.log()),
            None => self.add_log(ingest, key),
        };
        log.player_joined();
        if is_player {
            self.players.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Seat {
            stream: Arc::clone(self),
            log,
            is_player,
        })
    }

    fn add_log(&self, ingest: &mut Ingest, key: LogKey) -> Arc<Log> {
        if let Some(source) = ingest.source.take() {
            source.wanted();
        }
        let play = &self.settings.play;
        let window = Window {
            queue: play.queue_length,
            gop_cache: play.gop_cache,
            fast_cache: self.settings.http_remux.fast_cache,
        };
        // Audio alone is primed with what is kept for it; everything else with the newest GOP.
        let from_audio = !key.format.has_video() && !window.fast_cache.is_zero();
        let (mut tracks, frames): (Tracks, Vec<Frame>) = if from_audio {
            (ingest.tracks.clone(), ingest.audio.frames())
        } else if ingest.gop.is_empty() {
            (ingest.tracks.clone(), Vec::new())
        } else {
            let (mut tracks, frames) = ingest.gop.replay();
            tracks.expect(&ingest.tracks);
            (tracks, frames.cloned().collect())
        };
        let log = Arc::new(Log::new(next_log_id(), key, window));
        let mux: Box<dyn Muxer> = match key.format {
            Format::Flv => Box::new(FlvMux {
                audio: key.audio,
                video: key.video,
                drop: self.settings.http_remux.drop_if_not_match,
            }),
            Format::Ts => Box::new(TsMux::new(&tracks)),
            Format::Aac => Box::new(AacMux::new(&tracks)),
            Format::Mp3 => Box::new(Mp3Mux::new()),
            Format::Rtmp => Box::new(RtmpMux {
                chunk_size: self.rtmp_chunk_size,
            }),
        };
        let merge_ms = u64::try_from(play.mw_latency.as_millis()).unwrap_or(u64::MAX);
        let mut writer = LogWriter::new(Arc::clone(&log), mux, merge_ms);
        let budget = self.memory / (3 + ingest.logs.len());
        #[cfg(feature = "transcode")]
        if key.format == Format::Mp3 {
            let conversion = self.conversion(ingest, writer, from_audio.then_some(frames), budget);
            let feed = Feed::converted(Arc::clone(&log), conversion);
            ingest.logs.push(feed);
            return log;
        }
        for frame in &frames {
            let changed = tracks.update(frame);
            writer.write(frame, &tracks, changed, budget);
        }
        ingest.logs.push(Feed::new(Arc::clone(&log), writer));
        log
    }

    /// `frames`: what `fast_cache` gives. Without it, nothing of the past is converted: the work would be for sound that nobody hears.
    #[cfg(feature = "transcode")]
    fn conversion(
        &self,
        ingest: &Ingest,
        writer: LogWriter,
        frames: Option<Vec<Frame>>,
        budget: usize,
    ) -> Conversion {
        let settings = conversion::Settings {
            kbps: self.settings.http_remux.mp3_bitrate,
            counters: Arc::clone(&self.counters),
        };
        let audio = |header: &&Frame| header.kind == FrameKind::Audio;
        let mut first: Vec<Frame> = ingest.tracks.headers().filter(audio).cloned().collect();
        first.extend(frames.unwrap_or_default());
        let mut conversion = Conversion::new(settings, writer);
        conversion.prime(first, &ingest.tracks, budget);
        conversion
    }
}

/// Whether the stream can be given in a format. FLV and RTMP take everything.
fn supports(format: Format, tracks: &Tracks) -> Result<(), Unsupported> {
    match format {
        Format::Ts => TsMux::supports(tracks),
        Format::Aac => AacMux::supports(tracks),
        Format::Mp3 => Mp3Mux::supports(tracks),
        Format::Flv | Format::Rtmp => Ok(()),
    }
}

/// Why a player was not given a seat.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeatError {
    /// The stream ended between being found and being opened.
    #[error("the stream has ended")]
    Ended,
    /// The stream has nothing for this format.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// `limits.players_per_stream` is reached.
    #[error("the stream has {max} players, which is its limit")]
    Full {
        /// The limit.
        max: usize,
    },
}

/// A reader's place at a stream: a player's is counted while it lives.
pub struct Seat {
    stream: Arc<Stream>,
    log: Arc<Log>,
    is_player: bool,
}

impl Seat {
    /// The stream.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The log to read.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.log.player_left();
        if self.is_player {
            self.stream.players.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
