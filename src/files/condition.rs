//! What a request's conditions and ranges leave of a file: RFC 9110 §13 and §14.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, Method, header};

/// How old a file must be for its time to tell all its versions apart, since HTTP's dates have whole seconds (RFC 9110 §8.8.2.2).
const STRONG_AFTER: Duration = Duration::from_secs(1);
/// Ranges of one request that are looked at. More are an attack on servers that send each of them; the whole file is given.
const MAX_RANGES: usize = 16;

/// What tells the versions of a file apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validators {
    /// A strong entity tag, with its quotes.
    pub tag: String,
    /// When it was changed last.
    pub modified: SystemTime,
}

/// What is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 200.
    Whole,
    /// 206: `len` bytes from `from` on, at least one.
    Part {
        /// The first byte.
        from: u64,
        /// How many.
        len: u64,
    },
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    Unsatisfiable,
}

/// Judges a GET or HEAD of `size` bytes.
///
/// Of several ranges, those that lie beyond the end are passed over; if one remains it is given, if several do the whole file is
/// (RFC 9110 §14.2 leaves that to the server).
pub fn judge(
    method: &Method,
    headers: &HeaderMap,
    ours: &Validators,
    size: u64,
    now: SystemTime,
) -> Verdict {
    let date = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| httpdate::parse_http_date(v).ok())
    };
    // The order is that of RFC 9110 §13.2.2.
    if headers.contains_key(header::IF_MATCH) {
        if !names_tag(headers, header::IF_MATCH, |tag| tag == ours.tag) {
            return Verdict::PreconditionFailed;
        }
    } else if date(header::IF_UNMODIFIED_SINCE)
        .is_some_and(|date| seconds(ours.modified) > seconds(date))
    {
        return Verdict::PreconditionFailed;
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        // §13.1.2: compared weakly.
        if names_tag(headers, header::IF_NONE_MATCH, |tag| {
            tag.strip_prefix("W/").unwrap_or(tag) == ours.tag
        }) {
            return Verdict::NotModified;
        }
    } else if date(header::IF_MODIFIED_SINCE)
        .is_some_and(|date| seconds(ours.modified) <= seconds(date))
    {
        return Verdict::NotModified;
    }
    // §14.2: only GET has ranges.
    if method != Method::GET {
        return Verdict::Whole;
    }
    let Some(range) = headers.get(header::RANGE).and_then(|v| v.to_str().ok()) else {
        return Verdict::Whole;
    };
    if let Some(if_range) = headers.get(header::IF_RANGE) {
        // §13.1.5: compared strongly, a date by being the very same.
        let same = if_range
            .to_str()
            .is_ok_and(|value| match httpdate::parse_http_date(value) {
                Ok(date) => {
                    let settled = now
                        .duration_since(ours.modified)
                        .is_ok_and(|age| age >= STRONG_AFTER);
                    settled && seconds(date) == seconds(ours.modified)
                }
                Err(_) => value == ours.tag,
            });
        if !same {
            return Verdict::Whole;
        }
    }
    ranges(range, size)
}

/// Seconds since 1970, as far as HTTP's dates tell times apart.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Whether the list of tags in a header, or its `*`, has one that matches. A tag of ours holds no comma.
fn names_tag(headers: &HeaderMap, name: HeaderName, matches: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    values
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || matches(tag))
}

/// RFC 9110 §14.1.2. What is no range of bytes is as if it were not there (§14.2).
fn ranges(value: &str, size: u64) -> Verdict {
    let Some((unit, set)) = value.split_once('=') else {
        return Verdict::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Verdict::Whole;
    }
    let (mut seen, mut found) = (0, None);
    for range in set
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
    {
        seen += 1;
        match one(range, size) {
            _ if seen > MAX_RANGES => return Verdict::Whole,
            None => return Verdict::Whole,
            Some(Part::Beyond) => {}
            Some(Part::At(..)) if found.is_some() => return Verdict::Whole,
            Some(Part::At(from, len)) => found = Some((from, len)),
        }
    }
    match found {
        Some((_, 0)) => Verdict::Whole,
        Some((from, len)) => Verdict::Part { from, len },
        None if seen > 0 => Verdict::Unsatisfiable,
        None => Verdict::Whole,
    }
}

enum Part {
    At(u64, u64),
    Beyond,
}

