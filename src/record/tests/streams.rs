//! Streams through the hub into files, with the threads of recordings.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::*;
use crate::config::{self, Dvr, DvrPlan, Vhost};
use crate::hub::{EndReason, Format, Hub, HubLimits, Publisher, StreamKey, Unit};
use crate::observe::Counters;
use crate::record::recording::{RETRY, Recording};
use crate::record::{EndOfRecording, Place, Recorded, Recorder};

const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    hub: Hub,
    recorder: Recorder,
    counters: Arc<Counters>,
    settings: Arc<Vhost>,
    closed: Arc<Mutex<Vec<Recorded>>>,
    folder: tempfile::TempDir,
    now: Instant,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Vhost)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = format!("{}/r/[app]/[stream].flv", folder.path().display());
        let mut vhost = Vhost {
            dvr: Dvr {
                enabled: true,
                path: path.parse().unwrap(),
                ..Dvr::default()
            },
            ..Vhost::default()
        };
        change(&mut vhost);
        let live = config::Live {
            vhosts: [("__defaultVhost__".to_owned(), vhost.clone())].into(),
            ..config::Live::default()
        };
        let counters = Arc::<Counters>::default();
        let recorder = Recorder::new(&live, Arc::clone(&counters));
        let hub = Hub::new(HubLimits {
            streams: 0,
            stream_memory: 32 << 20,
            rtmp_chunk_size: 60_000,
        });
        let attach = recorder.clone();
        hub.on_publish(move |stream| attach.attach(stream));
        let closed = Arc::<Mutex<Vec<Recorded>>>::default();
        let theirs = Arc::clone(&closed);
        recorder.on_closed(move |recorded| theirs.lock().push(recorded.clone()));
        Self {
            hub,
            recorder,
            counters,
            settings: Arc::new(vhost),
            closed,
            folder,
            now: Instant::now(),
        }
    }

    fn publish(&self) -> Publisher {
        let key = StreamKey::new("__defaultVhost__", "live", "s").unwrap();
        self.hub.publish(key, &self.settings, self.now).unwrap()
    }

    fn push(&self, publisher: &Publisher, kind: FrameKind, at: u32, body: &[u8]) {
        let body = Bytes::copy_from_slice(body);
        publisher.push(kind, at, body, self.now).unwrap();
    }

    fn headers(&self, publisher: &Publisher) {
        self.push(
            publisher,
            FrameKind::Metadata,
            0,
            &meta(&[("width", 320.0)]),
        );
        self.push(publisher, FrameKind::Video, 0, VIDEO_HEADER);
        self.push(publisher, FrameKind::Audio, 0, AUDIO_HEADER);
    }

    /// Pictures 40 ms apart, a keyframe each `gop`, with a sound each.
    fn pictures(&self, publisher: &Publisher, numbers: std::ops::Range<u32>, gop: u32) {
        for n in numbers {
            let body = if n % gop == 0 {
                key(n as u8)
            } else {
                inter(n as u8)
            };
            self.push(publisher, FrameKind::Video, n * 40, &body);
            self.push(publisher, FrameKind::Audio, n * 40 + 3, &audio(n as u8));
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.hub.tick(self.now);
    }

    /// Waits for the end of all recordings and reads their files, by the order in which they were closed.
    fn files(&self) -> Vec<(Recorded, Read)> {
        wait("all recordings are closed", || self.recorder.active() == 0);
        let closed = self.closed.lock().clone();
        let files = closed.into_iter().map(|recorded| {
            let bytes = std::fs::read(&recorded.path).unwrap();
            assert_eq!(bytes.len() as u64, recorded.bytes);
            let read = read(&bytes);
            assert_eq!(
                read.number("duration"),
                recorded.duration.as_millis() as f64 / 1000.0
            );
            (recorded, read)
        });
        files.collect()
    }

    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        if let Ok(entries) = std::fs::read_dir(self.folder.path().join("r/live")) {
            names.extend(entries.map(|e| e.unwrap().file_name().into_string().unwrap()));
        }
        names.sort();
        names
    }
}

