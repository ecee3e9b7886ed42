//! What `config/proxy.yaml` and `docs/proxy.md` show, as it stands there.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::support::backend::Backend;
use super::super::support::flv::VIDEO;
use super::super::support::http::get;
use super::super::support::player::Player;
use super::super::support::programs::run;
use super::super::support::server::{self, Server};
use super::super::support::{PATIENCE, wait_for};
use super::{feed, nginx_site};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file")
}

/// The value of a figure without labels.
fn metric(server: &Server, name: &str) -> u64 {
    let text = get(server.address("api"), "/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("no {name} in {text}"));
    value.trim().parse().expect("a number")
}

/// The file of the project but for ports: nginx as web site and HLS origin, two servers as the API.
#[test]
fn the_example_file_is_a_site_around_streams() {
    let (_nginx, port) = nginx_site(false);
    let first = Backend::saying("users");
    let second = Backend::saying("users");
    let mut text = read("config/proxy.yaml");
    for (from, to) in [
        ("127.0.0.1:3000", format!("127.0.0.1:{port}")),
        ("127.0.0.1:3001", first.address.to_string()),
        ("127.0.0.1:3002", second.address.to_string()),
        ("127.0.0.1:3003", format!("127.0.0.1:{port}")),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.yaml");
    fs::write(&file, text).expect("a file");
    let mut command = server::command();
    command
        .arg("-c")
        .arg(&file)
        .env("PINGORA_LIVE_RTMP_LISTEN", "127.0.0.1:0")
        .env("PINGORA_LIVE_HTTP_LISTEN", "127.0.0.1:0");
    let server = Server::spawn(command, folder);
    let address = server.address("http");
    let _feed = feed(&server);
    let player = Player::open(&server, "/live/x.flv");
    player.wait("pictures", PATIENCE, |flv| flv.frames(VIDEO).len() > 10);

    assert_eq!(get(address, "/").text(), "the site");
    let segment = get(address, "/hls/x-1.ts");
    assert_eq!(segment.header("access-control-allow-origin"), Some("*"));
    assert_eq!(segment.text().len(), 18_800);
    assert_eq!(get(address, "/api/users?a=1").text(), "users");
    let heads = [first.heads(), second.heads()].concat();
    assert_eq!(heads.len(), 1);
    assert_eq!(heads[0].line, "GET /users?a=1 HTTP/1.1");
    assert_eq!(heads[0].all("x-forwarded-prefix"), ["/api"]);
    // One server fewer is nobody's concern.
    drop(first);
    for _ in 0..4 {
        assert_eq!(get(address, "/api/users").text(), "users");
    }
    server.wait_log(&["the server fails its checks"], PATIENCE);
    // Nobody is left.
    drop(second);
    assert_eq!(get(address, "/api/users").status, 502);

    let counted = |name: &str| metric(&server, &format!("pingora_live_{name}_total "));
    assert_eq!(counted("proxied_requests"), 8);
    assert_eq!(counted("proxy_failures"), 1);
    assert!(counted("proxy_retries") >= 1);
    assert_eq!(counted("proxy_headers_refused"), 0);
    wait_for("the bytes of those that ended", PATIENCE, || {
        (counted("proxied_bytes") > 18_800).then_some(())
    });
}

/// The blocks of a language in a page.
fn samples(page: &str, language: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2);
    let of_language = blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    of_language.map(str::to_owned).collect()
}

/// Each program is asked whether it would take its samples.
#[test]
fn the_samples_of_the_page_are_good() {
    let page = read("docs/proxy.md");
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let write = |name: &str, text: &str| {
        let file = root.join(name);
        fs::write(&file, text).expect("a file");
        file
    };
    let ours = samples(&page, "yaml");
    assert!(ours.len() >= 6, "{ours:?}");
    for text in ours {
        let mut command = server::command();
        command.args(["-t", "-c"]).arg(write("live.yaml", &text));
        run(&mut command, PATIENCE).success();
    }
    let nginx = samples(&page, "nginx");
    assert_eq!(nginx.len(), 2);
    for text in nginx {
        let shown = root.display();
        let file = write(
            "nginx.conf",
            &format!(
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
                 pid {shown}/pid; error_log {shown}/error.log;\nevents {{ }}\n{text}"
            ),
        );
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-t").arg("-c").arg(file).arg("-p").arg(root);
        run(&mut command, PATIENCE).success();
    }
    let haproxy = samples(&page, "haproxy");
    assert_eq!(haproxy.len(), 2);
    for text in haproxy {
        let mut command = Command::new("/usr/sbin/haproxy");
        command.args(["-c", "-f"]).arg(write("haproxy.cfg", &text));
        run(&mut command, PATIENCE).success();
    }
}
