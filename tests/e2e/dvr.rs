//! Recordings: what was published is in the files, whatever ends them, and whatever becomes of the disk the stream plays on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::publish::assert_same_packets;
use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, Flv, SCRIPT, Tag, VIDEO, assert_continuous, assert_run_of};
use super::support::player::Player;
use super::support::programs::{self, FFMPEG_DEBIAN, ffmpeg_current};
use super::support::server::{self, Server};
use super::support::{PATIENCE, amf, fixtures, wait_for};

/// YAML: records into a folder as `app/stream.flv`. `more`: other keys of `dvr`.
fn recording(folder: &Path, more: &str) -> String {
    format!(
        "vhosts:\n  __defaultVhost__:\n    publish: {{ republish_wait: 500ms }}\n    dvr: {{ enabled: on, path: \"{}/[app]/[stream].[timestamp].flv\"{more} }}\n",
        folder.display()
    )
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Names of what is below a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_finished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "flv")
}

/// Waits until there are that many files, none of which is being written.
#[track_caller]
fn finished(folder: &Path, count: usize) -> Vec<PathBuf> {
    wait_for(&format!("{count} finished files"), PATIENCE, || {
        let files = files(folder);
        (files.len() == count && files.iter().all(|path| is_finished(path))).then_some(files)
    })
}

#[track_caller]
fn read(path: &Path) -> Flv {
    let bytes = fs::read(path).expect("a recording");
    let flv = Flv::read(&bytes).expect("whole tags only");
    check_head(&flv, &bytes);
    flv
}

/// Headers and coded frames.
fn media(flv: &Flv) -> Vec<&Tag> {
    flv.tags.iter().filter(|tag| tag.kind != SCRIPT).collect()
}

/// The numbers of a strict array of AMF0 that follows a name.
fn numbers(body: &[u8], name: &str) -> Vec<f64> {
    // With its length before it, or `times` would be found in `lasttimestamp`.
    let name = [&[0, name.len() as u8], name.as_bytes()].concat();
    let at = body.windows(name.len()).position(|part| part == name);
    let Some([0x0a, rest @ ..]) = at.and_then(|at| body.get(at + name.len()..)) else {
        return Vec::new();
    };
    let (count, rest) = rest.split_first_chunk::<4>().expect("a count");
    let values = rest.chunks(9).take(u32::from_be_bytes(*count) as usize);
    values
        .map(|value| {
            assert_eq!(value[0], 0, "a number");
            f64::from_be_bytes(value[1..].try_into().expect("eight bytes"))
        })
        .collect()
}

/// That the first tag says what the file holds, and the index has the place of each keyframe.
#[track_caller]
fn check_head(flv: &Flv, bytes: &[u8]) {
    let head = &flv.tags[0];
    assert_eq!((head.kind, head.dts), (SCRIPT, 0));
    assert_eq!(
        amf::number_property(&head.body, "filesize"),
        Some(bytes.len() as f64)
    );
    let last = media(flv).iter().map(|tag| tag.dts).max().unwrap_or(0);
    let duration = amf::number_property(&head.body, "duration").expect("a duration");
    let behind = duration - f64::from(last) / 1000.0;
    assert!(
        (0.0..0.2).contains(&behind),
        "duration {duration}, last frame at {last} ms"
    );

    let mut at = 13;
    let mut keyframes = Vec::new();
    for tag in &flv.tags {
        if tag.is_keyframe() {
            keyframes.push((f64::from(tag.dts) / 1000.0, at as f64));
        }
        at += 15 + tag.body.len();
    }
    let times = numbers(&head.body, "times");
    let positions = numbers(&head.body, "filepositions");
    let index: Vec<(f64, f64)> = times.into_iter().zip(positions).collect();
    assert_eq!(index, keyframes, "the index");
}

#[track_caller]
fn ffprobe_duration(path: &Path) -> f64 {
    let mut command = Command::new("ffprobe");
    command
        .args([
            "-v",
            "error",
            "-show_entries",
            "format=duration",
            "-of",
            "csv=p=0",
        ])
        .arg(path);
    let text = programs::run(&mut command, PATIENCE).success();
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("a duration: {text:?}"))
}

