//! Where clients come from: their address, who speaks for them, and what one place may use of this node.

mod gate;
mod peer;
mod places;
mod proxies;
mod proxy_header;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

pub use gate::{Gate, Held, NoRoom};
pub use peer::Peer;
pub use places::{Place, Places};
pub use proxies::Proxies;
pub use proxy_header::{ProxyHeader, ProxyHeaderError};

/// Where a client comes from. What a proxy tells has often no port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client's own.
    pub ip: IpAddr,
    /// Its side of the connection, if that is known.
    pub port: Option<u16>,
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: address.ip().to_canonical(),
            port: Some(address.port()),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_shown_where_it_is_known() {
        let direct = ClientAddress::from(SocketAddr::from(([192, 0, 2, 1], 80)));
        assert_eq!(direct.to_string(), "192.0.2.1:80");
        let told = ClientAddress {
            port: None,
            ..direct
        };
        assert_eq!(told.to_string(), "192.0.2.1");
    }
}
