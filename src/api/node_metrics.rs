//! The part of `/metrics` about what is beside this server: other nodes, origins, back ends, and the conversions.

use crate::observe::{Kind, Text};
use crate::play::Live;
use crate::relay::RelayState;

use Kind::{Counter, Gauge, Histogram};

pub(super) fn nodes(live: &Live, text: &mut Text) {
    let counts = live.counters().snapshot();
    let mut sent = text.metric(
        "pingora_live_plays_sent_elsewhere_total",
        Counter,
        "Players sent to another server, by how: redirect and proxy to the node with their stream, overflow for want of room.",
    );
    sent.sample(&[("how", "redirect")], counts.plays_redirected)
        .sample(&[("how", "overflow")], counts.plays_overflowed)
        .sample(&[("how", "proxy")], counts.plays_proxied);
    text.one(
        "pingora_live_registry_away",
        Gauge,
        "Whether the registry of nodes is away: 1 if it is.",
        counts.registry_away,
    );
    text.one(
        "pingora_live_pulls_running",
        Gauge,
        "Pulls of streams from origins and nodes at work.",
        live.pulls(),
    );
    text.one(
        "pingora_live_pushes_running",
        Gauge,
        "Pushes of streams to other servers at work, those that try again included.",
        live.pushes(),
    );
    let mut relays = text.metric(
        "pingora_live_relays",
        Gauge,
        "Pulls and pushes by what they do: connecting, running, or waiting before they try again.",
    );
    for (way, list) in [("pull", live.pull_list()), ("push", live.push_list())] {
        for state in RelayState::ALL {
            let count = list.iter().filter(|relay| relay.state == state).count();
            relays.sample(&[("way", way), ("state", state.name())], count);
        }
    }
    for (name, about, count) in [
        (
            "pingora_live_registry_lookups_total",
            "Times that the registry was asked who has a stream.",
            counts.registry_lookups,
        ),
        (
            "pingora_live_registry_errors_total",
            "Times that the registry did not answer, or could not.",
            counts.registry_errors,
        ),
        (
            "pingora_live_leases_lost_total",
            "Streams that another node took while they were published here.",
            counts.leases_lost,
        ),
        (
            "pingora_live_players_carried_total",
            "Players that stayed when another node took their stream, and went on with a pull from there.",
            counts.players_carried,
        ),
        (
            "pingora_live_pulls_total",
            "Pulls of streams that began.",
            counts.pulls,
        ),
        (
            "pingora_live_pulls_failed_total",
            "Times that no origin gave the stream of a pull.",
            counts.pulls_failed,
        ),
        (
            "pingora_live_origins_lost_total",
            "Times that the origin of a pull was lost.",
            counts.origins_lost,
        ),
        (
            "pingora_live_failovers_total",
            "Times that a pull went on from another origin.",
            counts.failovers,
        ),
        (
            "pingora_live_pushes_total",
            "Pushes of streams to other servers that were accepted.",
            counts.pushes,
        ),
        (
            "pingora_live_pushes_failed_total",
            "Times that a push broke or was refused.",
            counts.pushes_failed,
        ),
        (
            "pingora_live_forward_asks_failed_total",
            "Times that the back end of forward.backend did not say where to push a stream.",
            counts.forward_asks_failed,
        ),
        (
            "pingora_live_relay_loops_total",
            "Plays, publishes and requests for an upstream refused since they had come through this node already.",
            counts.relay_loops,
        ),
        (
            "pingora_live_transcodes_total",
            "Conversions of AAC to MP3 that began.",
            counts.transcodes,
        ),
        (
            "pingora_live_transcode_errors_total",
            "Frames that could not be converted, and became silence; and conversions that could not begin.",
            counts.transcode_errors,
        ),
        (
            "pingora_live_transcode_lost_total",
            "Frames that were lost because a conversion did not keep up.",
            counts.transcode_lost,
        ),
    ] {
        text.one(name, Counter, about, count);
    }
    hooks(live, text);
}

fn hooks(live: &Live, text: &mut Text) {
    let counts = live.counters().hooks().snapshot();
    let mut requests = text.metric(
        "pingora_live_hook_requests_total",
        Counter,
        "Callbacks, by what became of them: asked and told, of these failed (no answer that could be understood), retried, and lost.",
    );
    requests
        .sample(&[("what", "asked")], counts.asked)
        .sample(&[("what", "failed")], counts.failed)
        .sample(&[("what", "told")], counts.told)
        .sample(&[("what", "retried")], counts.retried)
        .sample(&[("what", "lost")], counts.lost);
    text.metric(
        "pingora_live_hook_seconds",
        Histogram,
        "How long callbacks took that came to an end.",
    )
    .distribution(&[], [live.counters().hooks().latency()]);
    text.one(
        "pingora_live_hooks_waiting",
        Gauge,
        "Callbacks that are to be told and were not yet: the depth of their queues.",
        live.gate().hooks().waiting(),
    );
}
