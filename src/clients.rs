//! Who is here: publishers and players, each from its begin to its end.
//!
//! A [`Card`] says who a client is and what it has done so far. Its figures have one writer each, the task that serves the client, which
//! writes plain stores: nothing is added up between threads for a write to a socket. Whoever asks reads the cards.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::client::Client;
use crate::hub::{Format, StreamKey};
use crate::via;

/// How often the bit rates of clients are sampled. A rate is that of one to two of these, which is what SRS calls 30 s.
pub(crate) const RATE_SAMPLE: Duration = Duration::from_secs(15);

/// What a client is here for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Publish,
    Play(Format),
}

/// One client.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) client: Client,
    pub(crate) key: StreamKey,
    pub(crate) purpose: Purpose,
    pub(crate) since: Instant,
    pub(crate) since_wall: SystemTime,
    figures: Figures,
    /// Guards the samples; held to take or read one.
    rate: Mutex<Samples>,
    kicked: AtomicBool,
    bell: Notify,
}

/// Written by the client's task alone, read by all.
#[derive(Debug, Default)]
struct Figures {
    /// Bytes of media from a publisher, or of everything to a player.
    bytes: AtomicU64,
    units: AtomicU64,
    skips: AtomicU64,
    /// In microseconds; 0: none yet.
    first_byte_us: AtomicU64,
    waits: AtomicBool,
}

#[derive(Debug)]
struct Samples {
    before: (Instant, u64),
    last: (Instant, u64),
}

impl Card {
    /// Bytes from a publisher or to a player. A player's are noted every few seconds, and at its end.
    pub(crate) fn bytes(&self) -> u64 {
        self.figures.bytes.load(Ordering::Relaxed)
    }

    /// Pieces written to a player.
    pub(crate) fn units(&self) -> u64 {
        self.figures.units.load(Ordering::Relaxed)
    }

    /// Times that a player fell behind and skipped.
    pub(crate) fn skips(&self) -> u64 {
        self.figures.skips.load(Ordering::Relaxed)
    }

    /// From a player's request to its first byte.
    pub(crate) fn first_byte(&self) -> Option<Duration> {
        match self.figures.first_byte_us.load(Ordering::Relaxed) {
            0 => None,
            us => Some(Duration::from_micros(us)),
        }
    }

    /// Whether it is a player whose stream is not there yet.
    pub(crate) fn waits(&self) -> bool {
        self.figures.waits.load(Ordering::Relaxed)
    }

    pub(crate) fn is_publisher(&self) -> bool {
        self.purpose == Purpose::Publish
    }

    /// Bits a second, over the last half minute or the time since it came.
    pub(crate) fn bits_per_second(&self, now: Instant) -> u64 {
        let (at, bytes) = self.rate.lock().before;
        let micros = now.saturating_duration_since(at).as_micros().max(1);
        let bits = u128::from(self.bytes().saturating_sub(bytes)) * 8 * 1_000_000;
        u64::try_from(bits / micros).unwrap_or(u64::MAX)
    }

    /// Notes what a player has been given. Called by its task, now and then.
    pub(crate) fn note_play(&self, bytes: u64, units: u64, skips: u64) {
        self.figures.bytes.store(bytes, Ordering::Relaxed);
        self.figures.units.store(units, Ordering::Relaxed);
        self.figures.skips.store(skips, Ordering::Relaxed);
    }

    /// Notes what a publisher has sent in all. Called by its task.
    pub(crate) fn note_published(&self, bytes: u64) {
        self.figures.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn note_first_byte(&self, after: Duration) {
        let us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.figures
            .first_byte_us
            .store(us.max(1), Ordering::Relaxed);
    }

    /// Whether an operator ends it.
    pub(crate) fn is_kicked(&self) -> bool {
        self.kicked.load(Ordering::Relaxed)
    }

    /// Returns when an operator ends it. For one who waits at a time.
    pub(crate) async fn kicked(&self) {
        while !self.is_kicked() {
            self.bell.notified().await;
        }
    }

    fn kick(&self) {
        self.kicked.store(true, Ordering::Relaxed);
        self.bell.notify_one();
    }

    fn sample(&self, now: Instant) {
        let bytes = self.bytes();
        let mut samples = self.rate.lock();
        samples.before = samples.last;
        samples.last = (now, bytes);
    }
}

/// All clients. Cheap to clone; clones share.
#[derive(Clone, Default)]
pub(crate) struct Clients {
    inner: Arc<Mutex<Inner>>,
}

/// Guarded together, so that what a client moved is counted once when it leaves. Taken when one comes, leaves, and when somebody asks.
#[derive(Default)]
struct Inner {
    cards: HashMap<u64, Arc<Card>>,
    ended: Totals,
}

/// What players were given, those that are here and those that were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) bytes_out: u64,
    pub(crate) skips: u64,
}

impl Totals {
    fn add(&mut self, card: &Card) {
        if !card.is_publisher() {
            self.bytes_out += card.bytes();
        }
        self.skips += card.skips();
    }
}

