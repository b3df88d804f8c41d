//! The listening sockets: how they are bound, and how they are closed so that no connection that was made is lost.
//!
//! Does not know what is served on them.

mod inherited;

use std::{
    fmt, fs, io,
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use actix_rt::time::sleep;
use actix_server::ServerHandle;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tracing::{debug, warn};

pub use inherited::{Inherited, InheritedDoors};

/// Connections that the kernel may hold for us while a storm of them arrives.
const BACKLOG: i32 = 4096;
/// Below this, a process needs privileges to listen.
const UNPRIVILEGED_PORT_MIN: u16 = 1024;
/// More than a TCP handshake takes that is under way, and the accepting thread for what waits.
const HANDSHAKE_TIME: Duration = Duration::from_millis(300);
/// More than a busy machine's accepting thread takes to hear that it is to pause.
const PAUSE_TIME: Duration = Duration::from_millis(100);

/// One listening socket.
pub struct Door {
    socket: Listening,
    address: Address,
    held: Held,
}

/// Who keeps the socket.
enum Held {
    /// This process; a Unix socket with its file, which is removed with the door.
    Here(Option<SocketFile>),
    /// systemd, too: connections that are made while nobody accepts wait for the next process.
    Elsewhere,
}

/// A socket that connections are accepted from.
pub enum Listening {
    /// For clients and proxies anywhere.
    Tcp(TcpListener),
    /// For proxies on this machine.
    Unix(UnixListener),
}

/// Where a door is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A file.
    Unix(PathBuf),
}

impl Address {
    /// That of a TCP port.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Door {
    /// Listens on the TCP port of a key.
    ///
    /// # Errors
    /// Why it can't, and how to mend it.
    pub fn tcp(key: &str, host: IpAddr, port: u16) -> io::Result<Self> {
        let listener = bind_tcp(key, host, port)?;
        Ok(Self {
            address: Address::Tcp(listener.local_addr()?),
            socket: Listening::Tcp(listener),
            held: Held::Here(None),
        })
    }

    /// Listens on a Unix socket. A file that a server left behind is replaced.
    ///
    /// # Errors
    /// When it can't be bound, or the file is somebody else's.
    pub fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        let listen = || {
            refuse_if_in_use(path)?;
            // It gets its name when it listens and has its permissions.
            let mut unnamed = path.as_os_str().to_owned();
            unnamed.push(".new");
            let _ = fs::remove_file(&unnamed);
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&SockAddr::unix(&unnamed)?)?;
            fs::set_permissions(&unnamed, fs::Permissions::from_mode(mode))?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            fs::rename(&unnamed, path)?;
            Ok((SocketFile::at(path)?, UnixListener::from(socket)))
        };
        let (file, listener) = listen().map_err(|error| cannot_listen(path.display(), &error))?;
        Ok(Self {
            socket: Listening::Unix(listener),
            address: Address::Unix(path.to_owned()),
            held: Held::Here(Some(file)),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The socket once more, to accept from.
    ///
    /// # Errors
    /// When the process has too many open files.
    pub fn listening(&self) -> io::Result<Listening> {
        match &self.socket {
            Listening::Tcp(listener) => listener.try_clone().map(Listening::Tcp),
            Listening::Unix(listener) => listener.try_clone().map(Listening::Unix),
        }
    }

    /// Has the kernel take no further connections; those that were made can be accepted.
    fn turn_away(&mut self) {
        let Held::Here(file) = &mut self.held else {
            return;
        };
        // Who comes now finds no file.
        drop(file.take());
        if let Listening::Tcp(listener) = &self.socket
            && let Err(error) = ignore_new_connections(&SockRef::from(listener))
        {
            debug!(%error, "connections that are made while the door closes may be reset");
        }
    }

    /// From here on new connections are refused, and a client's balancer finds another node at once; left hanging, pusher-js rests
    /// for 15 s.
    fn shut(&self) {
        if matches!(self.held, Held::Elsewhere) {
            return;
        }
        let socket = match &self.socket {
            Listening::Tcp(listener) => SockRef::from(listener),
            Listening::Unix(listener) => SockRef::from(listener),
        };
        if let Err(error) = socket.shutdown(Shutdown::Both) {
            warn!(%error, "the listening socket could not be closed early");
        }
    }
}

/// Takes no new connections, and answers all that were made: what waits in a listening socket that is closed is reset. What others hold, too,
/// is left as it is.
pub async fn close(mut doors: Vec<&mut Door>, clients: &ServerHandle) {
    doors.iter_mut().for_each(|door| door.turn_away());
    sleep(HANDSHAKE_TIME).await;
    clients.pause().await;
    // The accepting thread is told, and does not answer; a socket shut under it would be logged as an error.
    sleep(PAUSE_TIME).await;
    doors.iter().for_each(|door| door.shut());
}

/// Listens on the TCP port of a key.
///
/// # Errors
/// Why it can't, and how to mend it.
pub fn bind_tcp(key: &str, host: IpAddr, port: u16) -> io::Result<TcpListener> {
    let address = SocketAddr::new(host, port);
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        // Connections inherit it: what is written leaves at once.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    listen().map_err(|error: io::Error| {
        let cure = cure(error.kind(), port);
        let text = format!("cannot listen on {address} ({key}): {error}{cure}");
        io::Error::new(error.kind(), text)
    })
}

