//! The values of the keys about who may: address rules, hosts of pages, origins, secrets and the addresses of callbacks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::cidr::{Network, NetworkError};
use super::error::Origin;
use super::kinds::{flow_list, parse_list, parse_scalar, quoted};
use super::node::{Data, Node};
use super::schema::{Context, Leaf};
use super::secret::Secret;
use super::units::{self, Guess};

/// What a client wants with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// To receive it, in whatever format; a file counts as played.
    Play,
    /// To send it.
    Publish,
}

impl Action {
    /// `play` or `publish`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Play => "play",
            Self::Publish => "publish",
        }
    }
}

/// One line of `security.seal`, such as `deny publish 10.0.0.0/8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// Whether it allows; else it denies.
    pub allow: bool,
    /// What it speaks of.
    pub action: Action,
    /// Whom it speaks of; `None` is everybody.
    pub network: Option<Network>,
}

impl AccessRule {
    /// Whether it speaks of this client.
    pub fn matches(&self, action: Action, address: IpAddr) -> bool {
        self.action == action && self.network.is_none_or(|network| network.contains(address))
    }
}

impl fmt::Display for AccessRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.allow { "allow" } else { "deny" };
        write!(f, "{verb} {} ", self.action.as_str())?;
        match &self.network {
            Some(network) => network.fmt(f),
            None => f.write_str("all"),
        }
    }
}

/// Reads one rule; the error says what was probably meant.
fn parse_rule(text: &str) -> Result<AccessRule, Guess> {
    // SRS's lines end in a semicolon.
    let text = text.trim().trim_end_matches(';');
    let words: Vec<&str> = text.split_whitespace().collect();
    let [verb, action, whom] = words.as_slice() else {
        return Err(None);
    };
    let allow = match *verb {
        "allow" => true,
        "deny" => false,
        _ => return Err(Some("it begins with allow or deny".to_owned())),
    };
    let action = match *action {
        "play" => Action::Play,
        "publish" => Action::Publish,
        _ => return Err(Some("the second word is play or publish".to_owned())),
    };
    let network = match *whom {
        "all" => None,
        network => Some(Network::from_str(network).map_err(guess_network)?),
    };
    Ok(AccessRule {
        allow,
        action,
        network,
    })
}

fn guess_network(error: NetworkError) -> Guess {
    Some(error.to_string())
}

const RULE: &str = "a rule such as \"allow play all\" or \"deny publish 10.0.0.0/8\"";
const LIST: &str = "a list of them";

/// A list in the environment whose items may hold spaces.
fn split_commas(text: &str, at: &Origin) -> Node {
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    Node {
        at: at.clone(),
        data: Data::List(items.map(|item| Node::scalar(at, item)).collect()),
    }
}

/// Rules by address.
pub(super) struct Rules;

impl Leaf for Rules {
    type Value = Vec<AccessRule>;

    fn accepted(&self) -> String {
        format!("{RULE}, or {LIST}")
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Vec<AccessRule>> {
        parse_list(node, path, (RULE, LIST), cx, parse_rule)
    }

    fn text(&self, value: &Vec<AccessRule>) -> String {
        flow_list(value.iter().map(|rule| quoted(&rule.to_string())))
    }

    fn environment_node(&self, text: &str, at: &Origin) -> Node {
        split_commas(text, at)
    }
}

/// Which page a client may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Referrer {
    /// A page of this host, or of one below it; in lower case.
    Host(String),
    /// No page at all.
    None,
}

const REFERRER: &str = "a host name such as example.com, or none";

/// RFC 1035 §2.3.4.
const MAX_HOST_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

pub(super) fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= MAX_LABEL_BYTES
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= MAX_HOST_BYTES && name.split('.').all(label)
}

