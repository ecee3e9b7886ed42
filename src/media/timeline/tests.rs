use super::*;
use crate::media::fixtures::*;
use proptest::prelude::*;

use FrameKind::{Audio, Video};

/// A timeline with a clock on the wall that only moves when told.
struct Rig {
    timeline: Timeline,
    now: Instant,
}

impl Rig {
    fn new(policy: TimeJitter) -> Self {
        Self {
            timeline: Timeline::new(policy),
            now: Instant::now(),
        }
    }

    fn full() -> Self {
        Self::new(TimeJitter::Full)
    }

    /// A frame that comes `after_ms` after the one before.
    fn after(&mut self, after_ms: u64, kind: FrameKind, timestamp: u32) -> u64 {
        self.now += Duration::from_millis(after_ms);
        self.timeline.stamp(kind, 0, timestamp, self.now)
    }

    /// A frame that comes at the same moment as the one before.
    fn video(&mut self, timestamp: u32) -> u64 {
        self.after(0, Video, timestamp)
    }

    fn audio(&mut self, timestamp: u32) -> u64 {
        self.after(0, Audio, timestamp)
    }

    /// 25 fps, with audio 20 ms later, from `timestamp` on; returns what the last two were given.
    fn play(&mut self, timestamp: u32, frames: u32) -> (u64, u64) {
        let mut last = (0, 0);
        for frame in 0..frames {
            let timestamp = timestamp.wrapping_add(frame * 40);
            last = (
                self.after(20, Video, timestamp),
                self.after(20, Audio, timestamp.wrapping_add(20)),
            );
        }
        last
    }
}

#[test]
fn full_starts_at_0_wherever_the_publisher_does() {
    for start in [0, 5, 3_600_000, u32::MAX - 10] {
        let mut rig = Rig::full();
        assert_eq!(rig.timeline.last_ms(), 0);
        assert_eq!(rig.play(start, 100), (99 * 40, 99 * 40 + 20));
        assert_eq!(rig.timeline.last_ms(), 99 * 40 + 20);
    }
}

#[test]
fn a_stream_of_50_days_plays_on() {
    for policy in [TimeJitter::Full, TimeJitter::Zero, TimeJitter::Off] {
        let mut rig = Rig::new(policy);
        let start = u32::MAX - 1000;
        let base = if policy == TimeJitter::Off {
            u64::from(start)
        } else {
            0
        };
        assert_eq!(rig.play(start, 100).0, base + 99 * 40);
        // And over the wrap again, a day at a time.
        const DAY_MS: u32 = 86_400_000;
        let mut timestamp = start.wrapping_add(99 * 40);
        for day in 1..=120u64 {
            timestamp = timestamp.wrapping_add(DAY_MS);
            let stamped = rig.after(u64::from(DAY_MS), Video, timestamp);
            assert_eq!(stamped, base + 99 * 40 + day * u64::from(DAY_MS));
        }
    }
}

#[test]
fn jump_forward_is_closed_to_one_interval_and_sync_holds() {
    for jump in [300, 10_000, 1 << 30, 3 << 30] {
        let mut rig = Rig::full();
        let (video, audio) = rig.play(0, 50);
        let next = rig.play((50u32 * 40).wrapping_add(jump), 1);
        assert_eq!(next, (video + 40, audio + 40), "{jump}");
    }
}

#[test]
fn jump_backward_is_closed_to_one_interval_and_sync_holds() {
    for to in [0, 500, 1500] {
        let mut rig = Rig::full();
        let (video, audio) = rig.play(0, 50);
        assert_eq!(rig.play(to, 1), (video + 40, audio + 40), "{to}");
    }
}

#[test]
fn a_track_that_keeps_the_old_clock_for_a_moment_changes_nothing() {
    for jump in [400u32, 60_000, 0u32.wrapping_sub(1000)] {
        let mut rig = Rig::full();
        let (video, audio) = rig.play(0, 50);
        let new = jump.wrapping_add(2000);
        let first = rig.after(20, Video, new);
        assert_eq!(first, video + 40);
        // Two more of the old clock, which must neither jump nor pull the video along.
        let mut last = audio;
        for old in [2020, 2041] {
            let stamped = rig.after(20, Audio, old);
            assert!(
                stamped >= last && stamped <= audio + 100,
                "{jump} {stamped}"
            );
            last = stamped;
        }
        assert_eq!(rig.after(20, Video, new.wrapping_add(40)), first + 40);
        // On the new clock the distance to the video is as the publisher says.
        assert_eq!(
            rig.after(20, Audio, new.wrapping_add(65)),
            first + 65,
            "{jump}"
        );
    }
}

