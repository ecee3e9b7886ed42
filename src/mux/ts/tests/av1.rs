//! AV1 by the draft of the Alliance for Open Media.

use super::*;

/// A sequence header OBU with its size, as in [`AV1_HEADER`].
const SEQUENCE: &str = "0a0b 000000043d06d4daf90040";
/// The same as it stands in MPEG-TS: a byte between the third zero and what could be a start code with it.
const SEQUENCE_OUT: &str = "000001 0a0b 0000 03 00043d06d4daf90040";

fn av1() -> TsMux {
    mux(&[video(0, AV1_HEADER)])
}

fn unit(dts_ms: u64, key: bool, obus: &str) -> Frame {
    let first = if key { "91" } else { "a1" };
    video(dts_ms, &format!("{first} 61763031 {obus}"))
}

/// The payloads of what becomes of one unit.
fn payloads(frame: Frame) -> Vec<Vec<u8>> {
    let mut mux = av1();
    let reader = read(&mut mux, &[frame]);
    assert_eq!(mux.dropped(), 0);
    reader.pes.into_iter().map(|pes| pes.payload).collect()
}

#[test]
fn the_map_registers_it_and_describes_it() {
    let reader = read(&mut av1(), &[unit(0, true, "3202 aabb")]);
    let map = reader.map.unwrap();
    // "AV01", and then the record's four bytes with hdr_wcg_idc 3.
    let expected = hex("05 04 41563031  80 04 81000cc0");
    assert_eq!(map.streams, [(6, VIDEO_PID, expected.to_vec())]);
    let pes = &reader.pes[0];
    assert_eq!(
        (pes.stream_id, pes.random_access, pes.priority),
        (0xbd, true, true)
    );
    let reader = read(&mut av1(), &[unit(0, false, "3202 aabb")]);
    let pes = &reader.pes[0];
    assert_eq!((pes.random_access, pes.priority), (false, false));
}

/// A publisher that has the descriptor sends it instead of a record: it stands in the map as it is. The sequence headers are in
/// the stream then.
#[test]
fn a_descriptor_of_the_publisher_stands_in_the_map() {
    // MPEG2TSSequenceStart; hdr_wcg_idc 2: the stream may have any dynamic range and colours.
    let header = "95 61763031 80 04 81000c8a";
    let mut mux = mux(&[video(0, header)]);
    let frame = unit(0, true, &format!("1200 {SEQUENCE} 3203 aabbcc"));
    let reader = read(&mut mux, &[frame, unit(40, false, "3202 ddee")]);
    let map = reader.map.unwrap();
    let expected = hex("05 04 41563031  80 04 81000c8a");
    assert_eq!(map.streams, [(6, VIDEO_PID, expected.to_vec())]);
    let payloads: Vec<_> = reader.pes.iter().map(|pes| &pes.payload[..]).collect();
    let key = hex(&format!("{SEQUENCE_OUT} 000001 3203 aabbcc"));
    assert_eq!(payloads, [&key[..], &hex("000001 3202 ddee")[..]]);
    // It is known before the first frame, and takes the place of a record, which takes its place in turn.
    let mut tracks = Tracks::new();
    for (header, expected) in [(header, "8a"), (AV1_HEADER, "c0"), (header, "8a")] {
        tracks.update(&video(0, header));
        assert_eq!(TsMux::supports(&tracks), Ok(()));
        assert_eq!(tracks.headers().count(), 1);
        let reader = read(&mut TsMux::new(&tracks), &[unit(0, true, "3202 aabb")]);
        let streams = reader.map.unwrap().streams;
        assert_eq!(streams[0].2[11..], hex(expected)[..]);
    }
}

#[test]
fn what_is_no_descriptor_is_no_track() {
    for broken in [
        "8004 81000c",
        "8004 81000cc000",
        "8005 81000cc000",
        "8104 81000cc0",
        "8004 01000cc0",
    ] {
        let mut mux = mux(&[video(0, &format!("95 61763031 {broken}"))]);
        let mut out = BytesMut::new();
        mux.write(&unit(0, true, "3202 aabb"), &mut out);
        assert_eq!((out.len(), mux.dropped()), (0, 1), "{broken}");
    }
    // What the track was is over.
    let mut mux = av1();
    let mut out = BytesMut::new();
    mux.write(&video(0, "95 61763031 8104 81000cc0"), &mut out);
    mux.write(&unit(0, true, "3202 aabb"), &mut out);
    assert_eq!((out.len(), mux.dropped()), (0, 1));
}

#[test]
fn obus_get_start_codes() {
    // A temporal delimiter and a tile list go; a keyframe gets the sequence header that it has not.
    let frame = unit(0, true, "1200 4201ff 3203 aabbcc");
    let expected = format!("{SEQUENCE_OUT} 000001 3203 aabbcc");
    assert_eq!(payloads(frame), [hex(&expected)]);
    // Its own is not repeated, and others need none.
    let frame = unit(0, true, &format!("1200 {SEQUENCE} 3203 aabbcc"));
    assert_eq!(payloads(frame), [hex(&expected)]);
    let frame = unit(0, false, "3203 aabbcc");
    assert_eq!(payloads(frame), [hex("000001 3203 aabbcc")]);
}

