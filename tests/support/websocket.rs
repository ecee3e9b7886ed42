//! A small WebSocket client that shows frames as they are: RFC 6455 sections 4.1 (handshake) and 5.2 (frames).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// The example of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The headers of a handshake.
pub const UPGRADE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
];

/// Opcodes of RFC 6455 §5.2.
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;

/// A connection after its handshake.
pub struct Client(TcpStream);

impl Client {
    /// Opens a WebSocket; the test fails when the handshake does.
    #[track_caller]
    pub fn open(address: SocketAddr, path: &str) -> Client {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        ask(&mut stream, &address.to_string(), path).expect("a request is sent");
        Client::answered(stream).expect("a handshake")
    }

    /// Waits for the answer to [`ask`]; anything but a good 101 is an error.
    pub fn answered(mut stream: TcpStream) -> io::Result<Client> {
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let accept = format!("sec-websocket-accept: {}\r\n", ACCEPT.to_ascii_lowercase());
        let good = head.starts_with("http/1.1 101 ")
            && head.contains(&accept)
            && !head.contains("transfer-encoding");
        if good {
            Ok(Client(stream))
        } else {
            Err(wrong(head))
        }
    }

    /// The next frame: opcode and payload.
    #[track_caller]
    pub fn frame(&mut self) -> (u8, Vec<u8>) {
        self.next().expect("a frame")
    }

    /// The next frame: opcode and payload. Frames of a server are whole here and never masked: any other is an error.
    pub fn next(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        if head[0] & 0xf0 != 0x80 || head[1] & 0x80 != 0 {
            return Err(wrong(format!(
                "in pieces, with extensions or masked: {head:02x?}"
            )));
        }
        let length = match head[1] {
            126 => {
                let mut bytes = [0; 2];
                self.0.read_exact(&mut bytes)?;
                u64::from(u16::from_be_bytes(bytes))
            }
            127 => {
                let mut bytes = [0; 8];
                self.0.read_exact(&mut bytes)?;
                u64::from_be_bytes(bytes)
            }
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.0.read_exact(&mut payload)?;
        Ok((head[0] & 0x0f, payload))
    }

    /// Sends a masked frame.
    #[track_caller]
    pub fn say(&mut self, opcode: u8, payload: &[u8]) {
        let mask = [7u8, 1, 200, 9];
        let mut frame = vec![
            0x80 | opcode,
            0x80 | u8::try_from(payload.len()).expect("a short frame"),
        ];
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        self.raw(&frame);
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("bytes are sent");
    }

    /// The code of the close frame, after any number of messages; the connection ends with it.
    #[track_caller]
    pub fn close_code(&mut self) -> u16 {
        loop {
            let (opcode, payload) = self.frame();
            if opcode == CLOSE {
                return self.end(&payload).expect("the end");
            }
        }
    }

    /// The code in a close frame, behind which nothing may follow.
    pub fn end(&mut self, close: &[u8]) -> io::Result<u16> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest)?;
        match close.first_chunk() {
            Some(code) if rest.is_empty() => Ok(u16::from_be_bytes(*code)),
            _ => Err(wrong(format!(
                "{} bytes after a close of {close:02x?}",
                rest.len()
            ))),
        }
    }
}

/// Sends the request of a handshake.
pub fn ask(stream: &mut TcpStream, host: &str, path: &str) -> io::Result<()> {
    let headers: String = UPGRADE
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"
    )
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
