//! The API of our own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::StatusCode;

use crate::clients::{Card, Purpose};
use crate::config;
use crate::hub::{self, StreamKey};
use crate::play::{Live, SERVER, millis};

use super::routes::{Answer, Ask, Page, failed, failure, parameter};
use super::shapes::{
    Block, Blocks, Client, Clients, Configuration, Done, FirstByte, Gop, Health, Listener, Log,
    Players, Publisher, Recording, Recordings, Reloaded, Server, Setting, Stream, StreamName,
    Streams, Track, at_ms,
};
use super::stream_id;

/// SRS's numbers for what is not there.
pub(super) const STREAM_NOT_FOUND: u32 = 2048;
pub(super) const CLIENT_NOT_FOUND: u32 = 2049;

/// What one answer looks at: the clients once, so that a list of streams does not go through them for each.
pub(super) struct View {
    pub(super) now: Instant,
    cards: HashMap<StreamKey, Vec<Arc<Card>>>,
    recordings: Vec<crate::record::Recording>,
}

impl View {
    pub(super) fn new(live: &Live) -> Self {
        let mut cards: HashMap<StreamKey, Vec<Arc<Card>>> = HashMap::new();
        for card in live.clients().list() {
            cards.entry(card.key.clone()).or_default().push(card);
        }
        Self {
            now: Instant::now(),
            cards,
            recordings: live.recording_list(),
        }
    }

