//! Who comes in, from where, and what one place may use of this node, so that nobody can take it from the others.
//!
//! The defaults hold for a school of 2,000 devices behind one address: all on WebSockets, which all come back at once, or half of them on
//! the HTTP fallbacks with two connections each.

use std::{
    mem,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_http::header::HeaderMap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::{ClientAddress, Peer, Place, Places, Proxies};

/// Clients of one place, unless the operator says otherwise.
const CLIENTS_MAX: usize = 2048;
/// Time in which a place that has used up its handshakes gets all of them back.
const HANDSHAKES_BACK: Duration = Duration::from_secs(30);
/// Requests without a valid key or signature that one place may send at once, and how many per second from then on.
const STRANGERS_AT_ONCE: NonZeroU32 = NonZeroU32::new(300).expect("not zero");
const STRANGERS_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
/// Bytes of request bodies that the node holds while they arrive, and those of them from one place.
const BODY_BYTES_MAX: usize = 64 << 20;
const BODY_BYTES_OF_PLACE_MAX: usize = BODY_BYTES_MAX / 4;
/// Places whose rates are known. Beyond that, several share one.
const RATED_PLACES_MAX: usize = 65_536;

/// The node's knowledge of its clients' places, with the budgets of each.
pub struct Gate {
    proxies: Proxies,
    counted: Counted,
    clients_max: usize,
    http_max: usize,
    http: Arc<Tally>,
    sessions: Arc<Tally>,
    bodies: Arc<Tally>,
    handshakes: Rate,
    strangers: Rate,
}

/// Whose address is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// Everyone's: the operator has set the number.
    Everyone,
    /// Not a private address that no trusted proxy has told: it may be a proxy that nobody named, with all clients behind it.
    Known,
}

/// What leaves no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// The node has no more.
    Node,
    /// The place has its share.
    Place,
}

/// Something that is held by all, and by each place.
#[derive(Debug, Default)]
struct Tally {
    total: AtomicUsize,
    places: Places,
}

/// A part of a budget; given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    tally: Arc<Tally>,
    place: Option<Place>,
    amount: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.tally.total.fetch_sub(self.amount, Ordering::Relaxed);
        if let Some(place) = self.place {
            self.tally.places.give_back(place, self.amount);
        }
    }
}

impl Held {
    fn nothing(tally: &Arc<Tally>, place: Option<Place>) -> Self {
        Self {
            tally: Arc::clone(tally),
            place,
            amount: 0,
        }
    }

    fn grow(&mut self, more: usize, max: usize, max_of_place: usize) -> Result<(), NoRoom> {
        let Tally { total, places } = &*self.tally;
        let take = |total: usize| total.checked_add(more).filter(|total| *total <= max);
        let taken = total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| NoRoom::Node)?;
        if let Some(place) = self.place
            && !places.take(place, more, max_of_place)
        {
            total.fetch_sub(more, Ordering::Relaxed);
            return Err(NoRoom::Place);
        }
        self.amount += more;
        Ok(())
    }

    fn pass(&mut self, place: Option<Place>, max_of_place: usize) -> Result<(), NoRoom> {
        if place == self.place {
            return Ok(());
        }
        let places = &self.tally.places;
        if let Some(place) = place
            && !places.take(place, self.amount, max_of_place)
        {
            return Err(NoRoom::Place);
        }
        if let Some(before) = mem::replace(&mut self.place, place) {
            places.give_back(before, self.amount);
        }
        Ok(())
    }
}

/// How often each place may do something.
struct Rate {
    limiter: DefaultKeyedRateLimiter<Place>,
    is_crowded: AtomicBool,
}

impl Rate {
    fn of(quota: Quota) -> Self {
        Self {
            limiter: RateLimiter::keyed(quota),
            is_crowded: AtomicBool::new(false),
        }
    }

    fn take(&self, place: Option<Place>) -> bool {
        let Some(place) = place else {
            return true;
        };
        let place = if self.is_crowded.load(Ordering::Relaxed) {
            place.shared()
        } else {
            place
        };
        self.limiter.check_key(&place).is_ok()
    }

    /// Forgets those that have all their budget again.
    fn tick(&self) {
        if self.limiter.len() > RATED_PLACES_MAX / 2 {
            self.limiter.retain_recent();
        }
        let is_crowded = self.limiter.len() > RATED_PLACES_MAX;
        self.is_crowded.store(is_crowded, Ordering::Relaxed);
    }
}

