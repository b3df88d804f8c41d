//! A node's right to its rows: a lease that it renews, and what the others do when it has run out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::{AsyncCommands, ExistenceCheck, RedisResult, SetExpiry, SetOptions};

use super::{
    keys::Keys,
    link::Link,
    scripts::Scripts,
    write::{hooks, take_off_index},
};
use crate::engine::{EdgeSink, Edges, Heard, channels::Key};

/// How long one node may work on a dead node's rows before another takes over.
const REAPER_S: u64 = 10;

/// What every step needs.
pub(super) struct Parts {
    pub(super) keys: Keys,
    pub(super) scripts: Arc<Scripts>,
    pub(super) epoch: String,
    /// Names that the node had before, under which its connections count no more.
    pub(super) former: Vec<String>,
    /// The node's connections by app.
    pub(super) connections: HashMap<Arc<str>, usize>,
}

/// What a renewal found.
pub(super) struct Lease {
    /// Whether the lease had not run out.
    pub(super) was_held: bool,
    /// Nodes whose lease has.
    pub(super) expired: Vec<String>,
}

/// Renews the lease, or takes it for the first time.
pub(super) async fn renew(mut link: Link, parts: Parts, lasts: Duration) -> RedisResult<Lease> {
    let connections: HashMap<&str, usize> = parts
        .connections
        .iter()
        .map(|(app_id, count)| (&**app_id, *count))
        .collect();
    let connections = serde_json::to_string(&connections).unwrap_or_default();
    let lasts_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
    let mut script = parts.scripts.lease.prepare_invoke();
    script
        .key(parts.keys.leases())
        .key(parts.keys.connections())
        .arg(&parts.epoch)
        .arg(lasts_ms)
        .arg(connections);
    for former in &parts.former {
        script.arg(former);
    }
    let (was_held, expired): (bool, Vec<String>) = script.invoke_async(&mut link).await?;
    Ok(Lease { was_held, expired })
}

/// Gives the lease back, with no rows left but those of departures that are to be told. Another node takes those over; `true` means
/// that there is none, and the lease goes on.
pub(super) async fn resign(mut link: Link, parts: Parts, hands_over: bool) -> RedisResult<bool> {
    let mut script = parts.scripts.resign.key(parts.keys.leases());
    script
        .key(parts.keys.connections())
        .arg(&parts.epoch)
        .arg(if hands_over { "1" } else { "0" });
    let others: usize = script.invoke_async(&mut link).await?;
    if !hands_over {
        let () = link.del(parts.keys.rows(&parts.epoch)).await?;
    }
    Ok(hands_over && others == 0)
}

/// What a dead node leaves of one channel: what the backend is told now, and later.
pub(super) struct Reaped {
    pub(super) key: Key,
    pub(super) told: Vec<String>,
    pub(super) pending: Vec<(String, String, u64)>,
}

/// Removes the rows of a node that is gone, and gives what that leads to. Another node may be at it already.
pub(super) async fn reap(
    mut link: Link,
    parts: Parts,
    heir: String,
    edges: EdgeSink,
) -> (Vec<Reaped>, RedisResult<()>) {
    let mut reaped = Vec::new();
    let result = reap_into(&mut reaped, &mut link, &parts, &heir, &*edges).await;
    (reaped, result)
}

async fn reap_into(
    reaped: &mut Vec<Reaped>,
    link: &mut Link,
    parts: &Parts,
    heir: &str,
    edges: &dyn Edges,
) -> RedisResult<()> {
    let Parts { keys, epoch, .. } = parts;
    let options = SetOptions::default()
        .conditional_set(ExistenceCheck::NX)
        .with_expiration(SetExpiry::EX(REAPER_S));
    let is_mine: bool = link.set_options(keys.reaper(epoch), 1, options).await?;
    if !is_mine {
        return Ok(());
    }
    let rows: Vec<String> = link.smembers(keys.rows(epoch)).await?;
    for row in &rows {
        if let Some((app_id, name)) = row.split_once(':') {
            let key = (app_id.into(), name.into());
            let heard = edges.heard(app_id, name);
            if heard != Heard::default() {
                // Before there is anything to inherit, so that it is never without an heir.
                let () = link.sadd(keys.rows(heir), row).await?;
            }
            reaped.push(evict(link, parts, key, heir, heard).await?);
        }
    }
    let () = link.del(keys.rows(epoch)).await?;
    let () = link.hdel(keys.connections(), epoch).await?;
    let () = link.zrem(keys.leases(), epoch).await?;
    link.del(keys.reaper(epoch)).await
}

async fn evict(
    link: &mut Link,
    parts: &Parts,
    key: Key,
    heir: &str,
    heard: Heard,
) -> RedisResult<Reaped> {
    let mut script = parts.scripts.evict.prepare_invoke();
    for name in parts.keys.of_channel(&key) {
        script.key(name);
    }
    script
        .arg(link.publish_command())
        .arg(&parts.epoch)
        .arg(hooks(heard))
        .arg(heir);
    let (left, told, pending): (usize, _, _) = script.invoke_async(link).await?;
    if left == 0 {
        take_off_index(link, &parts.keys, &parts.scripts, &key).await?;
    }
    Ok(Reaped { key, told, pending })
}