/// Times of the packets that ffmpeg finds after a seek, in milliseconds.
#[track_caller]
fn seek(path: &Path, seconds: &str) -> Vec<i64> {
    let mut command = Command::new("ffprobe");
    command
        .args(["-v", "error", "-select_streams", "v", "-read_intervals"])
        .arg(format!("{seconds}%+#3"))
        .args(["-show_entries", "packet=dts_time", "-of", "csv=p=0"])
        .arg(path);
    let text = programs::run(&mut command, PATIENCE).success();
    let time = |line: &str| {
        line.trim_matches(',')
            .parse::<f64>()
            .ok()
            .map(|s| (s * 1000.0).round() as i64)
    };
    text.lines().filter_map(time).collect()
}

#[test]
fn a_session_published_by_ffmpeg() {
    let folder = folder();
    let server = Server::start(&recording(folder.path(), ""));
    let fixture = fixtures::h264_aac();
    programs::publish(FFMPEG_DEBIAN, &fixture, &server.rtmp("live/whole"))
        .finish(PATIENCE)
        .success();
    let files = finished(folder.path(), 1);
    let name = files[0]
        .strip_prefix(folder.path())
        .expect("below it")
        .display()
        .to_string();
    assert!(
        name.starts_with("live/whole.1") && name.ends_with(".flv"),
        "{name}"
    );
    let flv = read(&files[0]);
    let source = Flv::read(&fs::read(&fixture).expect("a fixture")).expect("a good fixture");
    for kind in [VIDEO, AUDIO] {
        assert_eq!(
            assert_run_of(&flv.frames(kind), &source.frames(kind)),
            (0, 0),
            "all of kind {kind}"
        );
    }
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let came = programs::demux(&path(&files[0]), PATIENCE);
    assert_same_packets(&came, &programs::demux(&path(&fixture), PATIENCE), 0);
    assert!((ffprobe_duration(&files[0]) - 6.0).abs() < 0.1);
    // Keyframes are a second apart.
    let frames = flv.frames(VIDEO);
    let third = frames
        .iter()
        .filter(|tag| tag.is_keyframe())
        .nth(3)
        .expect("a keyframe each second");
    assert_eq!(seek(&files[0], "3.6").first(), Some(&i64::from(third.dts)));
    let line = server.wait_log(&["recording closed", "reason=\"publisher_left\""], PATIENCE);
    assert!(line.contains(&name), "{line}");

    // And decodes without a complaint.
    let mut decode = Command::new(FFMPEG_DEBIAN);
    decode
        .args(["-v", "warning", "-ss", "2.5", "-i"])
        .arg(&files[0])
        .args(["-f", "null", "-"]);
    let output = programs::run(&mut decode, PATIENCE);
    assert_eq!(output.stderr, "");
}

#[test]
fn segments_are_cut_at_keyframes_and_lose_nothing() {
    let folder = folder();
    let server = Server::start(&recording(
        folder.path(),
        ", plan: segment, duration: 1500ms",
    ));
    let feed = Feed::start(
        &server,
        "live",
        "x",
        Plan::of(&fixtures::h264_aac()).for_ms(7000),
    );
    wait_for("it has ended", PATIENCE, || {
        (!feed.is_running()).then_some(())
    });
    let sent = feed.finish();
    // Keyframes are a second apart: each file has two of them.
    let files = finished(folder.path(), 4);
    let mut all: Vec<Tag> = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let flv = read(file);
        assert_eq!(flv.flags, Some((true, true)));
        assert!(
            flv.tags[1].is_header() && flv.tags[2].is_header(),
            "each can be played by itself"
        );
        let frames = flv.frames(VIDEO);
        assert!(frames[0].is_keyframe() && frames[0].dts == 0);
        let duration = ffprobe_duration(file);
        let expected = if number < 3 { 2.0 } else { 1.0 };
        assert!(
            (duration - expected).abs() < 0.15,
            "{duration} in file {number}"
        );
        all.extend(flv.tags.iter().filter(|tag| tag.is_coded()).cloned());
    }
    let bodies = |tags: Vec<&Tag>| {
        tags.into_iter()
            .map(|tag| (tag.kind, tag.body.clone()))
            .collect::<Vec<_>>()
    };
    let sent: Vec<&Tag> = sent.iter().filter(|tag| tag.is_coded()).collect();
    assert!(
        bodies(all.iter().collect()) == bodies(sent),
        "in order, none lost, none doubled"
    );
    for file in &files[..3] {
        server.wait_log(
            &[
                "recording closed",
                "reason=\"segment\"",
                &file.display().to_string(),
            ],
            PATIENCE,
        );
    }
}

