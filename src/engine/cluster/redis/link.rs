//! The connection to Redis: one server, one behind sentinels, or a cluster. Commands and pub/sub share it (RESP3).

use std::time::Duration;

use futures_util::future::join_all;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline,
    ProtocolVersion, RedisResult, TlsCertificates, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};

use super::{
    decode::{decode, failure},
    encode::Command,
    pushes::Pushes,
    tls,
};
use crate::{
    app::Secret,
    config::{Redis, RedisMode, Sentinels},
    engine::cluster::core::{Answer, Call, CallError},
};

/// How long Redis may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// The core says how long an answer may take; the client library must not be faster.
const NO_TIMEOUT: Duration = Duration::from_secs(3600);
/// What Redis answers to a script that it has not seen, or has forgotten.
const UNKNOWN_SCRIPT: &str = "NOSCRIPT";

/// A connection; clones share it.
#[derive(Clone)]
pub(super) enum Link {
    /// One server, found directly or through sentinels.
    Single(MultiplexedConnection),
    /// A cluster, with sharded pub/sub.
    Cluster(ClusterConnection),
}

impl Link {
    /// Connects; what is published to subscribed topics goes to `pushes`.
    ///
    /// # Errors
    /// Why Redis can't be reached, in words.
    pub(super) async fn connect(settings: &Redis, pushes: Pushes) -> Result<Self, String> {
        let certificates = tls::read(&settings.tls)?;
        let connecting = async {
            match &settings.mode {
                RedisMode::Single => Self::single(settings, certificates, pushes).await,
                RedisMode::Sentinel(sentinels) => {
                    let client = master_among(&settings.urls, sentinels, certificates).await?;
                    Self::open(&client, pushes).await
                }
                RedisMode::Cluster => Self::cluster(settings, certificates, pushes).await,
            }
        };
        match tokio::time::timeout(PATIENCE * 2, connecting).await {
            Ok(link) => link.map_err(|error| tls::explain(&error.to_string(), &settings.tls)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn single(
        settings: &Redis,
        certificates: Option<TlsCertificates>,
        pushes: Pushes,
    ) -> RedisResult<Self> {
        let info = settings.urls[0].expose_str().into_connection_info()?;
        let resp3 = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        let info = info.set_redis_settings(resp3);
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(info, certificates)?,
            None => Client::open(info)?,
        };
        Self::open(&client, pushes).await
    }

    async fn open(client: &Client, pushes: Pushes) -> RedisResult<Self> {
        let config = AsyncConnectionConfig::new()
            .set_push_sender(move |push| pushes.push(push))
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(None);
        Ok(Self::Single(
            client
                .get_multiplexed_async_connection_with_config(&config)
                .await?,
        ))
    }

    async fn cluster(
        settings: &Redis,
        certificates: Option<TlsCertificates>,
        pushes: Pushes,
    ) -> RedisResult<Self> {
        let urls = settings.urls.iter().map(|url| url.expose_str().to_owned());
        let mut builder = ClusterClientBuilder::new(urls)
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(PATIENCE)
            .response_timeout(NO_TIMEOUT)
            .retries(3)
            .push_sender(move |push| pushes.push(push));
        if let Some(certificates) = certificates {
            builder = builder.certs(certificates);
        }
        let client = builder.build()?;
        Ok(Self::Cluster(client.get_async_connection().await?))
    }

    /// Has a call executed.
    pub(super) async fn call(
        mut self,
        call: Call,
        commands: Vec<Command>,
    ) -> Result<Answer, CallError> {
        let replies = match self.run(&commands).await {
            Ok(replies) => replies,
            Err(error) => return Err(failure(&error)),
        };
        decode(&call, replies)
    }

    async fn run(&mut self, commands: &[Command]) -> RedisResult<Vec<Value>> {
        let mut replies = match (&mut *self, commands) {
            (_, [Command::Subscribe(_) | Command::Unsubscribe(_), ..]) => {
                for command in commands {
                    self.subscribe(command).await?;
                }
                return Ok(Vec::new());
            }
            (Self::Single(link), _) => {
                let pipeline = pipeline(commands);
                link.req_packed_commands(&pipeline, 0, commands.len())
                    .await?
            }
            (Self::Cluster(link), [one]) => vec![run_alone(link, &command_of(one)).await?],
            (Self::Cluster(_), [Command::Plain(words), ..]) if words[0] == b"SPUBLISH" => {
                self.run_in_order(commands).await?
            }
            (Self::Cluster(_), [Command::Script(_, _, args), ..])
                if args.len() == 2 && args[1].first() == Some(&b'2') =>
            {
                self.run_in_order(commands).await?
            }
            (Self::Cluster(link), _) => {
                let all = commands.iter().map(|command| {
                    let mut link = link.clone();
                    async move { run_alone(&mut link, &command_of(command)).await }
                });
                join_all(all)
                    .await
                    .into_iter()
                    .collect::<RedisResult<_>>()?
            }
        };
        self.run_unknown_scripts(commands, &mut replies).await?;
        Ok(replies)
    }

    /// In a cluster commands to several servers overtake each other; messages must not.
    async fn run_in_order(&mut self, commands: &[Command]) -> RedisResult<Vec<Value>> {
        let Self::Cluster(link) = self else {
            return Ok(Vec::new());
        };
        let mut replies = Vec::with_capacity(commands.len());
        // A pipeline must stay in one slot; consecutive messages of one bucket do.
        for run in commands.chunk_by(|one, other| tag_of(one) == tag_of(other)) {
            let pipeline = pipeline(run);
            replies.extend(link.req_packed_commands(&pipeline, 0, run.len()).await?);
        }
        Ok(replies)
    }

    /// Redis has forgotten scripts, or does not know them yet: they are sent as a whole, in order.
    async fn run_unknown_scripts(
        &mut self,
        commands: &[Command],
        replies: &mut [Value],
    ) -> RedisResult<()> {
        for (command, reply) in commands.iter().zip(replies) {
            let is_unknown =
                matches!(reply, Value::ServerError(error) if error.code() == UNKNOWN_SCRIPT);
            if let (true, Command::Script(script, keys, args)) = (is_unknown, command) {
                let whole = script_command("EVAL", script.text, keys, args);
                *reply = match self {
                    Self::Single(link) => {
                        let mut pipeline = Pipeline::with_capacity(1);
                        pipeline.add_command(whole);
                        let replies = link.req_packed_commands(&pipeline, 0, 1).await?;
                        replies.into_iter().next().unwrap_or(Value::Nil)
                    }
                    Self::Cluster(link) => run_alone(link, &whole).await?,
                };
            }
        }
        Ok(())
    }

    async fn subscribe(&mut self, command: &Command) -> RedisResult<()> {
        match (self, command) {
            (Self::Single(link), Command::Subscribe(topics)) => link.subscribe(topics).await,
            (Self::Single(link), Command::Unsubscribe(topics)) => link.unsubscribe(topics).await,
            (Self::Cluster(link), Command::Subscribe(topics)) => link.ssubscribe(topics).await,
            (Self::Cluster(link), Command::Unsubscribe(topics)) => link.sunsubscribe(topics).await,
            _ => Ok(()),
        }
    }
}

/// One command in a cluster; an error of the server is a reply.
async fn run_alone(link: &mut ClusterConnection, command: &Cmd) -> RedisResult<Value> {
    match link.req_packed_command(command).await {
        Ok(value) => Ok(value),
        Err(error) => match redis::ServerError::try_from(error) {
            Ok(error) => Ok(Value::ServerError(error)),
            Err(error) => Err(error),
        },
    }
}

fn command_of(command: &Command) -> Cmd {
    match command {
        Command::Script(script, keys, args) => script_command("EVALSHA", script.sha1(), keys, args),
        Command::Plain(words) => {
            let mut cmd = Cmd::new();
            words.iter().for_each(|word| {
                cmd.arg(&word[..]);
            });
            cmd
        }
        // Sent by the library's own methods.
        Command::Subscribe(_) | Command::Unsubscribe(_) => Cmd::new(),
    }
}

fn script_command(name: &str, script: &str, keys: &[String], args: &[Vec<u8>]) -> Cmd {
    let mut cmd = redis::cmd(name);
    cmd.arg(script).arg(keys.len()).arg(keys);
    args.iter().for_each(|arg| {
        cmd.arg(&arg[..]);
    });
    cmd
}

fn pipeline(commands: &[Command]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command_of(command));
    }
    pipeline
}

/// The hash tag of a message's topic or of a script's keys.
fn tag_of(command: &Command) -> Option<&[u8]> {
    let name: &[u8] = match command {
        Command::Plain(words) => words.get(1)?,
        Command::Script(_, keys, _) => keys.first()?.as_bytes(),
        _ => return None,
    };
    let begin = name.iter().position(|byte| *byte == b'{')?;
    let end = name.iter().position(|byte| *byte == b'}')?;
    name.get(begin..end)
}

/// The master, as the sentinels at these addresses know it.
async fn master_among(
    urls: &[Secret],
    sentinels: &Sentinels,
    certificates: Option<TlsCertificates>,
) -> RedisResult<Client> {
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
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_sentinel_certificates(certificates.clone())
            .set_client_to_redis_certificates(certificates);
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
