//! Many players of one address, as cheap as they can be: what they cost must not hide what the server costs.
//!
//! Each connection is read until its first keyframe, and a sample of them to the end, tag by tag, on a thread of its own. The
//! others only throw away what comes, without a copy, every few milliseconds.

mod crew;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde::Serialize;

use crate::Failure;
use crate::meter::{Attendance, Cost, Meter, per};
use crate::progress::Progress;
use crate::stats::Quantiles;
use crate::target::Target;

use crew::{Crew, Tally};

/// Between the last join and the measurement: what joiners were given at once has been read by then.
const SETTLE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);

/// What is to be played, and how.
pub(crate) struct Plan {
    /// Players are spread over these.
    pub(crate) targets: Vec<Target>,
    pub(crate) players: usize,
    /// Players that share a connection. More than one only over HTTP/2.
    pub(crate) streams_per_connection: usize,
    /// From the first connection to the last.
    pub(crate) ramp: Duration,
    /// How long is measured once all play.
    pub(crate) duration: Duration,
    /// How long after the ramp a player may take to its first keyframe.
    pub(crate) patience: Duration,
    /// Of those who throw away; the sample has one of its own.
    pub(crate) threads: usize,
    /// Players that are read to the end, spread evenly over all.
    pub(crate) sample: usize,
    pub(crate) tls: Arc<ClientConfig>,
    /// The server's process.
    pub(crate) pid: Option<u32>,
}

/// What the players met.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) tool: &'static str,
    pub(crate) url: String,
    pub(crate) players: Players,
    /// From the beginning of each connection to the first byte of its stream.
    pub(crate) first_byte_ms: Quantiles,
    /// And to the end of the first keyframe.
    pub(crate) first_keyframe_ms: Quantiles,
    /// Pauses between what came, at the sample.
    pub(crate) gap_ms: Quantiles,
    /// How long made-up frames took, at the sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay_ms: Option<Quantiles>,
    /// In the measured time, by all.
    pub(crate) bytes: u64,
    /// Bits a second, of each for as long as it played.
    pub(crate) bitrate_per_player: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Handshakes>,
    pub(crate) verified: Verified,
    /// How many players ended for which reason.
    pub(crate) errors: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub(crate) cost: Cost,
}

/// How many there were.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Players {
    pub(crate) asked: u64,
    /// At the end.
    pub(crate) playing: u64,
    /// Before the first keyframe.
    pub(crate) failed: u64,
    /// After it.
    pub(crate) left: u64,
}

/// TLS handshakes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Handshakes {
    pub(crate) full: u64,
    pub(crate) resumed: u64,
    /// What was agreed on, as IANA names it.
    pub(crate) suite: Option<String>,
}

/// What was found at the sample.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Verified {
    pub(crate) connections: u64,
    pub(crate) tags: u64,
    /// Jumps to a later keyframe.
    pub(crate) skips: u64,
    pub(crate) problems: BTreeMap<String, u64>,
}

impl Report {
    /// Whether all played to the end, and nothing was wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.players.playing == self.players.asked && self.verified.problems.is_empty()
    }
}

/// What the threads share.
#[derive(Default)]
pub(crate) struct Shared {
    /// 0 while players join, then [`MEASURING`], then [`DONE`].
    phase: AtomicU8,
    pub(crate) playing: Attendance,
    pub(crate) failed: AtomicU64,
    pub(crate) left: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

const MEASURING: u8 = 1;
const DONE: u8 = 2;

impl Shared {
    fn is_measuring(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == MEASURING
    }

    fn is_done(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == DONE
    }
}

/// Plays. Blocks until the end.
pub(crate) fn run(plan: &Plan, progress: &mut Progress) -> Result<Report, Failure> {
    let shared = Shared::default();
    let start = Instant::now();
    let mut meter = Meter::new(plan.pid);
    let crews = Crew::all(plan, start)?;
    thread::scope(|scope| {
        let working: Vec<_> = crews
            .into_iter()
            .map(|crew| scope.spawn(|| crew.run(&shared)))
            .collect();
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let asked = plan.players as u64;
        let told = |progress: &mut Progress, what: &str| {
            progress.tell(&format!(
                "{what}: {} of {asked} play, {} failed, {} left, {:.1} MB",
                shared.playing.present(),
                count(&shared.failed),
                count(&shared.left),
                count(&shared.bytes) as f64 / 1e6
            ));
        };
        while shared.playing.present() + count(&shared.failed) + count(&shared.left) < asked
            && start.elapsed() < plan.ramp + plan.patience
        {
            thread::sleep(TICK);
            told(progress, "joining");
        }
        thread::sleep(SETTLE);
        let before = count(&shared.bytes);
        shared.phase.store(MEASURING, Ordering::Relaxed);
        meter.begin();
        let begin = Instant::now();
        shared.playing.measure(begin);
        while begin.elapsed() < plan.duration && shared.playing.present() > 0 {
            thread::sleep(TICK.min(plan.duration));
            told(progress, "measuring");
        }
        let bytes = count(&shared.bytes) - before;
        let played = shared.playing.client_seconds(Instant::now());
        let cost = meter.end(shared.playing.present(), played, bytes);
        shared.phase.store(DONE, Ordering::Relaxed);
        progress.clear();
        let mut tally = Tally::default();
        for worker in working {
            let done = worker.join().map_err(|_| Failure::Thread)?;
            tally.merge(done?);
        }
        Ok(report(plan, &shared, tally, cost, (bytes, played)))
    })
}

/// `bytes` came in `played` seconds of players.
fn report(
    plan: &Plan,
    shared: &Shared,
    tally: Tally,
    cost: Cost,
    (bytes, played): (u64, f64),
) -> Report {
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let playing = shared.playing.present();
    let delay = tally.delay.quantiles();
    let handshakes = tally.handshakes;
    Report {
        tool: "play",
        url: plan
            .targets
            .first()
            .map_or_else(String::new, |t| t.url.clone()),
        players: Players {
            asked: plan.players as u64,
            playing,
            failed: plan.players as u64 - playing - count(&shared.left),
            left: count(&shared.left),
        },
        first_byte_ms: tally.first_byte.quantiles(),
        first_keyframe_ms: tally.first_keyframe.quantiles(),
        gap_ms: tally.gaps.quantiles(),
        delay_ms: (delay.count > 0).then_some(delay),
        bytes,
        bitrate_per_player: per(bytes as f64 * 8.0, played),
        tls: (handshakes != Handshakes::default()).then_some(handshakes),
        verified: tally.verified,
        errors: tally.errors,
        cost,
    }
}
