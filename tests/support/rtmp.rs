//! A small RTMP client over a blocking socket, for publishers that no real program plays: any timestamp, any silence,
//! any garbage. Adobe RTMP 1.0 sections 5.2 (handshake), 5.3 (chunks) and 7.2 (commands).

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, Read as _, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::amf::{self, Amf};

pub const SET_CHUNK_SIZE: u8 = 1;
pub const ACKNOWLEDGEMENT: u8 = 3;
pub const USER_CONTROL: u8 = 4;
pub const DATA: u8 = 18;
pub const COMMAND: u8 = 20;

/// Chunks that the client sends, so that most of its messages are one chunk.
const CHUNK_SIZE: usize = 65_536;

/// How long the server may take for each answer.
const ANSWER: Duration = Duration::from_secs(15);

/// What the server sent.
#[derive(Clone, Debug)]
pub struct Message {
    pub kind: u8,
    /// In milliseconds, 32 bits.
    pub timestamp: u32,
    pub body: Vec<u8>,
}

/// What is read of the server.
#[derive(Debug)]
pub enum Read<'a> {
    Message(&'a Message),
    /// Nothing more comes.
    End(io::Error),
}

/// Is shown what the server sends, on the thread that reads, which reads nothing while this does not return. Messages for which it
/// returns true are its own: they are not kept for the [`Client`].
pub type Tap = Box<dyn FnMut(Read<'_>) -> bool + Send>;

#[derive(Default)]
struct Heard {
    messages: Vec<Message>,
    closed: bool,
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    heard: Arc<Mutex<Heard>>,
    message_stream: u32,
    transaction: f64,
}

/// Only the handshake, with the simple form of C1; the connection that is left.
pub fn handshake(address: SocketAddr) -> io::Result<TcpStream> {
    handshake_on(TcpStream::connect(address)?)
}

fn handshake_on(mut stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_nodelay(true)?;
    let mut hello = vec![3];
    hello.extend_from_slice(&[0; 8]);
    hello.extend((0..1528u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8));
    stream.write_all(&hello)?;
    let mut answer = vec![0; 1 + 1536 + 1536];
    stream.read_exact(&mut answer)?;
    if answer[0] != 3 || answer[1 + 1536 + 8..] != hello[9..] {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "S2 does not echo C1",
        ));
    }
    stream.write_all(&answer[1..1537])?;
    Ok(stream)
}

impl Client {
    /// Handshake, `connect` and `createStream`. The app may hold slashes and a query.
    pub fn connect(address: SocketAddr, app: &str) -> io::Result<Client> {
        Client::connect_as(address, app, &format!("rtmp://{address}/{app}"))
    }

    /// As [`Client::connect`], with a tcUrl of its own, whose host is the vhost.
    pub fn connect_as(address: SocketAddr, app: &str, tc_url: &str) -> io::Result<Client> {
        let mut client = Client::start(address)?;
        client.ask_to_connect(app, tc_url)?;
        client.create_stream()?;
        Ok(client)
    }

    /// As [`Client::connect`], on a socket, with a look at all that comes.
    pub fn connect_on(stream: TcpStream, app: &str, tap: Tap) -> io::Result<Client> {
        let address = stream.peer_addr()?;
        let mut client = Client::start_on(stream, tap)?;
        client.ask_to_connect(app, &format!("rtmp://{address}/{app}"))?;
        client.create_stream()?;
        Ok(client)
    }

    /// As [`Client::connect`], from an address of this machine; the code when the connection is refused, or `closed`.
    pub fn try_connect(from: &str, address: SocketAddr, app: &str) -> Result<Client, String> {
        let closed = |_| "closed".to_owned();
        let stream = super::sockets::connect_from(from, address).map_err(closed)?;
        let mut client = Client::start_on(stream, Box::new(|_| false)).map_err(closed)?;
        let answer = client.ask_to_connect(app, &format!("rtmp://{address}/{app}"));
        let answer = answer.map_err(closed)?;
        if amf::command_name(&answer.body).as_deref() == Some("_error") {
            return Err(amf::text_property(&answer.body, "code").unwrap_or_default());
        }
        client.create_stream().map_err(closed)?;
        Ok(client)
    }

