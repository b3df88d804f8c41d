//! Where the apps come from: the configuration file or a database, behind one trait.
//!
//! A store reads apps, notices that they may have changed, and a database's also changes them. Does not know who uses the apps.

#[cfg(feature = "sqlx")]
mod columns;
pub mod control;
pub mod edit;
pub mod file;
#[cfg(feature = "sqlx")]
pub mod sql;
mod toml_file;

use std::{fmt, future::Future, sync::Arc};

pub use control::{AppControl, Loss, Report, Request, StoreState, StoreStatus};
pub use file::FileStore;
#[cfg(feature = "sqlx")]
pub use sql::{Existing, Rules, SqlStore};
pub use toml_file::TomlFile;

use crate::{
    app::App,
    settings::{Json, Problem, Problems},
};

/// Tells contents apart that were read by this process.
fn digest(content: &impl std::hash::Hash) -> u64 {
    ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(content)
}

/// A source of apps.
pub trait AppStore {
    /// The store's name for people: the file, or the database without its password.
    fn place(&self) -> &str;

    /// Whether [`AppStore::write`] can succeed.
    fn is_writable(&self) -> bool;

    /// Reads the apps. The apps of an earlier reading that have not changed are the same `Arc`s.
    ///
    /// # Errors
    /// [`StoreError`]; the apps of the last good reading are still the right ones.
    fn load(&mut self, scope: Scope) -> impl Future<Output = Result<Reading, StoreError>>;

    /// Ends when the apps may have changed.
    fn changed(&mut self) -> impl Future<Output = ()>;

    /// Changes one app.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed.
    fn write(&mut self, change: Change) -> impl Future<Output = Result<(), WriteError>>;
}

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// Only what seems to have changed, which is cheaper.
    Changed,
}

/// What a store has.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The apps, each valid, with distinct ids and keys.
    pub apps: Vec<Arc<App>>,
    /// Apps that are not valid. If they were before, the last valid state is among `apps`.
    pub problems: Problems,
    /// Keys outside the apps whose values differ from those of the running server.
    pub needs_restart: Vec<String>,
}

/// Why there is nothing to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Nothing has changed since the last reading.
    Unchanged,
    /// The store does not answer.
    Unavailable(String),
    /// What is there is not valid as a whole.
    Invalid(Problems),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged => f.write_str("nothing has changed"),
            Self::Unavailable(reason) => f.write_str(reason),
            Self::Invalid(problems) => problems.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {}

/// What is to be changed.
pub enum Change {
    /// A new app of these settings.
    Create(serde_json::Map<String, Json>),
    /// Other settings of the app of this id.
    Update(String, Edit),
    /// No such app any more.
    Delete(String),
}

/// Changes an app's settings as they are stored.
pub type Edit =
    Box<dyn FnOnce(&mut serde_json::Map<String, Json>) -> Result<(), WriteError> + Send>;

/// Why a change is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The apps are changed elsewhere; names where.
    ReadOnly(String),
    /// There is no such app, or no such key.
    NotFound,
    /// There is such an app, or such a key.
    Exists(String),
    /// The result would not be valid.
    Invalid(Vec<Problem>),
    /// The store does not answer.
    Unavailable(String),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly(place) => write!(f, "the apps are those of {place}: change them there"),
            Self::NotFound => f.write_str("there is no such app or key"),
            Self::Exists(what) => write!(f, "{what} exists already"),
            Self::Invalid(problems) => {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&problems.join("; "))
            }
            Self::Unavailable(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for WriteError {}
