//! Which vhost a host means, and whose settings it has.

use std::time::Duration;

use super::{default_vhost, good};
use crate::config::{OnBusy, Vhost};

#[test]
fn vhosts_are_found_by_host() {
    let config = good(
        "live:\n  vhosts:\n    Live.Example.com: { play: { wait: 1s } }\n    off.example.com: { enabled: off }\n    '[2001:db8::1]': {}\n",
    );
    let find = |host| {
        config
            .live
            .vhost(host)
            .map(|(key, vhost)| (key, vhost.enabled))
    };
    assert_eq!(find("live.example.com"), Some(("live.example.com", true)));
    assert_eq!(find("LIVE.example.COM"), Some(("live.example.com", true)));
    assert_eq!(find("live.example.com."), Some(("live.example.com", true)));
    assert_eq!(find("other.example.com"), Some(("__defaultVhost__", true)));
    assert_eq!(
        find("live.example.com:8080"),
        Some(("__defaultVhost__", true))
    );
    assert_eq!(find(""), Some(("__defaultVhost__", true)));
    assert_eq!(find("__defaultVhost__"), Some(("__defaultVhost__", true)));
    assert_eq!(find("[2001:DB8::1]"), Some(("2001:db8::1", true)));
    assert_eq!(find("2001:db8::1"), Some(("2001:db8::1", true)));
    // One that is off is that, and not the default.
    assert_eq!(find("off.example.com"), Some(("off.example.com", false)));
}

/// As in SRS: a vhost has the built-in defaults, not the settings of the default vhost.
#[test]
fn vhosts_stand_alone() {
    let config =
        good("live:\n  vhosts:\n    __defaultVhost__: { play: { wait: 1s } }\n    a.com: {}\n");
    assert_eq!(config.live.vhosts["a.com"], Vhost::default());
    assert_eq!(default_vhost(&config).play.wait, Duration::from_secs(1));
}

/// YAML's own way of sharing settings.
#[test]
fn anchors_and_merge_keys() {
    let config = good(
        "live:\n  vhosts:\n    __defaultVhost__: &base\n      enabled: off\n      play: { wait: 1s }\n    a.com:\n      <<: *base\n      \
         enabled: on\n    b.com: *base\n    c.com: { <<: [*base, { publish: { on_busy: kick } }] }\n",
    );
    let vhosts = &config.live.vhosts;
    assert!(vhosts["a.com"].enabled && !vhosts["b.com"].enabled);
    assert!(
        vhosts
            .values()
            .all(|vhost| vhost.play.wait == Duration::from_secs(1))
    );
    assert_eq!(vhosts["c.com"].publish.on_busy, OnBusy::Kick);
}
