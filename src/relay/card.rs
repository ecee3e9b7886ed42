//! What is known of a relay while it is at work: for the API, the console and the metrics; and how it is told to stop.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::hub::StreamKey;

/// A relay at one moment: a stream that is pulled from another server, or pushed to one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStatus {
    /// Its number among the pulls and pushes of this process, from 1.
    pub id: u64,
    /// The stream here.
    pub stream: StreamKey,
    /// Who wanted it.
    pub by: RelayBy,
    /// What it does.
    pub state: RelayState,
    /// The other server, without what lets somebody in there: queries, and the names of streams that are keys. `None` for a pull or a
    /// push of an edge that has found no origin yet.
    pub server: Option<String>,
    /// When it began.
    pub since: SystemTime,
    /// Since when it carries the stream; `None` while it does not.
    pub running_since: Option<SystemTime>,
    /// Bytes of media that it carried.
    pub bytes: u64,
    /// Times that it was tried again.
    pub retries: u64,
    /// Why it last failed.
    pub last_error: Option<String>,
}

/// Who wanted a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayBy {
    /// A pull of an edge, or from another node: its players.
    Players,
    /// A push of an edge: the publisher.
    Publisher,
    /// A push: `forward.destination`.
    Forward,
    /// A push: the back end of `forward.backend`.
    Backend,
    /// An operator, by the API.
    Operator,
}

impl RelayBy {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Players => "players",
            Self::Publisher => "publisher",
            Self::Forward => "forward",
            Self::Backend => "backend",
            Self::Operator => "operator",
        }
    }
}

/// What a relay does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayState {
    /// It asks the other server, or waits for the first frame.
    Connecting,
    /// It carries the stream.
    Running,
    /// It failed, and waits before it tries again.
    Waiting,
}

impl RelayState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Connecting, Self::Running, Self::Waiting];

    /// Its name in the API and the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Running => "running",
            Self::Waiting => "waiting",
        }
    }
}

/// The relays at work, in the order in which they began.
#[derive(Default)]
pub(super) struct Cards {
    next: AtomicU64,
    /// Held for a look-up.
    pulls: Mutex<BTreeMap<u64, Arc<Card>>>,
    pushes: Mutex<BTreeMap<u64, Arc<Card>>>,
}

/// Which way a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Pull,
    Push,
}

/// One relay.
pub(super) struct Card {
    pub(super) id: u64,
    pub(super) stream: StreamKey,
    pub(super) by: RelayBy,
    since: SystemTime,
    bytes: AtomicU64,
    /// Held for a change or a copy; never for a frame.
    now: Mutex<Now>,
    stop: watch::Sender<bool>,
}

struct Now {
    state: RelayState,
    server: Option<String>,
    running_since: Option<SystemTime>,
    retries: u64,
    last_error: Option<String>,
}

/// A relay's place in the list, while it is at work.
pub(super) struct Listed {
    cards: Arc<Cards>,
    way: Way,
    card: Arc<Card>,
}

impl Cards {
    fn of(&self, way: Way) -> &Mutex<BTreeMap<u64, Arc<Card>>> {
        match way {
            Way::Pull => &self.pulls,
            Way::Push => &self.pushes,
        }
    }

    /// One more. `server`: where it is known beforehand, as it may be shown.
    pub(super) fn enter(
        self: &Arc<Self>,
        way: Way,
        stream: &StreamKey,
        by: RelayBy,
        server: Option<String>,
    ) -> Listed {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let card = Arc::new(Card {
            id,
            stream: stream.clone(),
            by,
            since: SystemTime::now(),
            bytes: AtomicU64::new(0),
            now: Mutex::new(Now {
                state: RelayState::Connecting,
                server,
                running_since: None,
                retries: 0,
                last_error: None,
            }),
            stop: watch::Sender::new(false),
        });
        self.of(way).lock().insert(id, Arc::clone(&card));
        Listed {
            cards: Arc::clone(self),
            way,
            card,
        }
    }

    pub(super) fn count(&self, way: Way) -> usize {
        self.of(way).lock().len()
    }

    pub(super) fn get(&self, way: Way, id: u64) -> Option<Arc<Card>> {
        self.of(way).lock().get(&id).cloned()
    }

    /// How many an operator wanted, and how many of them of this stream.
    pub(super) fn of_operators(&self, way: Way, stream: &StreamKey) -> (usize, usize) {
        let cards = self.of(way).lock();
        let theirs = cards.values().filter(|card| card.by == RelayBy::Operator);
        theirs.fold((0, 0), |(all, of_stream), card| {
            (all + 1, of_stream + usize::from(card.stream == *stream))
        })
    }

    pub(super) fn list(&self, way: Way) -> Vec<RelayStatus> {
        let cards: Vec<_> = self.of(way).lock().values().cloned().collect();
        cards.iter().map(|card| card.status()).collect()
    }
}

impl Listed {
    pub(super) fn card(&self) -> &Arc<Card> {
        &self.card
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.cards.of(self.way).lock().remove(&self.card.id);
    }
}

impl Card {
    /// It asks, at first or again.
    pub(super) fn connecting(&self) {
        let mut now = self.now.lock();
        if now.state == RelayState::Waiting {
            now.retries += 1;
        }
        now.state = RelayState::Connecting;
        now.running_since = None;
    }

    /// It carries the stream. `server`: where it was not known before.
    pub(super) fn running(&self, server: Option<String>) {
        let mut now = self.now.lock();
        now.state = RelayState::Running;
        now.running_since = Some(SystemTime::now());
        if server.is_some() {
            now.server = server;
        }
    }

    /// It failed.
    pub(super) fn failed(&self, why: &impl Display) {
        let mut now = self.now.lock();
        now.state = RelayState::Waiting;
        now.running_since = None;
        now.last_error = Some(why.to_string());
    }

    pub(super) fn carried(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Nobody wants it any more.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns once it is to stop.
    pub(super) async fn stopped(&self) {
        // The sender lives in the card.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    fn status(&self) -> RelayStatus {
        let now = self.now.lock();
        RelayStatus {
            id: self.id,
            stream: self.stream.clone(),
            by: self.by,
            state: now.state,
            server: now.server.clone(),
            since: self.since,
            running_since: now.running_since,
            bytes: self.bytes.load(Ordering::Relaxed),
            retries: now.retries,
            last_error: now.last_error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_listed_while_it_is_at_work() {
        let cards = Arc::<Cards>::default();
        let key = StreamKey::new("v", "live", "a").expect("a key");
        let one = cards.enter(Way::Push, &key, RelayBy::Forward, Some("a".to_owned()));
        let two = cards.enter(Way::Push, &key, RelayBy::Operator, None);
        assert_eq!(cards.of_operators(Way::Push, &key), (1, 1));
        let other = StreamKey::new("v", "live", "b").expect("a key");
        assert_eq!(cards.of_operators(Way::Push, &other), (1, 0));
        assert_eq!((cards.count(Way::Push), cards.count(Way::Pull)), (2, 0));
        two.card().failed(&"refused");
        two.card().connecting();
        two.card().running(Some("b".to_owned()));
        two.card().carried(7);
        let list = cards.list(Way::Push);
        assert_eq!((list[0].id, list[1].id), (one.card().id, two.card().id));
        let seen = &list[1];
        assert_eq!(seen.state, RelayState::Running);
        assert_eq!(
            (seen.retries, seen.bytes, seen.last_error.as_deref()),
            (1, 7, Some("refused"))
        );
        assert_eq!(seen.server.as_deref(), Some("b"));
        drop(one);
        assert_eq!(cards.list(Way::Push).len(), 1);
    }
}
