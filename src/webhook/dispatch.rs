//! The thread's first task: takes events from the mailbox, holds departures back, and gives each event to the endpoints that
//! take it.

use std::{
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{
    select,
    task::JoinSet,
    time::{sleep_until, timeout_at},
};

use super::{
    Departures, Shared,
    debounce::Debounce,
    mailbox::{Emitted, Inbox, Received},
    parcel::Event,
    report::{Pace, report_dropped},
    sender::Sender,
    tally::Lost,
};
use crate::app::{App, WebhookKind};

/// How long an app without events keeps its tasks, and how often that is looked at.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// An app's endpoints, in its order.
struct Tenant {
    app: Arc<App>,
    senders: Vec<Rc<Sender>>,
    used_at: Instant,
}

/// The state of the task.
pub(super) struct Dispatch {
    inbox: Inbox,
    shared: Shared,
    departures: Departures,
    debounce: Debounce<Emitted>,
    tenants: HashMap<String, Tenant>,
    running: JoinSet<()>,
    swept_at: Instant,
    /// Of lines about events that the mailbox had no room for.
    drops: Pace,
}

impl Dispatch {
    pub(super) fn new(inbox: Inbox, shared: Shared, departures: Departures) -> Self {
        Self {
            inbox,
            shared,
            departures,
            debounce: Debounce::default(),
            tenants: HashMap::new(),
            running: JoinSet::new(),
            swept_at: Instant::now(),
            drops: Pace::default(),
        }
    }

    /// Works until it is told to close. Must run within a `LocalSet`.
    pub(super) async fn run(mut self) {
        loop {
            let due = self.next_due();
            select! {
                received = self.inbox.next() => match received {
                    Some(Received::Emitted(event)) => self.take(event),
                    Some(Received::Close(closing)) => {
                        self.close(closing.deadline).await;
                        // Whoever asked may have gone.
                        let _ = closing.done.send(());
                        return;
                    }
                    None => return,
                },
                () = sleep_until(due.into()) => {}
            }
            self.work(Instant::now());
        }
    }

    /// When there is something to do without an event.
    fn next_due(&self) -> Instant {
        let drops = self
            .inbox
            .has_dropped()
            .then(|| self.drops.next())
            .flatten();
        let sweep = self.swept_at + IDLE_MAX;
        let due = self.debounce.next_due().into_iter().chain(drops);
        due.fold(sweep, Instant::min)
    }

    /// Does what is due.
    fn work(&mut self, now: Instant) {
        while let Some(event) = self.debounce.take_due(now) {
            self.hand_out(&event, now);
        }
        if self.inbox.has_dropped() && self.drops.is_due(now) {
            self.report_dropped();
        }
        if now >= self.swept_at + IDLE_MAX {
            self.sweep(now);
        }
        while self.running.try_join_next().is_some() {}
    }

    /// Ends what idle apps have, so that nothing of an app that was removed stays in memory.
    fn sweep(&mut self, now: Instant) {
        self.swept_at = now;
        self.tenants.retain(|_, tenant| {
            let is_recent = now.saturating_duration_since(tenant.used_at) < IDLE_MAX;
            let is_busy = !tenant.senders.iter().all(|sender| sender.is_idle());
            if !is_recent && !is_busy {
                tenant.senders.iter().for_each(|sender| sender.close());
            }
            is_recent || is_busy
        });
        self.inbox.forget_idle();
    }

    fn report_dropped(&self) {
        for (app, overflow) in self.inbox.take_dropped() {
            let lost = Lost {
                overflow,
                ..Lost::default()
            };
            report_dropped(&app, None, &lost, &self.shared.feed);
        }
    }

    fn take(&mut self, event: Emitted) {
        let now = event.at;
        if self.departures == Departures::Settled {
            return self.hand_out(&event, now);
        }
        match event.kind {
            WebhookKind::ChannelVacated | WebhookKind::MemberRemoved => {
                if let Some(event) = self.debounce.depart(event.gone(), event, now) {
                    self.hand_out(&event, now);
                }
            }
            WebhookKind::ChannelOccupied | WebhookKind::MemberAdded => {
                if !self.debounce.come_back(&event.gone()) {
                    self.hand_out(&event, now);
                }
            }
            _ => self.hand_out(&event, now),
        }
    }

    /// Gives the event to the endpoints that take it.
    fn hand_out(&mut self, event: &Emitted, now: Instant) {
        let time_ms = unix_ms();
        for sender in self.senders(&event.app, now) {
            if sender.endpoint().takes(event.kind, &event.channel) {
                let event = Event {
                    kind: event.kind,
                    class: event.class,
                    channel: Arc::clone(&event.channel),
                    json: Arc::clone(&event.json),
                    created: now,
                    time_ms,
                };
                sender.push(event, now);
            }
        }
    }

    /// The senders of the app as it is configured now. Those of a former configuration finish what they have.
    fn senders(&mut self, app: &Arc<App>, now: Instant) -> &[Rc<Sender>] {
        let tenant = self
            .tenants
            .entry(app.id.clone())
            .or_insert_with(|| Tenant {
                app: Arc::clone(app),
                senders: Vec::new(),
                used_at: now,
            });
        tenant.used_at = now;
        let is_known = Arc::ptr_eq(&tenant.app, app) && !tenant.senders.is_empty();
        if !is_known {
            let mut former = std::mem::take(&mut tenant.senders);
            for place in 0..app.webhooks.endpoints.len() {
                let same = former.iter().position(|sender| sender.is_for(app, place));
                let sender = same.map_or_else(
                    || {
                        let sender = Sender::new(Arc::clone(app), place, self.shared.clone());
                        let sender = Rc::new(sender);
                        self.running.spawn_local(Rc::clone(&sender).run());
                        sender
                    },
                    |at| former.swap_remove(at),
                );
                tenant.senders.push(sender);
            }
            former.iter().for_each(|sender| sender.close());
            tenant.app = Arc::clone(app);
        }
        &tenant.senders
    }

    /// Takes what is on its way, announces departures without delay, and waits for the senders.
    async fn close(mut self, deadline: Instant) {
        while let Some(event) = self.inbox.drain() {
            self.take(event);
        }
        let now = Instant::now();
        while let Some(event) = self.debounce.take_first() {
            self.hand_out(&event, now);
        }
        self.report_dropped();
        let senders = || self.tenants.values().flat_map(|tenant| &tenant.senders);
        senders().for_each(|sender| sender.close());
        let all_ended = async { while self.running.join_next().await.is_some() {} };
        if timeout_at(deadline.into(), all_ended).await.is_err() {
            senders().for_each(|sender| sender.give_up());
        }
    }
}

fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;
    use crate::{
        app::{WebhookEndpoint, WebhookKinds, WebhookSettings, WebhookTargets},
        feed::Feed,
        webhook::{
            class::Class,
            client::HttpClient,
            mailbox::{Mailbox, mailbox},
        },
    };

    /// An app whose endpoint, where nobody listens, takes events of new members only.
    fn app() -> Arc<App> {
        let endpoint = WebhookEndpoint {
            url: "http://127.0.0.1:1/".parse().expect("a URL"),
            kinds: [WebhookKind::MemberAdded]
                .into_iter()
                .collect::<WebhookKinds>(),
            channel_starts_with: String::new(),
            channel_ends_with: String::new(),
            headers: http::HeaderMap::new(),
        };
        Arc::new(App {
            webhooks: WebhookSettings {
                batching: false,
                endpoints: vec![endpoint],
            },
            ..App::for_test("1", "one")
        })
    }

    fn dispatch() -> (Mailbox, Dispatch) {
        let (mailbox, inbox) = mailbox();
        let shared = Shared {
            client: HttpClient::new(false, WebhookTargets::any()).expect("no TLS is needed"),
            counters: Arc::default(),
            feed: Feed::default(),
        };
        (mailbox, Dispatch::new(inbox, shared, Departures::Fresh))
    }

    fn event(app: &Arc<App>, kind: WebhookKind, at: Instant) -> Emitted {
        Emitted {
            app: Arc::clone(app),
            kind,
            class: Class::of(kind, "presence-a"),
            channel: "presence-a".into(),
            user_id: None,
            json: "{}".into(),
            at,
        }
    }

    #[tokio::test]
    async fn an_app_that_is_idle_for_long_leaves_nothing_in_memory() {
        let run = async {
            let (_mailbox, mut dispatch) = dispatch();
            let (app, start) = (app(), Instant::now());
            dispatch.take(event(&app, WebhookKind::ChannelOccupied, start));
            dispatch.work(start + IDLE_MAX / 2);
            assert_eq!(dispatch.tenants.len(), 1, "it may come back");
            dispatch.work(start + 2 * IDLE_MAX);
            assert!(dispatch.tenants.is_empty());
            while dispatch.running.join_next().await.is_some() {}
            assert_eq!(Arc::strong_count(&app), 1, "the secret goes with the app");
        };
        LocalSet::new().run_until(run).await;
    }

    #[tokio::test]
    async fn an_app_whose_events_wait_is_not_idle() {
        let run = async {
            let (_mailbox, mut dispatch) = dispatch();
            let (app, start) = (app(), Instant::now());
            dispatch.take(event(&app, WebhookKind::MemberAdded, start));
            dispatch.work(start + 2 * IDLE_MAX);
            assert_eq!(dispatch.tenants.len(), 1);
        };
        LocalSet::new().run_until(run).await;
    }
}
