//! A reload that changes only what is never shown: it is named, not shown, and takes effect.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::super::support::callback::{Backend, Reply};
use super::super::support::certs;
use super::super::support::feed::{Feed, Plan};
use super::super::support::programs::{curl, run};
use super::super::support::server::{Server, write_config};
use super::super::support::{PATIENCE, fixtures, http, wait_for};
use super::ask;

/// A configuration in which all that is secret has this in it.
fn config(folder: &Path, hooks: &Backend, secret: &str) -> String {
    let folder = folder.display();
    format!(
        "api: {{ auth: {{ password: \"pass-{secret}\" }} }}\n\
         https: {{ listen: \"127.0.0.1:0\", certs: [{{ cert: \"{folder}/tls.crt\", key: \"{folder}/tls.key\" }}] }}\n\
         vhosts:\n  __defaultVhost__:\n    tokens: {{ play: {{ enabled: on, scheme: tencent, keys: [{{ id: a, key: \"key-{secret}\" }}] }} }}\n    \
         http_hooks: {{ enabled: on, on_publish: \"http://{}/hook?token={secret}\" }}\n",
        hooks.address
    )
}

#[test]
fn secrets_are_changed_and_named_and_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let serve = |name: &str| {
        let made = certs::make(folder.path(), name);
        fs::copy(made.cert, folder.path().join("tls.crt")).expect("a certificate");
        fs::copy(made.key, folder.path().join("tls.key")).expect("a key");
    };
    serve("one.example");
    let hooks = Backend::start(|_| Reply::yes());
    let server = Server::start(&config(folder.path(), &hooks, "one"));
    let reload = |password: &str| {
        let user = format!("admin:{password}");
        ask(&server, &["-XPOST", "-u", &user], "/api/v1/live/reload")
    };
    let certificate = || {
        let mut curl = curl();
        curl.args(["-kv", "-o", "/dev/null"])
            .arg(format!("https://{}/", server.address("https")));
        run(&mut curl, PATIENCE).stderr
    };
    assert!(certificate().contains("one.example"));
    let (status, answer) = reload("pass-one");
    assert_eq!((status, &answer["changed"]), (200, &json!([])), "{answer}");

    // The files hold something else, and the configuration has the same text.
    serve("two.example");
    let (_, answer) = reload("pass-one");
    assert_eq!(
        answer["changed"],
        json!(["live.https.certs[0].cert", "live.https.certs[0].key"]),
        "{answer}"
    );
    assert!(certificate().contains("two.example"));

    write_config(
        server.folder(),
        &config(folder.path(), &hooks, "two"),
        "grace_period_seconds: 2\n",
    );
    let (status, answer) = reload("pass-one");
    assert_eq!(status, 200, "{answer}");
    let text = answer.to_string();
    for key in [
        "live.api.auth.password",
        "live.vhosts.__defaultVhost__.http_hooks.on_publish",
        "live.vhosts.__defaultVhost__.tokens.play.keys[0].key",
    ] {
        assert!(text.contains(key), "{key} in {text}");
    }
    assert!(!text.contains("two") && !text.contains("one"), "{text}");

    // Each is in effect.
    assert_eq!(reload("pass-one").0, 401);
    let (status, answer) = reload("pass-two");
    assert_eq!((status, &answer["changed"]), (200, &json!([])), "{answer}");
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::h264_aac()));
    let asked = wait_for("the back end is asked", PATIENCE, || {
        hooks.calls().first().cloned()
    });
    assert!(asked.path.ends_with("token=two"), "{}", asked.path);
    let signed = |key: &str| {
        let url = server.http("/live/x.flv");
        let arguments = [
            "sign",
            &url,
            "--scheme",
            "tencent",
            "--key",
            key,
            "--expires",
            "1h",
        ];
        let mut sign = super::super::support::server::command();
        let said = run(sign.args(arguments), PATIENCE).success();
        let path = said
            .trim()
            .split_once("/live/")
            .expect("a URL")
            .1
            .to_owned();
        format!("/live/{path}")
    };
    let play = |path: &str| {
        let answer = http::request(server.address("http"), "HEAD", path, &[]);
        answer.expect("an answer").status
    };
    wait_for("it plays with the new key", PATIENCE, || {
        (play(&signed("key-two")) == 200).then_some(())
    });
    assert_eq!(play(&signed("key-one")), 403);
    let log = server.log();
    for secret in ["pass-two", "key-two", "token=two"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let shown = ask(&server, &["-u", "admin:pass-two"], "/api/v1/live/config");
    let shown: Value = shown.1;
    assert!(!shown.to_string().contains("two"), "{shown}");
}
