//! TLS on the public and the operator's listener (docs/tls.md).

mod acme;
mod changes;
mod delivery;
mod handshake;
mod hello;
mod offers;
mod operators;
mod ports;

use std::net::SocketAddr;

use rustls::{ALL_VERSIONS, ClientConfig};

use crate::support::{
    api::Api,
    app::App,
    authority::{Authority, Issued},
    client::TestClient,
    redis::Folder,
    server::{TestServer, printed_address},
    setup::Setup,
    tunnel::Tunnel,
};

/// A server with both ports, and a tunnel to the one with TLS.
struct TlsServer {
    server: TestServer,
    tls: SocketAddr,
    tunnel: Tunnel,
    authority: Authority,
    issued: Issued,
    folder: Folder,
}

impl TlsServer {
    fn usual() -> Self {
        Self::start(Setup::new())
    }

    fn start(setup: Setup) -> Self {
        Self::start_in(setup, |_, _| Vec::new())
    }

    /// A server with variables in its environment that depend on the authority.
    fn start_in(
        setup: Setup,
        environment: impl FnOnce(&Authority, &Folder) -> Vec<(String, String)>,
    ) -> Self {
        let folder = Folder::new();
        let authority = Authority::new(&folder, "authority");
        let issued = authority.issue(&folder, "server");
        let setup = with_tls(setup, &issued);
        let environment = environment(&authority, &folder);
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let server = TestServer::start_in(setup, &environment);
        let tls = printed_address(&server.process.stdout(), "Listening on https");
        let tls = tls.expect("a TLS port");
        let tunnel = Tunnel::to(tls, authority.client(ALL_VERSIONS));
        Self {
            server,
            tls,
            tunnel,
            authority,
            issued,
            folder,
        }
    }

    fn app(&self) -> &App {
        self.server.app()
    }

    /// The HTTP API over TLS.
    fn api(&self) -> Api {
        Api::new(self.tunnel.address, self.app())
    }

    /// A client over TLS.
    #[track_caller]
    fn client(&self) -> TestClient {
        TestClient::connect(self.tunnel.address, self.app())
    }

    /// A tunnel for another kind of TLS client.
    fn tunnel_as(&self, client: ClientConfig) -> Tunnel {
        Tunnel::to(self.tls, client)
    }
}

fn with_tls(setup: Setup, issued: &Issued) -> Setup {
    setup
        .set("server.tls.port", 0)
        .set("server.tls.cert", issued.cert_file.as_str())
        .set("server.tls.key", issued.key_file.as_str())
}
