//! An FLV file with an index, as bytes: what comes first, what follows, and what the head is at the end. No I/O.
//!
//! ```text
//! | file header | onMetaData, padded | tags as they come …
//! ```
//!
//! [`FlvWriter::new`] fixes how much room the head has; [`FlvWriter::head`] gives its bytes at any moment, always as many, so the final
//! one, with duration, size and index, is written over the first one and no byte of the rest moves. [`FlvWriter::tag`] appends a
//! tag and notes what the head will say.
//!
//! *Passes through*: the bodies of audio, video and data tags. *Is transformed*: onMetaData; the first one's properties are kept
//! but for those that describe a file, which are the writer's own. *Is dropped*: later onMetaData, since a reader takes the head
//! for the whole file's; bodies larger than DataSize can state.
//!
//! The index has its place before it is known how long it gets. When it outgrows it, every second entry goes, and of the
//! keyframes to come every second is noted: players then decode a little more after a seek, and a recording of any length has
//! a bounded index in memory and needs no copy at its end.

use bytes::{BufMut, BytesMut};

use crate::media::flv::{
    FLAG_AUDIO, FLAG_VIDEO, HEADER_SIZE, MAX_BODY_SIZE, PREVIOUS_TAG_SIZE, SIGNATURE, TAG_AUDIO,
    TAG_HEADER_SIZE, TAG_SCRIPT, TAG_VIDEO, TagHeader, VERSION,
};
use crate::media::metadata::{MAX_METADATA_BYTES, Metadata};
use crate::media::{Frame, FrameKind};
use crate::rtmp::amf0::{self, Value};

/// Where the body of onMetaData begins.
pub(super) const HEAD_BODY_AT: usize = HEADER_SIZE + PREVIOUS_TAG_SIZE + TAG_HEADER_SIZE;

/// A keyframe in the index: a time and a position, nine bytes each (AMF0 §2.2).
const ENTRY_BYTES: usize = 18;
/// Room for the writer's own properties, in bytes: nine numbers and switches with their names are 300.
const OWN_BYTES: usize = 512;
/// Room for an onMetaData that comes after the first frame, in bytes: encoders send about 400.
const LATE_BYTES: usize = 1024;
/// The name of the padding, which is the last property.
const FILLER: &str = "filler";
/// The name's length and bytes, marker and count.
const FILLER_HEAD: usize = 2 + FILLER.len() + 1 + 4;
/// The least that elements can be made of in any number of bytes: numbers have nine, switches two.
const FILLER_LEAST: usize = 9;

/// The properties that the writer sets; those of the same names in what came are left out.
const OWN: [&str; 11] = [
    "duration",
    "filesize",
    "lasttimestamp",
    "lastkeyframetimestamp",
    "hasMetadata",
    "hasVideo",
    "hasAudio",
    "hasKeyframes",
    "canSeekToEnd",
    "keyframes",
    FILLER,
];

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct FlvWriter {
    /// What came in onMetaData, without [`OWN`].
    properties: Vec<(String, Value)>,
    has_metadata: bool,
    /// Bytes of the body of onMetaData.
    room: usize,
    index: Vec<Entry>,
    /// Entries that the index may have.
    capacity: usize,
    /// Every how many-th keyframe is noted.
    stride: u64,
    totals: Totals,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Time in the file, in milliseconds.
    pub(super) ms: u64,
    /// Where the tag begins, in bytes from the start of the file.
    pub(super) at: u64,
}

/// What a file holds so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Bytes of the file.
    pub(super) len: u64,
    /// Tags after the head.
    pub(super) tags: u64,
    keyframes: u64,
    last_keyframe_ms: u64,
    first_ms: Option<u64>,
    video: Track,
    audio: Track,
}

/// The coded frames of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Track {
    last_ms: Option<u64>,
    /// From the frame before to the newest, in milliseconds: how long the newest is taken to last.
    step_ms: u64,
}

/// The longest step that is taken for the length of a frame, in milliseconds; a longer one is a pause.
const MAX_FRAME_MS: u64 = 1_000;

impl Track {
    fn note(&mut self, ms: u64) {
        if let Some(step) = self.last_ms.and_then(|last| ms.checked_sub(last))
            && (1..=MAX_FRAME_MS).contains(&step)
        {
            self.step_ms = step;
        }
        self.last_ms = Some(self.last_ms.map_or(ms, |last| last.max(ms)));
    }

    fn end_ms(self) -> u64 {
        self.last_ms.map_or(0, |last| last + self.step_ms)
    }
}

