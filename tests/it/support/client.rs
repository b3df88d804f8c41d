//! A small Pusher client that keeps the order of what it saw: the next message is the next message, nothing is skipped.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde_json::{Value, json};

use super::{
    api::Api,
    app::App,
    stream::{PATIENCE, ReadError},
    websocket::{Frame, Incoming, PONG, Socket, Upgrade},
};

/// One message from the server.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Message {
    pub(crate) fn parse(text: String) -> Self {
        let json =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: not JSON: {text}"));
        Self { text, json }
    }

    pub(crate) fn event(&self) -> &str {
        self.json["event"]
            .as_str()
            .expect("every message has an event")
    }

    pub(crate) fn channel(&self) -> Option<&str> {
        self.json["channel"].as_str()
    }

    /// `data`, which must be a string.
    #[track_caller]
    pub(crate) fn data(&self) -> &str {
        match self.json["data"].as_str() {
            Some(data) => data,
            None => panic!("data is not a string: {}", self.text),
        }
    }

    /// What the string `data` holds.
    #[track_caller]
    pub(crate) fn decoded(&self) -> Value {
        match serde_json::from_str(self.data()) {
            Ok(decoded) => decoded,
            Err(error) => panic!("{error}: data is not JSON: {}", self.text),
        }
    }

    /// The close or error code of a `pusher:error`.
    pub(crate) fn code(&self) -> Option<u64> {
        self.json["data"]["code"].as_u64()
    }

    /// A `pusher:error` of an open connection has the documented shape: an object whose code is `null`, or one of the two codes that leave
    /// the connection alone (§2.6).
    #[track_caller]
    pub(crate) fn is_error_of_an_open_connection(&self) {
        let Self { text, json } = self;
        assert_eq!(self.keys(), ["data", "event"], "{text}");
        let data = json["data"].as_object().expect("an object");
        let keys: Vec<_> = data.keys().collect();
        assert_eq!(keys, ["code", "message"], "{text}");
        assert!(
            [json!(null), json!(4301), json!(4302)].contains(&data["code"]),
            "{text}"
        );
        assert!(
            data["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{text}"
        );
    }

    /// The names of the envelope's members, sorted.
    pub(crate) fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<_> = self
            .json
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        keys.sort_unstable();
        keys
    }
}

/// A connection that was established.
pub(crate) struct TestClient {
    pub(crate) socket: Socket,
    pub(crate) socket_id: String,
    app: App,
}

