//! TLS on the listeners.

use super::Acme;
use crate::{
    settings::{Problems, Table, settings, words},
    tls::{PairFiles, Versions},
};

settings! {
    /// A further certificate, for clients that ask for one of its names.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Certificate {
        /// As `server.tls.cert`.
        cert: String => "\"/etc/loudhailer/tls/example.org.pem\"",
        /// As `server.tls.key`.
        key: String => "\"/etc/loudhailer/tls/example.org.key\"",
    }
}

settings! {
    /// TLS on a port of its own beside `server.port` ([tls.md](tls.md)). Without `cert` and `acme` there is none.
    #[derive(Clone, Debug, PartialEq)]
    pub struct ServerTls {
        /// PEM file of the certificate, followed by its chain. Read again when it changes, and on SIGHUP.
        cert: Option<String> => "\"/etc/loudhailer/tls/fullchain.pem\"",
        /// PEM file of its private key: PKCS#8, SEC1 or PKCS#1, not encrypted.
        key: Option<String> => "\"/etc/loudhailer/tls/privkey.pem\"",
        /// The port for `https://` and `wss://`, on `server.host`. 0: the system chooses a free port; the startup prints it.
        port: u16 = 6443,
        /// What `server.port` does beside it. `"redirect"`: requests without TLS get 308, WebSockets 4000 (pusher-js then uses TLS).
        /// `"off"`: the port is not opened.
        plain: PlainPort = "serve",
        /// The oldest version of TLS that clients may speak.
        min_version: MinVersion = "1.2",
        /// Certificates for other names, chosen by what the client asks for (SNI). `cert` is for all other names, and for none.
        certificates: Vec<Certificate>,
        /// Certificates that this server gets and renews by itself.
        acme: Option<Acme>,
    }
    check check_server;
}

settings! {
    /// TLS on the operator's listener. Without `cert` there is none.
    #[derive(Clone, Debug, PartialEq)]
    pub struct AdminTls {
        /// As `server.tls.cert`.
        cert: Option<String> => "\"/etc/loudhailer/tls/admin.pem\"",
        /// As `server.tls.key`.
        key: Option<String> => "\"/etc/loudhailer/tls/admin.key\"",
        /// PEM file of authorities. With it, operators have to show a certificate that one of them has signed, besides the token.
        client_ca: Option<String> => "\"/etc/loudhailer/tls/operators.pem\"",
    }
    check check_admin;
}

words! {
    /// What the port without TLS does while there is one with TLS.
    pub enum PlainPort {
        /// The same as the other.
        Serve = "serve",
        /// Says where the other is.
        Redirect = "redirect",
        /// It is not opened.
        Off = "off",
    }
}

words! {
    /// The oldest version of TLS.
    pub enum MinVersion {
        /// TLS 1.2.
        Tls12 = "1.2",
        /// TLS 1.3.
        Tls13 = "1.3",
    }
}

impl ServerTls {
    /// The certificates' files, the one for all other names first. Those of ACME are not among them.
    #[must_use]
    pub fn pairs(&self) -> Vec<PairFiles> {
        let Some(first) = pair(self.cert.as_deref(), self.key.as_deref()) else {
            return Vec::new();
        };
        let further = self.certificates.iter();
        let further = further.filter_map(|it| pair(Some(&it.cert), Some(&it.key)));
        [first].into_iter().chain(further).collect()
    }

    /// Whether there is a port with TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.cert.is_some() || self.acme.is_some()
    }

    /// The versions that clients may speak.
    #[must_use]
    pub fn versions(&self) -> Versions {
        match self.min_version {
            MinVersion::Tls12 => Versions::From12,
            MinVersion::Tls13 => Versions::Only13,
        }
    }
}

impl AdminTls {
    /// The certificate's files.
    #[must_use]
    pub fn pair(&self) -> Option<PairFiles> {
        pair(self.cert.as_deref(), self.key.as_deref())
    }
}

fn pair(cert: Option<&str>, key: Option<&str>) -> Option<PairFiles> {
    Some(PairFiles {
        cert: cert?.into(),
        key: key?.into(),
    })
}

fn check_server(tls: &ServerTls, table: &Table<'_>, problems: &mut Problems) {
    check_pair(tls.cert.as_deref(), tls.key.as_deref(), table, problems);
    if tls.plain != PlainPort::Serve && !tls.is_on() {
        let reason = "needs server.tls.cert or server.tls.acme";
        table.refuse("plain", problems, reason);
    }
    if !tls.certificates.is_empty() && tls.cert.is_none() {
        let reason = "need server.tls.cert, which is for all other names";
        table.refuse("certificates", problems, reason);
    }
}

fn check_admin(tls: &AdminTls, table: &Table<'_>, problems: &mut Problems) {
    check_pair(tls.cert.as_deref(), tls.key.as_deref(), table, problems);
    if tls.client_ca.is_some() && tls.cert.is_none() {
        table.refuse("client_ca", problems, "needs admin.tls.cert");
    }
}

fn check_pair(cert: Option<&str>, key: Option<&str>, table: &Table<'_>, problems: &mut Problems) {
    match (cert, key) {
        (Some(_), None) => table.refuse("cert", problems, "needs the key beside it"),
        (None, Some(_)) => table.refuse("key", problems, "needs the cert beside it"),
        _ => {}
    }
}
