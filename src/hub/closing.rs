//! Closing the connections of one app, because of a change of the app.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    Hub, Profile, Shard, Subscriber,
    shard::{STEP, due_by},
};
use crate::protocol::CloseCode;

/// Which connections of an app are closed, and what they are told.
#[derive(Clone)]
pub struct Closing {
    /// The app's id.
    pub app_id: Arc<str>,
    /// Whether a connection is to be closed. Asked again when its turn comes, because the app may have changed back.
    pub concerns: Arc<dyn Fn(&Profile) -> bool + Send + Sync>,
    /// The close code.
    pub code: CloseCode,
    /// For people.
    pub reason: &'static str,
    /// The closes are spread over this time.
    pub window: Duration,
}

impl Closing {
    fn is_for(&self, subscriber: &Subscriber) -> bool {
        let profile = subscriber.profile.get();
        profile.is_some_and(|profile| profile.app_id == self.app_id && (self.concerns)(profile))
    }

    async fn run(self, clients: Vec<Rc<Subscriber>>) {
        let (begun, mut told) = (Instant::now(), 0);
        while told < clients.len() {
            let due = due_by(begun.elapsed(), self.window, clients.len());
            for client in clients[told..due]
                .iter()
                .filter(|client| self.is_for(client))
            {
                client.outbox.close(self.code, self.reason);
            }
            told = due;
            sleep(STEP).await;
        }
    }
}

impl Shard {
    fn begin(&self, closing: Closing) {
        let everyone = self.subscribers.borrow();
        let concerned = everyone.iter().map(|(_, subscriber)| subscriber);
        let concerned: Vec<_> = concerned.filter(|it| closing.is_for(it)).cloned().collect();
        if !concerned.is_empty() {
            tokio::task::spawn_local(closing.run(concerned));
        }
    }
}

impl Hub {
    /// Has every shard close the connections that this concerns.
    pub fn close(&self, closing: &Closing) {
        let closing = closing.clone();
        // Nobody waits for the answers.
        drop(self.ask(move |shard| shard.begin(closing.clone())));
    }
}
