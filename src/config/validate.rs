//! What one key cannot know: values that exclude each other, and the files that are named.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;

use super::access::{MAX_TOKEN_KEYS, MIN_HMAC_KEY, Token, TokenKey, TokenScheme};
use super::error::{ConfigError, Problem};
use super::live::{Cert, DvrPlan, Live};
use super::relay::ClusterMode;
use super::schema::Origins;

/// The largest certificate or key file that is read, in bytes: a chain of ten certificates is 20 KB.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// Gathers errors with the place of the key that they are about.
struct Report<'a> {
    origins: &'a Origins,
    errors: Vec<ConfigError>,
}

impl Report<'_> {
    fn add(&mut self, key: &str, problem: Problem) {
        self.errors.push(ConfigError {
            origin: self.origins.find(key),
            key: key.to_owned(),
            problem,
        });
    }

    fn conflict(&mut self, key: &str, message: String) {
        self.add(key, Problem::Conflict { message });
    }

    fn missing(&mut self, key: &str, needed: &str) {
        let needed = needed.to_owned();
        self.add(key, Problem::Missing { needed });
    }
}

/// Values that are good each, but not together.
pub(super) fn check(live: &Live, origins: &Origins) -> Vec<ConfigError> {
    let mut report = Report {
        origins,
        errors: Vec::new(),
    };
    certificates(live, &mut report);
    api(live, &mut report);
    listeners(live, &mut report);
    proxy_protocol(live, &mut report);
    registry(live, &mut report);
    upstreams(live, &mut report);
    routes(live, &mut report);
    for (name, vhost) in &live.vhosts {
        let play = &vhost.play;
        if play.mw_latency >= play.queue_length {
            report.conflict(
                &format!("live.vhosts.{name}.play.mw_latency"),
                "has to be shorter than queue_length, or every player would skip at each write"
                    .to_owned(),
            );
        }
        for (action, token) in [
            ("play", &vhost.tokens.play),
            ("publish", &vhost.tokens.publish),
        ] {
            let path = format!("live.vhosts.{name}.tokens.{action}");
            self::token(&path, token, &mut report);
        }
        for (section, verify, ca) in [
            ("cluster", vhost.cluster.tls_verify, &vhost.cluster.tls_ca),
            ("forward", vhost.forward.tls_verify, &vhost.forward.tls_ca),
        ] {
            if ca.is_some() && !verify {
                report.conflict(
                    &format!("live.vhosts.{name}.{section}.tls_ca"),
                    "is of no use with tls_verify: off".to_owned(),
                );
            }
        }
        let dvr = &vhost.dvr;
        if dvr.enabled && dvr.plan == DvrPlan::Segment && !dvr.path.tells_seconds_apart() {
            report.conflict(
                &format!("live.vhosts.{name}.dvr.path"),
                "has to tell the files of plan: segment apart: it needs [timestamp] or [05]"
                    .to_owned(),
            );
        }
    }
    for (name, vhost) in &live.vhosts {
        let path = format!("live.vhosts.{name}");
        let cluster = &vhost.cluster;
        if cluster.mode == ClusterMode::Remote && cluster.origin.is_empty() {
            report.missing(&format!("{path}.cluster.origin"), NEEDS_ORIGIN);
        }
        if cluster.mode == ClusterMode::Local && !cluster.origin.is_empty() {
            report.conflict(
                &format!("{path}.cluster.origin"),
                "is asked for nothing with mode: local; an edge has mode: remote".to_owned(),
            );
        }
        let forward = &vhost.forward;
        if forward.enabled && forward.destination.is_empty() && forward.backend.is_none() {
            report.missing(&format!("{path}.forward.destination"), NEEDS_DESTINATION);
        }
    }
    report.errors
}

/// Keys are looked at where they are used: a section that is off may be half written.
fn token(path: &str, token: &Token, report: &mut Report<'_>) {
    if !token.enabled {
        return;
    }
    if token.keys.is_empty() {
        report.missing(
            &format!("{path}.keys"),
            "signed URLs take at least one key; without one nobody would be let in",
        );
    }
    if token.keys.len() > MAX_TOKEN_KEYS {
        report.conflict(
            &format!("{path}.keys"),
            format!("at most {MAX_TOKEN_KEYS}: one that signs, and one on its way in or out"),
        );
    }
    for (index, TokenKey { id, key }) in token.keys.iter().enumerate() {
        let here = format!("{path}.keys[{index}]");
        let length = key.expose().len();
        if length == 0 {
            report.missing(&format!("{here}.key"), "it takes the text of the key");
        } else if token.scheme == TokenScheme::Hmac && length < MIN_HMAC_KEY {
            report.conflict(
                &format!("{here}.key"),
                format!("it has {length} bytes; with fewer than {MIN_HMAC_KEY} it can be guessed from one URL"),
            );
        }
        if token.keys.iter().take(index).any(|before| before.id == *id) {
            report.conflict(
                &format!("{here}.id"),
                format!("another key is called {id} already"),
            );
        }
    }
}

