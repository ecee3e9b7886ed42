//! Servers that do not answer, are chosen, are checked; and what clients are told when there is none.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use super::super::support::backend::{Backend, say};
use super::super::support::certs;
use super::super::support::http::{get, request};
use super::super::support::server::Server;
use super::super::support::{PATIENCE, wait_for};
use crate::support::sockets::nobody;

fn proxy(upstream: &str) -> Server {
    Server::start(&format!(
        "upstreams:\n  web: {{ {upstream} }}\nroutes: [{{ upstream: web }}]\n"
    ))
}

fn quoted(addresses: &[SocketAddr]) -> String {
    let all: Vec<_> = addresses.iter().map(|a| format!("'{a}'")).collect();
    format!("servers: [{}]", all.join(", "))
}

/// Who answers each of some requests, by what they say.
fn answers(
    server: &Server,
    count: usize,
    path: impl Fn(usize) -> String,
) -> HashMap<String, usize> {
    let mut found = HashMap::new();
    for index in 0..count {
        let answer = get(server.address("http"), &path(index));
        assert_eq!(answer.status, 200);
        *found.entry(answer.text()).or_default() += 1;
    }
    found
}

#[test]
fn nobody_is_there() {
    let server = proxy(&quoted(&[nobody()]));
    let answer = request(
        server.address("http"),
        "GET",
        "/",
        &[("Origin", "http://a")],
    )
    .expect("an answer");
    assert_eq!(answer.status, 502);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.text(), "no server answers behind this address\n");
    server.wait_log(&["no server answers", "upstream=\"web\""], PATIENCE);
    server.wait_log(&["request proxied", "status=502", "no_answer"], PATIENCE);
    // A name that is none; and one that is.
    let server = proxy("servers: [nowhere.invalid:80], connect_timeout: 2s");
    assert_eq!(get(server.address("http"), "/").status, 502);
    server.wait_log(&["cannot be looked up", "nowhere.invalid:80"], PATIENCE);
    let web = Backend::saying("by name");
    let server = proxy(&format!(
        "servers: 'localhost:{}', retries: 3",
        web.address.port()
    ));
    assert_eq!(get(server.address("http"), "/").text(), "by name");
}

#[test]
fn nobody_answers_in_time() {
    // Accepted by the kernel, and by nobody else.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = silent.local_addr().expect("an address");
    let server = proxy(&format!("{}, read_timeout: 500ms", quoted(&[address])));
    let began = Instant::now();
    let answer = request(
        server.address("http"),
        "GET",
        "/",
        &[("Origin", "http://a")],
    )
    .expect("an answer");
    assert_eq!(answer.status, 504);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.text(), "the server behind did not answer in time\n");
    assert!(began.elapsed() < Duration::from_secs(10));
    // With TLS, there is not even a connection.
    let server = proxy(&format!(
        "{}, tls: on, connect_timeout: 500ms",
        quoted(&[address])
    ));
    assert_eq!(get(server.address("http"), "/").status, 504);
}

/// An answer that breaks off breaks off for the client too: nobody takes it for whole.
#[test]
fn what_breaks_off_is_not_whole() {
    let web = Backend::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    });
    let server = proxy(&quoted(&[web.address]));
    let mut answer = get(server.address("http"), "/");
    assert_eq!(answer.status, 200);
    let end = loop {
        match answer.body.next() {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err(), "{end:?}");
    server.wait_log(&["request proxied", "broke_off"], PATIENCE);
}

