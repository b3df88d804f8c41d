//! Clients that only send a ping from time to time, on every worker.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::client::websocket;
use crate::Failure;
use crate::host::Host;
use crate::report::Latency;
use crate::websocket::{PING, client_frame};

/// Between two pings of one probe.
const INTERVAL: Duration = Duration::from_millis(4);
/// How long a probe waits for its answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// All of them. The server gives connections to its workers in turn, so a few reach all.
pub(super) struct Probes {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Histogram<u64>, Failure>>>,
}

impl Probes {
    pub(super) fn start(host: &Host, count: usize) -> Result<Self, Failure> {
        let over = Arc::<AtomicBool>::default();
        let threads = (0..count).map(|_| {
            let (stream, over) = (websocket(host, "")?, Arc::clone(&over));
            Ok(thread::spawn(move || probe(stream, &over)))
        });
        Ok(Self {
            threads: threads.collect::<Result<_, Failure>>()?,
            over,
        })
    }

    /// What all of them waited. A long wait counts for the pings that could not be sent meanwhile, too.
    pub(super) fn end(self) -> Result<Latency, Failure> {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Histogram::new(3)?;
        for thread in self.threads {
            let one = thread.join().map_err(|_| "a probe panicked")?;
            all.add(one?)?;
        }
        Ok(Latency::of(&all))
    }
}

fn probe(mut stream: TcpStream, over: &AtomicBool) -> Result<Histogram<u64>, Failure> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (ping, mut waits) = (client_frame(PING, b"quiet"), Histogram::new(3)?);
    let mut pong = [0; 7];
    let interval = u64::try_from(INTERVAL.as_nanos())?;
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        stream.write_all(&ping)?;
        stream.read_exact(&mut pong)?;
        let waited = began.elapsed();
        waits.record_correct(u64::try_from(waited.as_nanos())?, interval)?;
        thread::sleep(INTERVAL.saturating_sub(waited));
    }
    Ok(waits)
}
