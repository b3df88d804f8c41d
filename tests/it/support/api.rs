//! The HTTP API's client: signed requests with every signing element within a test's reach.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{
    app::App,
    http::{Http, Response},
    signing::{hmac_hex, md5_hex},
};

pub(crate) fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// One app's way to the API. Paths are relative to `/apps/{id}`.
#[derive(Clone)]
pub(crate) struct Api {
    address: SocketAddr,
    app: App,
}

impl Api {
    pub(crate) fn new(address: SocketAddr, app: &App) -> Self {
        Self {
            address,
            app: app.clone(),
        }
    }

    pub(crate) fn call(&self, method: &str, path: &str) -> Call {
        Call {
            address: self.address,
            secret: self.app.secret.clone(),
            method: method.to_owned(),
            path: format!("/apps/{}{path}", self.app.id),
            signed_path: None,
            parameters: vec![
                ("auth_key".to_owned(), self.app.key.clone()),
                ("auth_timestamp".to_owned(), unix_now().to_string()),
                ("auth_version".to_owned(), "1.0".to_owned()),
            ],
            headers: String::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Response {
        let call = self.call("GET", path);
        parameters
            .iter()
            .fold(call, |call, (name, value)| call.set(name, value))
            .send()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.call("POST", path).body(body.to_string()).send()
    }

    pub(crate) fn events(&self, body: &Value) -> Response {
        self.post("/events", body)
    }

    pub(crate) fn batch(&self, events: &[Value]) -> Response {
        self.post("/batch_events", &json!({"batch": events}))
    }

    /// Publishes, which must succeed.
    #[track_caller]
    pub(crate) fn publish(&self, channel: &str, event: &str, data: &str) {
        let body = json!({"name": event, "channels": [channel], "data": data});
        self.events(&body).is_empty_object();
    }
}

/// A request before it is signed.
#[derive(Clone)]
pub(crate) struct Call {
    address: SocketAddr,
    secret: String,
    method: String,
    path: String,
    signed_path: Option<String>,
    parameters: Vec<(String, String)>,
    headers: String,
    body: Vec<u8>,
}

impl Call {
    /// Sets a query parameter, signed as it is; replaces one of that name.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves a parameter out of the request and of the signature.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.parameters.retain(|(parameter, _)| parameter != name);
        self
    }

    /// The body, with its `body_md5`.
    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let md5 = md5_hex(&self.body);
        self.set("body_md5", &md5)
    }

    pub(crate) fn secret(mut self, secret: &str) -> Self {
        self.secret = secret.to_owned();
        self
    }

    /// The whole path of the request line, where it is not `/apps/{id}/…`.
    pub(crate) fn path(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// The whole path of the signed string, where it is not the request line's.
    pub(crate) fn signed_path(mut self, path: &str) -> Self {
        self.signed_path = Some(path.to_owned());
        self
    }

    /// Another header line.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    /// The signature of the request as it stands.
    pub(crate) fn signature(&self) -> String {
        let mut parameters: Vec<_> = self.parameters.iter().collect();
        parameters.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        let pairs = parameters
            .iter()
            .map(|(name, value)| format!("{}={value}", name.to_ascii_lowercase()));
        let query = pairs.collect::<Vec<_>>().join("&");
        let path = self.signed_path.as_ref().unwrap_or(&self.path);
        hmac_hex(&self.secret, &format!("{}\n{path}\n{query}", self.method))
    }

    /// The signed target: path and query, the values percent-encoded.
    pub(crate) fn target(&self) -> String {
        let pairs = self
            .parameters
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        let query = pairs.collect::<Vec<_>>().join("&");
        format!("{}?{query}&auth_signature={}", self.path, self.signature())
    }

    /// The bytes of the request.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes_to(&self.target())
    }

    /// The bytes of the request with a target of the test's own.
    pub(crate) fn bytes_to(&self, target: &str) -> Vec<u8> {
        let length = match (self.method.as_str(), self.body.len()) {
            ("GET", 0) => String::new(),
            (_, length) => format!("Content-Length: {length}\r\n"),
        };
        let Self {
            method, headers, ..
        } = self;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}{headers}\r\n"
        );
        [head.as_bytes(), &self.body].concat()
    }

    pub(crate) fn send(&self) -> Response {
        self.send_to(&self.target())
    }

    /// Sends to a target of the test's own.
    pub(crate) fn send_to(&self, target: &str) -> Response {
        let mut http = Http::connect(self.address);
        http.send(self.bytes_to(target));
        http.response()
    }
}

/// Percent-encodes everything but the unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}
