//! One socket stops reading: it must be closed, and nobody else may notice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::Failure;
use crate::arguments::Arguments;
use crate::host::Candidate::Server;
use crate::load::{StalledEnd, Subscriptions};
use crate::measure::{Bench, Shape, measure_on};
use crate::proc::rss_bytes;
use crate::report::{Finding, Section, megabytes, say, say_run, say_title};
use crate::scenario::{seconds, section};
use crate::schedule::Pace;

/// Large events, so that the stalled socket is soon over its bound.
const DATA_BYTES: usize = 10_000;
/// Events on the way to the others: far below the bound of one socket, so that only the stalled one can get over it.
const WINDOW: u64 = 32;

/// The server only: the floor has no queue that could fill.
pub(super) fn run(arguments: &Arguments) -> Result<Section, Failure> {
    let arguments = Arguments {
        data_bytes: DATA_BYTES,
        ..arguments.clone()
    };
    let subscriptions = Subscriptions {
        first_receive_bytes: Some(4096),
        ..Subscriptions::spread(arguments.sockets.unwrap_or(1000), 1)?
    };
    let shape = Shape {
        sockets: subscriptions.sockets,
        channels: 1,
        first_channel: 0,
        pace: Pace::Unpaced,
        duration: seconds(&arguments, 5.0),
        publishers: arguments.publishers.unwrap_or(4),
        batch: 1,
    };
    say_title(&format!(
        "slow: {} sockets, the first stops reading; {DATA_BYTES} bytes of data",
        shape.sockets
    ))?;
    let mut bench = Bench::start(Server, subscriptions, &arguments)?;
    bench.load.stall_first()?;
    let pids = bench.host.pids.clone();
    let (over, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let run = std::thread::scope(|scope| {
        scope.spawn(|| watch_memory(&pids, &over, &peak));
        let run = measure_on(&mut bench, shape, WINDOW, &arguments);
        over.store(true, Ordering::Relaxed);
        run
    })?;
    say_run(&run)?;
    let end = bench.load.read_stalled_to_end()?;
    match end {
        Some(StalledEnd { bytes, code }) => {
            say(&format!(
                "   the stalled socket was closed, code {code:?}; the kernel still held {bytes} bytes for it"
            ))?;
        }
        None => say("   FAILED: the stalled socket was not closed")?,
    }
    let grown = peak
        .into_inner()
        .saturating_sub(run.rss_subscribed_bytes.unwrap_or(0));
    let findings = vec![Finding::new(
        "MB of memory that the run added at its peak",
        vec![megabytes(grown)],
        None,
    )];
    let mut section = section("slow", vec![run], findings, &arguments)?;
    if end.is_none() {
        section
            .failures
            .push("the stalled socket was not closed".to_owned());
    }
    Ok(section)
}

fn watch_memory(pids: &[u32], over: &AtomicBool, peak: &AtomicU64) {
    while !over.load(Ordering::Relaxed) {
        if let (false, Ok(bytes)) = (pids.is_empty(), rss_bytes(pids)) {
            peak.fetch_max(bytes, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
