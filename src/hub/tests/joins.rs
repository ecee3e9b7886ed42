//! What a player starts with, and when.

use super::*;

#[test]
fn a_late_joiner_gets_headers_and_the_newest_gop() {
    let rig = Rig::new(|_| {});
    let p = rig.publish();
    rig.video_headers(&p, 0);
    rig.audio_headers(&p, 0);
    for gop in 0..3u32 {
        rig.key(&p, gop * 80);
        rig.audio(&p, gop * 80);
        rig.inter(&p, gop * 80 + 40);
    }
    let stream = rig.stream().unwrap();
    assert_eq!(shape(&play(&stream)), "meta vhdr ahdr K160 a160 i200");
    assert_eq!(stream.logs(), 1, "one log, muxed once");
}

#[test]
fn inter_frames_before_the_first_keyframe_reach_nobody() {
    let rig = Rig::new(|_| {});
    let p = rig.publish();
    rig.video_headers(&p, 0);
    rig.audio_headers(&p, 0);
    rig.inter(&p, 0);
    let stream = rig.stream().unwrap();
    let seat = stream.open(Format::Flv, 0).unwrap();
    rig.inter(&p, 40);
    rig.audio(&p, 50);
    assert_eq!(shape(&read(seat.log())), "", "nothing to start from yet");
    rig.key(&p, 80);
    assert_eq!(shape(&read(seat.log())), "meta vhdr ahdr a50 K80");
    assert_eq!(p.finish().dropped, 2);
}

#[test]
fn audio_only_starts_at_once() {
    let mut rig = Rig::new(|_| {});
    let p = rig.publish();
    rig.audio_headers(&p, 0);
    rig.audio(&p, 0);
    assert!(rig.stream().is_none(), "video may still come: guess_wait");
    rig.pass(Duration::from_millis(600));
    let stream = rig.stream().unwrap();
    let seat = stream.open(Format::Flv, 0).unwrap();
    assert_eq!(
        seat.log().key(),
        LogKey {
            format: Format::Flv,
            audio: true,
            video: false
        }
    );
    rig.audio(&p, 23);
    rig.audio(&p, 46);
    assert_eq!(shape(&read(seat.log())), "meta ahdr a46");
}

#[test]
fn a_track_that_comes_late_is_there_for_those_who_join_later() {
    let mut rig = Rig::new(|_| {});
    let p = rig.publish();
    rig.video_headers(&p, 0);
    rig.key(&p, 0);
    rig.pass(Duration::from_millis(600));
    let early = rig.stream().unwrap().open(Format::Flv, 0).unwrap();
    rig.audio_headers(&p, 40);
    rig.key(&p, 40);
    rig.audio(&p, 41);
    rig.inter(&p, 80);
    let late = rig.stream().unwrap().open(Format::Flv, 0).unwrap();
    assert_eq!(
        shape(&read(early.log())),
        "meta vhdr K40 i80",
        "no tag of a track that the header denied"
    );
    assert_eq!(shape(&read(late.log())), "meta vhdr ahdr K40 a41 i80");
}

#[test]
fn without_guessing_the_flags_are_as_configured_and_at_once() {
    let rig = Rig::new(|v| {
        v.http_remux.guess_has_av = false;
        v.http_remux.has_audio = false;
    });
    let p = rig.publish();
    rig.video_headers(&p, 0);
    rig.key(&p, 0);
    rig.audio_headers(&p, 1);
    rig.audio(&p, 1);
    rig.inter(&p, 40);
    assert_eq!(shape(&play(&rig.stream().unwrap())), "meta vhdr K0 i40");
}

#[test]
fn a_gop_over_the_frame_limit_makes_joiners_wait_for_the_next_keyframe() {
    let rig = Rig::new(|v| v.play.gop_cache_max_frames = 5);
    let p = rig.publish();
    rig.video_headers(&p, 0);
    rig.audio_headers(&p, 0);
    rig.key(&p, 0);
    for i in 1..10 {
        rig.inter(&p, i * 40);
    }
    let seat = rig.stream().unwrap().open(Format::Flv, 0).unwrap();
    assert_eq!(shape(&read(seat.log())), "");
    rig.key(&p, 400);
    assert_eq!(shape(&read(seat.log())), "meta vhdr ahdr K400");
}

/// What a player of sound alone starts at begins with the tables, and there is such a place each 100 ms.
#[test]
fn players_of_ts_without_pictures_start_at_the_tables() {
    const PAT: &[u8] = &[0x47, 0x40, 0x00];
    for merge_ms in [0, 350] {
        let rig = Rig::new(|v| v.play.mw_latency = Duration::from_millis(merge_ms));
        let p = rig.publish();
        rig.push(
            &p,
            FrameKind::Metadata,
            0,
            b"\x02\0\x0aonMetaData\x08\0\0\0\x01\0\x0caudiocodecid\0\x40\x24\0\0\0\0\0\0\0\0\x09",
        );
        rig.audio_headers(&p, 0);
        rig.audio(&p, 0);
        let seat = rig.stream().expect("ready").open(Format::Ts, 0).unwrap();
        for n in 1..200 {
            rig.audio(&p, n * 23);
        }
        let mut units = Vec::new();
        seat.log().read(0, usize::MAX, usize::MAX, &mut units);
        let starts: Vec<_> = units.iter().filter(|u| u.prelude.is_some()).collect();
        for unit in &starts {
            assert!(unit.data.body().starts_with(PAT), "at {} ms", unit.dts_ms);
        }
        let longest = starts.windows(2).map(|w| w[1].dts_ms - w[0].dts_ms).max();
        let bound = 100 + 23 + merge_ms;
        assert!(
            longest.is_some_and(|ms| ms <= bound),
            "{longest:?} ms, {merge_ms} are merged"
        );
        assert!(seat.log().join().is_some());
        // Merged or not, nothing is missing.
        let bytes: usize = units.iter().map(|unit| unit.data.body_len()).sum();
        assert!(bytes >= 180 * 188, "{bytes} bytes");
        assert!(
            units
                .iter()
                .all(|unit| unit.data.body_len().is_multiple_of(188))
        );
        if merge_ms == 0 {
            assert!(units.len() > 180, "{} units", units.len());
        } else {
            assert!(units.len() < 20, "{} units", units.len());
        }
    }
}

#[tokio::test]
async fn those_who_wait_are_told_when_the_stream_is_ready() {
    let rig = Rig::new(|_| {});
    let hub = rig.hub.clone();
    let waiting = tokio::spawn(async move { hub.wait_for(&key("s")).await });
    tokio::task::yield_now().await;
    let p = rig.publish();
    rig.video_headers(&p, 0);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "audio may still come");
    rig.audio_headers(&p, 0);
    let found = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert!(found.unwrap().unwrap().is_some());
    // And when the hub shuts down, nobody waits in vain.
    let hub = rig.hub.clone();
    let waiting = tokio::spawn(async move { hub.wait_for(&key("other")).await });
    tokio::task::yield_now().await;
    rig.hub.shutdown();
    let found = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert!(found.unwrap().unwrap().is_none());
}
