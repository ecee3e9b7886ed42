use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

fn folder() -> (TempDir, Files) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    for (path, text) in [
        ("outside.txt", "secret"),
        ("root/a.txt", "hello"),
        ("root/sub/index.html", "<p>"),
        ("root/sub/b c.flv", "FLV"),
        ("root/.hidden/x.txt", "x"),
        ("root/.htpasswd", "x"),
        ("root-beside/x.txt", "x"),
    ] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    fs::create_dir(root.join("empty")).expect("made");
    for (to, from) in [
        ("../outside.txt", "out.txt"),
        ("/etc", "etc"),
        ("../root-beside", "beside"),
        (".hidden", "seen"),
        ("a.txt", "link.txt"),
        ("sub", "sublink"),
        ("loop", "loop"),
        ("nowhere", "dangling"),
    ] {
        symlink(to, root.join(from)).expect("a link");
    }
    let files = Files::new(&root);
    (folder, files)
}

#[test]
fn what_is_found() {
    let (_folder, files) = folder();
    for (path, size, content_type) in [
        ("/a.txt", 5, "text/plain; charset=utf-8"),
        ("/sub/b%20c.flv", 3, "video/x-flv"),
        ("/sub/", 3, "text/html; charset=utf-8"),
        ("/link.txt", 5, "text/plain; charset=utf-8"),
        ("/sublink/b%20c.flv", 3, "video/x-flv"),
    ] {
        match files.find(path) {
            Find::File(found) => assert_eq!(
                (found.len(), found.content_type.as_str()),
                (size, content_type),
                "{path}"
            ),
            other => panic!("{path}: {other:?}"),
        }
    }
    assert!(matches!(files.find("/sub"), Find::Folder(to) if to == "/sub/"));
}

#[test]
fn what_is_not_found() {
    let (folder, files) = folder();
    let made = std::process::Command::new("mkfifo")
        .arg(folder.path().join("root/pipe"))
        .status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    for path in [
        "/",
        "/none",
        "/a.txt/",
        "/a.txt/x",
        "/empty",
        "/empty/",
        "/out.txt",
        "/etc/passwd",
        "/etc/",
        "/beside/x.txt",
        "/seen/x.txt",
        "/loop",
        "/loop/x",
        "/dangling",
        "/pipe",
    ] {
        assert!(
            matches!(files.find(path), Find::Missing),
            "{path}: {:?}",
            files.find(path)
        );
    }
    for path in [
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/sub/../../outside.txt",
        "/.hidden/x.txt",
        "/.htpasswd",
        "/a.txt%00",
    ] {
        assert!(
            matches!(files.find(path), Find::Bad(_)),
            "{path}: {:?}",
            files.find(path)
        );
    }
    let long = format!("/{}", "x".repeat(5000));
    assert!(matches!(files.find(&long), Find::Missing));
    assert!(matches!(
        Files::new(Path::new("/nowhere/at/all")).find("/a"),
        Find::Missing
    ));
}

#[test]
fn a_root_that_is_itself_a_link_is_one() {
    let (folder, _) = folder();
    let link = folder.path().join("current");
    symlink("root", &link).expect("a link");
    assert!(matches!(Files::new(&link).find("/a.txt"), Find::File(_)));
}

#[test]
fn types_by_ending() {
    for (name, expected) in [
        ("a.flv", "video/x-flv"),
        ("a.FLV", "video/x-flv"),
        ("a.mp4", "video/mp4"),
        ("a.ts", "video/mp2t"),
        ("a.m3u8", "application/vnd.apple.mpegurl"),
        ("a.html", "text/html; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.png", "image/png"),
        ("a.svg", "image/svg+xml"),
        ("a.wasm", "application/wasm"),
        ("a", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
    ] {
        assert_eq!(content_type(Path::new(name)), expected, "{name}");
    }
}

#[test]
fn a_body_in_pieces() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f");
    fs::write(&path, b"0123456789").expect("written");
    let cut = seek::Cut {
        head: bytes::Bytes::from_static(b"HEAD"),
        from: 6,
    };
    for (cut, whole) in [(None, &b"0123456789"[..]), (Some(cut), &b"HEAD6789"[..])] {
        for from in 0..=whole.len() {
            for to in from..=whole.len() {
                for most in 1..=whole.len() {
                    let file = File::open(&path).expect("the file");
                    let mut body = Body::new(file, cut.clone(), from as u64, (to - from) as u64);
                    let mut read = Vec::new();
                    while body.left() > 0 {
                        let piece = body.read(most).expect("bytes");
                        assert!(!piece.is_empty() && piece.len() <= most);
                        read.extend_from_slice(&piece);
                    }
                    assert_eq!(read, whole[from..to]);
                }
            }
        }
    }
    let mut body = Body::new(File::open(&path).expect("the file"), None, 0, 11);
    assert_eq!(
        body.read(64).expect_err("it is shorter").kind(),
        io::ErrorKind::UnexpectedEof
    );
}

#[test]
fn tags_tell_versions_apart() {
    let (folder, files) = folder();
    let tag = || match files.find("/a.txt") {
        Find::File(found) => found.validators().tag,
        other => panic!("{other:?}"),
    };
    let first = tag();
    assert_eq!(first, tag());
    assert!(first.starts_with('"') && first.ends_with('"') && !first.contains(','));
    fs::write(folder.path().join("root/a.txt"), "hello again").expect("written");
    assert_ne!(first, tag());
}

#[test]
fn recordings_are_listed_newest_first() {
    let (folder, files) = folder();
    let root = folder.path().join("root");
    let deep = root.join("live/x");
    fs::create_dir_all(&deep).expect("made");
    let now = SystemTime::now();
    for (name, age) in [
        ("old.flv", 300),
        ("new.MP4", 100),
        ("middle.flv", 200),
        ("other.txt", 0),
        (".hidden.flv", 0),
    ] {
        let path = deep.join(name);
        fs::write(&path, name).expect("written");
        let file = File::options().write(true).open(&path).expect("the file");
        file.set_modified(now - Duration::from_secs(age))
            .expect("a time");
    }
    let listing = files.list();
    let names: Vec<&str> = listing
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    // Links are not followed, so nothing comes twice.
    assert_eq!(
        names,
        [
            "sub/b c.flv",
            "live/x/new.MP4",
            "live/x/middle.flv",
            "live/x/old.flv"
        ]
    );
    assert_eq!(listing.files[0].url, "/sub/b%20c.flv");
    assert_eq!((listing.files[1].size, listing.truncated), (7, false));
    for number in 0..list::MAX_LISTED {
        fs::write(root.join(format!("{number}.flv")), "x").expect("written");
    }
    let listing = files.list();
    assert_eq!(
        (listing.files.len(), listing.truncated),
        (list::MAX_LISTED, true)
    );
    assert!(Files::new(Path::new("/nowhere")).list().files.is_empty());
}
