//! SRS's API, in its shapes (SRS 5 to 7, `trunk/src/app/srs_app_statistic.cpp` and `srs_app_http_api.cpp`).
//!
//! What differs: `live_ms` is how long the stream is live, where SRS gives the time of day; `start` and `count` are kept to, where SRS
//! gives ten at least; and what is not there has the status 404 beside SRS's `code`.

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::clients::{Card, Purpose};
use crate::hub::{self, Format, StreamKey, TrackReport};
use crate::media::FrameKind;
use crate::play::{SERVER, millis};

use super::live::{View, find_client, find_stream, no_client, no_stream, sorted_streams};
use super::routes::{Answer, Ask, Page, failed};
use super::shapes::at_ms;
use super::{id, stream_id};

/// SRS's number for it.
const VHOST_NOT_FOUND: u32 = 2014;

/// What all answers begin with.
#[derive(Debug, Serialize, JsonSchema)]
struct Head {
    /// 0.
    code: u32,
    /// The same for each process on this machine.
    server: String,
    /// The same for this process.
    service: String,
    /// The process.
    pid: String,
}

impl Head {
    fn new() -> Self {
        static SERVICE: OnceLock<(String, String)> = OnceLock::new();
        let pid = std::process::id().to_string();
        let (server, service) = SERVICE.get_or_init(|| {
            let machine = std::fs::read_to_string("/etc/machine-id")
                .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"))
                .unwrap_or_default();
            let began = at_ms(SystemTime::now()).to_string();
            (
                format!("vid-{}", id(&["server", &machine])),
                id(&["service", &machine, &pid, &began]),
            )
        });
        Self {
            code: 0,
            server: server.clone(),
            service: service.clone(),
            pid,
        }
    }
}

macro_rules! answer {
    ($(#[doc = $about:literal] $name:ident { $field:ident: $of:ty })*) => {$(
        #[doc = $about]
        #[derive(Debug, Serialize, JsonSchema)]
        pub(super) struct $name {
            #[serde(flatten)]
            head: Head,
            #[doc = $about]
            $field: $of,
        }

        impl $name {
            fn answer($field: $of) -> Answer {
                Answer::ok(&Self { head: Head::new(), $field })
            }
        }
    )*};
}

answer! {
    /// The version.
    Versions { data: Version }
    /// The process and the machine.
    Summaries { data: Summary }
    /// The vhosts.
    Vhosts { vhosts: Vec<Vhost> }
    /// The vhost.
    OneVhost { vhost: Vhost }
    /// The streams.
    Streams { streams: Vec<Stream> }
    /// The stream.
    OneStream { stream: Stream }
    /// The clients.
    Clients { clients: Vec<Client> }
    /// The client.
    OneClient { client: Client }
}

/// The client is ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Kicked {
    #[serde(flatten)]
    head: Head,
}

/// A version.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Version {
    major: u32,
    minor: u32,
    revision: u32,
    version: String,
}

/// Bits a second, in thousands, over the last half minute.
#[derive(Debug, Serialize, JsonSchema)]
struct Kbps {
    recv_30s: u64,
    send_30s: u64,
}

impl Kbps {
    fn new(received: u64, sent: u64) -> Self {
        Self {
            recv_30s: received / 1000,
            send_30s: sent / 1000,
        }
    }
}

/// A configured vhost.
#[derive(Debug, Serialize, JsonSchema)]
struct Vhost {
    id: String,
    name: String,
    enabled: bool,
    /// Publishers and players.
    clients: u64,
    streams: u64,
    send_bytes: u64,
    recv_bytes: u64,
    kbps: Kbps,
    hls: Hls,
}

/// HLS is not served.
#[derive(Debug, Serialize, JsonSchema)]
struct Hls {
    enabled: bool,
}

/// A stream.
#[derive(Debug, Serialize, JsonSchema)]
struct Stream {
    id: String,
    name: String,
    /// The vhost's id.
    vhost: String,
    app: String,
    /// What the publisher connected to.
    #[serde(rename = "tcUrl")]
    tc_url: String,
    url: String,
    /// How long it is live; 0 without a publisher.
    live_ms: u64,
    /// Publishers and players.
    clients: u64,
    /// Video frames from the present publisher.
    frames: u64,
    send_bytes: u64,
    recv_bytes: u64,
    kbps: Kbps,
    publish: Publish,
    video: Option<Video>,
    audio: Option<Audio>,
}

/// The publisher.
#[derive(Debug, Serialize, JsonSchema)]
struct Publish {
    active: bool,
    /// The client's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<String>,
}

