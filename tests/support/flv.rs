//! A small FLV reader and writer, as an oracle that knows nothing of the crate under test.
//! Adobe Flash Video File Format 10.1, annex E; Enhanced RTMP v2 for FourCC tags.

use std::fmt;

pub const AUDIO: u8 = 8;
pub const VIDEO: u8 = 9;
pub const SCRIPT: u8 = 18;

/// One tag: E.4.1.
#[derive(Clone, PartialEq, Eq)]
pub struct Tag {
    pub kind: u8,
    /// The 32-bit timestamp in milliseconds.
    pub dts: u32,
    pub body: Vec<u8>,
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head: Vec<String> = self
            .body
            .iter()
            .take(6)
            .map(|b| format!("{b:02x}"))
            .collect();
        write!(
            f,
            "{}@{} {} bytes {}",
            self.name(),
            self.dts,
            self.body.len(),
            head.join(" ")
        )
    }
}

impl Tag {
    pub fn new(kind: u8, dts: u32, body: &[u8]) -> Tag {
        Tag {
            kind,
            dts,
            body: body.to_vec(),
        }
    }

    fn name(&self) -> &'static str {
        match self.kind {
            AUDIO => "audio",
            VIDEO => "video",
            SCRIPT => "script",
            _ => "unknown",
        }
    }

    fn byte(&self, at: usize) -> u8 {
        self.body.get(at).copied().unwrap_or(0)
    }

    /// Enhanced video: the top bit of the first byte. Enhanced audio: sound format 9.
    pub fn is_enhanced(&self) -> bool {
        match self.kind {
            VIDEO => self.byte(0) & 0x80 != 0,
            AUDIO => self.byte(0) >> 4 == 9,
            _ => false,
        }
    }

    /// The packet type of an enhanced tag, behind what may stand before it: ModEx (7) for video and audio, and Multitrack
    /// (6 for video, 5 for audio).
    fn packet_type(&self) -> u8 {
        let (modex, multitrack) = if self.kind == VIDEO { (7, 6) } else { (7, 5) };
        let (mut kind, mut at) = (self.byte(0) & 0x0f, 1);
        while kind == modex {
            // UI8 size less one (or 255 and UI16), that many bytes, then ModEx type and the packet type that follows.
            let size = match self.byte(at) {
                255 => {
                    at += 2;
                    usize::from(u16::from_be_bytes([self.byte(at - 1), self.byte(at)])) + 1
                }
                size => usize::from(size) + 1,
            };
            at += 1 + size;
            kind = self.byte(at) & 0x0f;
            at += 1;
        }
        if kind == multitrack {
            kind = self.byte(at) & 0x0f;
        }
        kind
    }

    /// A decoder configuration: AVCPacketType 0, AACPacketType 0, or PacketType SequenceStart.
    pub fn is_header(&self) -> bool {
        match (self.kind, self.is_enhanced()) {
            (VIDEO | AUDIO, true) => self.packet_type() == 0,
            (VIDEO, false) => matches!(self.byte(0) & 0x0f, 7 | 12) && self.byte(1) == 0,
            (AUDIO, false) => self.byte(0) >> 4 == 10 && self.byte(1) == 0,
            _ => false,
        }
    }

    /// A coded video frame at which a decoder can start.
    pub fn is_keyframe(&self) -> bool {
        self.kind == VIDEO && (self.byte(0) >> 4) & 0x07 == 1 && self.is_coded()
    }

    /// A coded frame: neither a header nor an end of sequence nor metadata.
    pub fn is_coded(&self) -> bool {
        match (self.kind, self.is_enhanced()) {
            // Video: CodedFrames 1, CodedFramesX 3. Audio: CodedFrames 1.
            (VIDEO, true) => matches!(self.packet_type(), 1 | 3),
            (AUDIO, true) => self.packet_type() == 1,
            (VIDEO, false) => !matches!(self.byte(0) & 0x0f, 7 | 12) || self.byte(1) == 1,
            (AUDIO, false) => self.byte(0) >> 4 != 10 || self.byte(1) == 1,
            _ => false,
        }
    }

    /// The FourCC of an enhanced tag, or the legacy codec number as text.
    pub fn codec(&self) -> String {
        if self.is_enhanced() {
            return String::from_utf8_lossy(self.body.get(1..5).unwrap_or_default()).into_owned();
        }
        let number = if self.kind == VIDEO {
            self.byte(0) & 0x0f
        } else {
            self.byte(0) >> 4
        };
        number.to_string()
    }

    /// The tag and the size that follows it, as they stand in a file.
    pub fn bytes(&self) -> Vec<u8> {
        let size = u32::try_from(self.body.len())
            .expect("a small tag")
            .to_be_bytes();
        let time = self.dts.to_be_bytes();
        let mut out = vec![
            self.kind, size[1], size[2], size[3], time[1], time[2], time[3], time[0], 0, 0, 0,
        ];
        out.extend_from_slice(&self.body);
        let total = u32::try_from(out.len()).expect("a small tag");
        out.extend_from_slice(&total.to_be_bytes());
        out
    }
}

