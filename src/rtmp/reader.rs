//! Publishers, once they publish: a few threads that read their sockets into the hub, with nothing in between.
//!
//! A publisher of 1 Mbit/s sends some seventy messages a second, each of which comes in a wake-up of its own, on memory that the
//! caches have forgotten since the last. So what one costs is how much memory is touched for it: a runtime's task, the futures in it and
//! pingora's stream are several times what the session and the hub are. Hence the connection's task gives its plain socket away
//! ([`Readers::read`]) and waits; what is not media (the publisher stops, asks for something, does not read), and every end, comes
//! back to it with the socket.
//!
//! While nobody reads what a publisher sends, it is read in turns (`pace.rs`, `publish.lazy_read`).

mod pace;

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use mio::net::TcpStream as Socket;
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;
use pingora::server::ShutdownWatch;
use socket2::SockRef;
use tokio::sync::oneshot;

use crate::access::Traffic;
use crate::hub::{EndReason, Source};
use crate::ingest::Ended;

use super::Event;
use super::ServerSession;
use super::listener::{CLOCK, End, Publishing};
use pace::Turns;

/// Sockets that are looked at in one go.
const EVENTS: usize = 256;
/// Reads for one publisher before it is the others' turn: one that comes after an outage of its network sends what it kept.
const READS_PER_TURN: usize = 4;
/// What wakes a thread that is no socket.
const BELL: Token = Token(usize::MAX);

/// The threads. They end with this, once the last publisher went.
pub(super) struct Readers {
    list: Vec<Arc<Shared>>,
}

/// What a thread shares with those who have something for it.
struct Shared {
    /// Guards the publishers that it was given and has not looked at. Held to push or to swap.
    mail: Mutex<Vec<Seat>>,
    /// Guards the tokens of those whom somebody wants to read. Held to push or to swap.
    wanted: Mutex<Vec<usize>>,
    bell: Waker,
    /// Publishers that it has.
    load: AtomicUsize,
    /// Nobody gives it any more.
    closed: AtomicBool,
}

/// A publisher that is read.
pub(super) struct Reading {
    pub(super) socket: TcpStream,
    pub(super) session: ServerSession,
    pub(super) publishing: Publishing,
    pub(super) traffic: Arc<Traffic>,
    pub(super) shutdown: ShutdownWatch,
}

/// What became of it.
pub(super) struct Read {
    pub(super) socket: TcpStream,
    pub(super) session: ServerSession,
    pub(super) publishing: Publishing,
    pub(super) why: Why,
}

/// Why it is not read any more.
pub(super) enum Why {
    /// It said something, after which there may be more in the session.
    Said(Box<Event>),
    /// There is something to send of which its socket did not take this.
    Full(Bytes),
    /// It is over. The publisher was not told.
    Over(End),
}

struct Seat {
    socket: Socket,
    session: ServerSession,
    publishing: Publishing,
    traffic: Arc<Traffic>,
    /// Bytes that the traffic does not know of yet.
    received: u64,
    /// It is looked at again though nothing may come.
    again: bool,
    /// It is read in turns, with that many slots of time between them.
    wait: Option<usize>,
    /// The other side has closed, so that nothing tells of the end but reading on.
    closing: bool,
    shutdown: ShutdownWatch,
    back: oneshot::Sender<Box<Read>>,
}

impl Readers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let mut readers = Self { list: Vec::new() };
        for _ in 0..count.max(1) {
            let poll = Poll::new()?;
            let shared = Arc::new(Shared {
                mail: Mutex::default(),
                wanted: Mutex::default(),
                bell: Waker::new(poll.registry(), BELL)?,
                load: AtomicUsize::new(0),
                closed: AtomicBool::new(false),
            });
            let reader = Reader {
                shared: Arc::clone(&shared),
                poll,
                seats: Vec::new(),
                free: Vec::new(),
                again: Vec::new(),
                turns: Turns::new(Instant::now()),
            };
            thread::Builder::new()
                .name("ingest".to_owned())
                .spawn(move || reader.run())?;
            readers.list.push(shared);
        }
        Ok(readers)
    }

    /// Reads a publisher on the thread that has the fewest. What is returned is done when it needs more than that; with nothing, if the
    /// thread is gone.
    pub(super) fn read(
        &self,
        reading: Reading,
    ) -> impl Future<Output = Option<Box<Read>>> + Send + use<> {
        let (back, gone) = oneshot::channel();
        let load = |reader: &&Arc<Shared>| reader.load.load(Ordering::Relaxed);
        if let Some(reader) = self.list.iter().min_by_key(load) {
            reader.give(reading, back);
        }
        async { gone.await.ok() }
    }
}

