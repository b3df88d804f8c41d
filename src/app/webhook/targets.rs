//! Which addresses webhooks may be sent to.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use super::super::App;
use crate::settings::{Json, Literal, Path, Problems, Secrets, Setting, Takes, Text, Value};

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

    /// The endpoints of an app whose URL holds an address that is not allowed: key and reason. Names are checked when they are resolved.
    pub fn refusals(&self, app: &App) -> impl Iterator<Item = (String, String)> {
        let endpoints = app.webhooks.iter().enumerate();
        let forbidden = endpoints.filter_map(|(at, endpoint)| {
            let address = endpoint.url.address()?;
            (!self.allow(address)).then_some((at, address))
        });
        forbidden.map(|(at, address)| {
            let key = format!("webhooks[{at}].url");
            let reason = format!(
                "must not lead to {address}, which is not among server.webhook_allowed_addresses"
            );
            (key, reason)
        })
    }

    /// Whether a webhook may be sent to this address.
    #[must_use]
    pub fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|target| target.holds(address))
    }
}

/// A list of targets; an empty list allows nothing.
impl Setting for WebhookTargets {
    const TAKES: Takes = Vec::<Target>::TAKES;

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        Vec::read(value, path, problems).map(Self)
    }

    fn write(&self, secrets: Secrets) -> Json {
        self.0.write(secrets)
    }
}

impl Literal for WebhookTargets {
    type Plain = &'static [&'static str];

    fn of(plain: Self::Plain) -> Self {
        Self(plain.iter().copied().map(Target::of).collect())
    }
}

impl Text for Target {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "*" => Self::Any,
            "external" => Self::External,
            "private" => Self::Private,
            "loopback" => Self::Loopback,
            _ => {
                let address = || {
                    text.parse::<IpAddr>()
                        .map(|address| address.to_canonical().into())
                };
                let network = text.parse().or_else(|_| address());
                Self::Network(network.map_err(|_| {
                    format!(
                        "may hold \"*\", \"external\", \"private\", \"loopback\", addresses and networks such as \
                         \"10.0.0.0/8\", not {text:?}"
                    )
                })?)
            }
        })
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        match self {
            Self::Any => "*".into(),
            Self::External => "external".into(),
            Self::Private => "private".into(),
            Self::Loopback => "loopback".into(),
            Self::Network(network) => network.to_string().into(),
        }
    }
}

impl Target {
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
        let read = entries.iter().map(|entry| Target::parse(entry));
        WebhookTargets(read.collect::<Result<_, _>>().expect("known entries"))
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
    fn a_wrong_entry_is_named() {
        for bad in ["internal", "", "External", "10.0.0.0/33", "shop.example"] {
            let reason = Target::parse(bad).expect_err(bad);
            assert!(reason.ends_with(&format!("not {bad:?}")), "{reason}");
        }
    }
}
