//! onMetaData: what a publisher says about its stream, and what players are told of it.
//!
//! Nothing here fails. Metadata is advice; a stream whose metadata is broken plays as well as another. What can be read of
//! broken metadata is used, and the rest is left out.

use bytes::{Bytes, BytesMut};

use super::codec::Codec;
use super::frame::FrameKind;
use crate::rtmp::amf0::{self, Value};

/// What players are told in the property `server`.
pub const SERVER: &str = concat!("pingora-live/", env!("CARGO_PKG_VERSION"));

/// How many bytes of onMetaData are remembered and passed on. Metadata has some hundred bytes; with the seek index of a
/// recording, which is useless in a live stream, tens of kilobytes. Larger ones are ignored: each joining player would be sent
/// them.
pub const MAX_METADATA_BYTES: usize = 256 * 1024;

/// The name of the script tag that describes a stream.
const ON_META_DATA: &str = "onMetaData";

/// Property names that make no sense in a live stream: they describe a finished file. A player that believes them
/// offers a seek bar, looks for an index, or stops at the "end". Compared without regard to case.
const FILE_PROPERTIES: &[&str] = &[
    "duration",
    "totalduration",
    "filesize",
    "datasize",
    "videosize",
    "audiosize",
    "lasttimestamp",
    "lastkeyframetimestamp",
    "lastkeyframelocation",
    "lastvideotimestamp",
    "lastaudiotimestamp",
    "keyframes",
    "haskeyframes",
    "cuepoints",
    "hascuepoints",
    "canseektoend",
    "seekpoints",
    "starttime",
    // The header's flags say which kinds of tags a player is given. These two may contradict it, and mpegts.js
    // believes them rather than the header: it then waits for audio that never comes.
    "hasaudio",
    "hasvideo",
    // "has metadata": true by being here.
    "hasmetadata",
];

/// Properties that describe video or audio only, for players that are not given that kind of tags.
const VIDEO_PROPERTIES: &[&str] = &[
    "width",
    "height",
    "displaywidth",
    "displayheight",
    "framerate",
    "fps",
    "avcprofile",
    "avclevel",
];

/// Is it onMetaData? The body of a script tag or message with its kind; RTMP's `@setDataFrame`, which asks the server to
/// keep the data and is no part of it, is cut off.
pub fn classify(body: &Bytes) -> (FrameKind, Bytes) {
    const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";
    const META_DATA: &[u8] = b"\x02\x00\x0aonMetaData";
    let body = if body.starts_with(SET_DATA_FRAME) {
        body.slice(SET_DATA_FRAME.len()..)
    } else {
        body.clone()
    };
    let kind = if body.starts_with(META_DATA) {
        FrameKind::Metadata
    } else {
        FrameKind::Data
    };
    (kind, body)
}

/// The properties of onMetaData, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    properties: Vec<(String, Value)>,
}

impl Metadata {
    /// Reads the body of a script tag. Of a broken one: what comes before the break.
    pub fn read(body: &[u8]) -> Metadata {
        let mut rest = body;
        let named =
            matches!(amf0::decode(&mut rest), Ok(Value::String(name)) if name == ON_META_DATA);
        if !named {
            return Metadata::default();
        }
        let start = rest;
        let properties = match amf0::decode(&mut rest) {
            Ok(Value::Object(properties) | Value::EcmaArray(properties)) => properties,
            Ok(Value::Typed { properties, .. }) => properties,
            Ok(_) => Vec::new(),
            Err(_) => salvage(start),
        };
        Metadata { properties }
    }

    /// The property of that name; the first, should there be several.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.properties
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// All properties, in the order in which they came.
    pub fn properties(&self) -> &[(String, Value)] {
        &self.properties
    }

    /// The codec of the default video track, as announced.
    pub fn video_codec(&self) -> Option<Codec> {
        codec(
            self.get("videocodecid")?,
            Codec::from_video_four_cc,
            Codec::from_legacy_video,
        )
        // Video codec 0 is reserved; encoders that always write the property mean "none".
        .filter(|codec| *codec != Codec::from_legacy_video(0))
    }

    /// The codec of the default audio track, as announced.
    pub fn audio_codec(&self) -> Option<Codec> {
        codec(
            self.get("audiocodecid")?,
            Codec::from_audio_four_cc,
            Codec::from_legacy_audio,
        )
    }

    /// Whether there is video, as announced by `videocodecid` or `hasVideo`; None when neither kind is announced.
    pub fn announces_video(&self) -> Option<bool> {
        self.announces().map(|(video, _)| video)
    }

    /// Whether there is audio, as announced by `audiocodecid` or `hasAudio`; None when neither kind is announced.
    pub fn announces_audio(&self) -> Option<bool> {
        self.announces().map(|(_, audio)| audio)
    }

