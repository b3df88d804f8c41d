//! Certificates that this server gets by itself.

use std::{borrow::Cow, collections::BTreeSet, net::IpAddr};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::pki_types::DnsName;
use url::Url;

use crate::{
    app::Secret,
    settings::{
        Json, Path, Problems, Secrets, Setting, Table, Takes, Text, Value, settings, words,
    },
};

/// Names of one server. Each has a certificate and an order of its own.
const DOMAINS_MAX: usize = 100;

settings! {
    /// Certificates that this server gets and renews by itself, from Let's Encrypt or another authority that speaks ACME (RFC 8555)
    /// ([tls.md](tls.md#certificates-by-acme)).
    #[derive(Clone, Debug, PartialEq)]
    pub struct Acme {
        /// The names that clients connect to, each with a certificate of its own; no wildcards. SIGHUP reads them again.
        domains: Domains => "[\"ws.example.org\"]",
        /// `true`: you agree to the terms of service of the authority. Nothing is ordered without.
        terms_of_service_agreed: bool => "true",
        /// E-mail address that the authority may write to about the account.
        contact: Option<Contact> => "\"admin@example.org\"",
        /// The authority: the URL of its directory. `https://acme-staging-v02.api.letsencrypt.org/directory` is Let's Encrypt's for trying
        /// things out.
        directory: DirectoryUrl = "https://acme-v02.api.letsencrypt.org/directory",
        /// How the authority finds out that a name is yours: `"tls-alpn-01"`, by a TLS handshake on port 443 of the name, or `"http-01"`,
        /// by a request on its port 80. These have to lead to `server.tls.port`, or `server.port`.
        challenge: Challenge = "tls-alpn-01",
        /// Folder for the account's key and the certificates; it is made if it is missing. Nodes and processes may share it.
        folder: String = "/var/lib/loudhailer/acme",
        /// PEM file of the authorities that sign the certificate of the directory's server. Without it, those that this system trusts.
        ca_file: Option<String> => "\"/etc/loudhailer/acme-ca.pem\"",
        /// Identifier of the key that binds the account to one that you have with the authority. Needs `external_account_key`.
        external_account_id: Option<String> => "\"kid-1\"",
        /// That key, as the authority gives it: base64url.
        external_account_key: Option<Secret> => "\"c2VjcmV0LXNlY3JldA\"",
    }
    check check;
}

words! {
    /// How the authority finds out that a name is ours.
    pub enum Challenge {
        /// A handshake with the protocol `acme-tls/1` (RFC 8737).
        TlsAlpn01 = "tls-alpn-01",
        /// A request for a file (RFC 8555 §8.3).
        Http01 = "http-01",
    }
}

impl Acme {
    /// The names, in the order of the configuration.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.domains.0.iter().map(|it| it.0.clone()).collect()
    }

    /// Identifier and key of the external account.
    #[must_use]
    pub fn external_account(&self) -> Option<(String, Vec<u8>)> {
        let key = key_bytes(self.external_account_key.as_ref()?)?;
        Some((self.external_account_id.clone()?, key))
    }
}

fn key_bytes(key: &Secret) -> Option<Vec<u8>> {
    let text = key.expose_str().trim_end_matches('=');
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    bytes.filter(|bytes| !bytes.is_empty())
}

fn check(acme: &Acme, table: &Table<'_>, problems: &mut Problems) {
    check_domains(acme, table, problems);
    if !acme.terms_of_service_agreed {
        let reason = "must be true: it says that you agree to the terms of service of the ACME server's authority";
        table.refuse("terms_of_service_agreed", problems, reason);
    }
    if acme.folder.is_empty() {
        table.refuse("folder", problems, "must name a folder");
    }
    match (&acme.external_account_id, &acme.external_account_key) {
        (Some(_), None) => {
            let reason = "needs server.tls.acme.external_account_key";
            table.refuse("external_account_id", problems, reason);
        }
        (None, Some(_)) => {
            let reason = "needs server.tls.acme.external_account_id";
            table.refuse("external_account_key", problems, reason);
        }
        (Some(_), Some(key)) if key_bytes(key).is_none() => {
            let reason = "must be base64url, as the authority gives it";
            table.refuse("external_account_key", problems, reason);
        }
        _ => {}
    }
}

fn check_domains(acme: &Acme, table: &Table<'_>, problems: &mut Problems) {
    let Domains(domains) = &acme.domains;
    if domains.is_empty() {
        let reason = "must name at least one domain, such as [\"ws.example.org\"]";
        table.refuse("domains", problems, reason);
    }
    if domains.len() > DOMAINS_MAX {
        let reason = format!("must name at most {DOMAINS_MAX} domains");
        table.refuse("domains", problems, reason);
    }
    let mut seen = BTreeSet::new();
    for Domain(name) in domains {
        if !seen.insert(name) {
            table.refuse("domains", problems, format!("name {name} twice"));
        }
    }
}

/// The names of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domains(pub Vec<Domain>);

/// A list that can't be left out.
impl Setting for Domains {
    const TAKES: Takes = <Vec<Domain> as Setting>::TAKES;

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        Vec::read(value, path, problems).map(Self)
    }

    fn write(&self, secrets: Secrets) -> Json {
        self.0.write(secrets)
    }
}

/// A DNS name in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(pub String);

impl Text for Domain {
    fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("*.") {
            return Err(format!(
                "must not be the wildcard {text:?}: neither challenge can prove one; list the names, or use certbot with DNS-01"
            ));
        }
        if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(format!("must be a DNS name, not the address {text:?}"));
        }
        let name = text.to_ascii_lowercase();
        match DnsName::try_from(name.as_str()) {
            Ok(_) if !name.ends_with('.') => Ok(Self(name)),
            _ => Err(format!(
                "must be a DNS name such as \"ws.example.org\" (in Punycode, \"xn--…\", if it has other letters), not {text:?}"
            )),
        }
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        (&self.0).into()
    }
}

/// An e-mail address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact(pub String);

impl Text for Contact {
    /// Takes `mailto:` before it for what it means. One address: RFC 8555 §7.3 allows no more in a URL, and no parameters.
    fn parse(text: &str) -> Result<Self, String> {
        let address = text.strip_prefix("mailto:").unwrap_or(text);
        let is_plain = |c: char| c.is_ascii_graphic() && !",?&%".contains(c);
        match address.split_once('@') {
            Some((user, host))
                if !user.is_empty()
                    && !host.is_empty()
                    && !host.contains('@')
                    && address.chars().all(is_plain) =>
            {
                Ok(Self(address.to_owned()))
            }
            _ => Err(format!(
                "must be one e-mail address such as \"admin@example.org\", not {text:?}"
            )),
        }
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        (&self.0).into()
    }
}

/// The URL of an ACME server's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryUrl(pub Url);

impl Text for DirectoryUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let has_no_user = |url: &Url| url.username().is_empty() && url.password().is_none();
        match Url::parse(text) {
            Ok(url) if url.scheme() == "https" && url.has_host() && has_no_user(&url) => {
                Ok(Self(url))
            }
            _ => Err(format!(
                "must be the https:// URL of an ACME directory, not {text:?}"
            )),
        }
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        self.0.as_str().into()
    }
}
