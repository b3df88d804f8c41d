//! How things stand with all certificates of this process, for whoever asks.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::{CertificateState, Certificates, Reload, TlsListener};
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
    /// The listener whose clients may have to show a certificate.
    operators: Option<TlsListener>,
    /// Why the last reading changed nothing, if it was refused.
    error: Mutex<Option<String>>,
    /// Readings of the files, by what came of them.
    pub reloads: Labelled,
    acme: Mutex<Vec<AcmeState>>,
    /// Orders of certificates, by what came of them.
    pub acme_orders: Labelled,
}

/// How things stand with a name whose certificate this server orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeState {
    /// The name.
    pub name: String,
    /// When it is ordered next.
    pub next_order: Option<SystemTime>,
    /// Why the last order failed, if it did.
    pub error: Option<String>,
}

impl TlsStatus {
    /// Of the listeners that have TLS.
    #[must_use]
    pub fn new(public: Option<&TlsListener>, operators: Option<&TlsListener>) -> Self {
        let named = |name, tls: Option<&TlsListener>| {
            let certificates = tls.map(|tls| Arc::clone(&tls.certificates));
            certificates.map(|certificates| (name, certificates))
        };
        let public = named(ListenerName::Public, public).into_iter();
        Self {
            listeners: public
                .chain(named(ListenerName::Admin, operators))
                .collect(),
            operators: operators.cloned(),
            ..Self::default()
        }
    }

    /// Reads the authorities of operators again.
    ///
    /// # Errors
    /// As [`TlsListener::reload_clients`].
    pub fn reload_operators(&self) -> Result<Reload, String> {
        let operators = self.operators.as_ref();
        operators.map_or(Ok(Reload::Unchanged), TlsListener::reload_clients)
    }

    /// The listeners with TLS.
    #[must_use]
    pub fn listeners(&self) -> &[(ListenerName, Arc<Certificates>)] {
        &self.listeners
    }

    /// All files that are read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.listeners.iter().flat_map(|(_, it)| it.files());
        let pairs = pairs.flat_map(|pair| [&*pair.cert, &*pair.key]);
        let operators = self.operators.as_ref().and_then(TlsListener::clients);
        pairs.chain(operators.map(|authority| &*authority.0))
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

    /// The names whose certificates this server orders.
    #[must_use]
    pub fn acme(&self) -> Vec<AcmeState> {
        let acme = self.acme.lock().unwrap_or_else(PoisonError::into_inner);
        acme.clone()
    }

    /// Notes how things stand with them.
    pub fn set_acme(&self, acme: Vec<AcmeState>) {
        *self.acme.lock().unwrap_or_else(PoisonError::into_inner) = acme;
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
