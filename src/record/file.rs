//! Files of recordings: made under a name of their own, locked while they are written, renamed when they are whole.
//!
//! `NAME.flv.tmp` becomes `NAME.flv`. The lock tells a server that starts whether another one still writes the file: the one that is
//! being replaced by an upgrade, or one that shares the folder. No file is ever overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::BytesMut;

use super::writer::FlvWriter;

/// What the name of a file has after it that is not closed.
pub(super) const UNFINISHED: &str = ".tmp";
/// How many names are tried for one file. So many files of one name in one second (or whatever the template tells apart) is a
/// template without variables, and the folder is full of them.
const MAX_NAMES: u32 = 10_000;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Unfinished {
    file: File,
    /// Where it stands now.
    path: PathBuf,
}

impl Unfinished {
    /// Makes a file for `target`, and its folders. If the name is taken, -1, -2 and so on are tried.
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        for number in 0..MAX_NAMES {
            let target = numbered(target, number);
            let path = with_suffix(&target);
            if target.try_exists()? {
                continue;
            }
            // Read too, for the one who mends it.
            let made = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path);
            match made {
                Ok(file) => {
                    // Whoever looks for files to mend may hold it for a moment. A file system without locks has files that are
                    // not locked.
                    let _ = lock(&file, libc::LOCK_EX);
                    return Ok(Self { file, path });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(
            ErrorKind::AlreadyExists,
            format!("{MAX_NAMES} files of that name are there already"),
        ))
    }

    /// Takes up a file that somebody left. None when somebody still writes it.
    pub(super) fn take_up(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        match lock(&file, libc::LOCK_EX | libc::LOCK_NB) {
            Ok(()) => Ok(Some(Self {
                file,
                path: path.to_owned(),
            })),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Writes all of it at that place.
    pub(super) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// Cuts off what is behind the last whole tag, writes the final head, and gives the file its name, which is returned.
    pub(super) fn finish(self, writer: &FlvWriter) -> io::Result<PathBuf> {
        let len = writer.totals().len;
        if self.file.metadata()?.len() != len {
            self.file.set_len(len)?;
        }
        let head: BytesMut = writer.head(true);
        self.write(&head, 0)?;
        self.rename()
    }

    /// Removes it.
    pub(super) fn discard(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    fn rename(self) -> io::Result<PathBuf> {
        let name = self.path.to_string_lossy();
        let target = PathBuf::from(name.strip_suffix(UNFINISHED).unwrap_or(&name));
        for number in 0..MAX_NAMES {
            let target = numbered(&target, number);
            // A link, since a rename would replace a file that came there meanwhile.
            match fs::hard_link(&self.path, &target) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if !self.is(&target) {
                        continue;
                    }
                    // A server was killed between link and removal.
                }
                // File systems without links: a moment remains in which another file may come.
                Err(_) if !target.try_exists()? => {
                    fs::rename(&self.path, &target)?;
                    return Ok(target);
                }
                Err(_) => continue,
            }
            fs::remove_file(&self.path)?;
            return Ok(target);
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    fn is(&self, other: &Path) -> bool {
        let id = |data: fs::Metadata| (data.dev(), data.ino());
        match (self.file.metadata(), fs::metadata(other)) {
            (Ok(this), Ok(other)) => id(this) == id(other),
            _ => false,
        }
    }
}

/// `a/b.flv`, `a/b-1.flv`, `a/b-2.flv`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{number}.flv"))
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// Locks the file for as long as it is open.
#[allow(unsafe_code)]
fn lock(file: &File, how: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and flock takes no pointer.
    match unsafe { libc::flock(file.as_raw_fd(), how) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(file: Unfinished) -> String {
        let writer = FlvWriter::new(None, 2);
        let path = file.finish(&writer).unwrap();
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn names_that_are_taken_get_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a/b.c.flv");
        let first = Unfinished::create(&target).unwrap();
        let second = Unfinished::create(&target).unwrap();
        assert_eq!(finished(second), "b.c-1.flv");
        assert_eq!(finished(first), "b.c.flv");
        let third = Unfinished::create(&target).unwrap();
        assert_eq!(finished(third), "b.c-2.flv");
        let mut names: Vec<_> = fs::read_dir(folder.path().join("a"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["b.c-1.flv", "b.c-2.flv", "b.c.flv"]);
    }

    #[test]
    fn a_file_that_came_meanwhile_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("b.flv");
        let file = Unfinished::create(&target).unwrap();
        fs::write(&target, "precious").unwrap();
        assert_eq!(finished(file), "b-1.flv");
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }

    #[test]
    fn a_file_that_is_written_is_not_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = Unfinished::create(&folder.path().join("b.flv")).unwrap();
        let path = file.path().to_owned();
        assert!(Unfinished::take_up(&path).unwrap().is_none());
        drop(file);
        assert!(Unfinished::take_up(&path).unwrap().is_some());
    }

    #[test]
    fn a_rename_that_was_cut_short_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("b.flv");
        let file = Unfinished::create(&target).unwrap();
        fs::hard_link(file.path(), &target).unwrap();
        assert_eq!(finished(file), "b.flv");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
