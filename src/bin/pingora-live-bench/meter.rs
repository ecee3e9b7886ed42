//! What a load cost the server, and what it cost the one who made it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::process::Usage;

/// Looks at a server's process before, at the beginning of and after a measurement.
pub(crate) struct Meter {
    pid: Option<u32>,
    idle: Option<Usage>,
    begin: Instant,
    server: Option<Usage>,
    own: Usage,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cost {
    /// How long was measured.
    pub(crate) seconds: f64,
    /// Of one core, by this tool.
    pub(crate) own_cpu_percent: f64,
    /// The server's, where its process was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<ServerCost>,
}

/// A server's cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ServerCost {
    /// Of one core.
    pub(crate) cpu_percent: f64,
    /// Microseconds of processor time a second for each client.
    pub(crate) cpu_us_per_client: f64,
    /// Seconds of processor time for each 10^9 bytes.
    pub(crate) cpu_s_per_gb: f64,
    /// Resident, in bytes.
    pub(crate) memory: u64,
    /// What it has more than before the clients came, for each of them, in bytes.
    pub(crate) memory_per_client: f64,
}

impl Meter {
    /// Looks for the first time, before any client comes.
    pub(crate) fn new(pid: Option<u32>) -> Self {
        Self {
            pid,
            idle: pid.and_then(Usage::of),
            begin: Instant::now(),
            server: None,
            own: Usage::default(),
        }
    }

    /// The measurement begins.
    pub(crate) fn begin(&mut self) {
        self.server = self.pid.and_then(Usage::of);
        self.own = Usage::own();
        self.begin = Instant::now();
    }

    /// The measurement ends. In it, `bytes` were moved in `client_seconds` by the clients, of whom there are `clients` still.
    pub(crate) fn end(&self, clients: u64, client_seconds: f64, bytes: u64) -> Cost {
        let seconds = self.begin.elapsed().as_secs_f64();
        let server = self.pid.and_then(Usage::of);
        let own = Usage::own();
        let percent = |before: Duration, after: Duration| {
            after.saturating_sub(before).as_secs_f64() / seconds * 100.0
        };
        let clients = clients.max(1) as f64;
        let server = match (self.idle, self.server, server) {
            (Some(idle), Some(before), Some(after)) => {
                let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
                Some(ServerCost {
                    cpu_percent: percent(before.cpu, after.cpu),
                    cpu_us_per_client: per(cpu * 1e6, client_seconds),
                    cpu_s_per_gb: cpu / (bytes.max(1) as f64 / 1e9),
                    memory: after.memory,
                    memory_per_client: after.memory.saturating_sub(idle.memory) as f64 / clients,
                })
            }
            _ => None,
        };
        Cost {
            seconds,
            own_cpu_percent: percent(self.own.cpu, own.cpu),
            server,
        }
    }
}

/// So much in each second of a client; 0 where there was none.
pub(crate) fn per(what: f64, client_seconds: f64) -> f64 {
    if client_seconds > 0.0 {
        what / client_seconds
    } else {
        0.0
    }
}

/// Who is there, and for how long they were since the measurement began: clients that leave in its midst count for what they had of it.
#[derive(Debug, Default)]
pub(crate) struct Attendance {
    present: AtomicU64,
    /// When the measurement began.
    begin: OnceLock<Instant>,
    /// Of those who left, less what those missed who came late, in microseconds.
    micros: AtomicI64,
}

impl Attendance {
    /// Of whom there are now.
    pub(crate) fn present(&self) -> u64 {
        self.present.load(Ordering::Relaxed)
    }

    /// The measurement begins.
    pub(crate) fn measure(&self, now: Instant) {
        let _ = self.begin.set(now);
    }

    /// One came.
    pub(crate) fn come(&self, now: Instant) {
        self.present.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_sub(self.since(now), Ordering::Relaxed);
    }

    /// One left.
    pub(crate) fn leave(&self, now: Instant) {
        self.present.fetch_sub(1, Ordering::Relaxed);
        self.micros.fetch_add(self.since(now), Ordering::Relaxed);
    }

    /// Seconds of all clients together, from the beginning of the measurement to `now`.
    pub(crate) fn client_seconds(&self, now: Instant) -> f64 {
        let present = self.present() as f64 * self.since(now) as f64;
        (present + self.micros.load(Ordering::Relaxed) as f64) / 1e6
    }

    fn since(&self, now: Instant) -> i64 {
        let begin = self.begin.get().copied().unwrap_or(now);
        i64::try_from(now.saturating_duration_since(begin).as_micros()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_count_for_as_long_as_they_are_there() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let clients = Attendance::default();
        for _ in 0..3 {
            clients.come(at(0));
        }
        clients.leave(at(5));
        clients.measure(at(10));
        assert_eq!(clients.client_seconds(at(11)), 2.0);
        clients.come(at(12));
        clients.leave(at(13));
        // 3 s of one that left, 7 s of one that stayed, 5 s of one that came late.
        assert_eq!(clients.client_seconds(at(17)), 3.0 + 7.0 + 5.0);
        clients.leave(at(17));
        clients.leave(at(17));
        assert_eq!(clients.client_seconds(at(100)), 15.0);
        assert_eq!(per(30.0, clients.client_seconds(at(100))), 2.0);
        assert_eq!(per(30.0, 0.0), 0.0);
    }
}
