//! What all sessions of one listener have in common: versions, certificates, tickets, and who has to show a certificate of their own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
    server::{NoServerSessionStorage, UnbufferedServerConnection, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};

use super::{Buffers, Certificates, SealedStream, Stream, issued::CHALLENGE_PROTOCOL};

/// The versions of TLS that clients may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.2 and 1.3.
    From12,
    /// Only TLS 1.3.
    Only13,
}

/// A file of authorities; a client has to show a certificate that one of them has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthority(pub PathBuf);

/// TLS on one listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsListener {
    config: Arc<ServerConfig>,
    /// Its certificates.
    pub certificates: Arc<Certificates>,
}

impl TlsListener {
    /// Of these certificates.
    ///
    /// # Errors
    /// In words, when the authority's file can't be used.
    pub fn new(
        certificates: Arc<Certificates>,
        versions: Versions,
        clients: Option<&ClientAuthority>,
    ) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let versions: &[&SupportedProtocolVersion] = match versions {
            Versions::From12 => &[&TLS13, &TLS12],
            Versions::Only13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("the provider has suites for both versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(roots_in(&authority.0)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = verifier.build().map_err(|error| error.to_string())?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let resolver = Arc::clone(&certificates);
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if certificates.issued.is_some() {
            // A client that offers both gets the first.
            config.alpn_protocols.push(CHALLENGE_PROTOCOL.to_vec());
        }
        // A ticket holds the session, encrypted, so that a client that comes back costs no memory here and no signature.
        config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            config: Arc::new(config),
            certificates,
        })
    }

    /// A stream whose handshake is yet to come, with the worker's buffers.
    ///
    /// # Errors
    /// When the random number generator fails.
    pub fn accept(&self, tcp: tokio::net::TcpStream, buffers: &Buffers) -> std::io::Result<Stream> {
        let connection = UnbufferedServerConnection::new(Arc::clone(&self.config));
        let connection = connection.map_err(std::io::Error::other)?;
        let stream = SealedStream::new(tcp, connection, buffers.clone());
        Ok(Stream::Sealed(Box::new(stream)))
    }
}

/// The authorities in a PEM file.
///
/// # Errors
/// In words, when there is none or one can't be used.
pub fn roots_in(file: &Path) -> Result<RootCertStore, String> {
    let unusable = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    match roots.is_empty() {
        true => Err(unusable(&"has no PEM block CERTIFICATE")),
        false => Ok(roots),
    }
}
