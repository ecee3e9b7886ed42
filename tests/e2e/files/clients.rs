//! Clients of files that take little, nothing, or leave; and what that costs the server.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::super::support::http::get;
use super::super::support::programs::{curl, run};
use super::super::support::{PATIENCE, wait_for};
use super::{LARGE, Site};

/// Sends a request and gives the connection, of whose answer nothing was read, with a receive buffer of fixed size.
fn ask(site: &Site, path: &str) -> TcpStream {
    ask_with(site, path, 128 * 1024)
}

fn ask_with(site: &Site, path: &str, receive: usize) -> TcpStream {
    let address = site.server.address("http");
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(receive).expect("a buffer");
    // As on a real network: the segments of the loopback, of 64 KB, make acknowledgements rare.
    socket.set_tcp_mss(1400).expect("a segment size");
    socket.connect(&address.into()).expect("a connection");
    let mut stream = TcpStream::from(socket);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("a request");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

#[test]
fn a_client_that_reads_nothing_is_ended() {
    let site = Site::with("limits: { player_stall: 2s }");
    site.large();
    let (memory, descriptors) = (site.server.memory_kib(), site.server.descriptors());
    let idle: Vec<TcpStream> = (0..10).map(|_| ask(&site, "/large.bin")).collect();
    site.server.wait_connections("http", 10);
    let begin = Instant::now();
    wait_for("they are ended", PATIENCE, || {
        (site.server.log().matches("reason=\"stalled\"").count() >= 10).then_some(())
    });
    let took = begin.elapsed();
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(6)).contains(&took),
        "{took:?}"
    );
    let grown = site.server.memory_kib().saturating_sub(memory);
    assert!(grown < 16 * 1024, "{grown} KiB for ten clients");
    wait_for("their files are closed", PATIENCE, || {
        (site.server.descriptors() <= descriptors + 2).then_some(())
    });
    drop(idle);
}

/// It takes little, but it takes something: 40 KB a second, so that the kernel's buffer has room again only after more than the stall time.
#[test]
fn a_slow_client_gets_it_all() {
    const SIZE: usize = 1_000_000;
    let site = Site::with("limits: { player_stall: 4s }");
    let large = site.large();
    fs::write(site.path("large.bin"), &large[..SIZE]).expect("a file");
    // A client's kernel tells of room only when much of its buffer is free: with a large one, a slow reader is silent for long.
    let mut stream = ask_with(&site, "/large.bin", 16 * 1024);
    let (mut answer, mut piece) = (Vec::new(), vec![0; 4_000]);
    let begin = Instant::now();
    while !site.server.log().contains("reason=\"complete\"") {
        std::thread::sleep(Duration::from_millis(100));
        match stream.read(&mut piece).expect("bytes") {
            0 => break,
            count => answer.extend_from_slice(&piece[..count]),
        }
    }
    assert!(begin.elapsed() > Duration::from_secs(5), "it was slow");
    // The rest is in the kernel already.
    let head = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a header")
        + 4;
    let mut rest = vec![0; head + SIZE - answer.len()];
    stream.read_exact(&mut rest).expect("bytes");
    answer.extend_from_slice(&rest);
    assert!(answer[head..] == large[..SIZE]);
}

#[test]
fn a_client_that_leaves_is_noticed() {
    let site = Site::with("limits: { player_stall: 60s }");
    site.large();
    let descriptors = site.server.descriptors();
    let mut stream = ask(&site, "/large.bin");
    stream.read_exact(&mut [0; 1000]).expect("bytes");
    drop(stream);
    site.server.wait_log(
        &["file sent", "large.bin", "client_left"],
        Duration::from_secs(5),
    );
    let mut command = curl();
    command
        .args([
            "--http2-prior-knowledge",
            "--limit-rate",
            "100k",
            "-m",
            "1",
            "-o",
            "/dev/null",
        ])
        .arg(site.server.http("/large.bin"));
    assert_eq!(run(&mut command, PATIENCE).status.code(), Some(28));
    wait_for("both lines", PATIENCE, || {
        (site.server.log().matches("client_left").count() >= 2).then_some(())
    });
    wait_for("their files are closed", PATIENCE, || {
        (site.server.descriptors() <= descriptors + 2).then_some(())
    });
}

/// The length was promised: a file that becomes shorter must not look whole.
#[test]
fn a_file_that_shrinks_while_it_is_sent() {
    let site = Site::new();
    site.large();
    let mut stream = ask(&site, "/large.bin");
    stream.read_exact(&mut [0; 1000]).expect("bytes");
    fs::File::options()
        .write(true)
        .open(site.path("large.bin"))
        .and_then(|f| f.set_len(1000))
        .expect("it shrinks");
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest);
    assert!(rest.len() < LARGE, "{end:?}");
    site.server.wait_log(&["file sent", "unreadable"], PATIENCE);
}

#[test]
fn those_who_read_files_count() {
    let site = Site::with("limits: { connections: 1, player_stall: 30s }");
    site.large();
    let first = ask(&site, "/large.bin");
    site.server.wait_connections("http", 1);
    let http = site.server.address("http");
    wait_for("the limit", PATIENCE, || {
        let answer = get(http, "/digits.txt");
        (answer.status == 503 && answer.header("retry-after").is_some()).then_some(())
    });
    drop(first);
    wait_for("its place", PATIENCE, || {
        (get(http, "/digits.txt").status == 200).then_some(())
    });
}
