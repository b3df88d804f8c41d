//! `channels`, `channel`, `users` and `terminate`: what a backend asks of the HTTP API.

use clap::Args;
use serde_json::{Value, json};

use super::{Common, Failure, Variables, api::Call, output::table, target::segment};

/// `loudhailer channels`
#[derive(Args)]
pub struct Channels {
    /// Only channels whose names begin like this.
    #[arg(long)]
    prefix: Option<String>,
    /// Ask for attributes, such as user_count (with --prefix presence-) or subscription_count.
    #[arg(long, value_name = "ATTRIBUTES")]
    info: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Channels {
    pub(super) async fn run(self, environment: &Variables) -> Result<(), Failure> {
        let host = self.common.open(environment)?;
        let call = Call::get("/channels")
            .with("filter_by_prefix", self.prefix.as_deref())
            .with("info", self.info.as_deref());
        let answer = host.api().call(&call).await?;
        // An empty listing is an empty list in PHP's JSON.
        let channels = answer["channels"].as_object();
        let attributes = |of: &Value| {
            let attributes = of.as_object().into_iter().flatten();
            attributes
                .map(|(name, value)| format!("{name}: {value}"))
                .collect::<Vec<_>>()
        };
        let channels: Vec<_> = channels.into_iter().flatten().collect();
        let row = |(name, of): &(&String, &Value)| [vec![(*name).clone()], attributes(of)].concat();
        let rows: Vec<_> = channels.iter().map(row).collect();
        let text = match rows.as_slice() {
            [] => "No channel is occupied.".to_owned(),
            rows => table(rows),
        };
        if host.printer.is_text() {
            return host.printer.show(&Value::Null, &text);
        }
        for (name, of) in channels {
            let mut line = json!({"channel": name});
            for (name, value) in of.as_object().into_iter().flatten() {
                line[name] = value.clone();
            }
            host.printer.show(&line, "")?;
        }
        Ok(())
    }
}

/// `loudhailer channel`
#[derive(Args)]
pub struct Channel {
    /// The channel's name.
    name: String,
    /// Ask for attributes, such as user_count, subscription_count or cache.
    #[arg(long, value_name = "ATTRIBUTES")]
    info: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Channel {
    pub(super) async fn run(self, environment: &Variables) -> Result<(), Failure> {
        let host = self.common.open(environment)?;
        let call = Call::get(&format!("/channels/{}", segment(&self.name)))
            .with("info", self.info.as_deref());
        let answer = host.api().call(&call).await?;
        let attributes = answer.as_object().into_iter().flatten();
        let lines: Vec<_> = attributes
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        host.printer.show(&answer, &lines.join("\n"))
    }
}

/// `loudhailer users`
#[derive(Args)]
pub struct Users {
    /// The presence channel's name.
    channel: String,
    #[command(flatten)]
    common: Common,
}

impl Users {
    pub(super) async fn run(self, environment: &Variables) -> Result<(), Failure> {
        let host = self.common.open(environment)?;
        let call = Call::get(&format!("/channels/{}/users", segment(&self.channel)));
        let answer = host.api().call(&call).await?;
        let users = answer["users"].as_array().map_or(&[][..], Vec::as_slice);
        if users.is_empty() && host.printer.is_text() {
            return host.printer.show(&Value::Null, "Nobody is there.");
        }
        for user in users {
            let id = match &user["id"] {
                Value::String(id) => id.clone(),
                other => other.to_string(),
            };
            host.printer.show(user, &id)?;
        }
        Ok(())
    }
}

/// `loudhailer terminate`
#[derive(Args)]
pub struct Terminate {
    /// The user's id.
    user: String,
    #[command(flatten)]
    common: Common,
}

impl Terminate {
    pub(super) async fn run(self, environment: &Variables) -> Result<(), Failure> {
        let host = self.common.open(environment)?;
        let path = format!("/users/{}/terminate_connections", segment(&self.user));
        let answer = host.api().call(&Call::post(&path, &json!({}))).await?;
        let text = format!("All connections of {} are being closed.", self.user);
        host.printer.show(&answer, &text)
    }
}
