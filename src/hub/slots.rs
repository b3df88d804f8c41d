//! How many clients a node takes, and what each of them is counted in.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{AppChannels, Hub};
use crate::address::Place;

/// One of an app's and of the node's connections; given back when dropped.
pub struct ConnectionSlot {
    app: Arc<AppChannels>,
    hub: Arc<Hub>,
    place: Option<Place>,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.app.connections.fetch_sub(1, Ordering::Relaxed);
        self.hub.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(place) = self.place {
            self.hub.places.give_back(place, 1);
        }
    }
}

/// How many clients a node takes; `None` is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capacity {
    /// In all.
    pub connections: Option<usize>,
    /// From one address or, with IPv6, one /64.
    pub per_address: Option<usize>,
}

/// Which limit leaves no room for one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSlot {
    /// The app's own.
    App,
    /// The node's.
    Node,
    /// The one of the client's address.
    Address,
}

impl Hub {
    /// Counts a new connection, unless a limit forbids it.
    ///
    /// # Errors
    /// [`NoSlot`] names the limit; nothing was counted.
    pub fn take_slot(
        self: &Arc<Self>,
        app: &Arc<AppChannels>,
        app_max: Option<usize>,
        capacity: Capacity,
        ip: Option<IpAddr>,
    ) -> Result<ConnectionSlot, NoSlot> {
        let take = |counter: &AtomicUsize, max: Option<usize>| {
            counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (max.is_none_or(|max| count < max)).then_some(count + 1)
            })
        };
        take(&app.connections, app_max).map_err(|_| NoSlot::App)?;
        if take(&self.connections, capacity.connections).is_err() {
            app.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(NoSlot::Node);
        }
        // From here on, what was counted is given back with the slot.
        let mut slot = ConnectionSlot {
            app: Arc::clone(app),
            hub: Arc::clone(self),
            place: None,
        };
        if let (Some(max), Some(ip)) = (capacity.per_address, ip) {
            let place = Place::of(ip);
            if !self.places.take(place, 1, max) {
                return Err(NoSlot::Address);
            }
            slot.place = Some(place);
        }
        Ok(slot)
    }
}
