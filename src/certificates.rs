//! Keeps the certificates in step with their files: reads them again when they change and on SIGHUP, and says when one expires soon.

use std::{
    collections::BTreeMap,
    future::pending,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{select, sync::Notify, task::JoinHandle, time::interval};
use tracing::{info, warn};

use crate::{
    feed::{Line, Trouble},
    node::Node,
    tls::{Certificate, Certificates, ListenerName, Reload, TlsStatus},
    watch::Watch,
};

/// How often files are read that nobody said have changed: not every file system tells.
const READ_AGAIN: Duration = Duration::from_secs(60 * 60);
/// Days before the end from which on a certificate is warned of. One of a short life is warned of when the last third of it is left, after
/// its renewal was due.
const WARN_DAYS: i64 = 14;

/// Keeps the certificates of all listeners.
pub(crate) struct CertificateKeeper {
    asked: Arc<Notify>,
    task: JoinHandle<()>,
}

impl CertificateKeeper {
    /// Begins to keep them, in a task of its own.
    pub(crate) fn begin(node: &Arc<Node>, status: Arc<TlsStatus>) -> Self {
        let asked = Arc::new(Notify::new());
        let keeping = Keeping {
            node: Arc::clone(node),
            status,
            warned: BTreeMap::new(),
        };
        let task = actix_rt::spawn(keeping.run(Arc::clone(&asked)));
        Self { asked, task }
    }

    /// Has them read now.
    pub(crate) fn reload(&self) {
        self.asked.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

struct Keeping {
    node: Arc<Node>,
    status: Arc<TlsStatus>,
    /// Days that were left when a certificate was last warned of.
    warned: BTreeMap<PathBuf, i64>,
}

impl Keeping {
    async fn run(mut self, asked: Arc<Notify>) {
        if self.status.listeners().is_empty() {
            return;
        }
        let watch = Watch::begin(self.status.files());
        let watch = watch.inspect_err(|error| {
            warn!(%error, "the certificates can't be watched; SIGHUP works, and they are read once an hour");
        });
        let watch = watch.ok();
        let changed = async || match &watch {
            Some(watch) => watch.settled().await,
            None => pending().await,
        };
        let mut hours = interval(READ_AGAIN);
        loop {
            select! {
                () = changed() => {}
                () = asked.notified() => {}
                _ = hours.tick() => {}
            }
            self.reload();
            self.warn(SystemTime::now());
        }
    }

    /// All listeners' certificates are independent of each other.
    fn reload(&self) {
        let mut refusals = Vec::new();
        for (listener, certificates) in self.status.listeners() {
            match certificates.reload() {
                Ok(Reload::Unchanged) => {}
                Ok(Reload::Changed) => self.changed(*listener, certificates),
                Err(error) => refusals.push(error.to_string()),
            }
        }
        match self.status.reload_operators() {
            Ok(Reload::Unchanged) => {}
            Ok(Reload::Changed) => {
                self.status.reloads.increment("changed");
                info!("the authorities of operators changed");
            }
            Err(reason) => refusals.push(reason),
        }
        let error = (!refusals.is_empty()).then(|| refusals.join("; "));
        let before = self.status.set_error(error.clone());
        let Some(error) = error else { return };
        self.status.reloads.increment("refused");
        if before.as_ref() != Some(&error) {
            warn!(reason = error, "the certificates were not changed");
            let emit = || Line::CertificatesRefused { message: &error };
            self.node.feed.emit(emit);
        }
    }

    fn changed(&self, listener: ListenerName, certificates: &Certificates) {
        self.status.reloads.increment("changed");
        let listener = listener.name();
        let states = certificates.states();
        let names = states.iter().flat_map(|it| &it.certificate.names);
        let names = names.map(String::as_str).collect::<Vec<_>>();
        let days_left = certificates.days_left(SystemTime::now());
        let days_left = days_left.unwrap_or_default();
        let shown = names.join(", ");
        info!(listener, names = shown, days_left, "certificates changed");
        let line = || Line::CertificatesChanged {
            listener,
            names: &names,
            days_left,
        };
        self.node.feed.emit(line);
    }

    /// Warns of what expires soon, once for each day that passes; and of what is not valid.
    fn warn(&mut self, now: SystemTime) {
        for (listener, state) in self.status.states() {
            let (certificate, cert) = (&state.certificate, state.files.cert);
            let days_left = certificate.days_left(now);
            let is_early = now < certificate.not_before;
            if days_left >= warn_days(certificate) && !is_early {
                self.warned.remove(&cert);
                continue;
            }
            if self.warned.insert(cert.clone(), days_left) == Some(days_left) {
                continue;
            }
            let what = match days_left {
                _ if is_early => "is not valid yet",
                ..0 => "has expired",
                _ => "expires soon",
            };
            let (listener, cert) = (listener.name(), cert.display());
            warn!(listener, %cert, days_left, what, "a certificate can't be used, or not for long");
            let message = format!("the certificate {cert} {what} ({days_left} days left)");
            let line = || {
                Line::Error(Trouble {
                    message: &message,
                    ..Trouble::default()
                })
            };
            self.node.feed.emit(line);
        }
    }
}

fn warn_days(certificate: &Certificate) -> i64 {
    let lifetime = certificate.days_left(certificate.not_before);
    (lifetime / 3).min(WARN_DAYS)
}
