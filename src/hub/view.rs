//! What an operator sees of a shard's clients, gathered only on request.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use super::{
    Profile, Shard, Subscriber,
    subscriptions::{Subscription, Subscriptions},
};
use crate::{
    address::ClientAddress,
    protocol::{CloseCode, SocketId},
};

/// Clients beyond those that may be shown that are sorted out at once.
const PRUNED_FROM: usize = 1024;

/// One client as an operator sees it.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// Its id on the wire.
    pub id: SocketId,
    /// What it said of itself.
    pub profile: Arc<Profile>,
    /// Who it is signed in as, or on a presence channel.
    pub user_id: Option<Arc<str>>,
    /// The channels that it listens to; only their number counts in a list.
    pub channels: Vec<Arc<str>>,
    /// Where it comes from.
    pub address: Option<ClientAddress>,
    /// Since when, in seconds.
    pub age_s: u32,
    /// Bytes that wait for it.
    pub backlog_bytes: usize,
}

/// What a list of clients is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    /// The id on the wire.
    Socket,
    /// The user's id.
    User,
    /// The app's id.
    App,
    /// The number of channels.
    Channels,
    /// The library and its version.
    Client,
    /// The transport's name.
    Transport,
    /// The address.
    Address,
    /// The age, in seconds.
    #[default]
    Age,
    /// Bytes that wait.
    Backlog,
}

/// The words for [`SortBy`].
pub const SORTS: [(&str, SortBy); 9] = [
    ("socket", SortBy::Socket),
    ("user", SortBy::User),
    ("app", SortBy::App),
    ("channels", SortBy::Channels),
    ("client", SortBy::Client),
    ("transport", SortBy::Transport),
    ("address", SortBy::Address),
    ("age", SortBy::Age),
    ("backlog", SortBy::Backlog),
];

/// Which way a list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// The smallest first.
    #[default]
    Ascending,
    /// The largest first.
    Descending,
}

/// The place of a client in a sorted list. Ids differ, so that pages neither repeat nor skip a client that stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    number: u64,
    text: String,
    id: u64,
}

impl Direction {
    /// Puts the ranks in order.
    #[must_use]
    pub fn compare(self, one: &Rank, other: &Rank) -> Ordering {
        match self {
            Self::Ascending => one.cmp(other),
            Self::Descending => other.cmp(one),
        }
    }
}

/// Which clients are looked for; what is `None` matches every client.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The app's id.
    pub app_id: Option<String>,
    /// A channel that it listens to.
    pub channel: Option<String>,
    /// Who it is.
    pub user_id: Option<String>,
    /// A part of its id, address, origin, library or user id.
    pub text: Option<String>,
    /// The one with this id.
    pub id: Option<SocketId>,
    /// What they are sorted by.
    pub sort: SortBy,
    /// Which way.
    pub direction: Direction,
    /// Clients at the beginning that are left out.
    pub offset: usize,
    /// Maximum number of clients that are shown; the others are counted.
    pub limit: usize,
}

/// A client and what it takes to judge it, nothing of it copied yet.
struct Candidate<'a> {
    subscriber: &'a Subscriber,
    profile: &'a Arc<Profile>,
    subscriptions: &'a Subscriptions,
    signed_in: Option<&'a Arc<str>>,
}

impl Search {
    /// Clients that one shard may have among those that are shown.
    fn wanted(&self) -> usize {
        self.offset.saturating_add(self.limit)
    }

    /// Leaves only those that may be shown.
    fn prune<T>(&self, found: &mut Vec<(Rank, T)>) {
        let wanted = self.wanted();
        if found.len() > wanted {
            let compare =
                |one: &(Rank, T), other: &(Rank, T)| self.direction.compare(&one.0, &other.0);
            if wanted > 0 {
                found.select_nth_unstable_by(wanted - 1, compare);
            }
            found.truncate(wanted);
        }
    }

    fn fits(&self, client: &Candidate<'_>) -> bool {
        let is_user = |user_id: &String| client.user_id().is_some_and(|id| **id == **user_id);
        let listens = |channel: &String| client.channels().any(|name| **name == **channel);
        self.id.is_none_or(|id| id == client.subscriber.id)
            && self
                .app_id
                .as_ref()
                .is_none_or(|id| **id == *client.profile.app_id)
            && self.user_id.as_ref().is_none_or(is_user)
            && self.channel.as_ref().is_none_or(listens)
            && self.text.as_ref().is_none_or(|text| client.mentions(text))
    }
}

impl<'a> Candidate<'a> {
    /// `None` for a client that is not let in, or leaves.
    fn of(
        subscriber: &'a Subscriber,
        subscriptions: &'a Subscriptions,
        signed_in: Option<&'a Arc<str>>,
    ) -> Option<Self> {
        let profile = subscriber.profile.get()?;
        subscriber.is_let_in().then_some(Self {
            subscriber,
            profile,
            subscriptions,
            signed_in,
        })
    }

