//! The way to whoever keeps the apps: reloads and changes on request, and how the last ones went.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::{Change, Reading, StoreError, WriteError};
use crate::{app::AppChanges, metrics::Labelled};

/// Requests that may wait; further ones wait to be let in.
const WAITING_MAX: usize = 16;

/// What the keeper of the apps is asked.
pub enum Request {
    /// Read everything again.
    Reload {
        /// Whether the loss of all apps is meant.
        loss: Loss,
        /// Takes what came of it.
        reply: oneshot::Sender<Result<Report, StoreError>>,
    },
    /// Change an app.
    Write {
        /// The change.
        change: Change,
        /// Takes what came of it.
        reply: oneshot::Sender<Result<(), WriteError>>,
    },
}

/// What becomes of a reload that would leave no app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is refused: a file or a table is rarely emptied on purpose.
    Refused,
    /// It is meant.
    Accepted,
}

/// What a reload changed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The apps that differ.
    pub changes: AppChanges,
    /// Apps that are not valid; each has kept its last valid state, if it had one.
    pub problems: Vec<String>,
    /// Keys outside the apps whose new values need a restart.
    pub needs_restart: Vec<String>,
}

impl Report {
    /// Of a reading that makes these changes.
    #[must_use]
    pub fn of(reading: &Reading, changes: AppChanges) -> Self {
        Self {
            changes,
            problems: reading.problems.iter().map(ToString::to_string).collect(),
            needs_restart: reading.needs_restart.clone(),
        }
    }
}

/// How things stand with the store.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StoreState {
    /// Its name for people.
    pub place: String,
    /// Whether the apps can be changed through the admin API.
    pub writable: bool,
    /// Whether it answered when it was asked last.
    pub available: bool,
    /// Why the last reload changed nothing, if it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Apps that are not valid.
    pub problems: Vec<String>,
    /// Keys outside the apps whose new values need a restart.
    pub needs_restart: Vec<String>,
    /// Unix time of the last good reading.
    pub read_ms: u64,
}

/// How things stand, for whoever asks.
#[derive(Debug)]
pub struct StoreStatus {
    state: Mutex<StoreState>,
    /// Reloads, by what came of them.
    pub reloads: Labelled,
}

impl StoreStatus {
    /// Of a store that was just read.
    #[must_use]
    pub fn new(place: &str, writable: bool, report: &Report) -> Self {
        let state = StoreState {
            place: place.to_owned(),
            writable,
            ..StoreState::default()
        };
        let status = Self {
            state: Mutex::new(state),
            reloads: Labelled::default(),
        };
        status.was_read(report);
        status
    }

    /// How things stand.
    #[must_use]
    pub fn get(&self) -> StoreState {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    /// Notes a good reading.
    pub fn was_read(&self, report: &Report) {
        self.update(|state| {
            state.available = true;
            state.error = None;
            state.problems.clone_from(&report.problems);
            state.needs_restart.clone_from(&report.needs_restart);
            state.read_ms = now_ms();
        });
    }

    /// Notes a reading that changed nothing.
    pub fn was_refused(&self, error: String, available: bool) {
        self.update(|state| {
            state.available = available;
            state.error = Some(error);
        });
    }

    fn update(&self, change: impl FnOnce(&mut StoreState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Reaches the keeper from any thread.
#[derive(Clone)]
pub struct AppControl {
    requests: mpsc::Sender<Request>,
    /// How things stand.
    pub status: Arc<StoreStatus>,
}

impl AppControl {
    /// A control, and what the keeper receives through it.
    #[must_use]
    pub fn new(status: StoreStatus) -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(WAITING_MAX);
        let status = Arc::new(status);
        (Self { requests, status }, receiver)
    }

    /// Reads everything again.
    ///
    /// # Errors
    /// As the store's.
    pub async fn reload(&self, loss: Loss) -> Result<Report, StoreError> {
        let (reply, answer) = oneshot::channel();
        let ended = || StoreError::Unavailable("the server is stopping".to_owned());
        let sent = self.requests.send(Request::Reload { loss, reply }).await;
        sent.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Changes an app; it is in force here when this ends.
    ///
    /// # Errors
    /// As the store's.
    pub async fn write(&self, change: Change) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        let ended = || WriteError::Unavailable("the server is stopping".to_owned());
        let sent = self.requests.send(Request::Write { change, reply }).await;
        sent.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
