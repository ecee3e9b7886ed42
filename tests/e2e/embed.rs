//! The library in somebody else's proxy: `examples/embed.rs`, run as it stands.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::support::flv::VIDEO;
use super::support::player::Player;
use super::support::programs::{FFMPEG_DEBIAN, curl, run};
use super::support::{PATIENCE, fixtures, http, wait_for};

/// The example's process. Killed by its handle.
struct Example(Child);

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An upstream that answers every request with its path.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut byte = [0; 1];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.extend_from_slice(&byte),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&request);
    let body = format!(
        "upstream has {}",
        text.split_whitespace().nth(1).unwrap_or("-")
    );
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

/// A port that was free a moment ago: the example takes addresses and tells none.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// Where cargo puts examples: beside the folder of this test's own executable.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this executable");
    let deps = test.parent().expect("target/debug/deps");
    deps.parent()
        .expect("target/debug")
        .join("examples")
        .join(name)
}

#[test]
fn an_existing_proxy_plays_streams_and_its_other_paths_reach_the_upstream() {
    let (web, rtmp, upstream) = (free(), free(), upstream());
    let child = Command::new(example("embed"))
        .args([web.to_string(), rtmp.to_string(), upstream.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the example was built with the tests");
    let _example = Example(child);
    wait_for("both listeners", PATIENCE, || {
        (TcpStream::connect(web).is_ok() && TcpStream::connect(rtmp).is_ok()).then_some(())
    });

    let page = http::request(web, "GET", "/some/page?x=1", &[]).expect("an answer");
    assert_eq!(
        (page.status, page.text().as_str()),
        (200, "upstream has /some/page?x=1")
    );

    let mut publisher = Command::new(FFMPEG_DEBIAN)
        .args(["-v", "error", "-re", "-stream_loop", "-1", "-i"])
        .arg(fixtures::h264_aac())
        .args(["-c", "copy", "-f", "flv", &format!("rtmp://{rtmp}/live/x")])
        .stdin(Stdio::null())
        .spawn()
        .map(Example)
        .expect("ffmpeg");
    let player = Player::open_with(web, "/live/x.flv", &[], None);
    player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);

    // While it plays, the rest goes on; and over HTTP/1.1 with curl as well.
    let url = format!("http://{web}/live/x.html");
    let text = run(curl().arg(&url), PATIENCE).success();
    assert_eq!(text, "upstream has /live/x.html");
    publisher.0.kill().expect("ffmpeg runs");
}