fn parse_referrer(text: &str) -> Result<Referrer, Guess> {
    if text == "none" {
        return Ok(Referrer::None);
    }
    let bare = text.strip_prefix("*.").or_else(|| text.strip_prefix('.'));
    if let Some(bare) = bare.filter(|bare| is_host(bare)) {
        return Err(Some(format!(
            "{bare} stands for itself and all hosts below it"
        )));
    }
    if is_host(text) {
        return Ok(Referrer::Host(text.to_ascii_lowercase()));
    }
    let url = text.contains('/') || text.contains(':');
    Err(url.then(|| "the host alone, without scheme, port and path".to_owned()))
}

/// Hosts of pages.
pub(super) struct Referrers;

impl Leaf for Referrers {
    type Value = Vec<Referrer>;

    fn accepted(&self) -> String {
        format!("{REFERRER}, or {LIST}")
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Vec<Referrer>> {
        parse_list(node, path, (REFERRER, LIST), cx, parse_referrer)
    }

    fn text(&self, value: &Vec<Referrer>) -> String {
        flow_list(value.iter().map(|referrer| match referrer {
            Referrer::Host(host) => quoted(host),
            Referrer::None => "none".to_owned(),
        }))
    }

    fn environment_node(&self, text: &str, at: &Origin) -> Node {
        split_commas(text, at)
    }
}

/// Which web pages of other origins may play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crossdomain {
    /// None.
    Off,
    /// All.
    Any,
    /// Those of these origins (`https://example.com`), in lower case.
    Origins(Vec<String>),
}

impl Crossdomain {
    /// Whether no page of another origin may.
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }

    /// What `Access-Control-Allow-Origin` says to a page of this origin, if anything.
    pub fn allows(&self, origin: &str) -> Option<&str> {
        match self {
            Self::Off => None,
            Self::Any => Some("*"),
            Self::Origins(origins) => origins
                .iter()
                .find(|known| known.eq_ignore_ascii_case(origin))
                .map(String::as_str),
        }
    }
}

const ORIGIN: &str = "an origin such as \"https://example.com\"";

