use super::*;
use crate::media::fixtures::*;
use reader::Reader;

mod av1;
mod codecs;
mod judge;
mod properties;
mod reader;
mod tables;
mod time;

/// A 90 kHz timestamp of a frame at `ms`.
fn at(ms: u64) -> u64 {
    (ms + clock::DELAY_MS) * 90
}

fn video(dts_ms: u64, digits: &str) -> Frame {
    Frame::parse(FrameKind::Video, dts_ms, hex(digits)).unwrap()
}

fn audio(dts_ms: u64, digits: &str) -> Frame {
    Frame::parse(FrameKind::Audio, dts_ms, hex(digits)).unwrap()
}

/// An H.264 IDR picture of one slice, composition time 0.
fn idr(dts_ms: u64) -> Frame {
    video(dts_ms, "17 01 000000 00000003 65aabb")
}

/// An H.264 picture that refers to others.
fn inter(dts_ms: u64) -> Frame {
    video(dts_ms, "27 01 000000 00000003 41aabb")
}

/// An AAC frame of three bytes.
fn sound(dts_ms: u64) -> Frame {
    audio(dts_ms, "af 01 210011")
}

/// A muxer for a stream with these headers.
fn mux(headers: &[Frame]) -> TsMux {
    TsMux::new(&tracks(headers))
}

fn tracks(frames: &[Frame]) -> Tracks {
    let mut tracks = Tracks::new();
    for frame in frames {
        tracks.update(frame);
    }
    tracks
}

fn h264_aac() -> TsMux {
    mux(&[video(0, H264_HEADER), audio(0, AAC_HEADER)])
}

/// Reads what the muxer makes of these frames.
fn read(mux: &mut TsMux, frames: &[Frame]) -> Reader {
    let mut reader = Reader::new();
    for frame in frames {
        let mut out = BytesMut::new();
        mux.write(frame, &mut out);
        reader.feed(&out);
    }
    reader
}

/// SPS and PPS of [`H264_HEADER`] as they stand in a byte stream.
const H264_SETS: &str = "\
    00000001 6764000cacd941519e226c0440000003004000000503c50a6580
    00000001 68ebe3cb22c0";

#[test]
fn bytes_of_a_stream_that_begins() {
    let mut out = BytesMut::new();
    let mut mux = mux(&[video(0, H264_HEADER)]);
    mux.write(&video(1000, "17 01 000028 00000003 65aabb"), &mut out);
    let packets: Vec<_> = out.chunks(PACKET).collect();
    assert_eq!(packets.len(), 3);
    // Sync, start of a unit on PID 0, payload with counter 0; pointer; table 0 of 13 bytes: transport stream 1, version 0,
    // section 0 of 0; program 1 is on PID 0x1000; CRC.
    let pat = hex("47 4000 10 00  00 b00d 0001 c1 00 00  0001 f000  2ab104b2");
    assert!(packets[0].starts_with(&pat));
    assert!(packets[0][pat.len()..].iter().all(|byte| *byte == 0xff));
    // Table 2 of 18 bytes: program 1, version 0; clock on PID 0x100; no descriptors; H.264 on PID 0x100; CRC.
    let pmt = hex("47 5000 10 00  02 b012 0001 c1 00 00  e100 f000  1b e100 f000  15bd4d56");
    assert!(packets[1].starts_with(&pmt));
    // Start on PID 0x100, adaptation field and payload.
    let head = hex("47 4100 30");
    assert!(packets[2].starts_with(&head));
    // Random access, clock 1000 ms = 90,000; then stuffing.
    let (field, pes) = packets[2][4..].split_at(1 + usize::from(packets[2][4]));
    assert_eq!(field[1..8], hex("50 0000afc87e00")[..]);
    // Video, 65 bytes follow, aligned; PTS 1540 ms = 138,600, DTS 1500 ms = 135,000; delimiter, sets, slice.
    let expected = format!(
        "000001 e0 0041 84 c0 0a  31 00093ad1  11 00091eb1  00000001 09f0 {H264_SETS} 000001 65aabb"
    );
    assert_eq!(pes, hex(&expected));
    let reader = read(
        &mut h264_aac(),
        &[video(1000, "17 01 000028 00000003 65aabb")],
    );
    let pes = &reader.pes[0];
    assert_eq!((pes.pts, pes.dts, pes.pcr), (at(1040), at(1000), 90_000));
    assert!(pes.random_access);
}

#[test]
fn a_joiner_gets_nothing_of_its_own() {
    let mut mux = h264_aac();
    mux.write(&idr(0), &mut BytesMut::new());
    let mut out = BytesMut::new();
    let tracks = tracks(&[video(0, H264_HEADER), audio(0, AAC_HEADER)]);
    mux.start(&tracks, 0, &mut out);
    mux.headers(&tracks, 0, &mut out);
    assert!(out.is_empty());
}

#[test]
fn a_player_may_start_at_any_keyframe() {
    let mut mux = h264_aac();
    let mut units = Vec::new();
    for second in 0..5 {
        let mut out = BytesMut::new();
        for frame in 0..25 {
            let dts = second * 1000 + frame * 40;
            mux.write(&if frame == 0 { idr(dts) } else { inter(dts) }, &mut out);
            mux.write(&sound(dts + 3), &mut out);
            mux.write(&sound(dts + 24), &mut out);
        }
        units.push(out);
    }
    for start in 0..5 {
        let mut reader = Reader::new();
        for unit in &units[start..] {
            reader.feed(unit);
        }
        assert_eq!(reader.pes.len(), (5 - start) * 75);
        assert!(reader.pes[0].random_access);
        let second = start as u64 * 1000;
        assert_eq!(
            (reader.pes[0].dts, reader.pes[0].pcr),
            (at(second), second * 90)
        );
    }
    assert_eq!(mux.dropped(), 0);
}

#[test]
fn script_data_gives_nothing() {
    let mut mux = h264_aac();
    let metadata = Frame::parse(FrameKind::Metadata, 0, hex(META_DATA)).unwrap();
    let reader = read(&mut mux, &[metadata]);
    assert_eq!((reader.packets, mux.dropped()), (0, 0));
}

#[test]
fn only_one_kind() {
    let headers = tracks(&[video(0, H264_HEADER), audio(0, AAC_HEADER)]);
    for (kind, pid) in [(FrameKind::Video, VIDEO_PID), (FrameKind::Audio, AUDIO_PID)] {
        let mut mux = TsMux::only(kind, &headers);
        let reader = read(&mut mux, &[idr(0), sound(0), inter(40), sound(21)]);
        let map = reader.map.unwrap();
        assert_eq!(map.streams.len(), 1);
        assert_eq!(map.pcr_pid, pid);
        assert!(reader.pes.iter().all(|pes| pes.pid == pid));
        assert_eq!((reader.pes.len(), mux.dropped()), (2, 0));
    }
}
