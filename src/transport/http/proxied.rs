//! Reads what a proxy says of its client before the client's own bytes.

use std::{io, time::Duration};

use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::address::{ProxyHeader, ProxyHeaderError};

/// Bytes that are looked at together; nearly every header fits.
const LOOK_BYTES: usize = 512;

/// Why there is no header.
#[derive(Debug)]
pub(super) enum NoHeader {
    /// The proxy has gone, as one that only checks whether somebody listens.
    Gone,
    /// It did not come in time.
    Late,
    /// Something else came.
    Wrong(ProxyHeaderError),
}

impl From<io::Error> for NoHeader {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Takes the header from the connection, and nothing of what follows it.
pub(super) async fn header(
    stream: &mut TcpStream,
    patience: Duration,
) -> Result<ProxyHeader, NoHeader> {
    let header = timeout(patience, read(stream)).await;
    header.unwrap_or(Err(NoHeader::Late))
}

async fn read(stream: &mut TcpStream) -> Result<ProxyHeader, NoHeader> {
    let (mut header, mut seen) = (Vec::new(), [0; LOOK_BYTES]);
    loop {
        let more = stream.peek(&mut seen).await?;
        if more == 0 {
            return Err(NoHeader::Gone);
        }
        let before = header.len();
        header.extend_from_slice(&seen[..more]);
        let parsed = ProxyHeader::parse(&header).map_err(NoHeader::Wrong)?;
        let of_header = parsed.map_or(more, |parsed| parsed.bytes - before);
        stream.read_exact(&mut seen[..of_header]).await?;
        if let Some(parsed) = parsed {
            return Ok(parsed);
        }
    }
}
