//! Players that are sent to another server: to the node that has their stream, or to one with room.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;

use crate::client::Client;
use crate::cluster::{self, Announcement, MAX_HOPS};
use crate::config::{BaseUrl, OnElsewhere, Remote, UrlScheme};
use crate::hub::StreamKey;

use super::Live;
use super::join::Wish;

/// Where a player is sent, and why.
#[derive(Debug)]
pub(crate) struct Away {
    /// The address, with the query that the player came with: never for a log.
    pub(crate) address: String,
    /// The node or server, for the log.
    pub(crate) server: String,
    /// What is done about it.
    pub(crate) how: How,
}

/// What is done about a player whose stream, or place, is elsewhere.
#[derive(Debug)]
pub(crate) enum How {
    /// It is sent to the node that has the stream.
    Redirect,
    /// It is sent to a server with room.
    Overflow,
    /// Its request is proxied to the node, which other nodes reach there.
    Proxy(BaseUrl),
    /// The stream is pulled from the node.
    Pull(Remote),
}

impl Live {
    /// The node that has the stream, if it is another one and the player can be sent there, or if `may_pull`, the stream pulled from there.
    pub(super) async fn find_elsewhere(&self, wish: &Wish, may_pull: bool) -> Option<Away> {
        let cluster = self.cluster().filter(|_| may_be_sent(&wish.client))?;
        let lease = cluster.find(&wish.key).await?;
        to_node(&lease, wish, may_pull)
    }

    /// Waits until another node has the stream that a player waits for.
    pub(super) async fn appears_elsewhere(&self, wish: &Wish) -> Away {
        if let Some(cluster) = self.cluster().filter(|_| may_be_sent(&wish.client)) {
            let lease = cluster.appears(&wish.key).await;
            if let Some(away) = to_node(&lease, wish, true) {
                return away;
            }
        }
        std::future::pending().await
    }

    /// Where there is room for a player that is too many here: at a node of the registry that can serve any stream of the vhost, else at
    /// one of the servers of `limits.overflow`.
    pub(super) fn find_room(&self, wish: &Wish) -> Option<Away> {
        let Wish { key, client, .. } = wish;
        // Who may not play here is not recommended to others.
        if !may_be_sent(client) || self.gate().look(wish.ask()).is_err() {
            return None;
        }
        let scheme = scheme_of(client);
        let others = self
            .cluster()
            .map(|cluster| cluster.others())
            .unwrap_or_default();
        let with_room = others.iter().filter_map(|node| {
            let base = node.addresses.to_player(scheme)?;
            node.fetches
                .iter()
                .any(|vhost| vhost == key.vhost())
                .then_some((node, base))
        });
        let node = by_room(with_room.collect(), RandomState::new().hash_one(client.id));
        let (server, base) = match node {
            Some((node, base)) => (node.name.clone(), base.clone()),
            None => {
                let base = self.next_overflow(scheme)?;
                (base.as_str().to_owned(), base)
            }
        };
        Some(Away {
            address: address_at(&base, key, client),
            server,
            how: How::Overflow,
        })
    }

    /// Whether anybody is ever sent away for want of room.
    pub(crate) fn sends_away(&self) -> bool {
        self.cluster().is_some() || !self.config().limits.overflow.is_empty()
    }

    /// The next server of the list that can be reached by a client of that scheme.
    fn next_overflow(&self, scheme: UrlScheme) -> Option<BaseUrl> {
        let config = self.config();
        let fit = |wanted: UrlScheme| -> Vec<&BaseUrl> {
            let servers = config.limits.overflow.iter();
            servers.filter(|url| url.scheme() == wanted).collect()
        };
        // From plain to TLS if there is nothing else; never the other way, which no page could follow.
        let servers = match (fit(scheme), scheme) {
            (servers, UrlScheme::Http) if servers.is_empty() => fit(UrlScheme::Https),
            (servers, UrlScheme::Rtmp) if servers.is_empty() => fit(UrlScheme::Rtmps),
            (servers, _) => servers,
        };
        let turn = self.inner.next_overflow.fetch_add(1, Ordering::Relaxed);
        let at = turn.checked_rem(servers.len())?;
        servers.get(at).map(|url| (*url).clone())
    }
}

