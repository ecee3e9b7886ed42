//! A player of any format: reads a live response on a thread of its own and keeps the bytes, piece by piece.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::player::{End, set_receive_buffer};
use super::server::Server;
use super::{http, wait_for};

#[derive(Default)]
struct State {
    status: Option<u16>,
    headers: Vec<(String, String)>,
    bytes: Vec<u8>,
    /// When each piece of the body was read, and where it ends in `bytes`.
    pieces: Vec<(Instant, usize)>,
    end: Option<End>,
    paused: bool,
}

/// A running player. Its connection is closed when it is dropped.
pub struct Raw {
    state: Arc<Mutex<State>>,
    socket: TcpStream,
    thread: Option<JoinHandle<()>>,
    pub opened: Instant,
}

impl Raw {
    /// Plays a path of a server by HTTP/1.1.
    pub fn open(server: &Server, path: &str) -> Raw {
        Raw::open_with(server.address("http"), path, None)
    }

    /// With a receive buffer of a size in bytes.
    pub fn open_with(address: SocketAddr, path: &str, receive_buffer: Option<usize>) -> Raw {
        let mut socket = TcpStream::connect(address).expect("the server accepts");
        if let Some(size) = receive_buffer {
            set_receive_buffer(&socket, size);
        }
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a timeout");
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")
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
        Raw {
            state,
            socket,
            thread: Some(thread),
            opened,
        }
    }

    /// The body so far: whole pieces.
    pub fn bytes(&self) -> Vec<u8> {
        lock(&self.state).bytes.clone()
    }

    pub fn len(&self) -> usize {
        lock(&self.state).bytes.len()
    }

    /// The sizes of the pieces: the chunks as the server cut them.
    pub fn pieces(&self) -> Vec<usize> {
        let state = lock(&self.state);
        let mut from = 0;
        let sizes = state.pieces.iter().map(|(_, end)| {
            let size = end - from;
            from = *end;
            size
        });
        sizes.collect()
    }

    /// The bytes that had come by a time.
    pub fn until(&self, time: Instant) -> Vec<u8> {
        let state = lock(&self.state);
        let end = state
            .pieces
            .iter()
            .take_while(|(at, _)| *at <= time)
            .last()
            .map_or(0, |(_, end)| *end);
        state.bytes[..end].to_vec()
    }

    /// When the first piece came.
    pub fn first_at(&self) -> Option<Instant> {
        lock(&self.state).pieces.first().map(|(at, _)| *at)
    }

    #[track_caller]
    pub fn wait_status(&self, within: Duration) -> u16 {
        wait_for("the head of the answer", within, || {
            lock(&self.state).status
        })
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let state = lock(&self.state);
        let found = state.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.clone())
    }

    /// Waits until what has come satisfies a condition, and gives all of it.
    #[track_caller]
    pub fn wait(
        &self,
        what: &str,
        within: Duration,
        mut condition: impl FnMut(&[u8]) -> bool,
    ) -> Vec<u8> {
        let deadline = Instant::now() + within;
        let mut seen = 0;
        loop {
            let (bytes, end, status) = {
                let state = lock(&self.state);
                (state.bytes.clone(), state.end.clone(), state.status)
            };
            if bytes.len() > seen && condition(&bytes) {
                return bytes;
            }
            seen = bytes.len();
            if let Some(end) = end {
                panic!("the play ended ({end:?}, status {status:?}, {seen} bytes) before {what}");
            }
            assert!(
                Instant::now() < deadline,
                "not within {within:?}: {what}; {seen} bytes have come"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    pub fn wait_end(&self, within: Duration) -> End {
        wait_for("the play ends", within, || lock(&self.state).end.clone())
    }

    /// Stops reading from the socket, as a player does whose device sleeps.
    pub fn pause(&self) {
        lock(&self.state).paused = true;
    }

    pub fn resume(&self) {
        lock(&self.state).paused = false;
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        lock(&self.state).paused = false;
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut response = http::read_head(stream, false)?;
    {
        let mut state = lock(state);
        state.status = Some(response.status);
        state.headers = std::mem::take(&mut response.headers);
    }
    loop {
        while lock(state).paused {
            std::thread::sleep(Duration::from_millis(20));
        }
        let Some(piece) = response.body.next()? else {
            return Ok(());
        };
        let mut state = lock(state);
        state.bytes.extend_from_slice(&piece);
        let end = state.bytes.len();
        state.pieces.push((Instant::now(), end));
    }
}
