//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::Failure;
use crate::feed::{Feed, Shape};

/// What `--help` ends with.
const AFTER_HELP: &str = "Exit status: 0 if all was well; 1 if clients failed, or figures were missed; 2 if nothing could be measured.
docs/performance.md says how it measures, and what the reports hold.";

/// Loads live-streaming servers, and says what they cost and how late they are.
#[derive(Debug, Parser)]
#[command(name = "pingora-live-bench", version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Print the report as JSON, in one line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play a stream many times: http, https, ws, wss, rtmp or rtmps
    Play(Play),
    /// Publish many streams: rtmp, rtmps, or http and https by POST
    Publish(Publish),
    /// Serve the same bytes in the same rhythm with one send a player, over HTTP, at any path
    Floor(Floor),
    /// Publish one stream, play it many times, and measure how long its frames take
    Latency(Latency),
    /// Run the set of measurements of docs/performance.md, and write its table
    Suite(Suite),
}

/// What every load has.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Load {
    /// From the first connection to the last
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) ramp: Duration,
    /// How long is measured once all have joined
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// How long after the ramp a client may take to join
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub(crate) patience: Duration,
    /// The server's process: its processor time and memory are reported
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Make a full TLS handshake each time, even where the server lets sessions be resumed
    #[arg(long)]
    pub(crate) no_resumption: bool,
}

/// What is published.
#[derive(Clone, Debug, Args)]
pub(crate) struct Source {
    /// An FLV file to publish in a loop, instead of made-up frames
    #[arg(long, value_name = "FLV", conflicts_with_all = ["bitrate", "fps", "gop"])]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) made: Made,
}

/// Made-up frames.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Made {
    /// Of made-up frames, in kbit/s, video and audio (64 kbit/s AAC) together
    #[arg(long, value_name = "KBIT", default_value_t = 1000)]
    pub(crate) bitrate: u32,
    /// Made-up frames a second
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) fps: u32,
    /// From keyframe to keyframe
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) gop: Duration,
}

impl Source {
    pub(crate) fn feed(&self) -> Result<Feed, Failure> {
        match &self.file {
            Some(path) => Feed::file(path),
            None => Ok(self.made.feed()),
        }
    }
}

impl Made {
    pub(crate) fn feed(&self) -> Feed {
        Feed::made(Shape {
            bitrate: self.bitrate.saturating_mul(1000),
            fps: self.fps,
            gop: self.gop,
        })
    }
}

/// What players have.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Crowd {
    /// Players
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub(crate) players: usize,
    /// Threads that throw away what comes; the sample has one of its own
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub(crate) threads: usize,
    /// Players whose stream is looked at tag by tag
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) sample: usize,
    /// Play over HTTP/2: https by ALPN, http by prior knowledge
    #[arg(long)]
    pub(crate) http2: bool,
    /// Players that share a connection of HTTP/2
    #[arg(long, value_name = "N", default_value_t = 1, requires = "http2", value_parser = at_least_one)]
    pub(crate) streams_per_connection: usize,
}

impl Crowd {
    pub(crate) fn connections(&self) -> usize {
        self.players.div_ceil(self.streams_per_connection.max(1))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Play {
    /// Where; {} in it becomes the number of the stream
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) crowd: Crowd,
    /// Streams that the players are spread over, where the address has {}
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub(crate) streams: usize,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// Where; {} in it becomes the number of the publisher
    pub(crate) url: String,
    /// Publishers
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub(crate) publishers: usize,
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct Floor {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Send what comes in that time at once; 0s: at each video frame
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub(crate) merge: Duration,
    /// Stop after this time; without it, never, or with --seal after 10s
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Take RTMP publishers instead, and only read what they send
    #[arg(long, conflicts_with_all = ["merge", "file", "bitrate", "fps", "gop"])]
    pub(crate) ingest: bool,
    /// Serve nothing: encrypt what would be sent for so many sessions of TLS, and report what that costs
    #[arg(long, value_name = "N", conflicts_with_all = ["ingest", "listen"], value_parser = at_least_one)]
    pub(crate) seal: Option<usize>,
    #[command(flatten)]
    pub(crate) source: Source,
}

#[derive(Debug, Args)]
pub(crate) struct Latency {
    /// Where it publishes
    pub(crate) publish: String,
    /// Where it plays
    pub(crate) play: String,
    #[command(flatten)]
    pub(crate) crowd: Crowd,
    #[command(flatten)]
    pub(crate) made: Made,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct Suite {
    /// The server [default: pingora-live beside this program]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) server: Option<PathBuf>,
    /// xiu, to be measured as well [default: looked for in PATH]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) xiu: Option<PathBuf>,
    /// Write the table between the markers of this file
    #[arg(long, value_name = "MARKDOWN")]
    pub(crate) write: Option<PathBuf>,
    /// How long each row is measured
    #[arg(short, long, value_name = "TIME", default_value = "8s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Only the parts whose name holds this text: fan-out, workers, http2, rtmp, tls, storm, delay, join, ingest or xiu
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("a number from 1 on".to_owned()),
    }
}

/// `350ms`, `10s` or `2m`, as in the server's configuration.
fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| "a time such as 350ms or 10s")?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err("a time with its unit, such as 350ms, 10s or 2m".to_owned()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("350ms"), Ok(Duration::from_millis(350)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "10", "s", "-1s", "1h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
