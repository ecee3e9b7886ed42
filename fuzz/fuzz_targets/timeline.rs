//! Any timestamps at any time, with restarts: the promises of the timeline and of mix_correct hold.

#![no_main]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use libfuzzer_sys::fuzz_target;
use pingora_live::media::mix::MAX_HELD;
use pingora_live::media::{Frame, FrameKind, MixCorrect, TimeJitter, Timeline};

/// The longest step that the timeline may take for a cadence, in milliseconds.
const MAX_STEP_MS: u64 = 10_000;

fuzz_target!(|data: &[u8]| {
    let Some((policy, mut data)) = data.split_first() else {
        return;
    };
    let policy = match policy % 3 {
        0 => TimeJitter::Full,
        1 => TimeJitter::Zero,
        _ => TimeJitter::Off,
    };
    let mut timeline = Timeline::new(policy);
    let mut mix = MixCorrect::new();
    let mut now = Instant::now();
    let mut timestamp = 0u32;
    let mut last: HashMap<(FrameKind, u8), u64> = HashMap::new();
    let mut floor_ms = 0;
    let mut most_ms = 0;
    let mut sent: HashMap<FrameKind, Vec<u64>> = HashMap::new();
    let mut passed = Vec::new();
    // Each step: a byte that says what, then the timestamp or its difference, then the time that passes.
    while data.remaining() >= 4 {
        let what = data.get_u8();
        if what & 0x0f == 0x0f {
            floor_ms = timeline.last_ms();
            timeline.restart();
            last.clear();
            continue;
        }
        timestamp = match what >> 6 {
            0 => timestamp.wrapping_add(u32::from(data.get_u8())),
            1 => timestamp.wrapping_add(u32::from(data.get_u16())),
            2 => timestamp.wrapping_sub(u32::from(data.get_u16())),
            _ if data.remaining() >= 4 => data.get_u32(),
            _ => return,
        };
        let elapsed_ms = if data.has_remaining() {
            u64::from(data.get_u8()) * 4
        } else {
            0
        };
        now += Duration::from_millis(elapsed_ms);
        most_ms += MAX_STEP_MS + elapsed_ms * 5 / 4;
        let kind = if what & 0x10 == 0 {
            FrameKind::Video
        } else {
            FrameKind::Audio
        };
        let track = what & 0x03;
        let stamped = timeline.stamp(kind, track, timestamp, now);
        assert!(stamped >= floor_ms);
        assert_eq!(timeline.current_ms(kind, track), stamped);
        assert!(timeline.last_ms() >= stamped);
        if policy == TimeJitter::Full {
            let last = last.entry((kind, track)).or_insert(0);
            assert!(stamped >= *last);
            *last = stamped;
            assert!(stamped <= most_ms);
        }
        let body = if kind == FrameKind::Video {
            &[0x22, 0][..]
        } else {
            &[0x22][..]
        };
        let frame = Frame::parse(kind, stamped, Bytes::from_static(body)).expect("well-formed");
        sent.entry(kind).or_default().push(stamped);
        mix.push(frame, &mut passed);
        assert!(mix.held() <= MAX_HELD);
    }
    mix.flush(&mut passed);
    for (kind, sent) in sent {
        let passed = passed
            .iter()
            .filter(|frame| frame.kind == kind)
            .map(|frame| frame.dts_ms);
        assert!(passed.eq(sent));
    }
});
