//! The apps of the configuration file, read again when it changes.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::{sync::Notify, time::timeout};
use tracing::warn;

use super::{AppStore, Change, Reading, Scope, StoreError, WriteError};
use crate::{
    app::{App, Name},
    config::{Config, Loaded},
};

/// A file that was not written to for this long is complete.
const SETTLED: Duration = Duration::from_millis(200);
/// Writes in the folder for which it is waited; beyond them others are busy there.
const SETTLING_MAX: u32 = 100;

/// The configuration file, with the variables that complete it.
pub struct FileStore {
    place: String,
    file: Option<PathBuf>,
    variables: BTreeMap<String, String>,
    /// What the server runs with, without its apps.
    running: Config,
    is_demo: bool,
    /// Of the file's content at the last reading.
    digest: Option<[u8; 32]>,
    apps: HashMap<Name, Arc<App>>,
    watch: Option<Watch>,
}

impl FileStore {
    /// The store of a configuration that was loaded with these variables. `apps` are those of the configuration.
    #[must_use]
    pub fn new(mut loaded: Loaded, apps: &[Arc<App>], variables: BTreeMap<String, String>) -> Self {
        let file = loaded.understood.file;
        let place = match &file {
            Some(file) => file.display().to_string(),
            None => "the environment".to_owned(),
        };
        let watch = file.as_deref().map(Watch::begin);
        let watch = watch.and_then(|watch| {
            let warn = |error: &io::Error| {
                let advice = "the file can't be watched; SIGHUP and POST /api/reload work";
                warn!(file = place, %error, advice);
            };
            watch.inspect_err(warn).ok()
        });
        loaded.config.apps = Vec::new();
        Self {
            place,
            digest: file.as_deref().and_then(digest),
            file,
            variables,
            running: loaded.config,
            is_demo: loaded.understood.is_demo,
            apps: by_id(apps),
            watch,
        }
    }

    /// The same `Arc` for an app that has not changed.
    fn shared(&mut self, apps: Vec<App>) -> Vec<Arc<App>> {
        let mut shared = Vec::with_capacity(apps.len());
        for app in apps {
            let known = self.apps.get(&app.id).filter(|known| ***known == app);
            shared.push(known.map_or_else(|| Arc::new(app), Arc::clone));
        }
        self.apps = by_id(&shared);
        shared
    }
}

fn by_id(apps: &[Arc<App>]) -> HashMap<Name, Arc<App>> {
    let apps = apps.iter();
    apps.map(|app| (app.id.clone(), Arc::clone(app))).collect()
}

fn digest(file: &Path) -> Option<[u8; 32]> {
    Some(Sha256::digest(fs::read(file).ok()?).into())
}

impl AppStore for FileStore {
    fn place(&self) -> &str {
        &self.place
    }

    fn is_writable(&self) -> bool {
        false
    }

    async fn load(&mut self, scope: Scope) -> Result<Reading, StoreError> {
        let digest = self.file.as_deref().and_then(digest);
        if scope == Scope::Changed && digest == self.digest {
            return Err(StoreError::Unchanged);
        }
        self.digest = digest;
        let loaded = Config::load(self.file.as_deref(), &self.variables);
        let mut config = loaded.map_err(StoreError::Invalid)?;
        // A server with apps does not become a demo: that is a file that has lost its apps.
        let apps = match config.understood.is_demo && !self.is_demo {
            true => Vec::new(),
            false => std::mem::take(&mut config.config.apps),
        };
        self.is_demo &= config.understood.is_demo;
        Ok(Reading {
            needs_restart: self.running.differences(&config.config),
            apps: self.shared(apps),
            ..Reading::default()
        })
    }

    async fn changed(&mut self) {
        match &self.watch {
            Some(watch) => watch.settled().await,
            None => std::future::pending().await,
        }
    }

    async fn write(&mut self, _: Change) -> Result<(), WriteError> {
        Err(WriteError::ReadOnly(self.place.clone()))
    }
}

/// Notices writes to a file and replacements of it, through links too: whatever happens in its folder counts, and the content decides.
struct Watch {
    events: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    fn begin(file: &Path) -> io::Result<Self> {
        let events = Arc::new(Notify::new());
        let noticed = Arc::clone(&events);
        let on_event = move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|event| event.kind.is_access()) {
                noticed.notify_one();
            }
        };
        let mut watcher = notify::recommended_watcher(on_event).map_err(io::Error::other)?;
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mode = RecursiveMode::NonRecursive;
        watcher.watch(folder, mode).map_err(io::Error::other)?;
        Ok(Self {
            events,
            _watcher: watcher,
        })
    }

    /// Ends when something happened and then nothing more for a while.
    async fn settled(&self) {
        self.events.notified().await;
        for _ in 0..SETTLING_MAX {
            if timeout(SETTLED, self.events.notified()).await.is_err() {
                return;
            }
        }
    }
}
