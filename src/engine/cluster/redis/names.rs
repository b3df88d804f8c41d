//! The names of keys and topics. Everything of one bucket has one hash tag, so that one script may touch it all in a Redis Cluster.

use std::sync::Arc;

use crate::engine::cluster::core::{BUCKETS, BucketName, Epoch, Topic, bucket_of};

/// Makes names under the configured prefix.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: Arc<str>,
}

impl Names {
    /// Names under this prefix.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// What every key and topic of a bucket begins with. App ids have no braces.
    #[must_use]
    pub fn bucket(&self, bucket: &BucketName) -> String {
        format!("{}:{{{}:{}}}", self.prefix, bucket.app_id, bucket.number)
    }

    /// Where a channel's events are published.
    #[must_use]
    pub fn topic(&self, bucket: &BucketName, name: &str) -> String {
        format!("{}:{name}", self.bucket(bucket))
    }

    /// A key of a channel.
    #[must_use]
    pub fn of_channel(&self, bucket: &BucketName, part: &str, name: &str) -> String {
        format!("{}:{part}:{name}", self.bucket(bucket))
    }

    /// A key of a bucket.
    #[must_use]
    pub fn of_bucket(&self, bucket: &BucketName, part: &str) -> String {
        format!("{}:{part}", self.bucket(bucket))
    }

    /// Parses a topic; `None` when it is not one of this cluster's.
    #[must_use]
    pub fn parse<'a>(&self, topic: &'a str) -> Option<Topic<'a>> {
        let rest = topic.strip_prefix(&*self.prefix)?.strip_prefix(":{")?;
        let (tag, name) = rest.split_once('}')?;
        let name = name.strip_prefix(':')?;
        if tag == "nodes" {
            return (name == "control").then_some(Topic::Nodes);
        }
        let (app_id, number) = tag.rsplit_once(':')?;
        let bucket = number.parse().ok().filter(|number| *number < BUCKETS)?;
        (bucket_of(name) == bucket).then_some(Topic::Channel {
            app_id,
            bucket,
            name,
        })
    }

    /// The bucket of such a name in a dead node's list.
    #[must_use]
    pub fn parse_bucket(text: &str) -> Option<BucketName> {
        let (app_id, number) = text.rsplit_once(':')?;
        let number = number.parse().ok().filter(|number| *number < BUCKETS)?;
        let app_id = app_id.into();
        Some(BucketName { app_id, number })
    }

    /// How a bucket stands in a node's list.
    #[must_use]
    pub fn listed(bucket: &BucketName) -> String {
        format!("{}:{}", bucket.app_id, bucket.number)
    }

    /// What all nodes listen to.
    #[must_use]
    pub fn control(&self) -> String {
        self.of_nodes("control")
    }

    /// What one node listens to.
    #[must_use]
    pub fn node(&self, node: u64) -> String {
        format!("{}:{{node-{node:016x}}}", self.prefix)
    }

    /// Who holds a name.
    #[must_use]
    pub fn held(&self, name: &str) -> String {
        format!("{}:held:{name}", self.prefix)
    }

    /// The buckets in which a node has rows.
    #[must_use]
    pub fn buckets_of(&self, epoch: &Epoch) -> String {
        self.of_nodes(&format!("buckets:{epoch}"))
    }

    /// A key that concerns all nodes: `leases`, `connections`, `condemned`.
    #[must_use]
    pub fn of_nodes(&self, part: &str) -> String {
        format!("{}:{{nodes}}:{part}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_names_its_channel_whatever_its_characters() {
        let names = Names::new("loudhailer");
        for name in [
            "presence-a;b=c",
            "#server-to-user-e:1}x{",
            "#server-to-user-a}:b",
        ] {
            let bucket = BucketName {
                app_id: "1001".into(),
                number: bucket_of(name),
            };
            let expected = Topic::Channel {
                app_id: "1001",
                bucket: bucket.number,
                name,
            };
            assert_eq!(names.parse(&names.topic(&bucket, name)), Some(expected));
        }
        assert_eq!(names.parse(&names.control()), Some(Topic::Nodes));
        for other in [
            names.node(7),
            "other:{1:2}:a".into(),
            "loudhailer:{1:99}:a".into(),
        ] {
            assert_eq!(names.parse(&other), None, "{other}");
        }
    }
}
