//! What stands in a log, for how long, and what bounds it.

use super::*;

#[test]
fn logs_that_nobody_reads_are_dropped_and_made_again() {
    let mut rig = Rig::new(|_| {});
    let p = rig.publish();
    rig.video_headers(&p, 0);
    rig.audio_headers(&p, 0);
    rig.key(&p, 0);
    let stream = rig.stream().unwrap();
    assert_eq!(stream.logs(), 0, "nobody plays, nothing is muxed");
    drop(stream.open(Format::Flv, 0).unwrap());
    rig.pass(Duration::from_secs(1));
    assert_eq!(stream.logs(), 1);
    rig.pass(Duration::from_secs(30));
    assert_eq!(stream.logs(), 0);
    assert_eq!(shape(&play(&stream)), "meta vhdr ahdr K0");
}

#[test]
fn memory_is_bounded_when_keyframes_never_come_again() {
    let mut vhost = Vhost::default();
    vhost.play.gop_cache_max_frames = 0;
    let memory = 1 << 20;
    let hub = Hub::new(HubLimits {
        stream_memory: memory,
        ..LIMITS
    });
    let now = Instant::now();
    let p = hub.publish(key("s"), &Arc::new(vhost), now).unwrap();
    let push = |kind, at, body: Vec<u8>| p.push(kind, at, body.into(), now).unwrap();
    push(FrameKind::Video, 0, vec![0x17, 0, 0, 0, 0, 1, 100, 0, 31]);
    push(FrameKind::Audio, 0, vec![0xaf, 0, 0x12, 0x10]);
    push(FrameKind::Video, 0, vec![0x17, 1, 0, 0, 0, 9]);
    let seat = hub.find(&key("s")).unwrap().open(Format::Flv, 0).unwrap();
    let mut frame = vec![0x27, 1, 0, 0, 0];
    frame.resize(10_000, 7);
    for i in 1..1000u32 {
        push(FrameKind::Video, i, frame.clone());
        assert!(
            p.stream().bytes() <= memory,
            "{} bytes after {i} frames",
            p.stream().bytes()
        );
    }
    assert!(
        seat.log().join().is_none(),
        "half a GOP is no place to start"
    );
    push(FrameKind::Video, 2000, vec![0x17, 1, 0, 0, 0, 9]);
    assert!(seat.log().join().is_some());
}

#[test]
fn merging_cuts_units_by_time_and_before_keyframes() {
    let rig = Rig::new(|v| v.play.mw_latency = Duration::from_millis(350));
    let p = rig.publish();
    rig.video_headers(&p, 0);
    rig.audio_headers(&p, 0);
    rig.key(&p, 0);
    let seat = rig.stream().unwrap().open(Format::Flv, 0).unwrap();
    for i in 1..50u32 {
        if i % 25 == 0 {
            rig.key(&p, i * 40);
        } else {
            rig.inter(&p, i * 40);
        }
    }
    let mut units = Vec::new();
    seat.log().read(0, 1000, usize::MAX, &mut units);
    assert!(
        (5..=8).contains(&units.len()),
        "{} units for 2 s",
        units.len()
    );
    let starts: Vec<u64> = units
        .iter()
        .filter(|u| u.prelude.is_some())
        .map(|u| u.dts_ms)
        .collect();
    assert_eq!(starts, [0, 1000]);
}

#[test]
fn a_unit_is_a_video_frame_with_the_audio_before_it() {
    let rig = Rig::new(|_| {});
    let p = rig.publish();
    rig.video_headers(&p, 0);
    rig.audio_headers(&p, 0);
    rig.key(&p, 0);
    let seat = rig.stream().unwrap().open(Format::Flv, 0).unwrap();
    for i in 1..=25u32 {
        rig.audio(&p, i * 40 - 25);
        rig.audio(&p, i * 40 - 2);
        rig.inter(&p, i * 40);
    }
    let mut units = Vec::new();
    seat.log().read(1, 1000, usize::MAX, &mut units);
    assert_eq!(units.len(), 25, "25 fps are 25 writes a second");
    // And under a video that stands still, audio does not wait for it.
    for i in 0..10u32 {
        rig.audio(&p, 1000 + i * 23);
    }
    units.clear();
    seat.log().read(26, 1000, usize::MAX, &mut units);
    assert!(units.len() >= 2, "{} units", units.len());
}

#[test]
fn limits_of_streams_and_players() {
    let hub = Hub::new(HubLimits {
        streams: 1,
        ..LIMITS
    });
    let settings = Arc::new(Vhost::default());
    let now = Instant::now();
    let p = hub.publish(key("a"), &settings, now).unwrap();
    assert_eq!(
        hub.publish(key("b"), &settings, now).err(),
        Some(PublishError::TooManyStreams { max: 1 })
    );
    assert_eq!(
        hub.streams().len(),
        1,
        "a refused publish leaves nothing behind"
    );
    let _seat = p.stream().open(Format::Flv, 1).unwrap();
    assert_eq!(
        p.stream().open(Format::Flv, 1).err(),
        Some(SeatError::Full { max: 1 })
    );
}
