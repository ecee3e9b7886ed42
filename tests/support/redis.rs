//! Debian's redis-server as a child process: a port and a folder of its own, nothing kept on disk.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::certs::Certificate;
use super::proxies::free_port;
use super::{PATIENCE, wait_for};

/// A Redis. Killed when dropped.
pub struct Redis {
    folder: TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

/// A Redis that speaks TLS alone, and knows one user. Killed when dropped.
pub struct SecureRedis {
    child: Child,
    _folder: TempDir,
    pub port: u16,
}

impl SecureRedis {
    pub const USER: &str = "live";
    pub const PASSWORD: &str = "open-sesame";

    /// Starts one on a free port.
    pub fn start(certificate: &Certificate) -> SecureRedis {
        SecureRedis::start_on(certificate, free_port())
    }

    /// Starts one on a port.
    pub fn start_on(certificate: &Certificate, port: u16) -> SecureRedis {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = format!(
            "port 0\ntls-port {port}\nbind 127.0.0.1\nsave \"\"\nappendonly no\ndir {}\n\
             tls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\n\
             user {} on >{} ~* &* +@all\nuser default off\n",
            folder.path().display(),
            certificate.cert.display(),
            certificate.key.display(),
            certificate.cert.display(),
            Self::USER,
            Self::PASSWORD,
        );
        let file = folder.path().join("redis.conf");
        std::fs::write(&file, config).expect("a configuration");
        let child = Command::new("redis-server")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server runs");
        let redis = SecureRedis {
            child,
            _folder: folder,
            port,
        };
        wait_for("Redis listens", PATIENCE, || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        redis
    }
}

impl Drop for SecureRedis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    /// Starts one on a free port.
    pub fn start() -> Redis {
        // Redis cannot be told to choose a port and say which.
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let mut redis = Redis {
            folder: tempfile::tempdir().expect("a temporary folder"),
            address,
            child: None,
        };
        redis.restart();
        redis
    }

    /// `redis://127.0.0.1:PORT/0`
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Starts it on the same port, empty.
    pub fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &self.address.port().to_string()])
            .arg("--dir")
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server runs"));
        wait_for("Redis answers", PATIENCE, || {
            self.ask(&["PING"])
                .filter(|answer| answer.starts_with("+PONG"))
        });
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it, or lets it go on: it takes connections, and answers nothing.
    pub fn pause(&self, paused: bool) {
        let signal = if paused { libc::SIGSTOP } else { libc::SIGCONT };
        let child = self.child.as_ref().expect("it runs");
        let pid = i32::try_from(child.id()).expect("a process id");
        // SAFETY: kill(2) takes two integers; the child is ours and not reaped yet, so its id names it.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0, "kill: {}", std::io::Error::last_os_error());
    }

    /// One command, and the raw answer.
    pub fn ask(&self, words: &[&str]) -> Option<String> {
        let mut socket = TcpStream::connect(self.address).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        socket.write_all(command.as_bytes()).ok()?;
        let mut answer = [0; 4096];
        let length = socket.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
