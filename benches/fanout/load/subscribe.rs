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
pub(super) struct Names {
    app: App,
    presence: u32,
}

impl Names {
    pub(super) fn of(host: &Host, subscriptions: Subscriptions) -> Self {
        Self {
            app: host.app.clone(),
            presence: subscriptions.presence,
        }
    }

    /// The message, for the socket that was told `established`.
    pub(super) fn subscribe(&self, channel: u32, established: &Value) -> Result<String, Failure> {
        let data = if channel < self.presence {
            let data: Value = serde_json::from_str(established["data"].as_str().unwrap_or(""))?;
            let socket_id = data["socket_id"].as_str().ok_or("no socket_id")?;
            self.presence_data(&presence_channel_name(channel), socket_id)
        } else {
            json!({"auth": "", "channel": channel_name(channel)})
        };
        Ok(json!({"event": "pusher:subscribe", "data": data}).to_string())
    }

    fn presence_data(&self, channel: &str, socket_id: &str) -> Value {
        let App { key, secret, .. } = &self.app;
        let channel_data = json!({"user_id": socket_id}).to_string();
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
        mac.update(format!("{socket_id}:{channel}:{channel_data}").as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        json!({
            "auth": format!("{key}:{signature}"),
            "channel": channel,
            "channel_data": channel_data,
        })
    }
}