    fn asked(&self) -> impl Iterator<Item = &'a Subscription> {
        let subscriptions = self.subscriptions.iter();
        subscriptions.filter(|subscription| subscription.is_asked_for())
    }

    fn channels(&self) -> impl Iterator<Item = &'a Arc<str>> {
        self.asked()
            .map(|subscription| &subscription.channel().name)
    }

    fn user_id(&self) -> Option<&'a Arc<str>> {
        self.signed_in.or_else(|| {
            let member = self
                .asked()
                .find_map(|subscription| subscription.member.as_ref());
            member.map(|member| &member.user_id)
        })
    }

    fn mentions(&self, text: &str) -> bool {
        let Profile {
            client,
            version,
            origin,
            ..
        } = &**self.profile;
        let mut fields = [client.as_deref(), version.as_deref(), origin.as_deref()].into_iter();
        self.subscriber.id.to_string().contains(text)
            || fields.any(|field| field.is_some_and(|field| field.contains(text)))
            || self.user_id().is_some_and(|user_id| user_id.contains(text))
            || self
                .subscriber
                .client_address()
                .is_some_and(|address| address.to_string().contains(text))
    }

    fn rank(&self, sort: SortBy, tick: u32) -> Rank {
        let subscriber = self.subscriber;
        let (mut number, mut text) = (0, String::new());
        match sort {
            SortBy::Socket => {}
            SortBy::User => text = self.user_id().map_or(text, |id| id.to_string()),
            SortBy::App => text = self.profile.app_id.to_string(),
            SortBy::Channels => number = self.asked().count() as u64,
            SortBy::Client => {
                let Profile {
                    client, version, ..
                } = &**self.profile;
                let part = |part: &Option<Box<str>>| part.as_deref().unwrap_or_default().to_owned();
                text = format!("{} {}", part(client), part(version));
            }
            SortBy::Transport => text = self.profile.transport.name().to_owned(),
            SortBy::Address => {
                let address = subscriber.client_address();
                text = address.map_or(text, |address| address.to_string());
            }
            SortBy::Age => number = tick.saturating_sub(subscriber.since.get()).into(),
            SortBy::Backlog => number = subscriber.outbox.waiting_bytes() as u64,
        }
        Rank {
            number,
            text,
            id: subscriber.id.to_bits(),
        }
    }

    fn view(&self, tick: u32) -> ConnectionView {
        ConnectionView {
            id: self.subscriber.id,
            profile: Arc::clone(self.profile),
            user_id: self.user_id().cloned(),
            channels: self.channels().cloned().collect(),
            address: self.subscriber.client_address(),
            age_s: tick.saturating_sub(self.subscriber.since.get()),
            backlog_bytes: self.subscriber.outbox.waiting_bytes(),
        }
    }
}

impl Shard {
    /// Notes what a client said of itself when it was let in. `address` only where its socket does not tell.
    pub fn describe(
        &self,
        subscriber: &Subscriber,
        profile: Profile,
        address: Option<ClientAddress>,
    ) {
        let profile = self.profiles.borrow_mut().share(profile);
        // A client is let in once.
        let _ = subscriber.profile.set(profile);
        subscriber.since.set(self.tick());
        if let Some(address) = address {
            let _ = subscriber.address.set(Box::new(address));
        }
    }

    /// The clients that fit and may be among those that are shown, in no order, and the number of all that fit.
    #[must_use]
    pub fn find(&self, search: &Search) -> (Vec<(Rank, ConnectionView)>, usize) {
        let signed_in = self.signed_in();
        let (mut found, mut total) = (Vec::new(), 0);
        let subscribers = self.subscribers.borrow();
        for (place, subscriber) in subscribers.iter() {
            let subscriptions = subscriber.subscriptions.borrow();
            let client = Candidate::of(subscriber, &subscriptions, signed_in.get(&place));
            if let Some(client) = client.filter(|client| search.fits(client)) {
                total += 1;
                found.push((client.rank(search.sort, self.tick()), place));
            }
            if found.len() > PRUNED_FROM + 2 * search.wanted() {
                search.prune(&mut found);
            }
        }
        search.prune(&mut found);
        let shown = found.into_iter().filter_map(|(rank, place)| {
            let subscriber = subscribers.get(place)?;
            let subscriptions = subscriber.subscriptions.borrow();
            let client = Candidate::of(subscriber, &subscriptions, signed_in.get(&place))?;
            Some((rank, client.view(self.tick())))
        });
        (shown.collect(), total)
    }

    /// Ends the connection of this id; whether there is one.
    #[must_use]
    pub fn disconnect(&self, id: SocketId) -> bool {
        let subscribers = self.subscribers.borrow();
        let mut open = subscribers.iter().map(|(_, subscriber)| subscriber);
        let found = open.find(|subscriber| subscriber.id == id && subscriber.is_let_in());
        let found = found.cloned();
        drop(subscribers);
        if let Some(subscriber) = &found {
            let reason = "Disconnected by the operator.";
            subscriber.outbox.close(CloseCode::Unauthorized, reason);
        }
        found.is_some()
    }

    /// Users by their clients' places.
    fn signed_in(&self) -> HashMap<usize, Arc<str>, ahash::RandomState> {
        let users = self.users.borrow();
        let clients = users.iter().flat_map(|((_, user_id), clients)| {
            clients
                .iter()
                .map(move |client| (client.place.get(), Arc::clone(user_id)))
        });
        clients.collect()
    }
}

impl Subscriber {
    /// What the client said of itself; `None` until it is let in.
    #[must_use]
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.get().map(|profile| &**profile)
    }

    /// Where the client is.
    #[must_use]
    pub fn client_address(&self) -> Option<ClientAddress> {
        let told = self.address.get().map(|address| **address);
        told.or_else(|| Some(self.outbox.peer_addr()?.into()))
    }

    fn is_let_in(&self) -> bool {
        self.profile.get().is_some() && !self.outbox.is_closing() && !self.outbox.is_broken()
    }
}
