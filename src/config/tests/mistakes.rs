//! The mistakes that people make, and the exact text that they get.

use super::{errors, good, load};
use crate::config::Origin;
use crate::config::print::sections;

/// Each text with all of its errors.
#[test]
fn typical_mistakes() {
    for (text, expected) in [
        // A typing error in a section and in a key.
        (
            "live:\n  htpp:\n    listen: 8080\n",
            "live.yaml:2:3: live.htpp: unknown key; did you mean `http`?",
        ),
        (
            "live:\n  http:\n    lisen: 8080\n",
            "live.yaml:3:5: live.http.lisen: unknown key; did you mean `listen`?",
        ),
        // A key at the wrong level.
        (
            "live:\n  http:\n  listen: 8080\n",
            "live.yaml:3:3: live.listen: unknown key; it belongs under live.rtmp, live.rtmp.tls, live.http, live.https or live.api",
        ),
        (
            "live:\n  queue_length: 3s\n",
            "live.yaml:2:3: live.queue_length: unknown key; it belongs under live.vhosts.<name>.play",
        ),
        (
            "live:\n  threads: 3\n",
            "live.yaml:2:3: live.threads: unknown key; it is pingora's, and belongs at the top level, beside `live`",
        ),
        (
            "rtmp: {}\n",
            "live.yaml:1:1: rtmp: unknown key; it belongs under live",
        ),
        // A key that nobody knows.
        (
            "live:\n  nonsense: 1\n",
            "live.yaml:2:3: live.nonsense: unknown key; known here: {all}",
        ),
        (
            "foo: 1\n",
            "live.yaml:1:1: foo: unknown key; neither pingora's nor `live`",
        ),
        // pingora itself would run one thread and say nothing.
        (
            "theads: 4\n",
            "live.yaml:1:1: theads: unknown key; did you mean `threads`?",
        ),
        // Keys of other servers.
        (
            "vhost: {}\n",
            "live.yaml:1:1: vhost: unknown key; here it is live.vhosts",
        ),
        (
            "live:\n  max_connections: 1000\n",
            "live.yaml:2:3: live.max_connections: unknown key; here it is live.limits.connections",
        ),
        // A number without its unit, a wrong unit, a value out of bounds.
        (
            "live: { limits: { player_stall: 10 } }\n",
            "live.yaml:1:33: live.limits.player_stall: found \"10\"; accepted is a duration from 1s to 10m, such as 10s or \
             350ms (a number needs its unit: 10s or 10ms)",
        ),
        (
            "live:\n  limits:\n    stream_memory: 32M\n",
            "live.yaml:3:20: live.limits.stream_memory: found \"32M\"; accepted is a size from 1MiB to 64GiB, such as 512KiB \
             or 32MiB (write 32MiB)",
        ),
        (
            "live:\n  vhosts:\n    __defaultVhost__:\n      play:\n        queue_length: 10 s\n",
            "live.yaml:5:23: live.vhosts.__defaultVhost__.play.queue_length: found \"10 s\"; accepted is a duration from \
             100ms to 10m, such as 10s or 350ms (write 10s)",
        ),
        (
            "live:\n  rtmp: { chunk_size: 64 }\n",
            "live.yaml:2:23: live.rtmp.chunk_size: found \"64\"; accepted is a whole number from 128 to 65536",
        ),
        (
            "live:\n  limits: { connections: -1 }\n",
            "live.yaml:2:26: live.limits.connections: found \"-1\"; accepted is a whole number from 0 (no limit) to 100000000",
        ),
        // A switch of another language.
        (
            "live:\n  http:\n    h2c: yes\n",
            "live.yaml:3:10: live.http.h2c: found \"yes\"; accepted is on, off, true or false (write on)",
        ),
        (
            "daemon: on\n",
            "live.yaml:1:9: daemon: found \"on\"; accepted is true or false (this key is pingora's)",
        ),
        // One of a few words.
        (
            "live: { log: { level: warning } }\n",
            "live.yaml:1:23: live.log.level: found \"warning\"; accepted is error, warn, info, debug or trace",
        ),
        (
            "live: { log: { level: erorr } }\n",
            "live.yaml:1:23: live.log.level: found \"erorr\"; accepted is error, warn, info, debug or trace (did you mean \
             error?)",
        ),
        // A list instead of one value, a value instead of a section, a section instead of a value.
        (
            "live:\n  rtmp:\n    chunk_size: [4096]\n",
            "live.yaml:3:17: live.rtmp.chunk_size: found a list; accepted is a whole number from 128 to 65536 (one value, \
             without brackets or dash)",
        ),
        (
            "live: 5\n",
            "live.yaml:1:7: live: found \"5\"; accepted is a mapping of keys to values",
        ),
        (
            "live:\n  http:\n   - listen: 80\n",
            "live.yaml:3:4: live.http: found a list; accepted is a mapping of keys to values",
        ),
        (
            "- live\n",
            "live.yaml:1:1: found a list; accepted is a mapping, with `live:` as one of its keys",
        ),
        (
            "live:\n  http:\n    listen: { port: 80 }\n",
            "live.yaml:3:13: live.http.listen: found a mapping; accepted is an address such as \"0.0.0.0:1935\", \
             \"[::]:1935\" or 1935, or a list of them",
        ),
        // Nothing at all.
        (
            "live:\n  http:\n    h2c:\n",
            "live.yaml:3:8: live.http.h2c: found nothing; accepted is on, off, true or false (leave the key out for its \
             default)",
        ),
        // Addresses.
        (
            "live:\n  http:\n    listen: [80, example.com:80]\n",
            "live.yaml:3:18: live.http.listen[1]: found \"example.com:80\"; accepted is an address such as \"0.0.0.0:1935\", \
             \"[::]:1935\" or 1935 (an IP address, not a name)",
        ),
        (
            "live:\n  http:\n    listen: 80 81\n",
            "live.yaml:3:13: live.http.listen: found \"80 81\"; accepted is an address such as \"0.0.0.0:1935\", \"[::]:1935\" \
             or 1935, or a list of them (write several as a list: [\"0.0.0.0:1935\", \"[::]:1935\"])",
        ),
        // The same key twice; both values are read by some parsers, the first or the last one by others.
        (
            "live:\n  http:\n    listen: 8080\n    h2c: on\n    listen: 8081\n",
            "live.yaml:5:5: live.http.listen: set twice; the first is on line 3",
        ),
        (
            "threads: 1\nthreads: 2\n",
            "live.yaml:2:1: threads: set twice; the first is on line 1",
        ),
        (
            "live:\n  vhosts:\n    a.com: {}\n    A.com: {}\n",
            "live.yaml:4:5: live.vhosts.A.com: set twice; the first is on line 3",
        ),
        (
            "live: { vhosts: { __defaultVhost__: { http_remux: { mount: \"[app]/[stream].flv\", mounts: [] } } } }\n",
            "live.yaml:1:82: live.vhosts.__defaultVhost__.http_remux.mounts: `mount` is another name of `mounts`; keep one",
        ),
        // Tabs.
        (
            "live:\n\thttp:\n\t\tlisten: 8080\n",
            "live.yaml:2:1: not valid YAML: a tab is used for indentation; YAML takes spaces only",
        ),
        (
            "live:\n  http:\n    h2c: on\n \tlisten: 8080\n",
            "live.yaml:4:2: not valid YAML: a tab is used for indentation; YAML takes spaces only",
        ),
        // The mount template as SRS writes it begins a list in YAML.
        (
            "live:\n  vhosts:\n    __defaultVhost__:\n      http_remux:\n        mount: [vhost]/[app]/[stream].flv\n",
            "live.yaml:5:16: not valid YAML: a mount template needs quotes, as in \"[vhost]/[app]/[stream].flv\"",
        ),
        // Other mistakes of YAML.
        (
            "live:\n  http:\n    h2c on\n    listen: 80\n",
            "live.yaml:4:11: not valid YAML: a colon that ends no key here; wrong indentation, or a value that needs quotes",
        ),
        (
            "live:\n  http:\n    listen: 80\n    h2c on\n",
            "live.yaml:4:5: not valid YAML: a key without its colon; write `key: value`",
        ),
        (
            "live:\n  http:\n    listen: 80\n   h2c: on\n",
            "live.yaml:4:4: not valid YAML: no `key: value` of the section around it; wrong indentation, or a value that \
             needs quotes",
        ),
        (
            "live: {}\n---\nlive: {}\n",
            "live.yaml:2:1: not valid YAML: a second document; a configuration is one",
        ),
        (
            "live: &x { http: *x }\n",
            "live.yaml:1:18: not valid YAML: an alias inside of the value that it stands for",
        ),
        (
            "live: !secret {}\n",
            "live.yaml:1:7: live: not valid YAML: the tag !secret has no meaning here",
        ),
        (
            "[live]: {}\n",
            "live.yaml:1:1: not valid YAML: a list or a mapping is used as a key",
        ),
        // Mounts.
        (
            "live: { vhosts: { __defaultVhost__: { http_remux: { mounts: [\"[app]/[stream].m3u8\"] } } } }\n",
            "live.yaml:1:62: live.vhosts.__defaultVhost__.http_remux.mounts[0]: found \"[app]/[stream].m3u8\"; accepted is a \
             template such as \"[vhost]/[app]/[stream].flv\" (.m3u8 is not served by this version; mounts end in .flv, .ts, .aac or .mp3)",
        ),
        (
            "live: { vhosts: { __defaultVhost__: { http_remux: { mounts: [] } } } }\n",
            "live.yaml:1:61: live.vhosts.__defaultVhost__.http_remux.mounts: found an empty list; accepted is a template such \
             as \"[vhost]/[app]/[stream].flv\", or a list of them (to serve none, set http_remux.enabled to off)",
        ),
        // Paths of recordings.
        (
            "live: { vhosts: { __defaultVhost__: { dvr: { path: \"./[stream].[2007].flv\" } } } }\n",
            "live.yaml:1:52: live.vhosts.__defaultVhost__.dvr.path: found \"./[stream].[2007].flv\"; accepted is a path such as \
             \"./objs/recordings/[app]/[stream].[timestamp].flv\" ([2007] is unknown; variables are [vhost], [app], [stream], \
             [2006], [01], [02], [15], [04], [05], [999] and [timestamp])",
        ),
        (
            "live: { vhosts: { a.com: { dvr: { enabled: on, plan: segment, path: \"./r/[stream].flv\" } } } }\n",
            "live.yaml:1:69: live.vhosts.a.com.dvr.path: has to tell the files of plan: segment apart: it needs [timestamp] or \
             [05]",
        ),
        // The API is not for everybody.
        (
            "live: { api: { listen: \"0.0.0.0:1985\" } }\n",
            "live.yaml:1:24: live.api.listen: an address that other machines can reach needs live.api.auth, with a password or \
             a token",
        ),
        (
            "live: { api: { auth: { username: me } } }\n",
            "live.yaml:1:16: live.api.auth: missing; it takes a password or a token, or both",
        ),
        (
            "live: { api: { auth: { password: [hunter2] } } }\n",
            "live.yaml:1:34: live.api.auth.password: found \"***\"; accepted is a text, in quotes; it is never shown",
        ),
        // Names of vhosts.
        (
            "live:\n  vhosts:\n    example.com:8080: {}\n",
            "live.yaml:3:5: live.vhosts: found \"example.com:8080\"; accepted is a host name such as live.example.com, or \
             __defaultVhost__ (without the port)",
        ),
        (
            "live:\n  vhosts:\n    __defaultvhost__: {}\n",
            "live.yaml:3:5: live.vhosts: found \"__defaultvhost__\"; accepted is a host name such as live.example.com, or \
             __defaultVhost__ (write __defaultVhost__)",
        ),
        // Networks.
        (
            "live:\n  trusted_proxies:\n    - 10.0.0.1/8\n    - localhost\n    - 10.0.0.0/40\n",
            "live.yaml:3:7: live.trusted_proxies[0]: found \"10.0.0.1/8\"; accepted is a network such as 10.0.0.0/8, or an \
             IP address (the network is 10.0.0.0/8; the address alone is 10.0.0.1)\n\
             live.yaml:4:7: live.trusted_proxies[1]: found \"localhost\"; accepted is a network such as 10.0.0.0/8, or an \
             IP address\n\
             live.yaml:5:7: live.trusted_proxies[2]: found \"10.0.0.0/40\"; accepted is a network such as 10.0.0.0/8, or \
             an IP address (an address of this kind has no more than 32 bits)",
        ),
        // Servers, paths and headers.
        (
            "live:\n  upstreams:\n    a b: {}\n    web:\n      servers: [\"http://a:80\", a, \"::1:80\", a:0]\n",
            "live.yaml:3:5: live.upstreams: found \"a b\"; accepted is a name of letters, digits, and . - _\n\
             live.yaml:5:17: live.upstreams.web.servers[0]: found \"http://a:80\"; accepted is a server such as 127.0.0.1:3000 \
             or api.internal:8443 (without a scheme; tls: on speaks TLS)\n\
             live.yaml:5:32: live.upstreams.web.servers[1]: found \"a\"; accepted is a server such as 127.0.0.1:3000 or \
             api.internal:8443 (the port is missing)\n\
             live.yaml:5:35: live.upstreams.web.servers[2]: found \"::1:80\"; accepted is a server such as 127.0.0.1:3000 or \
             api.internal:8443 (an IPv6 address stands in brackets)\n\
             live.yaml:5:45: live.upstreams.web.servers[3]: found \"a:0\"; accepted is a server such as 127.0.0.1:3000 or \
             api.internal:8443",
        ),
        (
            "live:\n  routes:\n    - path: api\n      request: { set: { Content-Length: 1, X-A: \"a\\nb\" }, remove: x y }\n",
            "live.yaml:3:13: live.routes[0].path: found \"api\"; accepted is a path such as /api (it begins with a slash)\n\
             live.yaml:4:25: live.routes[0].request.set: found \"Content-Length\"; accepted is the name of a header (that one is \
             the proxy's own affair)\n\
             live.yaml:4:49: live.routes[0].request.set.X-A: found \"a\\nb\"; accepted is a value (a header holds one line of \
             visible characters)\n\
             live.yaml:4:67: live.routes[0].request.remove: found \"x y\"; accepted is the name of a header, or a list of them",
        ),
        // pingora's types.
        (
            "threads: 0\nuser: 1000\n",
            "live.yaml:1:10: threads: found \"0\"; accepted is a whole number from 1\n\
             live.yaml:2:7: user: found \"1000\"; accepted is a text (put it into quotes)",
        ),
    ] {
        assert_eq!(errors(text), expected.replace("{all}", &all()), "\n{text}");
    }
}