impl Shared {
    fn give(&self, reading: Reading, back: oneshot::Sender<Box<Read>>) {
        let Reading {
            socket,
            session,
            publishing,
            traffic,
            shutdown,
        } = reading;
        let seat = Seat {
            socket: Socket::from_std(socket),
            session,
            publishing,
            traffic,
            received: 0,
            again: false,
            wait: None,
            closing: false,
            shutdown,
            back,
        };
        self.load.fetch_add(1, Ordering::Relaxed);
        self.mail.lock().push(seat);
        let _ = self.bell.wake();
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for reader in &self.list {
            reader.closed.store(true, Ordering::Relaxed);
            let _ = reader.bell.wake();
        }
    }
}

struct Reader {
    shared: Arc<Shared>,
    poll: Poll,
    /// By token. Boxed, so that a place that was taken once costs a pointer.
    seats: Vec<Option<Box<Seat>>>,
    free: Vec<usize>,
    /// Those with more to read.
    again: Vec<usize>,
    /// Those that are read in turns.
    turns: Turns,
}

/// Calls the thread when somebody wants to read what a publisher sends.
struct Call {
    reader: Arc<Shared>,
    token: usize,
}

impl Source for Call {
    fn wanted(&self) {
        self.reader.wanted.lock().push(self.token);
        let _ = self.reader.bell.wake();
    }
}

