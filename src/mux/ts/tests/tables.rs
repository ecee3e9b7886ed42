//! What the program map says, and when tables are written.

use super::*;
use reader::Map;

fn descriptors(map: &Map, pid: u16) -> (u8, &[u8]) {
    let (kind, _, descriptors) = map.streams.iter().find(|(_, p, _)| *p == pid).unwrap();
    (*kind, descriptors)
}

#[test]
fn what_each_codec_is_called() {
    // Codec, header, first frame, stream_type, descriptors.
    let cases: &[(&str, &str, u8, &str)] = &[
        (AAC_HEADER, AAC_FRAME, 0x0f, ""),
        // E-RTMP.
        ("90 6d703461 119056e500", "91 6d703461 210011", 0x0f, ""),
        // 44.1 kHz, and 22.05 kHz.
        ("", MP3_FRAME, 0x03, ""),
        ("", "2f fff380c400000000", 0x04, ""),
        ("", "91 2e6d7033 fffb9064", 0x03, ""),
        // 'Opus', and the extension descriptor: two channels.
        (OPUS_HEADER, OPUS_FRAME, 0x06, "05 04 4f707573  7f 02 80 02"),
        (
            "90 4f707573",
            OPUS_FRAME,
            0x06,
            "05 04 4f707573  7f 02 80 02",
        ),
        ("", OPUS_FRAME, 0x06, "05 04 4f707573  7f 02 80 02"),
        // 'AC-3', and its descriptor: 48 kHz, bsid 8, code 15 (448 kbit/s); main service, 3/2, full; no language; ...
        (
            AC3_EMPTY_HEADER,
            AC3_FRAME,
            0x81,
            "05 04 41432d33  81 07 08 3c 0f ff 0f 01 3f",
        ),
        ("", EAC3_FRAME, 0x87, "05 04 45414333"),
    ];
    for (header, frame, stream_type, expected) in cases {
        let mut frames = vec![audio(20, frame)];
        if !header.is_empty() {
            frames.insert(0, audio(0, header));
        }
        let reader = read(&mut mux(&[]), &frames);
        let map = reader.map.unwrap();
        assert_eq!(map.pcr_pid, AUDIO_PID);
        assert_eq!(
            descriptors(&map, AUDIO_PID),
            (*stream_type, &hex(expected)[..]),
            "{frame}"
        );
    }
    let reader = read(&mut mux(&[video(0, H264_HEADER)]), &[idr(0)]);
    assert_eq!(
        descriptors(&reader.map.unwrap(), VIDEO_PID),
        (0x1b, &[][..])
    );
    let hevc = video(0, "91 68766331 000000 00000003 2601aa");
    let reader = read(&mut mux(&[video(0, HEVC_HEADER)]), &[hevc]);
    assert_eq!(
        descriptors(&reader.map.unwrap(), VIDEO_PID),
        (0x24, &b"\x05\x04HEVC"[..])
    );
}

#[test]
fn a_track_that_comes_late_is_added() {
    let mut mux = mux(&[]);
    let mut reader = read(&mut mux, &[audio(0, AAC_HEADER), sound(0), sound(21)]);
    let map = reader.map.clone().unwrap();
    assert_eq!(
        (map.version, map.pcr_pid, map.streams.len()),
        (0, AUDIO_PID, 1)
    );
    let tables = reader.tables.len();
    // The header alone makes no bytes.
    let mut out = BytesMut::new();
    mux.write(&video(30, H264_HEADER), &mut out);
    assert!(out.is_empty());
    for frame in [sound(42), idr(60)] {
        mux.write(&frame, &mut out);
    }
    reader.feed(&out);
    let map = reader.map.clone().unwrap();
    assert_eq!(
        (map.version, map.pcr_pid, map.streams.len()),
        (1, VIDEO_PID, 2)
    );
    // Before the next frame of whatever track, and at the keyframe.
    assert_eq!(reader.tables.len(), tables + 2);
    assert_eq!(mux.dropped(), 0);
}

