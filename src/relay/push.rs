//! A push: a reader of a stream's FLV log whose socket goes to another server.
//!
//! It holds a position in the log, as a player does, and nothing else: one whose server is slow loses what the log's window no longer
//! has and goes on at a keyframe, and nobody waits for it.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::hub::{Log, Place, Read, Seat, Unit, Watch};
use crate::media::flv::{TAG_AUDIO, TAG_VIDEO, Tags};
use crate::media::{FrameKind, metadata};

use super::card::Card;
use super::failure::Failure;
use super::sink::Sink;
use super::source::Packet;

/// Units taken from the log at once.
const BATCH_UNITS: usize = 64;
/// And about that many bytes: what one push holds beside the log.
const BATCH_BYTES: usize = 1 << 20;

/// Rung by the log.
#[derive(Default)]
struct Bell(Notify);

impl Watch for Bell {
    fn wake(&self, _log: u64) {
        self.0.notify_one();
    }
}

/// A position in a stream's FLV log.
pub(super) struct Reader {
    seat: Seat,
    bell: Arc<Bell>,
    watch: Arc<dyn Watch>,
    next: u64,
    /// Nothing is taken before a unit at which players may start.
    awaiting_start: bool,
    /// Scratch.
    units: Vec<Arc<Unit>>,
}

/// What there is to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Packets,
    /// Nothing yet.
    Edge,
    /// No more.
    Ended,
}

impl Reader {
    /// From the stream's first frame on, if it has none yet; else from where players start.
    pub(super) fn new(seat: Seat) -> Self {
        let bell = Arc::<Bell>::default();
        let watch: Arc<dyn Watch> = Arc::clone(&bell) as _;
        seat.log().watch(&watch);
        let from_start = seat.log().next_seq() == 0;
        let mut reader = Reader {
            seat,
            bell,
            watch,
            next: 0,
            awaiting_start: false,
            units: Vec::new(),
        };
        if !from_start {
            reader.rejoin();
        }
        reader
    }

    fn log(&self) -> &Arc<Log> {
        self.seat.log()
    }

    /// To where a player that joins now starts.
    pub(super) fn rejoin(&mut self) {
        self.awaiting_start = true;
        let log = self.log();
        self.next = log.join().map_or_else(|| log.next_seq(), |unit| unit.seq);
    }

    /// Returns when there is something that was not read: a stream whose publisher is away for a while has nothing. False: there is no more to
    /// come.
    pub(super) async fn wait_for_more(&mut self) -> bool {
        loop {
            let mut units = std::mem::take(&mut self.units);
            units.clear();
            let read = self.log().read(self.next, 1, 1, &mut units);
            self.units = units;
            match read {
                Read::Edge => self.news().await,
                Read::Units | Read::Lost => return true,
                Read::Ended(_) => return false,
            }
        }
    }

    /// Nothing of what is there: to what comes next.
    pub(super) fn skip_past(&mut self) {
        self.next = self.log().next_seq();
        // Headers that did not change are not sent again in the log.
        self.awaiting_start = self.next > 0;
    }

    /// The frames that are there now.
    pub(super) fn read(&mut self, packets: &mut Vec<Packet>) -> State {
        loop {
            let mut units = std::mem::take(&mut self.units);
            units.clear();
            let read = self
                .log()
                .read(self.next, BATCH_UNITS, BATCH_BYTES, &mut units);
            for unit in &units {
                self.next = unit.seq + 1;
                if self.awaiting_start {
                    let Some(prelude) = &unit.prelude else {
                        continue;
                    };
                    self.awaiting_start = false;
                    take(prelude.full.body(), packets);
                }
                take(unit.data.body(), packets);
            }
            self.units = units;
            match read {
                Read::Units if packets.is_empty() => {}
                Read::Units => return State::Packets,
                Read::Edge => return State::Edge,
                Read::Ended(_) => return State::Ended,
                Read::Lost => match self.log().place(self.next) {
                    Place::Here => return State::Edge,
                    Place::Skip(unit) => {
                        self.next = unit.seq;
                        self.awaiting_start = true;
                    }
                    Place::NextStart => {
                        self.next = self.log().next_seq();
                        self.awaiting_start = true;
                    }
                },
            }
        }
    }

    /// Returns when there may be news.
    pub(super) async fn news(&self) {
        self.bell.0.notified().await;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.seat.log().unwatch(&self.watch);
    }
}

fn take(bytes: bytes::Bytes, packets: &mut Vec<Packet>) {
    packets.extend(Tags::of(bytes).map(|tag| {
        let (kind, payload) = match tag.kind {
            TAG_VIDEO => (FrameKind::Video, tag.body),
            TAG_AUDIO => (FrameKind::Audio, tag.body),
            _ => metadata::classify(&tag.body),
        };
        Packet {
            kind,
            timestamp: tag.timestamp_ms,
            payload,
        }
    }));
}

/// Told to pushes that are to end.
pub(super) struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Stop(watch::Sender::new(false))
    }
}

impl Stop {
    pub(super) fn tell(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn is_told(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it was told.
    pub(super) async fn told(&self) {
        // The sender is here.
        let _ = self.0.subscribe().wait_for(|told| *told).await;
    }
}

/// Sends what the log has until the stream ends (then Ok and nothing), or `until` returns, or the server ends it. It stops between two
/// writes, so that what was begun can be ended properly.
pub(super) async fn pump<T>(
    sink: &mut Sink,
    reader: &mut Reader,
    card: &Card,
    until: impl Future<Output = T>,
) -> Result<Option<T>, Failure> {
    let mut packets = Vec::new();
    tokio::pin!(until);
    loop {
        tokio::select! {
            biased;
            told = &mut until => return Ok(Some(told)),
            () = std::future::ready(()) => {}
        }
        packets.clear();
        match reader.read(&mut packets) {
            State::Packets => {
                sink.publish(&packets).await?;
                card.carried(bytes_of(&packets));
            }
            State::Ended => return Ok(None),
            State::Edge => {
                tokio::select! {
                    failure = sink.listen() => return Err(failure),
                    told = &mut until => return Ok(Some(told)),
                    () = reader.news() => {}
                }
            }
        }
    }
}

/// Bytes of media.
pub(super) fn bytes_of(packets: &[Packet]) -> usize {
    packets.iter().map(|packet| packet.payload.len()).sum()
}
