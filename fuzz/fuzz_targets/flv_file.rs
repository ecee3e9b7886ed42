//! An FLV file, whole and in pieces of a size that the first byte states: both give the same. Script tags are read as
//! metadata, and what players are told can always be read back.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pingora_live::media::flv::{FlvError, FlvReader, FlvTag, TAG_SCRIPT};
use pingora_live::media::{Metadata, metadata};
use pingora_live::rtmp::amf0;

const MAX_BODY: usize = 4096;

fn read(pieces: impl Iterator<Item = impl AsRef<[u8]>>) -> (Vec<FlvTag>, Option<FlvError>, u64) {
    let mut reader = FlvReader::with_max_body(MAX_BODY);
    let mut tags = Vec::new();
    for piece in pieces {
        reader.feed(piece.as_ref());
        loop {
            match reader.poll() {
                Ok(Some(tag)) => tags.push(tag),
                Ok(None) => break,
                Err(error) => return (tags, Some(error), reader.offset()),
            }
        }
    }
    (tags, None, reader.offset())
}

fuzz_target!(|data: &[u8]| {
    let Some((size, file)) = data.split_first() else {
        return;
    };
    let whole = read(std::iter::once(file));
    let pieces = read(file.chunks(usize::from(*size) + 1));
    assert_eq!(whole, pieces);
    assert!(whole.2 <= file.len() as u64);
    for tag in whole.0 {
        assert!(tag.body.len() <= MAX_BODY);
        if tag.kind == TAG_SCRIPT {
            let (_, body) = metadata::classify(&tag.body);
            let metadata = Metadata::read(&body);
            let _ = (
                metadata.video_codec(),
                metadata.audio_codec(),
                metadata.announces_video(),
            );
            let mut out = BytesMut::new();
            metadata.write_for_players(size & 1 == 0, size & 2 == 0, &mut out);
            let values = amf0::decode_all(&out).expect("what players are told can be read");
            assert_eq!(values.len(), 2);
        }
    }
});
