//! Certificates, made by openssl when a test asks for them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::programs;

/// A self-signed certificate and its key, as files.
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Makes a certificate for a name into a folder.
pub fn make(folder: &Path, name: &str) -> Certificate {
    make_with(folder, name, &[])
}

/// As [`make`], but of one that may sign nothing: strict clients take no certificate of an authority for that of a server.
pub fn make_leaf(folder: &Path, name: &str) -> Certificate {
    make_with(
        folder,
        name,
        &["-addext", "basicConstraints=critical,CA:FALSE"],
    )
}

fn make_with(folder: &Path, name: &str, more: &[&str]) -> Certificate {
    let cert = folder.join(format!("{name}.crt"));
    let key = folder.join(format!("{name}.key"));
    let mut command = Command::new("openssl");
    command
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(more)
        .arg("-subj")
        .arg(format!("/CN={name}"))
        .arg("-addext")
        .arg(format!("subjectAltName=DNS:{name},IP:127.0.0.1"))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert);
    programs::run(&mut command, Duration::from_secs(20)).success();
    Certificate { cert, key }
}
