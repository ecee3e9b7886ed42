//! Drives the search of [`seek`](super::seek) over a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::seek::{Outcome, Scanner, Seek, Step};

/// What is read of a file at a time when only tag headers are wanted, in bytes: a page.
const WINDOW: usize = 4096;

/// Searches a file of `size` bytes. Blocks.
///
/// # Errors
/// Those of reading the file.
pub(super) fn scan(file: &File, size: u64, seek: Seek) -> io::Result<Outcome> {
    let mut scanner = Scanner::new(size, seek);
    let mut window = Vec::new();
    let mut window_at = 0;
    loop {
        let (at, len) = match scanner.step() {
            Step::Done(outcome) => return Ok(outcome),
            Step::Read { at, len } => (at, len),
        };
        let inside = |window: &[u8], window_at: u64| -> Option<std::ops::Range<usize>> {
            let from = usize::try_from(at.checked_sub(window_at)?).ok()?;
            let to = from.checked_add(len)?;
            (to <= window.len()).then_some(from..to)
        };
        if inside(&window, window_at).is_none() {
            read_at(file, at, len.max(WINDOW), size, &mut window)?;
            window_at = at;
        }
        let range = inside(&window, window_at).unwrap_or(0..window.len().min(len));
        scanner.feed(window.get(range).unwrap_or_default());
    }
}

/// Fills the buffer from `at` on; with less than `len` bytes only where the file ends.
fn read_at(file: &File, at: u64, len: usize, size: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    let left = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
    buffer.resize(len.min(left), 0);
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(())
}
