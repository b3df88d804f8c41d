//! The command line for any Pusher host: it publishes, subscribes, asks, signs and looks for faults from outside, as backends and
//! clients do.
//!
//! It speaks to this server as to every other host, over sockets and HTTP, and knows nothing of the server's insides.

mod answers;
mod api;
mod bench;
mod doctor;
mod events;
mod http;
mod network;
mod output;
mod secretbox;
mod sign;
mod size;
mod socket;
mod sources;
mod subscribe;
mod target;

use std::{collections::BTreeMap, fmt, io};

use clap::{Args, Subcommand};

use self::{
    answers::{Channel, Channels, Terminate, Users},
    api::Api,
    bench::Bench,
    doctor::Doctor,
    events::{Batch, Trigger},
    network::{Dialler, Network},
    output::{Output, Printer},
    sign::{Auth, Webhook},
    size::Size,
    sources::Where,
    subscribe::Subscribe,
    target::Target,
};

/// The environment.
type Variables = BTreeMap<String, String>;

/// What to do with a host.
#[derive(Subcommand)]
pub enum HostCommand {
    /// Publish an event.
    Trigger(Trigger),
    /// Publish many events, one JSON object a line.
    Batch(Batch),
    /// Subscribe to channels and print what arrives.
    Subscribe(Subscribe),
    /// List the occupied channels.
    Channels(Channels),
    /// Show the state of one channel.
    Channel(Channel),
    /// List the users of a presence channel.
    Users(Users),
    /// Close all connections of a user.
    Terminate(Terminate),
    /// Sign what an application's auth endpoints sign, and show the text that is signed.
    #[command(subcommand)]
    Auth(Auth),
    /// Check webhooks.
    #[command(subcommand)]
    Webhook(Webhook),
    /// Look for what is wrong between clients, backends and the host.
    Doctor(Doctor),
    /// Put load onto a host: subscribers, and events whose arrival is counted and timed.
    Bench(Bench),
    /// Work out what a load takes: nodes, processors, memory, bandwidth.
    Size(Size),
}

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// It was not understood, or something that it needs is missing.
    Usage(String),
    /// The host, or the way to it, did not do what was asked.
    Failed(String),
    /// Standard output takes no more.
    Print(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(reason) | Self::Failed(reason) => f.write_str(reason),
            Self::Print(error) => write!(f, "cannot print: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// What every command to a host takes.
#[derive(Args)]
struct Common {
    #[command(flatten)]
    host: Where,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    output: Output,
}

impl Common {
    fn open(&self, environment: &Variables) -> Result<Host, Failure> {
        Ok(Host {
            target: self.host.target(environment)?,
            dialler: Dialler::new(&self.network)?,
            printer: self.output.printer(),
        })
    }
}

/// A host that a command speaks to.
struct Host {
    target: Target,
    dialler: Dialler,
    printer: Printer,
}

impl Host {
    fn api(&self) -> Api<'_> {
        Api::of(&self.target, &self.dialler)
    }
}

/// Runs a command to its end.
///
/// # Errors
/// [`Failure`]; what was printed before it is true.
pub fn run(command: HostCommand, environment: &Variables) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let done = runtime.block_on(async {
        match command {
            HostCommand::Trigger(trigger) => trigger.run(environment).await,
            HostCommand::Batch(batch) => batch.run(environment).await,
            HostCommand::Subscribe(subscribe) => subscribe.run(environment).await,
            HostCommand::Channels(channels) => channels.run(environment).await,
            HostCommand::Channel(channel) => channel.run(environment).await,
            HostCommand::Users(users) => users.run(environment).await,
            HostCommand::Terminate(terminate) => terminate.run(environment).await,
            HostCommand::Auth(auth) => auth.run(environment),
            HostCommand::Webhook(webhook) => webhook.run(environment),
            HostCommand::Doctor(doctor) => doctor.run(environment).await,
            HostCommand::Bench(bench) => bench.run(environment).await,
            HostCommand::Size(size) => size.run(),
        }
    });
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    done
}