#[test]
fn a_codec_that_changes() {
    let mut mux = h264_aac();
    let frames = [
        idr(0),
        sound(0),
        // The same headers again are no news.
        video(40, H264_HEADER),
        audio(40, AAC_HEADER),
        inter(40),
        audio(60, OPUS_HEADER),
        audio(60, OPUS_FRAME),
        // Of a codec that was.
        sound(80),
        // Back again: the counter goes on.
        audio(100, AAC_HEADER),
        sound(100),
        // What has no place takes the track away, ...
        audio(110, FLAC_HEADER),
        audio(120, "91664c6143 00"),
        inter(120),
        // ... until it returns.
        audio(130, AAC_HEADER),
        sound(140),
    ];
    let mut versions = Vec::new();
    let mut reader = Reader::new();
    for frame in &frames {
        let mut out = BytesMut::new();
        mux.write(frame, &mut out);
        reader.feed(&out);
        if !out.is_empty() {
            let map = reader.map.as_ref().unwrap();
            versions.push((map.version, map.streams.last().unwrap().0));
        }
    }
    let (aac, opus, h264) = (0x0f, 0x06, 0x1b);
    assert_eq!(
        versions,
        [
            (0, aac),
            (0, aac),
            (0, aac),
            (1, opus),
            (2, aac),
            (3, h264),
            (4, aac)
        ]
    );
    assert_eq!(mux.dropped(), 2);
}

#[test]
fn changes_that_nobody_saw_are_one() {
    let mut mux = h264_aac();
    let mut reader = read(&mut mux, &[idr(0)]);
    let mut out = BytesMut::new();
    for _ in 0..32 {
        mux.write(&audio(10, OPUS_HEADER), &mut out);
        mux.write(&audio(10, AAC_HEADER), &mut out);
    }
    mux.write(&audio(10, OPUS_HEADER), &mut out);
    mux.write(&audio(20, OPUS_FRAME), &mut out);
    reader.feed(&out);
    assert_eq!(reader.map.unwrap().version, 1);
}

#[test]
fn several_tracks() {
    let mut mux = mux(&[
        video(0, H264_TRACK_1_HEADER),
        audio(0, AAC_TRACK_1_HEADER),
        audio(0, AAC_HEADER),
        video(0, H264_HEADER),
    ]);
    let reader = read(
        &mut mux,
        &[
            idr(0),
            // Track 1.
            video(0, "96 01 61766331 01 000000 00000003 65aabb"),
            sound(0),
            audio(0, "95 01 6d703461 01 210022"),
            // Both in one packet: ManyTracks.
            video(
                40,
                "a6 11 61766331 00 00000a 000000 00000003 41aabb 01 00000a 000000 00000003 41ccdd",
            ),
        ],
    );
    let map = reader.map.clone().unwrap();
    let pids: Vec<_> = map.streams.iter().map(|(_, pid, _)| *pid).collect();
    assert_eq!(pids, [0x100, 0x101, 0x200, 0x201]);
    assert_eq!(map.pcr_pid, 0x100);
    let ids: Vec<_> = reader
        .pes
        .iter()
        .map(|pes| (pes.pid, pes.stream_id))
        .collect();
    assert_eq!(
        ids,
        [
            (0x100, 0xe0),
            (0x101, 0xe1),
            (0x200, 0xc0),
            (0x201, 0xc1),
            (0x100, 0xe0),
            (0x101, 0xe1)
        ]
    );
    assert!(reader.stream(0x101).ends_with(&hex("000001 41ccdd")));
    assert_eq!(mux.dropped(), 0);
}

#[test]
fn more_tracks_than_there_is_room_for() {
    let mut mux = mux(&[]);
    let mut frames = Vec::new();
    for track in 0..=MAX_TRACKS {
        // The longest entry: AC-3 in dual mono (acmod 0).
        let body = format!("95 01 61632d33 {track:02x} 0b77 0000 1e 40 00");
        frames.push(audio(0, &body));
    }
    let reader = read(&mut mux, &frames);
    assert_eq!(reader.map.unwrap().streams.len(), MAX_TRACKS);
    assert_eq!((reader.pes.len(), mux.dropped()), (MAX_TRACKS, 1));
}