impl TestClient {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr, app: &App) -> Self {
        let upgrade = Upgrade::new(&format!(
            "/app/{}?protocol=7&client=js&version=8.6.0",
            app.key
        ));
        Self::greeted(upgrade.connect(address), app)
    }

    /// Takes over an upgraded socket and reads its greeting.
    #[track_caller]
    pub(crate) fn greeted(socket: Socket, app: &App) -> Self {
        let mut client = Self {
            socket,
            socket_id: String::new(),
            app: app.clone(),
        };
        let established = client.expect("pusher:connection_established");
        let socket_id = established.decoded()["socket_id"]
            .as_str()
            .expect("a socket id")
            .to_owned();
        client.socket_id = socket_id;
        client
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.socket.send_text(&message.to_string());
    }

    /// The next message within `patience`. Pings of both kinds are answered on the way, as browsers and pusher-js do.
    pub(crate) fn read(&mut self, patience: Duration) -> Result<Message, ReadError> {
        loop {
            match self.socket.read(patience)? {
                Incoming::Text(text) => match Message::parse(text) {
                    ping if ping.event() == "pusher:ping" => {
                        self.send(&json!({"event": "pusher:pong", "data": {}}));
                    }
                    message => {
                        if message.event() == "pusher:error" {
                            message.is_error_of_an_open_connection();
                        }
                        return Ok(message);
                    }
                },
                Incoming::Ping(payload) => self.socket.send(&Frame::new(PONG, payload)),
                Incoming::Pong(_) => {}
                Incoming::Close(code, reason) => panic!("closed with {code:?} {reason}"),
            }
        }
    }

    #[track_caller]
    pub(crate) fn next(&mut self) -> Message {
        match self.read(PATIENCE) {
            Ok(message) => message,
            Err(error) => panic!("expected a message: {error:?}"),
        }
    }

    /// The next message, which must be this event.
    #[track_caller]
    pub(crate) fn expect(&mut self, event: &str) -> Message {
        let message = self.next();
        assert_eq!(message.event(), event, "{}", message.text);
        message
    }

    /// The next message, which must be this event on this channel.
    #[track_caller]
    pub(crate) fn expect_on(&mut self, channel: &str, event: &str) -> Message {
        let message = self.expect(event);
        assert_eq!(message.channel(), Some(channel), "{}", message.text);
        message
    }

    /// The next message must be a `pusher:error` with this code; `None` is the code `null`.
    #[track_caller]
    pub(crate) fn expect_error(&mut self, code: Option<u64>) -> Message {
        let message = self.expect("pusher:error");
        assert_eq!(message.code(), code, "{}", message.text);
        message
    }

    /// The next message must say that the client is subscribed already (§2.7).
    #[track_caller]
    pub(crate) fn expect_existing(&mut self, channel: &str) {
        let error = self.expect_error(None);
        let expected = format!("Existing subscription to channel {channel}");
        assert_eq!(error.json["data"]["message"], expected);
    }

    /// The next message must say that there is nothing to unsubscribe from (§2.7).
    #[track_caller]
    pub(crate) fn expect_no_subscription(&mut self, channel: &str) {
        let error = self.expect_error(None);
        let expected =
            format!("No current subscription to channel {channel}, or subscription in progress");
        assert_eq!(error.json["data"]["message"], expected);
    }

    /// The two answers to a refused subscription; gives the type of the first.
    #[track_caller]
    pub(crate) fn expect_refusal(&mut self, channel: &str) -> (String, u64) {
        let refused = self.expect_on(channel, "pusher:subscription_error");
        assert_eq!(
            refused.keys(),
            ["channel", "data", "event"],
            "{}",
            refused.text
        );
        let data = refused.decoded();
        assert!(
            data["error"].as_str().is_some_and(|text| !text.is_empty()),
            "{data}"
        );
        self.expect_error(None);
        let kind = data["type"].as_str().expect("a type").to_owned();
        (kind, data["status"].as_u64().expect("a status"))
    }

    /// Proves that the server has answered everything this connection sent before, with nothing else to say.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self) {
        self.send(&json!({"event": "pusher:ping", "data": {}}));
        self.expect("pusher:pong");
    }

    /// Proves that the server has answered everything this connection sent before, whatever else it had to say.
    #[track_caller]
    pub(crate) fn expect_answered(&mut self) {
        self.send(&json!({"event": "pusher:ping", "data": {}}));
        while self.next().event() != "pusher:pong" {}
    }

    /// Proves that nothing came on `channel`: an event published now must be the next message.
    #[track_caller]
    pub(crate) fn expect_nothing_before_marker(&mut self, api: &Api, channel: &str) {
        api.publish(channel, "marker", "the next message");
        self.expect_on(channel, "marker");
    }

    /// Waits that long, in which no message may come. For tests whose subject is time itself.
    #[track_caller]
    pub(crate) fn expect_quiet_for(&mut self, time: Duration) {
        match self.read(time) {
            Err(ReadError::Quiet) => {}
            other => panic!("expected quiet, got {other:?}"),
        }
    }

    pub(crate) fn auth(&self, channel: &str) -> String {
        self.app.auth(&self.socket_id, channel)
    }

    pub(crate) fn auth_with(&self, channel: &str, channel_data: &str) -> String {
        self.app.auth_with(&self.socket_id, channel, channel_data)
    }

    /// Asks for a subscription, signed where the name asks for it.
    pub(crate) fn ask(&mut self, channel: &str) {
        let auth = if channel.starts_with("private-") {
            self.auth(channel)
        } else {
            String::new()
        };
        self.send(
            &json!({"event": "pusher:subscribe", "data": {"auth": auth, "channel": channel}}),
        );
    }

    /// Asks for a presence subscription with this `channel_data`, signed.
    pub(crate) fn ask_with(&mut self, channel: &str, channel_data: &str) {
        let auth = self.auth_with(channel, channel_data);
        let data = json!({"auth": auth, "channel_data": channel_data, "channel": channel});
        self.send(&json!({"event": "pusher:subscribe", "data": data}));
    }

    /// Subscribes, and has been told so.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, channel: &str) -> Message {
        self.ask(channel);
        self.expect_on(channel, "pusher_internal:subscription_succeeded")
    }

    /// Joins a presence channel and gives the members it was told of.
    #[track_caller]
    pub(crate) fn join(&mut self, channel: &str, user_id: &str) -> Presence {
        self.join_with(channel, &json!({"user_id": user_id}).to_string())
    }

    #[track_caller]
    pub(crate) fn join_with(&mut self, channel: &str, channel_data: &str) -> Presence {
        self.ask_with(channel, channel_data);
        Presence::of(&self.expect_on(channel, "pusher_internal:subscription_succeeded"))
    }

    /// Asks to be signed in with this `user_data`, rightly signed.
    pub(crate) fn ask_sign_in(&mut self, user_data: &str) {
        let auth = self.app.auth_user(&self.socket_id, user_data);
        let data = json!({"auth": auth, "user_data": user_data});
        self.send(&json!({"event": "pusher:signin", "data": data}));
    }

    /// Signs in, and has been told so.
    #[track_caller]
    pub(crate) fn sign_in_with(&mut self, user_data: &str) {
        self.ask_sign_in(user_data);
        let success = self.expect("pusher:signin_success");
        assert_eq!(success.decoded(), json!({"user_data": user_data}));
    }

    /// Signs in as the user without any other data.
    #[track_caller]
    pub(crate) fn sign_in(&mut self, user_id: &str) {
        self.sign_in_with(&json!({"id": user_id}).to_string());
    }

    /// The connection must be closed with this code, as the next thing that happens.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self, code: u16) -> String {
        self.socket.expect_close(code)
    }

    pub(crate) fn unsubscribe(&mut self, channel: &str) {
        self.send(&json!({"event": "pusher:unsubscribe", "data": {"channel": channel}}));
    }

    /// Triggers a client event.
    pub(crate) fn trigger(&mut self, channel: &str, event: &str, data: &Value) {
        self.send(&json!({"event": event, "channel": channel, "data": data}));
    }

    /// Closes as a browser does, and waits for the answer.
    #[track_caller]
    pub(crate) fn close(mut self) {
        self.socket.send(&Frame::close(1000, ""));
        loop {
            match self.socket.next() {
                Incoming::Close(..) => return self.socket.expect_end(),
                Incoming::Text(_) | Incoming::Ping(_) | Incoming::Pong(_) => {}
            }
        }
    }
}

/// The presence part of `subscription_succeeded`, its shape checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Presence {
    pub(crate) hash: BTreeMap<String, Value>,
}

impl Presence {
    #[track_caller]
    pub(crate) fn of(succeeded: &Message) -> Self {
        let data = succeeded.decoded();
        let presence = &data["presence"];
        let hash = presence["hash"].as_object().expect("the hash is an object");
        let hash: BTreeMap<_, _> = hash
            .iter()
            .map(|(id, info)| (id.clone(), info.clone()))
            .collect();
        let mut ids: Vec<_> = presence["ids"].as_array().expect("ids").iter().collect();
        assert!(
            ids.iter().all(|id| id.is_string()),
            "ids are strings: {data}"
        );
        ids.sort_by_key(|id| id.as_str());
        let keys: Vec<_> = hash.keys().collect();
        assert_eq!(
            ids, keys,
            "ids and hash name the same users, each once: {data}"
        );
        assert_eq!(
            presence["count"],
            hash.len(),
            "count is the number of users: {data}"
        );
        Self { hash }
    }

    pub(crate) fn ids(&self) -> Vec<&str> {
        self.hash.keys().map(String::as_str).collect()
    }
}
