//! What a load cost the server, and what it cost the one who made it.

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

    /// The measurement ends. `bytes` were moved in it.
    pub(crate) fn end(&self, clients: u64, bytes: u64) -> Cost {
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
                    cpu_us_per_client: cpu * 1e6 / seconds / clients,
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
