//! Connections to a host: names, TCP, TLS. Each step can be taken alone, so that a failure names its step.

use std::{
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Args;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use webpki::EndEntityCert;

use super::{
    Failure,
    target::{Endpoint, Security},
};

/// The last second of the year 9999.
const FAR_FUTURE_S: u64 = 253_402_300_799;

/// How connections are made.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Network")]
pub(super) struct Network {
    /// Trust the certificates in this PEM file besides the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Accept any certificate.
    #[arg(long)]
    insecure: bool,
    /// Use this address for a name, as before a change of DNS. May be given more than once.
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = pinned)]
    resolve: Vec<Pinned>,
    /// How long a connection, an answer or an expected event may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    timeout: u16,
}

/// A name with the address that stands in for its own.
#[derive(Clone, Debug)]
struct Pinned {
    name: String,
    address: IpAddr,
}

fn pinned(text: &str) -> Result<Pinned, String> {
    let (name, address) = text.split_once(':').ok_or("write NAME:ADDRESS")?;
    let address = address.trim_matches(['[', ']']);
    Ok(Pinned {
        name: name.to_owned(),
        address: address
            .parse()
            .map_err(|_| format!("{address:?} is not an IP address"))?,
    })
}

/// A connection, with or without TLS.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}
pub(super) type Stream = Box<dyn Io>;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum DialError {
    /// The name has no address.
    Name(io::Error),
    /// No address accepts; of the last one that was tried.
    Tcp(SocketAddr, TcpError),
    /// The TLS handshake failed.
    Tls(io::Error),
}

/// Why an address does not accept.
#[derive(Debug)]
pub(super) enum TcpError {
    /// Nothing came back.
    Silent(Duration),
    Refused,
    Other(io::Error),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => write!(f, "the name has no address: {error}"),
            Self::Tcp(address, error) => write!(f, "{address}: {error}"),
            Self::Tls(error) => write!(f, "the TLS handshake failed: {error}"),
        }
    }
}

impl fmt::Display for TcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(patience) => write!(f, "no answer within {} s", patience.as_secs()),
            Self::Refused => f.write_str("connection refused"),
            Self::Other(error) => error.fmt(f),
        }
    }
}

/// What a TLS handshake showed of the server's certificate.
#[derive(Clone, Debug)]
pub(super) struct Presented {
    /// Why it would be refused.
    pub(super) refused: Option<rustls::Error>,
    pub(super) issuer: Issuer,
    /// Unix time; known where nothing else is wrong.
    pub(super) expires_s: Option<u64>,
}

/// Where the certificate of the issuer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Issuer {
    /// The certificate is its own.
    Itself,
    /// It was presented too.
    Presented,
    /// It was not presented.
    Absent,
}

impl Issuer {
    fn of(certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Self {
        let Ok(own) = EndEntityCert::try_from(certificate) else {
            return Self::Absent;
        };
        let issues = |other: &CertificateDer<'_>| {
            EndEntityCert::try_from(other).is_ok_and(|other| other.subject() == own.issuer())
        };
        match own.issuer() == own.subject() {
            true => Self::Itself,
            false if others.iter().any(issues) => Self::Presented,
            false => Self::Absent,
        }
    }
}

/// Connects to hosts.
#[derive(Clone)]
pub(super) struct Dialler {
    resolve: Vec<Pinned>,
    pub(super) patience: Duration,
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    trust: Trust,
}

#[derive(Clone, Copy)]
enum Trust {
    Verified,
    Any,
}

impl Dialler {
    /// # Errors
    /// When the file of certificates cannot be read.
    pub(super) fn new(network: &Network) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = &network.ca_file {
            let shown = file.display();
            let failed = |reason: String| Failure::Usage(format!("{shown}: {reason}"));
            let pem = fs::read(file).map_err(|error| failed(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| failed(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| failed(error.to_string()))?;
            }
        }
        Ok(Self {
            resolve: network.resolve.clone(),
            patience: Duration::from_secs(network.timeout.into()),
            provider: Arc::new(ring::default_provider()),
            roots: Arc::new(roots),
            trust: if network.insecure {
                Trust::Any
            } else {
                Trust::Verified
            },
        })
    }

    /// The same, but certificates are accepted whatever they are.
    pub(super) fn trusting(&self) -> Self {
        Self {
            trust: Trust::Any,
            ..self.clone()
        }
    }

    /// The same, with the addresses of a host looked up once and for all.
    ///
    /// # Errors
    /// When the name has none.
    pub(super) async fn pinned(&self, endpoint: &Endpoint) -> io::Result<Self> {
        let mut pinned = self.clone();
        if self.pins(endpoint).is_empty() {
            let found = self.addresses(endpoint).await?;
            pinned.resolve.extend(found.iter().map(|address| Pinned {
                name: endpoint.host.clone(),
                address: address.ip(),
            }));
        }
        Ok(pinned)
    }