/// Who may: rules, pages, origins and keys of tokens.
#[test]
fn mistakes_about_who_may() {
    let vhost = |text: &str| {
        let text = format!("live:\n  vhosts:\n    __defaultVhost__:\n      {text}\n");
        errors(&text)
            .replace("live.yaml:4:", "")
            .replace("live.vhosts.__defaultVhost__.", "")
    };
    assert_eq!(
        vhost("security: { enabled: on, seal: [allow watch all] }"),
        "39: security.seal[0]: found \"allow watch all\"; accepted is a rule such as \"allow play all\" or \
         \"deny publish 10.0.0.0/8\" (the second word is play or publish)"
    );
    assert_eq!(
        vhost("refer: { enabled: on, all: 'https://a.example/' }"),
        "34: refer.all: found \"https://a.example/\"; accepted is a host name such as example.com, or none, or a list of \
         them (the host alone, without scheme, port and path)"
    );
    // What is wrong with a key says nothing of what it is.
    let told = vhost(
        "tokens: { play: { enabled: on, keys: [{ key: hunter2 }, { key: hunter2hunter2hunter2 }] } }",
    );
    assert!(
        told.contains("tokens.play.keys[0].key: it has 7 bytes"),
        "{told}"
    );
    assert!(
        told.contains("tokens.play.keys[1].id: another key is called 1"),
        "{told}"
    );
    let told = vhost("tokens: { play: { enabled: on, keys: [{ key: [hunter2] }] } }");
    assert!(told.contains("tokens.play.keys[0].key: "), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    let told = vhost("tokens: { publish: { enabled: on } }");
    assert!(told.contains("tokens.publish.keys: "), "{told}");
    let told = errors("live:\n  http: { crossdomain: [a.example] }\n");
    assert!(
        told.contains("with its scheme, as in \"https://a.example\""),
        "{told}"
    );
}

/// The keys right under `live:`.
fn all() -> String {
    sections().join(", ")
}

/// Keys that other servers have, or that are to come, have no effect; that is said, and not that they are misspelt.
#[test]
fn keys_of_features_that_are_not_there() {
    for key in ["hls", "rtc"] {
        let expected = format!("live.yaml:2:3: live.{key}: not served by this version");
        assert_eq!(errors(&format!("live:\n  {key}: {{}}\n")), expected);
    }
    assert_eq!(
        errors("http_api: { listen: 1985 }"),
        "live.yaml:1:1: http_api: unknown key; here it is live.api"
    );
}

/// All errors at once, in the order of the file.
#[test]
fn all_errors_are_told() {
    let text = "theads: 4\n\
                live:\n\
                \x20 vhosts:\n\
                \x20   a.com:\n\
                \x20     play: { wait: 5, gop_cach: on }\n\
                \x20 http:\n\
                \x20   listen: [80, x]\n\
                \x20   h2c: on\n\
                \x20   h2c: off\n";
    assert_eq!(
        errors(text),
        "live.yaml:1:1: theads: unknown key; did you mean `threads`?\n\
         live.yaml:5:21: live.vhosts.a.com.play.wait: found \"5\"; accepted is a duration from 0s to 5m, such as 10s or \
         350ms (a number needs its unit: 5s or 5ms)\n\
         live.yaml:5:24: live.vhosts.a.com.play.gop_cach: unknown key; did you mean `gop_cache`?\n\
         live.yaml:7:18: live.http.listen[1]: found \"x\"; accepted is an address such as \"0.0.0.0:1935\", \"[::]:1935\" or \
         1935\n\
         live.yaml:9:5: live.http.h2c: set twice; the first is on line 8"
    );
}

/// Columns are counted in characters, as editors do.
#[test]
fn columns_are_characters() {
    let all = all();
    let expected = format!(
        "live.yaml:1:9: live.ü: unknown key; known here: {all}\n\
         live.yaml:1:30: live.http.h2c: found \"maybe\"; accepted is on, off, true or false"
    );
    assert_eq!(errors("live: { \"ü\": 1, http: { h2c: maybe } }"), expected);
}

#[test]
fn a_long_or_strange_value_is_repeated_safely() {
    let text = format!(
        "live: {{ log: {{ level: \"\\u001b[31m{}\" }} }}",
        "x".repeat(500)
    );
    let expected = format!(
        "live.yaml:1:23: live.log.level: found \"\\u{{1b}}[31m{}…\"; accepted is error, warn, info, debug or trace",
        "x".repeat(55)
    );
    assert_eq!(errors(&text), expected);
}

/// The place of an error is there for tools too.
#[test]
fn errors_can_be_walked() {
    let errors =
        crate::config::Config::from_yaml("live: 5\nfoo: 1\n", "a.yaml", std::iter::empty())
            .unwrap_err();
    let places: Vec<_> = errors
        .iter()
        .map(|error| match &error.origin {
            Origin::File { name, line, column } => {
                (name.to_string(), *line, *column, error.key.as_str())
            }
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(
        places,
        [
            ("a.yaml".to_owned(), 1, 7, "live"),
            ("a.yaml".to_owned(), 2, 1, "foo")
        ]
    );
    assert_eq!(errors.into_iter().count(), 2);
}

/// Values that are good each, but not together.
#[test]
fn values_that_exclude_each_other() {
    for (text, expected) in [
        (
            "live:\n  https: {}\n",
            "live.yaml:2:3: live.https.certs: missing; HTTPS takes at least one certificate; to switch it off, leave \
             `https` out",
        ),
        (
            "live:\n  rtmp:\n    tls: { cert: a.pem }\n",
            "live.yaml:3:5: live.rtmp.tls.key: missing; it takes the file of a private key in PEM",
        ),
        (
            "live:\n  https:\n    certs:\n      - cert: a\n        key: b\n      - cert: c\n        key: d\n",
            "live.yaml:6:9: live.https.certs[1].names: missing; only the first certificate can do without: the others are \
             chosen by name",
        ),
        (
            "live: { https: { certs: [{ cert: a }, { key: d, names: x.com }] } }\n",
            "live.yaml:1:26: live.https.certs[0].key: missing; it takes the file of a private key in PEM\n\
             live.yaml:1:39: live.https.certs[1].cert: missing; it takes the file of a certificate chain in PEM",
        ),
        (
            "live: { https: { certs: [{ cert: a, key: b, names: x.com }, { cert: a, key: d, names: [y.com, X.com] }] } }\n",
            "live.yaml:1:87: live.https.certs[1].names: x.com is a name of live.https.certs[0] already",
        ),
        (
            "live:\n  rtmp: { listen: 8080 }\n",
            "live.yaml:2:19: live.rtmp.listen: 0.0.0.0:8080 is taken by the default of live.http.listen (0.0.0.0:8080)",
        ),
        (
            "live:\n  rtmp: { listen: 5000 }\n  http: { listen: [\"127.0.0.1:5000\"] }\n",
            "live.yaml:3:19: live.http.listen: 127.0.0.1:5000 is taken by live.rtmp.listen (0.0.0.0:5000)",
        ),
        (
            "live:\n  http: { listen: [\"127.0.0.1:80\", \"127.0.0.1:80\"] }\n",
            "live.yaml:2:19: live.http.listen: 127.0.0.1:80 is listened on by 127.0.0.1:80 already",
        ),
        (
            "live:\n  vhosts:\n    a.com:\n      play: { mw_latency: 500ms, queue_length: 500ms }\n",
            "live.yaml:4:27: live.vhosts.a.com.play.mw_latency: has to be shorter than queue_length, or every player would \
             skip at each write",
        ),
        // Upstreams and routes.
        (
            "live:\n  upstreams:\n    web: { tls: on }\n    api:\n      servers: 127.0.0.1:1\n      ca: x.pem\n  routes:\n    \
             - upstream: wbe\n    - { path: /a, upstream: api }\n    - { path: /a/, upstream: api }\n    - path: /?x\n",
            "live.yaml:3:5: live.upstreams.web.servers: missing; an upstream takes at least one server, such as 127.0.0.1:3000\n\
             live.yaml:6:11: live.upstreams.api.ca: is of use with tls: on and verify: on alone\n\
             live.yaml:8:17: live.routes[0].upstream: there is no upstream wbe under live.upstreams; did you mean web?\n\
             live.yaml:10:7: live.routes[2]: has the host and path of live.routes[1] again\n\
             live.yaml:11:7: live.routes[3].upstream: missing; a route takes the name of one of live.upstreams\n\
             live.yaml:11:13: live.routes[3].path: is a path alone: a query does not choose a route",
        ),
        (
            "live:\n  routes: [{ upstream: web }]\n",
            "live.yaml:2:24: live.routes[0].upstream: there is no upstream web under live.upstreams; live.upstreams has none",
        ),
        // A listener on which anybody could claim any address.
        (
            "live:\n  http: { proxy_protocol: on }\n  rtmp:\n    tls: { cert: a, key: b, proxy_protocol: on }\n",
            "live.yaml:2:27: live.http.proxy_protocol: needs live.trusted_proxies: the addresses of the proxies that may \
             say who a client is\n\
             live.yaml:4:45: live.rtmp.tls.proxy_protocol: needs live.trusted_proxies: the addresses of the proxies that \
             may say who a client is",
        ),
    ] {
        assert_eq!(errors(text), expected, "\n{text}");
    }
    // A free port each, one port for each family, and one for each address.
    good("live: { rtmp: { listen: \"127.0.0.1:0\" }, http: { listen: \"127.0.0.1:0\" } }");
    good("live: { rtmp: { listen: [\"0.0.0.0:1935\", \"[::]:1935\"] } }");
    good("live: { rtmp: { listen: \"127.0.0.1:80\" }, http: { listen: \"127.0.0.2:80\" } }");
    // A service that is off needs nothing.
    good("live: { https: { listen: [] }, rtmp: { tls: { listen: [] } } }");
}

/// Whatever is read ends in a configuration or in errors, soon.
#[test]
fn nothing_makes_it_hang_or_panic() {
    // Each level nine times the one before: 9^9 values, if they were unfolded.
    let mut bomb = String::from("a: &a0 [x]\n");
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("b{level}: &a{level} [{aliases}]\n"));
    }
    let found = errors(&bomb);
    assert!(
        found.contains("aliases unfold to more than a configuration can hold"),
        "{found}"
    );
    assert_eq!(
        errors(&"[".repeat(100_000)),
        "live.yaml:1:256: not valid YAML: recursion limit exceeded"
    );
    let found = errors(&format!("live: {}", "{ a: ".repeat(1_000)));
    assert!(found.contains("nested deeper than 32 levels"), "{found}");
}

proptest::proptest! {
    #[test]
    fn any_text_is_answered(text in "(live|http|listen|vhosts|[a-z]|[:{}\\[\\],&*!|>'\"%@`#\\-? \n\t\u{0}\u{feff}]){0,60}") {
        let _ = load(&text);
    }
}

#[test]
fn a_registry_and_what_it_needs() {
    for (text, expected) in [
        (
            "live: { registry: { ttl: 5s } }\n",
            "live.yaml:1:1: live.node.host: missing; with a registry, players of other nodes are sent to this one, and have to know \
             where it is\n\
             live.yaml:1:9: live.registry.redis: missing; it takes the address of the Redis that the nodes share; for a node alone, \
             write `registry: memory`",
        ),
        (
            "live: { registry: redis }\n",
            "live.yaml:1:19: live.registry: found \"redis\"; accepted is memory or a mapping of keys to values",
        ),
        // What may be a password is not repeated.
        (
            "live: { registry: { redis: 'redis://:hunter2@r.example/x' }, node: { host: a } }\n",
            "live.yaml:1:28: live.registry.redis: found \"***\"; accepted is the address of a Redis such as redis://127.0.0.1:6379/0 \
             (a password with special characters is written percent-encoded)",
        ),
        (
            "live: { node: { host: 'a.example:80' } }\n",
            "live.yaml:1:23: live.node.host: found \"a.example:80\"; accepted is a host name or an IP address, or null (without the \
             port)",
        ),
        (
            "live: { node: { http: 'https://a.example' } }\n",
            "live.yaml:1:23: live.node.http: found \"https://a.example\"; accepted is an address such as http://a.example, or null \
             (its scheme is https)",
        ),
        (
            "live: { limits: { overflow: [b.example] } }\n",
            "live.yaml:1:30: live.limits.overflow[0]: found \"b.example\"; accepted is an address such as http://b.example:8080 or \
             rtmp://b.example (it has to begin with a scheme such as http://)",
        ),
    ] {
        assert_eq!(errors(text), expected, "\n{text}");
    }
    let alone = super::good("live: { registry: memory }");
    assert_eq!(alone, crate::config::Config::default());
}
