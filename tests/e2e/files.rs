//! Files below `http.root`: whole and in parts, from a keyframe on, beside live streams, to slow clients, in a browser; and what is not
//! to be had.

mod clients;
mod flv;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::support::http::{get, raw, request};
use super::support::programs::{curl, run};
use super::support::server::Server;
use super::support::{PATIENCE, certs, fixtures};

/// A folder with files, and a server that serves it.
struct Site {
    root: TempDir,
    server: Server,
}

/// Larger than all buffers between the server and a client together.
const LARGE: usize = 24 << 20;

impl Site {
    fn new() -> Site {
        Site::with("")
    }

    /// `more`: YAML for below `live:`.
    fn with(more: &str) -> Site {
        let root = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(root.path().join("vod")).expect("a folder");
        fs::copy(fixtures::h264_aac(), root.path().join("vod/film.flv")).expect("a recording");
        fs::write(root.path().join("digits.txt"), "0123456789").expect("a file");
        let server = Server::start(&format!(
            "http: {{ listen: [\"127.0.0.1:0\"], root: {:?} }}\n{more}",
            root.path()
        ));
        Site { root, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn film(&self) -> Vec<u8> {
        fs::read(self.path("vod/film.flv")).expect("the recording")
    }

    /// Bytes in which every place is different from those nearby.
    fn large(&self) -> Vec<u8> {
        let bytes: Vec<u8> = (0..LARGE / 4)
            .flat_map(|n| (n as u32).to_be_bytes())
            .collect();
        fs::write(self.path("large.bin"), &bytes).expect("a large file");
        bytes
    }
}

/// What curl got: the status, the header as text in lower case, and the body.
struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Got {
    #[track_caller]
    fn has(&self, line: &str) -> &Self {
        assert!(
            self.head.lines().any(|l| l.trim() == line),
            "{line:?} is not in\n{}",
            self.head
        );
        self
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .map(str::trim)
    }
}

#[track_caller]
fn fetch(url: &str, arguments: &[&str]) -> Got {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (head, body) = (folder.path().join("head"), folder.path().join("body"));
    let mut command = curl();
    command
        .args(["-w", "%{response_code}", "-D"])
        .arg(&head)
        .arg("-o")
        .arg(&body)
        .args(arguments)
        .arg(url);
    let status = run(&mut command, PATIENCE).success();
    Got {
        status: status.trim().parse().expect("a status"),
        head: fs::read_to_string(head).expect("a head").to_lowercase(),
        body: fs::read(body).unwrap_or_default(),
    }
}

const VERSIONS: [&str; 3] = ["--http1.0", "--http1.1", "--http2-prior-knowledge"];

#[test]
fn ranges_by_every_version_of_http() {
    let site = Site::new();
    let url = site.server.http("/digits.txt");
    for version in VERSIONS {
        let whole = fetch(&url, &[version]);
        assert_eq!(
            (whole.status, &whole.body[..]),
            (200, &b"0123456789"[..]),
            "{version}"
        );
        whole
            .has("content-type: text/plain; charset=utf-8")
            .has("content-length: 10")
            .has("accept-ranges: bytes");
        whole.has("x-content-type-options: nosniff");
        assert_eq!(whole.header("cache-control"), None);
        for (range, part, told) in [
            ("0-3", "0123", "0-3"),
            ("5-", "56789", "5-9"),
            ("-2", "89", "8-9"),
            ("8-500", "89", "8-9"),
        ] {
            let got = fetch(&url, &[version, "-r", range]);
            assert_eq!(
                (got.status, &got.body[..]),
                (206, part.as_bytes()),
                "{version} {range}"
            );
            got.has(&format!("content-range: bytes {told}/10"))
                .has(&format!("content-length: {}", part.len()));
        }
        let got = fetch(&url, &[version, "-r", "0-1,4-5"]);
        assert_eq!(
            (got.status, got.body.len()),
            (200, 10),
            "{version}: several ranges are the whole file"
        );
        let got = fetch(&url, &[version, "-r", "10-"]);
        assert_eq!(got.status, 416, "{version}");
        got.has("content-range: bytes */10");
        let head = fetch(&url, &[version, "-I"]);
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, Some("10")),
            "{version}"
        );
    }
}