fn may_be_sent(client: &Client) -> bool {
    cluster::hops(&client.query) < MAX_HOPS
}

fn scheme_of(client: &Client) -> UrlScheme {
    match (client.protocol, client.secure) {
        ("rtmp", false) => UrlScheme::Rtmp,
        ("rtmp", true) => UrlScheme::Rtmps,
        (_, false) => UrlScheme::Http,
        (_, true) => UrlScheme::Https,
    }
}

fn to_node(lease: &cluster::Lease, wish: &Wish, may_pull: bool) -> Option<Away> {
    let Wish { key, client, .. } = wish;
    if may_pull
        && wish.settings.cluster.on_elsewhere == OnElsewhere::Pull
        && let Some(node) = lease.addresses.to_node().and_then(Remote::at)
    {
        return Some(Away {
            address: String::new(),
            server: lease.node.clone(),
            how: How::Pull(node),
        });
    }
    let to_player = lease.addresses.to_player(scheme_of(client));
    let to_node = lease.addresses.to_node().filter(|_| wish.may_proxy);
    // No page can follow for a WebSocket, nor from TLS to none.
    let proxied = wish.settings.cluster.on_elsewhere == OnElsewhere::Proxy
        || client.protocol == "websocket"
        || to_player.is_none();
    let (address, how) = match (to_player, to_node) {
        (_, Some(base)) if proxied => (String::new(), How::Proxy(base.clone())),
        (Some(base), _) => (address_at(base, key, client), How::Redirect),
        (None, _) => return None,
    };
    Some(Away {
        address,
        server: lease.node.clone(),
        how,
    })
}

/// The path that a client of HTTP asked for, as it wrote it.
pub(super) fn path_of(client: &Client) -> &str {
    let path = client.url.find('/').and_then(|at| client.url.get(at..));
    path.unwrap_or("/")
}

fn address_at(base: &BaseUrl, stream: &StreamKey, client: &Client) -> String {
    let rtmp;
    let path = match scheme_of(client) {
        UrlScheme::Rtmp | UrlScheme::Rtmps => {
            rtmp = format!("/{}/{}", stream.app(), stream.stream());
            rtmp.as_str()
        }
        _ => path_of(client),
    };
    cluster::address(base, path, &client.query, stream)
}

/// One of those with room, by chance: twice the room is twice the chance, so that what the nodes know of each other may be a moment
/// old, and all that are sent away at once do not go to the same.
fn by_room<'a>(
    nodes: Vec<(&'a Announcement, &'a BaseUrl)>,
    chance: u64,
) -> Option<(&'a Announcement, &'a BaseUrl)> {
    let all: u64 = nodes
        .iter()
        .fold(0, |sum, (node, _)| sum.saturating_add(node.load.room()));
    let mut left = chance.checked_rem(all)?;
    for (node, base) in nodes {
        let room = node.load.room();
        if left < room {
            return Some((node, base));
        }
        left -= room;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Addresses, Load};

    fn node(name: &str, connections: u64, limit: u64) -> Announcement {
        Announcement {
            name: name.to_owned(),
            instance: String::new(),
            addresses: Addresses::default(),
            load: Load { connections, limit },
            fetches: Vec::new(),
        }
    }

    #[test]
    fn the_more_room_the_more_players() {
        let base = BaseUrl::parse("http://x").unwrap();
        let (full, little, much) = (
            node("full", 10, 10),
            node("little", 9, 10),
            node("much", 0, 9),
        );
        let count = |name: &str| {
            let nodes = || vec![(&full, &base), (&little, &base), (&much, &base)];
            let chosen = (0..100).filter_map(|chance| by_room(nodes(), chance));
            chosen.filter(|(node, _)| node.name == name).count()
        };
        assert_eq!((count("full"), count("little"), count("much")), (0, 10, 90));
        assert!(by_room(vec![(&full, &base)], 7).is_none());
        assert!(by_room(Vec::new(), 7).is_none());
    }
}
