//! Peers that break the protocol, by mistake or on purpose: each is answered or dropped in time, with memory flat, and a
//! publisher and a player beside them notice nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::support::amf::{self, Amf};
use super::support::feed::{Feed, Plan};
use super::support::flv::{AUDIO, VIDEO};
use super::support::player::Player;
use super::support::rtmp::{self, Client};
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, http, wait_for};

/// What a peer's misbehaviour may cost for good, in KiB: allocator noise, not what it asked for.
const FLAT_KIB: u64 = 12 * 1024;

/// Handshake, first command and request header each have ten seconds; a little more on a busy machine.
const TEN_SECONDS: Duration = Duration::from_secs(14);

/// A server with a publisher and a player at work, and a watch over both.
struct Bystanders {
    server: Server,
    feed: Feed,
    player: Player,
    memory: u64,
    from: usize,
}

impl Bystanders {
    fn start() -> Bystanders {
        let server = Server::start("");
        let feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
        let player = Player::open(&server, "/live/x.flv");
        player.wait("a second", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
        let (memory, from) = (server.memory_kib(), player.tag_count());
        Bystanders {
            server,
            feed,
            player,
            memory,
            from,
        }
    }

    fn rtmp(&self) -> SocketAddr {
        self.server.address("rtmp")
    }

    fn http(&self) -> SocketAddr {
        self.server.address("http")
    }

    /// What must hold at any moment.
    #[track_caller]
    fn check_memory(&self) {
        let grown = self.server.memory_kib().saturating_sub(self.memory);
        assert!(grown < FLAT_KIB, "the process grew by {grown} KiB");
    }

    /// What must hold at the end: the stream went on, whole and in time, and the server still answers.
    #[track_caller]
    fn check(mut self) {
        assert!(self.server.is_running(), "the server runs");
        let flv = self.player.wait_more(25, PATIENCE);
        for kind in [VIDEO, AUDIO] {
            self.feed.assert_gave(&flv, kind);
        }
        let arrivals: Vec<Instant> = (self.from..flv.tags.len())
            .filter_map(|tag| self.player.arrival(tag))
            .collect();
        let gap = arrivals
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .expect("frames came");
        assert!(
            gap < Duration::from_secs(1),
            "the player waited {gap:?} for a frame"
        );
        self.check_memory();
        let log = self.server.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Reads until the server closes the connection, and gives what it said.
#[track_caller]
fn until_closed(mut stream: TcpStream, within: Duration) -> Vec<u8> {
    let begin = Instant::now();
    stream.set_read_timeout(Some(within)).expect("a timeout");
    let mut said = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return said,
            Ok(size) => said.extend_from_slice(&piece[..size]),
            // A reset is an end too: the server closed with our bytes unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return said,
            Err(error) => panic!("not closed within {within:?}: {error}"),
        }
        assert!(begin.elapsed() < within, "not closed within {within:?}");
    }
}

/// Bytes without meaning, the same in each run.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..size)
        .map(|_| {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

#[test]
fn random_bytes_at_both_ports() {
    let all = Bystanders::start();
    for seed in 1..=40 {
        for address in [all.rtmp(), all.http()] {
            let mut stream = TcpStream::connect(address).expect("the server accepts");
            // The server may close before all is written.
            let _ = stream.write_all(&noise(seed, 1 + (seed as usize * 977) % 9000));
            let _ = stream.shutdown(std::net::Shutdown::Write);
            until_closed(stream, TEN_SECONDS);
        }
    }
    all.check();
}

/// Garbage after a good handshake, where the chunk reader is reached.
#[test]
fn random_bytes_after_the_handshake() {
    let all = Bystanders::start();
    for seed in 1..=60 {
        let mut stream = rtmp::handshake(all.rtmp()).expect("the handshake");
        let _ = stream.write_all(&noise(seed, 5000));
        let _ = stream.shutdown(std::net::Shutdown::Write);
        until_closed(stream, TEN_SECONDS);
        all.check_memory();
    }
    all.check();
}

/// Garbage where a publisher's media is read.
#[test]
fn random_media_of_a_publisher() {
    let all = Bystanders::start();
    for seed in 1..=30 {
        let mut client = Client::connect(all.rtmp(), "live").expect("the server talks RTMP");
        assert_eq!(
            client.publish(&format!("noise{seed}")).expect("an answer"),
            "NetStream.Publish.Start"
        );
        for n in 0..60 {
            let bytes = noise(seed * 1000 + n, (n as usize * 7) % 300);
            let kind = [AUDIO, VIDEO, rtmp::DATA, 22, 17][n as usize % 5];
            if client.media(kind, n as u32 * 20, &bytes).is_err() {
                break;
            }
        }
    }
    all.check();
}

#[test]
fn an_http_request_at_the_rtmp_port() {
    let all = Bystanders::start();
    let mut stream = TcpStream::connect(all.rtmp()).expect("the server accepts");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("sent");
    // At once: its first byte is not the version of RTMP.
    until_closed(stream, Duration::from_secs(3));
    all.server.wait_log(&["127.0.0.1"], PATIENCE);
    all.check();
}

#[test]
fn an_rtmp_handshake_at_the_http_port() {
    let all = Bystanders::start();
    let mut stream = TcpStream::connect(all.http()).expect("the server accepts");
    let mut hello = vec![3];
    hello.extend_from_slice(&[0; 8]);
    hello.extend(noise(7, 1528));
    stream.write_all(&hello).expect("sent");
    until_closed(stream, TEN_SECONDS);
    all.check();
}

/// Declared lengths cost nothing until bytes come: 100 publishers declare 16 MB each.
#[test]
fn sixteen_megabytes_declared_and_not_sent() {
    let all = Bystanders::start();
    let mut clients = Vec::new();
    for n in 0..100 {
        let mut client = Client::connect(all.rtmp(), "live").expect("the server talks RTMP");
        if n % 2 == 0 {
            assert_eq!(
                client.publish(&format!("big{n}")).expect("an answer"),
                "NetStream.Publish.Start"
            );
        }
        let mut head = rtmp::message(6, VIDEO, 1, 0, &[0x17]);
        head[4..7].copy_from_slice(&[0xff, 0xff, 0xff]);
        // The server may refuse the declared size at once.
        let _ = client.raw(&head);
        clients.push(client);
    }
    std::thread::sleep(Duration::from_secs(1));
    all.check_memory();
    drop(clients);
    all.check();
}

/// The same with most of the bytes sent: what is in progress for one connection is bounded.
#[test]
fn sixteen_megabytes_on_each_of_many_chunk_streams() {
    let all = Bystanders::start();
    let mut client = Client::connect(all.rtmp(), "live").expect("the server talks RTMP");
    assert_eq!(
        client.publish("big").expect("an answer"),
        "NetStream.Publish.Start"
    );
    let piece = vec![0x55; 65_536];
    'sending: for round in 0..60 {
        for id in 8..63 {
            let head = if round == 0 {
                let mut head = rtmp::message(id, VIDEO, 1, 0, &[]);
                head[4..7].copy_from_slice(&[0xff, 0xff, 0xff]);
                head
            } else {
                vec![0xc0 | id]
            };
            if client.raw(&head).and_then(|()| client.raw(&piece)).is_err() {
                break 'sending;
            }
        }
        let grown = all.server.memory_kib().saturating_sub(all.memory);
        assert!(
            grown < 48 * 1024,
            "the process grew by {grown} KiB in round {round}"
        );
    }
    wait_for("the peer is disconnected", PATIENCE, || {
        client.is_closed().then_some(())
    });
    drop(client);
    all.check();
}

/// All 65,599 chunk stream ids, each with a message that is never finished.
#[test]
fn sixty_five_thousand_chunk_streams() {
    let all = Bystanders::start();
    for published in [false, true] {
        let mut client = Client::connect(all.rtmp(), "live").expect("the server talks RTMP");
        if published {
            assert_eq!(
                client.publish("wide").expect("an answer"),
                "NetStream.Publish.Start"
            );
        }
        // 5.3.1.1: ids 64 to 65,599 have three bytes; the header of a 2-byte message of which one byte comes, in chunks of 1.
        let mut bytes = rtmp::message(2, rtmp::SET_CHUNK_SIZE, 0, 0, &1u32.to_be_bytes());
        for id in 0..=65_535u16 {
            let [low, high] = id.to_le_bytes();
            bytes.extend_from_slice(&[1, low, high, 0, 0, 0, 0, 0, 2, VIDEO, 1, 0, 0, 0, 0x17]);
        }
        let _ = client.raw(&bytes);
        std::thread::sleep(Duration::from_millis(500));
        all.check_memory();
    }
    all.check();
}

/// AMF0 that nests 10,000 objects, as a command and as metadata.
#[test]
fn amf_nested_ten_thousand_deep() {
    let all = Bystanders::start();
    let mut nested = Vec::new();
    for _ in 0..10_000 {
        nested.extend_from_slice(&[3, 0, 1, b'a']);
    }
    hostile_amf(&all, &nested);
    let mut arrays = Vec::new();
    for _ in 0..10_000 {
        arrays.extend_from_slice(&[0x0a, 0, 0, 0, 1]);
    }
    hostile_amf(&all, &arrays);
    all.check();
}

/// A strict array of 4,294,967,295 values in five bytes, and the like.
#[test]
fn amf_that_declares_what_never_comes() {
    let all = Bystanders::start();
    for value in [
        &[0x0a, 0xff, 0xff, 0xff, 0xff][..],
        &[0x08, 0xff, 0xff, 0xff, 0xff],
        &[0x0c, 0xff, 0xff, 0xff, 0xff],
        &[0x0f, 0xff, 0xff, 0xff, 0xff],
        &[0x02, 0xff, 0xff],
    ] {
        hostile_amf(&all, value);
        all.check_memory();
    }
    all.check();
}

/// Sends a value as the argument of a command before and after `connect`, and as metadata of a stream.
#[track_caller]
fn hostile_amf(all: &Bystanders, value: &[u8]) {
    let connect = [
        amf::encode(&[Amf::Text("connect"), Amf::Number(1.0)]),
        value.to_vec(),
    ]
    .concat();
    let mut first = Client::start(all.rtmp()).expect("the handshake");
    let _ = first.send(3, rtmp::COMMAND, 0, 0, &connect);
    let mut second = Client::connect(all.rtmp(), "live").expect("the server talks RTMP");
    let _ = second.send(3, rtmp::COMMAND, 0, 0, &connect);
    let mut third = Client::connect(all.rtmp(), "live").expect("the server talks RTMP");
    assert_eq!(
        third.publish("amf").expect("an answer"),
        "NetStream.Publish.Start"
    );
    let metadata = [
        amf::encode(&[Amf::Text("@setDataFrame"), Amf::Text("onMetaData")]),
        value.to_vec(),
    ]
    .concat();
    let _ = third.media(rtmp::DATA, 0, &metadata);
    // What is not answered by then is waited for by check().
    wait_for("the first is answered or dropped", PATIENCE, || {
        (first.is_closed() || !first.heard().is_empty()).then_some(())
    });
}

/// A request header a byte a second: pingora's own limit is for each read, so a header needs one of its own.
#[test]
fn a_header_a_byte_a_second() {
    let all = Bystanders::start();
    let head = b"GET /live/x.flv HTTP/1.1\r\nHost: localhost\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n";
    let took = drip(all.http(), head);
    assert!(took < TEN_SECONDS, "dropped after {took:?}");
    all.check();
}

/// The same for an RTMP handshake.
#[test]
fn a_handshake_a_byte_a_second() {
    let all = Bystanders::start();
    let mut hello = vec![3];
    hello.extend_from_slice(&[0; 100]);
    let took = drip(all.rtmp(), &hello);
    assert!(took < TEN_SECONDS, "dropped after {took:?}");
    all.check();
}

/// Writes a byte a second until the server closes the connection; how long that took.
#[track_caller]
fn drip(address: SocketAddr, bytes: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    let begin = Instant::now();
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() {
            return begin.elapsed();
        }
        stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .expect("a timeout");
        let second = Instant::now();
        match stream.read(&mut [0; 512]) {
            Ok(0) => return begin.elapsed(),
            // An answer such as 408 before the close.
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => return begin.elapsed(),
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(second.elapsed()));
    }
    panic!("{} bytes were taken, one a second", bytes.len());
}

/// Each step of an RTMP session has ten seconds: hello, connect, publish.
#[test]
fn silence_at_each_step() {
    let all = Bystanders::start();
    let begin = Instant::now();
    let silent = TcpStream::connect(all.rtmp()).expect("the server accepts");
    let greeted = rtmp::handshake(all.rtmp()).expect("the handshake");
    let connected = Client::connect(all.rtmp(), "live").expect("the server talks RTMP");
    until_closed(silent, TEN_SECONDS);
    until_closed(greeted, TEN_SECONDS);
    wait_for(
        "the one that never publishes is dropped",
        TEN_SECONDS,
        || connected.is_closed().then_some(()),
    );
    assert!(
        begin.elapsed() > Duration::from_secs(5),
        "not before its time: {:?}",
        begin.elapsed()
    );
    all.check();
}

/// Silence costs nothing: 300 connections that say nothing, at both ports.
#[test]
fn many_silent_connections() {
    let all = Bystanders::start();
    let idle: Vec<TcpStream> = (0..300)
        .map(|n| {
            TcpStream::connect(if n % 2 == 0 { all.rtmp() } else { all.http() })
                .expect("the server accepts")
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    // A few KB each for buffers.
    let grown = all.server.memory_kib().saturating_sub(all.memory);
    assert!(grown < 300 * 24, "300 silent connections cost {grown} KiB");
    drop(idle);
    all.check();
}

/// The header of a request is bounded, however fast it comes.
#[test]
fn an_endless_request_header() {
    let all = Bystanders::start();
    let mut stream = TcpStream::connect(all.http()).expect("the server accepts");
    stream
        .write_all(b"GET /live/x.flv HTTP/1.1\r\nHost: localhost\r\n")
        .expect("sent");
    let line = format!("X-{}: {}\r\n", "n".repeat(40), "v".repeat(900));
    let refused = (0..20_000).any(|_| stream.write_all(line.as_bytes()).is_err());
    assert!(refused, "20 MB of header were taken");
    all.check();
}

/// Nothing that a player sends after its request is kept.
#[test]
fn a_player_that_talks() {
    let all = Bystanders::start();
    let mut response = http::get(all.http(), "/live/x.flv");
    assert!(response.body.next().expect("a body").is_some());
    let mut socket = response.body.socket().try_clone().expect("a second handle");
    socket
        .set_write_timeout(Some(Duration::from_secs(2)))
        .expect("a timeout");
    let reader = std::thread::spawn(move || while matches!(response.body.next(), Ok(Some(_))) {});
    for _ in 0..200 {
        if socket.write_all(&[b'x'; 65_536]).is_err() {
            break;
        }
    }
    all.check_memory();
    let _ = socket.shutdown(std::net::Shutdown::Both);
    reader.join().expect("the reader ends");
    all.check();
}
