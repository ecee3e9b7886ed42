//! Certificates, made by openssl when a test asks for them: self-signed ones, and those of an authority of the test's own.

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

/// One who signs certificates.
pub struct Authority(Certificate);

impl Authority {
    /// Makes one into a folder.
    pub fn make(folder: &Path) -> Authority {
        Authority(make(folder, "authority"))
    }

    /// The file to be trusted.
    pub fn cert(&self) -> &Path {
        &self.0.cert
    }

    /// A certificate for a name, as DNS or IP address, into a folder.
    pub fn sign(&self, folder: &Path, name: &str) -> Certificate {
        let file = |end: &str| folder.join(format!("{name}-signed.{end}"));
        let (cert, key, request) = (file("crt"), file("key"), file("csr"));
        let kind = match name.parse::<std::net::IpAddr>() {
            Ok(_) => "IP",
            Err(_) => "DNS",
        };
        let mut command = Command::new("openssl");
        command
            .args(["req", "-newkey", "ec", "-nodes"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-subj", &format!("/CN={name}")])
            .args(["-addext", &format!("subjectAltName={kind}:{name}")])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&request);
        programs::run(&mut command, Duration::from_secs(20)).success();
        let mut command = Command::new("openssl");
        command
            .args(["x509", "-req", "-days", "2", "-copy_extensions", "copyall"])
            .arg("-in")
            .arg(&request)
            .arg("-CA")
            .arg(&self.0.cert)
            .arg("-CAkey")
            .arg(&self.0.key)
            .arg("-out")
            .arg(&cert);
        programs::run(&mut command, Duration::from_secs(20)).success();
        Certificate { cert, key }
    }
}