/// The first video track.
#[derive(Debug, Serialize, JsonSchema)]
struct Video {
    codec: String,
    profile: String,
    level: String,
    width: u32,
    height: u32,
}

/// The first audio track.
#[derive(Debug, Serialize, JsonSchema)]
struct Audio {
    codec: String,
    sample_rate: u32,
    channel: u8,
    profile: String,
}

/// A publisher or player.
#[derive(Debug, Serialize, JsonSchema)]
struct Client {
    id: String,
    /// The vhost's id.
    vhost: String,
    /// The stream's id.
    stream: String,
    ip: String,
    #[serde(rename = "pageUrl")]
    page_url: String,
    #[serde(rename = "swfUrl")]
    swf_url: String,
    #[serde(rename = "tcUrl")]
    tc_url: String,
    url: String,
    /// The stream's name.
    name: String,
    /// `fmle-publish`, `flv-publish`, `rtmp-play`, `flv-play`, `ts-play`, `aac-play` or `mp3-play`.
    r#type: String,
    publish: bool,
    /// In seconds.
    alive: f64,
    send_bytes: u64,
    recv_bytes: u64,
    kbps: Kbps,
}

/// The process and the machine.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Summary {
    ok: bool,
    now_ms: u64,
    #[serde(rename = "self")]
    own: Own,
    system: System,
}

/// The process.
#[derive(Debug, Serialize, JsonSchema)]
struct Own {
    version: String,
    pid: u32,
    ppid: u64,
    argv: String,
    cwd: String,
    mem_kbyte: u64,
    mem_percent: f64,
    cpu_percent: f64,
    /// In seconds.
    srs_uptime: u64,
}

/// The machine.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(non_snake_case)]
struct System {
    cpu_percent: f64,
    disk_read_KBps: u64,
    disk_write_KBps: u64,
    disk_busy_percent: f64,
    mem_ram_kbyte: u64,
    mem_ram_percent: f64,
    mem_swap_kbyte: u64,
    mem_swap_percent: f64,
    cpus: u64,
    cpus_online: u64,
    uptime: f64,
    /// SRS writes it so.
    ilde_time: f64,
    load_1m: f64,
    load_5m: f64,
    load_15m: f64,
    net_sample_time: u64,
    net_recv_bytes: u64,
    net_send_bytes: u64,
    net_recvi_bytes: u64,
    net_sendi_bytes: u64,
    srs_sample_time: u64,
    srs_recv_bytes: u64,
    srs_send_bytes: u64,
    conn_sys: u64,
    conn_sys_et: u64,
    conn_sys_tw: u64,
    conn_sys_udp: u64,
    conn_srs: u64,
}

pub(super) fn versions(_: &Ask<'_>) -> Answer {
    let part = |text: &str| text.parse().unwrap_or_default();
    Versions::answer(Version {
        major: part(env!("CARGO_PKG_VERSION_MAJOR")),
        minor: part(env!("CARGO_PKG_VERSION_MINOR")),
        revision: part(env!("CARGO_PKG_VERSION_PATCH")),
        version: SERVER.to_owned(),
    })
}

/// A part of all, from 0 to 1, as SRS gives what it calls percent of memory.
fn part(some: u64, all: u64) -> f64 {
    if all == 0 {
        0.0
    } else {
        some as f64 / all as f64
    }
}

pub(super) fn summaries(ask: &Ask<'_>) -> Answer {
    let figures = ask.api.process.figures();
    let totals = ask.live.clients().totals();
    let now_ms = at_ms(SystemTime::now());
    let used = |all: u64, free: u64| part(all.saturating_sub(free), all);
    let argv: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let cwd = std::env::current_dir().map_or_else(|_| String::new(), |p| p.display().to_string());
    Summaries::answer(Summary {
        ok: true,
        now_ms,
        own: Own {
            version: SERVER.to_owned(),
            pid: std::process::id(),
            ppid: figures.ppid,
            argv: argv.join(" "),
            cwd,
            mem_kbyte: figures.resident_kib,
            mem_percent: part(figures.resident_kib, figures.memory_kib),
            // SRS gives 0.5 for half a processor.
            cpu_percent: figures.cpu_percent / 100.0,
            srs_uptime: ask.live.uptime().as_secs(),
        },
        system: System {
            cpu_percent: figures.system_cpu_percent / 100.0,
            disk_read_KBps: figures.disk_read_kbps,
            disk_write_KBps: figures.disk_written_kbps,
            disk_busy_percent: figures.disk_busy_percent / 100.0,
            mem_ram_kbyte: figures.memory_kib,
            mem_ram_percent: used(figures.memory_kib, figures.memory_free_kib),
            mem_swap_kbyte: figures.swap_kib,
            mem_swap_percent: used(figures.swap_kib, figures.swap_free_kib),
            cpus: figures.processors,
            cpus_online: figures.processors,
            uptime: figures.uptime_seconds,
            ilde_time: figures.idle_seconds,
            load_1m: figures.load[0],
            load_5m: figures.load[1],
            load_15m: figures.load[2],
            net_sample_time: now_ms,
            net_recv_bytes: figures.received,
            net_send_bytes: figures.sent,
            net_recvi_bytes: figures.received_inside,
            net_sendi_bytes: figures.sent_inside,
            srs_sample_time: now_ms,
            srs_recv_bytes: ask.live.hub().frames().bytes,
            srs_send_bytes: totals.bytes_out,
            conn_sys: figures.sockets_tcp + figures.sockets_tcp_waiting + figures.sockets_udp,
            conn_sys_et: figures.sockets_tcp,
            conn_sys_tw: figures.sockets_tcp_waiting,
            conn_sys_udp: figures.sockets_udp,
            conn_srs: ask.live.connections() as u64,
        },
    })
}