/// `1-5`, `1-` or `-5`; None when it is none of these.
fn one(range: &str, size: u64) -> Option<Part> {
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A number that is too large is still a number: far beyond the end.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    if first.is_empty() {
        let suffix = number(last)?.min(size);
        return Some(match number(last)? {
            0 => Part::Beyond,
            _ => Part::At(size.saturating_sub(suffix), suffix),
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        number(last)?
    };
    if last < first {
        return None;
    }
    if first >= size {
        return Some(Part::Beyond);
    }
    let last = last.min(size.saturating_sub(1));
    Some(Part::At(
        first,
        last.saturating_sub(first).saturating_add(1),
    ))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::HeaderValue;

    use super::*;

    const SIZE: u64 = 1000;

    fn ours() -> Validators {
        Validators {
            tag: "\"a-3e8\"".to_owned(),
            // Half a second past a date: the fraction must not make it newer than itself.
            modified: UNIX_EPOCH + Duration::from_millis(784_111_777_500),
        }
    }

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[track_caller]
    fn check(method: &Method, headers: &[(HeaderName, &str)], expected: Verdict) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let now = ours().modified + Duration::from_secs(60);
        assert_eq!(
            judge(method, &map, &ours(), SIZE, now),
            expected,
            "{method} {headers:?}"
        );
    }

    #[test]
    fn ranges_of_bytes() {
        let part = |from, len| Verdict::Part { from, len };
        for (range, expected) in [
            ("bytes=0-99", part(0, 100)),
            ("bytes=0-0", part(0, 1)),
            ("Bytes=10-", part(10, 990)),
            ("bytes=999-", part(999, 1)),
            ("bytes=-1", part(999, 1)),
            ("bytes=-5000", part(0, 1000)),
            ("bytes=5-5000", part(5, 995)),
            ("bytes=5-99999999999999999999999", part(5, 995)),
            ("bytes= 0-1 ", part(0, 2)),
            ("bytes=1000-", Verdict::Unsatisfiable),
            ("bytes=99999999999999999999999-", Verdict::Unsatisfiable),
            ("bytes=-0", Verdict::Unsatisfiable),
            ("bytes=2000-3000,4000-", Verdict::Unsatisfiable),
            ("bytes=2000-3000,1-2", part(1, 2)),
            ("bytes=0-1,5-6", Verdict::Whole),
            ("bytes=5-4", Verdict::Whole),
            ("bytes=", Verdict::Whole),
            ("bytes=-", Verdict::Whole),
            ("bytes=a-b", Verdict::Whole),
            ("bytes=+1-2", Verdict::Whole),
            ("bytes 0-1", Verdict::Whole),
            ("seconds=0-1", Verdict::Whole),
        ] {
            check(&Method::GET, &[(header::RANGE, range)], expected);
            check(&Method::HEAD, &[(header::RANGE, range)], Verdict::Whole);
        }
        let many = format!("bytes={}", "2000-,".repeat(100));
        check(&Method::GET, &[(header::RANGE, &many)], Verdict::Whole);
    }

    #[test]
    fn an_empty_file_has_no_ranges() {
        for (range, expected) in [
            ("bytes=0-", Verdict::Unsatisfiable),
            ("bytes=-5", Verdict::Whole),
        ] {
            assert_eq!(ranges(range, 0), expected, "{range}");
        }
    }

    #[test]
    fn conditions() {
        use header::{
            IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
        };
        let (whole, part) = (Verdict::Whole, Verdict::Part { from: 0, len: 10 });
        let (same, failed) = (Verdict::NotModified, Verdict::PreconditionFailed);
        for (headers, expected) in [
            (&[(IF_NONE_MATCH, "\"a-3e8\"")][..], same),
            (&[(IF_NONE_MATCH, "W/\"a-3e8\"")][..], same),
            (&[(IF_NONE_MATCH, "\"x\", \"a-3e8\"")][..], same),
            (
                &[(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "\"a-3e8\"")][..],
                same,
            ),
            (&[(IF_NONE_MATCH, "*")][..], same),
            (&[(IF_NONE_MATCH, "\"x\"")][..], whole),
            // The tag counts alone when both are there.
            (
                &[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, AFTER)][..],
                whole,
            ),
            (&[(IF_MODIFIED_SINCE, DATE)][..], same),
            (&[(IF_MODIFIED_SINCE, AFTER)][..], same),
            (&[(IF_MODIFIED_SINCE, BEFORE)][..], whole),
            (&[(IF_MODIFIED_SINCE, "yesterday")][..], whole),
            (&[(IF_MATCH, "\"a-3e8\"")][..], whole),
            (&[(IF_MATCH, "*")][..], whole),
            (&[(IF_MATCH, "W/\"a-3e8\"")][..], failed),
            (&[(IF_MATCH, "\"x\"")][..], failed),
            (&[(IF_UNMODIFIED_SINCE, DATE)][..], whole),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)][..], failed),
            (&[(RANGE, "bytes=0-9"), (IF_RANGE, "\"a-3e8\"")][..], part),
            (
                &[(RANGE, "bytes=0-9"), (IF_RANGE, "W/\"a-3e8\"")][..],
                whole,
            ),
            (&[(RANGE, "bytes=0-9"), (IF_RANGE, "\"x\"")][..], whole),
            (&[(RANGE, "bytes=0-9"), (IF_RANGE, DATE)][..], part),
            (&[(RANGE, "bytes=0-9"), (IF_RANGE, AFTER)][..], whole),
            (
                &[(RANGE, "bytes=0-9"), (IF_NONE_MATCH, "\"a-3e8\"")][..],
                same,
            ),
        ] {
            check(&Method::GET, headers, expected);
        }
    }

    #[test]
    fn the_date_of_a_file_that_is_being_written_is_no_proof() {
        let mut map = HeaderMap::new();
        map.insert(header::RANGE, HeaderValue::from_static("bytes=0-9"));
        map.insert(header::IF_RANGE, HeaderValue::from_static(DATE));
        let now = ours().modified + Duration::from_millis(100);
        assert_eq!(
            judge(&Method::GET, &map, &ours(), SIZE, now),
            Verdict::Whole
        );
    }
}
