//! Headers of the PROXY protocol: the same answer however the bytes are split, and nothing taken that is not the header's.
//!
//! Input: one byte that says the size of the pieces, then what comes on the connection.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pingora_live::proxy::protocol::{Announced, HeaderError, HeaderReader};

fn run(bytes: &[u8], step: usize) -> (Result<Option<Announced>, HeaderError>, usize) {
    let mut reader = HeaderReader::new();
    let mut at = 0;
    while at < bytes.len() {
        let wanted = reader.wanted();
        assert!(wanted > 0 && wanted <= usize::from(u16::MAX));
        let end = bytes.len().min(at + wanted.min(step.max(1)));
        let read = reader.feed(&bytes[at..end]);
        at = end;
        if !matches!(read, Ok(None)) {
            return (read, at);
        }
    }
    (Ok(None), at)
}

fuzz_target!(|data: &[u8]| {
    let Some((&step, bytes)) = data.split_first() else {
        return;
    };
    let whole = run(bytes, usize::MAX);
    let split = run(bytes, usize::from(step));
    assert_eq!(whole.0, split.0);
    if let Ok(Some(_)) = whole.0 {
        assert_eq!(whole.1, split.1);
        // What follows changes nothing, and no shorter header says the same.
        assert_eq!(run(&bytes[..whole.1], usize::MAX), whole);
        assert_eq!(run(&bytes[..whole.1 - 1], usize::MAX).0, Ok(None));
    }
});
