//! Where the apps come from.

use std::{collections::BTreeMap, io};

#[cfg(feature = "sqlx")]
use crate::store::{Rules, SqlStore};
use crate::{
    config::Loaded,
    keeper::{self, Opened},
    store::{FileStore, Reading, StoreError},
};

/// Reads the apps from where the configuration says that they are.
pub(super) async fn open_apps(
    loaded: Loaded,
    variables: BTreeMap<String, String>,
) -> io::Result<Opened> {
    #[cfg(feature = "sqlx")]
    if let Some(url) = loaded.config.database.url.clone() {
        let rules = Rules::of(&loaded.config.server);
        let settings = loaded.config.database;
        return keeper::open(move || SqlStore::open(url, settings, rules)).await;
    }
    keeper::open(move || open_file(loaded, variables)).await
}

/// The apps of the configuration, which were read with it.
async fn open_file(
    loaded: Loaded,
    variables: BTreeMap<String, String>,
) -> Result<(FileStore, Reading), StoreError> {
    let (store, apps) = FileStore::new(loaded, variables);
    let reading = Reading {
        apps,
        ..Reading::default()
    };
    Ok((store, reading))
}
