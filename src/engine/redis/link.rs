//! The connection to Redis: one server, one behind sentinels, or a cluster. Commands and pub/sub share it (RESP3).

use std::time::Duration;

use bytes::Bytes;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline,
    ProtocolVersion, PushInfo, RedisError, RedisFuture, RedisResult, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::mpsc::UnboundedSender;

use super::{super::history::CHANNEL_BYTES_MAX, envelope::EVENT_HEADER};
use crate::{
    app::{Replay, Secret},
    config::{Redis, RedisMode, Sentinels},
};

/// How long Redis may take to accept a connection or to answer. Longer, and it counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps the frame of an event and publishes the event. A sender repeats what it is not sure of, and an old connection may deliver
/// it late; neither may replace a newer event, so a repetition is published, for those who missed it, as one that is not kept.
/// KEYS: where to keep it, the pub/sub channel, the last numbers of the senders, whether it was missed. ARGV: publish command,
/// the envelope, where in it the frame begins, for how many seconds, sender, number.
/// A script and not a transaction: before 7.2, Redis writes what a connection publishes to itself into the middle of `EXEC`'s reply.
const KEEP: &str = r"
if tonumber(redis.call('HGET', KEYS[3], ARGV[5]) or '0') >= tonumber(ARGV[6]) then
  return redis.call(ARGV[1], KEYS[2], '1P' .. string.sub(ARGV[2], 3))
end
redis.call('HSET', KEYS[3], ARGV[5], ARGV[6])
redis.call('EXPIRE', KEYS[3], 3600)
redis.call('DEL', KEYS[4])
redis.call('SET', KEYS[1], string.sub(ARGV[2], ARGV[3]), 'EX', ARGV[4])
return redis.call(ARGV[1], KEYS[2], ARGV[2])
";

/// Adds an event to the channel's history, behind the time in 15 digits of ms, and publishes it. What is too much goes from the
/// front. A repetition is only published, as with [`KEEP`]. KEYS: the history, the pub/sub channel, the last numbers of the senders.
/// ARGV: publish command, the envelope, sender, number, how many events, for how many seconds, how many bytes.
const RECORD: &str = r"
if tonumber(redis.call('HGET', KEYS[3], ARGV[3]) or '0') < tonumber(ARGV[4]) then
  local now = redis.call('TIME')
  local entry = string.format('%015d', now[1] * 1000 + math.floor(now[2] / 1000)) .. ARGV[2]
  local length = redis.call('LLEN', KEYS[1])
  local bytes = length > 0 and tonumber(redis.call('HGET', KEYS[3], 'bytes') or '0') or 0
  redis.call('RPUSH', KEYS[1], entry)
  length, bytes = length + 1, bytes + #entry
  while length > tonumber(ARGV[5]) or (length > 0 and bytes > tonumber(ARGV[7])) do
    bytes = bytes - #redis.call('LPOP', KEYS[1])
    length = length - 1
  end
  redis.call('EXPIRE', KEYS[1], ARGV[6])
  redis.call('HSET', KEYS[3], ARGV[3], ARGV[4], 'bytes', bytes)
  redis.call('EXPIRE', KEYS[3], math.max(3600, tonumber(ARGV[6])))
end
return redis.call(ARGV[1], KEYS[2], ARGV[2])
";

/// A connection; clones share it.
#[derive(Clone)]
pub(super) enum Link {
    /// One server, found directly or through sentinels.
    Single(MultiplexedConnection),
    /// A cluster, with sharded pub/sub.
    Cluster(ClusterConnection),
}

impl Link {
    /// Connects; what is published to subscribed channels goes to `pushes`.
    pub(super) async fn connect(
        settings: &Redis,
        pushes: UnboundedSender<PushInfo>,
    ) -> RedisResult<Self> {
        let connecting = async {
            match &settings.mode {
                RedisMode::Single => Self::single(settings, pushes).await,
                RedisMode::Sentinel(sentinels) => {
                    let client = master_among(&settings.urls, sentinels).await?;
                    Self::open(&client, pushes).await
                }
                RedisMode::Cluster => Self::cluster(settings, pushes).await,
            }
        };
        match tokio::time::timeout(PATIENCE * 2, connecting).await {
            Ok(link) => link,
            Err(_) => Err(RedisError::from((ErrorKind::Io, "no answer in time"))),
        }
    }

