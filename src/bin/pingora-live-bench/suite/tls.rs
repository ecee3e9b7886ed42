//! What TLS adds: encryption, memory, handshakes.

use std::time::Duration;

use crate::feed::Feed;
use crate::floor::sealing;
use crate::{Failure, play};

use super::runner::{EACH_FRAME, ROUNDS, Runner, SHAPE, cost};
use super::time::storm;

const PLAYERS: usize = 1000;

/// A thousand players. What they cost beside encryption is at most what players without TLS cost.
pub(super) fn players(run: &mut Runner<'_>) -> Result<(), Failure> {
    if !run.has_tls {
        return Ok(());
    }
    let mut suite = None;
    let took = run.least(|this| {
        let server = this.ours(1, EACH_FRAME)?;
        this.published(&server, |this| {
            let plan = play::Plan {
                pid: Some(server.pid()),
                ..this.play_plan(&server.url("https", "/live/x.flv")?, PLAYERS)?
            };
            let report = this.load(&plan)?;
            suite = report.tls.and_then(|tls| tls.suite);
            cost(report.cost.server)
        })
    })?;
    let floor = run.each_frame.map(|(floor, _)| floor);
    let all = took.cpu_us_per_client;
    run.row(
        "1000 HTTPS players: CPU a player, encryption included",
        "us/s",
        floor,
        all,
        "",
        None,
    );
    if suite.is_some() {
        let plan = sealing::Plan {
            feed: Feed::made(SHAPE),
            merge: Duration::ZERO,
            sessions: PLAYERS,
            duration: run.duration,
            suite,
        };
        let (mut sealed, mut hot) = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            let report = sealing::run(&plan, run.progress)?;
            sealed = sealed.min(report.cpu_us_per_client);
            hot = hot.min(report.hot_cipher_us_per_client.unwrap_or(hot));
        }
        run.row(
            "the same units only sealed, for 1000 sessions in turn",
            "us/s",
            None,
            sealed,
            "",
            None,
        );
        run.row(
            "of which the cipher, if one key stays in the caches",
            "us/s",
            None,
            hot,
            "",
            None,
        );
        let plain = run.each_frame.map(|(_, plain)| plain);
        let beside = all - sealed;
        run.row(
            "1000 HTTPS players: CPU a player beside encryption",
            "us/s",
            floor,
            beside,
            plain.map_or_else(String::new, |plain| {
                format!("at most {plain:.0}, as without TLS")
            }),
            plain.map(|plain| beside <= plain),
        );
    }
    let memory = took.memory_per_client / 1024.0;
    run.row(
        "1000 HTTPS players: memory a player",
        "KiB",
        None,
        memory,
        "at most 40",
        Some(memory <= 40.0),
    );
    Ok(())
}

/// A thousand who come back in two seconds, and what that does to those who play: with sessions that the server does not know any more, as
/// after its outage, and with sessions that it takes up again.
pub(super) fn storms(run: &mut Runner<'_>) -> Result<(), Failure> {
    if !run.has_tls {
        return Ok(());
    }
    let ramp = Duration::from_secs(2);
    for (resume, who) in [(false, "full handshakes"), (true, "handshakes by ticket")] {
        let server = run.ours(1, EACH_FRAME)?;
        let (came, running) = run.published(&server, |this| {
            storm(
                this,
                &server,
                "https",
                Duration::from_secs(4),
                ramp,
                Duration::ZERO,
                resume,
            )
        })?;
        let gap = running.gap_ms.p99;
        let good = came.is_good() && running.is_good();
        run.row(
            format!("1000 {who} in 2 s: p99 gap of 100 who play"),
            "ms",
            None,
            gap,
            "under 100",
            Some(gap < 100.0 && good),
        );
        let byte = came.first_byte_ms.p99;
        run.row(
            "and the first byte of those who come, p99",
            "ms",
            None,
            byte,
            "",
            None,
        );
        if resume {
            let tls = came.tls.unwrap_or_default();
            let share = tls.resumed as f64 / (tls.full + tls.resumed).max(1) as f64;
            run.row(
                "and of their sessions, taken up again",
                "%",
                None,
                share * 100.0,
                "at least 95",
                Some(share >= 0.95),
            );
        }
    }
    Ok(())
}
