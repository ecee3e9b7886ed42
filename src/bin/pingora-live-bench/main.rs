//! The `pingora-live-bench` command: a load for live-streaming servers, this crate's and others'.
//!
//! ```text
//! pingora-live-bench publish rtmp://127.0.0.1/live/x &
//! pingora-live-bench play http://127.0.0.1:8080/live/x.flv -n 1000 --pid $(pidof pingora-live)
//! pingora-live-bench floor --listen 127.0.0.1:9000 &
//! pingora-live-bench latency rtmp://127.0.0.1/live/y http://127.0.0.1:8080/live/y.flv -n 100
//! ```
//!
//! It has no runtime: a few threads, each with sockets of its own and `epoll`. [`wire`] is what is said, without sockets; [`link`] has the
//! socket; [`play`] and [`publish`] are the loads; [`floor`] is the server to compare with; [`suite`] runs all of it and
//! writes the table of `docs/performance.md`.

mod args;
mod feed;
mod floor;
mod judge;
mod latency;
mod link;
mod meter;
mod play;
mod process;
mod progress;
mod publish;
mod report;
mod stats;
mod suite;
mod target;
mod tls;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use thiserror::Error;

use args::{Arguments, Command, Crowd, Load};
use feed::Feed;
use progress::Progress;
use target::{Scheme, Target};

/// What it calls itself.
const AGENT: &str = concat!("pingora-live-bench/", env!("CARGO_PKG_VERSION"));

/// Not all clients got what they should.
const EXIT_BAD: u8 = 1;
/// Open files beside the connections: standard ones, `epoll`, `/proc`.
const OWN_FILES: usize = 64;
/// Nothing could be measured.
const EXIT_FAILED: u8 = 2;
/// How long it is measured what encryption costs, if nothing else is said.
const SEALING: Duration = Duration::from_secs(10);

/// Why nothing could be measured.
#[derive(Debug, Error)]
enum Failure {
    #[error("{url}: {why}")]
    Url { url: String, why: String },
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("cannot wait for sockets: {0}")]
    Poll(io::Error),
    #[error("cannot listen on {address}: {source}")]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("the floor's own stream: {0}")]
    Hub(String),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("a thread of the load panicked")]
    Thread,
    #[error("the publisher did not get through: {}", listed(.0))]
    Publish(BTreeMap<String, u64>),
    #[error("there is no process {0}")]
    NoProcess(u32),
    #[error(
        "{connections} connections are more than the {limit} open files that are allowed: raise the hard limit (ulimit -Hn)"
    )]
    OpenFiles { connections: usize, limit: u64 },
    #[error("no part is called so: {0}")]
    NoPart(String),
    #[error("{program}: {why}")]
    Program { program: String, why: String },
    #[error("the report cannot be written: {0}")]
    Report(#[from] serde_json::Error),
}

