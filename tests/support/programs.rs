//! Real programs as children: run to their end with a deadline, or left running and killed in `Drop`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use super::wait_for;

/// Debian's ffmpeg: 5.1 on Debian 12.
pub const FFMPEG_DEBIAN: &str = "/usr/bin/ffmpeg";

/// The current ffmpeg that the package imageio-ffmpeg ships.
pub fn ffmpeg_current() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let mut python = Command::new(python());
        python.args([
            "-c",
            "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())",
        ]);
        run(&mut python, Duration::from_secs(60))
            .success()
            .trim()
            .to_owned()
    })
}

/// The Python of the tests' own environment.
pub fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python")
}

/// One of the Python programs in `tests/tools`.
pub fn tool(name: &str) -> Command {
    let mut command = Command::new(python());
    command.arg(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/tools")
            .join(name),
    );
    command
}

/// curl, quiet but for its errors.
pub fn curl() -> Command {
    let mut command = Command::new("curl");
    // A proxy in the tester's environment must not come between.
    command.args(["-sS", "--noproxy", "*"]);
    command
}

/// What a program left.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
    name: String,
}

impl Output {
    /// Its standard output, if it exited with 0; else the test fails and shows what it said.
    #[track_caller]
    pub fn success(self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// As [`Output::success`], as bytes.
    #[track_caller]
    pub fn bytes(self) -> Vec<u8> {
        assert!(
            self.status.success(),
            "{}: {}\n{}",
            self.name,
            self.status,
            self.stderr
        );
        self.stdout
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.success();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }
}

/// Runs a program to its end.
#[track_caller]
pub fn run(command: &mut Command, within: Duration) -> Output {
    Job::start(command).finish(within)
}

/// A program at work. Killed when dropped.
pub struct Job {
    child: Child,
    folder: TempDir,
    name: String,
}

impl Job {
    #[track_caller]
    pub fn start(command: &mut Command) -> Job {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let name = Path::new(command.get_program())
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let file = |part: &str| File::create(folder.path().join(part)).expect("a file for output");
        // Into files rather than pipes: a program that nobody reads from must not stop.
        let child = command
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{} cannot be started ({error}): `make test` installs what the tests need",
                    command.get_program().display()
                )
            });
        Job {
            child,
            folder,
            name,
        }
    }

    /// Waits for the end.
    #[track_caller]
    pub fn finish(mut self, within: Duration) -> Output {
        let what = format!("{} ends", self.name);
        let child = &mut self.child;
        let status = wait_for(&what, within, || {
            child.try_wait().expect("a child to wait for")
        });
        self.output(status)
    }

    /// Kills it as a machine dies (SIGKILL).
    pub fn kill(mut self) -> Output {
        let _ = self.child.kill();
        let status = self.child.wait().expect("a child to wait for");
        self.output(status)
    }

    /// Sends a signal, for example `libc::SIGINT`.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: kill(2) takes two integers; the child is ours and not reaped yet, so its id names it.
        unsafe { libc::kill(pid, signal) };
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.text("stdout")
    }

    /// How much of it, in bytes.
    pub fn stdout_bytes(&self) -> u64 {
        let file = self.folder.path().join("stdout");
        std::fs::metadata(file).map_or(0, |file| file.len())
    }

    /// The process, for `/proc`.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.text("stderr")
    }

    fn text(&self, part: &str) -> String {
        String::from_utf8_lossy(&self.read(part)).into_owned()
    }

    fn read(&self, part: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut file = File::open(self.folder.path().join(part)).expect("the output file");
        file.read_to_end(&mut bytes).expect("the output");
        bytes
    }

    fn output(&self, status: ExitStatus) -> Output {
        Output {
            status,
            stdout: self.read("stdout"),
            stderr: self.text("stderr"),
            name: self.name.clone(),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = self.stderr();
            let tail: Vec<&str> = text.lines().rev().take(10).collect();
            eprintln!("---- the last lines of {} ----", self.name);
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// Publishes a file once, at its own pace, without re-encoding.
#[track_caller]
pub fn publish(ffmpeg: &str, file: &Path, url: &str) -> Job {
    let mut command = Command::new(ffmpeg);
    command
        .args(["-hide_banner", "-loglevel", "warning", "-re", "-i"])
        .arg(file)
        .args(["-c", "copy", "-f", "flv", url]);
    Job::start(&mut command)
}

/// Publishes a file again and again.
#[track_caller]
pub fn publish_loop(ffmpeg: &str, file: &Path, url: &str) -> Job {
    let mut command = Command::new(ffmpeg);
    command
        .args([
            "-hide_banner",
            "-loglevel",
            "warning",
            "-stream_loop",
            "-1",
            "-re",
            "-i",
        ])
        .arg(file)
        .args(["-c", "copy", "-f", "flv", url]);
    Job::start(&mut command)
}

/// Streams and packets of a file or address, as FFmpeg's own demuxers see them.
#[track_caller]
pub fn demux(url: &str, within: Duration) -> serde_json::Value {
    run(tool("demux.py").arg(url), within).json()
}
