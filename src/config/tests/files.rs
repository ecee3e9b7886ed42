//! The files of the project, and files that are not as they should be.

use std::time::Duration;

use super::{Folder, default_vhost, load, project, read};
use crate::config::{Config, DvrPlan, Extension, Mount, OnMissing};

fn load_file(path: &str) -> Config {
    Config::load(Some(&project(path)), std::iter::empty())
        .unwrap_or_else(|errors| panic!("{errors}"))
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n";

#[test]
fn the_reference_is_the_default() {
    let config = load_file("config/live.yaml");
    assert_eq!(config, Config::default());
    assert!(config.check_files().is_ok());
}

#[test]
fn http_flv_live() {
    let config = load_file("config/http.flv.live.yaml");
    assert_eq!(config.live.http.listen[0].port(), 8080);
    assert_eq!(config.live.limits.connections, 1000);
    assert_eq!(default_vhost(&config).play.on_missing, OnMissing::Wait);
}

/// Files that are written to be used together on one machine listen on different ports, the API's included.
#[test]
fn files_for_one_machine() {
    for group in [
        [
            "origin.cluster.serverA",
            "origin.cluster.serverB",
            "origin.cluster.serverC",
        ],
        [
            "http.flv.live.edge1",
            "http.flv.live.edge2",
            "forward.master",
        ],
    ] {
        let mut ports: Vec<u16> = Vec::new();
        for name in group {
            let live = load_file(&format!("config/{name}.yaml")).live;
            for listen in [&live.rtmp.listen, &live.http.listen, &live.api.listen] {
                let port = listen[0].port();
                assert!(!ports.contains(&port), "{name}: {port}");
                ports.push(port);
            }
        }
    }
}

#[test]
fn https_flv_live() {
    let path = "config/https.flv.live.yaml";
    let config = load_file(path);
    let https = config.live.https.as_ref().unwrap();
    assert_eq!(
        (https.listen[0].port(), https.http2, https.certs.len()),
        (8443, true, 1)
    );
    // The certificate is the operator's; the comments say how to make one. Here it is made in a folder of the test.
    let folder = Folder::new("https");
    let (cert, key) = (
        folder.write("server.crt", CERTIFICATE),
        folder.write("server.key", KEY),
    );
    let text = read(path)
        .replace(" config/server.crt", &format!(" {cert}"))
        .replace(" config/server.key", &format!(" {key}"));
    let config = load(&text).unwrap();
    assert_eq!(
        config.live.https.as_ref().unwrap().certs[0].cert.to_str(),
        Some(cert.as_str())
    );
    assert_eq!(config.check_files(), Ok(()));
}

#[test]
fn ts_aac_mp3_and_websockets() {
    for (path, extension, cached) in [
        ("config/http.ts.live.yaml", Extension::Ts, 0),
        ("config/http.aac.live.yaml", Extension::Aac, 30),
        ("config/http.mp3.live.yaml", Extension::Mp3, 30),
        ("config/ws.flv.live.yaml", Extension::Flv, 0),
    ] {
        let config = load_file(path);
        assert_eq!(config.live.http.listen[0].port(), 8080, "{path}");
        let remux = &default_vhost(&config).http_remux;
        assert_eq!(remux.mounts, [Mount::of(extension)], "{path}");
        assert_eq!(remux.fast_cache, Duration::from_secs(cached), "{path}");
    }
}

#[test]
fn realtime_flv() {
    let config = load_file("config/realtime.flv.yaml");
    let play = &default_vhost(&config).play;
    assert!(!play.gop_cache);
    assert_eq!(play.mw_latency, Duration::ZERO);
    assert!(play.queue_length <= Duration::from_secs(3));
}

#[test]
fn vod_flv() {
    let config = load_file("config/vod.flv.yaml");
    assert_eq!(config.live.http.root.as_deref(), Some("./vod".as_ref()));
    assert_eq!(default_vhost(&config).play.on_missing, OnMissing::Wait);
}

#[test]
fn the_folder_of_files() {
    let folder = Folder::new("root");
    let (file, none) = (folder.write("file", b""), folder.0.join("none"));
    let check = |root: &str| {
        let text = format!("live:\n  http:\n    root: {root}\n");
        load(&text).and_then(|config| config.check_files().map_err(|errors| errors.to_string()))
    };
    assert_eq!(check(&folder.0.display().to_string()), Ok(()));
    assert_eq!(check("null"), Ok(()));
    for (root, why) in [
        (none.display().to_string(), "there is no such folder"),
        (file, "it is no folder"),
    ] {
        let error = check(&root).expect_err("an error");
        assert!(
            error.starts_with("live.yaml:3:")
                && error.contains("live.http.root")
                && error.contains(why),
            "{error}"
        );
    }
    assert!(check("[a, b]").is_err_and(|error| error.contains("the path of a folder, or null")));
    for (text, root) in [
        ("/srv/files", Some("/srv/files")),
        ("", None),
        ("null", None),
    ] {
        let variable = ("PINGORA_LIVE_HTTP_ROOT".to_owned(), text.to_owned());
        let config = Config::from_yaml(
            "live: { http: { root: ./x } }",
            "live.yaml",
            std::iter::once(variable),
        )
        .unwrap();
        assert_eq!(
            config.live.http.root.as_deref(),
            root.map(std::path::Path::new)
        );
    }
}

#[test]
fn dvr() {
    let config = load_file("config/dvr.yaml");
    let dvr = &default_vhost(&config).dvr;
    assert!(dvr.enabled && dvr.wait_keyframe);
    assert_eq!(dvr.plan, DvrPlan::Segment);
    assert_eq!(dvr.duration, Duration::from_secs(30));
    assert_eq!(dvr.path.root().to_str(), Some("./objs/recordings"));
}

/// Every file under `config/` is loaded, also one that is added later.
#[test]
fn an_origin_cluster_and_an_origin_of_a_cdn() {
    let nodes = ["A", "B", "C"].map(|letter| {
        let config = load_file(&format!("config/origin.cluster.server{letter}.yaml"));
        let (live, node) = (config.live.clone(), config.live.node.clone());
        (
            node.name.unwrap(),
            live.http.listen[0].port(),
            live.registry.unwrap(),
        )
    });
    assert_eq!(nodes.each_ref().map(|node| node.1), [8080, 8081, 8082]);
    assert_eq!(nodes[0].0, "serverA");
    assert!(nodes[0].0 != nodes[1].0 && nodes[1].0 != nodes[2].0);
    assert!(nodes[0].2 == nodes[1].2 && nodes[1].2 == nodes[2].2);
    let origin = load_file("config/cdn.origin.yaml").live;
    assert_eq!(origin.limits.overflow.len(), 1);
    assert_eq!(origin.trusted_proxies.len(), 2);
}

#[test]
fn all_files_of_the_project_load() {
    let mut count = 0;
    for entry in std::fs::read_dir(project("config")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            Config::load(Some(&path), std::iter::empty())
                .unwrap_or_else(|errors| panic!("{errors}"));
            count += 1;
        }
    }
    assert!(count >= 4, "{count}");
}

