//! The measurements, one by one.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::feed::{Feed, Shape};
use crate::meter::ServerCost;
use crate::progress::Progress;
use crate::target::Target;
use crate::{Failure, latency, play, publish, tls};

use super::bed::{Programs, Server, make_certificate};
use super::folder::Folder;

/// A measurement of processor time is made this often, and the least is taken: what disturbs can only add.
const ROUNDS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(10);
/// From the first frame to the first player.
const HEAD_START: Duration = Duration::from_secs(2);
/// 1 Mbit/s, 25 fps, a keyframe in two seconds.
const SHAPE: Shape = Shape {
    bitrate: 1_000_000,
    fps: 25,
    gop: Duration::from_secs(2),
};
const MERGED: &str = "350ms";
const EACH_FRAME: &str = "0s";

/// One line of the table.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) unit: &'static str,
    /// The floor's, in the same rhythm.
    pub(super) floor: Option<f64>,
    pub(super) value: f64,
    /// In words.
    pub(super) reach: &'static str,
    pub(super) met: Option<bool>,
}

impl Row {
    /// To the floor.
    pub(super) fn ratio(&self) -> Option<f64> {
        self.floor
            .filter(|floor| *floor > 0.0)
            .map(|floor| self.value / floor)
    }
}

/// Some of the measurements.
type Part<'a> = fn(&mut Runner<'a>) -> Result<(), Failure>;