fn vhost_id(name: &str) -> String {
    format!("vid-{}", id(&["vhost", name]))
}

fn all_vhosts(ask: &Ask<'_>) -> Vec<Vhost> {
    let config = ask.live.config();
    let view = View::new(ask.live);
    let streams = ask.live.hub().streams();
    let show = |(name, settings): (&String, &crate::config::Vhost)| {
        let streams = streams.iter().filter(|s| s.key().vhost() == name);
        let mut vhost = Vhost {
            id: vhost_id(name),
            name: name.clone(),
            enabled: settings.enabled,
            clients: 0,
            streams: 0,
            send_bytes: 0,
            recv_bytes: 0,
            kbps: Kbps::new(0, 0),
            hls: Hls { enabled: false },
        };
        let (mut received, mut sent) = (0, 0);
        for stream in streams {
            let report = stream.report(view.now);
            let (bytes, rate) = view.sent(stream);
            vhost.streams += 1;
            vhost.clients += view.clients(stream.key()).len() as u64;
            vhost.recv_bytes += report.counters.bytes;
            vhost.send_bytes += bytes;
            received += report.bits_per_second;
            sent += rate;
        }
        vhost.kbps = Kbps::new(received, sent);
        vhost
    };
    config.vhosts.iter().map(show).collect()
}

pub(super) fn vhosts(ask: &Ask<'_>) -> Answer {
    Vhosts::answer(all_vhosts(ask))
}

pub(super) fn vhost(ask: &Ask<'_>) -> Answer {
    let mut vhosts = all_vhosts(ask).into_iter();
    match vhosts.find(|vhost| vhost.id == ask.id) {
        Some(vhost) => OneVhost::answer(vhost),
        None => failed(
            StatusCode::NOT_FOUND,
            VHOST_NOT_FOUND,
            "there is no vhost of this id",
            Vec::new(),
        ),
    }
}

fn show_stream(view: &View, stream: &hub::Stream) -> Stream {
    let key = stream.key();
    let report = stream.report(view.now);
    let (send_bytes, sent) = view.sent(stream);
    let publisher = view.publisher(key);
    let first = |kind: FrameKind| report.tracks.iter().find(|track| track.kind == kind);
    Stream {
        id: stream_id(key),
        name: key.stream().to_owned(),
        vhost: vhost_id(key.vhost()),
        app: key.app().to_owned(),
        tc_url: publisher.map_or_else(String::new, |card| card.client.url.clone()),
        url: url(key),
        live_ms: report.published_for.map_or(0, millis),
        clients: view.clients(key).len() as u64,
        frames: report.counters.video_frames,
        send_bytes,
        recv_bytes: report.counters.bytes,
        kbps: Kbps::new(report.bits_per_second, sent),
        publish: Publish {
            active: report.published_for.is_some(),
            cid: publisher.map(|card| card.client.id.to_string()),
        },
        video: first(FrameKind::Video).map(show_video),
        audio: first(FrameKind::Audio).map(show_audio),
    }
}

/// As SRS: the default vhost is not named.
fn url(key: &StreamKey) -> String {
    match key.vhost() {
        crate::config::DEFAULT_VHOST => format!("/{}/{}", key.app(), key.stream()),
        vhost => format!("{vhost}/{}/{}", key.app(), key.stream()),
    }
}

/// As SRS calls it where it has a name for it.
fn codec(track: &TrackReport) -> String {
    codec_of(&track.codec.to_string()).to_owned()
}

fn codec_of(name: &str) -> &str {
    match name {
        "H.264" => "H264",
        "H.265" => "HEVC",
        other => other,
    }
}

