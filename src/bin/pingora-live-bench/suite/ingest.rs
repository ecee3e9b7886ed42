//! What publishers cost without players.

use crate::publish;
use crate::{Failure, meter::ServerCost};

use super::bed::Server;
use super::runner::{EACH_FRAME, Runner, SHAPE, cost};

const PUBLISHERS: usize = 300;

/// Beside a receiver that only reads.
pub(super) fn publishers(run: &mut Runner<'_>) -> Result<(), Failure> {
    let (floor, _) = take(run, &Server::floor_of_ingest(&run.programs)?)?;
    let server = run.ours(1, EACH_FRAME)?;
    let (took, good) = take(run, &server)?;
    run.row(
        "300 publishers: CPU of each",
        "us/s",
        Some(floor.cpu_us_per_client),
        took.cpu_us_per_client,
        "at most 200",
        Some(took.cpu_us_per_client <= 200.0 && good),
    );
    // What a GOP has at most, just before the next keyframe.
    let gop = f64::from(SHAPE.bitrate) / 8.0 * SHAPE.gop.as_secs_f64() / 1024.0;
    let memory = took.memory_per_client / 1024.0;
    run.row(
        format!("300 publishers: memory of each (a GOP has {gop:.0} KiB)"),
        "KiB",
        None,
        memory,
        "a GOP and 64",
        Some(memory <= gop + 64.0),
    );
    Ok(())
}

fn take(run: &mut Runner<'_>, server: &Server) -> Result<(ServerCost, bool), Failure> {
    let url = server.url("rtmp", "/live/s{}")?;
    let plan = publish::Plan {
        pid: Some(server.pid()),
        ..run.publish_plan(&url, PUBLISHERS, Some(run.duration))?
    };
    let report = publish::run(&plan, &publish::Control::default(), run.progress)?;
    run.warn(&report, report.is_good());
    Ok((cost(report.cost.server)?, report.is_good()))
}
