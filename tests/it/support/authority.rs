//! A certificate authority of one test, which issues certificates into a folder.

use std::{fs, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PublicKeyData,
};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::redis::Folder;

/// Signs certificates. Those who trust it have its own certificate ([`Authority::file`]).
#[derive(Clone)]
pub(crate) struct Authority {
    pub(crate) file: String,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

/// The files of a certificate and its key.
#[derive(Clone)]
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
            issuer: Arc::new(Issuer::new(parameters, key)),
        }
    }

    /// A certificate for this machine, as `NAME.pem` and `NAME.key` in the folder.
    pub(crate) fn issue(&self, folder: &Folder, name: &str) -> Issued {
        self.issue_for(folder, name, &["localhost", "127.0.0.1"])
    }

    /// The same for other names.
    pub(crate) fn issue_for(&self, folder: &Folder, name: &str, names: &[&str]) -> Issued {
        let names = names.iter().map(|name| (*name).to_owned());
        let parameters = CertificateParams::new(names.collect::<Vec<_>>());
        self.issue_with(folder, name, parameters.expect("these are names"))
    }

    /// The same with all that a certificate says.
    pub(crate) fn issue_with(
        &self,
        folder: &Folder,
        name: &str,
        mut parameters: CertificateParams,
    ) -> Issued {
        let both = [
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        parameters.extended_key_usages = both.to_vec();
        let key = KeyPair::generate().expect("a key is made");
        let certificate = parameters.signed_by(&key, &*self.issuer);
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

    /// A certificate for somebody else's key, in PEM.
    pub(crate) fn sign(&self, key: &impl PublicKeyData, parameters: &CertificateParams) -> String {
        let certificate = parameters.signed_by(key, &*self.issuer);
        certificate.expect("the authority signs").pem()
    }

    /// A TLS client that trusts this authority.
    pub(crate) fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        self.client_builder(versions).with_no_client_auth()
    }

    /// The same, with a certificate of its own.
    pub(crate) fn client_as(&self, issued: &Issued) -> ClientConfig {
        let chain = CertificateDer::pem_file_iter(&issued.cert_file).expect("a file");
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(&issued.key_file).expect("a key");
        let client = self.client_builder(rustls::ALL_VERSIONS);
        client
            .with_client_auth_cert(chain, key)
            .expect("they belong together")
    }

    fn client_builder(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(&self.file).expect("a certificate");
        roots.add(root).expect("an authority");
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
    }
}
