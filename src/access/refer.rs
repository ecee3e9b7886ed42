//! Pages that may embed.

use crate::config::{Action, Refer, Referrer};
use crate::vhost::host_of_url;

/// Whether a client that comes from `page` may. The common list and the action's own have to agree; an empty one agrees with all.
pub(super) fn allows(refer: &Refer, action: Action, page: Option<&str>) -> bool {
    if !refer.enabled {
        return true;
    }
    let own = match action {
        Action::Play => &refer.play,
        Action::Publish => &refer.publish,
    };
    let page = page.map(str::trim).filter(|page| !page.is_empty());
    [&refer.all, own]
        .into_iter()
        .all(|list| list.is_empty() || list.iter().any(|known| matches(known, page)))
}

/// SRS compares ends of texts, so `evilgithub.com` passes for `github.com`; here a host is one label by label.
fn matches(known: &Referrer, page: Option<&str>) -> bool {
    match (known, page) {
        (Referrer::None, page) => page.is_none(),
        (Referrer::Host(_), None) => false,
        (Referrer::Host(host), Some(page)) => {
            let asked = host_of_url(page).trim_end_matches('.').to_ascii_lowercase();
            asked
                .strip_suffix(host.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<Referrer> {
        names
            .iter()
            .map(|name| match *name {
                "none" => Referrer::None,
                host => Referrer::Host(host.to_owned()),
            })
            .collect()
    }

    #[test]
    fn hosts_match_at_the_borders_of_labels() {
        let refer = Refer {
            enabled: true,
            all: list(&["github.com"]),
            ..Refer::default()
        };
        for (page, allowed) in [
            (Some("http://github.com/x"), true),
            (Some("https://GitHub.com:8443/x?y#z"), true),
            (Some("https://gist.github.com"), true),
            (Some("github.com"), true),
            (Some("https://github.com."), true),
            (Some("https://evilgithub.com/"), false),
            (Some("https://github.com.evil.example/"), false),
            (Some("https://evil.example/github.com"), false),
            (Some("https://evil.example/?github.com"), false),
            (Some("https://github.com@evil.example/"), false),
            (Some("https://evil.example#@github.com"), false),
            (Some(""), false),
            (Some("   "), false),
            (None, false),
        ] {
            assert_eq!(allows(&refer, Action::Play, page), allowed, "{page:?}");
        }
    }

    #[test]
    fn lists_for_all_and_for_one_action_both_count() {
        let refer = Refer {
            enabled: true,
            all: list(&["a.example", "none"]),
            play: list(&["play.a.example"]),
            publish: list(&["none"]),
        };
        let allowed = |action, page| allows(&refer, action, page);
        assert!(allowed(Action::Play, Some("https://play.a.example/")));
        assert!(!allowed(Action::Play, Some("https://a.example/")));
        assert!(!allowed(Action::Play, None));
        assert!(allowed(Action::Publish, None));
        assert!(allowed(Action::Publish, Some("")));
        assert!(!allowed(Action::Publish, Some("https://a.example/")));
        let off = Refer {
            enabled: false,
            ..refer.clone()
        };
        assert!(allows(&off, Action::Play, Some("https://evil.example")));
    }
}