/// See the module.
pub(super) struct Runner<'a> {
    programs: Programs,
    folder: Folder,
    has_tls: bool,
    duration: Duration,
    only: Option<String>,
    progress: &'a mut Progress,
    rows: Vec<Row>,
    /// The floor of a unit a frame at 1000 players, in us/s a player.
    floor: Option<f64>,
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
            floor: None,
        })
    }

    pub(super) fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// All of them.
    pub(super) fn all(&mut self) -> Result<(), Failure> {
        let parts: [(&str, Part<'a>); 8] = [
            ("fan-out", Self::fan_out),
            ("workers", Self::workers),
            ("rtmp", Self::rtmp),
            ("tls", Self::tls),
            ("delay", Self::delay),
            ("join", Self::joins),
            ("ingest", Self::ingest),
            ("xiu", Self::xiu),
        ];
        for (name, part) in parts {
            if self.only.as_deref().is_none_or(|only| name.contains(only)) {
                part(self)?;
            }
        }
        Ok(())
    }

    fn row(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        floor: Option<f64>,
        value: f64,
        reach: &'static str,
        met: Option<bool>,
    ) {
        let row = Row {
            name: name.into(),
            unit,
            floor,
            value,
            reach,
            met,
        };
        self.progress.clear();
        self.rows.push(row);
    }

    /// Processor time by players, against the floor; and what 5000 take in memory.
    fn fan_out(&mut self) -> Result<(), Failure> {
        for (players, merge, rhythm) in [
            (1000, EACH_FRAME, "a unit a frame"),
            (1000, MERGED, "merged 350 ms"),
            (5000, MERGED, "merged 350 ms"),
        ] {
            let floor = self.least(|this| {
                let floor = Server::floor(&this.programs, merge)?;
                thread::sleep(HEAD_START);
                this.play(&floor, "http", "/floor.flv", players)
            })?;
            let ours = self.least(|this| {
                let server = this.ours(1, merge)?;
                this.published(&server, |this| {
                    this.play(&server, "http", "/live/x.flv", players)
                })
            })?;
            if merge == EACH_FRAME {
                self.floor = Some(floor.cpu_us_per_client);
            }
            let ratio = ours.cpu_us_per_client / floor.cpu_us_per_client;
            self.row(
                format!("{players} players, {rhythm}: CPU a player"),
                "us/s",
                Some(floor.cpu_us_per_client),
                ours.cpu_us_per_client,
                "at most 1.25 of the floor",
                Some(ratio <= 1.25),
            );
            if players == 5000 {
                let memory = ours.memory_per_client / 1024.0;
                self.row(
                    "5000 players, HTTP/1.1: memory a player",
                    "KiB",
                    None,
                    memory,
                    "at most 6",
                    Some(memory <= 6.0),
                );
            }
        }
        Ok(())
    }

    /// Twice the players on two threads.
    fn workers(&mut self) -> Result<(), Failure> {
        let one = self.least(|this| {
            let server = this.ours(1, EACH_FRAME)?;
            this.published(&server, |this| {
                this.play(&server, "http", "/live/x.flv", 1000)
            })
        })?;
        let two = self.least(|this| {
            let server = this.ours(2, EACH_FRAME)?;
            this.published(&server, |this| {
                this.play(&server, "http", "/live/x.flv", 2000)
            })
        })?;
        let times = 2.0 * one.cpu_us_per_client / two.cpu_us_per_client;
        self.row(
            "two workers: players for the same CPU each, of one's",
            "x",
            None,
            times,
            "at least 1.8",
            Some(times >= 1.8),
        );
        Ok(())
    }

    fn rtmp(&mut self) -> Result<(), Failure> {
        let cost = self.least(|this| {
            let server = this.ours(1, EACH_FRAME)?;
            this.published(&server, |this| this.play(&server, "rtmp", "/live/x", 1000))
        })?;
        self.row(
            "1000 RTMP players: CPU a player",
            "us/s",
            self.floor,
            cost.cpu_us_per_client,
            "",
            None,
        );
        let memory = cost.memory_per_client / 1024.0;
        self.row(
            "1000 RTMP players: memory a player",
            "KiB",
            None,
            memory,
            "at most 12",
            Some(memory <= 12.0),
        );
        Ok(())
    }

    /// Players by TLS, and what a storm of handshakes does to them.
    fn tls(&mut self) -> Result<(), Failure> {
        if !self.has_tls {
            return Ok(());
        }
        let server = self.ours(1, EACH_FRAME)?;
        let (cost, storm, running) = self.published(&server, |this| {
            let cost = this.play(&server, "https", "/live/x.flv", 1000)?;
            let (storm, running) = this.storm(
                &server,
                "https",
                this.duration,
                Duration::from_secs(2),
                Duration::ZERO,
            )?;
            Ok((cost, storm, running))
        })?;
        self.row(
            "1000 HTTPS players: CPU a player, encryption included",
            "us/s",
            self.floor,
            cost.cpu_us_per_client,
            "",
            None,
        );
        let memory = cost.memory_per_client / 1024.0;
        self.row(
            "1000 HTTPS players: memory a player",
            "KiB",
            None,
            memory,
            "at most 40",
            Some(memory <= 40.0),
        );
        let gap = running.gap_ms.p99;
        self.row(
            "1000 full handshakes in 2 s: p99 gap of 100 who play",
            "ms",
            None,
            gap,
            "under 100",
            Some(gap < 100.0 && storm.is_good()),
        );
        self.row(
            "and the first byte of those who come, p99",
            "ms",
            None,
            storm.first_byte_ms.p99,
            "",
            None,
        );
        Ok(())
    }

    /// From RTMP in to FLV out.
    fn delay(&mut self) -> Result<(), Failure> {
        for (players, reach, most) in [(100, "at most 3", 3.0), (1000, "at most 20", 20.0)] {
            let server = self.ours(1, EACH_FRAME)?;
            let publishing = self.publish_plan(&server.url("rtmp", "/live/x")?, 1, None)?;
            let mut playing = self.play_plan(&server.url("http", "/live/x.flv")?, players)?;
            playing.sample = 50;
            let report = latency::run(&publishing, &playing, self.progress)?;
            let delay = report.delay_ms.unwrap_or_default();
            self.row(
                format!("{players} players: delay from RTMP to FLV, p50"),
                "ms",
                None,
                delay.p50,
                "",
                None,
            );
            self.row(
                format!("{players} players: delay from RTMP to FLV, p99"),
                "ms",
                None,
                delay.p99,
                reach,
                Some(delay.p99 <= most),
            );
        }
        Ok(())
    }

    /// A thousand in a second.
    fn joins(&mut self) -> Result<(), Failure> {
        let server = self.ours(1, EACH_FRAME)?;
        let (storm, before, during) = self.published(&server, |this| {
            let mut calm = this.play_plan(&server.url("http", "/live/x.flv")?, 100)?;
            calm.sample = 100;
            let before = play::run(&calm, this.progress)?;
            let second = Duration::from_secs(1);
            let (storm, during) =
                this.storm(&server, "http", Duration::from_secs(3), second, second)?;
            Ok((storm, before, during))
        })?;
        let byte = storm.first_byte_ms.p99;
        self.row(
            "1000 joins in a second: first byte, p99",
            "ms",
            None,
            byte,
            "under 10, all from a keyframe",
            Some(byte < 10.0 && storm.is_good()),
        );
        let times = during.gap_ms.p99 / before.gap_ms.p99;
        self.row(
            "and the p99 gap of 100 who play, of what it was",
            "x",
            None,
            times,
            "at most 2",
            Some(times <= 2.0),
        );
        Ok(())
    }

    /// A hundred players that go on, and a thousand that come meanwhile: the reports of both.
    fn storm(
        &mut self,
        server: &Server,
        scheme: &str,
        running_for: Duration,
        ramp: Duration,
        stay: Duration,
    ) -> Result<(play::Report, play::Report), Failure> {
        let url = server.url(scheme, "/live/x.flv")?;
        let mut running = self.play_plan(&url, 100)?;
        (running.sample, running.duration) = (100, running_for);
        let mut coming = self.play_plan(&url, 1000)?;
        (coming.ramp, coming.duration) = (ramp, stay.max(Duration::from_millis(100)));
        // Those who come back after an outage of the server have sessions that it does not know any more.
        coming.tls = tls::config(false, false)?;
        thread::scope(|scope| {
            let running = scope.spawn(|| play::run(&running, &mut Progress::new(true)));
            // They have joined, and settled, and are measured.
            thread::sleep(Duration::from_millis(2500));
            let came = play::run(&coming, self.progress);
            let went_on = running.join().map_err(|_| Failure::Thread)?;
            Ok((came?, went_on?))
        })
    }

    /// Publishers without players.
    fn ingest(&mut self) -> Result<(), Failure> {
        const PUBLISHERS: usize = 300;
        let server = self.ours(1, EACH_FRAME)?;
        let url = server.url("rtmp", "/live/s{}")?;
        let plan = publish::Plan {
            pid: Some(server.pid()),
            ..self.publish_plan(&url, PUBLISHERS, Some(self.duration))?
        };
        let report = publish::run(&plan, &publish::Control::default(), self.progress)?;
        let cost = cost(report.cost.server)?;
        self.row(
            "300 publishers: CPU of each",
            "us/s",
            None,
            cost.cpu_us_per_client,
            "at most 200",
            Some(cost.cpu_us_per_client <= 200.0 && report.is_good()),
        );
        // What a GOP has at most, just before the next keyframe.
        let gop = f64::from(SHAPE.bitrate) / 8.0 * SHAPE.gop.as_secs_f64() / 1024.0;
        let memory = cost.memory_per_client / 1024.0;
        self.row(
            format!("300 publishers: memory of each (a GOP has {gop:.0} KiB)"),
            "KiB",
            None,
            memory,
            "a GOP and 64",
            Some(memory <= gop + 64.0),
        );
        Ok(())
    }

    /// The same as the first row.
    fn xiu(&mut self) -> Result<(), Failure> {
        let Some(program) = self.programs.xiu.clone() else {
            return Ok(());
        };
        let server = Server::xiu(&program)?;
        let cost = self.published(&server, |this| {
            this.play(&server, "http", "/live/x.flv", 1000)
        });
        match cost {
            Ok(cost) => {
                self.row(
                    "xiu, 1000 players, as it comes: CPU a player",
                    "us/s",
                    self.floor,
                    cost.cpu_us_per_client,
                    "",
                    None,
                );
                let memory = cost.memory_per_client / 1024.0;
                self.row("xiu: memory a player", "KiB", None, memory, "", None);
            }
            Err(failure) => eprintln!("xiu could not be measured: {failure}"),
        }
        Ok(())
    }

    fn ours(&self, threads: usize, merge: &str) -> Result<Server, Failure> {
        let play = format!("mw_latency: {merge}");
        Server::ours(&self.programs, self.folder.path(), threads, &play)
    }

    /// The least processor time of a few rounds, and the least memory.
    fn least(
        &mut self,
        measure: impl Fn(&mut Self) -> Result<ServerCost, Failure>,
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
    fn published<T>(
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

    fn play(
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
        let report = play::run(&plan, self.progress)?;
        if !report.is_good() {
            eprintln!("not all was well:\n{report}");
        }
        cost(report.cost.server)
    }

    fn play_plan(&self, url: &str, players: usize) -> Result<play::Plan, Failure> {
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

    fn publish_plan(
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

fn cost(server: Option<ServerCost>) -> Result<ServerCost, Failure> {
    server.ok_or_else(|| Failure::Program {
        program: "the server".to_owned(),
        why: "it ended while it was measured".to_owned(),
    })
}
