//! TLS on sockets that clients open: certificates and which of them a client gets, sessions without buffers of their own, and streams
//! that are encrypted or not.
//!
//! One [`Session`] belongs to one socket and does no I/O. Bytes are sealed and opened in the [`Buffers`] of the worker, so that an idle
//! socket keeps only its keys. Does not know what is said in a session, or where the certificates' paths come from.

mod buffers;
mod certificate;
mod certificates;
mod issued;
mod listener;
mod session;
mod socket;
mod status;
mod stream;

pub use buffers::Buffers;
pub use certificate::{Certificate, CertificateError, PairFiles};
pub use certificates::{CertificateState, Certificates, Reload};
pub use issued::{ChallengeAnswer, Issued, SigningRequest};
pub use listener::{ClientAuthority, TlsListener, Versions, roots_in};
pub use session::{Failure, NO_ROOM, NO_TLS_HERE, Session, begins_tls};
pub use socket::{Read, SealedSocket, Socket};
pub use status::{AcmeState, ListenerName, TlsStatus};
pub use stream::{Opened, SealedStream, Stream};
