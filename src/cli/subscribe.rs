//! `subscribe`: prints what arrives on channels, as any client would see it.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Common, Failure, Host, Variables,
    events::no_master_key,
    sign::{channel_text, user_text},
    socket::{Arrival, Event, Greeted, Hello, Socket},
};
use crate::protocol::{Access, ChannelKind};

/// The id of a presence member who was not named.
const ANONYMOUS: &str = "loudhailer";

/// `loudhailer subscribe`
#[derive(Args)]
pub struct Subscribe {
    /// The channels, of any kind.
    #[arg(required = true, value_delimiter = ',')]
    channels: Vec<String>,
    /// Sign in as this user, and be this member of presence channels.
    #[arg(long, value_name = "ID")]
    user_id: Option<String>,
    /// What other members see of the user, as JSON.
    #[arg(long, value_name = "JSON", value_parser = json_of)]
    user_info: Option<Value>,
    /// Print only events of this name. May be given more than once.
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,
    /// End after this many events of the channels; the protocol's own do not count.
    #[arg(long, value_name = "EVENTS")]
    count: Option<usize>,
    /// End after this time.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u32>,
    /// Connect as a page of this origin.
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    #[command(flatten)]
    common: Common,
}

fn json_of(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

impl Subscribe {
    pub(super) async fn run(self, environment: &Variables) -> Result<(), Failure> {
        let host = self.common.open(environment)?;
        let encrypted = |name: &&String| ChannelKind::of(name).encrypted;
        if let Some(channel) = self.channels.iter().find(encrypted)
            && host.target.master_key.is_none()
        {
            return Err(no_master_key(channel));
        }
        let hello = Hello {
            endpoint: &host.target.socket,
            key: &host.target.app.key,
            origin: self.origin.as_deref(),
        };
        let greeted = Socket::greeted(&host.dialler, hello).await;
        let greeted =
            greeted.map_err(|error| Failure::Failed(format!("{}: {error}", host.target.socket)))?;
        let mut tail = Tail {
            host: &host,
            greeted,
        };
        tail.begin(&self).await?;
        tail.follow(&self).await
    }

    /// The member of a presence channel.
    fn member(&self) -> String {
        let id = self.user_id.as_deref().unwrap_or(ANONYMOUS);
        let mut member = json!({"user_id": id});
        if let Some(info) = &self.user_info {
            member["user_info"] = info.clone();
        }
        member.to_string()
    }

    fn user(&self) -> Option<String> {
        let mut user = json!({"id": self.user_id.as_deref()?});
        if let Some(info) = &self.user_info {
            user["user_info"] = info.clone();
        }
        Some(user.to_string())
    }

    fn prints(&self, event: &Event) -> bool {
        self.event.is_empty() || self.event.contains(&event.name) || is_protocol_s(&event.name)
    }
}

fn is_protocol_s(name: &str) -> bool {
    name.starts_with("pusher:") || name.starts_with("pusher_internal:")
}

/// A connection whose events are printed.
struct Tail<'a> {
    host: &'a Host,
    greeted: Greeted,
}