fn listed(errors: &BTreeMap<String, u64>) -> String {
    let errors: Vec<&str> = errors.keys().map(String::as_str).collect();
    errors.join("; ")
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let open_files = match pingora_live::open_files::raise() {
        Ok(limit) => limit,
        Err(error) => {
            eprintln!("the limit of open files could not be raised: {error}");
            u64::MAX
        }
    };
    // While the kernel makes room, the threads would sleep, and what they measure would be late.
    if let Err(error) = pingora_live::open_files::make_room(open_files) {
        eprintln!("there is no room for open files yet: {error}");
    }
    match check(&arguments.command, open_files).and_then(|()| run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_BAD),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// What is known to go wrong before anything is begun.
fn check(command: &Command, open_files: u64) -> Result<(), Failure> {
    let (load, connections) = match command {
        Command::Play(play) => (play.load, play.crowd.connections()),
        Command::Latency(latency) => (latency.load, latency.crowd.connections() + 1),
        Command::Publish(publish) => (publish.load, publish.publishers),
        Command::Floor(_) | Command::Suite(_) => return Ok(()),
    };
    if (connections + OWN_FILES) as u64 > open_files {
        return Err(Failure::OpenFiles {
            connections,
            limit: open_files,
        });
    }
    match load.pid {
        Some(pid) if process::Usage::of(pid).is_none() => Err(Failure::NoProcess(pid)),
        _ => Ok(()),
    }
}

/// Whether all was well.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let mut progress = Progress::new(arguments.quiet);
    match &arguments.command {
        Command::Play(play) => {
            let report = play::run(
                &play_plan(&play.url, play.streams, &play.crowd, &play.load)?,
                &mut progress,
            )?;
            report::print(&report, arguments.json)?;
            Ok(report.is_good())
        }
        Command::Publish(publish) => {
            let plan = publish::Plan {
                duration: Some(publish.load.duration),
                ..publish_plan(
                    &publish.url,
                    publish.publishers,
                    publish.source.feed()?,
                    &publish.load,
                )?
            };
            let report = publish::run(&plan, &publish::Control::default(), &mut progress)?;
            report::print(&report, arguments.json)?;
            Ok(report.is_good())
        }
        Command::Floor(floor) => {
            if let Some(sessions) = floor.seal {
                let plan = floor::sealing::Plan {
                    feed: floor.source.feed()?,
                    merge: floor.merge,
                    sessions,
                    duration: floor.duration.unwrap_or(SEALING),
                    suite: None,
                };
                let report = floor::sealing::run(&plan, &mut progress)?;
                report::print(&report, arguments.json)?;
                return Ok(true);
            }
            floor::run(floor::Plan {
                listen: floor.listen,
                feed: floor.source.feed()?,
                merge: floor.merge,
                duration: floor.duration,
                ingest: floor.ingest,
            })?;
            Ok(true)
        }
        Command::Latency(latency) => {
            let feed = latency.made.feed();
            let publishing = publish_plan(&latency.publish, 1, feed, &latency.load)?;
            let playing = play_plan(&latency.play, 1, &latency.crowd, &latency.load)?;
            let report = latency::run(&publishing, &playing, &mut progress)?;
            report::print(&report, arguments.json)?;
            Ok(report.is_good() && report.delay_ms.is_some())
        }
        Command::Suite(suite) => suite::run(suite, arguments.json, &mut progress),
    }
}

fn play_plan(url: &str, streams: usize, crowd: &Crowd, load: &Load) -> Result<play::Plan, Failure> {
    let mut targets = targets(url, streams)?;
    if crowd.http2 {
        targets = targets
            .into_iter()
            .map(Target::over_http2)
            .collect::<Result<_, _>>()?;
    }
    Ok(play::Plan {
        targets,
        players: crowd.players,
        streams_per_connection: crowd.streams_per_connection,
        ramp: load.ramp,
        duration: load.duration,
        patience: load.patience,
        threads: crowd.threads,
        sample: crowd.sample,
        tls: tls::config(!load.no_resumption, crowd.http2)?,
        pid: load.pid,
    })
}

fn publish_plan(
    url: &str,
    publishers: usize,
    feed: Feed,
    load: &Load,
) -> Result<publish::Plan, Failure> {
    let targets = targets(url, publishers)?;
    if let Some(target) = targets.iter().find(|target| target.scheme == Scheme::Ws) {
        return Err(Failure::Url {
            url: target.url.clone(),
            why: "nobody publishes over WebSocket".to_owned(),
        });
    }
    Ok(publish::Plan {
        targets,
        feed,
        ramp: load.ramp,
        duration: None,
        patience: load.patience,
        tls: tls::config(!load.no_resumption, false)?,
        pid: load.pid,
    })
}

/// `count` addresses; more than one must differ where they are published.
fn targets(url: &str, count: usize) -> Result<Vec<Target>, Failure> {
    (0..count.max(1)).map(|n| Target::parse(url, n)).collect()
}
