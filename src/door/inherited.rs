//! Listening sockets that systemd holds and hands over, so that they outlive this process (`LISTEN_FDS`, sd_listen_fds(3)).

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;
use socket2::SockRef;

use super::{Address, Door, Held, Listening};
use crate::config::{Config, Host};

/// The sockets that were handed over, by what they are for.
#[derive(Default)]
pub struct Inherited {
    /// For the public listener.
    pub doors: InheritedDoors,
    /// For the admin listener.
    pub admin: Option<TcpListener>,
}

/// Those of the public listener.
#[derive(Default)]
pub struct InheritedDoors {
    /// Without TLS; if there are any, none is bound.
    pub public: Vec<Door>,
    /// With TLS.
    pub tls: Option<Door>,
}

/// What a socket is for, by its name: `FileDescriptorName=` of its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Public,
    Tls,
    Admin,
}

impl Purpose {
    /// Of the socket at this place among the names of `LISTEN_FDNAMES`. Whoever gives no names hands over public sockets.
    fn of(names: Option<&str>, at: usize) -> Result<Self, String> {
        let Some(names) = names else {
            return Ok(Self::Public);
        };
        match names.split(':').nth(at).unwrap_or_default() {
            "public" => Ok(Self::Public),
            "tls" => Ok(Self::Tls),
            "admin" => Ok(Self::Admin),
            other => Err(format!(
                "is named {other:?}; set FileDescriptorName= of its unit to \"public\", \"tls\" or \"admin\""
            )),
        }
    }
}

impl Inherited {
    /// Takes the sockets. `names` is `LISTEN_FDNAMES`.
    ///
    /// # Errors
    /// When one is no listening socket, has another name, or can be reached from farther away than the settings say.
    pub fn take(config: &Config, names: Option<&str>) -> io::Result<Self> {
        let (mut sockets, mut inherited) = (ListenFd::from_env(), Self::default());
        for at in 0..sockets.len() {
            inherited
                .take_one(&mut sockets, at, config, names)
                .map_err(|reason| {
                    io::Error::other(format!("socket {at} that was handed over {reason}"))
                })?;
        }
        Ok(inherited)
    }

    fn take_one(
        &mut self,
        sockets: &mut ListenFd,
        at: usize,
        config: &Config,
        names: Option<&str>,
    ) -> Result<(), String> {
        let purpose = Purpose::of(names, at)?;
        let tcp = sockets.take_tcp_listener(at).ok().flatten();
        match (purpose, tcp) {
            (Purpose::Public, Some(listener)) => {
                let door = tcp_door(listener, config)?;
                self.doors.public.push(door);
            }
            (Purpose::Tls, Some(listener)) => self.doors.tls = Some(tcp_door(listener, config)?),
            (Purpose::Tls, None) => return Err("is named \"tls\" and no TCP socket".to_owned()),
            (Purpose::Public, None) => {
                let taken = sockets.take_unix_listener(at);
                let listener = taken.ok().flatten();
                let listener = listener.ok_or("listens neither on TCP nor on a Unix socket")?;
                let address = listener.local_addr().map_err(|error| error.to_string())?;
                self.doors.public.push(Door {
                    socket: Listening::Unix(listener),
                    address: Address::Unix(address.as_pathname().unwrap_or("".as_ref()).to_owned()),
                    held: Held::Elsewhere,
                });
            }
            (Purpose::Admin, Some(listener)) => {
                reachable(&listener, ("admin.host", config.admin.host))?;
                self.admin = Some(listener);
            }
            (Purpose::Admin, None) => return Err("is named \"admin\" and no TCP socket".to_owned()),
        }
        Ok(())
    }
}

fn tcp_door(listener: TcpListener, config: &Config) -> Result<Door, String> {
    let address = reachable(&listener, ("server.host", config.server.host))?;
    // As a door that is bound here.
    SockRef::from(&listener)
        .set_tcp_nodelay(true)
        .map_err(|error| error.to_string())?;
    Ok(Door {
        socket: Listening::Tcp(listener),
        address: Address::Tcp(address),
        held: Held::Elsewhere,
    })
}

/// The settings are checked for what may be reached from other machines: the demo app, and an admin listener without a token.
fn reachable(listener: &TcpListener, (key, host): (&str, Host)) -> Result<SocketAddr, String> {
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    if host.is_loopback() && !Host(address.ip()).is_loopback() {
        let ip = address.ip();
        return Err(format!(
            "listens on {address}, which other machines reach, but {key} is {host}: set {key} to {ip}"
        ));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_for_what_its_name_says() {
        let (public, admin) = (Ok(Purpose::Public), Ok(Purpose::Admin));
        let tls = Ok(Purpose::Tls);
        for (names, at, expected) in [
            (None, 0, &public),
            (None, 3, &public),
            (Some("public"), 0, &public),
            (Some("public:admin"), 1, &admin),
            (Some("public:tls"), 1, &tls),
            (Some("admin:public:public"), 2, &public),
        ] {
            assert_eq!(&Purpose::of(names, at), expected, "{names:?} {at}");
        }
        for (names, at) in [
            ("", 0),
            ("loudhailer.socket", 0),
            ("public", 1),
            ("public:x", 1),
        ] {
            assert!(Purpose::of(Some(names), at).is_err(), "{names:?} {at}");
        }
    }
}