    fn announces(&self) -> Option<(bool, bool)> {
        let flag = |name| self.get(name).and_then(Value::as_bool);
        let video = flag("hasVideo").or(self
            .get("videocodecid")
            .map(|_| self.video_codec().is_some()));
        let audio = flag("hasAudio").or(self
            .get("audiocodecid")
            .map(|_| self.audio_codec().is_some()));
        (video.is_some() || audio.is_some())
            .then_some((video.unwrap_or(false), audio.unwrap_or(false)))
    }

    /// Width in pixels, as announced.
    pub fn width(&self) -> Option<u32> {
        self.whole("width")
    }

    /// Height in pixels, as announced.
    pub fn height(&self) -> Option<u32> {
        self.whole("height")
    }

    /// Frames a second, as announced.
    pub fn frame_rate(&self) -> Option<f64> {
        self.number("framerate")
            .or_else(|| self.number("fps"))
            .filter(|rate| *rate > 0.0)
    }

    /// Video kilobits a second, as announced.
    pub fn video_kbps(&self) -> Option<f64> {
        self.number("videodatarate").filter(|rate| *rate > 0.0)
    }

    /// Audio kilobits a second, as announced.
    pub fn audio_kbps(&self) -> Option<f64> {
        self.number("audiodatarate").filter(|rate| *rate > 0.0)
    }

    /// The encoder's name, as announced: any text, from a peer.
    pub fn encoder(&self) -> Option<&str> {
        self.get("encoder")?.as_str()
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.get(name)?.as_f64().filter(|number| number.is_finite())
    }

    fn whole(&self, name: &str) -> Option<u32> {
        // A cast from float saturates; a picture of no pixels is as good as unknown.
        self.number(name)
            .map(|number| number as u32)
            .filter(|number| *number > 0)
    }

    /// Appends the onMetaData body that players get: the publisher's properties in their order, without those that
    /// describe a file, without those of a kind of tags that the player is not given, and with `server`.
    pub fn write_for_players(&self, video: bool, audio: bool, out: &mut BytesMut) {
        let mut properties: Vec<(String, Value)> = self
            .properties
            .iter()
            .filter(|(name, _)| is_live(name, video, audio))
            .cloned()
            .collect();
        let server = Value::String(SERVER.to_owned());
        match properties.iter_mut().find(|(name, _)| name == "server") {
            Some((_, value)) => *value = server,
            None => properties.push(("server".to_owned(), server)),
        }
        amf0::encode(&Value::String(ON_META_DATA.to_owned()), out);
        // E-RTMP v2, Enhancing onMetaData: "a single argument of type ECMA array".
        amf0::encode(&Value::EcmaArray(properties), out);
    }
}

fn is_live(name: &str, video: bool, audio: bool) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.as_str();
    let of_video = name.starts_with("video") || VIDEO_PROPERTIES.contains(&name);
    let of_audio = name.starts_with("audio") || name == "stereo" || name.starts_with("aac");
    !FILE_PROPERTIES.contains(&name) && (video || !of_video) && (audio || !of_audio)
}

/// E-RTMP v2, Enhancing onMetaData: a legacy id, or a FourCC as a big-endian number. FMLE and others write a string.
fn codec(
    value: &Value,
    from_four_cc: fn([u8; 4]) -> Codec,
    from_legacy: fn(u8) -> Codec,
) -> Option<Codec> {
    match value {
        Value::Number(number) if (0.0..16.0).contains(number) => Some(from_legacy(*number as u8)),
        Value::Number(number) if (16.0..=f64::from(u32::MAX)).contains(number) => {
            Some(from_four_cc((*number as u32).to_be_bytes()))
        }
        Value::String(name) if !name.is_empty() => {
            let mut four_cc = [b' '; 4];
            four_cc
                .iter_mut()
                .zip(name.bytes())
                .for_each(|(to, from)| *to = from);
            Some(from_four_cc(four_cc))
        }
        _ => None,
    }
}

/// The properties of an object or ECMA array up to the first that cannot be read.
fn salvage(container: &[u8]) -> Vec<(String, Value)> {
    // AMF0 §2.5, §2.10: marker, for an array a count (which is a hint only), then names and values.
    let mut rest = match container {
        [0x03, rest @ ..] | [0x08, _, _, _, _, rest @ ..] => rest,
        _ => return Vec::new(),
    };
    let mut properties = Vec::new();
    while properties.len() < MAX_SALVAGED
        && let Some((length, after)) = rest.split_first_chunk::<2>()
        && let Some((name, mut value)) =
            after.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        && let Ok(read) = amf0::decode(&mut value)
    {
        properties.push((String::from_utf8_lossy(name).into_owned(), read));
        rest = value;
    }
    properties
}

/// How many properties of broken metadata are kept. Whole metadata has fewer than fifty.
const MAX_SALVAGED: usize = 128;

#[cfg(test)]
mod tests;
