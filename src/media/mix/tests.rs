use super::*;
use bytes::Bytes;
use proptest::prelude::*;

fn frame(kind: FrameKind, dts_ms: u64) -> Frame {
    let body: &[u8] = if kind == FrameKind::Video {
        &[0x22, 0]
    } else {
        &[0x22]
    };
    Frame::parse(kind, dts_ms, Bytes::copy_from_slice(body)).unwrap()
}

fn push(mix: &mut MixCorrect, kind: FrameKind, dts_ms: u64) -> Vec<(FrameKind, u64)> {
    let mut out = Vec::new();
    mix.push(frame(kind, dts_ms), &mut out);
    out.into_iter()
        .map(|frame| (frame.kind, frame.dts_ms))
        .collect()
}

use FrameKind::{Audio, Metadata, Video};

#[test]
fn the_earlier_passes_once_the_other_kind_is_known() {
    let mut mix = MixCorrect::new();
    assert_eq!(push(&mut mix, Video, 0), []);
    assert_eq!(push(&mut mix, Video, 40), []);
    assert_eq!(push(&mut mix, Audio, 10), [(Video, 0), (Audio, 10)]);
    assert_eq!(push(&mut mix, Audio, 30), [(Audio, 30)]);
    // At the same time: video first.
    assert_eq!(push(&mut mix, Audio, 40), [(Video, 40)]);
    assert_eq!(mix.held(), 1);
    let mut rest = Vec::new();
    mix.flush(&mut rest);
    assert_eq!((rest.len(), mix.held()), (1, 0));
}

#[test]
fn one_kind_alone_waits_for_ten_frames_at_most() {
    let mut mix = MixCorrect::new();
    for dts_ms in 0..10 {
        assert_eq!(push(&mut mix, Audio, dts_ms), []);
    }
    for dts_ms in 10..100 {
        assert_eq!(push(&mut mix, Audio, dts_ms), [(Audio, dts_ms - 10)]);
    }
    assert_eq!(mix.held(), MAX_HELD);
}

#[test]
fn metadata_passes_at_once() {
    let mut mix = MixCorrect::new();
    push(&mut mix, Video, 0);
    assert_eq!(push(&mut mix, Metadata, 0), [(Metadata, 0)]);
}

#[test]
fn frames_of_a_kind_never_overtake_each_other_even_when_time_goes_back() {
    let mut mix = MixCorrect::new();
    let mut out = Vec::new();
    for dts_ms in [100, 50, 70] {
        mix.push(frame(Video, dts_ms), &mut out);
    }
    mix.push(frame(Audio, 1000), &mut out);
    let order: Vec<_> = out.iter().map(|frame| frame.dts_ms).collect();
    assert_eq!(order, [100, 50, 70]);
}

proptest! {
    #[test]
    fn nothing_is_lost_and_little_is_held(
        steps in proptest::collection::vec((any::<bool>(), 0u64..100), 0..300),
    ) {
        let mut mix = MixCorrect::new();
        let (mut video, mut audio) = (0, 0);
        let mut given: [Vec<u64>; 2] = Default::default();
        let mut out = Vec::new();
        for (is_video, by) in steps {
            let (kind, clock) = if is_video { (Video, &mut video) } else { (Audio, &mut audio) };
            *clock += by;
            given[usize::from(is_video)].push(*clock);
            mix.push(frame(kind, *clock), &mut out);
            prop_assert!(mix.held() <= MAX_HELD);
        }
        mix.flush(&mut out);
        for kind in [Audio, Video] {
            let came: Vec<_> = out.iter().filter(|f| f.kind == kind).map(|f| f.dts_ms).collect();
            prop_assert_eq!(&came, &given[usize::from(kind == Video)]);
        }
    }

    #[test]
    fn interleaving_within_ten_frames_comes_out_in_order(
        ahead_ms in 0u64..200,
        frames in 20u64..200,
    ) {
        // Audio is sent `ahead_ms` before the video of the same time.
        let mut sent: Vec<_> = (0..frames).map(|n| (n * 20, Video, n * 20)).collect();
        sent.extend((0..frames).map(|n| ((n * 21).saturating_sub(ahead_ms), Audio, n * 21)));
        sent.sort_by_key(|(at, ..)| *at);
        let mut mix = MixCorrect::new();
        let mut out = Vec::new();
        for (_, kind, dts_ms) in sent {
            mix.push(frame(kind, dts_ms), &mut out);
        }
        // What comes before the end, where one kind has no partner any more.
        prop_assert!(out.is_sorted_by_key(|frame| frame.dts_ms));
        mix.flush(&mut out);
        prop_assert_eq!(out.len() as u64, 2 * frames);
    }
}
