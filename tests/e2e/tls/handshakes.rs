//! Handshakes that fail or are never finished: each is over in time, is told in the log, and is in nobody's way. And those of clients
//! that were here before.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};

use super::super::http::brief_feed;
use super::super::support::server::Server;
use super::super::support::{PATIENCE, http, programs, sockets, wait_for};
use super::start;

/// What a handshake has, and what a busy machine may add.
const HANDSHAKE: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_secs(16);

/// Of each kind at each listener.
const MANY: usize = 60;

/// The beginning of a record that holds a ClientHello of TLS 1.2 or 1.3 of 512 bytes.
const HELLO: [u8; 11] = [
    0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
];

fn connect(address: SocketAddr) -> TcpStream {
    let stream = sockets::connect_from("127.0.0.2", address).expect("the server accepts");
    stream.set_nonblocking(true).expect("a socket");
    stream
}

/// Whether the server has closed the connection.
fn is_closed(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(0) => true,
        // The alert before it.
        Ok(_) => false,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// How many handshakes were completed by the HTTP and the RTMP service, failed, and were late, by `/metrics`.
fn counted(server: &Server) -> [u64; 4] {
    let text = http::get(server.address("api"), "/metrics").text();
    let of = |sample: &str| {
        let name = format!("pingora_live_tls_handshakes_{sample} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.expect(sample).parse().expect("a number")
    };
    [
        of("total{service=\"http\"}"),
        of("total{service=\"rtmp\"}"),
        of("failed_total{reason=\"failed\"}"),
        of("failed_total{reason=\"late\"}"),
    ]
}

/// Some say nothing, some stop within their first words, and some go on with a byte a second.
#[test]
fn that_are_never_finished_end_in_time_and_keep_nobody_out() {
    let tls = start("");
    let began = Instant::now();
    let mut silent = Vec::new();
    let mut stopped = Vec::new();
    let mut slow = Vec::new();
    for listener in ["https", "rtmps"] {
        let address = tls.server.address(listener);
        for _ in 0..MANY {
            silent.push(connect(address));
            let stream = connect(address);
            (&stream).write_all(&HELLO).expect("sent");
            stopped.push(stream);
            slow.push(connect(address));
        }
    }
    // Others get in meanwhile.
    let _feed = brief_feed(&tls.server);
    let asked = Instant::now();
    let told = tls.curl("a.example", &tls.a.cert, &["--http2"]);
    assert!(told.starts_with("2\n"), "{told}");
    let waited = asked.elapsed();

    let mut open: Vec<&TcpStream> = silent.iter().chain(&stopped).chain(&slow).collect();
    let all = open.len();
    let mut next_byte = HELLO.iter().copied().chain(std::iter::repeat(0));
    let mut early = 0;
    while !open.is_empty() {
        assert!(
            began.elapsed() < LATE,
            "{} of {all} handshakes are still open (another client took {waited:?})",
            open.len()
        );
        let byte = [next_byte.next().expect("without end")];
        for mut stream in &slow {
            // To one that is closed, too.
            let _ = stream.write_all(&byte);
        }
        std::thread::sleep(Duration::from_secs(1));
        open.retain(|stream| !is_closed(stream));
        if began.elapsed() < HANDSHAKE - Duration::from_secs(1) {
            early = all - open.len();
        }
    }
    assert_eq!(early, 0, "each has its ten seconds");
    for listener in ["https", "rtmps"] {
        let line = tls.server.wait_log(
            &["TLS handshake failed", &format!("listener=\"{listener}\"")],
            PATIENCE,
        );
        for part in ["peer=\"127.0.0.2:", "not finished in 10 s"] {
            assert!(line.contains(part), "{line}");
        }
    }
    let log = tls.server.log();
    assert_eq!(log.matches("TLS handshake failed").count(), all);
    assert_eq!(counted(&tls.server), [1, 0, 0, all as u64]);
}

/// What the counters say of each: what is no TLS, a client that does not trust the certificate, one of another time, one that only looks, and
/// one for which all is well.
#[test]
fn that_fail_are_counted() {
    let tls = start("");
    assert_eq!(counted(&tls.server), [0; 4]);
    let mut failed = 0;
    for listener in ["https", "rtmps"] {
        let address = tls.server.address(listener);
        drop(TcpStream::connect(address).expect("the server accepts"));
        let mut plain = TcpStream::connect(address).expect("the server accepts");
        plain.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // RTMP's first byte, and a request.
        let said = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(), &[3; 1537]];
        plain
            .write_all(said[usize::from(listener == "rtmps")])
            .expect("sent");
        let _ = plain.read_to_end(&mut Vec::new());
        failed += 1;

        let with = |arguments: &[&str]| {
            let mut command = Command::new("openssl");
            let address = address.to_string();
            command
                .args(["s_client", "-connect", &address])
                .args(arguments);
            programs::run(&mut command, PATIENCE).status.success()
        };
        for version in ["-tls1_2", "-tls1_3"] {
            let b = tls.b.cert.to_str().expect("a path in UTF-8");
            assert!(!with(&[version, "-verify_return_error", "-CAfile", b]));
            failed += 1;
        }
        assert!(!with(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]));
        failed += 1;
        wait_for("they are counted", PATIENCE, || {
            (counted(&tls.server)[2] == failed).then_some(())
        });
        assert!(with(&[]));
    }
    wait_for("those that were completed are counted", PATIENCE, || {
        (counted(&tls.server) == [1, 1, failed, 0]).then_some(())
    });
    for why in ["UnknownCA", "InvalidContentType"] {
        for listener in ["https", "rtmps"] {
            let listener = format!("listener=\"{listener}\"");
            tls.server
                .wait_log(&["TLS handshake failed", &listener, why], PATIENCE);
        }
    }
}

