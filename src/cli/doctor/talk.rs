//! Speaks with a host as two clients and a backend: subscribes, publishes, waits for what arrives.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, header, request::Builder};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    probe::answer,
    seen::{Answer, ClientEvent, Delivery, Exclusion, Fallback, Idle, Signed, Subscription},
};
use crate::cli::{
    Host,
    api::{Call, Event, now_s},
    http::{HttpError, Reply, begin, request, send},
    network::Dialler,
    output::progress,
    sign::channel_text,
    socket::{Arrival, Event as Arrived, Greeted, Hello, Socket},
    target::{Target, segment},
};

/// Bytes of the data of the large event. With its envelope it stays below Pusher's limit of 10 KB for `data`.
pub(super) const LARGE_BYTES: usize = 10_000;
/// How long a silent connection is held: longer than the 60 s of many proxies.
const SILENCE_MAX: Duration = Duration::from_secs(65);
/// Bytes that are read of a stream: it begins with 2 KB of padding.
const STREAM_BYTES_MAX: usize = 64 << 10;
/// Events that are skipped on the way to an expected one.
const SKIPPED_MAX: usize = 1_000;

/// A client of the doctor.
pub(super) struct Client {
    pub(super) greeted: Greeted,
    patience: Duration,
}

impl Client {
    /// # Errors
    /// Why there is no connection.
    pub(super) async fn connect(dialler: &Dialler, hello: Hello<'_>) -> Result<Self, String> {
        let greeted = Socket::greeted(dialler, hello).await;
        Ok(Self {
            greeted: greeted.map_err(|error| error.to_string())?,
            patience: dialler.patience,
        })
    }

    /// The next event that is wanted; the others are dropped.
    async fn expect(&mut self, is_wanted: impl Fn(&Arrived) -> bool) -> Result<Arrived, String> {
        let patience = self.patience;
        let waiting = async {
            for _ in 0..SKIPPED_MAX {
                match self.greeted.socket.next().await {
                    Arrival::Event(event) if is_wanted(&event) => return Ok(event),
                    Arrival::Event(_) => {}
                    ended => return Err(ended.to_string()),
                }
            }
            Err(format!("{SKIPPED_MAX} other events came"))
        };
        let waited = timeout(patience, waiting).await;
        waited.map_err(|_| format!("nothing within {} s", patience.as_secs()))?
    }

    async fn expect_named(&mut self, name: &str) -> Result<Arrived, String> {
        self.expect(|event| event.name == name || is_error(event))
            .await
            .and_then(|event| match is_error(&event) {
                true => Err(words(&event)),
                false => Ok(event),
            })
    }
}

fn is_error(event: &Arrived) -> bool {
    ["pusher:error", "pusher:subscription_error"].contains(&event.name.as_str())
}

fn words(event: &Arrived) -> String {
    let data = event.decoded();
    let text = [&data["message"], &data["error"]]
        .into_iter()
        .find_map(Value::as_str);
    text.map_or_else(|| data.to_string(), str::to_owned)
}

/// The channels of one examination, whose names nobody else has.
pub(super) struct Channels {
    pub(super) public: String,
    pub(super) private: String,
    pub(super) presence: String,
}

impl Channels {
    pub(super) fn new() -> Self {
        let mark = hex::encode(rand::random::<[u8; 8]>());
        Self {
            public: format!("doctor-{mark}"),
            private: format!("private-doctor-{mark}"),
            presence: format!("presence-doctor-{mark}"),
        }
    }
}

/// Two clients and the backend.
pub(super) struct Talk<'a> {
    pub(super) host: &'a Host,
    pub(super) channels: Channels,
    pub(super) sender: Client,
    pub(super) listener: Client,
}

