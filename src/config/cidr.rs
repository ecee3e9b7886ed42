//! Networks: an address and how many of its first bits count, as in `10.0.0.0/8` (RFC 4632 §3.1, RFC 4291 §2.3).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use thiserror::Error;

use super::error::Origin;
use super::kinds::{LIST, flow_list, parse_list, quoted, split_list};
use super::node::Node;
use super::schema::{Context, Leaf};

const NETWORK: &str = "a network such as 10.0.0.0/8, or an IP address";

/// Bits before the IPv4 address in an IPv6 address that stands for one (RFC 4291 §2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// A network, or one address.
///
/// IPv4 addresses that came over an IPv6 socket (`::ffff:10.0.0.1`) are taken for what they are, in networks and in what is
/// asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpNet);

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// It is none at all.
    #[error("not an IP address, or one with / and a number of bits")]
    Malformed,
    /// More bits than the address has.
    #[error("an address of this kind has no more than {most} bits")]
    Bits {
        /// How many it has.
        most: u8,
    },
    /// Bits are set that do not count: one address of the network was given instead of the network.
    #[error("the network is {network}; the address alone is {address}")]
    HostBits {
        /// The network that it is in.
        network: Network,
        /// The address.
        address: IpAddr,
    },
}

impl Network {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether it holds every address of its family.
    pub fn is_everything(&self) -> bool {
        self.0.prefix_len() == 0
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(IpNet::from(address.to_canonical()))
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let Some((address, bits)) = text.split_once('/') else {
            let address: IpAddr = text.parse().map_err(|_| NetworkError::Malformed)?;
            return Ok(address.into());
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
        let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            return Err(NetworkError::Malformed);
        }
        let most = if address.is_ipv4() { 32 } else { 128 };
        // Digits that are no u8 are too many bits.
        let given = bits
            .parse()
            .ok()
            .and_then(|bits| IpNet::new(address, bits).ok());
        let given = given.ok_or(NetworkError::Bits { most })?;
        let network = Self(plain(given.trunc()));
        if given.addr() != given.network() {
            return Err(NetworkError::HostBits { network, address });
        }
        Ok(network)
    }
}

/// `::ffff:10.0.0.0/104` as `10.0.0.0/8`.
fn plain(network: IpNet) -> IpNet {
    let IpNet::V6(six) = network else {
        return network;
    };
    let Some(bits) = six.prefix_len().checked_sub(MAPPED_BITS) else {
        return network;
    };
    six.network()
        .to_ipv4_mapped()
        .and_then(|four| Ipv4Net::new(four, bits).ok())
        .map_or(network, IpNet::V4)
}

impl fmt::Display for Network {
    /// A single address stands without its bits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

/// Networks and addresses.
pub(super) struct Networks;

impl Leaf for Networks {
    type Value = Vec<Network>;

    fn accepted(&self) -> String {
        format!("{NETWORK}, or {LIST}")
    }

    fn parse(&self, node: &Node, path: &str, cx: &mut Context) -> Option<Vec<Network>> {
        parse_list(node, path, (NETWORK, LIST), cx, |text| {
            text.parse::<Network>().map_err(|error| match error {
                NetworkError::Malformed => None,
                told => Some(told.to_string()),
            })
        })
    }

    fn text(&self, value: &Vec<Network>) -> String {
        flow_list(value.iter().map(|network| quoted(&network.to_string())))
    }

    fn environment_node(&self, text: &str, at: &Origin) -> Node {
        split_list(text, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_is_in_a_network() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.7/32", "192.0.2.7", "192.0.2.6"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
            ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
            ("2001:db8::/32", "2001:db8:1::", "2001:db9::"),
            ("::1", "::1", "::2"),
        ] {
            let network = network(text);
            assert!(network.contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(
                !network.contains(outside.parse().unwrap()),
                "{text} {outside}"
            );
        }
    }

    #[test]
    fn the_written_form_is_the_shortest() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("::1/128", "::1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ] {
            assert_eq!(network(text).to_string(), shown);
            assert_eq!(network(shown), network(text));
        }
    }

    #[test]
    fn what_is_no_network() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "/8",
            "10/8",
            "10.0.0.0/8/8",
            "10.0.0.0/+8",
            "10.0.0.0/ 8",
            "localhost",
            "fe80::1%eth0",
            "[::1]",
            "10.0.0.1:80",
            "010.0.0.1",
        ] {
            assert_eq!(
                text.parse::<Network>(),
                Err(NetworkError::Malformed),
                "{text}"
            );
        }
        assert_eq!(
            "10.0.0.0/33".parse::<Network>(),
            Err(NetworkError::Bits { most: 32 })
        );
        assert_eq!(
            "::/1000".parse::<Network>(),
            Err(NetworkError::Bits { most: 128 })
        );
        let error = "10.0.0.1/8".parse::<Network>().unwrap_err().to_string();
        assert_eq!(
            error,
            "the network is 10.0.0.0/8; the address alone is 10.0.0.1"
        );
    }
}
