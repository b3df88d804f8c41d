//! Certificates that this server gets and renews by itself (ACME, RFC 8555): when (`schedule`, which is pure), how (`order`), where they
//! are kept (`folder`), and how far the ACME server is trusted (`client`).
//!
//! One task orders, one name after the other. Knows nothing of what is said on connections.

mod client;
mod folder;
mod order;
mod schedule;

use std::{
    collections::BTreeMap,
    future::pending,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_web::{HttpRequest, HttpResponse, http::Method, web::block};
use tokio::{
    select,
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use self::{
    client::{Cause, Client, Failure},
    folder::{Folder, Lock},
    order::Orders,
    schedule::{Outcome, Schedule, Step, Validity},
};
use crate::{
    config::{Acme, Challenge},
    feed::Line,
    node::Node,
    tls::{AcmeState, Certificate, CertificateState, Issued, ListenerName, PairFiles, TlsStatus},
    watch::Watch,
};

/// How long an order may take.
const ORDER_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// How often the folder is read that nobody said has changed: another node may write to it.
const READ_AGAIN: Duration = Duration::from_secs(60 * 60);
/// Answers to HTTP-01 challenges that are looked for at a time. Further requests wait.
const LOOKS_MAX: usize = 4;
/// How long an answer is looked for: the folder may be another machine's.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);
/// Where an authority asks for the answer to an HTTP-01 challenge (RFC 8555 §8.3).
const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// The folder and the certificates of a configuration, before anything is ordered.
pub(crate) struct Opened {
    settings: Acme,
    folder: Folder,
    client: Client,
    /// What the TLS listener serves.
    pub(crate) issued: Arc<Issued>,
}

impl Opened {
    /// Makes the folder.
    ///
    /// # Errors
    /// When the folder can't be written to, or no authority is trusted.
    pub(crate) fn open(settings: &Acme) -> io::Result<Self> {
        let (folder, client) = parts(settings)?;
        let named = |error| io::Error::other(format!("server.tls.acme.folder: {error}"));
        folder.create().map_err(named)?;
        Ok(Self {
            settings: settings.clone(),
            folder,
            client,
            issued: issued(settings),
        })
    }

    /// The answers to HTTP-01 challenges, if such are used.
    pub(crate) fn answers(&self) -> Option<Arc<HttpAnswers>> {
        let answers = || HttpAnswers {
            folder: self.folder.clone(),
            looks: Semaphore::new(LOOKS_MAX),
        };
        (self.settings.challenge == Challenge::Http01).then(|| Arc::new(answers()))
    }
}

/// Tries what a start does with these settings, and leaves nothing behind.
///
/// # Errors
/// As [`Opened::open`].
pub(crate) fn try_out(settings: &Acme) -> io::Result<Arc<Issued>> {
    let (folder, _) = parts(settings)?;
    let named = |error| io::Error::other(format!("server.tls.acme.folder: {error}"));
    folder.try_out().map_err(named)?;
    Ok(issued(settings))
}

fn parts(settings: &Acme) -> io::Result<(Folder, Client)> {
    let directory = &settings.directory.0;
    let client = Client::new(directory, settings.ca_file.as_deref())?;
    Ok((Folder::new(&settings.folder, directory), client))
}

fn issued(settings: &Acme) -> Arc<Issued> {
    let issued = Issued::default();
    let names = settings.names().into_iter().map(|name| (name, None));
    issued.set(names.collect());
    Arc::new(issued)
}

/// Whether a request is one that an authority sends.
pub(crate) fn may_ask(request: &HttpRequest) -> bool {
    request.path().starts_with(CHALLENGE_PATH)
}

/// Answers requests of authorities on the public listener. They are looked for in the folder, so that each node that shares it answers.
pub(crate) struct HttpAnswers {
    folder: Folder,
    looks: Semaphore,
}

impl HttpAnswers {
    /// The answer, if the request is for one that is given just now.
    pub(crate) async fn find(&self, request: &HttpRequest) -> Option<HttpResponse> {
        let token = request.path().strip_prefix(CHALLENGE_PATH)?.to_owned();
        if !matches!(*request.method(), Method::GET | Method::HEAD) || !folder::is_token(&token) {
            return None;
        }
        let looked = timeout(LOOK_TIME_MAX, self.look(token)).await;
        let answer = looked.ok()??;
        Some(HttpResponse::Ok().content_type("text/plain").body(answer))
    }

    async fn look(&self, token: String) -> Option<String> {
        let _look = self.looks.acquire().await.ok()?;
        let folder = self.folder.clone();
        block(move || folder.find_answer(&token)).await.ok()?
    }
}

/// Orders and renews in a task of its own.
pub(crate) struct AcmeKeeper {
    asked: Arc<Notify>,
    names: watch::Sender<Vec<String>>,
    task: JoinHandle<()>,
}

impl AcmeKeeper {
    /// Begins; the certificates that are stored are served from now on.
    pub(crate) fn begin(opened: Opened, node: &Arc<Node>, status: Arc<TlsStatus>) -> Self {
        let asked = Arc::new(Notify::new());
        let (names, changed_names) = watch::channel(opened.settings.names());
        let Opened {
            settings,
            folder,
            client,
            issued,
        } = opened;
        let mut keeping = Keeping {
            node: Arc::clone(node),
            status,
            schedule: Schedule::new(rand::random()),
            unreadable: BTreeMap::new(),
            failures: BTreeMap::new(),
            names: changed_names,
            orders: Orders {
                settings,
                client,
                folder,
                issued,
            },
        };
        keeping.read();
        let task = actix_rt::spawn(keeping.run(Arc::clone(&asked)));
        Self { asked, names, task }
    }

    /// Takes over these names, reads the folder, and tries again what has failed.
    pub(crate) fn reload(&self, names: Option<Vec<String>>) {
        if let Some(names) = names {
            self.names.send_replace(names);
        }
        self.asked.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

struct Keeping {
    node: Arc<Node>,
    status: Arc<TlsStatus>,
    schedule: Schedule,
    /// Why a stored certificate can't be served, by name, as it was logged last.
    unreadable: BTreeMap<String, String>,
    /// Why the last order of a name failed, as it was logged last.
    failures: BTreeMap<String, String>,
    /// What the configuration asks for.
    names: watch::Receiver<Vec<String>>,
    orders: Orders,
}

impl Keeping {
    async fn run(mut self, asked: Arc<Notify>) {
        let folder = self.orders.folder.path().join("any");
        let watch = Watch::begin([folder.as_path()]);
        let watch = watch.inspect_err(|error| {
            warn!(%error, "the folder of ACME's certificates can't be watched; it is read once an hour and on SIGHUP");
        });
        let watch = watch.ok();
        loop {
            self.read();
            let now = SystemTime::now();
            let wait = match self.schedule.next(now) {
                Step::Order(name) => {
                    self.order(&name).await;
                    continue;
                }
                Step::WaitUntil(until) => until.duration_since(now).unwrap_or_default(),
                Step::Rest => READ_AGAIN,
            };
            self.publish(SystemTime::now());
            let changed = async {
                match &watch {
                    Some(watch) => watch.settled().await,
                    None => pending().await,
                }
            };
            select! {
                () = sleep(wait.min(READ_AGAIN)) => {}
                () = changed => {}
                () = asked.notified() => self.schedule.retry(),
            }
        }
    }

    /// Serves what is in the folder, and notes when it has to be renewed.
    fn read(&mut self) {
        let names = self.names.borrow_and_update().clone();
        self.schedule.set_names(&names);
        self.unreadable.retain(|name, _| names.contains(name));
        self.failures.retain(|name, _| names.contains(name));
        let before = self.orders.issued.states();
        let mut states = Vec::with_capacity(names.len());
        for name in names {
            let stored = self.stored(&name);
            let validity = stored.as_ref().map(|stored| Validity {
                not_before: stored.not_before,
                not_after: stored.not_after,
            });
            self.schedule.set_stored(&name, validity);
            let files = PairFiles::in_one(self.orders.folder.certificate_file(&name));
            // What was read before is served on while its file is gone or broken.
            let state = match stored {
                Some(certificate) => Some(CertificateState { files, certificate }),
                None => before.iter().find(|state| state.files == files).cloned(),
            };
            states.push((name, state));
        }
        let is_new = |state: &&CertificateState| {
            let is_same = |other: &CertificateState| other.certificate.is_same(&state.certificate);
            !before.iter().any(is_same)
        };
        let new = states.iter().filter_map(|(_, state)| state.as_ref());
        let new: Vec<_> = new.filter(is_new).cloned().collect();
        self.orders.issued.set(states);
        for state in new {
            self.changed(&state);
        }
    }

    /// The stored certificate of a name, if there is one that can be served.
    fn stored(&mut self, name: &str) -> Option<Certificate> {
        match self.orders.folder.certificate(name) {
            Ok(certificate) => {
                self.unreadable.remove(name);
                certificate
            }
            Err(reason) => {
                let told = self.unreadable.insert(name.to_owned(), reason.clone());
                if told.as_ref() != Some(&reason) {
                    warn!(
                        name,
                        reason, "a stored certificate can't be used; another one is ordered"
                    );
                }
                None
            }
        }
    }

    fn changed(&self, state: &CertificateState) {
        let certificate = &state.certificate;
        let names: Vec<_> = certificate.names.iter().map(String::as_str).collect();
        let days_left = certificate.days_left(SystemTime::now());
        let shown = names.join(", ");
        let listener = ListenerName::Public.name();
        info!(listener, names = shown, days_left, "certificates changed");
        self.node.feed.emit(|| Line::CertificatesChanged {
            listener,
            names: &names,
            days_left,
        });
    }

    /// Orders a certificate, unless another process does or has done it.
    async fn order(&mut self, name: &str) {
        let outcome = match self.orders.folder.lock() {
            Ok(Some(lock)) => {
                self.read();
                if !self.schedule.is_due(name, SystemTime::now()) {
                    return;
                }
                self.order_locked(name, lock).await
            }
            Ok(None) => Outcome::Busy,
            Err(error) => self.failed(name, &Failure::from(error)),
        };
        self.schedule.ended(name, outcome, SystemTime::now());
    }

    async fn order_locked(&mut self, name: &str, _lock: Lock) -> Outcome {
        self.publish(SystemTime::now());
        let ordered = timeout(ORDER_TIME_MAX, self.orders.order(name)).await;
        let ordered = ordered.unwrap_or_else(|_| {
            let seconds = ORDER_TIME_MAX.as_secs();
            Err(Failure::unavailable(format!(
                "the order did not end within {seconds} s"
            )))
        });
        match ordered {
            Ok(()) => {
                self.failures.remove(name);
                self.unreadable.remove(name);
                self.status.acme_orders.increment("issued");
                Outcome::Issued
            }
            Err(failure) => self.failed(name, &failure),
        }
    }

    /// Says once that orders of a name fail, and again when the reason is another one.
    fn failed(&mut self, name: &str, failure: &Failure) -> Outcome {
        self.status.acme_orders.increment("failed");
        let reason = &failure.text;
        let told = self.failures.insert(name.to_owned(), reason.clone());
        if told.as_ref() == Some(reason) {
            debug!(name, reason, "no certificate was issued again");
        } else {
            let retry_after_s = failure.retry_after.map(|it| it.as_secs());
            warn!(
                name,
                reason, retry_after_s, "no certificate was issued; what is stored stays in use"
            );
            let message = format!("no certificate was issued for {name}: {reason}");
            let line = || Line::CertificatesRefused { message: &message };
            self.node.feed.emit(line);
        }
        match failure.cause {
            Cause::Unavailable | Cause::NoAccount => Outcome::Unavailable(failure.retry_after),
            Cause::Refused => Outcome::Refused(failure.retry_after),
        }
    }

    /// Shows the names and what they wait for.
    fn publish(&self, now: SystemTime) {
        let names = self.names.borrow();
        let state = |name: &String| AcmeState {
            name: name.clone(),
            next_order: self.schedule.due_at(name).map(|due| due.max(now)),
            error: self.failures.get(name).cloned(),
        };
        self.status.set_acme(names.iter().map(state).collect());
    }
}
