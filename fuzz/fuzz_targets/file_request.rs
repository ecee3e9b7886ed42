//! A request for a file: the path names nothing outside of the folder and is written as it was read; a range lies in the file; a place
//! to start at is one.
//!
//! Input, a line each: the file's size, the path, the query, and headers that begin with the letter of their name.

#![no_main]

use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, header};
use libfuzzer_sys::fuzz_target;
use pingora_live::files::condition::{Validators, Verdict, judge};
use pingora_live::files::path::FilePath;
use pingora_live::files::seek::Seek;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let (Some(size), Some(path), Some(query)) = (lines.next(), lines.next(), lines.next()) else {
        return;
    };
    let size: u64 = size.parse().unwrap_or_default();
    if let Ok(read) = FilePath::parse(path) {
        for name in read.names() {
            let name = name.as_bytes();
            assert!(!name.is_empty() && name[0] != b'.');
            assert!(name.iter().all(|byte| *byte != b'/' && *byte >= b' '));
        }
        assert_eq!(FilePath::parse(&read.to_string()), Ok(read));
    }
    if let Ok(Some(seek)) = Seek::from_query(query) {
        assert!(!matches!(seek, Seek::Byte(0) | Seek::Time(0)));
    }
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some((letter, value)) = line.split_at_checked(1) else {
            continue;
        };
        let name = match letter {
            "r" => header::RANGE,
            "i" => header::IF_RANGE,
            "m" => header::IF_MATCH,
            "n" => header::IF_NONE_MATCH,
            "s" => header::IF_MODIFIED_SINCE,
            "u" => header::IF_UNMODIFIED_SINCE,
            _ => continue,
        };
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    }
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let ours = Validators {
        tag: "\"a-3e8\"".to_owned(),
        modified,
    };
    let now = modified + Duration::from_secs(60);
    match judge(&Method::GET, &headers, &ours, size, now) {
        Verdict::Part { from, len } => {
            assert!(len > 0 && from.checked_add(len).is_some_and(|end| end <= size));
            assert!(headers.contains_key(header::RANGE));
        }
        Verdict::Unsatisfiable => assert!(headers.contains_key(header::RANGE)),
        Verdict::Whole | Verdict::NotModified | Verdict::PreconditionFailed => {}
    }
    assert!(!matches!(
        judge(&Method::HEAD, &headers, &ours, size, now),
        Verdict::Part { .. } | Verdict::Unsatisfiable
    ));
});
