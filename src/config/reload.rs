//! What a configuration that is read again changes in a server that runs.

use super::Live;
use super::print::entries;
use super::secret::Secret;

/// What a reload changed, by the paths of the keys (`live.vhosts.a.example.play.wait`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Keys that have another value from now on, or are there no more.
    pub changed: Vec<String>,
    /// Keys that were written differently, and keep the value that they have until the server is started again.
    pub needs_restart: Vec<String>,
}

/// Declares the keys that are looked at when the server starts, and never again. A room whose keys cannot change while it runs
/// names them here, sections as a whole.
macro_rules! fixed {
    ($($first:ident $(. $rest:ident)*),* $(,)?) => {
        /// Their paths.
        const FIXED: &[&str] = &[
            $(concat!("live.", stringify!($first) $(, ".", stringify!($rest))*)),*
        ];

        /// Gives `next` the values that `running` has for them.
        fn keep(running: &Live, next: &mut Live) {
            $(next.$first$(.$rest)*.clone_from(&running.$first$(.$rest)*);)*
        }
    };
}

fixed! {
    rtmp.listen,
    // The bytes of streams that run are cut by it.
    rtmp.chunk_size,
    rtmp.proxy_protocol,
    http.listen,
    http.proxy_protocol,
    http.h2c,
    registry,
    node,
    api.listen,
    log,
    upstreams,
    routes,
}

/// Of a section that may be there or not, what is fixed while it is there. That it is there or not is fixed too.
const FIXED_TLS: &[&str] = &[
    "live.rtmp.tls.listen",
    "live.rtmp.tls.proxy_protocol",
    "live.https.listen",
    "live.https.proxy_protocol",
    "live.https.http2",
];

impl Changes {
    /// Compares what runs with what is to come, and gives the latter back the values that cannot change.
    pub(crate) fn merge(running: &Live, next: &mut Live) -> Self {
        let written = next.clone();
        keep(running, next);
        match (&running.rtmp.tls, &mut next.rtmp.tls) {
            (Some(old), Some(new)) => {
                new.listen.clone_from(&old.listen);
                new.proxy_protocol = old.proxy_protocol;
            }
            (old, new) => new.clone_from(old),
        }
        match (&running.https, &mut next.https) {
            (Some(old), Some(new)) => {
                new.listen.clone_from(&old.listen);
                new.proxy_protocol = old.proxy_protocol;
                new.http2 = old.http2;
            }
            (old, new) => new.clone_from(old),
        }
        Self {
            changed: differences(running, next),
            needs_restart: differences(&written, next),
        }
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.needs_restart.is_empty()
    }
}

/// The paths of the keys that are not the same in both.
fn differences(one: &Live, other: &Live) -> Vec<String> {
    // With the secrets: a key that was replaced by another is shown as before.
    type Value = (String, Option<Secret>);
    let values = |live: &Live| -> Vec<Value> {
        let present = entries(live).into_iter().filter(|e| e.place.present);
        present.map(|e| (e.place.path, e.whole)).collect()
    };
    let (one, other) = (values(one), values(other));
    let has = |list: &[Value], entry: &Value| list.iter().any(|known| known == entry);
    let mut paths: Vec<String> = Vec::new();
    for entry in one.iter().filter(|e| !has(&other, e)) {
        paths.push(entry.0.clone());
    }
    for entry in other.iter().filter(|e| !has(&one, e)) {
        if !paths.contains(&entry.0) {
            paths.push(entry.0.clone());
        }
    }
    paths
}

/// Whether the value of a key is fixed while the server runs.
pub fn needs_restart(path: &str) -> bool {
    FIXED.iter().chain(FIXED_TLS).any(|fixed| {
        path.strip_prefix(fixed)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn live(yaml: &str) -> Live {
        let config = Config::from_yaml(yaml, "test", std::iter::empty());
        config.expect("a configuration").live
    }

    #[test]
    fn what_can_change_does_and_what_cannot_is_named() {
        let running = live("live: { http: { listen: 8080 } }");
        let mut next = live(
            "live:\n  http: { listen: 8081, crossdomain: off }\n  log: { level: debug }\n  vhosts:\n    a.example: { enabled: off }\n",
        );
        let changes = Changes::merge(&running, &mut next);
        assert_eq!(
            changes.needs_restart,
            ["live.http.listen", "live.log.level"]
        );
        assert!(
            changes
                .changed
                .contains(&"live.http.crossdomain".to_owned())
        );
        assert!(
            changes
                .changed
                .contains(&"live.vhosts.a.example.enabled".to_owned())
        );
        assert_eq!(next.http.listen, running.http.listen);
        assert!(next.http.crossdomain.is_off());
        for path in &changes.needs_restart {
            assert!(needs_restart(path), "{path}");
        }
        assert!(!needs_restart("live.http.crossdomain"));
    }

    /// What is shown is the same before and after.
    #[test]
    fn a_secret_that_is_another_is_a_change() {
        let vhost = |keys: &str| format!("live: {{ vhosts: {{ a.example: {{ {keys} }} }} }}");
        for (before, after, key) in [
            (
                "live: { api: { auth: { password: 'one' } } }".to_owned(),
                "live: { api: { auth: { password: 'two' } } }".to_owned(),
                "live.api.auth.password",
            ),
            (
                vhost("http_hooks: { on_play: 'http://a.example/?key=one' }"),
                vhost("http_hooks: { on_play: 'http://a.example/?key=two' }"),
                "live.vhosts.a.example.http_hooks.on_play",
            ),
            (
                vhost("forward: { destination: 'rtmp://cdn.example/in/one' }"),
                vhost("forward: { destination: 'rtmp://cdn.example/in/two' }"),
                "live.vhosts.a.example.forward.destination",
            ),
            (
                vhost("forward: { backend: 'http://a.example/?one' }"),
                vhost("forward: { backend: 'http://a.example/?two' }"),
                "live.vhosts.a.example.forward.backend",
            ),
        ] {
            let (running, mut next) = (live(&before), live(&after));
            let changes = Changes::merge(&running, &mut next);
            assert_eq!(changes.changed, [key]);
            assert!(changes.needs_restart.is_empty());
            for shown in crate::config::settings(&next) {
                assert!(!shown.value.contains("two"), "{shown:?}");
            }
        }
        let registry = |password: &str| {
            live(&format!(
                "live: {{ node: {{ host: a.example }}, registry: {{ redis: 'redis://:{password}@127.0.0.1:9' }} }}"
            ))
        };
        let changes = Changes::merge(&registry("one"), &mut registry("two"));
        assert_eq!(changes.needs_restart, ["live.registry.redis"]);
        assert!(changes.changed.is_empty());
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let running = live("");
        assert!(Changes::merge(&running, &mut live("")).is_empty());
    }

    #[test]
    fn a_section_that_comes_needs_a_restart() {
        let running = live("");
        let mut next =
            live("live: { https: { listen: 9443, certs: [{ cert: a.crt, key: a.key }] } }");
        let changes = Changes::merge(&running, &mut next);
        assert!(next.https.is_none());
        assert!(changes.changed.is_empty());
        assert!(
            changes
                .needs_restart
                .contains(&"live.https.certs[0].cert".to_owned())
        );
    }
}