#[test]
fn sigterm_closes_the_file() {
    let folder = folder();
    let mut server = Server::start_with(
        &recording(folder.path(), ""),
        "grace_period_seconds: 5\n",
        &[],
        &[],
    );
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    wait_for("two seconds", PATIENCE, || {
        (feed.sent().len() > 150).then_some(())
    });
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait_exit(Duration::from_secs(8)).code(), Some(0));
    let sent = feed.abandon();
    let files = finished(folder.path(), 1);
    let flv = read(&files[0]);
    assert!(flv.frames(VIDEO).len() > 40);
    let sent: Vec<&Tag> = sent.iter().collect();
    assert_eq!(assert_run_of(&media(&flv), &sent).0, 0);
    server.wait_log(&["recording closed", "reason=\"shutdown\""], PATIENCE);
}

#[test]
fn sigkill_leaves_a_file_that_plays_and_that_the_next_start_mends() {
    let folder = folder();
    let mut server = Server::start(&recording(folder.path(), ""));
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    wait_for("two seconds", PATIENCE, || {
        (feed.sent().len() > 150).then_some(())
    });
    server.signal(libc::SIGKILL);
    server.wait_exit(PATIENCE);
    let sent = feed.abandon();
    let left = files(folder.path());
    assert_eq!(left.len(), 1);
    assert!(left[0].display().to_string().ends_with(".flv.tmp"));
    let bytes = fs::read(&left[0]).expect("a file");
    let unfinished = Flv::read(&bytes).expect("whole tags, since each write has such");
    assert!(unfinished.frames(VIDEO).len() > 30);
    let demuxed = programs::demux(left[0].to_str().expect("UTF-8"), PATIENCE);
    let count = demuxed["packets"].as_array().expect("packets").len();
    assert_eq!(
        count,
        unfinished.frames(VIDEO).len() + unfinished.frames(AUDIO).len()
    );

    // A write that was cut short.
    let half = Tag::new(VIDEO, 9000, &[0x27; 500]).bytes();
    fs::write(&left[0], [&bytes[..], &half[..300]].concat()).expect("it can be written");
    // Nobody connects: the start alone mends.
    let server = Server::start(&recording(folder.path(), ""));
    let mended = finished(folder.path(), 1);
    let flv = read(&mended[0]);
    assert_eq!(flv.tags[1..], unfinished.tags[1..]);
    let sent: Vec<&Tag> = sent.iter().collect();
    assert_eq!(assert_run_of(&media(&flv), &sent).0, 0);
    let last = flv.frames(VIDEO).last().map_or(0, |tag| tag.dts);
    assert!((ffprobe_duration(&mended[0]) - f64::from(last) / 1000.0).abs() < 0.2);
    server.wait_log(&["recording closed", "reason=\"mended\""], PATIENCE);
}

/// As in an upgrade, the new server is there while the old one still records: it lets the file alone until the old one is gone.
#[test]
fn what_another_server_writes_is_mended_when_it_has_left() {
    let folder = folder();
    let old = Server::start(&recording(folder.path(), ""));
    let feed = Feed::start(&old, "live", "x", Plan::of(&fixtures::h264_aac()));
    wait_for("the file is there", PATIENCE, || {
        (files(folder.path()).len() == 1).then_some(())
    });
    let _new = Server::start(&recording(folder.path(), ""));
    wait_for("two seconds", PATIENCE, || {
        (feed.sent().len() > 150).then_some(())
    });
    assert!(!is_finished(&files(folder.path())[0]));
    old.signal(libc::SIGKILL);
    let flv = read(&finished(folder.path(), 1)[0]);
    assert!(flv.frames(VIDEO).len() > 30);
}

