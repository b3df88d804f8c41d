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

use super::{
    Certificate, CertificateError, PairFiles,
    issued::{Found, Issued, asks_for_challenge},
};

/// All of one listener's. The first pair is for clients that name no server, or one that no certificate is for; without pairs the first
/// issued certificate.
#[derive(Debug)]
pub struct Certificates {
    files: Vec<PairFiles>,
    /// Certificates that are issued while the server runs, for names that no file is for.
    pub issued: Option<Arc<Issued>>,
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
    /// Reads all pairs; there is at least one, or something is issued.
    ///
    /// # Errors
    /// Of the first pair that can't be served, or that is for a name whose certificate is issued.
    pub fn read(
        files: Vec<PairFiles>,
        issued: Option<Arc<Issued>>,
    ) -> Result<Arc<Self>, CertificateError> {
        let set = Set::read(&files)?;
        let is_issued = |name: &&String| issued.as_ref().is_some_and(|it| it.has_name(name));
        for (files, certificate) in files.iter().zip(&set.all) {
            if let Some(name) = certificate.names.iter().find(is_issued) {
                let (file, name) = (files.cert.clone(), name.clone());
                return Err(CertificateError::AlsoIssued(file, name));
            }
        }
        let set = RwLock::new(Arc::new(set));
        Ok(Arc::new(Self { files, issued, set }))
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
        let issued = self.issued.iter().flat_map(|issued| issued.states());
        states.map(state).chain(issued).collect()
    }

    /// Days until the first of them expires.
    #[must_use]
    pub fn days_left(&self, now: SystemTime) -> Option<i64> {
        let days = self.states();
        let days = days.iter().map(|it| it.certificate.days_left(now));
        days.min()
    }

    fn set(&self) -> Arc<Set> {
        Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or_default().to_ascii_lowercase();
        if let Some(issued) = &self.issued {
            if asks_for_challenge(&hello) {
                return issued.challenge(&name);
            }
            match issued.for_name(&name) {
                Found::Issued(certified) => return Some(certified),
                Found::Missing => return None,
                Found::Unknown => {}
            }
        }
        let set = self.set();
        let certificate = set.for_name(&name);
        let certified = certificate.map(|certificate| Arc::clone(&certificate.certified));
        certified.or_else(|| self.issued.as_ref()?.first())
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

    /// The certificate for exactly this name, else one whose wildcard takes the place of the first label (RFC 6125 §6.4.3), else the
    /// first. The name is in lower case.
    fn for_name(&self, name: &str) -> Option<&Certificate> {
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        let at = self.by_name.get(name).or_else(wildcard);
        self.all.get(at.copied().unwrap_or_default())
    }
}
