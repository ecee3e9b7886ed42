//! What all measurements need: servers, loads, the table's rows.

use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::feed::{Feed, Shape};
use crate::meter::ServerCost;
use crate::progress::Progress;
use crate::target::Target;
use crate::{Failure, play, publish, tls};

use super::bed::{Programs, Server, make_certificate};
use super::folder::Folder;
use super::table::Row;
use super::{fan_out, ingest, others, time, tls as encrypted};

/// A measurement of processor time is made this often, and the least is taken: what disturbs can only add.
pub(super) const ROUNDS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(10);
/// From the first frame to the first player.
pub(super) const HEAD_START: Duration = Duration::from_secs(2);
/// 1 Mbit/s, 25 fps, a keyframe in two seconds.
pub(super) const SHAPE: Shape = Shape {
    bitrate: 1_000_000,
    fps: 25,
    gop: Duration::from_secs(2),
};
pub(super) const MERGED: &str = "350ms";
pub(super) const EACH_FRAME: &str = "0s";

/// Some of the measurements.
type Part<'a> = fn(&mut Runner<'a>) -> Result<(), Failure>;

/// See the module.
pub(super) struct Runner<'a> {
    pub(super) programs: Programs,
    pub(super) folder: Folder,
    pub(super) has_tls: bool,
    pub(super) duration: Duration,
    only: Option<String>,
    pub(super) progress: &'a mut Progress,
    rows: Vec<Row>,
    /// Of a unit a frame at 1000 players, in us/s a player: the floor's, and ours.
    pub(super) each_frame: Option<(f64, f64)>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(
        programs: Programs,
        duration: Duration,
        only: Option<String>,
        progress: &'a mut Progress,
    ) -> Result<Self, Failure> {
        let folder = Folder::new()?;
        let has_tls = make_certificate(folder.path());
        Ok(Self {
            programs,
            folder,
            has_tls,
            duration,
            only,
            progress,
            rows: Vec::new(),
            each_frame: None,
        })
    }

    pub(super) fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// All of them.
    pub(super) fn all(&mut self) -> Result<(), Failure> {
        let parts: [(&str, Part<'a>); 10] = [
            ("fan-out", fan_out::players),
            ("workers", fan_out::workers),
            ("http2", fan_out::http2),
            ("rtmp", fan_out::rtmp),
            ("tls", encrypted::players),
            ("storm", encrypted::storms),
            ("delay", time::delay),
            ("join", time::joins),
            ("ingest", ingest::publishers),
            ("xiu", others::xiu),
        ];
        let count = parts.len();
        if let Some(only) = &self.only
            && !parts.iter().any(|(name, _)| name.contains(only.as_str()))
        {
            return Err(Failure::NoPart(only.clone()));
        }
        for (index, (name, part)) in parts.into_iter().enumerate() {
            if self.only.as_deref().is_none_or(|only| name.contains(only)) {
                self.progress
                    .name(&format!("{} of {count}, {name}", index + 1));
                part(self)?;
            }
        }
        Ok(())
    }

    pub(super) fn row(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        floor: Option<f64>,
        value: f64,
        reach: impl Into<String>,
        met: Option<bool>,
    ) {
        let row = Row {
            name: name.into(),
            unit,
            floor,
            value,
            reach: reach.into(),
            met,
        };
        self.progress.clear();
        self.rows.push(row);
    }

    pub(super) fn ours(&self, threads: usize, merge: &str) -> Result<Server, Failure> {
        let play = format!("mw_latency: {merge}");
        Server::ours(&self.programs, self.folder.path(), threads, &play)
    }

    /// The least processor time of a few rounds, and the least memory.
    pub(super) fn least(
        &mut self,
        mut measure: impl FnMut(&mut Self) -> Result<ServerCost, Failure>,
    ) -> Result<ServerCost, Failure> {
        let mut best = measure(self)?;
        for _ in 1..ROUNDS {
            let next = measure(self)?;
            best.memory_per_client = best.memory_per_client.min(next.memory_per_client);
            best.cpu_us_per_client = best.cpu_us_per_client.min(next.cpu_us_per_client);
        }
        Ok(best)
    }

    /// Does something while `live/x` is published.
    pub(super) fn published<T>(
        &mut self,
        server: &Server,
        act: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let plan = self.publish_plan(&server.url("rtmp", "/live/x")?, 1, None)?;
        let control = publish::Control::default();
        thread::scope(|scope| {
            let publisher = scope.spawn(|| publish::run(&plan, &control, &mut Progress::new(true)));
            let begin = Instant::now();
            while !control.ready.load(Ordering::Relaxed) && begin.elapsed() < PATIENCE {
                thread::sleep(TICK);
            }
            thread::sleep(HEAD_START);
            let done = act(self);
            control.stop.store(true, Ordering::Relaxed);
            let published = publisher.join().map_err(|_| Failure::Thread)??;
            if published.is_good() {
                done
            } else {
                Err(Failure::Publish(published.errors))
            }
        })
    }

    pub(super) fn play(
        &mut self,
        server: &Server,
        scheme: &str,
        path: &str,
        players: usize,
    ) -> Result<ServerCost, Failure> {
        let plan = play::Plan {
            pid: Some(server.pid()),
            ..self.play_plan(&server.url(scheme, path)?, players)?
        };
        cost(self.load(&plan)?.cost.server)
    }

    /// Plays, and says so if something was wrong.
    pub(super) fn load(&mut self, plan: &play::Plan) -> Result<play::Report, Failure> {
        let report = play::run(plan, self.progress)?;
        self.warn(&report, report.is_good());
        Ok(report)
    }

    pub(super) fn warn(&mut self, report: &impl Display, good: bool) {
        if !good {
            self.progress.clear();
            eprintln!("not all was well:\n{report}");
        }
    }

    pub(super) fn play_plan(&self, url: &str, players: usize) -> Result<play::Plan, Failure> {
        Ok(play::Plan {
            targets: vec![Target::parse(url, 0)?],
            players,
            streams_per_connection: 1,
            ramp: Duration::from_millis(players as u64),
            duration: self.duration,
            patience: PATIENCE,
            threads: 1,
            sample: 20,
            tls: tls::config(true, false)?,
            pid: None,
        })
    }

    pub(super) fn publish_plan(
        &self,
        url: &str,
        publishers: usize,
        duration: Option<Duration>,
    ) -> Result<publish::Plan, Failure> {
        Ok(publish::Plan {
            targets: (0..publishers)
                .map(|number| Target::parse(url, number))
                .collect::<Result<_, _>>()?,
            feed: Feed::made(SHAPE),
            ramp: Duration::from_secs(1),
            duration,
            patience: PATIENCE,
            tls: tls::config(true, false)?,
            pid: None,
        })
    }
}

pub(super) fn cost(server: Option<ServerCost>) -> Result<ServerCost, Failure> {
    server.ok_or_else(|| Failure::Program {
        program: "the server".to_owned(),
        why: "it ended while it was measured".to_owned(),
    })
}