/// RFC 6454 §6.2: scheme, host and, where it is not the scheme's own, a port.
fn parse_origin(text: &str) -> Result<String, Guess> {
    let lower = text.to_ascii_lowercase();
    let Some((scheme, rest)) = lower.split_once("://") else {
        let host = is_host(&lower);
        return Err(host.then(|| format!("with its scheme, as in \"https://{lower}\"")));
    };
    if !matches!(scheme, "http" | "https") {
        return Err(Some("pages come by http or https".to_owned()));
    }
    if rest.contains(['/', '?', '#']) {
        return Err(Some(
            "without a path, and without a slash at the end".to_owned(),
        ));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if !port_fits || !(bracketed || is_host(host)) {
        return Err(None);
    }
    // RFC 6454 §6.2: a browser leaves the scheme's own port out.
    let own = matches!(
        (scheme, port),
        ("http", Some("80")) | ("https", Some("443"))
    );
    Ok(match port {
        Some(port) if !own => format!("{scheme}://{host}:{port}"),
        _ => format!("{scheme}://{host}"),
    })
}

/// `on`, `off`, or origins.
pub(super) struct Origins;

impl Leaf for Origins {
    type Value = Crossdomain;

    fn accepted(&self) -> String {
        format!("on, off, {ORIGIN}, or {LIST}")
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Crossdomain> {
        if let Data::Scalar(text) = &node.data
            && !text.contains("://")
        {
            let switch = parse_scalar(node, path, &self.accepted(), cx, units::parse_switch)?;
            return Some(if switch {
                Crossdomain::Any
            } else {
                Crossdomain::Off
            });
        }
        let origins = parse_list(node, path, (ORIGIN, LIST), cx, parse_origin)?;
        Some(if origins.is_empty() {
            Crossdomain::Off
        } else {
            Crossdomain::Origins(origins)
        })
    }

    fn text(&self, value: &Crossdomain) -> String {
        match value {
            Crossdomain::Off => "off".to_owned(),
            Crossdomain::Any => "on".to_owned(),
            Crossdomain::Origins(origins) => flow_list(origins.iter().map(|origin| quoted(origin))),
        }
    }

    fn environment_node(&self, text: &str, at: &Origin) -> Node {
        if text.contains("://") {
            split_commas(text, at)
        } else {
            Node::scalar(at, text)
        }
    }
}

/// A text that is never shown.
pub(super) struct Hidden;

impl Leaf for Hidden {
    type Value = Secret;

    fn accepted(&self) -> String {
        "a text, in quotes; it is never shown".to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Secret> {
        match &node.data {
            Data::Scalar(text) if !text.chars().any(char::is_control) => {
                Some(Secret::new(text.as_str()))
            }
            _ => {
                // What was found is not told: it may be the secret in the wrong form.
                let found = Node::scalar(&node.at, "***");
                cx.refuse(&found, path, &self.accepted(), None);
                None
            }
        }
    }

    fn text(&self, value: &Secret) -> String {
        let shown = if value.expose().is_empty() { "" } else { "***" };
        quoted(shown)
    }

    fn whole(&self, value: &Secret) -> Secret {
        value.clone()
    }

    fn example(&self) -> Option<&'static str> {
        Some("\"a long text that nobody can guess\"")
    }
}

/// A text without line breaks.
pub(super) struct Line {
    pub(super) accepted: &'static str,
    pub(super) judge: fn(&str) -> Result<(), Guess>,
}

impl Leaf for Line {
    type Value = String;

    fn accepted(&self) -> String {
        self.accepted.to_owned()
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<String> {
        parse_scalar(node, path, self.accepted, cx, |text| {
            if text.chars().any(char::is_control) {
                return Err(None);
            }
            (self.judge)(text).map(|()| text.to_owned())
        })
    }

    fn text(&self, value: &String) -> String {
        quoted(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_shown() {
        for (text, shown) in [
            ("allow play all", "allow play all"),
            ("deny  publish 10.0.0.0/8;", "deny publish 10.0.0.0/8"),
            ("allow publish 2001:db8::/32", "allow publish 2001:db8::/32"),
            ("deny play 127.0.0.1", "deny play 127.0.0.1"),
        ] {
            assert_eq!(parse_rule(text).unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "allow",
            "allow play",
            "allow play all all",
            "permit play all",
            "allow watch all",
            "allow play 10.0.0.1/8",
            "allow play example.com",
        ] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pages_are_hosts_or_none() {
        assert_eq!(parse_referrer("none"), Ok(Referrer::None));
        assert_eq!(
            parse_referrer("GitHub.com"),
            Ok(Referrer::Host("github.com".to_owned()))
        );
        for bad in [
            "",
            "https://a.example",
            "a.example/",
            "*.a.example",
            ".a",
            "a..b",
        ] {
            assert!(parse_referrer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_are_as_browsers_send_them() {
        for (text, origin) in [
            ("https://a.example", "https://a.example"),
            ("HTTPS://A.example:443", "https://a.example"),
            ("http://a.example:8080", "http://a.example:8080"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(parse_origin(text).unwrap(), origin, "{text}");
        }
        for bad in [
            "a.example",
            "https://a.example/",
            "ftp://a.example",
            "https://",
            "https://a:x",
        ] {
            assert!(parse_origin(bad).is_err(), "{bad}");
        }
        let listed = Crossdomain::Origins(vec!["https://a.example".to_owned()]);
        assert_eq!(
            listed.allows("https://a.example"),
            Some("https://a.example")
        );
        assert_eq!(listed.allows("https://evil.example"), None);
        assert_eq!(listed.allows("https://a.example.evil.example"), None);
        assert_eq!(Crossdomain::Any.allows("null"), Some("*"));
        assert_eq!(Crossdomain::Off.allows("https://a.example"), None);
    }
}