#[test]
fn a_publisher_that_is_back_in_time_goes_on_in_the_same_file() {
    let folder = folder();
    let yaml = recording(folder.path(), "").replace("500ms", "3s");
    let server = Server::start(&yaml);
    let mut sent = Vec::new();
    for fixture in [fixtures::h264_aac(), fixtures::h264_aac()] {
        let feed = Feed::start(&server, "live", "x", Plan::of(&fixture).for_ms(2000));
        wait_for("it has ended", PATIENCE, || {
            (!feed.is_running()).then_some(())
        });
        sent.extend(feed.abandon());
        std::thread::sleep(Duration::from_millis(500));
    }
    let files = finished(folder.path(), 1);
    let flv = read(&files[0]);
    for kind in [VIDEO, AUDIO] {
        let sent: Vec<&Tag> = sent
            .iter()
            .filter(|tag| tag.kind == kind && tag.is_coded())
            .collect();
        assert_eq!(
            assert_run_of(&flv.frames(kind), &sent),
            (0, 0),
            "kind {kind}"
        );
        assert_continuous(&flv.frames(kind), 4000);
    }
    let headers = flv
        .tags
        .iter()
        .filter(|tag| tag.kind == VIDEO && tag.is_header())
        .count();
    assert_eq!(headers, 1, "the same configuration is there once");
}

/// By Enhanced RTMP: every body as it came.
#[track_caller]
fn check_enhanced(fixture: &Path) {
    let folder = folder();
    let server = Server::start(&recording(folder.path(), ""));
    let feed = Feed::start(&server, "live", "x", Plan::of(fixture).for_ms(4000));
    wait_for("it has ended", PATIENCE, || {
        (!feed.is_running()).then_some(())
    });
    let sent = feed.finish();
    let files = finished(folder.path(), 1);
    let flv = read(&files[0]);
    for kind in [VIDEO, AUDIO] {
        let came: Vec<&Tag> = media(&flv)
            .into_iter()
            .filter(|tag| tag.kind == kind)
            .collect();
        let sent: Vec<&Tag> = sent.iter().filter(|tag| tag.kind == kind).collect();
        assert_eq!(assert_run_of(&came, &sent), (0, 0), "kind {kind}");
    }
    let mut decode = Command::new(ffmpeg_current());
    decode
        .args(["-v", "error", "-i"])
        .arg(&files[0])
        .args(["-f", "null", "-"]);
    assert_eq!(programs::run(&mut decode, PATIENCE).stderr, "");
}

#[test]
fn hevc_is_recorded_as_it_came() {
    check_enhanced(&fixtures::hevc_aac());
}

#[test]
fn av1_with_opus_is_recorded_as_it_came() {
    check_enhanced(&fixtures::av1_opus());
}

/// A folder that cannot be made, since a file is in its place; five seconds after that is away, the recording begins.
#[test]
fn a_folder_that_cannot_be_made_leaves_the_stream_playing() {
    let folder = folder();
    let place = folder.path().join("place");
    fs::write(&place, "a file").expect("it can be written");
    let server = Server::start(&recording(&place, ""));
    let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let player = Player::open(&server, "/live/x.flv");
    player.wait("three seconds", PATIENCE, |flv| {
        flv.frames(VIDEO).len() > 75
    });
    server.wait_log(
        &["ERROR", "a recording cannot be begun", "live/x"],
        PATIENCE,
    );
    assert_eq!(
        server.log().matches("ERROR").count(),
        1,
        "once in five seconds"
    );
    fs::remove_file(&place).expect("it can be removed");
    wait_for("the recording begins", PATIENCE, || {
        (files(&place).len() == 1).then_some(())
    });
    player.wait_more(100, PATIENCE);
    feed.finish();
    let flv = read(&finished(&place, 1)[0]);
    assert!(flv.tags[1].is_header() && flv.frames(VIDEO)[0].is_keyframe());
    let frames = player.flv();
    assert_continuous(&frames.frames(VIDEO), 200);
}

