//! What all sessions of one listener have in common: versions, certificates, tickets, and who has to show a certificate of their own.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
    server::{NoServerSessionStorage, UnbufferedServerConnection, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};

use super::{Buffers, Certificates, Reload, SealedStream, Stream, issued::CHALLENGE_PROTOCOL};

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
    /// Its certificates.
    pub certificates: Arc<Certificates>,
    versions: Versions,
    clients: Option<ClientAuthority>,
    rules: Arc<RwLock<Rules>>,
}

/// What holds for sessions that begin now.
#[derive(Debug)]
struct Rules {
    config: Arc<ServerConfig>,
    /// The authorities that `config` was made with.
    clients: Option<Arc<RootCertStore>>,
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
        let roots = clients.map(|it| roots_in(&it.0)).transpose()?;
        let rules = Rules::new(&certificates, versions, roots)?;
        Ok(Self {
            certificates,
            versions,
            clients: clients.cloned(),
            rules: Arc::new(RwLock::new(rules)),
        })
    }

    /// The file of authorities that clients need one of, if they do.
    #[must_use]
    pub fn clients(&self) -> Option<&ClientAuthority> {
        self.clients.as_ref()
    }

    /// Reads the file of authorities again. If it has changed, new handshakes need one of the new authorities. Tickets of before are void: a
    /// session that comes back shows no certificate.
    ///
    /// # Errors
    /// In words, when the file can't be used; nothing has changed then.
    pub fn reload_clients(&self) -> Result<Reload, String> {
        let Some(authority) = &self.clients else {
            return Ok(Reload::Unchanged);
        };
        let roots = roots_in(&authority.0)?;
        let served = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        if served
            .clients
            .as_ref()
            .is_some_and(|it| it.roots == roots.roots)
        {
            return Ok(Reload::Unchanged);
        }
        drop(served);
        let rules = Rules::new(&self.certificates, self.versions, Some(roots))?;
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        Ok(Reload::Changed)
    }

    /// A stream whose handshake is yet to come, with the worker's buffers.
    ///
    /// # Errors
    /// When the random number generator fails.
    pub fn accept(&self, tcp: tokio::net::TcpStream, buffers: &Buffers) -> std::io::Result<Stream> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let config = Arc::clone(&rules.config);
        drop(rules);
        let connection = UnbufferedServerConnection::new(config);
        let connection = connection.map_err(std::io::Error::other)?;
        let stream = SealedStream::new(tcp, connection, buffers.clone());
        Ok(Stream::Sealed(Box::new(stream)))
    }
}

impl Rules {
    fn new(
        certificates: &Arc<Certificates>,
        versions: Versions,
        clients: Option<RootCertStore>,
    ) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let versions: &[&SupportedProtocolVersion] = match versions {
            Versions::From12 => &[&TLS13, &TLS12],
            Versions::Only13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("the provider has suites for both versions");
        let clients = clients.map(Arc::new);
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let roots = Arc::clone(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = verifier.build().map_err(|error| error.to_string())?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let resolver = Arc::clone(certificates);
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if certificates.issued.is_some() {
            // A client that offers both gets the first.
            config.alpn_protocols.push(CHALLENGE_PROTOCOL.to_vec());
        }
        // A ticket holds the session, encrypted, so that a client that comes back costs no memory here and no signature.
        config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // Each session brings the next ticket; a second one would be sealed for most clients in vain.
        config.send_tls13_tickets = 1;
        Ok(Self {
            config: Arc::new(config),
            clients,
        })
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
