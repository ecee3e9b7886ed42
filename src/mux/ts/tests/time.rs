//! Timestamps and clock references.

use super::*;
use clock::{DELAY_MS, PCR_INTERVAL_MS};
use reader::{Pcr, later};

fn pcrs_ms(reader: &Reader) -> Vec<u64> {
    reader.pcrs.iter().map(|pcr| pcr.at / 90).collect()
}

/// An inter frame with a composition time.
fn shifted(dts_ms: u64, composition_ms: i32) -> Frame {
    let [_, a, b, c] = composition_ms.to_be_bytes();
    video(
        dts_ms,
        &format!("27 01 {a:02x}{b:02x}{c:02x} 00000003 41aabb"),
    )
}

#[test]
fn presentation_and_decoding_times() {
    let reader = read(
        &mut h264_aac(),
        &[
            idr(0),
            shifted(40, 120),
            shifted(80, 0),
            sound(90),
            shifted(120, 40),
        ],
    );
    let times: Vec<_> = reader.pes.iter().map(|pes| (pes.pts, pes.dts)).collect();
    assert_eq!(
        times,
        [
            (at(0), at(0)),
            (at(160), at(40)),
            (at(80), at(80)),
            (at(90), at(90)),
            (at(160), at(120))
        ]
    );
}

#[test]
fn a_presentation_time_before_its_decoding_time() {
    // As from MP4 files with negative composition offsets.
    let frames = [
        (0, 0),
        (40, 80),
        (80, -40),
        (120, -40),
        (160, 0),
        (200, 80),
        (240, -40),
    ];
    let frames: Vec<_> = frames.iter().map(|(dts, by)| shifted(*dts, *by)).collect();
    let reader = read(&mut h264_aac(), &frames);
    let pts: Vec<_> = reader.pes.iter().map(|pes| pes.pts).collect();
    // Presentation is as stated, but for one tick where decoding times were moved.
    assert_eq!(
        pts,
        [
            at(0),
            at(120),
            at(40) + 1,
            at(80),
            at(160),
            at(280),
            at(200)
        ]
    );
    for pair in reader.pes.windows(2) {
        assert!(pair[0].dts < pair[1].dts);
    }
    assert_eq!(reader.pes[6].dts, at(200));
}

#[test]
fn an_absurd_composition_time_harms_nobody() {
    for composition in [i32::MAX >> 8, i32::MIN >> 8] {
        let reader = read(
            &mut h264_aac(),
            &[
                idr(1000),
                shifted(1040, composition),
                shifted(1080, 0),
                sound(1100),
            ],
        );
        for pes in &reader.pes {
            let latest = DELAY_MS + 2 * PCR_INTERVAL_MS;
            assert!(later(pes.dts, pes.pcr) <= 90 * latest);
        }
    }
}

#[test]
fn frames_of_one_time_are_a_tick_apart() {
    let reader = read(
        &mut h264_aac(),
        &[idr(0), inter(0), inter(0), sound(0), sound(0)],
    );
    let dts: Vec<_> = reader.pes.iter().map(|pes| pes.dts).collect();
    assert_eq!(dts, [at(0), at(0) + 1, at(0) + 2, at(0), at(0) + 1]);
}

#[test]
fn nanoseconds_count() {
    // ModEx: 500,000 ns, then CodedFrames.
    let frame = video(40, "a7 02 07a120 01 61766331 000000 00000003 41aabb");
    let reader = read(
        &mut mux(&[video(0, "90 61766331 0164000cffe1000167010001 68")]),
        &[frame],
    );
    assert_eq!(
        (reader.pes[0].pts, reader.pes[0].dts),
        (at(40) + 45, at(40))
    );
}

#[test]
fn times_wrap_at_33_bits() {
    const WRAP_MS: u64 = (1 << 33) / 90;
    let start = WRAP_MS - 2_000;
    let mut frames = Vec::new();
    for frame in 0..100 {
        let dts = start + frame * 40;
        frames.push(if frame % 25 == 0 {
            idr(dts)
        } else {
            shifted(dts, 80)
        });
        frames.push(sound(dts + 5));
    }
    let reader = read(&mut h264_aac(), &frames);
    let videos: Vec<_> = reader
        .pes
        .iter()
        .filter(|pes| pes.pid == VIDEO_PID)
        .collect();
    for (index, pes) in videos.iter().enumerate() {
        assert_eq!(pes.dts, at(start + index as u64 * 40) & 0x1_ffff_ffff);
        assert_eq!(later(pes.dts, pes.pcr), DELAY_MS * 90);
    }
    for pair in reader.pcrs.windows(2) {
        assert!((1..=PCR_INTERVAL_MS * 90).contains(&later(pair[1].at, pair[0].at)));
    }
    assert!(reader.pcrs.iter().all(|pcr| !pcr.discontinuity));
    let ends: Vec<_> = [videos[0], videos[99]].map(|pes| pes.pts >> 32).to_vec();
    assert_eq!(ends, [1, 0], "it did wrap");
}

