//! HTTP/2 (RFC 9113): GETs whose bodies are played, as many as are wanted on one connection.
//!
//! The h2 crate speaks it, over two buffers instead of a socket; nothing wakes it: it is polled when something came. Once all streams play
//! and nobody looks at them, the crate's part is over ([`Http2::skim`]): frames are only told apart, bodies thrown away, the server's
//! windows opened by their lengths, its pings answered, and streams that end are noticed.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{RecvStream, StreamId};
use http::{Request, Version};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::target::Target;

use super::frames::{self, Frame, Scanner};
use super::{Body, Event, Trouble};

/// What a server may send before it must hear of us, in bytes: hours of a stream. The largest there is (§6.9.1).
const STREAM_WINDOW: u32 = (1 << 31) - 1;
/// The same for all streams of a connection. Half of the largest: [`Http2::skim`] counts frame headers, too, which are
/// below 1 %, and so opens the window a little further each time.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// After how many bytes that were thrown away the server's windows are opened again.
const WINDOW_STEP: u64 = 1 << 26;
/// The longest frame that a server may send (§4.2): a unit of a stream in one.
const MAX_FRAME: u32 = 1 << 20;
/// How a server begins that does not speak HTTP/2.
const HTTP1: &[u8] = b"HTTP/1.";

pub(crate) struct Http2 {
    pipe: Pipe,
    connection: Connection<Pipe, Bytes>,
    sender: SendRequest<Bytes>,
    streams: Vec<Stream>,
    /// Something came: it is no server of HTTP/1.
    checked: bool,
    /// Where in its frames the server is.
    scanner: Scanner,
    /// Bytes that were thrown away since the windows were opened last.
    unopened: u64,
}

enum Stream {
    /// Not asked for yet.
    Waiting(Request<()>),
    Asked(ResponseFuture),
    Body(RecvStream, Body),
    Over,
}

