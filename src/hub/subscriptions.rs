//! The channels that one client listens to, found by name in constant time, whatever their number.

use std::{
    borrow::Borrow,
    cell::Cell,
    collections::HashSet,
    hash::{Hash, Hasher},
    rc::Rc,
    sync::Arc,
};

use super::{Channel, shard::LocalChannel};
use crate::presence::Member;

/// Subscriptions that are searched one by one. Comparing eight names costs less than hashing one.
const FEW_MAX: usize = 8;

/// One client's membership of one channel.
#[derive(Clone)]
pub struct Subscription {
    pub(super) local: Rc<LocalChannel>,
    /// Index among the channel's seats; kept true by the shard.
    pub(super) seat: Cell<usize>,
    /// Who the client is on a presence channel.
    pub member: Option<Arc<Member>>,
}

impl Subscription {
    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &Arc<Channel> {
        &self.local.channel
    }

    fn is_to(&self, channel: &str) -> bool {
        *self.local.channel.name == *channel
    }

    /// Whether the client asked for it; the server makes others for itself.
    pub(super) fn is_asked_for(&self) -> bool {
        !self.channel().kind.is_internal()
    }
}

/// Its channel's name identifies a subscription among those of one client, who is of one app.
impl Borrow<str> for Subscription {
    fn borrow(&self) -> &str {
        &self.local.channel.name
    }
}

impl Hash for Subscription {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let name: &str = self.borrow();
        name.hash(state);
    }
}

impl PartialEq for Subscription {
    fn eq(&self, other: &Self) -> bool {
        other.is_to(self.borrow())
    }
}

impl Eq for Subscription {}

/// All subscriptions of one client.
pub(super) enum Subscriptions {
    /// At most [`FEW_MAX`]. Most clients listen to one channel or two.
    Few(Vec<Subscription>),
    Many(Box<Many>),
}

pub(super) struct Many {
    all: HashSet<Subscription, ahash::RandomState>,
    asked_for: usize,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Subscriptions {
    pub(super) fn get(&self, channel: &str) -> Option<&Subscription> {
        match self {
            Self::Few(few) => few.iter().find(|subscription| subscription.is_to(channel)),
            Self::Many(many) => many.all.get(channel),
        }
    }

    /// Adds one. There must be none to the same channel.
    pub(super) fn insert(&mut self, subscription: Subscription) {
        match self {
            Self::Few(few) if few.len() < FEW_MAX => {
                if few.is_empty() {
                    few.reserve_exact(1);
                }
                few.push(subscription);
            }
            Self::Few(few) => {
                let mut many = Box::new(Many {
                    all: HashSet::default(),
                    asked_for: 0,
                });
                few.drain(..).for_each(|each| many.insert(each));
                many.insert(subscription);
                *self = Self::Many(many);
            }
            Self::Many(many) => many.insert(subscription),
        }
    }

    pub(super) fn remove(&mut self, channel: &str) -> Option<Subscription> {
        match self {
            Self::Few(few) => {
                let at = few.iter().position(|each| each.is_to(channel))?;
                Some(few.swap_remove(at))
            }
            Self::Many(many) => {
                let removed = many.all.take(channel)?;
                many.asked_for -= usize::from(removed.is_asked_for());
                if many.all.is_empty() {
                    *self = Self::default();
                }
                Some(removed)
            }
        }
    }

    /// Removes and returns any one of them.
    pub(super) fn pop(&mut self) -> Option<Subscription> {
        match self {
            Self::Few(few) => few.pop(),
            Self::Many(many) => {
                let channel = Arc::clone(&many.all.iter().next()?.channel().name);
                self.remove(&channel)
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few.iter()), None),
            Self::Many(many) => (None, Some(many.all.iter())),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }

    /// How many of them the client asked for.
    pub(super) fn asked_for(&self) -> usize {
        match self {
            Self::Few(few) => few.iter().filter(|each| each.is_asked_for()).count(),
            Self::Many(many) => many.asked_for,
        }
    }
}

impl Many {
    fn insert(&mut self, subscription: Subscription) {
        self.asked_for += usize::from(subscription.is_asked_for());
        self.all.insert(subscription);
    }
}
