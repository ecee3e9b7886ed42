//! `/metrics`: figures for Prometheus. Nothing here is kept for it: what is counted anyway is read when asked for.

use std::time::Instant;

use http::StatusCode;

use crate::observe::{Kind, Snapshot, Text};

use super::live::{View, players, sorted_streams};
use super::node_metrics;
use super::routes::{Answer, Ask};

use Kind::{Counter, Gauge, Histogram};

/// Prometheus's text format.
const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn metrics(ask: &Ask<'_>) -> Answer {
    let mut text = Text::default();
    server(ask, &mut text);
    counts(&ask.live.counters().snapshot(), &mut text);
    node_metrics::nodes(ask.live, &mut text);
    let mut denied = text.metric(
        "pingora_live_denied_total",
        Counter,
        "Publishers, players and connections that were turned away, by reason.",
    );
    for (action, reason, count) in ask.live.counters().all_turned_away() {
        denied.sample(&[("action", action), ("reason", reason)], count);
    }
    if ask.live.config().api.metrics.per_stream {
        streams(ask, &mut text);
    }
    process(ask, &mut text);
    Answer {
        status: StatusCode::OK,
        content_type: TYPE,
        body: text.finish().into(),
        allow: None,
    }
}

fn server(ask: &Ask<'_>, text: &mut Text) {
    let live = ask.live;
    text.metric(
        "pingora_live_build_info",
        Gauge,
        "The version, as a label; always 1.",
    )
    .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.one(
        "pingora_live_ready",
        Gauge,
        "Whether publishers and players are taken: 0 while it shuts down.",
        u8::from(live.is_ready()),
    );
    let cards = live.clients().list();
    let mut streams = (0, 0);
    let mut lazy = 0;
    let mut memory = 0;
    let mut units = 0;
    for stream in live.hub().streams() {
        let report = stream.report(Instant::now());
        match report.published_for {
            Some(_) => streams.0 += 1,
            None => streams.1 += 1,
        }
        lazy += usize::from(report.lazy);
        memory += report.memory;
        units += report.logs.iter().map(|log| log.units).sum::<usize>();
    }
    text.metric(
        "pingora_live_streams",
        Gauge,
        "Streams, by whether they are published or held for a publisher that left.",
    )
    .sample(&[("state", "published")], streams.0)
    .sample(&[("state", "held")], streams.1);
    text.one(
        "pingora_live_streams_read_lazily",
        Gauge,
        "Streams that nobody reads, whose publishers are read a few times a second only.",
        lazy,
    );
    let publishers = cards.iter().filter(|card| card.is_publisher()).count();
    text.one("pingora_live_publishers", Gauge, "Publishers.", publishers);
    let mut metric = text.metric(
        "pingora_live_players",
        Gauge,
        "Players, those that wait for a stream counted, by format and protocol.",
    );
    let playing = players(&cards);
    for kind in &playing {
        let labels = [
            ("format", kind.format.as_str()),
            ("protocol", kind.protocol.as_str()),
        ];
        metric.sample(&labels, kind.count);
    }
    if playing.is_empty() {
        metric.sample(&[("format", "flv"), ("protocol", "http1")], 0);
    }
    let waiting = cards.iter().filter(|card| card.waits()).count();
    text.one(
        "pingora_live_players_waiting",
        Gauge,
        "Players that wait for a stream that is not there.",
        waiting,
    );
    text.one(
        "pingora_live_players_behind",
        Gauge,
        "Players whose connection does not take what they should get: the depth of the slow lanes.",
        live.behind(),
    );
    text.one(
        "pingora_live_connections",
        Gauge,
        "Connections that limits.connections counts.",
        live.connections(),
    );
    text.one(
        "pingora_live_connections_limit",
        Gauge,
        "limits.connections; 0 is no limit.",
        live.config().limits.connections,
    );
    text.one(
        "pingora_live_stream_memory_bytes",
        Gauge,
        "Bytes that streams keep for players: frames since the last keyframe, and logs.",
        memory,
    );
    text.one(
        "pingora_live_log_units",
        Gauge,
        "Pieces that logs keep for players: the depth of the queues that all share.",
        units,
    );
    let totals = live.clients().totals();
    let frames = live.hub().frames();
    text.metric(
        "pingora_live_bytes_total",
        Counter,
        "Bytes of media from publishers, and bytes to players, those that are connected counted.",
    )
    .sample(&[("direction", "in")], frames.bytes)
    .sample(&[("direction", "out")], totals.bytes_out);
    text.one(
        "pingora_live_skips_total",
        Counter,
        "Times that a player fell behind and skipped to a keyframe.",
        totals.skips,
    );
    text.metric(
        "pingora_live_frames_total",
        Counter,
        "Coded frames from publishers, by kind.",
    )
    .sample(&[("kind", "video")], frames.video_frames)
    .sample(&[("kind", "audio")], frames.audio_frames);
    text.one(
        "pingora_live_frames_dropped_total",
        Counter,
        "Video frames dropped before the first keyframe of a publisher.",
        frames.dropped,
    );
    text.metric(
        "pingora_live_first_byte_seconds",
        Histogram,
        "From a player's request to its first byte. A wait for a stream that was not there counts.",
    )
    .distribution(&[], [live.counters().first_bytes()]);
    text.metric(
        "pingora_live_added_latency_seconds",
        Histogram,
        "From the arrival of a frame to its last write to a player that keeps up, by worker turn.",
    )
    .distribution(&[], live.added_latency());
    let recordings = live.recording_list();
    text.one(
        "pingora_live_recordings_active",
        Gauge,
        "Streams that are recorded.",
        recordings.len(),
    );
    text.one(
        "pingora_live_blocked_streams",
        Gauge,
        "Streams that an operator blocked.",
        live.blocked().len(),
    );
}

