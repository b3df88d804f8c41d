//! What a socket says to subscribe. In presence channels each socket is a user of its own.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::Subscriptions;
use crate::Failure;
use crate::host::{App, Host};
use crate::payload::{channel_name, presence_channel_name};

/// How the channels are called, and who may sign for them.
#[derive(Debug)]
pub(crate) struct Names {
    app: App,
    presence: u32,
    first: u32,
}

impl Names {
    pub(super) fn of(host: &Host, subscriptions: Subscriptions) -> Self {
        Self {
            app: host.app.clone(),
            presence: subscriptions.presence,
            first: subscriptions.first_channel,
        }
    }

    /// The message, for the socket that was told `established`.
    pub(super) fn subscribe(&self, channel: u32, established: &Value) -> Result<String, Failure> {
        let data = if channel < self.presence {
            Self::signed(&self.app, &presence_channel_name(channel), established)?
        } else {
            json!({"auth": "", "channel": channel_name(self.first + channel)})
        };
        Ok(json!({"event": "pusher:subscribe", "data": data}).to_string())
    }

    /// The data of a subscription to a private or presence channel, signed for who was told `established`.
    pub(crate) fn signed(app: &App, channel: &str, established: &Value) -> Result<Value, Failure> {
        let data: Value = serde_json::from_str(established["data"].as_str().unwrap_or(""))?;
        let socket_id = data["socket_id"].as_str().ok_or("no socket_id")?;
        let App { key, secret, .. } = app;
        let channel_data = json!({"user_id": socket_id}).to_string();
        let (signed, channel_data) = if channel.starts_with("presence-") {
            (
                format!("{socket_id}:{channel}:{channel_data}"),
                Some(channel_data),
            )
        } else {
            (format!("{socket_id}:{channel}"), None)
        };
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
        mac.update(signed.as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        let mut data = json!({"auth": format!("{key}:{signature}"), "channel": channel});
        if let Some(channel_data) = channel_data {
            data["channel_data"] = channel_data.into();
        }
        Ok(data)
    }
}
