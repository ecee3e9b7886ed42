//! The set of measurements of `docs/performance.md`: our server, the floor, and xiu if it is there, one after the other on the same
//! machine. What is compared are ratios within one run: figures of different machines, and of different hours of one, are not.

mod bed;
mod folder;
mod rows;
mod table;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::args;
use crate::progress::Progress;

use bed::Programs;
use rows::Runner;

/// Measures all, prints the table, and writes it if a file is named. Whether all figures were reached.
pub(crate) fn run(plan: &args::Suite, progress: &mut Progress) -> Result<bool, Failure> {
    let own = std::env::current_exe().map_err(|error| Failure::Program {
        program: "pingora-live-bench".to_owned(),
        why: error.to_string(),
    })?;
    let server = plan
        .server
        .clone()
        .unwrap_or_else(|| own.with_file_name("pingora-live"));
    let programs = Programs {
        // It is started in a folder of its own.
        server: server.canonicalize().map_err(|error| Failure::Program {
            program: server.display().to_string(),
            why: error.to_string(),
        })?,
        own,
        xiu: plan.xiu.clone().or_else(find_xiu),
    };
    let mut runner = Runner::new(programs, plan.duration, plan.only.clone(), progress)?;
    runner.all()?;
    let rows = runner.into_rows();
    let text = table::markdown(&rows, plan.duration);
    print!("{text}");
    if let Some(path) = &plan.write {
        table::write(path, &text)?;
    }
    Ok(rows.iter().all(|row| row.met != Some(false)))
}

/// xiu, where a shell would find it.
fn find_xiu() -> Option<PathBuf> {
    let status = Command::new("xiu")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|s| s.success()).then(|| "xiu".into())
}
