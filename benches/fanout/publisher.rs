//! The publishing half of the load generator.

use mio::Waker;

use crate::Failure;
use crate::host::Host;
use crate::orders::Orders;
use crate::progress::Progress;
use crate::requests::Requests;
use crate::schedule::{Plan, Schedule};

/// How to publish.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) connections: usize,
    pub(crate) channels: usize,
    /// How many of them, from the first on, are presence channels.
    pub(crate) presence: usize,
    /// The number of the first channel.
    pub(crate) first_channel: u32,
    pub(crate) data_bytes: usize,
    /// Whether the data is rows of JSON.
    pub(crate) rows: bool,
    /// Events in one request.
    pub(crate) batch: usize,
}

/// What one phase published.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) events: u64,
    /// Deliveries that these events make.
    pub(crate) expected: u64,
    /// Requests that were answered 503 and sent again.
    pub(crate) refused: u64,
    /// Times the window held a publisher back.
    pub(crate) held: u64,
}

/// All publishers of a run, on one thread.
#[derive(Debug)]
pub(crate) enum Publisher {
    /// To the floor.
    Orders(Orders),
    /// To a server.
    Requests(Box<Requests>),
}

impl Publisher {
    /// Opens the connections to `host`, and the waker that goes into `Progress`.
    pub(crate) fn open(host: &Host, style: Style) -> Result<(Self, Waker), Failure> {
        if !host.control.is_empty() {
            let (orders, waker) = Orders::open(&host.control, style.channels)?;
            return Ok((Self::Orders(orders), waker));
        }
        let (requests, waker) = Requests::open(host, style)?;
        Ok((Self::Requests(Box::new(requests)), waker))
    }

    /// Publishes one phase.
    pub(crate) fn publish(
        &mut self,
        plan: Plan,
        progress: &Progress,
    ) -> Result<Published, Failure> {
        let mut schedule = Schedule::start(plan);
        let refused = match self {
            Self::Orders(orders) => orders.publish(&mut schedule, progress).map(|()| 0),
            Self::Requests(requests) => requests.publish(&mut schedule, progress),
        }?;
        progress.expect(schedule.expected);
        Ok(Published {
            events: schedule.events,
            expected: schedule.expected,
            refused,
            held: schedule.held,
        })
    }

    /// Events so far, `[publisher][channel]`.
    pub(crate) fn sequences(&self) -> &[Vec<u32>] {
        match self {
            Self::Orders(orders) => &orders.sequences,
            Self::Requests(requests) => &requests.sequences,
        }
    }
}
