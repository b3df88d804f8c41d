//! Where clients come from, and how many from one place.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use dashmap::{DashMap, Entry};

/// Where a client comes from. What a proxy tells has often no port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client's own.
    pub ip: IpAddr,
    /// Its side of the connection, if that is known.
    pub port: Option<u16>,
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: address.ip().to_canonical(),
            port: Some(address.port()),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// What counts as one place: an IPv4 address, or the 2⁶⁴ IPv6 addresses that one customer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place(IpAddr);

impl Place {
    pub(super) fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Connections by place; a place without any has no entry.
#[derive(Default)]
pub(super) struct Places(DashMap<Place, usize, ahash::RandomState>);

impl Places {
    /// Counts one more, unless there are `max`.
    pub(super) fn take(&self, place: Place, max: usize) -> bool {
        let mut count = self.0.entry(place).or_insert(0);
        let has_room = *count < max;
        *count += usize::from(has_room);
        has_room
    }

    pub(super) fn give_back(&self, place: Place) {
        if let Entry::Occupied(mut count) = self.0.entry(place) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(ip: &str) -> Place {
        Place::of(ip.parse().expect(ip))
    }

    #[test]
    fn an_ipv4_address_is_a_place_and_so_is_an_ipv6_network() {
        assert_ne!(place("192.0.2.1"), place("192.0.2.2"));
        assert_eq!(place("192.0.2.1"), place("::ffff:192.0.2.1"));
        assert_eq!(place("2001:db8:1:2::1"), place("2001:db8:1:2:ffff::"));
        assert_ne!(place("2001:db8:1:2::1"), place("2001:db8:1:3::1"));
    }

    #[test]
    fn a_place_has_room_again_when_one_has_gone() {
        let places = Places::default();
        let (here, there) = (place("192.0.2.1"), place("192.0.2.2"));
        assert!(places.take(here, 2) && places.take(here, 2));
        assert!(!places.take(here, 2) && places.take(there, 2));
        places.give_back(here);
        assert!(places.take(here, 2) && !places.take(here, 2));
        for place in [here, here, there] {
            places.give_back(place);
        }
        assert!(places.0.is_empty());
    }

    #[test]
    fn a_port_is_shown_where_it_is_known() {
        let direct = ClientAddress::from(SocketAddr::from(([192, 0, 2, 1], 80)));
        assert_eq!(direct.to_string(), "192.0.2.1:80");
        let told = ClientAddress {
            port: None,
            ..direct
        };
        assert_eq!(told.to_string(), "192.0.2.1");
    }
}
