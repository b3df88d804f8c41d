//! What counts as one place, and how much each has.

use std::net::{IpAddr, Ipv6Addr};

use dashmap::{DashMap, Entry};

/// What counts as one place: an IPv4 address, or the 2⁶⁴ IPv6 addresses that one customer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place(IpAddr);

impl Place {
    /// The place that this address is in.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }

    /// One of few places, which this one shares with many others.
    pub(super) fn shared(self) -> Self {
        let hash = ahash::RandomState::with_seeds(0, 0, 0, 0).hash_one(self.0);
        let number = u16::try_from(hash & 0xfff).expect("twelve bits");
        // Within the addresses for documentation, which nobody has.
        Self(Ipv6Addr::new(0x2001, 0xdb8, 0, number, 0, 0, 0, 0).into())
    }
}

/// What each place has of something that it gives back; a place without any has no entry.
#[derive(Debug, Default)]
pub struct Places(DashMap<Place, usize, ahash::RandomState>);

impl Places {
    /// Counts so many more, unless there would be more than `max`.
    #[must_use]
    pub fn take(&self, place: Place, more: usize, max: usize) -> bool {
        match self.0.entry(place) {
            Entry::Occupied(mut count) => {
                let sum = count.get().saturating_add(more);
                if sum <= max {
                    count.insert(sum);
                }
                sum <= max
            }
            Entry::Vacant(none) => {
                if more <= max {
                    none.insert(more);
                }
                more <= max
            }
        }
    }

    /// Counts so many less.
    pub fn give_back(&self, place: Place, fewer: usize) {
        if let Entry::Occupied(mut count) = self.0.entry(place) {
            *count.get_mut() = count.get().saturating_sub(fewer);
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
        assert!(places.take(here, 1, 2) && places.take(here, 1, 2));
        assert!(!places.take(here, 1, 2) && places.take(there, 1, 2));
        places.give_back(here, 1);
        assert!(places.take(here, 1, 2) && !places.take(here, 1, 2));
        for place in [here, here, there] {
            places.give_back(place, 1);
        }
        assert!(places.0.is_empty());
    }
}
