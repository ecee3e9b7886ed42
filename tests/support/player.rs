//! A player: reads a live FLV stream on a thread of its own, and lets a test look at what has come.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::flv::{Flv, Parser};
use super::server::Server;
use super::{http, wait_for};

/// How a play ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As the framing says: the last chunk, or the end of a connection that has no other.
    Proper,
    /// Anything else.
    Broken(String),
}

#[derive(Default)]
struct State {
    status: Option<u16>,
    headers: Vec<(String, String)>,
    head_at: Option<Instant>,
    parser: Parser,
    /// When each tag came.
    arrivals: Vec<Instant>,
    bytes: u64,
    end: Option<End>,
    paused: bool,
}

/// A running player. Its connection is closed when it is dropped.
pub struct Player {
    state: Arc<Mutex<State>>,
    socket: TcpStream,
    thread: Option<JoinHandle<()>>,
    pub opened: Instant,
}

impl Player {
    /// Plays a path of a server by HTTP/1.1.
    pub fn open(server: &Server, path: &str) -> Player {
        Player::open_with(server.address("http"), path, &[], None)
    }

    /// With headers, for example a Host; and with a receive buffer of a size in bytes.
    pub fn open_with(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        receive_buffer: Option<usize>,
    ) -> Player {
        let socket = TcpStream::connect(address).expect("the server accepts");
        Player::open_on(socket, address, path, headers, receive_buffer)
    }

    /// From an address of this machine.
    pub fn open_from(from: &str, address: SocketAddr, path: &str) -> Player {
        let socket = super::sockets::connect_from(from, address).expect("the server accepts");
        Player::open_on(socket, address, path, &[], None)
    }

    fn open_on(
        mut socket: TcpStream,
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        receive_buffer: Option<usize>,
    ) -> Player {
        use std::io::Write;
        if let Some(size) = receive_buffer {
            set_receive_buffer(&socket, size);
        }
        socket
            .set_read_timeout(Some(Duration::from_secs(120)))
            .expect("a timeout");
        let host = headers
            .iter()
            .find(|(name, _)| *name == "Host")
            .map_or_else(|| address.to_string(), |(_, host)| (*host).to_owned());
        let others: String = headers
            .iter()
            .filter(|(name, _)| *name != "Host")
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\n{others}\r\n"
        )
        .expect("the request is sent");
        let opened = Instant::now();
        let state = Arc::new(Mutex::new(State::default()));
        let theirs = Arc::clone(&state);
        let stream = socket.try_clone().expect("a second handle");
        let thread = std::thread::spawn(move || {
            let end = match read(stream, &theirs) {
                Ok(()) => End::Proper,
                Err(error) => End::Broken(error.to_string()),
            };
            lock(&theirs).end = Some(end);
        });
        Player {
            state,
            socket,
            thread: Some(thread),
            opened,
        }
    }

    /// All that has come so far.
    pub fn flv(&self) -> Flv {
        lock(&self.state).parser.flv.clone()
    }

    pub fn bytes(&self) -> u64 {
        lock(&self.state).bytes
    }

    pub fn tag_count(&self) -> usize {
        lock(&self.state).parser.flv.tags.len()
    }

    /// When the n-th tag came, and whether it has.
    pub fn arrival(&self, tag: usize) -> Option<Instant> {
        lock(&self.state).arrivals.get(tag).copied()
    }

    /// The longest time without a tag, from `since` on.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        let state = lock(&self.state);
        let mut last = since;
        let mut longest = Duration::ZERO;
        for at in state.arrivals.iter().filter(|at| **at > since) {
            longest = longest.max(at.saturating_duration_since(last));
            last = *at;
        }
        longest
    }

    /// The status, once the head of the answer has come.
    pub fn status(&self) -> Option<u16> {
        lock(&self.state).status
    }

    pub fn head_at(&self) -> Option<Instant> {
        lock(&self.state).head_at
    }

    pub fn header(&self, name: &str) -> Option<String> {
        lock(&self.state)
            .headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.clone())
    }

    #[track_caller]
    pub fn wait_status(&self, within: Duration) -> u16 {
        wait_for("the head of the answer", within, || self.status())
    }

    /// Waits until what has come satisfies a condition.
    #[track_caller]
    pub fn wait(
        &self,
        what: &str,
        within: Duration,
        mut condition: impl FnMut(&Flv) -> bool,
    ) -> Flv {
        let deadline = Instant::now() + within;
        loop {
            let flv = {
                let state = lock(&self.state);
                if condition(&state.parser.flv) {
                    return state.parser.flv.clone();
                }
                if let Some(end) = &state.end {
                    panic!(
                        "the play ended ({end:?}, status {:?}, {} tags) before {what}",
                        state.status,
                        state.parser.flv.tags.len()
                    );
                }
                state.parser.flv.tags.len()
            };
            assert!(
                Instant::now() < deadline,
                "not within {within:?}: {what}; {flv} tags have come"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for that many tags more than have come until now.
    #[track_caller]
    pub fn wait_more(&self, tags: usize, within: Duration) -> Flv {
        let now = self.tag_count();
        self.wait(&format!("{tags} more tags after {now}"), within, |flv| {
            flv.tags.len() >= now + tags
        })
    }

    /// Waits for the end of the play.
    #[track_caller]
    pub fn wait_end(&self, within: Duration) -> End {
        wait_for("the play ends", within, || lock(&self.state).end.clone())
    }

    pub fn ended(&self) -> Option<End> {
        lock(&self.state).end.clone()
    }

    /// Stops reading from the socket, as a player does whose device sleeps.
    pub fn pause(&self) {
        lock(&self.state).paused = true;
    }

    pub fn resume(&self) {
        lock(&self.state).paused = false;
    }

    /// Our own port, by which the kernel's tables know the connection.
    pub fn local_address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a connected socket")
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        lock(&self.state).paused = false;
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A panic of the reader is a failure that the waiting test reports; what came before it is still worth a look.
    state
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn read(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut response = http::read_head(stream, false)?;
    {
        let mut state = lock(state);
        state.status = Some(response.status);
        state.headers = std::mem::take(&mut response.headers);
        state.head_at = Some(Instant::now());
    }
    loop {
        while lock(state).paused {
            std::thread::sleep(Duration::from_millis(20));
        }
        let Some(piece) = response.body.next()? else {
            return Ok(());
        };
        let mut state = lock(state);
        state.bytes += piece.len() as u64;
        if state.status == Some(200) {
            state
                .parser
                .feed(&piece)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let tags = state.parser.flv.tags.len();
            state.arrivals.resize(tags, Instant::now());
        }
    }
}

/// SO_RCVBUF of a socket, which bounds what the kernel takes for a reader that does not read.
pub fn set_receive_buffer(socket: &TcpStream, size: usize) {
    use std::os::fd::AsRawFd;
    let size = libc::c_int::try_from(size).expect("a small buffer");
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the pointer is to a live int of that size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const size).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "setsockopt: {}", io::Error::last_os_error());
}
