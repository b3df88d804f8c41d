//! A socket of the load generator or of the floor, with TLS or without.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};

use crate::Failure;

/// One socket.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Sealed(Box<Session>),
}

#[derive(Debug)]
pub(crate) struct Session {
    tcp: TcpStream,
    tls: Connection,
}

/// A certificate of the tests, and who signed it.
pub(crate) fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/webhooks/tls");
    folder.join(name).display().to_string()
}

/// What the floor's sessions have in common.
pub(crate) fn server() -> Result<Arc<ServerConfig>, Failure> {
    let certificate = CertificateDer::from_pem_file(file("endpoint.pem"))?;
    let key = PrivateKeyDer::from_pem_file(file("endpoint.key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    // Clients come back by ticket, as to the server.
    config.ticketer = ring::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// What the load generator's sessions have in common.
pub(crate) fn client() -> Result<Arc<ClientConfig>, Failure> {
    client_of(ALL_VERSIONS).map(Arc::new)
}

/// The same for clients of these versions.
pub(crate) fn client_of(
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("authority.pem"))?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

impl Wire {
    /// A client's, whose handshake begins with the first bytes that are sent.
    pub(crate) fn client(tcp: TcpStream, config: &Arc<ClientConfig>) -> Result<Self, Failure> {
        let name = ServerName::try_from("localhost")?;
        let mut session = ClientConnection::new(Arc::clone(config), name)?;
        session.set_buffer_limit(None);
        let tls = session.into();
        Ok(Self::Sealed(Box::new(Session { tcp, tls })))
    }

    /// The floor's.
    pub(crate) fn server(tcp: TcpStream, config: &Arc<ServerConfig>) -> Result<Self, Failure> {
        let tls = ServerConnection::new(Arc::clone(config))?.into();
        Ok(Self::Sealed(Box::new(Session { tcp, tls })))
    }

    pub(crate) fn tcp(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Sealed(session) => &mut session.tcp,
        }
    }

    /// Whether a read that does not fill its buffer was the last.
    pub(crate) fn reads_all_at_once(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

impl Session {
    /// Sends what is sealed, or what the handshake needs, as far as that goes now.
    fn push(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.tcp) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let session = match self {
            Self::Plain(tcp) => return tcp.read(buffer),
            Self::Sealed(session) => session,
        };
        loop {
            match session.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if session.tls.read_tls(&mut session.tcp)? == 0 {
                return Ok(0);
            }
            let processed = session.tls.process_new_packets();
            processed.map_err(io::Error::other)?;
            session.push()?;
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Sealed(session) => {
                let written = session.tls.writer().write(bytes)?;
                session.push()?;
                Ok(written)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