fn counts(counts: &Snapshot, text: &mut Text) {
    text.one(
        "pingora_live_publishes_total",
        Counter,
        "Publishes that began.",
        counts.publishes,
    );
    text.one(
        "pingora_live_plays_total",
        Counter,
        "Plays that began.",
        counts.plays,
    );
    text.one(
        "pingora_live_protocol_errors_total",
        Counter,
        "Publishers that broke the protocol or a media format.",
        counts.protocol_errors,
    );
    text.metric("pingora_live_evictions_total", Counter, "Clients that were ended: their socket took nothing (stalled), or an operator wanted it (kicked).")
        .sample(&[("reason", "stalled")], counts.stalls)
        .sample(&[("reason", "kicked")], counts.kicks);
    text.metric(
        "pingora_live_tls_handshakes_total",
        Counter,
        "TLS handshakes that were completed, by service.",
    )
    .sample(&[("service", "http")], counts.tls_http)
    .sample(&[("service", "rtmp")], counts.tls_rtmp);
    text.metric(
        "pingora_live_tls_handshakes_failed_total",
        Counter,
        "TLS handshakes that came to nothing: failed, or not finished in time. Connections that send nothing are not among them.",
    )
    .sample(&[("reason", "failed")], counts.tls_failed)
    .sample(&[("reason", "late")], counts.tls_late);
    text.one(
        "pingora_live_recordings_total",
        Counter,
        "Files of recordings that were finished.",
        counts.recordings,
    );
    text.one(
        "pingora_live_recording_bytes_total",
        Counter,
        "Bytes of files of recordings that were finished.",
        counts.recording_bytes,
    );
    text.one(
        "pingora_live_recording_errors_total",
        Counter,
        "Times that a recording could not be begun, written or closed, or lost frames.",
        counts.recording_errors,
    );
    text.one(
        "pingora_live_file_requests_total",
        Counter,
        "Requests for files that were answered.",
        counts.files,
    );
    text.one(
        "pingora_live_file_bytes_total",
        Counter,
        "Bytes of files that were sent.",
        counts.file_bytes,
    );
    text.one(
        "pingora_live_proxied_requests_total",
        Counter,
        "Requests that a route sent to an upstream.",
        counts.proxied,
    );
    text.one(
        "pingora_live_proxied_bytes_total",
        Counter,
        "Bytes of the bodies of their responses, of those that ended.",
        counts.proxied_bytes,
    );
    text.one(
        "pingora_live_proxy_retries_total",
        Counter,
        "Times that another server of an upstream was tried.",
        counts.proxy_retries,
    );
    text.one(
        "pingora_live_proxy_failures_total",
        Counter,
        "Requests to an upstream that no server answered.",
        counts.proxy_failures,
    );
    text.one(
        "pingora_live_proxy_headers_refused_total",
        Counter,
        "Connections closed where the PROXY protocol is spoken: no good header, or a peer that is not trusted.",
        counts.proxy_headers_refused,
    );
}