impl Gate {
    /// `clients_max` is what the operator has set for each place, if anything; `http_max` is for all together.
    #[must_use]
    pub fn new(proxies: Proxies, clients_max: Option<usize>, http_max: usize) -> Self {
        let counted = match clients_max {
            Some(_) => Counted::Everyone,
            None => Counted::Known,
        };
        let clients_max = clients_max.unwrap_or(CLIENTS_MAX);
        let at_once = u32::try_from(clients_max).unwrap_or(u32::MAX);
        let at_once = NonZeroU32::new(at_once).unwrap_or(NonZeroU32::MIN);
        let handshakes = Quota::with_period(HANDSHAKES_BACK / at_once.get());
        let strangers = Quota::per_second(STRANGERS_PER_SECOND);
        Self {
            proxies,
            counted,
            clients_max,
            http_max,
            http: Arc::default(),
            sessions: Arc::default(),
            bodies: Arc::default(),
            handshakes: Rate::of(
                handshakes
                    .expect("of so many a part is longer than nothing")
                    .allow_burst(at_once),
            ),
            strangers: Rate::of(strangers.allow_burst(STRANGERS_AT_ONCE)),
        }
    }

    /// Whether the other end is a trusted proxy.
    #[must_use]
    pub fn trusts(&self, peer: Peer) -> bool {
        self.proxies.are_trusted_at(peer)
    }

    /// Where the client of a request is, behind trusted proxies. `None`: nobody says.
    #[must_use]
    pub fn client_of(&self, peer: Peer, headers: &HeaderMap) -> Option<ClientAddress> {
        self.proxies.client_of(peer, headers)
    }

    /// Whether the client's side of the connection is encrypted.
    #[must_use]
    pub fn is_secure(&self, peer: Peer, headers: &HeaderMap) -> bool {
        self.proxies.is_secure(peer, headers)
    }

    /// The place that the client of a request is counted in; `None` for one that is not counted.
    #[must_use]
    pub fn place_of(&self, peer: Peer, headers: &HeaderMap) -> Option<Place> {
        self.counted_place(peer, self.client_of(peer, headers)?)
    }

    /// The same for a connection of which no request is known yet.
    #[must_use]
    pub fn place_of_peer(&self, peer: Peer) -> Option<Place> {
        if self.trusts(peer) {
            return None;
        }
        self.counted_place(peer, peer.address()?.into())
    }

    /// The same for a client that was found out already.
    #[must_use]
    pub fn counted_place(&self, peer: Peer, client: ClientAddress) -> Option<Place> {
        let is_told = peer.ip() != Some(client.ip);
        let is_known = is_told || !is_private(client.ip);
        (is_known || self.counted == Counted::Everyone).then(|| Place::of(client.ip))
    }

    /// Counts one more connection that speaks HTTP.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing was counted. The same for the others.
    pub fn take_http(&self, place: Option<Place>) -> Result<Held, NoRoom> {
        let mut held = Held::nothing(&self.http, place);
        // A client of the fallbacks has two.
        held.grow(1, self.http_max, self.clients_max)?;
        Ok(held)
    }

    /// Counts a connection of this place instead of the one that has this part. The total stays as it is.
    ///
    /// # Errors
    /// [`NoRoom::Place`]; nothing has changed.
    pub fn pass_http(&self, held: &mut Held, place: Option<Place>) -> Result<(), NoRoom> {
        held.pass(place, self.clients_max)
    }

    /// Connections that speak HTTP now.
    #[must_use]
    pub fn http_connections(&self) -> usize {
        self.http.total.load(Ordering::Relaxed)
    }

    /// Counts one more session of the fallbacks.
    ///
    /// # Errors
    /// As [`Gate::take_http`].
    pub fn take_session(&self, place: Option<Place>) -> Result<Held, NoRoom> {
        let mut held = Held::nothing(&self.sessions, place);
        held.grow(1, usize::MAX, self.clients_max / 2)?;
        Ok(held)
    }

    /// Nothing yet, for a request body that arrives.
    #[must_use]
    pub fn take_body(&self, place: Option<Place>) -> Held {
        Held::nothing(&self.bodies, place)
    }

    /// Counts bytes of a request body that are held.
    ///
    /// # Errors
    /// As [`Gate::take_http`].
    pub fn grow_body(body: &mut Held, bytes: usize) -> Result<(), NoRoom> {
        body.grow(bytes, BODY_BYTES_MAX, BODY_BYTES_OF_PLACE_MAX)
    }

    /// Whether the place may open one more WebSocket or session now.
    #[must_use]
    pub fn take_handshake(&self, place: Option<Place>) -> bool {
        self.handshakes.take(place)
    }

    /// Whether the place may send one more request without a valid key or signature now.
    #[must_use]
    pub fn take_stranger(&self, place: Option<Place>) -> bool {
        self.strangers.take(place)
    }

    /// Forgets what is over; called once a second.
    pub fn tick(&self) {
        self.handshakes.tick();
        self.strangers.tick();
    }
}

