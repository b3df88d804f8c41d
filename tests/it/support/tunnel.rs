//! A local port that leads to a server's TLS port, so that every client of these tests can speak TLS without knowing it.

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    sync::{Arc, Mutex},
    thread,
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::{LocalSet, spawn_local},
};
use tokio_rustls::TlsConnector;

/// The local port. Its thread ends with the test's process.
pub(crate) struct Tunnel {
    pub(crate) address: SocketAddr,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    /// Leads to `server` as this client.
    pub(crate) fn to(server: SocketAddr, client: ClientConfig) -> Self {
        let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("an option is set");
        let address = listener.local_addr().expect("an address");
        let failures = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&failures);
        let connector = TlsConnector::from(Arc::new(client));
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            let local = LocalSet::new();
            local.block_on(&runtime, run(listener, server, connector, noted));
        });
        Self { address, failures }
    }

    /// How connections ended that did not end as TLS asks: refused, or cut.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().expect("no panic").clone()
    }
}

async fn run(
    listener: StdListener,
    server: SocketAddr,
    connector: TlsConnector,
    failures: Arc<Mutex<Vec<String>>>,
) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    while let Ok((mut client, _)) = listener.accept().await {
        let (connector, failures) = (connector.clone(), Arc::clone(&failures));
        spawn_local(async move {
            let carry = async {
                let tcp = TcpStream::connect(server).await?;
                tcp.set_nodelay(true)?;
                client.set_nodelay(true)?;
                let name = ServerName::try_from("localhost").expect("a name");
                let mut tls = connector.connect(name, tcp).await?;
                copy_bidirectional(&mut client, &mut tls).await
            };
            if let Err(error) = carry.await {
                let mut failures = failures.lock().expect("no panic");
                failures.push(error.to_string());
            }
        });
    }
}
