//! The staged close of RFC 9112 §9.6: the writing half is shut, and what the client still sends is read away until it ends, too.
//!
//! A socket that is closed while bytes come in is reset, and the client may lose the answer that it has not read yet.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    select,
    sync::mpsc,
    task::yield_now,
    time::timeout,
};

use crate::{address::Held, tls::Stream};

/// How long a client may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that are read away.
const BYTES_MAX: usize = 64 << 20;
/// Bytes that are read away in one turn.
const READ_BYTES: usize = 16 << 10;
/// Connections that close at a time. Of more, those that come later are closed at once.
const UNDER_WAY_MAX: usize = 1024;
/// Those that wait to begin with it.
pub(super) const WAITING_MAX: usize = 64;

/// One of them.
pub(super) struct Closing {
    pub(super) stream: Stream,
    /// What is left of the answer.
    pub(super) unsent: Bytes,
    /// It counts as long as it takes.
    pub(super) held: Held,
}

/// Closes what comes.
pub(super) async fn run(mut waiting: mpsc::Receiver<Closing>) {
    let mut under_way = FuturesUnordered::new();
    loop {
        select! {
            closing = waiting.recv() => match closing {
                Some(closing) if under_way.len() < UNDER_WAY_MAX => under_way.push(closing.run()),
                Some(_) => {}
                None => return,
            },
            Some(()) = under_way.next() => {}
        }
    }
}

impl Closing {
    async fn run(self) {
        let Self {
            mut stream,
            unsent,
            held,
        } = self;
        let close = async {
            stream.write_all(&unsent).await?;
            stream.shutdown().await?;
            let mut buffer = Vec::with_capacity(READ_BYTES);
            let mut bytes = 0;
            while bytes < BYTES_MAX {
                buffer.clear();
                match stream.read_buf(&mut buffer).await? {
                    0 => break,
                    read => bytes += read,
                }
                yield_now().await;
            }
            std::io::Result::Ok(())
        };
        // Whichever way it ends, there is nobody to tell.
        let _ = timeout(PATIENCE, close).await;
        drop(held);
    }
}
