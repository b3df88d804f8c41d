//! Whether a name belongs to whoever asks for its certificate, and whether a certificate is asked for as it must be.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use ring::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey},
};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{ring::default_provider, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
};
use x509_cert::{
    Certificate,
    der::{Decode, Encode, asn1::OctetString},
    ext::pkix::{SubjectAltName, name::GeneralName},
    request::{CertReq, ExtensionReq},
};

use crate::support::{http::Http, stream::PATIENCE};

/// id-pe-acmeIdentifier (RFC 8737 §6.1).
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

/// What a client has to prove.
pub(super) struct Check {
    pub(super) name: String,
    pub(super) token: String,
    pub(super) authorization: String,
}

/// Where it is proved.
pub(super) enum Target {
    Http(SocketAddr),
    TlsAlpn(SocketAddr),
}

impl Check {
    pub(super) fn run(&self, target: Target) -> Result<(), String> {
        match target {
            Target::Http(address) => self.http(address),
            Target::TlsAlpn(address) => self.tls_alpn(address),
        }
    }

    /// RFC 8555 §8.3.
    fn http(&self, address: SocketAddr) -> Result<(), String> {
        let mut http = Http::connect(address);
        let path = format!("/.well-known/acme-challenge/{}", self.token);
        http.send(format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.name
        ));
        let answer = http
            .try_response(PATIENCE)
            .map_err(|error| format!("no answer: {error:?}"))?;
        let is_text = answer
            .header("content-type")
            .is_some_and(|it| it.starts_with("text/plain"));
        match answer.status == 200 && is_text && answer.body.trim_end() == self.authorization {
            true => Ok(()),
            false => Err(format!("another answer: {answer:?}")),
        }
    }

    /// RFC 8737 §3.
    fn tls_alpn(&self, address: SocketAddr) -> Result<(), String> {
        let shown = |error: &dyn std::fmt::Display| error.to_string();
        let provider = Arc::new(default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        let tcp = TcpStream::connect(address).map_err(|error| shown(&error))?;
        tcp.set_read_timeout(Some(PATIENCE)).expect("an option");
        let name = ServerName::try_from(self.name.clone()).expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut session = StreamOwned::new(session, tcp);
        let handshake = session.conn.complete_io(&mut session.sock);
        handshake.map_err(|error| shown(&error))?;
        if session.conn.alpn_protocol() != Some(b"acme-tls/1") {
            return Err("another protocol".to_owned());
        }
        let chain = session.conn.peer_certificates().expect("a chain").to_vec();
        self.certificate(&chain)?;
        let mut rest = Vec::new();
        match session.read_to_end(&mut rest) {
            Ok(0) => Ok(()),
            other => Err(format!("the connection does not end: {other:?}")),
        }
    }

    fn certificate(&self, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        let [only] = chain else {
            return Err(format!("{} certificates", chain.len()));
        };
        let certificate = Certificate::from_der(only).map_err(|error| error.to_string())?;
        let certificate = certificate.tbs_certificate();
        if names_of(certificate.get_extension().ok().flatten()) != [self.name.clone()] {
            return Err("other names".to_owned());
        }
        let extensions = certificate.extensions().into_iter().flatten();
        let mut extensions = extensions.filter(|it| it.extn_id.to_string() == ACME_IDENTIFIER);
        let extension = extensions.next().ok_or("no acmeIdentifier")?;
        let digest = digest(&SHA256, self.authorization.as_bytes());
        let expected = OctetString::new(digest.as_ref()).expect("short");
        let expected = expected.to_der().expect("it can be encoded");
        match extension.critical && extension.extn_value.as_bytes() == expected {
            true => Ok(()),
            false => Err("another digest, or it is not critical".to_owned()),
        }
    }
}

/// A client's key on P-256.
pub(super) struct PublicKey(Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// The public key of a certificate request, which must be for this name alone and signed.
pub(super) fn key_of_request(request: &[u8], name: &str) -> Result<PublicKey, String> {
    let request = CertReq::from_der(request).map_err(|error| error.to_string())?;
    let key = &request.info.public_key;
    let signed = request.info.to_der().map_err(|error| error.to_string())?;
    let point = key.subject_public_key.raw_bytes();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(&signed, request.signature.raw_bytes())
        .map_err(|_| "the request is not signed with its key".to_owned())?;
    let attributes = request.info.attributes.iter();
    let mut extensions = attributes.filter_map(|attribute| {
        let value = attribute.values.iter().next()?.to_der().ok()?;
        ExtensionReq::from_der(&value).ok()
    });
    let extensions = extensions.next().ok_or("the request has no extensions")?;
    let names = extensions
        .0
        .iter()
        .find_map(|extension| SubjectAltName::from_der(extension.extn_value.as_bytes()).ok());
    match names_of(names.map(|names| (false, names))) == [name.to_owned()] {
        true => Ok(PublicKey(point.to_vec())),
        false => Err("the request is for other names".to_owned()),
    }
}

fn names_of(names: Option<(bool, SubjectAltName)>) -> Vec<String> {
    let names = names.map(|(_, SubjectAltName(names))| names);
    let names = names.into_iter().flatten();
    let names = names.map(|name| match name {
        GeneralName::DnsName(name) => name.as_str().to_owned(),
        other => format!("{other:?}"),
    });
    names.collect()
}

/// Accepts whatever is shown: RFC 8737 looks at the extension alone.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 is expected".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        let malformed = |_| rustls::Error::General("no certificate".to_owned());
        let certificate = Certificate::from_der(certificate).map_err(malformed)?;
        let key = certificate.tbs_certificate().subject_public_key_info();
        let key = key.to_der().map_err(malformed)?;
        // The usual way does not know the critical extension.
        let key = SubjectPublicKeyInfoDer::from(key);
        verify_tls13_signature_with_raw_key(message, &key, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
