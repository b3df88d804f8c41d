//! This node among the others: the way to Redis, the lease, and the rows of those that are gone.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use redis::RedisResult;
use tokio::{sync::mpsc, time::sleep};
use tracing::{debug, info, warn};

use super::{
    super::{
        lease::{self, Lease, Reaped},
        link::Link,
    },
    Connected, Departures, Done, LEASE_RENEWAL, REAP_GRACE, RETRY, SHORT_LIFE, Task, new_epoch,
    outgoing::{HOLD, HOLD_MORE},
};
use crate::{config::RedisMode, engine::channels::Key};

impl Task {
    pub(super) fn attach(&mut self, link: Link) {
        self.link = Some(link);
        self.linked_at = Instant::now();
        self.reap_from = self.linked_at + REAP_GRACE;
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
        self.holds_lease = false;
        self.take_new_name();
        // Where another server may take over, it may not have heard the latest.
        let suspects_loss = self.settings.mode != RedisMode::Single;
        for record in self.records.values_mut() {
            record.listening = false;
            record.in_flight = false;
            record.leaving.clear();
            record.suspects_loss |= suspects_loss;
            record.answer_without_redis();
        }
        let was_short = self.linked_at.elapsed() < SHORT_LIFE;
        self.reconnect(if was_short { RETRY } else { Duration::ZERO });
    }

    /// Nothing under the old name counts from now on. Its rows are replaced by those under the new one, channel by channel.
    fn take_new_name(&mut self) {
        let former = std::mem::replace(&mut self.epoch, new_epoch());
        self.departures = Departures::default();
        for (key, record) in &mut self.records {
            record.doubt(&former);
            if record.replay.is_some() {
                self.states.doubt_history(key);
            }
        }
        self.former.push(former);
    }

    pub(super) fn reconnect(&self, delay: Duration) {
        let settings = self.settings.clone();
        let topics = [self.keys.control(), self.own_topic.clone()];
        let parts = self.lease_parts();
        self.begin(async move {
            sleep(delay).await;
            let (sender, pushes) = mpsc::unbounded_channel();
            let connecting = async {
                let link = Link::connect(&settings, sender).await?;
                let mut first = link.clone();
                for topic in &topics {
                    first.subscribe(topic).await?;
                }
                // Only a Redis that can be written to is of use.
                let lease = lease::renew(first, parts, LEASE_RENEWAL * 3).await?;
                Ok(Connected {
                    link,
                    pushes,
                    lease,
                })
            };
            Done::Connected(connecting.await)
        });
    }

    pub(super) fn on_connected(&mut self, result: RedisResult<Connected>) {
        match result {
            Ok(Connected {
                link,
                pushes,
                lease,
            }) => {
                info!("Redis is within reach again");
                self.pushes = pushes;
                self.hold_until = Instant::now() + HOLD;
                self.unheard = self.records.len();
                for wait in [HOLD, HOLD + HOLD_MORE] {
                    self.begin(async move {
                        sleep(wait).await;
                        Done::Awake
                    });
                }
                self.attach(link);
                self.on_lease(lease);
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
            former: self.former.clone(),
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
            return;
        }
        self.on_lease(lease);
    }

    fn on_lease(&mut self, lease: Lease) {
        self.holds_lease = true;
        self.former.clear();
        if Instant::now() < self.reap_from {
            return;
        }
        for expired in lease.expired {
            self.reap(expired);
        }
    }

    /// The rows under the old name are as good as gone: writes all of them again under a new one.
    pub(super) fn take_new_epoch(&mut self, reason: &str) {
        let old = self.epoch.clone();
        self.holds_lease = false;
        self.take_new_name();
        warn!(
            old,
            new = self.epoch,
            "this node takes a new name: {reason}"
        );
        self.renew();
        let keys: Vec<Key> = self.records.keys().cloned().collect();
        for key in keys {
            self.enqueue(key);
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
        let (heir, edges) = (self.epoch.clone(), Arc::clone(&self.edges));
        self.begin(async move {
            let (reaped, result) = lease::reap(link, parts, heir.clone(), edges).await;
            Done::Reaped {
                epoch,
                heir,
                reaped,
                result,
            }
        });
    }

    pub(super) fn on_reaped(
        &mut self,
        epoch: &str,
        heir: &str,
        reaped: Vec<Reaped>,
        result: RedisResult<()>,
    ) {
        self.reaping.remove(epoch);
        match result {
            Ok(()) => info!(
                node = epoch,
                channels = reaped.len(),
                "cleared up after a lease that ran out"
            ),
            Err(error) => {
                debug!(node = epoch, %error, "could not remove a node's rows; tried again later");
            }
        }
        if heir == self.epoch {
            self.inherit(reaped);
        }
    }
}