impl Reader {
    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut next_check = Instant::now() + CLOCK;
        loop {
            let next = self
                .turns
                .next()
                .map_or(next_check, |turn| turn.min(next_check));
            let wait = match self.again.is_empty() {
                true => next.saturating_duration_since(Instant::now()),
                false => Duration::ZERO,
            };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    // Nothing that a peer does leads here. Those who wait for their publishers see that this is gone.
                    tracing::error!(%error, "publishers cannot be read any more");
                    return;
                }
                _ => {}
            }
            let now = Instant::now();
            self.take_turns(now);
            for token in std::mem::take(&mut self.again) {
                if let Some(seat) = self.seat(token) {
                    seat.again = false;
                    self.turn(token, now);
                }
            }
            for event in &events {
                match event.token() {
                    BELL => {
                        self.open_mail(now);
                        let wanted = std::mem::take(&mut *self.shared.wanted.lock());
                        for token in wanted {
                            self.hurry(token, now);
                        }
                    }
                    Token(token) => {
                        if let Some(seat) = self.seat(token) {
                            // It is told once, and what came before may take several turns.
                            seat.closing |= event.is_read_closed() || event.is_error();
                            match seat.wait {
                                // Of those that are read in turns, only their end is told.
                                Some(_) => self.hurry(token, now),
                                None => self.turn(token, now),
                            }
                        }
                    }
                }
            }
            if now >= next_check {
                self.check(now);
                next_check = now + CLOCK;
                if self.shared.closed.load(Ordering::Relaxed)
                    && self.shared.load.load(Ordering::Relaxed) == 0
                {
                    return;
                }
            }
        }
    }

    fn seat(&mut self, token: usize) -> Option<&mut Box<Seat>> {
        self.seats.get_mut(token)?.as_mut()
    }

    fn open_mail(&mut self, now: Instant) {
        let mail = std::mem::take(&mut *self.shared.mail.lock());
        for mut seat in mail {
            let token = self.free.pop().unwrap_or_else(|| {
                self.seats.push(None);
                self.seats.len() - 1
            });
            let registry = self.poll.registry();
            let registered = registry.register(&mut seat.socket, Token(token), Interest::READABLE);
            if let Some(place) = self.seats.get_mut(token) {
                *place = Some(Box::new(seat));
            }
            if let Err(error) = registered {
                self.give_back(token, Why::Over(error.into()));
            } else {
                // What the session holds was decoded; what the socket holds is told by its registration.
                self.turn(token, now);
            }
        }
    }

    /// Reads what there is.
    fn turn(&mut self, token: usize, now: Instant) {
        let Some(seat) = self.seat(token) else {
            return;
        };
        match contained(|| seat.turn(now)) {
            Ok(true) => {}
            Ok(false) => {
                if !std::mem::replace(&mut seat.again, true) {
                    self.again.push(token);
                }
            }
            Err(why) => self.give_back(token, why),
        }
    }

    fn check(&mut self, now: Instant) {
        for token in 0..self.seats.len() {
            let Some(seat) = self.seat(token) else {
                continue;
            };
            let came = seat.received;
            match contained(|| seat.check(now)) {
                Ok(()) => self.set_pace(token, came, now),
                Err(why) => self.give_back(token, why),
            }
        }
    }

    /// Reads those whose turn it is.
    fn take_turns(&mut self, now: Instant) {
        let mut due = Vec::new();
        self.turns.take_due(now, &mut due);
        for token in due {
            self.turn(token, now);
            if let Some(wait) = self.seat(token).and_then(|seat| seat.wait) {
                self.turns.put(token, wait, now);
            }
        }
    }

    /// Decides how a publisher is read that sent `came` bytes since the last look.
    fn set_pace(&mut self, token: usize, came: u64, now: Instant) {
        let Some(seat) = self.seats.get_mut(token).and_then(Option::as_mut) else {
            return;
        };
        let ingest = &seat.publishing.ingest;
        let wait = pace::wait(came, CLOCK, ingest.lazy_read());
        match (wait, seat.wait) {
            (None, None) => {}
            (None, Some(_)) => {
                ingest.forget_source();
                self.hurry(token, now);
            }
            (Some(_), Some(_)) => seat.wait = wait,
            (Some(_), None) if seat.again || seat.closing => {}
            (Some(slots), None) => {
                let reader = Arc::clone(&self.shared);
                if !ingest.is_unread(Arc::new(Call { reader, token })) {
                    return;
                }
                match watch_for_end(&self.poll, &seat.socket, token) {
                    Ok(()) => {
                        seat.wait = wait;
                        // Not all at once.
                        self.turns.put(token, token % slots + 1, now);
                    }
                    Err(_) => ingest.forget_source(),
                }
            }
        }
    }

    /// A publisher that was read in turns is read as things come, from now on.
    fn hurry(&mut self, token: usize, now: Instant) {
        let Some(seat) = self.seats.get_mut(token).and_then(Option::as_mut) else {
            return;
        };
        if seat.wait.take().is_none() {
            return;
        }
        self.turns.remove(token);
        let registry = self.poll.registry();
        match registry.reregister(&mut seat.socket, Token(token), Interest::READABLE) {
            Ok(()) => self.turn(token, now),
            Err(error) => self.give_back(token, Why::Over(error.into())),
        }
    }

    fn give_back(&mut self, token: usize, why: Why) {
        let Some(mut seat) = self.seats.get_mut(token).and_then(Option::take) else {
            return;
        };
        self.free.push(token);
        self.shared.load.fetch_sub(1, Ordering::Relaxed);
        if seat.wait.is_some() {
            self.turns.remove(token);
            seat.publishing.ingest.forget_source();
        }
        // It was registered, or the registration failed.
        let _ = self.poll.registry().deregister(&mut seat.socket);
        seat.count();
        let Seat {
            socket,
            session,
            publishing,
            back,
            ..
        } = *seat;
        // When nobody takes it, the runtime is gone: the publish ends here.
        let _ = back.send(Box::new(Read {
            socket: socket.into(),
            session,
            publishing,
            why,
        }));
    }
}

