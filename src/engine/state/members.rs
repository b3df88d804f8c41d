//! Who is on a channel: members, users who are watched, and the sessions of a user.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{ChannelState, State};
use crate::{
    engine::{ChannelEdge, ChannelKey, SharedState},
    feed::Line,
    presence::{Full, Join, Leave, Member},
    protocol::{Access, channel::online_user, message},
};

/// How long a user must be gone before watchers hear of it.
const OFFLINE_DELAY: Duration = Duration::from_secs(3);

impl State {
    fn announce_arrival(&self, key: &ChannelKey, state: &mut ChannelState, member: &Member) {
        match key.kind.access {
            Access::Online if state.went_offline.take().is_none() => {
                self.announce(key, message::watchlist_events(&[&member.user_id], &[]));
            }
            Access::Online => {}
            Access::Session => {
                state.newest = Some(Arc::clone(&member.user_id));
                self.replace_sessions(key, &member.user_id);
            }
            _ => {
                let Member { user_id, user_info } = member;
                self.announce(key, message::member_added(&key.name, user_id, user_info));
                self.feed.emit(|| Line::MemberAdded {
                    app: &key.app_id,
                    channel: &key.name,
                    user_id,
                });
            }
        }
    }

    fn announce_departure(
        &self,
        key: &ChannelKey,
        state: &mut ChannelState,
        user_id: &str,
        now: Instant,
    ) {
        match key.kind.access {
            Access::Online => {
                // A page reload is not announced, only a user who stays away.
                state.went_offline = Some(now);
                let mut offline = self.offline.lock().unwrap_or_else(PoisonError::into_inner);
                offline.push((now, key.clone()));
            }
            Access::Session => {}
            _ => {
                self.announce(key, message::member_removed(&key.name, user_id));
                self.feed.emit(|| Line::MemberRemoved {
                    app: &key.app_id,
                    channel: &key.name,
                    user_id,
                });
            }
        }
    }

    /// A new session has entered: connections seated before it that are not part of it are closed.
    fn replace_sessions(&self, key: &ChannelKey, session: &Arc<str>) {
        if let Some(route) = self.hub.app(&key.app_id).route(&key.name) {
            self.hub
                .replace_sessions(&route, session, self.next_sequence());
        }
    }

    /// Announces users who went offline and did not come back within the delay.
    pub(super) fn announce_offline(&self, now: Instant) {
        let mut waiting = self.offline.lock().unwrap_or_else(PoisonError::into_inner);
        let due: Vec<(Instant, ChannelKey)> = waiting
            .extract_if(.., |(went, _)| now.duration_since(*went) >= OFFLINE_DELAY)
            .collect();
        drop(waiting);
        for (went, key) in due {
            let Some(mut state) = self.channels.get_mut(&key) else {
                continue;
            };
            if state.went_offline == Some(went)
                && let Some(user_id) = online_user(&key.name)
            {
                state.went_offline = None;
                self.announce(&key, message::watchlist_events(&[], &[&user_id]));
            }
            drop(state);
            self.forget_needless(&key);
        }
    }

    /// Whether a newer session than this one is known.
    #[must_use]
    pub fn is_replaced(&self, key: &ChannelKey, session: &str) -> bool {
        let newest = self
            .channels
            .get(key)
            .and_then(|state| state.newest.clone());
        newest.is_some_and(|newest| *newest != *session)
    }

    /// Whether watchers know the user of this online channel as online.
    #[must_use]
    pub fn is_online(&self, key: &ChannelKey) -> bool {
        self.channels
            .get(key)
            .is_some_and(|state| !state.members.roster().is_empty() || state.went_offline.is_some())
    }

