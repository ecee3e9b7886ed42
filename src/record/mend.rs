//! Finishing what a process left that was killed: each file is cut behind its last whole tag, gets its index, and its name.

use std::collections::VecDeque;
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
/// How often a file is looked at again that another process still writes.
const AGAIN: Duration = Duration::from_secs(10);

/// Looks for files below the recorder's roots, once, and mends them. Those that another process still writes (an upgrade) are mended
/// when it has left them.
pub(super) fn spawn(recorder: Recorder) -> io::Result<()> {
    std::thread::Builder::new()
        .name("dvr-mend".to_owned())
        .spawn(move || {
            let mut left: Vec<PathBuf> = recorder
                .inner
                .roots
                .iter()
                .flat_map(|root| search(root, &recorder))
                .collect();
            while !left.is_empty() {
                left.retain(|path| match mend(path, &recorder) {
                    Ok(Mended::Done) => false,
                    Ok(Mended::InUse) => true,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                    Err(error) => {
                        recorder.failed("a recording cannot be mended", &path.display(), &error);
                        false
                    }
                });
                if !left.is_empty() {
                    std::thread::sleep(AGAIN);
                }
            }
        })?;
    Ok(())
}

/// Files of unfinished recordings that this process did not make.
fn search(root: &Path, recorder: &Recorder) -> Vec<PathBuf> {
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
            }
            let unfinished = entry
                .file_name()
                .to_string_lossy()
                .ends_with(&format!(".flv{UNFINISHED}"));
            let changed = entry.metadata().and_then(|data| data.modified());
            if kind.is_file() && unfinished && changed.is_ok_and(|at| at < recorder.inner.began) {
                found.push(entry.path());
            }
        }
    }
    found
}

enum Mended {
    /// Or there is nothing to do.
    Done,
    /// Somebody writes it.
    InUse,
}

fn mend(path: &Path, recorder: &Recorder) -> io::Result<Mended> {
    let Some(file) = Unfinished::take_up(path)? else {
        debug!(path = %path.display(), "a recording is written by another process");
        return Ok(Mended::InUse);
    };
    if file.file().metadata()?.len() == 0 {
        file.discard()?;
        return Ok(Mended::Done);
    }
    let Some(writer) = scan(&file)? else {
        info!(path = %path.display(), "not a recording of this server: left alone");
        return Ok(Mended::Done);
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
