//! A node's right to its rows: a lease that it renews, and what the others do when it has run out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::{AsyncCommands, ExistenceCheck, RedisResult, SetExpiry, SetOptions};

use super::{keys::Keys, link::Link, scripts::Scripts, write::take_off_index};

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

/// Gives the lease back. The node has no rows left.
pub(super) async fn resign(mut link: Link, parts: Parts) -> RedisResult<()> {
    let () = link.hdel(parts.keys.connections(), &parts.epoch).await?;
    let () = link.del(parts.keys.rows(&parts.epoch)).await?;
    link.zrem(parts.keys.leases(), &parts.epoch).await
}

/// Removes the rows of a node that is gone, and says of how many channels. Another node may be at it already.
pub(super) async fn reap(mut link: Link, parts: Parts) -> RedisResult<usize> {
    let Parts {
        keys,
        scripts,
        epoch,
        ..
    } = parts;
    let options = SetOptions::default()
        .conditional_set(ExistenceCheck::NX)
        .with_expiration(SetExpiry::EX(REAPER_S));
    let is_mine: bool = link.set_options(keys.reaper(&epoch), 1, options).await?;
    if !is_mine {
        return Ok(0);
    }
    let rows: Vec<String> = link.smembers(keys.rows(&epoch)).await?;
    for row in &rows {
        let Some((app_id, name)) = row.split_once(':') else {
            continue;
        };
        let key = (app_id.into(), name.into());
        let mut script = scripts.evict.prepare_invoke();
        for name in keys.of_channel(&key) {
            script.key(name);
        }
        script.arg(link.publish_command()).arg(&epoch);
        let left: usize = script.invoke_async(&mut link).await?;
        if left == 0 {
            take_off_index(&mut link, &keys, &scripts, &key).await?;
        }
    }
    let () = link.del(keys.rows(&epoch)).await?;
    let () = link.hdel(keys.connections(), &epoch).await?;
    let () = link.zrem(keys.leases(), &epoch).await?;
    let () = link.del(keys.reaper(&epoch)).await?;
    Ok(rows.len())
}
