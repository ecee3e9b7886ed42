//! What the API of our own answers. Times are milliseconds, since 1970 where they end in `_at_ms`; rates are bits a second.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clients::{Card, Purpose};
use crate::hub::{self, StreamKey};
use crate::media::FrameKind;
use crate::play::millis;

/// Why there is no answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Failed {
    /// Not 0: SRS's number where it has one, else the HTTP status.
    pub(super) code: u32,
    /// What is wrong, for a person.
    pub(super) message: String,
    /// Each mistake, where there may be several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<String>,
}

/// What was done.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// 0.
    pub(super) code: u32,
    /// Whether anything was different before.
    pub(super) changed: bool,
}

/// The name of a stream.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct StreamName {
    /// The configured vhost; `__defaultVhost__` when left out.
    #[serde(default = "default_vhost")]
    pub(super) vhost: String,
    /// The app, which may hold slashes.
    pub(super) app: String,
    /// The stream's own name.
    pub(super) name: String,
}

pub(super) fn default_vhost() -> String {
    crate::config::DEFAULT_VHOST.to_owned()
}

impl StreamName {
    pub(super) fn of(key: &StreamKey) -> Self {
        Self {
            vhost: key.vhost().to_owned(),
            app: key.app().to_owned(),
            name: key.stream().to_owned(),
        }
    }
}

/// The server at one moment.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Server {
    /// `pingora-live/` and the version.
    pub(super) version: String,
    /// The process.
    pub(super) pid: u32,
    /// How long it runs.
    pub(super) uptime_ms: u64,
    /// Now, by the server's clock.
    pub(super) now_at_ms: u64,
    /// False while it shuts down.
    pub(super) ready: bool,
    /// Streams that are published or held for their publisher.
    pub(super) streams: u64,
    /// Publishers.
    pub(super) publishers: u64,
    /// Players, those that wait for a stream counted.
    pub(super) players: Vec<Players>,
    /// Connections that are counted by `limits.connections`.
    pub(super) connections: u64,
    /// Players whose connection does not take what they should get.
    pub(super) behind: u64,
    /// Bytes from publishers since the start.
    pub(super) bytes_in: u64,
    /// Bytes to players since the start.
    pub(super) bytes_out: u64,
    /// What publishers send now.
    pub(super) bits_per_second_in: u64,
    /// What players get now, over the last half minute.
    pub(super) bits_per_second_out: u64,
    /// Where players and publishers are listened for.
    pub(super) listeners: Vec<Listener>,
}

/// A listener.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listener {
    /// `rtmp`, `rtmps`, `http` or `https`.
    pub(super) protocol: String,
    /// Its address and port, as it is bound.
    pub(super) address: String,
}

/// Players of one kind.
#[derive(Debug, Clone, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Players {
    /// `flv`, `ts`, `aac`, `mp3` or `rtmp`.
    pub(super) format: String,
    /// `http1`, `http2`, `websocket` or `rtmp`.
    pub(super) protocol: String,
    /// How many.
    pub(super) count: u64,
}

/// Streams, some of all.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Streams {
    /// How many there are in all.
    pub(super) total: usize,
    /// Those that were asked for, by name.
    pub(super) streams: Vec<Stream>,
}

/// A stream.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Stream {
    /// The same for the same name, also after a restart.
    pub(super) id: String,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub(super) name: StreamName,
    /// The path at which it is played by default, without its ending.
    pub(super) path: String,
    /// Players can be given it.
    pub(super) ready: bool,
    /// Its publisher; null while it is held for one that left (`republish_wait`).
    pub(super) publisher: Option<Publisher>,
    /// Bytes of media from the present publisher.
    pub(super) bytes_in: u64,
    /// What the publisher sends, over the last seconds.
    pub(super) bits_per_second_in: u64,
    /// Bytes to its players, those that left counted.
    pub(super) bytes_out: u64,
    /// What its players get, over the last half minute.
    pub(super) bits_per_second_out: u64,
    /// Video frames from the present publisher.
    pub(super) video_frames: u64,
    /// Audio frames from the present publisher.
    pub(super) audio_frames: u64,
    /// Video frames dropped before the first keyframe.
    pub(super) dropped_frames: u64,
    /// Times that a player fell behind and skipped to a keyframe.
    pub(super) skips: u64,
    /// Its tracks, video first.
    pub(super) tracks: Vec<Track>,
    /// The last whole group of pictures; null without video, or before the second keyframe.
    pub(super) gop: Option<Gop>,
    /// Players in all.
    pub(super) players_total: u64,
    /// Players by format and protocol.
    pub(super) players: Vec<Players>,
    /// What is kept for players, by format.
    pub(super) logs: Vec<Log>,
    /// Bytes kept in memory.
    pub(super) memory_bytes: u64,
    /// From the request of a player to its first byte, of the newest plays.
    pub(super) first_byte: FirstByte,
    /// Its recording, if it is recorded.
    pub(super) recording: Option<Recording>,
}