/// How to get a port that was refused.
fn cure(error: io::ErrorKind, port: u16) -> &'static str {
    match error {
        io::ErrorKind::PermissionDenied if port < UNPRIVILEGED_PORT_MIN => {
            "; a port below 1024 needs privileges (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE): let a proxy listen there, and choose another port for this server"
        }
        io::ErrorKind::AddrInUse => "; another process listens there, maybe the server before this",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}

/// A connection over a Unix socket as the type that the rest of the server works with. What is done with it later are calls that the kernel
/// has for every stream; only an address it has none.
///
/// # Errors
/// When the runtime can't watch it.
pub fn as_tcp(stream: tokio::net::UnixStream) -> io::Result<tokio::net::TcpStream> {
    let fd = OwnedFd::from(stream.into_std()?);
    tokio::net::TcpStream::from_std(TcpStream::from(fd))
}

/// Has the kernel drop the first segment of each new connection, which the client sends again after a second. Connections that have begun
/// are completed.
#[cfg(target_os = "linux")]
fn ignore_new_connections(door: &SockRef<'_>) -> io::Result<()> {
    use socket2::SockFilter;
    // Classic BPF: of byte 13 of the TCP header, the flags SYN (2) and ACK (16); SYN alone is dropped.
    door.attach_filter(&[
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x54, 0, 0, 0x12),
        SockFilter::new(0x15, 0, 1, 0x02),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ])
}

#[cfg(not(target_os = "linux"))]
fn ignore_new_connections(_door: &SockRef<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn refuse_if_in_use(path: &Path) -> io::Result<()> {
    let refuse = |kind: io::ErrorKind, reason: &str| Err(io::Error::new(kind, reason));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return refuse(io::ErrorKind::AlreadyExists, "it exists and is no socket");
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => refuse(io::ErrorKind::AddrInUse, "another process listens on it"),
        // Nobody listens: a server that could not remove it left it behind.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
    }
}

fn cannot_listen(at: impl fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {at}: {error}"))
}

/// The file of a Unix socket, which is removed when it is dropped, unless another server has taken its place.
struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            device_and_inode: identity(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.device_and_inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            warn!(path = %self.path.display(), %error, "the Unix socket could not be removed");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn on_any_port() -> Door {
        Door::tcp("server.port", Ipv4Addr::LOCALHOST.into(), 0).expect("a free port")
    }

    fn connect_to(door: &Door) -> (TcpListener, TcpStream) {
        let Ok(Listening::Tcp(listener)) = door.listening() else {
            panic!("a TCP port");
        };
        let address = door.address().tcp().expect("a TCP port");
        (listener, TcpStream::connect(address).expect("a connection"))
    }

    #[test]
    fn what_is_written_to_an_accepted_connection_leaves_at_once() {
        let (listener, _client) = connect_to(&on_any_port());
        listener.set_nonblocking(false).expect("an option is set");
        let (accepted, _) = listener.accept().expect("a connection");
        assert!(accepted.nodelay().expect("an option is read"));
    }

    /// #16: `PUSHER_PORT=443` ended in a bare "Permission denied".
    #[test]
    fn a_port_that_needs_privileges_is_refused_with_the_cure() {
        let denied = io::ErrorKind::PermissionDenied;
        assert!(cure(denied, 443).contains("CAP_NET_BIND_SERVICE"));
        assert!(cure(denied, 6001).is_empty());
        assert!(cure(io::ErrorKind::AddrInUse, 443).contains("another process"));
    }
}