#[test]
fn clock_references_without_packets_of_their_own() {
    // 25 and 24 frames a second, with audio between them.
    for interval in [40_000, 41_667] {
        let mut frames = vec![];
        let mut next = 0;
        for frame in 0..200u64 {
            let dts = frame * interval / 1000;
            while next < dts {
                frames.push(sound(next));
                next += 21;
            }
            // As large as frames are: two packets and more.
            let slice = "41".repeat(0x200);
            frames.push(video(dts, &format!("27 01 000000 00000200 {slice}")));
        }
        let mut mux = h264_aac();
        let reader = read(&mut mux, &frames);
        assert!(
            reader
                .pcrs
                .iter()
                .all(|pcr| !pcr.alone && !pcr.discontinuity)
        );
        for pair in pcrs_ms(&reader).windows(2) {
            assert!((1..=PCR_INTERVAL_MS).contains(&(pair[1] - pair[0])));
        }
    }
}

#[test]
fn clock_references_of_a_slow_video() {
    let reader = read(&mut mux(&[video(0, H264_HEADER)]), &[idr(0), inter(500)]);
    assert_eq!(
        pcrs_ms(&reader),
        [0, 40, 80, 120, 160, 200, 240, 280, 320, 360, 400, 440, 480]
    );
    // The frame took one, and the last would be less than an interval later.
    assert_eq!(reader.pcrs.iter().filter(|pcr| pcr.alone).count(), 11);
    // With audio between them, which brings the clock forward.
    let reader = read(
        &mut h264_aac(),
        &[idr(0), sound(60), sound(100), sound(160), inter(180)],
    );
    assert_eq!(pcrs_ms(&reader), [0, 40, 80, 120, 160]);
}

#[test]
fn audio_alone_carries_the_clock() {
    let frames: Vec<_> = (0..100).map(|frame| sound(frame * 23)).collect();
    let reader = read(&mut mux(&[audio(0, AAC_HEADER)]), &frames);
    assert_eq!(reader.pcrs.len(), 100);
    assert!(
        reader
            .pes
            .iter()
            .all(|pes| pes.random_access && later(pes.dts, pes.pcr) == at(0))
    );
}

#[test]
fn a_pause_is_not_filled() {
    let mut frames = vec![idr(0), inter(40)];
    frames.push(inter(3_000));
    let reader = read(&mut mux(&[video(0, H264_HEADER)]), &frames);
    assert_eq!(pcrs_ms(&reader), [0, 40, 3_000]);
    assert!(reader.pcrs.iter().all(|pcr| !pcr.discontinuity));
}

#[test]
fn another_clock_begins() {
    for jump in [500, 90_000] {
        let frames = [
            idr(60_000),
            sound(60_000),
            inter(60_040),
            idr(jump),
            sound(jump),
            inter(jump + 40),
        ];
        let reader = read(&mut h264_aac(), &frames);
        let expected = [60_000, 60_040, jump, jump + 40].map(|ms| Pcr {
            at: ms * 90,
            discontinuity: ms == jump,
            alone: false,
        });
        assert_eq!(reader.pcrs, expected);
        let dts: Vec<_> = reader.pes.iter().map(|pes| pes.dts).collect();
        assert_eq!(dts[3..], [at(jump), at(jump), at(jump + 40)]);
    }
}

#[test]
fn loose_interleaving_stays_ahead_of_the_clock() {
    let mut frames = vec![];
    for frame in 0..100 {
        let dts = 1_000 + frame * 40;
        frames.push(if frame % 25 == 0 {
            idr(dts)
        } else {
            inter(dts)
        });
        frames.push(sound(dts - 450));
        frames.push(sound(dts - 430));
    }
    let reader = read(&mut h264_aac(), &frames);
    for pes in &reader.pes {
        assert!(later(pes.dts, pes.pcr) <= DELAY_MS * 90);
    }
}
