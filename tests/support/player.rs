//! A player: reads a live stream on a thread of its own, by any protocol that gives FLV's tags, and lets a test look at what
//! has come.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::flv::{AUDIO, Flv, Parser, SCRIPT, Tag, VIDEO};
use super::server::Server;
use super::{amf, http, rtmp, wait_for, websocket};

/// How a player is given the stream: the same tags, by another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Http,
    WebSocket,
    /// Tags are the messages, and there is no file header.
    Rtmp,
}

impl Over {
    pub const ALL: [Over; 3] = [Over::Http, Over::WebSocket, Over::Rtmp];

    /// As the server's log has it.
    pub fn name(self) -> &'static str {
        match self {
            Over::Http => "http1",
            Over::WebSocket => "websocket",
            Over::Rtmp => "rtmp",
        }
    }

    /// The kind of the server's listener.
    pub fn listener(self) -> &'static str {
        match self {
            Over::Http | Over::WebSocket => "http",
            Over::Rtmp => "rtmp",
        }
    }
}

/// How a play ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As the framing says: the last chunk, or the end of a connection that has no other; a WebSocket's close with 1000;
    /// `NetStream.Play.Stop`.
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

impl State {
    /// Takes bytes of a stream, or of the text of a refusal.
    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        self.bytes += piece.len() as u64;
        if matches!(self.status, Some(200 | 101)) {
            self.parser
                .feed(piece)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let tags = self.parser.flv.tags.len();
            self.arrivals.resize(tags, Instant::now());
        }
        Ok(())
    }
}

/// A running player. Its connection is closed when it is dropped.
pub struct Player {
    state: Arc<Mutex<State>>,
    socket: TcpStream,
    thread: Option<JoinHandle<()>>,
    /// By RTMP: its own thread reads.
    _client: Option<rtmp::Client>,
    pub opened: Instant,
}

impl Player {
    /// Plays a path of a server by HTTP/1.1.
    pub fn open(server: &Server, path: &str) -> Player {
        Player::open_with(server.address("http"), path, &[], None)
    }

    /// Plays a path by any protocol.
    pub fn open_over(over: Over, server: &Server, path: &str) -> Player {
        Player::open_over_with(over, server, path, None)
    }

    /// As [`Player::open_over`], with a receive buffer of a size in bytes.
    pub fn open_over_with(
        over: Over,
        server: &Server,
        path: &str,
        receive_buffer: Option<usize>,
    ) -> Player {
        let address = server.address(over.listener());
        let mut socket = TcpStream::connect(address).expect("the server accepts");
        match over {
            Over::Http => Player::open_on(socket, address, path, &[], receive_buffer),
            Over::WebSocket => {
                prepare(&socket, receive_buffer);
                websocket::ask(&mut socket, &address.to_string(), path).expect("a request is sent");
                Player::reading(socket, read_messages)
            }
            Over::Rtmp => {
                prepare(&socket, receive_buffer);
                Player::open_rtmp(socket, path)
            }
        }
    }

    fn open_rtmp(socket: TcpStream, path: &str) -> Player {
        let (app, name) = path
            .trim_start_matches('/')
            .trim_end_matches(".flv")
            .rsplit_once('/')
            .expect("an app and a stream");
        let state = Arc::new(Mutex::new(State::default()));
        let tap = tap(Arc::clone(&state));
        let opened = Instant::now();
        let second = socket.try_clone().expect("a second handle");
        let mut client = rtmp::Client::connect_on(second, app, tap).expect("the server talks RTMP");
        client.ask_to_play(name).expect("play is sent");
        Player {
            state,
            socket,
            thread: None,
            _client: Some(client),
            opened,
        }
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
        prepare(&socket, receive_buffer);
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
        Player::reading(socket, read)
    }

    /// With a thread that does nothing but read.
    fn reading(
        socket: TcpStream,
        read: impl FnOnce(TcpStream, &Mutex<State>) -> io::Result<()> + Send + 'static,
    ) -> Player {
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
            _client: None,
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
        wait_while_paused(state);
        let Some(piece) = response.body.next()? else {
            return Ok(());
        };
        lock(state).take(&piece)?;
    }
}

/// Reads a WebSocket's messages, from the answer to the handshake on.
fn read_messages(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut client = websocket::Client::answered(stream)?;
    {
        let mut state = lock(state);
        state.status = Some(101);
        state.head_at = Some(Instant::now());
    }
    loop {
        wait_while_paused(state);
        match client.next()? {
            (websocket::BINARY, payload) => lock(state).take(&payload)?,
            (websocket::CLOSE, payload) => match client.end(&payload)? {
                1000 => return Ok(()),
                code => return Err(io::Error::other(format!("closed with {code}"))),
            },
            (opcode, _) => return Err(io::Error::other(format!("a frame of opcode {opcode}"))),
        }
    }
}

/// Takes RTMP's messages for tags.
fn tap(state: Arc<Mutex<State>>) -> rtmp::Tap {
    let mut stopped = false;
    Box::new(move |read| match read {
        rtmp::Read::Message(message) if matches!(message.kind, AUDIO | VIDEO | SCRIPT) => {
            wait_while_paused(&state);
            let tag = Tag::new(message.kind, message.timestamp, &message.body);
            let mut state = lock(&state);
            state.bytes += message.body.len() as u64;
            state.parser.flv.tags.push(tag);
            state.arrivals.push(Instant::now());
            true
        }
        rtmp::Read::Message(message) => {
            stopped |= message.kind == rtmp::COMMAND
                && amf::text_property(&message.body, "code").as_deref()
                    == Some("NetStream.Play.Stop");
            false
        }
        rtmp::Read::End(error) => {
            lock(&state).end = Some(match stopped {
                true => End::Proper,
                false => End::Broken(error.to_string()),
            });
            false
        }
    })
}

fn wait_while_paused(state: &Mutex<State>) {
    while lock(state).paused {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What is the same for each player's socket.
fn prepare(socket: &TcpStream, receive_buffer: Option<usize>) {
    if let Some(size) = receive_buffer {
        set_receive_buffer(socket, size);
    }
    socket
        .set_read_timeout(Some(Duration::from_secs(120)))
        .expect("a timeout");
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
