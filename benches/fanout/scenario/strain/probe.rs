//! What others notice meanwhile: how long a join of a presence channel takes, and an event from one node to another.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::Failure;
use crate::host::Host;
use crate::http::Signer;
use crate::load::{Names, upgrade_request};
use crate::payload::now_ns;
use crate::report::float;
use crate::websocket::{CLOSE, TEXT, client_frame, header, http_head};

/// Later answers count as this late.
const LATE: Duration = Duration::from_secs(20);
/// Between two probes.
const PAUSE: Duration = Duration::from_millis(20);

/// A client that waits for each answer.
pub(super) struct Client {
    stream: TcpStream,
    rest: Vec<u8>,
    established: Value,
    host: Host,
}

impl Client {
    pub(super) fn connect(host: &Host) -> Result<Self, Failure> {
        let stream = TcpStream::connect(host.address)?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            rest: Vec::new(),
            established: Value::Null,
            host: host.again(),
        };
        client.stream.write_all(&upgrade_request(host))?;
        let end = loop {
            match http_head(&client.rest) {
                Some(end) => break end,
                None => client.fill(LATE)?,
            };
        };
        client.rest.drain(..end);
        client.established = client.next(LATE)?.ok_or("no greeting")?;
        Ok(client)
    }

    fn fill(&mut self, patience: Duration) -> Result<(), Failure> {
        let patience = patience.max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(patience))?;
        let mut buffer = [0; 65_536];
        match self.stream.read(&mut buffer)? {
            0 => Err("the host has gone".into()),
            count => {
                self.rest.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }

    /// The next message; `None` when none comes in time.
    pub(super) fn next(&mut self, patience: Duration) -> Result<Option<Value>, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = header(&self.rest)
                && self.rest.len() >= frame.start + frame.payload
            {
                let end = frame.start + frame.payload;
                let payload = self.rest[frame.start..end].to_vec();
                self.rest.drain(..end);
                match frame.opcode {
                    TEXT => return Ok(Some(serde_json::from_slice(&payload)?)),
                    CLOSE => return Err("the host closed the connection".into()),
                    _ => continue,
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            if let Err(failure) = self.fill(left) {
                let is_late = failure
                    .downcast_ref::<std::io::Error>()
                    .is_some_and(|error| {
                        matches!(
                            error.kind(),
                            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                        )
                    });
                if is_late {
                    return Ok(None);
                }
                return Err(failure);
            }
        }
    }

    fn say(&mut self, event: &str, data: &Value) -> Result<(), Failure> {
        let text = json!({"event": event, "data": data}).to_string();
        Ok(self
            .stream
            .write_all(&client_frame(TEXT, text.as_bytes()))?)
    }

    /// Subscribes, and says whether that was granted.
    pub(super) fn subscribe(&mut self, channel: &str) -> Result<bool, Failure> {
        let data = if channel.starts_with("presence-") {
            Names::signed(&self.host.app, channel, &self.established)?
        } else {
            json!({"channel": channel})
        };
        self.say("pusher:subscribe", &data)?;
        let deadline = Instant::now() + LATE;
        while let Some(answer) = self.next(deadline.saturating_duration_since(Instant::now()))? {
            match answer["event"].as_str() {
                Some("pusher_internal:subscription_succeeded") => return Ok(true),
                Some("pusher:subscription_error") => return Ok(false),
                _ => {}
            }
        }
        Ok(false)
    }

    fn unsubscribe(&mut self, channel: &str) -> Result<(), Failure> {
        self.say("pusher:unsubscribe", &json!({"channel": channel}))
    }
}

/// What a probe saw.
pub(super) struct Seen {
    /// In microseconds.
    pub(super) times: Histogram<u64>,
    /// Refused, lost or too late.
    pub(super) failed: u64,
}

impl Seen {
    fn new() -> Self {
        let late_us = u64::try_from(LATE.as_micros()).expect("it is short");
        Self {
            times: Histogram::new_with_max(late_us * 2, 3).expect("the bounds are allowed"),
            failed: 0,
        }
    }

    pub(super) fn p99_ms(&self) -> f64 {
        float(self.times.value_at_quantile(0.99)) / 1e3
    }

    fn note(&mut self, time: Duration) {
        self.times
            .saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

/// A probe that runs until it is ended.
pub(super) struct Probe {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen, Failure>>,
}

impl Probe {
    fn start(run: impl FnOnce(&AtomicBool) -> Result<Seen, Failure> + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let over = Arc::clone(&over);
            move || run(&over)
        });
        Self { over, thread }
    }

    pub(super) fn end(self) -> Result<Seen, Failure> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "a probe panicked")?
    }

    /// Joins one presence channel after another.
    pub(super) fn joins(host: &Host) -> Result<Self, Failure> {
        let mut client = Client::connect(host)?;
        Ok(Self::start(move |over| {
            let mut seen = Seen::new();
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                number += 1;
                let channel = format!("presence-probe-{number}");
                let begun = Instant::now();
                if client.subscribe(&channel)? {
                    seen.note(begun.elapsed());
                } else {
                    seen.failed += 1;
                }
                client.unsubscribe(&channel)?;
                thread::sleep(PAUSE);
            }
            Ok(seen)
        }))
    }

    /// Publishes to one node what is heard on the other.
    pub(super) fn events(from: &Host, to: &Host, channel: &'static str) -> Result<Self, Failure> {
        let mut client = Client::connect(to)?;
        if !client.subscribe(channel)? {
            return Err("the probe's channel was refused".into());
        }
        let mut publisher = Publisher::connect(from)?;
        Ok(Self::start(move |over| {
            let mut seen = Seen::new();
            while !over.load(Ordering::Relaxed) {
                let sent = now_ns();
                publisher.publish(channel, &sent.to_string())?;
                let deadline = Instant::now() + LATE;
                // Earlier events may still arrive. Half a second of silence means that this one is lost.
                let heard = loop {
                    let left = deadline.saturating_duration_since(Instant::now());
                    match client.next(left.min(Duration::from_millis(500)))? {
                        Some(message) if message["data"] == *sent.to_string() => break true,
                        Some(_) => {}
                        None => break false,
                    }
                };
                if heard {
                    seen.note(Duration::from_nanos(now_ns() - sent));
                } else {
                    seen.failed += 1;
                }
                thread::sleep(PAUSE);
            }
            Ok(seen)
        }))
    }
}

/// One that waits for each answer.
pub(super) struct Publisher {
    stream: TcpStream,
    signer: Signer,
}

impl Publisher {
    pub(super) fn connect(host: &Host) -> Result<Self, Failure> {
        let stream = TcpStream::connect(host.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LATE))?;
        Ok(Self {
            stream,
            signer: Signer::new(host, "events"),
        })
    }

    /// The status of the answer.
    pub(super) fn publish(&mut self, channel: &str, data: &str) -> Result<u16, Failure> {
        let body = json!({"name": "probe", "channel": channel, "data": data}).to_string();
        self.send(body.as_bytes())
    }

    /// The same with a ready body.
    pub(super) fn send(&mut self, body: &[u8]) -> Result<u16, Failure> {
        self.stream.write_all(&self.signer.request(body))?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while !is_whole(&answer) {
            match self.stream.read(&mut buffer)? {
                0 => return Err("the host closed a publishing connection".into()),
                count => answer.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(std::str::from_utf8(&answer[9..12])?.parse()?)
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = http_head(answer) else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse::<usize>().ok());
    answer.len() >= end + length.unwrap_or(0)
}
