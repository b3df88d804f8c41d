//! Who is signed in, and who wants to know of whom.
//!
//! A user is online while a connection is signed in as him, anywhere in the cluster. That is kept as a channel of its own that
//! clients can't name: the user is its only member, those who watch are its subscribers.

use std::{sync::Arc, time::Instant};

use super::{Client, Node, Subscribing};
use crate::{
    app::Newest,
    engine::{Client as Entering, EnterError},
    hub::{Channel, ChannelSettings},
    presence::Member,
    protocol::{ChannelName, channel::online_name},
};

/// A connection's share in its user's being online. Ends in [`Node::go_offline`].
pub struct Online {
    channel: Arc<Channel>,
    member: Member,
}

impl Node {
    /// Notes that the client is signed in as the user, and lets those know who watch.
    pub fn go_online(&self, client: Client<'_>, user_id: &Arc<str>, now: Instant) -> Online {
        let name = online_name(user_id);
        let name = ChannelName::of_internal(&name);
        let channel = self.attach(client, name, ChannelSettings::default);
        let member = Member {
            user_id: Arc::clone(user_id),
            user_info: "null".into(),
        };
        // The client waits for nothing here: what is true later is told then.
        let entering = Entering {
            socket: client.subscriber.id,
            member: Some(&member),
        };
        drop(self.engine.enter(&channel, entering, 1, now));
        Online { channel, member }
    }

    /// Takes the client's share back.
    pub fn go_offline(&self, client: Client<'_>, online: &Online, now: Instant) {
        self.detach(client, &online.channel);
        let leaving = Entering {
            socket: client.subscriber.id,
            member: Some(&online.member),
        };
        self.engine.leave(&online.channel, leaving, now);
    }

    /// Has the client hear when the user comes and goes.
    ///
    /// # Errors
    /// [`EnterError`] when the cluster's state is out of reach.
    pub fn watch(
        &self,
        client: Client<'_>,
        user_id: &str,
        now: Instant,
    ) -> Result<Subscribing, EnterError> {
        let name = online_name(user_id);
        self.subscribe(client, ChannelName::of_internal(&name), None, 1, now)
    }

    /// Has the client take part in a session, among those of this channel of sessions. Either a second session is refused, or the
    /// older ones are told and closed when a new one comes, on every node in the same order.
    ///
    /// # Errors
    /// [`EnterError::Full`] when there is another session already.
    pub fn join_session(
        &self,
        client: Client<'_>,
        sessions: &str,
        session: &str,
        newest: Newest,
        now: Instant,
    ) -> Result<Subscribing, EnterError> {
        let max_sessions = match newest {
            Newest::Wins => usize::MAX,
            Newest::IsRefused => 1,
        };
        let member = Member {
            user_id: session.into(),
            user_info: "null".into(),
        };
        self.subscribe(
            client,
            ChannelName::of_internal(sessions),
            Some(member),
            max_sessions,
            now,
        )
    }

    /// Lets a client go at once whose session was replaced while it was on its way in.
    pub fn let_go_if_replaced(&self, client: Client<'_>, sessions: &str, session: &str) {
        let subscription = client.subscriber.subscription(sessions);
        if subscription.is_some_and(|s| self.engine.is_replaced(s.channel(), session)) {
            client.shard.let_go(client.subscriber, sessions);
        }
    }

    /// Whether the watched user is online, as the client will be told from now on.
    #[must_use]
    pub fn is_online(&self, client: Client<'_>, user_id: &str) -> bool {
        let subscription = client.subscriber.subscription(&online_name(user_id));
        subscription.is_some_and(|subscription| self.engine.is_online(subscription.channel()))
    }
}
