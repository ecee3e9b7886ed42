//! A second pull that is kept warm: it reads and keeps what a player would begin with.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span, debug, info};

use crate::media::{Frame, FrameKind};

use super::backoff::Backoff;
use super::errand::{Errand, Opened};
use super::failure::Failure;
use super::source::{Packet, Source};

/// How often it is looked whether the pull is wanted in earnest: what a switch takes at most while no frame comes.
const TICK: Duration = Duration::from_millis(50);
/// What is kept at most, in bytes: with keyframes further apart, a switch waits for the next one.
const MAX_KEPT_BYTES: usize = 16 << 20;

/// A warm pull, to be taken over.
pub(super) struct Standby {
    take: Option<oneshot::Sender<oneshot::Sender<Warm>>>,
    task: JoinHandle<()>,
}

/// What is taken over: the stream, and what came since its newest keyframe, headers first.
pub(super) type Warm = (Opened<Source>, Vec<Packet>);

impl Standby {
    /// Pulls from any origin but the one at `avoid`.
    pub(super) fn start(errand: Errand, avoid: SocketAddr) -> Self {
        let (take, taken) = oneshot::channel();
        let task = tokio::spawn(run(errand, avoid, taken).instrument(Span::current()));
        Standby {
            take: Some(take),
            task,
        }
    }

    /// The pull, if it is warm.
    pub(super) async fn take(mut self) -> Option<Warm> {
        let (reply, warm) = oneshot::channel();
        self.take.take()?.send(reply).ok()?;
        // One that is not connected does not hold up the others.
        tokio::time::timeout(4 * TICK, warm).await.ok()?.ok()
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    errand: Errand,
    avoid: SocketAddr,
    mut taken: oneshot::Receiver<oneshot::Sender<Warm>>,
) {
    let sources = errand.upstream.now();
    let cluster = &sources.cluster;
    let mut backoff = Backoff::new(cluster.retry);
    loop {
        // One that is not well is left in peace until it is: nobody waits for this.
        if let Ok(opened) = errand.open_beside(avoid).await {
            info!(origin = %opened.candidate.remote, "standby warm");
            let failure = match read(opened, cluster.stall, &mut taken).await {
                Ok((warm, reply)) => {
                    let _ = reply.send(warm);
                    return;
                }
                Err(failure) => failure,
            };
            debug!("standby lost: {failure}");
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

async fn read(
    mut opened: Opened<Source>,
    stall: Duration,
    taken: &mut oneshot::Receiver<oneshot::Sender<Warm>>,
) -> Result<(Warm, oneshot::Sender<Warm>), Failure> {
    let mut kept = Kept::default();
    let mut last = Instant::now();
    loop {
        match taken.try_recv() {
            Ok(reply) => return Ok(((opened, kept.packets()), reply)),
            Err(oneshot::error::TryRecvError::Empty) => {}
            Err(oneshot::error::TryRecvError::Closed) => return Err(Failure::Closed),
        }
        match opened.source.next(Instant::now() + TICK).await? {
            Some(packet) => {
                if matches!(packet.kind, FrameKind::Audio | FrameKind::Video) {
                    last = Instant::now();
                }
                kept.push(packet)?;
            }
            None if last.elapsed() >= stall => return Err(Failure::Stalled(stall)),
            None => {}
        }
    }
}

/// What a player begins with.
#[derive(Default)]
struct Kept {
    /// Metadata, and the newest sequence header of each track: at most one for each of 256 track ids and two kinds.
    headers: Vec<(FrameKind, u8, Packet)>,
    frames: Vec<Packet>,
    bytes: usize,
    has_video: bool,
}

impl Kept {
    fn push(&mut self, packet: Packet) -> Result<(), Failure> {
        if packet.payload.is_empty() {
            return Ok(());
        }
        let frame = Frame::parse(packet.kind, 0, packet.payload.clone())?;
        if frame.sequence_header || frame.kind == FrameKind::Metadata {
            match self
                .headers
                .iter_mut()
                .find(|(kind, track, _)| (*kind, *track) == (frame.kind, frame.track))
            {
                Some((_, _, known)) => *known = packet,
                None => self.headers.push((frame.kind, frame.track, packet)),
            }
            return Ok(());
        }
        self.has_video |= frame.kind == FrameKind::Video;
        // Sound alone needs no past.
        let starts = frame.kind == FrameKind::Video && frame.keyframe || !self.has_video;
        if starts || self.bytes + packet.payload.len() > MAX_KEPT_BYTES {
            self.frames.clear();
            self.bytes = 0;
        }
        self.bytes += packet.payload.len();
        self.frames.push(packet);
        Ok(())
    }

    fn packets(self) -> Vec<Packet> {
        let headers = self.headers.into_iter().map(|(_, _, packet)| packet);
        headers.chain(self.frames).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn packet(kind: FrameKind, timestamp: u32, payload: &'static [u8]) -> Packet {
        Packet {
            kind,
            timestamp,
            payload: Bytes::from_static(payload),
        }
    }

    #[test]
    fn headers_and_what_came_since_the_keyframe_are_kept() {
        let mut kept = Kept::default();
        for (kind, timestamp, payload) in [
            (FrameKind::Video, 0, &[0x17, 0, 0, 0, 0, 1, 100, 0, 31][..]),
            (FrameKind::Audio, 0, &[0xaf, 0, 0x12, 0x10]),
            (FrameKind::Video, 0, &[0x17, 1, 0, 0, 0, 9]),
            (FrameKind::Audio, 20, &[0xaf, 1, 9]),
            (FrameKind::Audio, 0, &[0xaf, 0, 0x11, 0x90]),
            (FrameKind::Video, 40, &[0x17, 1, 0, 0, 0, 9]),
            (FrameKind::Video, 80, &[0x27, 1, 0, 0, 0, 9]),
            (FrameKind::Audio, 90, &[0xaf, 1, 9]),
        ] {
            kept.push(packet(kind, timestamp, payload)).expect("a tag");
        }
        let times: Vec<(FrameKind, u32)> = kept
            .packets()
            .iter()
            .map(|packet| (packet.kind, packet.timestamp))
            .collect();
        assert_eq!(
            times,
            [
                (FrameKind::Video, 0),
                (FrameKind::Audio, 0),
                (FrameKind::Video, 40),
                (FrameKind::Video, 80),
                (FrameKind::Audio, 90)
            ]
        );
    }
}
