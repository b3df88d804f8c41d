//! The apps of the configuration file, read again when it changes.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::warn;

use super::{AppStore, Change, Reading, Scope, StoreError, WriteError};
use crate::{
    app::App,
    config::{Config, KnownApps, Loaded},
    watch::Watch,
};

/// The configuration file, with the variables that complete it.
pub struct FileStore {
    place: String,
    file: Option<PathBuf>,
    variables: BTreeMap<String, String>,
    /// What the server runs with, without its apps.
    running: Config,
    is_demo: bool,
    /// Of the file's content at the last reading.
    digest: Option<u64>,
    known: KnownApps,
    watch: Option<Watch>,
}

impl FileStore {
    /// The store of a configuration that was loaded with these variables, and its apps.
    #[must_use]
    pub fn new(loaded: Loaded, variables: BTreeMap<String, String>) -> (Self, Vec<Arc<App>>) {
        let Loaded {
            mut config,
            understood,
            known,
        } = loaded;
        let file = understood.file;
        let place = match &file {
            Some(file) => file.display().to_string(),
            None => "the environment".to_owned(),
        };
        let watch = file.as_deref().map(|file| Watch::begin([file]));
        let watch = watch.and_then(|watch| {
            let warn = |error: &io::Error| {
                let advice = "the file can't be watched; SIGHUP and POST /api/reload work";
                warn!(file = place, %error, advice);
            };
            watch.inspect_err(warn).ok()
        });
        let apps = std::mem::take(&mut config.apps);
        let store = Self {
            place,
            digest: file.as_deref().and_then(digest),
            file,
            variables,
            running: config,
            is_demo: understood.is_demo,
            known,
            watch,
        };
        (store, apps)
    }
}

fn digest(file: &Path) -> Option<u64> {
    Some(super::digest(&fs::read(file).ok()?))
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
        let loaded = Config::reload(self.file.as_deref(), &self.variables, &self.known);
        let Loaded {
            mut config,
            understood,
            known,
        } = loaded.map_err(StoreError::Invalid)?;
        self.known = known;
        // A server with apps does not become a demo: that is a file that has lost its apps.
        let apps = match understood.is_demo && !self.is_demo {
            true => Vec::new(),
            false => std::mem::take(&mut config.apps),
        };
        self.is_demo &= understood.is_demo;
        Ok(Reading {
            needs_restart: self.running.differences(&config),
            apps,
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
