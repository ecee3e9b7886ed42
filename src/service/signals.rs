//! What signals do to a server.

use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tracing::{error, info};

use crate::play::Live;

/// After the last player and publisher are gone, HTTP/2 connections have this long to send what they hold.
const LINGER: Duration = Duration::from_millis(200);
/// What "at once" is to SIGINT: publishers look at their claims twice a second. In less, they would end without a line in the log, a word to
/// the encoder, a recording that is finished, or a lease that is given back.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Ends the server when a signal says so.
pub(super) struct Signals {
    live: Live,
    grace: Duration,
    /// Taken when the signals are watched for. A signal watch must be `Sync`.
    ready: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Signals {
    /// `grace`: how long players and publishers have after SIGTERM. `ready` is called once when all signals are watched for.
    pub(super) fn new(live: Live, grace: Duration, ready: Box<dyn FnOnce() + Send>) -> Self {
        Signals {
            live,
            grace,
            ready: Mutex::new(Some(ready)),
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        // pingora calls this when it serves: after it forked, which no thread survives.
        self.live.mend_recordings();
        self.live.make_room();
        let install =
            |kind| signal(kind).map_err(|error| error!(%error, "cannot watch for a signal"));
        let (Ok(mut quit), Ok(mut term), Ok(mut int), Ok(mut hup)) = (
            install(SignalKind::quit()),
            install(SignalKind::terminate()),
            install(SignalKind::interrupt()),
            install(SignalKind::hangup()),
        ) else {
            return ShutdownSignal::FastShutdown;
        };
        if let Some(ready) = self.ready.lock().take() {
            ready();
        }
        loop {
            tokio::select! {
                _ = quit.recv() => {
                    self.live.leave();
                    return ShutdownSignal::GracefulUpgrade;
                }
                _ = int.recv() => {
                    tokio::select! {
                        _ = timeout(AT_ONCE, self.live.shutdown(AT_ONCE)) => {}
                        _ = int.recv() => {}
                    }
                    return ShutdownSignal::FastShutdown;
                }
                _ = hup.recv() => reload(&self.live),
                _ = term.recv() => {
                    info!(connections = self.live.connections(), "shutting down");
                    tokio::select! {
                        // pingora's own grace period sleeps to its end even when nobody is left, so players are seen off here.
                        () = self.live.shutdown(self.grace) => {}
                        // Whoever asks twice is in a hurry.
                        _ = term.recv() => {}
                        _ = int.recv() => {}
                    }
                    tokio::time::sleep(LINGER).await;
                    return ShutdownSignal::FastShutdown;
                }
            }
        }
    }
}

fn reload(live: &Live) {
    match live.reload() {
        Ok(changes) if changes.is_empty() => {
            info!("configuration read again: nothing is different")
        }
        Ok(changes) => info!(
            changed = changes.changed.join(", "),
            needs_restart = changes.needs_restart.join(", "),
            "configuration read again"
        ),
        Err(error) => error!("the configuration was not changed: {error}"),
    }
}