    fn ask_to_connect(&mut self, app: &str, tc_url: &str) -> io::Result<Message> {
        self.send(
            2,
            SET_CHUNK_SIZE,
            0,
            0,
            &u32::try_from(CHUNK_SIZE).expect("small").to_be_bytes(),
        )?;
        self.command(
            0,
            "connect",
            vec![Amf::Object(vec![
                ("app", Amf::Text(app)),
                ("type", Amf::Text("nonprivate")),
                ("flashVer", Amf::Text("FMLE/3.0 (compatible; test)")),
                ("tcUrl", Amf::Text(tc_url)),
            ])],
        )?;
        self.answer(&["_result", "_error"])
    }

    fn create_stream(&mut self) -> io::Result<()> {
        self.command(0, "createStream", vec![Amf::Null])?;
        let result = self.answer(&["_result", "_error"])?;
        // The last value of the answer is the message stream's id, a number.
        let id = result
            .body
            .get(result.body.len().saturating_sub(8)..)
            .and_then(|tail| tail.try_into().ok())
            .map(f64::from_be_bytes);
        self.message_stream = id.unwrap_or(1.0) as u32;
        Ok(())
    }

    /// A connection after its handshake, with a thread that listens.
    pub fn start(address: SocketAddr) -> io::Result<Client> {
        Client::start_on(TcpStream::connect(address)?, Box::new(|_| false))
    }

    fn start_on(stream: TcpStream, mut tap: Tap) -> io::Result<Client> {
        let stream = handshake_on(stream)?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let theirs = Arc::clone(&heard);
        let reader = stream.try_clone()?;
        reader.set_read_timeout(None)?;
        std::thread::spawn(move || {
            let Err(error) = listen(reader, |message| {
                if !tap(Read::Message(&message)) {
                    lock(&theirs).messages.push(message);
                }
            });
            tap(Read::End(error));
            lock(&theirs).closed = true;
        });
        Ok(Client {
            stream,
            heard,
            message_stream: 0,
            transaction: 0.0,
        })
    }

    /// `publish`; the code of the server's onStatus.
    pub fn publish(&mut self, name: &str) -> io::Result<String> {
        let id = self.message_stream;
        self.command(
            id,
            "publish",
            vec![Amf::Null, Amf::Text(name), Amf::Text("live")],
        )?;
        let status = self.answer(&["onStatus", "_error"])?;
        Ok(amf::text_property(&status.body, "code").unwrap_or_default())
    }

    /// Sends `play`, which the server may answer late.
    pub fn ask_to_play(&mut self, name: &str) -> io::Result<()> {
        let id = self.message_stream;
        self.command(id, "play", vec![Amf::Null, Amf::Text(name)])
    }

    /// `play`; code and description of the server's first onStatus that is not a reset.
    pub fn play(&mut self, name: &str) -> io::Result<(String, String)> {
        self.ask_to_play(name)?;
        loop {
            let status = self.answer(&["onStatus", "_error"])?;
            let text = |name| amf::text_property(&status.body, name).unwrap_or_default();
            if text("code") != "NetStream.Play.Reset" {
                return Ok((text("code"), text("description")));
            }
        }
    }

