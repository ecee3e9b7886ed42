//! Rules by address, in SRS's order (`SrsSecurity::do_check`).

use std::net::IpAddr;

use crate::config::{AccessRule, Action, Security};

/// Why an address may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// A rule denies it.
    #[error("the rule `{0}`")]
    Rule(AccessRule),
    /// There are rules that allow, and none of them allows it; or there are no rules at all.
    #[error("no rule allows it")]
    NotAllowed,
    /// A client without an address, where addresses decide.
    #[error("its address is not known")]
    Unknown,
}

/// A `deny` that matches decides. Else, once there is an `allow`, of whichever action, one has to match; and without any rule nobody may.
pub(super) fn check(
    security: &Security,
    action: Action,
    address: Option<IpAddr>,
) -> Result<(), Refused> {
    if !security.enabled {
        return Ok(());
    }
    let address = address.ok_or(Refused::Unknown)?;
    let rules = &security.seal;
    if let Some(rule) = rules
        .iter()
        .find(|rule| !rule.allow && rule.matches(action, address))
    {
        return Err(Refused::Rule(rule.clone()));
    }
    let mut allows = rules.iter().filter(|rule| rule.allow).peekable();
    if allows.peek().is_none() && !rules.is_empty() {
        return Ok(());
    }
    if allows.any(|rule| rule.matches(action, address)) {
        Ok(())
    } else {
        Err(Refused::NotAllowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(rules: &[&str], action: Action, address: &str) -> bool {
        let yaml = format!(
            "live: {{ vhosts: {{ __defaultVhost__: {{ security: {{ enabled: on, seal: {rules:?} }} }} }} }}"
        );
        let live = crate::config::Live::from_yaml(&yaml, "rules.yaml", std::iter::empty()).unwrap();
        let security = &live.vhosts["__defaultVhost__"].security;
        check(security, action, Some(address.parse().unwrap())).is_ok()
    }

    /// Each row: the rules; an address; whether it may play, and publish.
    #[test]
    fn the_order_is_that_of_srs() {
        let rows: &[(&[&str], &str, bool, bool)] = &[
            // Rules are on and there are none: nobody.
            (&[], "10.0.0.1", false, false),
            (&["allow play all"], "10.0.0.1", true, false),
            (&["allow play all", "allow publish all"], "::1", true, true),
            // Denies alone let all others in.
            (&["deny play 10.0.0.0/8"], "10.0.0.1", false, true),
            (&["deny play 10.0.0.0/8"], "11.0.0.1", true, true),
            // A deny wins over an allow, wherever it stands.
            (
                &["allow play all", "deny play 10.0.0.1"],
                "10.0.0.1",
                false,
                false,
            ),
            (
                &["deny play 10.0.0.1", "allow play all"],
                "10.0.0.1",
                false,
                false,
            ),
            (
                &["deny play 10.0.0.1", "allow play all"],
                "10.0.0.2",
                true,
                false,
            ),
            // An allow of one action closes the other.
            (&["allow publish 10.0.0.0/8"], "10.0.0.1", false, true),
            (
                &["deny publish all", "allow play all"],
                "10.0.0.1",
                true,
                false,
            ),
            // IPv6, and IPv4 that came over an IPv6 socket.
            (&["allow play 2001:db8::/32"], "2001:db8::7", true, false),
            (&["allow play 2001:db8::/32"], "2001:db9::7", false, false),
            (&["deny play 10.0.0.0/8"], "::ffff:10.0.0.1", false, true),
            (&["allow play 127.0.0.1"], "::1", false, false),
        ];
        for (rules, address, play, publish) in rows {
            let judged = (
                allowed(rules, Action::Play, address),
                allowed(rules, Action::Publish, address),
            );
            assert_eq!(judged, (*play, *publish), "{rules:?} {address}");
        }
    }

    #[test]
    fn without_an_address_the_rules_cannot_be_kept() {
        let security = Security {
            enabled: true,
            seal: vec![AccessRule {
                allow: true,
                action: Action::Play,
                network: None,
            }],
        };
        assert_eq!(check(&security, Action::Play, None), Err(Refused::Unknown));
        assert_eq!(check(&Security::default(), Action::Play, None), Ok(()));
    }
}