/// Who publishes a stream.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Publisher {
    /// Its number among the clients; null for a source of the server's own, such as the demo.
    pub(super) client: Option<u64>,
    /// Its address and port; null when it has none.
    pub(super) address: Option<String>,
    /// `rtmp` or that of an HTTP request; null for a source of the server's own.
    pub(super) protocol: Option<String>,
    /// How long it publishes.
    pub(super) uptime_ms: u64,
}

/// A track.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Track {
    /// `video` or `audio`.
    pub(super) kind: String,
    /// Enhanced RTMP's track id; 0 for a stream with one track of a kind.
    pub(super) id: u8,
    /// As it is called: `H.264`, `AAC`.
    pub(super) codec: String,
    /// As it is called: `High`.
    pub(super) profile: Option<String>,
    /// As it is called: `3.1`.
    pub(super) level: Option<String>,
    /// Pixels.
    pub(super) width: Option<u32>,
    /// Lines.
    pub(super) height: Option<u32>,
    /// In Hz.
    pub(super) sample_rate: Option<u32>,
    /// Channels.
    pub(super) channels: Option<u8>,
    /// Bytes from the present publisher.
    pub(super) bytes: u64,
    /// Frames from the present publisher.
    pub(super) frames: u64,
    /// Over the last seconds.
    pub(super) bits_per_second: u64,
    /// Over the last seconds.
    pub(super) frames_per_second: f64,
}

/// From one keyframe to the next.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Gop {
    /// Video frames, the first keyframe counted.
    pub(super) frames: u64,
    /// Its length.
    pub(super) duration_ms: u64,
}

/// What is kept of a stream in one format.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Log {
    /// `flv`, `ts`, `aac`, `mp3` or `rtmp`.
    pub(super) format: String,
    /// Its readers are told that there is audio.
    pub(super) audio: bool,
    /// Its readers are told that there is video.
    pub(super) video: bool,
    /// Players, and readers of the server's own such as a recording.
    pub(super) readers: u64,
    /// Pieces kept.
    pub(super) units: u64,
    /// Bytes kept.
    pub(super) bytes: u64,
    /// From the oldest piece to the newest.
    pub(super) window_ms: u64,
}

/// Percentiles of the time to the first byte, in milliseconds; null without a play. A player that waited for its stream counts with
/// that wait.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct FirstByte {
    /// Plays that are counted, the newest 512 at most.
    pub(super) plays: u64,
    /// Half of them had theirs by then.
    pub(super) p50_ms: Option<u32>,
    /// Nine of ten.
    pub(super) p90_ms: Option<u32>,
    /// 99 of 100.
    pub(super) p99_ms: Option<u32>,
}

/// Clients, some of all.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Clients {
    /// How many there are in all, of the stream if one was asked for.
    pub(super) total: usize,
    /// Those that were asked for, in the order in which they came.
    pub(super) clients: Vec<Client>,
}

/// A publisher or player.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Client {
    /// Its number, from 1, in this process. The log has it as `client`.
    pub(super) id: u64,
    /// `publish` or `play`.
    pub(super) action: String,
    /// `rtmp`, `http1`, `http2` or `websocket`.
    pub(super) protocol: String,
    /// What a player is given: `flv`, `ts`, `aac`, `mp3` or `rtmp`.
    pub(super) format: Option<String>,
    /// Its stream is not there yet.
    pub(super) waits: bool,
    /// Its stream.
    pub(super) stream: StreamName,
    /// The stream's id.
    pub(super) stream_id: String,
    /// Its address and port.
    pub(super) address: Option<String>,
    /// The page that it is on, by its own word.
    pub(super) page: Option<String>,
    /// What it asked for, without the query.
    pub(super) url: String,
    /// When it came.
    pub(super) since_at_ms: u64,
    /// How long it is here.
    pub(super) uptime_ms: u64,
    /// Bytes from a publisher or to a player. A player's are up to two seconds old.
    pub(super) bytes: u64,
    /// Over the last half minute.
    pub(super) bits_per_second: u64,
    /// Pieces written to a player.
    pub(super) units: u64,
    /// Times that a player fell behind and skipped to a keyframe.
    pub(super) skips: u64,
    /// From a player's request to its first byte.
    pub(super) first_byte_ms: Option<u64>,
}

/// Streams that nobody may publish or play.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Blocks {
    /// By name.
    pub(super) blocks: Vec<Block>,
}

/// A stream that nobody may publish or play.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Block {
    /// The stream's id.
    pub(super) id: String,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub(super) name: StreamName,
    /// Since when.
    pub(super) since_at_ms: u64,
}

