//! Cuts an FLV file at a keyframe, for `?start=` and `?start_ms=`.
//!
//! [`Scanner`] knows no file. Ask it for a [`Step`] and feed it what it wants to read, until it has an [`Outcome`]; `scan.rs` does that
//! with a file. It reads the first bytes of each tag only, and with the keyframe index of a recording (`keyframes` in onMetaData) it
//! passes over what lies between. An index is believed only as far as tags are found where it says.
//!
//! What a player is given is the file header, onMetaData without what speaks of places in the whole file, the sequence headers that were
//! valid at the cut, and the file from the keyframe on, to its end as it is. With an index they are those of the file's beginning: a file
//! whose decoder configuration changes on the way must not have one. Recordings begin another file then.
//!
//! *Broken files*: what is no FLV, or stops being one before the place that is looked for, is [`Outcome::Unreadable`]. A last tag that is
//! not whole is not looked at.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::metadata::{self, Entry};
use crate::media::flv::{
    FLAG_AUDIO, FLAG_VIDEO, HEADER_SIZE, MAX_BODY_SIZE, PREVIOUS_TAG_SIZE, SIGNATURE, TAG_AUDIO,
    TAG_HEADER_SIZE, TAG_SCRIPT, TAG_VIDEO, TagHeader,
};
use crate::media::tag::MAX_HEADER_BYTES;
use crate::media::{Frame, FrameKind, Metadata, Tracks, metadata::classify};

/// Bytes of a tag's body that are read to see what it is: enough for any head of one track, ModEx included.
const PEEK: usize = 48;
/// The largest onMetaData that is read, in bytes: a keyframe index of two days has 1.5 MB.
const MAX_METADATA: usize = 2 << 20;
/// The largest packet of several tracks that is walked through to see whether it is a keyframe, in bytes. It has to be read whole.
const MAX_PACKET: usize = 4 << 20;
/// The largest DataOffset that is believed, as in [`crate::media::flv`].
const MAX_DATA_OFFSET: u32 = 1024;
/// Tags that are looked at in one file: two days at a hundred a second. What has more is no recording, or broken.
const MAX_TAGS: u64 = 20_000_000;
/// Where the index is used at the latest, in bytes from the file's start, though no audio was seen yet.
const HEADERS_END: u64 = 1 << 20;

/// Where to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// At the first keyframe that begins at or after this byte of the file.
    Byte(u64),
    /// At the last keyframe at or before this time of the file, in milliseconds; at the first one if there is none.
    Time(u64),
}

/// `start` or `start_ms` is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("start takes a number of bytes, start_ms a number of milliseconds")]
pub struct BadSeek;

impl Seek {
    /// What a query asks for: `start=<bytes>`, else `start_ms=<milliseconds>`. None for 0 too, which is the file as it is.
    ///
    /// # Errors
    /// [`BadSeek`].
    pub fn from_query(query: &str) -> Result<Option<Seek>, BadSeek> {
        let number = |wanted: &str| -> Result<Option<u64>, BadSeek> {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let Some((_, value)) = pairs.find(|(name, _)| *name == wanted) else {
                return Ok(None);
            };
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            let value = digits
                .then(|| value.parse().ok())
                .flatten()
                .ok_or(BadSeek)?;
            Ok(Some(value).filter(|value| *value > 0))
        };
        let (byte, time) = (number("start")?, number("start_ms")?);
        Ok(byte.map(Seek::Byte).or(time.map(Seek::Time)))
    }
}

/// A file that begins at a keyframe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// What stands before it.
    pub head: Bytes,
    /// Where the keyframe's tag begins in the file.
    pub from: u64,
}

/// Why a file cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// It does not begin as one.
    #[error("it is no FLV file")]
    NoFlv,
    /// At this byte stands no tag.
    #[error("no tag at byte {at}")]
    NoTag {
        /// Where one should begin.
        at: u64,
    },
    /// It has no video and no audio.
    #[error("it has no frames")]
    NoFrames,
    /// It has more tags than are looked at.
    #[error("it has more than {MAX_TAGS} tags")]
    TooManyTags,
}

/// How a search ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Found.
    Cut(Cut),
    /// The file ends before that.
    Beyond,
    /// The file is no FLV, or broken.
    Unreadable(Unreadable),
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Feed it `len` bytes from `at` on; fewer only where the file ends.
    Read {
        /// Bytes from the start of the file.
        at: u64,
        /// At most some MB.
        len: usize,
    },
    /// The search is over.
    Done(Outcome),
}

/// A keyframe that may become the cut.
#[derive(Clone, Debug)]
struct Candidate {
    at: u64,
    ms: u32,
    tracks: Tracks,
}

