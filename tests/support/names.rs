//! Names of hosts for a server under test: Debian's libnss-wrapper, which answers its look-ups from a file of the test's.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

const LIBRARY: &str = "libnss_wrapper.so";

/// Names, as a resolver has them. They can be changed while a server runs.
pub struct Names {
    folder: TempDir,
}

impl Names {
    /// `hosts`: lines of hosts(5).
    pub fn new(hosts: &str) -> Names {
        let names = Names {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        std::fs::write(names.file(), hosts).expect("a file");
        names
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("hosts")
    }

    /// Others from now on.
    pub fn change(&self, hosts: &str) {
        let next = self.folder.path().join("next");
        std::fs::write(&next, hosts).expect("a file");
        // The library looks at the seconds of the file's time alone.
        let before = std::fs::metadata(self.file()).and_then(|file| file.modified());
        let later = before.expect("the file is there") + Duration::from_secs(2);
        let file = std::fs::File::options().write(true).open(&next);
        file.and_then(|file| file.set_modified(later.max(SystemTime::now())))
            .expect("its time is set");
        std::fs::rename(next, self.file()).expect("the file is replaced");
    }

    /// The environment of a server that asks here.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("LD_PRELOAD", LIBRARY.to_owned()),
            ("NSS_WRAPPER_HOSTS", self.file().display().to_string()),
        ]
    }
}
