//! One certificate with its chain and key: read from PEM files, checked, and asked for its names and its time.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};
use x509_cert::{
    Certificate as X509,
    der::Decode,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

/// The PEM files of a certificate with its chain and of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The certificate first, then the intermediate ones.
    pub cert: PathBuf,
    /// PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
}

/// A certificate that can be served.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Chain and key, for handshakes.
    pub certified: Arc<CertifiedKey>,
    /// The DNS names that it is for, in lower case; `*.` stands before a wildcard's.
    pub names: Vec<String>,
    /// Valid from here
    pub not_before: SystemTime,
    /// to here.
    pub not_after: SystemTime,
}

/// Why a pair of files can't be served.
#[derive(Debug)]
pub enum CertificateError {
    /// A file can't be read.
    Unreadable(PathBuf, io::Error),
    /// A file is no valid PEM.
    NotPem(PathBuf, pem::Error),
    /// The certificate file has no certificate.
    NoCertificate(PathBuf),
    /// The key file has no private key that is not encrypted.
    NoKey(PathBuf),
    /// The first certificate is no valid X.509.
    NotX509(PathBuf),
    /// The key is of a kind that can't be used.
    UnusableKey(PathBuf, rustls::Error),
    /// The key belongs to another certificate.
    KeyOfAnother(PairFiles),
    /// The certificate is for a name whose certificate this server gets by itself.
    AlsoIssued(PathBuf, String),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(file, error) => write!(f, "cannot read {}: {error}", file.display()),
            Self::NotPem(file, error) => write!(f, "{} is no valid PEM: {error}", file.display()),
            Self::NoCertificate(file) => {
                write!(f, "{} has no PEM block CERTIFICATE", file.display())
            }
            Self::NoKey(file) => write!(
                f,
                "{} has no private key in PEM (PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY; an encrypted key can't be used)",
                file.display()
            ),
            Self::NotX509(file) => {
                write!(
                    f,
                    "the first certificate of {} is malformed",
                    file.display()
                )
            }
            Self::UnusableKey(file, error) => {
                write!(f, "the key in {} can't be used: {error}", file.display())
            }
            Self::KeyOfAnother(PairFiles { cert, key }) => write!(
                f,
                "the key in {} does not belong to the first certificate of {}",
                key.display(),
                cert.display()
            ),
            Self::AlsoIssued(file, name) => write!(
                f,
                "{} has a certificate for {name}, which server.tls.acme.domains names too: one of both must go",
                file.display()
            ),
        }
    }
}

impl std::error::Error for CertificateError {}

impl Certificate {
    /// Reads and checks a pair of files.
    ///
    /// # Errors
    /// Whatever keeps the pair from being served. A certificate whose time is over or has not come is no error.
    pub fn read(files: &PairFiles) -> Result<Self, CertificateError> {
        let (cert, key) = (read(&files.cert)?, read(&files.key)?);
        Self::of_pem(files, &cert, &key)
    }

    /// The same for what the files contain.
    ///
    /// # Errors
    /// As [`Certificate::read`].
    pub fn of_pem(files: &PairFiles, cert: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| CertificateError::NotPem(files.cert.clone(), error))?;
        let Some(first) = chain.first() else {
            return Err(CertificateError::NoCertificate(files.cert.clone()));
        };
        let parsed = X509::from_der(first);
        let parsed = parsed.map_err(|_| CertificateError::NotX509(files.cert.clone()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => CertificateError::NoKey(files.key.clone()),
            error => CertificateError::NotPem(files.key.clone(), error),
        })?;
        let certified = CertifiedKey::from_der(chain.clone(), key, &ring::default_provider());
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::KeyOfAnother(files.clone()),
            error => CertificateError::UnusableKey(files.key.clone(), error),
        })?;
        let validity = parsed.tbs_certificate().validity();
        let time = |time: x509_cert::time::Time| SystemTime::UNIX_EPOCH + time.to_unix_duration();
        Ok(Self {
            certified: Arc::new(certified),
            names: names_of(&parsed),
            not_before: time(validity.not_before),
            not_after: time(validity.not_after),
        })
    }

    /// Whether the same certificate is in the other, whatever files they came from.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }

    /// Whole days until it expires; negative once it has.
    #[must_use]
    pub fn days_left(&self, now: SystemTime) -> i64 {
        const DAY: u64 = 24 * 60 * 60;
        let days = |time: Duration| i64::try_from(time.as_secs() / DAY).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => days(left),
            Err(over) => -1 - days(over.duration()),
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(file).map_err(|error| CertificateError::Unreadable(file.to_path_buf(), error))
}

fn names_of(certificate: &X509) -> Vec<String> {
    let extension = certificate.tbs_certificate().get_extension();
    let Ok(Some((_, SubjectAltName(names)))) = extension else {
        return Vec::new();
    };
    let dns = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        _ => None,
    });
    dns.collect()
}
