//! TLS: HTTPS by HTTP/2 and HTTP/1, versions, certificates by name, and RTMPS.

mod handshakes;

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::http::{BRIEF, brief_feed, curl_to_the_end};
use super::support::certs::{self, Certificate};
use super::support::feed::{Feed, Plan};
use super::support::flv::{Flv, VIDEO};
use super::support::player::Player;
use super::support::programs::{self, FFMPEG_DEBIAN, Job, ffmpeg_current};
use super::support::server::Server;
use super::support::{PATIENCE, fixtures, wait_for};

struct Tls {
    server: Server,
    folder: TempDir,
    a: Certificate,
    b: Certificate,
}

fn start(more: &str) -> Tls {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let a = certs::make(folder.path(), "a.example");
    let b = certs::make(folder.path(), "b.example");
    let entry = |c: &Certificate, name: &str| {
        format!(
            "{{ cert: {:?}, key: {:?}, names: [{name}] }}",
            c.cert, c.key
        )
    };
    let live = format!(
        "https:\n  listen: [\"127.0.0.1:0\"]\n  certs:\n    - {}\n    - {}\n{more}\nrtmp:\n  listen: [\"127.0.0.1:0\"]\n  tls: {{ listen: [\"127.0.0.1:0\"], cert: {:?}, key: {:?} }}{BRIEF}",
        entry(&a, "a.example"),
        entry(&b, "b.example"),
        a.cert,
        a.key,
    );
    Tls {
        server: Server::start(&live),
        folder,
        a,
        b,
    }
}

impl Tls {
    /// Plays by curl under a name, trusting only one certificate.
    #[track_caller]
    fn curl(&self, name: &str, trusted: &Path, arguments: &[&str]) -> String {
        let port = self.server.address("https").port();
        let to = format!("{name}:443:127.0.0.1:{port}");
        let trusted = trusted.to_str().expect("a path in UTF-8");
        let mut all = vec!["--cacert", trusted, "--connect-to", &to];
        all.extend_from_slice(arguments);
        curl_to_the_end(
            &all,
            &format!("https://{name}/live/x.flv"),
            "%{http_version}",
        )
    }

    /// What a TLS client is shown that asks for a name: the subject's common name.
    fn subject(&self, name: &str) -> String {
        self.subject_at("https", name)
    }

    fn subject_at(&self, listener: &str, name: &str) -> String {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-connect",
            &self.server.address(listener).to_string(),
            "-servername",
            name,
        ]);
        let shown = programs::run(&mut command, PATIENCE).success();
        let subject = shown
            .lines()
            .find_map(|line| line.strip_prefix("subject="))
            .unwrap_or_default();
        subject
            .rsplit('=')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    }
}

#[test]
fn h2_by_alpn() {
    let tls = start("");
    let _feed = brief_feed(&tls.server);
    let told = tls.curl("a.example", &tls.a.cert, &["--http2"]);
    assert!(told.starts_with("2\n"), "{told}");
}

/// Several streams of one connection play side by side. (By TLS only: curl 7.88 cannot do that by prior knowledge.)
#[test]
fn h2_plays_side_by_side() {
    let tls = start("");
    let _feed = brief_feed(&tls.server);
    let mut command = programs::curl();
    command.args(["-k", "--http2", "--parallel", "--parallel-max", "8"]);
    for n in 0..8 {
        let url = format!("https://{}/live/x.flv", tls.server.address("https"));
        command
            .arg("-o")
            .arg(tls.folder.path().join(n.to_string()))
            .arg(url);
    }
    command.args(["-w", "connects %{num_connects}\n"]);
    let told = programs::run(&mut command, PATIENCE).success();
    assert_eq!(
        told.lines()
            .filter(|line| line.ends_with("connects 1"))
            .count(),
        1,
        "{told}"
    );
    assert_eq!(
        told.lines()
            .filter(|line| line.ends_with("connects 0"))
            .count(),
        7,
        "{told}"
    );
    for n in 0..8 {
        let flv = Flv::read(&std::fs::read(tls.folder.path().join(n.to_string())).expect("a body"))
            .expect("whole tags only");
        assert!(flv.frames(VIDEO).len() > 50);
    }
}

