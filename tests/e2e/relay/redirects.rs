//! RTMP's redirect, as SRS and Flash Media Server say it: followed by pulls and pushes, over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::super::support::amf::{self, Amf};
use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::VIDEO;
use super::super::support::player::Player;
use super::super::support::redis::Redis;
use super::super::support::rtmp::{COMMAND, message};
use super::super::support::server::Server;
use super::super::support::{PATIENCE, fixtures, http, wait_for};
use super::{edge_of, lines, rtmp_of};

/// How a server says where the stream is.
#[derive(Clone, Copy)]
enum How {
    /// onStatus in answer to `play`, with the whole address in `redirect2`, as a node of ours says it.
    Status,
    /// SRS 7: the same, but the play is accepted before.
    Accepted,
    /// The same for whoever has `token=good`; it closes the connection of the others, as SRS does when a callback refuses them.
    Judged,
    /// Flash Media Server: `_error`, in answer to `connect`; only the application.
    Error,
}

/// A server that has no stream and knows who has.
struct Pointing {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Pointing {
    fn start(how: How, to: impl FnOnce(SocketAddr) -> String + Send + 'static) -> Pointing {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let to = to(address);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let to = to.clone();
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || point(socket, how, &to));
            }
        });
        Pointing { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Handshake, and answers to whatever comes: with the simple digest-less one, and to commands by their order.
fn point(mut socket: TcpStream, how: How, to: &str) -> Option<()> {
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut hello = [0; 1 + 1536];
    socket.read_exact(&mut hello).ok()?;
    let mut answer = vec![3];
    answer.extend_from_slice(&[7; 1536]);
    answer.extend_from_slice(&hello[1..]);
    socket.write_all(&answer).ok()?;
    socket.read_exact(&mut [0; 1536]).ok()?;
    let say = |values: &[Amf<'_>], socket: &mut TcpStream| {
        let bytes = message(3, COMMAND, 0, 0, &amf::encode(values));
        // The chunk size is 128 until it is said otherwise.
        let mut out = message(2, 1, 0, 0, &65_536_u32.to_be_bytes());
        out.extend_from_slice(&bytes);
        socket.write_all(&out).ok()
    };
    let rejected = |ex: Vec<(&'static str, Amf<'static>)>| {
        let mut info = vec![
            ("level", Amf::Text("error")),
            ("code", Amf::Text("NetConnection.Connect.Rejected")),
            ("description", Amf::Text("RTMP 302 Redirect")),
        ];
        let mut all = vec![("code", Amf::Number(302.0))];
        all.extend(ex);
        info.push(("ex", Amf::Object(all)));
        Amf::Object(info)
    };
    // The tests end before these texts matter.
    let to: &'static str = Box::leak(to.to_owned().into_boxed_str());
    let mut came = Vec::new();
    let mut piece = [0; 4096];
    let mut heard = |name: &str, socket: &mut TcpStream| -> Option<Vec<u8>> {
        loop {
            if came.windows(name.len()).any(|part| part == name.as_bytes()) {
                return Some(came.clone());
            }
            match socket.read(&mut piece).ok()? {
                0 => return None,
                length => came.extend_from_slice(&piece[..length]),
            }
        }
    };
    heard("tcUrl", &mut socket)?;
    match how {
        How::Error => say(
            &[
                Amf::Text("_error"),
                Amf::Number(1.0),
                Amf::Null,
                rejected(vec![("redirect", Amf::Text(to))]),
            ],
            &mut socket,
        )?,
        How::Status | How::Accepted | How::Judged => {
            say(
                &[
                    Amf::Text("_result"),
                    Amf::Number(1.0),
                    Amf::Null,
                    Amf::Object(vec![("code", Amf::Text("NetConnection.Connect.Success"))]),
                ],
                &mut socket,
            )?;
            heard("createStream", &mut socket)?;
            say(
                &[
                    Amf::Text("_result"),
                    Amf::Number(4.0),
                    Amf::Null,
                    Amf::Number(1.0),
                ],
                &mut socket,
            )?;
            // Where the token stands, and a command that SRS does not wait for (SetBufferLength, user control event 3).
            heard("play", &mut socket)?;
            let came = heard("\0\u{3}\0\0\0\u{1}", &mut socket)?;
            if !matches!(how, How::Status) {
                let start = vec![
                    ("level", Amf::Text("status")),
                    ("code", Amf::Text("NetStream.Play.Start")),
                ];
                let values = [
                    Amf::Text("onStatus"),
                    Amf::Number(0.0),
                    Amf::Null,
                    Amf::Object(start),
                ];
                say(&values, &mut socket)?;
                // SRS asks its coworkers or its callbacks.
                std::thread::sleep(Duration::from_millis(100));
            }
            let good = came.windows(10).any(|part| part == b"token=good");
            if matches!(how, How::Judged) && !good {
                return None;
            }
            say(
                &[
                    Amf::Text("onStatus"),
                    Amf::Number(0.0),
                    Amf::Null,
                    rejected(vec![
                        ("redirect", Amf::Text("rtmp://127.0.0.1:9/live")),
                        ("redirect2", Amf::Text(to)),
                    ]),
                ],
                &mut socket,
            )?;
        }
    }
    // It waits for the client to go.
    while socket.read(&mut piece).is_ok_and(|length| length > 0) {}
    Some(())
}

/// Pulls follow, whichever way it is said; the token goes along.
#[test]
fn a_pull_follows() {
    let origin = Server::start("");
    let _feed = Feed::start(&origin, "live", "x", Plan::of(&fixtures::h264_aac()));
    let whole = format!("rtmp://{}/live/x?token=from-there", rtmp_of(&origin));
    let app = format!("rtmp://{}/live", rtmp_of(&origin));
    let ways = [
        (How::Status, whole.clone()),
        (How::Accepted, whole),
        (How::Error, app),
    ];
    let count = ways.len();
    for (how, to) in ways {
        let pointing = Pointing::start(how, move |_| to);
        let edge = Server::start(&edge_of(&[pointing.address.to_string()], "idle: 0s"));
        let player = Player::open(&edge, "/live/x.flv?token=secret");
        player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
        assert_eq!(pointing.asked(), 1);
        assert!(!edge.log().contains("token="), "tokens stay out of the log");
    }
    wait_for("the pulls were by RTMP", PATIENCE, || {
        (lines(&origin, &["play ended", "protocol=\"rtmp\""]) == count).then_some(())
    });
}

/// SRS accepts each play before its callbacks are asked, and only then closes the connection: with `token_traverse`, that is not let in.
#[test]
fn who_is_accepted_and_turned_away_does_not_play() {
    let origin = Server::start("");
    let _feed = Feed::start(&origin, "live", "x", Plan::of(&fixtures::h264_aac()));
    let whole = format!("rtmp://{}/live/x", rtmp_of(&origin));
    let rtmp = Pointing::start(How::Judged, move |_| whole);
    let http = judging_http(format!("http://{}/live/x.flv", origin.address("http")));
    for judging in [rtmp.address.to_string(), format!("http://{http}")] {
        let edge = Server::start(&edge_of(&[judging], "token_traverse: on"));
        let status =
            |query: &str| http::get(edge.address("http"), &format!("/live/x.flv?{query}")).status;
        assert_eq!(status("token=bad"), 403);
        let player = Player::open(&edge, "/live/x.flv?token=good");
        player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
        assert_eq!(status("token=bad"), 403);
        assert_eq!(status("token=good"), 200);
    }
}

/// Over HTTP, SRS closes the connection of whom it refuses without an answer.
fn judging_http(to: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut came = Vec::new();
            let mut piece = [0; 4096];
            while !came.windows(4).any(|part| part == b"\r\n\r\n") {
                match socket.read(&mut piece) {
                    Ok(length) if length > 0 => came.extend_from_slice(&piece[..length]),
                    _ => break,
                }
            }
            if came.windows(10).any(|part| part == b"token=good") {
                let found =
                    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
                // One that has left needs no answer.
                let _ = socket.write_all(found.as_bytes());
            }
        }
    });
    address
}