/// What has come of a stream so far.
#[derive(Clone, Debug, Default)]
pub struct Flv {
    /// TypeFlagsAudio and TypeFlagsVideo of the file header; None before it came.
    pub flags: Option<(bool, bool)>,
    pub tags: Vec<Tag>,
}

impl Flv {
    /// Reads a whole file; what follows the last whole tag is an error.
    pub fn read(bytes: &[u8]) -> Result<Flv, String> {
        let mut parser = Parser::default();
        parser.feed(bytes)?;
        if parser.rest.is_empty() {
            Ok(parser.flv)
        } else {
            Err(format!("{} bytes after the last tag", parser.rest.len()))
        }
    }

    pub fn of_kind(&self, kind: u8) -> Vec<&Tag> {
        self.tags.iter().filter(|tag| tag.kind == kind).collect()
    }

    /// Coded frames of a kind: no headers, no script tags.
    pub fn frames(&self, kind: u8) -> Vec<&Tag> {
        self.tags
            .iter()
            .filter(|tag| tag.kind == kind && tag.is_coded())
            .collect()
    }

    /// The newest header of a kind.
    pub fn header(&self, kind: u8) -> Option<&Tag> {
        self.tags
            .iter()
            .rev()
            .find(|tag| tag.kind == kind && tag.is_header())
    }
}

/// Takes a stream in pieces.
#[derive(Default)]
pub struct Parser {
    rest: Vec<u8>,
    pub flv: Flv,
}

impl Parser {
    /// Takes more bytes; an error is what the stream does wrong.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        if self.flv.flags.is_none() {
            // E.2 The FLV header, and PreviousTagSize0.
            let Some(head) = self.rest.get(..13) else {
                return Ok(());
            };
            if &head[..4] != b"FLV\x01"
                || head[5..13] != [0, 0, 0, 9, 0, 0, 0, 0]
                || head[4] & !5 != 0
            {
                return Err(format!("not an FLV header: {head:02x?}"));
            }
            self.flv.flags = Some((head[4] & 4 != 0, head[4] & 1 != 0));
            at = 13;
        }
        while let Some(head) = self.rest.get(at..at + 11) {
            let size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
            let dts = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
            let kind = head[0];
            if !matches!(kind, AUDIO | VIDEO | SCRIPT) || head[8..11] != [0, 0, 0] {
                return Err(format!(
                    "not a tag header after {} tags: {head:02x?}",
                    self.flv.tags.len()
                ));
            }
            let Some(tail) = self.rest.get(at + 11 + size..at + 15 + size) else {
                break;
            };
            let previous = u32::from_be_bytes(tail.try_into().expect("four bytes")) as usize;
            if previous != size + 11 {
                return Err(format!(
                    "PreviousTagSize {previous} after a tag of {} bytes",
                    size + 11
                ));
            }
            self.flv.tags.push(Tag {
                kind,
                dts,
                body: self.rest[at + 11..at + 11 + size].to_vec(),
            });
            at += 15 + size;
        }
        self.rest.drain(..at);
        Ok(())
    }
}

/// Checks that each track's timestamps never go back (on the 32-bit circle) and never leap further than `leap_ms`.
#[track_caller]
pub fn assert_continuous(tags: &[&Tag], leap_ms: u32) {
    for pair in tags.windows(2) {
        let step = pair[1].dts.wrapping_sub(pair[0].dts);
        assert!(
            step <= leap_ms,
            "from {} to {}: {:?} then {:?}",
            pair[0].dts,
            pair[1].dts,
            pair[0],
            pair[1]
        );
    }
}

/// Checks that the bodies of `came`, in their order, are those of `sent` from some frame on, without a gap, and gives
/// how many of `sent` come before and after them.
#[track_caller]
pub fn assert_run_of(came: &[&Tag], sent: &[&Tag]) -> (usize, usize) {
    assert!(!came.is_empty(), "nothing came");
    let start = sent
        .iter()
        .position(|tag| tag.body == came[0].body)
        .unwrap_or_else(|| panic!("the first frame that came was never sent: {:?}", came[0]));
    assert!(
        came.len() <= sent.len() - start,
        "{} frames came, {} were sent from there on",
        came.len(),
        sent.len() - start
    );
    for (at, (got, put)) in came.iter().zip(&sent[start..]).enumerate() {
        assert!(
            got.body == put.body,
            "frame {at} after the first differs: came {got:?}, sent {put:?}"
        );
    }
    (start, sent.len() - start - came.len())
}