#[track_caller]
fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_session_is_one_file_with_all_frames() {
    let rig = Rig::new(|v| v.publish.republish_wait = Duration::ZERO);
    let p = rig.publish();
    assert_eq!(rig.recorder.active(), 1);
    rig.headers(&p);
    // Sound before the first picture is recorded too.
    rig.push(&p, FrameKind::Audio, 0, &audio(99));
    rig.pictures(&p, 0..50, 25);
    drop(p);
    let files = rig.files();
    assert_eq!(files.len(), 1);
    let (recorded, file) = &files[0];
    assert_eq!(
        recorded.reason,
        EndOfRecording::Stream(EndReason::PublisherLeft)
    );
    assert_eq!(recorded.stream.as_ref().unwrap().stream(), "s");
    assert!(
        file.shape().starts_with("V0 A0 a0 K0 a3 i40 a43"),
        "{}",
        file.shape()
    );
    assert_eq!(file.tags.len(), 1 + 3 + 100);
    assert_eq!(file.check_index(), 2);
    assert_eq!(file.number("duration"), 2.003);
    assert_eq!(file.number("width"), 320.0);
    assert_eq!(file.flags, (true, true));
    assert_eq!(rig.names(), ["s.flv"]);
    let counted = rig.counters.snapshot();
    assert_eq!(
        (counted.recordings, counted.recording_bytes),
        (1, recorded.bytes)
    );
    assert_eq!(counted.recording_errors, 0);
}