#[test]
fn conditions_by_every_version_of_http() {
    let site = Site::new();
    let url = site.server.http("/digits.txt");
    for version in VERSIONS {
        let whole = fetch(&url, &[version]);
        let tag = whole.header("etag").expect("a tag").to_owned();
        // Lower case is what `fetch` gives; a date is compared as it came.
        let date = raw_date(&site);
        let ask = |headers: &[&str], range: Option<&str>| {
            let mut arguments = vec![version];
            for header in headers {
                arguments.extend(["-H", header]);
            }
            if let Some(range) = range {
                arguments.extend(["-r", range]);
            }
            let got = fetch(&url, &arguments);
            (got.status, got.body.len())
        };
        assert_eq!(
            ask(&[&format!("If-None-Match: {tag}")], None),
            (304, 0),
            "{version}"
        );
        assert_eq!(
            ask(&[&format!("If-None-Match: W/{tag}")], None),
            (304, 0),
            "{version}"
        );
        assert_eq!(
            ask(&["If-None-Match: \"other\""], None),
            (200, 10),
            "{version}"
        );
        assert_eq!(
            ask(&[&format!("If-Modified-Since: {date}")], None),
            (304, 0),
            "{version}"
        );
        assert_eq!(
            ask(&["If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"], None),
            (200, 10),
            "{version}"
        );
        assert_eq!(ask(&["If-Match: \"other\""], None).0, 412, "{version}");
        assert_eq!(
            ask(&[&format!("If-Range: {tag}")], Some("0-3")),
            (206, 4),
            "{version}"
        );
        assert_eq!(
            ask(&["If-Range: \"other\""], Some("0-3")),
            (200, 10),
            "{version}"
        );
    }
    // curl's own: it asks with the tag that it has stored, and with the time of the file that it has.
    let (tags, copy) = (site.path("tags"), site.path("copy"));
    for (turn, expected) in ["200", "304"].into_iter().enumerate() {
        let mut command = curl();
        command
            .arg("--etag-compare")
            .arg(&tags)
            .arg("--etag-save")
            .arg(&tags)
            .args(["-R", "-w", "%{response_code}", "-o"]);
        let status = run(command.arg(&copy).arg(&url), PATIENCE).success();
        assert_eq!(status, expected, "turn {turn}");
    }
    let mut command = curl();
    command
        .arg("-z")
        .arg(site.path("digits.txt"))
        .args(["-w", "%{response_code}", "-o", "/dev/null"])
        .arg(&url);
    assert_eq!(run(&mut command, PATIENCE).success(), "304");
}

fn raw_date(site: &Site) -> String {
    let head = request(site.server.address("http"), "HEAD", "/digits.txt", &[]).expect("an answer");
    head.header("last-modified").expect("a date").to_owned()
}

/// A download that broke off is taken up again, by curl's own means, and is the same in the end.
#[test]
fn a_large_file_by_every_way() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let certificate = certs::make(folder.path(), "localhost");
    let site = Site::with(&format!(
        "https: {{ listen: [\"127.0.0.1:0\"], certs: [{{ cert: {:?}, key: {:?} }}] }}",
        certificate.cert, certificate.key
    ));
    let large = site.large();
    let plain = site.server.http("/large.bin");
    let secure = format!("https://{}/large.bin", site.server.address("https"));
    for (url, arguments) in [
        (&plain, &["--http1.0"][..]),
        (&plain, &["--http1.1"][..]),
        (&plain, &["--http2-prior-knowledge"][..]),
        (&secure, &["-k", "--http1.1"][..]),
        (&secure, &["-k", "--http2"][..]),
    ] {
        let got = fetch(url, arguments);
        assert!(
            got.status == 200 && got.body == large,
            "{url} {arguments:?}: {} bytes",
            got.body.len()
        );
    }
    let half = site.path("half");
    fs::write(&half, &large[..1_234_567]).expect("a first half");
    run(
        curl().args(["-C", "-", "-o"]).arg(&half).arg(&plain),
        PATIENCE,
    )
    .success();
    assert!(fs::read(&half).expect("the file") == large);
    // What is told of it, and that a connection is kept.
    site.server.wait_log(
        &[
            "file sent",
            "path=\"/large.bin\"",
            "status=206",
            &format!("bytes={}", LARGE - 1_234_567),
            "complete",
        ],
        PATIENCE,
    );
    let mut command = curl();
    command.args([
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "-w",
        "%{num_connects} ",
        &plain,
        &plain,
    ]);
    assert_eq!(run(&mut command, PATIENCE).success(), "1 0 ");
}