impl Talk<'_> {
    /// Both clients subscribe to a channel of each kind.
    pub(super) async fn subscribe(&mut self) -> Vec<Subscription> {
        let Channels {
            public,
            private,
            presence,
        } = &self.channels;
        let kinds = [
            ("public", public),
            ("private", private),
            ("presence", presence),
        ];
        let mut subscriptions = Vec::new();
        for (kind, channel) in kinds {
            let member = (kind == "presence").then(|| json!({"user_id": "doctor"}).to_string());
            let mut result = Ok(Duration::ZERO);
            for client in [&mut self.sender, &mut self.listener] {
                let took = subscribe(client, &self.host.target, channel, member.as_deref()).await;
                result = result.and(took);
            }
            subscriptions.push(Subscription { kind, result });
        }
        subscriptions
    }

    /// Publishes an event that the listener gets.
    pub(super) async fn publish(
        &mut self,
        name: &str,
        data: &str,
        except: Option<&str>,
    ) -> Delivery {
        let mut event = Event::to(&self.channels.public, name, data);
        event.socket_id = except.map(str::to_owned);
        let began = Instant::now();
        let reply = match self.host.api().send(&Call::publish(&event)).await {
            Ok(reply) => answer(&reply),
            Err(error) => return Delivery::NoAnswer(error.to_string()),
        };
        if reply.refusal().is_some() {
            return Delivery::Refused(reply);
        }
        match self.listener.expect_named(name).await {
            Ok(_) => Delivery::Took(began.elapsed()),
            Err(_) => Delivery::Missing,
        }
    }

    /// Whether an event reaches the connection that it leaves out. An event after it shows that the connection hears.
    pub(super) async fn exclude(&mut self) -> Exclusion {
        let socket_id = self.sender.greeted.socket_id.clone();
        let left_out = self.publish("doctor-others", "{}", Some(&socket_id)).await;
        if !matches!(left_out, Delivery::Took(_)) {
            return Exclusion::Unknown("nobody got the event".to_owned());
        }
        self.publish("doctor-all", "{}", None).await;
        let names = ["doctor-others", "doctor-all"];
        let first = self
            .sender
            .expect(|event| names.contains(&event.name.as_str()))
            .await;
        match first {
            Ok(event) if event.name == "doctor-all" => Exclusion::NotSeen,
            Ok(_) => Exclusion::Seen,
            Err(why) => Exclusion::Unknown(why),
        }
    }

    pub(super) async fn client_event(&mut self) -> ClientEvent {
        let name = "client-doctor";
        let began = Instant::now();
        let channel = self.channels.private.clone();
        let sent = self
            .sender
            .greeted
            .socket
            .send(name, Some(&channel), json!({}))
            .await;
        if let Err(broken) = sent {
            return ClientEvent::Refused(broken.to_string());
        }
        let (sender, listener) = (&mut self.sender, &mut self.listener);
        tokio::select! {
            arrived = listener.expect_named(name) => match arrived {
                Ok(_) => ClientEvent::Took(began.elapsed()),
                Err(_) => ClientEvent::Missing,
            },
            Ok(error) = sender.expect(is_error) => ClientEvent::Refused(words(&error)),
        }
    }

    /// An event of Pusher's size.
    pub(super) async fn large(&mut self) -> Delivery {
        self.publish("doctor-large", &"x".repeat(LARGE_BYTES), None)
            .await
    }

    /// The answer to a request that allows compression.
    pub(super) async fn compressed(&self) -> Signed {
        let target = &self.host.target;
        let (path, _) = Call::get("/channels").signed(&target.app, now_s());
        let request = request(Method::GET, &target.api, &target.api.join(&path))
            .header(header::ACCEPT_ENCODING, "gzip")
            .body(Full::new(Bytes::new()))
            .map_err(|error| error.to_string())?;
        let reply = send(&self.host.dialler, &target.api, request).await;
        reply.as_ref().map(answer).map_err(ToString::to_string)
    }

    /// A connection on which nobody says anything, as long as a client would not ping.
    pub(super) async fn idle(mut self) -> Idle {
        let time = self.listener.greeted.activity_timeout.min(SILENCE_MAX);
        let began = Instant::now();
        loop {
            let left = time.saturating_sub(began.elapsed());
            let shown = format!(
                "a silent connection: {} of {} s",
                began.elapsed().as_secs(),
                time.as_secs()
            );
            progress(&shown);
            let step = left.min(Duration::from_secs(1));
            let arrival = timeout(step, self.listener.greeted.socket.next()).await;
            let ended = match arrival {
                Err(_) if left <= step => break,
                Err(_) | Ok(Arrival::Event(_)) => continue,
                Ok(ended) => ended.to_string(),
            };
            progress("");
            let after = began.elapsed();
            return Idle::Cut { after, how: ended };
        }
        progress("");
        Idle::Held(time)
    }
}

async fn subscribe(
    client: &mut Client,
    target: &Target,
    channel: &str,
    member: Option<&str>,
) -> Result<Duration, String> {
    let text = channel_text(&client.greeted.socket_id, channel, member);
    let mut data = json!({"channel": channel, "auth": target.app.signer().auth(&text)});
    if let Some(member) = member {
        data["channel_data"] = member.into();
    }
    let began = Instant::now();
    let sent = client
        .greeted
        .socket
        .send("pusher:subscribe", None, data)
        .await;
    sent.map_err(|broken| broken.to_string())?;
    client
        .expect_named("pusher_internal:subscription_succeeded")
        .await?;
    Ok(began.elapsed())
}

/// The HTTP fallback of pusher-js: one session.
struct Session<'a> {
    host: &'a Host,
    path: String,
}

