//! The fan-out: a few workers write each unit to all their players.
//!
//! A worker is one task with many sockets. A publisher's append wakes it once; it then polls one write for each of its players
//! that are at the live edge of that log. It never waits for a player: what would block moves to the slow lane, a task of its own,
//! and comes back when it has caught up.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::debug;

use crate::hub::{EndReason, Log, Read, Unit, Watch};
use crate::observe::{Distribution, Histogram};

use super::account::{PlayEnd, millis};
use super::player::{Player, Turn};

/// Writes between two yields of a worker. Without them, a thousand players (5 ms of writes) would hold up the accepts and slow lanes
/// of the same thread.
const WRITES_PER_TURN: usize = 128;
/// Units taken from a log at once.
const BATCH_UNITS: usize = 16;
/// And about that many bytes.
const BATCH_BYTES: usize = 1024 * 1024;
/// How often silent players are looked at: they must be noticed within 10 s of leaving, and a look is one cheap system call.
const SWEEP: Duration = Duration::from_secs(2);
/// How long the end of a body may take to be written.
const FINISH: Duration = Duration::from_secs(5);

/// The workers of one [`super::Live`].
pub(super) struct Workers {
    list: Vec<Arc<Shared>>,
}

/// What a worker shares with those who wake it.
struct Shared {
    /// Guards what arrived since the worker last looked. Held to push or to swap.
    mail: Mutex<Mail>,
    bell: Notify,
    /// Players that it or its slow lanes have.
    load: AtomicUsize,
    /// Players that its slow lanes have.
    behind: AtomicUsize,
    /// From the arrival of a frame to its last write to a player at the edge. Touched once for each unit, by this worker alone.
    added: Histogram,
    /// How long a socket may take nothing, in milliseconds.
    stall_ms: AtomicU64,
}

#[derive(Default)]
struct Mail {
    news: HashSet<u64>,
    arrivals: Vec<Seated>,
    /// Some player is to be ended by an operator.
    kicks: bool,
}

impl Watch for Shared {
    fn wake(&self, log: u64) {
        self.mail.lock().news.insert(log);
        self.bell.notify_one();
    }
}

/// A player that counts in its worker's load while it lives, wherever it is.
struct Seated {
    player: Player,
    worker: Arc<Shared>,
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.worker.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A player in the slow lane.
struct Behind(Arc<Shared>);

impl Behind {
    fn enter(worker: &Arc<Shared>) -> Self {
        worker.behind.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(worker))
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.0.behind.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Spawns `count` workers on the current runtime. `stall`: how long a socket may take nothing.
    pub(super) fn spawn(count: usize, stall: Duration) -> Self {
        let list = (0..count.max(1))
            .map(|_| {
                let shared = Arc::new(Shared {
                    mail: Mutex::default(),
                    bell: Notify::new(),
                    load: AtomicUsize::new(0),
                    behind: AtomicUsize::new(0),
                    added: Histogram::default(),
                    stall_ms: AtomicU64::new(millis(stall)),
                });
                let worker = Worker {
                    shared: Arc::clone(&shared),
                    groups: HashMap::new(),
                    units: Vec::new(),
                };
                // tokio's cooperative budget would make the 129th write of a turn return Pending on a writable socket.
                pingora_runtime::current_handle().spawn(tokio::task::unconstrained(worker.run()));
                shared
            })
            .collect();
        Self { list }
    }

    /// Players that the workers and their slow lanes have.
    #[cfg(test)]
    pub(super) fn load(&self) -> usize {
        self.list
            .iter()
            .map(|w| w.load.load(Ordering::Relaxed))
            .sum()
    }

    /// Changes how long a socket may take nothing.
    pub(super) fn set_stall(&self, stall: Duration) {
        for worker in &self.list {
            worker.stall_ms.store(millis(stall), Ordering::Relaxed);
        }
    }