impl Http2 {
    /// One stream for each target.
    pub(super) fn new(targets: &[Target]) -> Result<(Self, Vec<u8>), Trouble> {
        let pipe = Pipe::default();
        let mut builder = Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            // Until the server says how many it allows: then it is said who asked for more.
            .initial_max_send_streams(targets.len())
            .enable_push(false);
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(shaken) = pin!(builder.handshake(pipe.clone())).poll(&mut cx) else {
            return Err(Trouble("HTTP/2 does not begin".to_owned()));
        };
        let (sender, connection) = shaken?;
        let streams = targets
            .iter()
            .map(|target| request(target).map(Stream::Waiting))
            .collect::<Result<_, _>>()?;
        let mut http2 = Self {
            pipe,
            connection,
            sender,
            streams,
            checked: false,
            scanner: Scanner::default(),
            unopened: 0,
        };
        let mut hello = Vec::new();
        http2.turn(&mut hello, &mut |_, _| {})?;
        Ok((http2, hello))
    }

    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        sink: &mut dyn FnMut(usize, Event),
    ) -> Result<(), Trouble> {
        if !self.checked {
            if bytes.starts_with(HTTP1) {
                return Err(Trouble("the server does not speak HTTP/2".to_owned()));
            }
            self.checked = true;
        }
        self.scanner.scan(bytes, |_| {});
        self.pipe.buffers.lock().came.extend_from_slice(bytes);
        self.turn(out, sink)
    }

    /// Lets the connection and each stream take what came, and say what they have to say.
    fn turn(
        &mut self,
        out: &mut Vec<u8>,
        sink: &mut dyn FnMut(usize, Event),
    ) -> Result<(), Trouble> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut ended = Pin::new(&mut self.connection).poll(&mut cx);
        for (index, stream) in self.streams.iter_mut().enumerate() {
            let result = stream.turn(&mut self.sender, &mut cx, &mut |event| sink(index, event));
            if let Err(trouble) = result {
                *stream = Stream::Over;
                sink(index, Event::Over(trouble));
            }
        }
        // Windows that were opened, and requests.
        if ended.is_pending() {
            ended = Pin::new(&mut self.connection).poll(&mut cx);
        }
        out.append(&mut self.pipe.buffers.lock().said);
        match ended {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                return Err(Trouble("the server closed the connection".to_owned()));
            }
            Poll::Ready(Err(error)) => return Err(error.into()),
        }
        let most = self.connection.max_concurrent_send_streams();
        if self.streams.len() > most {
            return Err(Trouble(format!(
                "the server allows {most} streams on a connection"
            )));
        }
        Ok(())
    }

    /// Takes what came once all streams play, for as long as nobody looks at them.
    pub(super) fn skim(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        sink: &mut dyn FnMut(usize, Event),
    ) -> Result<(), Trouble> {
        let Self {
            scanner, streams, ..
        } = self;
        let mut result = Ok(());
        let mut over = |id: u32, why: &str| {
            let found = streams
                .iter_mut()
                .enumerate()
                .find(|(_, stream)| stream.id().is_some_and(|stream| stream.as_u32() == id));
            if let Some((index, stream)) = found {
                *stream = Stream::Over;
                sink(index, Event::Over(Trouble(why.to_owned())));
            }
        };
        scanner.scan(bytes, |frame| match frame {
            Frame {
                kind: frames::PING,
                flags,
                content,
                ..
            } if flags & frames::ACK == 0 => {
                frames::write(frames::PING, frames::ACK, 0, &content, out);
            }
            Frame {
                kind: frames::SETTINGS,
                flags,
                ..
            } if flags & frames::ACK == 0 => {
                frames::write(frames::SETTINGS, frames::ACK, 0, &[], out);
            }
            Frame {
                kind: frames::DATA | frames::HEADERS,
                flags,
                stream,
                ..
            } if flags & frames::END_STREAM != 0 => over(stream, "the stream ended"),
            Frame {
                kind: frames::RST_STREAM,
                stream,
                content: [c3, c2, c1, c0, ..],
                ..
            } => {
                let code = h2::Reason::from(u32::from_be_bytes([c3, c2, c1, c0]));
                over(stream, &format!("the stream was reset: {code}"));
            }
            Frame {
                kind: frames::GOAWAY,
                content: [.., c3, c2, c1, c0],
                ..
            } => {
                // An end without an error lets streams go on.
                let code = h2::Reason::from(u32::from_be_bytes([c3, c2, c1, c0]));
                if code != h2::Reason::NO_ERROR {
                    result = Err(Trouble(format!("the server went away: {code}")));
                }
            }
            _ => {}
        });
        self.open_windows(bytes.len(), out);
        result
    }

    /// Opens the server's windows by what came (§6.9).
    fn open_windows(&mut self, bytes: usize, out: &mut Vec<u8>) {
        self.unopened += bytes as u64;
        if self.unopened < WINDOW_STEP {
            return;
        }
        let all = std::mem::take(&mut self.unopened);
        open(0, all, out);
        let playing: Vec<StreamId> = self.streams.iter().filter_map(Stream::id).collect();
        for id in &playing {
            // They are streams of the same rate.
            open(id.as_u32(), all / playing.len() as u64, out);
        }
    }
}

/// A WINDOW_UPDATE.
fn open(stream: u32, bytes: u64, out: &mut Vec<u8>) {
    if let Ok(bytes @ 1..=STREAM_WINDOW) = u32::try_from(bytes) {
        frames::write(frames::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes(), out);
    }
}

fn request(target: &Target) -> Result<Request<()>, Trouble> {
    let scheme = if target.tls { "https" } else { "http" };
    let request = Request::get(format!("{scheme}://{}{}", target.authority(), target.path))
        .version(Version::HTTP_2)
        .header("user-agent", crate::AGENT)
        .body(())?;
    Ok(request)
}

