//! A small HTTP/1 client that shows what other clients hide: the framing of a body, and how it ended.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No byte for that long is an error, so that a test of a silent server ends.
const SILENCE: Duration = Duration::from_secs(40);

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Chunked,
    Length(usize),
    /// HTTP/1.0: the end of the connection.
    Close,
    /// An answer to HEAD, or 204.
    None,
}

pub struct Response {
    pub status: u16,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The whole body as text.
    pub fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// The whole body.
    pub fn bytes(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = self.body.next().expect("a whole body") {
            all.extend_from_slice(&piece);
        }
        all
    }
}

/// A body, piece by piece.
pub struct Body {
    stream: TcpStream,
    buffer: Vec<u8>,
    pub framing: Framing,
    ended: bool,
}

impl Body {
    /// The next piece; None at the proper end. A connection that closes before that is an error.
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        let piece = match self.framing {
            Framing::None => None,
            Framing::Close => {
                if self.buffer.is_empty() && !self.fill()? {
                    None
                } else {
                    Some(std::mem::take(&mut self.buffer))
                }
            }
            Framing::Length(left) => {
                if left == 0 {
                    None
                } else {
                    self.need(1)?;
                    let piece: Vec<u8> = self.buffer.drain(..left.min(self.buffer.len())).collect();
                    self.framing = Framing::Length(left - piece.len());
                    Some(piece)
                }
            }
            Framing::Chunked => {
                let line = self.line()?;
                let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                    .map_err(|_| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("not a chunk size: {line:?}"),
                    )
                })?;
                self.need(size + 2)?;
                let piece: Vec<u8> = self.buffer.drain(..size).collect();
                let tail: Vec<u8> = self.buffer.drain(..2).collect();
                if tail != b"\r\n" {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "no CRLF after a chunk",
                    ));
                }
                (size > 0).then_some(piece)
            }
        };
        self.ended = piece.is_none();
        Ok(piece)
    }

    /// The socket, to shut it down or to change its buffers.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads more; false at the end of the connection.
    fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        let size = self.stream.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..size]);
        Ok(size > 0)
    }

    fn need(&mut self, size: usize) -> io::Result<()> {
        while self.buffer.len() < size {
            if !self.fill()? {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection closed within the body",
                ));
            }
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.need(self.buffer.len() + 1)?;
        }
    }
}

/// A GET by HTTP/1.1.
pub fn get(address: SocketAddr, path: &str) -> Response {
    request(address, "GET", path, &[]).expect("an answer")
}

/// A request by HTTP/1.1 with some headers; `Host` is the address unless given.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<Response> {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        text.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    raw(address, text.as_bytes(), method == "HEAD")
}

/// Sends bytes as they are, and reads the head of the answer.
pub fn raw(address: SocketAddr, bytes: &[u8], head_only: bool) -> io::Result<Response> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.write_all(bytes)?;
    read_head(stream, head_only)
}

/// Reads the head of an answer from a connection.
pub fn read_head(stream: TcpStream, head_only: bool) -> io::Result<Response> {
    let mut body = Body {
        stream,
        buffer: Vec::new(),
        framing: Framing::Close,
        ended: false,
    };
    let status_line = body.line()?;
    let mut words = status_line.split(' ');
    let version = words.next().unwrap_or_default().to_owned();
    let status = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not a status line: {status_line:?}"),
            )
        })?;
    let mut headers = Vec::new();
    loop {
        let line = body.line()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not a header: {line:?}"),
            )
        })?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut response = Response {
        status,
        version,
        headers,
        body,
    };
    response.body.framing = if head_only || status == 204 {
        Framing::None
    } else if response
        .header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        Framing::Chunked
    } else if let Some(length) = response
        .header("content-length")
        .and_then(|value| value.parse().ok())
    {
        Framing::Length(length)
    } else {
        Framing::Close
    };
    Ok(response)
}
