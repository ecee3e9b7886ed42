//! How many descriptors the process may have, and room for them.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Room is made for at most this many descriptors: 512 KiB of the kernel's memory.
const MOST: u64 = 65_536;

/// Raises the soft limit of open files to the hard one, which is returned.
///
/// # Errors
/// What the kernel says.
pub fn raise() -> io::Result<u64> {
    let mut limit = limit()?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the call is given a valid pointer to an rlimit.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => Ok(limit.rlim_max),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the kernel make room for `count` descriptors, within the soft limit, now.
///
/// It has a table of a process's descriptors that it doubles when it is full (at 64, 128, 256 of them and so on), and where there are
/// threads, the one that needs the new descriptor then sleeps until no processor looks at the old table any more (`synchronize_rcu` in
/// `expand_fdtable`): 9 to 15 ms on an idle machine of two cores, in which a worker writes to none of its players and accepts nobody.
///
/// # Errors
/// What the kernel says. Nothing is lost but that time.
pub fn make_room(count: u64) -> io::Result<()> {
    let highest = count.min(MOST).min(limit()?.rlim_cur).saturating_sub(1);
    let highest = libc::c_int::try_from(highest).unwrap_or(libc::c_int::MAX);
    let any = File::open("/dev/null")?;
    // SAFETY: the descriptor is open, and the new one belongs to nobody else.
    unsafe {
        match libc::fcntl(any.as_raw_fd(), libc::F_DUPFD_CLOEXEC, highest) {
            -1 => Err(io::Error::last_os_error()),
            high => {
                drop(OwnedFd::from_raw_fd(high));
                Ok(())
            }
        }
    }
}

fn limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call is given a valid, exclusive pointer to an rlimit.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table_size() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("the process's status");
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        size.expect("a size").trim().parse().expect("a number")
    }

    #[test]
    fn the_table_has_room_before_it_is_needed() {
        let soft = limit().expect("a limit").rlim_cur;
        let wanted = 2000.min(soft);
        make_room(wanted).expect("room");
        assert!(table_size() >= wanted, "{} of {wanted}", table_size());
        // More than may be is as much as may be.
        make_room(u64::MAX).expect("room");
        assert!(table_size() >= soft.min(MOST), "{}", table_size());
    }
}
