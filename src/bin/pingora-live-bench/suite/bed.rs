//! Servers as child processes, each with a folder and ports of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;

/// From the start of a server to its last listener.
const START: Duration = Duration::from_secs(10);

/// What is run.
pub(super) struct Programs {
    pub(super) server: PathBuf,
    pub(super) own: PathBuf,
    /// With its version.
    pub(super) xiu: Option<(PathBuf, String)>,
}

/// A running server. Killed when dropped.
pub(super) struct Server {
    child: Child,
    listening: Vec<(String, SocketAddr)>,
}

impl Server {
    /// Ours, with YAML for below `live:` and for its vhost.
    pub(super) fn ours(
        programs: &Programs,
        folder: &Path,
        threads: usize,
        play: &str,
    ) -> Result<Self, Failure> {
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let https = if cert.exists() {
            format!(
                "  https: {{ listen: [\"127.0.0.1:0\"], certs: [{{ cert: {cert:?}, key: {key:?} }}] }}\n"
            )
        } else {
            String::new()
        };
        let config = format!(
            "threads: {threads}\nlive:\n  rtmp: {{ listen: [\"127.0.0.1:0\"] }}\n  http: {{ listen: [\"127.0.0.1:0\"] }}\n{https}  \
             log: {{ level: warn }}\n  vhosts:\n    __defaultVhost__:\n      play: {{ {play} }}\n"
        );
        let file = folder.join("live.yaml");
        fs::write(&file, config).map_err(|error| failure(&programs.server, error))?;
        let mut command = Command::new(&programs.server);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PINGORA_LIVE_")) {
            command.env_remove(name);
        }
        command.arg("-c").arg(file).current_dir(folder);
        Self::start(command, |line| line.starts_with("open "))
    }

    /// The floor.
    pub(super) fn floor(programs: &Programs, merge: &str) -> Result<Self, Failure> {
        let mut command = Command::new(&programs.own);
        command.args(["floor", "--merge", merge]);
        Self::start(command, |line| line.starts_with("listening "))
    }

    /// A receiver that only reads what publishers send.
    pub(super) fn floor_of_ingest(programs: &Programs) -> Result<Self, Failure> {
        let mut command = Command::new(&programs.own);
        command.args(["floor", "--ingest"]);
        Self::start(command, |line| line.starts_with("listening "))
    }

    /// xiu, which is told its ports and says nothing of them.
    pub(super) fn xiu(program: &Path) -> Result<Self, Failure> {
        let free =
            || -> std::io::Result<SocketAddr> { TcpListener::bind("127.0.0.1:0")?.local_addr() };
        let (rtmp, http) = match (free(), free()) {
            (Ok(rtmp), Ok(http)) => (rtmp, http),
            (Err(error), _) | (_, Err(error)) => return Err(failure(program, error)),
        };
        let child = Command::new(program)
            .args(["-r", &rtmp.port().to_string()])
            .args(["-f", &http.port().to_string()])
            .args(["-l", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failure(program, error))?;
        let server = Self {
            child,
            listening: vec![("rtmp".to_owned(), rtmp), ("http".to_owned(), http)],
        };
        let begin = Instant::now();
        while [rtmp, http].iter().any(|a| TcpStream::connect(a).is_err()) {
            if begin.elapsed() > START {
                return Err(failure(program, "it does not listen"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Starts a command and reads its listeners from standard output, until a line for which `last` is true.
    fn start(mut command: Command, last: impl Fn(&str) -> bool) -> Result<Self, Failure> {
        let program = PathBuf::from(command.get_program());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failure(&program, error))?;
        let stdout = child.stdout.take();
        let mut server = Self {
            child,
            listening: Vec::new(),
        };
        let lines = stdout.map(|stdout| BufReader::new(stdout).lines());
        for line in lines.into_iter().flatten().map_while(Result::ok) {
            if let ["listening", kind, address] = line.split_whitespace().collect::<Vec<_>>()[..]
                && let Ok(address) = address.parse()
            {
                server.listening.push((kind.to_owned(), address));
            }
            if last(&line) {
                return Ok(server);
            }
        }
        Err(failure(&program, "it ended before it listened"))
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address of a kind of listener, if it has one.
    pub(super) fn address(&self, kind: &str) -> Option<SocketAddr> {
        let found = self.listening.iter().find(|(name, _)| name == kind)?;
        Some(found.1)
    }

    /// `SCHEME://ADDRESS` of a listener, and the path.
    pub(super) fn url(&self, scheme: &str, path: &str) -> Result<String, Failure> {
        let address = self.address(scheme).ok_or_else(|| Failure::Program {
            program: "the server".to_owned(),
            why: format!("it does not listen for {scheme}"),
        })?;
        Ok(format!("{scheme}://{address}{path}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for the server, if there is an openssl to make one.
pub(super) fn make_certificate(folder: &Path) -> bool {
    let status = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-keyout"])
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|s| s.success())
}

pub(super) fn failure(program: &Path, why: impl ToString) -> Failure {
    Failure::Program {
        program: program.display().to_string(),
        why: why.to_string(),
    }
}
