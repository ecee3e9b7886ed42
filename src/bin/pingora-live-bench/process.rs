//! What a process has used, from `/proc`.

use std::fs;
use std::time::Duration;

/// Processor time and memory of a process up to now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system, of all its threads.
    pub(crate) cpu: Duration,
    /// Resident, in bytes.
    pub(crate) memory: u64,
}

impl Usage {
    /// Of the process `pid`; nothing when it is gone.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::read(&format!("/proc/{pid}"))
    }

    /// Of this process.
    pub(crate) fn own() -> Self {
        Self::read("/proc/self").unwrap_or_default()
    }

    fn read(folder: &str) -> Option<Self> {
        let status = fs::read_to_string(format!("{folder}/status")).ok()?;
        let kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        Some(Self {
            cpu: by_thread(folder).or_else(|| by_ticks(folder))?,
            memory: kib * 1024,
        })
    }
}

/// Processor time of this thread up to now, to the nanosecond: what `/proc` says of it is as old as its last turn.
pub(crate) fn thread_cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the clock is there on every Linux, and writes one timespec, which lives until it returns.
    #[allow(unsafe_code)]
    let _ = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let part = |part: i64| u64::try_from(part).unwrap_or_default();
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

/// The scheduler's own account, in nanoseconds, where the kernel keeps one.
fn by_thread(folder: &str) -> Option<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("{folder}/task")).ok()? {
        let path = thread.ok()?.path().join("schedstat");
        // A thread may end between the two looks.
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        nanos += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

/// In ticks of 10 ms.
fn by_ticks(folder: &str) -> Option<Duration> {
    let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
    // proc(5): the name is in brackets and may hold anything; utime and stime are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Some(Duration::from_millis(ticks * 10))
}
