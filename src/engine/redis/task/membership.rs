//! This node among the others: the way to Redis, the lease, and the rows of those that are gone.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redis::{PushInfo, RedisResult};
use tokio::{sync::mpsc, time::sleep};
use tracing::{debug, info, warn};

use super::{
    super::{
        lease::{self, Lease},
        link::Link,
    },
    Done, LEASE_RENEWAL, RETRY, Task, new_epoch,
};
use crate::engine::channels::Key;

impl Task {
    pub(super) fn attach(&mut self, link: Link) {
        self.link = Some(link);
        self.shared.within_reach.store(true, Ordering::Relaxed);
        let keys: Vec<Key> = self.records.keys().cloned().collect();
        for key in keys {
            self.enqueue(key);
        }
    }

    pub(super) fn lose_link(&mut self, error: &redis::RedisError) {
        if self.link.take().is_none() {
            return;
        }
        warn!(%error, "Redis is out of reach; local delivery goes on");
        self.shared.within_reach.store(false, Ordering::Relaxed);
        self.link_number += 1;
        self.publishing = false;
        for record in self.records.values_mut() {
            record.listening = false;
            record.in_flight = false;
            record.doubt();
            record.answer_without_redis();
        }
        self.reconnect(Duration::ZERO);
    }

    pub(super) fn reconnect(&self, delay: Duration) {
        let (settings, control) = (self.settings.clone(), self.keys.control());
        self.begin(async move {
            sleep(delay).await;
            let (sender, pushes) = mpsc::unbounded_channel();
            let connecting = async {
                let link = Link::connect(&settings, sender).await?;
                let mut first = link.clone();
                first.subscribe(&control).await?;
                Ok((link, pushes))
            };
            Done::Connected(connecting.await)
        });
    }

    pub(super) fn on_connected(
        &mut self,
        result: RedisResult<(Link, mpsc::UnboundedReceiver<PushInfo>)>,
    ) {
        match result {
            Ok((link, pushes)) => {
                info!("Redis is within reach again");
                self.pushes = pushes;
                self.attach(link);
                self.renew();
            }
            Err(error) => {
                debug!(%error, "Redis is still out of reach");
                self.reconnect(RETRY);
            }
        }
    }

    pub(super) fn lease_parts(&self) -> lease::Parts {
        lease::Parts {
            keys: self.keys.clone(),
            scripts: Arc::clone(&self.scripts),
            epoch: self.epoch.clone(),
            connections: self.states.hub().connections_by_app(),
        }
    }

    pub(super) fn renew(&mut self) {
        self.forget_idle();
        let Some(link) = self.link.clone() else {
            return;
        };
        let parts = self.lease_parts();
        self.begin(async move {
            let epoch = parts.epoch.clone();
            Done::Renewed {
                epoch,
                result: lease::renew(link, parts, LEASE_RENEWAL * 3).await,
            }
        });
    }

    pub(super) fn on_renewed(&mut self, epoch: &str, result: RedisResult<Lease>) {
        let lease = match result {
            Ok(lease) => lease,
            Err(error) => return self.lose_link(&error),
        };
        if epoch != self.epoch {
            return;
        }
        if !lease.was_held && self.holds_lease {
            self.take_new_epoch("its lease was lost");
            self.renew();
            return;
        }
        self.holds_lease = true;
        for expired in lease.expired {
            self.reap(expired);
        }
    }

    /// The rows under the old name are as good as gone: writes all of them again under a new one.
    pub(super) fn take_new_epoch(&mut self, reason: &str) {
        let old = std::mem::replace(&mut self.epoch, new_epoch());
        self.holds_lease = false;
        warn!(
            old,
            new = self.epoch,
            "this node takes a new name: {reason}"
        );
        for record in self.records.values_mut() {
            record.in_flight = false;
            record.doubt();
        }
        // Results that are still under way speak of the old name.
        self.link_number += 1;
        self.publishing = false;
        let keys: Vec<Key> = self.records.keys().cloned().collect();
        for key in keys {
            self.enqueue(key);
        }
        if let Some(link) = self.link.clone() {
            let parts = lease::Parts {
                epoch: old,
                ..self.lease_parts()
            };
            self.begin(async move {
                Done::Silenced {
                    result: lease::expire(link, parts).await,
                }
            });
            self.renew();
        }
    }

    pub(super) fn reap(&mut self, epoch: String) {
        let Some(link) = self.link.clone() else {
            return;
        };
        if epoch == self.epoch || !self.reaping.insert(epoch.clone()) {
            return;
        }
        let parts = lease::Parts {
            epoch: epoch.clone(),
            ..self.lease_parts()
        };
        self.begin(async move {
            Done::Reaped {
                epoch,
                result: lease::reap(link, parts).await,
            }
        });
    }
}
