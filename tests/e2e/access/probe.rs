//! What a client sees that wants to play or publish, whatever it speaks: `200`, or the status; over RTMP, the code.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use crate::support::programs::{Job, run, tool};
use crate::support::rtmp::Client;
use crate::support::server::Server;
use crate::support::{PATIENCE, certs, fixtures, sockets, wait_for};

/// What is looked at of an answer, in bytes: its header. A stream does not end by itself.
const BEGINNING: &str = "600";

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// How to play. A file is one below `http.root`.
pub const PLAY: [&str; 14] = [
    "rtmp", "rtmps", "flv 1.1", "flv 1.0", "flv h2c", "flv h2", "flv tls", "ts", "aac", "mp3",
    "ws", "wss", "head", "file",
];
/// How to publish.
pub const PUBLISH: [&str; 4] = ["rtmp", "rtmps", "post", "put h2"];

/// A server with all its listeners, and a file `/vod/a.txt`.
pub struct Site {
    pub server: Server,
    _folder: TempDir,
}

/// A client at an address of this machine.
pub struct Probe<'a> {
    server: &'a Server,
    from: &'static str,
    /// In place of a client's own TLS.
    tunnels: Vec<(&'static str, SocketAddr, Job)>,
    _folder: TempDir,
}

/// What it asks for.
#[derive(Clone, Copy, Default)]
pub struct Ask<'a> {
    pub vhost: &'a str,
    /// The page that it is on.
    pub page: Option<&'a str>,
    /// What is appended to the address, without `?`.
    pub query: &'a str,
    pub stream: &'a str,
}