#[test]
fn folders_and_the_player_page() {
    let site = Site::new();
    let http = site.server.address("http");
    assert!(get(http, "/").text().contains("pingora-live player"));
    for path in ["/vod", "/vod/", "/none", "/digits.txt/", "/digits.txt/x"] {
        assert_eq!(get(http, path).status, 404, "{path}");
    }
    fs::write(site.path("vod/index.html"), "films").expect("a page");
    let moved = get(http, "/vod?a=1");
    assert_eq!(
        (moved.status, moved.header("location")),
        (301, Some("/vod/?a=1"))
    );
    let films = get(http, "/vod/");
    assert_eq!(
        films.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(films.text(), "films");
    // A page of one's own is the first page; the player's scripts stay what they are.
    fs::write(site.path("index.html"), "my page").expect("a page");
    fs::create_dir(site.path("player")).expect("a folder");
    fs::write(site.path("player/player.js"), "mine").expect("a script");
    fs::write(site.path("player/mine.js"), "mine").expect("a script");
    assert_eq!(get(http, "/").text(), "my page");
    assert_ne!(get(http, "/player/player.js").text(), "mine");
    assert_eq!(get(http, "/player/mine.js").text(), "mine");
}

/// Nothing outside of the folder, and nothing hidden in it, whatever the path looks like.
#[test]
fn paths_that_lead_elsewhere() {
    let site = Site::new();
    let outside = tempfile::tempdir().expect("a temporary folder");
    fs::write(outside.path().join("secret.txt"), "secret").expect("a file");
    fs::write(outside.path().join("secret.flv"), "secret").expect("a file");
    symlink(outside.path(), site.path("link")).expect("a link");
    symlink(
        outside.path().join("secret.txt"),
        site.path("file-link.txt"),
    )
    .expect("a link");
    symlink("..", site.path("up")).expect("a link");
    fs::create_dir(site.path(".git")).expect("a folder");
    fs::write(site.path(".git/config"), "secret").expect("a file");
    fs::write(site.path(".htpasswd"), "secret").expect("a file");
    symlink(".git", site.path("git")).expect("a link");
    assert!(
        Command::new("mkfifo")
            .arg(site.path("pipe"))
            .status()
            .expect("mkfifo")
            .success()
    );
    let beside = outside
        .path()
        .file_name()
        .and_then(|n| n.to_str())
        .expect("a name");
    let mut paths: Vec<String> = [
        "/link/secret.txt",
        "/link/secret.flv",
        "/link/",
        "/file-link.txt",
        "/.git/config",
        "/%2egit/config",
        "/git/config",
        "/.htpasswd",
        "/vod/../.htpasswd",
        "/pipe",
        "/vod/film.flv/",
        "/vod//film.flv",
        "//vod/film.flv",
        "/./digits.txt",
        "/vod/./film.flv",
        "/digits.txt%00",
        "/digits.txt%00.flv",
        "/vod/film.flv%00",
        "/digits%2Etxt%2F",
        "/%64igits.txt%20",
        "/DIGITS.TXT",
        "/vod%2ffilm.flv",
        "/vod%5cfilm.flv",
        "/vod\\film.flv",
        "/%zz",
        "/%",
        "/%2",
        "/~root/x",
        "/vod/film.flv%0d%0aX: y",
    ]
    .map(str::to_owned)
    .to_vec();
    for up in [
        "..",
        "%2e%2e",
        "%2E.",
        ".%2e",
        "%252e%252e",
        "..%2f..",
        "..%5c..",
        "..\\..",
        "up",
        "%c0%ae%c0%ae",
        "..;",
    ] {
        for depth in 1..=6 {
            let climb = format!("{up}/").repeat(depth);
            for target in [
                format!("{beside}/secret.txt"),
                format!("{beside}/secret.flv"),
                "etc/passwd".to_owned(),
            ] {
                paths.push(format!("/{climb}{target}"));
                paths.push(format!("/vod/{climb}{target}"));
            }
        }
    }
    // Streams are not waited for here: those paths that a stream could have must be answered, too.
    let http = site.server.address("http");
    for path in &paths {
        for line in [
            format!("GET {path} HTTP/1.0\r\nUpgrade: none\r\n\r\n"),
            format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        ] {
            if line.starts_with("GET") && path.ends_with(".flv") {
                continue;
            }
            let head = line.starts_with("HEAD");
            let Ok(answer) = raw(http, line.as_bytes(), head) else {
                // Refused before it was an HTTP request at all.
                continue;
            };
            let status = answer.status;
            assert!(matches!(status, 400 | 404), "{path}: {status}");
            if !head {
                let text = answer.text();
                assert!(
                    !text.contains("secret") && !text.contains("root:"),
                    "{path}: {text}"
                );
            }
        }
    }
    // And by curl, which sends paths as they are when told to.
    for path in [
        "/../etc/passwd",
        "/vod/../../etc/passwd",
        "/link/secret.txt",
    ] {
        for version in VERSIONS {
            let got = fetch(&site.server.http(path), &[version, "--path-as-is"]);
            assert!(
                matches!(got.status, 400 | 404),
                "{version} {path}: {}",
                got.status
            );
        }
    }
    assert_eq!(get(http, "/%64igits%2Etxt").text(), "0123456789");
}

#[test]
fn methods_and_pages_of_other_origins() {
    let site = Site::new();
    let http = site.server.address("http");
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer =
            request(http, method, "/digits.txt", &[("Content-Length", "0")]).expect("an answer");
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("GET, HEAD, OPTIONS")),
            "{method}"
        );
    }
    assert_eq!(
        request(http, "DELETE", "/none", &[])
            .expect("an answer")
            .status,
        404
    );
    let origin = [("Origin", "https://a.example"), ("Range", "bytes=0-3")];
    let answer = request(http, "GET", "/digits.txt", &origin).expect("an answer");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (206, Some("*"))
    );
    let exposed = answer
        .header("access-control-expose-headers")
        .expect("a list");
    assert!(
        exposed.contains("Content-Range") && exposed.contains("ETag"),
        "{exposed}"
    );
    let asks = [
        ("Origin", "https://a.example"),
        ("Access-Control-Request-Headers", "range"),
    ];
    let answer = request(http, "OPTIONS", "/digits.txt", &asks).expect("an answer");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-headers")),
        (204, Some("range"))
    );
}