#[test]
fn a_publisher_that_is_back_goes_on_in_the_same_file() {
    let mut rig = Rig::new(|_| {});
    let p = rig.publish();
    rig.headers(&p);
    rig.pictures(&p, 0..25, 25);
    drop(p);
    rig.pass(Duration::from_secs(3));
    let p = rig.publish();
    assert_eq!(rig.recorder.active(), 1, "the same recording");
    rig.headers(&p);
    rig.pictures(&p, 0..25, 25);
    drop(p);
    rig.pass(Duration::from_secs(11));
    let files = rig.files();
    assert_eq!(files.len(), 1);
    let file = &files[0].1;
    assert_eq!(file.check_index(), 2, "{}", file.shape());
    let times: Vec<u32> = file
        .tags
        .iter()
        .filter(|tag| tag.kind == TAG_VIDEO)
        .map(|tag| tag.timestamp_ms)
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// A file has one configuration of each track, or a player that seeks would be given the wrong one.
#[test]
fn another_configuration_begins_another_file() {
    let mut rig = Rig::new(|_| {});
    let p = rig.publish();
    rig.headers(&p);
    rig.pictures(&p, 0..25, 25);
    drop(p);
    rig.pass(Duration::from_secs(3));
    let p = rig.publish();
    rig.push(&p, FrameKind::Video, 0, OTHER_VIDEO_HEADER);
    rig.push(&p, FrameKind::Audio, 0, AUDIO_HEADER);
    rig.pictures(&p, 0..25, 25);
    // The same again, and in mid-stream.
    rig.push(&p, FrameKind::Video, 1000, OTHER_VIDEO_HEADER);
    rig.pictures(&p, 25..50, 25);
    rig.push(&p, FrameKind::Video, 2000, VIDEO_HEADER);
    rig.pictures(&p, 50..75, 25);
    drop(p);
    rig.pass(Duration::from_secs(11));
    let files = rig.files();
    let reasons: Vec<&str> = files.iter().map(|(file, _)| file.reason.name()).collect();
    assert_eq!(
        reasons,
        ["codec_changed", "codec_changed", "publisher_left"]
    );
    let found: Vec<(usize, bool)> = files
        .iter()
        .map(|(_, file)| {
            let first = file.tags.iter().find(|tag| tag.kind == TAG_VIDEO);
            let other = first.is_some_and(|tag| tag.body[..] == *OTHER_VIDEO_HEADER);
            (file.check_index(), other)
        })
        .collect();
    assert_eq!(found, [(1, false), (2, true), (1, false)]);
}

#[test]
fn segments_begin_at_keyframes_and_lose_nothing() {
    let rig = Rig::new(|v| {
        v.dvr.plan = DvrPlan::Segment;
        v.dvr.duration = Duration::from_secs(2);
        v.publish.republish_wait = Duration::ZERO;
    });
    let p = rig.publish();
    rig.headers(&p);
    // Keyframes each 1.2 s: segments of 2.4 s.
    rig.pictures(&p, 0..200, 30);
    drop(p);
    let files = rig.files();
    assert_eq!(files.len(), 4);
    let mut all = Vec::new();
    for (number, (recorded, file)) in files.iter().enumerate() {
        assert!(
            file.shape().starts_with("V0 A0 K0 a3 i40"),
            "{}",
            file.shape()
        );
        file.check_index();
        assert_eq!(file.number("width"), 320.0);
        let last = number == files.len() - 1;
        let expected = if last {
            EndOfRecording::Stream(EndReason::PublisherLeft)
        } else {
            EndOfRecording::Segment
        };
        assert_eq!(recorded.reason, expected);
        if !last {
            assert_eq!(recorded.duration, Duration::from_millis(2403));
        }
        all.extend(
            file.tags
                .iter()
                .skip(3)
                .map(|tag| (tag.kind, tag.body.clone())),
        );
    }
    let sent: Vec<_> = (0..200u32)
        .flat_map(|n| {
            let picture = if n % 30 == 0 {
                key(n as u8)
            } else {
                inter(n as u8)
            };
            [
                (TAG_VIDEO, Bytes::from(picture)),
                (TAG_AUDIO, Bytes::from(audio(n as u8))),
            ]
        })
        .collect();
    assert!(all == sent, "no frame lost or doubled");
    assert_eq!(
        rig.names(),
        ["s-1.flv", "s-2.flv", "s-3.flv", "s.flv"],
        "no file is overwritten"
    );
}

#[test]
fn segments_may_be_cut_anywhere() {
    let rig = Rig::new(|v| {
        v.dvr.plan = DvrPlan::Segment;
        v.dvr.duration = Duration::from_secs(1);
        v.dvr.wait_keyframe = false;
        v.publish.republish_wait = Duration::ZERO;
    });
    let p = rig.publish();
    rig.headers(&p);
    rig.pictures(&p, 0..100, 1000);
    drop(p);
    let files = rig.files();
    assert_eq!(files.len(), 4);
    assert!(
        files[1].1.shape().starts_with("V0 A0 i0 a3"),
        "{}",
        files[1].1.shape()
    );
    let frames: usize = files.iter().map(|(_, file)| file.tags.len() - 3).sum();
    assert_eq!(frames, 200);
}

#[test]
fn sound_alone_makes_segments_too() {
    let rig = Rig::new(|v| {
        v.dvr.plan = DvrPlan::Segment;
        v.dvr.duration = Duration::from_secs(1);
        v.publish.republish_wait = Duration::ZERO;
    });
    let p = rig.publish();
    rig.push(&p, FrameKind::Audio, 0, AUDIO_HEADER);
    for n in 0..100u32 {
        rig.push(&p, FrameKind::Audio, n * 25, &audio(n as u8));
    }
    drop(p);
    let files = rig.files();
    let counts: Vec<usize> = files.iter().map(|(_, file)| file.tags.len() - 2).collect();
    assert_eq!(counts, [40, 40, 20]);
    assert_eq!(files[0].1.flags, (true, false));
    assert_eq!(
        files[0].1.metadata().get("hasKeyframes"),
        Some(&Value::Boolean(false))
    );
}

/// A player's FLV has no place for a track that comes when the head is gone; a recording's has.
#[test]
fn a_track_that_comes_late_is_recorded() {
    let mut rig = Rig::new(|v| v.publish.republish_wait = Duration::ZERO);
    let p = rig.publish();
    rig.push(&p, FrameKind::Video, 0, VIDEO_HEADER);
    rig.push(&p, FrameKind::Video, 0, &key(0));
    rig.pass(Duration::from_secs(1));
    rig.push(&p, FrameKind::Video, 40, &inter(0));
    rig.push(&p, FrameKind::Audio, 50, AUDIO_HEADER);
    rig.push(&p, FrameKind::Audio, 50, &audio(0));
    drop(p);
    let files = rig.files();
    assert_eq!(files[0].1.shape(), "V0 K0 i40 A40 a50");
    assert_eq!(files[0].1.flags, (true, true));
}

#[test]
fn timestamps_as_configured() {
    for (jitter, expected) in [
        (config::TimeJitter::Off, [0xff_fff0, 0x100_0018, 0x100_2000]),
        (config::TimeJitter::Zero, [0, 40, 8208]),
        // The jump of eight seconds is closed.
        (config::TimeJitter::Full, [0, 40, 80]),
    ] {
        let rig = Rig::new(|v| {
            v.play.time_jitter = config::TimeJitter::Off;
            v.dvr.time_jitter = jitter;
            v.publish.republish_wait = Duration::ZERO;
        });
        let p = rig.publish();
        rig.push(&p, FrameKind::Video, 0xff_fff0, VIDEO_HEADER);
        for (at, body) in [
            (0xff_fff0, key(0)),
            (0x100_0018, inter(0)),
            (0x100_2000, inter(1)),
        ] {
            rig.push(&p, FrameKind::Video, at, &body);
        }
        drop(p);
        let files = rig.files();
        let times: Vec<u32> = files[0].1.tags[2..]
            .iter()
            .map(|tag| tag.timestamp_ms)
            .collect();
        assert_eq!(times, expected, "{jitter:?}");
        assert_eq!(files[0].1.check_index(), 1);
    }
}

#[test]
fn a_recording_is_no_player() {
    let mut rig = Rig::new(|v| v.publish.kickoff_for_idle = Duration::from_secs(2));
    let p = rig.publish();
    rig.headers(&p);
    rig.pictures(&p, 0..5, 5);
    assert_eq!(p.stream().players(), 0);
    let seat = p.stream().open(Format::Flv, 1).unwrap();
    assert!(
        p.stream().open(Format::Flv, 1).is_err(),
        "the limit counts players"
    );
    drop(seat);
    rig.pass(Duration::from_millis(1));
    rig.pass(Duration::from_secs(3));
    assert_eq!(p.ended(), Some(EndReason::Idle), "nobody plays it");
}

#[test]
fn nothing_is_made_of_a_stream_without_frames() {
    let rig = Rig::new(|v| v.publish.republish_wait = Duration::ZERO);
    let p = rig.publish();
    rig.headers(&p);
    drop(p);
    assert!(rig.files().is_empty());
    assert!(rig.names().is_empty());
}

#[test]
fn the_end_of_the_server_closes_the_file() {
    let rig = Rig::new(|_| {});
    let p = rig.publish();
    rig.headers(&p);
    rig.pictures(&p, 0..5, 5);
    rig.hub.shutdown();
    assert_eq!(
        rig.files()[0].0.reason,
        EndOfRecording::Stream(EndReason::Shutdown)
    );
}

/// All units of a stream, for a recording without its thread and with made-up time.
fn units(rig: &Rig, pictures: std::ops::Range<u32>) -> Vec<Arc<Unit>> {
    let vhost = Vhost::default();
    let key = StreamKey::new("__defaultVhost__", "live", "other").unwrap();
    let p = rig.hub.publish(key, &Arc::new(vhost), rig.now).unwrap();
    let seat = p.stream().tap(Format::Flv).unwrap();
    rig.headers(&p);
    rig.pictures(&p, pictures, 5);
    let mut units = Vec::new();
    seat.log().read(0, usize::MAX, usize::MAX, &mut units);
    units
}

fn place(rig: &Rig) -> Place {
    Place {
        recorder: rig.recorder.clone(),
        id: 0,
        job: std::sync::Arc::new(crate::record::job::Job::new(
            StreamKey::new("v", "live", "s").unwrap(),
        )),
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_tried_again() {
    let rig = Rig::new(|_| {});
    let in_the_way = rig.folder.path().join("r");
    std::fs::write(&in_the_way, "").unwrap();
    let (place, key) = (place(&rig), StreamKey::new("v", "live", "s").unwrap());
    let mut recording = Recording::new(&place, &key, &rig.settings.dvr);
    let units = units(&rig, 0..200);
    let (mut now, began) = (rig.now, rig.now);
    for unit in &units {
        recording.unit(unit, now);
        recording.write();
        now += Duration::from_millis(40);
        if now > began + Duration::from_secs(3) {
            let _ = std::fs::remove_file(&in_the_way);
        }
        if now < began + RETRY {
            assert!(!Path::is_dir(&in_the_way), "not before its time");
        }
    }
    recording.close(EndOfRecording::Stream(EndReason::PublisherLeft));
    drop(place);
    assert_eq!(
        rig.counters.snapshot().recording_errors,
        1,
        "tried once in five seconds"
    );
    let files = rig.files();
    assert_eq!(files.len(), 1);
    let shape = files[0].1.shape();
    assert!(
        shape.starts_with("V0 A0 K0 a3 i40"),
        "from a keyframe on, with headers: {shape}"
    );
}

/// What the log no longer has is missing, and nothing else: the file goes on at a keyframe.
#[test]
fn frames_that_were_lost_leave_a_gap() {
    let rig = Rig::new(|_| {});
    let (place, key) = (place(&rig), StreamKey::new("v", "live", "s").unwrap());
    let mut recording = Recording::new(&place, &key, &rig.settings.dvr);
    let units = units(&rig, 0..20);
    let (before, after) = units.split_at(7);
    for unit in before {
        recording.unit(unit, rig.now);
    }
    recording.skipped(5);
    for unit in &after[5..] {
        recording.unit(unit, rig.now + Duration::from_secs(1));
    }
    recording.close(EndOfRecording::Stream(EndReason::PublisherLeft));
    drop(place);
    let files = rig.files();
    assert_eq!(files.len(), 1);
    let file = &files[0].1;
    file.check_index();
    let keys: Vec<u8> = file
        .tags
        .iter()
        .filter(|t| t.kind == TAG_VIDEO && t.body[0] == 0x17 && t.body[1] == 1)
        .map(|t| t.body[10])
        .collect();
    assert_eq!(keys, [0, 5, 15], "{}", file.shape());
    assert_eq!(rig.counters.snapshot().recording_errors, 1);
}

/// A recording whose disk hangs: the publisher goes on at once, and the recording at a keyframe when it can.
#[test]
fn a_disk_that_hangs_holds_up_nobody() {
    let rig = Rig::new(|v| {
        v.play.queue_length = Duration::from_secs(1);
        v.dvr.plan = DvrPlan::Segment;
        v.dvr.duration = Duration::from_secs(1);
        v.publish.republish_wait = Duration::ZERO;
    });
    let p = rig.publish();
    rig.headers(&p);
    // The recording's thread tells of its first file, and waits for this.
    let hang = rig.closed.lock();
    rig.pictures(&p, 0..26, 25);
    wait("the first file is closed", || {
        rig.counters.snapshot().recordings == 1
    });
    let begin = Instant::now();
    rig.pictures(&p, 26..1000, 25);
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(
        p.stream().bytes() < 1 << 20,
        "the window bounds what is kept"
    );
    drop(hang);
    drop(p);
    let files = rig.files();
    assert_eq!(rig.counters.snapshot().recording_errors, 1, "told once");
    let last = &files.last().unwrap().1;
    assert_eq!(last.tags.last().unwrap().body[..], audio(999u32 as u8)[..]);
    for (_, file) in &files {
        file.check_index();
        assert!(file.shape().starts_with("V0 A0 K0"), "{}", file.shape());
    }
}
