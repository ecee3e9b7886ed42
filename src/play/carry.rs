//! Players whose stream goes on at another node: it took the stream while it was published here, or the publisher that left here came back
//! there.
//!
//! Where streams may be pulled (`on_elsewhere: pull`, or an edge's vhost), they stay: the stream goes on with a pull from the node that has it
//! now, at its next keyframe, time continuous. Otherwise they are let go: nothing tells a player in the middle of its response to ask
//! elsewhere, and one that asks again is sent there.

use std::sync::Arc;

use tokio::runtime::Handle;
use tracing::info;

use crate::client::Client;
use crate::config::{OnBusy, OnElsewhere};
use crate::hub::{EndReason, Stream, StreamKey};

use super::Live;

impl Live {
    /// Another node has taken the stream. To be called on a runtime.
    pub(super) fn lost_to_another_node(&self, key: &StreamKey) {
        if let Some(stream) = self.hub().stream(key)
            && !self.carry_over(&stream, OnBusy::Kick)
        {
            self.hub().end(key, EndReason::Kicked);
        }
    }

    /// A node has claimed the stream, or given it back: perhaps this one. Players that are held here for its publisher need not wait any longer
    /// when another node has it.
    pub(super) fn changed_at_another_node(&self, key: &StreamKey) {
        let held = |live: &Live| {
            let stream = live.hub().stream(key)?;
            (stream.players() > 0 && !stream.is_published()).then_some(stream)
        };
        // A registry may tell of changes where there is no runtime; then the players wait for what `republish_wait` brings.
        let (Some(_), Ok(runtime)) = (held(self), Handle::try_current()) else {
            return;
        };
        let (live, key) = (self.clone(), key.clone());
        runtime.spawn(async move {
            let Some(cluster) = live.cluster() else {
                return;
            };
            if cluster.find(&key).await.is_some()
                && let Some(stream) = live.hub().stream(&key)
                && !stream.is_published()
            {
                live.carry_over(&stream, OnBusy::Reject);
            }
        });
    }

    /// Goes on with a pull of the stream, if anybody plays it and it may be pulled; whether it does.
    fn carry_over(&self, stream: &Arc<Stream>, on_busy: OnBusy) -> bool {
        let (key, settings) = (stream.key(), stream.settings());
        let relay = self.relay();
        let players = stream.players();
        // The other node's rules judge the pull by what one of its players asked with: the newest, whose token is the freshest. A stream that
        // only other nodes pull from here ends: they ask the registry, and pull from where it is.
        let Some(viewer) = self.clients().newest_viewer(key) else {
            return false;
        };
        // What is asked for all of them has come through nobody but this node.
        let client = Client {
            via: String::new(),
            ..viewer
        };
        let upstream = match relay.upstream(key.vhost(), &client) {
            Some(origins) => origins,
            None if settings.cluster.on_elsewhere == OnElsewhere::Pull => {
                relay.unknown_node(settings)
            }
            None => return false,
        };
        let carried = relay.carry_over(self, upstream, stream, &client, on_busy);
        if carried {
            self.counters().players_carried(players as u64);
            info!(stream = %key, players, "the players stay, and go on with a pull from the node that has the stream");
        }
        carried
    }
}
