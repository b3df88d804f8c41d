//! Endpoints with https: trusted by the system's certificates, which a test names by `SSL_CERT_FILE`.

use std::{path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::json;

use super::{Receiver, app_with};
use crate::support::{
    process::{ConfigFile, Process},
    server::TestServer,
    setup::Setup,
};

/// The certificates of these tests; good for 127.0.0.1 and localhost.
fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/webhooks/tls");
    folder.join(name).display().to_string()
}

fn receiver() -> Receiver {
    let certificate = CertificateDer::from_pem_file(file("endpoint.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(file("endpoint.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    Receiver::secure(Arc::new(config))
}

/// A server that trusts who is signed by this file's certificates.
fn server_that_trusts(name: &str, receiver: &Receiver) -> TestServer {
    let url = receiver.url("/").replace("http://", "https://");
    let setup = Setup::new().app(app_with(&json!([{"url": url}])));
    let config = ConfigFile::new(&setup.toml());
    let variables = [("SSL_CERT_FILE", file(name))];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let mut server = TestServer::launch(&["--config", config.path()], &variables);
    server.apps = setup.apps;
    server
}

#[test]
fn an_endpoint_whose_certificate_is_trusted_gets_webhooks() {
    let receiver = receiver();
    let server = server_that_trusts("authority.pem", &receiver);
    server.client().subscribe("orders");
    assert_eq!(receiver.event(server.app())["channel"], "orders");
}

#[test]
fn an_endpoint_whose_certificate_is_not_trusted_gets_nothing() {
    let receiver = receiver();
    let server = server_that_trusts("endpoint.pem", &receiver);
    server.client().subscribe("orders");
    server.process.wait_stderr("the reason", |log| {
        log.contains("invalid peer certificate").then_some(())
    });
    assert!(receiver.rest().is_empty());
}

#[test]
fn a_system_without_certificates_is_told_at_the_start() {
    let setup = Setup::new().app(app_with(&json!([{"url": "https://a.test/hidden"}])));
    let config = ConfigFile::new(&setup.toml());
    let finished = Process::run(
        &["--config", config.path()],
        &[("SSL_CERT_FILE", &file("missing.pem"))],
    );
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("no trusted certificates"),
        "{finished:?}"
    );
    assert!(!finished.stderr.contains("hidden"), "{finished:?}");
}