    /// Whether a host that was pinned is this machine, by its loopback addresses.
    pub(super) fn is_loopback(&self, endpoint: &Endpoint) -> bool {
        let pins = self.pins(endpoint);
        !pins.is_empty() && pins.iter().all(|address| address.ip().is_loopback())
    }

    /// The addresses that stand in for a host's own.
    fn pins(&self, endpoint: &Endpoint) -> Vec<SocketAddr> {
        let is_named = |pinned: &&Pinned| pinned.name.eq_ignore_ascii_case(&endpoint.host);
        let pins = self.resolve.iter().filter(is_named);
        pins.map(|pinned| SocketAddr::new(pinned.address, endpoint.port))
            .collect()
    }

    /// The addresses of a host, in the system's order.
    ///
    /// # Errors
    /// When the name has none.
    pub(super) async fn addresses(&self, endpoint: &Endpoint) -> io::Result<Vec<SocketAddr>> {
        let pinned = self.pins(endpoint);
        if !pinned.is_empty() {
            return Ok(pinned);
        }
        let mut addresses = Vec::new();
        let lookup = lookup_host((endpoint.host.as_str(), endpoint.port));
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer from the name servers");
        for address in timeout(self.patience, lookup).await.map_err(late)?? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    /// A TCP connection.
    ///
    /// # Errors
    /// When the address does not accept in time.
    pub(super) async fn tcp(&self, address: SocketAddr) -> Result<TcpStream, TcpError> {
        let connected = timeout(self.patience, TcpStream::connect(address)).await;
        let stream = connected
            .map_err(|_| TcpError::Silent(self.patience))?
            .map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionRefused => TcpError::Refused,
                _ => TcpError::Other(error),
            })?;
        stream.set_nodelay(true).map_err(TcpError::Other)?;
        Ok(stream)
    }

    /// TLS over a connection, and the certificates that the host presented.
    ///
    /// # Errors
    /// When the handshake fails; for its certificate only if this dialler verifies it.
    pub(super) async fn tls(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> io::Result<(Stream, Presented)> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let verifier = Arc::new(Recorder::new(self)?);
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_no_client_auth();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = timeout(self.patience, connecting)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer to it"))??;
        let presented = verifier.presented.lock().expect("no holder panics").clone();
        let presented = presented.expect("a handshake presents a certificate");
        Ok((Box::new(stream), presented))
    }

    /// A connection to an endpoint: the first address that accepts, then TLS.
    ///
    /// # Errors
    /// [`DialError`] names the step.
    pub(super) async fn connect(&self, endpoint: &Endpoint) -> Result<Stream, DialError> {
        let addresses = self.addresses(endpoint).await.map_err(DialError::Name)?;
        let mut last = DialError::Name(io::Error::other("there are none"));
        for address in addresses {
            match self.tcp(address).await {
                Ok(stream) => return self.secure(stream, endpoint).await,
                Err(error) => last = DialError::Tcp(address, error),
            }
        }
        Err(last)
    }

    async fn secure(&self, stream: TcpStream, endpoint: &Endpoint) -> Result<Stream, DialError> {
        match endpoint.security {
            Security::Plain => Ok(Box::new(stream)),
            Security::Tls => {
                let connected = self.tls(stream, &endpoint.host).await;
                connected.map(|(stream, _)| stream).map_err(DialError::Tls)
            }
        }
    }
}

/// Verifies as usual, and remembers what it saw; whether the handshake goes on with a bad certificate is up to `trust`.
struct Recorder {
    usual: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    trust: Trust,
    presented: Mutex<Option<Presented>>,
}

impl Recorder {
    fn new(dialler: &Dialler) -> io::Result<Self> {
        // Without a single trusted certificate every chain is unknown.
        let usual = if dialler.roots.is_empty() {
            None
        } else {
            let builder = WebPkiServerVerifier::builder_with_provider(
                Arc::clone(&dialler.roots),
                Arc::clone(&dialler.provider),
            );
            Some(builder.build().map_err(io::Error::other)?)
        };
        Ok(Self {
            usual,
            provider: Arc::clone(&dialler.provider),
            trust: dialler.trust,
            presented: Mutex::default(),
        })
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = match &self.usual {
            Some(usual) => usual.verify_server_cert(end_entity, intermediates, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        // Only the error of a verification in the far future says until when a certificate is valid.
        let end = self.usual.as_ref().and_then(|usual| {
            let end = UnixTime::since_unix_epoch(Duration::from_secs(FAR_FUTURE_S));
            let later = usual.verify_server_cert(end_entity, intermediates, name, ocsp, end);
            match later.err()? {
                rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                    not_after,
                    ..
                }) => Some(not_after.as_secs()),
                _ => None,
            }
        });
        *self.presented.lock().expect("no holder panics") = Some(Presented {
            refused: verdict.as_ref().err().cloned(),
            issuer: Issuer::of(end_entity, intermediates),
            expires_s: end,
        });
        match self.trust {
            Trust::Any => Ok(ServerCertVerified::assertion()),
            Trust::Verified => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