#[test]
fn a_glitch_of_one_frame_leaves_nothing_behind() {
    for glitch in [5000u32, 0, 1 << 31] {
        let mut rig = Rig::full();
        let (video, _) = rig.play(10_000, 50);
        assert_eq!(rig.after(20, Video, glitch), video + 40, "{glitch}");
        assert_eq!(rig.after(20, Video, 10_000 + 52 * 40), 52 * 40);
        assert_eq!(rig.after(20, Audio, 10_000 + 52 * 40 + 20), 52 * 40 + 20);
        // Nor without another track to hold on to.
        let mut alone = Rig::full();
        for frame in 0..50 {
            alone.after(40, Video, 10_000 + frame * 40);
        }
        alone.after(40, Video, glitch);
        assert_eq!(alone.after(40, Video, 10_000 + 52 * 40), 52 * 40);
    }
}

#[test]
fn small_steps_back_are_jitter() {
    let mut rig = Rig::full();
    let given: Vec<_> = [0, 40, 35, 80, 20, 120, 160]
        .map(|at| rig.after(40, Video, at))
        .into();
    assert_eq!(given, [0, 40, 40, 80, 80, 120, 160]);
}

#[test]
fn a_clock_that_runs_backwards_still_moves() {
    let mut rig = Rig::full();
    let mut last = 0;
    for step in 0..1000 {
        let stamped = rig.after(40, Video, 1_000_000 - step * 10);
        assert!(stamped >= last);
        last = stamped;
    }
    assert!(last > 1000, "{last}");
}

#[test]
fn a_second_track_may_start_late_and_may_lag() {
    let mut rig = Rig::full();
    for frame in 0..75 {
        assert_eq!(
            rig.after(40, Video, 500 + frame * 40),
            u64::from(frame) * 40
        );
    }
    assert_eq!(rig.audio(500 + 2990), 2990);
    // Silent for five seconds while video goes on, then back: no jump.
    for frame in 75..200 {
        rig.after(40, Video, 500 + frame * 40);
    }
    assert_eq!(rig.audio(500 + 7960), 7960);
    // 600 ms behind from now on.
    rig.after(40, Video, 500 + 8000);
    assert_eq!(rig.audio(500 + 7980), 7980);
}

#[test]
fn audio_before_the_first_picture_keeps_its_distance() {
    let mut rig = Rig::full();
    assert_eq!(rig.video(1000), 0);
    assert_eq!(rig.audio(900), 0);
    assert_eq!(rig.audio(923), 0);
    assert_eq!(rig.audio(1010), 10);
}

#[test]
fn audio_that_is_sent_ahead_of_the_first_picture_keeps_its_distance() {
    let mut rig = Rig::full();
    assert_eq!(rig.video(1000), 0);
    assert_eq!(rig.audio(1900), 900);
    assert_eq!(rig.video(1040), 40);
    assert_eq!(rig.audio(1921), 921);
}

#[test]
fn glitches_again_and_again_leave_nothing_behind() {
    for glitch in [400u32, 1500, 2900, 0u32.wrapping_sub(2000)] {
        let mut rig = Rig::full();
        rig.play(100_000, 50);
        for frame in 50..200u32 {
            let at = 100_000 + frame * 40;
            let off = if frame % 10 == 5 { glitch } else { 0 };
            let video = rig.after(20, Video, at.wrapping_add(off));
            let audio = rig.after(20, Audio, at + 20);
            if frame % 10 == 9 {
                let expected = u64::from(frame) * 40;
                assert_eq!((video, audio), (expected, expected + 20), "{glitch}");
            }
        }
    }
}

#[test]
fn one_frame_a_second_is_no_jump() {
    // As time passes, with jitter of the network.
    let mut rig = Rig::full();
    for (second, jitter) in [0, 150, 0, 200, 30].into_iter().enumerate() {
        assert_eq!(
            rig.after(900 + jitter, Video, second as u32 * 1000),
            second as u64 * 1000
        );
    }
    // In a burst the first step cannot be told from a jump; the following are of the same size.
    let mut burst = Rig::full();
    let given: Vec<_> = (0..5).map(|second| burst.video(second * 1000)).collect();
    assert_eq!(given, [0, 40, 1040, 2040, 3040]);
    // Beside audio it can.
    let mut both = Rig::full();
    for second in 0..5 {
        assert_eq!(both.video(second * 1000), u64::from(second) * 1000);
        for step in 1..50 {
            both.audio(second * 1000 + step * 20);
        }
    }
}

#[test]
fn a_pause_in_which_the_clock_went_on_is_kept() {
    let mut rig = Rig::full();
    let (video, _) = rig.play(0, 50);
    assert_eq!(rig.after(4000, Video, 2000 + 4000), video + 40 + 4000);
}