#[test]
fn start_codes_are_not_emulated() {
    for (obu, out) in [
        ("3203 000001", "3203 0000 03 01"),
        ("3205 0000000000", "3205 0000 03 0000 03 00"),
        ("3204 00000003", "3204 0000 03 00 03"),
        ("3204 00000004", "3204 0000 03 0004"),
        // The last zeros of one are no part of the next start code.
        ("3203 aa0000 3201 bb", "3203 aa0000 000001 3201 bb"),
        ("3600 00 3201 bb", "3600 00 000001 3201 bb"),
    ] {
        let expected: Vec<u8> = hex(&format!("000001 {out}")).to_vec();
        assert_eq!(payloads(unit(0, false, obu)).concat(), expected, "{obu}");
    }
}

#[test]
fn an_obu_without_a_size_gets_it() {
    // With an extension, and without.
    for (obu, out) in [("30 aabb", "3202 aabb"), ("34 08 aabb", "3608 02 aabb")] {
        let frame = unit(0, false, obu);
        assert_eq!(payloads(frame), [hex(&format!("000001 {out}"))], "{obu}");
    }
    let long = "aa".repeat(300);
    let frame = unit(0, false, &format!("30 {long}"));
    assert_eq!(payloads(frame), [hex(&format!("000001 32 ac02 {long}"))]);
}

/// Frames that are not shown have PES packets of their own, decoded before the one that is.
#[test]
fn each_frame_is_an_access_unit() {
    // Delimiter, sequence header, frame; metadata, header and tile groups of the second; an existing frame is shown; padding.
    let frame = unit(
        40,
        true,
        &format!("1200 {SEQUENCE} 3201aa 2a01bb 1a01cc 2201dd 2201ee 1a01ff 7a00"),
    );
    let mut mux = av1();
    let reader = read(&mut mux, &[frame, unit(80, false, "3201aa")]);
    let payloads: Vec<_> = reader.pes.iter().map(|pes| &pes.payload[..]).collect();
    let second = "000001 2a01bb 000001 1a01cc 000001 2201dd 000001 2201ee";
    assert_eq!(
        payloads,
        [
            &hex(&format!("{SEQUENCE_OUT} 000001 3201aa"))[..],
            &hex(second),
            &hex("000001 1a01ff 000001 7a00"),
            &hex("000001 3201aa"),
        ]
    );
    let times: Vec<_> = reader.pes.iter().map(|pes| (pes.pts, pes.dts)).collect();
    let expected = [at(40) - 2, at(40) - 1, at(40), at(80)];
    assert_eq!(times, expected.map(|time| (time, time)));
    let starts: Vec<bool> = reader.pes.iter().map(|pes| pes.random_access).collect();
    assert_eq!(starts, [true, false, false, false]);
    assert_eq!((mux.dropped(), reader.tables.len()), (0, 1));
}

/// What is in a unit behind its last frame stays with it.
#[test]
fn metadata_at_the_end_is_no_access_unit() {
    assert_eq!(
        payloads(unit(0, false, "3201aa 2a01bb")),
        [hex("000001 3201aa 000001 2a01bb")]
    );
}

#[test]
fn what_is_broken_is_dropped() {
    let too_many = "3201aa".repeat(17);
    for obus in [
        "",
        // Without a frame.
        "1200",
        SEQUENCE,
        // Past the end; a size without end; the forbidden bit; an extension that is not there.
        "3203aabb",
        "32ffffffffffffffffff",
        "b201aa",
        "36",
        "3201aa 3205bb",
        &too_many,
    ] {
        let mut mux = av1();
        let reader = read(&mut mux, &[unit(0, true, obus)]);
        assert_eq!((reader.packets, mux.dropped()), (0, 1), "{obus}");
    }
    // As many as there may be.
    assert_eq!(payloads(unit(0, false, &"3201aa".repeat(16))).len(), 16);
}

#[test]
fn a_record_that_is_none_is_no_track() {
    for record in ["", "81000c", "01000c00"] {
        let mut mux = mux(&[video(0, &format!("90 61763031 {record}"))]);
        let reader = read(&mut mux, &[unit(0, true, "3201aa")]);
        assert_eq!((reader.packets, mux.dropped()), (0, 1), "{record}");
    }
    // Without a sequence header of its own, the stream's is enough.
    let mut mux = mux(&[video(0, "90 61763031 81000c00")]);
    let reader = read(&mut mux, &[unit(0, true, "3201aa")]);
    assert_eq!(reader.pes[0].payload, hex("000001 3201aa"));
}

#[test]
fn a_large_picture_has_no_length() {
    let mut body = hex("a1 61763031 30").to_vec();
    body.resize(body.len() + 100_000, 0xaa);
    let frame = Frame::parse(FrameKind::Video, 0, body.into()).unwrap();
    let reader = read(&mut av1(), &[frame]);
    assert_eq!(reader.pes[0].length, 0);
    // Start code, header, three bytes of size.
    assert_eq!(reader.pes[0].payload.len(), 3 + 1 + 3 + 100_000);
}
