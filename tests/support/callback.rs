//! A back end that is asked and told over HTTP: it notes what comes, and answers as a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::wait_for;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: serde_json::Value,
}

impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A text of the body; empty when there is none.
    pub fn text(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_default()
    }
}

/// What it does with a request.
pub enum Reply {
    /// A status, and a body.
    Status(u16, String),
    /// The same, after a time.
    Late(Duration, String),
    /// These bytes, and the connection is closed.
    Raw(Vec<u8>),
    /// The connection is closed at once.
    Hangup,
}

impl Reply {
    pub fn yes() -> Reply {
        Reply::Status(200, "0".to_owned())
    }
}

type Answerer = dyn Fn(&Call) -> Reply + Send + Sync;

/// Stops when dropped.
pub struct Backend {
    pub address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Backend {
    pub fn start(answer: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Backend::on(listener, answer)
    }

    /// On a socket that is bound already.
    pub fn on(
        listener: TcpListener,
        answer: impl Fn(&Call) -> Reply + Send + Sync + 'static,
    ) -> Backend {
        let backend = Backend {
            address: listener.local_addr().expect("bound"),
            calls: Arc::default(),
            connections: Arc::default(),
            stop: Arc::default(),
        };
        let answer: Arc<Answerer> = Arc::new(answer);
        let (calls, connections, stop) = (
            Arc::clone(&backend.calls),
            Arc::clone(&backend.connections),
            Arc::clone(&backend.stop),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                connections.fetch_add(1, Ordering::Relaxed);
                let (answer, calls) = (Arc::clone(&answer), Arc::clone(&calls));
                std::thread::spawn(move || serve(stream, &*answer, &calls));
            }
        });
        backend
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What came so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no test thread panicked").clone()
    }

    /// Those of one action.
    pub fn of(&self, action: &str) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.text("action") == action);
        calls
    }

    /// Connections that were made to it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Waits for the first call of an action.
    #[track_caller]
    pub fn wait(&self, action: &str, within: Duration) -> Call {
        wait_for(&format!("{action} is called"), within, || {
            self.of(action).into_iter().next()
        })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, answer: &Answerer, calls: &Mutex<Vec<Call>>) {
    let _ = stream.set_nodelay(true);
    let Ok(mut writer) = stream.try_clone() else {
        return;
    };
    let mut reader = BufReader::new(stream);
    while let Some(call) = read(&mut reader) {
        let reply = answer(&call);
        calls.lock().expect("no test thread panicked").push(call);
        let (status, body) = match reply {
            Reply::Status(status, body) => (status, body),
            Reply::Late(time, body) => {
                std::thread::sleep(time);
                (200, body)
            }
            Reply::Raw(bytes) => {
                let _ = writer.write_all(&bytes);
                return;
            }
            Reply::Hangup => return,
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nContent-Type: application/json\r\n\r\n",
            body.len()
        );
        if writer.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Call> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?;
    let mut body = vec![0; length.1.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Call {
        path,
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}