    /// Seats one connection and announces its user's first.
    ///
    /// # Errors
    /// [`Full`] when there is no room for one more user; nothing was changed.
    pub fn join(&self, key: &ChannelKey, member: &Member, max_members: usize) -> Result<(), Full> {
        let mut state = self.channels.entry(key.clone()).or_default();
        let is_session = key.kind.access == Access::Session;
        let others: Vec<String> = match is_session {
            true => state
                .members
                .roster()
                .members()
                .filter(|(id, _)| **id != *member.user_id)
                .map(|(id, _)| id.to_owned())
                .collect(),
            false => Vec::new(),
        };
        let user_id: &str = &member.user_id;
        match state.members.join(member, max_members) {
            Ok(Join::First) if !is_session => {
                self.announce_arrival(key, &mut state, member);
                self.tell(&key.app_id, &key.name, ChannelEdge::MemberAdded(user_id));
            }
            // A replaced session is still here until its grace is over. A new connection of it makes it the newest again.
            Ok(_) if is_session && state.newest.as_deref() != Some(user_id) => {
                self.announce_arrival(key, &mut state, member);
                if !others.is_empty() {
                    let edge = ChannelEdge::SessionReplaced {
                        session: user_id,
                        replaced: &others,
                    };
                    self.tell(&key.app_id, &key.name, edge);
                }
            }
            Ok(_) => {}
            Err(full) => {
                if is_session {
                    self.tell(&key.app_id, &key.name, ChannelEdge::SessionRefused(user_id));
                }
                return Err(full);
            }
        }
        Ok(())
    }

    /// Takes one connection away and announces its user's last.
    pub fn leave(&self, key: &ChannelKey, user_id: &str, now: Instant) {
        let Some(mut state) = self.channels.get_mut(key) else {
            return;
        };
        if state.members.leave(user_id) == Leave::Last {
            self.announce_departure(key, &mut state, user_id, now);
            self.tell(&key.app_id, &key.name, ChannelEdge::MemberRemoved(user_id));
        }
        drop(state);
        self.forget_needless(key);
    }

    /// Adds a user that is not there yet, or makes a session the newest.
    pub fn arrive(&self, key: &ChannelKey, member: &Member) {
        let mut state = self.channels.entry(key.clone()).or_default();
        let is_known = state.members.roster().contains(&member.user_id);
        let is_newest =
            key.kind.access == Access::Session && state.newest.as_deref() != Some(&*member.user_id);
        if !is_known {
            // The limit was kept where the member entered.
            let _ = state.members.join(member, usize::MAX);
        }
        if !is_known || is_newest {
            self.announce_arrival(key, &mut state, member);
        }
    }

    /// As [`State::arrive`], for a user who had never left: such a session is not a new one.
    pub fn arrive_again(&self, key: &ChannelKey, member: &Member) {
        let mut state = self.channels.entry(key.clone()).or_default();
        self.add_known(key, &mut state, member);
    }

    fn add_known(&self, key: &ChannelKey, state: &mut ChannelState, member: &Member) {
        if !state.members.roster().contains(&member.user_id) {
            // The limit was kept where the member entered.
            let _ = state.members.join(member, usize::MAX);
            if key.kind.access != Access::Session {
                self.announce_arrival(key, state, member);
            }
        }
    }

    /// Replaces the members by those of a snapshot, announcing every difference. With `keeps_missing`, no member is removed.
    pub(super) fn apply_members(
        &self,
        key: &ChannelKey,
        state: &mut ChannelState,
        shared: &SharedState,
        keeps_missing: bool,
        now: Instant,
    ) {
        let users = &shared.members;
        let members = state.members.roster().members();
        let gone: Vec<String> = members
            .filter(|(id, _)| !keeps_missing && !users.contains_key(*id))
            .map(|(id, _)| id.to_owned())
            .collect();
        for user_id in gone {
            state.members.leave(&user_id);
            self.announce_departure(key, state, &user_id, now);
        }
        for (user_id, user_info) in users {
            let member = Member {
                user_id: user_id.clone(),
                user_info: user_info.clone(),
            };
            self.add_known(key, state, &member);
        }
        if key.kind.access == Access::Session
            && shared.newest.is_some()
            && state.newest != shared.newest
        {
            state.newest.clone_from(&shared.newest);
            if let Some(session) = &state.newest {
                self.replace_sessions(key, session);
            }
        }
    }

    /// The members of a presence channel.
    #[must_use]
    pub fn members(&self, key: &ChannelKey) -> Vec<Member> {
        let member = |(id, info): (&str, &str)| Member {
            user_id: id.into(),
            user_info: info.into(),
        };
        self.channels.get(key).map_or_else(Vec::new, |state| {
            state.members.roster().members().map(member).collect()
        })
    }

    /// How many distinct users a presence channel has.
    #[must_use]
    pub fn user_count(&self, key: &ChannelKey) -> usize {
        self.channels
            .get(key)
            .map_or(0, |state| state.members.roster().len())
    }
}