/// Whether nobody on the internet can have this address.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let is_carriers = a == 100 && b & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || is_carriers
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn gate(clients_max: Option<usize>, http_max: usize) -> Gate {
        Gate::new(Proxies::default(), clients_max, http_max)
    }

    fn place(ip: &str) -> Option<Place> {
        Some(Place::of(ip.parse().expect(ip)))
    }

    #[test]
    fn a_private_address_that_nobody_told_counts_only_where_the_operator_set_the_number() {
        let (unset, set) = (gate(None, 9), gate(Some(9), 9));
        for (ip, is_private) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.18.0.2", true),
            ("192.168.1.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("192.0.2.1", false),
            ("[::1]", true),
            ("[fd00::1]", true),
            ("[::ffff:10.0.0.1]", true),
            ("[2001:db8::1]", false),
        ] {
            let address: SocketAddr = format!("{ip}:80").parse().expect(ip);
            let peer = Peer::At(address);
            let place = |gate: &Gate| gate.place_of_peer(peer);
            assert_eq!(place(&unset).is_none(), is_private, "{ip}");
            assert!(place(&set).is_some(), "{ip}");
            let told = ClientAddress {
                ip: "10.9.9.9".parse().expect("an address"),
                port: None,
            };
            assert!(unset.counted_place(peer, told).is_some(), "{ip}");
        }
    }

    #[test]
    fn a_place_has_its_share_and_the_node_its_bound() {
        let gate = gate(Some(2), 3);
        let (here, there) = (place("192.0.2.1"), place("192.0.2.2"));
        let first = gate.take_http(here).expect("room");
        let _second = gate.take_http(here).expect("room");
        assert_eq!(gate.take_http(here).err(), Some(NoRoom::Place));
        let _third = gate.take_http(there).expect("room");
        assert_eq!(gate.take_http(there).err(), Some(NoRoom::Node));
        assert_eq!(gate.take_http(None).err(), Some(NoRoom::Node));
        drop(first);
        assert!(gate.take_http(here).is_ok());
    }

    #[test]
    fn a_part_that_is_passed_on_counts_for_its_new_place_alone() {
        let gate = gate(Some(1), 2);
        let (here, there) = (place("192.0.2.1"), place("192.0.2.2"));
        let mut first = gate.take_http(here).expect("room");
        let second = gate.take_http(there).expect("room");
        assert_eq!(gate.pass_http(&mut first, there), Err(NoRoom::Place));
        assert_eq!(gate.pass_http(&mut first, here), Ok(()));
        drop(second);
        assert_eq!(gate.pass_http(&mut first, there), Ok(()));
        assert_eq!(gate.take_http(there).err(), Some(NoRoom::Place));
        let _third = gate.take_http(here).expect("room");
        assert_eq!(gate.http_connections(), 2);
        assert_eq!(gate.pass_http(&mut first, None), Ok(()));
        drop(first);
        assert!(gate.take_http(there).is_ok());
    }

    #[test]
    fn bodies_are_counted_by_bytes_until_they_are_dropped() {
        let gate = gate(None, 1);
        let mut body = gate.take_body(place("192.0.2.1"));
        for _ in 0..4 {
            Gate::grow_body(&mut body, BODY_BYTES_OF_PLACE_MAX / 4).expect("room");
        }
        assert_eq!(Gate::grow_body(&mut body, 1), Err(NoRoom::Place));
        drop(body);
        let mut body = gate.take_body(None);
        Gate::grow_body(&mut body, BODY_BYTES_MAX).expect("room");
        assert_eq!(Gate::grow_body(&mut body, 1), Err(NoRoom::Node));
    }

    #[test]
    fn a_place_may_come_so_often_and_others_have_their_own_budget() {
        let gate = gate(Some(5), 1);
        let (here, there) = (place("192.0.2.1"), place("2001:db8::1"));
        assert!((0..5).all(|_| gate.take_handshake(here)));
        assert!(!gate.take_handshake(here));
        assert!(gate.take_handshake(there));
        assert!((0..1000).all(|_| gate.take_handshake(None)));
    }

    #[test]
    fn any_number_of_places_takes_bounded_memory() {
        let gate = gate(Some(1), 1);
        let flood = |from: u32, to: u32| {
            for number in from..to {
                let _ = gate.take_handshake(Some(Place::of(IpAddr::from(number.to_be_bytes()))));
            }
            gate.tick();
        };
        flood(0, 100_000);
        assert!(gate.handshakes.is_crowded.load(Ordering::Relaxed));
        flood(100_000, 1_000_000);
        assert!(gate.handshakes.limiter.len() < 110_000);
    }
}
