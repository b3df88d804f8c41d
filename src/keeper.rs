//! Keeps the node's apps in step with their store: reads again when the store has changed, when another node has changed it, on SIGHUP and
//! on request, and changes nothing unless what it reads is valid. A thread of its own, so that reading 10,000 apps holds up no client.

use std::{
    future::{self, Future},
    io,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    select,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use crate::{
    app::AppChanges,
    feed::Line,
    node::{Apps, AppsNews, Node, Peers},
    settings::{Problem, Problems},
    store::{
        AppControl, AppStore, Change, Loss, Reading, Report, Request, Scope, StoreError,
        StoreStatus, WriteError,
    },
};

/// Problems that the log names at once.
const NAMED_MAX: usize = 20;
/// Between two looks at the store because of other nodes, whatever they announce. A change is still in force on them within a second.
const PAUSE: Duration = Duration::from_millis(100);

/// Apps that were read, and how they are kept from now on.
pub(crate) struct Opened {
    /// What the store had.
    pub(crate) reading: Reading,
    /// The way to the keeper.
    pub(crate) control: AppControl,
    /// Takes the node whose apps are kept, and the time over which connections of apps that end are closed.
    pub(crate) keep: oneshot::Sender<(Arc<Node>, Duration)>,
}

/// Opens and reads a store on a thread of its own, which goes on to keep the apps until every control is gone.
pub(crate) async fn open<S, F>(open: impl FnOnce() -> F + Send + 'static) -> io::Result<Opened>
where
    S: AppStore,
    F: Future<Output = Result<(S, Reading), StoreError>>,
{
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    let (ready, opened) = oneshot::channel();
    let run = move || runtime.block_on(open_and_keep(open, ready));
    thread::Builder::new().name("apps".to_owned()).spawn(run)?;
    let opened = opened.await.map_err(io::Error::other)?;
    opened.map_err(io::Error::other)
}

async fn open_and_keep<S, F>(
    open: impl FnOnce() -> F,
    ready: oneshot::Sender<Result<Opened, StoreError>>,
) where
    S: AppStore,
    F: Future<Output = Result<(S, Reading), StoreError>>,
{
    let (store, reading) = match open().await {
        Ok(opened) => opened,
        Err(error) => {
            // Whoever asked may have gone, here and below.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let report = Report::of(&reading, AppChanges::default());
    let status = StoreStatus::new(store.place(), store.is_writable(), &report);
    let (control, requests) = AppControl::new(status);
    let status = Arc::clone(&control.status);
    let (keep, kept) = oneshot::channel();
    let opened = Opened {
        reading,
        control,
        keep,
    };
    if ready.send(Ok(opened)).is_err() {
        return;
    }
    if let Ok((node, window)) = kept.await {
        let keeper = Keeper {
            announcements: Announcements::of(&store, &node),
            store,
            node,
            status,
            requests,
            window,
            withheld: None,
        };
        keeper.run().await;
    }
}

/// Keeps the apps of one node.
struct Keeper<S> {
    announcements: Option<Announcements>,
    store: S,
    node: Arc<Node>,
    status: Arc<StoreStatus>,
    requests: mpsc::Receiver<Request>,
    window: Duration,
    /// The last reading, if it was refused because it has no apps. Whoever removed them may say later that it is meant.
    withheld: Option<Reading>,
}

impl<S: AppStore> Keeper<S> {
    async fn run(mut self) {
        loop {
            select! {
                request = self.requests.recv() => match request {
                    Some(Request::Reload { loss, reply }) => {
                        let report = self.reload(Scope::All, loss).await;
                        // Whoever asked may have gone.
                        let _ = reply.send(report);
                    }
                    Some(Request::Write { change, reply }) => {
                        let written = self.write(change).await;
                        let _ = reply.send(written);
                    }
                    None => return,
                },
                () = self.store.changed() => self.look(Loss::Refused).await,
                loss = heard(&mut self.announcements) => self.look(loss).await,
            }
        }
    }

    async fn look(&mut self, loss: Loss) {
        // The log, the feed and the state have the result.
        let _ = self.reload(Scope::Changed, loss).await;
    }

    async fn write(&mut self, change: Change) -> Result<(), WriteError> {
        self.store.write(change).await?;
        if let Some(announcements) = &self.announcements {
            announcements.peers.announce_apps();
        }
        match self.reload(Scope::Changed, Loss::Accepted).await {
            Ok(_) | Err(StoreError::Unchanged) => Ok(()),
            Err(error) => Err(WriteError::Unavailable(error.to_string())),
        }
    }

    async fn reload(&mut self, scope: Scope, loss: Loss) -> Result<Report, StoreError> {
        let reading = self.read(scope, loss).await;
        let reading = reading.inspect_err(|error| self.refused(error))?;
        let mut report = Report::of(&reading, AppChanges::default());
        report.changes = self.node.change_apps(reading.apps, self.window);
        self.tell(&report);
        Ok(report)
    }

    async fn read(&mut self, scope: Scope, loss: Loss) -> Result<Reading, StoreError> {
        let read = self.store.load(scope).await;
        let is_meant = loss == Loss::Accepted && matches!(read, Err(StoreError::Unchanged));
        let reading = match self.withheld.take_if(|_| is_meant) {
            Some(withheld) => withheld,
            None => read?,
        };
        self.withheld = None;
        let had_apps = !self.node.apps.all().is_empty();
        if loss == Loss::Refused && reading.apps.is_empty() && had_apps {
            self.withheld = Some(reading);
            return Err(StoreError::Invalid(all_lost(self.store.place())));
        }
        Ok(reading)
    }

    /// Tells of what is new in the report.
    fn tell(&self, report: &Report) {
        let (before, place) = (self.status.get(), self.store.place());
        if !before.available {
            info!(place, "the apps' store answers again");
        }
        let new = |problem: &&String| !before.problems.contains(problem);
        for problem in report.problems.iter().filter(new).take(NAMED_MAX) {
            warn!(place, problem, "an app is not valid and was left as it is");
            self.node
                .feed
                .emit(|| Line::AppsRefused { message: problem });
        }
        if !report.needs_restart.is_empty() && report.needs_restart != before.needs_restart {
            let keys = report.needs_restart.join(", ");
            warn!(place, keys, "these keys have changed and need a restart");
        }
        let result = match report.changes.is_empty() {
            true => "unchanged",
            false => "changed",
        };
        self.status.reloads.increment(result);
        self.status.was_read(report);
    }

    /// The last good apps go on. Each cause is told once.
    fn refused(&self, error: &StoreError) {
        let (before, place) = (self.status.get(), self.store.place());
        let message = error.to_string();
        let result = match error {
            StoreError::Unchanged => return,
            StoreError::Unavailable(_) => {
                if before.available {
                    warn!(
                        place,
                        reason = message,
                        "the apps' store does not answer; its last apps are served"
                    );
                }
                "unavailable"
            }
            StoreError::Invalid(problems) => {
                for problem in problems.iter().take(NAMED_MAX) {
                    warn!(place, %problem, "the apps were not changed");
                }
                "refused"
            }
        };
        if before.error.as_ref() != Some(&message) {
            self.node
                .feed
                .emit(|| Line::AppsRefused { message: &message });
        }
        self.status.reloads.increment(result);
        self.status.was_refused(message, result != "unavailable");
    }
}

/// Changes of the store that nodes announce to each other.
struct Announcements {
    peers: Peers,
    news: AppsNews,
    /// When more may be heard.
    next: Instant,
}

impl Announcements {
    /// `None` on a node alone, and where no node can change the store.
    fn of(store: &impl AppStore, node: &Arc<Node>) -> Option<Self> {
        let peers = Peers::of(node).filter(|_| store.is_writable())?;
        Some(Self {
            news: peers.apps(),
            peers,
            next: Instant::now(),
        })
    }

    /// Ends when another node has changed the store, or may have. What it changed is meant, even if no app is left.
    async fn heard(&mut self) -> Loss {
        sleep_until(self.next).await;
        let Some(apps) = self.news.next().await else {
            return future::pending().await;
        };
        self.next = Instant::now() + PAUSE;
        match apps {
            Apps::Changed => Loss::Accepted,
            Apps::Doubted => Loss::Refused,
        }
    }
}

async fn heard(announcements: &mut Option<Announcements>) -> Loss {
    match announcements {
        Some(announcements) => announcements.heard().await,
        None => future::pending().await,
    }
}

fn all_lost(place: &str) -> Problems {
    let mut problems = Problems::default();
    problems.push(Problem {
        place: place.to_owned(),
        key: String::new(),
        reason: "lists no apps any more; if that is meant, reload with {\"force\": true}"
            .to_owned(),
    });
    problems
}