impl FlvWriter {
    /// A file whose index has room for `keyframes`. `metadata`: what is known of the stream.
    pub(super) fn new(metadata: Option<&Metadata>, keyframes: usize) -> Self {
        let mut writer = Self::with_room(0);
        if let Some(metadata) = metadata {
            writer.set_properties(metadata);
        }
        let mut body = BytesMut::new();
        encode(&writer.properties, &mut body);
        let came = body.len().min(MAX_METADATA_BYTES);
        writer.capacity = keyframes.max(2);
        writer.room = came + OWN_BYTES + LATE_BYTES + writer.capacity * ENTRY_BYTES;
        writer.totals.len = writer.head_len();
        writer
    }

    /// A file whose onMetaData has a body of `room` bytes, of which nothing else is known: for reading one.
    pub(super) fn with_room(room: usize) -> Self {
        let mut writer = Self {
            properties: Vec::new(),
            has_metadata: false,
            room,
            index: Vec::new(),
            capacity: (room / ENTRY_BYTES).max(2),
            stride: 1,
            totals: Totals::default(),
        };
        writer.totals.len = writer.head_len();
        writer
    }

    /// What describes the stream, if nothing did so far.
    pub(super) fn set_metadata(&mut self, metadata: &Metadata) {
        if !self.has_metadata {
            self.set_properties(metadata);
        }
    }

    fn set_properties(&mut self, metadata: &Metadata) {
        self.has_metadata = true;
        let came = metadata.properties().iter();
        let own = |name: &str| OWN.iter().any(|own| own.eq_ignore_ascii_case(name));
        self.properties = came.filter(|(name, _)| !own(name)).cloned().collect();
    }

    /// Bytes of the head: file header and onMetaData.
    pub(super) fn head_len(&self) -> u64 {
        (HEAD_BODY_AT + self.room + PREVIOUS_TAG_SIZE) as u64
    }

    /// What the file holds so far.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Goes back to an earlier moment: what was appended since was not written.
    pub(super) fn rollback(&mut self, totals: Totals) {
        self.totals = totals;
        self.index.retain(|entry| entry.at < totals.len);
    }

    /// How long the file plays, in milliseconds: from its first coded frame to the end of its last.
    pub(super) fn duration_ms(&self) -> u64 {
        let Totals {
            first_ms,
            video,
            audio,
            ..
        } = self.totals;
        let end = video.end_ms().max(audio.end_ms());
        first_ms.map_or(0, |first| end.saturating_sub(first))
    }

    /// Appends the tag of a frame, whose time is that in the file. `seekable`: a keyframe at which a player may start.
    pub(super) fn tag(&mut self, frame: &Frame, seekable: bool, out: &mut BytesMut) {
        let size = frame.payload.len();
        if size > MAX_BODY_SIZE || frame.kind == FrameKind::Metadata {
            return;
        }
        let header = TagHeader {
            first: match frame.kind {
                FrameKind::Video => TAG_VIDEO,
                FrameKind::Audio => TAG_AUDIO,
                FrameKind::Metadata | FrameKind::Data => TAG_SCRIPT,
            },
            size,
            // The file has 32 bits: a recording of 49.7 days begins again at 0.
            timestamp_ms: frame.dts_ms as u32,
        };
        out.put_slice(&header.to_bytes());
        out.put_slice(&frame.payload);
        out.put_u32((TAG_HEADER_SIZE + size) as u32);
        self.note(frame, seekable);
    }

    /// Notes a tag that stands in the file.
    pub(super) fn note(&mut self, frame: &Frame, seekable: bool) {
        let at = self.totals.len;
        self.totals.len += (TAG_HEADER_SIZE + frame.payload.len() + PREVIOUS_TAG_SIZE) as u64;
        self.totals.tags += 1;
        if !frame.is_coded() {
            return;
        }
        let ms = frame.dts_ms;
        self.totals.first_ms = Some(self.totals.first_ms.map_or(ms, |first| first.min(ms)));
        match frame.kind {
            FrameKind::Video => self.totals.video.note(ms),
            FrameKind::Audio => self.totals.audio.note(ms),
            FrameKind::Metadata | FrameKind::Data => {}
        }
        if seekable {
            self.keyframe(Entry { ms, at });
        }
    }

    fn keyframe(&mut self, entry: Entry) {
        self.totals.last_keyframe_ms = entry.ms;
        let number = self.totals.keyframes;
        self.totals.keyframes += 1;
        if !number.is_multiple_of(self.stride) {
            return;
        }
        if self.index.len() >= self.capacity {
            self.thin();
            if !number.is_multiple_of(self.stride) {
                return;
            }
        }
        self.index.push(entry);
    }

    fn thin(&mut self) {
        let mut keep = false;
        self.index.retain(|_| {
            keep = !keep;
            keep
        });
        self.stride = self.stride.saturating_mul(2);
    }

