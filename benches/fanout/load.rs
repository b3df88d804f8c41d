//! The receiving half of the load generator: many subscribed sockets on one thread.

mod connect;
mod subscribe;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll};
use rustls::ClientConfig;

pub(crate) use self::connect::upgrade_request;
pub(crate) use self::subscribe::Names;
use crate::Failure;
use crate::payload::{Stamp, now_ns};
use crate::progress::Progress;
use crate::websocket::{
    CLOSE, COMPRESSED, PING, PONG, TEXT, client_frame, header, http_head, inflate,
};
use crate::wire::Wire;

/// Later arrivals are counted as this late.
const LATENCY_MAX_NS: u64 = 120_000_000_000;
/// How long the connecting, and later the last deliveries, may stand still.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who subscribes to what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscriptions {
    pub(crate) sockets: usize,
    /// Socket `i` subscribes to channel `i % channels`.
    pub(crate) channels: u32,
    /// How many of them, from the first on, are presence channels.
    pub(crate) presence: u32,
    /// The number of the first channel.
    pub(crate) first_channel: u32,
    /// How many connect at a time.
    pub(crate) at_once: usize,
    /// The receive buffer of the first socket, which `stall_first` stops; the kernel's choice for all others.
    pub(crate) first_receive_bytes: Option<usize>,
}

impl Subscriptions {
    /// Socket `i` on channel `i % channels`, and nothing special.
    pub(crate) fn spread(sockets: usize, channels: usize) -> Result<Self, Failure> {
        Ok(Self {
            sockets,
            channels: u32::try_from(channels)?,
            presence: 0,
            first_channel: 0,
            at_once: 200,
            first_receive_bytes: None,
        })
    }
}

/// What the sockets saw in one phase.
#[derive(Debug)]
pub(crate) struct Received {
    /// Publish sent → read at the socket, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    pub(crate) deliveries: u64,
    /// Sequence numbers that were jumped over.
    pub(crate) gaps: u64,
    /// Events below the expected number: duplicates, or behind a later one.
    pub(crate) out_of_order: u64,
    pub(crate) reads: u64,
    pub(crate) bytes: u64,
}

impl Received {
    fn new() -> Self {
        Self {
            latency: Histogram::new_with_max(LATENCY_MAX_NS, 3).expect("the bounds are allowed"),
            deliveries: 0,
            gaps: 0,
            out_of_order: 0,
            reads: 0,
            bytes: 0,
        }
    }
}

/// How the stalled socket ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StalledEnd {
    /// What it could still read.
    pub(crate) bytes: u64,
    /// The close code, if a close frame was among that.
    pub(crate) code: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Upgrading,
    Greeting,
    Subscribed,
    /// The close code, or none when the connection just ended.
    Closed(Option<u16>),
}

#[derive(Debug)]
struct Subscriber {
    stream: Wire,
    stage: Stage,
    channel: u32,
    /// The next expected sequence number of each publisher.
    next: Vec<u32>,
    /// The part of a frame that has not all arrived.
    rest: Vec<u8>,
}

/// The sockets.
#[derive(Debug)]
pub(crate) struct Load {
    poll: Poll,
    subscribers: Vec<Subscriber>,
    buffer: Vec<u8>,
    stamp_hint: usize,
    /// The last message that came compressed.
    inflated: Vec<u8>,
    stalled: bool,
    received: Received,
    names: Names,
    /// Present where sockets have TLS.
    sessions: Option<Arc<ClientConfig>>,
}

impl Load {
    /// From now on the first socket reads nothing.
    pub(crate) fn stall_first(&mut self) -> Result<(), Failure> {
        self.stalled = true;
        Ok(self
            .poll
            .registry()
            .deregister(self.subscribers[0].stream.tcp())?)
    }