impl Stream {
    fn turn(
        &mut self,
        sender: &mut SendRequest<Bytes>,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(), Trouble> {
        loop {
            match self {
                Self::Waiting(request) => {
                    let Poll::Ready(ready) = sender.poll_ready(cx) else {
                        return Ok(());
                    };
                    ready?;
                    let (answer, _) = sender.send_request(std::mem::take(request), true)?;
                    *self = Self::Asked(answer);
                }
                Self::Asked(answer) => {
                    let Poll::Ready(answer) = Pin::new(answer).poll(cx) else {
                        return Ok(());
                    };
                    let answer = answer?;
                    if answer.status() != 200 {
                        return Err(Trouble(format!("status {}", answer.status().as_u16())));
                    }
                    *self = Self::Body(answer.into_body(), Body::default());
                }
                Self::Body(stream, body) => {
                    let Poll::Ready(data) = stream.poll_data(cx) else {
                        return Ok(());
                    };
                    let Some(data) = data else {
                        return Err(Trouble("the stream ended".to_owned()));
                    };
                    let data = data?;
                    stream.flow_control().release_capacity(data.len())?;
                    body.feed(&data, sink)?;
                }
                Self::Over => return Ok(()),
            }
        }
    }

    /// Of one whose body comes.
    fn id(&self) -> Option<StreamId> {
        match self {
            Self::Body(stream, _) => Some(stream.stream_id()),
            _ => None,
        }
    }
}

/// What stands in for the socket: both directions in memory.
#[derive(Clone, Default)]
struct Pipe {
    /// Guards the buffers. Held for a copy.
    buffers: Arc<Mutex<Buffers>>,
}

#[derive(Default)]
struct Buffers {
    came: BytesMut,
    said: Vec<u8>,
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffers = self.buffers.lock();
        if buffers.came.is_empty() {
            return Poll::Pending;
        }
        let count = room.remaining().min(buffers.came.len());
        room.put_slice(buffers.came.get(..count).unwrap_or_default());
        buffers.came.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.buffers.lock().said.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use h2::{Ping, server};
    use http::Response;

    fn targets(count: usize) -> Vec<Target> {
        let target = |n| Target::parse("http://127.0.0.1/live/{}.flv", n).unwrap();
        (0..count).map(target).collect()
    }

    /// A server's side over memory: begun, with what the client said first.
    fn serve(pipe: &Pipe, builder: &server::Builder) -> server::Connection<Pipe, Bytes> {
        let mut cx = Context::from_waker(Waker::noop());
        match pin!(builder.handshake::<_, Bytes>(pipe.clone())).poll(&mut cx) {
            Poll::Ready(connection) => connection.unwrap(),
            Poll::Pending => panic!("the preface is not whole"),
        }
    }

    #[test]
    fn streams_of_a_connection_are_told_apart_and_windows_are_opened() {
        let (mut client, hello) = Http2::new(&targets(3)).unwrap();
        let pipe = Pipe::default();
        pipe.buffers.lock().came.extend_from_slice(&hello);
        let mut server = serve(&pipe, &server::Builder::new());
        let mut cx = Context::from_waker(Waker::noop());
        let mut bodies = Vec::new();
        while let Poll::Ready(Some(asked)) = server.poll_accept(&mut cx) {
            let (request, mut answer) = asked.unwrap();
            let path = request.uri().path().to_owned();
            if path == "/live/2.flv" {
                let none = Response::builder().status(404).body(()).unwrap();
                answer.send_response(none, true).unwrap();
                continue;
            }
            bodies.push((
                path,
                answer.send_response(Response::new(()), false).unwrap(),
            ));
        }
        assert_eq!(bodies.len(), 2, "{bodies:?}");
        for (path, body) in &mut bodies {
            let mut flv = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
            let time = if path == "/live/0.flv" { 7 } else { 8 };
            flv.extend_from_slice(&[8, 0, 0, 2, 0, 0, time, 0, 0, 0, 0, 0xaf, 1, 0, 0, 0, 13]);
            body.send_data(flv.into(), false).unwrap();
        }
        let _ = server.poll_accept(&mut cx);
        let down = std::mem::take(&mut pipe.buffers.lock().said);
        let (mut out, mut seen) = (Vec::new(), Vec::new());
        for byte in &down {
            let told = client.feed(&[*byte], &mut out, &mut |index, event| {
                seen.push(match event {
                    Event::Tag(8, time, _) => (index, time.to_string()),
                    Event::Over(why) => (index, why.0),
                    other => panic!("{other:?}"),
                });
            });
            assert_eq!(told, Ok(()));
        }
        seen.sort();
        let expected = [(0, "7"), (1, "8"), (2, "status 404")];
        assert_eq!(seen, expected.map(|(index, what)| (index, what.to_owned())));

        // What is thrown away opens the windows of the connection and of those who play, and the server understands it.
        out.clear();
        client.open_windows(1 << 25, &mut out);
        assert!(out.is_empty());
        client.open_windows(1 << 25, &mut out);
        assert_eq!(out.len(), 3 * 13);
        pipe.buffers.lock().came.extend_from_slice(&out);
        assert!(server.poll_accept(&mut cx).is_pending(), "no error");
    }

