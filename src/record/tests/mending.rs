//! What a process left that was killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::*;
use crate::config::{self, Dvr, Vhost};
use crate::observe::Counters;
use crate::record::file::Unfinished;
use crate::record::writer::FlvWriter;
use crate::record::{EndOfRecording, Recorded, Recorder};

/// What stands in a file that nobody closed.
fn left() -> Vec<u8> {
    let mut writer = FlvWriter::new(Some(&Metadata::read(&meta(&[("width", 320.0)]))), 8);
    let mut file = writer.head(false);
    for n in 0..50u8 {
        let ms = u64::from(n) * 40;
        let body = if n % 25 == 0 { key(n) } else { inter(n) };
        writer.tag(&frame(FrameKind::Video, ms, &body), false, &mut file);
    }
    file.to_vec()
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();
}

fn recorder(root: &Path) -> (Recorder, Arc<Mutex<Vec<Recorded>>>) {
    let vhost = Vhost {
        dvr: Dvr {
            enabled: true,
            path: format!("{}/[app]/[stream].flv", root.display())
                .parse()
                .unwrap(),
            ..Dvr::default()
        },
        ..Vhost::default()
    };
    let live = config::Live {
        vhosts: [("a.example".to_owned(), vhost)].into(),
        ..config::Live::default()
    };
    let recorder = Recorder::new(&live, Arc::<Counters>::default());
    let closed = Arc::<Mutex<Vec<Recorded>>>::default();
    let theirs = Arc::clone(&closed);
    recorder.on_closed(move |recorded| theirs.lock().push(recorded.clone()));
    (recorder, closed)
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push(path.strip_prefix(root).unwrap().to_owned())
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_was_left_is_cut_indexed_and_renamed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let good = left();
    let cut = [&good[..], &good[good.len() - 30..good.len() - 10]].concat();
    write(&root.join("live/whole.flv.tmp"), &good);
    write(&root.join("live/a/b/cut.flv.tmp"), &cut);
    write(&root.join("live/taken.flv.tmp"), &good);
    write(&root.join("live/taken.flv"), b"precious");
    write(&root.join("live/empty.flv.tmp"), b"");
    write(
        &root.join("live/foreign.flv.tmp"),
        b"somebody else's, by its name",
    );
    write(&root.join("live/other.tmp"), b"not ours");
    let (recorder, closed) = recorder(root);
    // One that is just being made, and one that is written.
    let ours = Unfinished::create(&root.join("live/ours.flv")).unwrap();
    let used = Unfinished::create(&root.join("live/used.flv")).unwrap();
    used.write(&good, 0).unwrap();
    recorder.mend();
    recorder.mend();
    let deadline = Instant::now() + Duration::from_secs(20);
    while closed.lock().len() < 3 || root.join("live/empty.flv.tmp").exists() {
        assert!(Instant::now() < deadline, "{:?}", files(root));
        std::thread::sleep(Duration::from_millis(10));
    }
    let names: Vec<String> = files(root)
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(
        names,
        [
            "live/a/b/cut.flv",
            "live/foreign.flv.tmp",
            "live/other.tmp",
            "live/ours.flv.tmp",
            "live/taken-1.flv",
            "live/taken.flv",
            "live/used.flv.tmp",
            "live/whole.flv",
        ]
    );
    for name in ["live/a/b/cut.flv", "live/taken-1.flv", "live/whole.flv"] {
        let bytes = fs::read(root.join(name)).unwrap();
        assert_eq!(bytes.len(), good.len());
        let read = read(&bytes);
        assert_eq!(read.check_index(), 2, "{name}");
        assert_eq!(
            (read.number("duration"), read.number("width")),
            (2.0, 320.0)
        );
    }
    assert_eq!(fs::read(root.join("live/taken.flv")).unwrap(), b"precious");
    assert!(
        closed
            .lock()
            .iter()
            .all(|r| r.reason == EndOfRecording::Mended && r.stream.is_none())
    );
    drop(ours);
}

/// What a crash leaves is a file that can be played.
#[test]
fn an_unfinished_file_is_one_that_plays() {
    let read = read(&left());
    assert_eq!(read.tags.len(), 51);
    assert_eq!(read.flags, (true, true));
    assert_eq!(read.metadata().get("duration"), None);
    assert_eq!(read.number("width"), 320.0);
}
