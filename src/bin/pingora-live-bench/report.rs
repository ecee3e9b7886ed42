//! What a load tells at its end.

use std::fmt::{self, Display};

use serde::Serialize;

use crate::Failure;
use crate::floor::sealing;
use crate::meter::Cost;
use crate::play;
use crate::publish;
use crate::stats::Quantiles;

/// Prints a report on standard output, for people or as JSON.
pub(crate) fn print<R: Serialize + Display>(report: &R, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

impl Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            count,
            p50,
            p99,
            max,
        } = self;
        if *count == 0 {
            return f.write_str("none");
        }
        write!(
            f,
            "p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms ({count})"
        )
    }
}

impl Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(server) = &self.server {
            writeln!(
                f,
                "server         {:.1} % of a core; {:.0} us/s a client, {:.2} s a GB",
                server.cpu_percent, server.cpu_us_per_client, server.cpu_s_per_gb
            )?;
            writeln!(
                f,
                "server memory  {:.1} MB; {:.1} KB a client",
                server.memory as f64 / 1e6,
                server.memory_per_client / 1e3
            )?;
        }
        writeln!(
            f,
            "this tool      {:.1} % of a core in {:.1} s",
            self.own_cpu_percent, self.seconds
        )
    }
}

fn errors<'a>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    errors: impl IntoIterator<Item = (&'a String, &'a u64)>,
) -> fmt::Result {
    for (what, count) in errors {
        writeln!(f, "{name:<14} {count} x {what}")?;
    }
    Ok(())
}

impl Display for play::Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let players = &self.players;
        writeln!(f, "{}", self.url)?;
        writeln!(
            f,
            "players        {} of {} play, {} failed, {} left",
            players.playing, players.asked, players.failed, players.left
        )?;
        writeln!(f, "first byte     {}", self.first_byte_ms)?;
        writeln!(f, "first keyframe {}", self.first_keyframe_ms)?;
        if let Some(tls) = &self.tls {
            writeln!(
                f,
                "handshakes     {} full, {} resumed, {}",
                tls.full,
                tls.resumed,
                tls.suite.as_deref().unwrap_or("none to its end")
            )?;
        }
        writeln!(
            f,
            "bitrate        {:.0} kbit/s a player, {:.1} MB in all",
            self.bitrate_per_player / 1e3,
            self.bytes as f64 / 1e6
        )?;
        writeln!(f, "gaps           {}", self.gap_ms)?;
        if let Some(delay) = &self.delay_ms {
            writeln!(f, "delay          {delay}")?;
        }
        let verified = &self.verified;
        writeln!(
            f,
            "verified       {} connections, {} tags, {} skips",
            verified.connections, verified.tags, verified.skips
        )?;
        errors(f, "problem", &verified.problems)?;
        errors(f, "error", &self.errors)?;
        self.cost.fmt(f)
    }
}

impl Display for publish::Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let publishers = &self.publishers;
        writeln!(f, "{}", self.url)?;
        writeln!(
            f,
            "publishers     {} of {} publish, {} failed, {} left",
            publishers.publishing, publishers.asked, publishers.failed, publishers.left
        )?;
        writeln!(
            f,
            "bitrate        {:.0} kbit/s a publisher, {:.1} MB in all",
            self.bitrate_per_publisher / 1e3,
            self.bytes as f64 / 1e6
        )?;
        writeln!(f, "sent late      {}", self.late_ms)?;
        errors(f, "error", &self.errors)?;
        self.cost.fmt(f)
    }
}

impl Display for sealing::Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sessions       {}, {}", self.sessions, self.suite)?;
        writeln!(
            f,
            "sealed         {:.1} s of the stream for each, {:.1} MB in all",
            self.seconds,
            self.bytes as f64 / 1e6
        )?;
        writeln!(
            f,
            "cost           {:.1} us/s a session, {:.2} s a GB",
            self.cpu_us_per_client, self.cpu_s_per_gb
        )?;
        match self.hot_cipher_us_per_client {
            Some(cost) => writeln!(f, "of which       {cost:.1} us/s the cipher, with one key"),
            None => Ok(()),
        }
    }
}