/// SRS writes 3.1, but 3.
fn level_of(level: &str) -> &str {
    level.strip_suffix(".0").unwrap_or(level)
}

fn show_video(track: &TrackReport) -> Video {
    let info = track.info.as_ref();
    let text = |found: Option<&str>| found.unwrap_or("Other").to_owned();
    Video {
        codec: codec(track),
        profile: text(info.and_then(|i| i.profile.as_deref())),
        level: text(info.and_then(|i| i.level.as_deref()).map(level_of)),
        width: info.and_then(|i| i.width).unwrap_or_default(),
        height: info.and_then(|i| i.height).unwrap_or_default(),
    }
}

fn show_audio(track: &TrackReport) -> Audio {
    let info = track.info.as_ref();
    Audio {
        codec: codec(track),
        sample_rate: info.and_then(|i| i.sample_rate_hz).unwrap_or_default(),
        channel: info.and_then(|i| i.channels).unwrap_or_default(),
        profile: info
            .and_then(|i| i.profile.as_deref())
            .unwrap_or("Other")
            .to_owned(),
    }
}

pub(super) fn streams(ask: &Ask<'_>) -> Answer {
    let page = match Page::of(ask.query) {
        Ok(page) => page,
        Err(answer) => return answer,
    };
    let view = View::new(ask.live);
    let streams = sorted_streams(ask.live);
    let shown = page.take(&streams).map(|s| show_stream(&view, s));
    Streams::answer(shown.collect())
}

pub(super) fn stream(ask: &Ask<'_>) -> Answer {
    match find_stream(ask.live, ask.id) {
        Some(stream) => OneStream::answer(show_stream(&View::new(ask.live), &stream)),
        None => no_stream(),
    }
}

fn show_client(card: &Arc<Card>, now: Instant) -> Client {
    let publish = card.is_publisher();
    let rate = card.bits_per_second(now);
    let (received, sent) = if publish { (rate, 0) } else { (0, rate) };
    let kind = match card.purpose {
        Purpose::Publish if card.client.protocol == "rtmp" => "fmle-publish".to_owned(),
        Purpose::Publish => "flv-publish".to_owned(),
        Purpose::Play(Format::Rtmp) => "rtmp-play".to_owned(),
        Purpose::Play(format) => format!("{}-play", format.name()),
    };
    Client {
        id: card.client.id.to_string(),
        vhost: vhost_id(card.key.vhost()),
        stream: stream_id(&card.key),
        ip: card
            .client
            .peer
            .map_or_else(String::new, |peer| peer.ip().to_string()),
        page_url: card.client.page.clone().unwrap_or_default(),
        swf_url: String::new(),
        tc_url: card.client.url.clone(),
        url: url(&card.key),
        name: card.key.stream().to_owned(),
        r#type: kind,
        publish,
        alive: (now.saturating_duration_since(card.since).as_secs_f64() * 1000.0).round() / 1000.0,
        send_bytes: if publish { 0 } else { card.bytes() },
        recv_bytes: if publish { card.bytes() } else { 0 },
        kbps: Kbps::new(received, sent),
    }
}

pub(super) fn clients(ask: &Ask<'_>) -> Answer {
    let page = match Page::of(ask.query) {
        Ok(page) => page,
        Err(answer) => return answer,
    };
    let cards = ask.live.clients().list();
    let now = Instant::now();
    let shown = page.take(&cards).map(|card| show_client(card, now));
    Clients::answer(shown.collect())
}

pub(super) fn client(ask: &Ask<'_>) -> Answer {
    match find_client(ask) {
        Some(card) => OneClient::answer(show_client(&card, Instant::now())),
        None => no_client(),
    }
}

pub(super) fn kick(ask: &Ask<'_>) -> Answer {
    match find_client(ask) {
        Some(card) => {
            ask.live.kick(card.client.id);
            Answer::ok(&Kicked { head: Head::new() })
        }
        None => no_client(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::Codec;

    /// `srs_video_codec_id2str`, `srs_avc_level2str` and `srs_hevc_level2str` of SRS 7.
    #[test]
    fn names_that_srs_has() {
        for (ours, theirs) in [
            (Codec::H264, "H264"),
            (Codec::Hevc, "HEVC"),
            (Codec::Av1, "AV1"),
        ] {
            assert_eq!(codec_of(&ours.to_string()), theirs);
        }
        for (ours, theirs) in [("3.0", "3"), ("3.1", "3.1"), ("4.0", "4"), ("1b", "1b")] {
            assert_eq!(level_of(ours), theirs);
        }
    }
}
