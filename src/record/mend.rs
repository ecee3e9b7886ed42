//! Finishing what a process left that was killed: each file is cut behind its last whole tag, gets its index, and its name.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{debug, info};

use super::file::{UNFINISHED, Unfinished};
use super::recording::recorded;
use super::scan::Scan;
use super::writer::FlvWriter;
use super::{EndOfRecording, Recorder};

/// How deep folders are searched below the first variable of the template. Apps with many slashes and a folder for each hour
/// stay below.
const MAX_DEPTH: usize = 16;
/// Read at once, in bytes.
const PIECE: usize = 256 * 1024;
/// When it is looked again, if another process still writes; the time doubles with each look.
const AGAIN: Duration = Duration::from_secs(10);
/// And has this length at most: two servers may share a folder for good.
const AGAIN_AT_MOST: Duration = Duration::from_secs(600);
/// A file without bytes is one that is just being made, unless it is older than this.
const FRESH: Duration = Duration::from_secs(10);

/// Looks for files below the recorder's roots and mends them. While another process still writes some (that which an upgrade
/// replaces), it looks again later.
pub(super) fn spawn(recorder: Recorder) -> io::Result<()> {
    std::thread::Builder::new()
        .name("dvr-mend".to_owned())
        .spawn(move || {
            // Files that cannot be mended.
            let mut hopeless = HashSet::new();
            let mut again = AGAIN;
            while round(&recorder, &mut hopeless) {
                std::thread::sleep(again);
                again = (again * 2).min(AGAIN_AT_MOST);
            }
        })?;
    Ok(())
}

/// Returns whether files are left that somebody else writes.
fn round(recorder: &Recorder, hopeless: &mut HashSet<PathBuf>) -> bool {
    let mut in_use = false;
    let roots = recorder.inner.roots.lock().clone();
    for path in roots.iter().flat_map(|root| search(root)) {
        if hopeless.contains(&path) || recorder.writes(&path) {
            continue;
        }
        match mend(&path, recorder) {
            Ok(Mended::Done) => {}
            Ok(Mended::InUse) => in_use = true,
            Ok(Mended::Foreign) => {
                info!(path = %path.display(), "not a recording of this server: left alone");
                hopeless.insert(path);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                recorder.failed("a recording cannot be mended", &path.display(), &error);
                hopeless.insert(path);
            }
        }
    }
    in_use
}

/// Files of unfinished recordings.
fn search(root: &Path) -> Vec<PathBuf> {
    let suffix = format!(".flv{UNFINISHED}");
    let mut found = Vec::new();
    let mut folders = VecDeque::from([(root.to_owned(), 0)]);
    while let Some((folder, depth)) = folders.pop_front() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            // Of the entry itself: links are not followed.
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() && depth < MAX_DEPTH {
                folders.push_back((entry.path(), depth + 1));
            } else if kind.is_file() && entry.file_name().to_string_lossy().ends_with(&suffix) {
                found.push(entry.path());
            }
        }
    }
    found
}

enum Mended {
    /// Or there was nothing in it.
    Done,
    /// Somebody writes it.
    InUse,
    /// No recording.
    Foreign,
}

fn mend(path: &Path, recorder: &Recorder) -> io::Result<Mended> {
    let Some(file) = Unfinished::take_up(path)? else {
        debug!(path = %path.display(), "a recording is written by another process");
        return Ok(Mended::InUse);
    };
    let data = file.file().metadata()?;
    if data.len() == 0 {
        let age = data.modified()?.elapsed().unwrap_or_default();
        if age < FRESH {
            return Ok(Mended::InUse);
        }
        file.discard()?;
        return Ok(Mended::Done);
    }
    let Some(writer) = scan(&file)? else {
        return Ok(Mended::Foreign);
    };
    if writer.totals().tags == 0 {
        file.discard()?;
        return Ok(Mended::Done);
    }
    let path = file.finish(&writer)?;
    recorder.closed(&recorded(None, path, &writer, EndOfRecording::Mended));
    Ok(Mended::Done)
}

fn scan(file: &Unfinished) -> io::Result<Option<FlvWriter>> {
    let mut scan = Scan::default();
    let mut piece = vec![0; PIECE];
    let mut from = file.file();
    loop {
        let count = match from.read(&mut piece) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(bytes) = piece.get(..count).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        if !scan.feed(bytes) {
            break;
        }
    }
    Ok(scan.finish())
}
