//! Environment variables over the file: `PINGORA_LIVE_` and the path of a key in upper case, with `_` for each dot.

use super::error::Problem;
use super::hints;
use super::live::Live;
use super::schema::{Context, Variable, environment_origin, overlay_section};
use super::{ENVIRONMENT_PREFIX, print, server};

/// Sets the keys that the variables name, and reports variables that name none.
pub(super) fn overlay(
    live: &mut Live,
    variables: impl Iterator<Item = (String, String)>,
    cx: &mut Context,
) {
    let prefix = ENVIRONMENT_PREFIX.trim_end_matches('_');
    let mut variables: Vec<_> = variables
        .filter(|(name, text)| name.starts_with(ENVIRONMENT_PREFIX) && !is_service_link(name, text))
        .collect();
    // The environment has no order of its own; errors should have one.
    variables.sort();
    for (name, text) in variables {
        let at = environment_origin(&name);
        let variable = Variable { name, text, at };
        if !overlay_section(live, prefix, server::LIVE, &variable, cx) {
            let hint = hint(&variable.name);
            cx.report(&variable.at, "", Problem::UnknownVariable { hint });
        }
    }
}

/// Variables that Kubernetes and Docker links set for a service that is named `pingora-live` or `pingora-live-…`, such
/// as `PINGORA_LIVE_SERVICE_HOST` and `PINGORA_LIVE_PORT_1935_TCP_ADDR`. Nobody wrote them, and they must not keep the
/// server from starting.
fn is_service_link(name: &str, text: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT") {
        return true;
    }
    let is_url = || {
        ["tcp://", "udp://", "sctp://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
    };
    if name.ends_with("_PORT") && is_url() {
        return true;
    }
    let Some((_, after)) = name.rsplit_once("_PORT_") else {
        return false;
    };
    let mut parts = after.split('_');
    let port = parts
        .next()
        .is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    port && parts
        .next()
        .is_some_and(|part| matches!(part, "TCP" | "UDP" | "SCTP"))
}

fn hint(name: &str) -> String {
    let keys = print::documented_keys();
    // Compared without what all names share, or each would be near to each.
    let name = name.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or(name);
    let known = keys
        .iter()
        .filter_map(|key| key.environment.strip_prefix(ENVIRONMENT_PREFIX));
    if let Some(near) = hints::nearest(name, known) {
        return format!("did you mean {ENVIRONMENT_PREFIX}{near}?");
    }
    let key = name.to_ascii_lowercase();
    if server::KEYS.iter().any(|(name, ..)| *name == key) {
        return format!("`{key}` is pingora's, and is set in the file only");
    }
    "a name is PINGORA_LIVE_ and the path of a key, as in PINGORA_LIVE_HTTP_LISTEN or PINGORA_LIVE_VHOST_PLAY_WAIT".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_of_kubernetes_are_no_settings() {
        for (name, text) in [
            ("PINGORA_LIVE_SERVICE_HOST", "10.0.0.1"),
            ("PINGORA_LIVE_SERVICE_PORT", "1935"),
            ("PINGORA_LIVE_SERVICE_PORT_RTMP", "1935"),
            ("PINGORA_LIVE_PORT", "tcp://10.0.0.1:1935"),
            ("PINGORA_LIVE_PORT_1935_TCP", "tcp://10.0.0.1:1935"),
            ("PINGORA_LIVE_PORT_1935_TCP_PROTO", "tcp"),
            ("PINGORA_LIVE_HTTP_SERVICE_HOST", "10.0.0.1"),
            ("PINGORA_LIVE_HTTP_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ] {
            assert!(is_service_link(name, text), "{name}");
        }
        for (name, text) in [
            ("PINGORA_LIVE_PORT", "1935"),
            ("PINGORA_LIVE_HTTP_LISTEN", "tcp://10.0.0.1:1935"),
            ("PINGORA_LIVE_PORT_TCP", "x"),
        ] {
            assert!(!is_service_link(name, text), "{name}");
        }
        let known = print::documented_keys();
        assert!(
            known
                .iter()
                .all(|key| !is_service_link(&key.environment, "tcp://"))
        );
    }
}
