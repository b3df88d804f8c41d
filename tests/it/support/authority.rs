//! A certificate authority of one test, which issues certificates into a folder.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::redis::Folder;

/// Signs certificates. Those who trust it have its own certificate ([`Authority::file`]).
pub(crate) struct Authority {
    pub(crate) file: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of a certificate and its key.
pub(crate) struct Issued {
    pub(crate) cert_file: String,
    pub(crate) key_file: String,
}

impl Authority {
    /// An authority that nobody knows yet; its certificate is `NAME.pem` in the folder.
    pub(crate) fn new(folder: &Folder, name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key is made");
        let certificate = parameters.self_signed(&key).expect("it signs itself");
        let file = folder.file(&format!("{name}.pem"));
        fs::write(&file, certificate.pem()).expect("the file is written");
        Self {
            file,
            issuer: Issuer::new(parameters, key),
        }
    }

    /// A certificate for this machine, as `NAME.pem` and `NAME.key` in the folder.
    pub(crate) fn issue(&self, folder: &Folder, name: &str) -> Issued {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let parameters = CertificateParams::new(names).expect("these are names");
        let key = KeyPair::generate().expect("a key is made");
        let certificate = parameters.signed_by(&key, &self.issuer);
        let certificate = certificate.expect("the authority signs");
        let cert_file = folder.file(&format!("{name}.pem"));
        let key_file = folder.file(&format!("{name}.key"));
        fs::write(&cert_file, certificate.pem()).expect("the file is written");
        fs::write(&key_file, key.serialize_pem()).expect("the file is written");
        Issued {
            cert_file,
            key_file,
        }
    }
}