/// A stream of a session, and what was read of it.
struct Stream {
    head: Answer,
    body: Incoming,
    text: Vec<u8>,
    /// Whether the greeting came, and why not.
    greeted: Result<(), String>,
}

/// Opens a session of the HTTP fallback, and pings over it. What is sent with the head comes through every proxy; only later lines show
/// whether it holds them back.
pub(super) async fn fallback(host: &Host, origin: &str) -> Fallback {
    let session = Session::new(host);
    let mut stream = match session.stream(origin).await {
        Ok(stream) if stream.head.refusal().is_none() => stream,
        Ok(refused) => return Fallback::Absent(refused.head),
        Err(error @ HttpError::Silent(_)) => {
            return Fallback::NoAnswer(format!("xhr_streaming: {error}"));
        }
        Err(error) => {
            return Fallback::Absent(Answer {
                text: error.to_string(),
                ..Answer::default()
            });
        }
    };
    let pong = match stream.head.encoding {
        Some(_) => Err("it is compressed".to_owned()),
        None => session.ping(&mut stream).await,
    };
    let head = stream.head;
    Fallback::Stream { head, pong }
}

impl<'a> Session<'a> {
    fn new(host: &'a Host) -> Self {
        let Target { socket, app, .. } = &host.target;
        // pusher-js' own `httpPath`, unless the host has a path.
        let prefix = match socket.path.as_str() {
            "" => "/pusher",
            path => path,
        };
        let mark = hex::encode(rand::random::<[u8; 8]>());
        let path = format!("{prefix}/app/{}/doctor/{mark}", segment(&app.key));
        Self { host, path }
    }

    fn request(&self, kind: &str) -> Builder {
        let version = env!("CARGO_PKG_VERSION");
        let Self { host, path } = self;
        let target = format!("{path}/{kind}?protocol=7&client=loudhailer&version={version}");
        request(Method::POST, &host.target.socket, &target)
    }

    /// The beginning of a streamed answer.
    async fn stream(&self, origin: &str) -> Result<Stream, HttpError> {
        let request = self
            .request("xhr_streaming")
            .header(header::ORIGIN, origin)
            // Browsers send it, and HTTP/1.0, which proxies speak, needs it.
            .header(header::CONTENT_LENGTH, 0)
            .header(header::ACCEPT_ENCODING, "gzip")
            .body(Full::new(Bytes::new()))
            .map_err(|error| HttpError::Body(error.to_string()))?;
        let response = begin(&self.host.dialler, &self.host.target.socket, request).await?;
        let (head, body) = response.into_parts();
        let mut stream = Stream {
            head: Answer::default(),
            body,
            text: Vec::new(),
            greeted: Ok(()),
        };
        let patience = self.host.dialler.patience;
        stream.greeted = stream.expect("connection_established", patience).await;
        stream.head = answer(&Reply {
            status: head.status,
            headers: head.headers,
            body: stream.text.clone().into(),
        });
        Ok(stream)
    }

    /// How long it takes until a ping is answered on the stream.
    async fn ping(&self, stream: &mut Stream) -> Result<Duration, String> {
        stream.greeted.clone()?;
        let ping = json!([json!({"event": "pusher:ping", "data": {}}).to_string()]);
        let request = self
            .request("xhr_send")
            .body(Full::new(Bytes::from(ping.to_string())))
            .map_err(|error| error.to_string())?;
        let Host {
            dialler, target, ..
        } = self.host;
        let began = Instant::now();
        let sent = send(dialler, &target.socket, request).await;
        let sent = sent.map_err(|error| error.to_string())?;
        if !sent.status.is_success() {
            return Err(format!("xhr_send: {}", answer(&sent).shown()));
        }
        stream.expect("pusher:pong", dialler.patience).await?;
        Ok(began.elapsed())
    }
}

impl Stream {
    async fn expect(&mut self, word: &str, patience: Duration) -> Result<(), String> {
        match timeout(patience, self.read_until(word)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("the stream ended before {word}")),
            Err(_) => {
                let seconds = patience.as_secs();
                Err(format!(
                    "the stream began, but {word} did not come within {seconds} s"
                ))
            }
        }
    }

    /// Reads until a word comes; `false` if the stream ends before it, or is too long.
    async fn read_until(&mut self, word: &str) -> bool {
        while self.text.len() < STREAM_BYTES_MAX {
            if memchr::memmem::find(&self.text, word.as_bytes()).is_some() {
                return true;
            }
            let Some(Ok(frame)) = self.body.frame().await else {
                return false;
            };
            let data = frame.data_ref().map_or(&[][..], |data| data);
            self.text.extend_from_slice(data);
        }
        false
    }
}
