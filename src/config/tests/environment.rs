//! Environment variables over the file.

use std::time::Duration;

use super::default_vhost;
use crate::config::{Config, environment, keys};

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Config::from_yaml(text, "live.yaml", variables).map_err(|errors| errors.to_string())
}

#[test]
fn a_variable_goes_over_the_file() {
    let config = load(
        "live: { http: { listen: 80 }, vhosts: { a.com: { play: { wait: 1s } } } }",
        &[
            ("PINGORA_LIVE_HTTP_LISTEN", "0.0.0.0:9090,[::1]:9091 9092"),
            ("PINGORA_LIVE_RTMP_LISTEN", ""),
            ("PINGORA_LIVE_LIMITS_STREAM_MEMORY", "1GiB"),
            ("PINGORA_LIVE_VHOST_HTTP_REMUX_GUESS_HAS_AV", "off"),
            ("PINGORA_LIVE_VHOST_HTTP_REMUX_MOUNT", "/[app]/[stream].flv"),
            ("PINGORA_LIVE_VHOST_PLAY_WAIT", "3s"),
            ("PINGORA_LIVE_VHOST_PLAY_ON_MISSING", "404"),
            ("PATH", "/bin"),
            ("PINGORA_LIVELY", "1"),
        ],
    )
    .unwrap();
    let listen: Vec<_> = config
        .live
        .http
        .listen
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(listen, ["0.0.0.0:9090", "[::1]:9091", "0.0.0.0:9092"]);
    assert_eq!(config.live.rtmp.listen, []);
    assert_eq!(config.live.limits.stream_memory, 1 << 30);
    // All vhosts, the default one too.
    assert_eq!(config.live.vhosts.len(), 2);
    for vhost in config.live.vhosts.values() {
        assert!(!vhost.http_remux.guess_has_av);
        assert_eq!(vhost.http_remux.mounts[0].as_str(), "/[app]/[stream].flv");
        assert_eq!(vhost.play.wait, Duration::from_secs(3));
    }
    assert_eq!(default_vhost(&config).play.on_missing.as_str(), "404");
}

/// A section that the file does not have comes with the first variable that is inside of it.
#[test]
fn certificates_from_the_environment() {
    let config = load(
        "",
        &[
            ("PINGORA_LIVE_HTTPS_CERTS", "/tls/cert.pem:/tls/key.pem"),
            ("PINGORA_LIVE_HTTPS_HTTP2", "off"),
            ("PINGORA_LIVE_RTMP_TLS_CERT", "/tls/cert.pem"),
            ("PINGORA_LIVE_RTMP_TLS_KEY", "/tls/key.pem"),
        ],
    )
    .unwrap();
    let https = config.live.https.unwrap();
    assert_eq!(
        (https.certs.len(), https.http2, https.listen[0].port()),
        (1, false, 8443)
    );
    assert_eq!(https.certs[0].cert.to_str(), Some("/tls/cert.pem"));
    assert_eq!(https.certs[0].key.to_str(), Some("/tls/key.pem"));
    assert_eq!(config.live.rtmp.tls.unwrap().listen[0].port(), 1936);
    // It stands for all that the file has.
    let file =
        "live: { https: { certs: [{ cert: a, key: b }, { cert: c, key: d, names: x.com }] } }";
    let config = load(file, &[("PINGORA_LIVE_HTTPS_CERTS", "e:f")]).unwrap();
    assert_eq!(config.live.https.unwrap().certs.len(), 1);
}

#[test]
fn mistakes() {
    for (name, text, expected) in [
        (
            "HTTP_LISEN",
            "80",
            "environment: PINGORA_LIVE_HTTP_LISEN: unknown name; did you mean PINGORA_LIVE_HTTP_LISTEN?",
        ),
        (
            "THREADS",
            "8",
            "environment: PINGORA_LIVE_THREADS: unknown name; `threads` is pingora's, and is set in the file only",
        ),
        (
            "NONSENSE",
            "8",
            "environment: PINGORA_LIVE_NONSENSE: unknown name; a name is PINGORA_LIVE_ and the path of a key, as in \
             PINGORA_LIVE_HTTP_LISTEN or PINGORA_LIVE_VHOST_PLAY_WAIT",
        ),
        (
            "VHOST_PLAY_WAIT",
            "5",
            "environment: PINGORA_LIVE_VHOST_PLAY_WAIT: live.vhosts.__defaultVhost__.play.wait: found \"5\"; accepted is a \
             duration from 0s to 5m, such as 10s or 350ms (a number needs its unit: 5s or 5ms)",
        ),
        (
            "HTTP_H2C",
            "",
            "environment: PINGORA_LIVE_HTTP_H2C: live.http.h2c: found \"\"; accepted is on, off, true or false",
        ),
        (
            "HTTP_LISTEN",
            "80,x",
            "environment: PINGORA_LIVE_HTTP_LISTEN: live.http.listen[1]: found \"x\"; accepted is an address such as \
             \"0.0.0.0:1935\", \"[::]:1935\" or 1935",
        ),
        (
            "HTTPS_CERTS",
            "cert.pem",
            "environment: PINGORA_LIVE_HTTPS_CERTS: live.https.certs: found \"cert.pem\"; accepted is one pair as \
             cert.pem:key.pem",
        ),
        (
            "HTTPS_LISTEN",
            "443",
            "environment: PINGORA_LIVE_HTTPS_LISTEN: live.https.certs: missing; HTTPS takes at least one certificate; to \
             switch it off, leave `https` out",
        ),
        (
            "RTMP_LISTEN",
            "8080",
            "environment: PINGORA_LIVE_RTMP_LISTEN: live.rtmp.listen: 0.0.0.0:8080 is taken by the default of \
             live.http.listen (0.0.0.0:8080)",
        ),
    ] {
        let name = format!("PINGORA_LIVE_{name}");
        assert_eq!(load("", &[(&name, text)]).unwrap_err(), expected);
    }
}

/// One mistake is one error, whatever the number of vhosts; errors of the file go first.
#[test]
fn errors_of_both_are_told_together() {
    let found = load(
        "live: { htp: {}, vhosts: { a.com: {}, b.com: {} } }",
        &[
            ("PINGORA_LIVE_VHOST_ENABLED", "maybe"),
            ("PINGORA_LIVE_A", ""),
        ],
    );
    let lines: Vec<_> = found
        .as_ref()
        .unwrap_err()
        .lines()
        .map(|line| line.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(
        lines,
        ["live.htp", "PINGORA_LIVE_A", "PINGORA_LIVE_VHOST_ENABLED"]
    );
}

/// The name of each key's variable, as it is documented, sets that key: no two share one.
#[test]
fn every_documented_name_works() {
    let mut seen = std::collections::HashSet::new();
    for key in keys() {
        if key.path.contains("[]") {
            assert_eq!(key.environment, "", "{}", key.path);
            continue;
        }
        assert!(
            seen.insert(key.environment.clone()),
            "{} is the name of two keys",
            key.environment
        );
        let error = load("", &[(&key.environment, "\u{1}:")]).unwrap_err();
        assert!(!error.contains("unknown name"), "{error}");
    }
    assert!(seen.contains("PINGORA_LIVE_VHOST_HTTP_REMUX_GUESS_HAS_AV"));
}

#[test]
fn the_process_has_its_own() {
    // Only that it reads them: a test must not set variables, since others run beside it.
    assert!(environment().all(|(name, _)| name.starts_with("PINGORA_LIVE_")));
}
