//! The server under test, as a child process with a configuration of its own, on ports that the system chooses.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::wait_for;

/// From the start of the process to its last listener; a debug build on a busy machine.
const START: Duration = Duration::from_secs(30);

/// Lines of the server's log shown when a test fails.
const LOG_LINES: usize = 80;

/// The binary under test, with none of the tester's own settings in its environment.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pingora-live"));
    for (name, _) in std::env::vars() {
        if name.starts_with("PINGORA_LIVE_") {
            command.env_remove(name);
        }
    }
    // Servers of many tests run at a time, and each has an API unless it is told otherwise.
    command.env("PINGORA_LIVE_API_LISTEN", "127.0.0.1:0");
    command
}

/// A running server. Killed when dropped; its log is shown when the test failed.
pub struct Server {
    child: Child,
    folder: TempDir,
    listeners: HashMap<String, Vec<SocketAddr>>,
    /// The address that the server told to open.
    pub open: String,
}

impl Server {
    /// Starts a server. `live` is YAML for below `live:`; `rtmp` and `http` listen on a free port unless it says otherwise.
    pub fn start(live: &str) -> Server {
        Server::start_with(live, "grace_period_seconds: 2\n", &[], &[])
    }

    /// As [`Server::start`], with YAML for pingora's own keys, arguments and environment variables.
    pub fn start_with(live: &str, top: &str, args: &[&str], env: &[(&str, &str)]) -> Server {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = write_config(folder.path(), live, top);
        let mut command = command();
        command
            .arg("-c")
            .arg(file)
            .args(args)
            .envs(env.iter().copied());
        Server::spawn(command, folder)
    }