/// One address has as many handshakes under way as `connections_per_ip` says, and others notice nothing of it.
#[test]
fn of_one_address_have_a_bound() {
    let tls = start("limits: { connections_per_ip: 5 }");
    let address = tls.server.address("https");
    let open = || -> Vec<TcpStream> { (0..6).map(|_| connect(address)).collect() };
    let closed = |all: &[TcpStream]| all.iter().filter(|stream| is_closed(stream)).count();
    let held = open();
    wait_for("one too many is closed", PATIENCE, || {
        (closed(&held) == 1).then_some(())
    });
    let line = tls
        .server
        .wait_log(&["connection refused", "peer=127.0.0.2:"], PATIENCE);
    assert!(line.contains("5 connections"), "{line}");
    let _feed = brief_feed(&tls.server);
    let told = tls.curl("a.example", &tls.a.cert, &["--http2"]);
    assert!(told.starts_with("2\n"), "{told}");
    drop(held);
    // Their places are given back: as many come in again.
    wait_for("there is room", PATIENCE, || {
        let again = open();
        std::thread::sleep(Duration::from_millis(500));
        (closed(&again) == 1).then_some(())
    });
}

/// What is no TLS is told apart from what is too slow; who only looks whether the port is open leaves no line.
#[test]
fn that_fail_leave_a_line_with_the_reason() {
    let tls = start("");
    let address = tls.server.address("https");
    drop(TcpStream::connect(address).expect("the server accepts"));
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let line = tls.server.wait_log(&["TLS handshake failed"], PATIENCE);
    let peer = stream.local_addr().expect("an address").to_string();
    assert!(line.contains(&peer), "{line}");
    assert!(!line.contains("not finished"), "{line}");
    assert_eq!(tls.server.log().matches("TLS handshake failed").count(), 1);
}

/// More sessions than any table of a server holds for long.
const OTHERS: usize = 600;

/// A client's settings; it remembers sessions if it is told to.
fn client(version: &'static SupportedProtocolVersion, remembers: bool) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.resumption = match remembers {
        true => {
            Resumption::in_memory_sessions(16).tls12_resumption(Tls12Resumption::SessionIdOrTickets)
        }
        false => Resumption::disabled(),
    };
    Arc::new(config)
}

/// Asks for what is not there, and reads the answer, with which tickets come.
fn ask(address: SocketAddr, config: &Arc<ClientConfig>) -> HandshakeKind {
    let name = ServerName::try_from("a.example").expect("a name");
    let session = ClientConnection::new(Arc::clone(config), name).expect("a session");
    let socket = TcpStream::connect(address).expect("the server accepts");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut stream = StreamOwned::new(session, socket);
    stream
        .write_all(b"HEAD /nowhere HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 "), "an answer");
    stream.conn.handshake_kind().expect("a handshake")
}

/// A crowd of others comes in between, as when players reconnect after an outage.
#[test]
fn of_clients_that_come_back_are_half_ones() {
    let tls = start("");
    let address = tls.server.address("https");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let back = client(version, true);
        assert_eq!(ask(address, &back), HandshakeKind::Full);
        let other = client(version, false);
        for _ in 0..OTHERS {
            assert_eq!(ask(address, &other), HandshakeKind::Full);
        }
        assert_eq!(ask(address, &back), HandshakeKind::Resumed, "{version:?}");
    }
}

/// Whom it talks to is no question here.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
