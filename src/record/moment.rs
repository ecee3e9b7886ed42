//! The clock on the wall, for names of files.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Moment;

/// Now, in local time (`TZ`, else the system's).
pub(super) fn now() -> Moment {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let local = local(i64::try_from(since.as_secs()).unwrap_or_default());
    let part = |value: libc::c_int| u32::try_from(value).unwrap_or_default();
    Moment {
        year: local.tm_year + 1900,
        month: part(local.tm_mon) + 1,
        day: part(local.tm_mday),
        hour: part(local.tm_hour),
        minute: part(local.tm_min),
        second: part(local.tm_sec),
        millisecond: since.subsec_millis(),
        timestamp_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    }
}

#[allow(unsafe_code)]
fn local(seconds: i64) -> libc::tm {
    let time: libc::time_t = seconds;
    // SAFETY: `tm` is plain data for which zeroes are valid; both pointers are valid for the call, and localtime_r keeps none. Nobody
    // in this process changes its environment, which it reads.
    unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const time, &raw mut tm);
        tm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_is_plausible() {
        let now = now();
        assert!((2024..3000).contains(&now.year), "{now:?}");
        assert!((1..=12).contains(&now.month) && (1..=31).contains(&now.day));
        assert!(now.hour < 24 && now.minute < 60 && now.second <= 60 && now.millisecond < 1000);
        assert_eq!(now.timestamp_ms % 1000, u64::from(now.millisecond));
    }
}
