//! The bytes of an answer: what was made for it, then what stands in the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::seek::Cut;

/// A part of a file, or of a file that was cut at a keyframe.
#[derive(Debug)]
pub struct Body {
    file: File,
    /// Stands before the bytes of the file.
    head: Bytes,
    /// Where the file's bytes begin.
    from: u64,
    /// The next byte, counted from the head's first.
    at: u64,
    left: u64,
}

impl Body {
    pub(super) fn new(file: File, cut: Option<Cut>, at: u64, left: u64) -> Self {
        let Cut { head, from } = cut.unwrap_or_default();
        Self {
            file,
            head,
            from,
            at,
            left,
        }
    }

    /// Bytes that are still to be read.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes, `most` at most; empty only at the end. Blocks.
    ///
    /// # Errors
    /// Those of reading the file; [`io::ErrorKind::UnexpectedEof`] when it has become shorter than it was.
    pub fn read(&mut self, most: usize) -> io::Result<Bytes> {
        let size = usize::try_from(self.left).unwrap_or(usize::MAX).min(most);
        let head = usize::try_from(self.at)
            .ok()
            .and_then(|at| self.head.get(at..))
            .unwrap_or_default();
        let bytes = if head.is_empty() {
            let made = self.head.len() as u64;
            let mut bytes = vec![0; size];
            let at = self.at.saturating_sub(made).saturating_add(self.from);
            self.file.read_exact_at(&mut bytes, at)?;
            Bytes::from(bytes)
        } else {
            self.head.slice_ref(head.get(..size).unwrap_or(head))
        };
        self.at = self.at.saturating_add(bytes.len() as u64);
        self.left = self.left.saturating_sub(bytes.len() as u64);
        Ok(bytes)
    }
}
