//! A connection that subscribes to one channel and checks what arrives.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Load, Phase,
    board::Arrived,
    plan::{Kind, Stamp},
};
use crate::cli::{
    sign::channel_text,
    socket::{Arrival, Greeted, Hello, Socket},
    subscribe::refusal,
};

/// Jumped-over events of one publisher that are remembered, in case they come later.
const JUMPED_MAX: usize = 10_000;

/// The events of one publisher.
#[derive(Default)]
struct Sequence {
    next: u64,
    jumped: BTreeSet<u64>,
}

impl Sequence {
    fn take(&mut self, number: u64) -> Arrived {
        if number < self.next {
            return match self.jumped.remove(&number) {
                true => Arrived::BehindALater,
                false => Arrived::Again,
            };
        }
        let room = JUMPED_MAX.saturating_sub(self.jumped.len());
        self.jumped.extend((self.next..number).take(room));
        self.next = number + 1;
        Arrived::InOrder
    }
}

/// Connects, and listens until the run is over.
pub(super) async fn run(load: Arc<Load>, number: u32, mut phase: watch::Receiver<Phase>) {
    let channel = load.plan.channel_of(number);
    let greeted = match join(&load, &[channel], &format!("subscriber-{number}")).await {
        Ok(greeted) => greeted,
        Err(reason) => return load.board.failed(reason),
    };
    load.board.connected(channel);
    let mut listener = Listener {
        load: &load,
        sequences: (0..load.plan.publishers)
            .map(|_| Sequence::default())
            .collect(),
    };
    let mut socket = greeted.socket;
    let over = async {
        // A run that is dropped is over, too.
        let _ = phase.wait_for(|phase| *phase == Phase::Over).await;
    };
    let bytes_before = socket.received_bytes;
    let ended = tokio::select! {
        ended = listener.listen(&mut socket, greeted.activity_timeout) => Some(ended),
        () = over => None,
    };
    load.board.read(socket.received_bytes - bytes_before);
    match ended {
        Some(ended) => load.board.ended(ended),
        None => socket.close().await,
    }
}

struct Listener<'a> {
    load: &'a Load,
    sequences: Vec<Sequence>,
}

impl Listener<'_> {
    /// Counts what arrives until the connection ends, and says how it ended. A silent host has to answer a ping.
    async fn listen(&mut self, socket: &mut Socket, silence: Duration) -> String {
        let patience = self.load.host.dialler.patience;
        loop {
            let arrival = match timeout(silence, socket.next()).await {
                Ok(arrival) => arrival,
                Err(_) => {
                    if let Err(broken) = socket.send("pusher:ping", None, json!({})).await {
                        return broken.to_string();
                    }
                    match timeout(patience, socket.next()).await {
                        Ok(arrival) => arrival,
                        Err(_) => return "no answer to a ping".to_owned(),
                    }
                }
            };
            let event = match arrival {
                Arrival::Event(event) => event,
                ended => return ended.to_string(),
            };
            if event.name == self.load.plan.event()
                && let Some(stamp) = Stamp::read(&event.decoded())
            {
                self.take(stamp);
            }
        }
    }

    fn take(&mut self, stamp: Stamp) {
        let Some(sequence) = self.sequences.get_mut(stamp.publisher) else {
            return;
        };
        let arrived = sequence.take(stamp.sequence);
        let took_us = self.load.plan.now_us().saturating_sub(stamp.sent_us);
        self.load.board.arrived(arrived, took_us);
    }
}

/// Connects and subscribes to these channels. The error says why not.
pub(super) async fn join(load: &Load, channels: &[usize], user: &str) -> Result<Greeted, String> {
    let host = &load.host;
    let hello = Hello {
        endpoint: &host.target.socket,
        key: &host.target.app.key,
        origin: None,
    };
    let greeted = Socket::greeted(&host.dialler, hello).await;
    let mut greeted = greeted.map_err(|error| error.to_string())?;
    for channel in channels {
        let channel = load.plan.channel(*channel);
        let member = (load.plan.kind == Kind::Presence).then(|| json!({"user_id": user}));
        let member = member.map(|member| member.to_string());
        let mut data = json!({"channel": channel});
        if load.plan.kind != Kind::Public {
            let text = channel_text(&greeted.socket_id, &channel, member.as_deref());
            data["auth"] = host.target.app.signer().auth(&text).into();
        }
        if let Some(member) = member {
            data["channel_data"] = member.into();
        }
        let sent = greeted.socket.send("pusher:subscribe", None, data).await;
        sent.map_err(|broken| broken.to_string())?;
    }
    confirmed(&mut greeted.socket, channels.len(), host.dialler.patience).await?;
    Ok(greeted)
}

async fn confirmed(socket: &mut Socket, channels: usize, patience: Duration) -> Result<(), String> {
    let mut left = channels;
    let deadline = Instant::now() + patience;
    while left > 0 {
        let arrival = timeout_at(deadline, socket.next()).await;
        let arrival = arrival
            .map_err(|_| format!("no subscription confirmed within {} s", patience.as_secs()))?;
        match arrival {
            Arrival::Event(event) => {
                if let Some(reason) = refusal(&event) {
                    return Err(reason);
                }
                left -= usize::from(event.name == "pusher_internal:subscription_succeeded");
            }
            ended => return Err(ended.to_string()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_behind_a_later_one_is_told_from_one_that_comes_again() {
        let mut sequence = Sequence::default();
        for (number, expected) in [
            (0, Arrived::InOrder),
            (3, Arrived::InOrder),
            (1, Arrived::BehindALater),
            (1, Arrived::Again),
            (3, Arrived::Again),
            (4, Arrived::InOrder),
            (2, Arrived::BehindALater),
        ] {
            assert_eq!(sequence.take(number), expected, "{number}");
        }
    }
}
