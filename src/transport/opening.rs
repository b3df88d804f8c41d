//! What a client says of itself when it comes, whatever the transport: the parameters and headers of its first request, and its address.

use actix_http::header::{self, HeaderMap};
use actix_web::web;
use serde::Deserialize;

use crate::{
    address::{Gate, Peer},
    connection::{Destination, Encryption, Opening},
    hub::Transport,
    transport::http::ToldSecure,
};

/// The parameters that clients send, read from the query.
#[derive(Default, Deserialize)]
pub(super) struct Parameters {
    pub(super) protocol: Option<String>,
    client: Option<String>,
    version: Option<String>,
    /// Counts the requests of a fallback session, and gives the order of sends.
    pub(super) n: Option<u64>,
}

impl Parameters {
    /// A query that can't be read says nothing.
    pub(super) fn of(query: &str) -> Self {
        web::Query::from_query(query)
            .map(web::Query::into_inner)
            .unwrap_or_default()
    }
}

impl Port {
    /// What is known of a client's connection that came in here; `told` by a trusted proxy.
    fn encryption(self, is_told: bool) -> Encryption {
        match self {
            Self::Tls => Encryption::On,
            _ if is_told => Encryption::On,
            Self::Plain => Encryption::Off,
            Self::Redirect(_) => Encryption::Missing,
        }
    }
}

/// A client's first request.
#[derive(Clone, Copy)]
pub(super) struct FirstRequest<'a> {
    /// What its path asks for.
    pub(super) destination: Destination<'a>,
    pub(super) parameters: &'a Parameters,
    pub(super) headers: &'a HeaderMap,
    /// Who sent it: the client, or a proxy.
    pub(super) peer: Peer,
    /// What a proxy said of the connection before.
    pub(super) told_secure: Option<ToldSecure>,
    /// Where it came in.
    pub(super) port: Port,
}

/// The port that a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Without TLS. A trusted proxy may say that the client uses TLS all the same.
    Plain,
    /// Without TLS, where only TLS is served: clients are told that it is on this port.
    Redirect(u16),
    /// With TLS.
    Tls,
}

impl<'a> FirstRequest<'a> {
    pub(super) fn opening(self, gate: &Gate, transport: Transport) -> Opening<'a> {
        let Self {
            destination,
            parameters,
            headers,
            peer,
            told_secure,
            port,
        } = self;
        let origin = headers.get(header::ORIGIN);
        let client = gate.client_of(peer, headers);
        Opening {
            destination,
            protocol: parameters.protocol.as_deref(),
            origin: origin.and_then(|origin| origin.to_str().ok()),
            encryption: port.encryption(told_secure.is_some() || gate.is_secure(peer, headers)),
            client: parameters.client.as_deref(),
            version: parameters.version.as_deref(),
            address: client,
            place: client.and_then(|client| gate.counted_place(peer, client)),
            transport,
        }
    }
}
