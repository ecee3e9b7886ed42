//! The recordings below a folder, for the player page.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{Files, has_extension, path};

/// What the page can play.
const ENDINGS: [&str; 2] = ["flv", "mp4"];
/// Files that are listed: more than anybody looks through on a page.
pub const MAX_LISTED: usize = 200;
/// Folders below folders that are looked into: vhost, app, stream, year, month and day of a recording, and some room.
const MAX_DEPTH: usize = 8;
/// Names that are looked at in all. A larger archive needs an index of its own.
const MAX_NAMES: usize = 50_000;

/// A file that the page can play.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Recording {
    /// When it was changed last, in seconds since 1970.
    pub mtime: u64,
    /// The path below the root, to be read by people.
    pub name: String,
    /// The path of its address, encoded.
    pub url: String,
    /// Bytes.
    pub size: u64,
}

/// The newest recordings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The newest first.
    pub files: Vec<Recording>,
    /// There are more than were listed or looked at.
    pub truncated: bool,
}

impl Files {
    /// The newest recordings below the root. Symbolic links are not followed, and hidden names are passed over. Blocks.
    pub fn list(&self) -> Listing {
        let mut newest: BinaryHeap<Reverse<Recording>> = BinaryHeap::new();
        let mut truncated = false;
        let mut left = MAX_NAMES;
        let mut folders = vec![(self.root().to_owned(), String::new(), String::new(), 0)];
        while let Some((folder, name, url, depth)) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.filter_map(Result::ok) {
                if left == 0 {
                    truncated = true;
                    folders.clear();
                    break;
                }
                left -= 1;
                match look(&entry, &name, &url) {
                    Entry::Folder(path, name, url) if depth < MAX_DEPTH => {
                        folders.push((path, name, url, depth + 1))
                    }
                    Entry::Folder(..) => truncated = true,
                    Entry::Recording(recording) => {
                        newest.push(Reverse(recording));
                        if newest.len() > MAX_LISTED {
                            newest.pop();
                            truncated = true;
                        }
                    }
                    Entry::Other => {}
                }
            }
        }
        // Sorted by what was reversed: the greatest time comes first.
        let files = newest
            .into_sorted_vec()
            .into_iter()
            .map(|Reverse(recording)| recording)
            .collect();
        Listing { files, truncated }
    }
}

enum Entry {
    Folder(PathBuf, String, String),
    Recording(Recording),
    Other,
}

fn look(entry: &DirEntry, folder_name: &str, folder_url: &str) -> Entry {
    let file_name = entry.file_name();
    // Of the entry itself: a link is neither a folder nor a file.
    let Ok(metadata) = entry.metadata() else {
        return Entry::Other;
    };
    if is_hidden(&file_name) {
        return Entry::Other;
    }
    let mut url = format!("{folder_url}/");
    path::encode(&file_name, &mut url);
    let name = if folder_name.is_empty() {
        file_name.to_string_lossy().into_owned()
    } else {
        format!("{folder_name}/{}", file_name.to_string_lossy())
    };
    let place = entry.path();
    if metadata.is_dir() {
        return Entry::Folder(place, name, url);
    }
    if !metadata.is_file() || !ENDINGS.iter().any(|ending| has_extension(&place, ending)) {
        return Entry::Other;
    }
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Entry::Recording(Recording {
        mtime: modified
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs()),
        name,
        url,
        size: metadata.len(),
    })
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}
