//! How things stand with all certificates of this process, for whoever asks.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{CertificateState, Certificates};
use crate::metrics::Labelled;

/// The listener that certificates are served on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerName {
    /// The clients'.
    Public,
    /// The operator's.
    Admin,
}

impl ListenerName {
    /// As metrics and the log name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }
}

/// All certificates of this process.
#[derive(Default)]
pub struct TlsStatus {
    listeners: Vec<(ListenerName, Arc<Certificates>)>,
    /// Why the last reading changed nothing, if it was refused.
    error: Mutex<Option<String>>,
    /// Readings of the files, by what came of them.
    pub reloads: Labelled,
}

impl TlsStatus {
    /// Of these listeners; none without TLS.
    #[must_use]
    pub fn new(listeners: Vec<(ListenerName, Arc<Certificates>)>) -> Self {
        Self {
            listeners,
            ..Self::default()
        }
    }

    /// The listeners with TLS.
    #[must_use]
    pub fn listeners(&self) -> &[(ListenerName, Arc<Certificates>)] {
        &self.listeners
    }

    /// All files that are read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.listeners.iter().flat_map(|(_, it)| it.files());
        pairs.flat_map(|pair| [&*pair.cert, &*pair.key])
    }

    /// All certificates as they are served now.
    #[must_use]
    pub fn states(&self) -> Vec<(ListenerName, CertificateState)> {
        let of = |(name, it): &(ListenerName, Arc<Certificates>)| {
            let states = it.states().into_iter();
            states.map(|state| (*name, state)).collect::<Vec<_>>()
        };
        self.listeners.iter().flat_map(of).collect()
    }

    /// Why the last reading changed nothing, if it was refused.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.clone()
    }

    /// Notes what came of a reading. Gives what came of the one before.
    pub fn set_error(&self, error: Option<String>) -> Option<String> {
        let mut slot = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut slot, error)
    }
}