    /// A command message with the next transaction id.
    pub fn command<'a>(
        &mut self,
        message_stream: u32,
        name: &'a str,
        mut arguments: Vec<Amf<'a>>,
    ) -> io::Result<()> {
        self.transaction += 1.0;
        let mut values = vec![Amf::Text(name), Amf::Number(self.transaction)];
        values.append(&mut arguments);
        self.send(3, COMMAND, message_stream, 0, &amf::encode(&values))
    }

    /// A media or data message on the published stream.
    pub fn media(&mut self, kind: u8, timestamp: u32, body: &[u8]) -> io::Result<()> {
        let chunk_stream = match kind {
            super::flv::AUDIO => 4,
            super::flv::VIDEO => 6,
            _ => 5,
        };
        self.send(chunk_stream, kind, self.message_stream, timestamp, body)
    }

    /// One message with a full header, split into chunks of the size that was announced.
    pub fn send(
        &mut self,
        chunk_stream: u8,
        kind: u8,
        message_stream: u32,
        timestamp: u32,
        body: &[u8],
    ) -> io::Result<()> {
        let bytes = message(chunk_stream, kind, message_stream, timestamp, body);
        self.stream.write_all(&bytes)
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Closes this side of the connection: the server reads to the end of what was sent.
    pub fn stop_sending(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Ends a publish as ffmpeg does.
    pub fn unpublish(&mut self, name: &str) -> io::Result<()> {
        let id = f64::from(self.message_stream);
        self.command(0, "FCUnpublish", vec![Amf::Null, Amf::Text(name)])?;
        self.command(0, "deleteStream", vec![Amf::Null, Amf::Number(id)])
    }

    /// All that the server has sent.
    pub fn heard(&self) -> Vec<Message> {
        lock(&self.heard).messages.clone()
    }

    /// True once the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        lock(&self.heard).closed
    }

    /// Waits for a command of one of these names that came after those taken before, and takes it.
    fn answer(&mut self, names: &[&str]) -> io::Result<Message> {
        let deadline = Instant::now() + ANSWER;
        loop {
            {
                let mut heard = lock(&self.heard);
                let at = heard.messages.iter().position(|message| {
                    message.kind == COMMAND
                        && amf::command_name(&message.body)
                            .is_some_and(|name| names.contains(&name.as_str()))
                });
                if let Some(at) = at {
                    return Ok(heard.messages.remove(at));
                }
                if heard.closed {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionReset,
                        "the server closed the connection",
                    ));
                }
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no {names:?}"),
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// The chunks of one message: a type 0 header, then type 3 ones.
pub fn message(
    chunk_stream: u8,
    kind: u8,
    message_stream: u32,
    timestamp: u32,
    body: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 32);
    let extended = timestamp >= 0x00ff_ffff;
    let short = timestamp.min(0x00ff_ffff).to_be_bytes();
    let size = u32::try_from(body.len())
        .expect("a small message")
        .to_be_bytes();
    out.extend_from_slice(&[
        chunk_stream,
        short[1],
        short[2],
        short[3],
        size[1],
        size[2],
        size[3],
        kind,
    ]);
    out.extend_from_slice(&message_stream.to_le_bytes());
    for (at, piece) in body.chunks(CHUNK_SIZE).enumerate() {
        if at > 0 {
            out.push(0xc0 | chunk_stream);
        }
        if extended {
            // 5.3.1.3: type 3 chunks of a message with an extended timestamp carry it too.
            out.extend_from_slice(&timestamp.to_be_bytes());
        }
        out.extend_from_slice(piece);
    }
    if body.is_empty() && extended {
        out.extend_from_slice(&timestamp.to_be_bytes());
    }
    out
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Default, Clone)]
struct ChunkStream {
    size: usize,
    kind: u8,
    extended: bool,
    /// Of the newest header that had one: absolute in form 0, else the step from the message before.
    time: u32,
    is_step: bool,
    /// Of the newest message.
    timestamp: u32,
    body: Vec<u8>,
}

/// Reads chunks until the connection ends.
fn listen(stream: TcpStream, mut hear: impl FnMut(Message)) -> io::Result<Infallible> {
    let mut input = io::BufReader::new(stream);
    let mut chunk_size = 128; // 5.4.1: until Set Chunk Size says otherwise
    let mut streams: HashMap<u32, ChunkStream> = HashMap::new();
    loop {
        let first = take::<1>(&mut input)?[0];
        let id = match first & 0x3f {
            0 => u32::from(take::<1>(&mut input)?[0]) + 64,
            1 => u32::from(u16::from_le_bytes(take::<2>(&mut input)?)) + 64,
            id => u32::from(id),
        };
        let state = streams.entry(id).or_default();
        let form = first >> 6;
        if form < 3 {
            let time = take::<3>(&mut input)?;
            state.extended = time == [0xff; 3];
            state.time = u32::from_be_bytes([0, time[0], time[1], time[2]]);
            state.is_step = form > 0;
        }
        if form < 2 {
            let head = take::<4>(&mut input)?;
            state.size = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            state.kind = head[3];
        }
        if form == 0 {
            take::<4>(&mut input)?;
        }
        if state.extended {
            state.time = u32::from_be_bytes(take::<4>(&mut input)?);
        }
        if state.body.is_empty() {
            // 5.3.1.2.4: a message that begins with form 3 repeats what stood in the header before it, step or not.
            state.timestamp = match state.is_step {
                true => state.timestamp.wrapping_add(state.time),
                false => state.time,
            };
        }
        let mut piece = vec![0; chunk_size.min(state.size - state.body.len())];
        input.read_exact(&mut piece)?;
        state.body.extend_from_slice(&piece);
        if state.body.len() == state.size {
            let body = std::mem::take(&mut state.body);
            if let (SET_CHUNK_SIZE, Ok(size)) = (state.kind, <[u8; 4]>::try_from(body.as_slice())) {
                chunk_size = u32::from_be_bytes(size) as usize;
            }
            hear(Message {
                kind: state.kind,
                timestamp: state.timestamp,
                body,
            });
        }
    }
}

fn take<const N: usize>(input: &mut impl io::Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}