impl Clients {
    /// A client begins; it is here until what is returned is dropped. `waits`: its stream is not there yet.
    pub(crate) fn enter(
        &self,
        client: Client,
        key: StreamKey,
        purpose: Purpose,
        waits: bool,
    ) -> Presence {
        let now = Instant::now();
        let card = Arc::new(Card {
            client,
            key,
            purpose,
            since: now,
            since_wall: SystemTime::now(),
            figures: Figures {
                waits: AtomicBool::new(waits),
                ..Figures::default()
            },
            rate: Mutex::new(Samples {
                before: (now, 0),
                last: (now, 0),
            }),
            kicked: AtomicBool::new(false),
            bell: Notify::new(),
        });
        let mut inner = self.inner.lock();
        inner.cards.insert(card.client.id, Arc::clone(&card));
        Presence {
            clients: self.clone(),
            card,
        }
    }

    /// One, by its number.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Card>> {
        self.inner.lock().cards.get(&id).cloned()
    }

    /// All, in the order of their numbers.
    pub(crate) fn list(&self) -> Vec<Arc<Card>> {
        let mut list: Vec<_> = self.inner.lock().cards.values().cloned().collect();
        list.sort_by_key(|card| card.client.id);
        list
    }

    /// Who plays the stream and came last; other nodes that pull it aside.
    pub(crate) fn newest_viewer(&self, key: &StreamKey) -> Option<Client> {
        let inner = self.inner.lock();
        let viewers = inner.cards.values().filter(|card| {
            let client = &card.client;
            !card.is_publisher() && !card.waits() && card.key == *key && !via::is_relay(&client.via)
        });
        let newest = viewers.max_by_key(|card| card.client.id)?;
        Some(newest.client.clone())
    }

    /// What all did so far, those that are here included. Never less than it was.
    pub(crate) fn totals(&self) -> Totals {
        let inner = self.inner.lock();
        let mut totals = inner.ended;
        for card in inner.cards.values() {
            totals.add(card);
        }
        totals
    }

    /// Marks one to be ended; its task ends it. Returns who it is.
    pub(crate) fn kick(&self, id: u64) -> Option<Arc<Card>> {
        let card = self.get(id)?;
        card.kick();
        Some(card)
    }

    /// Takes samples for the rates, every [`RATE_SAMPLE`].
    pub(crate) fn sample(&self, now: Instant) {
        let cards: Vec<_> = self.inner.lock().cards.values().cloned().collect();
        for card in cards {
            card.sample(now);
        }
    }
}

/// That a client is here: until this is dropped.
pub(crate) struct Presence {
    clients: Clients,
    card: Arc<Card>,
}

impl Presence {
    pub(crate) fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// Its stream is there.
    pub(crate) fn begins(&self) {
        self.card.figures.waits.store(false, Ordering::Relaxed);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut inner = self.clients.inner.lock();
        inner.cards.remove(&self.card.client.id);
        inner.ended.add(&self.card);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: u64) -> Client {
        Client {
            id,
            peer: None,
            protocol: "http1",
            query: String::new(),
            page: None,
            url: String::new(),
            url_query: String::new(),
            via: String::new(),
            secure: false,
        }
    }

    fn key() -> StreamKey {
        StreamKey::new("v", "live", "a").expect("a key")
    }

    #[test]
    fn totals_hold_those_who_are_here_and_those_who_were() {
        let clients = Clients::default();
        let player = clients.enter(client(1), key(), Purpose::Play(Format::Flv), false);
        let publisher = clients.enter(client(2), key(), Purpose::Publish, false);
        player.card().note_play(100, 2, 1);
        publisher.card().note_published(50);
        let totals = Totals {
            bytes_out: 100,
            skips: 1,
        };
        assert_eq!(clients.totals(), totals);
        assert_eq!(clients.list().len(), 2);
        drop((player, publisher));
        assert_eq!(clients.totals(), totals);
        assert!(clients.list().is_empty());
    }

    #[test]
    fn a_rate_is_that_of_the_last_samples() {
        let clients = Clients::default();
        let player = clients.enter(client(1), key(), Purpose::Play(Format::Flv), false);
        let start = player.card().since;
        let after = |secs| start + Duration::from_secs(secs);
        player.card().note_play(1_000_000, 1, 0);
        assert_eq!(player.card().bits_per_second(after(8)), 1_000_000);
        // Nothing more comes: the rate is that of a quiet half minute, later.
        clients.sample(after(15));
        clients.sample(after(30));
        assert_eq!(player.card().bits_per_second(after(45)), 0);
    }

    #[test]
    fn the_newest_viewer_is_no_relay() {
        let clients = Clients::default();
        let player = Purpose::Play(Format::Flv);
        let relay = Client {
            via: "1.1 pingora-live-1 (relay)".to_owned(),
            ..client(4)
        };
        let _publisher = clients.enter(client(9), key(), Purpose::Publish, false);
        let _relay = clients.enter(relay, key(), player, false);
        assert!(clients.newest_viewer(&key()).is_none());
        let _first = clients.enter(client(2), key(), player, false);
        let _second = clients.enter(client(3), key(), player, false);
        let _waits = clients.enter(client(5), key(), player, true);
        assert_eq!(clients.newest_viewer(&key()).map(|c| c.id), Some(3));
        let other = StreamKey::new("v", "live", "b").expect("a key");
        assert!(clients.newest_viewer(&other).is_none());
    }

    #[tokio::test]
    async fn who_is_kicked_is_told() {
        let clients = Clients::default();
        let player = clients.enter(client(1), key(), Purpose::Play(Format::Flv), true);
        assert!(clients.kick(2).is_none());
        assert!(!player.card().is_kicked());
        assert!(clients.kick(1).is_some());
        player.card().kicked().await;
        assert!(player.card().is_kicked());
    }
}
