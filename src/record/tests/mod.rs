//! Recording with made-up frames: the bytes of files, and what becomes of streams.

mod mending;
mod streams;
mod writing;

use bytes::{Bytes, BytesMut};

use crate::media::flv::{FlvReader, FlvTag, TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO};
use crate::media::{Frame, FrameKind, Metadata};
use crate::rtmp::amf0::{self, Value};

const VIDEO_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1, 100, 0, 31];
const OTHER_VIDEO_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1, 77, 0, 30];
const AUDIO_HEADER: &[u8] = &[0xaf, 0, 0x12, 0x10];

fn key(number: u8) -> Vec<u8> {
    vec![0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, number]
}

fn inter(number: u8) -> Vec<u8> {
    vec![0x27, 1, 0, 0, 0, 0, 0, 0, 2, 0x41, number]
}

fn audio(number: u8) -> Vec<u8> {
    vec![0xaf, 1, 0x21, number]
}

/// A body of onMetaData.
fn meta(properties: &[(&str, f64)]) -> Bytes {
    let mut out = BytesMut::new();
    amf0::encode(&Value::String("onMetaData".into()), &mut out);
    let properties = properties
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::Number(*value)));
    amf0::encode(&Value::EcmaArray(properties.collect()), &mut out);
    out.freeze()
}

fn frame(kind: FrameKind, ms: u64, body: &[u8]) -> Frame {
    Frame::parse(kind, ms, Bytes::copy_from_slice(body)).unwrap()
}

/// A whole file, read.
struct Read {
    tags: Vec<FlvTag>,
    /// Where each tag begins.
    at: Vec<u64>,
    flags: (bool, bool),
}

/// Reads a file that has to be whole and right.
fn read(bytes: &[u8]) -> Read {
    let mut reader = FlvReader::new();
    reader.feed(bytes);
    let mut read = Read {
        tags: Vec::new(),
        at: Vec::new(),
        flags: (false, false),
    };
    while let Some(tag) = reader.poll().unwrap() {
        read.at.push(reader.offset() - tag.body.len() as u64 - 11);
        read.tags.push(tag);
    }
    assert!(reader.is_between_tags(), "a tag is cut off");
    assert_eq!(reader.mismatches(), 0);
    let header = reader.header().unwrap();
    read.flags = (header.audio, header.video);
    read
}

impl Read {
    /// What onMetaData says, all of which has to be readable.
    fn metadata(&self) -> Metadata {
        let tag = &self.tags[0];
        assert_eq!((tag.kind, tag.timestamp_ms), (TAG_SCRIPT, 0));
        assert_eq!(amf0::decode_all(&tag.body).unwrap().len(), 2);
        Metadata::read(&tag.body)
    }

    fn number(&self, name: &str) -> f64 {
        let metadata = self.metadata();
        let value = metadata.get(name).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("{name} in {:?}", metadata.properties()))
    }

    /// Times in seconds and positions.
    fn index(&self) -> Vec<(f64, u64)> {
        let metadata = self.metadata();
        let Some(keyframes) = metadata.get("keyframes") else {
            return Vec::new();
        };
        let array = |name: &str| match keyframes.get(name) {
            Some(Value::StrictArray(values)) => {
                values.iter().map(|v| v.as_f64().unwrap()).collect()
            }
            other => panic!("{name}: {other:?}"),
        };
        let (times, positions): (Vec<f64>, Vec<f64>) = (array("times"), array("filepositions"));
        assert_eq!(times.len(), positions.len());
        times
            .into_iter()
            .zip(positions.into_iter().map(|at| at as u64))
            .collect()
    }

    /// That each entry of the index is where a keyframe begins, with its time. Gives how many there are.
    fn check_index(&self) -> usize {
        let index = self.index();
        assert!(index.is_sorted_by_key(|(_, at)| *at));
        for (seconds, at) in &index {
            let tag = self.at.iter().position(|begin| begin == at);
            let tag = &self.tags[tag.unwrap_or_else(|| panic!("no tag begins at {at}"))];
            assert_eq!(tag.kind, TAG_VIDEO);
            let frame = Frame::parse(FrameKind::Video, 0, tag.body.clone()).unwrap();
            assert!(frame.keyframe && frame.is_coded());
            assert_eq!(f64::from(tag.timestamp_ms) / 1000.0, *seconds);
        }
        index.len()
    }

    /// `K0 a3 i40`: kinds and times of all tags but onMetaData; headers as `V0` and `A0`.
    fn shape(&self) -> String {
        let names: Vec<String> = self
            .tags
            .iter()
            .skip(1)
            .map(|tag| {
                let header = tag.body.get(1) == Some(&0);
                let name = match (tag.kind, tag.body[0] & 0xf0, header) {
                    (TAG_VIDEO, _, true) => "V",
                    (TAG_VIDEO, 0x10, _) => "K",
                    (TAG_VIDEO, ..) => "i",
                    (TAG_AUDIO, _, true) => "A",
                    (TAG_AUDIO, ..) => "a",
                    _ => "d",
                };
                format!("{name}{}", tag.timestamp_ms)
            })
            .collect();
        names.join(" ")
    }
}
