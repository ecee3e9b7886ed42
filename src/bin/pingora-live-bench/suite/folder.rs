//! A folder for a server's files, gone at the end.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use crate::Failure;

pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Result<Self, Failure> {
        let path = env::temp_dir().join(format!("pingora-live-bench-{}", process::id()));
        match fs::create_dir(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(Failure::File {
                path,
                why: error.to_string(),
            }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