/// What was written before the disk was full is a good file, and the player never notices.
#[track_caller]
fn check_full_disk(server: &Server, folder: &Path, error: &str) {
    let plan = Plan::of(&fixtures::h264_aac()).with_pictures_of(20_000);
    let feed = Feed::start(server, "live", "x", plan);
    let player = Player::open(server, "/live/x.flv");
    server.wait_log(&["ERROR", "a recording cannot be written", error], PATIENCE);
    server.wait_log(&["recording closed", "reason=\"error\""], PATIENCE);
    player.wait_more(300, PATIENCE);
    let flv = player.flv();
    for kind in [VIDEO, AUDIO] {
        assert_continuous(&flv.frames(kind), 200);
    }
    let first = files(folder)
        .into_iter()
        .find(|path| is_finished(path))
        .expect("a finished file");
    let file = read(&first);
    assert!(
        file.frames(VIDEO).len() > 5,
        "{} pictures",
        file.frames(VIDEO).len()
    );
    let sent = feed.finish();
    let sent: Vec<&Tag> = sent.iter().collect();
    assert_eq!(assert_run_of(&media(&file), &sent).0, 0);
}

#[test]
fn a_file_size_limit_ends_the_file_and_not_the_server() {
    let folder = folder();
    let home = self::folder();
    let config = server::write_config(
        home.path(),
        &recording(folder.path(), ""),
        "grace_period_seconds: 2\n",
    );
    let mut command = Command::new("bash");
    command
        // In KiB.
        .args(["-c", "ulimit -f 700; exec \"$0\" -c \"$1\""])
        .arg(server::command().get_program())
        .arg(config);
    let mut server = Server::spawn(command, home);
    check_full_disk(&server, folder.path(), "File too large");
    assert!(server.is_running());
}

/// A file system of a megabyte; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<SmallDisk> {
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(at);
        let output = programs::run(&mut command, PATIENCE);
        output.status.success().then(|| SmallDisk(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_the_stream_playing() {
    let folder = folder();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        eprintln!("skipped: a file system can be mounted by root only");
        return;
    };
    let server = Server::start(&recording(&disk.0, ""));
    check_full_disk(&server, &disk.0, "No space left on device");
}

#[test]
fn bad_paths_are_refused_with_a_reason() {
    for (dvr, reason) in [
        ("{ path: \"./r/[stream].[2007].flv\" }", "[2007] is unknown"),
        ("{ path: \"./r/[stream].mp4\" }", "a recording is FLV"),
        (
            "{ enabled: on, plan: segment, path: \"./r/[stream].flv\" }",
            "apart",
        ),
    ] {
        let folder = folder();
        let live = format!("vhosts:\n  __defaultVhost__:\n    dvr: {dvr}\n");
        let config = server::write_config(folder.path(), &live, "");
        let mut command = server::command();
        let output = programs::run(command.arg("-t").arg("-c").arg(config), PATIENCE);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stderr.contains(reason), "{}", output.stderr);
    }
}

/// A publisher comes back with another picture: each file has one, and real players seek in both.
#[test]
fn files_with_one_configuration_each_are_sought_in() {
    let folder = folder();
    let path = folder.path().display();
    let server = Server::start(&format!(
        "http: {{ root: \"{path}\" }}\nvhosts:\n  __defaultVhost__:\n    publish: {{ republish_wait: 3s }}\n    dvr: {{ enabled: on, path: \"{path}/[app]/[stream].[timestamp].flv\" }}\n"
    ));
    for file in [fixtures::h264_aac(), fixtures::h264_aac_other()] {
        let feed = Feed::start(&server, "live", "x", Plan::of(&file).for_ms(3_500));
        wait_for("it has ended", PATIENCE, || {
            (!feed.is_running()).then_some(())
        });
    }
    let files = finished(folder.path(), 2);
    for (file, size) in files.iter().zip([(320, 180), (256, 144)]) {
        read(file);
        let name = file.file_name().expect("a name").to_string_lossy();
        let url = server.http(&format!("/live/{name}?start_ms=2500"));
        let probed = programs::demux(&url, PATIENCE);
        let streams = probed["streams"].as_array().expect("streams");
        let video = streams
            .iter()
            .find(|stream| stream["type"] == "video")
            .expect("a picture");
        assert_eq!(
            (video["width"].as_i64(), video["height"].as_i64()),
            (Some(size.0), Some(size.1)),
            "{name}"
        );
        let mut command = Command::new(ffmpeg_current());
        command.args(["-v", "error", "-i", &url, "-f", "null", "-"]);
        let output = programs::run(&mut command, PATIENCE);
        assert_eq!(output.stderr, "", "{name}");
        output.success();
    }
}
