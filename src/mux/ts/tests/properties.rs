//! Whatever comes in, what goes out is a transport stream.

use super::*;
use crate::mux::ts::av1::MAX_FRAMES;
use clock::{DELAY_MS, PCR_INTERVAL_MS, PSI_INTERVAL_MS};
use proptest::prelude::*;
use reader::later;

/// A frame of any kind and any age: bodies that make sense, and bodies that do not.
fn any_frame() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let fixture =
        prop::sample::select(BODIES).prop_map(|(video, body)| (video, hex(body).to_vec()));
    let nals = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5);
    let picture = (any::<bool>(), any::<u16>(), nals).prop_map(|(key, composition, nals)| {
        let mut body = vec![if key { 0x17 } else { 0x27 }, 1, 0];
        body.extend_from_slice(&composition.to_be_bytes());
        for nal in nals {
            body.extend_from_slice(&(nal.len() as u32).to_be_bytes());
            body.extend_from_slice(&nal);
        }
        (true, body)
    });
    // AV1 with its header, so that units are cut: OBUs of sizes that are right, and what follows them.
    let obus = prop::collection::vec((any::<u8>(), prop::collection::vec(0u8..5, 0..100)), 0..20);
    let unit = (
        any::<bool>(),
        obus,
        prop::collection::vec(any::<u8>(), 0..3),
    )
        .prop_map(|(key, obus, rest)| {
            let mut body = hex(if key { "91 61763031" } else { "a1 61763031" }).to_vec();
            for (kind, payload) in obus {
                body.extend_from_slice(&[kind & 0x78 | 2, payload.len() as u8]);
                body.extend_from_slice(&payload);
            }
            body.extend_from_slice(&rest);
            (true, body)
        });
    let packet = prop::collection::vec(any::<u8>(), 0..1_000);
    let heads = prop::sample::select(&[
        "af01",
        "2ffffb90",
        "914f707573",
        "9161632d330b77",
        "9565632d330b77",
    ]);
    let sound =
        (heads, packet).prop_map(|(head, packet)| (false, [hex(head).to_vec(), packet].concat()));
    let noise = (any::<bool>(), prop::collection::vec(any::<u8>(), 0..100));
    prop_oneof![fixture, picture, unit, sound, noise]
}

fn parse(video: bool, dts_ms: u64, body: Vec<u8>) -> Option<Frame> {
    let kind = if video {
        FrameKind::Video
    } else {
        FrameKind::Audio
    };
    Frame::parse(kind, dts_ms, body.into()).ok()
}

proptest! {
    /// Any frames at any time: the reader finds nothing wrong.
    #[test]
    fn any_frames_make_a_valid_stream(
        frames in prop::collection::vec((any_frame(), any::<u64>(), any::<u8>()), 0..60),
    ) {
        let mut mux = mux(&[]);
        let mut reader = Reader::new();
        let mut dts_ms = 0u64;
        for ((video, body), time, shift) in frames {
            // From any time at all to small steps.
            dts_ms = if shift < 8 { time } else { dts_ms.wrapping_add(time >> (shift % 64)) };
            let Some(frame) = parse(video, dts_ms, body) else { continue };
            let coded: Vec<_> = frame.parts().flatten().filter(|part| part.packet == PacketType::CodedFrames).collect();
            let before = reader.pes.len() as u64 + mux.dropped();
            let mut out = BytesMut::new();
            mux.write(&frame, &mut out);
            // One tiny frame never makes much: at most a second of clock references.
            prop_assert!(out.len() < 4 * frame.payload.len() + 40 * PACKET + 4 * 2_000);
            reader.feed(&out);
            // Each is in one PES packet or dropped; of AV1 each has some.
            let made = reader.pes.len() as u64 + mux.dropped() - before;
            let least = coded.len() as u64;
            let most: u64 = coded.iter().map(|part| if part.codec == Codec::Av1 { MAX_FRAMES as u64 } else { 1 }).sum();
            prop_assert!((least..=most).contains(&made));
        }
    }

    /// A stream as publishers send them: times are right, clock and tables come often enough, nothing is lost.
    #[test]
    fn a_stream_with_loose_interleaving(
        start in prop_oneof![Just(0), any::<u32>().prop_map(u64::from), Just((1u64 << 33) / 90 - 500)],
        steps in prop::collection::vec((any::<bool>(), 1u64..100, 0i32..200, 0usize..2_000), 1..100),
        skew in 0u64..400,
    ) {
        let mut mux = h264_aac();
        let mut reader = Reader::new();
        let (mut times, mut expected) = ([start, start], Vec::new());
        // Time of the newest frame, by how much it was later than those before, time of the newest tables.
        let mut clock: Option<(u64, u64, u64)> = None;
        for (is_video, step, composition, size) in steps {
            let time = &mut times[usize::from(is_video)];
            *time += step;
            let time = *time;
            let other = times[usize::from(!is_video)];
            // Neither may run ahead too far.
            times[usize::from(!is_video)] = other.max(time.saturating_sub(skew));
            let mut body = if is_video { hex("27 01 00").to_vec() } else { hex("af01").to_vec() };
            if is_video {
                body.extend_from_slice(&(composition as u16).to_be_bytes());
                body.extend_from_slice(&(size as u32 + 1).to_be_bytes());
            }
            body.resize(body.len() + size + 1, 0x41);
            let frame = parse(is_video, time, body).unwrap();
            let mut out = BytesMut::new();
            let tables = reader.tables.len();
            mux.write(&frame, &mut out);
            reader.feed(&out);
            // Tables come in time, unless the time between frames became longer all of a sudden.
            let (last, usual, told) = clock.unwrap_or((time, 0, time));
            let now = last.max(time);
            let step = if now > last { now - last } else { usual };
            prop_assert!(now - told <= PSI_INTERVAL_MS || step > usual);
            let told = if reader.tables.len() > tables { now } else { told };
            clock = Some((now, step, told));
            // The clock is never far behind the newest frame.
            prop_assert!(later(now * 90, reader.pcrs.last().unwrap().at) <= 2 * PCR_INTERVAL_MS * 90);
            let shown = if is_video { composition as u64 } else { 0 };
            expected.push((at(time + shown) & 0x1_ffff_ffff, at(time) & 0x1_ffff_ffff));
        }
        prop_assert_eq!(mux.dropped(), 0);
        let stamps: Vec<_> = reader.pes.iter().map(|pes| (pes.pts, pes.dts)).collect();
        prop_assert_eq!(stamps, expected);
        for pes in &reader.pes {
            // Nor before a decoding time: the difference would be next to 2^33.
            prop_assert!(later(pes.dts, pes.pcr) <= (DELAY_MS + 500) * 90);
        }
        for pair in reader.pcrs.windows(2) {
            prop_assert!(!pair[1].discontinuity);
            prop_assert!((1..=PCR_INTERVAL_MS * 90).contains(&later(pair[1].at, pair[0].at)));
        }
    }
}