#[test]
fn files_that_cannot_be_read() {
    let folder = Folder::new("unreadable");
    let missing = folder.0.join("none.yaml");
    let error = Config::load(Some(&missing), std::iter::empty())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!(
            "{}: cannot be read: No such file or directory (os error 2)",
            missing.display()
        )
    );
    let latin1 = folder.write("latin1.yaml", b"live: {} # \xfc\n");
    let error = Config::load(Some(latin1.as_ref()), std::iter::empty())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!("{latin1}: cannot be read: not UTF-8 at byte 11")
    );
    let large = folder.write("large.yaml", vec![b'#'; 5 << 20]);
    let error = Config::load(Some(large.as_ref()), std::iter::empty())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!("{large}: cannot be read: it is larger than 4194304 bytes")
    );
    let error = Config::load(Some(&folder.0), std::iter::empty())
        .unwrap_err()
        .to_string();
    assert!(error.contains("Is a directory"), "{error}");
}

/// Certificates and keys that are not what they should be, each at the place of its key.
#[test]
fn certificates_that_cannot_be_used() {
    let folder = Folder::new("certificates");
    let cert = folder.write("good.crt", CERTIFICATE);
    let key = folder.write("good.key", KEY);
    let old = folder.write("old.key", KEY.replace("PRIVATE", "RSA PRIVATE"));
    let locked = folder.write("locked.key", KEY.replace("PRIVATE", "ENCRYPTED PRIVATE"));
    let old_locked = folder.write(
        "old_locked.key",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
    );
    let der = folder.write("der.crt", [0x30, 0x82, 0xff, 0xfe]);
    let empty = folder.write("empty.crt", "");
    let missing = folder.0.join("none.crt").display().to_string();
    let dir = folder.0.display().to_string();
    let passphrase = "the key has a passphrase; store it without";
    for (cert, key, expected) in [
        (&cert, &key, None),
        (&cert, &old, None),
        (
            &missing,
            &key,
            Some((
                "9: live.https.certs[0].cert",
                &missing,
                "there is no such file",
            )),
        ),
        (
            &dir,
            &key,
            Some(("9: live.https.certs[0].cert", &dir, "it is a folder")),
        ),
        (
            &der,
            &key,
            Some((
                "9: live.https.certs[0].cert",
                &der,
                "it is not in PEM: not a text",
            )),
        ),
        (
            &empty,
            &key,
            Some((
                "9: live.https.certs[0].cert",
                &empty,
                "it holds no certificate in PEM (no line `-----BEGIN CERTIFICATE-----`)",
            )),
        ),
        (
            &key,
            &key,
            Some((
                "9: live.https.certs[0].cert",
                &key,
                "it holds a private key and no certificate; are `cert` and `key` exchanged?",
            )),
        ),
        (
            &cert,
            &cert,
            Some((
                "10: live.https.certs[0].key",
                &cert,
                "it holds a certificate and no private key; are `cert` and `key` exchanged?",
            )),
        ),
        (
            &cert,
            &empty,
            Some((
                "10: live.https.certs[0].key",
                &empty,
                "it holds no private key in PEM (no line `-----BEGIN PRIVATE KEY-----`)",
            )),
        ),
        (
            &cert,
            &locked,
            Some(("10: live.https.certs[0].key", &locked, passphrase)),
        ),
        (
            &cert,
            &old_locked,
            Some(("10: live.https.certs[0].key", &old_locked, passphrase)),
        ),
    ] {
        let text = format!(
            "live:\n  https:\n    certs:\n      - {{ cert: '{cert}',\n          key: '{key}' }}\n"
        );
        // Both values stand in one column each: the one of `cert` on line 4, of `key` on line 5.
        let found = load(&text)
            .unwrap()
            .check_files()
            .err()
            .map(|errors| errors.to_string());
        let expected = expected.map(|(place, file, message)| {
            let place =
                place
                    .replacen("9:", "live.yaml:4:17:", 1)
                    .replacen("10:", "live.yaml:5:16:", 1);
            format!("{place}: {file}: {message}")
        });
        assert_eq!(found, expected, "\n{text}");
    }
    // What is not listened on needs no files.
    let off = format!(
        "live: {{ https: {{ listen: [], certs: [{{ cert: {missing}, key: {missing} }}] }} }}"
    );
    assert_eq!(load(&off).unwrap().check_files(), Ok(()));
    // RTMPS has the same rules.
    let rtmps = format!("live: {{ rtmp: {{ tls: {{ cert: {cert}, key: {missing} }} }} }}");
    let config = load(&rtmps).unwrap();
    let error = config.check_files().unwrap_err().to_string();
    assert!(
        error.ends_with(&format!(
            "live.rtmp.tls.key: {missing}: there is no such file"
        )),
        "{error}"
    );
    // Without the file's places, for a configuration that was built in code.
    let error = config.live.check_files().unwrap_err().to_string();
    assert_eq!(
        error,
        format!("defaults: live.rtmp.tls.key: {missing}: there is no such file")
    );
}
