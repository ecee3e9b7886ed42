//! When frames come: their delay, and what those who join do to those who play.

use std::thread;
use std::time::Duration;

use crate::progress::Progress;
use crate::{Failure, latency, play, tls};

use super::bed::Server;
use super::runner::{EACH_FRAME, HEAD_START, Runner};

/// Players that are looked at: enough for quantiles, and few enough that looking does not delay what is measured.
const SAMPLE: usize = 50;

/// From RTMP in to FLV out. The floor has its frames from itself: what it shows is the delay of one `send` after the other, and of
/// this tool.
pub(super) fn delay(run: &mut Runner<'_>) -> Result<(), Failure> {
    for (players, reach, most) in [(100, "at most 3", 3.0), (1000, "at most 20", 20.0)] {
        let floor = Server::floor(&run.programs, EACH_FRAME)?;
        thread::sleep(HEAD_START);
        let mut playing = run.play_plan(&floor.url("http", "/floor.flv")?, players)?;
        playing.sample = SAMPLE;
        let least = run.load(&playing)?;
        let least = least.delay_ms.unwrap_or_default();
        drop(floor);
        let server = run.ours(1, EACH_FRAME)?;
        let publishing = run.publish_plan(&server.url("rtmp", "/live/x")?, 1, None)?;
        let mut playing = run.play_plan(&server.url("http", "/live/x.flv")?, players)?;
        playing.sample = SAMPLE;
        let report = latency::run(&publishing, &playing, run.progress)?;
        run.warn(&report, report.is_good());
        let delay = report.delay_ms.unwrap_or_default();
        let what = format!("{players} players: delay from RTMP to FLV");
        run.row(
            format!("{what}, p50"),
            "ms",
            Some(least.p50),
            delay.p50,
            "",
            None,
        );
        let met = delay.p99 <= most && report.is_good();
        run.row(
            format!("{what}, p99"),
            "ms",
            Some(least.p99),
            delay.p99,
            reach,
            Some(met),
        );
        run.row(
            format!("{what}, longest"),
            "ms",
            Some(least.max),
            delay.max,
            "",
            None,
        );
    }
    Ok(())
}

/// A thousand in a second.
pub(super) fn joins(run: &mut Runner<'_>) -> Result<(), Failure> {
    let server = run.ours(1, EACH_FRAME)?;
    let (came, before, during) = run.published(&server, |this| {
        let mut calm = this.play_plan(&server.url("http", "/live/x.flv")?, 100)?;
        calm.sample = 100;
        let before = play::run(&calm, this.progress)?;
        let second = Duration::from_secs(1);
        let (came, during) = storm(
            this,
            &server,
            "http",
            Duration::from_secs(3),
            second,
            second,
            true,
        )?;
        Ok((came, before, during))
    })?;
    let byte = came.first_byte_ms.p99;
    run.row(
        "1000 joins in a second: first byte, p99",
        "ms",
        None,
        byte,
        "under 10, all from a keyframe",
        Some(byte < 10.0 && came.is_good()),
    );
    let times = during.gap_ms.p99 / before.gap_ms.p99;
    run.row(
        "and the p99 gap of 100 who play, of what it was",
        "x",
        None,
        times,
        "at most 2",
        Some(times <= 2.0),
    );
    Ok(())
}

/// A hundred players that go on, and a thousand that come meanwhile, in `ramp`: the reports of both. `resume`: sessions are
/// taken up again.
pub(super) fn storm(
    run: &mut Runner<'_>,
    server: &Server,
    scheme: &str,
    running_for: Duration,
    ramp: Duration,
    stay: Duration,
    resume: bool,
) -> Result<(play::Report, play::Report), Failure> {
    let url = server.url(scheme, "/live/x.flv")?;
    let mut running = run.play_plan(&url, 100)?;
    (running.sample, running.duration) = (100, running_for);
    let mut coming = run.play_plan(&url, 1000)?;
    (coming.ramp, coming.duration) = (ramp, stay.max(Duration::from_millis(100)));
    coming.tls = tls::config(resume, false)?;
    thread::scope(|scope| {
        let running = scope.spawn(|| play::run(&running, &mut Progress::new(true)));
        // They have joined, and settled, and are measured.
        thread::sleep(Duration::from_millis(2500));
        let came = play::run(&coming, run.progress);
        let went_on = running.join().map_err(|_| Failure::Thread)?;
        Ok((came?, went_on?))
    })
}
