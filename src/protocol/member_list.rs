//! The members of a presence channel as `pusher_internal:subscription_succeeded` tells them, ready to be sent to who joins next.

use std::fmt::Write as _;

use super::{Frame, message::json_string};

/// A list that grows with its channel, so that who joins a large one costs a copy and not a rendering of all.
#[derive(Debug, Default)]
pub struct MemberList {
    /// The ids, behind one another, as they stand within a string within JSON.
    ids: String,
    /// The same of ids with their info.
    hash: String,
    count: usize,
}

impl MemberList {
    /// Adds a user who is not in the list. `info` is JSON.
    pub fn add(&mut self, user_id: &str, info: &str) {
        let comma = if self.count == 0 { "" } else { "," };
        let id = json_string(user_id);
        let (id, info) = (json_string(&id), json_string(info));
        let (id, info) = (without_quotes(&id), without_quotes(&info));
        // Writing to a String cannot fail.
        let _ = write!(self.ids, "{comma}{id}");
        let _ = write!(self.hash, "{comma}{id}:{info}");
        self.count += 1;
    }

    /// `pusher_internal:subscription_succeeded` with this list.
    #[must_use]
    pub fn succeeded(&self, channel: &str) -> Frame {
        let Self { ids, hash, count } = self;
        let data = format!(
            r#""{{\"presence\":{{\"ids\":[{ids}],\"hash\":{{{hash}}},\"count\":{count}}}}}""#
        );
        Frame::event(
            r#""pusher_internal:subscription_succeeded""#,
            channel,
            &data,
        )
    }
}

fn without_quotes(json: &str) -> &str {
    &json[1..json.len() - 1]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed(list: &MemberList) -> Value {
        let frame = list.succeeded("presence-room");
        let text = frame.bytes();
        let start = text.iter().position(|byte| *byte == b'{');
        let text = &text[start.expect("an object")..];
        let message: Value = serde_json::from_slice(text).expect("JSON");
        serde_json::from_str(message["data"].as_str().expect("data is a string")).expect("JSON")
    }

    #[test]
    fn the_list_is_a_string_with_ids_hash_and_count() {
        let mut list = MemberList::default();
        assert_eq!(
            parsed(&list),
            json!({"presence": {"ids": [], "hash": {}, "count": 0}})
        );
        list.add("7", r#"{"name":"Ann \"A\" \\ é"}"#);
        list.add("a\"b\\\n", "null");
        let hash = json!({"7": {"name": "Ann \"A\" \\ é"}, "a\"b\\\n": null});
        assert_eq!(
            parsed(&list),
            json!({"presence": {"ids": ["7", "a\"b\\\n"], "hash": hash, "count": 2}})
        );
    }
}
