//! The built-in test stream: a short clip, looped with a continuous timeline, published like any other stream.

use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use crate::config::DEFAULT_VHOST;
use crate::hub::{PublishError, StreamKey};
use crate::media::flv::{FlvReader, FlvTag, TAG_AUDIO, TAG_VIDEO};
use crate::media::{Frame, FrameKind, metadata};
use crate::play::Live;

/// A moving test picture with a clock and a tone; `make demo-clip` makes it.
const CLIP: &[u8] = include_bytes!("clip.flv");
/// Length of one round of the clip in milliseconds: 200 frames at 25 fps, 375 AAC frames at 48 kHz.
const CLIP_MS: u32 = 8_000;
/// Where it is published.
pub const APP: &str = "live";
/// Where it is published.
pub const STREAM: &str = "demo";
/// When the stream is held by somebody else, it is asked for again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Publishes the clip as `live/demo` for as long as the server runs.
pub struct Demo {
    live: Live,
}

impl Demo {
    /// Publishes into `live`.
    pub fn new(live: Live) -> Self {
        Self { live }
    }

    async fn publish(&self, tags: &[FlvTag]) -> Result<(), PublishError> {
        let (vhost, settings) = self.live.vhosts().resolve(DEFAULT_VHOST);
        let Ok(key) = StreamKey::new(&vhost, APP, STREAM) else {
            return Ok(());
        };
        let publisher = self
            .live
            .hub()
            .publish(key, &settings, std::time::Instant::now())?;
        let start = Instant::now();
        for round in 0u32.. {
            // Wraps after 49 days, as a broadcaster's clock does; the timeline goes on.
            let offset = round.wrapping_mul(CLIP_MS);
            for tag in tags {
                let kind = match tag.kind {
                    TAG_AUDIO => FrameKind::Audio,
                    TAG_VIDEO => FrameKind::Video,
                    _ => FrameKind::Metadata,
                };
                let header = kind == FrameKind::Metadata
                    || Frame::parse(kind, 0, tag.body.clone())
                        .is_ok_and(|frame| frame.sequence_header);
                if header && round > 0 {
                    continue;
                }
                let due = Duration::from_millis(
                    u64::from(round) * u64::from(CLIP_MS) + u64::from(tag.timestamp_ms),
                );
                sleep_until(start + due).await;
                let (kind, body) = match kind {
                    FrameKind::Metadata => metadata::classify(&tag.body),
                    kind => (kind, tag.body.clone()),
                };
                let timestamp = offset.wrapping_add(tag.timestamp_ms);
                if let Err(error) = publisher.push(kind, timestamp, body, std::time::Instant::now())
                {
                    info!("the demo stream ended: {error}");
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl BackgroundService for Demo {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let tags = match read_clip() {
            Ok(tags) => tags,
            Err(error) => {
                error!("the built-in clip cannot be read: {error}");
                return;
            }
        };
        loop {
            tokio::select! {
                result = self.publish(&tags) => if let Err(error) = result {
                    info!("the demo stream waits: {error}");
                },
                _ = shutdown.changed() => return,
            }
            if self.live.hub().is_shut_down() {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

fn read_clip() -> Result<Vec<FlvTag>, crate::media::flv::FlvError> {
    let mut reader = FlvReader::new();
    reader.feed(CLIP);
    let mut tags = Vec::new();
    while let Some(tag) = reader.poll()? {
        tags.push(tag);
    }
    Ok(tags)
}
