//! The files of TLS to Redis, and what their failures mean in the words of the settings.

use std::fs;

use redis::{ClientTlsConfig, TlsCertificates};
use rustls::{
    Error, InconsistentKeys,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use crate::config::{ClientFiles, RedisTls};

/// How the TLS library begins when the server's certificate is not accepted, and when the server refuses something. The library for Redis
/// gives its errors on as text where it tries several addresses.
const PEER: &str = "invalid peer certificate";
const ALERT: &str = "received fatal alert";

/// Reads the files; `None` without any.
///
/// # Errors
/// What is wrong with them, with the name of the file.
pub(super) fn read(tls: &RedisTls) -> Result<Option<TlsCertificates>, String> {
    if tls.ca_file.is_none() && tls.client.is_none() {
        return Ok(None);
    }
    let root_cert = tls.ca_file.as_deref().map(|ca_file| {
        let (pem, _) = certificates("redis.ca_file", ca_file)?;
        Ok::<_, String>(pem)
    });
    Ok(Some(TlsCertificates {
        client_tls: tls.client.as_ref().map(client).transpose()?,
        root_cert: root_cert.transpose()?,
    }))
}

fn client(files: &ClientFiles) -> Result<ClientTlsConfig, String> {
    let ClientFiles {
        cert_file,
        key_file,
    } = files;
    let (client_cert, chain) = certificates("redis.cert_file", cert_file)?;
    let client_key = contents("redis.key_file", key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&client_key)
        .map_err(|_| format!("redis.key_file {key_file} has no private key"))?;
    match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
        Ok(_) => Ok(ClientTlsConfig {
            client_cert,
            client_key,
        }),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(format!(
            "redis.key_file {key_file} is not the key of redis.cert_file {cert_file}"
        )),
        Err(error) => Err(format!(
            "redis.cert_file {cert_file} with redis.key_file {key_file}: {error}"
        )),
    }
}

/// A file with one certificate or more: its contents, and what they hold.
fn certificates(key: &str, file: &str) -> Result<(Vec<u8>, Vec<CertificateDer<'static>>), String> {
    let pem = contents(key, file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(format!("{key} {file} has no certificate"))
        }
        Ok(certificates) => Ok((pem, certificates)),
        Err(error) => Err(format!("{key} {file} is no valid PEM: {error}")),
    }
}

fn contents(key: &str, file: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{key} {file} can't be read: {error}"))
}

/// Adds to an error of a connect which of the settings it is about.
pub(super) fn explain(error: &str, tls: &RedisTls) -> String {
    let is_about_client =
        |alert: &str| alert.contains("Certificate") || alert.contains("UnknownCA");
    let alert = error.find(ALERT).map(|at| &error[at..]);
    let about_client = alert.is_some_and(is_about_client);
    let hint = match (&tls.ca_file, &tls.client) {
        (Some(file), _) if error.contains(PEER) => {
            format!("checked against redis.ca_file {file}")
        }
        (None, _) if error.contains(PEER) => {
            "checked against the authorities that this system trusts; redis.ca_file names others"
                .to_owned()
        }
        (_, Some(ClientFiles { cert_file, .. })) if about_client => {
            format!("Redis refuses redis.cert_file {cert_file}")
        }
        (_, None) if about_client => {
            "Redis asks for a client certificate: redis.cert_file and redis.key_file".to_owned()
        }
        _ => return error.to_owned(),
    };
    format!("{error} ({hint})")
}