/// The API ends publishers and shows who plays what: not to everybody.
fn api(live: &Live, report: &mut Report<'_>) {
    let auth = live.api.auth.as_ref();
    match auth {
        None if live.api.is_public() => report.conflict(
            "live.api.listen",
            "an address that other machines can reach needs live.api.auth, with a password or a token"
                .to_owned(),
        ),
        Some(auth) if auth.password.expose().is_empty() && auth.token.expose().is_empty() => {
            report.missing("live.api.auth", "it takes a password or a token, or both");
        }
        _ => {}
    }
}

const NEEDS_ORIGIN: &str = "an edge takes at least one origin, such as origin.example.com:1935";
const NEEDS_DESTINATION: &str =
    "it takes a server to push to, such as cdn.example.com:1935, or a backend that names them";
const NEEDS_CERT: &str = "it takes the file of a certificate chain in PEM";
const NEEDS_KEY: &str = "it takes the file of a private key in PEM";

fn certificates(live: &Live, report: &mut Report<'_>) {
    if let Some(tls) = &live.rtmp.tls
        && !tls.listen.is_empty()
    {
        if tls.cert.as_os_str().is_empty() {
            report.missing("live.rtmp.tls.cert", NEEDS_CERT);
        }
        if tls.key.as_os_str().is_empty() {
            report.missing("live.rtmp.tls.key", NEEDS_KEY);
        }
    }
    let Some(https) = &live.https else { return };
    if https.certs.is_empty() && !https.listen.is_empty() {
        report.missing(
            "live.https.certs",
            "HTTPS takes at least one certificate; to switch it off, leave `https` out",
        );
    }
    let mut names = HashMap::new();
    for (index, cert) in https.certs.iter().enumerate() {
        let path = format!("live.https.certs[{index}]");
        if cert.cert.as_os_str().is_empty() {
            report.missing(&format!("{path}.cert"), NEEDS_CERT);
        }
        if cert.key.as_os_str().is_empty() {
            report.missing(&format!("{path}.key"), NEEDS_KEY);
        }
        if index > 0 && cert.names.is_empty() {
            report.missing(
                &format!("{path}.names"),
                "only the first certificate can do without: the others are chosen by name",
            );
        }
        for name in &cert.names {
            if let Some(first) = names.insert(name, index) {
                let message = format!("{name} is a name of live.https.certs[{first}] already");
                report.conflict(&format!("{path}.names"), message);
            }
        }
    }
}

fn registry(live: &Live, report: &mut Report<'_>) {
    let Some(registry) = &live.registry else {
        return;
    };
    if registry.redis.is_empty() {
        report.missing(
            "live.registry.redis",
            "it takes the address of the Redis that the nodes share; for a node alone, write `registry: memory`",
        );
    }
    if registry.tls_ca.is_some() && !registry.redis.is_tls() {
        report.conflict(
            "live.registry.tls_ca",
            "is of use with rediss:// alone".to_owned(),
        );
    }
    let node = &live.node;
    let addresses = [
        &node.http,
        &node.https,
        &node.rtmp,
        &node.rtmps,
        &node.inside,
    ];
    if node.host.is_none() && addresses.into_iter().all(Option::is_none) {
        report.missing(
            "live.node.host",
            "with a registry, players of other nodes are sent to this one, and have to know where it is",
        );
    }
}