#[test]
fn http_1_1_by_tls_1_3() {
    let tls = start("");
    let _feed = brief_feed(&tls.server);
    let told = tls.curl("a.example", &tls.a.cert, &["--http1.1", "--tlsv1.3"]);
    assert!(told.starts_with("1.1\n"), "{told}");
    assert!(told.contains("transfer-encoding: chunked"), "{told}");
}

#[test]
fn http_1_1_by_tls_1_2() {
    let tls = start("");
    let _feed = brief_feed(&tls.server);
    let told = tls.curl("a.example", &tls.a.cert, &["--http1.1", "--tls-max", "1.2"]);
    assert!(told.starts_with("1.1\n"), "{told}");
}

#[test]
fn http_1_0_by_tls() {
    // By ALPN, curl's --http1.0 offers nothing but http/1.0.
    for (more, arguments) in [
        ("", &["--http1.0", "--no-alpn"][..]),
        ("", &["--http1.0"]),
        ("  http2: off", &["--http1.0"]),
    ] {
        let tls = start(more);
        let _feed = brief_feed(&tls.server);
        tls.curl("a.example", &tls.a.cert, arguments);
    }
}

#[test]
fn http2_off_leaves_http_1() {
    let tls = start("  http2: off");
    let _feed = brief_feed(&tls.server);
    let told = tls.curl("a.example", &tls.a.cert, &["--http2"]);
    assert!(told.starts_with("1.1\n"), "{told}");
}

#[test]
fn certificates_by_name() {
    let tls = start("");
    assert_eq!(tls.subject("a.example"), "a.example");
    assert_eq!(tls.subject("b.example"), "b.example");
    assert_eq!(
        tls.subject("other.example"),
        "a.example",
        "the first is the default"
    );
    let _feed = brief_feed(&tls.server);
    tls.curl("b.example", &tls.b.cert, &["--http2"]);
}

/// A renewed certificate is served after SIGHUP, and plays in progress go on.
#[test]
fn certificates_are_reloaded_on_sighup() {
    let mut tls = start("");
    let _feed = Feed::start(&tls.server, "live", "x", Plan::of(&fixtures::h264_aac()));
    tls.server.wait_stream("/live/x.flv");
    let player = Player::open(&tls.server, "/live/x.flv");
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    let renewed = certs::make(tls.folder.path(), "renewed.example");
    std::fs::copy(&renewed.key, &tls.b.key).expect("the key is replaced");
    std::fs::copy(&renewed.cert, &tls.b.cert).expect("the certificate is replaced");
    assert_eq!(
        tls.subject("b.example"),
        "b.example",
        "not before it is told"
    );
    tls.server.signal(libc::SIGHUP);
    wait_for("the renewed certificate is shown", PATIENCE, || {
        (tls.subject("b.example") == "renewed.example").then_some(())
    });

    // A broken file keeps the old one.
    std::fs::write(&tls.b.cert, "no certificate").expect("the certificate is spoilt");
    tls.server.signal(libc::SIGHUP);
    tls.server.wait_log(&["certificate"], PATIENCE);
    assert_eq!(tls.subject("b.example"), "renewed.example");
    player.wait_more(50, PATIENCE);
    assert!(tls.server.is_running());
}