/// All that a use of the index may have to take back.
#[derive(Clone, Debug)]
struct Progress {
    /// Where the next tag begins.
    at: u64,
    tracks: Tracks,
    /// The last keyframe at or before the time that is looked for.
    best: Option<Candidate>,
    /// The same in a file that has only audio, where each frame will do.
    best_audio: Option<Candidate>,
    latest_ms: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    FileHeader,
    Tag,
    /// The whole body of the tag at `at` is awaited.
    Body(TagHeader),
    /// The tag that the index names is looked at.
    Landing {
        at: u64,
    },
    /// What follows it is looked at.
    Landed {
        at: u64,
        whole: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    On,
    /// To where the search was before it followed the index.
    Back,
}

/// Searches a file. See the [module](self).
#[derive(Debug)]
pub struct Scanner {
    size: u64,
    seek: Seek,
    state: State,
    flags: u8,
    metadata: Option<Metadata>,
    index: Vec<Entry>,
    progress: Progress,
    /// What to go back to if the index was wrong.
    before_jump: Option<Box<Progress>>,
    tags: u64,
    outcome: Option<Outcome>,
}

impl Scanner {
    /// For a file of `size` bytes.
    pub fn new(size: u64, seek: Seek) -> Self {
        let beyond = matches!(seek, Seek::Byte(byte) if byte >= size);
        Self {
            size,
            seek,
            state: State::FileHeader,
            flags: 0,
            metadata: None,
            index: Vec::new(),
            progress: Progress {
                at: 0,
                tracks: Tracks::new(),
                best: None,
                best_audio: None,
                latest_ms: 0,
            },
            before_jump: None,
            tags: 0,
            outcome: beyond.then_some(Outcome::Beyond),
        }
    }

    /// What it needs. The same until it is fed.
    pub fn step(&self) -> Step {
        if let Some(outcome) = &self.outcome {
            return Step::Done(outcome.clone());
        }
        let (at, len) = match self.state {
            State::FileHeader => (0, HEADER_SIZE),
            State::Tag => (self.progress.at, TAG_HEADER_SIZE + PEEK),
            State::Body(header) => (
                self.progress.at.saturating_add(TAG_HEADER_SIZE as u64),
                header.size,
            ),
            State::Landing { at } => (at, TAG_HEADER_SIZE + PEEK),
            State::Landed { at, whole } => {
                (at.saturating_add(u64::from(whole)), PREVIOUS_TAG_SIZE + 1)
            }
        };
        Step::Read { at, len }
    }

