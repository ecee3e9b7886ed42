//! What the API tells of other nodes.

use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::Announcement;

use super::routes::{Answer, Ask};

/// This node among others.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Nodes {
    /// Whether it shares a registry with others.
    registry: bool,
    /// Its name among them; null without a registry.
    name: Option<String>,
    /// The registry does not answer: what is told of the others is old, or nothing.
    away: bool,
    /// Streams that are registered as this node's.
    leases: u64,
    /// The other nodes that are alive, as they last said.
    others: Vec<Node>,
}

/// Another node.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Node {
    /// Its name.
    name: String,
    /// Where players and nodes reach it: addresses of HTTP, HTTPS, RTMP and RTMPS, and the one for other nodes, those that it has.
    addresses: Vec<String>,
    /// Its connections.
    connections: u64,
    /// How many it takes; 0 is no limit.
    limit: u64,
    /// Vhosts of which it fetches the streams that it does not have.
    fetches: Vec<String>,
}

impl Node {
    fn of(announcement: &Announcement) -> Self {
        let at = &announcement.addresses;
        let addresses = [&at.http, &at.https, &at.rtmp, &at.rtmps, &at.inside];
        Self {
            name: announcement.name.clone(),
            addresses: addresses
                .into_iter()
                .flatten()
                .map(ToString::to_string)
                .collect(),
            connections: announcement.load.connections,
            limit: announcement.load.limit,
            fetches: announcement.fetches.clone(),
        }
    }
}

pub(super) fn nodes(ask: &Ask<'_>) -> Answer {
    let nodes = match ask.live.cluster_status() {
        None => Nodes {
            registry: false,
            name: None,
            away: false,
            leases: 0,
            others: Vec::new(),
        },
        Some(status) => Nodes {
            registry: true,
            name: Some(status.node),
            away: status.away,
            leases: status.leases as u64,
            others: status.others.iter().map(Node::of).collect(),
        },
    };
    Answer::ok(&nodes)
}
