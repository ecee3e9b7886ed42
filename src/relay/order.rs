//! Relays that an operator wants: a stream pulled from any server, for as long as the operator says and whoever plays it; and a stream
//! that is there pushed to one more server, until it is over.
//!
//! They are kept in memory alone: a reload of the configuration leaves them as they are, and a restart has none of them.

use std::sync::Arc;

use thiserror::Error;

use crate::client::Client;
use crate::config::{ClusterMode, Remote};
use crate::hub::StreamKey;
use crate::play::Live;

use super::card::{RelayBy, Way};
use super::errand::{Sources, Upstream};
use super::pull::Pull;
use super::target::Target;
use super::{Relay, begin};

/// Pulls, and pushes, of operators at a time: each costs a stream's bandwidth.
const MAX_ORDERS: usize = 1_000;
/// Pushes of one stream that operators may have: as many as a back end may name.
const MAX_PUSHES_OF_STREAM: usize = 16;

/// A relay that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its number.
    pub id: u64,
    /// False when it was there already.
    pub new: bool,
}

/// Why a relay is not begun.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotStarted {
    /// The other server's address is none, or none that can be used so.
    #[error("{0}")]
    Address(&'static str),
    /// There is no stream to be pushed.
    #[error("there is no such stream")]
    NoStream,
    /// The vhost is off.
    #[error("the vhost {0} is disabled")]
    Disabled(String),
    /// An operator does not let the stream be published.
    #[error("the stream is blocked")]
    Blocked,
    /// The streams of an edge come from its origins.
    #[error("the vhost {0} is an edge's: its streams come from its origins")]
    Edge(String),
    /// Somebody publishes the stream, or it is pulled from elsewhere.
    #[error("the stream is published already")]
    Busy,
    /// A bound.
    #[error("{0} are the most that operators may have")]
    TooMany(usize),
    /// The server shuts down.
    #[error("the server is shutting down")]
    Shutdown,
}

/// Why a relay is not stopped.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotStopped {
    /// There is none of that number.
    #[error("there is none of this id")]
    None,
    /// An edge's publisher is accepted as long as its origin takes the stream.
    #[error("it is a publisher's of this edge: disconnect the publisher")]
    Publisher,
}

const SOURCE: &str = "the address is not of the form rtmp://host[:port]/app/stream, rtmps://…, http://host[:port]/path or https://…";
const DESTINATION: &str =
    "the address is not of the form rtmp://host[:port]/app/stream or rtmps://…";
const NO_STREAM: &str = "the address names an app and no stream in it";
const PATH: &str = "the path of the address is none that HTTP knows";

/// The address of a stream to pull, or where one is pushed to: the protocol has to be said, the path may be left out.
fn address(text: &str, way: Way) -> Result<Remote, NotStarted> {
    let form = match way {
        Way::Pull => SOURCE,
        Way::Push => DESTINATION,
    };
    let remote: Remote = text.parse().map_err(|()| NotStarted::Address(form))?;
    let Some(scheme) = remote.scheme else {
        return Err(NotStarted::Address(form));
    };
    if way == Way::Push && !scheme.is_rtmp() {
        return Err(NotStarted::Address(form));
    }
    let path = remote.path.split('?').next().unwrap_or_default();
    if remote.path.is_empty() {
        return Ok(remote);
    }
    if scheme.is_rtmp() {
        return match path.rsplit_once('/') {
            Some((app, stream)) if !app.is_empty() && !stream.is_empty() => Ok(remote),
            _ => Err(NotStarted::Address(NO_STREAM)),
        };
    }
    let path = format!("/{}", remote.path);
    match path.parse::<http::uri::PathAndQuery>() {
        Ok(_) => Ok(remote),
        Err(_) => Err(NotStarted::Address(PATH)),
    }
}

/// Nobody: the client of a relay that the server wants itself.
fn nobody() -> Client {
    Client {
        id: 0,
        peer: None,
        protocol: "operator",
        secure: false,
        query: String::new(),
        page: None,
        url: String::new(),
        url_query: String::new(),
        via: String::new(),
    }
}

