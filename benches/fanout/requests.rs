//! Publishing to a server: signed requests on keep-alive connections.

use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::Failure;
use crate::host::Host;
use crate::http::{Connection, Signer};
use crate::load::wait;
use crate::payload::{Stamp, Template, now_ns};
use crate::progress::Progress;
use crate::publisher::Style;
use crate::schedule::{Permit, Schedule};

const WAKER: Token = Token(usize::MAX);
/// How long a publisher waits after a 503 before it asks again.
const RETRY: Duration = Duration::from_millis(5);

/// The publishers of one server.
#[derive(Debug)]
pub(crate) struct Requests {
    poll: Poll,
    lanes: Vec<Lane>,
    /// The lane that comes next where there is a choice.
    turn: usize,
    signer: Signer,
    template: Template,
    presence_template: Template,
    style: Style,
    /// Events so far, `[publisher][channel]`.
    pub(crate) sequences: Vec<Vec<u32>>,
}

#[derive(Debug)]
struct Lane {
    connection: Connection,
    channel: usize,
    retry_at: Option<Instant>,
}

impl Lane {
    fn is_busy(&self) -> bool {
        self.connection.is_waiting() || self.retry_at.is_some()
    }
}

impl Requests {
    pub(crate) fn open(host: &Host, style: Style) -> Result<(Self, Waker), Failure> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let lanes = (0..style.connections).map(|publisher| {
            let connection = Connection::open(host, poll.registry(), Token(publisher))?;
            let channel = publisher % style.channels;
            Ok(Lane {
                connection,
                channel,
                retry_at: None,
            })
        });
        let lanes = lanes.collect::<Result<_, Failure>>()?;
        let endpoint = if style.batch > 1 {
            "batch_events"
        } else {
            "events"
        };
        let requests = Self {
            poll,
            lanes,
            turn: 0,
            signer: Signer::new(host, endpoint),
            template: Template::event("name", style.data_bytes, style.rows),
            presence_template: Template::presence_event("name", style.data_bytes),
            style,
            sequences: vec![vec![0; style.channels]; style.connections],
        };
        Ok((requests, waker))
    }

    /// Publishes until the schedule is over and all is answered. Returns how many requests were refused and sent again.
    pub(crate) fn publish(
        &mut self,
        schedule: &mut Schedule,
        progress: &Progress,
    ) -> Result<u64, Failure> {
        let mut events = Events::with_capacity(256);
        let mut refused = 0;
        loop {
            self.retry(Instant::now())?;
            let permit = self.start_requests(schedule, progress)?;
            let pause = match permit {
                Permit::Over if !self.lanes.iter().any(Lane::is_busy) => return Ok(refused),
                Permit::In(pause) => pause,
                _ if self.lanes.iter().any(|lane| lane.retry_at.is_some()) => RETRY,
                _ => Duration::from_millis(100),
            };
            wait(&mut self.poll, &mut events, pause)?;
            for event in events.iter().filter(|event| event.token() != WAKER) {
                let lane = &mut self.lanes[event.token().0];
                let Some(answer) = lane.connection.advance()? else {
                    continue;
                };
                match answer.status {
                    200 => {}
                    503 => {
                        refused += 1;
                        lane.retry_at = Some(Instant::now() + RETRY);
                    }
                    status => {
                        return Err(
                            format!("a publish was answered {status}: {}", answer.body).into()
                        );
                    }
                }
            }
        }
    }

    fn retry(&mut self, now: Instant) -> Result<(), Failure> {
        for lane in self
            .lanes
            .iter_mut()
            .filter(|lane| lane.retry_at.is_some_and(|at| at <= now))
        {
            lane.retry_at = None;
            lane.connection.send_again()?;
        }
        Ok(())
    }

    /// Gives every free connection its next request, as far as the schedule lets it.
    fn start_requests(
        &mut self,
        schedule: &mut Schedule,
        progress: &Progress,
    ) -> Result<Permit, Failure> {
        for _ in 0..self.lanes.len() {
            let publisher = self.turn % self.lanes.len();
            if !self.lanes[publisher].is_busy() {
                let permit = schedule.permit(Instant::now(), progress);
                if permit != Permit::Now {
                    return Ok(permit);
                }
                let body = self.body(publisher, schedule)?;
                let request = self.signer.request(&body);
                self.lanes[publisher].connection.send(request)?;
            }
            self.turn += 1;
        }
        Ok(schedule.permit(Instant::now(), progress))
    }

    /// One event, or a batch of them on this publisher's channels in turn.
    fn body(&mut self, publisher: usize, schedule: &mut Schedule) -> Result<Vec<u8>, Failure> {
        let batch = self.style.batch;
        schedule.began_request();
        let mut body = Vec::with_capacity((self.presence_template.len() + 1) * batch + 16);
        body.extend_from_slice(if batch > 1 { br#"{"batch":["# } else { b"" });
        for place in 0..batch {
            let channel = self.lanes[publisher].channel;
            let sequence = &mut self.sequences[publisher][channel];
            let stamp = Stamp {
                publisher: u8::try_from(publisher)?,
                sequence: *sequence,
                sent_ns: now_ns(),
            };
            body.extend_from_slice(if place > 0 { b"," } else { b"" });
            let template = if channel < self.style.presence {
                &mut self.presence_template
            } else {
                &mut self.template
            };
            body.extend_from_slice(
                template.fill(self.style.first_channel + u32::try_from(channel)?, stamp),
            );
            *sequence += 1;
            schedule.left(channel);
            self.lanes[publisher].channel = next_channel(channel, publisher, self.style);
        }
        body.extend_from_slice(if batch > 1 { b"]}" } else { b"" });
        Ok(body)
    }
}

/// Each publisher goes round channels of its own where there are enough, so that each channel has one order.
fn next_channel(channel: usize, publisher: usize, style: Style) -> usize {
    let next = channel + style.connections;
    if next < style.channels {
        next
    } else {
        publisher % style.channels
    }
}