    /// Lets the workers look for players that an operator wants gone.
    pub(super) fn end_kicked(&self) {
        for worker in &self.list {
            worker.mail.lock().kicks = true;
            worker.bell.notify_one();
        }
    }

    /// Players that are behind, in the slow lanes.
    pub(super) fn behind(&self) -> usize {
        let behind = self.list.iter().map(|w| w.behind.load(Ordering::Relaxed));
        behind.sum()
    }

    /// From the arrival of a frame to its last write to a player at the edge.
    pub(super) fn added(&self) -> impl Iterator<Item = Distribution> {
        self.list.iter().map(|worker| worker.added.read())
    }

    /// Gives a player to the least loaded worker.
    pub(super) fn add(&self, player: Player) {
        let Some(worker) = self
            .list
            .iter()
            .min_by_key(|w| w.load.load(Ordering::Relaxed))
        else {
            return;
        };
        worker.load.fetch_add(1, Ordering::Relaxed);
        let seated = Seated {
            player,
            worker: Arc::clone(worker),
        };
        // Its first bytes need not wait until the worker is done with a unit for all its players.
        if let Some(seated) = caught_up(seated, &mut Vec::new()) {
            arrive(seated);
        }
    }
}

fn arrive(seated: Seated) {
    let worker = Arc::clone(&seated.worker);
    worker.mail.lock().arrivals.push(seated);
    worker.bell.notify_one();
}

struct Worker {
    shared: Arc<Shared>,
    groups: HashMap<u64, Group>,
    /// Scratch.
    units: Vec<Arc<Unit>>,
}

/// The players of one log that are at its live edge.
struct Group {
    log: Arc<Log>,
    /// The edge: the position of all its players.
    next: u64,
    players: Vec<Seated>,
}

impl Worker {
    async fn run(mut self) {
        let mut next_sweep = tokio::time::Instant::now() + SWEEP;
        loop {
            let mail = std::mem::take(&mut *self.shared.mail.lock());
            let mut turn = TurnCount::default();
            for seated in mail.arrivals {
                self.place(seated);
                turn.one().await;
            }
            if mail.kicks {
                self.end_kicked(&mut turn).await;
            }
            for log in mail.news {
                self.pump(log, &mut turn).await;
            }
            if tokio::time::Instant::now() >= next_sweep {
                self.sweep(&mut turn).await;
                next_sweep = tokio::time::Instant::now() + SWEEP;
            }
            // A bell that rang meanwhile is remembered.
            let _ = tokio::time::timeout_at(next_sweep, self.shared.bell.notified()).await;
        }
    }

    /// Writes what a player that came lacks, and lets it join the others at the edge.
    fn place(&mut self, seated: Seated) {
        if let Some(seated) = caught_up(seated, &mut self.units) {
            self.join(seated);
        }
    }

    fn join(&mut self, seated: Seated) {
        let log = Arc::clone(seated.player.log());
        let id = log.id();
        let next = seated.player.next();
        let group = self.groups.entry(id).or_insert_with(|| {
            let watch: Arc<dyn Watch> = self.shared.clone();
            log.watch(&watch);
            Group {
                log,
                next,
                players: Vec::new(),
            }
        });
        // The player caught up just now, so it is at or past the group's edge: the group reads again from the lower of the two, and
        // those who are past it let units pass that they have.
        group.next = group.next.min(next);
        group.players.push(seated);
        // Units may have been appended between the player's look and the watch.
        self.shared.mail.lock().news.insert(id);
        self.shared.bell.notify_one();
    }