    #[test]
    fn pings_are_answered_and_ends_noticed_where_nobody_looks() {
        let (mut client, hello) = Http2::new(&targets(3)).unwrap();
        let pipe = Pipe::default();
        let tell = |bytes: &[u8]| pipe.buffers.lock().came.extend_from_slice(bytes);
        let told = || std::mem::take(&mut pipe.buffers.lock().said);
        tell(&hello);
        let mut server = serve(&pipe, &server::Builder::new());
        let mut cx = Context::from_waker(Waker::noop());
        let mut bodies = Vec::new();
        while let Poll::Ready(Some(asked)) = server.poll_accept(&mut cx) {
            let (_, mut answer) = asked.unwrap();
            bodies.push(answer.send_response(Response::new(()), false).unwrap());
        }
        for body in &mut bodies {
            body.send_data(Bytes::from_static(b"not FLV"), false)
                .unwrap();
        }
        let _ = server.poll_accept(&mut cx);
        let (mut up, mut playing) = (Vec::new(), 0);
        client
            .feed(&told(), &mut up, &mut |_, event| {
                playing += usize::from(matches!(event, Event::Opaque));
            })
            .unwrap();
        assert_eq!(playing, 3);
        tell(&up);

        // A ping between bodies, of which one ends and one is reset.
        let mut pings = server.ping_pong().unwrap();
        pings.send_ping(Ping::opaque()).unwrap();
        let end = Bytes::from(vec![0; 10_000]);
        for (body, over) in bodies.iter_mut().zip([false, true, false]) {
            body.send_data(end.clone(), over).unwrap();
        }
        let _ = server.poll_accept(&mut cx);
        bodies[2].send_reset(h2::Reason::CANCEL);
        let _ = server.poll_accept(&mut cx);
        assert!(pings.poll_pong(&mut cx).is_pending());
        let (mut up, mut over) = (Vec::new(), Vec::new());
        for piece in told().chunks(7) {
            client
                .skim(piece, &mut up, &mut |index, event| match event {
                    Event::Over(why) => over.push((index, why.0)),
                    other => panic!("{other:?}"),
                })
                .unwrap();
        }
        tell(&up);
        assert!(server.poll_accept(&mut cx).is_pending(), "no error");
        assert!(pings.poll_pong(&mut cx).is_ready(), "the ping's answer");
        over.sort();
        let reset = "the stream was reset: stream no longer needed";
        let expected = [(1, "the stream ended"), (2, reset)];
        assert_eq!(over, expected.map(|(index, why)| (index, why.to_owned())));
        // A server that gives up is gone; one that only lets nobody new in is not.
        let goaway = |code: u32, out: &mut Vec<u8>| {
            let content = [0u32.to_be_bytes(), code.to_be_bytes()].concat();
            frames::write(frames::GOAWAY, 0, 0, &content, out);
        };
        let (mut bye, mut error) = (Vec::new(), Vec::new());
        goaway(0, &mut bye);
        goaway(2, &mut error);
        assert_eq!(client.skim(&bye, &mut up, &mut |_, _| {}), Ok(()));
        assert!(client.skim(&error, &mut up, &mut |_, _| {}).is_err());
    }

    #[test]
    fn a_server_that_allows_fewer_streams_is_told_of() {
        let (mut client, hello) = Http2::new(&targets(120)).unwrap();
        let pipe = Pipe::default();
        pipe.buffers.lock().came.extend_from_slice(&hello);
        let mut builder = server::Builder::new();
        builder.max_concurrent_streams(50);
        let mut server = serve(&pipe, &builder);
        let mut cx = Context::from_waker(Waker::noop());
        let _ = server.poll_accept(&mut cx);
        let down = std::mem::take(&mut pipe.buffers.lock().said);
        let told = client.feed(&down, &mut Vec::new(), &mut |_, _| {});
        let why = "the server allows 50 streams on a connection";
        assert_eq!(told, Err(Trouble(why.to_owned())));
    }

    #[test]
    fn a_server_of_http1_is_told_of() {
        let (mut client, _) = Http2::new(&targets(1)).unwrap();
        let bytes = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        let told = client.feed(bytes, &mut Vec::new(), &mut |_, _| {});
        assert_eq!(
            told,
            Err(Trouble("the server does not speak HTTP/2".to_owned()))
        );
    }
}