#[test]
fn the_next_server_is_tried() {
    let (a, b) = (Backend::saying("a"), Backend::saying("b"));
    let (dead, other) = (nobody(), nobody());
    let server = proxy(&format!(
        "{}, retries: 2, fail_timeout: 0",
        quoted(&[dead, a.address, other, b.address])
    ));
    let found = answers(&server, 20, |_| "/".to_owned());
    assert_eq!(found.values().sum::<usize>(), 20, "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
    // Nothing was sent to a server that is not there, so a POST may go to the next.
    let posted = request(
        server.address("http"),
        "POST",
        "/",
        &[("Content-Length", "0")],
    );
    assert_eq!(posted.expect("an answer").status, 200);
    server.wait_log(&["tried again", &dead.to_string()], PATIENCE);

    // One that failed is passed over for a while.
    let server = proxy(&format!("{}, fail_timeout: 1m", quoted(&[dead, a.address])));
    answers(&server, 10, |_| "/".to_owned());
    let tries = server
        .log()
        .lines()
        .filter(|line| line.contains("tried again"))
        .count();
    assert!(tries <= 1, "{tries}");
    // Without retries, who meets the dead one is told so.
    let server = proxy(&format!(
        "{}, retries: 0, fail_timeout: 0",
        quoted(&[dead, a.address])
    ));
    let mut statuses: Vec<u16> = (0..2)
        .map(|_| get(server.address("http"), "/").status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
}

/// A server that takes the request and says nothing: only what may be repeated is.
#[test]
fn what_was_sent_is_repeated_only_if_it_may_be() {
    let broken = Backend::start(|_, _| Ok(()));
    let good = Backend::saying("good");
    let server = proxy(&format!(
        "{}, fail_timeout: 0",
        quoted(&[broken.address, good.address])
    ));
    let found = answers(&server, 10, |_| "/".to_owned());
    assert_eq!(found["good"], 10);
    assert!(!broken.heads().is_empty());
    let mut statuses: Vec<u16> = (0..2)
        .map(|_| {
            let posted = request(
                server.address("http"),
                "POST",
                "/",
                &[("Content-Length", "0")],
            );
            posted.expect("an answer").status
        })
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
}

#[test]
fn servers_are_chosen() {
    let backends = ["a", "b", "c"].map(Backend::saying);
    let servers = quoted(&backends.each_ref().map(|b| b.address));
    let server = proxy(&servers);
    let found = answers(&server, 9, |_| "/".to_owned());
    assert_eq!(
        found,
        ["a", "b", "c"].map(|name| (name.to_owned(), 3)).into()
    );

    let server = proxy(&format!("{servers}, balance: hash"));
    for path in ["/1", "/2", "/3", "/4"] {
        assert_eq!(answers(&server, 4, |_| path.to_owned()).len(), 1, "{path}");
    }
    assert_eq!(answers(&server, 60, |i| format!("/{i}?x")).len(), 3);
    let server = proxy(&format!("{servers}, balance: hash, hash_by: client"));
    assert_eq!(answers(&server, 10, |i| format!("/{i}")).len(), 1);
}

/// The one with the fewest requests under way: of two, one is kept busy.
#[test]
fn least_conn() {
    let held = Arc::new(Barrier::new(5));
    let count = Arc::new(AtomicUsize::new(0));
    let backends: Vec<Backend> = (0..2)
        .map(|_| {
            let (held, count) = (Arc::clone(&held), Arc::clone(&count));
            Backend::start(move |head, stream| {
                if head.line.contains("/hold") {
                    count.fetch_add(1, Ordering::SeqCst);
                    held.wait();
                }
                say(stream, "ok")
            })
        })
        .collect();
    let servers = quoted(&[backends[0].address, backends[1].address]);
    let server = Arc::new(proxy(&format!("{servers}, balance: least_conn")));
    let holds: Vec<_> = (0..4)
        .map(|index| {
            let theirs = Arc::clone(&server);
            let hold = std::thread::spawn(move || get(theirs.address("http"), "/hold").status);
            wait_for("it is held", PATIENCE, || {
                (count.load(Ordering::SeqCst) == index + 1).then_some(())
            });
            hold
        })
        .collect();
    let busy: Vec<usize> = backends.iter().map(|b| b.heads().len()).collect();
    assert_eq!(busy, [2, 2]);
    held.wait();
    for hold in holds {
        assert_eq!(hold.join().expect("an answer"), 200);
    }
}

/// A dead server is taken out by its checks and comes back by them; nobody who asks meanwhile notices.
#[test]
fn health_checks() {
    for kind in ["tcp", "http"] {
        let stays = Backend::saying("stays");
        let goes = Backend::saying("goes");
        let address = goes.address;
        let server = proxy(&format!(
            "{}, retries: 0, fail_timeout: 0, health_check: {{ kind: {kind}, interval: 100ms, timeout: 1s, rise: 2 }}",
            quoted(&[stays.address, address])
        ));
        assert_eq!(answers(&server, 10, |_| "/".to_owned()).len(), 2);
        drop(goes);
        let gone = address.to_string();
        server.wait_log(&["is left out", &gone], PATIENCE);
        assert_eq!(answers(&server, 10, |_| "/".to_owned())["stays"], 10);
        let _back = Backend::on(address, |_, stream| say(stream, "goes"));
        server.wait_log(&["the server is back", &gone], PATIENCE);
        assert_eq!(answers(&server, 10, |_| "/".to_owned()).len(), 2);
    }
    // A server that answers, but not well.
    let sick = Backend::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 500 Sick\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    });
    let well = Backend::start(|head, stream| {
        let checked = head.all("user-agent") == ["pingora-live health check"];
        assert!(
            !checked || (head.line == "GET /up?now HTTP/1.1" && head.all("host") == ["up.example"]),
            "{head:?}"
        );
        say(stream, "well")
    });
    let server = proxy(&format!(
        "{}, health_check: {{ kind: http, path: '/up?now', host: up.example, interval: 100ms, fall: 1 }}",
        quoted(&[sick.address, well.address])
    ));
    server.wait_log(&["is left out", &sick.address.to_string()], PATIENCE);
    assert_eq!(answers(&server, 10, |_| "/".to_owned())["well"], 10);
    // When all are out, all are tried.
    drop(well);
    wait_for("both are out", PATIENCE, || {
        (server.log().matches("is left out").count() == 2).then_some(())
    });
    assert_eq!(get(server.address("http"), "/").status, 500);
}

/// A certificate counts as it should: by who signed it, and for which name.
#[test]
fn certificates_of_servers() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = certs::make_leaf(folder.path(), "behind.example");
    let behind = Server::start(&format!(
        "https: {{ listen: ['127.0.0.1:0'], certs: [{{ cert: {:?}, key: {:?} }}] }}\n",
        certificate.cert, certificate.key
    ));
    let servers = format!("servers: '{}', tls: on", behind.address("https"));
    let ca = format!("ca: {:?}", certificate.cert);
    for (more, status) in [
        // By its address, which the certificate has too.
        (ca.clone(), 200),
        (format!("{ca}, sni: behind.example"), 200),
        (format!("{ca}, sni: other.example"), 502),
        ("sni: behind.example".to_owned(), 502),
        ("sni: other.example, verify: off".to_owned(), 200),
    ] {
        let server = proxy(&format!("{servers}, {more}, health_check: {{ kind: tcp }}"));
        assert_eq!(get(server.address("http"), "/").status, status, "{more}");
    }
}
