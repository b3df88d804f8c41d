//! What the HTTP API asks, answered by Redis for the whole cluster: never a question to other nodes.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{AsyncCommands, RedisResult};

use super::{keys::Keys, link::Link, scripts::Scripts, write::kept};
use crate::{
    engine::{Cached, ChannelInfo, ClusterNode, Occupied, Wanted, channels::Key},
    presence::Member,
    protocol::ChannelKind,
};

/// Channels asked about at once; they share the connection.
const AT_ONCE: usize = 128;

/// What every query needs.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) keys: Keys,
    pub(super) scripts: Arc<Scripts>,
}

type Shown = (usize, usize, Option<Vec<u8>>, i64);

async fn show(link: &mut Link, parts: &Parts, key: &Key) -> RedisResult<Shown> {
    let [_, subs, _, users, _, _, cache, ..] = parts.keys.of_channel(key);
    parts
        .scripts
        .show
        .key(subs)
        .key(users)
        .key(cache)
        .invoke_async(link)
        .await
}

pub(super) async fn channel(
    mut link: Link,
    parts: Parts,
    key: Key,
    kind: ChannelKind,
    wanted: Wanted,
) -> RedisResult<ChannelInfo> {
    let (subscriptions, users, frame, ttl_ms) = show(&mut link, &parts, &key).await?;
    let cached = || {
        kept(frame, ttl_ms).map(|(frame, ttl)| Cached {
            frame,
            ttl_s: ttl.as_secs(),
        })
    };
    Ok(ChannelInfo {
        occupied: subscriptions > 0,
        user_count: (wanted.user_count && kind.is_presence()).then_some(users),
        subscription_count: wanted.subscription_count.then_some(subscriptions),
        cache: (wanted.cache && kind.cache).then(cached),
    })
}

/// A channel has an info for each of its users, and for nobody else.
pub(super) async fn users(mut link: Link, parts: Parts, key: Key) -> RedisResult<Vec<Member>> {
    let [_, _, _, _, infos, ..] = parts.keys.of_channel(&key);
    let infos: Vec<(String, String)> = link.hgetall(infos).await?;
    let members = infos.into_iter().map(|(user_id, user_info)| Member {
        user_id: user_id.into(),
        user_info: user_info.into(),
    });
    Ok(members.collect())
}

pub(super) async fn occupied(
    mut link: Link,
    parts: Parts,
    app_id: Arc<str>,
    prefix: String,
) -> RedisResult<Vec<Occupied>> {
    let names: Vec<String> = link.smembers(parts.keys.index(&app_id)).await?;
    let matching = names.into_iter().filter(|name| name.starts_with(&prefix));
    let asking = matching.map(|name| {
        let (mut link, parts, app_id) = (link.clone(), parts.clone(), Arc::clone(&app_id));
        async move {
            let key: Key = (app_id, name.into());
            let (subscriptions, users, ..) = show(&mut link, &parts, &key).await?;
            RedisResult::Ok(Occupied {
                name: key.1,
                subscriptions,
                users,
            })
        }
    });
    let answered = stream::iter(asking).buffer_unordered(AT_ONCE);
    // The index may name a channel that has just been left.
    answered
        .try_filter(|channel| std::future::ready(channel.subscriptions > 0))
        .try_collect()
        .await
}

/// This node's own count is exact; the others' are as old as their last renewal.
pub(super) async fn connections(
    mut link: Link,
    parts: Parts,
    app_id: Arc<str>,
    (epoch, here): (String, usize),
) -> RedisResult<usize> {
    let nodes: HashMap<String, String> = link.hgetall(parts.keys.connections()).await?;
    let others = nodes
        .iter()
        .filter(|(node, _)| **node != epoch)
        .map(|(_, counts)| {
            let counts: HashMap<&str, usize> = serde_json::from_str(counts).unwrap_or_default();
            counts.get(&*app_id).copied().unwrap_or_default()
        });
    Ok(here + others.sum::<usize>())
}

/// Every node with its clients of all apps; the counts of [`connections`].
pub(super) async fn nodes(
    mut link: Link,
    parts: Parts,
    (epoch, here): (String, usize),
) -> RedisResult<Vec<ClusterNode>> {
    let nodes: HashMap<String, String> = link.hgetall(parts.keys.connections()).await?;
    let others = nodes.into_iter().filter(|(name, _)| *name != epoch);
    let others = others.map(|(name, counts)| {
        let counts: HashMap<&str, usize> = serde_json::from_str(&counts).unwrap_or_default();
        let connections = counts.values().sum();
        ClusterNode {
            name,
            is_this: false,
            connections,
        }
    });
    let mut nodes: Vec<ClusterNode> = others.collect();
    nodes.push(ClusterNode {
        name: epoch.clone(),
        is_this: true,
        connections: here,
    });
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(nodes)
}
