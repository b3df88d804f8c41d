//! What an operator sees of a shard's clients, gathered only when he asks.

use std::{collections::HashMap, sync::Arc};

use super::{
    Profile, Shard, Subscriber,
    subscriptions::{Subscription, Subscriptions},
};
use crate::{
    address::ClientAddress,
    protocol::{CloseCode, SocketId},
};

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

/// Which clients are looked for; what is `None` fits everyone.
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
    /// At most so many are shown; the others are counted.
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

    fn address(&self) -> Option<ClientAddress> {
        let told = self.subscriber.address.get().map(|address| **address);
        told.or_else(|| Some(self.subscriber.outbox.peer_addr()?.into()))
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
                .address()
                .is_some_and(|address| address.to_string().contains(text))
    }

    fn view(&self, tick: u32) -> ConnectionView {
        ConnectionView {
            id: self.subscriber.id,
            profile: Arc::clone(self.profile),
            user_id: self.user_id().cloned(),
            channels: self.channels().cloned().collect(),
            address: self.address(),
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

    /// The clients that fit, as many as may be shown, and how many they are.
    #[must_use]
    pub fn find(&self, search: &Search) -> (Vec<ConnectionView>, usize) {
        let signed_in = self.signed_in();
        let (mut found, mut total) = (Vec::new(), 0);
        for (place, subscriber) in self.subscribers.borrow().iter() {
            let Some(profile) = subscriber.profile.get().filter(|_| subscriber.is_let_in()) else {
                continue;
            };
            let subscriptions = subscriber.subscriptions.borrow();
            let client = Candidate {
                subscriber,
                profile,
                subscriptions: &subscriptions,
                signed_in: signed_in.get(&place),
            };
            if search.fits(&client) {
                total += 1;
                if found.len() < search.limit {
                    found.push(client.view(self.tick()));
                }
            }
        }
        (found, total)
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
    fn is_let_in(&self) -> bool {
        self.profile.get().is_some() && !self.outbox.is_closing() && !self.outbox.is_broken()
    }
}
