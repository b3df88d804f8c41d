//! Where clients come in: the listening sockets, and how connections are taken from each.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::TcpStream;

use crate::{
    banner::Addresses,
    config::{self, PlainPort},
    door::{Address, Door, InheritedDoors},
    tls::{Buffers, Certificates, ClientAuthority, Issued, Stream, TlsListener, Versions},
    transport::Port,
};

/// Where clients come in: the sockets, and how connections are taken from each.
pub(super) struct Doors(pub(super) Vec<(Door, Entrance)>);

impl Doors {
    /// Opens the sockets that the settings ask for, except those that systemd passes.
    pub(super) fn open(
        server: &config::Server,
        issued: Option<Arc<Issued>>,
        inherited: InheritedDoors,
    ) -> io::Result<Self> {
        let tls = tls_door(server, issued, inherited.tls)?;
        let tls_port = tls.as_ref().and_then(|(door, _)| door.address().tcp());
        let plain = match inherited.public {
            held if !held.is_empty() => held,
            _ => plain_doors(server)?,
        };
        let plain = plain.into_iter().map(|door| {
            let entrance = match (door.address(), server.tls.plain, tls_port) {
                (Address::Tcp(_), PlainPort::Redirect, Some(tls)) => Entrance::Redirect(tls.port()),
                _ => Entrance::Plain,
            };
            (door, entrance)
        });
        Ok(Self(plain.chain(tls).collect()))
    }

    pub(super) fn all(&mut self) -> Vec<&mut Door> {
        self.0.iter_mut().map(|(door, _)| door).collect()
    }

    pub(super) fn tls(&self) -> Option<(&Door, &TlsListener)> {
        self.0.iter().find_map(|(door, entrance)| match entrance {
            Entrance::Tls(tls) => Some((door, tls)),
            Entrance::Plain | Entrance::Redirect(_) => None,
        })
    }

    pub(super) fn addresses(&self, admin: SocketAddr, admin_scheme: &'static str) -> Addresses {
        let plain = self.0.iter();
        let plain = plain.filter(|(_, entrance)| !matches!(entrance, Entrance::Tls(_)));
        Addresses {
            plain: plain.map(|(door, _)| door.address().clone()).collect(),
            tls: self.tls().and_then(|(door, _)| door.address().tcp()),
            admin,
            admin_scheme,
        }
    }
}

fn plain_doors(server: &config::Server) -> io::Result<Vec<Door>> {
    let has_port = server.has_plain_port();
    let tcp = has_port.then(|| Door::tcp("server.port", server.host.0, server.port));
    let unix = server.unix_socket.as_deref();
    let unix = unix.map(|path| Door::unix(path.as_ref(), server.unix_socket_mode.0));
    tcp.into_iter().chain(unix).collect()
}

fn tls_door(
    server: &config::Server,
    issued: Option<Arc<Issued>>,
    inherited: Option<Door>,
) -> io::Result<Option<(Door, Entrance)>> {
    let settings = &server.tls;
    if !settings.is_on() {
        let reason = "the socket named \"tls\" needs server.tls.cert or server.tls.acme";
        return inherited.map_or(Ok(None), |_| Err(io::Error::other(reason)));
    }
    let tls = public_tls(settings, issued)?;
    let door = inherited.map_or_else(
        || Door::tcp("server.tls.port", server.host.0, settings.port),
        Ok,
    )?;
    Ok(Some((door, Entrance::Tls(tls))))
}

/// How connections of a listening socket are taken.
#[derive(Clone)]
pub(super) enum Entrance {
    Plain,
    /// Without TLS, and only to say that TLS is on this port.
    Redirect(u16),
    Tls(TlsListener),
}

impl Entrance {
    pub(super) fn port(&self) -> Port {
        match self {
            Self::Plain => Port::Plain,
            Self::Redirect(port) => Port::Redirect(*port),
            Self::Tls(_) => Port::Tls,
        }
    }

    pub(super) fn take(&self, tcp: TcpStream, buffers: &Buffers) -> io::Result<Stream> {
        match self {
            Self::Plain | Self::Redirect(_) => Ok(Stream::Plain(tcp)),
            Self::Tls(tls) => tls.accept(tcp, buffers),
        }
    }
}

pub(crate) fn public_tls(
    settings: &config::ServerTls,
    issued: Option<Arc<Issued>>,
) -> io::Result<TlsListener> {
    let certificates = Certificates::read(settings.pairs(), issued).map_err(io::Error::other)?;
    TlsListener::new(certificates, settings.versions(), None).map_err(io::Error::other)
}

pub(crate) fn admin_tls(admin: &config::Admin) -> io::Result<Option<TlsListener>> {
    let Some(pair) = admin.tls.pair() else {
        return Ok(None);
    };
    let clients = admin.tls.client_ca.as_ref();
    let clients = clients.map(|file| ClientAuthority(file.into()));
    let certificates = Certificates::read(vec![pair], None).map_err(io::Error::other)?;
    let listener = TlsListener::new(certificates, Versions::From12, clients.as_ref());
    listener.map(Some).map_err(io::Error::other)
}