    /// Starts a command line of the test's own and waits for the lines that tell the listeners.
    pub fn spawn(mut command: Command, folder: TempDir) -> Server {
        let log = fs::File::create(folder.path().join("log")).expect("a log file");
        let mut child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("pingora-live starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Reading goes on when nobody listens any more, so that the server never writes into a closed pipe.
                let _ = sender.send(line);
            }
        });
        let mut server = Server {
            child,
            folder,
            listeners: HashMap::new(),
            open: String::new(),
        };
        let deadline = Instant::now() + START;
        while server.open.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => server.note(&line),
                Err(_) => panic!(
                    "the server did not tell its listeners; it said so far: {:?}",
                    server.listeners
                ),
            }
        }
        server
    }

    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["listening", kind, address] => {
                let address = address
                    .parse()
                    .unwrap_or_else(|_| panic!("not an address: {line:?}"));
                self.listeners
                    .entry(kind.to_owned())
                    .or_default()
                    .push(address);
            }
            ["open", url] => self.open = url.to_owned(),
            _ => panic!("an unexpected line on stdout: {line:?}"),
        }
    }

    /// The first address of a listener of that kind: `rtmp`, `rtmps`, `http` or `https`.
    #[track_caller]
    pub fn address(&self, kind: &str) -> SocketAddr {
        self.listeners
            .get(kind)
            .and_then(|all| all.first())
            .copied()
            .unwrap_or_else(|| panic!("no {kind} listener among {:?}", self.listeners))
    }

    /// `rtmp://127.0.0.1:PORT/` and the path given, for example `live/x`.
    pub fn rtmp(&self, path: &str) -> String {
        format!("rtmp://{}/{path}", self.address("rtmp"))
    }

    /// `http://127.0.0.1:PORT` and the path given, for example `/live/x.flv`.
    pub fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("http"))
    }

    /// Waits until a stream of the default vhost can be played.
    #[track_caller]
    pub fn wait_stream(&self, path: &str) {
        wait_for(&format!("{path} is there"), START, || {
            let head = super::http::request(self.address("http"), "HEAD", path, &[]);
            head.is_ok_and(|head| head.status == 200).then_some(())
        });
    }

    /// The process, for `/proc`.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder of its configuration file, `live.yaml`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until the log has a line that contains all of `parts`, and gives that line.
    #[track_caller]
    pub fn wait_log(&self, parts: &[&str], within: Duration) -> String {
        wait_for(&format!("a log line with {parts:?}"), within, || {
            self.log()
                .lines()
                .find(|line| parts.iter().all(|part| line.contains(part)))
                .map(str::to_owned)
        })
    }

    /// Resident memory in KiB.
    pub fn memory_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// For how many descriptors the kernel has made room.
    pub fn room_for_descriptors(&self) -> u64 {
        self.status("FDSize:")
    }

    fn status(&self, name: &str) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server runs");
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|figure| figure.parse().ok())
            .expect(name)
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("the server runs")
            .count()
    }

    /// Threads of the process.
    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid()))
            .expect("the server runs")
            .count()
    }

    /// Processor time used so far, in seconds, user and system.
    pub fn cpu_seconds(&self) -> f64 {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the server runs");
        let after_name = stat.rsplit(')').next().expect("a name in brackets");
        // proc(5): utime and stime are fields 14 and 15; the first after the name is field 3. 100 ticks a second.
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks: f64 = fields[11..13]
            .iter()
            .map(|f| f.parse::<f64>().expect("a number"))
            .sum();
        ticks / 100.0
    }

    /// Established connections of one kind of listener, by the kernel's table.
    pub fn connections(&self, kind: &str) -> usize {
        self.connection_lines(kind).len()
    }

    /// Waits until there are at least that many.
    #[track_caller]
    pub fn wait_connections(&self, kind: &str, count: usize) {
        wait_for(&format!("{count} {kind} connections"), START, || {
            (self.connections(kind) >= count).then_some(())
        });
    }

    /// The largest send queue among the connections of one kind of listener: bytes that the kernel holds for one peer.
    pub fn send_queue(&self, kind: &str) -> u64 {
        self.connection_lines(kind)
            .iter()
            .filter_map(|line| tx_queue(line))
            .max()
            .unwrap_or(0)
    }

    /// The same of the connection of one peer, 0 when it has none.
    pub fn send_queue_to(&self, peer: SocketAddr) -> u64 {
        let remote = format!("0100007F:{:04X}", peer.port());
        let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
        table
            .lines()
            .find(|line| line.split_whitespace().nth(2) == Some(&remote))
            .and_then(tx_queue)
            .unwrap_or(0)
    }

    fn connection_lines(&self, kind: &str) -> Vec<String> {
        const ESTABLISHED: &str = "01";
        let local = format!("0100007F:{:04X}", self.address(kind).port());
        let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
        let ours = |line: &&str| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next() == Some(&local) && fields.nth(1) == Some(ESTABLISHED)
        };
        table.lines().filter(ours).map(str::to_owned).collect()
    }

    /// True while the process runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal, for example `libc::SIGTERM`.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.pid()).expect("a process id");
        // SAFETY: kill(2) takes two integers; the child is ours and not reaped yet, so its id names it.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0, "kill: {}", std::io::Error::last_os_error());
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        let child = &mut self.child;
        wait_for("the server exits", within, || {
            child.try_wait().expect("a child to wait for")
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
            eprintln!(
                "---- the server's log, last {} of {} lines; exit status: {ended:?} ----",
                tail.len(),
                lines.len()
            );
            for line in tail {
                eprintln!("{line}");
            }
        }
    }
}

/// Writes a configuration file into a folder. `live` stands below `live:`; ports that it does not choose are free ones.
pub fn write_config(folder: &Path, live: &str, top: &str) -> PathBuf {
    let mut text = format!("{top}live:\n");
    for key in ["rtmp", "http"] {
        if !live
            .lines()
            .any(|line| line.starts_with(&format!("{key}:")))
        {
            text.push_str(&format!("  {key}: {{ listen: [\"127.0.0.1:0\"] }}\n"));
        }
    }
    for line in live.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    let file = folder.join("live.yaml");
    fs::write(&file, text).expect("the configuration is written");
    file
}

/// Of a line of the kernel's table of connections: bytes that were sent and not acknowledged.
fn tx_queue(line: &str) -> Option<u64> {
    // proc(5): the fifth column is tx_queue:rx_queue, in hexadecimal.
    let field = line.split_whitespace().nth(4)?;
    u64::from_str_radix(field.split(':').next()?, 16).ok()
}
