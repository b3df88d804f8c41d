//! Publishing to the floor: tiny orders on its control connections.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::Failure;
use crate::floor::{ORDER_BYTES, write_order};
use crate::load::wait;
use crate::payload::{Stamp, now_ns};
use crate::progress::Progress;
use crate::schedule::{Permit, Schedule};

/// Orders in one write: enough that reading them costs the floor next to nothing.
const ORDERS_AT_ONCE: usize = 16;

/// The floor's one publisher.
#[derive(Debug)]
pub(crate) struct Orders {
    poll: Poll,
    /// One for each thread of the floor; each gets all orders.
    controls: Vec<TcpStream>,
    channel: usize,
    /// Events so far, `[publisher][channel]` with this one publisher.
    pub(crate) sequences: Vec<Vec<u32>>,
    unsent: Vec<u8>,
}

impl Orders {
    pub(crate) fn open(controls: &[SocketAddr], channels: usize) -> Result<(Self, Waker), Failure> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), Token(0))?;
        let connect = |address| {
            let control = TcpStream::connect(address)?;
            control.set_nodelay(true).map(|()| control)
        };
        let controls = controls.iter().map(connect).collect::<Result<_, _>>()?;
        let orders = Self {
            poll,
            controls,
            channel: 0,
            sequences: vec![vec![0; channels]],
            unsent: Vec::with_capacity(ORDERS_AT_ONCE * ORDER_BYTES),
        };
        Ok((orders, waker))
    }

    /// Publishes until the schedule is over.
    pub(crate) fn publish(
        &mut self,
        schedule: &mut Schedule,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let mut events = Events::with_capacity(8);
        loop {
            let permit = schedule.permit(Instant::now(), progress);
            if permit == Permit::Now {
                self.order(schedule)?;
                if self.unsent.len() < ORDERS_AT_ONCE * ORDER_BYTES {
                    continue;
                }
            }
            for control in &mut self.controls {
                control.write_all(&self.unsent)?;
            }
            self.unsent.clear();
            match permit {
                Permit::Now => {}
                Permit::In(pause) => wait(&mut self.poll, &mut events, pause)?,
                Permit::Held => wait(&mut self.poll, &mut events, Duration::from_millis(100))?,
                Permit::Over => return Ok(()),
            }
        }
    }

    fn order(&mut self, schedule: &mut Schedule) -> Result<(), Failure> {
        schedule.began_request();
        let sequence = &mut self.sequences[0][self.channel];
        let stamp = Stamp {
            publisher: 0,
            sequence: *sequence,
            sent_ns: now_ns(),
        };
        write_order(u32::try_from(self.channel)?, stamp, &mut self.unsent);
        *sequence += 1;
        schedule.left(self.channel);
        self.channel = (self.channel + 1) % self.sequences[0].len();
        Ok(())
    }
}
