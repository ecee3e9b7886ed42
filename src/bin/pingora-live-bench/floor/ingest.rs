//! The least that a receiver can do: it lets publishers begin, and then reads what they send without looking at it.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use pingora_live::rtmp::{Event, ServerSession, SessionConfig};

use crate::Failure;

use super::{EVENTS, LISTENER, WAIT};

/// Read at once, in bytes.
const BUFFER: usize = 64 * 1024;

struct Publisher {
    socket: TcpStream,
    /// Until it publishes.
    session: Option<ServerSession>,
}

/// Takes every RTMP publisher, until `duration` is over.
pub(super) fn run(listen: SocketAddr, duration: Option<Duration>) -> Result<(), Failure> {
    let bind = |source| Failure::Bind {
        address: listen,
        source,
    };
    let mut poll = Poll::new().map_err(Failure::Poll)?;
    let mut listener = TcpListener::bind(listen).map_err(bind)?;
    println!("listening rtmp {}", listener.local_addr().map_err(bind)?);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)
        .map_err(Failure::Poll)?;
    let start = Instant::now();
    let mut events = Events::with_capacity(EVENTS);
    let mut publishers = HashMap::new();
    let mut next = 0;
    let mut buffer = vec![0; BUFFER];
    while duration.is_none_or(|duration| start.elapsed() < duration) {
        match poll.poll(&mut events, Some(WAIT)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(Failure::Poll)?,
        }
        for ready in &events {
            let token = ready.token();
            if token == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    let token = Token(next);
                    next += 1;
                    let _ = socket.set_nodelay(true);
                    let readable = Interest::READABLE;
                    if poll
                        .registry()
                        .register(&mut socket, token, readable)
                        .is_ok()
                    {
                        let config = SessionConfig::default();
                        let session = Some(ServerSession::new(config, Instant::now()));
                        publishers.insert(token, Publisher { socket, session });
                    }
                }
            } else if let Some(publisher) = publishers.get_mut(&token)
                && publisher.read(&mut buffer).is_none()
            {
                publishers.remove(&token);
            }
        }
    }
    Ok(())
}

impl Publisher {
    /// Reads all that is there; nothing when the publisher is gone.
    fn read(&mut self, buffer: &mut [u8]) -> Option<()> {
        loop {
            let count = match self.socket.read(buffer) {
                Ok(0) => return None,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(()),
                Err(_) => return None,
            };
            if self.session.is_some() {
                self.talk(buffer.get(..count)?)?;
            }
            if count < buffer.len() {
                return Some(());
            }
        }
    }

    /// The dialogue, until it may publish.
    fn talk(&mut self, bytes: &[u8]) -> Option<()> {
        let session = self.session.as_mut()?;
        session.input().extend_from_slice(bytes);
        session.handle_input(Instant::now()).ok()?;
        let mut publishes = false;
        while let Some(event) = session.poll_event() {
            match event {
                Event::Connect(_) => session.accept_connect(),
                Event::Publish(publish) => {
                    session.accept_publish(publish.stream_id);
                    publishes = true;
                }
                Event::Play(_) => return None,
                _ => {}
            }
        }
        // A few hundred bytes, which an empty socket takes.
        while let Some(said) = session.poll_output() {
            self.socket.write_all(&said).ok()?;
        }
        if publishes {
            self.session = None;
        }
        Some(())
    }
}
