//! What is published: made-up frames of a given rate, or an FLV file in a loop.
//!
//! Made-up video frames carry a number, so that a player can tell one that is missing or came twice, and the time at which they were
//! sent, so that it can tell how long they took. Both are text, because a start code must not appear inside a NAL unit. Encoders and
//! pictures have no part in it: no decoder makes sense of these frames, and no server looks so far into one.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use pingora_live::media::flv::{FlvReader, FlvTag, TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO};
use pingora_live::media::{Frame, FrameKind};
use pingora_live::rtmp::amf0::{self, Value};

use crate::Failure;

/// What made-up frames are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Video and audio together, in bits a second.
    pub(crate) bitrate: u32,
    /// Frames a second.
    pub(crate) fps: u32,
    /// From keyframe to keyframe.
    pub(crate) gop: Duration,
}

/// AAC at 44.1 kHz, stereo, 64 kbit/s: 43 frames a second.
const AUDIO_RATE: u64 = 44_100;
const AUDIO_SAMPLES: u64 = 1024;
const AUDIO_BYTES: usize = 186;
const AUDIO_BITRATE: u32 = 64_000;
/// A keyframe has about as many bytes as this many others.
const KEYFRAME_WEIGHT: u64 = 5;

/// An AVCDecoderConfigurationRecord of 1280x720, high profile, level 3.1 (ISO/IEC 14496-15 §5.3.3.1), behind the tag's five bytes.
const AVC_HEADER: &[u8] = b"\x17\0\0\0\0\x01\x64\0\x1f\xff\xe1\0\x1a\x67\x64\0\x1f\xac\xd9\x40\x50\x05\xbb\x01\x10\0\0\x03\0\
    \x10\0\0\x03\x03\x20\xf1\x83\x19\x60\x01\0\x06\x68\xeb\xe3\xcb\x22\xc0\xfd\xf8\xf8\0";
/// AudioSpecificConfig: AAC-LC, 44,100 Hz, stereo.
const AAC_HEADER: &[u8] = b"\xaf\0\x12\x10";

/// Where a made-up frame's mark begins: behind the tag's five bytes, the NAL unit's length and its type.
const MARK_AT: usize = 10;
const MARK: &[u8; 8] = b"PLbench ";
/// Number and nanoseconds since 1970, 16 hexadecimal digits each.
const MARK_BYTES: usize = MARK.len() + 32;
const FILLER: u8 = 0x5a;

/// What a made-up frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Counts the stream's video frames from 0.
    pub(crate) number: u64,
    /// When it was sent.
    pub(crate) sent: SystemTime,
}

impl Mark {
    /// Reads a video tag's body; nothing when it is not one of ours.
    pub(crate) fn of(body: &[u8]) -> Option<Self> {
        let mark = body.get(MARK_AT..MARK_AT + MARK_BYTES)?;
        let digits = mark.strip_prefix(MARK)?;
        let hex = |digits: &[u8]| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let (number, nanos) = digits.split_at_checked(16)?;
        Some(Self {
            number: hex(number)?,
            sent: UNIX_EPOCH + Duration::from_nanos(hex(nanos)?),
        })
    }
}

/// Whether a made-up frame's body is whole: its NAL unit ends with it, and is filled to the end.
pub(crate) fn is_whole(body: &[u8]) -> bool {
    let length = body
        .get(5..9)
        .and_then(|b| b.try_into().ok())
        .map(u32::from_be_bytes);
    length.is_some_and(|length| length as usize + 9 == body.len())
        && body
            .get(MARK_AT + MARK_BYTES..)
            .is_some_and(|rest| rest.iter().all(|byte| *byte == FILLER))
}

/// One tag to be published, and when.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    /// FLV's tag type, which is also RTMP's message type.
    pub(crate) kind: u8,
    pub(crate) body: Bytes,
    /// From the start of the stream; also its timestamp.
    pub(crate) due: Duration,
}

impl Tag {
    /// Its timestamp in milliseconds, as the wire has it.
    pub(crate) fn timestamp(&self) -> u32 {
        self.due.as_millis() as u32
    }
}

/// An endless stream of tags, in the order of their times.
#[derive(Clone, Debug)]
pub(crate) enum Feed {
    Made(Made),
    Looped(Looped),
}

impl Feed {
    pub(crate) fn made(shape: Shape) -> Self {
        Self::Made(Made::new(shape))
    }

    /// A file's tags in a loop.
    pub(crate) fn file(path: &Path) -> Result<Self, Failure> {
        let bad = |why: String| Failure::File {
            path: path.to_owned(),
            why,
        };
        let bytes = fs::read(path).map_err(|error| bad(error.to_string()))?;
        let mut reader = FlvReader::new();
        reader.feed(&bytes);
        let mut tags = Vec::new();
        while let Some(tag) = reader.poll().map_err(|error| bad(error.to_string()))? {
            tags.push(tag);
        }
        Looped::new(tags)
            .map(Self::Looped)
            .ok_or_else(|| bad("it has no frames".to_owned()))
    }