impl Relay {
    /// Pulls a stream from there until it is told to stop. Whoever publishes the stream meanwhile finds it taken.
    pub(crate) fn order_pull(
        &self,
        live: &Live,
        key: &StreamKey,
        from: &str,
    ) -> Result<Started, NotStarted> {
        let source = address(from, Way::Pull)?;
        let (_, settings) = live.vhosts().resolve(key.vhost());
        self.may_begin(live, key)?;
        if settings.cluster.mode == ClusterMode::Remote {
            return Err(NotStarted::Edge(key.vhost().to_owned()));
        }
        let target = Target::of_source(&source, key);
        if self.is_pulled(key) {
            return Err(NotStarted::Busy);
        }
        let orders = self.orders.lock();
        if let Some(known) = orders.get(key).filter(|pull| !pull.is_over()) {
            return match known.is_order_for(&target) {
                true => Ok(Started {
                    id: known.card().id,
                    new: false,
                }),
                false => Err(NotStarted::Busy),
            };
        }
        if live.hub().is_published(key) {
            return Err(NotStarted::Busy);
        }
        self.has_room(Way::Pull, key)?;
        // Its log lines and its state show no path, which may hold a key.
        let server = Remote {
            path: String::new(),
            ..source.clone()
        };
        let scheme = target.scheme;
        let sources = Sources::new(vec![server], scheme, &settings.cluster, &self.dialer);
        let upstream = Arc::new(Upstream::new(Arc::new(sources)));
        let mut errand = self.errand(upstream, key, &nobody());
        let shown = target.to_string();
        errand.target = Some(target);
        let listed = self
            .cards
            .enter(Way::Pull, key, RelayBy::Operator, Some(shown));
        let pull = Pull::new(errand, settings, listed);
        let id = pull.card().id;
        begin(
            &self.orders,
            orders,
            live,
            pull,
            &live.relays_run_on(),
            None,
        );
        Ok(Started { id, new: true })
    }

    /// Pushes a stream there until it is over, or told to stop.
    pub(crate) fn order_push(
        &self,
        live: &Live,
        key: &StreamKey,
        to: &str,
    ) -> Result<Started, NotStarted> {
        let destination = address(to, Way::Push)?;
        self.may_begin(live, key)?;
        let stream = live.hub().stream(key).ok_or(NotStarted::NoStream)?;
        let publisher = live.clients().list().into_iter();
        let publisher = publisher
            .filter(|card| card.key == *key)
            .find(|card| card.is_publisher());
        let nobody = nobody();
        let client = publisher.as_ref().map_or(&nobody, |card| &card.client);
        let pushes = self.pushes_of(live, &stream, client);
        if let Some(id) = pushes.find(&destination) {
            return Ok(Started { id, new: false });
        }
        self.has_room(Way::Push, key)?;
        let started = pushes.start(&destination, RelayBy::Operator, &live.relays_run_on());
        match started {
            Ok((id, new)) => Ok(Started { id, new }),
            Err(_) => Err(NotStarted::NoStream),
        }
    }

    /// Ends a pull. Its players are held as when a publisher leaves.
    pub(crate) fn stop_pull(&self, id: u64) -> Result<(), NotStopped> {
        let card = self.cards.get(Way::Pull, id).ok_or(NotStopped::None)?;
        card.stop();
        Ok(())
    }

    /// Ends a push. One that the configuration wants begins again when the stream is published anew.
    pub(crate) fn stop_push(&self, id: u64) -> Result<(), NotStopped> {
        let card = self.cards.get(Way::Push, id).ok_or(NotStopped::None)?;
        if card.by == RelayBy::Publisher {
            return Err(NotStopped::Publisher);
        }
        card.stop();
        Ok(())
    }

    /// What holds for publishers holds for what is published in their place.
    fn may_begin(&self, live: &Live, key: &StreamKey) -> Result<(), NotStarted> {
        let (_, settings) = live.vhosts().resolve(key.vhost());
        if live.hub().is_shut_down() {
            return Err(NotStarted::Shutdown);
        }
        if !settings.enabled {
            return Err(NotStarted::Disabled(key.vhost().to_owned()));
        }
        if live.is_blocked(key) {
            return Err(NotStarted::Blocked);
        }
        Ok(())
    }

    fn has_room(&self, way: Way, key: &StreamKey) -> Result<(), NotStarted> {
        let (all, of_stream) = self.cards.of_operators(way, key);
        if all >= MAX_ORDERS {
            return Err(NotStarted::TooMany(MAX_ORDERS));
        }
        if of_stream >= MAX_PUSHES_OF_STREAM {
            return Err(NotStarted::TooMany(MAX_PUSHES_OF_STREAM));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, pull, push) in [
            ("rtmp://a/live/x", true, true),
            ("rtmps://a:1936/b/live/x?key=1", true, true),
            ("rtmp://a", true, true),
            ("http://[::1]:8080/live/x.flv?t=1", true, false),
            ("https://a", true, false),
            ("a", false, false),
            ("a:1935", false, false),
            ("rtmp://a/live", false, false),
            ("rtmp://a//x", false, false),
            ("rtmp://a/live/?key", false, false),
            ("rtmp://u:p@a/live/x", false, false),
            ("http://a/b c", false, false),
            ("srt://a/b", false, false),
            ("", false, false),
        ] {
            assert_eq!(address(text, Way::Pull).is_ok(), pull, "{text}");
            assert_eq!(address(text, Way::Push).is_ok(), push, "{text}");
        }
    }
}
