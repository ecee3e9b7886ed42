//! A line on standard error that says how far it is.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Between two lines where they stay: in a file, or in the log of a build.
const SLOW: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Progress {
    quiet: bool,
    /// What is measured, before each line.
    name: String,
    terminal: bool,
    last: Option<Instant>,
}

impl Progress {
    /// `quiet`: nothing is said.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            name: String::new(),
            terminal: stderr().is_terminal(),
            last: None,
        }
    }

    /// Puts `name` before the lines that follow.
    pub(crate) fn name(&mut self, name: &str) {
        self.name = format!("{name}: ");
        self.last = None;
    }

    /// Says `line`, in the place of the last one.
    pub(crate) fn tell(&mut self, line: &str) {
        if self.quiet {
            return;
        }
        if self.terminal {
            // Back to the line's begin, and nothing of the last one is left.
            let _ = write!(stderr(), "\r{}{line}\x1b[K", self.name);
        } else if self.last.is_none_or(|last| last.elapsed() >= SLOW) {
            self.last = Some(Instant::now());
            let _ = writeln!(stderr(), "{}{line}", self.name);
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if self.terminal && !self.quiet {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