/// A vhost that is switched off has no files either.
#[test]
fn vhosts_that_are_off() {
    let site = Site::with("vhosts: { off.example: { enabled: off } }");
    let http = site.server.address("http");
    for (path, host, status) in [
        ("/digits.txt", "off.example", 404),
        ("/digits.txt?vhost=off.example", "other.example", 404),
        ("/vod/film.flv", "off.example", 404),
        ("/digits.txt", "other.example", 200),
    ] {
        let answer = request(http, "GET", path, &[("Host", host)]).expect("an answer");
        assert_eq!(answer.status, status, "{host}{path}");
    }
}

#[test]
fn the_list_of_recordings() {
    let plain = Server::start("");
    let none = get(plain.address("http"), "/player/files.json");
    assert_eq!(
        (none.status, none.text().as_str()),
        (200, "{\"files\":[],\"truncated\":false}")
    );
    let site = Site::new();
    fs::write(site.path("vod/ü b.mp4"), "x").expect("a file");
    let listing: Value =
        serde_json::from_str(&get(site.server.address("http"), "/player/files.json").text())
            .expect("JSON");
    let files = listing["files"].as_array().expect("a list");
    assert_eq!(files.len(), 2, "{listing}");
    for file in files {
        let url = file["url"].as_str().expect("an address");
        let head = request(site.server.address("http"), "HEAD", url, &[]).expect("an answer");
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, Some(file["size"].to_string().as_str())),
            "{url}"
        );
        assert!(
            file["mtime"].as_u64().is_some_and(|at| at > 1_700_000_000),
            "{file}"
        );
    }
    assert!(
        files
            .iter()
            .any(|file| file["name"] == "vod/ü b.mp4" && file["url"] == "/vod/%C3%BC%20b.mp4"),
        "{listing}"
    );
}