    pub(super) fn clients(&self, key: &StreamKey) -> &[Arc<Card>] {
        self.cards.get(key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn publisher(&self, key: &StreamKey) -> Option<&Arc<Card>> {
        self.clients(key).iter().find(|card| card.is_publisher())
    }

    /// Bytes to players of the stream, those that left counted, and what they get now in bits a second.
    pub(super) fn sent(&self, stream: &hub::Stream) -> (u64, u64) {
        let players = self.clients(stream.key()).iter();
        let players = players.filter(|card| !card.is_publisher());
        players.fold((stream.sent().bytes, 0), |(bytes, rate), card| {
            let now = card.bits_per_second(self.now);
            (bytes + card.bytes(), rate + now)
        })
    }

    fn stream(&self, stream: &hub::Stream) -> Stream {
        let key = stream.key();
        let report = stream.report(self.now);
        let (bytes_out, bits_per_second_out) = self.sent(stream);
        let skips: u64 = self.clients(key).iter().map(|card| card.skips()).sum();
        let publisher = self.publisher(key);
        let players = players(self.clients(key));
        let recording = self.recordings.iter().find(|r| r.stream == *key);
        Stream {
            id: stream_id(key),
            name: StreamName::of(key),
            path: format!("/{}/{}", key.app(), key.stream()),
            ready: report.ready,
            publisher: report.published_for.map(|uptime| Publisher {
                client: publisher.map(|card| card.client.id),
                address: publisher
                    .and_then(|card| card.client.peer)
                    .map(|peer| peer.to_string()),
                protocol: publisher.map(|card| card.client.protocol.to_owned()),
                uptime_ms: millis(uptime),
            }),
            bytes_in: report.counters.bytes,
            bits_per_second_in: report.bits_per_second,
            bytes_out,
            bits_per_second_out,
            video_frames: report.counters.video_frames,
            audio_frames: report.counters.audio_frames,
            dropped_frames: report.counters.dropped,
            skips: skips + stream.sent().skips,
            tracks: report.tracks.iter().map(Track::of).collect(),
            gop: report.gop.map(|gop| Gop {
                frames: gop.frames,
                duration_ms: millis(gop.duration),
            }),
            players_total: players.iter().map(|players| players.count).sum(),
            players,
            logs: report.logs.iter().map(Log::of).collect(),
            memory_bytes: report.memory as u64,
            first_byte: FirstByte::of(&stream.first_bytes_ms()),
            recording: recording.map(show_recording),
        }
    }
}

/// Players by format and protocol.
pub(super) fn players<'a>(cards: impl IntoIterator<Item = &'a Arc<Card>>) -> Vec<Players> {
    let mut counts: HashMap<(&str, &str), u64> = HashMap::new();
    for card in cards {
        if let Purpose::Play(format) = card.purpose {
            *counts
                .entry((format.name(), card.client.protocol))
                .or_default() += 1;
        }
    }
    let mut players: Vec<Players> = counts
        .into_iter()
        .map(|((format, protocol), count)| Players {
            format: format.to_owned(),
            protocol: protocol.to_owned(),
            count,
        })
        .collect();
    players.sort();
    players
}

/// All streams, by name.
pub(super) fn sorted_streams(live: &Live) -> Vec<Arc<hub::Stream>> {
    let mut streams = live.hub().streams();
    streams.sort_by(|one, other| one.key().cmp(other.key()));
    streams
}

/// The stream of that id.
pub(super) fn find_stream(live: &Live, id: &str) -> Option<Arc<hub::Stream>> {
    let mut streams = live.hub().streams().into_iter();
    streams.find(|stream| stream_id(stream.key()) == id)
}

pub(super) fn no_stream() -> Answer {
    let what = "there is no stream of this id";
    failed(StatusCode::NOT_FOUND, STREAM_NOT_FOUND, what, Vec::new())
}

pub(super) fn no_client() -> Answer {
    let what = "there is no client of this id";
    failed(StatusCode::NOT_FOUND, CLIENT_NOT_FOUND, what, Vec::new())
}

pub(super) fn done(changed: bool) -> Answer {
    Answer::ok(&Done { code: 0, changed })
}

pub(super) fn server(ask: &Ask<'_>) -> Answer {
    let live = ask.live;
    let now = Instant::now();
    let cards = live.clients().list();
    let totals = live.clients().totals();
    let streams = live.hub().streams();
    let rate_in = streams
        .iter()
        .map(|stream| stream.report(now).bits_per_second)
        .sum();
    let rate_out = cards.iter().filter(|card| !card.is_publisher());
    Answer::ok(&Server {
        version: SERVER.to_owned(),
        pid: std::process::id(),
        uptime_ms: millis(live.uptime()),
        now_at_ms: at_ms(SystemTime::now()),
        ready: live.is_ready(),
        streams: streams.len() as u64,
        publishers: cards.iter().filter(|card| card.is_publisher()).count() as u64,
        players: players(&cards),
        connections: live.connections() as u64,
        behind: live.behind() as u64,
        bytes_in: live.hub().frames().bytes,
        bytes_out: totals.bytes_out,
        bits_per_second_in: rate_in,
        bits_per_second_out: rate_out.map(|card| card.bits_per_second(now)).sum(),
        listeners: ask
            .api
            .listening
            .iter()
            .map(|(protocol, address)| Listener {
                protocol: (*protocol).to_owned(),
                address: address.to_string(),
            })
            .collect(),
    })
}

pub(super) fn streams(ask: &Ask<'_>) -> Answer {
    let page = match Page::of(ask.query) {
        Ok(page) => page,
        Err(answer) => return answer,
    };
    let view = View::new(ask.live);
    let streams = sorted_streams(ask.live);
    Answer::ok(&Streams {
        total: streams.len(),
        streams: page.take(&streams).map(|s| view.stream(s)).collect(),
    })
}

pub(super) fn stream(ask: &Ask<'_>) -> Answer {
    match find_stream(ask.live, ask.id) {
        Some(stream) => Answer::ok(&View::new(ask.live).stream(&stream)),
        None => no_stream(),
    }
}

pub(super) fn kick_publisher(ask: &Ask<'_>) -> Answer {
    match find_stream(ask.live, ask.id) {
        Some(stream) => done(ask.live.kick_publisher(stream.key())),
        None => no_stream(),
    }
}

pub(super) fn start_recording(ask: &Ask<'_>) -> Answer {
    match find_stream(ask.live, ask.id) {
        Some(stream) => done(ask.live.start_recording(stream.key())),
        None => no_stream(),
    }
}

pub(super) fn stop_recording(ask: &Ask<'_>) -> Answer {
    // A stream that has ended may still be recorded to its end.
    let mut recordings = ask.live.recording_list().into_iter();
    let recorded = recordings
        .find(|recording| stream_id(&recording.stream) == ask.id)
        .map(|recording| recording.stream);
    match recorded.or_else(|| find_stream(ask.live, ask.id).map(|s| s.key().clone())) {
        Some(key) => done(ask.live.stop_recording(&key)),
        None => no_stream(),
    }
}

pub(super) fn clients(ask: &Ask<'_>) -> Answer {
    let page = match Page::of(ask.query) {
        Ok(page) => page,
        Err(answer) => return answer,
    };
    let mut cards = ask.live.clients().list();
    if let Some(id) = parameter(ask.query, "stream").filter(|id| !id.is_empty()) {
        cards.retain(|card| stream_id(&card.key) == id);
    }
    let now = Instant::now();
    Answer::ok(&Clients {
        total: cards.len(),
        clients: page.take(&cards).map(|c| Client::of(c, now)).collect(),
    })
}

pub(super) fn client(ask: &Ask<'_>) -> Answer {
    match find_client(ask) {
        Some(card) => Answer::ok(&Client::of(&card, Instant::now())),
        None => no_client(),
    }
}

pub(super) fn kick(ask: &Ask<'_>) -> Answer {
    match find_client(ask) {
        Some(card) => done(ask.live.kick(card.client.id)),
        None => no_client(),
    }
}

pub(super) fn find_client(ask: &Ask<'_>) -> Option<Arc<Card>> {
    ask.live.clients().get(ask.id.parse().ok()?)
}

pub(super) fn blocks(ask: &Ask<'_>) -> Answer {
    let blocks = ask.live.blocked().into_iter();
    Answer::ok(&Blocks {
        blocks: blocks
            .map(|(key, since)| Block {
                id: stream_id(&key),
                name: StreamName::of(&key),
                since_at_ms: at_ms(since),
            })
            .collect(),
    })
}

pub(super) fn block(ask: &Ask<'_>) -> Answer {
    let name: StreamName = match serde_json::from_slice(ask.body) {
        Ok(name) => name,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let (vhost, _) = ask.live.vhosts().resolve(&name.vhost);
    match StreamKey::new(&vhost, &name.app, &name.name) {
        Err(error) => failure(StatusCode::BAD_REQUEST, &error.to_string()),
        Ok(key) => match ask.live.block(&key) {
            Ok(changed) => done(changed),
            Err(error) => failure(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        },
    }
}

pub(super) fn unblock(ask: &Ask<'_>) -> Answer {
    let mut blocks = ask.live.blocked().into_iter();
    match blocks.find(|(key, _)| stream_id(key) == ask.id) {
        Some((key, _)) => done(ask.live.unblock(&key)),
        None => failed(
            StatusCode::NOT_FOUND,
            STREAM_NOT_FOUND,
            "no stream of this id is blocked",
            Vec::new(),
        ),
    }
}

fn show_recording(recording: &crate::record::Recording) -> Recording {
    Recording {
        stream_id: stream_id(&recording.stream),
        stream: StreamName::of(&recording.stream),
        since_at_ms: at_ms(recording.since),
        path: recording
            .path
            .as_ref()
            .map(|path| path.display().to_string()),
        bytes: recording.bytes,
        files: recording.files,
        errors: recording.errors,
        last_error: recording.last_error.clone(),
    }
}

pub(super) fn recordings(ask: &Ask<'_>) -> Answer {
    let counts = ask.live.counters().snapshot();
    let recordings = ask.live.recording_list();
    Answer::ok(&Recordings {
        finished: counts.recordings,
        finished_bytes: counts.recording_bytes,
        errors: counts.recording_errors,
        recordings: recordings.iter().map(show_recording).collect(),
    })
}

pub(super) fn configuration(ask: &Ask<'_>) -> Answer {
    let settings = config::settings(&ask.live.config());
    Answer::ok(&Configuration {
        keys: settings
            .into_iter()
            .map(|setting| Setting {
                needs_restart: config::needs_restart(&setting.path),
                path: setting.path,
                value: setting.value,
                is_default: setting.is_default,
            })
            .collect(),
    })
}

pub(super) fn reload(ask: &Ask<'_>) -> Answer {
    match ask.live.reload() {
        Ok(changes) => Answer::ok(&Reloaded {
            code: 0,
            changed: changes.changed,
            needs_restart: changes.needs_restart,
        }),
        Err(error) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            let what = "the configuration has mistakes, and nothing was changed";
            failed(status, u32::from(status.as_u16()), what, error.errors)
        }
    }
}

pub(super) fn health(_: &Ask<'_>) -> Answer {
    Answer::ok(&Health {
        status: "ok".to_owned(),
    })
}

pub(super) fn ready(ask: &Ask<'_>) -> Answer {
    if !ask.live.is_ready() {
        let status = "shutting down".to_owned();
        return Answer::json(StatusCode::SERVICE_UNAVAILABLE, &Health { status });
    }
    health(ask)
}
