//! A server behind a proxy, for what no real one does: it shows each request as it came and answers as the test says.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request without its body.
#[derive(Clone, Debug)]
pub struct Head {
    pub line: String,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn all(&self, name: &str) -> Vec<&str> {
        let of_name = self.headers.iter().filter(|(n, _)| n == name);
        of_name.map(|(_, value)| value.as_str()).collect()
    }
}

/// A server at work; its connections are closed when it is dropped.
pub struct Backend {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<Head>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    /// Answers each request by `answer`, which writes to the connection and may read the body from it. A connection serves one request.
    pub fn start(
        answer: impl Fn(&Head, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Backend {
        Backend::on(SocketAddr::from(([127, 0, 0, 1], 0)), answer)
    }

    /// As [`Backend::start`], on an address of one's own.
    pub fn on(
        address: SocketAddr,
        answer: impl Fn(&Head, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Backend {
        let listener = TcpListener::bind(address).expect("a free address");
        let address = listener.local_addr().expect("an address");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(Mutex::new(Vec::new()));
        let ends = Arc::new(AtomicBool::new(false));
        let answer = Arc::new(answer);
        let theirs = (Arc::clone(&heads), Arc::clone(&open), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            let (heads, open, ends) = theirs;
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::SeqCst) {
                    break;
                }
                open.lock()
                    .expect("a lock")
                    .push(stream.try_clone().expect("a handle"));
                let (answer, heads) = (Arc::clone(&answer), Arc::clone(&heads));
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
                    if let Ok(head) = read_head(&mut stream) {
                        heads.lock().expect("a lock").push(head.clone());
                        let _ = answer(&head, &mut stream);
                    }
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Backend {
            address,
            heads,
            open,
            ends,
            thread: Some(thread),
        }
    }

    /// Answers everything with a text.
    pub fn saying(text: &'static str) -> Backend {
        Backend::start(move |_, stream| say(stream, text))
    }

    /// The requests so far, those of health checks left out.
    pub fn heads(&self) -> Vec<Head> {
        let heads = self.heads.lock().expect("a lock");
        let asked = |head: &&Head| head.all("user-agent") != ["pingora-live health check"];
        heads.iter().filter(asked).cloned().collect()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for stream in self.open.lock().expect("a lock").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A whole answer with a text.
pub fn say(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
}

fn read_head(stream: &mut TcpStream) -> io::Result<Head> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = text.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Ok(Head { line, headers })
}
