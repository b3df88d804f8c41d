//! Publishers: over the HTTP API on a connection that is kept, or as clients over a socket.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Load, Phase, plan::Way, subscriber::join};
use crate::cli::{
    api::{Call, Event},
    http::{HttpError, Line, Reply},
    socket::{Arrival, Socket},
};

/// How long after the end a publisher may still send what was due before it.
const GRACE: Duration = Duration::from_secs(1);

/// Publishes this publisher's events, each at its time, as long as events are published.
pub(super) async fn run(load: Arc<Load>, number: usize, mut phase: watch::Receiver<Phase>) {
    let publisher = Publisher {
        began: Instant::now(),
        channels: load.plan.channels_of(number),
        load: &load,
        number,
    };
    let over = async {
        // A run that is dropped publishes nothing, either.
        let _ = phase.wait_for(|phase| *phase > Phase::Publishing).await;
    };
    match load.plan.way {
        Way::Api => {
            // A request that was sent is waited for: its event is accepted or it is not.
            let mut line = None;
            let mut over = std::pin::pin!(over);
            let mut sequences = vec![0; publisher.channels.len()];
            for event in 0..load.plan.events_of(number) {
                tokio::select! {
                    biased;
                    () = &mut over => return,
                    () = sleep_until(publisher.due(event)) => {}
                }
                if publisher.is_too_late() {
                    return;
                }
                let place = publisher.place(event);
                publisher
                    .call(&mut line, place, &mut sequences[place])
                    .await;
            }
        }
        Way::ClientEvents => {
            tokio::select! {
                () = over => {}
                () = publisher.speak() => {}
            }
        }
    }
}

struct Publisher<'a> {
    load: &'a Load,
    number: usize,
    began: Instant,
    channels: Vec<usize>,
}

impl Publisher<'_> {
    fn due(&self, event: u64) -> Instant {
        self.began + self.load.plan.due(self.number, event)
    }

    fn is_too_late(&self) -> bool {
        self.began.elapsed() > self.load.plan.duration + GRACE
    }

    /// The place of an event's channel among those of the publisher.
    fn place(&self, event: u64) -> usize {
        let channels = u64::try_from(self.channels.len()).expect("100,000 fit");
        usize::try_from(event % channels).expect("a remainder is smaller")
    }

    /// Publishes one event over the HTTP API. Its number is used again if the host says that it did not take the event.
    async fn call(&self, line: &mut Option<Line>, place: usize, sequence: &mut u64) {
        let plan = &self.load.plan;
        let channel = self.channels[place];
        let data = plan.data(self.number, *sequence);
        let event = Event::to(&plan.channel(channel), plan.event(), &data);
        let began = Instant::now();
        let answer = self.send(line, &Call::publish(&event)).await;
        let took = began.elapsed();
        match answer {
            Ok(reply) if reply.status == StatusCode::OK => {
                *sequence += 1;
                self.load.board.accepted(channel, took);
            }
            Ok(reply) => {
                let status = reply.status.as_u16().to_string();
                self.load.board.not_accepted(&status, took);
            }
            Err(error) => {
                *sequence += 1;
                self.load.board.not_accepted(&error.to_string(), took);
            }
        }
    }

    async fn send(&self, kept: &mut Option<Line>, call: &Call) -> Result<Reply, HttpError> {
        let host = &self.load.host;
        let request = || host.api().request(call);
        if let Some(mut line) = kept.take().filter(Line::is_open) {
            match line.send(request()?).await {
                // The host closed the idle connection while the request was on its way into it: nothing was sent.
                Err(HttpError::Exchange(error)) if error.is_canceled() => {}
                answer => return keep(kept, line, answer),
            }
        }
        let mut line = Line::open(&host.dialler, &host.target.api).await?;
        let answer = line.send(request()?).await;
        keep(kept, line, answer)
    }

    /// Publishes as a client, and counts what the host says against it.
    async fn speak(&self) {
        let user = format!("publisher-{}", self.number);
        let mut socket = match join(self.load, &self.channels, &user).await {
            Ok(greeted) => greeted.socket,
            Err(reason) => return self.load.board.refused(reason),
        };
        let plan = &self.load.plan;
        let mut sequences = vec![0; self.channels.len()];
        for event in 0..plan.events_of(self.number) {
            if let Err(ended) = self.listen(&mut socket, self.due(event)).await {
                return self.load.board.publisher_ended(ended);
            }
            if self.is_too_late() {
                break;
            }
            let place = self.place(event);
            let channel = self.channels[place];
            let data = plan.data(self.number, sequences[place]);
            let name = plan.channel(channel);
            let sent = socket.send(plan.event(), Some(&name), data.into());
            if let Err(broken) = sent.await {
                return self.load.board.publisher_ended(broken.to_string());
            }
            sequences[place] += 1;
            self.load.board.sent(channel);
        }
        // What the host says of the last events.
        if let Err(ended) = self.listen(&mut socket, Instant::now() + GRACE).await {
            return self.load.board.publisher_ended(ended);
        }
        socket.close().await;
    }

    /// Listens until this time for refusals.
    async fn listen(&self, socket: &mut Socket, until: Instant) -> Result<(), String> {
        loop {
            let arrival = tokio::select! {
                biased;
                arrival = socket.next() => arrival,
                () = sleep_until(until) => return Ok(()),
            };
            match arrival {
                Arrival::Event(event) if event.name == "pusher:error" => {
                    self.load
                        .board
                        .refused(event.decoded()["message"].to_string());
                }
                Arrival::Event(_) => {}
                ended => return Err(ended.to_string()),
            }
        }
    }
}

/// Keeps a connection for the next request, unless this one failed.
fn keep(
    kept: &mut Option<Line>,
    line: Line,
    answer: Result<Reply, HttpError>,
) -> Result<Reply, HttpError> {
    *kept = answer.is_ok().then_some(line);
    answer
}
