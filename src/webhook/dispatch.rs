//! The thread's first task: takes events from the mailbox, holds departures back, and gives each event to the endpoints that
//! take it.

use std::{
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{
    select,
    sync::{mpsc::UnboundedReceiver, oneshot},
    task::JoinSet,
    time::{sleep_until, timeout_at},
};

use super::{
    Departures, Post,
    debounce::{Debounce, Gone},
    parcel::Event,
    sender::Sender,
};
use crate::app::{App, WebhookKind};

/// An event on its way from the thread where it happened.
pub(super) struct News {
    pub(super) app: Arc<App>,
    pub(super) kind: WebhookKind,
    pub(super) channel: Arc<str>,
    /// Of events about a member.
    pub(super) user_id: Option<Arc<str>>,
    pub(super) json: Arc<str>,
    pub(super) at: Instant,
}

impl News {
    fn gone(&self) -> Gone {
        Gone {
            app_id: (*self.app.id).into(),
            channel: Arc::clone(&self.channel),
            user_id: self.user_id.clone(),
        }
    }
}

/// What comes through the mailbox.
pub(super) enum Letter {
    News(News),
    /// Send what there is until the deadline, and end.
    Close {
        deadline: Instant,
        done: oneshot::Sender<()>,
    },
}

/// An app's endpoints, in its order.
struct Tenant {
    app: Arc<App>,
    senders: Vec<Rc<Sender>>,
}

/// The state of the task.
pub(super) struct Dispatch {
    mailbox: UnboundedReceiver<Letter>,
    post: Post,
    departures: Departures,
    debounce: Debounce<News>,
    tenants: HashMap<String, Tenant>,
    running: JoinSet<()>,
}

impl Dispatch {
    pub(super) fn new(
        mailbox: UnboundedReceiver<Letter>,
        post: Post,
        departures: Departures,
    ) -> Self {
        Self {
            mailbox,
            post,
            departures,
            debounce: Debounce::default(),
            tenants: HashMap::new(),
            running: JoinSet::new(),
        }
    }

    /// Works until it is told to close. Must run within a `LocalSet`.
    pub(super) async fn run(mut self) {
        loop {
            let due = self.debounce.next_due();
            select! {
                letter = self.mailbox.recv() => match letter {
                    Some(Letter::News(news)) => self.take(news),
                    Some(Letter::Close { deadline, done }) => {
                        self.close(deadline).await;
                        // Whoever asked may have gone.
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {}
            }
            let now = Instant::now();
            while let Some(news) = self.debounce.take_due(now) {
                self.hand_out(&news, now);
            }
            while self.running.try_join_next().is_some() {}
        }
    }

    fn take(&mut self, news: News) {
        self.post.counters.leave_mailbox(news.json.len());
        let now = news.at;
        if self.departures == Departures::Settled {
            return self.hand_out(&news, now);
        }
        match news.kind {
            WebhookKind::ChannelVacated | WebhookKind::MemberRemoved => {
                if let Some(news) = self.debounce.depart(news.gone(), news, now) {
                    self.hand_out(&news, now);
                }
            }
            WebhookKind::ChannelOccupied | WebhookKind::MemberAdded => {
                if !self.debounce.come_back(&news.gone()) {
                    self.hand_out(&news, now);
                }
            }
            _ => self.hand_out(&news, now),
        }
    }

    /// Gives the event to the endpoints that take it.
    fn hand_out(&mut self, news: &News, now: Instant) {
        let time_ms = unix_ms();
        for sender in self.senders(&news.app) {
            if sender.endpoint().takes(news.kind, &news.channel) {
                sender.push(Event {
                    channel: Arc::clone(&news.channel),
                    json: Arc::clone(&news.json),
                    is_of_client: news.kind == WebhookKind::ClientEvent,
                    created: now,
                    time_ms,
                });
            }
        }
    }

    /// The senders of the app as it is configured now. Those of a former configuration finish what they have.
    fn senders(&mut self, app: &Arc<App>) -> &[Rc<Sender>] {
        let tenant = self
            .tenants
            .entry(app.id.to_string())
            .or_insert_with(|| Tenant {
                app: Arc::clone(app),
                senders: Vec::new(),
            });
        let is_known = Arc::ptr_eq(&tenant.app, app) && !tenant.senders.is_empty();
        if !is_known {
            let mut former = std::mem::take(&mut tenant.senders);
            for place in 0..app.webhooks.len() {
                let same = former.iter().position(|sender| sender.is_for(app, place));
                let sender = same.map_or_else(
                    || {
                        let sender = Sender::new(Arc::clone(app), place, self.post.clone());
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

    /// Takes what has been written so far, tells of departures without delay, and waits for the senders.
    async fn close(mut self, deadline: Instant) {
        self.mailbox.close();
        while let Ok(letter) = self.mailbox.try_recv() {
            if let Letter::News(news) = letter {
                self.take(news);
            }
        }
        let now = Instant::now();
        for news in self.debounce.take_all() {
            self.hand_out(&news, now);
        }
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
