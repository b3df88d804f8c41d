//! The whole life of the process: opens the listeners, builds the node, runs both servers, and brings everything to an orderly end.

mod doors;
mod opening;
mod operator;
mod public;
mod running;
mod signals;
mod worker;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::Arc,
};

use tracing::info;

pub(crate) use self::doors::{admin_tls, public_tls};
use self::{
    opening::{Listeners, build_node, open_apps},
    running::{Running, Sources},
    signals::Signals,
};
use crate::{
    app::App,
    banner::{Addresses, banner},
    config::{Config, Loaded},
};

/// Serves until a signal says stop.
///
/// # Errors
/// When a listener can't be bound or a worker can't start.
pub fn run(loaded: Loaded, variables: BTreeMap<String, String>) -> io::Result<()> {
    actix_rt::System::new().block_on(serve(loaded, variables))
}

async fn serve(loaded: Loaded, variables: BTreeMap<String, String>) -> io::Result<()> {
    let mut signals = Signals::listen()?;
    let listeners = Listeners::open(&loaded.config, &variables)?;
    let addresses = listeners.addresses.clone();
    let understood = loaded.understood.clone();
    let sources = Sources {
        file: understood.file.clone(),
        variables: variables.clone(),
    };
    // The node has the apps, which can change.
    let config = Config {
        apps: Vec::new(),
        ..loaded.config.clone()
    };
    let opened = open_apps(loaded, variables).await?;
    let node = build_node(&config, opened.reading.apps).await?;
    let kept = (Arc::clone(&node), config.server.drain_window_s.get());
    // Fails only if the thread has panicked.
    let _ = opened.keep.send(kept);
    let running = Running::start(config.clone(), Arc::clone(&node), listeners, opened.control)?;
    let apps = node.apps.all();
    show(&banner(&config, &apps, &understood, &addresses))?;
    log_start(&config, &apps, &addresses);
    running.serve(&mut signals, &sources).await;
    running.stop(&mut signals).await
}

fn log_start(config: &Config, apps: &[Arc<App>], addresses: &Addresses) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        public = addresses.shown(),
        tls = addresses.tls.map(tracing::field::display),
        admin = %addresses.admin,
        engine = if config.redis.is_some() { "redis" } else { "local" },
        apps = apps.len(),
        workers = config.server.workers(),
        "started"
    );
}

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    // A closed stdout is no reason not to serve.
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
