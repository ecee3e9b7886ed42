//! Publishers come, leave, come again and take over.

use super::*;

#[test]
fn the_same_publisher_again_in_time_goes_on_without_a_jump_back() {
    let mut rig = Rig::new(|_| {});
    let p = rig.publish();
    rig.video_headers(&p, 1000);
    rig.audio_headers(&p, 1000);
    rig.key(&p, 1000);
    rig.inter(&p, 1040);
    let seat = rig.stream().unwrap().open(Format::Flv, 0).unwrap();
    let edge = seat.log().next_seq();
    drop(p);
    rig.pass(Duration::from_secs(3));
    assert!(
        rig.stream().is_none(),
        "nobody joins a stream without a publisher"
    );
    let p = rig.publish();
    rig.video_headers(&p, 0);
    rig.audio_headers(&p, 0);
    rig.inter(&p, 0);
    rig.key(&p, 40);
    rig.inter(&p, 80);
    let mut units = Vec::new();
    assert_eq!(
        seat.log().read(edge, 100, usize::MAX, &mut units),
        Read::Units
    );
    let mut reader = FlvReader::new();
    reader.feed(b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
    for unit in &units {
        reader.feed(&unit.data.body());
    }
    let mut tags = Vec::new();
    while let Some(tag) = reader.poll().unwrap() {
        tags.push(tag);
    }
    let shape = shape(&tags);
    assert!(
        !shape.contains("hdr"),
        "the headers did not change: {shape}"
    );
    assert!(shape.starts_with('K'), "from a keyframe: {shape}");
    let times: Vec<u32> = tags.iter().map(|t| t.timestamp_ms).collect();
    assert!(times.first().unwrap() > &40, "time goes on: {times:?}");
    assert!(times.is_sorted());
}

#[test]
fn changed_headers_come_in_band_before_the_keyframe() {
    let rig = Rig::new(|_| {});
    let p = rig.publish();
    rig.video_headers(&p, 0);
    rig.audio_headers(&p, 0);
    rig.key(&p, 0);
    let seat = rig.stream().unwrap().open(Format::Flv, 0).unwrap();
    let edge = seat.log().next_seq();
    drop(p);
    let p = rig.publish();
    rig.push(&p, FrameKind::Video, 0, &[0x17, 0, 0, 0, 0, 1, 66, 0, 30]);
    rig.key(&p, 0);
    let mut units = Vec::new();
    seat.log().read(edge, 100, usize::MAX, &mut units);
    let bytes: Vec<u8> = units.iter().flat_map(|u| u.data.body().to_vec()).collect();
    let header = bytes
        .windows(4)
        .position(|w| w == [1, 66, 0, 30])
        .expect("the new header");
    let keyframe = bytes
        .windows(2)
        .position(|w| w == [1, 0x65])
        .expect("the keyframe");
    assert!(header < keyframe);
    assert_ne!(units.last().unwrap().headers_version, 0);
}

#[test]
fn a_publisher_gone_for_good_ends_the_players() {
    let mut rig = Rig::new(|v| v.publish.republish_wait = Duration::from_secs(2));
    let p = rig.publish();
    rig.video_headers(&p, 0);
    rig.audio_headers(&p, 0);
    rig.key(&p, 0);
    let seat = rig.stream().unwrap().open(Format::Flv, 0).unwrap();
    drop(p);
    rig.pass(Duration::from_millis(1900));
    let edge = seat.log().next_seq();
    assert_eq!(seat.log().read(edge, 1, 1, &mut Vec::new()), Read::Edge);
    rig.pass(Duration::from_millis(200));
    assert_eq!(
        seat.log().read(edge, 1, 1, &mut Vec::new()),
        Read::Ended(EndReason::PublisherLeft)
    );
    assert!(rig.hub.streams().is_empty());
}

#[test]
fn busy_is_rejected_or_kicked() {
    let rig = Rig::new(|_| {});
    let _first = rig.publish();
    assert!(matches!(
        rig.hub.publish(key("s"), &rig.settings, rig.now),
        Err(PublishError::Busy { .. })
    ));

    let rig = Rig::new(|v| v.publish.on_busy = OnBusy::Kick);
    let first = rig.publish();
    rig.audio(&first, 0);
    let second = rig.publish();
    assert_eq!(first.ended(), Some(EndReason::Kicked));
    let late = first.push(
        FrameKind::Audio,
        1,
        Bytes::from_static(&[0xaf, 1, 0]),
        rig.now,
    );
    assert!(matches!(late, Err(PushError::Ended(EndReason::Kicked))));
    assert_eq!(
        first.finish().audio_frames,
        1,
        "what it sent is still known"
    );
    rig.audio(&second, 0);
    assert!(
        second.stream().is_published(),
        "the old claim's end does not release the new one"
    );
}

#[test]
fn a_claim_can_be_taken_whatever_is_configured() {
    let rig = Rig::new(|_| {});
    let old = rig.publish();
    rig.video_headers(&old, 0);
    rig.audio_headers(&old, 0);
    rig.key(&old, 0);
    let stream = rig.stream().unwrap();
    let seat = stream.open(Format::Flv, 0).unwrap();
    let from = seat.log().next_seq();
    let new = rig
        .hub
        .claim(key("s"), &rig.settings, OnBusy::Kick, rig.now)
        .unwrap();
    assert_eq!(old.ended(), Some(EndReason::Kicked));
    assert_eq!(old.finish().video_frames, 1);
    // It begins twice, as a pull does whose origin is lost before its first keyframe: players have these headers already.
    new.renew(rig.now);
    rig.video_headers(&new, 5_000);
    rig.audio_headers(&new, 5_000);
    rig.key(&new, 5_000);
    let mut units = Vec::new();
    seat.log().read(from, usize::MAX, usize::MAX, &mut units);
    let came: Vec<FlvTag> = units
        .iter()
        .flat_map(|unit| Tags::of(unit.data.body()))
        .collect();
    let shape = shape(&came);
    assert!(shape.contains('K') && !shape.contains("hdr"), "{shape}");
    assert!(
        rig.hub
            .claim(key("s"), &rig.settings, OnBusy::Reject, rig.now)
            .is_err()
    );
}

#[test]
fn a_stream_that_is_played_is_not_ended_for_want_of_players() {
    let rig = Rig::new(|_| {});
    let publisher = rig.publish();
    rig.audio_headers(&publisher, 0);
    rig.video_headers(&publisher, 0);
    rig.key(&publisher, 0);
    let stream = rig.stream().unwrap();
    let seat = stream.open(Format::Flv, 0).unwrap();
    assert!(!rig.hub.end_unplayed(&stream, EndReason::Idle));
    assert_eq!(publisher.ended(), None);
    drop(seat);
    assert!(rig.hub.end_unplayed(&stream, EndReason::Idle));
    assert_eq!(publisher.ended(), Some(EndReason::Idle));
    assert!(matches!(stream.open(Format::Flv, 0), Err(SeatError::Ended)));
    assert!(rig.stream().is_none());
    // What it sent is known all the same.
    assert_eq!(publisher.finish().video_frames, 1);
    assert_eq!(rig.hub.frames().video_frames, 1);
    let again = rig.publish();
    assert_eq!(again.ended(), None);
}

#[test]
fn a_claim_is_released_however_it_ends() {
    let rig = Rig::new(|v| v.publish.republish_wait = Duration::ZERO);
    let hub = rig.hub.clone();
    let settings = Arc::clone(&rig.settings);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _claim = hub.publish(key("s"), &settings, Instant::now()).unwrap();
        panic!("a session that goes wrong");
    }));
    assert!(result.is_err());
    assert!(rig.hub.streams().is_empty());
    drop(rig.publish());
    rig.publish();
}

