//! Who is in a presence channel: users, each with as many connections as they like. Pure; returns edges and lets others tell.

use std::{collections::HashMap, sync::Arc};

/// The identity that a subscription brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Always a string; numeric ids were turned into their digits.
    pub user_id: Arc<str>,
    /// JSON; `null` when the backend gave none.
    pub user_info: Arc<str>,
}

/// The members of one channel.
#[derive(Debug, Default)]
pub struct Roster {
    users: HashMap<Arc<str>, Seat>,
}

#[derive(Debug)]
struct Seat {
    /// Of the user's first connection; later ones don't change it until the user has left.
    info: Arc<str>,
    connections: usize,
}

/// What a join meant for the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// The user's first connection: `member_added`.
    First,
    /// One more connection of a user who is there already.
    Again,
}

/// What a leave meant for the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The user's last connection: `member_removed`.
    Last,
    /// The user has other connections.
    Still,
}

/// The channel has as many users as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Roster {
    /// Seats one connection.
    ///
    /// # Errors
    /// [`Full`] when it would be the first of a user beyond `max_members`; users who are in may always come again.
    pub fn join(&mut self, member: &Member, max_members: usize) -> Result<Join, Full> {
        if let Some(seat) = self.users.get_mut(&member.user_id) {
            seat.connections += 1;
            return Ok(Join::Again);
        }
        if self.users.len() >= max_members {
            return Err(Full);
        }
        let seat = Seat {
            info: Arc::clone(&member.user_info),
            connections: 1,
        };
        self.users.insert(Arc::clone(&member.user_id), seat);
        Ok(Join::First)
    }

    /// Takes one connection of a user away.
    pub fn leave(&mut self, user_id: &str) -> Leave {
        match self.users.get_mut(user_id) {
            Some(seat) if seat.connections > 1 => {
                seat.connections -= 1;
                Leave::Still
            }
            Some(_) => {
                self.users.remove(user_id);
                Leave::Last
            }
            None => Leave::Still,
        }
    }

    /// Users and their info.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.users.iter().map(|(id, seat)| (&**id, &*seat.info))
    }

    /// Whether the user is there.
    #[must_use]
    pub fn contains(&self, user_id: &str) -> bool {
        self.users.contains_key(user_id)
    }

    /// How many distinct users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    use super::*;

    fn member(id: &str) -> Member {
        Member {
            user_id: id.into(),
            user_info: "null".into(),
        }
    }

    #[test]
    fn a_user_is_added_once_and_removed_once_whatever_the_tabs_do() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut roster = Roster::default();
        let mut truth: HashMap<String, usize> = HashMap::new();
        for _ in 0..10_000 {
            let id = rng.random_range(0..8_u8).to_string();
            let tabs = truth.entry(id.clone()).or_default();
            if rng.random_bool(0.5) {
                let expected = if *tabs == 0 { Join::First } else { Join::Again };
                assert_eq!(roster.join(&member(&id), 100), Ok(expected));
                *tabs += 1;
            } else if *tabs > 0 {
                let expected = if *tabs == 1 {
                    Leave::Last
                } else {
                    Leave::Still
                };
                assert_eq!(roster.leave(&id), expected);
                *tabs -= 1;
            }
            assert_eq!(
                roster.len(),
                truth.values().filter(|tabs| **tabs > 0).count()
            );
        }
    }

    #[test]
    fn a_full_channel_still_admits_who_is_in() {
        let mut roster = Roster::default();
        assert_eq!(roster.join(&member("a"), 1), Ok(Join::First));
        assert_eq!(roster.join(&member("b"), 1), Err(Full));
        assert_eq!(roster.join(&member("a"), 1), Ok(Join::Again));
        assert_eq!(roster.leave("b"), Leave::Still);
    }
}
