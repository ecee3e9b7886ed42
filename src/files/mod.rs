//! Files below a folder: what is at an address, what of it a request may have, and its bytes, piece by piece.
//!
//! `play` calls this, on a thread where it may block, in this order:
//!
//! 1. [`Files::find`] turns the path of a request into an open file, or says why there is none ([`path`] has the rules).
//! 2. For an FLV file with `?start=` or `?start_ms=`, [`Found::seek`] cuts it at a keyframe ([`seek`]).
//! 3. [`condition::judge`] says what the request's conditions and ranges (RFC 9110 §13, §14) leave of it.
//! 4. [`Body::read`] gives that, piece by piece.
//!
//! [`list`] names the recordings below the folder, for the player page.
//!
//! Nothing here knows HTTP's framing, a runtime or a stream. No file is held in memory.

mod body;
pub mod condition;
pub mod list;
mod metadata;
pub mod path;
mod scan;
pub mod seek;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::warn;

pub use body::Body;

use condition::Validators;
use path::{BadPath, FilePath};
use seek::{Outcome, Seek};

/// What a folder answers with, if it has it.
const INDEX: &str = "index.html";

/// A folder whose files are served. See the [module](self).
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
}

/// What is at an address.
#[derive(Debug)]
pub enum Find {
    /// A file.
    File(Found),
    /// A folder with an index, asked for without the slash at its end: the links of the page would lead elsewhere. The address to
    /// ask instead, without a query.
    Folder(String),
    /// Nothing that may be served.
    Missing,
    /// The path is none.
    Bad(BadPath),
}

/// An open file. What it gives is what it had when it was opened, even when it grows meanwhile.
#[derive(Debug)]
pub struct Found {
    file: File,
    size: u64,
    modified: SystemTime,
    /// What its name says that it holds: a value of `Content-Type`.
    pub content_type: String,
    /// Its name ends in `.flv`.
    pub is_flv: bool,
    cut: Option<seek::Cut>,
}

/// What became of [`Found::seek`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// The file begins at the keyframe now.
    Cut,
    /// It is no FLV that can be searched, and stays whole.
    Whole,
    /// The file ends before that.
    Beyond,
}

impl Files {
    /// The files below `root`, which need not be there yet. A relative path is taken from the folder that the process works in now.
    pub fn new(root: &Path) -> Self {
        Self {
            root: std::path::absolute(root).unwrap_or_else(|_| root.to_owned()),
        }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks for what the path of a request names: percent-encoded as it came, without the query. Blocks.
    pub fn find(&self, path: &str) -> Find {
        let path = match FilePath::parse(path) {
            Ok(path) => path,
            Err(bad) => return Find::Bad(bad),
        };
        match self.look(&path) {
            Ok(find) => find,
            Err(error) => {
                // Whoever asks is told no more than that nothing is there; the operator may have meant otherwise.
                if error.kind() == io::ErrorKind::PermissionDenied {
                    warn!(root = %self.root.display(), path = %path, "a file may not be read by this user");
                }
                Find::Missing
            }
        }
    }

    fn look(&self, path: &FilePath) -> io::Result<Find> {
        let root = self.root.canonicalize()?;
        let mut place = root.clone();
        place.extend(path.names());
        let Some(real) = inside(&root, &place)? else {
            return Ok(Find::Missing);
        };
        if !real.metadata()?.is_dir() {
            let found = if path.is_folder() {
                None
            } else {
                open(&real, &place)?
            };
            return Ok(found.map_or(Find::Missing, Find::File));
        }
        let index = place.join(INDEX);
        let Some(real) = inside(&root, &index)? else {
            return Ok(Find::Missing);
        };
        let Some(found) = open(&real, &index)? else {
            return Ok(Find::Missing);
        };
        Ok(if path.is_folder() {
            Find::File(found)
        } else {
            Find::Folder(format!("{path}/"))
        })
    }
}

/// Where the place really is, if that is below `root` and in nothing hidden: a symbolic link may lead anywhere.
fn inside(root: &Path, place: &Path) -> io::Result<Option<PathBuf>> {
    let real = place.canonicalize()?;
    let Ok(below) = real.strip_prefix(root) else {
        return Ok(None);
    };
    let hidden = |part: Component<'_>| part.as_os_str().as_bytes().starts_with(b".");
    Ok((!below.components().any(hidden)).then_some(real))
}

/// Opens a regular file. `real` holds no symbolic links; `named` is what it was asked for as, whose ending counts.
fn open(real: &Path, named: &Path) -> io::Result<Option<Found>> {
    let file = OpenOptions::new()
        .read(true)
        // A link put in its place meanwhile is not followed, and a pipe without a writer is not waited for.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(real)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    Ok(Some(Found {
        size: metadata.len(),
        modified: metadata.modified()?,
        content_type: content_type(named),
        is_flv: has_extension(named, "flv"),
        file,
        cut: None,
    }))
}

impl Found {
    /// Cuts an FLV file at a keyframe. Blocks for as long as it takes to find it: a file without an index is walked through.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn seek(&mut self, seek: Seek) -> io::Result<Sought> {
        Ok(match scan::scan(&self.file, self.size, seek)? {
            Outcome::Cut(cut) => {
                self.cut = Some(cut);
                Sought::Cut
            }
            Outcome::Beyond => Sought::Beyond,
            Outcome::Unreadable(_) => Sought::Whole,
        })
    }

    /// Bytes of the whole answer.
    pub fn len(&self) -> u64 {
        match &self.cut {
            None => self.size,
            Some(cut) => (cut.head.len() as u64).saturating_add(self.size.saturating_sub(cut.from)),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the file itself.
    pub fn file_size(&self) -> u64 {
        self.size
    }

    /// What a client may compare with what it has.
    pub fn validators(&self) -> Validators {
        // Nanoseconds: a file that was written twice in a second has two tags, so they may be called strong (RFC 9110 §8.8.1).
        let nanos = self
            .modified
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos());
        let tag = match &self.cut {
            None => format!("\"{nanos:x}-{:x}\"", self.size),
            Some(cut) => format!("\"{nanos:x}-{:x}-{:x}\"", self.size, cut.from),
        };
        Validators {
            tag,
            modified: self.modified,
        }
    }

    /// `len` bytes of the answer from `from` on; both within [`Found::len`].
    pub fn body(self, from: u64, len: u64) -> Body {
        Body::new(self.file, self.cut, from, len)
    }
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case(wanted))
}

/// By the ending. Texts are said to be UTF-8, as those of the player page are.
fn content_type(path: &Path) -> String {
    /// Where the table of the crate differs from what players expect, or from the addresses of live streams.
    const OURS: &[(&str, &str)] = &[
        ("flv", "video/x-flv"),
        ("ts", "video/mp2t"),
        ("aac", "audio/aac"),
        ("mp3", "audio/mpeg"),
        ("m3u8", "application/vnd.apple.mpegurl"),
        ("m4s", "video/iso.segment"),
        ("mpd", "application/dash+xml"),
    ];
    if let Some((_, ours)) = OURS
        .iter()
        .find(|(extension, _)| has_extension(path, extension))
    {
        return (*ours).to_owned();
    }
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    if guess.type_() == mime_guess::mime::TEXT {
        return format!("{}; charset=utf-8", guess.essence_str());
    }
    guess.essence_str().to_owned()
}

#[cfg(test)]
mod tests;