impl Tail<'_> {
    /// Signs in and subscribes.
    async fn begin(&mut self, wanted: &Subscribe) -> Result<(), Failure> {
        let socket_id = self.greeted.socket_id.clone();
        let text = format!("connected to {} as {socket_id}", self.host.target.socket);
        let json = json!({"event": "connected", "socket_id": socket_id});
        self.host.printer.show(&json, &text)?;
        let signer = self.host.target.app.signer();
        if let Some(user) = wanted.user() {
            let auth = signer.auth(&user_text(&socket_id, &user));
            let data = json!({"auth": auth, "user_data": user});
            self.say("pusher:signin", data).await?;
        }
        for channel in &wanted.channels {
            let kind = ChannelKind::of(channel);
            let member = (kind.access == Access::Presence).then(|| wanted.member());
            let mut data = json!({"channel": channel});
            if matches!(kind.access, Access::Private | Access::Presence) {
                let text = channel_text(&socket_id, channel, member.as_deref());
                data["auth"] = signer.auth(&text).into();
            }
            if let Some(member) = member {
                data["channel_data"] = member.into();
            }
            self.say("pusher:subscribe", data).await?;
        }
        Ok(())
    }

    async fn say(&mut self, event: &str, data: Value) -> Result<(), Failure> {
        let sent = self.greeted.socket.send(event, None, data).await;
        sent.map_err(|broken| Failure::Failed(broken.to_string()))
    }

    /// Prints until enough has arrived, or the time is over.
    async fn follow(&mut self, wanted: &Subscribe) -> Result<(), Failure> {
        let end = wanted
            .seconds
            .map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
        let mut seen = 0;
        let mut confirmed = 0;
        while wanted.count.is_none_or(|count| seen < count) {
            let unconfirmed = confirmed < wanted.channels.len();
            let Some(event) = self.next(end, unconfirmed).await? else {
                break;
            };
            if event.name == "pusher_internal:subscription_succeeded" {
                confirmed += 1;
            }
            if !wanted.prints(&event) {
                continue;
            }
            seen += usize::from(!is_protocol_s(&event.name));
            self.print(&event)?;
        }
        self.greeted.socket.close().await;
        Ok(())
    }

    /// The next event, or `None` at the end of the time. Subscriptions have to be confirmed in time, and a silent host has to answer a ping.
    async fn next(
        &mut self,
        end: Option<Instant>,
        unconfirmed: bool,
    ) -> Result<Option<Event>, Failure> {
        let patience = self.host.dialler.patience;
        let silence = if unconfirmed {
            patience
        } else {
            self.greeted.activity_timeout
        };
        let silent = Instant::now() + silence;
        let deadline = end.map_or(silent, |end| end.min(silent));
        let arrival = match timeout_at(deadline, self.greeted.socket.next()).await {
            Ok(arrival) => arrival,
            Err(_) if end.is_some_and(|end| end <= silent) => return Ok(None),
            Err(_) if unconfirmed => {
                let reason = format!(
                    "the host confirmed no subscription within {} s",
                    patience.as_secs()
                );
                return Err(Failure::Failed(reason));
            }
            Err(_) => self.ping().await?,
        };
        match arrival {
            Arrival::Event(event) => match refusal(&event) {
                Some(reason) => Err(Failure::Failed(reason)),
                None => Ok(Some(event)),
            },
            ended => Err(Failure::Failed(ended.to_string())),
        }
    }

    async fn ping(&mut self) -> Result<Arrival, Failure> {
        self.say("pusher:ping", json!({})).await?;
        let patience = self.host.dialler.patience;
        let answered = timeout(patience, self.greeted.socket.next()).await;
        answered.map_err(|_| {
            Failure::Failed(format!(
                "no answer to a ping within {} s",
                patience.as_secs()
            ))
        })
    }

    fn print(&self, event: &Event) -> Result<(), Failure> {
        let channel = event.channel.as_deref();
        let data = self.readable(event);
        let shown = match &data {
            Some(data) => data.to_string(),
            None => "(encrypted with another master key)".to_owned(),
        };
        let mut json = json!({"event": event.name, "data": data});
        if data.is_none() {
            json["encrypted"] = event.decoded();
        }
        for (name, value) in [("channel", &event.channel), ("user_id", &event.user_id)] {
            if let Some(value) = value {
                json[name] = value.as_str().into();
            }
        }
        let name = event.name.replace("pusher_internal:", "pusher:");
        let by = event
            .user_id
            .as_ref()
            .map_or_else(String::new, |user| format!(" by {user}"));
        let text = match (channel, name.as_str()) {
            (None, name) => format!("{name} {shown}"),
            (Some(channel), name) => format!("{channel} {name}{by} {shown}"),
        };
        self.host.printer.show(&json, &text)
    }

    /// The data, decrypted where the channel is encrypted; `None` if that fails.
    fn readable(&self, event: &Event) -> Option<Value> {
        let data = event.decoded();
        let channel = event.channel.as_deref().unwrap_or_default();
        if !ChannelKind::of(channel).encrypted || is_protocol_s(&event.name) {
            return Some(data);
        }
        let key = self.host.target.master_key.as_ref()?;
        let text = key.open(channel, &data)?;
        Some(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

/// Why a host's own event ends the command: it refused something.
pub(super) fn refusal(event: &Event) -> Option<String> {
    let data = event.decoded();
    let words = |of: &Value| of.as_str().map_or_else(|| of.to_string(), str::to_owned);
    match event.name.as_str() {
        "pusher:subscription_error" => {
            let channel = event.channel.as_deref().unwrap_or("a channel");
            let reason = words(data.get("error").unwrap_or(&data));
            Some(format!("{channel} was refused: {reason}"))
        }
        "pusher:error" => Some(match data["code"].as_u64() {
            Some(code) => format!(
                "the host refused: {} (code {code})",
                words(&data["message"])
            ),
            None => format!(
                "the host refused: {}",
                words(data.get("message").unwrap_or(&data))
            ),
        }),
        _ => None,
    }
}
