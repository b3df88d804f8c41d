//! A channel's members, and the list of them that who joins is sent: rendered once for each change of the members, however many
//! join, and continued rather than rendered anew when somebody comes.

use crate::{
    presence::{Full, Join, Leave, Member, Roster},
    protocol::{Frame, MemberList},
};

/// Members from whom on the list is kept; a shorter one is rendered in a microsecond or two.
const KEPT_FROM: usize = 16;

/// Who is on a channel.
#[derive(Default)]
pub(super) struct Members {
    roster: Roster,
    /// Absent until somebody asks, after somebody has left, and where there are few.
    list: Option<Box<Listed>>,
}

struct Listed {
    list: MemberList,
    /// Until somebody comes.
    succeeded: Option<Frame>,
}

impl Members {
    /// As [`Roster::join`].
    pub(super) fn join(&mut self, member: &Member, max_members: usize) -> Result<Join, Full> {
        let join = self.roster.join(member, max_members)?;
        if join == Join::First
            && let Some(listed) = &mut self.list
        {
            listed.list.add(&member.user_id, &member.user_info);
            listed.succeeded = None;
        }
        Ok(join)
    }

    /// As [`Roster::leave`].
    pub(super) fn leave(&mut self, user_id: &str) -> Leave {
        let leave = self.roster.leave(user_id);
        if leave == Leave::Last {
            self.list = None;
        }
        leave
    }

    /// The roster, for reading.
    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// `subscription_succeeded` for who joins now.
    pub(super) fn succeeded(&mut self, channel: &str) -> Frame {
        if self.roster.len() < KEPT_FROM {
            return render(&self.roster).succeeded(channel);
        }
        let listed = self.list.get_or_insert_with(|| {
            Box::new(Listed {
                list: render(&self.roster),
                succeeded: None,
            })
        });
        let list = &listed.list;
        let succeeded = listed
            .succeeded
            .get_or_insert_with(|| list.succeeded(channel));
        succeeded.clone()
    }

    /// Gives the memory of the list back.
    pub(super) fn forget_list(&mut self) {
        self.list = None;
    }
}

fn render(roster: &Roster) -> MemberList {
    let mut list = MemberList::default();
    for (user_id, user_info) in roster.members() {
        list.add(user_id, user_info);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: usize) -> Member {
        Member {
            user_id: number.to_string().into(),
            user_info: "null".into(),
        }
    }

    #[test]
    fn the_list_is_the_members_whatever_they_do() {
        let mut members = Members::default();
        for number in 0..3 * KEPT_FROM {
            members
                .join(&member(number), usize::MAX)
                .expect("there is room");
            members
                .join(&member(number), usize::MAX)
                .expect("there is room");
            if number % 5 == 4 {
                assert_eq!(members.leave(&number.to_string()), Leave::Still);
                assert_eq!(members.leave(&number.to_string()), Leave::Last);
            }
            let told = members.succeeded("presence-a");
            let told = String::from_utf8_lossy(told.bytes()).into_owned();
            for (user_id, _) in members.roster().members() {
                let entry = format!(r#"\"{user_id}\":null"#);
                assert_eq!(told.matches(&entry).count(), 1, "{user_id} in {told}");
            }
            let count = format!(r#"\"count\":{}"#, members.roster().len());
            assert!(told.contains(&count), "{count} in {told}");
        }
    }

    #[test]
    fn who_joins_while_nobody_comes_or_goes_shares_one_list() {
        let mut members = Members::default();
        for number in 0..KEPT_FROM {
            members
                .join(&member(number), usize::MAX)
                .expect("there is room");
        }
        let (first, second) = (members.succeeded("a"), members.succeeded("a"));
        assert_eq!(first.bytes().as_ptr(), second.bytes().as_ptr());
    }
}
