//! RTMP: messages cut into chunks, as a player of a message stream reads them after its play was accepted.
//!
//! - *Passes through*: the bodies of audio, video and data messages, byte by byte, E-RTMP bodies included.
//! - *Is transformed*: timestamps are those of the stream's timeline, modulo 2^32; onMetaData loses what describes a file
//!   and gets a `server` ([`Metadata::write_for_players`]).
//! - *Is dropped*: nothing.
//!
//! Every message begins with a type 0 header (RTMP 1.0 §5.3.1.2.1), so that the bytes can be shared by players that begin to
//! read at any unit. That costs a few bytes a message more than deltas would.

use bytes::BytesMut;

use super::{METADATA_MS, Muxer};
use crate::media::{Frame, FrameKind, Metadata, Tracks};
use crate::rtmp::FIRST_MEDIA_CSID;
use crate::rtmp::chunk::encode_absolute;
use crate::rtmp::message;

/// The message stream that players play on. They are given the lowest free number, which is 1 for all that play one stream on a
/// connection; others cannot share these bytes.
pub const STREAM_ID: u32 = 1;

/// Chunk streams: apart from those of the session's own messages.
const CSID_AUDIO: u32 = FIRST_MEDIA_CSID;
const CSID_VIDEO: u32 = FIRST_MEDIA_CSID + 1;
const CSID_DATA: u32 = FIRST_MEDIA_CSID + 2;

/// Makes RTMP. See the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtmpMux {
    /// The chunk size that the session announced, in bytes.
    pub chunk_size: u32,
}

impl RtmpMux {
    fn message(&self, kind: FrameKind, dts_ms: u64, body: &[u8], out: &mut BytesMut) {
        let (csid, type_id) = match kind {
            FrameKind::Audio => (CSID_AUDIO, message::AUDIO),
            FrameKind::Video => (CSID_VIDEO, message::VIDEO),
            FrameKind::Metadata | FrameKind::Data => (CSID_DATA, message::DATA_AMF0),
        };
        // The wire has 32 bits: every 49.7 days the timestamps begin again at 0, which RTMP 1.0 §5.3.1.1 provides for.
        encode_absolute(
            self.chunk_size,
            csid,
            type_id,
            STREAM_ID,
            dts_ms as u32,
            body,
            out,
        );
    }

    fn metadata(&self, metadata: &Metadata, out: &mut BytesMut) {
        let mut body = BytesMut::new();
        metadata.write_for_players(true, true, &mut body);
        self.message(FrameKind::Metadata, METADATA_MS, &body, out);
    }
}

impl Muxer for RtmpMux {
    fn start(&self, tracks: &Tracks, dts_ms: u64, out: &mut BytesMut) {
        self.headers(tracks, dts_ms, out);
    }

    fn headers(&self, tracks: &Tracks, dts_ms: u64, out: &mut BytesMut) {
        match tracks.properties() {
            Some(metadata) => self.metadata(metadata, out),
            None => self.metadata(&Metadata::default(), out),
        }
        for header in tracks.headers() {
            self.message(header.kind, dts_ms, &header.payload, out);
        }
    }

    fn write(&mut self, frame: &Frame, out: &mut BytesMut) {
        match frame.kind {
            FrameKind::Metadata => {
                self.metadata(&Metadata::read(&frame.payload), out);
            }
            kind => self.message(kind, frame.dts_ms, &frame.payload, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    use crate::rtmp::chunk::Decoder;

    fn frame(kind: FrameKind, dts_ms: u64, payload: Vec<u8>) -> Frame {
        Frame::parse(kind, dts_ms, Bytes::from(payload)).expect("a tag body")
    }

    fn read(chunk_size: u32, mut bytes: BytesMut) -> Vec<(u8, u32, u32, Bytes)> {
        let mut decoder = Decoder::new();
        decoder.set_chunk_size(chunk_size);
        let mut messages = Vec::new();
        while let Some(m) = decoder.decode(&mut bytes).expect("chunks") {
            messages.push((m.type_id, m.stream_id, m.timestamp, m.payload));
        }
        assert!(bytes.is_empty());
        messages
    }

    #[test]
    fn a_joiner_reads_headers_and_frames_from_any_message_on() {
        let mut mux = RtmpMux { chunk_size: 128 };
        let mut tracks = Tracks::new();
        tracks.update(&frame(
            FrameKind::Video,
            0,
            vec![0x17, 0, 0, 0, 0, 1, 100, 0, 31],
        ));
        tracks.update(&frame(FrameKind::Audio, 0, vec![0xaf, 0, 0x12, 0x10]));
        let mut early = BytesMut::new();
        mux.write(
            &frame(FrameKind::Video, 0, vec![0x17, 1, 0, 0, 0, 9]),
            &mut early,
        );
        let mut out = BytesMut::new();
        mux.start(&tracks, 40, &mut out);
        let mut body = vec![0x27, 1, 0, 0, 0];
        body.resize(1000, 5);
        mux.write(&frame(FrameKind::Video, 40, body.clone()), &mut out);
        mux.write(
            &frame(FrameKind::Audio, 0x1_0000_0001, vec![0xaf, 1, 2]),
            &mut out,
        );
        let messages = read(128, out);
        let shape: Vec<(u8, u32, u32)> = messages.iter().map(|m| (m.0, m.1, m.2)).collect();
        assert_eq!(
            shape,
            [(18, 1, 0), (9, 1, 40), (8, 1, 40), (9, 1, 40), (8, 1, 1)]
        );
        assert_eq!(messages[3].3, body);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            chunk_size in 1u32..70_000,
            frames in proptest::collection::vec((any::<bool>(), any::<u64>(), 0usize..3000), 0..20),
        ) {
            let mut mux = RtmpMux { chunk_size };
            let mut out = BytesMut::new();
            let mut sent = Vec::new();
            for (video, dts_ms, size) in frames {
                let (kind, mut body, type_id) = match video {
                    true => (FrameKind::Video, vec![0x27, 1, 0, 0, 0], 9),
                    false => (FrameKind::Audio, vec![0xaf, 1], 8),
                };
                body.resize(body.len() + size, 7);
                mux.write(&frame(kind, dts_ms, body.clone()), &mut out);
                sent.push((type_id, STREAM_ID, dts_ms as u32, Bytes::from(body)));
            }
            prop_assert_eq!(read(chunk_size, out), sent);
        }
    }
}
