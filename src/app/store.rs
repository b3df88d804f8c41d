//! Where the apps come from.

use std::{error::Error, fmt};

use super::App;

/// A source of apps, read at start and whenever they are to be read again.
pub trait AppStore: Send + Sync {
    /// Reads all apps.
    fn load(&self) -> Result<Vec<App>, AppStoreError>;
}

/// Why the apps could not be read.
#[derive(Debug)]
pub enum AppStoreError {
    /// The store did not answer, or not with apps.
    Unavailable(String),
}

impl fmt::Display for AppStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(reason) => write!(f, "cannot read the apps: {reason}"),
        }
    }
}

impl Error for AppStoreError {}

/// The apps of the configuration file.
#[derive(Clone, Debug)]
pub struct StaticApps {
    apps: Vec<App>,
}

impl StaticApps {
    /// The apps of a checked configuration: `config.apps`.
    #[must_use]
    pub fn new(apps: Vec<App>) -> Self {
        Self { apps }
    }
}

impl AppStore for StaticApps {
    fn load(&self) -> Result<Vec<App>, AppStoreError> {
        Ok(self.apps.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_apps_are_the_same_at_every_load() {
        let apps = vec![App::for_test("1", "one"), App::for_test("2", "two")];
        let store = StaticApps::new(apps.clone());
        for _ in 0..2 {
            assert_eq!(store.load().expect("they are in memory"), apps);
        }
    }
}