impl Site {
    /// `live`: YAML without `http`, `https` and `rtmp`.
    pub fn start(live: &str) -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let cert = certs::make(folder.path(), "a.example");
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("vod")).expect("a folder");
        std::fs::write(root.join("vod/a.txt"), "text\n").expect("a file");
        let cert = format!("cert: {:?}, key: {:?}", cert.cert, cert.key);
        let server = Server::start(&format!(
            "http: {{ listen: [\"127.0.0.1:0\"], root: {root:?} }}
https: {{ listen: [\"127.0.0.1:0\"], certs: [{{ {cert} }}] }}
rtmp:
  listen: [\"127.0.0.1:0\"]
  tls: {{ listen: [\"127.0.0.1:0\"], {cert} }}
{live}"
        ));
        Site {
            server,
            _folder: folder,
        }
    }

    /// A client at that address.
    pub fn at(&self, from: &'static str) -> Probe<'_> {
        let folder = tempfile::tempdir().expect("a folder");
        let tunnel = |listener: &'static str| {
            let to = self.server.address(listener);
            let ready = folder.path().join(listener);
            let mut command = tool("tls_tunnel.py");
            command.args([&to.ip().to_string(), &to.port().to_string(), from]);
            let job = Job::start(command.arg(&ready));
            let port: u16 = wait_for("a tunnel", PATIENCE, || {
                std::fs::read_to_string(&ready).ok()?.parse().ok()
            });
            (listener, SocketAddr::from(([127, 0, 0, 1], port)), job)
        };
        let tunnels = vec![tunnel("https"), tunnel("rtmps")];
        Probe {
            server: &self.server,
            from,
            tunnels,
            _folder: folder,
        }
    }
}

impl Probe<'_> {
    fn tunnel(&self, listener: &str) -> SocketAddr {
        let found = self.tunnels.iter().find(|(of, ..)| *of == listener);
        found.expect("a tunnel").1
    }

    /// Plays by one of [`PLAY`].
    pub fn play(&self, by: &str, ask: Ask<'_>) -> String {
        match by {
            "rtmp" | "rtmps" => match self.rtmp(by, ask.vhost) {
                Ok(mut client) => {
                    let told = client.play(&format!("{}?{}", ask.stream, ask.query));
                    told.map_or_else(|_| "closed".to_owned(), |told| told.0)
                }
                Err(code) => code,
            },
            "ws" | "wss" => self.websocket(by, ask),
            _ => self.curl(
                play_options(by),
                by.ends_with("h2") || by.ends_with("tls"),
                &match by {
                    "file" => "/vod/a.txt".to_owned(),
                    "ts" | "aac" | "mp3" => format!("/live/{}.{by}", ask.stream),
                    _ => format!("/live/{}.flv", ask.stream),
                },
                ask,
            ),
        }
    }

    /// Publishes by one of [`PUBLISH`], a short clip.
    pub fn publish(&self, by: &str, ask: Ask<'_>) -> String {
        let clip = fixtures::h264_aac();
        let file = format!("@{}", clip.display());
        match by {
            "rtmp" | "rtmps" => match self.rtmp(by, ask.vhost) {
                Ok(mut client) => client
                    .publish(&format!("{}?{}", ask.stream, ask.query))
                    .unwrap_or_else(|_| "closed".to_owned()),
                Err(code) => code,
            },
            _ => {
                let h2 = by == "put h2";
                let how: &[&str] = if h2 { &["-X", "PUT"] } else { &["--http1.1"] };
                let body = ["--data-binary", &file];
                let path = format!("/live/{}.flv", ask.stream);
                self.curl(&[how, &body].concat(), h2, &path, ask)
            }
        }
    }

    /// A request for what is proxied.
    pub fn route(&self, path: &str) -> String {
        self.curl(&[], false, path, Ask::default())
    }

    fn curl(&self, options: &[&str], tls: bool, path: &str, ask: Ask<'_>) -> String {
        let mut command = Command::new("sh");
        // curl is ended by its pipe when the beginning is there, or by the end of the answer.
        command.args(["-c", "n=$0; curl \"$@\" | head -c $n", BEGINNING]);
        command.args(["-sk", "--noproxy", "*", "-m", "15", "-D", "-"]);
        command.args(["--interface", self.from]).args(options);
        if let Some(page) = ask.page {
            command.args(["-e", page]);
        }
        let (scheme, listener) = if tls {
            ("https", "https")
        } else {
            ("http", "http")
        };
        let address = self.server.address(listener);
        command.arg(format!("{scheme}://{address}{path}?{}", query(ask)));
        let told = run(&mut command, PATIENCE).stdout;
        let told = String::from_utf8_lossy(&told).to_ascii_lowercase();
        // An upload is told to go on first.
        let told = told
            .strip_prefix("http/1.1 100 continue\r\n\r\n")
            .unwrap_or(&told);
        match told.split([' ', '\r']).nth(1) {
            Some("503") if !told.contains("\r\nretry-after: ") => "503 without Retry-After",
            Some(status) => status,
            None => "closed",
        }
        .to_owned()
    }

    /// The status; for a WebSocket that is opened, `101`, or the code with which it is closed at once.
    fn websocket(&self, by: &str, ask: Ask<'_>) -> String {
        let stream = match by {
            "wss" => std::net::TcpStream::connect(self.tunnel("https")),
            _ => sockets::connect_from(self.from, self.server.address("http")),
        };
        let mut stream = stream.expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let page = ask.page.map(|page| format!("Referer: {page}\r\n"));
        let head = format!(
            "GET /live/{}.flv?{} HTTP/1.1\r\nHost: a.example\r\n{}{UPGRADE}\r\n",
            ask.stream,
            query(ask),
            page.unwrap_or_default(),
        );
        let _ = stream.write_all(head.as_bytes());
        let mut told = Vec::new();
        let mut byte = [0];
        while !told.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => told.push(byte[0]),
                _ => return "closed".to_owned(),
            }
        }
        let told = String::from_utf8(told).expect("text");
        let status = told.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut frame = [0; 4];
        if status == "101" && stream.read_exact(&mut frame).is_ok() && frame[0] == 0x88 {
            return u16::from_be_bytes([frame[2], frame[3]]).to_string();
        }
        status
    }

    /// A connection, or the code that refuses it.
    fn rtmp(&self, by: &str, vhost: &str) -> Result<Client, String> {
        let app = format!("live?vhost={vhost}");
        match by {
            "rtmps" => Client::try_connect("127.0.0.1", self.tunnel("rtmps"), &app),
            _ => Client::try_connect(self.from, self.server.address("rtmp"), &app),
        }
    }
}

fn query(ask: Ask<'_>) -> String {
    let vhost = match ask.vhost {
        "" => String::new(),
        vhost => format!("vhost={vhost}"),
    };
    let parts = [vhost.as_str(), ask.query];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("&")
}

fn play_options(by: &str) -> &'static [&'static str] {
    match by {
        "flv 1.1" | "flv tls" => &["--http1.1"],
        "flv 1.0" => &["--http1.0"],
        "flv h2c" => &["--http2-prior-knowledge"],
        "flv h2" => &["--http2"],
        "head" => &["-I"],
        _ => &[],
    }
}
