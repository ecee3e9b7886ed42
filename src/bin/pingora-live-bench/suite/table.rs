//! The table of `docs/performance.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use serde::Serialize;

use crate::Failure;

const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";

/// One line of the table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) unit: &'static str,
    /// The floor's, in the same rhythm.
    pub(super) floor: Option<f64>,
    pub(super) value: f64,
    /// In words.
    pub(super) reach: String,
    pub(super) met: Option<bool>,
}

impl Row {
    /// To the floor.
    pub(super) fn ratio(&self) -> Option<f64> {
        self.floor
            .filter(|floor| *floor > 0.0)
            .map(|floor| self.value / floor)
    }
}

/// The rows, and the conditions under which they were taken.
pub(super) fn markdown(rows: &[Row], duration: Duration) -> String {
    let mut text = String::new();
    let cores = available_parallelism().map_or(0, usize::from);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    let _ = writeln!(
        text,
        "Linux {}, {cores} cores; {} s a measurement; load average at the end {load}, this tool included.\n",
        kernel.trim(),
        duration.as_secs_f64()
    );
    text.push_str("| measured | floor | pingora-live | ratio | to reach | |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    for row in rows {
        let figure = |value: Option<f64>| {
            value.map_or_else(String::new, |value| {
                format!("{} {}", rounded(value), row.unit).trim().to_owned()
            })
        };
        let ratio = row
            .ratio()
            .map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let met = match row.met {
            Some(true) => "reached",
            Some(false) => "missed",
            None => "",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {ratio} | {} | {met} |",
            row.name,
            figure(row.floor),
            figure(Some(row.value)),
            row.reach
        );
    }
    text
}

/// Three digits that mean something.
fn rounded(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Puts `text` between the markers of a file.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failure = |why: String| Failure::File {
        path: path.to_owned(),
        why,
    };
    let old = fs::read_to_string(path).map_err(|error| failure(error.to_string()))?;
    let new =
        between(&old, text).ok_or_else(|| failure(format!("it has no lines {BEGIN} and {END}")))?;
    fs::write(path, new).map_err(|error| failure(error.to_string()))
}

fn between(old: &str, text: &str) -> Option<String> {
    let (before, rest) = old.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let old = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = between(&old, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(between(&new, "new\n").unwrap(), new);
        assert_eq!(between("no markers", "new"), None);
    }

    #[test]
    fn a_row_has_its_ratio() {
        let row = Row {
            name: "n".to_owned(),
            unit: "us",
            floor: Some(100.0),
            value: 120.0,
            reach: "1.25".to_owned(),
            met: Some(true),
        };
        let text = markdown(&[row], Duration::from_secs(8));
        assert!(
            text.ends_with("| n | 100 us | 120 us | 1.20 | 1.25 | reached |\n"),
            "{text}"
        );
    }
}
