//! `trigger` and `batch`: events that are published.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Common, Failure, Host, Variables,
    api::{Call, Event},
    output::progress,
    secretbox::MasterKey,
};
use crate::protocol::ChannelKind;

/// Bytes of an event that are read from a file or from standard input.
const EVENT_BYTES_MAX: u64 = 16 << 20;
/// Events of one request; Pusher takes no more.
const BATCH_EVENTS_MAX: u16 = 10;

/// `loudhailer trigger`
#[derive(Args)]
pub struct Trigger {
    /// The channels, with commas between them.
    channels: String,
    /// The event's name.
    event: String,
    /// The event's data, as text; `-` reads it from standard input.
    #[arg(default_value = "{}")]
    data: String,
    /// Leave out this connection, as `toOthers` does.
    #[arg(long, value_name = "SOCKET_ID")]
    except: Option<String>,
    /// Ask for attributes of the channels, such as user_count,subscription_count.
    #[arg(long, value_name = "ATTRIBUTES")]
    info: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Trigger {
    pub(super) async fn run(self, environment: &Variables) -> Result<(), Failure> {
        let host = self.common.open(environment)?;
        let mut event = Event {
            channels: self.channels.split(',').map(str::to_owned).collect(),
            name: self.event,
            data: match self.data.as_str() {
                "-" => read_bounded(io::stdin().lock())?,
                _ => self.data,
            },
            socket_id: self.except,
            info: self.info,
        };
        seal(&mut event, host.target.master_key.as_ref())?;
        let answer = host.api().call(&Call::publish(&event)).await?;
        let channels = match event.channels.as_slice() {
            [channel] => channel.clone(),
            channels => format!("{} channels", channels.len()),
        };
        let attributes = match answer.get("channels") {
            Some(attributes) => format!("\n{attributes}"),
            None => String::new(),
        };
        let text = format!("{} was published to {channels}.{attributes}", event.name);
        host.printer.show(&answer, &text)
    }
}

/// Encrypts the data of an event for an encrypted channel.
fn seal(event: &mut Event, key: Option<&MasterKey>) -> Result<(), Failure> {
    let is_encrypted = |name: &String| ChannelKind::of(name).encrypted;
    let Some(channel) = event.channels.iter().find(|name| is_encrypted(name)) else {
        return Ok(());
    };
    let key = key.ok_or_else(|| no_master_key(channel))?;
    if event.channels.len() > 1 {
        return Err(Failure::Usage(format!(
            "{channel} is encrypted with a key of its own: publish to it alone"
        )));
    }
    event.data = key.seal(channel, &event.data);
    Ok(())
}

/// The failure of a command that cannot encrypt or decrypt.
pub(super) fn no_master_key(channel: &str) -> Failure {
    Failure::Usage(format!(
        "{channel} is encrypted: give --master-key, or master_key in the profile, or PUSHER_ENCRYPTION_MASTER_KEY_BASE64 in the environment"
    ))
}

/// All of a reader's text.
///
/// # Errors
/// When it is too long, or not text.
pub(super) fn read_bounded(reader: impl Read) -> Result<String, Failure> {
    let mut text = String::new();
    let read = reader.take(EVENT_BYTES_MAX + 1).read_to_string(&mut text);
    let read = read.map_err(|error| Failure::Failed(format!("cannot read the input: {error}")))?;
    if read as u64 > EVENT_BYTES_MAX {
        let reason = format!("the input is longer than {EVENT_BYTES_MAX} bytes");
        return Err(Failure::Usage(reason));
    }
    Ok(text)
}

/// A file, or standard input where none or `-` is named.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn open(file: Option<&Path>) -> Result<Box<dyn BufRead>, Failure> {
    match file.filter(|file| *file != Path::new("-")) {
        None => Ok(Box::new(BufReader::new(io::stdin()))),
        Some(file) => {
            let opened = File::open(file);
            let opened = opened.map_err(|error| {
                Failure::Usage(format!("cannot read {}: {error}", file.display()))
            })?;
            Ok(Box::new(BufReader::new(opened)))
        }
    }
}

/// `loudhailer batch`
#[derive(Args)]
pub struct Batch {
    /// A file with an event on each line: {"channel": "orders", "name": "shipped", "data": {"id": 42}}, and socket_id and info as
    /// for the HTTP API. Without it, or with `-`, standard input.
    file: Option<PathBuf>,
    /// Events that are sent in one request.
    #[arg(long, value_name = "EVENTS", default_value_t = BATCH_EVENTS_MAX, value_parser = clap::value_parser!(u16).range(1..))]
    size: u16,
    #[command(flatten)]
    common: Common,
}

/// A line of a batch's input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    channel: String,
    name: String,
    #[serde(default)]
    data: Value,
    socket_id: Option<String>,
    info: Option<String>,
}

impl Line {
    fn read(text: &str, key: Option<&MasterKey>) -> Result<Value, Failure> {
        let line: Self =
            serde_json::from_str(text).map_err(|error| Failure::Usage(error.to_string()))?;
        let mut event = Event {
            channels: vec![line.channel.clone()],
            name: line.name,
            data: match line.data {
                Value::String(text) => text,
                Value::Null => "{}".to_owned(),
                other => other.to_string(),
            },
            socket_id: line.socket_id,
            info: line.info,
        };
        seal(&mut event, key)?;
        Ok(event.in_batch(&line.channel))
    }
}

impl Batch {
    pub(super) async fn run(self, environment: &Variables) -> Result<(), Failure> {
        let host = self.common.open(environment)?;
        let mut lines = Lines {
            reader: open(self.file.as_deref())?,
            number: 0,
        };
        let mut sent = 0;
        loop {
            let mut batch = Vec::new();
            while batch.len() < usize::from(self.size) {
                match lines.next(host.target.master_key.as_ref())? {
                    Some(event) => batch.push(event),
                    None => break,
                }
            }
            if batch.is_empty() {
                break;
            }
            sent += batch.len();
            send(&host, &batch, lines.number).await?;
            progress(&format!("{sent} events were published"));
        }
        progress("");
        let text = format!("{sent} events were published.");
        host.printer.show(&json!({"published": sent}), &text)
    }
}

async fn send(host: &Host, batch: &[Value], last: usize) -> Result<(), Failure> {
    let call = Call::post("/batch_events", &json!({"batch": batch}));
    let sent = host.api().call(&call).await;
    sent.map(|_| ())
        .map_err(|error| Failure::Failed(format!("the batch that ends with line {last}: {error}")))
}

/// Events as they are read, one at a time.
struct Lines {
    reader: Box<dyn BufRead>,
    number: usize,
}

impl Lines {
    /// The next event; empty lines are skipped.
    fn next(&mut self, key: Option<&MasterKey>) -> Result<Option<Value>, Failure> {
        loop {
            let mut line = String::new();
            let mut bounded = self.reader.by_ref().take(EVENT_BYTES_MAX);
            self.number += 1;
            let at = |reason: String| Failure::Usage(format!("line {}: {reason}", self.number));
            let read = bounded.read_line(&mut line);
            if read.map_err(|error| at(error.to_string()))? == 0 {
                self.number -= 1;
                return Ok(None);
            }
            if line.trim().is_empty() {
                continue;
            }
            return Line::read(&line, key)
                .map(Some)
                .map_err(|failure| at(failure.to_string()));
        }
    }
}
