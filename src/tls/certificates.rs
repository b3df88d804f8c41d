//! The certificates of one listener: which of them a client gets, and how they change while clients connect.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{Certificate, CertificateError, PairFiles};

/// All of one listener's. The first pair is for clients that name no server, or one that no certificate is for.
#[derive(Debug)]
pub struct Certificates {
    files: Vec<PairFiles>,
    /// Swapped whole. A handshake takes the lock for as long as a clone of one `Arc` takes.
    set: RwLock<Arc<Set>>,
}

/// Certificates that go together.
#[derive(Debug)]
struct Set {
    all: Vec<Certificate>,
    /// Places in `all`, by name. Of two certificates for a name the first is served.
    by_name: HashMap<String, usize>,
}

/// What a reading of the files changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The files hold what is served.
    Unchanged,
    /// New handshakes get something else from now on.
    Changed,
}

/// How things stand with one certificate.
#[derive(Clone, Debug)]
pub struct CertificateState {
    /// Its file.
    pub files: PairFiles,
    /// What was read from it.
    pub certificate: Certificate,
}

impl Certificates {
    /// Reads all pairs; there is at least one.
    ///
    /// # Errors
    /// Of the first pair that can't be served.
    pub fn read(files: Vec<PairFiles>) -> Result<Arc<Self>, CertificateError> {
        let set = RwLock::new(Arc::new(Set::read(&files)?));
        Ok(Arc::new(Self { files, set }))
    }

    /// Reads all pairs again. All of them change, or none.
    ///
    /// # Errors
    /// Of the first pair that can't be served; nothing has changed then.
    pub fn reload(&self) -> Result<Reload, CertificateError> {
        let read = Set::read(&self.files)?;
        let now = self.set();
        let is_same = |(one, other): (&Certificate, &Certificate)| one.is_same(other);
        if read.all.iter().zip(&now.all).all(is_same) {
            return Ok(Reload::Unchanged);
        }
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
        Ok(Reload::Changed)
    }

    /// The files that are read.
    #[must_use]
    pub fn files(&self) -> &[PairFiles] {
        &self.files
    }

    /// What is served now.
    #[must_use]
    pub fn states(&self) -> Vec<CertificateState> {
        let all = self.set();
        let states = self.files.iter().zip(&all.all);
        let state = |(files, certificate): (&PairFiles, &Certificate)| CertificateState {
            files: files.clone(),
            certificate: certificate.clone(),
        };
        states.map(state).collect()
    }

    /// Days until the first of them expires.
    #[must_use]
    pub fn days_left(&self, now: SystemTime) -> Option<i64> {
        let all = self.set();
        all.all.iter().map(|it| it.days_left(now)).min()
    }

    fn set(&self) -> Arc<Set> {
        Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let set = self.set();
        let certificate = set.for_name(hello.server_name().unwrap_or_default());
        certificate.map(|certificate| Arc::clone(&certificate.certified))
    }
}

impl Set {
    fn read(files: &[PairFiles]) -> Result<Self, CertificateError> {
        let all = files.iter().map(Certificate::read);
        Ok(Self::of(all.collect::<Result<_, _>>()?))
    }

    fn of(all: Vec<Certificate>) -> Self {
        let mut by_name = HashMap::new();
        for (at, certificate) in all.iter().enumerate() {
            for name in &certificate.names {
                by_name.entry(name.clone()).or_insert(at);
            }
        }
        Self { all, by_name }
    }

    /// The certificate for exactly this name, else one whose wildcard takes the place of the first label (RFC 6125 §6.4.3), else the first.
    fn for_name(&self, name: &str) -> Option<&Certificate> {
        let name = name.to_ascii_lowercase();
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        let at = self.by_name.get(&name).or_else(wildcard);
        self.all.get(at.copied().unwrap_or_default())
    }
}
