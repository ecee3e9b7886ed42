//! The table of the limits: one address takes all that it can, and what it and another one see meanwhile, in each protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::probe::{Ask, PLAY, PUBLISH, Site};
use super::table::{Said, Wrong};
use crate::support::backend::{Backend, say};
use crate::support::feed::{Feed, Plan};
use crate::support::http;
use crate::support::player::Player;
use crate::support::server::Server;
use crate::support::{PATIENCE, fixtures, sockets, wait_for};

struct Limit {
    key: &'static str,
    /// Who takes the room.
    hold: Hold,
    play: Said,
    publish: Said,
    /// A file, and what is proxied.
    other: Said,
    /// What a client at another address is told meanwhile.
    others_play: Said,
    others_publish: Said,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Nobody,
    /// So many players at the address of the client.
    Players(usize),
    /// Requests at the address of the client, one after the other.
    Requests,
    /// Connections, likewise.
    Connections,
}

/// One address takes all that it can, and another is tried beside it.
#[track_caller]
fn check(limit: &Limit) {
    let mut wrong = Wrong::default();
    let upstream = Backend::start(|_, stream| say(stream, "from upstream"));
    let site = Site::start(&format!(
        "limits: {{ {} }}
upstreams: {{ web: {{ servers: '{}' }} }}
routes: [{{ path: /site, upstream: web }}]
vhosts: {{ __defaultVhost__: {{ play: {{ on_missing: 404 }} }} }}
",
        limit.key, upstream.address
    ));
    let server = &site.server;
    let _feed = Feed::start(server, "live", "x", Plan::of(&fixtures::h264_aac()));
    wait_for("the stream", PATIENCE, || {
        let head = http::request(server.address("http"), "HEAD", "/live/x.flv", &[]).ok()?;
        (head.status == 200).then_some(())
    });
    let greedy = Greedy::start(server, limit.hold);
    for (from, play, publish, other) in [
        ("127.0.0.2", limit.play, limit.publish, limit.other),
        (
            "127.0.0.3",
            limit.others_play,
            limit.others_publish,
            if limit.others_play == Said::TooMany {
                Said::NotNow
            } else {
                Said::Yes
            },
        ),
    ] {
        let probe = site.at(from);
        let what = format!("{} from {from}", limit.key);
        let mut check = |by: &str, expected: &str, seen: &(dyn Fn() -> String + '_)| {
            // A second has just begun, or the greedy one is late: seldom twice.
            let seen = (0..5)
                .map(|_| seen())
                .find(|seen| seen == expected)
                .unwrap_or_else(seen);
            wrong.check(&what, by, &seen, expected);
        };
        for by in PLAY {
            let said = match by {
                "file" => other,
                // HEAD takes no place from players.
                "head" if play == Said::NotNow => Said::Yes,
                _ => play,
            };
            check(by, said.to_player(by), &|| probe.play(by, named("x")));
        }
        for (n, by) in PUBLISH.into_iter().enumerate() {
            let stream = format!("p{n}-{from}");
            check(by, publish.to_publisher(by), &|| {
                probe.publish(by, named(&stream))
            });
        }
        check("a route", other.status(), &|| probe.route("/site"));
    }
    drop(greedy);
}

fn named(stream: &str) -> Ask<'_> {
    Ask {
        stream,
        ..Ask::default()
    }
}

#[test]
fn connections() {
    check(&Limit {
        key: "connections: 4",
        hold: Hold::Players(3),
        play: Said::TooMany,
        publish: Said::TooMany,
        other: Said::NotNow,
        others_play: Said::TooMany,
        others_publish: Said::TooMany,
    });
}

#[test]
fn connections_of_an_address() {
    check(&Limit {
        key: "connections_per_ip: 3",
        hold: Hold::Players(3),
        play: Said::TooMany,
        publish: Said::TooMany,
        other: Said::NotNow,
        others_play: Said::Yes,
        others_publish: Said::Yes,
    });
}

#[test]
fn players_of_a_stream() {
    check(&Limit {
        key: "players_per_stream: 3",
        hold: Hold::Players(3),
        play: Said::NotNow,
        publish: Said::Yes,
        other: Said::Yes,
        others_play: Said::NotNow,
        others_publish: Said::Yes,
    });
}

#[test]
fn streams() {
    check(&Limit {
        key: "streams: 1",
        hold: Hold::Nobody,
        play: Said::Yes,
        publish: Said::NotNow,
        other: Said::Yes,
        others_play: Said::Yes,
        others_publish: Said::NotNow,
    });
}

#[test]
fn requests_of_an_address_in_a_second() {
    check(&Limit {
        key: "request_rate_per_ip: 20",
        hold: Hold::Requests,
        play: Said::TooMany,
        publish: Said::TooMany,
        other: Said::NotNow,
        others_play: Said::Yes,
        others_publish: Said::Yes,
    });
}

#[test]
fn connections_of_an_address_in_a_second() {
    check(&Limit {
        key: "accept_rate_per_ip: 20",
        hold: Hold::Connections,
        play: Said::Closed,
        publish: Said::Closed,
        other: Said::Closed,
        others_play: Said::Yes,
        others_publish: Said::Yes,
    });
}

/// Who takes all that there is, until it is dropped.
struct Greedy {
    ends: Arc<AtomicBool>,
    _players: Vec<Player>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Greedy {
    fn start(server: &Server, hold: Hold) -> Greedy {
        let ends = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let mut players = Vec::new();
        let address = server.address("http");
        match hold {
            Hold::Nobody => {}
            Hold::Players(count) => {
                for _ in 0..count {
                    let player = Player::open_from("127.0.0.2", address, "/live/x.flv");
                    player.wait_more(2, PATIENCE);
                    players.push(player);
                }
            }
            Hold::Requests | Hold::Connections => {
                let theirs = Arc::clone(&ends);
                threads.push(std::thread::spawn(move || {
                    while !theirs.load(Ordering::Relaxed) {
                        hammer(address, hold, &theirs);
                    }
                }));
            }
        }
        Greedy {
            ends,
            _players: players,
            threads,
        }
    }
}

impl Drop for Greedy {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One connection; with requests on it for as long as it is answered.
fn hammer(address: SocketAddr, hold: Hold, ends: &AtomicBool) {
    use std::io::{Read, Write};
    let Ok(mut stream) = sockets::connect_from("127.0.0.2", address) else {
        return;
    };
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut answer = [0; 4096];
    while hold == Hold::Requests && !ends.load(Ordering::Relaxed) {
        let sent = stream.write_all(b"HEAD /live/x.flv HTTP/1.1\r\nHost: a.example\r\n\r\n");
        if sent.is_err() || !stream.read(&mut answer).is_ok_and(|read| read > 0) {
            return;
        }
    }
}