#[test]
fn clocks_that_have_nothing_in_common_run_side_by_side() {
    let mut rig = Rig::full();
    for frame in 0..100 {
        assert_eq!(rig.after(20, Video, frame * 40), u64::from(frame) * 40);
        let audio = rig.after(20, Audio, 1_000_000_000 + frame * 40);
        assert_eq!(audio, u64::from(frame) * 40);
    }
}

#[test]
fn restart_goes_on_one_interval_after_the_last() {
    for policy in [TimeJitter::Full, TimeJitter::Zero] {
        for start in [0, 1000, 77_000_000, u32::MAX] {
            let mut rig = Rig::new(policy);
            rig.play(500, 50);
            let last = rig.timeline.last_ms();
            rig.timeline.restart();
            assert_eq!(rig.timeline.last_ms(), last);
            assert_eq!(rig.after(3000, Video, start), last + 40);
            assert_eq!(rig.audio(start.wrapping_add(10)), last + 50);
            // Audio that is 30 ms before the first picture does not go back before the restart.
            rig.timeline.restart();
            assert_eq!(rig.after(0, Video, start), last + 90);
            assert_eq!(rig.audio(start.wrapping_sub(400)), last + 50);
        }
    }
}

#[test]
fn restart_twice_or_before_anything_is_harmless() {
    let mut rig = Rig::full();
    rig.timeline.restart();
    assert_eq!(rig.video(1000), 0);
    rig.video(1040);
    rig.timeline.restart();
    rig.timeline.restart();
    assert_eq!(rig.video(9), 80);
}

#[test]
fn off_is_as_it_came_but_not_back_over_a_restart() {
    let mut rig = Rig::new(TimeJitter::Off);
    assert_eq!(rig.video(5000), 5000);
    assert_eq!(rig.video(4000), 4000);
    assert_eq!(rig.video(900_000), 900_000);
    rig.timeline.restart();
    assert_eq!(rig.video(1_000_000), 1_000_000);
    rig.timeline.restart();
    assert_eq!(rig.video(7), 1_000_000 + 1000);
    assert_eq!(rig.video(47), 1_000_000 + 1040);
    assert_eq!(rig.video(0), 1_000_000 + 993);
}

#[test]
fn zero_subtracts_the_first_and_nothing_else() {
    let mut rig = Rig::new(TimeJitter::Zero);
    assert_eq!(rig.video(1000), 0);
    assert_eq!(rig.video(9000), 8000);
    assert_eq!(rig.video(3000), 2000);
    assert_eq!(rig.video(500), 0);
    assert_eq!(rig.audio(3010), 2010);
}

#[test]
fn a_first_timestamp_of_0_before_a_large_one_is_no_wrap() {
    let mut rig = Rig::new(TimeJitter::Off);
    assert_eq!(rig.video(0), 0);
    assert_eq!(rig.video(0x9000_0000), 0x9000_0000);
    // But a little before 0 is.
    let mut rig = Rig::new(TimeJitter::Off);
    assert_eq!(rig.video(0), 0);
    assert_eq!(rig.video(u32::MAX), 0);
    assert_eq!(rig.video(39), 39);
}

#[test]
fn headers_and_metadata_disturb_nothing() {
    let mut rig = Rig::full();
    let mut stamp = |kind, digits: &str, timestamp| {
        rig.now += Duration::from_millis(20);
        let mut frame = Frame::parse(kind, 0, hex(digits)).unwrap();
        rig.timeline.stamp_frame(&mut frame, timestamp, rig.now);
        frame.dts_ms
    };
    // What comes before the first picture has a timestamp of its own or none.
    assert_eq!(stamp(FrameKind::Metadata, META_DATA, 0), 0);
    assert_eq!(stamp(Video, H264_HEADER, 0), 0);
    assert_eq!(stamp(Video, H264_KEYFRAME, 50_000), 0);
    assert_eq!(stamp(Video, H264_KEYFRAME, 50_040), 40);
    assert_eq!(stamp(Audio, AAC_FRAME, 50_020), 20);
    // A relay sends the header again, with 0.
    assert_eq!(stamp(Video, H264_HEADER, 0), 40);
    assert_eq!(stamp(Audio, AAC_HEADER, 0), 20);
    assert_eq!(stamp(FrameKind::Data, "02", 9), 40);
    assert_eq!(stamp(Audio, "", 0), 20);
    assert_eq!(stamp(Video, H264_KEYFRAME, 50_080), 80);
    assert_eq!(stamp(Audio, AAC_FRAME, 50_050), 50);
}