/// The certificate of RTMPS is renewed: new connections are shown it, who publishes and plays goes on, and a file that is spoilt changes nothing.
#[test]
fn the_certificate_of_rtmps_is_reloaded() {
    let tls = start("");
    let mut publisher = publish_by_rtmps(FFMPEG_DEBIAN, &tls.server, "x");
    tls.server.wait_stream("/live/x.flv");
    let player = Player::open(&tls.server, "/live/x.flv");
    let url = format!("rtmps://{}/live/x", tls.server.address("rtmps"));
    let mut watcher = Command::new(FFMPEG_DEBIAN);
    watcher.args(["-hide_banner", "-loglevel", "error", "-tls_verify", "0"]);
    watcher.args(["-i", &url, "-c", "copy", "-f", "flv", "-"]);
    let mut watcher = Job::start(&mut watcher);
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    wait_for("it is played over RTMPS", PATIENCE, || {
        (watcher.stdout_bytes() > 10_000).then_some(())
    });
    assert_eq!(tls.subject_at("rtmps", "x.example"), "a.example");

    let renewed = certs::make(tls.folder.path(), "renewed.example");
    std::fs::copy(&renewed.key, &tls.a.key).expect("the key is replaced");
    std::fs::copy(&renewed.cert, &tls.a.cert).expect("the certificate is replaced");
    tls.server.signal(libc::SIGHUP);
    wait_for("the renewed certificate is shown", PATIENCE, || {
        (tls.subject_at("rtmps", "x.example") == "renewed.example").then_some(())
    });
    let heard = watcher.stdout_bytes();
    player.wait_more(100, PATIENCE);
    wait_for("it goes on over RTMPS", PATIENCE, || {
        (watcher.stdout_bytes() > heard + 10_000).then_some(())
    });
    let _second = publish_by_rtmps(FFMPEG_DEBIAN, &tls.server, "y");
    tls.server.wait_stream("/live/y.flv");

    std::fs::write(&tls.a.cert, "no certificate").expect("the certificate is spoilt");
    tls.server.signal(libc::SIGHUP);
    tls.server.wait_log(&["certificate", "a.example"], PATIENCE);
    assert_eq!(tls.subject_at("rtmps", "x.example"), "renewed.example");
    player.wait_more(50, PATIENCE);
    assert!(publisher.is_running() && watcher.is_running());
    let log = tls.server.log();
    let lines = |of: &str| log.lines().filter(|line| line.contains(of)).count();
    assert_eq!((lines("publish started"), lines("publish ended")), (2, 0));
}

/// ffmpeg, in a loop.
fn publish_by_rtmps(ffmpeg: &str, server: &Server, name: &str) -> Job {
    let url = format!("rtmps://{}/live/{name}", server.address("rtmps"));
    let mut command = Command::new(ffmpeg);
    command.args(["-hide_banner", "-loglevel", "warning", "-re"]);
    command
        .args(["-stream_loop", "-1", "-i"])
        .arg(fixtures::h264_aac());
    // A self-signed certificate; some builds of ffmpeg verify by default, and all know this option.
    command.args(["-c", "copy", "-f", "flv", "-tls_verify", "0", &url]);
    Job::start(&mut command)
}

#[test]
fn rtmps_by_ffmpeg() {
    for ffmpeg in [FFMPEG_DEBIAN, ffmpeg_current()] {
        let tls = start("");
        let _job = publish_by_rtmps(ffmpeg, &tls.server, "x");
        let player = wait_for("the stream", PATIENCE, || {
            let player = Player::open(&tls.server, "/live/x.flv");
            (player.wait_status(PATIENCE) == 200).then_some(player)
        });
        player.wait("two seconds", PATIENCE, |flv| flv.frames(VIDEO).len() > 50);
    }
}

/// Plain bytes at a TLS port do no harm.
#[test]
fn plain_text_at_the_tls_ports() {
    use std::io::{Read, Write};
    let tls = start("");
    for kind in ["https", "rtmps"] {
        let mut stream =
            std::net::TcpStream::connect(tls.server.address(kind)).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/"), "{kind}");
    }
    let _feed = brief_feed(&tls.server);
    tls.curl("a.example", &tls.a.cert, &["--http2"]);
}