/// Those with the most players, as many as the key allows. Rates and not counters: a stream's counts begin anew with each publisher.
fn streams(ask: &Ask<'_>, text: &mut Text) {
    let view = View::new(ask.live);
    let most = ask.live.config().api.metrics.max_streams as usize;
    let mut streams = sorted_streams(ask.live);
    streams.sort_by_key(|stream| std::cmp::Reverse(stream.players()));
    let left_out = streams.len().saturating_sub(most);
    streams.truncate(most);
    text.one(
        "pingora_live_streams_not_shown",
        Gauge,
        "Streams without series of their own, beyond api.metrics.max_streams.",
        left_out,
    );
    let rows: Vec<_> = streams
        .iter()
        .map(|stream| (stream, stream.report(view.now), view.sent(stream)))
        .collect();
    let mut show = |name, about: &str, value: &dyn Fn(usize) -> u64| {
        let mut metric = text.metric(name, Gauge, about);
        for (row, (stream, ..)) in rows.iter().enumerate() {
            let key = stream.key();
            let labels = [
                ("vhost", key.vhost()),
                ("app", key.app()),
                ("stream", key.stream()),
            ];
            metric.sample(&labels, value(row));
        }
    };
    let row = |at: usize| rows.get(at);
    show(
        "pingora_live_stream_players",
        "Players of the stream.",
        &|at| row(at).map_or(0, |r| r.1.players as u64),
    );
    show(
        "pingora_live_stream_input_bytes_per_second",
        "What the publisher sends, over the last seconds.",
        &|at| row(at).map_or(0, |r| r.1.bits_per_second / 8),
    );
    show(
        "pingora_live_stream_output_bytes_per_second",
        "What the players get, over the last half minute.",
        &|at| row(at).map_or(0, |r| r.2.1 / 8),
    );
    show(
        "pingora_live_stream_published",
        "Whether it has a publisher.",
        &|at| row(at).map_or(0, |r| u64::from(r.1.published_for.is_some())),
    );
    show(
        "pingora_live_stream_own_memory_bytes",
        "Bytes that the stream keeps for players.",
        &|at| row(at).map_or(0, |r| r.1.memory as u64),
    );
}

/// Under the names that Prometheus's own clients give them.
fn process(ask: &Ask<'_>, text: &mut Text) {
    let figures = ask.api.process.figures();
    text.one(
        "process_cpu_seconds_total",
        Counter,
        "Processor time, user and system.",
        figures.cpu_seconds,
    );
    text.one(
        "process_resident_memory_bytes",
        Gauge,
        "Resident memory.",
        figures.resident_kib * 1024,
    );
    text.one(
        "process_virtual_memory_bytes",
        Gauge,
        "Virtual memory.",
        figures.virtual_kib * 1024,
    );
    text.one(
        "process_open_fds",
        Gauge,
        "Open file descriptors.",
        figures.open_files,
    );
    text.one(
        "process_max_fds",
        Gauge,
        "The most that there may be.",
        figures.max_files,
    );
    text.one("process_threads", Gauge, "Threads.", figures.threads);
    text.one(
        "process_start_time_seconds",
        Gauge,
        "When the process began, since 1970.",
        figures.started_at,
    );
}