/// Each address may be listened on once; a wildcard takes the port of all addresses of its family.
fn listeners(live: &Live, report: &mut Report<'_>) {
    let mut taken: Vec<(SocketAddr, &str)> = Vec::new();
    let services = [
        ("live.rtmp.listen", Some(&live.rtmp.listen)),
        (
            "live.rtmp.tls.listen",
            live.rtmp.tls.as_ref().map(|tls| &tls.listen),
        ),
        ("live.http.listen", Some(&live.http.listen)),
        (
            "live.https.listen",
            live.https.as_ref().map(|https| &https.listen),
        ),
        ("live.api.listen", Some(&live.api.listen)),
    ];
    for (key, addresses) in services {
        for address in addresses.into_iter().flatten() {
            match taken.iter().find(|(other, _)| overlap(*other, *address)) {
                Some((other, of)) if *of == key => {
                    report.conflict(key, format!("{address} is listened on by {other} already"))
                }
                // Said of the one that somebody wrote, when the other is a default.
                Some((other, of)) if !report.origins.has(key) && report.origins.has(of) => {
                    report.conflict(
                        of,
                        format!("{other} is taken by the default of {key} ({address})"),
                    );
                }
                Some((other, of)) => {
                    report.conflict(key, format!("{address} is taken by {of} ({other})"))
                }
                None => taken.push((*address, key)),
            }
        }
    }
}

/// Whoever may speak it may claim any address.
fn proxy_protocol(live: &Live, report: &mut Report<'_>) {
    if !live.trusted_proxies.is_empty() {
        return;
    }
    let switches = [
        ("live.rtmp", live.rtmp.proxy_protocol),
        (
            "live.rtmp.tls",
            live.rtmp.tls.as_ref().is_some_and(|tls| tls.proxy_protocol),
        ),
        ("live.http", live.http.proxy_protocol),
        (
            "live.https",
            live.https
                .as_ref()
                .is_some_and(|https| https.proxy_protocol),
        ),
    ];
    for (section, _) in switches.into_iter().filter(|(_, on)| *on) {
        report.conflict(
            &format!("{section}.proxy_protocol"),
            "needs live.trusted_proxies: the addresses of the proxies that may say who a client is"
                .to_owned(),
        );
    }
}

fn upstreams(live: &Live, report: &mut Report<'_>) {
    for (name, upstream) in &live.upstreams {
        let path = format!("live.upstreams.{name}");
        if upstream.servers.is_empty() {
            report.missing(
                &format!("{path}.servers"),
                "an upstream takes at least one server, such as 127.0.0.1:3000",
            );
        }
        if upstream.ca.is_some() && !(upstream.tls && upstream.verify) {
            report.conflict(
                &format!("{path}.ca"),
                "is of use with tls: on and verify: on alone".to_owned(),
            );
        }
    }
}

