//! What players cost, in processor time and in memory, without TLS.

use std::thread;

use crate::Failure;
use crate::meter::ServerCost;

use super::bed::Server;
use super::runner::{EACH_FRAME, HEAD_START, MERGED, Runner, cost};

/// Processor time by players, against the floor; and what 5000 take in memory.
pub(super) fn players(run: &mut Runner<'_>) -> Result<(), Failure> {
    for (players, merge, rhythm) in [
        (1000, EACH_FRAME, "a unit a frame"),
        (1000, MERGED, "merged 350 ms"),
        (5000, MERGED, "merged 350 ms"),
    ] {
        let floor = run.least(|this| {
            let floor = Server::floor(&this.programs, merge)?;
            thread::sleep(HEAD_START);
            this.play(&floor, "http", "/floor.flv", players)
        })?;
        let ours = run.least(|this| {
            let server = this.ours(1, merge)?;
            this.published(&server, |this| {
                this.play(&server, "http", "/live/x.flv", players)
            })
        })?;
        if merge == EACH_FRAME {
            run.each_frame = Some((floor.cpu_us_per_client, ours.cpu_us_per_client));
        }
        let ratio = ours.cpu_us_per_client / floor.cpu_us_per_client;
        run.row(
            format!("{players} players, {rhythm}: CPU a player"),
            "us/s",
            Some(floor.cpu_us_per_client),
            ours.cpu_us_per_client,
            "at most 1.25 of the floor",
            Some(ratio <= 1.25),
        );
        if players == 5000 {
            let memory = ours.memory_per_client / 1024.0;
            run.row(
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
pub(super) fn workers(run: &mut Runner<'_>) -> Result<(), Failure> {
    let one = run.least(|this| {
        let server = this.ours(1, EACH_FRAME)?;
        this.published(&server, |this| {
            this.play(&server, "http", "/live/x.flv", 1000)
        })
    })?;
    let two = run.least(|this| {
        let server = this.ours(2, EACH_FRAME)?;
        this.published(&server, |this| {
            this.play(&server, "http", "/live/x.flv", 2000)
        })
    })?;
    let times = 2.0 * one.cpu_us_per_client / two.cpu_us_per_client;
    run.row(
        "two workers: players for the same CPU each, of one's",
        "x",
        None,
        times,
        "at least 1.8",
        Some(times >= 1.8),
    );
    Ok(())
}

/// A thousand players on twenty connections of HTTP/2.
pub(super) fn http2(run: &mut Runner<'_>) -> Result<(), Failure> {
    const EACH: usize = 50;
    let took = run.least(|this| {
        let server = this.ours(1, EACH_FRAME)?;
        this.published(&server, |this| {
            let mut plan = this.play_plan(&server.url("http", "/live/x.flv")?, 1000)?;
            for target in &mut plan.targets {
                *target = target.clone().over_http2()?;
            }
            plan.streams_per_connection = EACH;
            plan.pid = Some(server.pid());
            cost(this.load(&plan)?.cost.server)
        })
    })?;
    rows(run, "1000 HTTP/2 players, 50 on a connection", took, None);
    Ok(())
}

/// A thousand players by RTMP.
pub(super) fn rtmp(run: &mut Runner<'_>) -> Result<(), Failure> {
    let took = run.least(|this| {
        let server = this.ours(1, EACH_FRAME)?;
        this.published(&server, |this| this.play(&server, "rtmp", "/live/x", 1000))
    })?;
    rows(run, "1000 RTMP players", took, Some(12.0));
    Ok(())
}

/// Processor time beside the floor of HTTP/1.1, and memory, which should be at most so many KiB.
fn rows(run: &mut Runner<'_>, who: &str, took: ServerCost, most: Option<f64>) {
    let floor = run.each_frame.map(|(floor, _)| floor);
    run.row(
        format!("{who}: CPU a player"),
        "us/s",
        floor,
        took.cpu_us_per_client,
        "",
        None,
    );
    let memory = took.memory_per_client / 1024.0;
    let reach = most.map_or_else(String::new, |most| format!("at most {most}"));
    let met = most.map(|most| memory <= most);
    run.row(
        format!("{who}: memory a player"),
        "KiB",
        None,
        memory,
        reach,
        met,
    );
}
