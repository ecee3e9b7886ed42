//! A Redis that is reached by TLS alone, and asks for a user and a password.

use std::path::Path;

use super::super::support::certs::Authority;
use super::super::support::feed::Feed;
use super::super::support::programs;
use super::super::support::redis::SecureRedis;
use super::super::support::server::{Server, command, write_config};
use super::super::support::{PATIENCE, wait_for};
use super::{plan, plays, wait_sent};

fn keys(name: &str, url: &str, ca: Option<&Path>) -> String {
    let ca = ca.map_or_else(String::new, |ca| format!(", tls_ca: {}", ca.display()));
    format!(
        "registry: {{ redis: \"{url}\", ttl: 2s, timeout: 500ms{ca} }}\nnode: {{ name: {name}, host: 127.0.0.1 }}\n"
    )
}

/// All that the API gives for the asking.
fn told(server: &Server) -> String {
    [
        "live/config",
        "live/nodes",
        "live/server",
        "summaries",
        "vhosts",
    ]
    .iter()
    .map(|path| {
        let url = format!("http://{}/api/v1/{path}", server.address("api"));
        let answer = programs::run(programs::curl().arg(&url), PATIENCE).success();
        assert!(answer.starts_with('{'), "{path}: {answer}");
        answer
    })
    .collect()
}

/// Two nodes find each other's streams; and nobody is told the password.
#[test]
fn a_registry_over_tls_with_a_password() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::make(folder.path());
    let certificate = authority.sign(folder.path(), "localhost");
    let redis = SecureRedis::start(&certificate);
    let url = |user: &str, password: &str| {
        format!("rediss://{user}:{password}@localhost:{}/0", redis.port)
    };
    let good = url(SecureRedis::USER, SecureRedis::PASSWORD);
    let a = Server::start(&keys("a", &good, Some(authority.cert())));
    // By what the system trusts.
    let trusted = authority.cert().display().to_string();
    let b = Server::start_with(
        &keys("b", &good, None),
        "grace_period_seconds: 2\n",
        &[],
        &[("SSL_CERT_FILE", &trusted)],
    );
    let _feed = Feed::start(&a, "live", "x", plan());
    wait_sent(&b, &a, "/live/x.flv");
    plays(&a, "/live/x.flv");
    for node in [&a, &b] {
        let shown = told(node) + &node.log();
        assert!(!shown.contains(SecureRedis::PASSWORD), "{shown}");
    }
    assert!(told(&a).contains("rediss://live:***@localhost"));

    // What is wrong is said: who it is signed by, the password, the user, the port.
    for (url, ca, said) in [
        (good.clone(), None, "UnknownIssuer"),
        (
            url(SecureRedis::USER, "open-barley"),
            Some(authority.cert()),
            "WRONGPASS",
        ),
        (
            url("nobody", SecureRedis::PASSWORD),
            Some(authority.cert()),
            "WRONGPASS",
        ),
        (
            format!("rediss://localhost:{}/0", redis.port),
            Some(authority.cert()),
            "NOAUTH",
        ),
        (
            good.replace("/0", "/99"),
            Some(authority.cert()),
            "out of range",
        ),
        (good.replace("rediss", "redis"), None, "cannot be reached"),
    ] {
        let node = Server::start(&keys("c", &url, ca));
        let line = node.wait_log(&["registry", said], PATIENCE);
        assert!(line.contains("streams of this node go on"), "{line}");
        let _feed = Feed::start(&node, "live", "y", plan());
        plays(&node, "/live/y.flv");
        let shown = told(&node) + &node.log();
        for secret in [SecureRedis::PASSWORD, "open-barley"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

/// The log says at once that there is another reason, not with the next reminder only.
#[test]
fn another_reason_is_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::make(folder.path());
    let certificate = authority.sign(folder.path(), "localhost");
    let port = super::super::support::proxies::free_port();
    let url = format!("rediss://live:open-barley@localhost:{port}/0");
    let node = Server::start(&keys("a", &url, Some(authority.cert())));
    node.wait_log(&["registry cannot be reached", "refused"], PATIENCE);
    let redis = SecureRedis::start_on(&certificate, port);
    let line = node.wait_log(&["WRONGPASS", "still away"], PATIENCE);
    assert!(!line.contains("open-barley"), "{line}");
    drop(redis);
}

/// `-t` and `--print-config` show no password either, nor does a mistake in the address.
#[test]
fn no_command_shows_the_password() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (url, status) in [
        ("rediss://live:open-sesame@r.example:6380/0", true),
        ("rediss://live:open-sesame@r.example:port/0", false),
    ] {
        let config = write_config(folder.path(), &keys("a", url, None), "");
        for argument in ["-t", "--print-config"] {
            let output = programs::run(command().arg(argument).arg("-c").arg(&config), PATIENCE);
            assert_eq!(output.status.success(), status, "{argument} {url}");
            let shown = String::from_utf8_lossy(&output.stdout).into_owned() + &output.stderr;
            assert!(!shown.contains("open-sesame"), "{shown}");
        }
    }
}

/// Nodes that reach each other over TLS alone, with certificates of an authority of their own: pulled and proxied with `tls_ca`, refused without.
#[test]
fn nodes_reach_each_other_over_tls() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::make(folder.path());
    let certificate = authority.sign(folder.path(), "localhost");
    let redis = super::Redis::start();
    let port = super::super::support::proxies::free_port();
    let a = Server::start(&format!(
        "registry: {{ redis: \"{}\" }}\n\
         node: {{ name: a, host: 127.0.0.1, inside: \"https://localhost:{port}\" }}\n\
         https: {{ listen: [\"127.0.0.1:{port}\"], certs: [{{ cert: {}, key: {} }}] }}\n",
        redis.url(),
        certificate.cert.display(),
        certificate.key.display(),
    ));
    let _feed = Feed::start(&a, "live", "x", plan());
    a.wait_stream("/live/x.flv");
    let trusted = format!(", tls_ca: {}", authority.cert().display());
    for how in ["pull", "proxy"] {
        let node = |ca: &str| {
            Server::start(&format!(
                "registry: {{ redis: \"{}\" }}\nnode: {{ name: b, host: 127.0.0.1 }}\n\
                 vhosts:\n  __defaultVhost__:\n    play: {{ wait: 3s }}\n    cluster: {{ on_elsewhere: {how}, stall: 1s{ca} }}\n",
                redis.url()
            ))
        };
        let b = node(&trusted);
        plays(&b, "/live/x.flv");
        drop(b);
        let b = node("");
        let status = || {
            let answer = super::http::request(b.address("http"), "GET", "/live/x.flv", &[]);
            answer.map_or(0, |answer| answer.status)
        };
        wait_for(&format!("{how} is refused"), PATIENCE, || {
            (status() == 502).then_some(())
        });
        // Which node, where it was looked for, and what is wrong.
        let address = format!("address=127.0.0.1:{port}");
        let at = format!("https://localhost:{port}");
        let (named, at) = match how {
            "pull" => ("", format!("origin={at}")),
            _ => (
                "a node cannot be reached: ",
                format!("node=\"a\" at=\"{at}\""),
            ),
        };
        let said = format!("{named}no TLS with localhost: invalid peer certificate: UnknownIssuer");
        let line = b.wait_log(&["WARN", &said], PATIENCE);
        for part in [&at, &address, "tls_ca can name who did", "live", "x"] {
            assert!(line.contains(part), "{how}: {part} in {line}");
        }
    }
}
