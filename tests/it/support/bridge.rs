//! Stands where a proxy on this machine would: takes TCP connections and passes them on, over a Unix socket or with other bytes before them.

use std::{
    io::{Read, Write, copy},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    thread,
};

/// Where connections are passed on to.
#[derive(Clone)]
pub(crate) enum Target {
    Tcp(SocketAddr),
    Unix(String),
}

/// Passes on every connection to its address.
pub(crate) struct Bridge {
    pub(crate) address: SocketAddr,
}

impl Bridge {
    pub(crate) fn to(target: Target) -> Self {
        Self::with_preamble(target, b"")
    }

    /// Each connection begins with these bytes.
    pub(crate) fn with_preamble(target: Target, preamble: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let preamble = preamble.to_vec();
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                pass_on(client, &target, &preamble);
            }
        });
        Self { address }
    }
}

/// A server that does not take the connection looks like one that closes it.
fn pass_on(client: TcpStream, target: &Target, preamble: &[u8]) {
    match target {
        Target::Tcp(address) => {
            let Ok(mut server) = TcpStream::connect(address) else {
                return;
            };
            let _ = server.set_nodelay(true);
            let _ = server.write_all(preamble);
            let other = server.try_clone().expect("a second handle");
            both_ways(client, server, other, |server| {
                server.shutdown(Shutdown::Write)
            });
        }
        Target::Unix(path) => {
            let Ok(mut server) = UnixStream::connect(path) else {
                return;
            };
            let _ = server.write_all(preamble);
            let other = server.try_clone().expect("a second handle");
            both_ways(client, server, other, |server| {
                server.shutdown(Shutdown::Write)
            });
        }
    }
}

fn both_ways<S: Read + Write + Send + 'static>(
    client: TcpStream,
    mut upwards: S,
    mut downwards: S,
    end: fn(&S) -> std::io::Result<()>,
) {
    let _ = client.set_nodelay(true);
    let mut client_in = client.try_clone().expect("a second handle");
    let mut client_out = client;
    thread::spawn(move || {
        let _ = copy(&mut client_in, &mut upwards);
        let _ = end(&upwards);
    });
    thread::spawn(move || {
        let _ = copy(&mut downwards, &mut client_out);
        let _ = client_out.shutdown(Shutdown::Both);
    });
}