    /// Writes what is new in a log to all players at its edge.
    async fn pump(&mut self, log: u64, turn: &mut TurnCount) {
        let Some(group) = self.groups.get_mut(&log) else {
            return;
        };
        loop {
            self.units.clear();
            match group
                .log
                .read(group.next, BATCH_UNITS, BATCH_BYTES, &mut self.units)
            {
                Read::Edge => break,
                Read::Ended(reason) => {
                    for seated in group.players.drain(..) {
                        finish(seated, reason);
                        turn.one().await;
                    }
                    break;
                }
                Read::Lost => {
                    // The worker itself fell behind the window: each player finds its own way back.
                    group.next = group.log.next_seq();
                    for seated in group.players.drain(..) {
                        slow_lane(seated);
                    }
                    break;
                }
                Read::Units => {}
            }
            if let Some(last) = self.units.last() {
                group.next = last.seq + 1;
            }
            let mut index = 0;
            while let Some(seated) = group.players.get_mut(index) {
                match poll_now(|cx| seated.player.poll_units(cx, &self.units)) {
                    Turn::Edge => index += 1,
                    Turn::Blocked => slow_lane(group.players.swap_remove(index)),
                    Turn::Ended(reason) => {
                        finish(group.players.swap_remove(index), reason);
                    }
                    Turn::Gone(error) => gone(group.players.swap_remove(index), &error),
                }
                turn.one().await;
            }
            // Of the slowest way: the last player has it now.
            for unit in &self.units {
                self.shared.added.record(unit.arrived.elapsed());
            }
        }
        if group.players.is_empty() {
            self.forget(log);
        }
    }

    fn forget(&mut self, log: u64) {
        if let Some(group) = self.groups.remove(&log) {
            let watch: Arc<dyn Watch> = self.shared.clone();
            group.log.unwatch(&watch);
        }
    }

    /// Ends the players that an operator wants gone.
    async fn end_kicked(&mut self, turn: &mut TurnCount) {
        for group in self.groups.values_mut() {
            let mut index = 0;
            while let Some(seated) = group.players.get(index) {
                if seated.player.card().is_kicked() {
                    dismiss(group.players.swap_remove(index), PlayEnd::Kicked);
                    turn.one().await;
                } else {
                    index += 1;
                }
            }
        }
    }

