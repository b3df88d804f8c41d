//! The names of keys and topics. Everything of one channel has one hash tag, so that one script may touch it all in a cluster.

use super::super::channels::Key;

/// Makes names under the configured prefix.
#[derive(Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// The pub/sub channel of a channel. App ids and channel names have no braces, and app ids no colon.
    pub(super) fn topic(&self, (app_id, name): &Key) -> String {
        format!("{}:{{{app_id}:{name}}}", self.prefix)
    }

    /// The channel of such a topic.
    pub(super) fn channel(&self, topic: &str) -> Option<Key> {
        let tag = topic
            .strip_prefix(&self.prefix)?
            .strip_prefix(":{")?
            .strip_suffix('}')?;
        let (app_id, name) = tag.split_once(':')?;
        Some((app_id.into(), name.into()))
    }

    /// The keys of a channel, as the scripts take them.
    pub(super) fn of_channel(&self, key: &Key) -> [String; 10] {
        let topic = self.topic(key);
        let of = |part: &str| format!("{topic}:{part}");
        [
            of("meta"),
            of("subs"),
            of("seats"),
            of("users"),
            of("infos"),
            topic.clone(),
            of("cache"),
            of("evicted"),
            of("gone"),
            of("missed"),
        ]
    }

    /// Of a cache channel: the frame, the senders' last numbers, and whether a subscriber missed it.
    pub(super) fn cache(&self, key: &Key) -> [String; 3] {
        let topic = self.topic(key);
        ["cache", "senders", "missed"].map(|part| format!("{topic}:{part}"))
    }

    /// A channel's last events, and their senders' last numbers.
    pub(super) fn history(&self, key: &Key) -> [String; 2] {
        let topic = self.topic(key);
        ["history", "recorders"].map(|part| format!("{topic}:{part}"))
    }

    /// What every node listens to.
    pub(super) fn control(&self) -> String {
        format!("{}:{{control}}", self.prefix)
    }

    /// What one node listens to.
    pub(super) fn letters(&self, node: u64) -> String {
        format!("{}:{{letters-{node:016x}}}", self.prefix)
    }

    /// Who holds what is called so.
    pub(super) fn held(&self, name: &str) -> String {
        format!("{}:held:{name}", self.prefix)
    }

    /// Nodes by the end of their lease.
    pub(super) fn leases(&self) -> String {
        format!("{}:{{nodes}}:leases", self.prefix)
    }

    /// Node to its connection counts by app.
    pub(super) fn connections(&self) -> String {
        format!("{}:{{nodes}}:connections", self.prefix)
    }

    /// Who works on a dead node's rows.
    pub(super) fn reaper(&self, epoch: &str) -> String {
        format!("{}:reaper:{epoch}", self.prefix)
    }

    /// The channels in which a node has rows.
    pub(super) fn rows(&self, epoch: &str) -> String {
        format!("{}:rows:{epoch}", self.prefix)
    }

    /// The channels of an app that may be occupied.
    pub(super) fn index(&self, app_id: &str) -> String {
        format!("{}:index:{app_id}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_names_its_channel() {
        let keys = Keys::new("loudhailer");
        let key: Key = ("1001".into(), "presence-a;b=c".into());
        assert_eq!(keys.channel(&keys.topic(&key)), Some(key));
        assert_eq!(keys.channel(&keys.control()), None);
        assert_eq!(keys.channel(&keys.letters(7)), None);
        assert_eq!(keys.channel("other:{1:a}"), None);
    }
}
