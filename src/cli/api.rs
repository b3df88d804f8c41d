//! The HTTP API of a Pusher host, from a backend's side: requests that are signed.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use md5::{Digest, Md5};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{
    Failure,
    http::{HttpError, Reply, request, send},
    network::Dialler,
    target::{Credentials, Endpoint, Target, segment},
};
use crate::protocol::signature::sign;

/// A request before it is signed. The path follows `/apps/{id}`, its segments escaped.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) body: Option<String>,
}

impl Call {
    pub(super) fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            parameters: Vec::new(),
            body: None,
        }
    }

    pub(super) fn post(path: &str, body: &Value) -> Self {
        Self {
            method: Method::POST,
            body: Some(body.to_string()),
            ..Self::get(path)
        }
    }

    /// Adds a parameter, if it has a value.
    pub(super) fn with(mut self, name: &str, value: Option<&str>) -> Self {
        let parameter = value.map(|value| (name.to_owned(), value.to_owned()));
        self.parameters.extend(parameter);
        self
    }

    /// The call that publishes an event.
    pub(super) fn publish(event: &Event) -> Self {
        Self::post("/events", &event.to_json())
    }

    /// The target of the request line without prefix, and the text that was signed.
    pub(super) fn signed(&self, app: &Credentials, now_s: u64) -> (String, String) {
        let mut parameters = self.parameters.clone();
        parameters.push(("auth_key".to_owned(), app.key.clone()));
        parameters.push(("auth_timestamp".to_owned(), now_s.to_string()));
        parameters.push(("auth_version".to_owned(), "1.0".to_owned()));
        if let Some(body) = &self.body {
            parameters.push(("body_md5".to_owned(), hex::encode(Md5::digest(body))));
        }
        parameters.sort();
        let path = format!("/apps/{}{}", segment(&app.id), self.path);
        let pairs = |escape: fn(&str) -> String| {
            let pairs = parameters.iter();
            let pairs = pairs.map(|(name, value)| format!("{name}={}", escape(value)));
            pairs.collect::<Vec<_>>().join("&")
        };
        let text = format!("{}\n{path}\n{}", self.method, pairs(str::to_owned));
        let signature = sign(app.secret.as_bytes(), &[text.as_bytes()]);
        let query = pairs(|value| utf8_percent_encode(value, NON_ALPHANUMERIC).to_string());
        (format!("{path}?{query}&auth_signature={signature}"), text)
    }
}

/// An event to publish.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) channels: Vec<String>,
    pub(super) name: String,
    pub(super) data: String,
    pub(super) socket_id: Option<String>,
    pub(super) info: Option<String>,
}

impl Event {
    /// An event for one channel and everyone on it.
    pub(super) fn to(channel: &str, name: &str, data: &str) -> Self {
        Self {
            channels: vec![channel.to_owned()],
            name: name.to_owned(),
            data: data.to_owned(),
            socket_id: None,
            info: None,
        }
    }

    /// As `/events` takes it.
    fn to_json(&self) -> Value {
        self.complete(json!({"name": self.name, "channels": self.channels, "data": self.data}))
    }

    /// As `/batch_events` takes it.
    pub(super) fn in_batch(&self, channel: &str) -> Value {
        self.complete(json!({"name": self.name, "channel": channel, "data": self.data}))
    }

    fn complete(&self, mut event: Value) -> Value {
        if let Some(socket_id) = &self.socket_id {
            event["socket_id"] = socket_id.as_str().into();
        }
        if let Some(info) = &self.info {
            event["info"] = info.as_str().into();
        }
        event
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// There is no answer.
    Http(HttpError),
    /// The host refused.
    Refused(Reply),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::Refused(reply) => {
                let json = reply.json();
                let error = json.as_ref().and_then(|json| json["error"].as_str());
                match error {
                    Some(error) => write!(f, "{}: {error}", reply.status),
                    None => f.write_str(&reply.shown()),
                }
            }
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The HTTP API of one app.
pub(super) struct Api<'a> {
    pub(super) dialler: &'a Dialler,
    pub(super) endpoint: &'a Endpoint,
    pub(super) app: &'a Credentials,
}

impl<'a> Api<'a> {
    pub(super) fn of(target: &'a Target, dialler: &'a Dialler) -> Self {
        Self {
            dialler,
            endpoint: &target.api,
            app: &target.app,
        }
    }

    /// The signed request of a call.
    ///
    /// # Errors
    /// When the address cannot be part of one.
    pub(super) fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, HttpError> {
        let (target, _) = call.signed(self.app, now_s());
        let builder = request(
            call.method.clone(),
            self.endpoint,
            &self.endpoint.join(&target),
        );
        let body = Bytes::from(call.body.clone().unwrap_or_default());
        builder
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| HttpError::Body(error.to_string()))
    }

    /// Sends a call, whatever the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) async fn send(&self, call: &Call) -> Result<Reply, HttpError> {
        send(self.dialler, self.endpoint, self.request(call)?).await
    }

    /// Sends a call that must succeed, and gives the answer.
    ///
    /// # Errors
    /// When there is no answer, or not 200 with an object: Pusher's libraries accept nothing else.
    pub(super) async fn call(&self, call: &Call) -> Result<Value, CallError> {
        let reply = self.send(call).await.map_err(CallError::Http)?;
        match reply.json() {
            Some(answer) if reply.status.is_success() => Ok(answer),
            _ => Err(CallError::Refused(reply)),
        }
    }
}

/// Unix time in seconds.
pub(super) fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of the protocol, `docs/protocol.md`'s golden vector.
    #[test]
    fn a_call_is_signed_as_pusher_s_libraries_sign() {
        let app = Credentials {
            id: "app1".to_owned(),
            key: "app-key-1".to_owned(),
            secret: "app-secret-1".to_owned(),
        };
        let call = Call {
            body: Some(
                r#"{"name":"order.created","channel":"orders","data":"{\"id\":42}","socket_id":"11.22"}"#
                    .to_owned(),
            ),
            method: Method::POST,
            ..Call::get("/events")
        };
        let (target, text) = call.signed(&app, 1_700_000_000);
        assert!(text.starts_with("POST\n/apps/app1/events\nauth_key=app-key-1&"));
        let signature = "2b35d77be86bc9fec858358ded82b2693a43df9df1909e3e497c00ae2f933d0e";
        assert!(target.ends_with(signature), "{target}");
        let listing = Call::get("/channels")
            .with("info", Some("user_count"))
            .with("filter_by_prefix", Some("presence-"));
        let (target, _) = listing.signed(&app, 1_700_000_000);
        let signature = "a0f9c47b27d9fcd214d4cca0c9aecfbecec8e6f680a11607c9c21b81a2c642f7";
        assert!(target.ends_with(signature), "{target}");
    }
}