#[test]
fn multitrack_renditions_have_a_time_each() {
    let mut rig = Rig::full();
    for frame in 0..50u32 {
        rig.now += Duration::from_millis(40);
        for track in 0..3 {
            let stamped = rig.timeline.stamp(Video, track, 700 + frame * 40, rig.now);
            assert_eq!(stamped, u64::from(frame) * 40);
        }
    }
    assert_eq!(rig.timeline.current_ms(Video, 2), 49 * 40);
    assert_eq!(rig.timeline.current_ms(Video, 9), 49 * 40);
}

fn policy() -> impl Strategy<Value = TimeJitter> {
    prop_oneof![
        Just(TimeJitter::Full),
        Just(TimeJitter::Zero),
        Just(TimeJitter::Off)
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Frame {
        video: bool,
        track: u8,
        by: u32,
        absolute: bool,
        after_ms: u64,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let by = prop_oneof![
        6 => 0u32..100,
        1 => 0u32..5000,
        1 => any::<u32>(),
        1 => (0u32..5000).prop_map(|back| 0u32.wrapping_sub(back)),
    ];
    prop_oneof![
        40 => (any::<bool>(), 0u8..3, by, prop::bool::weighted(0.05), prop_oneof![0u64..100, 0u64..10_000])
            .prop_map(|(video, track, by, absolute, after_ms)| Step::Frame { video, track, by, absolute, after_ms }),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn any_input_is_monotonic_under_full(steps in proptest::collection::vec(step(), 1..300)) {
        let mut rig = Rig::full();
        let mut last = std::collections::HashMap::new();
        let mut timestamp = 0u32;
        let mut elapsed = 0;
        let mut bound = 0;
        let mut first = true;
        for step in steps {
            match step {
                Step::Restart => {
                    let before = rig.timeline.last_ms();
                    rig.timeline.restart();
                    last.values_mut().for_each(|last| *last = before);
                }
                Step::Frame { video, track, by, absolute, after_ms } => {
                    timestamp = if absolute { by } else { timestamp.wrapping_add(by) };
                    rig.now += Duration::from_millis(after_ms);
                    elapsed += after_ms;
                    let kind = if video { Video } else { Audio };
                    let stamped = rig.timeline.stamp(kind, track, timestamp, rig.now);
                    let last = last.entry((video, track)).or_insert(0);
                    prop_assert!(stamped >= *last, "{stamped} < {last}");
                    *last = stamped;
                    prop_assert!(!first || stamped == 0);
                    first = false;
                    // No input makes time run away: not more than a cadence a frame and the wall's time.
                    bound += u64::from(MAX_CADENCE_MS);
                    prop_assert!(stamped <= bound + elapsed * 5 / 4);
                    prop_assert!(rig.timeline.last_ms() >= stamped);
                }
            }
        }
    }

    #[test]
    fn any_input_does_not_go_back_over_a_restart(
        policy in policy(),
        before in proptest::collection::vec(any::<u32>(), 1..20),
        after in proptest::collection::vec(any::<u32>(), 1..20),
    ) {
        let mut rig = Rig::new(policy);
        for timestamp in before {
            rig.video(timestamp);
        }
        let last = rig.timeline.last_ms();
        rig.timeline.restart();
        for timestamp in after {
            prop_assert!(rig.video(timestamp) >= last);
        }
    }

    #[test]
    fn regular_input_does_not_drift(
        start: u32,
        fps in 5u32..120,
        audio_ms in 5u32..60,
        delays in proptest::collection::vec(0u64..500, 400),
    ) {
        let mut rig = Rig::full();
        let (mut video, mut audio) = (0u32, 0u32);
        let mut frame = 0;
        for delay in delays {
            // Whatever the network does to the arrival, the timestamps are regular.
            let (kind, at) = if video <= audio { (Video, video) } else { (Audio, audio) };
            let stamped = rig.after(delay, kind, start.wrapping_add(at));
            prop_assert_eq!(stamped, u64::from(at));
            if kind == Video {
                frame += 1;
                video = frame * 1000 / fps;
            } else {
                audio += audio_ms;
            }
        }
    }

    #[test]
    fn jumps_leave_audio_and_video_in_sync(
        jumps in proptest::collection::vec((any::<u32>(), 10u32..60), 1..10),
    ) {
        let mut rig = Rig::full();
        let mut last = None;
        for (start, frames) in jumps {
            let (video, audio) = rig.play(start, frames);
            // Settled after some frames: audio is 20 ms after the picture, as the publisher says.
            prop_assert_eq!(audio - video, 20);
            if let Some(last) = last {
                let gained = audio - last;
                prop_assert!(gained <= u64::from(frames) * 40 + 250, "{gained}");
                prop_assert!(gained + 250 >= u64::from(frames) * 40, "{gained}");
            }
            last = Some(audio);
        }
    }
}
