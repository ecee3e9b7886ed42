//! HTTP/2 frames (RFC 9113 §4.1), told apart without a look at bodies.

/// The header of every frame.
const HEADER: usize = 9;
/// What is kept of a frame's content: all of those that are of use here.
const KEPT: usize = 8;

/// DATA, with the flag END_STREAM (§6.1), which HEADERS has as well (§6.2).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
/// RST_STREAM (§6.4).
pub(super) const RST_STREAM: u8 = 3;
/// SETTINGS, with the flag ACK (§6.5).
pub(super) const SETTINGS: u8 = 4;
/// PING, with the flag ACK (§6.7).
pub(super) const PING: u8 = 6;
/// GOAWAY (§6.8).
pub(super) const GOAWAY: u8 = 7;
/// WINDOW_UPDATE (§6.9).
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const ACK: u8 = 1;

/// A frame that has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// The first bytes of its content; zeros where it has fewer.
    pub(super) content: [u8; KEPT],
}

/// Where in its frames a connection is.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    header: [u8; HEADER],
    /// Bytes of the header that came.
    have: usize,
    content: [u8; KEPT],
    /// Of the content: what it has, and what came of it. Told once the header is whole.
    length: usize,
    came: usize,
}

impl Scanner {
    /// Takes the next bytes, and tells `sink` each frame that ends in them.
    pub(super) fn scan(&mut self, mut bytes: &[u8], mut sink: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if let Some(room) = self.header.get_mut(self.have..).filter(|r| !r.is_empty()) {
                let count = room.len().min(bytes.len());
                let (now, later) = bytes.split_at(count);
                room.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
                self.have += count;
                bytes = later;
                if self.have < HEADER {
                    return;
                }
                let [l2, l1, l0, ..] = self.header;
                self.length = u32::from_be_bytes([0, l2, l1, l0]) as usize;
                (self.came, self.content) = (0, [0; KEPT]);
            }
            let count = (self.length - self.came).min(bytes.len());
            let (now, later) = bytes.split_at(count);
            let room = self.content.get_mut(self.came..).unwrap_or_default();
            room.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            self.came += count;
            bytes = later;
            if self.came == self.length {
                self.have = 0;
                let [_, _, _, kind, flags, s3, s2, s1, s0] = self.header;
                sink(Frame {
                    kind,
                    flags,
                    // The first bit is reserved.
                    stream: u32::from_be_bytes([s3 & 0x7f, s2, s1, s0]),
                    content: self.content,
                });
            }
        }
    }
}

/// Appends a frame of at most 255 bytes of content.
pub(super) fn write(kind: u8, flags: u8, stream: u32, content: &[u8], out: &mut Vec<u8>) {
    let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
    out.extend_from_slice(&[0, 0, length, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(content.get(..usize::from(length)).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_at_any_split() {
        let mut bytes = Vec::new();
        write(DATA, 0, 3, &[9; 200], &mut bytes);
        write(SETTINGS, ACK, 0, &[], &mut bytes);
        write(PING, 0, 0, b"12345678", &mut bytes);
        write(RST_STREAM, 0, 5, &8u32.to_be_bytes(), &mut bytes);
        for size in [1, 2, 9, 10, 100, bytes.len()] {
            let (mut scanner, mut seen) = (Scanner::default(), Vec::new());
            for piece in bytes.chunks(size) {
                scanner.scan(piece, |frame| {
                    seen.push((frame.kind, frame.flags, frame.stream, frame.content));
                });
            }
            assert_eq!(
                seen,
                [
                    (DATA, 0, 3, [9; 8]),
                    (SETTINGS, ACK, 0, [0; 8]),
                    (PING, 0, 0, *b"12345678"),
                    (RST_STREAM, 0, 5, [0, 0, 0, 8, 0, 0, 0, 0]),
                ]
            );
        }
    }
}
