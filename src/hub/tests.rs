//! The hub with made-up frames and made-up time: no socket, no runtime.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::config::{OnBusy, Vhost};
use crate::media::FrameKind;
use crate::media::flv::{FlvReader, FlvTag, TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO};

const LIMITS: HubLimits = HubLimits {
    streams: 0,
    stream_memory: 32 << 20,
    rtmp_chunk_size: 60_000,
};

/// A hub, a publisher and a clock.
struct Rig {
    hub: Hub,
    settings: Arc<Vhost>,
    now: Instant,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Vhost)) -> Self {
        let mut vhost = Vhost::default();
        change(&mut vhost);
        Self {
            hub: Hub::new(LIMITS),
            settings: Arc::new(vhost),
            now: Instant::now(),
        }
    }

    fn publish(&self) -> Publisher {
        self.hub
            .publish(key("s"), &self.settings, self.now)
            .unwrap()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.hub.tick(self.now);
    }

    fn stream(&self) -> Option<Arc<Stream>> {
        self.hub.find(&key("s"))
    }

    fn video_headers(&self, p: &Publisher, at: u32) {
        self.push(p, FrameKind::Video, at, &[0x17, 0, 0, 0, 0, 1, 100, 0, 31]);
    }

    fn audio_headers(&self, p: &Publisher, at: u32) {
        self.push(p, FrameKind::Audio, at, &[0xaf, 0, 0x12, 0x10]);
    }

    fn key(&self, p: &Publisher, at: u32) {
        self.push(
            p,
            FrameKind::Video,
            at,
            &[0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65],
        );
    }

    fn inter(&self, p: &Publisher, at: u32) {
        self.push(
            p,
            FrameKind::Video,
            at,
            &[0x27, 1, 0, 0, 0, 0, 0, 0, 1, 0x41],
        );
    }

    fn audio(&self, p: &Publisher, at: u32) {
        self.push(p, FrameKind::Audio, at, &[0xaf, 1, 0x21, 0x10]);
    }

    fn push(&self, p: &Publisher, kind: FrameKind, at: u32, body: &[u8]) {
        p.push(kind, at, Bytes::copy_from_slice(body), self.now)
            .unwrap();
    }
}

fn key(stream: &str) -> StreamKey {
    StreamKey::new("__defaultVhost__", "live", stream).unwrap()
}

/// What a player that joins now reads, as FLV tags: (kind, timestamp, second byte of the body).
fn play(stream: &Arc<Stream>) -> Vec<FlvTag> {
    let seat = stream.open(Format::Flv, 0).unwrap();
    read(seat.log())
}

fn read(log: &Log) -> Vec<FlvTag> {
    let mut reader = FlvReader::new();
    let mut tags = Vec::new();
    let Some(start) = log.join() else {
        return tags;
    };
    reader.feed(&start.prelude.as_ref().unwrap().full.body());
    let mut units = Vec::new();
    log.read(start.seq, usize::MAX, usize::MAX, &mut units);
    for unit in units {
        reader.feed(&unit.data.body());
    }
    while let Some(tag) = reader.poll().unwrap() {
        tags.push(tag);
    }
    tags
}

fn shape(tags: &[FlvTag]) -> String {
    let names: Vec<String> = tags
        .iter()
        .map(|tag| {
            let first = tag.body.first().copied().unwrap_or_default();
            let header = tag.body.get(1) == Some(&0);
            let name = match (tag.kind, first, header) {
                (TAG_SCRIPT, _, _) => return "meta".to_owned(),
                (TAG_VIDEO, 0x17, true) => return "vhdr".to_owned(),
                (TAG_AUDIO, _, true) => return "ahdr".to_owned(),
                (TAG_VIDEO, 0x17, false) => "K",
                (TAG_VIDEO, _, _) => "i",
                (TAG_AUDIO, _, _) => "a",
                _ => "?",
            };
            format!("{name}{}", tag.timestamp_ms)
        })
        .collect();
    names.join(" ")
}

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
