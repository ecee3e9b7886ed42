//! Durations, sizes and switches as people write them, and back.

use std::time::Duration;

/// Why a text is not what it should be: what was probably meant, if that can be guessed.
pub(super) type Guess = Option<String>;

/// Units of time, largest first, in milliseconds.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// Units of size, largest first of each family, in bytes: IEC 80000-13 binary units, then SI ones.
const SIZES: [(&str, u64); 6] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

/// Reads `10s`, `350ms`, `2m`, `1h` or `0`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, Guess> {
    let (digits, unit) = split(text);
    if let Some((_, ms)) = TIMES.iter().find(|(name, _)| *name == unit) {
        let count: u64 = digits.parse().map_err(|_| None)?;
        let ms = count.checked_mul(*ms).ok_or(None)?;
        return Ok(Duration::from_millis(ms));
    }
    if unit.is_empty() && !digits.is_empty() {
        // A bare number is seconds in some of SRS's keys and milliseconds in others: only nothing needs no unit.
        return match digits.trim_start_matches('0') {
            "" => Ok(Duration::ZERO),
            _ => Err(Some(format!(
                "a number needs its unit: {digits}s or {digits}ms"
            ))),
        };
    }
    let known = match unit.to_ascii_lowercase().trim() {
        "h" | "hour" | "hours" => Some("h"),
        "m" | "min" | "minute" | "minutes" => Some("m"),
        "s" | "sec" | "second" | "seconds" => Some("s"),
        "ms" | "msec" | "millis" | "milliseconds" => Some("ms"),
        _ => None,
    };
    Err(known
        .filter(|_| !digits.is_empty())
        .map(|unit| format!("write {digits}{unit}")))
}

/// Writes a duration with the largest unit that takes no fraction. Less than a millisecond is cut.
pub(super) fn show_duration(value: Duration) -> String {
    let ms = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    match TIMES
        .iter()
        .find(|(_, unit)| ms != 0 && ms.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", ms / unit),
        None => "0s".to_owned(),
    }
}

/// Reads `64KiB`, `32MiB`, `512KB` or plain bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, Guess> {
    let (digits, unit) = split(text);
    let factor = match SIZES.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None => {
            let known = match unit.to_ascii_lowercase().trim() {
                "k" | "kib" => Some("KiB"),
                "m" | "mib" => Some("MiB"),
                "g" | "gib" => Some("GiB"),
                "kb" => Some("KB"),
                "mb" => Some("MB"),
                "gb" => Some("GB"),
                _ => None,
            };
            return Err(known
                .filter(|_| !digits.is_empty())
                .map(|unit| format!("write {digits}{unit}")));
        }
    };
    let count: u64 = digits.parse().map_err(|_| None)?;
    count.checked_mul(factor).ok_or(None)
}

/// Writes a size with the largest binary unit that takes no fraction, else in bytes.
pub(super) fn show_size(value: u64) -> String {
    let binary = SIZES.iter().filter(|(name, _)| name.ends_with("iB"));
    match binary
        .into_iter()
        .find(|(_, unit)| value != 0 && value.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", value / unit),
        None => value.to_string(),
    }
}

/// Reads `on`, `off`, `true` or `false`, in any case.
pub(super) fn parse_switch(text: &str) -> Result<bool, Guess> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        "yes" | "1" => Err(Some("write on".to_owned())),
        "no" | "0" => Err(Some("write off".to_owned())),
        _ => Err(None),
    }
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess<T>(text: &str) -> Result<T, Guess> {
        Err(Some(text.to_owned()))
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("0", 0),
            ("00", 0),
            ("0s", 0),
            ("0ms", 0),
            ("1ms", 1),
            ("350ms", 350),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("90m", 5_400_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "-1s",
            "1.5s",
            " 1s",
            "1d",
            "1m30s",
            "ten",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(text), Err(None), "{text}");
        }
        assert_eq!(
            parse_duration("10"),
            guess("a number needs its unit: 10s or 10ms")
        );
        assert_eq!(parse_duration("10 s"), guess("write 10s"));
        assert_eq!(parse_duration("10s "), guess("write 10s"));
        assert_eq!(parse_duration("10S"), guess("write 10s"));
        assert_eq!(parse_duration("10 seconds"), guess("write 10s"));
        assert_eq!(parse_duration("5min"), guess("write 5m"));
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64KiB", 65_536),
            ("32MiB", 33_554_432),
            ("1GiB", 1 << 30),
            ("512KB", 512_000),
            ("3MB", 3_000_000),
            ("2GB", 2_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "KiB",
            "-1",
            "1.5MiB",
            "1TB",
            "18446744073709551615GiB",
            "99999999999999999999",
        ] {
            assert_eq!(parse_size(text), Err(None), "{text}");
        }
        assert_eq!(parse_size("64k"), guess("write 64KiB"));
        assert_eq!(parse_size("64 KiB"), guess("write 64KiB"));
        assert_eq!(parse_size("32mb"), guess("write 32MB"));
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for ms in [
            0, 1, 999, 1000, 1500, 60_000, 61_000, 3_600_000, 5_400_000, 86_400_000,
        ] {
            let value = Duration::from_millis(ms);
            assert_eq!(parse_duration(&show_duration(value)), Ok(value));
        }
        for bytes in [0, 1, 1000, 1023, 1024, 512_000, 524_288, 1 << 30, u64::MAX] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_duration(Duration::from_secs(120)), "2m");
        assert_eq!(show_size(512 << 10), "512KiB");
        assert_eq!(show_size(512_000), "500KiB");
    }

    #[test]
    fn switches() {
        for (text, value) in [
            ("on", true),
            ("ON", true),
            ("true", true),
            ("off", false),
            ("Off", false),
            ("False", false),
        ] {
            assert_eq!(parse_switch(text), Ok(value), "{text}");
        }
        assert_eq!(parse_switch("yes"), guess("write on"));
        assert_eq!(parse_switch("0"), guess("write off"));
        assert_eq!(parse_switch("enabled"), Err(None));
    }
}
