//! Which addresses webhooks may be sent to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The addresses that an operator lets webhooks be sent to, whoever configures the endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookTargets(Vec<Target>);

/// One entry of the list. The names are those of Gitea's `ALLOWED_HOST_LIST`.
#[derive(Clone, Debug, PartialEq)]
enum Target {
    /// `*`
    Any,
    /// `external`: what is reachable from everywhere.
    External,
    /// `private`: networks of organisations.
    Private,
    /// `loopback`: this machine.
    Loopback,
    /// A network, or one address.
    Network(IpNet),
}

const fn v4(address: [u8; 4], prefix: u8) -> IpNet {
    let [a, b, c, d] = address;
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix)
}

const fn v6(first: u16, second: u16, prefix: u8) -> IpNet {
    let address = Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0);
    IpNet::new_assert(IpAddr::V6(address), prefix)
}

const PRIVATE: [IpNet; 4] = [
    v4([10, 0, 0, 0], 8),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    v6(0xfc00, 0, 7),
];

/// IPv4 networks that are not reachable from everywhere, or have no single owner (IANA's special-purpose registry).
const SPECIAL_V4: [IpNet; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// The IPv6 addresses that are in use between networks, and those of them that are special or hold an IPv4 address.
const GLOBAL_V6: IpNet = v6(0x2000, 0, 3);
const SPECIAL_V6: [IpNet; 4] = [
    v6(0x2001, 0, 23),
    v6(0x2001, 0xdb8, 32),
    v6(0x2002, 0, 16),
    v6(0x3fff, 0, 20),
];

impl WebhookTargets {
    /// Every address.
    #[must_use]
    pub fn any() -> Self {
        Self(vec![Target::Any])
    }

    /// Reads the entries of a list; an empty list allows nothing.
    ///
    /// # Errors
    /// The first entry that is neither a name nor a network.
    pub fn parse(entries: &[String]) -> Result<Self, &str> {
        let targets = entries
            .iter()
            .map(|entry| Target::parse(entry).ok_or(entry.as_str()));
        targets.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a webhook may be sent to this address.
    #[must_use]
    pub fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|target| target.holds(address))
    }
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "*" => Self::Any,
            "external" => Self::External,
            "private" => Self::Private,
            "loopback" => Self::Loopback,
            _ => {
                let address = || {
                    text.parse::<IpAddr>()
                        .map(|address| address.to_canonical().into())
                };
                Self::Network(text.parse().or_else(|_| address()).ok()?)
            }
        })
    }

    fn holds(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::External => is_external(address),
            Self::Private => is_in(&PRIVATE, address),
            Self::Loopback => address.is_loopback(),
            Self::Network(network) => network.contains(&address),
        }
    }
}

fn is_external(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !is_in(&SPECIAL_V4, address),
        IpAddr::V6(_) => is_in(&[GLOBAL_V6], address) && !is_in(&SPECIAL_V6, address),
    }
}

fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(entries: &[&str]) -> WebhookTargets {
        let entries: Vec<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        WebhookTargets::parse(&entries).expect("known entries")
    }

    fn allow(entries: &[&str], address: &str) -> bool {
        targets(entries).allow(address.parse().expect(address))
    }

    #[test]
    fn each_name_holds_its_addresses_and_no_others() {
        for (address, name) in [
            ("127.0.0.1", "loopback"),
            ("127.255.0.9", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("10.0.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("fd00:ec2::254", "private"),
            ("1.1.1.1", "external"),
            ("172.32.0.1", "external"),
            ("100.128.0.1", "external"),
            ("2606:4700::1111", "external"),
            ("::ffff:1.1.1.1", "external"),
            // Only by themselves or by *.
            ("0.0.0.0", ""),
            ("100.100.100.200", ""),
            ("169.254.169.254", ""),
            ("192.0.2.1", ""),
            ("224.0.0.251", ""),
            ("255.255.255.255", ""),
            ("::", ""),
            ("fe80::1", ""),
            ("ff02::1", ""),
            ("64:ff9b::7f00:1", ""),
            ("2001::1", ""),
            ("2002:7f00:1::", ""),
            ("2001:db8::1", ""),
        ] {
            for other in ["loopback", "private", "external"] {
                assert_eq!(
                    allow(&[other], address),
                    other == name,
                    "{other}: {address}"
                );
            }
            assert!(
                allow(&["*"], address) && allow(&[address], address),
                "{address}"
            );
            assert!(!allow(&[], address), "{address}");
        }
    }

    #[test]
    fn entries_add_up() {
        let entries = ["external", "10.0.0.5", "10.1.0.0/16"];
        for (address, expected) in [
            ("1.1.1.1", true),
            ("10.0.0.5", true),
            ("10.0.0.6", false),
            ("10.1.2.3", true),
            ("127.0.0.1", false),
        ] {
            assert_eq!(allow(&entries, address), expected, "{address}");
        }
    }

    #[test]
    fn a_wrong_entry_is_given_back() {
        for bad in ["internal", "", "External", "10.0.0.0/33", "shop.example"] {
            let entries = ["external".to_owned(), bad.to_owned()];
            assert_eq!(WebhookTargets::parse(&entries), Err(bad));
        }
    }
}
