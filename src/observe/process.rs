//! What the kernel says of the process and the machine (proc(5)). Figures that cannot be read are 0.

use std::fs;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Rates are those since the last look, but never over less than this.
const SHORTEST: Duration = Duration::from_secs(1);
/// Clock ticks a second, in which the kernel tells processor time: 100 on every Linux of today.
const TICKS: f64 = 100.0;
/// A sector of `/proc/diskstats`, in bytes, whatever the disk has.
const SECTOR: u64 = 512;

/// Looks at the process now and then.
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// Guards the last two looks; held while the files are read.
    looks: Mutex<Option<(Look, Look)>>,
}

/// Counts at one moment.
#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    /// Processor time of the process, in ticks.
    own: u64,
    /// Of the machine: all, and idle.
    all: u64,
    idle: u64,
    disk: Disk,
}

#[derive(Clone, Copy, Debug, Default)]
struct Disk {
    sectors_read: u64,
    sectors_written: u64,
    busy_ms: u64,
}

/// The figures, named as SRS names them where it has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) ppid: u64,
    pub(crate) resident_kib: u64,
    pub(crate) virtual_kib: u64,
    pub(crate) threads: u64,
    pub(crate) open_files: u64,
    pub(crate) max_files: u64,
    /// User and system, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Of one processor, 0 to 100 for each.
    pub(crate) cpu_percent: f64,
    pub(crate) system_cpu_percent: f64,
    /// Since 1970, in seconds.
    pub(crate) started_at: f64,
    pub(crate) memory_kib: u64,
    pub(crate) memory_free_kib: u64,
    pub(crate) swap_kib: u64,
    pub(crate) swap_free_kib: u64,
    pub(crate) processors: u64,
    pub(crate) uptime_seconds: f64,
    pub(crate) idle_seconds: f64,
    pub(crate) load: [f64; 3],
    pub(crate) disk_read_kbps: u64,
    pub(crate) disk_written_kbps: u64,
    pub(crate) disk_busy_percent: f64,
    /// Of all interfaces but the loopback, and of the loopback.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) received_inside: u64,
    pub(crate) sent_inside: u64,
    pub(crate) sockets_tcp: u64,
    pub(crate) sockets_tcp_waiting: u64,
    pub(crate) sockets_udp: u64,
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The number after a name, as in `VmRSS:   123 kB`.
fn named(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

fn numbers<T: std::str::FromStr + Default>(line: &str) -> Vec<T> {
    line.split_whitespace()
        .map(|word| word.parse().unwrap_or_default())
        .collect()
}

/// The fields of `/proc/self/stat` from the third on.
fn stat() -> Vec<u64> {
    let text = text("/proc/self/stat");
    numbers(text.rsplit(')').next().unwrap_or_default())
}

fn field(fields: &[u64], place: usize) -> u64 {
    // The third is the first behind the name.
    fields
        .get(place.saturating_sub(3))
        .copied()
        .unwrap_or_default()
}

impl Look {
    fn new() -> Self {
        let fields = stat();
        let cpu: Vec<u64> = text("/proc/stat")
            .lines()
            .next()
            .map(|line| numbers(line.trim_start_matches("cpu")))
            .unwrap_or_default();
        let mut disk = Disk::default();
        for line in text("/proc/diskstats").lines() {
            let name = line.split_whitespace().nth(2).unwrap_or_default();
            // Disks, not their parts nor what is made of memory.
            if !fs::exists(format!("/sys/block/{name}/device")).unwrap_or(false) {
                continue;
            }
            let fields: Vec<u64> = numbers(line);
            let at = |place: usize| fields.get(place).copied().unwrap_or_default();
            disk.sectors_read += at(5);
            disk.sectors_written += at(9);
            disk.busy_ms += at(12);
        }
        Self {
            at: Instant::now(),
            own: field(&fields, 14) + field(&fields, 15),
            all: cpu.iter().take(8).sum(),
            idle: cpu.get(3).copied().unwrap_or_default() + cpu.get(4).copied().unwrap_or_default(),
            disk,
        }
    }
}

impl Process {
    /// The figures now.
    pub(crate) fn figures(&self) -> Figures {
        let status = text("/proc/self/status");
        let memory = text("/proc/meminfo");
        let uptime: Vec<f64> = numbers(&text("/proc/uptime"));
        let load: Vec<f64> = numbers(&text("/proc/loadavg"));
        let sockets = text("/proc/net/sockstat");
        let fields = stat();
        let mut figures = Figures {
            ppid: named(&status, "PPid:"),
            resident_kib: named(&status, "VmRSS:"),
            virtual_kib: named(&status, "VmSize:"),
            threads: named(&status, "Threads:"),
            open_files: fs::read_dir("/proc/self/fd").map_or(0, |list| list.count() as u64),
            max_files: named(&text("/proc/self/limits"), "Max open files"),
            cpu_seconds: (field(&fields, 14) + field(&fields, 15)) as f64 / TICKS,
            started_at: named(&text("/proc/stat"), "btime") as f64
                + field(&fields, 22) as f64 / TICKS,
            memory_kib: named(&memory, "MemTotal:"),
            memory_free_kib: named(&memory, "MemAvailable:"),
            swap_kib: named(&memory, "SwapTotal:"),
            swap_free_kib: named(&memory, "SwapFree:"),
            processors: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
            uptime_seconds: uptime.first().copied().unwrap_or_default(),
            idle_seconds: uptime.get(1).copied().unwrap_or_default(),
            sockets_tcp: named(&sockets, "TCP: inuse"),
            sockets_tcp_waiting: sockets
                .lines()
                .find_map(|line| line.strip_prefix("TCP:")?.split_once(" tw "))
                .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
                .unwrap_or_default(),
            sockets_udp: named(&sockets, "UDP: inuse"),
            ..Figures::default()
        };
        for (to, from) in figures.load.iter_mut().zip(load) {
            *to = from;
        }
        for line in text("/proc/net/dev").lines() {
            let Some((name, counts)) = line.split_once(':') else {
                continue;
            };
            let counts: Vec<u64> = numbers(counts);
            let received = counts.first().copied().unwrap_or_default();
            let sent = counts.get(8).copied().unwrap_or_default();
            if name.trim() == "lo" {
                figures.received_inside += received;
                figures.sent_inside += sent;
            } else {
                figures.received += received;
                figures.sent += sent;
            }
        }
        self.rates(&mut figures);
        figures
    }

    /// Rates between two looks. The first ones are those since the process began.
    fn rates(&self, figures: &mut Figures) {
        let mut looks = self.looks.lock();
        let now = Look::new();
        let Some((before, last)) = looks.as_mut() else {
            let seconds = figures.uptime_seconds - field(&stat(), 22) as f64 / TICKS;
            if seconds > 0.0 {
                figures.cpu_percent = figures.cpu_seconds / seconds * 100.0;
            }
            let busy = now.all.saturating_sub(now.idle) as f64;
            figures.system_cpu_percent = busy / now.all.max(1) as f64 * 100.0;
            *looks = Some((now.clone(), now));
            return;
        };
        if now.at.saturating_duration_since(last.at) >= SHORTEST {
            *before = std::mem::replace(last, now);
        }
        let seconds = last.at.saturating_duration_since(before.at).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let own = last.own.saturating_sub(before.own) as f64 / TICKS;
        figures.cpu_percent = own / seconds * 100.0;
        let all = last.all.saturating_sub(before.all);
        let idle = last.idle.saturating_sub(before.idle);
        figures.system_cpu_percent = all.saturating_sub(idle) as f64 / all.max(1) as f64 * 100.0;
        let kbps =
            |now: u64, then: u64| (now.saturating_sub(then) * SECTOR) as f64 / 1024.0 / seconds;
        figures.disk_read_kbps = kbps(last.disk.sectors_read, before.disk.sectors_read) as u64;
        figures.disk_written_kbps =
            kbps(last.disk.sectors_written, before.disk.sectors_written) as u64;
        let busy = last.disk.busy_ms.saturating_sub(before.disk.busy_ms) as f64;
        figures.disk_busy_percent = (busy / 10.0 / seconds).min(100.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_memory_files_and_threads() {
        let figures = Process::default().figures();
        assert!(figures.resident_kib > 1000, "{figures:?}");
        assert!(figures.open_files > 2, "{figures:?}");
        assert!(figures.max_files >= figures.open_files, "{figures:?}");
        assert!(figures.threads > 0 && figures.ppid > 0, "{figures:?}");
        assert!(figures.started_at > 1.0e9, "{figures:?}");
        assert!(figures.memory_kib > figures.memory_free_kib, "{figures:?}");
    }
}