#[test]
fn a_publisher_without_players_is_ended_when_so_configured() {
    let mut rig = Rig::new(|v| v.publish.kickoff_for_idle = Duration::from_secs(3));
    let p = rig.publish();
    rig.audio_headers(&p, 0);
    rig.pass(Duration::from_secs(1));
    let seat = rig.stream().unwrap().open(Format::Flv, 0).unwrap();
    rig.pass(Duration::from_secs(5));
    assert_eq!(p.ended(), None, "somebody plays");
    drop(seat);
    rig.pass(Duration::from_secs(1));
    rig.pass(Duration::from_secs(2));
    assert_eq!(p.ended(), None);
    rig.pass(Duration::from_secs(2));
    assert_eq!(p.ended(), Some(EndReason::Idle));
}

#[test]
fn shutdown_ends_everything_and_lets_nobody_in() {
    let rig = Rig::new(|_| {});
    let p = rig.publish();
    rig.video_headers(&p, 0);
    rig.audio_headers(&p, 0);
    rig.key(&p, 0);
    let stream = rig.stream().unwrap();
    let seat = stream.open(Format::Flv, 0).unwrap();
    rig.hub.shutdown();
    assert_eq!(p.ended(), Some(EndReason::Shutdown));
    let edge = seat.log().next_seq();
    assert_eq!(
        seat.log().read(edge, 1, 1, &mut Vec::new()),
        Read::Ended(EndReason::Shutdown)
    );
    assert_eq!(stream.open(Format::Flv, 0).err(), Some(SeatError::Ended));
    assert_eq!(
        rig.hub.publish(key("n"), &rig.settings, rig.now).err(),
        Some(PublishError::Shutdown)
    );
}

/// The line in the log of a publish that was ended tells what came, as any other.
#[test]
fn what_an_ended_publisher_sent_is_told() {
    for (reason, back) in [
        (EndReason::Operator, false),
        (EndReason::Operator, true),
        (EndReason::Shutdown, false),
    ] {
        let rig = Rig::new(|_| {});
        let p = rig.publish();
        rig.video_headers(&p, 0);
        rig.key(&p, 0);
        rig.inter(&p, 40);
        match reason {
            EndReason::Shutdown => rig.hub.shutdown(),
            reason => assert!(rig.hub.end(&key("s"), reason)),
        }
        // Somebody else may be there already, with a stream of that name.
        let other = back.then(|| rig.publish());
        let sent = p.finish();
        assert_eq!(sent.video_frames, 2, "{reason:?} {back}");
        assert!(sent.bytes > 0);
        assert_eq!(rig.hub.frames().video_frames, 2);
        if let Some(other) = other {
            assert_eq!(other.finish().video_frames, 0);
        }
    }
}
