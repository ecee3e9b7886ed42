//! How long frames take from the publisher to players: one stream whose frames carry their time, and many players.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::progress::Progress;
use crate::{Failure, play, publish};

const TICK: Duration = Duration::from_millis(10);
/// From the first frame to the first player: the stream is known by then.
const HEAD_START: Duration = Duration::from_millis(500);

/// Publishes while it plays. The report is that of the players.
pub(crate) fn run(
    publishing: &publish::Plan,
    playing: &play::Plan,
    progress: &mut Progress,
) -> Result<play::Report, Failure> {
    let control = publish::Control::default();
    thread::scope(|scope| {
        let publisher =
            scope.spawn(|| publish::run(publishing, &control, &mut Progress::new(true)));
        let begin = Instant::now();
        while !control.ready.load(Ordering::Relaxed) && begin.elapsed() < publishing.patience {
            thread::sleep(TICK);
        }
        thread::sleep(HEAD_START);
        let report = play::run(playing, progress);
        control.stop.store(true, Ordering::Relaxed);
        let published = publisher.join().map_err(|_| Failure::Thread)??;
        if !published.is_good() {
            return Err(Failure::Publish(published.errors));
        }
        Ok(play::Report {
            tool: "latency",
            ..report?
        })
    })
}