/// A server that points to itself: followed three times, and players are told.
#[test]
fn redirects_in_a_circle_end() {
    let pointing = Pointing::start(How::Status, |address| format!("rtmp://{address}/live/x"));
    let edge = Server::start(&format!(
        "{}    play: {{ wait: 1s }}\n",
        edge_of(&[pointing.address.to_string()], "stall: 1s, retry: 60s")
    ));
    let since = Instant::now();
    assert_eq!(http::get(edge.address("http"), "/live/x.flv").status, 502);
    assert!(since.elapsed() < Duration::from_secs(5));
    edge.wait_log(&["more than 3 redirects"], PATIENCE);
    // Four connections a try, and pauses that grow: 100, 200, 400 ms or so.
    let asked = pointing.asked();
    assert!((4..=40).contains(&asked), "{asked} connections");
}

/// A pushed stream goes where the server points.
#[test]
fn a_push_follows() {
    let target = Server::start("");
    let to = format!("rtmp://{}/live", rtmp_of(&target));
    let pointing = Pointing::start(How::Error, move |_| to);
    let server = Server::start(&format!(
        "vhosts:\n  __defaultVhost__:\n    forward: {{ enabled: on, destination: \"{}\" }}\n",
        pointing.address
    ));
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let player = Player::open(&target, "/live/x.flv");
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
}

/// An edge of a node that shares a registry, and that sends players on: the pull follows to the node that has the stream.
#[test]
fn a_pull_follows_the_nodes_of_a_registry() {
    let redis = Redis::start();
    let node = |name: &str| {
        Server::start(&format!(
            "registry: {{ redis: \"{}\" }}\nnode: {{ name: {name}, host: 127.0.0.1 }}\n",
            redis.url()
        ))
    };
    let (a, b) = (node("a"), node("b"));
    let _feed = Feed::start(&a, "live", "x", Plan::of(&fixtures::h264_aac()));
    wait_for("b knows", PATIENCE, || {
        let answer = http::request(b.address("http"), "HEAD", "/live/x.flv", &[]).ok()?;
        (answer.status == 302).then_some(())
    });
    for (address, protocol) in [
        (rtmp_of(&b), "rtmp"),
        (b.address("http").to_string(), "flv"),
    ] {
        let edge = Server::start(&edge_of(&[address], &format!("protocol: {protocol}")));
        let player = Player::open(&edge, "/live/x.flv");
        player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 25);
    }
    assert_eq!(lines(&b, &["a player goes elsewhere", "redirect"]), 2);
}