    /// When the next tag is due.
    pub(crate) fn due(&self) -> Duration {
        match self {
            Self::Made(made) => made.due(),
            Self::Looped(looped) => looped.due(),
        }
    }

    /// The next tag, sent now.
    pub(crate) fn next(&mut self) -> Tag {
        match self {
            Self::Made(made) => made.next(),
            Self::Looped(looped) => looped.next(),
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    shape: Shape,
    gop_frames: u64,
    frame_bytes: usize,
    /// Tags before the first frame that were taken.
    headers: u8,
    video: u64,
    audio: u64,
    sound: Bytes,
}

impl Made {
    fn new(shape: Shape) -> Self {
        let fps = u64::from(shape.fps.max(1));
        let gop_frames = (shape.gop.as_millis() as u64 * fps / 1000).max(1);
        let video = shape.bitrate.saturating_sub(AUDIO_BITRATE);
        let gop_bytes = u64::from(video) / 8 * gop_frames / fps;
        let frame_bytes = gop_bytes / (gop_frames - 1 + KEYFRAME_WEIGHT);
        let mut sound = vec![FILLER; AUDIO_BYTES];
        sound.splice(..2, [0xaf, 1]);
        Self {
            shape,
            gop_frames,
            frame_bytes: usize::try_from(frame_bytes).unwrap_or(usize::MAX),
            headers: 0,
            video: 0,
            audio: 0,
            sound: sound.into(),
        }
    }

    fn due(&self) -> Duration {
        if self.headers < 3 {
            return Duration::ZERO;
        }
        self.video_due().min(self.audio_due())
    }

    fn video_due(&self) -> Duration {
        Duration::from_millis(self.video * 1000 / u64::from(self.shape.fps.max(1)))
    }

    fn audio_due(&self) -> Duration {
        Duration::from_millis(self.audio * AUDIO_SAMPLES * 1000 / AUDIO_RATE)
    }

    fn next(&mut self) -> Tag {
        let due = self.due();
        let (kind, body) = match self.headers {
            0 => (TAG_SCRIPT, metadata(&self.shape)),
            1 => (TAG_VIDEO, Bytes::from_static(AVC_HEADER)),
            2 => (TAG_AUDIO, Bytes::from_static(AAC_HEADER)),
            _ if self.video_due() <= self.audio_due() => {
                let body = self.picture();
                self.video += 1;
                (TAG_VIDEO, body)
            }
            _ => {
                self.audio += 1;
                (TAG_AUDIO, self.sound.clone())
            }
        };
        self.headers = (self.headers + 1).min(3);
        Tag { kind, body, due }
    }

    fn picture(&self) -> Bytes {
        let keyframe = self.video.is_multiple_of(self.gop_frames);
        let weight = if keyframe {
            KEYFRAME_WEIGHT as usize
        } else {
            1
        };
        let size = (self.frame_bytes * weight).max(MARK_AT + MARK_BYTES + 1);
        let mut body = BytesMut::with_capacity(size);
        // FLV 10.1 §E.4.3: AVC, a NAL unit, composition time 0.
        body.put_slice(&[if keyframe { 0x17 } else { 0x27 }, 1, 0, 0, 0]);
        body.put_u32((size - 9) as u32);
        // An IDR slice, or another.
        body.put_u8(if keyframe { 0x65 } else { 0x41 });
        body.put_slice(MARK);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        body.put_slice(format!("{:016x}{:016x}", self.video, now.as_nanos() as u64).as_bytes());
        body.put_bytes(FILLER, size - body.len());
        body.freeze()
    }
}

fn metadata(shape: &Shape) -> Bytes {
    let numbers = [
        ("width", 1280.0),
        ("height", 720.0),
        ("framerate", f64::from(shape.fps)),
        ("videocodecid", 7.0),
        ("audiocodecid", 10.0),
        ("videodatarate", f64::from(shape.bitrate) / 1000.0),
    ];
    let mut body = BytesMut::new();
    amf0::encode(&Value::String("onMetaData".to_owned()), &mut body);
    let properties = numbers
        .into_iter()
        .map(|(name, number)| (name.to_owned(), Value::Number(number)))
        .collect();
    amf0::encode(&Value::EcmaArray(properties), &mut body);
    body.freeze()
}

/// A file's tags, again and again with times that go on. Headers and metadata are sent in the first round only.
#[derive(Clone, Debug)]
pub(crate) struct Looped {
    tags: Arc<Vec<(FlvTag, bool)>>,
    at: usize,
    round: u32,
    round_ms: u64,
    first_ms: u32,
}

impl Looped {
    fn new(tags: Vec<FlvTag>) -> Option<Self> {
        let tags: Vec<(FlvTag, bool)> = tags
            .into_iter()
            .map(|tag| {
                let coded = is_coded(&tag);
                (tag, coded)
            })
            .collect();
        let times = || {
            tags.iter()
                .filter(|(_, coded)| *coded)
                .map(|(tag, _)| tag.timestamp_ms)
        };
        let (first, last) = (times().min()?, times().max()?);
        let pictures = tags
            .iter()
            .filter(|(tag, coded)| *coded && tag.kind == TAG_VIDEO)
            .count() as u64;
        let span = u64::from(last - first);
        // One more picture's time, so that the last one is as long as the others.
        let round_ms = span
            + span
                .checked_div(pictures.saturating_sub(1))
                .unwrap_or(40)
                .max(1);
        Some(Self {
            tags: Arc::new(tags),
            at: 0,
            round: 0,
            round_ms,
            first_ms: first,
        })
    }

    fn due(&self) -> Duration {
        let time = self
            .tags
            .get(self.at)
            .map_or(0, |(tag, _)| tag.timestamp_ms.saturating_sub(self.first_ms));
        Duration::from_millis(u64::from(self.round) * self.round_ms + u64::from(time))
    }

    fn next(&mut self) -> Tag {
        let due = self.due();
        let (kind, body) = match self.tags.get(self.at) {
            Some((tag, _)) => (tag.kind, tag.body.clone()),
            None => (TAG_SCRIPT, Bytes::new()),
        };
        self.at += 1;
        while !self
            .tags
            .get(self.at)
            .is_some_and(|(_, coded)| *coded || self.round == 0)
        {
            if self.at >= self.tags.len() {
                // There is a frame, or there would be no loop.
                self.at = 0;
                self.round += 1;
            } else {
                self.at += 1;
            }
        }
        Tag { kind, body, due }
    }
}

/// Whether a tag holds picture or sound, and is not a header.
pub(crate) fn is_coded(tag: &FlvTag) -> bool {
    frame(tag.kind, &tag.body).is_some_and(|frame| frame.is_coded())
}

/// A media tag's body as a frame; nothing for script tags, and for what cannot be read.
pub(crate) fn frame(kind: u8, body: &Bytes) -> Option<Frame> {
    let kind = match kind {
        TAG_AUDIO => FrameKind::Audio,
        TAG_VIDEO => FrameKind::Video,
        _ => return None,
    };
    Frame::parse(kind, 0, body.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        bitrate: 1_000_000,
        fps: 25,
        gop: Duration::from_secs(2),
    };

    /// SRS walks through all of it, and ends a publisher whose lengths do not add up.
    #[test]
    fn the_sequence_header_is_whole() {
        // ISO/IEC 14496-15 §5.3.3.1: one SPS and one PPS, each behind its length; then what the high profile adds.
        let record = &AVC_HEADER[5..];
        let unit = |at: usize| {
            assert_eq!(record[at] & 0x1f, 1, "one of them, at {at}");
            let length = usize::from(u16::from_be_bytes([record[at + 1], record[at + 2]]));
            (record[at + 3] & 0x1f, at + 3 + length)
        };
        let (sps, next) = unit(5);
        let (pps, end) = unit(next);
        assert_eq!((sps, pps), (7, 8));
        assert_eq!(&record[end..], b"\xfd\xf8\xf8\0");
    }

    #[test]
    fn made_up_frames_have_the_rate_that_was_asked_for() {
        let mut feed = Feed::made(SHAPE);
        let (mut bytes, mut pictures, mut keyframes, mut last) = (0, 0, 0, Duration::ZERO);
        while feed.due() < Duration::from_secs(10) {
            let tag = feed.next();
            assert!(tag.due >= last);
            last = tag.due;
            bytes += tag.body.len();
            if let Some(mark) = Mark::of(&tag.body) {
                assert_eq!(mark.number, pictures);
                assert!(is_whole(&tag.body));
                pictures += 1;
                keyframes += u64::from(frame(tag.kind, &tag.body).unwrap().keyframe);
            }
        }
        assert_eq!((pictures, keyframes), (250, 5));
        let bitrate = bytes * 8 / 10;
        assert!((980_000..1_020_000).contains(&bitrate), "{bitrate}");
    }

    #[test]
    fn a_frame_that_lost_its_end_is_not_whole() {
        let mut feed = Feed::made(SHAPE);
        let body = std::iter::repeat_with(|| feed.next().body)
            .find(|body| Mark::of(body).is_some())
            .unwrap();
        assert!(is_whole(&body));
        assert!(!is_whole(&body[..body.len() - 1]));
        let mut changed = body.to_vec();
        changed[100] = 0;
        assert!(!is_whole(&changed));
    }

    #[test]
    fn a_file_is_looped_without_a_jump() {
        let tag = |kind, timestamp_ms, body: &'static [u8]| FlvTag {
            kind,
            timestamp_ms,
            body: Bytes::from_static(body),
        };
        let tags = vec![
            tag(TAG_VIDEO, 0, AVC_HEADER),
            tag(TAG_VIDEO, 80, b"\x17\x01\0\0\0k"),
            tag(TAG_VIDEO, 120, b"\x27\x01\0\0\0p"),
            tag(TAG_VIDEO, 160, b"\x27\x01\0\0\0p"),
        ];
        let mut feed = Feed::Looped(Looped::new(tags).unwrap());
        let times: Vec<u32> = (0..7).map(|_| feed.next().timestamp()).collect();
        assert_eq!(times, [0, 0, 40, 80, 120, 160, 200]);
    }
}