fn routes(live: &Live, report: &mut Report<'_>) {
    let names: Vec<&str> = live.upstreams.keys().map(String::as_str).collect();
    let all = [String::new()];
    let mut seen = HashMap::new();
    for (index, route) in live.routes.iter().enumerate() {
        let path = format!("live.routes[{index}]");
        let upstream = route.upstream.as_str();
        if upstream.is_empty() {
            report.missing(
                &format!("{path}.upstream"),
                "a route takes the name of one of live.upstreams",
            );
        } else if !live.upstreams.contains_key(upstream) {
            let near = super::hints::nearest(upstream, names.iter().copied());
            let hint = match (near, names.is_empty()) {
                (Some(near), _) => format!("did you mean {near}?"),
                (None, true) => "live.upstreams has none".to_owned(),
                (None, false) => format!("there are {}", names.join(", ")),
            };
            report.conflict(
                &format!("{path}.upstream"),
                format!("there is no upstream {upstream} under live.upstreams; {hint}"),
            );
        }
        if route.path.contains('?') {
            report.conflict(
                &format!("{path}.path"),
                "is a path alone: a query does not choose a route".to_owned(),
            );
        }
        if route
            .response
            .set
            .iter()
            .chain(&route.response.add)
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            report.conflict(
                &format!("{path}.response"),
                "Host is a header of requests".to_owned(),
            );
        }
        let hosts = if route.host.is_empty() {
            &all[..]
        } else {
            &route.host
        };
        for host in hosts {
            let key = (host.as_str(), route.path.trim_end_matches('/'));
            if let Some(first) = seen.insert(key, index) {
                report.conflict(
                    &path,
                    format!("has the host and path of live.routes[{first}] again"),
                );
            }
        }
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    // Port 0 is a free port each time.
    a.port() == b.port()
        && a.port() != 0
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// The certificate and key files: that they can be read, and hold what their key says; and the folder of files.
pub(super) fn check_files(live: &Live, origins: &Origins) -> Vec<ConfigError> {
    let mut report = Report {
        origins,
        errors: Vec::new(),
    };
    if let Some(tls) = &live.rtmp.tls
        && !tls.listen.is_empty()
    {
        pair("live.rtmp.tls", &tls.cert, &tls.key, &mut report);
    }
    if let Some(https) = &live.https
        && !https.listen.is_empty()
    {
        for (index, Cert { cert, key, .. }) in https.certs.iter().enumerate() {
            pair(
                &format!("live.https.certs[{index}]"),
                cert,
                key,
                &mut report,
            );
        }
    }
    for (key, ca) in authorities(live) {
        let message = match read_pem(ca) {
            Ok(text) => judge_cert(&text).map(str::to_owned),
            Err(message) => Some(message),
        };
        if let Some(message) = message {
            let path = ca.display().to_string();
            report.add(&key, Problem::File { path, message });
        }
    }
    if let Some(root) = &live.http.root {
        folder("live.http.root", root, &mut report);
    }
    report.errors
}

/// The files of authorities, and the keys that name them.
fn authorities(live: &Live) -> Vec<(String, &Path)> {
    let upstreams = live
        .upstreams
        .iter()
        .map(|(name, upstream)| (format!("live.upstreams.{name}.ca"), &upstream.ca));
    let vhosts = live.vhosts.iter().flat_map(|(name, vhost)| {
        [
            ("cluster", &vhost.cluster.tls_ca),
            ("forward", &vhost.forward.tls_ca),
        ]
        .map(|(section, ca)| (format!("live.vhosts.{name}.{section}.tls_ca"), ca))
    });
    let registry = live
        .registry
        .iter()
        .map(|registry| ("live.registry.tls_ca".to_owned(), &registry.tls_ca));
    upstreams
        .chain(vhosts)
        .chain(registry)
        .filter_map(|(key, ca)| Some((key, ca.as_deref()?)))
        .collect()
}

fn folder(key: &str, path: &Path, report: &mut Report<'_>) {
    let message = match std::fs::read_dir(path) {
        Ok(_) => return,
        Err(error) => match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such folder".to_owned(),
            std::io::ErrorKind::PermissionDenied => "it may not be read by this user".to_owned(),
            std::io::ErrorKind::NotADirectory => "it is no folder".to_owned(),
            _ => error.to_string(),
        },
    };
    let path = path.display().to_string();
    report.add(key, Problem::File { path, message });
}

fn pair(path: &str, cert: &Path, key: &Path, report: &mut Report<'_>) {
    for (name, file, judge) in [
        ("cert", cert, judge_cert as fn(&str) -> Option<&'static str>),
        ("key", key, judge_key),
    ] {
        let message = match read_pem(file) {
            Ok(text) => judge(&text).map(str::to_owned),
            Err(message) => Some(message),
        };
        if let Some(message) = message {
            let path_of_file = file.display().to_string();
            let problem = Problem::File {
                path: path_of_file,
                message,
            };
            report.add(&format!("{path}.{name}"), problem);
        }
    }
}

fn read_pem(file: &Path) -> Result<String, String> {
    let describe = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "it may not be read by this user".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    };
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(MAX_PEM_BYTES).read_to_end(&mut bytes))
        .map_err(describe)?;
    String::from_utf8(bytes).map_err(|_| "it is not in PEM: not a text".to_owned())
}

/// RFC 7468 §5.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
/// RFC 7468 §10 (PKCS #8), RFC 5915 §4 (EC) and the older form of RSA keys.
const KEYS: [&str; 3] = [
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN EC PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----",
];

fn has_key(text: &str) -> bool {
    KEYS.iter().any(|marker| text.contains(marker))
}

/// What speaks against the file, if anything.
fn judge_cert(text: &str) -> Option<&'static str> {
    if text.contains(CERTIFICATE) {
        None
    } else if has_key(text) {
        Some("it holds a private key and no certificate; are `cert` and `key` exchanged?")
    } else {
        Some("it holds no certificate in PEM (no line `-----BEGIN CERTIFICATE-----`)")
    }
}

fn judge_key(text: &str) -> Option<&'static str> {
    if has_key(text) {
        // The older form of encrypted keys has the same first line.
        let encrypted = text.contains("Proc-Type: 4,ENCRYPTED");
        encrypted.then_some("the key has a passphrase; store it without")
    } else if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        Some("the key has a passphrase; store it without")
    } else if text.contains(CERTIFICATE) {
        Some("it holds a certificate and no private key; are `cert` and `key` exchanged?")
    } else {
        Some("it holds no private key in PEM (no line `-----BEGIN PRIVATE KEY-----`)")
    }
}
