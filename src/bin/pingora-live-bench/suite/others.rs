//! Other servers, where they are installed.

use crate::Failure;
use crate::play;

use super::bed::Server;
use super::runner::{Runner, cost};

/// The same as the first row.
pub(super) fn xiu(run: &mut Runner<'_>) -> Result<(), Failure> {
    let Some((program, version)) = run.programs.xiu.clone() else {
        return Ok(());
    };
    let server = Server::xiu(&program)?;
    let report = run.published(&server, |this| {
        let plan = play::Plan {
            pid: Some(server.pid()),
            ..this.play_plan(&server.url("http", "/live/x.flv")?, 1000)?
        };
        play::run(&plan, this.progress)
    });
    let report = match report {
        Ok(report) => report,
        Err(failure) => {
            eprintln!("{version} could not be measured: {failure}");
            return Ok(());
        }
    };
    let lost = report.players.asked - report.players.playing;
    let who = match lost {
        0 => format!("{version}, 1000 players"),
        lost => format!("{version}, 1000 players ({lost} of whom it lost)"),
    };
    let took = cost(report.cost.server)?;
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
    run.row(
        format!("{version}: memory a player"),
        "KiB",
        None,
        memory,
        "",
        None,
    );
    Ok(())
}