    /// Reads what the stalled socket was sent to its end; `None` when it is still open after a while.
    pub(crate) fn read_stalled_to_end(&mut self) -> Result<Option<StalledEnd>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let before = self.received.bytes;
        while Instant::now() < deadline {
            self.read(0)?;
            if let Stage::Closed(code) = self.subscribers[0].stage {
                let bytes = self.received.bytes - before;
                return Ok(Some(StalledEnd { bytes, code }));
            }
        }
        Ok(None)
    }

    /// Sockets on each of the first `channels` channels, the stalled one not counted.
    pub(crate) fn listeners(&self, channels: usize) -> Vec<u64> {
        let mut listeners = vec![0; channels];
        for one in &self.subscribers[usize::from(self.stalled)..] {
            listeners[usize::try_from(one.channel).expect("a channel number fits")] += 1;
        }
        listeners
    }

    /// Close codes of sockets that are no longer open, the stalled one not counted.
    pub(crate) fn closed(&self) -> Vec<Option<u16>> {
        let from = usize::from(self.stalled);
        let codes = self.subscribers[from..]
            .iter()
            .filter_map(|one| match one.stage {
                Stage::Closed(code) => Some(code),
                _ => None,
            });
        codes.collect()
    }

    /// Receives until the publishing is over and everything has arrived, or nothing has come for too long.
    pub(crate) fn receive(&mut self, progress: &Progress) -> Result<Received, Failure> {
        let mut events = Events::with_capacity(4096);
        let (mut last, mut deadline) = (0, Instant::now() + PATIENCE);
        loop {
            wait(&mut self.poll, &mut events, Duration::from_millis(20))?;
            for event in &events {
                self.read(event.token().0)?;
            }
            progress.delivered_now(self.received.deliveries);
            if progress
                .all_expected()
                .is_some_and(|expected| self.received.deliveries >= expected)
            {
                break;
            }
            if last != self.received.deliveries || progress.all_expected().is_none() {
                (last, deadline) = (self.received.deliveries, Instant::now() + PATIENCE);
            }
            if Instant::now() > deadline {
                break;
            }
        }
        Ok(std::mem::replace(&mut self.received, Received::new()))
    }

    /// Events that were published, `published[publisher][channel]` of them, but are still missing at the end of a socket's stream.
    pub(crate) fn missing_at_the_end(&self, published: &[Vec<u32>]) -> u64 {
        let from = usize::from(self.stalled);
        let mut missing = 0;
        for one in &self.subscribers[from..] {
            let channel = usize::try_from(one.channel).expect("a channel number fits");
            for (publisher, sequences) in published.iter().enumerate() {
                let seen = one.next.get(publisher).copied().unwrap_or(0);
                missing += u64::from(sequences[channel].saturating_sub(seen));
            }
        }
        missing
    }

    /// Reads all that a socket has. A read that does not fill the buffer was the last: the next arrival is a new event.
    fn read(&mut self, index: usize) -> Result<(), Failure> {
        loop {
            let subscriber = &mut self.subscribers[index];
            let kept = subscriber.rest.len();
            self.buffer[..kept].copy_from_slice(&subscriber.rest);
            let count = match subscriber.stream.read(&mut self.buffer[kept..]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            self.received.reads += 1;
            self.received.bytes += u64::try_from(count)?;
            let (filled, whole) = (kept + count, self.buffer.len());
            let buffer = std::mem::take(&mut self.buffer);
            let parsed = self.parse(index, &buffer[..filled], now_ns());
            self.buffer = buffer;
            let parsed = parsed?;
            let rest = &mut self.subscribers[index].rest;
            rest.clear();
            rest.extend_from_slice(&self.buffer[parsed..filled]);
            if filled < whole && self.subscribers[index].stream.reads_all_at_once() {
                return Ok(());
            }
        }
        let stage = &mut self.subscribers[index].stage;
        if !matches!(stage, Stage::Closed(_)) {
            *stage = Stage::Closed(None);
        }
        Ok(())
    }

    /// Takes all whole frames off `bytes` and returns how much that was.
    fn parse(&mut self, index: usize, bytes: &[u8], now_ns: u64) -> Result<usize, Failure> {
        let mut at = 0;
        if self.subscribers[index].stage == Stage::Upgrading {
            let Some(end) = http_head(bytes) else {
                return Ok(0);
            };
            if bytes.get(9..12) != Some(b"101") {
                return Err(
                    format!("no upgrade: {}", String::from_utf8_lossy(&bytes[..end])).into(),
                );
            }
            self.subscribers[index].stage = Stage::Greeting;
            at = end;
        }
        while let Some(frame) = header(&bytes[at..]) {
            let start = at + frame.start;
            let Some(payload) = bytes.get(start..start + frame.payload) else {
                break;
            };
            match frame.opcode {
                TEXT if bytes[at] & COMPRESSED != 0 => {
                    let mut text = std::mem::take(&mut self.inflated);
                    inflate(payload, &mut text)?;
                    let taken = self.text(index, &text, now_ns);
                    self.inflated = text;
                    taken?;
                }
                TEXT => self.text(index, payload, now_ns)?,
                PING => self.subscribers[index]
                    .stream
                    .write_all(&client_frame(PONG, payload))?,
                CLOSE => {
                    let code = payload
                        .get(..2)
                        .map(|code| u16::from_be_bytes([code[0], code[1]]));
                    self.subscribers[index].stage = Stage::Closed(code);
                }
                _ => {}
            }
            at = start + frame.payload;
        }
        Ok(at)
    }

    fn text(&mut self, index: usize, payload: &[u8], now_ns: u64) -> Result<(), Failure> {
        let Some(stamp) = Stamp::find(payload, &mut self.stamp_hint) else {
            return self.message(index, payload);
        };
        let subscriber = &mut self.subscribers[index];
        let publisher = usize::from(stamp.publisher);
        if subscriber.next.len() <= publisher {
            subscriber.next.resize(publisher + 1, 0);
        }
        let next = &mut subscriber.next[publisher];
        if stamp.sequence < *next {
            self.received.out_of_order += 1;
        } else {
            self.received.gaps += u64::from(stamp.sequence - *next);
            *next = stamp.sequence + 1;
        }
        self.received.deliveries += 1;
        self.received
            .latency
            .saturating_record(now_ns.saturating_sub(stamp.sent_ns));
        Ok(())
    }

    /// A message that is no event of ours: part of the greeting, an application ping, an error.
    fn message(&mut self, index: usize, payload: &[u8]) -> Result<(), Failure> {
        let message: serde_json::Value = serde_json::from_slice(payload)?;
        let subscriber = &mut self.subscribers[index];
        match message
            .get("event")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
        {
            "pusher:connection_established" => {
                let subscribe = self.names.subscribe(subscriber.channel, &message)?;
                subscriber
                    .stream
                    .write_all(&client_frame(TEXT, subscribe.as_bytes()))?;
            }
            "pusher_internal:subscription_succeeded" => subscriber.stage = Stage::Subscribed,
            "pusher:ping" => {
                let pong = br#"{"event":"pusher:pong","data":{}}"#;
                subscriber.stream.write_all(&client_frame(TEXT, pong))?;
            }
            "pusher:error" | "pusher:subscription_error" => {
                return Err(format!("the host says {message}").into());
            }
            _ => {}
        }
        Ok(())
    }
}

/// Waits for readiness; an interrupted wait is an empty one.
pub(crate) fn wait(poll: &mut Poll, events: &mut Events, timeout: Duration) -> io::Result<()> {
    match poll.poll(events, Some(timeout)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        polled => polled,
    }
}
