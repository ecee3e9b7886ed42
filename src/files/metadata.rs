//! What a recording's onMetaData says about where its keyframes are, and what of it is still true once the file was cut.

use bytes::{Bytes, BytesMut};

use crate::media::Metadata;
use crate::rtmp::amf0::{self, Value};

/// Properties that speak of places in the whole file, or of its size. A player that believed them in an answer that was cut would look
/// for keyframes where there are none. The duration stays: times are those of the whole file.
const OF_THE_WHOLE_FILE: &[&str] = &[
    "keyframes",
    "haskeyframes",
    "seekpoints",
    "canseektoend",
    "filesize",
    "datasize",
    "videosize",
    "audiosize",
    "lastkeyframelocation",
];

/// A keyframe, as an index has it: it may be wrong in every respect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) ms: f64,
    pub(super) at: u64,
}

/// The index that FFmpeg, yamdi, SRS and others write: `keyframes: { times: [s, …], filepositions: [bytes, …] }`. Empty when
/// there is none.
pub(super) fn index(metadata: &Metadata) -> Vec<Entry> {
    let list = |name| match metadata.get("keyframes")?.get(name)? {
        Value::StrictArray(values) => Some(values),
        _ => None,
    };
    let (Some(times), Some(positions)) = (list("times"), list("filepositions")) else {
        return Vec::new();
    };
    let entry = |(time, position): (&Value, &Value)| {
        let (time, position) = (time.as_f64()?, position.as_f64()?);
        // Above 2^53 a number is no longer a place.
        let sound = time.is_finite() && (0.0..9_007_199_254_740_992.0).contains(&position);
        sound.then_some(Entry {
            ms: time * 1000.0,
            at: position as u64,
        })
    };
    times.iter().zip(positions).filter_map(entry).collect()
}

/// The body of the script tag for a file that was cut.
pub(super) fn without_places(metadata: &Metadata) -> Bytes {
    let mut out = BytesMut::new();
    amf0::encode(&Value::String("onMetaData".to_owned()), &mut out);
    let stays = |name: &str| !OF_THE_WHOLE_FILE.contains(&name.to_ascii_lowercase().as_str());
    let properties = metadata
        .properties()
        .iter()
        .filter(|(name, _)| stays(name))
        .cloned()
        .collect();
    amf0::encode(&Value::EcmaArray(properties), &mut out);
    out.freeze()
}