/// Recordings at work.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Recordings {
    /// Files finished since the start.
    pub(super) finished: u64,
    /// Their bytes.
    pub(super) finished_bytes: u64,
    /// Errors since the start.
    pub(super) errors: u64,
    /// Those at work.
    pub(super) recordings: Vec<Recording>,
}

/// A recording at work.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Recording {
    /// The stream's id.
    pub(super) stream_id: String,
    /// The stream.
    pub(super) stream: StreamName,
    /// Since when.
    pub(super) since_at_ms: u64,
    /// The file that it writes; null while it waits for a keyframe, or after an error.
    pub(super) path: Option<String>,
    /// Bytes of that file so far.
    pub(super) bytes: u64,
    /// Files that it has finished.
    pub(super) files: u64,
    /// Errors.
    pub(super) errors: u64,
    /// The last error.
    pub(super) last_error: Option<String>,
}

/// The configuration in effect.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Configuration {
    /// Each key, in the order of the reference.
    pub(super) keys: Vec<Setting>,
}

/// A key of the configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Setting {
    /// Its path: `live.http.listen`.
    pub(super) path: String,
    /// Its value as YAML; secrets are `"***"`.
    pub(super) value: String,
    /// Whether it is the built-in default.
    pub(super) is_default: bool,
    /// Whether another value needs a restart.
    pub(super) needs_restart: bool,
}

/// What reading the configuration again did.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Reloaded {
    /// 0.
    pub(super) code: u32,
    /// Keys that have another value now.
    pub(super) changed: Vec<String>,
    /// Keys that were written differently, and keep their value until a restart.
    pub(super) needs_restart: Vec<String>,
}

/// A sign of life.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Health {
    /// `ok`, or why not.
    pub(super) status: String,
}

pub(super) fn at_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, millis)
}

impl Client {
    pub(super) fn of(card: &Card, now: Instant) -> Self {
        let client = &card.client;
        Self {
            id: client.id,
            action: if card.is_publisher() {
                "publish"
            } else {
                "play"
            }
            .to_owned(),
            protocol: client.protocol.to_owned(),
            format: match card.purpose {
                Purpose::Publish => None,
                Purpose::Play(format) => Some(format.name().to_owned()),
            },
            waits: card.waits(),
            stream: StreamName::of(&card.key),
            stream_id: super::stream_id(&card.key),
            address: client.peer.map(|peer| peer.to_string()),
            page: client.page.clone(),
            url: client.url.clone(),
            since_at_ms: at_ms(card.since_wall),
            uptime_ms: millis(now.saturating_duration_since(card.since)),
            bytes: card.bytes(),
            bits_per_second: card.bits_per_second(now),
            units: card.units(),
            skips: card.skips(),
            first_byte_ms: card.first_byte().map(millis),
        }
    }
}

impl Track {
    pub(super) fn of(track: &hub::TrackReport) -> Self {
        let info = track.info.as_ref();
        Self {
            kind: match track.kind {
                FrameKind::Video => "video",
                _ => "audio",
            }
            .to_owned(),
            id: track.id,
            codec: track.codec.to_string(),
            profile: info.and_then(|i| i.profile.as_deref().map(str::to_owned)),
            level: info.and_then(|i| i.level.as_deref().map(str::to_owned)),
            width: info.and_then(|i| i.width),
            height: info.and_then(|i| i.height),
            sample_rate: info.and_then(|i| i.sample_rate_hz),
            channels: info.and_then(|i| i.channels),
            bytes: track.bytes,
            frames: track.frames,
            bits_per_second: track.bits_per_second,
            // Two digits are more than a counter of whole frames knows.
            frames_per_second: (track.frames_per_second * 100.0).round() / 100.0,
        }
    }
}

impl Log {
    pub(super) fn of(log: &hub::LogReport) -> Self {
        Self {
            format: log.key.format.name().to_owned(),
            audio: log.key.audio,
            video: log.key.video,
            readers: log.readers as u64,
            units: log.units as u64,
            bytes: log.bytes as u64,
            window_ms: millis(log.window),
        }
    }
}

impl FirstByte {
    /// From times in milliseconds, sorted.
    pub(super) fn of(sorted_ms: &[u32]) -> Self {
        let at = |part: usize| {
            let last = sorted_ms.len().checked_sub(1)?;
            sorted_ms.get((last * part).div_ceil(100)).copied()
        };
        Self {
            plays: sorted_ms.len() as u64,
            p50_ms: at(50),
            p90_ms: at(90),
            p99_ms: at(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let times: Vec<u32> = (0..=100).collect();
        let of = FirstByte::of(&times);
        assert_eq!(
            (of.p50_ms, of.p90_ms, of.p99_ms),
            (Some(50), Some(90), Some(99))
        );
        assert_eq!(FirstByte::of(&[7]).p99_ms, Some(7));
        assert_eq!(FirstByte::of(&[]).p50_ms, None);
    }
}
