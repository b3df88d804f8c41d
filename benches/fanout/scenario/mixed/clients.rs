//! Clients that do more than listen: members that come and go, and a pair that sends client events. One thread each, in no hurry.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Failure;
use crate::host::Host;
use crate::load::{Names, upgrade_request};
use crate::websocket::{PING, PONG, TEXT, client_frame, header, http_head};

/// Between two visits, and between two client events: 20 a second, 5 a second.
const VISIT_PAUSE: Duration = Duration::from_millis(50);
const WHISPER_PAUSE: Duration = Duration::from_millis(200);
/// Members of the presence channel at any time.
const MEMBERS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// Members that come to a presence channel, each staying for as long as the next ones take to come.
pub(super) struct Churn {
    pub(super) visits: u64,
}

impl Churn {
    /// Until it is over.
    pub(super) fn run(host: &Host, over: &AtomicBool) -> Result<Self, Failure> {
        let (mut members, mut visits) = (std::collections::VecDeque::new(), 0);
        while !over.load(Ordering::Relaxed) {
            let mut client = Client::connect(host)?;
            client.subscribe(host, "presence-lobby")?;
            members.push_back(client);
            visits += 1;
            if members.len() > MEMBERS {
                members.pop_front();
            }
            std::thread::sleep(VISIT_PAUSE);
        }
        Ok(Self { visits })
    }
}

/// Two clients on a private channel, one of which speaks.
pub(super) struct Whispers {
    pub(super) relayed: u64,
}

impl Whispers {
    /// Until it is over; each event must arrive before the next is sent.
    pub(super) fn run(host: &Host, over: &AtomicBool) -> Result<Self, Failure> {
        let (mut speaker, mut listener) = (Client::connect(host)?, Client::connect(host)?);
        for client in [&mut speaker, &mut listener] {
            client.subscribe(host, "private-room")?;
        }
        let mut relayed = 0;
        while !over.load(Ordering::Relaxed) {
            speaker.send(&json!({"event": "client-said", "channel": "private-room", "data": {"number": relayed}}))?;
            listener.expect("client-said")?;
            relayed += 1;
            std::thread::sleep(WHISPER_PAUSE);
        }
        Ok(Self { relayed })
    }
}

/// A client that blocks.
pub(in crate::scenario) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    established: Value,
}

impl Client {
    pub(in crate::scenario) fn connect(host: &Host) -> Result<Self, Failure> {
        let stream = TcpStream::connect(host.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self {
            stream,
            received: Vec::new(),
            established: Value::Null,
        };
        client.stream.write_all(&upgrade_request(host))?;
        loop {
            if let Some(end) = http_head(&client.received) {
                client.received.drain(..end);
                break;
            }
            client.read()?;
        }
        client.established = client.expect("pusher:connection_established")?;
        Ok(client)
    }

    pub(in crate::scenario) fn subscribe(
        &mut self,
        host: &Host,
        channel: &str,
    ) -> Result<(), Failure> {
        let data = Names::signed(&host.app, channel, &self.established)?;
        self.send(&json!({"event": "pusher:subscribe", "data": data}))?;
        self.expect("pusher_internal:subscription_succeeded")?;
        Ok(())
    }

    pub(in crate::scenario) fn send(&mut self, message: &Value) -> Result<(), Failure> {
        let frame = client_frame(TEXT, message.to_string().as_bytes());
        Ok(self.stream.write_all(&frame)?)
    }

    /// The next message with this event; others are passed over, but no error.
    pub(in crate::scenario) fn expect(&mut self, event: &str) -> Result<Value, Failure> {
        loop {
            let Some(frame) = header(&self.received) else {
                self.read()?;
                continue;
            };
            let end = frame.start + frame.payload;
            let Some(payload) = self.received.get(frame.start..end) else {
                self.read()?;
                continue;
            };
            if frame.opcode == PING {
                let pong = client_frame(PONG, payload);
                self.stream.write_all(&pong)?;
            }
            let message = (frame.opcode == TEXT).then(|| serde_json::from_slice::<Value>(payload));
            let message = message.transpose()?.unwrap_or_default();
            self.received.drain(..end);
            match message["event"].as_str() {
                Some(name) if name == event => return Ok(message),
                Some("pusher:ping") => self.send(&json!({"event": "pusher:pong", "data": {}}))?,
                Some("pusher:error") => return Err(format!("the host says {message}").into()),
                _ => {}
            }
        }
    }

    fn read(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        if count == 0 {
            return Err("the host closed a client".into());
        }
        self.received.extend_from_slice(&buffer[..count]);
        Ok(())
    }
}