    /// Takes what [`Step::Read`] asked for.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.outcome.is_some() {
            return;
        }
        match self.state {
            State::FileHeader => self.file_header(bytes),
            State::Tag => self.tag(bytes),
            State::Body(header) => self.body(header, bytes),
            State::Landing { at } => self.landing(at, bytes),
            State::Landed { at, whole } => self.landed(at, whole, bytes),
        }
    }

    fn file_header(&mut self, bytes: &[u8]) {
        let header = bytes.first_chunk::<HEADER_SIZE>();
        let Some([b'F', b'L', b'V', _, flags, offset @ ..]) = header else {
            return self.end(Outcome::Unreadable(Unreadable::NoFlv));
        };
        let offset = u32::from_be_bytes(*offset);
        if offset < HEADER_SIZE as u32 || offset > MAX_DATA_OFFSET {
            return self.end(Outcome::Unreadable(Unreadable::NoFlv));
        }
        self.flags = *flags;
        self.progress.at = u64::from(offset).saturating_add(PREVIOUS_TAG_SIZE as u64);
        self.state = State::Tag;
    }

    fn tag(&mut self, bytes: &[u8]) {
        let Some((header, body)) = bytes.split_first_chunk::<TAG_HEADER_SIZE>() else {
            return self.at_end();
        };
        let header = TagHeader::read(header);
        if !is_tag(header.first) {
            return self.lost(Unreadable::NoTag {
                at: self.progress.at,
            });
        }
        self.tags += 1;
        if self.tags > MAX_TAGS {
            return self.lost(Unreadable::TooManyTags);
        }
        if after(self.progress.at, header.size) > self.size {
            return self.at_end();
        }
        let body = body.get(..header.size.min(body.len())).unwrap_or_default();
        if header.first == TAG_SCRIPT {
            let wanted = self.metadata.is_none()
                && header.size <= MAX_METADATA
                && body.starts_with(b"\x02\x00\x0aonMetaData");
            return if wanted {
                self.state = State::Body(header)
            } else {
                self.pass(header)
            };
        }
        match Frame::parse(
            kind(header.first),
            header.timestamp_ms.into(),
            Bytes::copy_from_slice(body),
        ) {
            Ok(frame)
                if frame.sequence_header
                    && body.len() < header.size
                    && header.size <= MAX_HEADER_BYTES =>
            {
                self.state = State::Body(header);
            }
            // The heads of further tracks lie beyond what was read.
            Err(_) if body.len() < header.size && header.size <= MAX_PACKET => {
                self.state = State::Body(header)
            }
            Ok(frame) => self.frame(header, &frame),
            Err(_) => self.pass(header),
        }
    }

    fn body(&mut self, header: TagHeader, bytes: &[u8]) {
        self.state = State::Tag;
        if bytes.len() < header.size {
            // The file has become shorter.
            return self.at_end();
        }
        let body = Bytes::copy_from_slice(bytes);
        if header.first == TAG_SCRIPT {
            let (_, body) = classify(&body);
            let metadata = Metadata::read(&body);
            self.index = metadata::index(&metadata);
            self.metadata = Some(metadata);
            return self.pass(header);
        }
        match Frame::parse(kind(header.first), header.timestamp_ms.into(), body) {
            Ok(frame) => self.frame(header, &frame),
            Err(_) => self.pass(header),
        }
    }

    /// The tag at `progress.at` is this frame; of a coded one the payload may be its beginning only.
    fn frame(&mut self, header: TagHeader, frame: &Frame) {
        self.progress.tracks.update(frame);
        let coded = !frame.sequence_header && frame.is_coded();
        if coded {
            self.progress.latest_ms = self.progress.latest_ms.max(header.timestamp_ms);
            if frame.kind == FrameKind::Video && frame.keyframe {
                if self.keyframe(header.timestamp_ms) == Went::Back {
                    return;
                }
            } else if frame.kind == FrameKind::Audio && !self.progress.tracks.has_video() {
                self.sound(header.timestamp_ms);
            }
        }
        if self.outcome.is_some() {
            return;
        }
        self.pass(header);
        if coded {
            self.jump();
        }
    }

    fn here(&self, ms: u32) -> Candidate {
        Candidate {
            at: self.progress.at,
            ms,
            tracks: self.progress.tracks.clone(),
        }
    }

    fn keyframe(&mut self, ms: u32) -> Went {
        match self.seek {
            Seek::Byte(byte) if self.progress.at >= byte => self.cut(self.here(ms)),
            Seek::Byte(_) => {}
            Seek::Time(wanted) if u64::from(ms) <= wanted => {
                self.progress.best = Some(self.here(ms))
            }
            Seek::Time(_) => match self.progress.best.take() {
                Some(best) => self.cut(best),
                None if self.before_jump.is_some() => {
                    self.undo_jump();
                    return Went::Back;
                }
                None => self.cut(self.here(ms)),
            },
        }
        Went::On
    }

    /// A frame of audio, where no video was seen so far.
    fn sound(&mut self, ms: u32) {
        let only_audio = self.flags & FLAG_VIDEO == 0;
        match self.seek {
            Seek::Byte(byte) if self.progress.at < byte => {}
            Seek::Byte(_) if only_audio => self.cut(self.here(ms)),
            Seek::Byte(_) if self.progress.best_audio.is_some() => {}
            Seek::Time(wanted) if u64::from(ms) > wanted => {
                if only_audio {
                    let best = self.progress.best_audio.take();
                    self.cut(best.unwrap_or_else(|| self.here(ms)));
                }
            }
            Seek::Byte(_) | Seek::Time(_) => self.progress.best_audio = Some(self.here(ms)),
        }
    }

    /// Goes to where the index says that the search can go on, once all headers were seen that stand at the beginning.
    fn jump(&mut self) {
        let tracks = &self.progress.tracks;
        let headers_seen =
            tracks.has_audio() || self.flags & FLAG_AUDIO == 0 || self.progress.at > HEADERS_END;
        if self.index.is_empty() || !tracks.has_video() || !headers_seen {
            return;
        }
        // Used once: it is believed, or it was wrong.
        let index = std::mem::take(&mut self.index);
        let here = self.progress.at;
        let ahead = index
            .iter()
            .filter(|entry| entry.at > here && entry.at < self.size);
        let target = match self.seek {
            // Not to the first one after it: an index need not name every keyframe.
            Seek::Byte(byte) => ahead.map(|entry| entry.at).filter(|at| *at <= byte).max(),
            Seek::Time(wanted) => {
                let wanted = wanted as f64;
                ahead
                    .filter(|entry| entry.ms <= wanted)
                    .max_by(|a, b| a.ms.total_cmp(&b.ms))
                    .map(|entry| entry.at)
            }
        };
        if let Some(at) = target {
            self.state = State::Landing { at };
        }
    }

    fn landing(&mut self, at: u64, bytes: &[u8]) {
        self.state = State::Tag;
        let Some((header, body)) = bytes.split_first_chunk::<TAG_HEADER_SIZE>() else {
            return;
        };
        let header = TagHeader::read(header);
        let body =
            Bytes::copy_from_slice(body.get(..header.size.min(body.len())).unwrap_or_default());
        let in_time = match self.seek {
            Seek::Byte(_) => true,
            Seek::Time(wanted) => u64::from(header.timestamp_ms) <= wanted,
        };
        // Some indexes name the sequence header before the first keyframe; the search finds the one after it.
        let starts = header.first == TAG_VIDEO
            && Frame::parse(FrameKind::Video, 0, body)
                .is_ok_and(|frame| frame.keyframe || frame.sequence_header);
        if starts && in_time && after(at, header.size) <= self.size {
            let whole = TAG_HEADER_SIZE.saturating_add(header.size.min(MAX_BODY_SIZE)) as u32;
            self.state = State::Landed { at, whole };
        }
    }

    fn landed(&mut self, at: u64, whole: u32, bytes: &[u8]) {
        self.state = State::Tag;
        let sound = match bytes.split_first_chunk::<PREVIOUS_TAG_SIZE>() {
            // Many writers put 0.
            Some((previous, next)) => {
                let previous = u32::from_be_bytes(*previous);
                (previous == whole || previous == 0)
                    && next.first().is_none_or(|first| is_tag(*first))
            }
            // Nothing follows.
            None => bytes.is_empty(),
        };
        if sound {
            let mut before = self.progress.clone();
            std::mem::swap(&mut before, &mut self.progress);
            self.before_jump = Some(Box::new(before));
            self.progress.at = at;
            self.progress.best = None;
        }
    }

    fn undo_jump(&mut self) {
        if let Some(before) = self.before_jump.take() {
            self.progress = *before;
            self.state = State::Tag;
        }
    }

    /// On to the tag after this one, unless the search went elsewhere.
    fn pass(&mut self, header: TagHeader) {
        self.state = State::Tag;
        self.progress.at =
            after(self.progress.at, header.size).saturating_add(PREVIOUS_TAG_SIZE as u64);
    }

    fn lost(&mut self, why: Unreadable) {
        if self.before_jump.is_some() {
            return self.undo_jump();
        }
        self.end(Outcome::Unreadable(why));
    }

    /// No whole tag is left.
    fn at_end(&mut self) {
        let has_video = self.progress.tracks.has_video();
        let best = match self.seek {
            Seek::Byte(_) => self.progress.best_audio.take().filter(|_| !has_video),
            Seek::Time(wanted) if u64::from(self.progress.latest_ms) < wanted => None,
            Seek::Time(_) => self
                .progress
                .best
                .take()
                .or_else(|| self.progress.best_audio.take().filter(|_| !has_video)),
        };
        match best {
            Some(best) => self.cut(best),
            None if self.before_jump.is_some() => self.undo_jump(),
            None if has_video || self.progress.tracks.has_audio() => self.end(Outcome::Beyond),
            None => self.end(Outcome::Unreadable(Unreadable::NoFrames)),
        }
    }

    fn end(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    fn cut(&mut self, candidate: Candidate) {
        let mut head = BytesMut::new();
        head.put_slice(&SIGNATURE);
        head.put_u8(crate::media::flv::VERSION);
        head.put_u8(self.flags);
        head.put_u32(HEADER_SIZE as u32);
        head.put_u32(0); // PreviousTagSize0
        if let Some(metadata) = &self.metadata {
            // At 0: FFmpeg takes a script tag with another time for a subtitle.
            put_tag(
                TAG_SCRIPT,
                0,
                &metadata::without_places(metadata),
                &mut head,
            );
        }
        for header in candidate.tracks.headers() {
            let first = if header.kind == FrameKind::Video {
                TAG_VIDEO
            } else {
                TAG_AUDIO
            };
            put_tag(first, candidate.ms, &header.payload, &mut head);
        }
        self.end(Outcome::Cut(Cut {
            head: head.freeze(),
            from: candidate.at,
        }));
    }
}

/// FLV 10.1 §E.4.1: the three types that there are, neither encrypted nor with reserved bits.
fn is_tag(first: u8) -> bool {
    matches!(first, TAG_AUDIO | TAG_VIDEO | TAG_SCRIPT)
}

fn kind(first: u8) -> FrameKind {
    if first == TAG_VIDEO {
        FrameKind::Video
    } else {
        FrameKind::Audio
    }
}

/// Where the body of the tag at `at` ends.
fn after(at: u64, size: usize) -> u64 {
    at.saturating_add(TAG_HEADER_SIZE as u64)
        .saturating_add(size as u64)
}

fn put_tag(first: u8, timestamp_ms: u32, body: &[u8], out: &mut BytesMut) {
    let size = body.len();
    if size > MAX_BODY_SIZE {
        return;
    }
    let header = TagHeader {
        first,
        size,
        timestamp_ms,
    };
    out.put_slice(&header.to_bytes());
    out.put_slice(body);
    out.put_u32((TAG_HEADER_SIZE + size) as u32);
}

#[cfg(test)]
#[path = "seek_tests.rs"]
mod tests;