/// From now on, nothing is told of a socket but that its peer has closed it: a wake-up for each message is what reading in turns saves,
/// and a name that a publisher has given up must be free at once.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn watch_for_end(poll: &Poll, socket: &Socket, token: usize) -> io::Result<()> {
    let mut event = libc::epoll_event {
        // The flags are bits, one of which is the sign.
        events: (libc::EPOLLRDHUP | libc::EPOLLET).cast_unsigned(),
        u64: token as u64,
    };
    // SAFETY: both descriptors are open, and the event is valid for the call.
    #[allow(unsafe_code)]
    let changed = unsafe {
        libc::epoll_ctl(
            poll.as_raw_fd(),
            libc::EPOLL_CTL_MOD,
            socket.as_raw_fd(),
            &raw mut event,
        )
    };
    match changed {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Elsewhere, publishers are read as things come.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn watch_for_end(_poll: &Poll, _socket: &Socket, _token: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A panic ends one publisher, as it would in a task of its own, and not all of the thread.
fn contained<T>(act: impl FnOnce() -> Result<T, Why>) -> Result<T, Why> {
    panic::catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| {
        let error = io::Error::other("the thread that read it panicked");
        tracing::error!(%error, "a publisher is ended");
        Err(Why::Over(error.into()))
    })
}

impl Seat {
    /// True when there is nothing more to read for now.
    fn turn(&mut self, now: Instant) -> Result<bool, Why> {
        for _ in 0..READS_PER_TURN {
            let read = match self.read() {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Why::Over(error.into())),
            };
            if read.bytes == 0 {
                return Err(Why::Over(End::Closed));
            }
            self.received += read.bytes as u64;
            let handled = self.session.handle_input(now);
            // What came before a violation counts.
            self.events(now)?;
            // The rest of the input was decoded between the events.
            handled
                .and_then(|()| self.session.handle_timeout(now))
                .map_err(|error| Why::Over(error.into()))?;
            if self.session.has_output() {
                self.send()?;
            }
            // A read that was not filled was the last: what comes next is a new event (epoll(7)).
            if !read.filled && !self.closing {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read(&mut self) -> io::Result<Received> {
        let input = self.session.input();
        let room = input.spare_capacity_mut();
        let most = room.len();
        let bytes = SockRef::from(&self.socket).recv(room)?;
        // SAFETY: the kernel wrote that many bytes at the front of the spare room.
        #[allow(unsafe_code)]
        unsafe {
            input.advance_mut(bytes);
        }
        Ok(Received {
            bytes,
            filled: bytes == most,
        })
    }

    fn events(&mut self, now: Instant) -> Result<(), Why> {
        while let Some(event) = self.session.poll_event() {
            match self.publishing.take(event, now).map_err(Why::Over)? {
                None => {}
                Some(event) => return Err(Why::Said(Box::new(event))),
            }
        }
        Ok(())
    }

    /// Acknowledgements and answers to pings: little, and seldom.
    fn send(&mut self) -> Result<(), Why> {
        while let Some(mut bytes) = self.session.poll_output() {
            // Whoever can wait for it sends the rest, or learns that nobody reads any more.
            let sent = SockRef::from(&self.socket).send(&bytes).unwrap_or(0);
            self.traffic.sent.fetch_add(sent as u64, Ordering::Relaxed);
            bytes.advance(sent);
            if !bytes.is_empty() {
                return Err(Why::Full(bytes));
            }
        }
        Ok(())
    }

    fn check(&mut self, now: Instant) -> Result<(), Why> {
        self.count();
        self.session
            .handle_timeout(now)
            .map_err(|error| Why::Over(error.into()))?;
        self.publishing
            .ingest
            .check(now)
            .map_err(|ended| Why::Over(ended.into()))?;
        if self.shutdown.has_changed().is_err() || *self.shutdown.borrow() {
            return Err(Why::Over(End::Shutdown));
        }
        if self.back.is_closed() {
            // The runtime went away under it.
            return Err(Why::Over(Ended::Claim(EndReason::Shutdown).into()));
        }
        Ok(())
    }

    fn count(&mut self) {
        let received = std::mem::take(&mut self.received);
        self.traffic.received.fetch_add(received, Ordering::Relaxed);
    }
}

struct Received {
    bytes: usize,
    /// As many as there was room for.
    filled: bool,
}