    /// File header and onMetaData as of now: [`head_len`](Self::head_len) bytes, to stand at the start of the file. `finished`: with
    /// duration and index; otherwise as a file has it that is still written.
    pub(super) fn head(&self, finished: bool) -> BytesMut {
        let (video, audio) = (
            self.totals.video.last_ms.is_some(),
            self.totals.audio.last_ms.is_some(),
        );
        let mut out = BytesMut::with_capacity(HEAD_BODY_AT + self.room + PREVIOUS_TAG_SIZE);
        out.put_slice(&SIGNATURE);
        out.put_u8(VERSION);
        // Of a file that is still written, nobody knows what will come.
        let flag = |has: bool, flag: u8| if has || !finished { flag } else { 0 };
        out.put_u8(flag(audio, FLAG_AUDIO) | flag(video, FLAG_VIDEO));
        out.put_u32(HEADER_SIZE as u32);
        out.put_u32(0); // PreviousTagSize0
        let header = TagHeader {
            first: TAG_SCRIPT,
            size: self.room,
            timestamp_ms: 0,
        };
        out.put_slice(&header.to_bytes());
        out.put_slice(&self.body(finished, video, audio));
        out.put_u32((TAG_HEADER_SIZE + self.room) as u32);
        out
    }

    /// The body of onMetaData, of exactly `room` bytes.
    fn body(&self, finished: bool, video: bool, audio: bool) -> BytesMut {
        let mut index = self.index.clone();
        let mut came = self.properties.as_slice();
        loop {
            let mut properties = came.to_vec();
            if finished {
                properties.extend(self.own(video, audio, &index));
            }
            let mut body = BytesMut::new();
            encode(&properties, &mut body);
            let spare = self.room.checked_sub(body.len());
            if let Some(spare) = spare.filter(|spare| *spare >= FILLER_HEAD + FILLER_LEAST) {
                properties.push((FILLER.to_owned(), filler(spare - FILLER_HEAD)));
                body.clear();
                encode(&properties, &mut body);
                return body;
            }
            // An onMetaData that came late and is large, or a head that somebody else left: less of the index, then less of
            // what came, goes in.
            if index.len() > 2 {
                let mut keep = false;
                index.retain(|_| {
                    keep = !keep;
                    keep
                });
            } else if !index.is_empty() {
                index.clear();
            } else if !came.is_empty() {
                came = came.get(..came.len() / 2).unwrap_or_default();
            } else {
                // No room for anything: a body of the right size, which readers skip.
                body.clear();
                body.put_bytes(0, self.room);
                return body;
            }
        }
    }

    /// What describes the file.
    fn own(&self, video: bool, audio: bool, index: &[Entry]) -> Vec<(String, Value)> {
        let seconds = |ms: u64| Value::Number(ms as f64 / 1000.0);
        let totals = &self.totals;
        let last_ms = totals.video.last_ms.max(totals.audio.last_ms).unwrap_or(0);
        let mut own = vec![
            ("duration", seconds(self.duration_ms())),
            ("filesize", Value::Number(totals.len as f64)),
            ("lasttimestamp", seconds(last_ms)),
            ("hasMetadata", Value::Boolean(true)),
            ("hasVideo", Value::Boolean(video)),
            ("hasAudio", Value::Boolean(audio)),
            ("hasKeyframes", Value::Boolean(!index.is_empty())),
        ];
        if !index.is_empty() {
            let array = |values: Vec<Value>| Value::StrictArray(values);
            let times = array(index.iter().map(|entry| seconds(entry.ms)).collect());
            let positions = index.iter().map(|entry| Value::Number(entry.at as f64));
            let keyframes = vec![
                ("times".to_owned(), times),
                ("filepositions".to_owned(), array(positions.collect())),
            ];
            own.push(("lastkeyframetimestamp", seconds(totals.last_keyframe_ms)));
            own.push(("keyframes", Value::Object(keyframes)));
        }
        own.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

fn encode(properties: &[(String, Value)], out: &mut BytesMut) {
    amf0::encode(&Value::String("onMetaData".to_owned()), out);
    amf0::encode(&Value::EcmaArray(properties.to_vec()), out);
}

/// An array whose elements have `bytes` bytes, at least [`FILLER_LEAST`]. Of numbers and switches, since FFmpeg shows texts
/// to its users, and mpegts.js does not know null.
fn filler(bytes: usize) -> Value {
    let mut numbers = bytes / 9;
    if !(bytes - numbers * 9).is_multiple_of(2) {
        numbers = numbers.saturating_sub(1);
    }
    let switches = (bytes - numbers * 9) / 2;
    let mut elements = vec![Value::Number(0.0); numbers];
    elements.extend(std::iter::repeat_n(Value::Boolean(false), switches));
    Value::StrictArray(elements)
}
