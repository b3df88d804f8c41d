//! The two things an application does with a Pusher-compatible server: sign channel
//! subscriptions and publish events. Knows nothing of users or pages.

use std::time::Duration;

use actix_web::rt::time::timeout;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde::Serialize;
use sha2::Sha256;

/// What a publish may take at most. Someone is waiting for their login meanwhile.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Why an event did not reach the broadcast server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BroadcastError {
    /// No answer in time.
    #[error("no answer within {PUBLISH_TIMEOUT:?}")]
    TimedOut,
    /// No connection, or it broke.
    #[error("{0}")]
    Unreachable(awc::error::SendRequestError),
    /// The server answered and said no.
    #[error("refused with {status}: {reason}")]
    Refused { status: u16, reason: String },
}

/// One connection of a browser to the broadcast server, as that server names it.
#[derive(Clone, Serialize)]
pub(crate) struct SocketId(String);

impl SocketId {
    /// Two numbers with a dot between them. Anything else must never be signed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let (left, right) = text.split_once('.')?;
        (text.len() <= 64 && digits(left) && digits(right)).then(|| Self(text.to_owned()))
    }
}

/// An event to publish.
#[derive(Serialize)]
pub(crate) struct Publish {
    pub(crate) name: &'static str,
    pub(crate) channels: Vec<String>,
    /// JSON as text: the protocol carries it as a string, unread.
    pub(crate) data: String,
    /// The one connection that shall not hear it: Laravel's `toOthers()`.
    #[serde(rename = "socket_id", skip_serializing_if = "Option::is_none")]
    pub(crate) except: Option<SocketId>,
}

/// Where the broadcast server is, and this application's credentials there.
/// It has no `Debug`, so the secret cannot reach a log.
#[derive(Clone)]
pub(crate) struct PusherApp {
    /// Host of the server, for this application and for browsers.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) id: String,
    /// Public: browsers connect with it.
    pub(crate) key: String,
    /// Signs; never leaves this process.
    pub(crate) secret: String,
}

impl PusherApp {
    /// The `auth` that lets this one connection subscribe to this one channel. A presence
    /// channel's `channel_data` says who joins and is part of what is signed.
    pub(crate) fn sign_subscription(
        &self,
        socket: &SocketId,
        channel: &str,
        channel_data: Option<&str>,
    ) -> String {
        let mut text = format!("{}:{channel}", socket.0);
        if let Some(channel_data) = channel_data {
            text = format!("{text}:{channel_data}");
        }
        format!("{}:{}", self.key, self.sign(&text))
    }

    /// Publishes one event. `now` is the time in Unix seconds: the server refuses old requests.
    pub(crate) async fn publish(
        &self,
        client: &awc::Client,
        event: &Publish,
        now: i64,
    ) -> Result<(), BroadcastError> {
        let body = json_text(event);
        let path = self.signed_path(&body, now);
        let request = client
            .post(format!("http://{}:{}{path}", self.host, self.port))
            .insert_header(("Content-Type", "application/json"));
        let exchange = async {
            let mut answer = request
                .send_body(body)
                .await
                .map_err(BroadcastError::Unreachable)?;
            // Read to the end even if all is well: only then the connection can be used again.
            let reason = answer.body().limit(4096).await.unwrap_or_default();
            if answer.status().is_success() {
                return Ok(());
            }
            Err(BroadcastError::Refused {
                status: answer.status().as_u16(),
                reason: String::from_utf8_lossy(&reason).into_owned(),
            })
        };
        timeout(PUBLISH_TIMEOUT, exchange)
            .await
            .unwrap_or(Err(BroadcastError::TimedOut))
    }

    /// Path and query of a publish. The parameters are in byte order, as the signature wants it.
    fn signed_path(&self, body: &str, now: i64) -> String {
        let path = format!("/apps/{}/events", self.id);
        let query = format!(
            "auth_key={}&auth_timestamp={now}&auth_version=1.0&body_md5={}",
            self.key,
            hex::encode(Md5::digest(body)),
        );
        let signature = self.sign(&format!("POST\n{path}\n{query}"));
        format!("{path}?{query}&auth_signature={signature}")
    }

    fn sign(&self, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes())
            .expect("HMAC takes a key of any length");
        mac.update(text.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }
}

/// JSON as text, its keys in the order of the type's fields.
pub(crate) fn json_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("these types hold nothing but text and numbers")
}

#[cfg(test)]
mod tests {
    use super::{PusherApp, SocketId};

    fn app() -> PusherApp {
        PusherApp {
            host: "127.0.0.1".to_owned(),
            port: 6001,
            id: "app1".to_owned(),
            key: "app-key-1".to_owned(),
            secret: "app-secret-1".to_owned(),
        }
    }

    #[test]
    fn a_subscription_is_signed_as_pusher_signs_it() {
        let socket = SocketId::parse("11.22").expect("two numbers");
        assert_eq!(
            app().sign_subscription(&socket, "private-room", None),
            "app-key-1:75e4ccf2c0eaff480cff3b3900770094ac0ad7e79302e1fba5719fa4710f8fe7",
        );
        let ann = r#"{"user_id":"u-1","user_info":{"name":"Ann"}}"#;
        assert_eq!(
            app().sign_subscription(&socket, "presence-room", Some(ann)),
            "app-key-1:afa519c27fcbf1a2dad747b5df6d10a7acea10dc905c106884fc9a207fda4e53",
        );
    }

    #[test]
    fn a_publish_is_signed_as_pusher_signs_it() {
        let body = r#"{"name":"order.created","channel":"orders","data":"{\"id\":42}","socket_id":"11.22"}"#;
        assert_eq!(
            app().signed_path(body, 1_700_000_000),
            "/apps/app1/events?auth_key=app-key-1&auth_timestamp=1700000000&auth_version=1.0\
             &body_md5=e4b8576ecddb042f26e6a75aa7361149\
             &auth_signature=2b35d77be86bc9fec858358ded82b2693a43df9df1909e3e497c00ae2f933d0e",
        );
    }

    #[test]
    fn only_two_numbers_with_a_dot_are_a_socket_id() {
        for text in [
            "",
            "1",
            "1.",
            ".2",
            "1.2.3",
            "1.2:private-x",
            "undefined",
            "-1.2",
            "1.٣",
        ] {
            assert!(SocketId::parse(text).is_none(), "{text}");
        }
    }
}
