//! Who opened a connection.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// The other end of a connection: a client, or a proxy that speaks for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The other end of a TCP connection, or whom a trusted proxy names as that by the PROXY protocol.
    At(SocketAddr),
    /// A process of this machine, over a Unix socket. The operator chooses who may open that file, so it is a trusted proxy.
    Local,
}

impl Peer {
    /// Its address, if it has one.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        let address = self.address()?;
        Some(address.ip().to_canonical())
    }

    /// As an HTTP request carries it.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::At(address) => Some(address),
            Self::Local => None,
        }
    }
}

/// As an HTTP request carries it. A TCP connection without an address is not taken in the first place.
impl From<Option<SocketAddr>> for Peer {
    fn from(address: Option<SocketAddr>) -> Self {
        address.map_or(Self::Local, Self::At)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Local => f.write_str("unix"),
        }
    }
}