#[test]
fn tables_come_often() {
    // Frame intervals in milliseconds, and how many of them lie between tables at most.
    for (interval, most) in [
        (20, 5),
        (21, 4),
        (33, 3),
        (40, 2),
        (50, 2),
        (100, 1),
        (1000, 1),
    ] {
        let mut mux = mux(&[video(0, H264_HEADER)]);
        let mut reader = read(&mut mux, &[idr(0)]);
        let mut since = 0;
        for frame in 1..100 {
            let before = reader.tables.len();
            let mut out = BytesMut::new();
            mux.write(&inter(frame * interval), &mut out);
            reader.feed(&out);
            since += 1;
            if reader.tables.len() > before {
                since = 0;
            }
            assert!(since < most, "{interval} ms");
        }
        // And not more often than that.
        assert!(reader.tables.len() <= 100 / most + 2, "{interval} ms");
    }
}

#[test]
fn tables_at_each_keyframe() {
    let mut mux = h264_aac();
    let mut reader = Reader::new();
    for frame in 0..10 {
        let mut out = BytesMut::new();
        mux.write(&idr(frame), &mut out);
        reader.feed(&out);
        assert_eq!(reader.tables.len() as u64, frame + 1);
        assert_eq!(out[..3], [0x47, 0x40, 0x00]);
    }
}

/// A muxer that is made in mid-stream tells of sound without a header before its first frame comes.
#[test]
fn the_first_map_has_codecs_without_a_header() {
    for (frame, stream_type) in [
        (MP3_FRAME, 0x03),
        ("91 61632d33 0b770000 1e40eb", 0x81),
        ("91 65632d33 0b77", 0x87),
        ("91 4f707573 5c", 0x06),
    ] {
        let mut mux = mux(&[video(0, H264_HEADER), audio(0, frame)]);
        let reader = read(&mut mux, &[idr(40), audio(50, frame)]);
        let types: Vec<u8> = reader.map.unwrap().streams.iter().map(|s| s.0).collect();
        assert_eq!(types, [0x1b, stream_type]);
        assert_eq!((reader.tables.len(), reader.pes.len()), (1, 2), "{frame}");
    }
    // MP3 in the place of AAC, whose header is out of date.
    let known = [
        video(0, H264_HEADER),
        audio(0, AAC_HEADER),
        audio(9, MP3_FRAME),
    ];
    let reader = read(&mut mux(&known), &[idr(40)]);
    assert_eq!(reader.map.unwrap().streams[1].0, 0x03);
}

#[test]
fn what_is_supported() {
    let said = |headers: &[Frame]| match TsMux::supports(&tracks(headers)) {
        Ok(()) => String::new(),
        Err(unsupported) => unsupported.to_string(),
    };
    assert_eq!(said(&[]), "");
    assert_eq!(said(&[video(0, H264_HEADER), audio(0, AAC_HEADER)]), "");
    assert_eq!(said(&[video(0, AV1_HEADER), audio(0, OPUS_HEADER)]), "");
    assert_eq!(said(&[audio(0, MP3_FRAME)]), "");
    // Frames say what they are: VP8 without a header, Speex behind AAC.
    assert_eq!(
        said(&[video(0, "91 76703038 aabb")]),
        "the stream's video is VP8, which has no place in MPEG-TS"
    );
    assert_eq!(
        said(&[audio(0, AAC_HEADER), audio(0, "b6 aabb")]),
        "the stream's audio is Speex, which has no place in MPEG-TS"
    );
    assert_eq!(
        said(&[video(0, VP9_HEADER), audio(0, AAC_HEADER)]),
        "the stream's video is VP9, which has no place in MPEG-TS"
    );
    assert_eq!(
        said(&[video(0, H264_HEADER), audio(0, FLAC_HEADER)]),
        "the stream's audio is FLAC, which has no place in MPEG-TS"
    );
    // 7.1 as FFmpeg has it since version 7: channel configuration 12.
    assert_eq!(
        said(&[video(0, H264_HEADER), audio(0, "af00 1260")]),
        "the stream's AAC has no place in MPEG-TS: channel configuration 12"
    );
}