    /// Looks for players that left a stream that is quiet, and notes what each has been given.
    async fn sweep(&mut self, turn: &mut TurnCount) {
        let mut empty = Vec::new();
        let now = Instant::now();
        for (id, group) in &mut self.groups {
            let mut index = 0;
            while let Some(seated) = group.players.get_mut(index) {
                seated.player.note();
                if seated.player.expired(now) {
                    dismiss(group.players.swap_remove(index), PlayEnd::Expired);
                    continue;
                }
                let looked = if seated.player.vanished() {
                    Turn::Gone(io::ErrorKind::TimedOut.into())
                } else {
                    poll_now(|cx| seated.player.poll_look(cx))
                };
                match looked {
                    Turn::Edge | Turn::Ended(_) => index += 1,
                    Turn::Blocked => slow_lane(group.players.swap_remove(index)),
                    Turn::Gone(error) => gone(group.players.swap_remove(index), &error),
                }
                turn.one().await;
            }
            if group.players.is_empty() {
                empty.push(*id);
            }
        }
        for id in empty {
            self.forget(id);
        }
    }
}

/// Yields to the thread's other tasks every [`WRITES_PER_TURN`] writes.
#[derive(Default)]
struct TurnCount(usize);

impl TurnCount {
    async fn one(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(WRITES_PER_TURN) {
            tokio::task::yield_now().await;
        }
    }
}

/// Writes what a player lacks, as far as its socket takes it. Returns it if it is at the edge then.
fn caught_up(mut seated: Seated, units: &mut Vec<Arc<Unit>>) -> Option<Seated> {
    if seated.player.card().is_kicked() {
        dismiss(seated, PlayEnd::Kicked);
        return None;
    }
    match poll_now(|cx| seated.player.poll_catch_up(cx, units)) {
        Turn::Edge => return Some(seated),
        Turn::Blocked => slow_lane(seated),
        Turn::Ended(reason) => finish(seated, reason),
        Turn::Gone(error) => gone(seated, &error),
    }
    None
}

/// Polls once, with nobody to wake.
fn poll_now<T>(poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
    poll(&mut Context::from_waker(Waker::noop()))
}

/// Gives a player whose socket would block a task of its own until it is at the edge again.
fn slow_lane(mut seated: Seated) {
    pingora_runtime::current_handle().spawn(async move {
        let mut units = Vec::new();
        let mut acked = seated.player.acked();
        let card = Arc::clone(seated.player.card());
        let _behind = Behind::enter(&seated.worker);
        loop {
            seated.player.note();
            let stall = Duration::from_millis(seated.worker.stall_ms.load(Ordering::Relaxed));
            let now = Instant::now();
            if seated.player.expired(now) {
                return dismiss(seated, PlayEnd::Expired);
            }
            // Not later than it has to go.
            let patience = seated.player.until().map_or(stall, |until| {
                stall.min(until.saturating_duration_since(now))
            });
            let before = seated.player.written();
            let turn = timeout(patience, async {
                let written = poll_fn(|cx| {
                    if let gone @ Turn::Gone(_) = seated.player.poll_look(cx) {
                        return Poll::Ready(gone);
                    }
                    match seated.player.poll_catch_up(cx, &mut units) {
                        // Some of it was written: the stall begins anew.
                        Turn::Blocked if seated.player.written() > before => {
                            Poll::Ready(Turn::Blocked)
                        }
                        Turn::Blocked => Poll::Pending,
                        other => Poll::Ready(other),
                    }
                });
                tokio::select! {
                    biased;
                    () = card.kicked() => None,
                    turn = written => Some(turn),
                }
            })
            .await;
            let turn = match turn {
                Ok(None) => return dismiss(seated, PlayEnd::Kicked),
                Ok(Some(turn)) => Ok(turn),
                Err(late) => Err(late),
            };
            match turn {
                Ok(Turn::Blocked) => {}
                Ok(Turn::Edge) => return arrive(seated),
                Ok(Turn::Ended(reason)) => return finish(seated, reason),
                Ok(Turn::Gone(error)) => return gone(seated, &error),
                Err(_) if patience < stall => {}
                Err(_) => {
                    // A slow reader frees less of the queue in that time than the kernel wakes anyone for.
                    let now = seated.player.acked();
                    if now <= acked {
                        return end(seated, PlayEnd::Stalled);
                    }
                    acked = now;
                }
            }
        }
    });
}

/// Ends a body properly.
fn finish(mut seated: Seated, reason: EndReason) {
    seated.player.begin_finish(reason);
    close(seated);
}

/// Ends a play whose stream goes on.
fn dismiss(mut seated: Seated, end: PlayEnd) {
    seated.player.begin_dismissal(end);
    close(seated);
}

fn close(mut seated: Seated) {
    if poll_now(|cx| seated.player.poll_finish(cx)).is_ready() {
        return;
    }
    pingora_runtime::current_handle().spawn(async move {
        let _ = timeout(FINISH, poll_fn(|cx| seated.player.poll_finish(cx))).await;
    });
}

fn gone(seated: Seated, error: &io::Error) {
    debug!(%error, "a player's socket ended");
    let reason = match error.kind() {
        io::ErrorKind::TimedOut => PlayEnd::Stalled,
        _ => PlayEnd::ClientLeft,
    };
    end(seated, reason);
}

fn end(mut seated: Seated, reason: PlayEnd) {
    seated.player.abort(reason);
}

/// Takes the clients' samples on the current runtime, for as long as it runs.
pub(super) fn spawn_sampler(clients: crate::clients::Clients) {
    pingora_runtime::current_handle().spawn(async move {
        let mut interval = tokio::time::interval(crate::clients::RATE_SAMPLE);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            clients.sample(Instant::now());
        }
    });
}

/// Lets a hub's time pass on the current runtime, for as long as it runs.
pub(super) fn spawn_ticker(hub: crate::hub::Hub) {
    pingora_runtime::current_handle().spawn(async move {
        let mut interval = tokio::time::interval(crate::hub::TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            hub.tick(Instant::now());
        }
    });
}