    async fn single(settings: &Redis, pushes: UnboundedSender<PushInfo>) -> RedisResult<Self> {
        let info = settings.urls[0].expose_str().into_connection_info()?;
        let resp3 = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(resp3))?;
        Self::open(&client, pushes).await
    }

    async fn open(client: &Client, pushes: UnboundedSender<PushInfo>) -> RedisResult<Self> {
        let config = AsyncConnectionConfig::new()
            .set_push_sender(pushes)
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        Ok(Self::Single(
            client
                .get_multiplexed_async_connection_with_config(&config)
                .await?,
        ))
    }

    async fn cluster(settings: &Redis, pushes: UnboundedSender<PushInfo>) -> RedisResult<Self> {
        let urls = settings.urls.iter().map(|url| url.expose_str().to_owned());
        let client = ClusterClientBuilder::new(urls)
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(PATIENCE)
            .response_timeout(PATIENCE)
            .retries(3)
            .push_sender(pushes)
            .build()?;
        Ok(Self::Cluster(client.get_async_connection().await?))
    }

    /// The addresses as a message may show them, without user and password.
    pub(super) fn addresses(settings: &Redis) -> String {
        let shown = settings.urls.iter().map(|url| {
            let info = url.expose_str().into_connection_info();
            info.map_or_else(
                |_| "an invalid address".to_owned(),
                |info| info.addr().to_string(),
            )
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// The command that publishes: sharded in a cluster.
    pub(super) fn publish_command(&self) -> &'static str {
        match self {
            Self::Single(_) => "PUBLISH",
            Self::Cluster(_) => "SPUBLISH",
        }
    }

    pub(super) async fn subscribe(&mut self, channel: &str) -> RedisResult<()> {
        match self {
            Self::Single(link) => link.subscribe(channel).await,
            Self::Cluster(link) => link.ssubscribe(channel).await,
        }
    }

    pub(super) async fn unsubscribe(&mut self, channel: &str) -> RedisResult<()> {
        match self {
            Self::Single(link) => link.unsubscribe(channel).await,
            Self::Cluster(link) => link.sunsubscribe(channel).await,
        }
    }

    /// Sends messages together, in order. A kept one and its publishing are one step ([`KEEP`]), so that what is kept is what the
    /// others heard last.
    pub(super) async fn publish_all(&mut self, messages: &[Message]) -> RedisResult<()> {
        match self {
            Self::Single(link) => pipeline("PUBLISH", messages).query_async(link).await,
            Self::Cluster(link) => {
                // A pipeline must stay in one slot; consecutive messages of one channel do.
                for run in messages.chunk_by(|a, b| a.topic == b.topic) {
                    let () = pipeline("SPUBLISH", run).query_async(link).await?;
                }
                Ok(())
            }
        }
    }
}

/// The master, as the sentinels at these addresses know it.
async fn master_among(urls: &[Secret], sentinels: &Sentinels) -> RedisResult<Client> {
    let Sentinels {
        master,
        username,
        password,
    } = sentinels;
    let infos = urls
        .iter()
        .map(|url| url.expose_str().into_connection_info());
    let infos = infos.collect::<RedisResult<Vec<_>>>()?;
    let addresses = infos.iter().map(|info| info.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
        .set_client_to_redis_protocol(ProtocolVersion::RESP3);
    if let Some(username) = username {
        builder = builder.set_client_to_sentinel_username(username);
    }
    if let Some(password) = password {
        builder = builder.set_client_to_sentinel_password(password.expose_str());
    }
    if let Some(info) = infos.first() {
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        let redis = info.redis_settings();
        builder = builder.set_client_to_redis_db(redis.db());
        if let Some(username) = redis.username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = redis.password() {
            builder = builder.set_client_to_redis_password(password);
        }
    }
    builder.build()?.async_get_client().await
}

/// A message to other nodes.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) envelope: Bytes,
    /// For those who subscribe later.
    pub(super) keep: Option<Keep>,
}

/// How an event is kept.
#[derive(Clone)]
pub(super) enum Keep {
    /// As a cache channel's last.
    Last {
        /// The keys of the frame, of the senders' numbers, and of whether it was missed.
        keys: [String; 3],
        ttl_s: u32,
        sender: u64,
        number: u64,
    },
    /// As one of the channel's last.
    History {
        /// The keys of the events and of the senders' numbers.
        keys: [String; 2],
        rule: Replay,
        sender: u64,
        number: u64,
    },
}

impl Message {
    pub(super) fn publish(topic: String, envelope: Bytes) -> Self {
        Self {
            topic,
            envelope,
            keep: None,
        }
    }
}

fn pipeline(publish: &str, messages: &[Message]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(messages.len());
    for message in messages {
        let (topic, envelope) = (&message.topic, &message.envelope[..]);
        match &message.keep {
            None => pipeline.cmd(publish).arg(topic).arg(envelope),
            Some(Keep::Last {
                keys,
                ttl_s,
                sender,
                number,
            }) => pipeline
                .cmd("EVAL")
                .arg(KEEP)
                .arg(4)
                .arg(&keys[0])
                .arg(topic)
                .arg(&keys[1])
                .arg(&keys[2])
                .arg(publish)
                .arg(envelope)
                .arg(EVENT_HEADER + 1)
                .arg(ttl_s)
                .arg(sender)
                .arg(number),
            Some(Keep::History {
                keys,
                rule,
                sender,
                number,
            }) => pipeline
                .cmd("EVAL")
                .arg(RECORD)
                .arg(3)
                .arg(&keys[0])
                .arg(topic)
                .arg(&keys[1])
                .arg(publish)
                .arg(envelope)
                .arg(sender)
                .arg(number)
                .arg(rule.events)
                .arg(rule.age.as_secs())
                .arg(CHANNEL_BYTES_MAX),
        };
        pipeline.ignore();
    }
    pipeline
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(link) => link.req_packed_command(cmd),
            Self::Cluster(link) => link.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(link) => link.req_packed_commands(cmd, offset, count),
            Self::Cluster(link) => link.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(link) => link.get_db(),
            Self::Cluster(link) => link.get_db(),
        }
    }
}
