//! The certificates that are issued while the server runs, and the answers to TLS-ALPN-01 challenges (RFC 8737).

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::{
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::ClientHello,
    sign::CertifiedKey,
};

use super::{CertificateState, PairFiles};

/// What an authority that checks a name speaks instead of HTTP.
pub(super) const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";

/// One certificate for each of some names. The names and their certificates change while clients connect.
#[derive(Default)]
pub struct Issued {
    /// Swapped whole. A handshake takes the lock for as long as a clone of one `Arc` takes.
    names: RwLock<Arc<Names>>,
    /// By name, while the authority checks it.
    challenges: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

/// Names in the order of the configuration, each with its certificate if there is one.
type Names = Vec<(String, Option<CertificateState>)>;

/// What a client that asks for a name gets.
pub(super) enum Found {
    /// The certificate of the name.
    Issued(Arc<CertifiedKey>),
    /// The name is known, and its certificate has yet to come.
    Missing,
    /// The name is none of these.
    Unknown,
}

/// The answer to a challenge, for as long as it lives.
pub struct ChallengeAnswer {
    issued: Arc<Issued>,
    name: String,
}

impl Issued {
    /// Serves these certificates from now on, and none for the names without.
    pub fn set(&self, names: Names) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
    }

    /// What is served now.
    #[must_use]
    pub fn states(&self) -> Vec<CertificateState> {
        let names = self.names();
        let states = names.iter().filter_map(|(_, state)| state.as_ref());
        states.cloned().collect()
    }

    /// Whether a certificate for this name comes from here.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        self.names().iter().any(|(other, _)| other == name)
    }

    /// What a client that asks for this name gets. The name is in lower case.
    pub(super) fn for_name(&self, name: &str) -> Found {
        let names = self.names();
        match names.iter().find(|(other, _)| other == name) {
            Some((_, Some(state))) => Found::Issued(Arc::clone(&state.certificate.certified)),
            Some((_, None)) => Found::Missing,
            None => Found::Unknown,
        }
    }

    /// For clients that name no server, where no other certificate is for them.
    pub(super) fn first(&self) -> Option<Arc<CertifiedKey>> {
        let names = self.names();
        let first = names.iter().find_map(|(_, state)| state.as_ref())?;
        Some(Arc::clone(&first.certificate.certified))
    }

    /// Answers a challenge for a name with this digest of its key authorization, until what is returned is dropped.
    ///
    /// # Errors
    /// When no certificate can be made for such a name.
    pub fn answer_challenge(
        self: &Arc<Self>,
        name: &str,
        digest: &[u8; 32],
    ) -> io::Result<ChallengeAnswer> {
        let certified = challenge_certificate(name, digest)?;
        self.challenges().insert(name.to_owned(), certified);
        Ok(ChallengeAnswer {
            issued: Arc::clone(self),
            name: name.to_owned(),
        })
    }

    pub(super) fn challenge(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.challenges().get(name).cloned()
    }

    fn challenges(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<CertifiedKey>>> {
        self.challenges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for ChallengeAnswer {
    fn drop(&mut self) {
        self.issued.challenges().remove(&self.name);
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names();
        let names = names.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

/// Whether a client wants the answer to a challenge and nothing else (RFC 8737 §3).
pub(super) fn asks_for_challenge(hello: &ClientHello<'_>) -> bool {
    let Some(protocols) = hello.alpn() else {
        return false;
    };
    protocols.eq([CHALLENGE_PROTOCOL])
}

/// A self-signed certificate whose extension `id-pe-acmeIdentifier` holds the digest.
fn challenge_certificate(name: &str, digest: &[u8; 32]) -> io::Result<Arc<CertifiedKey>> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut parameters = CertificateParams::new([name.to_owned()]).map_err(io::Error::other)?;
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = parameters.self_signed(&key).map_err(io::Error::other)?;
    let chain = vec![certificate.der().clone()];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = ring::sign::any_ecdsa_type(&key).map_err(io::Error::other)?;
    // Not compared with the key: the critical extension, which is what the certificate is for, is unknown to the comparison.
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// A new key, and the request for a certificate of one name that is signed with it.
pub struct SigningRequest {
    /// PKCS#10, in DER.
    pub request: Vec<u8>,
    /// The key in PEM.
    pub key_pem: String,
}

impl SigningRequest {
    /// With an ECDSA key on P-256.
    ///
    /// # Errors
    /// When no certificate can be asked for such a name.
    pub fn new(name: &str) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut parameters = CertificateParams::new([name.to_owned()]).map_err(io::Error::other)?;
        // The authority ignores or refuses what else a request says of its subject.
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        let request = parameters.serialize_request(&key);
        Ok(Self {
            request: request.map_err(io::Error::other)?.der().to_vec(),
            key_pem: key.serialize_pem(),
        })
    }
}

impl PairFiles {
    /// One file that holds both, so that it can be replaced at once.
    #[must_use]
    pub fn in_one(file: std::path::PathBuf) -> Self {
        Self {
            cert: file.clone(),
            key: file,
        }
    }
}
