//! The set of measurements of `docs/performance.md`: our server, the floor, and xiu if it is there, one after the other on the same
//! machine. What is compared are ratios within one run: figures of different machines, and of different hours of one, are not.

mod bed;
mod fan_out;
mod folder;
mod ingest;
mod others;
mod runner;
mod table;
mod time;
mod tls;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::args;
use crate::progress::Progress;

use bed::{Programs, failure};
use runner::Runner;

/// Measures all, prints the table, and writes it if a file is named. Whether all figures were reached.
pub(crate) fn run(
    plan: &args::Suite,
    json: bool,
    progress: &mut Progress,
) -> Result<bool, Failure> {
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
        xiu: find_xiu(plan.xiu.as_deref())?,
    };
    let mut runner = Runner::new(programs, plan.duration, plan.only.clone(), progress)?;
    runner.all()?;
    let rows = runner.into_rows();
    let text = table::markdown(&rows, plan.duration);
    if json {
        println!("{}", serde_json::to_string(&rows)?);
    } else {
        print!("{text}");
    }
    if let Some(path) = &plan.write {
        table::write(path, &text)?;
    }
    Ok(rows.iter().all(|row| row.met != Some(false)))
}

/// xiu and its version: the one that was named, which must be there, or where a shell would find it.
fn find_xiu(named: Option<&Path>) -> Result<Option<(PathBuf, String)>, Failure> {
    let program = named.unwrap_or(Path::new("xiu"));
    match Command::new(program).arg("--version").output() {
        Ok(output) if output.status.success() => {
            let version = String::from_utf8_lossy(&output.stdout)
                .trim()
                .to_lowercase();
            Ok(Some((program.to_owned(), version)))
        }
        Ok(_) | Err(_) if named.is_none() => Ok(None),
        Ok(output) => Err(failure(program, output.status)),
        Err(error) => Err(failure(program, error)),
    }
}
