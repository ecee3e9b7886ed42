//! The hub with made-up frames and made-up time: no socket, no runtime.

mod claims;
mod joins;
mod logs;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::config::{OnBusy, Vhost};
use crate::media::FrameKind;
use crate::media::flv::{FlvReader, FlvTag, TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO, Tags};

const LIMITS: HubLimits = HubLimits {
    streams: 0,
    stream_memory: 32 << 20,
    rtmp_chunk_size: 60_000,
};

/// A hub, a publisher and a clock.
struct Rig {
    hub: Hub,
    settings: Arc<Vhost>,
    now: Instant,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Vhost)) -> Self {
        let mut vhost = Vhost::default();
        change(&mut vhost);
        Self {
            hub: Hub::new(LIMITS),
            settings: Arc::new(vhost),
            now: Instant::now(),
        }
    }

    fn publish(&self) -> Publisher {
        self.hub
            .publish(key("s"), &self.settings, self.now)
            .unwrap()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.hub.tick(self.now);
    }

    fn stream(&self) -> Option<Arc<Stream>> {
        self.hub.find(&key("s"))
    }

    fn video_headers(&self, p: &Publisher, at: u32) {
        self.push(p, FrameKind::Video, at, &[0x17, 0, 0, 0, 0, 1, 100, 0, 31]);
    }

    fn audio_headers(&self, p: &Publisher, at: u32) {
        self.push(p, FrameKind::Audio, at, &[0xaf, 0, 0x12, 0x10]);
    }

    fn key(&self, p: &Publisher, at: u32) {
        self.push(
            p,
            FrameKind::Video,
            at,
            &[0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65],
        );
    }

    fn inter(&self, p: &Publisher, at: u32) {
        self.push(
            p,
            FrameKind::Video,
            at,
            &[0x27, 1, 0, 0, 0, 0, 0, 0, 1, 0x41],
        );
    }

    fn audio(&self, p: &Publisher, at: u32) {
        self.push(p, FrameKind::Audio, at, &[0xaf, 1, 0x21, 0x10]);
    }

    fn push(&self, p: &Publisher, kind: FrameKind, at: u32, body: &[u8]) {
        p.push(kind, at, Bytes::copy_from_slice(body), self.now)
            .unwrap();
    }
}

fn key(stream: &str) -> StreamKey {
    StreamKey::new("__defaultVhost__", "live", stream).unwrap()
}

/// What a player that joins now reads, as FLV tags: (kind, timestamp, second byte of the body).
fn play(stream: &Arc<Stream>) -> Vec<FlvTag> {
    let seat = stream.open(Format::Flv, 0).unwrap();
    read(seat.log())
}

fn read(log: &Log) -> Vec<FlvTag> {
    let mut reader = FlvReader::new();
    let mut tags = Vec::new();
    let Some(start) = log.join() else {
        return tags;
    };
    reader.feed(&start.prelude.as_ref().unwrap().full.body());
    let mut units = Vec::new();
    log.read(start.seq, usize::MAX, usize::MAX, &mut units);
    for unit in units {
        reader.feed(&unit.data.body());
    }
    while let Some(tag) = reader.poll().unwrap() {
        tags.push(tag);
    }
    tags
}

fn shape(tags: &[FlvTag]) -> String {
    let names: Vec<String> = tags
        .iter()
        .map(|tag| {
            let first = tag.body.first().copied().unwrap_or_default();
            let header = tag.body.get(1) == Some(&0);
            let name = match (tag.kind, first, header) {
                (TAG_SCRIPT, _, _) => return "meta".to_owned(),
                (TAG_VIDEO, 0x17, true) => return "vhdr".to_owned(),
                (TAG_AUDIO, _, true) => return "ahdr".to_owned(),
                (TAG_VIDEO, 0x17, false) => "K",
                (TAG_VIDEO, _, _) => "i",
                (TAG_AUDIO, _, _) => "a",
                _ => "?",
            };
            format!("{name}{}", tag.timestamp_ms)
        })
        .collect();
    names.join(" ")
}
