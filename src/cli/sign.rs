//! `auth` and `webhook verify`: signatures, without a host.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Failure, Variables,
    events::{open, read_bounded},
    output::Output,
    sources::Where,
    target::Signer,
};

/// What is signed.
#[derive(Subcommand)]
pub enum Auth {
    /// Sign a subscription to a private, encrypted or presence channel.
    Channel {
        /// The connection that subscribes.
        socket_id: String,
        /// The channel.
        channel: String,
        /// The member of a presence channel: {"user_id": "1", "user_info": {"name": "Ann"}}. It is signed as it is written.
        #[arg(value_name = "CHANNEL_DATA")]
        channel_data: Option<String>,
        #[command(flatten)]
        with: With,
    },
    /// Sign the sign-in of a user.
    User {
        /// The connection that signs in.
        socket_id: String,
        /// The user: {"id": "1", "user_info": {"name": "Ann"}}. It is signed as it is written.
        user_data: String,
        #[command(flatten)]
        with: With,
    },
}

/// What signing takes.
#[derive(Args)]
pub struct With {
    #[command(flatten)]
    host: Where,
    #[command(flatten)]
    output: Output,
}

impl Auth {
    pub(super) fn run(self, environment: &Variables) -> Result<(), Failure> {
        let (with, signed, data) = match self {
            Self::Channel {
                socket_id,
                channel,
                channel_data,
                with,
            } => {
                let signed = channel_text(&socket_id, &channel, channel_data.as_deref());
                (with, signed, ("channel_data", channel_data))
            }
            Self::User {
                socket_id,
                user_data,
                with,
            } => {
                let signed = user_text(&socket_id, &user_data);
                (with, signed, ("user_data", Some(user_data)))
            }
        };
        let signer = with.host.signer(environment)?;
        let auth = signer.auth(&signed);
        let mut json = json!({"auth": auth, "signed": signed});
        if let (name, Some(data)) = &data {
            json[name] = data.as_str().into();
        }
        let text = format!("signed: {signed}\nauth:   {auth}");
        with.output.printer().show(&json, &text)
    }
}

/// The text that permits a subscription.
pub(super) fn channel_text(socket_id: &str, channel: &str, channel_data: Option<&str>) -> String {
    match channel_data {
        Some(data) => format!("{socket_id}:{channel}:{data}"),
        None => format!("{socket_id}:{channel}"),
    }
}

/// The text that permits a sign-in.
pub(super) fn user_text(socket_id: &str, user_data: &str) -> String {
    format!("{socket_id}::user::{user_data}")
}

/// What to do with webhooks.
#[derive(Subcommand)]
pub enum Webhook {
    /// Tell whether a webhook's body was signed with the app's secret; exit status 1 if not.
    Verify {
        /// The header X-Pusher-Signature.
        #[arg(long)]
        signature: String,
        /// The header X-Pusher-Key; where it is given, it must be the app's key.
        #[arg(long, value_name = "KEY")]
        pusher_key: Option<String>,
        /// The body as it arrived, byte for byte. Without it, or with `-`, standard input.
        file: Option<PathBuf>,
        #[command(flatten)]
        with: With,
    },
}

impl Webhook {
    pub(super) fn run(self, environment: &Variables) -> Result<(), Failure> {
        let Self::Verify {
            signature,
            pusher_key,
            file,
            with,
        } = self;
        let signer = with.host.signer(environment)?;
        let body = read_bounded(open(file.as_deref())?)?;
        check(&signer, pusher_key.as_deref(), &signature, &body).map_err(Failure::Failed)?;
        let text = format!(
            "The signature is valid: {} bytes, key {}.",
            body.len(),
            signer.key
        );
        let json = json!({"valid": true, "bytes": body.len(), "key": signer.key});
        with.output.printer().show(&json, &text)
    }
}

/// Why a webhook is not the app's.
fn check(
    signer: &Signer,
    named_key: Option<&str>,
    signature: &str,
    body: &str,
) -> Result<(), String> {
    let key = &signer.key;
    if let Some(named) = named_key.filter(|named| named != key) {
        return Err(format!("it was signed for the key {named}, not for {key}"));
    }
    if signer.verifies(body, signature) {
        return Ok(());
    }
    let trimmed = body.trim_end();
    let hint = if trimmed != body && signer.verifies(trimmed, signature) {
        "; without the line break at its end it is valid: keep the body byte for byte"
    } else {
        "; the secret differs, or the body was changed after it arrived"
    };
    Err(format!(
        "the signature does not belong to these {} bytes and the secret of the key {key}{hint}",
        body.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str =
        r#"{"time_ms":1700000000123,"events":[{"name":"channel_occupied","channel":"orders"}]}"#;
    const SIGNATURE: &str = "a85f348256315c4483242ae70ba14cca832da702631896cfc79085cb66d53448";

    #[test]
    fn a_webhook_is_valid_as_it_arrived_and_not_otherwise() {
        let signer = Signer {
            key: "app-key-1".to_owned(),
            secret: "app-secret-1".to_owned(),
        };
        let checked = |key, body: &str| check(&signer, key, SIGNATURE, body);
        assert_eq!(checked(None, BODY), Ok(()));
        assert_eq!(checked(Some("app-key-1"), BODY), Ok(()));
        for (key, body, reason) in [
            (Some("other"), BODY.to_owned(), "for the key other"),
            (None, BODY.replace("orders", "Orders"), "the secret differs"),
            (None, format!("{BODY}\n"), "without the line break"),
        ] {
            let error = checked(key, &body).expect_err("it is bad");
            assert!(error.contains(reason), "{error}");
            assert!(!error.contains("app-secret-1"), "{error}");
        }
    }
}
